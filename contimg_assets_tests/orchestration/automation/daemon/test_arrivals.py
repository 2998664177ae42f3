"""A real daemon on a temporary project: what arrives ends up in the products by itself.

What changed files cause is told tick by tick in `test_conditions.py`, and by a daemon in `test_faults.py`. The tests
tell one story on one deployment, in this order; each leaves everything made.
"""

from __future__ import annotations

import time

import pytest
import yaml

from contimg_assets.config import load_config
from contimg_assets.pipeline.project import Project
from contimg_assets_tests.orchestration.automation.deployment import deliver, written

pytestmark = [pytest.mark.slow]

_RELOAD = """mutation Reload { reloadWorkspace { __typename } }"""
_ALL = {"raw_detections", "measurements", "associated_sources", "catalog_matches", "corrections"}


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


def test_changed_configuration_recomputes_from_there(deployment, happens, as_from_scratch):
    file = deployment.folder / "contimg.yaml"
    content = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump(content | {"corrections": {"min_snr": 15.0}}))
    before = written(deployment.project)
    deployment.project = Project(load_config(file))
    deployment.graphql(_RELOAD)
    happens()
    changed = {stage for (stage, epoch), held in written(deployment.project).items() if held != before[stage, epoch]}
    assert changed == {"corrections", "error_model"}


def test_backfill_of_many_epochs_is_one_run(deployment, survey, as_from_scratch):
    """As people launch it from the UI; `benchmarks/bench_backfill.py` says how long one of 60 epochs takes."""
    # Ten that are not there yet, after those that are.
    names = deployment.deliver_without_automation(survey[6:])
    before = len(deployment.runs())
    backfill = deployment.launch_backfill(names)
    deployment.wait_for_epochs(400)
    deployment.wait_for(lambda: deployment.backfill_finished(backfill), "the end of the backfill", 100)
    assert len(deployment.runs()) == before + 1
