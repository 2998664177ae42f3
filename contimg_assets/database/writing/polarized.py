"""Which source a polarized detection is of where the epoch has no measurement in I at its place; and the sources that
only such detections show."""

from __future__ import annotations

import numpy as np
import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.config import STOKES_I
from contimg_assets.database import bulk
from contimg_assets.database.models import IN_TOTAL, ONLY_POLARIZED, TABLES
from contimg_assets.polarization.sources import NEEDED, own_sources, place_detections, widest_arcsec
from contimg_assets.sky.arrays import Flags
from contimg_assets.sky.cells import INDEX_ORDER, cells_around, coarser, healpix_29, order_of_radius

_RANGES_AT_ONCE = 200
_OF_SOURCE = ("id", "ra_deg", "dec_deg", "uncertainty_ew_arcsec", "uncertainty_ns_arcsec")
_PLACED = ("source_id", "separation_arcsec", "status")


def place_polarized(connection: Connection, acronym: str) -> int:
    """Place all detections without a measurement in I anew: by the sources, or as sources of their own.

    They are few, and what they belong to depends on all epochs: the rows are the same whatever the order in which
    epochs came. Sources of their own are written among the others.

    Parameters
    ----------
    acronym : what names of sources begin with

    Returns
    -------
    Number of detections that changed.
    """
    table = TABLES["stokes_measurements"]
    columns = [table.c[name] for name in (*NEEDED, *_PLACED)]
    unplaced = sa.and_(table.c.i_measurement_id.is_(None), table.c.stokes != STOKES_I)
    rows = bulk.fetch(connection, sa.select(*columns).where(unplaced).order_by(table.c.measurement_id))
    if rows.empty:
        _write_own(connection, own_sources(rows, acronym))
        return 0
    placed = place_detections(rows, _sources_near(connection, rows))
    _write_own(connection, own_sources(rows.assign(**placed[list(_PLACED)]), acronym))
    now, before = (frame[list(_PLACED)].astype(object) for frame in (placed, rows))
    same: Flags = np.all(_same(now, before), axis=1)
    changed = placed.assign(epoch=rows["epoch"].to_numpy())[~same]
    if changed.empty:
        return 0
    key = sa.and_(table.c.epoch == sa.bindparam("at_epoch"), table.c.measurement_id == sa.bindparam("at_id"))
    placing = changed[["epoch", "measurement_id", *_PLACED]].astype(object)
    rows_of = placing.where(placing.notna(), None).itertuples(index=False, name=None)
    values = [dict(zip(("at_epoch", "at_id", *_PLACED), row, strict=True)) for row in rows_of]
    connection.execute(sa.update(table).where(key), values)
    return len(values)


def _same(now: pd.DataFrame, before: pd.DataFrame) -> Flags:
    """Which values of two frames of objects are the same, missing ones too."""
    same: Flags = ((now == before) | (now.isna() & before.isna())).to_numpy()
    return same


def _write_own(connection: Connection, sources: pd.DataFrame) -> None:
    """Write the sources that only polarized detections show, where they are not there as they are."""
    table, own = TABLES["sources"], sa.text(ONLY_POLARIZED)
    before = bulk.fetch(connection, sa.select(table).where(own).order_by(table.c.id))
    if before.empty and sources.empty:
        return
    if len(before) == len(sources):
        now, known = (frame[list(sources)].astype(object).reset_index(drop=True) for frame in (sources, before))
        if _same(now, known).all():
            return
    connection.execute(sa.delete(table).where(own))
    bulk.insert(connection, table, sources)


def _sources_near(connection: Connection, rows: pd.DataFrame) -> pd.DataFrame:
    """Sources in I in the cells of the rows and around them."""
    table = TABLES["sources"]
    columns = [table.c[name] for name in _OF_SOURCE]
    order = min(order_of_radius(float(widest_arcsec(rows).max())), INDEX_ORDER)
    if order < 0:
        return bulk.fetch(connection, sa.select(*columns).where(IN_TOTAL))
    places = healpix_29(rows["ra_corr_deg"].to_numpy(float), rows["dec_corr_deg"].to_numpy(float))
    cells = np.unique(cells_around(np.unique(coarser(places, order)), order))
    shift = 2 * (INDEX_ORDER - order)
    low, high = cells[cells >= 0] << shift, ((cells[cells >= 0] + 1) << shift) - 1
    parts = []
    for first in range(0, len(low), _RANGES_AT_ONCE):
        chosen = slice(first, first + _RANGES_AT_ONCE)
        inside = [table.c.healpix.between(int(a), int(b)) for a, b in zip(low[chosen], high[chosen], strict=True)]
        parts.append(bulk.fetch(connection, sa.select(*columns).where(IN_TOTAL, sa.or_(*inside))))
    return pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
