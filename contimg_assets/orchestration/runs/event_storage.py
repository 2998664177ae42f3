"""Dagster's own SQLite storage, whose files stay open between two events.

Dagster opens a file anew for each event, compiles its statements anew, and lets SQLite copy its log into the file and
wait for the disk when it is closed: most of what a backfill of many small epochs costs. Events are written without
fields that are empty. Named in `dagster.yaml`; Dagster's own storage reads the same files, so that a project may change
from one to the other at any time.
"""

import json
import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from threading import Lock
from typing import Any

from dagster._config.config_schema import UserConfigSchema
from dagster._core.events import ASSET_CHECK_EVENTS, ASSET_EVENTS, DagsterEventType
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log.schema import SqlEventLogStorageMetadata, SqlEventLogStorageTable
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME, SqliteEventLogStorage
from dagster._core.storage.sql import ALEMBIC_SCRIPTS_LOCATION
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage, _event_logs_directory
from dagster._serdes import ConfigurableClassData

from contimg_assets.database.engine import (
    ChangesOfFile,
    DatabaseError,
    append_rows,
    delete_rows,
    is_log_file,
    make_log_file,
    newest_version,
    open_log_file,
)

# Files of runs that are kept open, besides the index of all runs.
_MOST_OPEN = 8
_WAIT_FOR_OTHERS_S = 60
# Events that are written together: those of one stage of a backfill. Dagster asks the environment.
_BATCH_SIZE, _MOST_TOGETHER = "DAGSTER_EVENT_BATCH_SIZE", 1000


_MADE, _PLANNED = DagsterEventType.ASSET_MATERIALIZATION.value, DagsterEventType.ASSET_MATERIALIZATION_PLANNED.value
# Of an asset of which a run tells no more epochs than this, its own file has them all.
_FEW_EPOCHS = 50


# Fields that Dagster takes for missing where an event does not name them: a third of an event with little in it.
_MAY_BE_MISSING = {
    "AssetCheckEvaluation": {"description", "partition"},
    "AssetCheckEvaluationPlanned": {"partitions_subset"},
    "AssetMaterialization": {"description", "metadata_entries", "partition"},
    "AssetMaterializationPlannedData": {"partition", "partitions_subset"},
    "DagsterEvent": {
        *("event_specific_data", "message", "pid", "solid_handle", "step_handle", "step_key", "step_kind_value")
    },
    "EventLogEntry": {"step_key"},
    "EventMetadataEntry": {"description"},
    "HandledOutputData": {"metadata_entries"},
    "LoadedInputData": {"metadata_entries"},
    "StepMaterializationData": {"asset_lineage"},
    "StepOutputData": {"version"},
    "StepOutputHandle": {"mapping_key"},
    "TypeCheckData": {"description", "metadata_entries"},
}
# What the event of the asset that is a step's output shows once more, and what an event names in other fields.
_SAID_TWICE = {"StepOutputData": {"metadata_entries"}, "DagsterEvent": {"logging_tags"}}
_LINEAGE = "TableColumnLineageMetadataValue"


def _named(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields of an object of Dagster's without those that are empty and may be missing."""
    kind = fields.get("__class__", "")
    may_be_missing, said_twice = _MAY_BE_MISSING.get(kind, ()), _SAID_TWICE.get(kind, ())
    return {
        name: value
        for name, value in fields.items()
        if name not in said_twice and (value not in (None, [], {}) or name not in may_be_missing)
    }


def shortened(event: str) -> str:
    """An event as Dagster writes it, which Dagster reads as the same event, without what goes without saying."""
    return _written(json.loads(event, object_hook=_named))


def without_lineage(event: str) -> str:
    """An event without where an asset's columns come from, which Dagster looks for in the file of all runs."""
    return _written(json.loads(event, object_hook=_without_lineage))


def _without_lineage(fields: dict[str, Any]) -> dict[str, Any]:
    entries = fields.get("metadata_entries")
    if not entries:
        return fields
    return fields | {"metadata_entries": [one for one in entries if one["entry_data"]["__class__"] != _LINEAGE]}


def _written(event: Any) -> str:
    return json.dumps(event, separators=(",", ":"))


def _plan_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """What tells the event of the plan that was carried out with another event."""
    same = {name: row[name] for name in ("asset_key", "partition", "run_id")}
    return {**same, "dagster_event_type": _PLANNED}


def _worth_keeping_twice(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of events as a run's own file has them too, besides the file of all runs: of many epochs the newest."""
    by_asset: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        by_asset.setdefault((row["asset_key"], row["dagster_event_type"]), []).append(row)
    kept = (row for alike in by_asset.values() for row in (alike if len(alike) <= _FEW_EPOCHS else alike[-1:]))
    return [row | {"event": without_lineage(row["event"])} for row in kept]


class OpenEventLog(SqliteEventLogStorage):
    """`SqliteEventLogStorage` that keeps the files open that it used last."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: OrderedDict[str, Any] = OrderedDict()
        self._tables: set[str] = set()
        self._has_index_columns = False
        self._changes: ChangesOfFile | None = None
        self._partitions: dict[str, tuple[int, Mapping[str, None]]] = {}
        self._partitions_lock = Lock()
        super().__init__(base_dir, inst_data)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Any]:
        with self._db_lock:
            engine = self._engine(shard)
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.begin() as connection:
                yield connection

    def _initdb(self, engine: Any, for_index_shard: bool = False) -> None:
        # Dagster asks Alembic, which reads a hundred scripts three times: half of what a run's events take.
        if is_log_file(engine):
            return
        if not for_index_shard:
            # Of a file that others hold at this moment SQLite may say so at once: Dagster looks again, ten times.
            with suppress(DatabaseError):
                make_log_file(engine, SqlEventLogStorageMetadata, newest_version(ALEMBIC_SCRIPTS_LOCATION))
                return
        super()._initdb(engine, for_index_shard)

    def _engine(self, shard: str) -> Any:
        """The file's engine; that of the file that was longest not asked for is closed."""
        if shard not in self._engines:
            self._engines[shard] = open_log_file(self.conn_string_for_shard(shard), _WAIT_FOR_OTHERS_S)
        self._engines.move_to_end(shard)
        while len(self._engines) > _MOST_OPEN:
            _, oldest = self._engines.popitem(last=False)
            oldest.dispose()
        return self._engines[shard]

    def _event_to_row(self, event: EventLogEntry) -> dict[str, Any]:
        row: dict[str, Any] = super()._event_to_row(event)
        return row | {"event": shortened(row["event"])}

    def store_event(self, event: EventLogEntry) -> None:
        if event.is_dagster_event and event.dagster_event_type is DagsterEventType.ASSET_MATERIALIZATION:
            self.store_event_batch([event])
            return
        super().store_event(event)
        # What follows a run in the browser watches its file, which is not written to while its log grows.
        os.utime(self.path_for_shard(event.run_id))

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Write events of one run together: into the file of all runs and, as far as they are few, the run's own."""
        alike = len({event.run_id for event in events}) == 1
        kinds = {event.dagster_event_type for event in events}
        if not alike or not kinds <= ASSET_EVENTS or kinds & ASSET_CHECK_EVENTS:
            super().store_event_batch(events)
            return
        run_id, table = events[0].run_id, SqlEventLogStorageTable
        rows = [self._event_to_row(event) for event in events]
        with self.run_connection(run_id) as connection:
            append_rows(connection, table, _worth_keeping_twice(rows))
        with self.index_transaction() as connection:
            # Of many, a plan that was carried out is told by what came of it, in its place.
            if len(rows) > 1:
                delete_rows(connection, table, [_plan_of(row) for row in rows if row["dagster_event_type"] == _MADE])
            ids = append_rows(connection, table, rows)
            self._store_asset_event_tags(connection, events, ids)
            last = {event.get_dagster_event().asset_key: (event, id_) for event, id_ in zip(events, ids, strict=True)}
            for event, id_ in last.values():
                self._store_asset_event(connection, event, id_)
        os.utime(self.path_for_shard(events[0].run_id))

    def get_dynamic_partitions(self, partitions_def_name: str) -> Sequence[str]:
        return list(self._partitions_of(partitions_def_name))

    def has_dynamic_partition(self, partitions_def_name: str, partition_key: str) -> bool:
        return partition_key in self._partitions_of(partitions_def_name)

    def _partitions_of(self, partitions_def_name: str) -> Mapping[str, None]:
        """Keys in their order: asked for a hundred times in each run, and read again only after somebody wrote."""
        with self._partitions_lock:
            if self._changes is None:
                self._changes = ChangesOfFile(self.conn_string_for_shard(INDEX_SHARD_NAME))
            number = self._changes.number()
            read_at, names = self._partitions.get(partitions_def_name, (None, {}))
            if read_at != number:
                names = dict.fromkeys(super().get_dynamic_partitions(partitions_def_name))
                self._partitions[partitions_def_name] = number, names
            return names

    def has_table(self, table_name: str) -> bool:
        # Asked for every event, and answered by opening the file. No table goes away while the file is open.
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    def _has_asset_key_index_cols_on_connection(self, conn: Any) -> bool:
        if not self._has_index_columns:
            self._has_index_columns = super()._has_asset_key_index_cols_on_connection(conn)
        return self._has_index_columns

    def wipe(self) -> None:
        self._close()
        super().wipe()

    def dispose(self) -> None:
        super().dispose()
        self._close()

    def _close(self) -> None:
        with self._db_lock:
            for engine in self._engines.values():
                engine.dispose()
            self._engines.clear()
            self._tables.clear()
            self._has_index_columns = False
        with self._partitions_lock:
            self._partitions.clear()
            if self._changes is not None:
                self._changes.close()
                self._changes = None


class OpenSqliteStorage(DagsterSqliteStorage):
    """`DagsterSqliteStorage` with an `OpenEventLog`."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(base_dir, inst_data)
        os.environ.setdefault(_BATCH_SIZE, str(_MOST_TOGETHER))
        self._event_log_storage = OpenEventLog(_event_logs_directory(base_dir))

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        return DagsterSqliteStorage.config_type()

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "OpenSqliteStorage":
        return cls.from_local(config_value["base_dir"], inst_data)
