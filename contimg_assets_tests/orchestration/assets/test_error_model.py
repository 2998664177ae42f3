"""The error model as a fold: whatever the history, its rows and the statistics made with it are those from scratch."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from contimg_assets.orchestration.runs.in_process import delete_epoch
from contimg_assets.simulate import SurveyParameters, simulate_survey
from contimg_assets.variability import error_state
from contimg_assets.variability.error_model import AXES
from contimg_assets_tests.database.conftest import HISTORY
from contimg_assets_tests.projects import TestProject, assert_same_rows, make_project


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("errors")
    simulate_survey(folder, SurveyParameters(n_epochs=5, images_per_epoch=2, n_sources=250, n_transients=2, seed=8))
    return folder


def model_of(project: TestProject) -> pd.DataFrame:
    with project.project.products as database:
        return database.read_table("error_model")


def present(project: TestProject) -> dict[str, pd.DataFrame]:
    """All rows but those that tell of the past."""
    return {name: rows for name, rows in project.rows().items() if name not in HISTORY}


@pytest.mark.slow
def test_any_history_ends_in_the_model_of_a_run_from_scratch(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A model that is replaced at every epoch, so that each history has others on its way.
    monkeypatch.setattr(error_state, "has_moved", lambda *_: True)
    project = make_project(tmp_path / "project", small)
    epochs = project.epochs
    models = []
    for arriving in (epochs[1:2], epochs[3:], epochs[:1]):
        project.deliver(*arriving)
        assert project.run().complete
        models.append(model_of(project))
    assert not models[-1].equals(models[-2])
    again = project.run()
    assert again.complete
    assert not again.run_ids

    scratch = make_project(tmp_path / "scratch", small)
    scratch.deliver(epochs[0], epochs[1], epochs[3], epochs[4])
    assert scratch.run().complete
    assert_same_rows(present(project), present(scratch))

    # Without the last epoch the model is the one before it.
    shutil.rmtree(project.folder / "incoming" / epochs[-1])
    delete_epoch(project.project, project.instance, epochs[-1])
    fewer = make_project(tmp_path / "fewer", small)
    fewer.deliver(epochs[0], epochs[1], epochs[3])
    assert fewer.run().complete
    assert_same_rows(present(project), present(fewer))


@pytest.mark.slow
def test_night_that_moves_no_model_writes_its_own_epoch_only(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(error_state, "has_moved", lambda *_: False)
    project = make_project(tmp_path / "project", small)
    project.deliver(*project.epochs[:4])
    assert project.run().complete
    model = model_of(project)
    # Of positions what is believed beforehand, of fluxes nothing.
    assert set(model["flux_kind"]) == set(AXES)
    assert (model["n_residuals"] == 0).all()
    before = {asset: len(project.materialized(asset)) for asset in ("error_model", "products/sources")}
    project.deliver(project.epochs[4])
    assert project.run().complete
    for asset, n in before.items():
        assert project.materialized(asset)[n:] == project.epochs[4:]
    pd.testing.assert_frame_equal(model_of(project), model)
