"""A store at a URL: what several machines see of it, whoever is killed, races, or damages it."""

from __future__ import annotations

import gzip
import pickle
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError

from contimg_assets.config import Config
from contimg_assets.errors import StoreError
from contimg_assets.files import servers
from contimg_assets.files.object_stores import ObjectStore, Overtaken, Unanswered
from contimg_assets.pipeline import store_packs, upkeep
from contimg_assets.pipeline.records import INTERNAL, Damaged, EpochRecord, Failure
from contimg_assets.pipeline.sky_parts import SkyParts
from contimg_assets.pipeline.store import EpochStore, Glance
from contimg_assets.pipeline.store_home import AtServer, InFolder
from contimg_assets.pipeline.store_marks import GONE, Marks
from contimg_assets.schemas import TableSchema
from contimg_assets.schemas.core import FLOAT, Column
from contimg_assets.schemas.parts import parts_of
from contimg_assets_tests.object_store import Bucket, silence

VALUES = TableSchema("values", "Numbers", (Column("value", FLOAT, "", "One"),))
EXTRA = TableSchema("extra", "More numbers", (Column("value", FLOAT, "", "One"),))
SCHEMAS = {"things": (VALUES, EXTRA)}


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What the server was asked: the kind of question, and the object."""
    questions: list[tuple[str, str]] = []
    for kind in ("list", "read", "_put", "remove"):
        ask = getattr(ObjectStore, kind)

        def noted(self: Any, name: str, *rest: Any, kind: str = kind, ask: Any = ask) -> Any:
            questions.append((kind, name))
            return ask(self, name, *rest)

        monkeypatch.setattr(ObjectStore, kind, noted)
    return questions


def machine(tmp_path: Path, name: str, bucket: Bucket) -> EpochStore:
    """The store as another machine sees it."""
    root = tmp_path / name
    return EpochStore(root, SCHEMAS, AtServer(root, ObjectStore(f"{bucket.url}/prefix")))


def staged(store: EpochStore, epoch: str, value: float, code: str = "1") -> EpochRecord:
    tables = {"values": pd.DataFrame({"value": [value]}), "extra": pd.DataFrame({"value": [-value, value]})}
    return store.stage("things", epoch, tables, code_version=code, inputs={"a": f"{value}"}, facts={})


def value(store: EpochStore, epoch: str) -> float | None:
    """What a machine finds of an epoch that it looks at now."""
    found = store.at_a_glance(thorough=True)
    if found.record("things", epoch) is None:
        return None
    extra = found.read("things", epoch, "extra")["value"].tolist()
    one = float(found.read("things", epoch, "values")["value"].iloc[0])
    assert extra == [-one, one]
    return one


def test_what_one_machine_commits_all_read(tmp_path: Path, bucket: Bucket) -> None:
    here, there = machine(tmp_path, "here", bucket), machine(tmp_path, "there", bucket)
    assert value(there, "e1") is None
    here.commit_all([staged(here, "e1", 1.0), staged(here, "e2", 2.0)])
    assert (value(there, "e1"), value(there, "e2")) == (1.0, 2.0)
    assert there.epochs("things") == ["e1", "e2"]
    there.commit(staged(there, "e1", 3.0))
    assert value(here, "e1") == 3.0
    assert sorted(bucket.system.find(f"{bucket.url}/prefix/records")) == [
        f"survey/prefix/records/things/{epoch}/record.json" for epoch in ("e1", "e2")
    ]


def test_a_look_costs_one_question_and_what_changed(
    tmp_path: Path, bucket: Bucket, asked: list[tuple[str, str]]
) -> None:
    here, there = machine(tmp_path, "here", bucket), machine(tmp_path, "there", bucket)
    here.commit_all([staged(here, f"e{number}", number) for number in range(8)])
    there.at_a_glance().epochs("things")
    assert Counter(kind for kind, _ in asked if kind in ("read", "list")) == {"list": 2, "read": 8}
    asked.clear()
    here.commit(staged(here, "e3", 33.0))
    assert Counter(kind for kind, _ in asked) == {"_put": 3, "list": 1}
    asked.clear()
    there.home.bring(now=True)
    assert asked == [("list", "records/"), ("read", "records/things/e3/record.json")]
    asked.clear()
    assert there.read("things", "e3", "values")["value"].tolist() == [33.0]
    assert there.read("things", "e3", "values")["value"].tolist() == [33.0]
    # Between two looks of a process some time passes.
    there.at_a_glance().record("things", "e4")
    assert [kind for kind, _ in asked] == ["read"]


def test_a_machine_without_anything_asks_for_one_object_and_not_for_each_record(
    tmp_path: Path, bucket: Bucket, asked: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_packs, "_LEAST_MISSING", 4)
    here = machine(tmp_path, "here", bucket)
    here.commit_all([staged(here, f"e{number}", number) for number in range(6)])
    for name, n_read in (("first", 7), ("second", 1), ("third", 1)):
        asked.clear()
        machine(tmp_path, name, bucket).home.bring()
        assert Counter(kind for kind, _ in asked if kind != "_put") == {"list": 1, "read": n_read}
    # What changed since is read by itself, and a damaged pack is written again.
    here.commit(staged(here, "e3", 33.0))
    asked.clear()
    fourth = machine(tmp_path, "fourth", bucket)
    assert [value(fourth, f"e{number}") for number in range(6)] == [0.0, 1.0, 2.0, 33.0, 4.0, 5.0]
    assert [name for kind, name in asked if kind == "read" and "record" in name] == [
        "records.json.gz",
        "records/things/e3/record.json",
    ]
    for content in (b"", b"{}", gzip.compress(b'{"records/things/e1/record.json": 1}'), gzip.compress(b"[]")[:-4]):
        bucket.write("prefix/records.json.gz", content)
        assert value(machine(tmp_path, f"of {len(content)}", bucket), "e1") == 1.0
        assert bucket.system.cat_file(f"{bucket.url}/prefix/records.json.gz") != content


@pytest.fixture
def dying(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The process is killed at the write with a number, before or after it: no other one follows."""
    put, dying = ObjectStore._put, SimpleNamespace(at=0, after=False, n=0)

    def killed(self: ObjectStore, *arguments: Any) -> str:
        dying.n += 1
        if dying.at and (dying.n > dying.at or (dying.n == dying.at and not dying.after)):
            raise Killed
        etag = put(self, *arguments)
        if dying.n == dying.at:
            raise Killed
        return etag

    monkeypatch.setattr(servers, "_AT_ONCE", 1)
    monkeypatch.setattr(ObjectStore, "_put", killed)
    return dying


@pytest.mark.parametrize(("at", "after"), [(at, after) for at in range(1, 7) for after in (False, True)])
def test_a_commit_that_is_killed_at_any_write_leaves_old_epochs_or_new_ones(
    tmp_path: Path, bucket: Bucket, dying: SimpleNamespace, at: int, after: bool
) -> None:
    here = machine(tmp_path, "here", bucket)
    here.commit(staged(here, "e1", 1.0))
    new = [staged(here, "e1", 2.0), staged(here, "e2", 3.0)]
    dying.n, dying.at, dying.after = 0, at, after
    with pytest.raises(Killed):
        here.commit_all(new)
    dying.at = 0
    # Four tables are written first, then both records.
    expected = 2.0 if (at, after) >= (5, True) else 1.0, 3.0 if (at, after) >= (6, True) else None
    for name in ("there", "here"):
        again = machine(tmp_path, name, bucket)
        assert (value(again, "e1"), value(again, "e2")) == expected
    here.commit_all(new)
    assert [value(machine(tmp_path, "last", bucket), epoch) for epoch in ("e1", "e2")] == [2.0, 3.0]


def test_of_two_writers_one_is_told_that_the_other_was_first(tmp_path: Path, bucket: Bucket) -> None:
    here, there = machine(tmp_path, "here", bucket), machine(tmp_path, "there", bucket)
    mine, theirs = (staged(store, "e1", value) for store, value in ((here, 1.0), (there, 2.0)))
    other = staged(there, "e2", 5.0)
    here.commit(mine)
    with pytest.raises(StoreError, match=r"things of epoch e1: another writer at s3://survey/prefix was first"):
        there.commit_all([theirs, other])
    for store in (here, there, machine(tmp_path, "third", bucket)):
        assert (value(store, "e1"), value(store, "e2")) == (1.0, 5.0)
    # Having seen the other's, it may replace it.
    there.commit(staged(there, "e1", 3.0))
    assert value(here, "e1") == 3.0


def test_two_that_make_the_same_do_not_disturb_each_other(tmp_path: Path, bucket: Bucket) -> None:
    here, there = machine(tmp_path, "here", bucket), machine(tmp_path, "there", bucket)
    first, second = staged(here, "e1", 1.0), staged(there, "e1", 1.0)
    here.commit(first)
    there.commit(second)
    assert value(there, "e1") == 1.0


def test_an_epoch_that_is_deleted_elsewhere_meanwhile_does_not_come_back(tmp_path: Path, bucket: Bucket) -> None:
    here, there = machine(tmp_path, "here", bucket), machine(tmp_path, "there", bucket)
    here.commit_all([staged(here, "e1", 1.0), staged(here, "e2", 2.0)])
    begun = staged(there, "e1", 3.0)
    here.mark_deleted("e1")
    there.commit(begun)
    for store in (here, there, machine(tmp_path, "third", bucket)):
        assert (value(store, "e1"), value(store, "e2")) == (None, 2.0)
        assert store.deleted_epochs() == ["e1"]
    here.forget_deletion("e1", lambda: True)
    there.home.bring(now=True)
    assert there.deleted_epochs() == []


def test_failures_are_seen_everywhere_with_their_tables_and_forgotten(tmp_path: Path, bucket: Bucket) -> None:
    here, there = machine(tmp_path, "here", bucket), machine(tmp_path, "there", bucket)
    for number in (1.0, 2.0):
        failure = Failure("things", "e1", f"for {number}", INTERNAL, "1", {})
        here.fail(failure, {"extra": pd.DataFrame({"value": [number]})})
        there.home.bring(now=True)
        assert [one.message for one in there.at_a_glance().failures("things")] == [failure.message]
        kept = there.read_failed("things", "e1", "extra")
        assert kept is not None
        assert kept["value"].tolist() == [number]
    there.commit(staged(there, "e1", 1.0))
    here.home.bring(now=True)
    assert here.failures("things") == []


@pytest.mark.parametrize("content", [None, b"PAR1 cut", b"", b"as long as before"])
def test_a_damaged_object_is_named_and_made_again(tmp_path: Path, bucket: Bucket, content: bytes | None) -> None:
    here, there = machine(tmp_path, "here", bucket), machine(tmp_path, "there", bucket)
    record = staged(here, "e1", 1.0)
    here.commit(record)
    name = f"prefix/tables/things/e1/{record.tables['extra'].file}"
    n_bytes, seen_at_a_look = record.tables["extra"].n_bytes, True
    if content is None:
        bucket.remove(name)
    elif content == b"as long as before":
        bucket.write(name, b"x" * n_bytes)
        seen_at_a_look = False
    else:
        bucket.write(name, content)
    there.home.bring()
    sentence = " is gone or cut off; `contimg run" if content is None else ": its content is not what was written"
    with pytest.raises(StoreError, match=f"^s3://survey/{name}{sentence}"):
        there.read("things", "e1", "extra")
    # From then on it counts as never made, for this process and the next one.
    for store in (there, machine(tmp_path, "there", bucket), machine(tmp_path, "there", bucket).at_a_glance()):
        assert store.record("things", "e1") is None
        assert store.damage("things", "e1") == Damaged(f"s3://survey/{name} is gone or cut off")
    # A thorough look finds it without reading, and on the machine whose own copy is whole.
    assert (here.at_a_glance(thorough=True).damage("things", "e1") is not None) == seen_at_a_look
    assert there.at_a_glance(thorough=True).damage("things", "e1") is not None
    there.commit(staged(there, "e1", 1.0))
    assert (value(there, "e1"), value(here, "e1")) == (1.0, 1.0)


def test_a_damaged_copy_is_brought_again(tmp_path: Path, bucket: Bucket) -> None:
    here = machine(tmp_path, "here", bucket)
    record = staged(here, "e1", 1.0)
    here.commit(record)
    for file in (here.root / "things" / "e1").glob("*.parquet"):
        file.write_bytes(file.read_bytes()[:50])
    assert value(here, "e1") == 1.0
    for file in (here.root / "things" / "e1").iterdir():
        file.unlink()
    assert value(here, "e1") == 1.0


def test_a_record_that_was_cut_off_here_is_brought_again_and_nothing_is_swept_for_it(
    tmp_path: Path, bucket: Bucket
) -> None:
    here = machine(tmp_path, "here", bucket)
    here.commit_all([staged(here, "e1", 1.0), staged(here, "e2", 2.0)])
    file = here.root / "things" / "e1" / "record.json"
    whole = file.read_text()
    file.write_text(whole[:-9])
    assert value(here, "e1") == 1.0
    # As long as before, it is not noticed as changed.
    file.write_text("?" * len(whole))
    assert here.unreferenced_elsewhere(float("inf")) == {}
    assert value(machine(tmp_path, "there", bucket), "e1") == 1.0


def test_parts_are_sent_with_the_record_that_names_them_and_swept_when_none_does(
    tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = parts_of(VALUES)
    schemas = {"folded": (index,)}

    def store_of(name: str) -> EpochStore:
        return EpochStore(tmp_path / name, schemas, AtServer(tmp_path / name, ObjectStore(f"{bucket.url}/prefix")))

    def commit(store: EpochStore, epoch: str, number: float) -> SkyParts:
        table = VALUES.to_arrow(pd.DataFrame({"value": [number]}))
        parts = SkyParts(store.part_files("folded", VALUES)).replaced([5], table, pd.Series([5]).to_numpy())
        tables = {index.name: parts.index}
        store.commit(store.stage("folded", epoch, tables, code_version="1", inputs={}, facts={}))
        return parts

    here, there = store_of("here"), store_of("there")
    commit(here, "e1", 1.0)
    kept = commit(here, "e1", 2.0)
    there.home.bring()
    read = SkyParts(there.part_files("folded", VALUES), kept.index)
    assert pickle.loads(pickle.dumps(read)).of()[0]["value"].to_pylist() == [2.0]
    objects = bucket.system.find(f"{bucket.url}/prefix/tables")
    assert len(objects) == 4
    project: Any = SimpleNamespace(store=there, config=SimpleNamespace())
    monkeypatch.setattr(upkeep, "unreferenced_catalogs", lambda config: [])
    assert upkeep.tidy_store(project, 1.0) == []
    removed = upkeep.tidy_store(project, -1.0)
    assert {name for name, _ in removed if name.startswith("s3://survey/prefix/tables/folded/")}
    assert len(bucket.system.find(f"{bucket.url}/prefix/tables")) == 2
    fresh = store_of("fresh")
    fresh.home.bring()
    assert SkyParts(fresh.part_files("folded", VALUES), kept.index).of()[0]["value"].to_pylist() == [2.0]


@pytest.mark.slow
def test_nothing_is_swept_while_the_server_is_silent(
    tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = machine(tmp_path, "here", bucket)
    here.commit(staged(here, "e1", 1.0))
    with silence(), pytest.raises(Unanswered):
        machine(tmp_path, "here", bucket).unreferenced_elsewhere(float("inf"))
    assert value(here, "e1") == 1.0


@pytest.mark.slow
def test_a_silent_server_and_one_that_lost_everything_are_told_in_a_sentence(tmp_path: Path, bucket: Bucket) -> None:
    here = machine(tmp_path, "here", bucket)
    here.commit(staged(here, "e1", 1.0))
    with silence():
        silent = machine(tmp_path, "here", bucket)
        with pytest.raises(StoreError, match=r"^s3://survey/prefix/records/?: not reachable \("):
            silent.at_a_glance(thorough=True)
    assert value(here, "e1") == 1.0
    for name in bucket.system.find(bucket.url):
        bucket.remove(name.partition("/")[2])
    with pytest.raises(StoreError, match=r"there is nothing at this URL any more; correct paths\.store"):
        here.at_a_glance(thorough=True)
    assert here.epochs("things") == ["e1"]


def test_names_of_others_are_not_taken(tmp_path: Path, bucket: Bucket) -> None:
    for name in (
        "../x",
        "things/../../x/record.json",
        "things/e1/other.json",
        ".hidden/e1/record.json",
        "reference/.a",
    ):
        bucket.write(f"prefix/records/{name}", b"{}")
    bucket.write("prefix/records/things/e1/record.json", b"{")
    here = machine(tmp_path, "here", bucket)
    assert value(here, "e1") is None
    assert (damage := here.damage("things", "e1")) is not None
    assert "damaged" in damage.fault
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert files == ["here/.lock", "here/.server", "here/things/e1/record.json"]


def test_a_store_in_another_process_is_the_same(tmp_path: Path, bucket: Bucket) -> None:
    here, there = machine(tmp_path, "here", bucket), machine(tmp_path, "there", bucket)
    here.commit(staged(here, "e1", 1.0))
    there.home.bring()
    again = pickle.loads(pickle.dumps(there))
    assert again.read("things", "e1", "values")["value"].tolist() == [1.0]
    assert isinstance(there.at_a_glance(), Glance)
    assert isinstance(EpochStore(tmp_path, SCHEMAS).home, InFolder)


def test_marks_are_kept_by_lines_and_survive_a_cut(tmp_path: Path) -> None:
    file = tmp_path / "marks"
    marks, other = Marks(file), Marks(file)
    marks.note({"a": '"1"', "b": GONE})
    assert other.known() == {"a": '"1"', "b": GONE}
    assert other.gone() == {"b": GONE}
    with file.open("ab") as stream:
        stream.write(b"\n2\tcu")
    marks.note({"b": "", "c": "3"})
    assert other.known() == Marks(file).known() == {"a": '"1"', "c": "3"}
    assert other.gone() == {}
    for number in range(3000):
        marks.note({"a": str(number)})
    marks.known()
    marks.shorten()
    assert len(file.read_text().splitlines()) < 5
    assert other.known() == marks.known() == {"a": "2999", "c": "3"}


def test_a_store_at_a_url_is_configured_as_its_folder(tmp_path: Path) -> None:
    config = Config.model_validate({"paths": {"store": "s3://survey/prefix/"}, "root": tmp_path})
    assert config.paths.store_url == "s3://survey/prefix"
    assert config.store.parent == tmp_path / "store_from_urls"
    for url, said in (
        ("gs://survey/prefix", "a store is a folder or at s3://"),
        ("https://survey/prefix", "a store is a folder or at s3://"),
        ("s3://me:secret@survey/prefix", "must not hold a name or password"),
    ):
        with pytest.raises(ValidationError, match=said):
            Config.model_validate({"paths": {"store": url}})
    assert config.paths.store_copy_bytes is None
    limited = {"paths": {"store": "s3://survey/prefix", "store_copy_size": "1.5 GB"}}
    assert Config.model_validate(limited).paths.store_copy_bytes == 1_500_000_000
    for size, store, said in (
        ("much", "s3://survey/prefix", "is no size; write a number"),
        ("0 MB", "s3://survey/prefix", "holds nothing"),
        ("2 GB", "store", "is about a store at a URL"),
    ):
        with pytest.raises(ValidationError, match=said):
            Config.model_validate({"paths": {"store": store, "store_copy_size": size}})
    with pytest.raises(ValidationError, match="store_url is not to be set"):
        Config.model_validate({"paths": {"store": "here", "store_url": "s3://survey/prefix"}})


def test_secrets_are_in_no_sentence(tmp_path: Path, bucket: Bucket) -> None:
    objects = ObjectStore(f"{bucket.url}/prefix")
    etag = objects.write("a", b"1")
    with pytest.raises(Overtaken):
        objects.replace("a", b"2", None)
    with pytest.raises(Overtaken):
        objects.replace("a", b"2", '"other"')
    with pytest.raises(Overtaken):
        objects.replace("b", b"2", etag)
    assert objects.read("a") == b"1"
    assert objects.replace("a", b"2", etag) != etag
    with pytest.raises(Unanswered) as told:
        ObjectStore("s3://no-such-bucket/prefix").write("a", b"1")
    assert "testing" not in str(told.value)
