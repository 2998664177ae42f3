"""How a table of the store lies in a Parquet file: what little is in it costs little to write and to read.

Each page has a checksum, so that what a disk changed is found by whoever reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from contimg_assets.schemas.core import FEW_ROWS

# Of so few rows, dictionaries and statistics of columns take three times as long as the rows, and nobody asks for them.
_SMALL = 1_000
_PLAINLY: dict[str, Any] = {"compression": "lz4", "use_dictionary": False, "write_statistics": False}
_PACKED: dict[str, Any] = {"compression": "zstd", "compression_level": 1}


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table to a file that nobody reads yet."""
    manner = _PLAINLY if table.num_rows <= _SMALL else _PACKED
    pq.write_table(table, path, write_page_checksum=True, **manner)


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """The table of a file, or some of its columns in the order that they have there.

    Raises
    ------
    OSError, pyarrow.ArrowException
        If it is not there, or is not what was written.
    """
    # One file, and no look for others beside it: half the time of pyarrow's `read_table` for a small epoch.
    with pq.ParquetFile(path, page_checksum_verification=True) as opened:
        chosen = None if columns is None else list(columns)
        return opened.read(columns=chosen, use_threads=opened.metadata.num_rows > FEW_ROWS)
