"""The Parquet store: for every stage and epoch, its tables and the record of what they were made from.

Layout, all immutable but the record::

    <root>/<stage>/<epoch>/<table>-<version>.parquet      content-named
    <root>/<stage>/<epoch>/record.json                    which files are current, and the inputs they were made from
    <root>/<stage>/<epoch>/failure.json                   why the last attempt failed, if it did
    <root>/<stage>/<epoch>/failure-<table>.parquet        what people want to see of it, such as its rejected rows

A write is *staged* (table files appear under names nobody refers to) and then *committed* (the record is renamed into
place), so a reader sees the old epoch or the new one, and a killed process leaves only files nobody refers to.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from contimg_assets.errors import StoreError
from contimg_assets.identity.epochs import check_epoch_key, is_epoch_key
from contimg_assets.identity.versions import combine_versions, version_of_table
from contimg_assets.pipeline.remembered import Remembered
from contimg_assets.pipeline.stages import EPOCH_STAGES
from contimg_assets.schemas import TableSchema

RECORD, FAILURE = "record.json", "failure.json"
BURIED = "buried"
# Kinds of failure: a bad input fails again until it changes; trouble with what is stored, and errors that nobody
# foresaw, may have passed by the next night.
BAD_INPUT, OF_STORE, INTERNAL = "input", "store", "internal"


@dataclass(frozen=True)
class StoredTable:
    """One table of an epoch: its file, row count, the version of its content, and the file's size.

    ``n_bytes`` is 0 where it is not known: in records of before it was kept.
    """

    file: str
    rows: int
    version: str
    n_bytes: int = 0


@dataclass(frozen=True)
class EpochRecord:
    """What the store holds for one stage and epoch, and what that was made from."""

    stage: str
    epoch: str
    data_version: str
    code_version: str
    inputs: Mapping[str, str]
    tables: Mapping[str, StoredTable]
    facts: Mapping[str, Any] = field(default_factory=dict)
    failed_checks: Mapping[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows of the stage's main table, the first one."""
        return next(iter(self.tables.values())).rows

    @classmethod
    def from_json(cls, text: str) -> EpochRecord:
        content = json.loads(text)
        tables = {name: StoredTable(**table) for name, table in content.pop("tables").items()}
        return cls(tables=tables, **content)


@dataclass(frozen=True)
class Failure:
    """Why an attempt at an epoch failed, and of which inputs and code: the same attempt is not repeated for ever.

    ``kind`` is `BAD_INPUT`, `OF_STORE` or `INTERNAL`.
    ``failed_checks`` has a sentence for each quality check that failed, by its name. ``tables`` are kept with it.
    """

    stage: str
    epoch: str
    message: str
    kind: str
    code_version: str
    inputs: Mapping[str, str]
    attempts: int = 1
    failed_checks: Mapping[str, str] = field(default_factory=dict)
    tables: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, text: str) -> Failure:
        content = json.loads(text)
        return cls(tables=tuple(content.pop("tables", ())), **content)


class EpochStore:
    """The tables of all stages and epochs below one folder."""

    def __init__(self, root: Path, schemas: Mapping[str, Sequence[TableSchema]]) -> None:
        self.root = Path(root)
        self._schemas = {stage: {schema.name: schema for schema in tables} for stage, tables in schemas.items()}
        self._records = Remembered(lambda path: EpochRecord.from_json(Path(path).read_text(encoding="utf-8")))
        self._failures = Remembered(lambda path: Failure.from_json(Path(path).read_text(encoding="utf-8")))

    def stage(
        self,
        stage: str,
        epoch: str,
        tables: Mapping[str, pd.DataFrame | pa.Table],
        *,
        code_version: str,
        inputs: Mapping[str, str],
        facts: Mapping[str, Any],
        hidden: frozenset[str] = frozenset(),
        failed_checks: Mapping[str, str] | None = None,
    ) -> EpochRecord:
        """Check and write the tables under their content's names; nobody sees them until `commit`.

        Parameters
        ----------
        tables : by table name, all that the stage's schemas name
        inputs : version of everything that was read to make them
        facts : numbers to keep and show with the record
        hidden : tables that do not count for the data version (a fold's state)
        failed_checks : sentence of each quality check that failed and held nothing back, by name
        """
        schemas = self._schemas[stage]
        if set(tables) != set(schemas):
            raise StoreError(f"stage {stage!r} has the tables {sorted(schemas)}, not {sorted(tables)}")
        folder = self._writable_folder(stage, epoch)
        stored: dict[str, StoredTable] = {}
        counted: list[str] = []
        for name, schema in schemas.items():
            arrow = schema.to_arrow(tables[name])
            version = version_of_table(arrow)
            file = f"{name}-{version}.parquet"
            stored[name] = StoredTable(file, arrow.num_rows, version, self._write_table(arrow, folder / file))
            if name not in hidden:
                unversioned = [column.name for column in schema if not column.versioned]
                counted += [name, version_of_table(arrow.drop_columns(unversioned)) if unversioned else version]
        version = combine_versions(*counted)
        failed = dict(failed_checks or {})
        return EpochRecord(stage, epoch, version, code_version, dict(inputs), stored, dict(facts), failed)

    def commit(self, record: EpochRecord) -> None:
        """Make a staged epoch the current one and forget its failure."""
        folder = self._folder(record.stage, record.epoch)
        _replace_text(folder / RECORD, json.dumps(asdict(record), indent=1))
        self.forget_failure(record.stage, record.epoch)
        current = {table.file for table in record.tables.values()}
        for file in folder.glob("*.parquet"):
            if file.name not in current:
                file.unlink(missing_ok=True)

    def record(self, stage: str, epoch: str) -> EpochRecord | None:
        """The current record, or None if the epoch was never made.

        One whose files are gone or cut off counts as never made, so that whatever damaged the store, it is made again.
        """
        path = self._path(stage, epoch, RECORD)
        damaged: EpochRecord | None = None
        while True:
            try:
                record = self._records.read(path)
            except FileNotFoundError:
                return None
            if self._is_whole(record):
                return record
            if record == damaged:
                return None
            # Perhaps it was replaced since, and its files removed: the new record says so.
            damaged = record

    def _is_whole(self, record: EpochRecord) -> bool:
        for table in record.tables.values():
            try:
                n_bytes = os.stat(self._path(record.stage, record.epoch, table.file)).st_size  # noqa: PTH116 - thousands
            except FileNotFoundError:
                return False
            if table.n_bytes not in (0, n_bytes):
                return False
        return True

    def read(self, stage: str, epoch: str, table: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """One table of one epoch, checked against its schema.

        Raises
        ------
        StoreError
            If the epoch was never made.
        SchemaError
            If the file is not what the schema says (another version of the package wrote it, or it was edited).
        """
        return self.read_arrow(stage, epoch, table, columns).to_pandas()

    def read_arrow(self, stage: str, epoch: str, table: str, columns: Sequence[str] | None = None) -> pa.Table:
        """As `read`, as an Arrow table."""
        for last_try in (False, True):
            record = self.record(stage, epoch)
            if record is None:
                raise StoreError(
                    f"{stage} of epoch {epoch!r} has not been made yet; `contimg run --epochs {epoch}` makes it"
                )
            try:
                return self.read_recorded(record, table, columns)
            except FileNotFoundError:
                # Replaced between the reading of its record and of its file: the new record names the new file.
                if last_try:
                    raise
        raise AssertionError("unreachable")

    def read_recorded(self, record: EpochRecord, table: str, columns: Sequence[str] | None = None) -> pa.Table:
        """One table that a record names, committed or only staged, checked against its schema."""
        found = pq.read_table(
            self._folder(record.stage, record.epoch) / record.tables[table].file,
            columns=list(columns) if columns is not None else None,
            partitioning=None,
        )
        schema = self._schemas[record.stage][table]
        if columns is not None:
            schema = TableSchema(schema.name, schema.description, tuple(schema[name] for name in columns))
        schema.check(found)
        return found

    def epochs(self, stage: str) -> list[str]:
        """Epochs that the stage holds, sorted by name."""
        folder = f"{self.root}{os.sep}{stage}"
        try:
            names = os.listdir(folder)  # noqa: PTH208 - thousands of names, many times
        except FileNotFoundError:
            return []
        return sorted(name for name in names if os.path.isfile(f"{folder}{os.sep}{name}{os.sep}{RECORD}"))  # noqa: PTH113

    def delete(self, stage: str, epoch: str) -> None:
        """Forget an epoch of a stage: its record first, so that no reader finds half of it."""
        folder = self._folder(stage, epoch)
        (folder / RECORD).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)

    def bury(self, epoch: str) -> None:
        """Forget an epoch in all stages, and remember that it must leave the products database too.

        The note comes first: a process killed half-way leaves an epoch that the next run still removes.
        """
        note = self.root / BURIED / check_epoch_key(epoch)
        note.parent.mkdir(parents=True, exist_ok=True)
        note.touch()
        for stage in self._schemas:
            self.delete(stage, epoch)
        shutil.rmtree(self._folder("products", epoch), ignore_errors=True)

    def buried(self) -> list[str]:
        """Epochs that were forgotten here but may still be in the products database."""
        return sorted(path.name for path in (self.root / BURIED).glob("*"))

    def settle_burial(self, epoch: str) -> None:
        """The epoch has left the products database, or was delivered again."""
        (self.root / BURIED / check_epoch_key(epoch)).unlink(missing_ok=True)

    def fail(self, failure: Failure, tables: Mapping[str, pd.DataFrame | pa.Table] | None = None) -> None:
        """Record why an epoch failed, with some of the stage's tables; what an earlier attempt made stays current."""
        folder = self._writable_folder(failure.stage, failure.epoch)
        failure = replace(failure, tables=tuple(tables or ()))
        for name, table in (tables or {}).items():
            arrow = self._schemas[failure.stage][name].to_arrow(table)
            self._write_table(arrow, folder / _failed_file(name))
        _replace_text(folder / FAILURE, json.dumps(asdict(failure), indent=1))

    def failure(self, stage: str, epoch: str) -> Failure | None:
        try:
            return self._failures.read(self._path(stage, epoch, FAILURE))
        except FileNotFoundError:
            return None

    def read_failed(self, stage: str, epoch: str, table: str) -> pd.DataFrame | None:
        """A table that was kept with an epoch's failure, checked against its schema; None if there is none."""
        failure = self.failure(stage, epoch)
        if failure is None or table not in failure.tables:
            return None
        try:
            found = pq.read_table(self._folder(stage, epoch) / _failed_file(table), partitioning=None)
        except FileNotFoundError:  # the epoch was made meanwhile
            return None
        self._schemas[stage][table].check(found)
        return found.to_pandas()

    def failures(self, stage: str) -> list[Failure]:
        """Epochs whose last attempt at this stage failed, sorted by name."""
        found = (self.failure(stage, path.parent.name) for path in sorted((self.root / stage).glob(f"*/{FAILURE}")))
        return [failure for failure in found if failure is not None]

    def forget_failure(self, stage: str, epoch: str) -> None:
        """The epoch was made after all."""
        folder = self._folder(stage, epoch)
        (folder / FAILURE).unlink(missing_ok=True)
        for table in self._schemas.get(stage, ()):
            (folder / _failed_file(table)).unlink(missing_ok=True)

    def unreferenced(self) -> Iterator[Path]:
        """Files that no record refers to: left by killed processes.

        Folders that are no epochs, such as a file system's snapshots, are somebody else's.
        """
        yield from sorted(self.root.glob(".*.tmp"))
        for stage in sorted(self._schemas):
            for folder in sorted((self.root / stage).glob("*/")):
                if not is_epoch_key(folder.name):
                    continue
                record = self.record(stage, folder.name)
                current = {table.file for table in record.tables.values()} if record else set()
                failure = self.failure(stage, folder.name)
                current |= {RECORD, FAILURE, *map(_failed_file, failure.tables if failure else ())}
                yield from (file for file in sorted(folder.iterdir()) if file.name not in current)

    def _path(self, stage: str, epoch: str, file: str) -> str:
        return f"{self.root}{os.sep}{stage}{os.sep}{check_epoch_key(epoch)}{os.sep}{file}"

    def _folder(self, stage: str, epoch: str) -> Path:
        return self.root / stage / check_epoch_key(epoch)

    def _writable_folder(self, stage: str, epoch: str) -> Path:
        folder = self._folder(stage, epoch)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"{folder}: cannot be made ({error.strerror}); correct paths.store in contimg.yaml"
            ) from error
        return folder

    @staticmethod
    def _write_table(table: pa.Table, path: Path) -> int:
        """Write a file in one step and return its size [bytes].

        One that lies there already is written again: it may be damaged, and its age must not let it be tidied away
        before the record that names it is committed.
        """
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
        try:
            pq.write_table(table, temporary, compression="zstd", compression_level=1)
            n_bytes = temporary.stat().st_size
            temporary.replace(path)
            return n_bytes
        finally:
            temporary.unlink(missing_ok=True)


def _failed_file(table: str) -> str:
    return f"failure-{table}.parquet"


def _replace_text(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


class StoredEpochs:
    """What one upstream stage holds, read on demand."""

    def __init__(self, store: EpochStore, stage: str) -> None:
        self._store = store
        self.stage = stage

    def read(self, epoch: str, table: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """One table of one epoch, checked against its schema."""
        return self._store.read(self.stage, epoch, table, columns)

    def record(self, epoch: str) -> EpochRecord | None:
        return self._store.record(self.stage, epoch)


def open_store(root: str) -> EpochStore:
    """The store of all stages below a folder."""
    return EpochStore(Path(root), {stage.name: stage.tables for stage in EPOCH_STAGES if stage.kept_in == "store"})
