"""Light curves as the database holds them: one block of points an epoch, read and joined."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.database import bulk
from contimg_assets.database.blocks import Block, Points, as_points, light_curves, unpack
from contimg_assets.database.models import TABLES
from contimg_assets.identity import from_hex
from contimg_assets.variability.segments import LightCurves

Hashes = npt.NDArray[np.uint64]

# Points of light curves in memory at once; about 200 bytes each.
MAX_POINTS = 4_000_000
NO_HASHES: Hashes = np.empty(0, dtype=np.uint64)
_COPIED = pa.schema([("source", pa.uint64()), ("measurement", pa.uint64()), ("epoch", pa.string())])


@dataclass
class StoredEpochs:
    """The epochs in the database after the change, in the order of observation."""

    names: list[str]
    copied: pa.Table
    limits: dict[str, Hashes]
    n_points: int
    fresh_points: dict[str, pa.Table]


def read_block(connection: Connection, epoch: str) -> Block:
    table = TABLES["epoch_blocks"]
    row = connection.execute(sa.select(table.c.points, table.c.copied).where(table.c.epoch == epoch)).one()
    return Block(unpack(row.points), unpack(row.copied))


def stored_epochs(connection: Connection, fresh: Mapping[str, Block]) -> StoredEpochs:
    table, epoch, limits = TABLES["epoch_blocks"], TABLES["epochs"], TABLES["epoch_limits"]
    query = (
        sa.select(table.c.epoch, table.c.copied, limits.c.sources, epoch.c.n_associations)
        .join(epoch, epoch.c.epoch == table.c.epoch)
        .join(limits, limits.c.epoch == table.c.epoch)
        .order_by(epoch.c.mjd_start, table.c.epoch)
    )
    rows = connection.execute(query).all()
    return StoredEpochs(
        [row.epoch for row in rows],
        pa.concat_tables([_COPIED.empty_table(), *(unpack(row.copied) for row in rows)]),
        {row.epoch: np.frombuffer(row.sources, dtype="<u8") for row in rows},
        sum(row.n_associations for row in rows),
        {name: block.points for name, block in fresh.items()},
    )


def read_points(
    connection: Connection, epochs: StoredEpochs, low: np.uint64 | None, high: np.uint64 | None
) -> list[Points]:
    """The points of every epoch, in order; only of sources from low to high, where given."""
    found = []
    for name in epochs.names:
        fresh = epochs.fresh_points.get(name)
        block = unpack(bulk.fetch_bytes(connection, "epoch_blocks", "points", name)) if fresh is None else fresh
        found.append(as_points(block, low, high))
    return found


def read_light_curves(connection: Connection, sources: Sequence[str] | None, at_once: int) -> Iterator[LightCurves]:
    """Light curves of sources, some sources at a time; all sources if none are named."""
    epochs = stored_epochs(connection, {})
    if sources is None:
        wanted = np.sort(
            from_hex(bulk.fetch(connection, sa.select(TABLES["sources"].c.id))["id"].to_numpy(dtype=object))
        )
    else:
        wanted = np.unique(from_hex(np.array(sources, dtype=object))) if len(sources) else NO_HASHES
    n_passes = max(1, -(-epochs.n_points // MAX_POINTS))
    for part in np.array_split(wanted, n_passes):
        if not len(part):
            continue
        points = read_points(connection, epochs, part[0], part[-1])
        for chosen in np.array_split(part, -(-len(part) // at_once)):
            curves = light_curves(epochs.names, points, epochs.copied, chosen)
            if curves is not None:
                yield curves
