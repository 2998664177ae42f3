"""`contimg compute` says where the work is done, and shows what Slurm would be given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from contimg_assets.cli.app import app
from contimg_assets.config import FILE_NAME, Compute, check_section
from contimg_assets.errors import ConfigError

SLURM = {"engine": "dask", "cluster": "slurm", "workers": 4, "slurm": {"partition": "sky"}}


def said(folder: Path, compute: dict[str, Any], *options: str) -> tuple[int, str]:
    (folder / FILE_NAME).write_text(yaml.safe_dump({"compute": compute}), encoding="utf-8")
    done = CliRunner().invoke(app, ["-C", str(folder), "compute", *options])
    return done.exit_code, done.output


def test_what_is_configured_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert said(tmp_path, {"workers": 3}) == (0, "engine auto, 3 helpers at most\n")
    assert said(tmp_path, SLURM) == (0, "engine dask: 4 workers of a slurm cluster\n")
    assert said(tmp_path, {"engine": "dask", "address": "tcp://10.0.0.5:8786"}) == (
        0,
        "engine dask: tcp://10.0.0.5:8786\n",
    )


def test_the_script_is_shown_and_only_for_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    status, script = said(tmp_path, SLURM, "--show")
    assert status == 0
    assert script.startswith("#!/")
    assert "#SBATCH -p sky" in script
    status, refused = said(tmp_path, {"engine": "dask"}, "--show")
    assert (status, "--show is for cluster: slurm" in " ".join(refused.split())) == (2, True)
    assert said(tmp_path, {}, "--try")[0] == 2


def test_workers_are_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    status, text = said(tmp_path, {"engine": "dask", "workers": 1}, "--try")
    assert status == 0
    assert "dask workers: 1 worker, 1 at once, 2.0 GB of memory each" in text
    assert text.endswith("All workers have this run's versions, and see the store.\n")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"address": "tcp://a:1"}, "address is for Dask alone, and engine is 'auto'; write engine: dask"),
        ({"engine": "dask", "address": "a:1"}, "'a:1' is no address of a Dask scheduler; write it like 'tcp://"),
        ({"engine": "dask", "address": "tcp://a:1", "cluster": "local"}, "give one of them"),
        ({"engine": "dask", "address": "tcp://a:1", "workers": 2}, "leave them out here"),
        ({"engine": "dask", "memory": "2"}, "'2' is no size; write a number and MB, GB, MiB, GiB, such as '2 GB'"),
        ({"engine": "dask", "memory": "100 MB"}, "'100 MB' is too little: what a worker loads fills 500 MB"),
        ({"engine": "dask", "cluster": "slurm"}, "workers must say how many Slurm is asked for"),
        ({"engine": "dask", "slurm": {"account": "x"}}, "the keys of slurm need cluster: slurm"),
    ],
)
def test_what_does_not_fit_together_is_refused(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_section(Compute, values)
    assert sentence in str(caught.value)


def test_sizes_are_in_bytes_and_the_earlier_name_is_read() -> None:
    assert Compute(engine="dask", memory="1.5GiB").memory_bytes == 3 << 29
    assert Compute(executor="threads").engine == "threads"
