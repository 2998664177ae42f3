"""Light curves as the database holds them: one block of points an epoch, read and joined."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.database import bulk
from contimg_assets.database.blocks import (
    CELL_ORDER,
    COPIED,
    FAR,
    NO_HASHES,
    Block,
    EpochPoints,
    Hashes,
    epoch_points,
    light_curves,
    unpack,
)
from contimg_assets.database.models import TABLES
from contimg_assets.identity.ids import from_hex
from contimg_assets.sky.arrays import Cells, Flags, Floats, Integers
from contimg_assets.sky.cells import healpix_29, neighborhood
from contimg_assets.variability.segments import LightCurves

# Points of light curves in memory at once; about 200 bytes each.
MAX_POINTS = 4_000_000


@dataclass(frozen=True)
class StoredEpochs:
    """The epochs in the database.

    Attributes
    ----------
    names : in the order of observation
    copied : source, measurement and epoch of the measurements that forks copied, of all epochs
    n_points : points of light curves of each epoch, shape (n_epochs,)
    cells : where each has points: cells of order `CELL_ORDER`
    fresh : blocks that need not be read, as they were written just now
    near : which epochs may have points that are wanted, shape (n_epochs,); the others are not read
    """

    names: list[str]
    copied: pa.Table
    n_points: Integers
    cells: list[Cells]
    fresh: Mapping[str, Block]
    near: Flags

    def about(self, ra_deg: Floats, dec_deg: Floats) -> StoredEpochs:
        """The same epochs, near those that have points within 18 arcmin of some places."""
        flags = neighborhood(healpix_29(ra_deg, dec_deg), CELL_ORDER)
        return replace(self, near=np.fromiter((flags[cells].any() for cells in self.cells), bool, len(self.names)))


def read_block(connection: Connection, epoch: str) -> Block:
    """The points of an epoch as they were packed."""
    table = TABLES["epoch_blocks"]
    row = connection.execute(sa.select(table.c.points, table.c.copied).where(table.c.epoch == epoch)).one()
    return Block(unpack(row.points), unpack(row.copied))


def stored_epochs(connection: Connection, fresh: Mapping[str, Block]) -> StoredEpochs:
    """All epochs; `fresh` are those whose blocks are at hand."""
    block, epoch, cells = TABLES["epoch_blocks"], TABLES["epochs"], TABLES["epoch_cells"]
    query = (
        sa.select(block.c.epoch, block.c.copied, epoch.c.n_associations, cells.c.cells)
        .join(epoch, epoch.c.epoch == block.c.epoch)
        .join(cells, cells.c.epoch == block.c.epoch)
        .order_by(epoch.c.mjd_start, block.c.epoch)
    )
    rows = connection.execute(query).all()
    return StoredEpochs(
        [row.epoch for row in rows],
        pa.concat_tables([COPIED.empty_table(), *(unpack(row.copied) for row in rows)]),
        np.array([row.n_associations for row in rows], np.int64),
        [unpack_cells(row.cells) for row in rows],
        fresh,
        np.ones(len(rows), bool),
    )


def pack_cells(cells: Cells) -> bytes:
    """Cells of order `CELL_ORDER` as bytes."""
    return cells.astype("<u2").tobytes()


def unpack_cells(data: bytes) -> Cells:
    """The inverse of `pack_cells`."""
    return np.frombuffer(data, "<u2").astype(np.int64)


def passes(
    connection: Connection, epochs: StoredEpochs, wanted: Hashes, whole_blocks: bool = False
) -> Iterator[tuple[Hashes, list[EpochPoints]]]:
    """Some of the wanted sources at a time, with the points of every epoch, so that memory holds them.

    Parameters
    ----------
    wanted : ascending hashes of sources
    whole_blocks : keep the points of other sources too where all fit into memory, rather than copy those wanted
    """
    n_passes = max(1, -(-int(epochs.n_points[epochs.near].sum()) // MAX_POINTS))
    for part in np.array_split(wanted, n_passes):
        if len(part):
            within = None if whole_blocks and n_passes == 1 else (part[0], part[-1])
            yield (
                part,
                [
                    _read_points(connection, epochs, name, within) if is_near else FAR
                    for name, is_near in zip(epochs.names, epochs.near.tolist(), strict=True)
                ],
            )


def _read_points(
    connection: Connection, epochs: StoredEpochs, name: str, within: tuple[np.uint64, np.uint64] | None
) -> EpochPoints:
    """The points of one epoch; only of sources within the range, where given."""
    fresh = epochs.fresh.get(name)
    table = fresh.points if fresh else unpack(bulk.fetch_bytes(connection, "epoch_blocks", "points", name))
    copied = epochs.copied
    return epoch_points(table, copied.filter(pc.equal(copied["epoch"], name)) if copied.num_rows else copied, within)


def read_light_curves(connection: Connection, sources: Sequence[str] | None, at_once: int) -> Iterator[LightCurves]:
    """Light curves of sources, some sources at a time; all sources if none are named.

    Parameters
    ----------
    sources : ids
    at_once : how many sources
    """
    if sources is None:
        sources = list(connection.execute(sa.select(TABLES["sources"].c.id)).scalars())
    wanted = np.unique(from_hex(np.array(sources, dtype=object))) if len(sources) else NO_HASHES
    for part, points in passes(connection, stored_epochs(connection, {}), wanted):
        for chosen in np.array_split(part, -(-len(part) // at_once)):
            curves = light_curves(points, chosen)
            if curves is not None:
                yield curves
