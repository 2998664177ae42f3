"""Dagster's own SQLite storage, whose files stay open between two events.

Dagster opens a file anew for each event, compiles its statements anew, and lets SQLite copy its log into the file and
wait for the disk when it is closed: most of what a backfill of many small epochs costs. Named in `dagster.yaml`; the
files are the same, so that a project may change from one to the other at any time.
"""

import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from dagster._config.config_schema import UserConfigSchema
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage, _event_logs_directory
from dagster._serdes import ConfigurableClassData

from contimg_assets.database.engine import open_log_file

# Files of runs that are kept open, besides the index of all runs.
_MOST_OPEN = 8
_WAIT_FOR_OTHERS_S = 60


class OpenEventLog(SqliteEventLogStorage):
    """`SqliteEventLogStorage` that keeps the files open that it used last."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: OrderedDict[str, Any] = OrderedDict()
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

    def _engine(self, shard: str) -> Any:
        """The file's engine; that of the file that was longest not asked for is closed."""
        if shard not in self._engines:
            self._engines[shard] = open_log_file(self.conn_string_for_shard(shard), _WAIT_FOR_OTHERS_S)
        self._engines.move_to_end(shard)
        while len(self._engines) > _MOST_OPEN:
            _, oldest = self._engines.popitem(last=False)
            oldest.dispose()
        return self._engines[shard]

    def store_event(self, event: EventLogEntry) -> None:
        super().store_event(event)
        # What follows a run in the browser watches its file, which is not written to while its log grows.
        os.utime(self.path_for_shard(event.run_id))

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


class OpenSqliteStorage(DagsterSqliteStorage):
    """`DagsterSqliteStorage` with an `OpenEventLog`."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(base_dir, inst_data)
        self._event_log_storage = OpenEventLog(_event_logs_directory(base_dir))

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        return DagsterSqliteStorage.config_type()

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "OpenSqliteStorage":
        return cls.from_local(config_value["base_dir"], inst_data)
