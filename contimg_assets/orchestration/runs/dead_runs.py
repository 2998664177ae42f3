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
_BEGUN = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
_NOT_BEGUN = [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.QUEUED]
UNFINISHED = [*_NOT_BEGUN, *_BEGUN]
# A queue that works takes a run within seconds once nothing else runs.
PATIENCE_SECONDS = 600.0
_QUEUE = "QUEUED_RUN_COORDINATOR"
_MAX_NAMED = 5
_LOOK_SECONDS = 1.0
ENDED = -1


def this_process() -> str:
    """Value of the tag for a run within this process."""
    pid = os.getpid()
    return f"{socket.gethostname()} {pid} {_began(pid)}"


def process_of(run: dg.DagsterRun) -> str | None:
    """Value of the tag of a run that a process executes within itself; a run that repeats it only copies the tag."""
    return run.tags.get(PROCESS_TAG) if run.parent_run_id is None else None


def is_gone(process: str) -> bool:
    """Whether a process of this machine, as its run's tag names it, has ended; a later one of its number is another."""
    host, pid, began = (process.split(" ") + 3 * [""])[:3]
    if not pid.isdecimal() or host != socket.gethostname():
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
    dead = []
    for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED)):
        reason = _reason_to_think_it_dead(instance, run)
        if reason is not None:
            instance.report_run_failed(run, f"its process was killed: {reason}")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            dead.append(run.run_id)
    return dead


def _reason_to_think_it_dead(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str | None:
    """Why a run cannot go on; None where nothing proves that.

    A process that executes a run within itself may be killed before it marked it as started: its tag is what counts. A
    run that waits for a launcher has no process yet.
    """
    process = process_of(run)
    if process is not None:
        return f"process {process}" if is_gone(process) else None
    launcher = instance.run_launcher
    if run.status not in _BEGUN or not launcher.supports_check_run_worker_health:
        return None
    health = launcher.check_run_worker_health(run)
    return health.msg or "it is gone" if health.status == WorkerStatus.FAILED else None


def never_taken(instance: dg.DagsterInstance) -> list[dg.RunRecord]:
    """Runs that have waited long to be started, though nothing runs that they could wait for."""
    if instance.get_runs_count(dg.RunsFilter(statuses=_BEGUN)):
        return []
    waiting = instance.get_run_records(dg.RunsFilter(statuses=_NOT_BEGUN), ascending=True)
    latest = time.time() - PATIENCE_SECONDS
    return [record for record in waiting if record.create_timestamp.timestamp() < latest]


def told_of_waiting(instance: dg.DagsterInstance) -> str | None:
    """A sentence about runs that nothing is there to start, with the cure; None if there are none."""
    records = never_taken(instance)
    if not _queue_is_served(instance):
        queued = instance.get_run_records(dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED]), ascending=True)
        records = [*records, *(record for record in queued if record not in records)]
    if not records:
        return None
    ids = [record.dagster_run.run_id for record in records]
    named = ", ".join(ids[:_MAX_NAMED]) + (" ..." if len(ids) > _MAX_NAMED else "")
    return (
        f"{len(ids)} run(s) of Dagster wait since {records[0].create_timestamp:%Y-%m-%d %H:%M} UTC and nothing starts "
        f"them ({named}); start `dagster dev` in this folder, or take each out with `dagster run delete ID`"
    )


def _queue_is_served(instance: dg.DagsterInstance) -> bool:
    status = instance.get_daemon_statuses().get(_QUEUE)
    return status is None or bool(status.healthy)


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
