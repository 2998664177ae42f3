"""A real daemon, and what goes wrong around it: broken epochs, input that changes while it is read, killed runs.

The tests tell one story on one deployment, in this order; each leaves everything made.
"""

from __future__ import annotations

import time
from pathlib import Path

import pandas as pd
import pytest

from contimg_assets_tests.orchestration.automation.deployment import Deployment, catalogue, deliver, overwrite

pytestmark = [pytest.mark.slow]

_CHECKS = """query Checks($key: AssetKeyInput!) { node: assetNodeOrError(assetKey: $key) { ... on AssetNode {
    assetChecksOrError { ... on AssetChecks { checks { name executionForLatestMaterialization { status evaluation {
    success description } } } } } } } }"""


@pytest.fixture(scope="module", autouse=True)
def _known(deployment: Deployment, survey: list[Path]) -> None:
    """Two epochs that are there before anything goes wrong."""
    for epoch in survey[2:4]:
        deliver(epoch, deployment.project.config.incoming)
    deployment.settle()


def test_broken_epoch_holds_nobody_back_and_recovers_when_mended(deployment, survey, happens, as_from_scratch):
    incoming = deployment.project.config.incoming
    with deployment.automation_stopped():
        deliver(survey[1], incoming)
        file = catalogue(deployment.project, survey[1].name)
        good = file.read_bytes()
        overwrite(file, good.replace(b"\n", b"\nnot a row\n", 1))
        deliver(survey[6], incoming)
    happens()
    states = deployment.project.assess().set_index(["epoch", "stage"])["state"]
    assert (states[survey[6].name] == "fresh").all()
    assert states[survey[1].name, "raw_detections"] == "failed"
    check = deployment.check("raw_detections", "no_epoch_failed", _CHECKS)
    assert check["success"] is False
    assert file.name in check["description"]
    assert survey[1].name in check["description"]

    overwrite(file, good)
    happens()
    assert (deployment.project.assess()["state"] == "fresh").all()
    assert deployment.check("raw_detections", "no_epoch_failed", _CHECKS)["success"] is True


def test_input_that_changes_while_a_run_reads_it_ends_up_in_the_products(deployment, survey, happens, as_from_scratch):
    known = {run["runId"] for run in deployment.runs()}
    deliver(survey[7], deployment.project.config.incoming)
    file = catalogue(deployment.project, survey[7].name)
    rows = pd.read_csv(file, dtype=str)
    deployment.wait_for(
        lambda: any(run["runId"] not in known and run["startTime"] for run in deployment.runs()), "a run", 60
    )
    # From now on the run reads; the last change may fall before, into or after that.
    for n in (1, 2, 3):
        overwrite(file, rows.iloc[:-n].to_csv(index=False).encode())
        time.sleep(0.3)
    happens()


def test_runs_killed_with_the_daemon_are_finished_after_its_restart(deployment, survey, happens, as_from_scratch):
    deliver(survey[0], deployment.project.config.incoming)
    file = catalogue(deployment.project, survey[0].name)
    rows = pd.read_csv(file, dtype=str)
    for attempt in range(1, 6):
        known = {run["runId"] for run in deployment.runs()}
        deployment.wait_for(
            lambda known=known: any(run["runId"] not in known and run["startTime"] for run in deployment.runs()),
            "a run",
            120,
        )
        deployment.kill()
        interrupted = deployment.pending()
        deployment.start()
        if interrupted:
            break
        # The run was done before the plug was out: once more, with another change.
        happens()
        overwrite(file, rows.iloc[:-attempt].to_csv(index=False).encode())
    assert interrupted
    happens()
    assert (deployment.project.assess()["state"] == "fresh").all()
