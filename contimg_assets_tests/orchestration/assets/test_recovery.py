"""What goes wrong around the flow is said, heals by itself or by the next run, and hides nothing."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from alembic import command
from typer.testing import CliRunner

from contimg_assets.cli.app import app, tell_troubles
from contimg_assets.database.engine import writing
from contimg_assets.database.schema import alembic_config, newest_revision
from contimg_assets.database.views import drop_views
from contimg_assets.orchestration.automation.checks import nothing_stale
from contimg_assets.orchestration.runs.in_process import delete_epoch
from contimg_assets.pipeline.staleness import State
from contimg_assets.pipeline.store import EpochStore
from contimg_assets.pipeline.survey_tables import epoch_scales_file
from contimg_assets_tests.projects import TestProject, assert_same_rows, make_project, stale_tables


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, survey: Path) -> TestProject:
    """Three epochs, everything made; to be copied and not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        project = make_project(tmp_path_factory.mktemp("made") / "project", survey)
        patch.chdir(project.folder)
        project.deliver(*project.epochs[:3])
        assert project.run().complete
    return project


def spoil(project: TestProject, stage: str, epoch: str) -> None:
    """Other bytes of the same number in the main table's file."""
    (file,) = (project.folder / "store" / stage / epoch).glob(f"{stage}-*.parquet")
    file.write_bytes(b"x" * file.stat().st_size)


def states(project: TestProject) -> pd.Series:
    return project.project.assess().set_index(["stage", "epoch"])["state"]


def test_lost_and_cut_files_are_made_again(finished: TestProject) -> None:
    before = finished.rows()
    store = finished.folder / "store"
    next(store.glob(f"measurements/{finished.epochs[0]}/measurements-*.parquet")).unlink()
    cut = next(store.glob(f"corrections/{finished.epochs[1]}/corrections-*.parquet"))
    cut.write_bytes(cut.read_bytes()[:100])
    assert states(finished)["measurements", finished.epochs[0]] == State.MISSING
    assert states(finished)["corrections", finished.epochs[1]] == State.MISSING
    assert finished.run().complete
    assert_same_rows(finished.rows(), before)


def test_a_spoiled_file_is_mended_by_force(finished: TestProject) -> None:
    before = finished.rows()
    spoil(finished, "measurements", finished.epochs[1])
    assert finished.run(force=True).complete
    assert_same_rows(finished.rows(), before)


def damage(file: Path, content: bytes) -> Path:
    assert file.exists()
    file.write_bytes(content)
    return file


def test_damaged_small_files_of_the_store_are_named_and_made_again(
    finished: TestProject, caplog: pytest.LogCaptureFixture
) -> None:
    before, store, epochs = finished.rows(), finished.folder / "store", finished.epochs
    damaged = [
        damage(store / "raw_detections" / epochs[0] / "record.json", b""),
        damage(store / "associated_sources" / epochs[1] / "record.json", b'{"stage": "associated_so'),
        damage(store / "corrections" / epochs[2] / "record.json", b'{"nothing": "of ours"}'),
        damage(store / "delivery_versions.json", b"null"),
        damage(store / "epoch_scales.parquet", b""),
        *(damage(file, b"") for file in sorted((store / "reference").iterdir())),
    ]
    said = CliRunner().invoke(app, ["status"])
    assert said.exit_code == 0
    assert "record.json is empty" in said.output
    assert finished.run().complete
    told = " ".join(caplog.messages)
    assert [str(file) for file in damaged if str(file) not in told] == []
    assert_same_rows(finished.rows(), before)
    assert finished.run().run_ids == []


def test_wrong_bytes_of_the_right_number_are_found_and_made_again(finished: TestProject) -> None:
    before, store = finished.rows(), finished.folder / "store"
    sound = CliRunner().invoke(app, ["check", "--store"])
    assert sound.exit_code == 0, sound.output
    assert "are what was written" in sound.output
    spoil(finished, "measurements", finished.epochs[1])
    changed = next(store.glob(f"corrections/{finished.epochs[0]}/constant_fluxes-*.parquet"))
    part = next(store.glob("corrections/.parts/known_fluxes-*.parquet"))
    for file in (changed, part):
        table = pq.read_table(file, partitioning=None)
        pq.write_table(table.slice(1), file)
    record = changed.with_name("record.json")
    record.write_text(re.sub(r'"n_bytes": \d+', '"n_bytes": 0', record.read_text(encoding="utf-8")), encoding="utf-8")
    catalog = next((store / "reference").iterdir())
    content = bytearray(catalog.read_bytes())
    content[100:110] = b"x" * 10
    catalog.write_bytes(content)
    assert finished.run().run_ids == []
    for option in ([], ["--mend"], ["--mend"]):
        found = CliRunner().invoke(app, ["check", "--store", *option])
        if found.exit_code == 0:
            break
        output = found.output.replace("\n", "")
        assert [name in output for name in (finished.epochs[1], changed.name, part.name, catalog.name)] == [True] * 4
    assert found.exit_code == 0
    assert finished.run().complete
    assert CliRunner().invoke(app, ["check", "--store"]).exit_code == 0
    assert_same_rows(finished.rows(), before)


def test_a_list_of_parts_that_cannot_be_read_is_found_and_made_again(finished: TestProject) -> None:
    before = finished.rows()
    lists = sorted((finished.folder / "store").glob(f"*/{finished.epochs[1]}/*_parts-*.parquet"))
    assert len(lists) >= 3
    for file in lists:
        file.write_bytes(bytes(file.stat().st_size))
    found = CliRunner().invoke(app, ["check", "--store", "--mend"])
    assert found.exit_code == 1, found.output
    assert [file.name in found.output.replace("\n", "") for file in lists] == [True] * len(lists)
    assert finished.run().complete
    assert CliRunner().invoke(app, ["check", "--store"]).exit_code == 0
    assert_same_rows(finished.rows(), before)


def test_what_cannot_be_made_again_is_kept_and_told(finished: TestProject) -> None:
    epoch = finished.epochs[1]
    shutil.rmtree(finished.folder / "incoming" / epoch)
    (file,) = (finished.folder / "store" / "raw_detections" / epoch).glob("detections-*.parquet")
    file.write_bytes(b"x" * file.stat().st_size)
    for option in ([], ["--mend"]):
        found = CliRunner().invoke(app, ["check", "--store", *option])
        assert found.exit_code == 1
        assert "deliver the epoch again" in found.output
    assert finished.project.store.record("raw_detections", epoch) is not None


def test_a_failure_that_has_passed_is_tried_again_by_the_next_call(finished: TestProject) -> None:
    finished.deliver(finished.epochs[3])
    with finished.project.products as database:
        engine = database.engine
        with writing(engine) as connection:
            connection.execute(
                sa.text("CREATE TRIGGER full BEFORE INSERT ON images BEGIN SELECT RAISE(ABORT, 'disk is full'); END")
            )
        assert finished.run().failed["stage"].tolist() == ["products"]
        assert "disk is full" in finished.project.assess()["reason"].str.cat()
        with writing(engine) as connection:
            connection.execute(sa.text("DROP TRIGGER full"))
    assert states(finished)["products", finished.epochs[3]] == State.FAILED
    assert finished.run().complete


def test_a_full_disk_is_told_once_and_tried_again_by_the_next_run(
    finished: TestProject, capsys: pytest.CaptureFixture[str]
) -> None:
    before = finished.rows()
    finished.deliver()
    (finished.folder / "products.sqlite3").unlink()

    def limit(connection: Any, _: object) -> None:
        if connection.execute("PRAGMA database_list").fetchone()[2].endswith("products.sqlite3"):
            connection.execute("PRAGMA max_page_count = 120")

    sa.event.listen(sa.Engine, "connect", limit)
    try:
        report = finished.run()
    finally:
        sa.event.remove(sa.Engine, "connect", limit)
    assert not report.complete
    assert not tell_troubles(report)
    told = "".join(capsys.readouterr())
    assert told.count("make room on its disk") == 1, told
    assert "Traceback" not in told
    assert finished.run().complete
    assert set(before["epochs"]["epoch"]) < set(finished.rows()["epochs"]["epoch"])


def test_a_full_store_is_told_and_tried_again_by_the_next_run(
    finished: TestProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing can be kept of it then, not even that it failed."""
    finished.deliver()
    write = Path.write_text

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    def write_text(file: Path, text: str, encoding: str) -> int:
        return refuse() if file.name.endswith(".tmp") else write(file, text, encoding)

    with monkeypatch.context() as patch:
        patch.setattr("contimg_assets.pipeline.table_files.pq.write_table", refuse)
        patch.setattr(Path, "write_text", write_text)
        report = finished.run()
    assert not report.complete
    assert not tell_troubles(report)
    told = "".join(capsys.readouterr())
    assert told.count("make room on its disk") == 1, told
    assert "Traceback" not in told
    assert finished.run().complete


def test_folds_that_fail_in_a_row_are_all_shown_and_not_tried_for_ever(finished: TestProject) -> None:
    for epoch in finished.epochs[1:3]:
        spoil(finished, "measurements", epoch)
    finished.configure(association={"method": "basic"})
    for _ in range(2):
        report = finished.run()
        failed = report.failed[report.failed["stage"] == "associated_sources"]
        assert failed["epoch"].tolist() == finished.epochs[1:3]
        assert not report.assessment["state"].isin([State.STALE, State.MISSING]).any()


def test_lost_scales_between_epochs_are_solved_again(finished: TestProject) -> None:
    epoch_scales_file(finished.project.config.store).unlink()
    assert stale_tables(finished.project)
    assert finished.run().complete
    assert not stale_tables(finished.project)


def test_a_database_of_an_older_version_is_brought_up_to_date(finished: TestProject) -> None:
    before = finished.rows()
    with finished.project.products as database, writing(database.engine) as connection:
        drop_views(connection)
        command.downgrade(alembic_config(connection), "0002")
        kept = {name: [one["name"] for one in sa.inspect(connection).get_columns(name)] for name in before
                if sa.inspect(connection).has_table(name)}  # fmt: skip
    assert stale_tables(finished.project)
    assert CliRunner().invoke(app, ["status"]).exit_code == 0
    assert finished.run().complete
    assert finished.project.products.current() == newest_revision()
    # What the older version did not keep is made by the algorithms that came with it, which here are the same.
    now = finished.rows()
    both = {name: [column for column in kept[name] if column in before[name]] for name in kept}
    assert_same_rows({name: now[name][both[name]] for name in both}, {name: before[name][both[name]] for name in both})


def test_an_epoch_that_only_the_products_hold_is_shown_and_can_be_deleted(finished: TestProject) -> None:
    last = finished.epochs[2]
    shutil.rmtree(finished.folder / "incoming" / last)
    for folder in (finished.folder / "store").glob(f"*/{last}"):
        shutil.rmtree(folder)
    assert (states(finished).xs(last, level="epoch") == State.WAITING).all()
    assert "contimg epoch delete" in finished.project.assess()["reason"].str.cat()
    assert not nothing_stale(finished.project).passed
    delete_epoch(finished.project, finished.instance, last)
    assert last not in finished.rows()["epochs"]["epoch"].tolist()
    assert nothing_stale(finished.project).passed


def test_an_epoch_that_a_run_makes_again_while_it_is_deleted_stays_deleted(
    finished: TestProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    epoch = finished.epochs[1]
    shutil.move(finished.folder / "incoming" / epoch, finished.folder / "moved away")
    kept = {file: file.read_bytes() for file in (finished.folder / "store").glob(f"*/{epoch}/*")}
    mark_deleted = EpochStore.mark_deleted
    runs = [1]

    def mark_late(store: EpochStore, name: str) -> None:
        mark_deleted(store, name)
        if runs.pop() if runs else 0:
            for file, content in kept.items():
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)

    monkeypatch.setattr(EpochStore, "mark_deleted", mark_late)
    report = delete_epoch(finished.project, finished.instance, epoch)
    assert not report.errors
    assert epoch not in finished.project.epochs()
    assert epoch not in finished.rows()["epochs"]["epoch"].tolist()
    assert nothing_stale(finished.project).passed


@pytest.mark.parametrize("place", ["store", "incoming"])
def test_permissions_lost_midway_are_told_once_and_cured_by_the_next_run(
    finished: TestProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    """Tests run as root, whom nothing is refused: the system's answer is put in the place of a lost permission."""
    finished.deliver(finished.epochs[3])
    delivered = finished.folder / "incoming" / finished.epochs[3]
    calls = iter(range(1000))
    owner, name = {"store": (pq, "write_table"), "incoming": (Path, "read_bytes")}[place]
    function = getattr(owner, name)

    def refused(*arguments: Any, **keywords: Any) -> Any:
        if place == "store" and next(calls) < 5:
            return function(*arguments, **keywords)
        if place == "incoming" and not str(arguments[0]).startswith(str(delivered)):
            return function(*arguments, **keywords)
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, refused)
        report = finished.run()
    assert not report.complete
    assert not tell_troubles(report)
    told = "".join(capsys.readouterr())
    assert told.count("Permission denied") == 1, told
    assert "Traceback" not in told
    report = finished.run()
    assert report.complete, report.failed["reason"].tolist()
    assert set(finished.epochs) == set(finished.rows()["epochs"]["epoch"])


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_set_by_an_hour_makes_nothing_stale(
    finished: TestProject, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 3600.0 * hours)
    assert finished.run().run_ids == []
    finished.deliver(finished.epochs[3])
    assert finished.run().complete
    assert finished.run().run_ids == []
    monkeypatch.setattr(time, "time", now)
    assert finished.run().run_ids == []


def test_an_older_copy_of_the_products_put_back_is_brought_up_to_date(finished: TestProject) -> None:
    finished.project.products.close()
    older = (finished.folder / "products.sqlite3").read_bytes()
    finished.deliver()
    assert finished.run().complete
    before = finished.rows()
    for file in finished.folder.glob("products.sqlite3*"):
        file.unlink()
    (finished.folder / "products.sqlite3").write_bytes(older)
    assert finished.run().complete
    assert_same_rows(finished.rows(), before)


def test_a_store_that_may_only_be_read_is_looked_at_and_told(
    finished: TestProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished.deliver()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", refuse)
        patch.setattr(Path, "mkdir", refuse)
        patch.setattr("contimg_assets.pipeline.table_files.pq.write_table", refuse)
        said = CliRunner().invoke(app, ["status"])
        assert said.exit_code == 0, said.output
        assert finished.epochs[3] in said.output
        report = finished.run()
    assert ["allow the user who runs contimg to write there" in one for one in report.troubles] == [True]
    assert finished.run().complete


def test_a_missing_catalogue_is_said_and_holds_nothing_else_back(finished: TestProject) -> None:
    finished.deliver(finished.epochs[3])
    gone = next((finished.folder / "catalogs").iterdir())
    gone.unlink()
    report = finished.run()
    assert [gone.name in problem for problem in report.problems] == [True]
    assert (report.assessment["state"] == State.FRESH).all()
    assert not report.complete
    said = CliRunner().invoke(app, ["run"])
    assert said.exit_code == 1
    assert "no such file for the catalog" in " ".join(said.output.split())
    assert "no such file for the catalog" in " ".join(CliRunner().invoke(app, ["status"]).output.split())


def test_deleting_an_epoch_tells_of_later_ones_that_cannot_follow(finished: TestProject) -> None:
    spoil(finished, "measurements", finished.epochs[2])
    shutil.move(finished.folder / "incoming" / finished.epochs[0], finished.folder / "moved away")
    said = CliRunner().invoke(app, ["epoch", "delete", finished.epochs[0]])
    assert said.exit_code == 1
    assert f"failed: associated_sources of epoch {finished.epochs[2]}" in " ".join(said.output.split())


def test_an_epoch_of_which_matches_and_a_catalog_are_lost_waits_while_others_are_folded(finished: TestProject) -> None:
    before, store, lost = finished.rows(), finished.folder / "store", finished.epochs[1]
    catalog = next((finished.folder / "catalogs").iterdir())
    moved = catalog.rename(finished.folder / catalog.name)
    shutil.rmtree(store / "reference")
    shutil.rmtree(store / "catalog_matches" / lost)
    for record in store.glob("error_model/*/record.json"):
        older = re.sub(r'"code_version": "\w+"', '"code_version": "of an older version"', record.read_text("utf-8"))
        record.write_text(older, encoding="utf-8")
    report = finished.run(finished.epochs[:1])
    assert report.errors == []
    assert [catalog.name in problem for problem in report.problems] == [True]
    moved.rename(catalog)
    assert finished.run().complete
    assert_same_rows(finished.rows(), before)
