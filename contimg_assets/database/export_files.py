"""Tables as files that other programs read: Parquet, VOTable, CSV and FITS."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from contimg_assets import files
from contimg_assets.errors import InputError

if TYPE_CHECKING:
    from astropy.io.votable.tree import VOTableFile
    from astropy.table import MaskedColumn, Table

FORMATS = ("parquet", "votable", "csv", "fits")
_SUFFIXES = {".xml": "votable", ".vot": "votable", ".pq": "parquet", **{f".{name}": name for name in FORMATS}}


def format_of(file: Path, format: str | None = None) -> str:
    """The format to write a file in: as given, else by its suffix.

    Raises
    ------
    InputError
        If it is unknown, or the suffix says another one.
    """
    named = _SUFFIXES.get(file.suffix.lower())
    kind = format or named or file.suffix[1:]
    if kind not in FORMATS:
        raise InputError(f"format {kind!r} is unknown; it is one of {', '.join(FORMATS)}")
    if named not in (None, kind):
        raise InputError(f"the suffix of {file.name} says {named}, not {kind}; change one of them")
    return kind


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """A name to write to, which becomes the file at the end: others that read the file see the old one or the new one.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    if file.is_dir():
        raise InputError(f"{file} is a folder; name a file in it")
    if not file.parent.is_dir():
        raise InputError(f"folder {file.parent} does not exist; create it first, or name another")
    try:
        with files.replacing(file) as temporary:
            yield temporary
    except OSError as error:
        raise InputError(f"{file} cannot be written ({error.strerror or error}); name another file") from error


def write(pieces: Iterable[pa.RecordBatch], schema: pa.Schema, name: str, kind: str, file: Path) -> int:
    """Write a table, some rows at a time where the format allows it. Returns the number of rows.

    Parameters
    ----------
    pieces : the rows
    schema : the columns; their metadata may have 'unit', 'description' and 'ucd'
    name : of the table
    kind : one of FORMATS
    file : where to write
    """
    if kind not in ("parquet", "csv"):
        return _write_astropy(pa.Table.from_batches(list(pieces), schema), name, kind, file)
    rows = 0
    with pq.ParquetWriter(file, schema) if kind == "parquet" else pa_csv.CSVWriter(file, schema) as writer:
        for piece in pieces:
            writer.write_batch(piece)
            rows += piece.num_rows
    return rows


def _write_astropy(data: pa.Table, name: str, kind: str, file: Path) -> int:
    """VOTable with units, UCDs and descriptions; FITS with units.

    FITS has no missing flags: a column of flags that may be missing has 1, 0 and a null (TNULL) there. Missing texts
    are empty.
    """
    from astropy.io.votable import writeto

    if kind == "fits":
        table = _astropy_table(data, name, kind)
        table.meta = {"EXTNAME": name.upper()}
        table.write(file, format="fits", overwrite=True)
    else:
        writeto(votable(data, name), str(file))
    return int(data.num_rows)


def _astropy_table(data: pa.Table, name: str, kind: str) -> Table:
    from astropy.table import Table

    table = Table(meta={"name": name})
    for field, values in zip(data.schema, data.itercolumns(), strict=True):
        table[field.name] = _astropy_column(field, values, kind)
    return table


def votable(data: pa.Table, name: str) -> VOTableFile:
    """A table as VOTable, with units, UCDs and descriptions.

    Parameters
    ----------
    data : columns' metadata may have 'unit', 'description' and 'ucd'
    name : of the table
    """
    from astropy.io.votable import from_table
    from astropy.io.votable.tree import CooSys, TimeSys

    from contimg_assets.database.models import TABLES, describe_table

    table = _astropy_table(data, name, "votable")
    document = from_table(table)
    resource, first = document.resources[0], document.get_first_table()
    # Elements of the document need ids that no column has.
    resource.coordinate_systems.append(CooSys(ID="sky", system="ICRS"))
    newer = {"version_1_4_or_later": True}
    of_mjd = TimeSys(ID="time", timescale="UTC", refposition="TOPOCENTER", timeorigin="MJD-origin", config=newer)
    resource.time_systems.append(of_mjd)
    if name in TABLES:
        first.description = describe_table(name).description
    for field in first.fields:
        field.ucd = table[field.name].meta.get("ucd") or _ucd(field.name)
        words = field.name.split("_")
        if words[-1] == "mjd":
            field.ref = "time"
        elif words[-1] == "deg" and {"ra", "dec"} & set(words):
            field.ref = "sky"
    return document


def _ucd(name: str) -> str | None:
    """What a column that has no UCD of its own is by its name: an error or a standard deviation."""
    words = name.split("_")
    if "err" in words or "uncertainty" in words:
        return "stat.error"
    return "stat.stdev" if "std" in words else None


def as_bytes(data: pa.Table, name: str, kind: str) -> bytes:
    """A table as the content of a file.

    Parameters
    ----------
    data : as of `votable`
    name : of the table
    kind : 'votable' or 'csv'
    """
    if kind != "csv":
        return votable_bytes(votable(data, name))
    buffer = io.BytesIO()
    pa_csv.write_csv(data, buffer)
    return buffer.getvalue()


def votable_bytes(document: VOTableFile) -> bytes:
    """A VOTable as the content of a file."""
    from astropy.io.votable import writeto

    buffer = io.BytesIO()
    writeto(document, buffer)
    return buffer.getvalue()


def _astropy_column(field: pa.Field, values: pa.ChunkedArray, kind: str) -> MaskedColumn:
    """A column with its unit, description and UCD; missing values masked, missing numbers NaN."""
    from astropy.table import MaskedColumn

    if pa.types.is_floating(field.type):
        column = MaskedColumn(values.to_numpy())
    else:
        fill = "" if pa.types.is_string(field.type) else pa.scalar(0).cast(field.type)
        filled = values.fill_null(fill).to_numpy(zero_copy_only=False)
        if pa.types.is_string(field.type):
            filled = filled.astype(str)
        elif kind == "fits" and pa.types.is_boolean(field.type) and field.nullable:
            filled = filled.astype(np.uint8)
        # A missing value is written as one that no row has; astropy's own choices, 999999 and 'N/A', may be real.
        null = {"i": np.iinfo(np.int64).min, "u": 255, "U": ""}.get(filled.dtype.kind)
        column = MaskedColumn(filled, mask=values.is_null().to_numpy(zero_copy_only=False), fill_value=null)
    told = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
    column.unit = told.get("unit") or None
    column.description = told.get("description")
    if told.get("ucd"):
        column.meta["ucd"] = told["ucd"]
    return column
