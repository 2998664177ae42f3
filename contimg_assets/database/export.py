"""Tables, views and pairs as files that other programs read, with units and meanings where the format has room."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from contimg_assets.identity import to_hex
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
        If the table or the format is unknown.
    """
    if name not in exportable():
        raise InputError(f"there is no table {name!r}; tables are {', '.join(exportable())}")
    kind = format or {"xml": "votable", "vot": "votable", "pq": "parquet"}.get(file.suffix[1:], file.suffix[1:])
    if kind not in FORMATS:
        raise InputError(f"format {kind!r} is unknown; it is one of {', '.join(FORMATS)}")
    schema = arrow_schema(name)
    # Another process that reads the file sees the old one or the new one.
    temporary = file.with_name(f".{file.name}.part")
    try:
        with reading(database.engine) as connection:
            pieces = _pieces(connection, name, schema)
            if kind == "parquet":
                rows = _write_parquet(pieces, schema, temporary)
            elif kind == "csv":
                rows = _write_csv(pieces, schema, temporary)
            else:
                rows = _write_astropy(pa.Table.from_batches(list(pieces), schema), name, kind, temporary)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
    return rows


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
    """
    total = 0
    with reading(database.engine) as connection, pq.ParquetWriter(file, PAIRS.arrow) as writer:
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
    """VOTable with units, UCDs and descriptions; FITS with units."""
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
            column = MaskedColumn(filled, mask=missing if missing.any() else np.zeros(len(filled), dtype=bool))
        told = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
        column.unit = told.get("unit") or None
        column.description = told.get("description")
        if told.get("ucd"):
            column.meta["ucd"] = told["ucd"]
        table[field.name] = column
    if kind == "fits":
        # FITS has no missing texts and flags: they are empty and false.
        table.filled().write(file, format="fits", overwrite=True)
        return len(table)
    from astropy.io.votable import from_table, writeto

    document = from_table(table)
    for field in document.get_first_table().fields:
        field.ucd = table[field.name].meta.get("ucd")
    writeto(document, str(file))
    return len(table)
