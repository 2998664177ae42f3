"""Where a store is at home: in its folder, or at a URL, of which the folder then holds what this machine has of it.

Belongs here: how the folder and the server are kept alike, and who may write when several machines do. Does not belong
here: what the files are; `store` reads and writes them in the folder wherever they are at home.

At the server, names are those of the folder below two beginnings::

    records/<stage>/<epoch>/record.json        what is small and changes: every machine has a copy of all of it, brought
    records/<stage>/<epoch>/failure.json       when its ETag changed
    records/buried/<epoch>
    records/reference/<catalog>.parquet
    records/epoch_scales.parquet
    tables/<stage>/<epoch>/<table>-<version>.parquet       what is named by its content: brought when it is first read
    tables/<stage>/.parts/<table>-<cell>-<version>.parquet
    records.json.gz                            a copy of all records, for who has none of them (`store_packs`)

Tables are written first and the record that names them last, on the condition that the record at the server is the one
that was last seen here. So a process that is killed at any moment leaves the old epoch or the new one, and of two that
make an epoch at once one is told that the other was first. Nobody holds a lock at the server.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

import pyarrow as pa

from contimg_assets.errors import StoreError
from contimg_assets.files import keep, reading_from, replace_texts, replacing, writing_to
from contimg_assets.files.locks import one_at_a_time
from contimg_assets.files.object_stores import Listed, ObjectStore, Overtaken, Unanswered
from contimg_assets.files.servers import at_once
from contimg_assets.files.urls import shown_url
from contimg_assets.identity.epochs import is_epoch_key
from contimg_assets.pipeline.records import FAILURE, RECORD, memory_of
from contimg_assets.pipeline.store_marks import GONE, Marks
from contimg_assets.pipeline.store_packs import PACK, is_of_use, pack, unpack
from contimg_assets.pipeline.store_room import Room

T = TypeVar("T")
_LOG = logging.getLogger(__name__)

DELETED = "buried"
"""Folder of the notes that an epoch was deleted."""
RECORDS, TABLES = "records/", "tables/"
# Hidden names: what is known of the server, and who of this machine is at it.
_MARKS, _LOCK = ".server", ".lock"
# A process that asks again and again looks so often at what others wrote [s]; a thorough look is always one.
_LOOKS_EVERY_S = 30.0
# What else of the records' kind is taken from a server, where anybody may have put anything.
_OF_SURVEY = re.compile(r"(reference/)?[a-z0-9][a-z0-9_-]*\.parquet")
_STAGE = re.compile(r"[a-z][a-z_]*")


class Home(Protocol):
    """Where the files of a store's folder are at home."""

    def bring(self, *, now: bool = False) -> None:
        """Have in the folder what others wrote; ``now`` also where that was done a moment ago.

        Raises
        ------
        StoreError
            If the server does not answer.
        """

    def compare(self, named: Callable[[], Iterable[tuple[str, int]]]) -> None:
        """Find which files are gone or cut off of those that records name, with their sizes [bytes], 0 if unknown."""

    def is_whole(self, path: str, n_bytes: int) -> bool:
        """Whether a table's file is there and has its size, as far as was seen."""

    def read(self, file: Path, reader: Callable[[Path], T]) -> T:
        """What a reader makes of a file; it is brought first where it has to be.

        Raises
        ------
        FileNotFoundError
            If there is none.
        OSError, pyarrow.ArrowException
            As the reader does.
        """

    def renew(self, file: Path) -> None:
        """Have the next reader read a file as it is at home.

        Raises
        ------
        FileNotFoundError
            If there is none at a server.
        """

    def send(self, files: Iterable[Path]) -> None:
        """Have files at home, and be sure of it, that no record names yet."""

    def publish(self, texts: Mapping[Path, str]) -> list[Path]:
        """Write records; return those that somebody else wrote first, whose record is in the folder then."""

    def share(self, file: Path) -> None:
        """Have a file at home that was just written, whatever is there."""

    def forget(self, files: Iterable[Path]) -> None:
        """Have files no longer at home that were just removed."""

    def written_before(self, limit: float) -> dict[Path, int]:
        """Files named by their content that are at home elsewhere and older than a time [Unix s], and their sizes."""

    def remove(self, files: Iterable[Path]) -> None:
        """Remove such files where they are at home."""

    def shown(self, file: Path | str) -> str:
        """A file as people may be told of it."""


class InFolder:
    """A store that is at home in its folder: nothing has to be brought or sent."""

    def bring(self, *, now: bool = False) -> None:
        """Nothing."""

    def compare(self, named: Callable[[], Iterable[tuple[str, int]]]) -> None:
        """Nothing: every look asks for it."""

    def is_whole(self, path: str, n_bytes: int) -> bool:
        try:
            found = os.stat(path).st_size  # noqa: PTH116 - thousands
        except (FileNotFoundError, ValueError):
            return False
        return n_bytes in (0, found)

    def read(self, file: Path, reader: Callable[[Path], T]) -> T:
        with reading_from(file):
            return reader(file)

    def renew(self, file: Path) -> None:
        """Nothing."""

    def send(self, files: Iterable[Path]) -> None:
        files = set(files)
        folders = {file.parent for file in files}
        keep(files, folders | {folder.parent for folder in folders})

    def publish(self, texts: Mapping[Path, str]) -> list[Path]:
        replace_texts(texts)
        return []

    def share(self, file: Path) -> None:
        """Nothing."""

    def forget(self, files: Iterable[Path]) -> None:
        """Nothing."""

    def written_before(self, limit: float) -> dict[Path, int]:
        return {}

    def remove(self, files: Iterable[Path]) -> None:
        """Nothing."""

    def shown(self, file: Path | str) -> str:
        return str(file)


class AtServer:
    """A store at a URL, and what of it is in a folder here.

    Parameters
    ----------
    root : the folder; it may be removed while nobody is at work, and then everything is brought anew
    objects : those below the URL
    limit_bytes : most that the folder's tables may hold; see `store_room`
    """

    def __init__(self, root: Path, objects: ObjectStore, limit_bytes: int | None = None) -> None:
        self.root, self.objects = root, objects
        self._room = Room(root, limit_bytes)
        self._marks = Marks(root / _MARKS)
        self._memory = memory_of(root)

    def __reduce__(self) -> tuple[type[AtServer], tuple[Path, ObjectStore, int | None]]:
        return AtServer, (self.root, self.objects, self._room.limit_bytes)

    def bring(self, *, now: bool = False) -> None:
        if not now and time.monotonic() < self._memory.brought_at + _LOOKS_EVERY_S:
            return
        if self.root.is_dir() and not os.access(self.root, os.W_OK):
            # Who may only read sees what others have brought.
            _LOG.warning("%s may not be written: what changed at %s is not looked at", self.root, self.shown(""))
            return
        with self._alone():
            self._bring("")
        self._memory.brought_at = time.monotonic()

    def compare(self, named: Callable[[], Iterable[tuple[str, int]]]) -> None:
        # What is listed after the records were read has what they name.
        files = list(named())
        listed = self.objects.list(TABLES)
        before, now = self._marks.gone(), {}
        for path, n_bytes in files:
            name = self._table(path)
            mark = _gone(listed.get(name))
            # One that was read, and was not what was written, is that until it is written again.
            if name not in listed or n_bytes not in (0, listed[name].n_bytes) or before.get(name) == mark:
                now[name] = mark
        self._marks.note(dict.fromkeys(before, "") | now if before != now else {})
        self._room.clear(lambda: self._sizes(listed))

    def is_whole(self, path: str, n_bytes: int) -> bool:
        return self._table(path) not in self._marks.gone()

    def read(self, file: Path, reader: Callable[[Path], T]) -> T:
        if file.exists():
            try:
                found = reader(file)
                self._room.use(file)
                return found
            except (OSError, pa.ArrowException):
                _LOG.info("%s is not what was written: brought again", file)
        n_bytes = self._fetch(file)
        try:
            with reading_from(file):
                found = reader(file)
        except (OSError, pa.ArrowException):
            name = self._table(file)
            self._marks.note({name: _gone(self.objects.list(name).get(name))})
            raise
        self._make_room(n_bytes)
        return found

    def renew(self, file: Path) -> None:
        self._fetch(file)

    def send(self, files: Iterable[Path]) -> None:
        # Whatever lies there under the name: it may be damaged, and its age must not let it be tidied away before the
        # record that names it is written.
        names = {self._table(file): file for file in files}

        def put(name: str) -> int:
            content = self._content(name, names[name])
            self.objects.write(name, content)
            return len(content)

        n_bytes = sum(at_once(put, names))
        self._marks.note(dict.fromkeys(names.keys() & self._marks.gone().keys(), ""))
        self._make_room(n_bytes)

    def publish(self, texts: Mapping[Path, str]) -> list[Path]:
        with self._alone():
            seen = dict(self._marks.known())

            def write(file: Path) -> str | None:
                name = self._record(file)
                try:
                    return self.objects.replace(name, texts[file].encode(), seen.get(name))
                except Overtaken:
                    return None

            marks = dict(zip(texts, at_once(write, texts), strict=True))
            for file, mark in marks.items():
                if mark is not None:
                    self._write_here(file, texts[file].encode())
            self._marks.note({self._record(file): mark for file, mark in marks.items() if mark is not None})
            overtaken = [file for file, mark in marks.items() if mark is None]
            for file in overtaken:
                self._bring(f"{file.parent.relative_to(self.root).as_posix()}/")
            # Whoever deletes an epoch elsewhere notes that first: either that is seen here, or the record is there.
            self._bring(f"{DELETED}/")
            return overtaken

    def share(self, file: Path) -> None:
        with self._alone():
            name = self._record(file)
            self._marks.note({name: self.objects.write(name, file.read_bytes())})

    def forget(self, files: Iterable[Path]) -> None:
        known = self._marks.known()
        names = [name for name in map(self._record, files) if name in known]
        if names:
            with self._alone():
                at_once(self.objects.remove, names)
                self._marks.note(dict.fromkeys(names, ""))

    def written_before(self, limit: float) -> dict[Path, int]:
        return self._sizes({name: one for name, one in self.objects.list(TABLES).items() if one.written_at < limit})

    def remove(self, files: Iterable[Path]) -> None:
        at_once(self.objects.remove, map(self._table, files))

    def shown(self, file: Path | str) -> str:
        relative = os.path.relpath(file, self.root) if file else ""
        below = RECORDS if _is_record(relative) else TABLES
        return self.objects.shown(f"{below}{relative}") if relative else shown_url(self.objects.url)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other process of this machine keeps the folder and the server alike at the same time."""
        with writing_to(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            lock = self.root / _LOCK
            lock.touch()
        with one_at_a_time(lock):
            yield

    def _bring(self, below: str) -> None:
        """Have in the folder what is at the server, of all records or of those in a folder."""
        below = RECORDS + below
        listed = {name: one for name, one in self.objects.list(below).items() if _is_record(name.removeprefix(RECORDS))}
        known = {name: mark for name, mark in self._marks.known().items() if name.startswith(below)}
        if known and not listed and below == RECORDS:
            raise StoreError(
                f"{self.shown('')}: there is nothing at this URL any more; correct paths.store, or remove the folder "
                f"{self.root} to begin anew"
            )
        changed = [
            name for name, one in listed.items() if known.get(name) != one.etag or self._size_here(name) != one.n_bytes
        ]
        marks = self._take_packed({name: listed[name].etag for name in changed}) if is_of_use(len(changed)) else {}
        missing = [name for name in changed if name not in marks]
        brought = zip(missing, at_once(self._take, missing), strict=True)
        away = set(known) - set(listed)
        for name in away:
            self._remove_here(self._here(name))
        self._marks.note(
            marks | {name: listed[name].etag for name, found in brought if found} | dict.fromkeys(away, "")
        )
        self._marks.shorten()
        if is_of_use(len(missing), len(listed)):
            self._pack()

    def _take_packed(self, wanted: Mapping[str, str]) -> dict[str, str]:
        """Write the records that the pack has with these ETags; return them."""
        try:
            packed = unpack(self.objects.read(PACK))
        except FileNotFoundError:
            return {}
        taken = {name: etag for name, etag in wanted.items() if name in packed and packed[name][0] == etag}
        for name in taken:
            self._write_here(self._here(name), packed[name][1].encode())
        return taken

    def _pack(self) -> None:
        """Have all records in one object for the next machine; who may only read leaves that to others."""
        marks = {name: mark for name, mark in self._marks.known().items() if name.endswith(f"/{RECORD}")}
        try:
            content = {name: (mark, self._here(name).read_text(encoding="utf-8")) for name, mark in marks.items()}
            self.objects.write(PACK, pack(content))
        except (OSError, ValueError, Unanswered) as error:
            _LOG.info("%s is not written: %s", self.objects.shown(PACK), error)

    def _take(self, name: str) -> bool:
        """Write what an object of the records holds; whether it is there still."""
        file = self._here(name)
        try:
            content = self.objects.read(name)
        except FileNotFoundError:
            return False
        if file.name == FAILURE:
            # The tables that were kept with an earlier one have the same names.
            self._remove_here(file)
        self._write_here(file, content)
        return True

    def _fetch(self, file: Path) -> int:
        """Write a table here as it is at the server; its size [bytes]."""
        name = self._table(file)
        try:
            content = self.objects.read(name)
        except FileNotFoundError as error:
            self._marks.note({name: _gone(None)})
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.objects.shown(name)) from error
        self._write_here(file, content)
        return len(content)

    def _content(self, name: str, file: Path) -> bytes:
        """Content of a table that is to be sent; of one that was sent before and is not kept here, as it is there."""
        try:
            return file.read_bytes()
        except FileNotFoundError:
            return self.objects.read(name)

    def _make_room(self, n_bytes: int) -> None:
        """Remove what was not used for longest, if it is time with so much that just came [bytes]."""
        if self._room.is_full_with(n_bytes):
            try:
                self._room.clear(lambda: self._sizes(self.objects.list(TABLES)))
            except Unanswered as error:
                _LOG.info("%s: nothing is removed from %s: %s", self.shown(""), self.root, error)

    def _sizes(self, listed: Mapping[str, Listed]) -> dict[Path, int]:
        """Files of listed tables, and their sizes there."""
        return {self.root / name.removeprefix(TABLES): one.n_bytes for name, one in listed.items()}

    @staticmethod
    def _write_here(file: Path, content: bytes) -> None:
        with writing_to(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            with replacing(file, kept=False) as temporary:
                temporary.write_bytes(content)

    @staticmethod
    def _remove_here(file: Path) -> None:
        with writing_to(file):
            file.unlink(missing_ok=True)
            for table in file.parent.glob("failure-*.parquet") if file.name == FAILURE else ():
                table.unlink(missing_ok=True)

    def _record(self, file: Path) -> str:
        return RECORDS + file.relative_to(self.root).as_posix()

    def _table(self, file: Path | str) -> str:
        # Thousands of times: no path is taken apart.
        return TABLES + str(file)[len(str(self.root)) + 1 :].replace(os.sep, "/")

    def _here(self, name: str) -> Path:
        return self.root / name.removeprefix(RECORDS)

    def _size_here(self, name: str) -> int | None:
        try:
            return os.stat(f"{self.root}{os.sep}{name.removeprefix(RECORDS)}").st_size  # noqa: PTH116 - thousands
        except OSError:
            return None


def _gone(listed: Listed | None) -> str:
    """The mark of an object that is not what a record says."""
    return GONE + ("" if listed is None else listed.etag)


def _is_record(name: str) -> bool:
    """Whether a name below the records is one of ours, so that it may be that of a file here."""
    stage, _, rest = name.partition("/")
    epoch, _, file = rest.partition("/")
    if stage == DELETED:
        return not file and is_epoch_key(epoch)
    if file in (RECORD, FAILURE):
        return _STAGE.fullmatch(stage) is not None and is_epoch_key(epoch)
    return _OF_SURVEY.fullmatch(name) is not None


def home_of(root: Path, url: str | None, limit_bytes: int | None = None) -> Home:
    """Where the store in a folder is at home: there, or at a URL, of which the folder keeps so much at most."""
    return InFolder() if url is None else AtServer(root, ObjectStore(url), limit_bytes)
