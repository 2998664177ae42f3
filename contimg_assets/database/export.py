"""Tables, views and pairs as files that other programs read, with units and meanings where the format has room."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.database import bulk
from contimg_assets.database.engine import reading
from contimg_assets.database.models import TABLES
from contimg_assets.database.products_database import ProductsDatabase
from contimg_assets.database.views import VIEWS
from contimg_assets.database.writer import read_light_curves
from contimg_assets.errors import InputError
from contimg_assets.files import replacing
from contimg_assets.identity.ids import to_hex
from contimg_assets.schemas.association import ASSOCIATIONS, RELATIONS
from contimg_assets.schemas.core import Column, TableSchema
from contimg_assets.schemas.corrections import CORRECTED_MEASUREMENTS, CORRECTIONS
from contimg_assets.schemas.detections import IMAGES
from contimg_assets.schemas.variability import (
    CROSS_MATCHES,
    LIGHT_CURVE,
    PAIRS,
    PHOTOMETRY,
    SOURCES,
    VARIABILITY,
    VARIABILITY_STATS,
)
from contimg_assets.variability.pairs import iterate_pairs, pair_metrics

FORMATS = ("parquet", "votable", "csv", "fits")
PAIRS_NAME = "pairs"
_SUFFIXES = {".xml": "votable", ".vot": "votable", ".pq": "parquet", **{f".{name}": name for name in FORMATS}}

_SCHEMAS: dict[str, TableSchema] = {
    "images": IMAGES,
    "measurements": CORRECTED_MEASUREMENTS,
    "associations": ASSOCIATIONS,
    "source_relations": RELATIONS,
    "corrections": CORRECTIONS,
    "sources": SOURCES,
    "variability": VARIABILITY,
    "cross_matches": CROSS_MATCHES,
    "light_curves": LIGHT_CURVE,
    "photometry": PHOTOMETRY,
    "variability_stats": VARIABILITY_STATS,
}
# Packed copies of other tables: of no use outside.
_INTERNAL = ("epoch_blocks", "epoch_limits", "image_coverage")
_ROWS_AT_ONCE = 100_000
_SOURCES_AT_ONCE = 1000


def exportable() -> list[str]:
    """Names of the tables and views that can be exported."""
    return sorted((set(TABLES) | set(VIEWS)) - set(_INTERNAL))


def export(
    database: ProductsDatabase, name: str, file: Path, format: str | None = None, min_abs_vs: float = 0.0
) -> int:
    """Write a table, a view or the pairs to a file, see `export_table` and `export_pairs`. Returns the number of rows.

    Raises
    ------
    InputError
        If the table or the format is unknown, or the file cannot be written.
    """
    if name != PAIRS_NAME:
        return export_table(database, name, file, format)
    if format_of(file, format) != "parquet":
        raise InputError(f"pairs are written as parquet only: give --out a name such as {file.stem or 'pairs'}.parquet")
    return export_pairs(database, file, min_abs_vs=min_abs_vs)


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
def _replacing(file: Path) -> Iterator[Path]:
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
        with replacing(file) as temporary:
            yield temporary
    except OSError as error:
        raise InputError(f"{file} cannot be written ({error.strerror or error}); name another file") from error


def export_table(database: ProductsDatabase, name: str, file: Path, format: str | None = None) -> int:
    """Write a table or view to a file. Returns the number of rows.

    Parameters
    ----------
    database : what to read
    name : table or view
    file : where to write; replaced if it is there
    format : parquet, votable, csv or fits; by the file's suffix where not given

    Raises
    ------
    InputError
        If the table or the format is unknown, or the file cannot be written.
    """
    if name not in exportable():
        raise InputError(f"there is no table {name!r}; tables are {', '.join(exportable())}")
    with _replacing(file) as temporary, reading(database.engine) as connection:
        kind, schema = format_of(file, format), arrow_schema(name)
        pieces = _pieces(connection, name, schema)
        if kind == "parquet":
            return _write_parquet(pieces, schema, temporary)
        if kind == "csv":
            return _write_csv(pieces, schema, temporary)
        return _write_astropy(pa.Table.from_batches(list(pieces), schema), name, kind, temporary)


def export_pairs(
    database: ProductsDatabase, file: Path, sources: Sequence[str] | None = None, min_abs_vs: float = 0.0
) -> int:
    """Write all pairs of measurements of sources to Parquet, a piece at a time. Returns the number of pairs.

    Parameters
    ----------
    database : what to read
    file : where to write; columns of PAIRS
    sources : ids; all sources if not given
    min_abs_vs : leave out pairs with |Vs| below this in both peak and integrated flux

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    total = 0
    with (
        _replacing(file) as temporary,
        reading(database.engine) as connection,
        pq.ParquetWriter(temporary, PAIRS.arrow) as writer,
    ):
        for curves in read_light_curves(connection, sources, _SOURCES_AT_ONCE):
            source, measurement = to_hex(curves.source), to_hex(curves["measurement"])
            for owner, a, b in iterate_pairs(curves.segments):
                columns = {}
                for kind in ("peak", "int"):
                    flux, err = curves[f"flux_{kind}"], curves[f"flux_{kind}_err"]
                    columns[f"vs_{kind}"], columns[f"m_{kind}"] = pair_metrics(flux[a], err[a], flux[b], err[b])
                strong = np.fmax(np.abs(columns["vs_peak"]), np.abs(columns["vs_int"]))
                keep = np.flatnonzero(strong >= min_abs_vs) if min_abs_vs > 0 else np.arange(len(a))
                table = pd.DataFrame(
                    {
                        "source_id": source[owner[keep]],
                        "measurement_id_a": measurement[a[keep]],
                        "measurement_id_b": measurement[b[keep]],
                        "mjd_a": curves["mjd"][a[keep]],
                        "mjd_b": curves["mjd"][b[keep]],
                        **{column: values[keep] for column, values in columns.items()},
                    }
                )
                writer.write_table(PAIRS.to_arrow(table))
                total += len(keep)
    return total


def arrow_schema(name: str) -> pa.Schema:
    """Names, types, units and meanings of the columns of a table or view."""
    described = {column.name: column for column in _SCHEMAS.get(name, LIGHT_CURVE)}
    if name in VIEWS:
        return _SCHEMAS[name].arrow
    fields = []
    for column in TABLES[name].columns:
        known = described.get(column.name) or LIGHT_CURVE_COLUMNS.get(column.name)
        if known is not None and name in _SCHEMAS:
            fields.append(known.arrow.with_nullable(bool(column.nullable)))
        else:
            metadata = {"description": column.comment or "", "unit": "", "ucd": ""}
            fields.append(pa.field(column.name, bulk.arrow_type(column), bool(column.nullable), metadata))
    return pa.schema(fields)


LIGHT_CURVE_COLUMNS: dict[str, Column] = {column.name: column for column in LIGHT_CURVE}


def _pieces(connection: Connection, name: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The rows, some at a time; tables by key, views by source and time."""
    if name in TABLES:
        query = sa.select(TABLES[name]).order_by(*TABLES[name].primary_key.columns)
    else:
        view = sa.table(name, *(sa.column(field.name) for field in schema))
        order = [view.c.source_id] + ([view.c.mjd] if "mjd" in schema.names else [])
        query = sa.select(view).order_by(*order)
    result = connection.execution_options(stream_results=True, max_row_buffer=_ROWS_AT_ONCE).execute(query)
    for rows in result.partitions(_ROWS_AT_ONCE):
        columns = zip(*rows, strict=True)
        arrays = [
            pa.array(
                [None if v is None else bool(v) for v in values] if field.type == pa.bool_() else values, field.type
            )
            for field, values in zip(schema, columns, strict=True)
        ]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _write_parquet(pieces: Iterator[pa.RecordBatch], schema: pa.Schema, file: Path) -> int:
    rows = 0
    with pq.ParquetWriter(file, schema) as writer:
        for piece in pieces:
            writer.write_batch(piece)
            rows += piece.num_rows
    return rows


def _write_csv(pieces: Iterator[pa.RecordBatch], schema: pa.Schema, file: Path) -> int:
    rows = 0
    with pa_csv.CSVWriter(file, schema) as writer:
        for piece in pieces:
            writer.write_batch(piece)
            rows += piece.num_rows
    return rows


def _write_astropy(data: pa.Table, name: str, kind: str, file: Path) -> int:
    """VOTable with units, UCDs and descriptions; FITS with units.

    FITS has no missing flags: a column of flags that may be missing has 1, 0 and a null (TNULL) there. Missing texts
    are empty.
    """
    from astropy.table import MaskedColumn, Table

    table = Table(meta={"name": name})
    for field, values in zip(data.schema, data.itercolumns(), strict=True):
        missing = values.is_null().to_numpy(zero_copy_only=False)
        if pa.types.is_floating(field.type):
            column = MaskedColumn(values.to_numpy())
        else:
            fill = "" if pa.types.is_string(field.type) else pa.scalar(0).cast(field.type)
            filled = values.fill_null(fill).to_numpy(zero_copy_only=False)
            if pa.types.is_string(field.type):
                filled = filled.astype(str)
            elif kind == "fits" and pa.types.is_boolean(field.type) and field.nullable:
                filled = filled.astype(np.uint8)
            # A value that stands for none must be none that is: not astropy's 999999 and 'N/A'.
            null = {"i": np.iinfo(np.int64).min, "u": 255, "U": ""}.get(filled.dtype.kind)
            column = MaskedColumn(filled, mask=missing, fill_value=null)
        told = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
        column.unit = told.get("unit") or None
        column.description = told.get("description")
        if told.get("ucd"):
            column.meta["ucd"] = told["ucd"]
        table[field.name] = column
    if kind == "fits":
        table.write(file, format="fits", overwrite=True)
        return len(table)
    from astropy.io.votable import from_table, writeto

    document = from_table(table)
    for field in document.get_first_table().fields:
        field.ucd = table[field.name].meta.get("ucd")
    writeto(document, str(file))
    return len(table)
