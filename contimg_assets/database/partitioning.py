"""Dividing a database of PostgreSQL by tiles of the sky: its tables, and a part of each for every tile that has rows.

A part is made beside its table and then attached to it, so that nobody who reads has to wait. An association refers to
its measurement within the parts of one tile: PostgreSQL checks that as fast as in whole tables, and a new part does not
concern all others.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.database import bulk
from contimg_assets.database.models import INT, TABLES, Base
from contimg_assets.database.tiles import DIVIDED, EPOCH_TILES, OWN, PARTITIONING, Tiling, tiling, with_cells
from contimg_assets.errors import StoreError
from contimg_assets.sky.arrays import Cells

_REFERRING, _REFERRED = "associations", "measurements"
_PART = re.compile(rf"({'|'.join(DIVIDED)})_\d+")


@cache
def divided_metadata() -> sa.MetaData:
    """The models as a divided database has them, but for the parts themselves."""
    metadata = sa.MetaData(naming_convention=Base.metadata.naming_convention)
    for table in Base.metadata.sorted_tables:
        copy = table.to_metadata(metadata)
        if table.name in DIVIDED:
            _divide(copy, DIVIDED[table.name][0])
    for table in OWN.sorted_tables:
        table.to_metadata(metadata)
    return metadata


def _divide(table: sa.Table, column: str) -> None:
    """Make a table one of parts, with the column of cells in its key.

    Its foreign key to another such table goes: that is one of the parts, see `_make_part`.
    """
    if column not in table.c:
        table.append_column(
            sa.Column(column, INT, nullable=False, comment="HEALPix cell of the measurement, nested, order 10")
        )
    table.c[column].nullable, table.c[column].primary_key = False, True
    key = [*table.primary_key.columns.keys()]
    key += [] if column in key else [column]
    table.append_constraint(sa.PrimaryKeyConstraint(*key, name=f"pk_{table.name}"))
    for constraint in [one for one in table.foreign_key_constraints if one.referred_table.name in DIVIDED]:
        table.constraints.remove(constraint)
        for element in constraint.elements:
            table.foreign_keys.discard(element)
            element.parent.foreign_keys.discard(element)
    table.dialect_options["postgresql"]["partition_by"] = f"RANGE ({column})"


def is_part(name: str) -> bool:
    """Whether a table is a part of another one."""
    return _PART.fullmatch(name) is not None


def divide(connection: Connection, order: int) -> None:
    """Divide a database whose divided tables are empty, and whose views are taken away.

    Raises
    ------
    StoreError
        If it is none of PostgreSQL.
    """
    if connection.dialect.name != "postgresql":
        raise StoreError(
            "only PostgreSQL divides tables by tiles of the sky; take products.partition_order out of contimg.yaml, or "
            "name a database of PostgreSQL in paths.products"
        )
    metadata = divided_metadata()
    tables = [metadata.tables[name] for name in DIVIDED]
    for name in (_REFERRING, *(one for one in DIVIDED if one != _REFERRING)):
        connection.execute(sa.schema.DropTable(TABLES[name]))
    metadata.create_all(connection, [*tables, *(metadata.tables[one.name] for one in OWN.sorted_tables)])
    connection.execute(sa.insert(PARTITIONING), {"partition_order": order})


def make_parts(connection: Connection, how: Tiling, table: str, cells: Cells) -> None:
    """Make the parts of a table that rows in some cells need, where a database is divided and they are not there."""
    if how.order is None or not len(cells):
        return
    tiles = how.tiles(table, cells).tolist()
    there = set(connection.execute(_PARTS, {"name": table}).scalars())
    missing = [tile for tile in tiles if f"{table}_{tile}" not in there]
    for tile, (first, end) in zip(missing, how.ranges(table, missing), strict=True):
        _make_part(connection, table, tile, f"FROM ({first}) TO ({end})")


_PARTS = sa.text(
    "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = to_regclass(:name)"
)


def _make_part(connection: Connection, table: str, tile: int, values: str) -> None:
    name, run = f"{table}_{tile}", connection.exec_driver_sql
    run(f"CREATE TABLE {name} (LIKE {table} INCLUDING COMMENTS INCLUDING CONSTRAINTS INCLUDING INDEXES)")
    if table == _REFERRING:
        key = "epoch, measurement_id, healpix"
        run(
            f"ALTER TABLE {name} ADD CONSTRAINT fk_{name}_measurement FOREIGN KEY ({key}) "
            f"REFERENCES {_REFERRED}_{tile} ({key}) DEFERRABLE INITIALLY DEFERRED"
        )
    run(f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES {values}")


def insert_measured(connection: Connection, epoch: str, measurements: pa.Table, associations: pa.Table) -> None:
    """Insert measurements and associations of an epoch; of a divided database into their parts."""
    how, tables = tiling(connection), TABLES
    if how.order is not None and measurements.num_rows:
        cells = measurements["healpix"].to_numpy()
        for name in (_REFERRED, _REFERRING):
            make_parts(connection, how, name, cells)
        tiles = [{"epoch": epoch, "tile": tile} for tile in how.tiles(_REFERRED, cells).tolist()]
        connection.execute(sa.insert(EPOCH_TILES), tiles)
        tables, associations = divided_metadata().tables, with_cells(associations, measurements)
    bulk.insert(connection, tables[_REFERRED], measurements)
    bulk.insert(connection, tables[_REFERRING], associations)


def delete_measured(connection: Connection, epoch: str) -> None:
    """Delete measurements and associations of an epoch, and the associations that its forks copied."""
    how = tiling(connection)
    tiles = how.of_epoch(connection, epoch)
    a, m = TABLES[_REFERRING], TABLES[_REFERRED]
    own = sa.and_(a.c.epoch == epoch, a.c.copied_by.is_(None), how.within(tiles, a.name))
    connection.execute(sa.delete(a).where(own))
    connection.execute(sa.delete(a).where(a.c.copied_by == epoch))
    connection.execute(sa.delete(m).where(m.c.epoch == epoch, how.within(tiles, m.name)))
    if how.order is not None:
        connection.execute(sa.delete(EPOCH_TILES).where(EPOCH_TILES.c.epoch == epoch))


def place_copies(connection: Connection, epochs: Sequence[str]) -> None:
    """Move associations that forks copied to where their measurements are, once all of some epochs are there.

    A fork's epoch may come before those that its rows are copied of, and these may come again elsewhere.
    """
    if tiling(connection).order is not None:
        connection.execute(_PLACE_COPIES, {"epochs": list(epochs)})


_PLACE_COPIES = sa.text(
    f"UPDATE {_REFERRING} a SET healpix = m.healpix FROM {_REFERRED} m "  # noqa: S608
    "WHERE a.copied_by IS NOT NULL AND (a.copied_by = ANY(:epochs) OR a.epoch = ANY(:epochs)) "
    "AND m.epoch = a.epoch AND m.measurement_id = a.measurement_id AND m.healpix <> a.healpix"
)
