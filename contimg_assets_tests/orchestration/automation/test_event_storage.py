"""Dagster's event log with its files kept open: the same files as Dagster's own, and nobody notices but the clock."""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage

from contimg_assets.cli.templates import write_templates
from contimg_assets.orchestration.runs.event_storage import OpenEventLog
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
