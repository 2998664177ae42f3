"""Copies of deliveries at a URL, in the project: of all that an epoch is read from but its images, which stay there.

Belongs here: which copies are wanted, and that readers and killed processes find an epoch as it was or as it is, as far
as its server lets that be known. Does not belong here: what the copies hold; they are read as any delivery in a folder.

An epoch's files are fetched beside it and put into its folder together, its manifest last. What an image's file is read
for, its pixels, is asked for at its server (`files.stand_ins`). Nothing changes because a server does not answer.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
import uuid
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from contimg_assets.config import Config
from contimg_assets.errors import InputError
from contimg_assets.files import keep, replace_text, replacing, writing_to
from contimg_assets.files.locks import one_at_a_time
from contimg_assets.files.servers import NotThere, Silent
from contimg_assets.files.stand_ins import stand_in
from contimg_assets.files.urls import is_url, url_in
from contimg_assets.identity.epochs import is_epoch_key
from contimg_assets.identity.versions import version_of_value
from contimg_assets.ingest.manifest_text import MANIFEST, MAX_MANIFEST_BYTES, ManifestText, read_manifest_text
from contimg_assets.pipeline.deliveries import backgrounds_read
from contimg_assets.pipeline.delivery_servers import DeliveryServer, Listed, plain_path, server_of
from contimg_assets.reading.byte_by_byte import is_readme
from contimg_assets.reading.files import is_moc_text, visible_names

_LOG = logging.getLogger(__name__)
# Hidden names are no deliveries: files that are being fetched, who is at it, what is known of an epoch and of all.
_FETCHED, _LOCK, _KNOWN, _LOOK = ".fetched", ".lock", ".known.json", ".look.json"
# Fetched at once, and then whether there is still time.
_AT_ONCE = 16
# A server that does not give so many files is not asked for more.
_MOST_SILENT = 3
# A run looks at every turn: where a look takes long [s], a process does not begin the next one before so many times as
# long has passed.
_LONG_S, _RESTS = 1.0, 6.0
_rests_until: dict[Path, float] = {}


def bring_deliveries(config: Config, seconds: float | None = None) -> None:
    """Make the copies of deliveries what their server has; nothing where they are in a folder.

    Parameters
    ----------
    seconds : how long this may take, about; what is left is done the next time. As long as it needs if None

    Raises
    ------
    InputError
        If the server does not answer, refuses, or has nothing there; the copies stay as they are.
    """
    if config.paths.incoming_url is None:
        return
    if config.incoming.is_dir() and not os.access(config.incoming, os.W_OK):
        # Who may only read sees what others have brought.
        _LOG.warning(
            "%s may not be written: what changed at %s is not looked at", config.incoming, config.incoming_shown
        )
        return
    until = float("inf") if seconds is None else time.monotonic() + seconds
    with writing_to(config.incoming, "paths.incoming"):
        config.incoming.mkdir(parents=True, exist_ok=True)
        lock = config.incoming / _LOCK
        lock.touch()
        with one_at_a_time(lock, until) as alone:
            # Whoever is at it, is so now.
            began = time.monotonic()
            if not alone or began < _rests_until.get(config.incoming, 0.0):
                return
            _Look(config.incoming, server_of(config.paths.incoming_url), until, config.paths.copy_images).take()
            took = time.monotonic() - began
            _rests_until[config.incoming] = began + (_RESTS * took if took > _LONG_S else 0.0)


def refused_deliveries(config: Config) -> dict[str, str]:
    """What the server of deliveries has and was not taken at the last look, with the reason in words."""
    return {} if config.paths.incoming_url is None else dict(_read_json(config.incoming / _LOOK).get("refused", {}))


@dataclass
class _Look:
    """One comparison of the copies with the server.

    Attributes
    ----------
    folder : of the copies
    until : when to stop, by `time.monotonic` [s]
    copy_images : whether images are copied too
    refused : what is not taken, with the reason
    """

    folder: Path
    server: DeliveryServer
    until: float
    copy_images: bool
    refused: dict[str, str] = field(default_factory=dict)

    def take(self) -> None:
        """Bring every epoch that changed, as long as there is time."""
        listing = self.server.listing()
        self.refused |= listing.refused
        self._remove({name for name in visible_names(self.folder) if is_epoch_key(name)} - set(listing.epochs))
        begin = str(_read_json(self.folder / _LOOK).get("next", ""))
        n_silent, left = 0, ""
        for epoch in sorted(listing.epochs, key=lambda epoch: (epoch < begin, epoch)):
            if time.monotonic() >= self.until:
                left = epoch
                break
            try:
                if not _Epoch(self, epoch, listing.epochs[epoch]).bring():
                    left = epoch
                    break
            except InputError as error:
                self.refused[epoch] = f"{error}; the epoch stays as it was"
                _LOG.warning("%s", self.refused[epoch])
                n_silent += isinstance(error, Silent)
                if n_silent >= _MOST_SILENT:
                    raise
        self._remember(left)

    def _remember(self, following: str) -> None:
        """Keep what was refused, and where to go on the next time; what was fetched goes once nothing waits for it."""
        content = {"refused": self.refused, "next": following}
        if content != _read_json(self.folder / _LOOK):
            replace_text(self.folder / _LOOK, json.dumps(content))
        if not following and not self.refused:
            shutil.rmtree(self.folder / _FETCHED, ignore_errors=True)

    def _remove(self, epochs: Iterable[str]) -> None:
        """Take away epochs that the server has no longer, each in one step."""
        for epoch in epochs:
            away = self.folder / _FETCHED / f"gone_{uuid.uuid4().hex[:12]}"
            away.parent.mkdir(exist_ok=True)
            (self.folder / epoch).replace(away)
            shutil.rmtree(away, ignore_errors=True)


@dataclass(frozen=True)
class _Known:
    """What is known of an epoch's copies.

    Attributes
    ----------
    copied, named : names of files that the epoch is read from, and of all that its manifest has
    files : by name: version and size at the server, whether it is a copy, and size and time [ns] of what is here
    """

    copied: frozenset[str] = frozenset()
    named: frozenset[str] = frozenset()
    files: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path) -> _Known:
        content = _read_json(file)
        copied, named = (frozenset(content.get(name, ())) for name in ("copied", "named"))
        return cls(copied, named, content.get("files", {}))

    def write(self, file: Path) -> None:
        content = {"copied": sorted(self.copied), "named": sorted(self.named), "files": self.files}
        replace_text(file, json.dumps(content))


@dataclass
class _Epoch:
    """An epoch's copies, and what its server lists of it."""

    look: _Look
    epoch: str
    listed: Mapping[str, Listed]

    @cached_property
    def _folder(self) -> Path:
        return self.look.folder / self.epoch

    @cached_property
    def _known(self) -> _Known:
        return _Known.read(self._folder / _KNOWN)

    def bring(self) -> bool:
        """Make the copies what the server has; whether there was time for it."""
        copied, named = self._names()
        files = self.look.server.files_of(self.epoch, self.listed, named)
        copied |= named if self.look.copy_images else frozenset()
        copied = frozenset(name for name in files if name in copied or name == MANIFEST or is_readme(name))
        kept = {name for name, listed in files.items() if self._is_kept(name, listed, name in copied)}
        if kept == set(files) == set(self._known.files) and self._folder.is_dir():
            return True
        if not self._fetch([name for name in files if name in copied and name not in kept], files):
            return False
        self._publish(files, kept, copied, named)
        return True

    def _names(self) -> tuple[frozenset[str], frozenset[str]]:
        """Names of files that the epoch is read from, and of all; none where its manifest cannot be read."""
        manifest = self.listed.get(MANIFEST)
        if manifest is None or self._is_kept(MANIFEST, manifest, True):
            return self._known.copied, self._known.named
        if manifest.size is not None and manifest.size > MAX_MANIFEST_BYTES:
            raise InputError(
                f"{self._url(MANIFEST)}: larger than {MAX_MANIFEST_BYTES / 1e6:g} MB, which no manifest is"
            )
        self._fetch([MANIFEST], {MANIFEST: manifest})
        try:
            return names_in(read_manifest_text(self._fetched(MANIFEST, manifest)))
        except InputError:
            # Reading the epoch says what is wrong with it.
            return frozenset(), frozenset()

    def _is_kept(self, name: str, listed: Listed, is_copy: bool) -> bool:
        """Whether what is here is of this version, of this kind, and as it was put here."""
        mark, size, kind, n_bytes, written_ns = self._known.files.get(name) or [None] * 5
        if (mark, size, kind) != (listed.mark, listed.size, is_copy):
            return False
        try:
            status = os.stat(self._folder / name)  # noqa: PTH116 - thousands of times
        except OSError:
            return False
        return (status.st_size, status.st_mtime_ns) == (n_bytes, written_ns)

    def _url(self, name: str) -> str:
        return url_in(self.look.server.url, f"{self.epoch}/{name}")

    def _fetched(self, name: str, listed: Listed) -> Path:
        """Where a file is fetched to; another version of it elsewhere."""
        version = version_of_value([self.epoch, name, listed.mark, listed.size, listed.written_at])
        return self.look.folder / _FETCHED / f"{version}{Path(name).suffix[:20]}"

    def _fetch(self, names: Iterable[str], files: Mapping[str, Listed]) -> bool:
        """Fetch what was not fetched before; whether there was time for all of it."""
        missing = [name for name in names if not self._fetched(name, files[name]).exists()]
        (self.look.folder / _FETCHED).mkdir(exist_ok=True)

        def fetch(name: str) -> None:
            with replacing(self._fetched(name, files[name]), kept=False) as temporary:
                try:
                    self.look.server.fetch(self.epoch, name, files[name], temporary)
                except NotThere as error:
                    raise InputError(f"{self._url(name)}: it went while it was looked at; deliver it again") from error

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for first in range(0, len(missing), _AT_ONCE):
                if time.monotonic() >= self.look.until:
                    return False
                list(pool.map(fetch, missing[first : first + _AT_ONCE]))
        return True

    def _publish(
        self, files: Mapping[str, Listed], kept: set[str], copied: frozenset[str], named: frozenset[str]
    ) -> None:
        """Put what was fetched, and what stands for the rest, into its place: the manifest last, then what is known."""
        new = sorted(set(files) - kept, key=lambda name: (name == MANIFEST, name))
        for name in new:
            if name not in copied:
                self._fetched(name, files[name]).write_bytes(stand_in(files[name].mark, files[name].size))
        sources = {name: self._fetched(name, files[name]) for name in new}
        keep(sources.values())
        self._folder.mkdir(exist_ok=True)
        _remove_others(self._folder, {*files, _KNOWN})
        known = {name: self._known.files[name] for name in kept}
        for name, source in sources.items():
            target, listed = self._folder / name, files[name]
            target.parent.mkdir(parents=True, exist_ok=True)
            _set_time(source, listed)
            source.replace(target)
            status = target.stat()
            known[name] = [listed.mark, listed.size, name in copied, status.st_size, status.st_mtime_ns]
        keep([], {(self._folder / name).parent for name in new})
        _Known(copied, named, known).write(self._folder / _KNOWN)


def names_in(text: ManifestText) -> tuple[frozenset[str], frozenset[str]]:
    """Names in a manifest: of files that an epoch is read from, and of all its files.

    Its images are none of the first: their headers and pixels are asked for where they are.
    """
    footprints = [name for name in text.column("footprint") if name is not None and not is_moc_text(name)]
    read = [*text.column("catalogue"), *text.column("rms_map"), *footprints, *backgrounds_read(text)]
    # What is packed as a whole cannot be read in parts.
    read += [name for name in (*text.column("path"), *text.column("background_map")) if name and name.endswith(".gz")]
    # Of catalogs that have no header, a ReadMe beside them describes the columns.
    readmes = {str(Path(name).parent / "ReadMe") for name in text.column("catalogue") if name and _is_bare(name)}
    others = [*text.column("path"), *text.column("background_map"), *readmes]
    of_read, of_all = (
        frozenset(plain_path(name) for name in names if name and not is_url(name)) for names in (read, [*read, *others])
    )
    return of_read, of_all


def _is_bare(catalog: str) -> bool:
    return catalog.lower().removesuffix(".gz").endswith(".dat")


def _set_time(file: Path, listed: Listed) -> None:
    """Give a file the time that its server states. Within its second the version tells, for sizes may be the same."""
    if listed.written_at is not None:
        within = zlib.crc32(f"{listed.mark} {listed.size}".encode()) % 1_000_000_000
        written_ns = int(listed.written_at) * 1_000_000_000 + within
        os.utime(file, ns=(written_ns, written_ns))


def _remove_others(folder: Path, names: Collection[str]) -> None:
    """Remove what a folder holds besides some files, and folders that are empty then."""
    for place, _, files in os.walk(folder, topdown=False):
        inside = Path(place)
        for name in files:
            if (inside / name).relative_to(folder).as_posix() not in names:
                (inside / name).unlink(missing_ok=True)
        if inside != folder:
            with suppress(OSError):
                inside.rmdir()


def _read_json(file: Path) -> Mapping[str, Any]:
    """What is known, as far as it can be read: of what is lost or damaged, copies are made once more."""
    try:
        content = json.loads(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (ValueError, RecursionError):
        _LOG.warning("%s is damaged: copies of deliveries are made once more", file)
        return {}
    return content if isinstance(content, dict) else {}
