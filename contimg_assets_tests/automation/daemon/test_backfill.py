"""A backfill as people launch it from the UI."""

from __future__ import annotations

import dagster as dg
import pytest

from contimg_assets.orchestration.assets import stage_keys
from contimg_assets.pipeline.project import Project
from contimg_assets.pipeline.stages import EPOCH_STAGES
from contimg_assets.pipeline.staleness import of_epochs
from contimg_assets_tests.automation.deployment import (
    assert_same_products,
    deliver,
    deployed,
    from_scratch,
    make_project,
    products,
    small_survey,
)

pytestmark = [pytest.mark.slow]

_BACKFILL = """mutation Backfill($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
_BACKFILL_STATUS = """query Status($id: String!) { partitionBackfillOrError(backfillId: $id) {
    ... on PartitionBackfill { status } } }"""


def test_backfill_of_many_epochs_is_one_run(tmp_path):
    survey = small_survey(tmp_path / "survey", 16)
    project = make_project(tmp_path / "project", survey[0].parents[1])
    with deployed(project) as running:
        running.settle()
        running.stop_automation()
        for epoch in survey:
            deliver(epoch, project.config.incoming)
        names = [epoch.name for epoch in survey]
        running.wait_for(lambda: running.partitions() == names, "all epochs registered", 60)
        before = len(running.runs())
        selection = [{"path": key.path} for key in _everything(project)]
        answer = running.graphql(
            _BACKFILL, {"params": {"assetSelection": selection, "partitionNames": names, "fromFailure": False}}
        )["launchPartitionBackfill"]
        assert answer["__typename"] == "LaunchBackfillSuccess", answer

        def finished() -> bool:
            status = running.graphql(_BACKFILL_STATUS, {"id": answer["backfillId"]})["partitionBackfillOrError"]
            assert status["status"] in ("REQUESTED", "COMPLETED_SUCCESS", "COMPLETED"), status
            return status["status"].startswith("COMPLETED")

        # The scales between epochs have no epochs to backfill: `automation`, which is stopped, would make them.
        running.wait_for(lambda: (of_epochs(project.assess())["state"] == "fresh").all(), "the backfill", 400)
        # While Dagster takes its time to call the backfill complete.
        assert_same_products(products(project), from_scratch(project, tmp_path / "from_scratch"))
        running.wait_for(finished, "the end of the backfill", 100)
        assert len(running.runs()) == before + 1


def _everything(project: Project) -> list[dg.AssetKey]:
    return stage_keys([stage.name for stage in EPOCH_STAGES])
