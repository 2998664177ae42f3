"""One process at a time, by a lock on a file."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on every system; there, two processes at once remain a risk
    fcntl = None  # type: ignore[assignment]

_AGAIN_S = 0.05


@contextmanager
def one_at_a_time(file: Path, until: float = float("inf")) -> Iterator[bool]:
    """Wait for other processes in such a block on this file.

    Parameters
    ----------
    file : that exists; without it nobody waits
    until : how long to wait, by `time.monotonic` [s]

    Yields
    ------
    bool
        False where others were still in theirs when the time was over.
    """
    if fcntl is None or not file.exists():
        yield True
        return
    with file.open("rb") as locked:
        yield _locked(locked.fileno(), until)


def _locked(descriptor: int, until: float) -> bool:
    while True:
        try:
            waits = fcntl.LOCK_EX if until == float("inf") else fcntl.LOCK_EX | fcntl.LOCK_NB
            fcntl.flock(descriptor, waits)
            return True
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(_AGAIN_S)
        except OSError:
            # Some file systems have no locks.
            return True
