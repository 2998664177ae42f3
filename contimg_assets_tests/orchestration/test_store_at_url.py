"""A survey whose store is at an object store: the rows of one in a folder, from every machine that shares it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from pandas.testing import assert_frame_equal
from typer.testing import CliRunner

from contimg_assets.cli.app import app
from contimg_assets.pipeline import store_room
from contimg_assets.pipeline.catalog_summary import match_summaries
from contimg_assets.pipeline.store_check import check_store
from contimg_assets.pipeline.store_home import AtServer
from contimg_assets.web.survey import Survey
from contimg_assets_tests.object_store import Bucket, serving, silence
from contimg_assets_tests.projects import TestProject, assert_same_rows


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    with serving("telescope") as (bucket, _):
        yield bucket


@pytest.fixture
def one(project: TestProject, bucket: Bucket) -> TestProject:
    """A machine whose deliveries and whose store are at a bucket."""
    shutil.rmtree(project.folder / "incoming")
    return shared(project, bucket)


@pytest.fixture
def other(one: TestProject, bucket: Bucket, tmp_path: Path) -> TestProject:
    """Another machine with the same configuration and the same products, that keeps little, and nothing else."""
    (tmp_path / "other").mkdir()
    shutil.copytree(one.folder / "catalogs", tmp_path / "other" / "catalogs")
    shutil.copy(one.folder / "dagster.yaml", tmp_path / "other")
    paths = {"products": str(one.folder / "products.sqlite3"), "store_copy_size": "0.001 MB"}
    return shared(TestProject(tmp_path / "other", one.survey), bucket, **paths)


def shared(project: TestProject, bucket: Bucket, **paths: str) -> TestProject:
    project.configure(paths={"incoming": f"{bucket.url}/incoming", "store": f"{bucket.url}/store", **paths})
    return project


def states(project: TestProject) -> list[tuple[str, str, str]]:
    done = CliRunner().invoke(app, ["-C", str(project.folder), "status", "--json"])
    assert done.exit_code == 0, done.output
    return [(row["epoch"], row["stage"], row["state"]) for row in json.loads(done.stdout)]


@pytest.mark.slow
def test_rows_are_those_of_a_folder_from_every_machine(
    one: TestProject, other: TestProject, made: TestProject, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The other machine keeps nearly nothing: a table goes as soon as it was read or committed.
    monkeypatch.setattr(store_room, "_IN_USE_S", -1.0)
    first, *rest = one.epochs
    bucket.put(one.survey / "incoming" / first, f"incoming/{first}")
    assert one.run().complete
    for epoch in rest:
        bucket.put(one.survey / "incoming" / epoch, f"incoming/{epoch}")
    # The other machine goes on where the first one was, reads what it needs of it, and makes nothing again.
    assert other.run().complete
    assert other.materialized("raw_detections") == rest
    assert not list(other.project.config.store.glob(f"raw_detections/{first}/*.parquet"))
    assert_same_rows(other.rows(), made.rows())
    assert sum(file.stat().st_size for file in other.project.config.store.glob("*/*/*.parquet")) <= 1000
    assert states(one) == states(other)
    assert one.run().run_ids == []
    assert_same_rows(one.rows(), made.rows())


@pytest.mark.slow
def test_who_has_only_the_url_sees_the_survey_and_its_damages(one: TestProject, bucket: Bucket, tmp_path: Path) -> None:
    bucket.put(one.survey / "incoming", "incoming")
    assert one.run().complete
    (tmp_path / "reader").mkdir()
    reader = TestProject(tmp_path / "reader", one.survey)
    shared(reader, bucket, products=str(one.folder / "products.sqlite3"))
    assert states(reader) == states(one)
    assert {state for *_, state in states(reader)} == {"fresh"}
    survey = Survey(reader.project.config, reader.project.products)
    assert_frame_equal(survey.matched(), match_summaries(one.project.store))
    # Of tables it has what was asked for.
    assert not list(reader.project.config.store.glob("*/*/measurements-*.parquet"))
    with silence():
        done = CliRunner().invoke(app, ["-C", str(reader.folder), "status"])
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.stderr.startswith("error: s3://telescope/")
    # What is damaged at the server is found by every machine, and made again by the next run.
    name, *_ = sorted(bucket.system.find(f"{bucket.url}/store/tables/measurements/{one.epochs[1]}"))
    whole = bucket.system.cat_file(name)
    bucket.write(name.partition("/")[2], whole[:-9] + b"x" + whole[-8:])
    for machine in (reader, one):
        assert [fault.file for fault in check_store(machine.project)] == [f"s3://{name}"]
    assert one.run().complete
    assert check_store(one.project) == []
    assert bucket.system.cat_file(name) == whole


@pytest.mark.slow
def test_a_store_moves_to_a_bucket_by_copying(made: TestProject, bucket: Bucket, tmp_path: Path) -> None:
    moved = TestProject(tmp_path / "moved", made.survey)
    shutil.copytree(made.folder, moved.folder)
    store = moved.folder / "store"
    for file in (file for file in store.rglob("*") if file.is_file()):
        name = file.relative_to(store).as_posix()
        is_record = file.suffix == ".json" or name.startswith("reference/") or "/" not in name
        bucket.write(f"store/{'records' if is_record else 'tables'}/{name}", file.read_bytes())
    shutil.rmtree(store)
    moved.configure(paths={"store": f"{bucket.url}/store"})
    assert moved.run().run_ids == []
    assert set(moved.project.assess()["state"]) == {"fresh"}


@pytest.mark.slow
def test_an_epoch_that_another_machine_made_first_is_looked_at_again(
    one: TestProject, made: TestProject, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put(one.survey / "incoming", "incoming")
    publish, lost = AtServer.publish, list[Path]()

    def second(self: AtServer, texts: Mapping[Path, str]) -> list[Path]:
        for file, text in texts.items():
            if file.parent.parent.name == "measurements" and not lost:
                lost.append(file)
                # With another version of the program.
                others = text.replace('"code_version": "', '"code_version": "another')
                bucket.write(f"store/records/measurements/{file.parent.name}/record.json", others.encode())
        return publish(self, texts)

    monkeypatch.setattr(AtServer, "publish", second)
    assert one.run().complete
    assert len(lost) == 1
    assert {state for *_, state in states(one)} == {"fresh"}
    assert_same_rows(one.rows(), made.rows())
