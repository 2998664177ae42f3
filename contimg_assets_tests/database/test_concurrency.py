"""Several writers, readers beside them, and writers that are killed: no half epoch, no error, no harm."""

from __future__ import annotations

import gc
import multiprocessing
import os
import random
import signal
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from contimg_assets.database import ProductsDatabase
from contimg_assets.database.engine import END_LOCK, open_engine, reading, writing
from contimg_assets_tests.database.conftest import HISTORY, assert_same_rows, copied, dump
from contimg_assets_tests.database.consistency import inconsistencies
from contimg_assets_tests.database.survey import Survey

# Children are forked from a process that has everything imported and nothing open.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["contimg_assets.database", "contimg_assets_tests.database.survey"])
FEW = {"n_sources": 60, "n_epochs": 6}
MANY = {"n_sources": 60, "n_epochs": 20, "n_images": 2}


def _write(url: str, numbers: list[int], twice: bool) -> None:
    survey = Survey(**MANY)
    with ProductsDatabase(url) as database:
        for number in numbers:
            if twice:
                database.replace_epochs([survey.epoch(number, flux_factor=1.5)])
            database.replace_epochs([survey.epoch(number)])


@pytest.mark.slow
def test_four_writers_and_a_reader(database: ProductsDatabase, empty_database: Path, tmp_path: Path) -> None:
    of_writers = [(database.url, list(range(k, 20, 4)), True) for k in range(4)]
    writers = [PROCESSES.Process(target=_write, args=one) for one in of_writers]
    for writer in writers:
        writer.start()
    looks, epochs_seen = 0, set()
    while any(writer.is_alive() for writer in writers):
        assert inconsistencies(database) == {}
        epochs_seen.add(int(database.query("SELECT count(*) AS n FROM epochs").n[0]))
        looks += 1
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert looks > 3
    assert len(epochs_seen) > 2
    assert inconsistencies(database) == {}
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


def _n_epochs(file: str) -> int:
    with closing(sqlite3.connect(file)) as connection:
        return int(connection.execute("SELECT count(*) FROM epochs").fetchone()[0])


@pytest.mark.slow
def test_killed_at_any_moment(sqlite_url: str, empty_database: Path, tmp_path: Path) -> None:
    with ProductsDatabase(sqlite_url) as database:
        database.upgrade()
    file = sqlite_url.removeprefix("sqlite:///")
    moments = random.Random(7)
    written, one_writing = 0, 0.0
    for number in range(25):
        ready = PROCESSES.Event()
        writer = PROCESSES.Process(target=_write_for_ever, args=(sqlite_url, ready))
        writer.start()
        assert ready.wait(60)
        began = time.monotonic()
        if number:
            time.sleep(moments.uniform(0.0, 1.5 * one_writing))
        else:
            # The first may finish once, which tells how long that takes on this machine.
            while not _n_epochs(file) and writer.is_alive():
                time.sleep(0.001)
            one_writing = time.monotonic() - began
        assert writer.pid is not None
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        assert writer.exitcode == -signal.SIGKILL
        check = sqlite3.connect(file)
        assert check.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert check.execute("PRAGMA foreign_key_check").fetchall() == []
        # All six epochs, or none.
        check.close()
        assert _n_epochs(file) in (0, 6)
        written += _n_epochs(file)
    assert written
    with ProductsDatabase(sqlite_url) as database:
        assert inconsistencies(database) == {}
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


def _ends() -> sa.Select[tuple[int]]:
    """How many transactions are just ending, by the locks of the server."""
    lock = sa.table("pg_locks", sa.column("locktype"), sa.column("objid", sa.BigInteger), sa.column("mode"))
    ending = (lock.c.locktype == "advisory", lock.c.objid == END_LOCK, lock.c.mode == "ExclusiveLock")
    return sa.select(sa.func.count()).select_from(lock).where(*ending)


def test_a_writer_ends_alone(postgres_url: str) -> None:
    engine, seen = open_engine(postgres_url), []
    sa.event.listen(engine, "commit", lambda connection: seen.append(connection.execute(_ends()).scalar()))
    with writing(engine) as connection:
        assert connection.execute(_ends()).scalar() == 0
    assert seen == [1]


def test_no_reader_begins_while_a_writer_ends(postgres_url: str) -> None:
    """An instant before others learn which parts of tables were made, the rows in them are there already."""
    began = threading.Event()

    def begin() -> None:
        with reading(open_engine(postgres_url)):
            began.set()

    reader = threading.Thread(target=begin)
    with open_engine(postgres_url).begin() as ending:
        ending.execute(sa.select(sa.func.pg_advisory_xact_lock(END_LOCK)))
        reader.start()
        assert not began.wait(0.5)
    assert began.wait(30)
    reader.join()
