"""Tables, views and pairs as files that other programs read, with units and meanings where the format has room."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.database.engine import reading
from contimg_assets.database.export_files import format_of, replacing, write
from contimg_assets.database.light_curves import read_light_curves
from contimg_assets.database.models import TABLES, arrow_type
from contimg_assets.database.products_database import ProductsDatabase
from contimg_assets.database.views import VIEWS
from contimg_assets.errors import InputError
from contimg_assets.schemas.association import ASSOCIATIONS, RELATIONS
from contimg_assets.schemas.core import Column, TableSchema
from contimg_assets.schemas.corrections import CORRECTED_MEASUREMENTS, CORRECTIONS
from contimg_assets.schemas.detections import IMAGES
from contimg_assets.schemas.forced import FORCED_FLUXES, FORCED_PHOTOMETRY
from contimg_assets.schemas.polarization import POLARIZATION, STOKES_MEASUREMENTS
from contimg_assets.schemas.variability import (
    CROSS_MATCHES,
    LIGHT_CURVE,
    PAIRS,
    PHOTOMETRY,
    Q_VALUES,
    SOURCE_MEASUREMENTS,
    SOURCES,
    SPECTRAL_INDICES,
    UPPER_LIMITS,
    VARIABILITY,
    VARIABILITY_STATS,
)
from contimg_assets.variability.two_epoch import all_pairs

PAIRS_NAME, VARIABLES_NAME, SPECTRA_NAME = "pairs", "variables", SPECTRAL_INDICES.name
# Of `export_hats`: all sources in a folder.
HATS_NAME = "hats"

_SCHEMAS: dict[str, TableSchema] = {
    "forced_fluxes": FORCED_FLUXES,
    "forced_photometry": FORCED_PHOTOMETRY,
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
    "polarization": POLARIZATION,
    "stokes_measurements": STOKES_MEASUREMENTS,
    "source_measurements": SOURCE_MEASUREMENTS,
    "upper_limits": UPPER_LIMITS,
    "variability_stats": VARIABILITY_STATS,
}
# Packed copies of other tables: of no use outside.
_INTERNAL = ("epoch_blocks", "epoch_cells", "image_coverage", "image_depths", "image_limits", "forced_epochs")
_ROWS_AT_ONCE = 100_000
_SOURCES_AT_ONCE = 1000


def exportable() -> list[str]:
    """Names of the tables and views that can be exported."""
    return sorted((set(TABLES) | set(VIEWS)) - set(_INTERNAL))


def export(
    database: ProductsDatabase, name: str, file: Path, format: str | None = None, min_abs_vs: float = 0.0
) -> int:
    """Write a table, a view, the variables or the pairs to a file. Returns the number of rows.

    See `export_table`, `export_variables`, `export_spectral_indices` and `export_pairs`.

    Raises
    ------
    InputError
        If the table or the format is unknown, or the file cannot be written.
    """
    if name == VARIABLES_NAME:
        return export_variables(database, file, format)
    if name == SPECTRA_NAME:
        return export_spectral_indices(database, file, format)
    if name != PAIRS_NAME:
        return export_table(database, name, file, format)
    if format_of(file, format) != "parquet":
        raise InputError(f"pairs are written as parquet only: give --out a name such as {file.stem or 'pairs'}.parquet")
    return export_pairs(database, file, min_abs_vs=min_abs_vs)


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
        raise InputError(
            f"there is no table {name!r}; tables are {', '.join(exportable())}; also {VARIABLES_NAME}, {SPECTRA_NAME}, "
            f"{PAIRS_NAME} and {HATS_NAME}"
        )
    with replacing(file) as temporary, reading(database.engine) as connection:
        kind, schema = format_of(file, format), arrow_schema(name)
        return write(pieces(connection, name, schema), schema, name, kind, temporary)


def export_variables(database: ProductsDatabase, file: Path, format: str | None = None) -> int:
    """Write how sure it is that sources vary, the most significant first, with q-values. Returns the number of rows.

    Parameters
    ----------
    database : what to read; `ProductsDatabase.variables` without a threshold, of the kind of flux that is best there
    file : where to write; replaced if it is there
    format : parquet, votable, csv or fits; by the file's suffix where not given

    Raises
    ------
    InputError
        If the format is unknown, or the file cannot be written.
    """
    kind = format_of(file, format)
    rows = database.variables()
    described = {column.name: column for column in (*SOURCES, *VARIABILITY, *Q_VALUES)}
    schema = pa.schema([described[name].arrow for name in map(str, rows)])
    return _write_whole(pa.Table.from_pandas(rows, schema, preserve_index=False), VARIABLES_NAME, kind, file)


def export_spectral_indices(database: ProductsDatabase, file: Path, format: str | None = None) -> int:
    """Write the spectral indices of sources of several bands, of all epochs, then of each. Returns the number of rows.

    Parameters
    ----------
    database : what to read; see `ProductsDatabase.spectral_indices`
    file : where to write; replaced if it is there
    format : parquet, votable, csv or fits; by the file's suffix where not given

    Raises
    ------
    InputError
        If the format is unknown, or the file cannot be written.
    """
    kind = format_of(file, format)
    tables = [SPECTRAL_INDICES.to_arrow(database.spectral_indices(per_epoch)) for per_epoch in (False, True)]
    return _write_whole(pa.concat_tables(tables), SPECTRA_NAME, kind, file)


def _write_whole(table: pa.Table, name: str, kind: str, file: Path) -> int:
    """Write a table that is in memory. Returns the number of rows."""
    with replacing(file) as temporary:
        return write(table.to_batches(), table.schema, name, kind, temporary)


def export_pairs(
    database: ProductsDatabase, file: Path, sources: Sequence[str] | None = None, min_abs_vs: float = 0.0
) -> int:
    """Write all pairs of trusted measurements of sources to Parquet, a piece at a time. Returns the number of pairs.

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
        replacing(file) as temporary,
        reading(database.engine) as connection,
        pq.ParquetWriter(temporary, PAIRS.arrow) as writer,
    ):
        for curves in read_light_curves(connection, sources, _SOURCES_AT_ONCE):
            for pairs in all_pairs(curves.only(curves["trusted"]), min_abs_vs):
                writer.write_table(PAIRS.to_arrow(pairs))
                total += len(pairs)
    return total


def arrow_schema(name: str) -> pa.Schema:
    """Names, types, units and meanings of the columns of a table or view.

    Parameters
    ----------
    name : one of `exportable`
    """
    if name in VIEWS:
        return _SCHEMAS[name].arrow
    described = {column.name: column for column in _SCHEMAS.get(name, ())}
    return pa.schema([_field(column, described.get(column.name)) for column in TABLES[name].columns])


def _field(column: sa.Column[Any], described: Column | None) -> pa.Field:
    """A column of a table, with the unit and meaning of its description, or else with its comment."""
    if described is not None:
        return described.arrow.with_nullable(bool(column.nullable))
    metadata = {"description": column.comment or "", "unit": "", "ucd": ""}
    return pa.field(column.name, arrow_type(column.type), bool(column.nullable), metadata)


def pieces(connection: Connection, name: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The rows of a table or view, some at a time; tables by key, views by source and time.

    Parameters
    ----------
    connection : reads them
    name, schema : one of `exportable`, and its `arrow_schema`
    """
    if name in TABLES:
        query = sa.select(TABLES[name]).order_by(*TABLES[name].primary_key.columns)
    else:
        view = sa.table(name, *(sa.column(field.name) for field in schema))
        order = [view.c.source_id] + ([view.c.mjd] if "mjd" in schema.names else [])
        query = sa.select(view).order_by(*order)
    result = connection.execution_options(stream_results=True, max_row_buffer=_ROWS_AT_ONCE).execute(query)
    for rows in result.partitions(_ROWS_AT_ONCE):
        yield batch_of(rows, schema)


def batch_of(rows: Sequence[Sequence[Any]], schema: pa.Schema) -> pa.RecordBatch:
    """Rows as the database has them, in columns of a schema."""
    columns = zip(*rows, strict=True) if rows else [()] * len(schema)
    arrays = [
        pa.array([None if v is None else bool(v) for v in values] if field.type == pa.bool_() else values, field.type)
        for field, values in zip(schema, columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
