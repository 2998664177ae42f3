"""Files of tables, whatever their format: FITS, VOTable, ECSV, CSV, Parquet, SQLite, told by their first bytes."""

from __future__ import annotations

import contextlib
import gzip
import sqlite3
import warnings
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.io.votable.exceptions import VOTableSpecError, VOWarning
from astropy.table import Table

from contimg_assets.errors import InputError
from contimg_assets.files.stated_sizes import votable_excess

_GZIP = b"\x1f\x8b"
# How much of a VOTable describes it, and how far gzip packs at most.
_DESCRIPTION, _MOST_PACKED = 4_000_000, 1032


def read_any(path: Path, table: str | None = None) -> tuple[pd.DataFrame, dict[str, str]]:
    """A table file of any format we know, told by its first bytes, and the units of its columns (those that have one).

    Raises
    ------
    InputError
        If the file is not there, empty, or not readable as what its first bytes say it is.
    """
    try:
        head = _head(path)
    except OSError as error:
        raise InputError(f"{path}: not readable ({error.strerror}); give the path of a catalog file") from error
    if not head.strip():
        raise InputError(f"{path}: the file is empty; deliver it again")
    try:
        return _read_as(head, path, table)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: its text is not UTF-8; convert it, such as `iconv -f latin1 -t utf-8`") from error
    except (
        OSError,
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        pa.ArrowException,
        sqlite3.Error,
        VOTableSpecError,
    ) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not readable as a catalog ({error}); deliver it again or convert it") from error


def _read_as(head: bytes, path: Path, table: str | None) -> tuple[pd.DataFrame, dict[str, str]]:
    """The file as what its first bytes say it is."""
    if head.startswith(b"PAR1"):
        return _units_of_arrow(pq.read_table(path))
    if head.startswith(b"SQLite format 3\0"):
        return _read_sqlite(path, table), {}
    if head.startswith(b"SIMPLE  ="):
        return _plain(Table.read(path, format="fits", hdu=_hdu(table), unit_parse_strict="silent"))
    if b"<VOTABLE" in head or b"<?xml" in head:
        return _plain(_read_votable(path))
    if b"%ECSV" in head:
        return _plain(Table.read(path, format="ascii.ecsv"))
    return _read_text(path)


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        head = stream.read(512)
    if head.startswith(_GZIP):
        with gzip.open(path, "rb") as stream:
            head = stream.read(512)
    return head


def _hdu(table: str | None) -> int | str | None:
    return int(table) if table is not None and table.isdigit() else table


def _read_text(path: Path) -> tuple[pd.DataFrame, dict[str, str]]:
    """Text with a separator, comments before it; of VizieR's also the rows of units and dashes below the names."""
    with path.open("rb") as stream:
        zipped = stream.read(2) == _GZIP
    with gzip.open(path, "rb") if zipped else path.open("rb") as stream:
        filled = ((n, line) for n, line in enumerate(stream) if line.strip() and not line.startswith(b"#"))
        numbered = list(islice(filled, 3))
    top = [line.decode("utf-8", errors="replace").rstrip("\r\n") for _, line in numbered]
    header = top[0] if top else ""
    separator = max((",", "\t", ";", "|"), key=header.count)
    separator = separator if header.count(separator) else r"\s+"
    has_units = len(top) == 3 and set(top[2]) <= {"-", separator, " "} and "--" in top[2]
    frame = pd.read_csv(
        path,
        sep=separator,
        comment="#",
        skipinitialspace=True,
        compression="gzip" if zipped else None,
        skiprows=[number for number, _ in numbered[1:]] if has_units else None,
    )
    if not has_units:
        return frame, {}
    pairs = zip(frame.columns, (unit.strip() for unit in top[1].split(separator)), strict=False)
    return frame, {str(name): unit for name, unit in pairs if unit}


def _read_sqlite(path: Path, table: str | None) -> pd.DataFrame:
    # `uri` with mode=ro: a reader must never create or lock a file that others fill.
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")]
        chosen = table or next((name for name in ("sources", "catalog") if name in names), names[0] if names else None)
        if chosen is None or chosen not in names:
            raise InputError(f"{path}: no table {chosen!r}; there are {', '.join(names) or 'none'}")
        quoted = '"' + chosen.replace('"', '""') + '"'
        return pd.read_sql_query(f"SELECT * FROM {quoted}", connection)  # noqa: S608 - the name is one of the file's own


def _read_votable(path: Path) -> Table:
    n_bytes = path.stat().st_size
    with path.open("rb") as file:
        packed = file.read(2) == _GZIP
    with gzip.open(path) if packed else path.open("rb") as file:
        excess = votable_excess(file.read(_DESCRIPTION), n_bytes * (_MOST_PACKED if packed else 1))
    if excess is not None:
        raise InputError(f"{path}: damaged VOTable file ({excess}); fetch it again")
    # Surveys' own tables hold units and dates that the standard does not know; none of them is ours.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VOWarning)
        return Table.read(path, format="votable")


def _units_of_arrow(table: pa.Table) -> tuple[pd.DataFrame, dict[str, str]]:
    units = {
        field.name: field.metadata[b"unit"].decode() for field in table.schema if (field.metadata or {}).get(b"unit")
    }
    return table.to_pandas(), units


def _plain(table: Table) -> tuple[pd.DataFrame, dict[str, str]]:
    one_dimensional = [name for name in table.colnames if table[name].ndim == 1]
    units = {name: str(table[name].unit) for name in one_dimensional if table[name].unit is not None}
    frame = {}
    for name in one_dimensional:
        column = table[name]
        values = np.asarray(column)
        if values.dtype.kind == "S":
            values = np.char.decode(values, "utf-8", "replace")
        if not values.dtype.isnative:
            values = values.astype(values.dtype.newbyteorder("="))
        series = pd.Series(values)
        gaps = np.ma.getmaskarray(column) if hasattr(column, "mask") else np.zeros(len(values), bool)
        # Integers stay integers, gaps or not: identifiers of 64 bits do not fit into a float.
        frame[name] = series.astype("Int64").mask(gaps) if values.dtype.kind in "iu" else series.mask(gaps)
    return pd.DataFrame(frame), units
