"""What the automation conditions ask for, tick by tick: the right epochs of the right stages, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from contimg_assets.config import Corrections
from contimg_assets.pipeline.project import Project
from contimg_assets.pipeline.staleness import of_epochs
from contimg_assets_tests.orchestration.automation.deployment import (
    QUICK,
    assert_same_products,
    from_scratch,
    make_project,
    products,
    small_survey,
    written,
)
from contimg_assets_tests.orchestration.automation.ticks import SETTLING_TICKS, Automaton, Done, automated
from contimg_assets_tests.projects import stale_tables

ALL = (
    "raw_detections",
    "measurements",
    "associated_sources",
    "catalog_matches",
    "corrections",
    "error_model",
    "products",
)
FROM_MATCHES = ALL[3:]


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return small_survey(tmp_path_factory.mktemp("survey"), 4)


@pytest.fixture
def automaton(survey: list[Path], tmp_path: Path) -> Iterator[Automaton]:
    """A project whose reference catalog is there and in which nothing was delivered."""
    project = make_project(tmp_path / "project", survey[0].parents[1], {"automation": QUICK | {"settle_seconds": 0.0}})
    with automated(project) as found:
        assert found.settle() == [Done(("reference/nvss_like",), ())]
        yield found


def catalogue(automaton: Automaton, epoch: Path) -> Path:
    folder = automaton.project.config.incoming / epoch.name
    return next(file for file in sorted(folder.glob("*.csv")) if file.name != "images.csv")


def asked_of_epochs(automaton: Automaton) -> list[tuple[str, ...]]:
    """Stages that one tick asks for, without the scales between epochs, which follow every change."""
    return [stages for stages, epochs in automaton.request().items() if epochs != [""]]


@pytest.mark.slow
def test_new_late_and_changed_epochs(automaton, survey, tmp_path):
    first, late, last = survey[0], survey[1], survey[2]
    automaton.deliver(first, last)
    done = automaton.settle()
    assert done == [Done(ALL, (first.name, last.name))]
    assert automaton.scales == 1

    automaton.deliver(late)
    own, later = automaton.settle()
    assert own == Done(ALL, (late.name,))
    assert later.epochs == (last.name,)
    assert later.stages == FROM_MATCHES

    # Nothing happened since, a copy of the same bytes and a touch included: nothing to do.
    automaton.deliver(first, late, last)
    changed = catalogue(automaton, late)
    changed.touch()
    assert automaton.settle() == []

    # Other bytes with the same content stop after the first stage.
    rows = pd.read_csv(changed, dtype=str)
    before = written(automaton.project)
    rows.sample(frac=1, random_state=1).to_csv(changed, index=False)
    (one,) = automaton.settle()
    assert one == Done(ALL, (late.name,))
    after = written(automaton.project)
    assert {key for key in after if after[key] != before[key]} == {("raw_detections", late.name)}

    rows.iloc[:-4].to_csv(changed, index=False)
    own, *others = automaton.settle()
    assert own == Done(ALL, (late.name,))
    assert [one.epochs for one in others] in ([], [(last.name,)])
    assert (of_epochs(automaton.project.assess())["state"] == "fresh").all()
    assert_same_products(products(automaton.project), from_scratch(automaton.project, tmp_path / "from_scratch"))
    # Where the scales were asked for beside the matches, they follow when the reconciler looks (docs/dagster.md).
    assert set(stale_tables(automaton.project)) <= {"epoch_scales", "products/epoch_scales"}


@pytest.mark.slow
def test_failed_epoch_is_left_until_it_changes_and_holds_nobody_back(automaton, survey):
    bad, good = survey[0], survey[1]
    automaton.deliver(bad, good)
    file = catalogue(automaton, bad)
    text = file.read_text()
    file.write_text(text.replace("\n", "\nnot a row\n", 1))
    together, alone = automaton.settle()
    assert together == Done(ALL, (bad.name, good.name), success=False)
    assert alone == Done(ALL[1:], (good.name,))
    # Left alone: no tick tries the same file again.
    assert automaton.settle() == []
    states = automaton.project.assess().set_index(["epoch", "stage"])["state"]
    assert (states[good.name] == "fresh").all()
    assert states[bad.name, "raw_detections"] == "failed"

    file.write_text(text)
    recovered, later = automaton.settle()
    assert recovered == Done(ALL, (bad.name,))
    assert later == Done(FROM_MATCHES, (good.name,))
    assert (of_epochs(automaton.project.assess())["state"] == "fresh").all()


@pytest.mark.slow
def test_changed_catalogue_and_changed_configuration(automaton, survey):
    automaton.deliver(survey[0], survey[1])
    automaton.settle()
    file = automaton.project.config.catalog_path("nvss_like")
    table = pd.read_parquet(file)
    table.assign(flux_mjy=table["flux_mjy"] * 1.1).to_parquet(file)
    names = (survey[0].name, survey[1].name)
    done = automaton.settle()
    assert done[0].stages == ("reference/nvss_like",)
    assert done[1:] == [Done(FROM_MATCHES, names)]

    config = automaton.project.config.model_copy(update={"corrections": Corrections(min_snr=15.0)})
    automaton.project = Project(config)
    automaton.reload()
    assert automaton.settle() == [Done(FROM_MATCHES[1:], names)]


@pytest.mark.slow
def test_run_that_ends_between_two_evaluations_is_not_repeated(automaton, survey):
    # An evaluation sees events as of its beginning and runs as of its end. Here it begins while the run writes the
    # products and ends after the run: corrections are news, the products are not, and nothing is in progress.
    automaton.deliver(survey[0])
    automaton.sensor("deliveries")
    assert automaton.request() == {ALL: [survey[0].name]}
    automaton.run(ALL[:-1], [survey[0].name])
    assert asked_of_epochs(automaton) == []
    automaton.run(ALL[-1:], [survey[0].name])
    assert [asked_of_epochs(automaton) for _ in range(SETTLING_TICKS + 1)] == [[]] * (SETTLING_TICKS + 1)


@pytest.mark.slow
def test_what_a_run_left_out_is_asked_for_once_more(automaton, survey):
    automaton.deliver(survey[0])
    automaton.sensor("deliveries")
    assert automaton.request() == {ALL: [survey[0].name]}
    automaton.run(ALL[:-1], [survey[0].name])
    assert automaton.settle() == [Done(ALL[-1:], (survey[0].name,))]
    assert automaton.settle() == []
