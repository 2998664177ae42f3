"""A real daemon on a temporary project: what arrives, changes, breaks or vanishes ends up in the products by itself.

The tests tell one story on one deployment, in this order; each leaves everything made.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest
import yaml

from contimg_assets.config import load_config
from contimg_assets.pipeline.project import Project
from contimg_assets_tests.automation.deployment import (
    Deployment,
    assert_same_products,
    deliver,
    deployed,
    from_scratch,
    make_project,
    overwrite,
    products,
    small_survey,
)

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("daemon")]

_CHECKS = """query Checks($key: AssetKeyInput!) { node: assetNodeOrError(assetKey: $key) { ... on AssetNode {
    assetChecksOrError { ... on AssetChecks { checks { name executionForLatestMaterialization { status evaluation {
    success description } } } } } } } }"""
_BACKFILL = """mutation Backfill($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
_BACKFILL_STATUS = """query Status($id: String!) { partitionBackfillOrError(backfillId: $id) {
    ... on PartitionBackfill { status } } }"""
_RELOAD = """mutation Reload { reloadWorkspace { __typename } }"""
_ALL = {"raw_detections", "measurements", "associated_sources", "catalog_matches", "corrections"}


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Epochs to deliver, in time order."""
    return small_survey(tmp_path_factory.mktemp("survey"), 8)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory, survey: list[Path]) -> Iterator[Deployment]:
    project = make_project(tmp_path_factory.mktemp("daemon") / "project", survey[0].parents[1])
    with deployed(project) as running:
        running.settle()
        yield running


@pytest.fixture
def happens(deployment: Deployment) -> Callable[[], list[dict[str, Any]]]:
    """Call it to wait until everything is made; gives the runs that this test caused."""
    before = {run["runId"] for run in deployment.runs()}

    def caused() -> list[dict[str, Any]]:
        deployment.settle()
        return [run for run in deployment.runs() if run["runId"] not in before]

    return caused


@pytest.fixture
def as_from_scratch(deployment: Deployment, tmp_path: Path) -> Iterator[None]:
    """After the test the products are those of a run from scratch."""
    yield
    assert_same_products(products(deployment.project), from_scratch(deployment.project, tmp_path / "from_scratch"))


def test_new_epoch_runs_the_whole_chain_once(deployment, survey, happens):
    begun = time.monotonic()
    deliver(survey[2], deployment.project.config.incoming)
    deployment.wait_for(lambda: not deployment.pending(), "the chain", 120)
    print(f"\nnew epoch to committed products: {time.monotonic() - begun:.1f} s")
    (run,) = happens()
    assert run["status"] == "SUCCESS"
    assert run["assets"] >= _ALL
    assert run["epochs"] == [survey[2].name] * 2


def test_two_at_once_are_one_run(deployment, survey, happens):
    with deployment.automation_stopped():
        for epoch in (survey[5], survey[3]):
            deliver(epoch, deployment.project.config.incoming)
    (run,) = happens()
    assert run["epochs"] == [survey[3].name, survey[5].name]


def test_late_epoch_changes_itself_and_the_later_ones(deployment, survey, happens, as_from_scratch):
    names = [epoch.name for epoch in survey]
    deliver(survey[4], deployment.project.config.incoming)
    runs = happens()
    assert runs[0]["epochs"] == [names[4]] * 2
    assert all(run["epochs"][0] >= names[4] for run in runs)
    assert not any("raw_detections" in run["assets"] for run in runs[1:])
    assert deployment.made_twice(runs) == set()


def test_touched_files_cause_no_run(deployment, survey, happens):
    for file in (deployment.project.config.incoming / survey[3].name).iterdir():
        os.utime(file)
    deployment.wait_for_ticks("deliveries", 2)
    assert happens() == []  # after more evaluations of the conditions


def test_other_bytes_with_the_same_content_stop_after_raw_detections(deployment, survey, happens):
    epoch = survey[3].name
    file = _catalogue(deployment.project, epoch)
    content = pd.read_csv(file, dtype=str).sample(frac=1, random_state=1).to_csv(index=False)
    before = _written(deployment.project)
    overwrite(file, content.encode())
    runs = happens()
    after = _written(deployment.project)
    assert len(runs) == 1
    assert {key for key in after if after[key] != before[key]} == {("raw_detections", epoch)}


def test_changed_epoch_changes_itself_and_the_later_ones(deployment, survey, happens, as_from_scratch):
    names = [epoch.name for epoch in survey]
    file = _catalogue(deployment.project, names[3])
    overwrite(file, pd.read_csv(file, dtype=str).iloc[:-5].to_csv(index=False).encode())
    runs = happens()
    assert runs[0]["epochs"] == [names[3]] * 2
    assert all(run["epochs"][0] >= names[3] for run in runs)
    assert not any("raw_detections" in run["assets"] for run in runs[1:])
    assert deployment.made_twice(runs) == set()


def test_broken_epoch_holds_nobody_back_and_recovers_when_mended(deployment, survey, happens, as_from_scratch):
    incoming = deployment.project.config.incoming
    with deployment.automation_stopped():
        deliver(survey[1], incoming)
        file = _catalogue(deployment.project, survey[1].name)
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
    file = _catalogue(deployment.project, survey[7].name)
    rows = pd.read_csv(file, dtype=str)
    deployment.wait_for(
        lambda: any(run["runId"] not in known and run["startTime"] for run in deployment.runs()), "a run", 60
    )
    # From now on the run reads; the last change may fall before, into or after that.
    for n in (1, 2, 3):
        overwrite(file, rows.iloc[:-n].to_csv(index=False).encode())
        time.sleep(0.3)
    happens()


def test_changed_configuration_recomputes_from_there(deployment, happens, as_from_scratch):
    file = deployment.folder / "contimg.yaml"
    content = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump(content | {"corrections": {"min_snr": 15.0}}))
    before = _written(deployment.project)
    deployment.project = Project(load_config(file))
    deployment.graphql(_RELOAD)
    happens()
    changed = {stage for (stage, epoch), held in _written(deployment.project).items() if held != before[stage, epoch]}
    assert changed == {"corrections"}


def test_runs_killed_with_the_daemon_are_finished_after_its_restart(deployment, survey, happens, as_from_scratch):
    deliver(survey[0], deployment.project.config.incoming)
    file = _catalogue(deployment.project, survey[0].name)
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


def test_backfill_from_the_ui_of_60_epochs_is_one_run(tmp_path):
    survey = small_survey(
        tmp_path / "survey", 60, images_per_epoch=6, n_sources=2500, image_radius_deg=1.8, faint_per_deg2=0.0
    )
    rows = [sum(len(f.read_text().splitlines()) - 1 for f in epoch.glob("*.csv")) for epoch in survey]
    project = make_project(tmp_path / "project", survey[0].parents[1])
    with deployed(project) as running:
        running.settle()
        running.stop_automation()
        for epoch in survey:
            deliver(epoch, project.config.incoming)
        names = [epoch.name for epoch in survey]
        running.wait_for(lambda: running.partitions() == names, "all epochs registered", 60)
        before = len(running.runs())
        begun = time.monotonic()
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
        running.wait_for(lambda: (project.assess()["state"] == "fresh").all(), "the backfill", 400)
        seconds = time.monotonic() - begun
        print(f"\nbackfill of {len(names)} epochs of {sum(rows) / len(rows):.0f} detections: {seconds:.0f} s")
        # While Dagster takes its time to call the backfill complete.
        assert_same_products(products(project), from_scratch(project, tmp_path / "from_scratch"))
        running.wait_for(finished, "the end of the backfill", 100)
        assert len(running.runs()) == before + 1


def _everything(project: Project) -> list[dg.AssetKey]:
    from contimg_assets.orchestration.assets import stage_keys
    from contimg_assets.pipeline.stages import EPOCH_STAGES

    return stage_keys([stage.name for stage in EPOCH_STAGES])


def _catalogue(project: Project, epoch: str) -> Path:
    return next(file for file in sorted((project.config.incoming / epoch).glob("*.csv")) if file.name != "images.csv")


def _written(project: Project) -> dict[tuple[str, str], str]:
    """What each stage holds for each epoch, and what that was made from."""
    files = project.config.store.glob("*/*/record.json")
    return {(file.parts[-3], file.parts[-2]): file.read_text() for file in files}
