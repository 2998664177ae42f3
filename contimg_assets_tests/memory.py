"""Where tests put what they write: thousands of small files and databases come and go faster in memory."""

import shutil
from pathlib import Path

# Four servers of PostgreSQL, each of at most some two hundred databases of 8 MB, and a gigabyte of projects.
_ROOM_BYTES = 10 * 1024**3


def in_memory() -> Path | None:
    """The machine's folder in memory, if it has room."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() and shutil.disk_usage(memory).free > _ROOM_BYTES else None
