"""Sources as they were before a change: those near it, or all where near is not enough.

An epoch looks at a part of the sky. What it changes are sources there, and the neighbors of those; what lies farther is
neither read nor written, so that a night costs the same however many sources there are elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.database import bulk
from contimg_assets.database.blocks import Hashes
from contimg_assets.database.models import IN_TOTAL, ISOLATED, ONLY_POLARIZED, TABLES
from contimg_assets.identity.ids import from_hex, to_hex
from contimg_assets.sky.arrays import Cells, Flags, Floats
from contimg_assets.sky.cells import INDEX_ORDER, cells_within, coarser, healpix_29
from contimg_assets.sky.sphere import nearest, nearest_other, tree_of, unit_vectors

# Neighbors this far are looked for near a change; where any source has none so near, all are read.
NEIGHBOR_DEG = ISOLATED.within_arcsec / 3600.0
# A source lies this near to the images that its measurements are of; its mean to its first position.
_MARGIN_DEG = 0.1
_ORDER = 6
_MANY_IMAGES, _MANY_RUNS = 100, 300
_COLUMNS = ("id", "ra_deg", "dec_deg", "healpix", "first_mjd", "first_ra_deg", "first_dec_deg", "neighbour_arcsec",
            "n_measurements", "n_limits", "is_new", "new_significance", "new_image")  # fmt: skip


@dataclass(frozen=True)
class Present:
    """Sources that were there, as far as a change may need them.

    Attributes
    ----------
    sources : rows of `sources` as far as others depend on them, sorted by `id`, the hash
    core : cells of order 6 in which nothing that a change touches lacks anything; None: all sources are here
    """

    sources: pd.DataFrame
    core: Cells | None

    @property
    def ids(self) -> Hashes:
        """Hashes of the sources, ascending."""
        return self.sources["id"].to_numpy()

    def of(self, ids: Hashes) -> pd.DataFrame:
        """The rows of some sources."""
        rows: pd.DataFrame = self.sources[np.isin(self.ids, ids)]
        return rows

    def holds(self, ra_deg: Floats, dec_deg: Floats) -> bool:
        """Whether all that matters to sources at some positions is here."""
        return self.core is None or bool(np.isin(coarser(healpix_29(ra_deg, dec_deg), _ORDER), self.core).all())


def count_sources(connection: Connection) -> int:
    """How many there are in Stokes I."""
    every = sa.select(sa.func.count()).select_from(TABLES["sources"])
    # Two indices know it: the rows themselves are ten times as long.
    n, n_polarized = (connection.execute(one).scalar_one() for one in (every, every.where(sa.text(ONLY_POLARIZED))))
    return int(n) - int(n_polarized)


def read_sources(connection: Connection, images: pd.DataFrame | None = None) -> Present:
    """The sources in Stokes I about images, or all of them.

    Parameters
    ----------
    images : ra_deg, dec_deg, radius_deg of those that came, changed or went; None: all sources are wanted
    """
    table = TABLES["sources"]
    query = sa.select(*(table.c[name] for name in _COLUMNS)).where(IN_TOTAL)
    core = None
    if images is not None:
        circles = images[["ra_deg", "dec_deg", "radius_deg"]].drop_duplicates().to_numpy(dtype=float)
        # A neighbor's neighbor counts too: it may be nearer to it than what changed.
        runs = _runs(_cells(circles, _MARGIN_DEG + 2.0 * NEIGHBOR_DEG)) if len(circles) <= _MANY_IMAGES else None
        if runs is not None and len(runs) <= _MANY_RUNS and not _any_isolated(connection):
            core = _cells(circles, _MARGIN_DEG)
            query = query.where(sa.or_(sa.false(), *(table.c.healpix.between(*run) for run in runs.tolist())))
    sources = bulk.fetch(connection, query)
    sources = sources.assign(id=from_hex(sources["id"].to_numpy(dtype=object)))
    return Present(sources.astype({"neighbour_arcsec": float}).sort_values("id", ignore_index=True), core)


def _any_isolated(connection: Connection) -> bool:
    table = TABLES["sources"]
    query = sa.select(sa.literal(1)).select_from(table).where(sa.text(f"({ISOLATED.condition})"), IN_TOTAL).limit(1)
    return connection.execute(query).first() is not None


def all_there(connection: Connection, present: Present, ids: Hashes) -> bool:
    """Whether those of some sources that are in the database are among the present ones."""
    missing = np.setdiff1d(ids, present.ids)
    if present.core is None or not len(missing):
        return True
    table = TABLES["sources"]
    query = (
        sa.select(sa.literal(1)).select_from(table).where(table.c.id.in_(bulk.set_of_ids(connection, to_hex(missing))))
    )
    return connection.execute(query.limit(1)).first() is None


@dataclass(frozen=True)
class Neighbors:
    """Separation from the nearest other source [arcsec], NaN where there is none.

    Attributes
    ----------
    own : of the sources that a change touched, shape (n,)
    others : hashes of sources that stay as they are and have another one than before
    theirs : of these, shape (m,)
    """

    own: Floats
    others: Hashes
    theirs: Floats


def neighbors(
    connection: Connection, sources: pd.DataFrame, touched: Hashes, changed: pd.DataFrame, present: Present
) -> Neighbors:
    """Nearest neighbors after a change: of the sources that it touched, and of others where they are not as before.

    Parameters
    ----------
    sources : those that the change touched and that are there after it, with ra_deg and dec_deg
    touched : hashes of all that it touched
    changed : these, as they were and as they are: ra_deg, dec_deg
    """
    others = present.sources[~np.isin(present.ids, touched)]
    separation = _nearest(pd.concat([sources[["ra_deg", "dec_deg"]], others[["ra_deg", "dec_deg"]]]))
    own, now = separation[: len(sources)], separation[len(sources) :]
    asked = _near(others, changed) if present.core is not None else np.ones(len(others), bool)
    if present.core is not None and not (np.append(own, now[asked]) <= ISOLATED.within_arcsec).all():
        # The nearest one may be beyond what was read.
        return neighbors(connection, sources, touched, changed, read_sources(connection))
    before = others["neighbour_arcsec"].to_numpy()
    moved = asked & ~((now == before) | (np.isnan(now) & np.isnan(before)))
    return Neighbors(own, others["id"].to_numpy()[moved], now[moved])


def _nearest(sources: pd.DataFrame) -> Floats:
    return nearest_other(tree_of(unit_vectors(sources["ra_deg"], sources["dec_deg"]))) if len(sources) else np.empty(0)


def _near(others: pd.DataFrame, changed: pd.DataFrame) -> Flags:
    """Which sources lie near any that changed: the nearest neighbor of no other one, which has one near, is another."""
    if others.empty or changed.empty:
        return np.zeros(len(others), bool)
    tree = tree_of(unit_vectors(changed["ra_deg"], changed["dec_deg"]))
    return np.isfinite(nearest(tree, unit_vectors(others["ra_deg"], others["dec_deg"]), ISOLATED.within_arcsec))


def _cells(circles: Floats, margin_deg: float) -> Cells:
    """Cells that circles touch, and a margin about them; ascending."""
    cells = [cells_within(ra, dec, radius + margin_deg, _ORDER) for ra, dec, radius in circles]
    return np.unique(np.concatenate(cells)) if cells else np.empty(0, np.int64)


def _runs(cells: Cells) -> Cells:
    """First and last cell of order `INDEX_ORDER` of neighboring ones, shape (n, 2)."""
    start = np.flatnonzero(np.diff(cells, prepend=-2) > 1)
    stop = np.append(start[1:], len(cells))[: len(start)]
    steps = 2 * (INDEX_ORDER - _ORDER)
    return np.stack([cells[start] << steps, ((cells[stop - 1] + 1) << steps) - 1], axis=1)
