"""Images and the conditions: an epoch without them asks for nothing, and one whose image comes later is measured."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from contimg_assets.pipeline.records import EpochRecord
from contimg_assets.pipeline.stages import EPOCH_STAGES, FORCED_PRODUCTS, FORCED_STAGE
from contimg_assets.simulate import SurveyParameters, simulate_survey
from contimg_assets_tests.orchestration.automation.ticks import Automaton, automated
from contimg_assets_tests.projects import make_project

PARAMETERS = SurveyParameters(
    n_epochs=2, images_per_epoch=1, n_sources=60, image_radius_deg=0.6, missing_image_fraction=0.0, seed=4
)
FORCED = (FORCED_STAGE.name, FORCED_PRODUCTS.name)


@pytest.fixture
def automaton(tmp_path: Path) -> Iterator[Automaton]:
    simulate_survey(tmp_path / "survey", PARAMETERS, images=True)
    project = make_project(tmp_path / "project", tmp_path / "survey")
    project.deliver()
    project.configure(automation={"settle_seconds": 0})
    with automated(project.project) as made:
        yield made


def records(automaton: Automaton) -> dict[tuple[str, str], EpochRecord]:
    store = automaton.project.store
    found = {
        (one.name, epoch): store.record(one.name, epoch) for one in EPOCH_STAGES for epoch in store.epochs(one.name)
    }
    return {key: record for key, record in found.items() if record is not None}


@pytest.mark.slow
def test_an_image_that_comes_later_is_measured_and_nothing_else_is_made(automaton: Automaton, tmp_path: Path) -> None:
    first, second = sorted(path.name for path in automaton.project.config.incoming.iterdir())
    (image,) = (automaton.project.config.incoming / second).glob("*.fits")
    image.rename(tmp_path / image.name)
    made = automaton.settle()
    assert all(one.success for one in made)
    # The one with an image is measured in the run that makes the rest, or in one after it.
    assert automaton.project.store.epochs(FORCED[0]) == [first]
    before = records(automaton)
    (tmp_path / image.name).rename(image)
    later = automaton.settle()
    assert all(one.success for one in later)
    assert {epoch for one in later for epoch in one.epochs if FORCED[0] in one.stages} == {second}
    # The delivery is read again; the other stages look, and find nothing to do.
    changed = {key for key, record in records(automaton).items() if record != before.get(key)}
    assert changed == {("raw_detections", second), (FORCED_STAGE.name, second)}
    assert set(automaton.project.products.read_table("forced_fluxes")["epoch"]) == {first, second}
    assert automaton.settle() == []


@pytest.mark.slow
def test_sources_of_an_epoch_without_images_are_measured_on_older_images(automaton: Automaton, tmp_path: Path) -> None:
    incoming = automaton.project.config.incoming
    first, second = sorted(path.name for path in incoming.iterdir())
    for image in (incoming / second).glob("*.fits"):
        image.unlink()
    (incoming / second).rename(tmp_path / second)
    assert all(one.success for one in automaton.settle())
    known = set(automaton.project.products.read_table("forced_fluxes")["position"])
    (tmp_path / second).rename(incoming / second)
    assert all(one.success for one in automaton.settle())
    products = automaton.project.products
    born = products.query(f"SELECT id FROM sources WHERE first_epoch = '{second}'")["id"]
    rows = products.read_table("forced_fluxes")
    assert len(born) > 0
    assert set(rows["epoch"]) == {first}
    assert set(born) & set(rows["position"]) - known
    # Nothing is left to the reconciler.
    assoc = automaton.project.assess()
    assert set(assoc["state"]) == {"fresh"}
    assert automaton.settle() == []
