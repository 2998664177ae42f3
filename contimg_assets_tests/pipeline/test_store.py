"""The store: what is written is read, nobody sees half of it, and versions follow content alone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contimg_assets.errors import InputError, SchemaError, StoreError
from contimg_assets.pipeline import store_home
from contimg_assets.pipeline.records import BAD_INPUT, FAILURE, RECORD, EpochRecord, Failure
from contimg_assets.pipeline.store import EpochStore
from contimg_assets.schemas.core import BOOL, FLOAT, INT, TEXT, Column, TableSchema

POINTS = TableSchema(
    "points",
    "For tests",
    (
        Column("name", TEXT, "", "Key"),
        Column("ra_deg", FLOAT, "deg", "Right ascension", minimum=0, maximum=360, maximum_exclusive=True),
        Column("flux_mjy", FLOAT, "mJy", "Flux", nullable=True),
        Column("line", INT, "", "Where it stood", versioned=False),
        Column("forced", BOOL, "", "Flag"),
    ),
    key=("name",),
)
NOTES = TableSchema("notes", "For tests", (Column("text", TEXT, "", "Text"),))


@pytest.fixture
def store(tmp_path: Path) -> EpochStore:
    return EpochStore(tmp_path / "store", {"stage": (POINTS, NOTES)})


def points(n: int = 3, **columns: object) -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "name": [f"p{i}" for i in range(n)],
            "ra_deg": np.linspace(0, 359.9, n),
            "flux_mjy": [np.nan, *range(1, n)][:n],
            "line": range(n),
            "forced": False,
        }
    )
    return table.assign(**columns)


def stage(store: EpochStore, epoch: str = "e1", table: pd.DataFrame | None = None, text: str = "a") -> EpochRecord:
    return store.stage(
        "stage",
        epoch,
        {"points": points() if table is None else table, "notes": pd.DataFrame({"text": [text]})},
        code_version="1",
        inputs={"upstream": "x"},
        facts={"n": 3},
    )


def write(store: EpochStore, epoch: str = "e1", table: pd.DataFrame | None = None, text: str = "a") -> EpochRecord:
    record = stage(store, epoch, table, text)
    store.commit(record)
    return record


def test_what_is_written_is_read(store: EpochStore) -> None:
    record = write(store)
    pd.testing.assert_frame_equal(store.read("stage", "e1", "points"), points(), check_dtype=False)
    assert store.record("stage", "e1") == record
    assert record.rows == 3
    assert store.epochs("stage") == ["e1"]
    assert list(store.read("stage", "e1", "points", ["flux_mjy"])) == ["flux_mjy"]


def test_a_staged_epoch_is_not_seen_until_committed(store: EpochStore) -> None:
    old = write(store)
    new = store.stage(
        "stage",
        "e1",
        {"points": points(5), "notes": pd.DataFrame({"text": ["b"]})},
        code_version="1",
        inputs={},
        facts={},
    )
    assert store.record("stage", "e1") == old
    assert len(store.read("stage", "e1", "points")) == 3
    assert {path.name for path in store.unreferenced()} == {new.tables["points"].file, new.tables["notes"].file}
    store.commit(new)
    assert len(store.read("stage", "e1", "points")) == 5
    assert list(store.unreferenced()) == []


@pytest.mark.parametrize("damage", [Path.unlink, lambda file: os.truncate(file, 100)])
def test_an_epoch_whose_files_are_damaged_counts_as_never_made_and_is_mended(store: EpochStore, damage) -> None:
    record = write(store)
    damage(store.root / "stage" / "e1" / record.tables["points"].file)
    assert store.record("stage", "e1") is None
    assert write(store) == record
    assert store.record("stage", "e1") == record
    assert len(store.read("stage", "e1", "points")) == 3


NONSENSE = {
    "empty": b"",
    "cut": b'{"stage": "stage", "epo',
    "null": b"null",
    "a list": b"[1, 2]",
    "wrong keys": b'{"stage": "stage", "epoch": "e1", "tabellen": {}}',
    "wrong kinds": b'{"stage":"stage","epoch":"e1","data_version":"a","code_version":"1","inputs":3,"tables":4}',
    "no tables": b'{"stage":"stage","epoch":"e1","data_version":"a","code_version":"1","inputs":{},"tables":{}}',
    "random": bytes(range(255, 0, -1)),
    "a zero byte in a name": b'{"stage":"stage","epoch":"e1","data_version":"a","code_version":"1","inputs":{},'
    b'"tables":{"points":{"file":"a\\u0000b","rows":1,"version":"a"}}}',
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("content", NONSENSE.values(), ids=NONSENSE)
def test_a_damaged_record_counts_as_never_made_and_is_named(
    store: EpochStore, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    record = write(store)
    write(store, "e2")
    file = store.root / "stage" / "e1" / RECORD
    file.write_bytes(content)
    for _ in range(3):
        assert store.record("stage", "e1") is None
    (told,) = caplog.messages
    assert (damage := store.damage("stage", "e1")) is not None
    assert told == damage.sentence == f"{damage.fault}: made again"
    assert str(file.parent) in damage.fault
    assert store.record("stage", "e2") is not None
    assert store.epochs("stage") == ["e1", "e2"]
    assert write(store) == record
    assert store.record("stage", "e1") == record
    assert store.damage("stage", "e1") is None


def test_the_record_of_another_epoch_is_none_of_this_one(store: EpochStore) -> None:
    write(store)
    write(store, "e2", text="b")
    shutil.copy(store.root / "stage" / "e2" / RECORD, store.root / "stage" / "e1" / RECORD)
    assert store.record("stage", "e1") is None
    assert (damage := store.damage("stage", "e1")) is not None
    assert "of epoch e2" in damage.fault


@pytest.mark.parametrize("content", NONSENSE.values(), ids=NONSENSE)
def test_a_damaged_failure_counts_as_none_and_is_named(
    store: EpochStore, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    for epoch in ("e1", "e2"):
        store.fail(Failure("stage", epoch, "bad", BAD_INPUT, "1", {}), {"points": points()})
    (store.root / "stage" / "e1" / FAILURE).write_bytes(content)
    assert store.failure("stage", "e1") is None
    assert store.read_failed("stage", "e1", "points") is None
    assert [failure.epoch for failure in store.failures("stage")] == ["e2"]
    assert [FAILURE in message for message in caplog.messages] == [True]
    write(store)
    assert not (store.root / "stage" / "e1" / FAILURE).exists()


def test_a_store_that_may_not_be_read_is_told_and_not_made_again(
    store: EpochStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(store)

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(StoreError, match=r"record\.json: cannot be read \(Permission denied\); allow"):
        store.record("stage", "e1")


@pytest.mark.parametrize(("number", "cure"), [(28, "make room"), (30, "allow the user"), (13, "allow the user")])
def test_a_store_that_cannot_be_written_is_told_with_the_cure(
    store: EpochStore, monkeypatch: pytest.MonkeyPatch, number: int, cure: str
) -> None:
    record = write(store)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr("contimg_assets.pipeline.table_files.pq.write_table", refuse)
    with pytest.raises(StoreError, match=cure):
        write(store, text="b")
    monkeypatch.undo()
    assert store.record("stage", "e1") == record
    assert list(store.unreferenced()) == []


def test_a_power_cut_leaves_the_old_epoch_or_the_new_one(store: EpochStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """In what order the disk is asked to keep things: content, names, the record that refers to them, its name."""
    write(store)
    asked: list[str] = []
    fsync, rename, unlink = os.fsync, Path.replace, Path.unlink

    def note(descriptor: int) -> None:
        asked.append("keep " + os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")).rsplit("-")[0])  # noqa: PTH119, PTH115
        fsync(descriptor)

    def note_rename(path: Path, target: Path) -> Path:
        asked.append(f"name {target.name.rsplit('-')[0]}")
        return rename(path, target)

    def note_unlink(path: Path, missing_ok: bool = False) -> None:
        if path.exists():
            asked.append(f"drop {path.name.rsplit('-')[0]}")
        unlink(path, missing_ok)

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(Path, "replace", note_rename)
    monkeypatch.setattr(Path, "unlink", note_unlink)
    write(store, table=points(5), text="b")
    record = next(i for i, what in enumerate(asked) if what == "name record.json")
    assert {"name points", "name notes", "keep points", "keep notes", "keep e1"} <= set(asked[:record])
    assert asked[record - 1].startswith("keep .record.json")
    assert asked[record + 1] == "keep e1"
    assert asked[record + 2 :] == ["drop points", "drop notes"] or asked[record + 2 :] == ["drop notes", "drop points"]


def test_tables_are_kept_with_a_failure_until_the_epoch_is_made(store: EpochStore) -> None:
    failure = Failure("stage", "e1", "bad", BAD_INPUT, "1", {})
    store.fail(failure, {"points": points()})
    assert store.failure("stage", "e1") == replace(failure, tables=("points",))
    pd.testing.assert_frame_equal(store.read_failed("stage", "e1", "points"), points(), check_dtype=False)
    assert store.read_failed("stage", "e1", "notes") is None
    assert list(store.unreferenced()) == []
    store.fail(failure)
    assert store.read_failed("stage", "e1", "points") is None
    assert [path.name for path in store.unreferenced()] == ["failure-points.parquet"]
    store.fail(failure, {"points": points()})
    write(store)
    assert store.read_failed("stage", "e1", "points") is None
    store.fail(failure, {"points": points()})
    store.delete("stage", "e1")
    assert not (store.root / "stage" / "e1").exists()


def test_what_is_staged_again_is_young(store: EpochStore) -> None:
    """The age of what a killed process left keeps nothing from being tidied away."""
    record = write(store)
    file = store.root / "stage" / "e1" / record.tables["points"].file
    os.utime(file, (0, 0))
    write(store)
    assert file.stat().st_mtime > 0


def test_versions_follow_content(store: EpochStore) -> None:
    version = write(store).data_version
    assert write(store).data_version == version
    assert write(store, table=points(line=[9, 8, 7])).data_version == version
    assert write(store, table=points(flux_mjy=[np.nan, 1.0, 2.5])).data_version != version
    assert write(store, table=points(flux_mjy=[0.0, 1.0, 2.0])).data_version != version
    assert write(store, text="b").data_version != version


def test_what_is_not_as_described_is_not_written(store: EpochStore) -> None:
    for table, word in (
        (points().drop(columns="flux_mjy"), "flux_mjy"),
        (points(extra=1), "extra"),
        (points(ra_deg=[0.0, 360.0, 1.0]), "ra_deg < 360"),
        (points(ra_deg=[0.0, np.nan, 1.0]), "row 1"),
        (points(name=["a", "a", "b"]), "key"),
        (points(flux_mjy=["x", "y", "z"]), "flux_mjy"),
    ):
        with pytest.raises(SchemaError, match=word):
            write(store, table=table)
    assert store.record("stage", "e1") is None


def test_a_file_of_another_shape_is_not_read(store: EpochStore, tmp_path: Path) -> None:
    record = write(store)
    file = tmp_path / "store" / "stage" / "e1" / record.tables["points"].file
    points().rename(columns={"ra_deg": "ra"}).to_parquet(file)
    with pytest.raises(SchemaError, match="ra_deg"):
        store.read_recorded(record, "points")


def test_failures_are_kept_until_the_epoch_is_made(store: EpochStore) -> None:
    failure = Failure("stage", "e1", "no good", "input", "1", {"upstream": "y"})
    write(store)
    store.fail(failure)
    assert store.failure("stage", "e1") == failure
    assert store.record("stage", "e1") is not None
    write(store)
    assert store.failure("stage", "e1") is None


def test_a_missing_epoch_is_told_with_its_cure(store: EpochStore) -> None:
    with pytest.raises(StoreError, match="contimg run --epochs e7"):
        store.read("stage", "e7", "points")


def test_a_deleted_epoch_is_gone_and_remembered_until_it_is_delivered(store: EpochStore) -> None:
    write(store)
    store.mark_deleted("e1")
    assert store.epochs("stage") == []
    assert store.deleted_epochs() == ["e1"]
    store.forget_deletion("e1", lambda: False)
    assert store.is_deleted("e1")
    there_and_gone = [True, False]
    store.forget_deletion("e1", lambda: there_and_gone.pop(0))
    assert store.is_deleted("e1"), "it was taken away at this very moment"
    store.forget_deletion("e1", lambda: True)
    assert store.deleted_epochs() == []
    assert write(store) == store.record("stage", "e1")


def test_what_was_begun_before_an_epoch_was_deleted_does_not_bring_it_back(
    store: EpochStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever it is deleted: before, while, or after it is committed; and others that come with it are kept."""
    replace_texts = store_home.replace_texts

    def deleted_before(texts: Mapping[Path, str]) -> None:
        store.mark_deleted("e1")
        replace_texts({file: text for file, text in texts.items() if file.parent.is_dir()})

    def deleted_after(texts: Mapping[Path, str]) -> None:
        replace_texts(texts)
        store.mark_deleted("e1")

    def nothing_more(texts: Mapping[Path, str]) -> None:
        store.mark_deleted("e1")
        replace_texts(texts)

    for meanwhile in (deleted_before, deleted_after, nothing_more):
        staged = [stage(store, epoch) for epoch in ("e1", "e2")]
        with monkeypatch.context() as patch:
            patch.setattr(store_home, "replace_texts", meanwhile)
            store.commit_all(staged)
        assert store.epochs("stage") == ["e2"], meanwhile
        store.forget_deletion("e1", lambda: True)
    store.mark_deleted("e1")
    store.fail(Failure("stage", "e1", "no good", "input", "1", {}))
    assert store.failures("stage") == []


@given(st.text(min_size=1, max_size=20))
def test_no_name_leaves_the_store(name: str) -> None:
    store = EpochStore(Path("/nowhere/store"), {"stage": (POINTS, NOTES)})
    try:
        record = store.record("stage", name)
    except InputError:
        return
    assert record is None
    assert "/" not in name
    assert not name.startswith(".")
