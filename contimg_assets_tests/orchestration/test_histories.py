"""Whatever the history, and by whichever runs: the products end as those of a run from scratch, and no run fails.

A few histories that are written here by default. To draw others, on all configurations and databases:

    CONTIMG_HISTORIES=200 python -m pytest contimg_assets_tests/orchestration/test_histories.py -n0
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from contimg_assets_tests import postgres
from contimg_assets_tests.histories import (
    ABSENT,
    CONFIGURATIONS,
    IN_PART,
    MIXED,
    SKIES,
    TINY,
    WHOLE,
    Sky,
    Step,
    begun,
    quick,
)

pytestmark = pytest.mark.slow

MANY = int(os.environ.get("CONTIMG_HISTORIES", "0"))
# What a history begins with is made from scratch once; all that it may end in, too.
BEGINNINGS = [(WHOLE, WHOLE, WHOLE), (IN_PART, WHOLE, IN_PART), (WHOLE, ABSENT, WHOLE), (ABSENT, IN_PART, WHOLE)]
CHANGES = st.lists(
    st.tuples(st.integers(0, TINY.n_epochs - 1), st.sampled_from([WHOLE, IN_PART, ABSENT])),
    min_size=1,
    max_size=3,
    unique_by=lambda change: change[0],
).map(tuple)
STEPS = st.lists(
    st.builds(Step, CHANGES, st.sampled_from(["run", "some", "nobody", "jobs", "materialize"]), st.integers(0, 3)),
    min_size=1,
    max_size=3,
)
QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
# Without a wish for many, the examples alone.
PHASES = tuple(Phase) if MANY else (Phase.explicit,)


@pytest.fixture(scope="module", params=list(CONFIGURATIONS) if MANY else [MIXED])
def sky(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sky]:
    with quick():
        parameters = SKIES.get(request.param, TINY)
        yield Sky(tmp_path_factory.mktemp("sky"), CONFIGURATIONS[request.param], parameters)


def walk(sky: Sky, folder: Path, start: tuple[int, ...], steps: list[Step], products: str | None = None) -> None:
    with begun(sky, folder / "project", start) as history:
        if products is not None:
            history.project.configure(**sky.sections() | {"paths": {"products": products}})
        for step in [*steps, Step((), "run")]:
            history.take(step)


@settings(max_examples=MANY // len(CONFIGURATIONS) or 1, suppress_health_check=QUIET, phases=PHASES)
@given(start=st.sampled_from(BEGINNINGS), steps=STEPS)
# One comes as the two others go; all but the last go, and all come again, newest first.
@example(start=(IN_PART, ABSENT, WHOLE), steps=[Step(((1, WHOLE), (0, ABSENT), (2, ABSENT)), "some", 3)])
@example(
    start=(WHOLE, WHOLE, WHOLE),
    steps=[
        Step(((1, ABSENT), (0, ABSENT)), "materialize"),
        Step(((1, WHOLE), (0, WHOLE), (2, WHOLE)), "materialize", 3),
    ],
)
def test_any_history_ends_as_from_scratch(sky: Sky, tmp_path: Path, start: tuple[int, ...], steps: list[Step]) -> None:
    walk(sky, tmp_path, start, steps)


@pytest.mark.parametrize(
    "steps",
    [
        # Apart, and adjacent; in part first, whole later; with a deletion in between; by each kind of run.
        pytest.param([Step(((0, IN_PART), (2, IN_PART)), "run"), Step(((0, WHOLE), (2, WHOLE)), "run")], id="apart"),
        pytest.param(
            [Step(((0, IN_PART), (1, IN_PART)), "jobs", 1), Step(((0, WHOLE),), "materialize")], id="adjacent"
        ),
        pytest.param([Step(((1, ABSENT), (2, IN_PART)), "jobs"), Step(((1, IN_PART),), "some")], id="deleted"),
        # What goes has copied rows of the one that changes, and is copied by a third.
        pytest.param([Step(((0, IN_PART), (1, ABSENT)), "jobs")], id="deleted beside a change"),
    ],
)
def test_redeliveries_of_several_epochs(sky: Sky, tmp_path: Path, steps: list[Step]) -> None:
    walk(sky, tmp_path, (WHOLE, WHOLE, WHOLE), steps)


@pytest.mark.skipif(not MANY, reason="takes half a minute; test_conditions.py tells the same stories, one by one")
def test_the_daemons_conditions_end_as_from_scratch(sky: Sky, tmp_path: Path) -> None:
    walk(sky, tmp_path, (WHOLE, ABSENT, WHOLE), [Step(((0, IN_PART), (1, WHOLE)), "conditions")])


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    if postgres.server_programs() is None:
        pytest.skip("PostgreSQL is not installed; `apt-get install postgresql` to run these tests")
    pytest.importorskip("psycopg", reason="psycopg is not installed; pip install 'contimg-assets[postgres]'")
    with postgres.running() as url:
        yield url


@settings(max_examples=MANY // 10 or 1, suppress_health_check=QUIET, phases=PHASES)
@given(start=st.sampled_from(BEGINNINGS), steps=STEPS)
@example(start=(WHOLE, WHOLE, WHOLE), steps=[Step(((0, IN_PART),), "run")])
def test_any_history_ends_as_from_scratch_on_postgresql(
    sky: Sky, server: str, tmp_path: Path, start: tuple[int, ...], steps: list[Step]
) -> None:
    walk(sky, tmp_path, start, steps, postgres.fresh_database(server))
