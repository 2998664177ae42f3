"""A table of all epochs from files that hold many: the same rows as from the store, whatever happened to either."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from contimg_assets.pipeline import gathered
from contimg_assets.pipeline.gathered import FOLDER, gathered_table
from contimg_assets.pipeline.records import EpochRecord
from contimg_assets.pipeline.store import EpochStore
from contimg_assets.schemas import Column, TableSchema

TABLE = TableSchema(
    "fluxes", "test", (Column("n", pa.int64(), "", "a number"), Column("name", pa.string(), "", "a word"))
)
STAGE = "corrections"


@pytest.fixture(autouse=True)
def few_epochs_in_a_file(monkeypatch):
    monkeypatch.setattr(gathered, "_EPOCHS_IN_FILE", 4)


@pytest.fixture
def store(tmp_path) -> EpochStore:
    store = EpochStore(tmp_path, {STAGE: (TABLE,)})
    for number in range(30):
        _make(store, f"epoch{number:02d}", number)
    return store


def _make(store: EpochStore, epoch: str, number: int) -> None:
    rows = pd.DataFrame({"n": [number] * (number % 3), "name": [f"row {number}"] * (number % 3)})
    store.commit(store.stage(STAGE, epoch, {"fluxes": rows}, code_version="1", inputs={}, facts={}))


def _records(store: EpochStore) -> dict[str, EpochRecord]:
    found = {epoch: store.record(STAGE, epoch) for epoch in store.epochs(STAGE)}
    return {epoch: record for epoch, record in found.items() if record is not None}


def _plain(store: EpochStore) -> list[tuple[int, str, str]]:
    return [
        (*row, epoch)
        for epoch in store.epochs(STAGE)
        for row in store.read(STAGE, epoch, "fluxes").itertuples(index=False, name=None)
    ]


def _gathered(store: EpochStore) -> list[tuple[int, str, str]]:
    table = gathered_table(store, _records(store), "fluxes", ["n", "name"])
    assert table is not None
    assert table.column_names == ["n", "name", "epoch"]
    return list(table.to_pandas().itertuples(index=False, name=None))


def _files(store: EpochStore) -> set[str]:
    return {file.name for file in (store.root / FOLDER).glob("*")}


def test_rows_are_those_of_the_epochs_in_their_order(store):
    assert _gathered(store) == _plain(store)
    assert _files(store)
    assert _gathered(store) == _plain(store)


def test_what_was_gathered_is_not_read_from_the_store_again(store, monkeypatch):
    _gathered(store)
    read: list[str] = []
    as_it_is = EpochStore.read_recorded

    def counted(self, record, table, columns=None):
        read.append(record.epoch)
        return as_it_is(self, record, table, columns)

    monkeypatch.setattr(EpochStore, "read_recorded", counted)
    _make(store, "epoch30", 31)
    assert _gathered(store)[-1] == (31, "row 31", "epoch30")
    assert "epoch30" in read
    assert len(read) < 10


@pytest.mark.parametrize("epoch", ["epoch00", "epoch07", "epoch29", "epoch035"])
def test_an_epoch_that_changes_comes_late_or_goes_is_seen(store, epoch):
    _gathered(store)
    before = _files(store)
    _make(store, epoch, 200)
    assert _gathered(store) == _plain(store)
    store.delete(STAGE, epoch)
    assert _gathered(store) == _plain(store)
    assert len(before & _files(store)) >= len(before) - 2


def test_a_copy_that_is_damaged_or_gone_is_made_again(store):
    _gathered(store)
    first, second = sorted((store.root / FOLDER).glob("*"))[:2]
    first.write_bytes(b"PAR1 and nothing else PAR1")
    _swap_bytes(second)
    assert _gathered(store) == _plain(store)
    assert _gathered(store) == _plain(store)


def _swap_bytes(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[30:34] = bytes(255 - one for one in content[30:34])
    file.write_bytes(content)


def test_no_epoch_is_no_table(tmp_path):
    assert gathered_table(EpochStore(tmp_path, {STAGE: (TABLE,)}), {}, "fluxes", ["n"]) is None
