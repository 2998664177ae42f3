"""HEALPix cells as an index of the sky: which cells, and which rows of a table, lie near positions."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from contimg_assets.sky.arrays import Cells, Flags, Floats, Indices
from contimg_assets.sky.sphere import separation_arcsec

# 0.4 milliarcsec: a sort key and a spatial index in one. Coarser cells are its leading bits.
FINEST_ORDER = 29
# 12.6 million cells of 3.4 arcmin: a table of flags over the whole sky still fits everywhere.
COARSE_ORDER = 10
# The column `healpix` of measurements and sources: cells of 3.4 arcmin.
INDEX_ORDER = 10


def grid(order: int) -> Any:
    """`astropy_healpix.HEALPix`: the nested cells of an order.

    Loaded when it is first asked for: all of astropy's coordinates come with it.
    """
    from astropy_healpix import HEALPix

    return HEALPix(1 << order, order="nested")


def healpix_29(ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike) -> Cells:
    """Nested HEALPix cells of order 29, shape (n,)."""
    import astropy.units as u
    from astropy_healpix import lonlat_to_healpix

    ra, dec = np.asarray(ra_deg, float) * u.deg, np.asarray(dec_deg, float) * u.deg
    return np.asarray(lonlat_to_healpix(ra, dec, 1 << FINEST_ORDER, order="nested"), dtype=np.int64)


def centres(cells_29: Cells) -> tuple[Floats, Floats]:
    """(ra_deg, dec_deg) of the centers of cells of order 29, shape (n,)."""
    from astropy_healpix import healpix_to_lonlat

    lon, lat = healpix_to_lonlat(cells_29, 1 << FINEST_ORDER, order="nested")
    return np.asarray(lon.to_value("deg")), np.asarray(lat.to_value("deg"))


def coarser(cells_29: Cells, order: int) -> Cells:
    """The cells of an order that hold the given ones of order 29."""
    return cells_29 >> (2 * (FINEST_ORDER - order))


def index_cells(ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike) -> Cells:
    """Nested HEALPix cells as in the column `healpix` of measurements and sources, shape (n,)."""
    return coarser(healpix_29(ra_deg, dec_deg), INDEX_ORDER)


def order_of_radius(radius_arcsec: float) -> int:
    """The finest order up to COARSE_ORDER whose cells' neighbors hold a circle about any point of a cell; else -1."""
    # Cells are no squares: near the poles a cell's inner width is half its mean one, hence the factor 3.
    widest = 3.0 * max(radius_arcsec, 1.0)
    order = int(np.floor(np.log2(np.degrees(np.sqrt(np.pi / 3.0)) * 3600.0 / widest)))
    return max(min(order, COARSE_ORDER), -1)


def radius_of_order(order: int) -> float:
    """The largest radius that `order_of_radius` gives this order for, about [arcsec]."""
    return float(np.degrees(np.sqrt(np.pi / 3.0)) * 3600.0 / 3.0 / (1 << order) * (1 - 1e-9))


def neighborhood(cells_29: Cells, order: int) -> Flags:
    """Flags of all cells of an order, set for those that hold the given ones of order 29 and those around them."""
    # Flags and not sets: no sorting, no hashing, whatever the order of rows.
    flags = np.zeros(12 << (2 * order), dtype=bool)
    flags[coarser(cells_29, order)] = True
    around = cells_around(np.flatnonzero(flags), order)
    # Where there is no neighbor, -1 would be the last cell.
    flags[around[around >= 0]] = True
    return flags


def rows_in_cells(rows_29: Cells, flags: Flags, order: int) -> Indices:
    """Indices of the rows that lie in a cell whose flag is set, ascending."""
    return np.flatnonzero(flags[coarser(rows_29, order)])


def cell_radius_deg(order: int) -> float:
    """No point of a cell of an order is farther from the cell's center than this [deg]."""
    # At the widest, beside the polar caps, 1.069 / nside.
    return float(np.degrees(1.07 / (1 << order)))


def cells_within(ra_deg: float, dec_deg: float, radius_deg: float, order: int) -> Cells:
    """Cells that a circle touches, and some just outside of it; ascending.

    From coarse cells to fine ones: the library's cone search takes minutes for a million cells.
    """
    cells = np.arange(12, dtype=np.int64)
    for depth in range(order + 1):
        if depth:
            cells = (cells[:, None] * 4 + np.arange(4)).ravel()
        lon, lat = grid(depth).healpix_to_lonlat(cells)
        separation = separation_arcsec(lon.to_value("deg"), lat.to_value("deg"), ra_deg, dec_deg) / 3600.0
        cells = cells[separation <= radius_deg + cell_radius_deg(depth)]
    return cells


def cells_inside(cells: Cells, steps: int) -> Cells:
    """All cells that are some steps finer than some, and in them; ascending if these are."""
    return ((cells << (2 * steps))[:, None] + np.arange(1 << (2 * steps))).ravel()


def rim(cells: Cells, order: int, radius_arcsec: float) -> Cells:
    """Index cells around some of an order, in none of them: all within a radius, and some beyond; ascending."""
    # Cells of the rim are as wide as the radius: each side of a cell has so many.
    finer = max(min(order_of_radius(radius_arcsec), INDEX_ORDER), order)
    inside = cells_inside(cells, finer - order)
    around = np.unique(cells_around(inside, finer))
    return cells_inside(np.setdiff1d(around[around >= 0], inside), INDEX_ORDER - finer)


def cells_around(cells: Cells, order: int) -> Cells:
    """Each cell and its eight neighbors, shape (9, n); -1 where there are but seven."""
    # The library's -1 passes through a float on its way.
    with np.errstate(invalid="ignore"):
        around = grid(order).neighbours(cells)
    return np.concatenate([cells[None], around])
