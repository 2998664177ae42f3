"""Whether a run's process is recognised as alive or dead."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import dagster as dg
import pytest
from dagster._core.events import EngineEventData
from dagster._core.launcher import WorkerStatus

from contimg_assets.orchestration.runs.launcher import LocalRunLauncher, is_alive

LOCAL = {".dagster/grpc_info": '{"host": "localhost", "socket": "/tmp/s"}'}


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_alive_or_dead():
    assert is_alive(os.getpid(), time.time())
    assert not is_alive(dead_pid(), time.time())
    # The number is in use, but by a process that began long after the report: another one.
    assert not is_alive(os.getpid(), time.time() - 1e6)


@pytest.mark.parametrize(
    ("tags", "pid", "expected"),
    [
        (LOCAL, os.getpid(), WorkerStatus.RUNNING),
        (LOCAL, None, WorkerStatus.RUNNING),
        (LOCAL, "dead", WorkerStatus.FAILED),
        ({".dagster/grpc_info": '{"host": "elsewhere", "port": 4000}'}, "dead", WorkerStatus.RUNNING),
    ],
    ids=["alive", "unknown", "dead", "elsewhere"],
)
def test_health_of_a_run(tags, pid, expected):
    with dg.instance_for_test() as instance:
        run = instance.create_run_for_job(_job, tags=tags)
        if pid is not None:
            number = dead_pid() if pid == "dead" else pid
            message = f"Started process for run (pid: {number})."
            instance.report_engine_event(message, run, EngineEventData.in_process(number))
        launcher = LocalRunLauncher()
        launcher.register_instance(instance)
        assert launcher.supports_check_run_worker_health
        assert launcher.check_run_worker_health(run).status == expected


@dg.job
def _job() -> None:
    pass
