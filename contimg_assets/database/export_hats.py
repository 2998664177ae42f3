"""Sources with their light curves as a HATS collection: Parquet by tile of the sky, which LSDB opens and matches.

A collection that is there is brought up to date: tiles are made again where something may have changed, and written
where it did. Whether something may have changed is told by the epochs whose images touch a tile and by sums of all
numbers of its sources, which the database forms; the rows themselves are read of those tiles alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.config.products import LARGEST_MARGIN_ARCSEC, Products
from contimg_assets.database.engine import reading
from contimg_assets.database.hats_folder import MARGIN, SOURCES, HatsFolder, State, TileFile
from contimg_assets.database.models import TABLES
from contimg_assets.database.nested_sources import OWNER, nested_sources
from contimg_assets.database.products_database import ProductsDatabase
from contimg_assets.database.recorded import recomputed_with
from contimg_assets.database.schema import newest_revision
from contimg_assets.database.writing.stored import read_images
from contimg_assets.errors import InputError
from contimg_assets.identity.versions import combine_versions, version_of_value
from contimg_assets.sky.arrays import Cells
from contimg_assets.sky.cells import INDEX_ORDER, cells_around, cells_within, rim

USUAL_MARGIN_ARCSEC, USUAL_ORDER = Products().hats_margin_arcsec, Products().hats_order
# How rows are made and laid out; another one makes all files anew.
_FORM = "1"
# A source lies this near to the images that its measurements are of.
_NEAR_DEG = 0.1
_SUMMED = ("sources", "variability", "cross_matches")


def export_hats(
    database: ProductsDatabase,
    folder: Path,
    margin_arcsec: float = USUAL_MARGIN_ARCSEC,
    order: int = USUAL_ORDER,
) -> int:
    """Write all sources as a HATS collection, with what belongs to each of them in nested columns.

    The columns of `sources`, and nested ones: ``light_curve`` (rows of the view `light_curves`), ``variability`` (by
    band and sample) and ``matches`` (candidates in reference catalogs). Sources within a margin around each tile are
    kept with it, so that a cross-match finds partners across its border. Returns the number of sources.

    Parameters
    ----------
    database : what to read, one tile at a time
    folder : where to write; a collection that was written there before is brought up to date, and readers find the old
        one until the new one is whole
    margin_arcsec : width of the margin [arcsec], at most `LARGEST_MARGIN_ARCSEC`; no cross-match can reach farther
    order : of the tiles, HEALPix, nested

    Raises
    ------
    InputError
        If there are no sources, the margin is too wide, or the folder holds anything else or cannot be written.

    References
    ----------
    Caplar et al. 2025, "Using LSDB to enable large-scale catalog distribution, cross-matching, and analytics".
    """
    n_sources = update_hats(database, folder, margin_arcsec, order).n_sources
    if not n_sources:
        raise InputError("there are no sources to write; run `contimg run` first")
    return n_sources


@dataclass(frozen=True)
class HatsUpdate:
    """What an update of a collection did: how many sources it holds, files it has, and of these were written."""

    n_sources: int = 0
    n_files: int = 0
    n_written: int = 0


def update_hats(
    database: ProductsDatabase,
    folder: Path,
    margin_arcsec: float = USUAL_MARGIN_ARCSEC,
    order: int = USUAL_ORDER,
) -> HatsUpdate:
    """Bring a collection up to date; see `export_hats`. Without sources there is none afterwards."""
    if not 0 < margin_arcsec <= LARGEST_MARGIN_ARCSEC:
        raise InputError(
            f"a margin of {margin_arcsec:g} arcsec is none; give one up to {LARGEST_MARGIN_ARCSEC:g} arcsec"
        )
    hats = HatsFolder(folder)
    form = combine_versions(_FORM, newest_revision(), pa.__version__)
    try:
        # One transaction: all tables are as of one moment.
        with hats.alone(), reading(database.engine) as connection:
            return _update(connection, hats, State(form, order, margin_arcsec))
    except OSError as error:
        raise InputError(f"{hats.path} cannot be written ({error.strerror or error}); name another folder") from error


def _update(connection: Connection, hats: HatsFolder, empty: State) -> HatsUpdate:
    inputs = _inputs(connection, empty.order)
    if not inputs:
        hats.withdraw()
        return HatsUpdate()
    before = hats.state()
    known = before.tiles if before is not None and replace(before, tiles=empty.tiles) == empty else empty.tiles
    around = {table: _with_neighbors(inputs, empty.order, table) for table in (SOURCES, MARGIN)}
    tiles: dict[str, dict[int, TileFile]] = {SOURCES: {}, MARGIN: {}}
    n_written = 0
    for table, versions in around.items():
        for pixel, version in versions.items():
            old = known[table].get(pixel)
            if old is None or old.inputs != version:
                rows = nested_sources(connection, _rows_of(table, pixel, empty))
                new = TileFile(version, _version_of(rows) if len(rows) else "", len(rows))
                if len(rows) and (old is None or old.content != new.content):
                    hats.written(table, pixel, empty.order, rows)
                    n_written += 1
                old = new
            tiles[table][pixel] = old
    state = replace(empty, tiles=tiles)
    hats.publish(state, nested_sources(connection, sa.false()).schema)
    filled = {table: state.filled(table) for table in tiles}
    n_sources = sum(one.n_rows for one in filled[SOURCES].values())
    return HatsUpdate(n_sources, sum(map(len, filled.values())), n_written)


def _version_of(rows: pa.Table) -> str:
    """Version of the content of a table with nested columns."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as stream:
        stream.write_table(rows.combine_chunks())
    return hashlib.blake2b(sink.getvalue(), digest_size=8).hexdigest()


def _rows_of(table: str, pixel: int, state: State) -> sa.ColumnElement[bool]:
    """Which sources lie in a tile, or in the margin around it."""
    cell = TABLES["sources"].c.healpix
    if table == SOURCES:
        shift = 2 * (INDEX_ORDER - state.order)
        return cell.between(pixel << shift, ((pixel + 1) << shift) - 1)
    return cell.in_(rim(np.array([pixel]), state.order, state.margin_arcsec).tolist())


def _with_neighbors(inputs: Mapping[int, str], order: int, table: str) -> Mapping[int, str]:
    """Versions of what each tile's file is made from: a margin of the tiles around it."""
    if table == SOURCES:
        return inputs
    pixels = np.array(list(inputs))
    around = cells_around(pixels, order)
    return {
        int(pixel): combine_versions(*(inputs.get(int(one), "") for one in column))
        for pixel, column in zip(pixels, around.T, strict=True)
    }


def _inputs(connection: Connection, order: int) -> dict[int, str]:
    """Of each tile with sources, a version that changes when its rows do."""
    sums: dict[int, list[str]] = {}
    for name in _SUMMED:
        for tile, *values in _sums(connection, name, order):
            sums.setdefault(int(tile), []).append(repr((name, values)))
    every = version_of_value(recomputed_with(connection))
    seen = _epochs_of_tiles(connection, order)
    return {tile: combine_versions(every, *of, *seen.get(tile, ())) for tile, of in sorted(sums.items())}


def _sums(connection: Connection, name: str, order: int) -> Iterable[Sequence[Any]]:
    """By tile, the number of rows of a table and the sums of all its columns; of texts, of their lengths."""
    sources, table = TABLES["sources"], TABLES[name]
    tile = sources.c.healpix.op(">>")(sa.literal_column(str(2 * (INDEX_ORDER - order)))).label("tile")
    query = sa.select(tile, sa.func.count(), *(sa.func.sum(_number(column)) for column in table.columns))
    if name != "sources":
        query = query.select_from(table.join(sources, sources.c.id == table.c[OWNER]))
    return connection.execute(query.group_by(tile)).all()


def _number(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    if isinstance(column.type, sa.Boolean):
        return sa.case((column, 1), else_=0)
    return sa.func.length(column) if isinstance(column.type, sa.Text) else column


def _epochs_of_tiles(connection: Connection, order: int) -> dict[int, list[str]]:
    """By tile, versions of the epochs with an image that touches it, and of their forced fluxes."""
    e, f = TABLES["epochs"].c, TABLES["forced_epochs"].c
    query = sa.select(e.epoch, e.content_version, f.version).outerjoin(TABLES["forced_epochs"], f.epoch == e.epoch)
    versions = {row.epoch: f"{row.epoch} {row.content_version} {row.version}" for row in connection.execute(query)}
    images = read_images(connection)[["epoch", "ra_deg", "dec_deg", "radius_deg"]].drop_duplicates()
    circles: dict[tuple[float, ...], Cells] = {}
    found: dict[int, set[str]] = {}
    for epoch, *circle in images.itertuples(index=False, name=None):
        ra, dec, radius = circle
        if (ra, dec, radius) not in circles:
            circles[ra, dec, radius] = cells_within(ra, dec, radius + _NEAR_DEG, order)
        for tile in circles[ra, dec, radius].tolist():
            found.setdefault(tile, set()).add(versions[epoch])
    return {tile: sorted(of) for tile, of in found.items()}
