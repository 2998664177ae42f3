"""How much of a store at a URL a machine keeps: tables that were not used for longest go, and are brought when read.

When a table was last used is the time of its file. Who has a file open goes on reading it when it is removed, and who
finds it gone brings it: so nothing is locked. What is not at the server, such as what is about to be committed, stays.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

_LOG = logging.getLogger(__name__)

# Used so short a time ago [s], a table is likely to be used again by the run that did, and stays whatever the limit.
_IN_USE_S = 3600.0
# So much of the limit is left when something had to go, and is brought before a process looks again.
_KEPT, _STEP = 0.9, 0.05


class Room:
    """The files of tables in a folder.

    Parameters
    ----------
    root : the store's folder
    limit_bytes : most that they may hold; everything stays if None
    """

    def __init__(self, root: Path, limit_bytes: int | None) -> None:
        self.root, self.limit_bytes = root, limit_bytes
        self._left = 0.0

    def use(self, file: Path) -> None:
        """Note that a file was used."""
        if self.limit_bytes is not None:
            with contextlib.suppress(OSError):
                os.utime(file)

    def is_full_with(self, n_bytes: int) -> bool:
        """Whether it is time to `clear`, with so much that just came [bytes]."""
        if self.limit_bytes is None:
            return False
        self._left -= n_bytes
        return self._left < 0.0

    def clear(self, at_home: Callable[[], Mapping[Path, int]]) -> list[Path]:
        """Remove what was not used for longest where there is more than the limit; returns the files.

        Parameters
        ----------
        at_home : gives the files that can be brought again, and their sizes there; asked only where something must go
        """
        if self.limit_bytes is None:
            return []
        found = list(self._files())
        held = sum(n_bytes for _, n_bytes, _ in found)
        gone: list[Path] = []
        if held > self.limit_bytes:
            listed, before = at_home(), time.time() - _IN_USE_S
            for used_at, n_bytes, file in sorted(found):
                if held <= _KEPT * self.limit_bytes or used_at > before:
                    break
                if listed.get(file) == n_bytes and _remove_unused_since(file, used_at):
                    held -= n_bytes
                    gone.append(file)
            _LOG.info("%s: %d tables removed, %.1f MB stay", self.root, len(gone), held / 1e6)
        self._left = max(self.limit_bytes - held, _STEP * self.limit_bytes)
        return gone

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        """When each file was last used, its size and path."""
        for file in self.root.glob("*/*/*.parquet"):
            with contextlib.suppress(FileNotFoundError):
                status = file.stat()
                yield status.st_mtime, status.st_size, file


def _remove_unused_since(file: Path, used_at: float) -> bool:
    # What may not be removed here stays.
    with contextlib.suppress(OSError):
        if file.stat().st_mtime == used_at:
            file.unlink()
            return True
    return False
