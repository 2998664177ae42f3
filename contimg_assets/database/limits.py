"""Upper limits as the database holds them: one row for the sources of an image in a part of the sky.

A limit is known by its source, its image and a number. A row of `image_limits` has a text with a line for each source,
so that SQL finds a source in it by its id: the view `upper_limits` does, on SQLite and on PostgreSQL alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.database import bulk
from contimg_assets.database.blocks import Hashes
from contimg_assets.database.models import TABLES
from contimg_assets.identity.ids import from_hex, to_hex
from contimg_assets.sky.arrays import Cells, Floats, Values
from contimg_assets.sky.cells import INDEX_ORDER

# 0.84 square degrees, of 20 to 200 sources: a source's limits are found within a few kB of each image, and one that is
# new changes no more than that.
ORDER = 6
CELL_SHIFT = 2 * (INDEX_ORDER - ORDER)
# A line: 16 digits of the id, a space, the limit in the nine digits that it has at most, an end of line.
ID_LENGTH, VALUE_LENGTH = 16, 14
LINE_LENGTH = ID_LENGTH + VALUE_LENGTH + 2

_MANY_CELLS = 500


def cells_of(healpix: Cells) -> Cells:
    """The part of the sky where the limits of sources are, by the column `healpix` of these, shape (n,)."""
    return np.asarray(healpix, np.int64) >> CELL_SHIFT


def lines_of(sources: Hashes, limit_mjy_beam: Floats) -> list[str]:
    """The lines of limits.

    Parameters
    ----------
    sources : shape (n,)
    limit_mjy_beam : larger than 1e-99 and smaller than 1e+99, shape (n,)
    """
    return [f"{name} {value:.8E}\n" for name, value in zip(to_hex(sources), limit_mjy_beam.tolist(), strict=True)]


class Lines(NamedTuple):
    """What stands in texts of lines.

    Attributes
    ----------
    text : number of the text of each line, shape (n,)
    source_id, limit_mjy_beam : shape (n,)
    """

    text: Cells
    source_id: Values
    limit_mjy_beam: Floats


def read_lines(texts: Sequence[str]) -> Lines:
    """The inverse of `lines_of`, of several texts."""
    parts = "".join(texts).split()
    ids = np.empty(len(parts) // 2, dtype=object)
    ids[:] = parts[::2]
    owner = np.repeat(np.arange(len(texts)), [len(text) // LINE_LENGTH for text in texts])
    return Lines(owner, ids, np.array(parts[1::2], dtype=f"S{VALUE_LENGTH}").astype(float))


def sources_with_limits(connection: Connection, epoch: str) -> Hashes:
    """The source of each limit of an epoch, in any order."""
    table = TABLES["image_limits"]
    texts = connection.execute(sa.select(table.c.limits).where(table.c.epoch == epoch)).scalars().all()
    return from_hex(read_lines(texts).source_id)


def read_limits(connection: Connection, sources: pd.DataFrame) -> pd.DataFrame:
    """All upper limits of some sources.

    Parameters
    ----------
    sources : id, healpix

    Returns
    -------
    DataFrame: source (row of sources), epoch, image, upper_limit_mjy_beam
    """
    table, found = TABLES["image_limits"], []
    cells = np.unique(cells_of(sources["healpix"].to_numpy()))
    for rows in rows_in(connection, cells):
        lines = read_lines(rows["limits"].tolist())
        row = pd.Index(sources["id"]).get_indexer(pd.Index(lines.source_id))
        known = row >= 0
        of_text = rows[["epoch", "image"]].iloc[lines.text[known]].reset_index(drop=True)
        found.append(of_text.assign(source=row[known], upper_limit_mjy_beam=lines.limit_mjy_beam[known]))
    if not found:
        names = [table.c.epoch.name, table.c.image.name]
        return pd.DataFrame(dict.fromkeys(names, np.empty(0, dtype=object))).assign(
            source=np.empty(0, np.intp), upper_limit_mjy_beam=np.empty(0)
        )
    together: pd.DataFrame = pd.concat(found, ignore_index=True)
    return together


def rows_in(connection: Connection, cells: Cells) -> Iterable[pd.DataFrame]:
    """Rows of `image_limits` in parts of the sky, some parts at a time."""
    table = TABLES["image_limits"]
    for some in np.array_split(cells, -(-len(cells) // _MANY_CELLS)) if len(cells) else ():
        rows = bulk.fetch(connection, sa.select(table).where(table.c.cell.in_(some.tolist())))
        if len(rows):
            yield rows
