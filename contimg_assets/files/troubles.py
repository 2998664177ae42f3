"""What a disk says against being read or written, as one sentence with the cure."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contimg_assets.errors import StoreError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_ABSENT = (errno.ENOENT, errno.ENOTDIR)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def writing_to(place: Path | str, setting: str | None = "paths.store") -> Iterator[None]:
    """A block that writes a file or folder.

    Parameters
    ----------
    place : what is written
    setting : key of the configuration that says where it is, if one does

    Raises
    ------
    StoreError
        In place of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise StoreError(f"{place}: cannot be written ({_said(error)}); {_cure(error, 'write', setting)}") from error


@contextmanager
def reading_from(place: Path | str, setting: str | None = "paths.store") -> Iterator[None]:
    """A block that reads a file or folder, as `writing_to`.

    Raises
    ------
    OSError
        As it is, where the file is not there, or where no disk says it but who reads the content: for the caller.
    StoreError
        In place of any other OSError.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (None, *_ABSENT):
            raise
        raise StoreError(f"{place}: cannot be read ({_said(error)}); {_cure(error, 'read', setting)}") from error


def _said(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error).split("\n", maxsplit=1)[0]


def _cure(error: OSError, what: str, setting: str | None) -> str:
    if error.errno in _FULL:
        return "make room on its disk, then call `contimg run`"
    if error.errno in _REFUSED:
        return f"allow the user who runs contimg to {what} there, then call `contimg run`"
    return "see that its disk is there" + (f", or correct {setting} in contimg.yaml" if setting else "")
