"""Dagster's event log with its files kept open: the same files as Dagster's own, and nobody notices but the clock."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import Mock

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluation
from dagster._core.events import AssetMaterializationPlannedData, DagsterEvent, StepMaterializationData
from dagster._core.events.log import EventLogEntry
from dagster._core.execution.plan.objects import TypeCheckData
from dagster._core.execution.plan.outputs import StepOutputData, StepOutputHandle
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._serdes import deserialize_value, serialize_value

from contimg_assets.cli.templates import write_templates
from contimg_assets.orchestration.runs.event_storage import OpenEventLog, shortened
from contimg_assets.orchestration.runs.instance import open_instance

KEY = dg.AssetKey("seen")


def _tell(instance: dg.DagsterInstance, version: str) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization(KEY, metadata={"version": version}))


def _told(instance: dg.DagsterInstance) -> list[object]:
    records = instance.fetch_materializations(KEY, limit=100).records
    found = (record.asset_materialization for record in reversed(records))
    return [one.metadata["version"].value for one in found if one is not None]


def _as_dagster_has_it(folder: Path) -> None:
    settings = folder / "dagster.yaml"
    text = settings.read_text(encoding="utf-8")
    head, _, rest = text.partition("storage:\n  custom:")
    _, _, rest = rest.partition("local_artifact_storage:")
    plain = "storage:\n  sqlite:\n    base_dir: .dagster\nlocal_artifact_storage:"
    settings.write_text(head + plain + rest, encoding="utf-8")


def test_a_project_may_change_between_dagsters_storage_and_ours(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    write_templates(tmp_path)
    with open_instance(tmp_path) as ours:
        assert type(ours.event_log_storage) is OpenEventLog
        _tell(ours, "a")
    _as_dagster_has_it(tmp_path)
    with open_instance(tmp_path) as plain:
        assert type(plain.event_log_storage) is SqliteEventLogStorage
        assert _told(plain) == ["a"]
        _tell(plain, "b")
    (tmp_path / "dagster.yaml").unlink()
    write_templates(tmp_path)
    with open_instance(tmp_path) as ours:
        assert _told(ours) == ["a", "b"]


def test_a_runs_file_is_made_as_dagster_makes_it(tmp_path):
    """Tables, indices, and the version by which Dagster brings them to a later one."""
    made = []
    for storage in (SqliteEventLogStorage, OpenEventLog):
        log = storage(str(tmp_path / storage.__name__))
        with log.run_connection("a-run") as connection:
            schema = connection.exec_driver_sql("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
            version = connection.exec_driver_sql("SELECT version_num FROM alembic_version").fetchall()
            journal = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
            made.append((sorted(map(tuple, schema), key=str), version, journal))
        log.dispose()
    assert made[0] == made[1]


def test_processes_that_make_a_file_at_once_make_it_once(tmp_path):
    logs = [OpenEventLog(str(tmp_path)) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for run in range(5):
            counts = list(pool.map(lambda log, run=run: _n_versions(log, f"run{run}"), logs))
            assert counts == [1] * 4
    for log in logs:
        log.dispose()


def _n_versions(log: OpenEventLog, run: str) -> int:
    with log.run_connection(run) as connection:
        return int(connection.exec_driver_sql("SELECT count(*) FROM alembic_version").scalar_one())


def test_an_event_is_read_as_it_was_told_and_takes_less_room(tmp_path):
    """Missing fields are those that Dagster takes for empty: with a version of Dagster that needs one, this fails."""
    asset = dg.AssetMaterialization(
        KEY,
        description="ö",
        metadata={"nothing": None, "empty": {}, "number": 0, "text": "", "list": [None, {}], "float": float("inf")},
        partition="night1",
        tags={"a": "b"},
    )
    check = AssetCheckEvaluation(KEY, "good", True, metadata={})
    kinds = dg.DagsterEventType
    told = {
        kinds.ASSET_MATERIALIZATION: StepMaterializationData(asset),
        kinds.ASSET_MATERIALIZATION_PLANNED: AssetMaterializationPlannedData(KEY),
        kinds.ASSET_CHECK_EVALUATION: check,
        kinds.STEP_OUTPUT: StepOutputData(StepOutputHandle("step"), type_check_data=TypeCheckData(True, "")),
        kinds.RUN_START: None,
    }
    log = OpenEventLog(str(tmp_path))
    for kind, data in told.items():
        event = DagsterEvent(kind.value, "job", step_key="step", event_specific_data=data)
        entry = EventLogEntry(None, 10, "said", "run1", 1e9, step_key="step", job_name="job", dagster_event=event)
        assert len(shortened(serialize_value(entry))) < 0.8 * len(serialize_value(entry))
        log.store_event(entry)
        assert log.get_records_for_run("run1", of_type=kind).records[0].event_log_entry == entry
    log.dispose()


def test_an_output_of_a_step_leaves_to_the_asset_what_is_shown_of_it():
    output = StepOutputData(StepOutputHandle("step"), metadata={"picture": dg.MetadataValue.md("long")})
    event = DagsterEvent(dg.DagsterEventType.STEP_OUTPUT.value, "job", step_key="step", event_specific_data=output)
    entry = EventLogEntry(None, 10, "", "run1", 1e9, dagster_event=event)
    read = deserialize_value(shortened(serialize_value(entry)), EventLogEntry)
    assert read.get_dagster_event().step_output_data == StepOutputData(StepOutputHandle("step"))


def test_where_columns_come_from_stands_in_the_file_of_all_runs_alone(tmp_path):
    lineage = dg.TableColumnLineage({"a": [dg.TableColumnDep(KEY, "b")]})
    asset = dg.AssetMaterialization(KEY, metadata={"dagster/column_lineage": lineage, "number": 1})
    log = OpenEventLog(str(tmp_path))
    kind, data = dg.DagsterEventType.ASSET_MATERIALIZATION, StepMaterializationData(asset)
    event = DagsterEvent(kind.value, "job", step_key="step", event_specific_data=data)
    log.store_event(EventLogEntry(None, 10, "said", "run1", 1e9, step_key="step", job_name="job", dagster_event=event))
    (of_run,) = log.get_records_for_run("run1", of_type=kind).records
    (of_asset,) = log.fetch_materializations(KEY, limit=2).records
    assert list(of_run.event_log_entry.asset_materialization.metadata) == ["number"]
    assert of_asset.asset_materialization == asset
    log.dispose()


def test_other_processes_see_an_event_at_once(tmp_path, monkeypatch):
    """Each process has a storage of its own, such as the daemon's and that of `contimg run`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    write_templates(tmp_path)
    with open_instance(tmp_path) as one, open_instance(tmp_path) as other:
        _tell(one, "a")
        assert _told(other) == ["a"]
        _tell(other, "b")
        assert _told(one) == ["a", "b"]


def test_partitions_are_read_again_after_any_process_changed_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    write_templates(tmp_path)
    read = Mock(wraps=SqliteEventLogStorage.get_dynamic_partitions)
    monkeypatch.setattr(SqliteEventLogStorage, "get_dynamic_partitions", lambda self, name: read(self, name))
    with open_instance(tmp_path) as one, open_instance(tmp_path) as other:
        other.add_dynamic_partitions("epoch", ["a", "b"])
        assert one.get_dynamic_partitions("epoch") == ["a", "b"]
        assert one.has_dynamic_partition("epoch", "b") and not one.has_dynamic_partition("epoch", "c")
        other.delete_dynamic_partition("epoch", "b")
        assert not one.has_dynamic_partition("epoch", "b") and not one.has_dynamic_partition("night", "a")
        other.add_dynamic_partitions("epoch", ["c"])
        assert one.get_dynamic_partitions("epoch") == ["a", "c"]
        one.add_dynamic_partitions("epoch", ["d"])
        assert one.get_dynamic_partitions("epoch") == other.get_dynamic_partitions("epoch") == ["a", "c", "d"]
        read.reset_mock()
        assert {tuple(one.get_dynamic_partitions(name)) for name in ("epoch", "night", "epoch")} == {
            ("a", "c", "d"),
            (),
        }
        assert one.has_dynamic_partition("epoch", "d")
        assert read.call_count == 1
    assert not _held(tmp_path)


def test_files_of_many_runs_are_not_all_kept_open(tmp_path):
    log = OpenEventLog(str(tmp_path))
    for number in range(20):
        with log.run_connection(f"run{number}"):
            pass
    assert 0 < len([name for name in _held(tmp_path) if name.endswith(".db")]) <= 9
    log.dispose()
    assert not _held(tmp_path)


def _held(folder: Path) -> set[str]:
    """Files below a folder that this process has open."""
    held = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if os.path.lexists(link)]
    return {name for name in held if name.startswith(str(folder))}


def test_who_follows_a_run_is_told_of_every_event(tmp_path, monkeypatch):
    """The browser's live log watches the run's file: its time must change even where only the log beside it grows."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    write_templates(tmp_path)
    with open_instance(tmp_path) as instance:
        _tell(instance, "a")
        (file,) = (tmp_path / ".dagster" / "history" / "runs").glob(".db")
        os.utime(file, (0, 0))
        _tell(instance, "b")
        assert file.stat().st_mtime > 0
