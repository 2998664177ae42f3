"""Objects below a URL as a place to write to: listed, read, written under a condition, removed.

Belongs here: what an object store is asked and promises. Does not belong here: what the objects are.

An object is written whole or not at all. That it is written only where nobody else did so since it was last seen is
asked of its server with the write itself: what was seen is named by the ETag.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from contimg_assets.errors import InputError, StoreError
from contimg_assets.files.servers import ANSWERING, NotThere, asking_faults, files_below, open_folder, trouble
from contimg_assets.files.urls import shown_url, url_in

WRITABLE = ("s3", "s3a")
"""Kinds of URLs whose servers write under a condition, as far as it was tried."""
# A server that says nothing for so long does not answer [s].
_ANSWER_S = 30.0
# An object in several pieces is written by a request that knows no condition everywhere [bytes].
_ONE_PIECE = 2 * 2**30
# What a server says where somebody else wrote, or is writing at this moment.
_OVERTAKEN = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")
_GONE = ("NoSuchKey", "404")


class Unanswered(StoreError):
    """A server does not do what it was asked; what it has is not known."""


class Overtaken(Exception):
    """An object is not what it was when it was last seen: somebody else wrote or removed it."""


@dataclass(frozen=True)
class Listed:
    """What a server says of an object: what changes with its content, its size [bytes] and time [Unix s]."""

    etag: str
    n_bytes: int
    written_at: float


class ObjectStore:
    """The objects below a URL, by their names below it.

    Parameters
    ----------
    url : such as ``s3://bucket/prefix``

    Raises
    ------
    Unanswered
        Of every method: if the server does not answer, refuses, or lacks a package that is needed to ask it.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._opened: tuple[Any, str] | None = None

    def __reduce__(self) -> tuple[type[ObjectStore], tuple[str]]:
        # Connections are of one process.
        return ObjectStore, (self.url,)

    def shown(self, name: str) -> str:
        """The URL of an object as people may see it."""
        return shown_url(url_in(self.url, name))

    def list(self, below: str) -> dict[str, Listed]:
        """Every object whose name begins in this way up to a slash."""
        system, folder = self._system()
        try:
            found = files_below(system, folder, below)
        except asking_faults() as error:
            raise self._told(below, error) from error
        return {
            name: Listed(str(info["ETag"]), int(info["size"]), info["LastModified"].timestamp())
            for name, info in found.items()
        }

    def read(self, name: str) -> bytes:
        """Content of an object.

        Raises
        ------
        FileNotFoundError
            If there is none.
        """
        system, folder = self._system()
        try:
            content: bytes = system.cat_file(f"{folder}/{name}")
        except asking_faults() as error:
            if isinstance(trouble(self.shown(name), error), NotThere):
                raise FileNotFoundError(self.shown(name)) from error
            raise self._told(name, error) from error
        return content

    def write(self, name: str, content: bytes) -> str:
        """Write an object whatever is there, and return its ETag."""
        return self._put(name, content, {})

    def replace(self, name: str, content: bytes, seen: str | None) -> str:
        """Write an object if it is what was last seen of it, and return its ETag.

        Parameters
        ----------
        seen : ETag of what was seen; None where nothing was there

        Raises
        ------
        Overtaken
            If it is not.
        """
        try:
            return self._put(name, content, {"IfNoneMatch": "*"} if seen is None else {"IfMatch": seen})
        except Unanswered as error:
            if _code(error.__cause__) in (*_OVERTAKEN, *(_GONE if seen is not None else ())):
                raise Overtaken(self.shown(name)) from error
            raise

    def remove(self, name: str) -> None:
        """Remove an object, if it is there."""
        system, folder = self._system()
        try:
            system.rm_file(f"{folder}/{name}")
        except FileNotFoundError:
            return
        except asking_faults() as error:
            raise self._told(name, error) from error

    def _put(self, name: str, content: bytes, condition: dict[str, str]) -> str:
        system, folder = self._system()
        try:
            return str(system.pipe_file(f"{folder}/{name}", content, chunksize=_ONE_PIECE, **condition)["ETag"])
        except asking_faults() as error:
            raise self._told(name, error) from error

    def _system(self) -> tuple[Any, str]:
        if self._opened is None:
            try:
                self._opened = open_folder(self.url, _ANSWER_S)
            except InputError as error:
                raise Unanswered(str(error)) from error
        return self._opened

    def _told(self, name: str, error: Exception) -> Unanswered:
        return Unanswered(str(trouble(url_in(self.url, name), error, ANSWERING)))


def _code(error: BaseException | None) -> str:
    """What an S3 server calls what it refused for; nothing of another fault."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code", ""))
        error = error.__cause__
    return ""
