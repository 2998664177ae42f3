"""`contimg run`, interrupted or killed without a chance to say so: the next one neither waits for it nor ends in other
rows."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_origin import InProcessCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from typer.testing import CliRunner

from contimg_assets.cli.app import INTERRUPTED, app
from contimg_assets.orchestration.automation.sensors import something_runs
from contimg_assets.orchestration.runs import dead_runs
from contimg_assets.orchestration.runs.dead_runs import (
    PROCESS_TAG,
    UNFINISHED,
    fail_dead_runs,
    this_process,
    told_of_waiting,
    wait_for_pools,
)
from contimg_assets.orchestration.runs.instance import open_instance
from contimg_assets_tests.projects import TestProject, assert_same_rows

_COMMAND = [sys.executable, "-c", "from contimg_assets.cli import main; main()", "run"]


def _running(project: TestProject) -> subprocess.Popen[bytes]:
    return subprocess.Popen(_COMMAND, cwd=project.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _wait_for(store: Path, sign: str, process: subprocess.Popen[bytes]) -> None:
    while not list(store.glob(sign)):
        assert process.poll() is None
        time.sleep(0.005)


@pytest.mark.slow
def test_the_next_run_ends_in_the_same_rows(project: TestProject, made: TestProject) -> None:
    project.deliver()
    stored = project.folder / "store"
    with _running(project) as interrupted:
        _wait_for(stored, "associated_sources/*/associations-*", interrupted)
        interrupted.send_signal(signal.SIGINT)
        # It ends with the stage that it is in, and is not tried once more.
        assert interrupted.wait(60) == INTERRUPTED
    assert not list(stored.glob("corrections/*/corrections-*"))
    with open_instance(project.folder) as instance:
        assert instance.get_runs(limit=1)[0].status == dg.DagsterRunStatus.FAILURE
    with _running(project) as killed:
        _wait_for(stored, "corrections/*/corrections-*", killed)
        killed.kill()
    with open_instance(project.folder) as instance:
        held = {key: instance.event_log_storage.get_concurrency_info(key).active_run_ids for key in ("fold",)}
    assert held["fold"], "it was killed while it held the pool"
    subprocess.run(_COMMAND, cwd=project.folder, check=True, timeout=240, stdout=subprocess.DEVNULL)
    assert_same_rows(project.rows(), made.rows())


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


@pytest.mark.parametrize("status", list(UNFINISHED), ids=lambda status: status.value)
def test_a_run_of_a_dead_process_is_dead_whatever_its_status(project: TestProject, status: dg.DagsterRunStatus) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    host, _, began = this_process().split(" ")
    with open_instance(project.folder) as instance:
        tags = {PROCESS_TAG: f"{host} {dead.pid} {began}"}
        gone = create_run(instance, tags=tags, status=status).run_id
        living = create_run(instance, tags={PROCESS_TAG: this_process()}, status=status).run_id
        copied = create_run(instance, tags=tags, status=status, parent_run_id=gone, root_run_id=gone).run_id
        odd = create_run(instance, tags={PROCESS_TAG: "nonsense"}, status=status).run_id
        assert fail_dead_runs(instance) == [gone]
        assert instance.get_run_by_id(gone).status == dg.DagsterRunStatus.FAILURE
        assert {instance.get_run_by_id(run).status for run in (living, copied, odd)} == {status}


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.QUEUED])
def test_a_run_that_nothing_will_start_is_told_and_holds_nothing_up(
    project: TestProject, monkeypatch: pytest.MonkeyPatch, status: dg.DagsterRunStatus
) -> None:
    with open_instance(project.folder) as instance:
        assert told_of_waiting(instance) is None
        run = create_run(instance, status=status)
        assert something_runs(instance)
        monkeypatch.setattr(dead_runs, "PATIENCE_SECONDS", -1.0)
        assert not something_runs(instance)
        sentence = str(told_of_waiting(instance))
        assert run.run_id in sentence
        assert "`dagster dev`" in sentence
        begun = create_run(instance, status=dg.DagsterRunStatus.STARTED)
        assert something_runs(instance)
        instance.report_run_failed(begun)
    said = CliRunner().invoke(app, ["run"])
    assert said.exit_code == 0
    assert run.run_id in said.output.replace("\n", "")


@dg.job
def _job() -> None:
    pass


def create_run(instance: dg.DagsterInstance, **arguments: Any) -> dg.DagsterRun:
    """A run as a code location in this file asked for it."""
    location = InProcessCodeLocationOrigin(LoadableTargetOrigin(python_file=__file__))
    return instance.create_run_for_job(
        _job,
        remote_job_origin=RemoteRepositoryOrigin(location, "__repository__").get_job_origin("_job"),
        job_code_origin=dg.reconstructable(_job).get_python_origin(),
        **arguments,
    )


@pytest.mark.slow
def test_runs_that_are_the_first_at_the_same_time_do_not_spoil_dagsters_storage(project: TestProject) -> None:
    """Dagster writes the version of its storage once for each that finds none, and then refuses to open it."""
    code = (
        "from pathlib import Path; from contimg_assets.orchestration.runs.instance import open_instance as o; o(Path())"
    )
    both = [subprocess.Popen([sys.executable, "-c", code], cwd=project.folder) for _ in range(2)]
    assert [process.wait(240) for process in both] == [0, 0]
    with open_instance(project.folder) as instance:
        assert instance.get_runs() == []
