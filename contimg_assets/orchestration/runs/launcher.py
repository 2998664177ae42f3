"""Launches runs as Dagster does by default, and can also tell whether a run's process is still alive.

Without that, a run that died with its machine counts as started for ever, and everything that waits for it waits for
ever. Named in `dagster.yaml`; Dagster's run monitoring asks, marks the dead run as failed, and starts it again.
"""

import os
import socket
from pathlib import Path
from typing import cast

import dagster as dg
from dagster._core.events import DagsterEventType
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG

from contimg_assets.orchestration.runs.dead_runs import ENDED, began_at_tick, is_gone, process_of

_STARTED = "Started process for run"


class LocalRunLauncher(DefaultRunLauncher):
    """`DefaultRunLauncher` whose runs' processes on this machine are looked after."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Running, as long as nothing proves the contrary: the process is of this machine and is gone."""
        if (process := process_of(run)) is not None:
            gone = is_gone(process)
            return CheckRunHealthResult(WorkerStatus.FAILED if gone else WorkerStatus.RUNNING, f"process {process}")
        if not _on_this_machine(run):
            return CheckRunHealthResult(WorkerStatus.RUNNING, "runs on another machine")
        # Newest first: a run that was started again has several.
        events = self._instance.get_records_for_run(
            run.run_id, of_type=DagsterEventType.ENGINE_EVENT, ascending=False
        ).records
        started = next((event for event in events if event.event_log_entry.message.startswith(_STARTED)), None)
        if started is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "its process has not reported yet")
        entry = started.event_log_entry
        metadata = cast(dg.DagsterEvent, entry.dagster_event).engine_event_data.metadata
        pid = int(cast(str, metadata["pid"].value))
        if is_alive(pid, entry.timestamp):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, f"its process {pid} is gone")


def is_alive(pid: int, reported_at: float) -> bool:
    """Whether the process that reported itself then [Unix seconds] still runs; a later one of its number is another."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    ticks = began_at_tick(pid)
    if ticks is None:
        return True  # no /proc on this system, or gone between the two questions: the next check tells
    if ticks == ENDED:
        return False
    booted = next(
        float(line.split()[1])
        for line in Path("/proc/stat").read_text(encoding="utf-8").splitlines()
        if line.startswith("btime")
    )
    return booted + ticks / os.sysconf("SC_CLK_TCK") <= reported_at + 1.0


def _on_this_machine(run: dg.DagsterRun) -> bool:
    info = run.tags.get(GRPC_INFO_TAG, "")
    return '"socket"' in info or any(f'"{name}"' in info for name in ("localhost", "127.0.0.1", socket.gethostname()))
