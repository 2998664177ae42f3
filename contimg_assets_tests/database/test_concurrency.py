"""Several writers, readers beside them, and writers that are killed: no half epoch, no error, no harm."""

from __future__ import annotations

import gc
import multiprocessing
import os
import random
import signal
import sqlite3
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from contimg_assets.database import ProductsDatabase
from contimg_assets.database.engine import reading
from contimg_assets_tests.database.conftest import HISTORY, assert_same_rows, copied, dump
from contimg_assets_tests.database.survey import Survey

# Children are forked from a process that has everything imported and nothing open.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["contimg_assets.database", "contimg_assets_tests.database.survey"])
FEW = {"n_sources": 60, "n_epochs": 6}
MANY = {"n_sources": 60, "n_epochs": 20, "n_images": 2}

# Each counts what must not be there.
CONSISTENT = {
    "epoch whose rows are not all there": """
        SELECT count(*) FROM epochs e WHERE e.n_measurements <>
            (SELECT count(*) FROM measurements m WHERE m.epoch = e.epoch AND NOT m.is_limit)""",
    "epoch whose associations are not all there": """
        SELECT count(*) FROM epochs e WHERE e.n_associations <> (
            SELECT count(*) FROM associations a JOIN measurements m
            ON m.epoch = a.epoch AND m.measurement_id = a.measurement_id
            WHERE a.epoch = e.epoch AND NOT m.is_limit)""",
    "source without a measurement": """
        SELECT count(*) FROM sources s WHERE NOT EXISTS (SELECT 1 FROM associations a WHERE a.source_id = s.id)""",
    "association without a source": """
        SELECT count(*) FROM associations a WHERE NOT EXISTS (SELECT 1 FROM sources s WHERE s.id = a.source_id)""",
    "source whose count is not that of its points": """
        SELECT count(*) FROM sources s WHERE s.n_measurements + s.n_limits <>
            (SELECT count(*) FROM light_curves c WHERE c.source_id = s.id)""",
    "source whose statistics are of other points": """
        SELECT count(*) FROM sources s JOIN variability v ON v.source_id = s.id AND v.sample = 'detections'
        WHERE v.n_peak <> s.n_measurements""",
    "image without an epoch": "SELECT count(*) FROM images WHERE epoch NOT IN (SELECT epoch FROM epochs)",
}


def _write(url: str, numbers: list[int], twice: bool) -> None:
    survey = Survey(**MANY)
    with ProductsDatabase(url) as database:
        for number in numbers:
            if twice:
                database.replace_epochs([survey.epoch(number, flux_factor=1.5)])
            database.replace_epochs([survey.epoch(number)])


def _inconsistencies(database: ProductsDatabase) -> dict[str, int]:
    with reading(database.engine) as connection:
        found = {name: connection.execute(sa.text(query)).scalar_one() for name, query in CONSISTENT.items()}
    return {name: count for name, count in found.items() if count}


@pytest.mark.slow
def test_four_writers_and_a_reader(url: str, empty_database: Path, tmp_path: Path) -> None:
    with ProductsDatabase(url) as database:
        database.upgrade()
        writers = [PROCESSES.Process(target=_write, args=(url, list(range(k, 20, 4)), True)) for k in range(4)]
        for writer in writers:
            writer.start()
        looks, epochs_seen = 0, set()
        while any(writer.is_alive() for writer in writers):
            assert _inconsistencies(database) == {}
            epochs_seen.add(int(database.query("SELECT count(*) AS n FROM epochs").n[0]))
            looks += 1
        for writer in writers:
            writer.join()
            assert writer.exitcode == 0
        assert looks > 3
        assert len(epochs_seen) > 2
        assert _inconsistencies(database) == {}
        with copied(empty_database, tmp_path, "reference.sqlite3") as reference:
            reference.replace_epochs(Survey(**MANY).epochs())
            expected = dump(reference, (*HISTORY, "epoch_blocks"))
        assert_same_rows(dump(database, (*HISTORY, "epoch_blocks")), expected)


def _write_for_ever(url: str, ready: object) -> None:
    survey = Survey(**FEW)
    epochs = [[survey.epoch(n, flux_factor=factor) for n in range(6)] for factor in (1.0, 1.5)]
    for products in epochs[0] + epochs[1]:
        _ = products.content_version
    # Else a search for garbage among all that is imported may fill the short time that is left.
    gc.collect()
    gc.freeze()
    with ProductsDatabase(url) as database:
        ready.set()  # type: ignore[attr-defined]
        while True:
            for batch in epochs:
                database.replace_epochs(batch)


@pytest.mark.slow
def test_killed_at_any_moment(sqlite_url: str, empty_database: Path, tmp_path: Path) -> None:
    with ProductsDatabase(sqlite_url) as database:
        database.upgrade()
    file = sqlite_url.removeprefix("sqlite:///")
    moments = random.Random(7)
    written = 0
    for _ in range(25):
        ready = PROCESSES.Event()
        writer = PROCESSES.Process(target=_write_for_ever, args=(sqlite_url, ready))
        writer.start()
        assert ready.wait(60)
        time.sleep(moments.uniform(0.0, 0.15))
        assert writer.pid is not None
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        assert writer.exitcode == -signal.SIGKILL
        check = sqlite3.connect(file)
        assert check.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert check.execute("PRAGMA foreign_key_check").fetchall() == []
        # All six epochs, or none.
        assert check.execute("SELECT count(*) FROM epochs").fetchone()[0] in (0, 6)
        written += check.execute("SELECT count(*) FROM epochs").fetchone()[0]
        check.close()
    assert written
    with ProductsDatabase(sqlite_url) as database:
        assert _inconsistencies(database) == {}
        database.replace_epochs(Survey(**FEW).epochs())
        with copied(empty_database, tmp_path, "reference.sqlite3") as reference:
            reference.replace_epochs(Survey(**FEW).epochs())
            expected = dump(reference, HISTORY)
        assert_same_rows(dump(database, HISTORY), expected)


def test_a_reader_keeps_its_state(database: ProductsDatabase) -> None:
    survey = Survey(n_sources=10, n_epochs=2)
    database.replace_epochs([survey.epoch(0)])
    count = sa.text("SELECT count(*) FROM epochs")
    with reading(database.engine) as connection:
        assert connection.execute(count).scalar() == 1
        with ProductsDatabase(database.url) as other:
            other.replace_epochs([survey.epoch(1)])
        assert connection.execute(count).scalar() == 1
    with reading(database.engine) as connection:
        assert connection.execute(count).scalar() == 2
