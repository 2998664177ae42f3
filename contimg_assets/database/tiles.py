"""Large tables of PostgreSQL in parts, each of a tile of the sky: which tables, and how questions name their parts.

A tile is a nested HEALPix cell. Tables are divided by a column that holds finer cells, so that the cells of a tile
follow each other; PostgreSQL looks into no other part where a question says which cells it is about. Rows are those of
an undivided database; `associations` has one more column there, the cell of its measurement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.database.limits import ORDER as ORDER_OF_LIMITS
from contimg_assets.database.models import TABLES
from contimg_assets.sky.arrays import Cells
from contimg_assets.sky.cells import INDEX_ORDER, cells_around

DIVIDED = {
    "measurements": ("healpix", INDEX_ORDER),
    "associations": ("healpix", INDEX_ORDER),
    "image_limits": ("cell", ORDER_OF_LIMITS),
}
"""The tables in parts: what grows with sources times epochs. By the name, the column of cells and their order."""

# Tables that only a divided database has.
OWN = sa.MetaData()
PARTITIONING = sa.Table("partitioning", OWN, sa.Column("partition_order", sa.Integer, primary_key=True))
EPOCH_TILES = sa.Table(
    "epoch_tiles",
    OWN,
    sa.Column("epoch", sa.Text, primary_key=True),
    sa.Column("tile", sa.Integer, primary_key=True),
)

_CELL_OF_ASSOCIATION = sa.literal_column("associations.healpix", sa.BigInteger())
_M, _A = TABLES["measurements"].c, TABLES["associations"].c


@dataclass(frozen=True)
class Tiling:
    """How a database is divided.

    Attributes
    ----------
    order : of the HEALPix cells, nested, that the parts are of; None: the database is not divided
    """

    order: int | None

    def same_measurement(self) -> sa.ColumnElement[bool]:
        """What joins `associations` and `measurements`: in a divided database, part by part."""
        same = (_M.epoch == _A.epoch, _M.measurement_id == _A.measurement_id)
        return sa.and_(*same) if self.order is None else sa.and_(*same, _M.healpix == _CELL_OF_ASSOCIATION)

    def tiles(self, table: str, cells: Cells) -> Cells:
        """Tiles that hold cells of a table's column, ascending."""
        assert self.order is not None
        return np.unique(np.asarray(cells, np.int64) >> self._shift(table))

    def ranges(self, table: str, tiles: Sequence[int]) -> list[tuple[int, int]]:
        """First cell of each tile, and the one behind its last."""
        shift = self._shift(table)
        return [(tile << shift, (tile + 1) << shift) for tile in tiles]

    def within(self, tiles: Sequence[int] | None, *tables: str) -> sa.ColumnElement[bool]:
        """Whether rows of tables lie in some tiles; written out, for PostgreSQL plans with what stands in a question.

        Parameters
        ----------
        tiles : None: anywhere
        """
        if self.order is None or tiles is None:
            return sa.true()
        return sa.and_(*(sa.literal_column(f"({self.sql(tiles, name)})", sa.Boolean()) for name in tables))

    def sql(self, tiles: Sequence[int], table: str, name: str | None = None) -> str:
        """The condition of `within` on one table as it is written, also under another name."""
        cell = f"{name or table}.{DIVIDED[table][0]}"
        ranges = self.ranges(table, tiles)
        return " OR ".join(f"({cell} >= {first} AND {cell} < {end})" for first, end in ranges) or "FALSE"

    def _shift(self, table: str) -> int:
        assert self.order is not None
        return 2 * (DIVIDED[table][1] - self.order)

    def of_epoch(self, connection: Connection, epoch: str) -> list[int] | None:
        """Tiles with measurements or associations of an epoch; None where the database is not divided."""
        if self.order is None:
            return None
        query = sa.select(EPOCH_TILES.c.tile).where(EPOCH_TILES.c.epoch == epoch).order_by(EPOCH_TILES.c.tile)
        return list(connection.execute(query).scalars())

    def in_epoch(self, connection: Connection, epoch: str) -> sa.ColumnElement[bool]:
        """What joins measurements of an epoch and their associations."""
        tiles = self.of_epoch(connection, epoch)
        return sa.and_(self.same_measurement(), _M.epoch == epoch, self.within(tiles, "measurements", "associations"))

    def of_sources(
        self, connection: Connection, places: Sequence[Sequence[int]], are_theirs: sa.ColumnElement[bool]
    ) -> list[int] | None:
        """Tiles with measurements of sources; None where the database is not divided, or they are not all near them.

        Parameters
        ----------
        places : healpix and n_measurements of each source
        are_theirs : which rows of `associations` are those of the sources
        """
        if self.order is None or not places:
            return None
        cells, counts = np.array(places, np.int64).T
        around = cells_around(cells, INDEX_ORDER)
        tiles = [int(one) for one in self.tiles("measurements", around[around >= 0])]
        near = sa.select(sa.func.count()).select_from(TABLES["associations"]).where(are_theirs)
        n_near = connection.execute(near.where(self.within(tiles, "associations"))).scalar_one()
        return tiles if n_near == counts.sum() else None


UNDIVIDED = Tiling(None)


def tiling(connection: Connection) -> Tiling:
    """How a database is divided."""
    if connection.dialect.name != "postgresql":
        return UNDIVIDED
    if connection.execute(sa.select(sa.func.to_regclass(PARTITIONING.name))).scalar() is None:
        return UNDIVIDED
    return Tiling(connection.execute(sa.select(PARTITIONING.c.partition_order)).scalar_one())


def with_cells(associations: pa.Table, measurements: pa.Table) -> pa.Table:
    """Associations of an epoch with the cell of each measurement, and any for those that forks copied from others.

    `partitioning.place_copies` gives these theirs.
    """
    row = pc.index_in(associations["measurement_id"], measurements["measurement_id"])
    cells = measurements["healpix"].take(row.combine_chunks())
    return associations.append_column("healpix", pc.fill_null(cells, pc.min(measurements["healpix"])))
