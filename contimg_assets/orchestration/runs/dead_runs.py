"""Runs whose process is gone without a word: found, marked as failed, and their places in pools given back.

A killed process cannot say that its run is over. Until somebody does, the run counts as started, and what waits for its
place in a pool waits for ever.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
from dagster._core.launcher import WorkerStatus

# On runs that are executed within the process that asked for them: which process, on which machine.
PROCESS_TAG = "contimg/process"
_UNFINISHED = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
_LOOK_SECONDS = 1.0
ENDED = -1


def this_process() -> str:
    """Value of the tag for a run within this process."""
    pid = os.getpid()
    return f"{socket.gethostname()} {pid} {_began(pid)}"


def is_gone(process: str) -> bool:
    """Whether a process of this machine, as its run's tag names it, has ended; a later one of its number is another."""
    host, pid, began = process.split(" ")
    if host != socket.gethostname():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return _began(int(pid)) != began


def began_at_tick(pid: int) -> int | None:
    """Clock ticks after the machine's start at which a process began; None where that cannot be known.

    `ENDED` if it only waits to be taken note of by its parent.
    """
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None  # no /proc on this system, or gone just now
    return ENDED if status[0] == "Z" else int(status[19])


def _began(pid: int) -> str:
    return str(began_at_tick(pid))


def fail_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark runs as failed whose process is gone, and give back their places in pools; return their ids."""
    launcher = instance.run_launcher
    if not launcher.supports_check_run_worker_health:
        return []
    dead = []
    for run in instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED)):
        health = launcher.check_run_worker_health(run)
        if health.status == WorkerStatus.FAILED:
            instance.report_run_failed(run, f"its process was killed: {health.msg}")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            dead.append(run.run_id)
    return dead


def wait_for_pools(instance: dg.DagsterInstance, on_wait: Callable[[set[str]], None] | None = None) -> None:
    """Wait while living runs of others hold places in pools, such as a daemon's fold.

    Dagster would wait too, once a run has begun, but within a process it does so without a pause.

    Parameters
    ----------
    on_wait : called once with the ids of the runs that are waited for
    """
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        return
    told = False
    while busy := {
        run_id for key in storage.get_concurrency_keys() for run_id in storage.get_concurrency_info(key).active_run_ids
    }:
        if fail_dead_runs(instance):
            continue
        if not told and on_wait is not None:
            on_wait(busy)
        told = True
        time.sleep(_LOOK_SECONDS)
