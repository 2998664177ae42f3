"""What surveys cost: terms are told apart, large surveys follow from small ones, and nonsense is refused."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from contimg_assets.cli.trial import SHAPES
from contimg_assets.database.engine import open_engine
from contimg_assets.errors import InputError
from contimg_assets.planning import QUANTITIES, Measured, Plan, SurveySize, fit_costs
from contimg_assets.planning.costs import DATABASE_CACHE_BYTES

# As of one machine; database_bytes stays below what SQLite keeps.
TRUE = {
    "processor_s": {"run": 7.5, "epoch": 0.4, "image": 0.045, "detection": 1.6e-4},
    "shared_s": {"epoch": 0.2, "image": 0.02, "detection": 8e-5},
    "memory_bytes": {"run": 3.8e8},
    "store_bytes": {"epoch": 1.5e5, "image": 8e3, "source": 10.0, "detection": 970.0},
    "database_bytes": {"run": 5e5, "source": 1.1e3, "detection": 900.0},
    "dagster_bytes": {"run": 1.2e6, "epoch": 8e4, "image": 3e3},
}


def costs_of(size: SurveySize) -> dict[str, float]:
    """As a system says them: with rows in memory, and what SQLite keeps of the database."""
    costs = {name: float(size.terms(tuple(terms)) @ np.array(list(terms.values()))) for name, terms in TRUE.items()}
    costs["memory_bytes"] += 11e3 * size.epoch_detections + 450.0 * size.n_detections
    costs["memory_bytes"] += min(costs["database_bytes"], DATABASE_CACHE_BYTES)
    return costs


def measured(noise: float = 0.0) -> list[Measured]:
    rng = np.random.default_rng(21)
    return [
        Measured(size, {name: value * (1 + noise * rng.normal()) for name, value in costs_of(size).items()})
        for size in SHAPES
    ]


def test_the_small_surveys_of_the_command_tell_all_terms_apart() -> None:
    model = fit_costs(measured())
    for name, terms in TRUE.items():
        assert model.constants[name] == pytest.approx(terms, rel=1e-6, abs=1e-9), name


def test_a_survey_a_thousand_times_larger_follows_from_small_ones() -> None:
    size = SurveySize(n_sources=1_000_000, n_epochs=100, n_images=50, detections_per_epoch=400_000)
    plan = fit_costs(measured()).plan(size)
    expected = costs_of(size)
    assert plan.costs["processor_s"] == pytest.approx(expected["processor_s"])
    assert plan.memory_bytes == pytest.approx(expected["memory_bytes"])
    assert plan.disk_bytes == pytest.approx(
        expected["store_bytes"] + 2 * expected["database_bytes"] + expected["dagster_bytes"]
    )
    assert plan.times_measured == pytest.approx(4e7 / (8000 * 8))


def test_noise_of_a_busy_machine_moves_a_plan_by_little_more_than_itself() -> None:
    size = SurveySize(10_000, 40, 6)
    plan = fit_costs(measured(noise=0.03)).plan(size)
    assert plan.costs["processor_s"] == pytest.approx(costs_of(size)["processor_s"], rel=0.12)


def test_costs_are_never_negative_where_a_term_cannot_be_seen() -> None:
    flat = [Measured(size, dict.fromkeys(QUANTITIES, 5.0)) for size in SHAPES]
    constants = fit_costs(flat).constants
    assert all(value >= 0 for terms in constants.values() for value in terms.values())
    assert constants["processor_s"]["run"] == pytest.approx(5.0)


def test_helpers_take_over_what_they_can_and_hold_an_epoch_each() -> None:
    model = fit_costs(measured())
    size = SurveySize(10_000, 100, 12)
    alone, one, four = (model.plan(size, number) for number in (0, 1, 4))
    own = alone.costs["processor_s"] - alone.costs["shared_s"]
    assert alone.time_s == one.time_s == alone.costs["processor_s"]
    assert four.time_s == pytest.approx(own + alone.costs["shared_s"] / 4)
    assert four.memory_bytes - alone.memory_bytes == pytest.approx(4 * (3.8e8 + 11e3 * 10_000))


def test_the_advised_number_of_workers_is_the_fewest_that_come_near_the_least_time() -> None:
    plan = fit_costs(measured()).plan(SurveySize(10_000, 100, 12))
    useful, least = plan.useful_workers, plan.costs["processor_s"] - plan.costs["shared_s"]
    assert replace(plan, n_workers=useful).time_s <= 1.25 * least < replace(plan, n_workers=useful - 1).time_s


def test_no_workers_are_advised_where_they_have_nothing_to_take_over() -> None:
    costs = {**costs_of(SurveySize(10, 1, 1)), "shared_s": 0.0}
    assert Plan(SurveySize(10, 1, 1), costs, 0, 1.0, 0.0).useful_workers == 0
    all_of_it = {**costs, "shared_s": costs["processor_s"]}
    assert Plan(SurveySize(10, 7, 1), all_of_it, 0, 1.0, 0.0).useful_workers == 7


def test_surveys_that_are_all_alike_are_refused() -> None:
    with pytest.raises(InputError, match=r"4 measured surveys do not tell the terms of processor_s apart \(run, epoch"):
        fit_costs([measured()[0]] * 4)
    with pytest.raises(InputError, match="0 measured surveys do not tell"):
        fit_costs([])


@pytest.mark.parametrize(
    ("numbers", "sentence"),
    [
        ((0, 1, 1), "n_sources is 0; a survey has at least one"),
        ((1, -3, 1), "n_epochs is -3"),
        ((1, 1, 1, -1.0), "detections_per_epoch is -1.0; give a number of rows"),
        ((1, 1, 1, float("nan")), "detections_per_epoch is nan"),
    ],
)
def test_sizes_that_no_survey_has_are_refused(numbers: tuple[float, ...], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        SurveySize(*numbers)  # type: ignore[arg-type]


def test_fewer_workers_than_none_are_refused() -> None:
    with pytest.raises(InputError, match="-1 workers cannot help"):
        fit_costs(measured()).plan(SurveySize(1, 1, 1), -1)


def test_sqlite_keeps_as_much_of_the_database_as_plans_say(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "products.sqlite3"):
        pass
    engine = open_engine(f"sqlite:///{tmp_path}/products.sqlite3")
    with engine.connect() as connection:
        kept = connection.execute(sa.text("PRAGMA cache_size")).scalar()
    engine.dispose()
    assert kept == -DATABASE_CACHE_BYTES // 1024
