"""`contimg epoch delete` while another run is at work on the epoch, wherever that stands: the epoch stays deleted."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contimg_assets.database import ProductsDatabase
from contimg_assets.orchestration.automation.checks import nothing_stale
from contimg_assets.orchestration.runs.in_process import Report, bring_up_to_date, delete_epoch
from contimg_assets.pipeline.products import StoredProducts
from contimg_assets.pipeline.store import EpochStore
from contimg_assets_tests.histories import (
    ABSENT,
    CONFIGURATIONS,
    IN_PART,
    WHOLE,
    History,
    Sky,
    Step,
    begun,
    quick,
    told,
)
from contimg_assets_tests.instances import instance_in_memory

pytestmark = pytest.mark.slow
# The epoch before it stays as it is; the one after it is folded onto it.
CHANGED = 1
BEFORE, AFTER = (WHOLE, IN_PART, WHOLE), (WHOLE, ABSENT, WHOLE)


@pytest.fixture(scope="module")
def sky(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sky]:
    with quick():
        yield Sky(tmp_path_factory.mktemp("sky"), CONFIGURATIONS["forking"])


class Gate:
    """Holds a thread at the first call that is meant, until it is let through."""

    def __init__(self) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()

    def hold(self) -> None:
        if not self.reached.is_set():
            self.reached.set()
            assert self.opened.wait(120)


def held_at(place: str, gate: Gate, epoch: str, patch: pytest.MonkeyPatch) -> None:
    """Hold the run as it commits a stage, or writes the products; before or within the transaction."""
    commit_all, replace, read = EpochStore.commit_all, ProductsDatabase.replace_epochs, StoredProducts.read

    def commit(store: EpochStore, records: Any) -> None:
        records = list(records)
        if any((record.stage, record.epoch) == (place, epoch) for record in records):
            gate.hold()
        commit_all(store, records)

    def replace_epochs(database: ProductsDatabase, *args: Any, **kwargs: Any) -> Any:
        if place == "before the transaction":
            gate.hold()
        return replace(database, *args, **kwargs)

    def read_epoch(stored: StoredProducts, name: str, *args: Any) -> Any:
        found = read(stored, name, *args)
        # The check of the note comes right after this.
        if place == "within the transaction" and name == epoch:
            patch.setattr(stored.store, "is_deleted", not_yet)
        return found

    def not_yet(name: str) -> bool:
        gate.hold()
        return False

    patch.setattr(EpochStore, "commit_all", commit)
    patch.setattr(ProductsDatabase, "replace_epochs", replace_epochs)
    patch.setattr(StoredProducts, "read", read_epoch)


PLACES = ["raw_detections", "associated_sources", "before the transaction", "within the transaction"]


@pytest.mark.parametrize("place", PLACES)
def test_it_stays_deleted(sky: Sky, tmp_path: Path, place: str) -> None:
    epoch = sky.epochs[CHANGED]
    with begun(sky, tmp_path / "project", BEFORE) as history, pytest.MonkeyPatch.context() as patch:
        project, gate, reports = history.project.project, Gate(), list[Report]()
        sky.deliver(project.config.incoming, CHANGED, WHOLE)
        held_at(place, gate, epoch, patch)

        def other_run() -> None:
            with instance_in_memory() as instance:
                reports.append(bring_up_to_date(history.project.project, instance))

        run = threading.Thread(target=other_run)
        run.start()
        assert gate.reached.wait(120)
        shutil.rmtree(project.config.incoming / epoch)
        if place == "within the transaction":
            # Who deletes waits for who writes, which has looked for the note before it was there.
            deletion = threading.Thread(target=lambda: _delete(history, epoch))
            deletion.start()
            while not project.store.is_deleted(epoch):
                assert deletion.is_alive()
            gate.opened.set()
            deletion.join()
        else:
            _delete(history, epoch)
            gate.opened.set()
        run.join()
        assert not any(report.errors for report in reports), [told(report) for report in reports]
        assert epoch not in project.epochs()
        assert epoch not in history.project.rows()["epochs"]["epoch"].tolist()

        history.state = AFTER
        history.take(Step((), "run"))
        assert nothing_stale(project).passed
        history.take(Step(((CHANGED, WHOLE),), "run"))
        assert not project.store.is_deleted(epoch)


def _delete(history: History, epoch: str) -> None:
    report = delete_epoch(history.project.project, history.project.instance, epoch)
    assert not report.errors, told(report)
