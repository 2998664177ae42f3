"""A run is the same wherever its epochs are worked on: rows bit for bit, Dagster's events, failures."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import CancelledError
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from contimg_assets.pipeline import dask_engine
from contimg_assets_tests.projects import TestProject, assert_same_rows, make_project

pytestmark = pytest.mark.slow
KINDS = ("threads", "processes")
# What differs from run to run whatever is done: keys of events and what a record of an epoch says of its files.
Events = list[tuple[str, str | None, str | None, tuple[tuple[str, str], ...]]]


def events(project: TestProject) -> Events:
    """Kind, asset, partition and data version of all events of all runs, in the order in which they were told."""
    found: Events = []
    for run in reversed(project.instance.get_runs()):
        for entry in project.instance.all_logs(run.run_id):
            event = entry.dagster_event
            if event is None:
                continue
            materialized = event.event_type_value == "ASSET_MATERIALIZATION"
            tags: dict[str, Any] = dict(event.step_materialization_data.materialization.tags) if materialized else {}
            kept = tuple(sorted((k, v) for k, v in tags.items() if k == "dagster/data_version"))
            key = event.asset_key.to_user_string() if event.asset_key else None
            found.append((event.event_type_value, key, event.partition, kept))
    return found


def told(project: TestProject, kind: str, monkeypatch: pytest.MonkeyPatch, n_workers: int = 2) -> dict[str, Any]:
    """What comes of a history with a bad epoch, which is mended, and with one that comes late."""
    monkeypatch.chdir(project.folder)
    # Epochs of this size would not be divided into tiles.
    project.configure(compute={"engine": kind, "workers": n_workers, "tile_rows": 40})
    first, second, third, fourth = project.epochs
    project.deliver(first, third, fourth)
    catalogue = next(
        path for path in sorted((project.folder / "incoming" / third).glob("*.csv")) if "images" not in path.name
    )
    good = catalogue.read_text(encoding="utf-8")
    catalogue.write_text(good.replace("ra_deg", "right_ascension", 1), encoding="utf-8")
    bad = project.run()
    failed = sorted(
        (row.epoch, row.stage, row.reason.replace(str(project.folder), "")) for row in bad.failed.itertuples()
    )
    attempts = [one.attempts for one in project.project.store.failures("raw_detections")]
    catalogue.write_text(good, encoding="utf-8")
    project.deliver(second)
    assert project.run().complete
    return {"rows": project.rows(), "events": events(project), "failed": failed, "attempts": attempts}


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory, survey: Path) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        return told(make_project(tmp_path_factory.mktemp("serial"), survey), "serial", patch)


def test_a_bad_epoch_stops_no_other(serial: dict[str, Any], survey: Path) -> None:
    epochs = sorted(path.name for path in (survey / "incoming").iterdir())
    assert [(epoch, stage) for epoch, stage, _ in serial["failed"]] == [(epochs[2], "raw_detections")]
    assert serial["attempts"] == [1]
    assert sorted(serial["rows"]["epochs"]["epoch"]) == epochs


@pytest.mark.parametrize("kind", KINDS)
def test_rows_events_and_failures_are_the_same(
    kind: str, serial: dict[str, Any], tmp_path: Path, survey: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = told(make_project(tmp_path / "project", survey), kind, monkeypatch)
    assert_same(other, serial)


def assert_same(other: dict[str, Any], serial: dict[str, Any]) -> None:
    assert_same_rows(other["rows"], serial["rows"])
    assert other["failed"] == serial["failed"]
    assert other["attempts"] == serial["attempts"]
    # Aliases tell of names that were in use on the way: the same here, for the way is the same.
    pd.testing.assert_frame_equal(other["rows"]["source_aliases"], serial["rows"]["source_aliases"])
    assert other["events"] == serial["events"]


class Trouble(threading.Thread):
    """Kills two workers of Dask while epochs are worked on, then the scheduler, then two workers more."""

    def __init__(self) -> None:
        super().__init__()
        self.over = threading.Event()
        self.n_killed, self.scheduler_killed = 0, False

    def run(self) -> None:
        while self.n_killed < 4 and not self.over.wait(0.7):
            for connection in list(dask_engine._CONNECTIONS.values()):
                if connection.users and connection.cluster is not None:
                    self._harm(connection)

    def _harm(self, connection: dask_engine.Connection) -> None:
        if self.n_killed == 2 and not self.scheduler_killed:
            assert connection.cluster is not None
            connection.cluster.kill()
            self.scheduler_killed = True
            return
        # A client that has given its scheduler up has none that it could ask: distributed then tells of an attribute.
        with suppress(OSError, RuntimeError, CancelledError, AttributeError):
            pid = min(connection.client.run(os.getpid).values(), default=0)
            if pid:
                os.kill(pid, signal.SIGKILL)
                self.n_killed += 1


def test_rows_are_the_same_with_four_workers_of_dask(
    serial: dict[str, Any], tmp_path: Path, survey: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_same(told(make_project(tmp_path / "project", survey), "dask", monkeypatch, 4), serial)


def test_rows_are_the_same_when_workers_and_the_scheduler_are_killed(
    serial: dict[str, Any], tmp_path: Path, survey: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trouble = Trouble()
    trouble.start()
    try:
        other = told(make_project(tmp_path / "project", survey), "dask", monkeypatch, 1)
    finally:
        trouble.over.set()
        trouble.join()
    assert trouble.n_killed == 4
    assert trouble.scheduler_killed
    assert_same(other, serial)


def test_without_a_worker_a_stage_is_not_tried_once_more(project: TestProject) -> None:
    """It has waited for one as long as is configured."""
    project.configure(compute={"engine": "dask", "address": "tcp://127.0.0.1:1", "wait_minutes": 0.01})
    project.deliver(project.epochs[0])
    report = project.run()
    (trouble,) = report.troubles
    assert trouble.startswith("no Dask scheduler answers at tcp://127.0.0.1:1; start it")
    assert not report.errors
    assert "STEP_UP_FOR_RETRY" not in {kind for kind, *_ in events(project)}
