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

# Of so few rows, dictionaries take twice as long as the rows. Nobody asks for statistics of columns.
_SMALL = 1_000
_PLAINLY: dict[str, Any] = {"compression": "lz4", "use_dictionary": False}
_PACKED: dict[str, Any] = {"compression": "zstd", "compression_level": 1}
# A text that is another one in most rows, such as an id, or a number, is written twice for a dictionary: once into it,
# and once more when it has grown too long. Half of what it takes to write a table, and a larger file.
_MOST_TEXTS = 0.1


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table to a file that nobody reads yet."""
    manner = _PLAINLY if table.num_rows <= _SMALL else {**_PACKED, "use_dictionary": _repeating(table)}
    pq.write_table(table, path, write_page_checksum=True, write_statistics=False, **manner)


def _repeating(table: pa.Table) -> list[str]:
    """Columns of texts that repeat, by the first rows."""
    texts = [field.name for field in table.schema if pa.types.is_string(field.type)]
    return [name for name in texts if len(table[name].slice(0, _SMALL).unique()) <= _MOST_TEXTS * _SMALL]


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
