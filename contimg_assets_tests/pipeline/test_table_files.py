"""Files of tables: the same table back, and no changed byte goes unnoticed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contimg_assets.pipeline.table_files import read_table, write_table


def _table(n: int) -> pa.Table:
    numbers = pa.array(np.arange(n) / 7.0, mask=np.arange(n) % 3 == 0)
    schema = pa.schema([pa.field("a", pa.float64(), metadata={"unit": "deg"}), pa.field("b", pa.string())])
    return pa.table([numbers, [f"name {row % 5}" for row in range(n)]], schema=schema)


@pytest.mark.parametrize("n", [0, 20, 1_000, 1_001])
def test_a_table_comes_back_with_its_columns_meaning(tmp_path: Path, n: int) -> None:
    table, file = _table(n), tmp_path / "table.parquet"
    write_table(table, file)
    assert read_table(file).equals(table, check_metadata=True)
    assert read_table(file, ["b"]).equals(table.select(["b"]))


@pytest.mark.parametrize("n", [20, 5_000])
def test_a_changed_byte_of_a_column_is_found(tmp_path: Path, n: int) -> None:
    file = tmp_path / "table.parquet"
    write_table(_table(n), file)
    column = pq.ParquetFile(file).metadata.row_group(0).column(0)
    content = bytearray(file.read_bytes())
    content[(column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size // 2] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises((OSError, pa.ArrowException)):
        read_table(file)


def test_files_of_before_are_read(tmp_path: Path) -> None:
    table, file = _table(20), tmp_path / "table.parquet"
    pq.write_table(table, file, compression="zstd", compression_level=1)
    assert read_table(file).equals(table)


def test_ids_and_numbers_are_written_without_a_dictionary_and_names_that_repeat_with_one(tmp_path: Path) -> None:
    """A dictionary of what does not repeat is the column once more."""
    n = 3_000
    table = _table(n).append_column("id", pa.array([f"{row:016x}" for row in range(n)]))
    write_table(table, tmp_path / "table.parquet")
    group = pq.ParquetFile(tmp_path / "table.parquet").metadata.row_group(0)
    columns = [group.column(index) for index in range(3)]
    assert {one.path_in_schema for one in columns if one.has_dictionary_page} == {"b"}
    assert read_table(tmp_path / "table.parquet").equals(table)
