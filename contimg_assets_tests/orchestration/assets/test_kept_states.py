"""What folds carry is kept by cell of the sky: an epoch writes the cells that it sees, any history ends in the same."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from contimg_assets.orchestration.runs.in_process import delete_epoch
from contimg_assets.pipeline.sky_parts import PARTS_FOLDER
from contimg_assets.pipeline.store_check import check_store, mend_store
from contimg_assets.pipeline.upkeep import tidy_store
from contimg_assets.simulate import SurveyParameters, simulate_survey
from contimg_assets_tests.projects import TestProject, assert_same_rows, make_project

_N_EPOCHS = 7
_FOLDS = {"associated_sources": "state", "corrections": "known_fluxes", "error_model": "error_means"}


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


def parts(project: TestProject, stage: str, epoch: str) -> dict[int, str]:
    """Version of each part after an epoch, by cell."""
    table = project.project.store.read(stage, epoch, f"{_FOLDS[stage]}_parts")
    return dict(zip(table["cell"], table["version"], strict=True))


def from_scratch(strip: Path, folder: Path, epochs: list[str]) -> TestProject:
    project = make_project(folder, strip)
    project.deliver(*epochs)
    assert project.run().complete
    return project


@pytest.fixture(scope="module")
def of_two(strip: Path, tmp_path_factory: pytest.TempPathFactory) -> TestProject:
    """The first two epochs, everything made; to be copied and not to be changed."""
    folder = tmp_path_factory.mktemp("two") / "project"
    return from_scratch(strip, folder, [path.name for path in sorted((strip / "incoming").iterdir())[:2]])


@pytest.fixture(scope="module")
def of_three(strip: Path, tmp_path_factory: pytest.TempPathFactory) -> TestProject:
    """The first three, likewise."""
    folder = tmp_path_factory.mktemp("three") / "project"
    return from_scratch(strip, folder, [path.name for path in sorted((strip / "incoming").iterdir())[:3]])


@pytest.mark.slow
def test_any_history_ends_in_the_rows_of_a_run_from_scratch(strip: Path, tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", strip)
    epochs = project.epochs
    for arriving in (epochs[:2], epochs[4:], epochs[2:3]):
        project.deliver(*arriving)
        assert project.run().complete
    in_order = project.project.epochs()
    for stage in _FOLDS:
        lists = [parts(project, stage, epoch) for epoch in in_order]
        assert all(len(one) > 2 for one in lists)
        shared = [len(one.items() & later.items()) for one, later in pairwise(lists)]
        assert max(shared) > 0, stage
        # Nothing is there that no epoch names.
        files = {file.name for file in (project.folder / "store" / stage / PARTS_FOLDER).iterdir()}
        named = {f"{_FOLDS[stage]}-{cell}-{version}.parquet" for one in lists for cell, version in one.items()}
        assert named <= files

    gone = epochs[1]
    shutil.rmtree(project.folder / "incoming" / gone)
    assert delete_epoch(project.project, project.instance, gone).complete
    project.deliver(epochs[3])
    assert project.run().complete
    left = [epoch for epoch in epochs if epoch != gone]
    scratch = from_scratch(strip, tmp_path / "scratch", left)
    assert_same_rows(project.rows(), scratch.rows(), without={"source_aliases"})
    # What no record names any more is tidied away, and nothing else.
    assert tidy_store(project.project, older_than_hours=1.0) == []
    removed = {path for path, _ in tidy_store(project.project, older_than_hours=0.0)}
    assert removed and all(Path(path).parent.name == PARTS_FOLDER for path in removed)
    assert check_store(project.project) == []
    assert project.run(force=True).complete


@pytest.mark.slow
@pytest.mark.parametrize("stage", _FOLDS)
def test_a_part_that_is_gone_or_damaged_is_refused_found_and_mended(
    of_two: TestProject, of_three: TestProject, tmp_path: Path, stage: str
) -> None:
    shutil.copytree(of_two.folder, tmp_path / "project")
    project = TestProject(tmp_path / "project", of_two.survey)
    epochs = project.epochs
    # Of a cell that the third epoch looks at.
    before, after = parts(of_three, stage, epochs[1]), parts(of_three, stage, epochs[2])
    cell = next(cell for cell in before if before[cell] != after.get(cell))
    file = project.folder / "store" / stage / PARTS_FOLDER / f"{_FOLDS[stage]}-{cell}-{before[cell]}.parquet"
    table = pq.read_table(file, partitioning=None)
    pq.write_table(table.slice(1), file)
    project.deliver(epochs[2])
    assert "contimg run --force" in project.run().failed["reason"].iloc[0]
    faults = check_store(project.project)
    assert {fault.file for fault in faults} == {str(file)} and {fault.stage for fault in faults} == {stage}
    assert mend_store(project.project, faults) == []
    assert project.run().complete
    assert check_store(project.project) == []
    assert_same_rows(project.rows(), of_three.rows())
