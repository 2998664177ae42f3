"""Make the frozen survey again, with the code of the commit that it is named after; see README.md here.

    git worktree add /tmp/before 4d43436
    python -m contimg_assets_tests.frozen.make /tmp/before contimg_assets_tests/frozen/survey_4d43436.tar.xz

Everything is done as a user would do it, with the command line, so that this file need not follow the modules about.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import time
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from contimg_assets_tests.frozen.arithmetic import LIBRARIES, probe

# Named in a memory of file times in the store: no test may find a folder there.
FOLDER = Path("/tmp/contimg_assets_frozen_survey")
KEPT = ("contimg.yaml", "dagster.yaml", "workspace.yaml", "catalogs", "incoming", "store", "products.sqlite3")
TIME_OF_ALL_FILES = 1_577_836_800  # 2020-01-01
SIMULATE = """
from pathlib import Path
from contimg_assets.simulate import SurveyParameters, simulate_survey
simulate_survey(Path("simulated"), SurveyParameters(
    seed=2, n_epochs=4, images_per_epoch=2, image_spacing_deg=1.6, image_radius_deg=1.1, n_sources=105,
    flux_min_mjy=40, faint_per_deg2=2, faint_min_mjy=20, n_transients=3, missing_image_fraction=0,
    variable_fraction=0.06, double_fraction=0.12, blend_fraction=0.16, blend_split_fraction=0.5, false_per_image=1.5,
))
"""
CONFIGURATION = """\
# One key at least of every section that changes results, and the scales between epochs applied.
catalogs:
  first_like: {path: catalogs/first_like.parquet, freq_mhz: 1400.0, beam_arcsec: 5.4}
  nvss_like: {path: catalogs/nvss_like.parquet, freq_mhz: 1400.0, beam_arcsec: 45.0}
ingest: {min_axis_beam_fraction: 0.85, max_rejected_fraction: 0.3}
measurements: {flux_fractional_err: 0.01}
association: {completeness: 0.85}
matching: {radius_arcsec: 12.0}
corrections:
  position_catalogs: [first_like, nvss_like]
  flux_catalogs: [nvss_like, first_like]
  apply_flux: epochs
  min_snr: 15.0
  max_offset_arcsec: 1.5
variability: {upper_limit_sigma: 4.5}
checks: {min_covered: 20}
"""


def make(code: Path) -> None:
    """Simulate, deliver one epoch late, run after each, and reject one match, all with the code in a folder."""
    environment = {key: value for key, value in os.environ.items() if key not in ("DAGSTER_HOME", "CONTIMG_CONFIG")}
    environment |= {"LOGNAME": "astronomer", "PYTHONPATH": str(code)}

    def python(program: str, *arguments: str) -> None:
        subprocess.run([sys.executable, "-c", program, *arguments], cwd=FOLDER, env=environment, check=True)

    def contimg(*arguments: str) -> None:
        python("from contimg_assets.cli import main; main()", *arguments)

    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    python(SIMULATE)
    (FOLDER / "simulated" / "catalogs").rename(FOLDER / "catalogs")
    (FOLDER / "contimg.yaml").write_text(CONFIGURATION, encoding="utf-8")
    contimg("init")
    epochs = sorted((FOLDER / "simulated" / "incoming").iterdir())
    late = epochs.pop(2)
    for arriving in (epochs, [late]):
        for epoch in arriving:
            epoch.rename(FOLDER / "incoming" / epoch.name)
        time.sleep(5)  # old enough for their versions to be remembered
        contimg("run")
    matches = matched()
    contimg("match", "reject", *matches.iloc[len(matches) // 2], "--comment", "a side lobe")
    contimg("run")
    made_with = {"probe": probe(), "versions": {name: version(name) for name in LIBRARIES}}
    (FOLDER / "made_with.json").write_text(json.dumps(made_with, indent=1) + "\n", encoding="utf-8")


def matched() -> pd.DataFrame:
    """Every match, the least probable first."""
    query = "SELECT source_id, catalog_type, catalog_source_id FROM cross_matches ORDER BY probability, id"
    with closing(sqlite3.connect(FOLDER / "products.sqlite3")) as connection:
        return pd.read_sql_query(query, connection)


def pack(archive: Path) -> None:
    """One file, the same whenever and by whomever it is packed."""
    if (FOLDER / "products.sqlite3-wal").exists():
        raise SystemExit(f"a process has {FOLDER}/products.sqlite3 open: what it wrote is not all in that file yet")
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:xz", preset=9) as tar:
        for path in sorted(path for name in (*KEPT, "made_with.json") for path in files(FOLDER / name)):
            member = tarfile.TarInfo(str(path.relative_to(FOLDER)))
            member.size, member.mtime, member.mode = path.stat().st_size, TIME_OF_ALL_FILES, 0o644
            with path.open("rb") as content:
                tar.addfile(member, content)
    archive.write_bytes(stream.getvalue())


def files(path: Path) -> list[Path]:
    return [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]


if __name__ == "__main__":
    make(Path(sys.argv[1]).absolute())
    pack(Path(sys.argv[2]))
    shutil.rmtree(FOLDER)
