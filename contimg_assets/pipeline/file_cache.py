"""Small files that are looked at again and again, and parsed again only when they changed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
# Time of content, size, number and time of the last change of a file: another content has another one.
Signature = tuple[int, int, int, int]

# A file written just now may be written again without its time stamp changing: nothing younger is remembered [s].
SETTLED_SECONDS = 2.0


def has_settled(written_at: float, now: float) -> bool:
    """Whether another write would show by its time; one of a clock that was ahead would be set back by it."""
    return abs(now - written_at) > SETTLED_SECONDS


def signature_of(status: os.stat_result) -> Signature:
    """The signature of a file or folder in this state."""
    # A time of content can be set by hand; that of the last change to anything cannot.
    return (status.st_mtime_ns, status.st_size, status.st_ino, status.st_ctime_ns)


class FileCache(Generic[T]):
    """Content of files, kept in memory with the time, size and number that each file had.

    Parameters
    ----------
    parse : reads a file; what it returns is shared and must not be changed
    """

    def __init__(self, parse: Callable[[str], T]) -> None:
        self._parse = parse
        self._known: dict[str, tuple[Signature, T]] = {}
        self.n_parsed = 0
        """Files that were parsed and are remembered since."""

    def known(self, path: str) -> tuple[Signature, T] | None:
        """What is remembered of a file: its signature when it was read, and its content."""
        return self._known.get(path)

    def remember(self, path: str, signature: Signature, value: T) -> None:
        """Take over what somebody else read of a file; it counts as long as the file has this signature."""
        self._known[path] = (signature, value)

    def read(self, path: str, status: os.stat_result | None = None) -> T:
        """The content of a file, of which the state may be known that it has just had.

        Raises
        ------
        OSError
            If it is not there or cannot be read.
        """
        if status is None:
            try:
                status = os.stat(path)  # noqa: PTH116 - thousands of times a second
            except OSError:
                self._known.pop(path, None)
                raise
        signature = signature_of(status)
        known = self._known.get(path)
        if known is not None and known[0] == signature:
            return known[1]
        value = self._parse(path)
        if has_settled(status.st_mtime, time.time()):
            self._known[path] = (signature, value)
            self.n_parsed += 1
        else:
            self._known.pop(path, None)
        return value
