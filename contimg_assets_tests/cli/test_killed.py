"""`contimg run`, killed without a chance to say so: the next one neither waits for it nor ends in other rows."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest

from contimg_assets.orchestration.runs.dead_runs import PROCESS_TAG, fail_dead_runs, this_process, wait_for_pools
from contimg_assets.orchestration.runs.instance import open_instance
from contimg_assets_tests.projects import TestProject, assert_same_rows, make_project

_COMMAND = [sys.executable, "-c", "from contimg_assets.cli import main; main()", "run"]


@pytest.mark.slow
def test_the_next_run_ends_in_the_same_rows(project: TestProject, tmp_path: Path, survey: Path) -> None:
    project.deliver()
    for sign in ("associated_sources/*/associations-*", "corrections/*/corrections-*"):
        process = subprocess.Popen(_COMMAND, cwd=project.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not list((project.folder / "store").glob(sign)):
            assert process.poll() is None
            time.sleep(0.005)
        process.kill()
        process.wait()
    with open_instance(project.folder) as instance:
        held = {key: instance.event_log_storage.get_concurrency_info(key).active_run_ids for key in ("fold",)}
    assert held["fold"], "it was killed while it held the pool"
    subprocess.run(_COMMAND, cwd=project.folder, check=True, timeout=240, stdout=subprocess.DEVNULL)

    other = make_project(tmp_path / "from_scratch", survey)
    other.deliver()
    other.run()
    assert_same_rows(project.rows(), other.rows())


def test_living_runs_are_waited_for_and_dead_ones_are_not(project: TestProject) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    host, _, began = this_process().split(" ")
    told: list[set[str]] = []
    with open_instance(project.folder) as instance:
        storage = instance.event_log_storage
        storage.set_concurrency_slots("fold", 1)
        runs = {}
        for process in (this_process(), f"{host} {dead.pid} {began}"):
            run = instance.create_run_for_job(_job, tags={PROCESS_TAG: process}, status=dg.DagsterRunStatus.STARTED)
            runs[process] = run.run_id
        living, gone = runs.values()
        storage.claim_concurrency_slot("fold", gone, "step")
        wait_for_pools(instance, told.append)
        assert told == []
        assert instance.get_run_by_id(gone).status == dg.DagsterRunStatus.FAILURE
        assert fail_dead_runs(instance) == []

        storage.claim_concurrency_slot("fold", living, "step")

        def finish(waited_for: set[str]) -> None:
            told.append(waited_for)
            storage.free_concurrency_slots_for_run(living)

        wait_for_pools(instance, finish)
        assert told == [{living}]
        assert instance.get_run_by_id(living).status == dg.DagsterRunStatus.STARTED


@dg.job
def _job() -> None:
    pass
