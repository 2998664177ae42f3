"""Servers that epochs are delivered at: which epochs they have, which files of each, and of which version.

Belongs here: what an object store and a web server are asked, and which of their names are taken. Does not belong here:
the copies of what they have (`delivery_copies`).

An object store lists every object below a URL. A web server lists nothing: the file `epochs.txt` names its epochs, and
their manifests name their files.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Protocol

from contimg_assets.errors import InputError
from contimg_assets.files.servers import (
    ANSWERING,
    NotThere,
    asking_faults,
    at_once,
    fetch,
    files_below,
    info_of,
    mark_of,
    open_folder,
    open_server,
    trouble,
)
from contimg_assets.files.urls import is_on_the_web, url_in
from contimg_assets.identity.epochs import is_epoch_key
from contimg_assets.ingest.manifest_text import MANIFEST

EPOCHS = "epochs.txt"
"""Where a web server says which epochs it has, one a line."""

_LARGEST_LIST = 20_000_000
# A server that says nothing for so long does not answer: sensors have a minute for everything [s].
_ANSWER_S = 20.0
_WRITTEN = ("LastModified", "updated", "Last-Modified", "last_modified", "modified", "mtime", "created")
# So many names are told of that are not taken.
_MOST_REFUSED = 100
_LONGEST_NAME, _LONGEST_PATH = 255, 1000


@dataclass(frozen=True)
class Listed:
    """What a server says of a file: what changes with it, its size [bytes] and time [Unix s], None where unknown."""

    mark: str
    size: int | None
    written_at: float | None


@dataclass
class Listing:
    """What a server has.

    Attributes
    ----------
    epochs : files of each epoch by name, within the epoch's folder
    refused : what is not taken, with the reason in words
    """

    epochs: dict[str, dict[str, Listed]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


class DeliveryServer(Protocol):
    """Where epochs are delivered."""

    url: str

    def listing(self) -> Listing:
        """Every epoch, and its files as far as they are known without its manifest.

        Raises
        ------
        InputError
            If the server does not answer, or has nothing there.
        """

    def files_of(self, epoch: str, listed: Mapping[str, Listed], named: Iterable[str]) -> Mapping[str, Listed]:
        """The files of an epoch, where those that its manifest names are known.

        Raises
        ------
        InputError
            If the server does not answer.
        """

    def fetch(self, epoch: str, name: str, listed: Listed, target: Path) -> None:
        """Write the content of a file.

        Raises
        ------
        InputError
            If the server does not answer, refuses it, or not all of it arrives.
        """


def server_of(url: str) -> DeliveryServer:
    """The server of a URL."""
    return _WebServer(url) if is_on_the_web(url) else _ObjectStore(url)


class _ObjectStore:
    """Anything that fsspec can list: s3, gs, and others."""

    def __init__(self, url: str) -> None:
        self.url = url

    def listing(self) -> Listing:
        try:
            files = files_below(*open_folder(self.url, _ANSWER_S))
        except asking_faults() as error:
            raise trouble(self.url, error, ANSWERING) from error
        if not files:
            raise InputError(
                f"{self.url}: there is nothing at this URL; deliver an epoch there, or correct paths.incoming"
            )
        listing = Listing()
        for name, info in sorted(files.items()):
            _take(listing, name, info)
        return listing

    def files_of(self, epoch: str, listed: Mapping[str, Listed], named: Iterable[str]) -> Mapping[str, Listed]:
        return listed

    def fetch(self, epoch: str, name: str, listed: Listed, target: Path) -> None:
        system, folder = open_folder(self.url, _ANSWER_S)
        fetch(url_in(self.url, f"{epoch}/{name}"), system, f"{folder}/{epoch}/{name}", target, listed.size)


class _WebServer:
    """A server of http or https."""

    def __init__(self, url: str) -> None:
        self.url = url

    def listing(self) -> Listing:
        url = url_in(self.url, EPOCHS)
        system, path = open_server(url, _ANSWER_S)
        try:
            lines = system.cat_file(path, end=_LARGEST_LIST).decode("utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise InputError(f"{url}: not UTF-8 text; name one epoch a line") from error
        except asking_faults() as error:
            cure = f"name the epochs there in a file {EPOCHS}, one a line" if _is_missing(error) else ANSWERING
            raise trouble(url, error, cure) from error
        listing = Listing()
        names = [line.strip().rstrip("/") for line in lines if line.strip() and not line.lstrip().startswith("#")]
        listing.refused |= {name: _NO_KEY for name in names if not is_epoch_key(name)}
        epochs = [name for name in dict.fromkeys(names) if is_epoch_key(name)]
        manifests = at_once(lambda epoch: self._info(epoch, MANIFEST), epochs)
        for epoch, manifest in zip(epochs, manifests, strict=True):
            # One that is announced before its manifest is there is a folder without a manifest.
            listing.epochs[epoch] = {} if manifest is None else {MANIFEST: manifest}
        return listing

    def files_of(self, epoch: str, listed: Mapping[str, Listed], named: Iterable[str]) -> Mapping[str, Listed]:
        names = sorted(name for name in named if name not in listed and not _why_not(name))
        found = zip(names, at_once(lambda name: self._info(epoch, name), names), strict=True)
        return {**listed, **{name: info for name, info in found if info is not None}}

    def fetch(self, epoch: str, name: str, listed: Listed, target: Path) -> None:
        url = url_in(self.url, f"{epoch}/{name}")
        fetch(url, *open_server(url, _ANSWER_S), target, listed.size)

    def _info(self, epoch: str, name: str) -> Listed | None:
        """What the server says of a file; None where it has none."""
        url = url_in(self.url, f"{epoch}/{name}")
        try:
            return _listed(info_of(url, *open_server(url, _ANSWER_S)))
        except NotThere:
            return None


_NO_KEY = "this cannot be an epoch's name: rename the folder to letters, digits and '_.:+-'"


def _take(listing: Listing, name: str, info: Mapping[str, Any]) -> None:
    """Add a file of an object store by its name, which anybody may have chosen: it must be that of a file here too."""
    epoch, separator, rest = name.partition("/")
    # As in a folder here: files beside the epochs, and hidden ones, are nobody's delivery.
    if not separator or epoch.startswith("."):
        return
    if not is_epoch_key(epoch):
        _refuse(listing, epoch or name, _NO_KEY)
        return
    files = listing.epochs.setdefault(epoch, {})
    reason = _why_not(rest)
    if not reason and any(str(parent) in files for parent in Path(rest).parents):
        reason = "another one has the name of its folder"
    if reason:
        _refuse(listing, name, f"this cannot be a file's name: {reason}; rename it")
    elif not any(part.startswith(".") for part in rest.split("/")):
        files[rest] = _listed(info)


def _why_not(name: str) -> str:
    """Why a name cannot be that of a file within a folder; nothing where it can."""
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts):
        return "it has an empty part, '.' or '..'"
    if "?versionId=" in name:
        return "it asks for a version"
    if any(ord(letter) < 32 or letter == "\\" for letter in name):
        return "it has a backslash or a control character"
    try:
        if len(name.encode()) > _LONGEST_PATH or max(len(part.encode()) for part in parts) > _LONGEST_NAME:
            return "it is too long"
    except UnicodeEncodeError:
        return "it is no text"
    return ""


def _refuse(listing: Listing, name: str, reason: str) -> None:
    if len(listing.refused) < _MOST_REFUSED:
        listing.refused["".join(letter if letter.isprintable() else "?" for letter in name[:100])] = reason


def plain_path(name: str) -> str:
    """A manifest's name of a file in its folder, written in one way however it was written there."""
    return posixpath.normpath(name)


def _listed(info: Mapping[str, Any]) -> Listed:
    size = info.get("size")
    written = next((info[name] for name in _WRITTEN if info.get(name)), None)
    return Listed(mark_of(info), None if size is None else int(size), _unix_time(written))


def _unix_time(written: Any) -> float | None:
    """A time as packages of fsspec give it [Unix s]."""
    try:
        if isinstance(written, str):
            iso = written[:4].isdigit()
            written = datetime.fromisoformat(written) if iso else parsedate_to_datetime(written)
        if isinstance(written, datetime):
            return (written if written.tzinfo else written.replace(tzinfo=UTC)).timestamp()
        return None if written is None else float(written)
    except (TypeError, ValueError, OverflowError):
        return None


def _is_missing(error: Exception) -> bool:
    return isinstance(trouble("", error), NotThere)
