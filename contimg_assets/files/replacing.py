"""Replacing a file in one step: readers, killed processes and power cuts find the old one or the new one, never half.

A file is written under a name that nobody refers to and then renamed. The rename alone is no promise: a disk may keep
it before it keeps the bytes, and then a power cut leaves an empty file. So the bytes are on the disk before the rename,
and the folder, which holds the name, right after it.
"""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

# Waiting for a disk costs next to nothing of a processor, and what is asked for together is written together.
_AT_ONCE = 16
# File systems that have nothing to say about folders refuse to be asked.
_NO_FOLDERS = (errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.EACCES)


@contextmanager
def replacing(file: Path, *, kept: bool = True) -> Iterator[Path]:
    """A name to write to, which becomes the file when the block ends without an error.

    Parameters
    ----------
    kept : whether to wait until the disk has it; without, whoever depends on it calls `keep`

    Raises
    ------
    OSError
        If it cannot be written; what was there stays.
    """
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        yield temporary
        if kept:
            keep([temporary])
        temporary.replace(file)
        if kept:
            keep([], [file.parent])
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def replace_text(file: Path, text: str) -> None:
    """Write a text file in one step."""
    replace_texts({file: text})


def replace_texts(texts: Mapping[Path, str]) -> None:
    """Write text files, each in one step, and wait for the disk once for all of them."""
    with ExitStack() as names:
        temporaries = [names.enter_context(replacing(file, kept=False)) for file in texts]
        for temporary, text in zip(temporaries, texts.values(), strict=True):
            temporary.write_text(text, encoding="utf-8")
        keep(temporaries)
    keep([], {file.parent for file in texts})


def keep(files: Iterable[Path], folders: Iterable[Path] = ()) -> None:
    """Wait until the disk has the content of files, and then the names in folders."""
    with ThreadPoolExecutor(_AT_ONCE) as waiting:
        list(waiting.map(_keep_file, files))
        list(waiting.map(_keep_folder, folders))


def _keep_file(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _keep_folder(folder: Path) -> None:
    try:
        _keep_file(folder)
    except OSError as error:
        if error.errno not in _NO_FOLDERS:
            raise
