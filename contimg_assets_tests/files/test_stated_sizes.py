"""What a file states of its size is believed only as far as its bytes can hold it."""

from __future__ import annotations

import tracemalloc
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contimg_assets.catalogs.read import columns_taken
from contimg_assets.config import CatalogConfig
from contimg_assets.errors import InputError
from contimg_assets.files.stated_sizes import votable_excess
from contimg_assets.reading.containers import open_container

VOTABLE = """<?xml version="1.0"?>
<VOTABLE version="1.3" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE><TABLE name="t"{rows}>
<FIELD name="ra_deg" datatype="double"/><FIELD name="name" datatype="char" arraysize="{size}"/>
<DATA><TABLEDATA><TR><TD>1.0</TD><TD>a</TD></TR></TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>
"""
HONEST = [("", "*"), (' nrows="1"', "100*"), (' nrows="1"', "20000"), (' nrows=""', "3x4")]
STATED = [
    (' nrows="1000000000000"', "*"),
    (" nrows = '99999999'", "*"),
    (' description="a > b" nrows="99999999"', "*"),
    (' nrows="&#57;9999999"', "*"),
    ("", "1000000000"),
    ("", "100000x100000"),
    ("", "1" * 5000),
    (' nrows="' + "9" * 5000 + '"', "*"),
]


@pytest.mark.parametrize(("rows", "size"), HONEST)
def test_what_may_be_true_is_believed(tmp_path: Path, rows: str, size: str) -> None:
    content = VOTABLE.format(rows=rows, size=size).encode()
    assert votable_excess(content) is None
    (tmp_path / "a.vot").write_bytes(content)
    if rows != ' nrows=""':
        config = CatalogConfig(path=tmp_path / "a.vot", freq_mhz=1400.0)
        assert columns_taken(config, tmp_path / "a.vot")["ours"].tolist() == ["catalog_source_id", "ra_deg"]


@pytest.mark.parametrize(("rows", "size"), STATED, ids=range(len(STATED)))
@pytest.mark.parametrize("read", ["catalogue", "reference"])
def test_nothing_is_allocated_for_what_cannot_be(tmp_path: Path, rows: str, size: str, read: str) -> None:
    file = tmp_path / "a.vot"
    file.write_text(VOTABLE.format(rows=rows, size=size), encoding="utf-8")
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"a\.vot.*it states"), ExitStack() as held:
            if read == "reference":
                columns_taken(CatalogConfig(path=file, freq_mhz=1400.0), file)
            else:
                open_container(file, lambda columns: True, 256.0, held)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_rows_of_one_value_are_counted_before_they_are_read(tmp_path: Path) -> None:
    """Three hundred million equal rows take a megabyte of Parquet."""
    file = tmp_path / "a.parquet"
    batch = pa.table({"ra_deg": pa.array([1.0]).take(pa.array([0] * 1_000_000))})
    with pq.ParquetWriter(file, batch.schema) as writer:
        for _ in range(300):
            writer.write_table(batch)
    assert file.stat().st_size < 2_000_000
    with ExitStack() as held:
        container = open_container(file, lambda columns: True, 256.0, held)
        with pytest.raises(InputError, match="states 300000000 rows"):
            container.load(["ra_deg"], [])
