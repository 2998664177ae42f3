"""Epochs that are delivered anew apart from each other: their folds change what lies between, and all of it fits."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from contimg_assets.simulate import SurveyParameters, simulate_survey
from contimg_assets_tests.projects import TestProject, assert_same_rows, make_project

# Forks of this method copy rows of earlier epochs, so that an epoch names measurements of others.
FORKING = {"method": "advanced", "radius_arcsec": 60.0}


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crowded")
    parameters = SurveyParameters(
        n_epochs=3,
        images_per_epoch=2,
        n_sources=120,
        n_transients=2,
        double_fraction=0.5,
        double_separation_beams=(0.3, 1.2),
        lost_fraction=0.1,
        seed=2,
    )
    simulate_survey(folder, parameters)
    return folder


def deliver_in_part(project: TestProject, epoch: str) -> None:
    """Deliver an epoch with 30 % of its rows missing."""
    for file in (project.folder / "incoming" / epoch).glob("*.csv"):
        if file.name != "images.csv":
            pd.read_csv(file, dtype=str).sample(frac=0.7, random_state=1).sort_index().to_csv(file, index=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("association", "whole_first"),
    [(FORKING, True), (FORKING, False), ({"method": "optimal"}, False)],
    ids=["forking-whole first", "forking-in part first", "optimal-in part first"],
)
def test_two_epochs_that_are_no_neighbors_are_redelivered(
    crowded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, association: dict[str, object], whole_first: bool
) -> None:
    project = make_project(tmp_path / "project", crowded)
    project.configure(association=association)
    monkeypatch.chdir(project.folder)
    first, _, last = project.epochs
    for in_part in (not whole_first, whole_first):
        project.deliver(*(project.epochs if in_part != whole_first else (first, last)))
        for epoch in (first, last) if in_part else ():
            deliver_in_part(project, epoch)
        report = project.run()
        assert report.complete, report.failed["reason"].tolist()
    assert project.run().run_ids == []

    scratch = make_project(tmp_path / "scratch", crowded)
    scratch.configure(association=association)
    monkeypatch.chdir(scratch.folder)
    scratch.deliver()
    for epoch in (first, last) if whole_first else ():
        deliver_in_part(scratch, epoch)
    assert scratch.run().complete
    assert_same_rows(project.rows(), scratch.rows(), without={"source_aliases"})
