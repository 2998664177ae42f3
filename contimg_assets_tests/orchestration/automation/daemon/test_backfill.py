"""A backfill as people launch it from the UI."""

from __future__ import annotations

import pytest

from contimg_assets_tests.orchestration.automation.deployment import (
    assert_same_products,
    deployed,
    from_scratch,
    make_project,
    products,
    small_survey,
)

pytestmark = [pytest.mark.slow]


def test_backfill_of_many_epochs_is_one_run(tmp_path):
    """`benchmarks/bench_backfill.py` says how long one of 60 epochs of 1,000 rows takes."""
    survey = small_survey(tmp_path / "survey", 16)
    project = make_project(tmp_path / "project", survey[0].parents[1])
    with deployed(project) as running:
        names = running.deliver_without_automation(survey)
        before = len(running.runs())
        backfill = running.launch_backfill(names)
        running.wait_for_epochs(400)
        # While Dagster takes its time to call the backfill complete.
        assert_same_products(products(project), from_scratch(project, tmp_path / "from_scratch"))
        running.wait_for(lambda: running.backfill_finished(backfill), "the end of the backfill", 100)
        assert len(running.runs()) == before + 1
