"""States of the fold that are kept as what an epoch changed: small, and the same history all the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from contimg_assets.orchestration.assets import associated_sources
from contimg_assets.orchestration.assets.associated_sources import CHANGES_KEPT
from contimg_assets.orchestration.runs.in_process import delete_epoch
from contimg_assets.simulate import SurveyParameters, simulate_survey
from contimg_assets_tests.projects import TestProject, assert_same_rows, make_project

_N_EPOCHS = 7


@pytest.fixture(scope="module")
def strip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first epoch sees the whole strip, each later one a fourth of it."""
    folder = tmp_path_factory.mktemp("strip")
    simulate_survey(folder, SurveyParameters(n_epochs=_N_EPOCHS, images_per_epoch=8, n_sources=400, seed=3))
    for k, epoch in enumerate(sorted((folder / "incoming").iterdir())[1:]):
        manifest = pd.read_csv(epoch / "images.csv", dtype=str)
        first = 2 * (k % 4)
        manifest.iloc[first : first + 2].to_csv(epoch / "images.csv", index=False)
    return folder


def kept(project: TestProject) -> list[int]:
    records = (project.project.store.record("associated_sources", epoch) for epoch in project.project.epochs())
    return [record.facts[CHANGES_KEPT] for record in records if record]


def rows_from_scratch(strip: Path, folder: Path, epochs: list[str]) -> dict[str, pd.DataFrame]:
    project = make_project(folder, strip)
    project.deliver(*epochs)
    assert project.run().complete
    return project.rows()


def test_any_history_ends_in_the_rows_of_a_run_from_scratch(
    strip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(associated_sources, "_MAX_CHANGES_KEPT", 2)
    project = make_project(tmp_path / "project", strip)
    epochs = project.epochs
    for arriving in (epochs[:2], epochs[4:], epochs[2:3]):
        project.deliver(*arriving)
        assert project.run().complete
    # The third of what was kept as changes is a full state again; the late epoch had the later ones kept anew.
    assert kept(project) == [0, 1, 2, 0, 1, 2]
    records = [project.project.store.record("associated_sources", epoch) for epoch in project.project.epochs()]
    n_kept = [record.tables["state"].rows for record in records if record]
    assert max(n_kept[1:3]) < n_kept[0] / 2

    gone = epochs[1]
    shutil.rmtree(project.folder / "incoming" / gone)
    assert delete_epoch(project.project, project.instance, gone).complete
    project.deliver(epochs[3])
    assert project.run().complete
    left = [epoch for epoch in epochs if epoch != gone]
    assert_same_rows(project.rows(), rows_from_scratch(strip, tmp_path / "scratch", left), without={"source_aliases"})


def test_a_state_that_cannot_be_put_together_is_refused_and_mended_by_force(strip: Path, tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", strip)
    epochs = project.epochs
    project.deliver(*epochs[:2])
    assert project.run().complete
    record_file = project.folder / "store/associated_sources" / epochs[0] / "record.json"
    record = json.loads(record_file.read_text())
    file = record_file.with_name(record["tables"]["state"]["file"])
    table = pq.read_table(file, partitioning=None)
    pq.write_table(table.slice(1), file)
    record["tables"]["state"]["n_bytes"] = file.stat().st_size
    record_file.write_text(json.dumps(record))
    project.deliver(epochs[2])
    assert "contimg run --force" in project.run().failed["reason"].iloc[0]
    assert project.run(force=True).complete
