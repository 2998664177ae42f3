"""The Parquet store: for every stage and epoch, its tables and the record of what they were made from.

Layout, all immutable but the record::

    <root>/<stage>/<epoch>/<table>-<version>.parquet      content-named
    <root>/<stage>/<epoch>/record.json                    which files are current, and the inputs they were made from
    <root>/<stage>/<epoch>/failure.json                   why the last attempt failed, if it did
    <root>/<stage>/.parts/<table>-<cell>-<version>.parquet   parts of what is carried, shared by epochs (`sky_parts`)
    <root>/<stage>/<epoch>/failure-<table>.parquet        what people want to see of it, such as its rejected rows
    <root>/records-<stage>.json                           a copy of the records, for speed (`record_index`)

That folder is where the store is at home, or what a machine has of a store at a URL (`store_home`).

A write is *staged* (table files appear under names nobody refers to) and then *committed* (the record is renamed into
place), so a reader sees the old epoch or the new one, and a killed process leaves only files nobody refers to.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from contimg_assets.config import Config
from contimg_assets.errors import StoreError
from contimg_assets.files import keep, reading_from, replace_text, replacing, writing_to
from contimg_assets.files.object_stores import Unanswered
from contimg_assets.identity.epochs import check_epoch_key, is_epoch_key
from contimg_assets.identity.versions import combine_versions, version_of_table
from contimg_assets.pipeline.file_cache import Signature
from contimg_assets.pipeline.looks import look_at
from contimg_assets.pipeline.records import (
    FAILURE,
    RECORD,
    Damaged,
    EpochRecord,
    Failure,
    Look,
    StoredTable,
    memory_of,
)
from contimg_assets.pipeline.sky_parts import PARTS_FOLDER, PartFiles, part_file
from contimg_assets.pipeline.stages import EPOCH_STAGES
from contimg_assets.pipeline.store_home import DELETED, Home, InFolder, home_of
from contimg_assets.pipeline.table_files import read_table, write_table
from contimg_assets.schemas import TableSchema
from contimg_assets.schemas.core import frame_of
from contimg_assets.schemas.parts import PARTS

_LOG = logging.getLogger(__name__)


class EpochStore:
    """The tables of all stages and epochs below one folder.

    Parameters
    ----------
    root : the folder
    schemas : tables of each stage
    home : where the folder's files are at home, if not there
    """

    def __init__(self, root: Path, schemas: Mapping[str, Sequence[TableSchema]], home: Home | None = None) -> None:
        self.root = Path(root)
        self.home = InFolder() if home is None else home
        self._schemas = {stage: {schema.name: schema for schema in tables} for stage, tables in schemas.items()}
        self._memory = memory_of(self.root)
        self._told: set[str] = set()
        self._parts_written: set[Path] = set()

    def part_files(self, stage: str, schema: TableSchema) -> PartFiles:
        """Files of the parts of a stage's table, which epochs share; see `sky_parts`."""
        return PartFiles(self.root / stage / PARTS_FOLDER, schema, self._parts_written, self.home)

    def __reduce__(self) -> tuple[type[EpochStore], tuple[Path, dict[str, tuple[TableSchema, ...]], Home]]:
        # In another process it is the same folder; what this one remembers of it is read anew there.
        schemas = {stage: tuple(tables.values()) for stage, tables in self._schemas.items()}
        return EpochStore, (self.root, schemas, self.home)

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages that are kept here."""
        return tuple(self._schemas)

    def at_a_glance(self, *, thorough: bool = False) -> EpochStore:
        """The store as it is found from now on: each epoch is looked at once, however often it is asked for.

        Parameters
        ----------
        thorough : whether every file is looked at, also in folders where nothing came or went since this process last
            did; see `looks`
        """
        self.home.bring(now=thorough)
        if thorough:
            self.home.compare(self._named_tables)
        return Glance(self, thorough)

    def _named_tables(self) -> Iterator[tuple[str, int]]:
        """Every table's file that a record names, and its size, whether it is there or not."""
        for stage in self._schemas:
            for epoch in self.epochs(stage):
                record = self._recorded(stage, epoch)
                if isinstance(record, EpochRecord):
                    folder = self._path(stage, epoch, "")
                    yield from ((folder + table.file, table.n_bytes) for table in record.tables.values())

    def stage(
        self,
        stage: str,
        epoch: str,
        tables: Mapping[str, pd.DataFrame | pa.Table | StoredTable],
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
        tables : by table name, all that the stage's schemas name; optional ones may be left out. One that the
            epoch's current record names may be given as it is stored, where all of its columns are versioned.
        inputs : version of everything that was read to make them
        facts : numbers to keep and show with the record
        hidden : tables that do not count for the data version (a fold's state)
        failed_checks : sentence of each quality check that failed and held nothing back, by name
        """
        schemas = self._schemas[stage]
        needed = {name for name, schema in schemas.items() if not schema.optional}
        if not needed <= set(tables) <= set(schemas):
            raise StoreError(f"stage {stage!r} has the tables {sorted(schemas)}, not {sorted(tables)}")
        folder = self._writable_folder(stage, epoch)
        stored: dict[str, StoredTable] = {}
        counted: list[str] = []
        for name, schema in schemas.items():
            if schema.optional and not _n_rows(tables.get(name)):
                continue
            stored[name], version = self._staged(folder, schema, tables[name])
            if name not in hidden:
                counted += [name, version]
        version = combine_versions(*counted)
        failed = dict(failed_checks or {})
        return EpochRecord(stage, epoch, version, code_version, dict(inputs), stored, dict(facts), failed)

    def _staged(
        self, folder: Path, schema: TableSchema, table: pd.DataFrame | pa.Table | StoredTable
    ) -> tuple[StoredTable, str]:
        """A table as it is stored, and the version of what counts of it."""
        unversioned = [column.name for column in schema if not column.versioned]
        if isinstance(table, StoredTable):
            if unversioned:
                raise StoreError(f"table {schema.name!r} has columns that do not count, and must be given whole")
            # Here, for `commit` sends it once more: its age must not let it be tidied away meanwhile.
            self.home.read(folder / table.file, Path.stat)
            return table, table.version
        arrow = schema.to_arrow(table)
        version = version_of_table(arrow)
        file = f"{schema.name}-{version}.parquet"
        stored = StoredTable(file, arrow.num_rows, version, self._write_table(arrow, folder / file))
        return stored, version_of_table(arrow.drop_columns(unversioned)) if unversioned else version

    def commit(self, record: EpochRecord) -> None:
        """Make a staged epoch the current one and forget its failure."""
        self.commit_all([record])

    def commit_all(self, records: Iterable[EpochRecord]) -> None:
        """`commit` of several epochs, waiting for the disk once: a power cut leaves of each the old one or the new.

        An epoch that was deleted since it was begun does not come back.

        Raises
        ------
        StoreError
            If another machine made one of them meanwhile, and something else of it; the others are committed.
        """
        records = [record for record in records if not self.is_deleted(record.epoch)]
        with writing_to(self.root):
            try:
                overtaken = self._commit({self._folder(record.stage, record.epoch): record for record in records})
            except FileNotFoundError:
                if not any(self.is_deleted(record.epoch) for record in records):
                    raise
                self.commit_all(records)
                return
        others = [record for record in overtaken if not self._is_made(record)]
        if others:
            raise StoreError(
                f"{others[0].stage} of epoch {', '.join(record.epoch for record in others)}: another writer at "
                f"{self.home.shown('')} was first and its work stays; `contimg run` looks at it again"
            )

    def _is_made(self, record: EpochRecord) -> bool:
        """Whether the current record says the same, or says that nobody is to make it."""
        current = self.record(record.stage, record.epoch)
        if current is None:
            return self.is_deleted(record.epoch)
        same = (current.data_version, current.code_version) == (record.data_version, record.code_version)
        return same and current.inputs == record.inputs

    def _commit(self, by_folder: Mapping[Path, EpochRecord]) -> list[EpochRecord]:
        """Commit epochs, and return those that somebody else committed first."""
        tables = [folder / table.file for folder, record in by_folder.items() for table in record.tables.values()]
        parts = {file for file in self._parts_written if file.exists()}
        self.home.send({*tables, *parts})
        self._parts_written.clear()
        texts = {folder / RECORD: json.dumps(asdict(record), indent=1) for folder, record in by_folder.items()}
        overtaken = {file.parent for file in self.home.publish(texts)}
        for folder, record in by_folder.items():
            self._forget_look(record.stage, record.epoch)
            if folder in overtaken:
                continue
            self.forget_failure(record.stage, record.epoch)
            current = {table.file for table in record.tables.values()}
            for file in folder.glob("*.parquet"):
                if file.name not in current:
                    file.unlink(missing_ok=True)
            self._leave_deleted(record.stage, record.epoch)
        return [record for folder, record in by_folder.items() if folder in overtaken]

    def record(self, stage: str, epoch: str) -> EpochRecord | None:
        """The current record, or None if the epoch was never made.

        One that is damaged, or whose files are gone or cut off, counts as never made, so that whatever damaged the
        store, it is made again; `damage` says what it was.
        """
        current = self._current(stage, epoch)
        if isinstance(current, Damaged):
            self._tell(current.sentence)
            return None
        return current

    def damage(self, stage: str, epoch: str) -> Damaged | None:
        """What is damaged of an epoch that counts as never made for that."""
        current = self._current(stage, epoch)
        return current if isinstance(current, Damaged) else None

    def _current(self, stage: str, epoch: str) -> EpochRecord | Damaged | None:
        damaged: EpochRecord | None = None
        while True:
            record = self._recorded(stage, epoch)
            if not isinstance(record, EpochRecord):
                return record
            file = self._damaged_file(record)
            if file is None:
                return record
            if record == damaged:
                return Damaged(f"{self.home.shown(file)} is gone or cut off")
            # Perhaps it was replaced since, and its files removed: the new record says so.
            damaged = record

    def _recorded(self, stage: str, epoch: str) -> EpochRecord | Damaged | None:
        """What the record says, whatever became of the files that it names."""
        path = self._path(stage, epoch, RECORD)
        try:
            with reading_from(path):
                record = self._memory.records.read(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if isinstance(record, EpochRecord) and (record.stage, record.epoch) != (stage, epoch):
            return Damaged(f"{path} is that of {record.stage} of epoch {record.epoch}")
        return record

    def _damaged_file(self, record: EpochRecord) -> str | None:
        # Thousands of epochs have several tables each: the folder's name is put together once.
        folder = self._path(record.stage, record.epoch, "")
        for table in record.tables.values():
            path = folder + table.file
            if not self.home.is_whole(path, table.n_bytes):
                return path
        return None

    def _tell(self, sentence: str) -> None:
        """Say it where people look for what a process did, once."""
        if sentence not in self._told:
            self._told.add(sentence)
            _LOG.warning("%s", sentence)

    def read(self, stage: str, epoch: str, table: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """One table of one epoch, checked against its schema.

        Raises
        ------
        StoreError
            If the epoch was never made.
        SchemaError
            If the file is not what the schema says (another version of the package wrote it, or it was edited).
        """
        return frame_of(self.read_arrow(stage, epoch, table, columns))

    def read_arrow(self, stage: str, epoch: str, table: str, columns: Sequence[str] | None = None) -> pa.Table:
        """As `read`, as an Arrow table."""
        for last_try in (False, True):
            record = self.record(stage, epoch)
            if record is None:
                damage = self.damage(stage, epoch)
                if damage is not None:
                    raise StoreError(f"{damage.fault}; `contimg run --epochs {epoch}` makes it again")
                raise StoreError(
                    f"{stage} of epoch {epoch!r} has not been made yet; `contimg run --epochs {epoch}` makes it"
                )
            try:
                return self.read_recorded(record, table, columns)
            except FileNotFoundError:
                # Replaced between the reading of its record and of its file: the new record names the new file.
                if last_try:
                    raise
                self._forget_look(stage, epoch)
                self.home.bring(now=True)
        raise AssertionError("unreachable")

    def read_recorded(self, record: EpochRecord, table: str, columns: Sequence[str] | None = None) -> pa.Table:
        """One table that a record names, committed or only staged, checked against its schema."""
        schema = self._schemas[record.stage][table]
        if columns is not None:
            schema = TableSchema(schema.name, schema.description, tuple(schema[name] for name in columns))
        if table not in record.tables:
            if self._schemas[record.stage][table].optional:
                return schema.arrow.empty_table()
            raise StoreError(
                f"{record.stage} of epoch {record.epoch!r} was made without {table!r}; "
                f"`contimg run --force --epochs {record.epoch}` makes it again"
            )
        file = self._folder(record.stage, record.epoch) / record.tables[table].file
        try:
            found = self.home.read(file, partial(read_table, columns=columns))
        except FileNotFoundError:
            raise
        except (OSError, pa.ArrowException) as error:
            self._forget_look(record.stage, record.epoch)
            raise _not_as_written(self.home.shown(file), error) from error
        schema.check(found)
        # In the order asked for, which is not always that of the file.
        return found if columns is None else found.select(list(columns))

    def epochs(self, stage: str) -> list[str]:
        """Epochs that the stage holds, sorted by name."""
        folder = f"{self.root}{os.sep}{stage}"
        try:
            names = os.listdir(folder)  # noqa: PTH208 - thousands of names, many times
        except FileNotFoundError:
            return []
        made = (name for name in names if os.path.isfile(f"{folder}{os.sep}{name}{os.sep}{RECORD}"))  # noqa: PTH113
        return sorted(name for name in made if is_epoch_key(name))

    def delete(self, stage: str, epoch: str) -> None:
        """Forget an epoch of a stage: its record first, so that no reader finds half of it."""
        folder = self._folder(stage, epoch)
        with writing_to(folder):
            (folder / RECORD).unlink(missing_ok=True)
        self.home.forget([folder / RECORD, folder / FAILURE])
        self._forget_look(stage, epoch)
        shutil.rmtree(folder, ignore_errors=True)

    def discard(self, stage: str, epoch: str) -> None:
        """Let an epoch of a stage count as never made; its files stay until they are tidied away."""
        folder = self._folder(stage, epoch)
        with writing_to(folder):
            (folder / RECORD).unlink(missing_ok=True)
            self._forget_look(stage, epoch)
            keep([], [folder])
        self.home.forget([folder / RECORD])

    def mark_deleted(self, epoch: str) -> None:
        """Forget an epoch in all stages, and note that nobody may write it any more.

        The note comes first: a process killed half-way leaves an epoch that the next run still removes, and a run that
        has begun with the epoch finds the note when it commits. It stays until the epoch is delivered again.
        """
        note = self.root / DELETED / check_epoch_key(epoch)
        with writing_to(note):
            note.parent.mkdir(parents=True, exist_ok=True)
            note.touch()
            keep([note], [note.parent])
        self.home.share(note)
        self.home.bring(now=True)
        for stage in (*self._schemas, "products"):
            self.delete(stage, epoch)

    def deleted_epochs(self) -> list[str]:
        """Epochs that were deleted and not delivered since; they may still be in the products database."""
        return sorted(path.name for path in (self.root / DELETED).glob("*") if is_epoch_key(path.name))

    def is_deleted(self, epoch: str) -> bool:
        """Whether an epoch was deleted and not delivered since."""
        return os.path.exists(f"{self.root}{os.sep}{DELETED}{os.sep}{check_epoch_key(epoch)}")  # noqa: PTH110

    def forget_deletion(self, epoch: str, delivered: Callable[[], bool]) -> None:
        """The epoch is there again.

        Parameters
        ----------
        delivered : says so; asked once more afterwards, for it may be deleted at this very moment
        """
        note = self.root / DELETED / check_epoch_key(epoch)
        if self.is_deleted(epoch) and delivered():
            with writing_to(note):
                note.unlink(missing_ok=True)
            self.home.forget([note])
            if not delivered():
                with writing_to(note):
                    note.touch()
                self.home.share(note)

    def _leave_deleted(self, stage: str, epoch: str) -> None:
        """Take away what was just written of an epoch that was deleted.

        Whoever deletes it notes that first and then removes what is there. So either the note is there by now, or what
        was written is still found and removed.
        """
        if self.is_deleted(epoch):
            self.delete(stage, epoch)

    def fail(self, failure: Failure, tables: Mapping[str, pd.DataFrame | pa.Table] | None = None) -> None:
        """Record why an epoch failed, with some of the stage's tables; what an earlier attempt made stays current."""
        folder = self._writable_folder(failure.stage, failure.epoch)
        failure = replace(failure, tables=tuple(tables or ()))
        for name, table in (tables or {}).items():
            arrow = self._schemas[failure.stage][name].to_arrow(table)
            self._write_table(arrow, folder / _failed_file(name))
        with writing_to(folder):
            replace_text(folder / FAILURE, json.dumps(asdict(failure), indent=1))
        try:
            self.home.send(folder / _failed_file(name) for name in failure.tables)
            self.home.share(folder / FAILURE)
        except FileNotFoundError:
            if not self.is_deleted(failure.epoch):
                raise
        self._forget_look(failure.stage, failure.epoch)
        self._leave_deleted(failure.stage, failure.epoch)

    def failure(self, stage: str, epoch: str) -> Failure | None:
        """Why the last attempt failed, if it did; one that cannot be read counts as none: the epoch is tried again."""
        path = self._path(stage, epoch, FAILURE)
        try:
            with reading_from(path):
                found = self._memory.failures.read(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if isinstance(found, Damaged):
            self._tell(found.sentence)
            return None
        return found

    def read_failed(self, stage: str, epoch: str, table: str) -> pd.DataFrame | None:
        """A table that was kept with an epoch's failure, checked against its schema; None if there is none."""
        failure = self.failure(stage, epoch)
        if failure is None or table not in failure.tables:
            return None
        file = self._folder(stage, epoch) / _failed_file(table)
        try:
            found = self.home.read(file, read_table)
        except FileNotFoundError:  # the epoch was made meanwhile
            return None
        except (OSError, pa.ArrowException) as error:
            self._tell(str(_not_as_written(self.home.shown(file), error)))
            return None
        self._schemas[stage][table].check(found)
        return frame_of(found)

    def failures(self, stage: str) -> list[Failure]:
        """Epochs whose last attempt at this stage failed, sorted by name."""
        found = (self.failure(stage, path.parent.name) for path in sorted((self.root / stage).glob(f"*/{FAILURE}")))
        return [failure for failure in found if failure is not None]

    def forget_failure(self, stage: str, epoch: str) -> None:
        """The epoch was made after all."""
        folder = self._folder(stage, epoch)
        with writing_to(folder):
            (folder / FAILURE).unlink(missing_ok=True)
            for table in self._schemas.get(stage, ()):
                (folder / _failed_file(table)).unlink(missing_ok=True)
        self.home.forget([folder / FAILURE])
        self._forget_look(stage, epoch)

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
            parts = sorted((self.root / stage / PARTS_FOLDER).glob("*"))
            named = self.named_parts(stage) if parts else {}
            yield from (file for file in parts if file not in named)

    def unreferenced_elsewhere(self, limit: float) -> dict[Path, int]:
        """Files, and their sizes, that are at home elsewhere, older than a time [Unix s], and that no record names."""
        # What is listed before the records are brought cannot be named by a record that nobody knows here.
        old = self.home.written_before(limit)
        if not old:
            return {}
        self.home.bring(now=True)
        named = {Path(path) for path, _ in self._named_tables()}
        unknown: set[Path] = set()
        for stage in self._schemas:
            named.update(self.named_parts(stage))
            failures = ((failure, self._folder(stage, failure.epoch)) for failure in self.failures(stage))
            named.update(folder / _failed_file(table) for failure, folder in failures for table in failure.tables)
            # What a record that cannot be read here names, others may read.
            damaged = [epoch for epoch in self.epochs(stage) if isinstance(self._recorded(stage, epoch), Damaged)]
            unknown.update(self._folder(stage, epoch) for epoch in damaged)
            unknown.update([self.root / stage / PARTS_FOLDER] if damaged else [])
        return {file: n_bytes for file, n_bytes in old.items() if file not in named and file.parent not in unknown}

    def named_parts(self, stage: str) -> dict[Path, list[str]]:
        """Files of parts that the stage's records name, and the epochs of those, as far as the records can be read."""
        named: dict[Path, list[str]] = {}
        for schema in self._schemas[stage].values():
            if not schema.name.endswith(PARTS):
                continue
            for epoch in self.epochs(stage):
                record = self.record(stage, epoch)
                if record is None or schema.name not in record.tables:
                    continue
                try:
                    index = self.read_recorded(record, schema.name).select(["cell", "version"]).to_pydict()
                except Unanswered:
                    raise
                except (StoreError, FileNotFoundError):
                    # Damaged, it names nothing that anybody could use: the epoch is made again with all its parts.
                    continue
                for cell, version in zip(index["cell"], index["version"], strict=True):
                    file = part_file(self.root / stage / PARTS_FOLDER, schema.name.removesuffix(PARTS), cell, version)
                    named.setdefault(file, []).append(epoch)
        return named

    def _forget_look(self, stage: str, epoch: str) -> None:
        """Look again at what was just written, also on a disk whose folders keep no times."""
        self._memory.looks.get(stage, {}).pop(epoch, None)

    def _path(self, stage: str, epoch: str, file: str) -> str:
        return f"{self.root}{os.sep}{stage}{os.sep}{check_epoch_key(epoch)}{os.sep}{file}"

    def _folder(self, stage: str, epoch: str) -> Path:
        return self.root / stage / check_epoch_key(epoch)

    def _writable_folder(self, stage: str, epoch: str) -> Path:
        folder = self._folder(stage, epoch)
        with writing_to(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    @staticmethod
    def _write_table(table: pa.Table, path: Path) -> int:
        """Write a file in one step and return its size [bytes].

        One that lies there already is written again: it may be damaged, and its age must not let it be tidied away
        before the record that names it is committed.
        """
        with writing_to(path), replacing(path, kept=False) as temporary:
            write_table(table, temporary)
            return temporary.stat().st_size


def _n_rows(table: pd.DataFrame | pa.Table | StoredTable | None) -> int:
    return 0 if table is None else table.rows if isinstance(table, StoredTable) else len(table)


_NOTHING = Look((0, 0, 0, 0), None, None)


class Glance(EpochStore):
    """A store for who asks about all epochs: a stage is looked at when it is first asked for, and not again.

    For comparisons, which must be of one moment anyway, and for passing over what is fresh; what is at work on epochs
    asks the store itself.
    """

    def __init__(self, store: EpochStore, thorough: bool) -> None:
        super().__init__(store.root, {}, store.home)
        self._schemas, self._told, self._memory = store._schemas, store._told, store._memory
        self._thorough = thorough
        self._seen: dict[str, Mapping[str, Look]] = {}
        self._held: dict[str, list[str]] = {}

    def at_a_glance(self, *, thorough: bool = False) -> EpochStore:
        return self

    def epochs(self, stage: str) -> list[str]:
        if stage not in self._held:
            self._held[stage] = sorted(epoch for epoch, look in self._looks(stage).items() if look.current is not None)
        return self._held[stage]

    def failures(self, stage: str) -> list[Failure]:
        failures = ((epoch, look.failure) for epoch, look in self._looks(stage).items())
        return [failure for _, failure in sorted(failures) if failure is not None]

    def record(self, stage: str, epoch: str) -> EpochRecord | None:
        current = self._look(stage, epoch).current
        if isinstance(current, Damaged):
            self._tell(current.sentence)
            return None
        return current

    def failure(self, stage: str, epoch: str) -> Failure | None:
        return self._look(stage, epoch).failure

    def _current(self, stage: str, epoch: str) -> EpochRecord | Damaged | None:
        return self._look(stage, epoch).current

    def _look(self, stage: str, epoch: str) -> Look:
        looks = self._seen.get(stage)
        found = (self._looks(stage) if looks is None else looks).get(epoch)
        if found is None:
            check_epoch_key(epoch)
            return _NOTHING
        return found

    def _looks(self, stage: str) -> Mapping[str, Look]:
        if stage not in self._seen:
            self._seen[stage] = look_at(self.root, stage, self._memory, partial(self._looked_at, stage), self._thorough)
        return self._seen[stage]

    def _looked_at(self, stage: str, epoch: str, signature: Signature) -> Look:
        """What there is of an epoch, every file of it looked at."""
        failed = os.path.exists(self._path(stage, epoch, FAILURE))  # noqa: PTH110 - thousands of times
        return Look(signature, super()._current(stage, epoch), super().failure(stage, epoch) if failed else None)


def _failed_file(table: str) -> str:
    return f"failure-{table}.parquet"


def _not_as_written(file: str, error: OSError | pa.ArrowException) -> StoreError:
    said = str(error).split("\n", maxsplit=1)[0]
    return StoreError(
        f"{file}: its content is not what was written ({said[:200]}); `contimg check --store --mend` finds all that is "
        "damaged, then `contimg run` makes it again"
    )


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


def open_store(root: Path, url: str | None = None, limit_bytes: int | None = None) -> EpochStore:
    """The store of all stages in a folder; of a URL, of which the folder has what was brought, up to a limit.

    Raises
    ------
    StoreError
        If the URL's server does not answer.
    """
    schemas = {stage.name: stage.tables for stage in EPOCH_STAGES if stage.kept_in == "store"}
    home = home_of(root, url, limit_bytes)
    home.bring()
    return EpochStore(root, schemas, home)


def store_of(config: Config) -> EpochStore:
    """The store of a configuration, see `open_store`."""
    return open_store(config.store, config.paths.store_url, config.paths.store_copy_bytes)
