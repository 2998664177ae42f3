"""A machine that keeps no more of a store at a URL than it may: what goes, what stays, and that all can be read."""

from __future__ import annotations

import os
import pickle
import time
from pathlib import Path

import numpy as np
import pandas as pd

from contimg_assets.files.object_stores import ObjectStore
from contimg_assets.pipeline.store import EpochStore
from contimg_assets.pipeline.store_home import AtServer
from contimg_assets.pipeline.store_room import Room
from contimg_assets.schemas import TableSchema
from contimg_assets.schemas.core import FLOAT, Column
from contimg_assets_tests.object_store import Bucket, silence

VALUES = TableSchema("values", "Numbers", (Column("value", FLOAT, "", "One"),))
MANY = 3000


def machine(root: Path, bucket: Bucket, limit_bytes: int | None = None) -> EpochStore:
    return EpochStore(root, {"things": (VALUES,)}, AtServer(root, ObjectStore(f"{bucket.url}/prefix"), limit_bytes))


def commit(store: EpochStore, epoch: str, value: float) -> None:
    # Numbers that do not shrink: all tables are of one size.
    numbers = np.random.default_rng(int(value)).normal(size=MANY)
    numbers[0] = value
    tables = {"values": pd.DataFrame({"value": numbers})}
    store.commit(store.stage("things", epoch, tables, code_version="1", inputs={}, facts={}))


def value(store: EpochStore, epoch: str) -> float:
    rows = store.read("things", epoch, "values")["value"]
    assert len(rows) == MANY
    return float(rows.iloc[0])


def kept(root: Path) -> list[str]:
    """Epochs whose table lies in the folder."""
    return sorted(file.parent.name for file in root.glob("things/*/*.parquet"))


def unused_for(root: Path, hours: dict[str, float]) -> None:
    for epoch, age in hours.items():
        for file in root.glob(f"things/{epoch}/*.parquet"):
            os.utime(file, (time.time() - 3600.0 * age,) * 2)


def size_of_one(root: Path) -> int:
    return max(file.stat().st_size for file in root.glob("things/*/*.parquet"))


def test_what_was_not_used_for_longest_goes_and_comes_back(tmp_path: Path, bucket: Bucket) -> None:
    names = [f"e{number}" for number in range(5)]
    source = machine(tmp_path / "source", bucket)
    for number, epoch in enumerate(names):
        commit(source, epoch, number)
    root = tmp_path / "here"
    limited = machine(root, bucket, int(3.5 * size_of_one(source.root)))
    limited.home.bring()
    assert [value(limited, epoch) for epoch in names[:4]] == [0.0, 1.0, 2.0, 3.0]
    # All four were used a moment ago: the limit waits.
    assert kept(root) == names[:4]
    unused_for(root, {"e0": 5.0, "e1": 9.0, "e2": 7.0, "e3": 6.0})
    # Read once more, it is not what was not used for longest.
    assert value(limited, "e1") == 1.0
    assert value(limited, "e4") == 4.0
    assert kept(root) == ["e0", "e1", "e4"]
    assert all(limited.record("things", epoch) is not None for epoch in names)
    assert [value(machine(root, bucket), epoch) for epoch in names] == [0.0, 1.0, 2.0, 3.0, 4.0]
    # A thorough look makes room too, also in a process that was sent the store, and not without a limit.
    unused_for(root, dict.fromkeys(names, 2.0))
    machine(root, bucket).at_a_glance(thorough=True)
    assert kept(root) == names
    pickle.loads(pickle.dumps(limited)).at_a_glance(thorough=True)
    assert len(kept(root)) == 3
    assert [value(limited, epoch) for epoch in names] == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_what_is_not_at_the_server_stays(tmp_path: Path, bucket: Bucket) -> None:
    here = machine(tmp_path, bucket, 1)
    tables = {"values": pd.DataFrame({"value": [1.0] * MANY})}
    record = here.stage("things", "e1", tables, code_version="1", inputs={}, facts={})
    unused_for(tmp_path, {"e1": 50.0})
    here.at_a_glance(thorough=True)
    assert kept(tmp_path) == ["e1"]
    here.commit(record)
    assert kept(tmp_path) == []
    # Nor does one go that is another at the server, such as one that was cut off there.
    assert value(here, "e1") == 1.0
    bucket.write(f"prefix/tables/things/e1/{record.tables['values'].file}", b"cut")
    unused_for(tmp_path, {"e1": 50.0})
    here.at_a_glance(thorough=True)
    assert kept(tmp_path) == ["e1"]


def test_who_reads_goes_on_and_who_commits_finds_it_at_the_server(tmp_path: Path, bucket: Bucket) -> None:
    here = machine(tmp_path, bucket, 1)
    commit(here, "e1", 1.0)
    record = here.record("things", "e1")
    assert record is not None
    file = next(tmp_path.glob("things/e1/*.parquet"))
    whole = file.read_bytes()

    def slowly(path: Path) -> bytes:
        with path.open("rb") as stream:
            unused_for(tmp_path, {"e1": 50.0})
            here.at_a_glance(thorough=True)
            assert not file.exists()
            return stream.read()

    assert here.home.read(file, slowly) == whole
    # An epoch that is taken over is staged with the tables that it has, and they may go before it is committed.
    again = here.stage("things", "e1", dict(record.tables), code_version="2", inputs={}, facts={})
    assert file.exists()
    unused_for(tmp_path, {"e1": 50.0})
    here.at_a_glance(thorough=True)
    assert not file.exists()
    here.commit(again)
    assert value(here, "e1") == 1.0


def test_a_silent_server_takes_nothing_away(tmp_path: Path, bucket: Bucket) -> None:
    here = machine(tmp_path, bucket, 1)
    commit(here, "e1", 1.0)
    unused_for(tmp_path, {"e1": 50.0})
    with silence():
        home = here.home
        assert isinstance(home, AtServer)
        home.objects = ObjectStore(f"{bucket.url}/prefix")
        home._make_room(10**9)
    assert kept(tmp_path) == ["e1"]


def test_a_process_looks_again_when_much_has_come(tmp_path: Path) -> None:
    folder = tmp_path / "things" / "e1"
    folder.mkdir(parents=True)
    files = [folder / f"values-{number}.parquet" for number in range(10)]
    for number, file in enumerate(files):
        file.write_bytes(b"x" * 100)
        os.utime(file, (number, number))
    asked: list[int] = []

    def at_home() -> dict[Path, int]:
        asked.append(1)
        return dict.fromkeys(files, 100)

    room = Room(tmp_path, 1000)
    assert room.is_full_with(1)
    # Nobody asks a server where there is room.
    assert room.clear(at_home) == [] and not asked
    assert not room.is_full_with(49)
    assert room.is_full_with(2)
    (folder / "values-new.parquet").write_bytes(b"x" * 51)
    assert room.clear(at_home) == files[:2]
    assert not room.is_full_with(140)
    assert room.is_full_with(20)
    assert not Room(tmp_path, None).is_full_with(10**12)
    assert Room(tmp_path, None).clear(at_home) == []
