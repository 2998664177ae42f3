"""Damaged reference catalogs: a clear sentence or rows left out, never a wrong number and never a traceback.

Eighteen of each damage a format, 324 in all; ``CONTIMG_FUZZ=60`` makes it more than a thousand.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from contimg_assets.catalogs.read import read_catalog
from contimg_assets.config import CatalogConfig
from contimg_assets.errors import InputError
from contimg_assets_tests.catalogs.test_formats import SURVEYS
from contimg_assets_tests.ingest.test_damaged import FOREIGN, GOOD, TRUTH

N = int(os.environ.get("CONTIMG_FUZZ", "18"))
CONFIG = {"columns": {"flux_mjy": {"column": "flux_int_mjy"}, "catalog_source_id": {"column": "component_id"}}}


def read(path: Path, content: bytes) -> pd.DataFrame | None:
    """The rows that come of a file; None where it is refused in a sentence that names it."""
    path.write_bytes(content)
    settings = {"path": path, "freq_mhz": 1e3} | ({} if path.suffix == ".txt" else CONFIG)
    try:
        return read_catalog("it", CatalogConfig.model_validate(settings), path)[0].to_pandas()
    except InputError as error:
        assert path.name in str(error)
        assert len(str(error)) < 3000
        return None


def only_true_numbers(table: pd.DataFrame | None) -> None:
    if table is None:
        return
    found = table.merge(TRUTH, left_on="catalog_source_id", right_on="component_id", suffixes=("", "_true"))
    for got, true in (("ra_deg", "ra_deg_true"), ("dec_deg", "dec_deg_true"), ("flux_mjy", "flux_int_mjy")):
        there = np.isfinite(found[got])
        np.testing.assert_allclose(found[got][there], found[true][there], rtol=1e-9)


@pytest.mark.parametrize("name", list(GOOD))
def test_a_good_catalog_is_read_whole(tmp_path: Path, name: str) -> None:
    table = read(tmp_path / name, GOOD[name](tmp_path / "t"))
    assert table is not None
    assert len(table) == len(TRUTH)
    only_true_numbers(table)


Damage = Callable[[bytes, np.random.Generator, str], bytes]


def cut(content: bytes, rng: np.random.Generator, name: str) -> bytes:
    return content[: int(rng.integers(1, len(content)))]


def flip(content: bytes, rng: np.random.Generator, name: str) -> bytes:
    """Bit 6 turns digits, separators and points of texts into letters or back, never a digit into another."""
    damaged = bytearray(content)
    damaged[int(rng.integers(0, len(content)))] ^= (
        0x40 if name.endswith((".csv", ".txt", ".xml")) else 1 << int(rng.integers(0, 8))
    )
    return bytes(damaged)


@pytest.mark.parametrize("damage", [cut, flip])
@pytest.mark.parametrize("name", list(GOOD))
def test_damaged_catalogs_hold_no_wrong_number(tmp_path: Path, name: str, damage: Damage) -> None:
    content = GOOD[name](tmp_path / "t")
    rng = np.random.default_rng(6)
    for _ in range(N):
        only_true_numbers(read(tmp_path / name, damage(content, rng, name)))


@pytest.mark.parametrize("name", list(GOOD))
def test_any_bytes_are_told_in_a_sentence(tmp_path: Path, name: str) -> None:
    content = GOOD[name](tmp_path / "t")
    rng = np.random.default_rng(7)
    for _ in range(N):
        start, length = int(rng.integers(0, len(content))), int(rng.integers(1, 200))
        noise = rng.integers(0, 256, length, dtype=np.uint8).tobytes()
        read(tmp_path / name, content[:start] + noise + content[start + length :])


@pytest.mark.parametrize("what", list(FOREIGN))
def test_files_that_are_no_catalogs(tmp_path: Path, what: str) -> None:
    assert read(tmp_path / "x.dat", FOREIGN[what]) is None


def test_rows_beyond_a_pole_and_cut_rows_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("name,ra,dec,flux\nA,10,20,1\nB,10,-91,1\nC,10,21,3")
    table, n_out = read_catalog("it", CatalogConfig(path=path, freq_mhz=1e3), path)
    assert (table.column("catalog_source_id").to_pylist(), n_out) == (["A"], 2)
    # One line may be cut, no more.
    path.write_text("name,ra,dec,flux\nA,10,20,1\nB,10\nC,10\n")
    with pytest.raises(InputError, match="line 3: the line has 2 columns, the header 4"):
        read_catalog("it", CatalogConfig(path=path, freq_mhz=1e3), path)


@pytest.mark.parametrize("survey", list(SURVEYS))
def test_damaged_tables_of_surveys_are_told_in_a_sentence(tmp_path: Path, survey: str) -> None:
    text, preset, _ = SURVEYS[survey]
    content = text.encode()
    rng = np.random.default_rng(8)
    path = tmp_path / "it.txt"
    known = {"freq_mhz": 1000.0} if preset is None else {"preset": preset}
    config = CatalogConfig.model_validate({"path": path, **known})
    for trial in range(2 * N):
        at, length = int(rng.integers(0, len(content))), int(rng.integers(1, 40))
        noise = rng.integers(0, 256, length, dtype=np.uint8).tobytes() if trial % 4 == 0 else b""
        piece = content[at : at + length] if trial % 4 == 1 else b""
        path.write_bytes(content[:at] if trial % 4 == 3 else content[:at] + noise + 2 * piece + content[at + length :])
        try:
            table = read_catalog("it", config, path)[0].to_pandas()
        except InputError as error:
            assert "it.txt" in str(error)
            continue
        assert table["dec_deg"].between(-90, 90).all()
        assert table["ra_deg"].between(0, 360, inclusive="left").all()
