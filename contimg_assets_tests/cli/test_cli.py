"""The command line as a person meets it: what it prints, what it refuses and how, what it exits with."""

from __future__ import annotations

import io
import json
import os
import re
import runpy
import shutil
import signal
import time
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
from dagster._core.execution.retries import auto_reexecution_should_retry_run
from rich.console import Console
from rich.progress import Progress
from typer.testing import CliRunner, Result

import contimg_assets
from contimg_assets.cli.app import _Bars, app
from contimg_assets.cli.console import ended_by_sigterm
from contimg_assets.files import replacing
from contimg_assets.orchestration.runs.instance import open_instance
from contimg_assets.pipeline.stages import STAGES_OF_EVERY_EPOCH
from contimg_assets_tests.projects import TestProject

runner = CliRunner()


def call(*arguments: str, status: int = 0) -> Result:
    """Run `contimg`, and see that it exits as it should."""
    result = runner.invoke(app, list(arguments), env={"COLUMNS": "200"})
    assert result.exit_code == status, (result.output, result.exception)
    return result


def names(folder: Path) -> list[str]:
    """What a folder holds."""
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, survey: Path) -> Path:
    """A project that the command line made, on disk with its Dagster instance."""
    from contimg_assets_tests.projects import make_project

    made = make_project(tmp_path_factory.mktemp("cli") / "project", survey)
    made.deliver(*made.epochs[:2])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made.folder)
        patch.delenv("DAGSTER_HOME", raising=False)
        call("run")
    return made.folder


@pytest.fixture
def in_finished(finished: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(finished)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    return finished


def test_init_makes_a_project_that_can_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call("init", str(tmp_path / "survey"))
    monkeypatch.chdir(tmp_path / "survey")
    assert names(Path()) == ["contimg.yaml", "dagster.yaml", "incoming", "workspace.yaml"]
    assert "No epoch" in call("status").output
    before = Path("contimg.yaml").read_text(encoding="utf-8")
    Path("contimg.yaml").write_text(before + "# mine\n", encoding="utf-8")
    call("init", ".")
    assert Path("contimg.yaml").read_text(encoding="utf-8").endswith("# mine\n")


def test_run_outside_a_project_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = call("run", status=2)
    assert "no such folder" in result.output
    (tmp_path / "incoming").mkdir()
    assert "contimg init" in call("run", status=2).output


def test_status_shows_every_stage_fresh(in_finished: Path) -> None:
    output = call("status").output
    assert output.count("fresh") == 2 * len(STAGES_OF_EVERY_EPOCH)
    assert "stale" not in output


def test_status_for_programs(in_finished: Path) -> None:
    rows = json.loads(call("status", "--json").stdout)
    assert {row["state"] for row in rows} == {"fresh"} and set(rows[0]) == {"epoch", "stage", "state", "reason"}
    epoch = next(row["epoch"] for row in rows if row["epoch"])
    one = call("status", epoch, "--csv").stdout.splitlines()
    assert one[0] == "epoch,stage,state,reason" and all(line.startswith(epoch) for line in one[1:]) and len(one) > 3
    assert json.loads(call("status", "--json", "--stale").stdout) == []
    assert "no epoch never" in call("status", "never", status=2).output


def test_run_and_status_say_how_the_products_stand_and_what_needs_eyes(in_finished: Path) -> None:
    told = [line for line in call("run").output.splitlines() if line.startswith("look:") or "image(s):" in line]
    assert " sources; " in told[0]
    assert " vary" in told[0]
    assert told[1:]
    assert all("(" in line and "Cure: " in line for line in told[1:])
    assert call("status").output.splitlines()[: len(told)] == told
    epoch = json.loads(call("status", "--json").stdout)[0]["epoch"]
    assert "look:" not in call("status", epoch).output


def test_images_are_listed_with_their_corrections(in_finished: Path) -> None:
    def images(*arguments: str) -> pd.DataFrame:
        return pd.read_csv(io.StringIO(call("images", *arguments).stdout), sep="," if "--csv" in arguments else "\t")

    every = images()
    assert len(every) == sum(
        len(pd.read_csv(Path("incoming") / epoch / "images.csv")) for epoch in names(Path("incoming"))
    )
    assert list(every["mjd"]) == sorted(every["mjd"])
    assert set(every["verdict"]) <= {"good", "not corrected", "refused"}
    assert {"dra_arcsec", "dra_err_arcsec", "flux_scale", "flux_scale_err", "flux_outlier_fraction", "reason"} <= set(
        every
    )
    pd.testing.assert_frame_equal(images("--csv"), every)
    assert [row["image"] for row in json.loads(call("images", "--json").stdout)] == every["image"].tolist()
    by_scale = images("--sort", "flux_scale")["flux_scale"].dropna()
    assert list(by_scale) == sorted(by_scale, reverse=True)
    by_offset = images("--sort", "dra_arcsec")["dra_arcsec"].dropna().abs()
    assert list(by_offset) == sorted(by_offset, reverse=True)
    epoch = names(Path("incoming"))[1]
    assert set(images("--epoch", epoch)["epoch"]) == {epoch}
    assert images("--verdict", "refused").empty
    short = call("images", "--limit", "2")
    assert len(short.stdout.splitlines()) == 3
    assert f"There are {len(every)}" in short.stderr
    assert "no column 'flux'" in call("images", "--sort", "flux", status=2).output
    assert "no epoch epoch99" in call("images", "--epoch", "epoch99", status=2).output


def test_run_again_has_nothing_to_do(in_finished: Path) -> None:
    assert "up to date" in call("run").output


def test_dagster_sees_what_the_command_wrote(in_finished: Path) -> None:
    with open_instance(in_finished) as instance:
        assert isinstance(instance, dg.DagsterInstance)
        assert not instance.is_ephemeral
        assert instance.get_runs_count() == 3
        assert {run.tags["user"] for run in instance.get_runs()} == {"contimg run"}
        # Dagster's timeline shows runs by their code location; the daemon starts none again that was killed here.
        for run in instance.get_runs():
            assert run.remote_job_origin is not None
            assert run.remote_job_origin.location_name == "contimg_assets.definitions"
            assert not auto_reexecution_should_retry_run(instance, run, None)
        assert len(instance.get_dynamic_partitions("epoch")) == 2
    assert (in_finished / ".dagster").is_dir()


def test_an_unknown_epoch_is_refused_with_those_there_are(in_finished: Path) -> None:
    result = call("run", "--epochs", "epoch99", status=2)
    assert "epoch99" in result.output
    assert names(Path("incoming"))[0] in result.output


def test_a_wrong_key_is_refused_with_what_is_allowed(project: TestProject) -> None:
    (project.folder / "contimg.yaml").write_text("association: {metod: optimal}\n", encoding="utf-8")
    output = call("status", status=2).output.replace("\n", "")
    assert "association.metod" in output
    assert "method" in output


def test_a_failed_epoch_is_told_with_its_reason(project: TestProject) -> None:
    project.deliver(*project.epochs[:2])
    catalogue = sorted(
        path for path in (project.folder / "incoming" / project.epochs[0]).glob("*.csv") if path.name != "images.csv"
    )[0]
    catalogue.write_text("", encoding="utf-8")
    result = call("run", status=1)
    assert catalogue.name in result.output
    assert "failed" in call("status").output
    assert project.epochs[0] in result.output


def test_a_run_says_where_the_hats_collection_is(project: TestProject) -> None:
    project.configure(products={"hats": "sources_hats"})
    project.deliver(project.epochs[0])
    assert f"As HATS: {project.folder / 'sources_hats'}" in call("run").output
    assert (project.folder / "sources_hats" / "collection.properties").is_file()


def test_the_rejected_rows_of_a_failed_epoch_are_kept(project: TestProject) -> None:
    """Also when its folder is gone; they go when the epoch is mended."""
    project.deliver(project.epochs[0])
    folder = project.folder / "incoming" / project.epochs[0]
    manifest = pd.read_csv(folder / "images.csv")
    catalogue = folder / manifest["catalogue"][0]
    good = catalogue.read_bytes()
    table = pd.read_csv(catalogue, dtype=str)
    column = next(name for name in table if name.startswith("dec"))
    table.loc[4, column] = "abc"
    table.to_csv(catalogue, index=False)
    assert "not published" in call("run", status=1).output
    kept = project.project.store.root / "raw_detections" / project.epochs[0] / "failure-rejected.parquet"
    for delivered in (True, False):
        if not delivered:
            folder.rename(project.folder / "away")
        output = call("rejected", project.epochs[0]).output
        assert len(output.splitlines()) == 2
        assert f"{catalogue.name}\t6\t{table['component_id'][4]}\t{column}\tabc\ta number belongs here" in output
    assert kept.exists()
    assert list(project.project.store.unreferenced()) == []
    (project.folder / "away").rename(folder)
    catalogue.write_bytes(good)
    call("run")
    assert not kept.exists()
    assert "No row" in call("rejected", project.epochs[0]).output
    catalogue.write_bytes(b"")
    call("run", status=1)
    assert "could not be read" in call("rejected", project.epochs[0], status=2).output


def test_rejected_rows_can_be_read(in_finished: Path) -> None:
    epoch = names(Path("incoming"))[0]
    assert "No row" in call("rejected", epoch).output
    assert "no epoch epoch99" in call("rejected", "epoch99", status=2).output


def test_questions_answer_with_tables(in_finished: Path) -> None:
    told = call("variables").stderr
    assert "Thresholds: q-value at most 0.05;" in told
    told = call("variables", "--q-value", "1").stderr
    assert re.search(r"Of the \d+ sources listed, (about [\d.]+|fewer than 0.1) are expected to be constant", told)
    first = call("variables", "--p-value", "1", "--limit", "1").stdout.splitlines()
    every = call("variables", "--p-value", "1", "--limit", "100000")
    assert len(every.stdout.splitlines()) > 2
    assert "--limit shows more" not in every.stderr
    strict = call("variables", "--limit", "1", "--v", "0.001", "--p-value", "0.99")
    assert len(strict.stdout.splitlines()) == 2
    assert re.search(r"There are \d+: --limit shows more\.", strict.stderr)
    assert "Thresholds: V at least 0.001, p-value at most 0.99;" in strict.stderr
    assert "Here q is at most" in strict.stderr
    none = call("variables", "--q", "1e-300")
    assert "Thresholds: q-value at most 1e-300;" in none.stderr and "constant" not in none.stderr
    source_id = dict(zip(first[0].split("\t"), first[1].split("\t"), strict=True))["source_id"]
    assert source_id in call("source", source_id).output
    curve = call("lightcurve", source_id, "--no-limits").output.splitlines()
    assert "mjd" in curve[0].split("\t")
    assert len(curve) == 3
    call("new")
    assert "no source within" in call("source", "90.0,-80.0", status=2).output
    output = call("lightcurve", "90.0,-80.0", "--radius-arcsec", "inf", status=2).output
    assert "radius inf arcsec" in output


@pytest.mark.slow
def test_decisions_survive_being_made_again(project: TestProject) -> None:
    project.deliver(*project.epochs[:2])
    call("run")
    matches = project.rows()["cross_matches"]
    best = matches[matches["rank"] == 1].iloc[0]
    call(
        "match", "reject", best["source_id"], best["catalog_type"], best["catalog_source_id"], "--comment", "a sidelobe"
    )
    call("run", "--force")
    after = project.rows()["cross_matches"].set_index(["source_id", "catalog_type", "catalog_source_id"])
    row = after.loc[(best["source_id"], best["catalog_type"], best["catalog_source_id"])]
    assert row["match_quality"] == "rejected"
    assert row["manual"] == 1
    assert row["comment"] == "a sidelobe"


@pytest.mark.parametrize("format", ["parquet", "csv", "votable", "fits"])
def test_tables_are_exported(in_finished: Path, tmp_path: Path, format: str) -> None:
    file = tmp_path / f"sources.{format}"
    output = call("export", "sources", "--format", format, "--out", str(file)).output
    assert file.stat().st_size > 1000
    assert "row(s)" in output


def test_exports_take_their_format_from_the_name(in_finished: Path, tmp_path: Path) -> None:
    call("export", "sources", "--out", str(tmp_path / "s.fits"))
    assert (tmp_path / "s.fits").read_bytes().startswith(b"SIMPLE")
    for arguments, message in (
        (("sources", "--out", str(tmp_path / "s.csv"), "--format", "fits"), "says csv, not fits"),
        (("pairs", "--format", "csv"), "parquet only"),
        (("sources", "--out", "."), "is a folder"),
        (("sources", "--out", "nofolder/s.csv"), "folder nofolder does not exist"),
        (("pairs", "--out", "nofolder/p.parquet"), "folder nofolder does not exist"),
    ):
        assert message in call("export", *arguments, status=2).output
    assert names(tmp_path) == ["s.fits"]


def test_options_of_other_exports_are_refused(in_finished: Path, tmp_path: Path) -> None:
    """They would have no effect."""
    told = call("export", "hats", "--min-abs-vs", "3", "--out", str(tmp_path / "h"), status=2)
    assert "--min-abs-vs is of 'pairs' alone" in told.output
    told = call("export", "sources", "--margin-arcsec", "3", "--out", str(tmp_path / "s.csv"), status=2)
    assert "--margin-arcsec is of 'hats' alone" in told.output
    assert not names(tmp_path)


def test_what_is_half_written_goes_when_the_command_is_terminated(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended, ended_by_sigterm(), replacing(tmp_path / "sources.csv") as half:
        half.write_text("id,")
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10.0)
    assert ended.value.code == 128 + signal.SIGTERM
    assert not names(tmp_path)
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_package_is_the_command_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["contimg_assets", "--version"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("contimg_assets", run_name="__main__")
    assert ended.value.code == 0
    assert capsys.readouterr().out.strip() == contimg_assets.__version__


def test_a_database_that_cannot_be_used_is_one_sentence(project: TestProject) -> None:
    Path("products.sqlite3").write_bytes(b"no database at all" * 100)
    for arguments in (("variables",), ("db", "current"), ("db", "upgrade"), ("status",)):
        output = call(*arguments, status=2).output
        assert "products.sqlite3 cannot be used (file is not a database); put a backup in its place" in output
        assert len(output.splitlines()) == 1
    pytest.importorskip("psycopg", reason="psycopg is not installed; pip install 'contimg-assets[postgres]'")
    project.configure(paths={"products": "postgresql://me:geheim@127.0.0.1:1/x"})
    output = call("variables", status=2).output
    assert "postgresql://me:***@127.0.0.1:1/x cannot be used" in output
    assert "refused" in output
    assert "geheim" not in output


def test_the_schema_is_current(in_finished: Path) -> None:
    assert "expects it" in call("db", "check").output
    assert call("db", "current").output.strip()


def test_catalogs_are_added_and_listed(project: TestProject, tmp_path: Path) -> None:
    file = tmp_path / "third.parquet"
    shutil.copyfile(project.folder / "catalogs" / "nvss_like.parquet", file)
    call("catalog", "add", "third", str(file), "--freq-mhz", "1400", "--beam-arcsec", "45")
    assert "third" in call("catalog", "list").output
    assert "nvss" in call("catalog", "list", "--presets").output


def test_an_epoch_still_delivered_is_not_deleted(in_finished: Path) -> None:
    epoch = names(Path("incoming"))[0]
    assert "move its folder away" in call("epoch", "delete", epoch, status=2).output.replace("\n", " ")


def test_simulate_writes_a_survey(tmp_path: Path) -> None:
    call("simulate", str(tmp_path / "out"), "--epochs", "2", "--sources", "100", "--seed", "3")
    assert len(list((tmp_path / "out" / "incoming").glob("*/images.csv"))) == 2
    assert len(pd.read_parquet(tmp_path / "out" / "truth" / "sources.parquet")) >= 100


@pytest.mark.slow
def test_demo_recovers_the_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    output = call("demo", "--epochs", "3").output
    assert "Recovered against the truth" in output
    assert "dagster dev" in output


def test_bars_do_not_wait_for_epochs_that_a_failed_stage_held_up() -> None:
    shown = Progress(console=Console(file=io.StringIO()))
    bars = _Bars(shown)
    bars.begin(["read", "fold"], ["a", "b", "c"])
    for epoch in "abc":
        bars.advance("read", epoch)
    bars.begin(["fold"], ["a", "b"])
    for epoch in "ab":
        bars.advance("fold", epoch)
    assert {task.description: (task.completed, task.total) for task in shown.tasks} == {"read": (3, 3), "fold": (2, 2)}
