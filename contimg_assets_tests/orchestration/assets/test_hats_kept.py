"""The HATS collection beside the database: runs keep it as the database is."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from contimg_assets.catalogs.hats import open_hats
from contimg_assets.config import Config, Products
from contimg_assets.orchestration.assets import products as assets
from contimg_assets.orchestration.runs.in_process import bring_up_to_date
from contimg_assets.pipeline.project import Project
from contimg_assets_tests.ingest.build import csv, epoch_folder, sky
from contimg_assets_tests.instances import instance_in_memory


def _run(config: Config) -> None:
    with instance_in_memory() as instance:
        report = bring_up_to_date(Project(config), instance)
    assert [*report.errors, *report.problems, *report.troubles] == []


def _points(folder: Path) -> dict[str, int]:
    """Points of light curves by source, as a reader finds them."""
    catalog = open_hats(folder)
    tables = [pq.read_table(catalog.files(tile)[0], partitioning=None) for tile in range(len(catalog))]
    rows = [row for table in tables for row in table.select(["id", "light_curve"]).to_pylist()]
    return {row["id"]: len(row["light_curve"]["mjd"]) for row in rows}


def _of_database(config: Config) -> dict[str, int]:
    with Project(config).products as database:
        rows = database.query("SELECT source_id, count(*) AS n FROM light_curves GROUP BY source_id")
    return dict(zip(rows["source_id"], rows["n"], strict=True))


@pytest.mark.slow
def test_runs_keep_the_collection_as_the_database_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(root=tmp_path, products=Products(hats=Path("sources_hats")))
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    folder = tmp_path / "sources_hats"
    epoch_folder(incoming, csv(sky(20)))
    _run(config)
    assert _points(folder) == _of_database(config) != {}
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*.*")}
    _run(config)
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*.*")} == before

    # Killed right after the database was written: the next run sees it.
    (tmp_path / "later").mkdir()
    epoch_folder(tmp_path / "later", csv(sky(18)), mjd_mid=61000.0).rename(incoming / "e2")
    with monkeypatch.context() as patch:
        patch.setattr(assets, "_keep_hats", lambda *_: None)
        _run(config)
    assert _points(folder) == _of_database(config)
    assert max(_points(folder).values()) == 2

    # What somebody else put there is not touched, and told.
    (folder / "notes.txt").write_text("mine")
    with instance_in_memory() as instance:
        report = bring_up_to_date(Project(config), instance)
    assert [trouble for trouble in report.troubles if "holds 'notes.txt', which was not written here" in trouble]
