"""Questions about all epochs: what is answered without opening a file is what the files say."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from contimg_assets.pipeline import records as records_module
from contimg_assets.pipeline.record_index import index_file
from contimg_assets.pipeline.records import BAD_INPUT, RECORD, EpochRecord, Failure
from contimg_assets.pipeline.store import EpochStore
from contimg_assets.schemas.core import FLOAT, Column, TableSchema

VALUES = TableSchema("values", "For tests", (Column("x", FLOAT, "", "Value"),))
N_EPOCHS = 40


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


def opened(root: Path) -> EpochStore:
    return EpochStore(root, {"stage": (VALUES,)})


def in_a_new_process(root: Path, monkeypatch: pytest.MonkeyPatch) -> EpochStore:
    """A store of which nothing is remembered."""
    monkeypatch.setattr(records_module, "_memory_of", lambda root: records_module.Memory())
    return opened(root)


def write(store: EpochStore, epoch: str, x: float = 1.0) -> EpochRecord:
    inputs, facts = {"upstream": "a"}, {"n": 3, "none": float("nan"), "part": 0.1, "named": [["s", "t", "e1"]]}
    staged = store.stage(
        "stage", epoch, {"values": pd.DataFrame({"x": [x]})}, code_version="1", inputs=inputs, facts=facts
    )
    store.commit(staged)
    return staged


def write_survey(root: Path) -> None:
    store = opened(root)
    for number in range(N_EPOCHS):
        write(store, f"e{number:02d}", float(number))
    settle(root)


def settle(root: Path) -> None:
    """As if all of it had been written some time ago: what is younger is looked at again in any case."""
    then = time.time() - 60.0
    for path in (*root.glob("stage/*/*"), *root.glob("stage/*")):
        os.utime(path, (then, then))


def found(store: EpochStore) -> dict[str, str | None]:
    """Version of each epoch's record, by epoch."""
    records = {epoch: store.record("stage", epoch) for epoch in store.epochs("stage")}
    return {epoch: None if record is None else record.data_version for epoch, record in records.items()}


def refuse_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(text: str) -> EpochRecord:
        raise AssertionError("a record was opened")

    monkeypatch.setattr(EpochRecord, "from_json", refuse)


def test_a_glance_is_of_one_moment_and_the_next_one_sees_what_changed(root: Path) -> None:
    write_survey(root)
    store, other = opened(root), opened(root)
    first = store.at_a_glance()
    before = found(first)
    assert len(before) == N_EPOCHS
    new = write(store, "e03", -1.0)
    late = write(other, "f1")
    other.fail(Failure("stage", "e04", "bad", BAD_INPUT, "1", {}))
    other.delete("stage", "e05")
    other.discard("stage", "e06")
    assert found(first) == before
    assert first.failures("stage") == []
    now = store.at_a_glance()
    expected = before | {"e03": new.data_version, "f1": late.data_version}
    assert found(now) == {epoch: version for epoch, version in expected.items() if epoch not in ("e05", "e06")}
    assert [failure.epoch for failure in now.failures("stage")] == ["e04"]
    assert now.failure("stage", "e04") == store.failure("stage", "e04")
    write(other, "e04")
    assert store.at_a_glance().failures("stage") == []


def test_a_second_glance_opens_no_record(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_survey(root)
    store = opened(root)
    first = found(store.at_a_glance())
    refuse_to_read(monkeypatch)
    assert found(store.at_a_glance()) == first
    assert found(store.at_a_glance(thorough=True)) == first


def test_a_file_that_is_gone_is_seen_by_a_glance_and_one_that_is_cut_off_by_a_thorough_one(root: Path) -> None:
    write_survey(root)
    store = opened(root)
    found(store.at_a_glance())
    (gone,) = (root / "stage" / "e07").glob("*.parquet")
    gone.unlink()
    (cut,) = (root / "stage" / "e08").glob("*.parquet")
    os.truncate(cut, 100)
    assert found(store.at_a_glance())["e07"] is None
    thorough = store.at_a_glance(thorough=True)
    assert found(thorough)["e08"] is None
    assert (damage := thorough.damage("stage", "e08")) is not None
    assert str(cut) in damage.fault
    assert found(store.at_a_glance())["e08"] is None, "the next one knows what the thorough one found"
    (root / "stage" / "e09" / RECORD).write_bytes(b"{")
    assert found(store.at_a_glance(thorough=True))["e09"] is None


def test_a_new_process_reads_one_file_of_all_records(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_survey(root)
    first = in_a_new_process(root, monkeypatch).at_a_glance()
    records = [repr(first.record("stage", epoch)) for epoch in first.epochs("stage")]
    assert index_file(root, "stage").is_file()
    refuse_to_read(monkeypatch)
    again = in_a_new_process(root, monkeypatch).at_a_glance()
    assert [repr(again.record("stage", epoch)) for epoch in again.epochs("stage")] == records
    assert list(again.unreferenced()) == []


def _nothing(file: Path) -> None:
    file.unlink()


def _another_letter(file: Path) -> None:
    """A version that another bit makes of it."""
    content = file.read_bytes()
    file.write_bytes(content.replace(b'"upstream":"a"', b'"upstream":"b"', 1))
    assert file.read_bytes() != content


@pytest.mark.parametrize(
    "damage",
    [
        _nothing,
        _another_letter,
        lambda file: file.write_bytes(b""),
        lambda file: os.truncate(file, 1000),
        lambda file: file.write_bytes(bytes(range(256))),
        lambda file: file.chmod(0),
    ],
    ids=["gone", "another letter", "empty", "cut", "random", "closed"],
)
def test_a_damaged_index_is_never_believed_and_made_again(
    root: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None]
) -> None:
    write_survey(root)
    file = index_file(root, "stage")
    expected = found(in_a_new_process(root, monkeypatch).at_a_glance())
    sound = file.read_bytes()
    damage(file)
    store = in_a_new_process(root, monkeypatch).at_a_glance()
    assert found(store) == expected
    assert {store.record("stage", epoch).inputs["upstream"] for epoch in expected} == {"a"}
    file.chmod(0o600)
    assert file.read_bytes() == sound


def test_an_index_counts_only_where_the_records_are_the_same(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version of the package writes records and knows nothing of an index; a store may be copied."""
    write_survey(root)
    found(in_a_new_process(root, monkeypatch).at_a_glance())
    file = root / "stage" / "e10" / RECORD
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"data_version": "another"}))
    shutil.rmtree(root / "stage" / "e11")
    shutil.copy(root / "stage" / "e12" / RECORD, root / "stage" / "e13" / RECORD)
    settle(root)
    store = in_a_new_process(root, monkeypatch).at_a_glance()
    now = found(store)
    assert now["e10"] == "another"
    assert "e11" not in now
    assert now["e13"] is None
    copy = root.with_name("copy")
    shutil.copytree(root, copy)
    assert found(in_a_new_process(copy, monkeypatch).at_a_glance()) == now


def test_what_was_written_just_now_is_in_no_index(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be written again without its time changing."""
    store = opened(root)
    for number in range(N_EPOCHS):
        write(store, f"e{number:02d}")
    found(in_a_new_process(root, monkeypatch).at_a_glance())
    assert not index_file(root, "stage").exists()


def test_who_may_not_write_reads_all_the_same(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_survey(root)
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    assert len(found(in_a_new_process(root, monkeypatch).at_a_glance())) == N_EPOCHS
    assert not index_file(root, "stage").exists()
