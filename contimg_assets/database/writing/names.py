"""Names of sources: of those that a change touches, and of others that share a cell of the sky with them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.database import bulk
from contimg_assets.database.blocks import Hashes
from contimg_assets.database.models import TABLES
from contimg_assets.identity.ids import to_hex
from contimg_assets.identity.names import name_cells, source_names
from contimg_assets.sky.arrays import Floats, Values

_PLACE = ["id", "first_ra_deg", "first_dec_deg", "first_mjd"]


def name_sources(
    connection: Connection, sources: pd.DataFrame, before: pd.DataFrame, touched: Hashes, acronym: str
) -> Values:
    """Names of sources from the positions of their first detections; others in the same cells are renamed where needed.

    Parameters
    ----------
    sources : those that the change touches and that are there after it; `id` is the hash
    before : sources as they were
    touched : all sources that may have changed

    Returns
    -------
    names, shape (n_sources,)
    """
    stays = ~np.isin(before["id"].to_numpy(), touched)
    own, theirs = _cells(sources), _cells(before)
    # One that leaves a cell may give its name to another there.
    beside = stays & np.isin(theirs, np.union1d(own, theirs[~stays]))
    together = pd.concat([sources[_PLACE], before.loc[beside, _PLACE]], ignore_index=True)
    cells, ids = np.concatenate([own, theirs[beside]]), together["id"].to_numpy()
    since = _known_since(connection, ids, cells, together["first_mjd"].to_numpy(dtype=float))
    names = source_names(cells, since, ids, acronym)
    _rename(connection, ids[len(sources) :], names[len(sources) :])
    return names[: len(sources)]


def _cells(sources: pd.DataFrame) -> Values:
    return name_cells(sources["first_ra_deg"].to_numpy(dtype=float), sources["first_dec_deg"].to_numpy(dtype=float))


def _known_since(connection: Connection, ids: Hashes, cells: Values, first_mjd: Floats) -> Floats:
    """When sources became known: at their first detection, or where a fork made them, which has its parent's first."""
    present, count = np.unique(cells, return_counts=True)
    shared = np.isin(cells, present[count > 1])
    if not shared.any():
        return first_mjd
    a, epoch = TABLES["associations"], TABLES["epochs"]
    query = (
        sa.select(a.c.source_id, sa.func.max(epoch.c.mjd_start).label("mjd"))
        .join(epoch, epoch.c.epoch == a.c.copied_by)
        .where(a.c.source_id.in_(bulk.set_of_ids(connection, to_hex(ids[shared]))))
        .group_by(a.c.source_id)
    )
    forked = pd.Series({row.source_id: row.mjd for row in connection.execute(query)}, dtype=float)
    since = first_mjd.copy()
    made = forked.reindex(to_hex(ids[shared])).to_numpy()
    since[shared] = np.where(np.isnan(made), since[shared], made)
    return since


def _rename(connection: Connection, ids: Hashes, names: Values) -> None:
    """Write names of sources that are there, where they differ."""
    table = TABLES["sources"]
    if len(ids):
        connection.execute(
            sa.update(table)
            .where(table.c.id == sa.bindparam("which"), table.c.name != sa.bindparam("now"))
            .values(name=sa.bindparam("now")),
            [{"which": which, "now": now} for which, now in zip(to_hex(ids), names, strict=True)],
        )
