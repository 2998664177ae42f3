"""Cross-matching of two tables of positions: the utility that stages and people use alike.

What keeps a tree through many searches or pairs a table with itself (the fold of the association, duplicates) calls
`contimg_assets.sky.sphere` underneath.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy

from contimg_assets.errors import InputError
from contimg_assets.schemas.tables import AngleLike, TableLike, as_arcsec, as_frame, numbers_of, require
from contimg_assets.sky import sphere
from contimg_assets.sky.arrays import Floats

_ERRORS = (("uncertainty_ew_arcsec", "uncertainty_ns_arcsec"), ("ra_err_arcsec", "dec_err_arcsec"))


def cross_match_sources(
    detected: TableLike,
    catalog: TableLike,
    radius: AngleLike,
    *,
    mode: Literal["all", "nearest", "mutual"] = "all",
    catalog_tree: scipy.spatial.cKDTree | None = None,
) -> pd.DataFrame:
    """Pairs of two tables of positions within a radius.

    Parameters
    ----------
    detected : DataFrame, Table, QTable, pyarrow.Table or SkyCoord
        Positions: columns ``ra_deg`` and ``dec_deg``, ICRS degrees. Position errors (1 sigma on the sky, arcsec:
        ``uncertainty_ew_arcsec`` and ``uncertainty_ns_arcsec``, or ``ra_err_arcsec`` and ``dec_err_arcsec``) are used
        where both tables have them. Columns of astropy tables are converted from the units they state.
    catalog : DataFrame, Table, QTable, pyarrow.Table or SkyCoord
        The positions to match to, likewise.
    radius : float, Angle, Quantity or str
        Largest separation, inclusive; a plain number is in arcsec.
    mode : {"all", "nearest", "mutual"}
        All pairs, the nearest of each detected, or those that are nearest to each other.
    catalog_tree : scipy.spatial.cKDTree, optional
        `contimg_assets.sky.pairs.tree_of_positions` of the catalog, for one that is matched to more than once.

    Returns
    -------
    DataFrame
        One row a pair, sorted by detected row, then separation: ``detected_index`` and ``catalog_index`` (labels of the
        DataFrames' indices; row numbers of other tables), ``separation_arcsec``, ``dra_arcsec``, ``ddec_arcsec``
        (catalog minus detected, on the sky) and ``de_ruiter`` (NaN without errors).

    Raises
    ------
    InputError
        If a column is missing, a position is none, the radius or mode is not allowed, or the tree is another's.

    References
    ----------
    de Ruiter, Willis & Arp 1977, A&AS 28, 211, eq. 2 (``de_ruiter``).

    Examples
    --------
    >>> from astropy.coordinates import Angle, SkyCoord
    >>> import contimg_assets as ca
    >>> ours = SkyCoord([10.0, 20.0], [16.0, 16.0], unit="deg")
    >>> theirs = SkyCoord([10.0, 350.0], [16.001, -5.0], unit="deg")
    >>> pairs = ca.cross_match_sources(ours, theirs, radius=Angle("10arcsec"))
    >>> pairs[["detected_index", "catalog_index", "separation_arcsec"]].round(3)
       detected_index  catalog_index  separation_arcsec
    0               0              0                3.6
    """
    detected, catalog = as_frame(detected, "table detected"), as_frame(catalog, "table catalog")
    radius = as_arcsec(radius, "radius")
    if mode not in ("all", "nearest", "mutual"):
        raise InputError(f"mode {mode!r} is unknown; it is 'all', 'nearest' or 'mutual'")
    if not 0 <= radius <= 648_000:
        raise InputError(f"radius {radius!r} arcsec is not allowed; it is 0 to 648000")
    ra1, dec1 = _positions(detected, "detected")
    ra2, dec2 = _positions(catalog, "catalog")
    if catalog_tree is not None and catalog_tree.n != len(catalog):
        raise InputError(f"catalog_tree has {catalog_tree.n} positions and the catalog {len(catalog)}; make its own")
    theirs = sphere.unit_vectors(ra2, dec2) if catalog_tree is None else catalog_tree
    i, j, separation = sphere.pairs_within(sphere.unit_vectors(ra1, dec1), theirs, radius)
    # Sorted by i, then j before: equally near ones stay in the order of the catalog.
    order = np.lexsort((separation, i))
    i, j, separation = i[order], j[order], separation[order]
    if mode != "all":
        kept = np.diff(i, prepend=-1) != 0
        if mode == "mutual":
            by_row = np.lexsort((i, separation, j))
            nearest = np.zeros(len(i), bool)
            nearest[by_row[np.diff(j[by_row], prepend=-1) != 0]] = True
            kept &= nearest
        i, j, separation = i[kept], j[kept], separation[kept]
    dra, ddec = sphere.offsets_arcsec(ra1[i], dec1[i], ra2[j], dec2[j])
    errors, their_errors = _errors(detected), _errors(catalog)
    if errors is None or their_errors is None:
        radii = np.full(len(i), np.nan)
    else:
        (ew1, ns1), (ew2, ns2) = errors, their_errors
        with np.errstate(divide="ignore", invalid="ignore"):
            radii = de_ruiter_radius(dra, ddec, np.hypot(ew1[i], ew2[j]), np.hypot(ns1[i], ns2[j]))
    return pd.DataFrame(
        {
            "detected_index": detected.index.take(i),
            "catalog_index": catalog.index.take(j),
            "separation_arcsec": separation,
            "dra_arcsec": dra,
            "ddec_arcsec": ddec,
            "de_ruiter": radii,
        }
    )


def tree_of_positions(table: TableLike) -> scipy.spatial.cKDTree:
    """The ``catalog_tree`` of a table with columns ra_deg and dec_deg.

    Raises
    ------
    InputError
        If a column is missing or a position is none.
    """
    frame = as_frame(table, "table catalog")
    return sphere.tree_of(sphere.unit_vectors(*_positions(frame, "catalog")).reshape(-1, 3))


def _positions(table: pd.DataFrame, name: str) -> tuple[np.ndarray, np.ndarray]:
    require(table, ("ra_deg", "dec_deg"), f"table {name}")
    ra, dec = (numbers_of(table, column, f"table {name}") for column in ("ra_deg", "dec_deg"))
    wrong = ~(np.isfinite(ra) & (np.abs(dec) <= 90.0))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(f"table {name}: row {row} has the position ({ra[row]}, {dec[row]}); leave such rows out")
    return ra, dec


def _errors(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray] | None:
    for east, north in _ERRORS:
        if east in table.columns and north in table.columns:
            return numbers_of(table, east, "position errors"), numbers_of(table, north, "position errors")
    return None


def de_ruiter_radius(
    dra_arcsec: npt.ArrayLike,
    ddec_arcsec: npt.ArrayLike,
    sigma_ew_arcsec: npt.ArrayLike,
    sigma_ns_arcsec: npt.ArrayLike,
    covariance_arcsec2: npt.ArrayLike = 0.0,
) -> Floats:
    """Offset over its error, r = sqrt(d^T C^-1 d) (de Ruiter et al. 1977, eq. 2, with covariance).

    Parameters
    ----------
    dra_arcsec, ddec_arcsec : offsets on the sky, shape (n,)
    sigma_ew_arcsec, sigma_ns_arcsec : errors of the offsets, both positions in quadrature, shape (n,)
    covariance_arcsec2 : off-diagonal element of C, 0 for errors along the axes
    """
    x, y = np.asarray(dra_arcsec, float), np.asarray(ddec_arcsec, float)
    a, b = np.asarray(sigma_ew_arcsec, float) ** 2, np.asarray(sigma_ns_arcsec, float) ** 2
    c = np.asarray(covariance_arcsec2, float)
    radius: Floats = np.sqrt((b * x * x - 2.0 * c * x * y + a * y * y) / (a * b - c * c))
    return radius
