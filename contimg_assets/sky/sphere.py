"""Positions and pairs on the sphere, on plain arrays: everything that measures or searches the sky calls these.

All positions are ICRS degrees. Nothing here subtracts right ascensions: differences are taken through unit vectors or
the sky-offset frame, so RA 0, 90, 180, 270 and the poles are like anywhere else.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy

from contimg_assets.sky.arrays import Floats, Indices

ARCSEC_PER_RADIAN = 180.0 * 3600.0 / np.pi


def unit_vectors(ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike) -> Floats:
    """Unit vectors of positions, shape (n, 3)."""
    ra, dec = np.radians(np.asarray(ra_deg, dtype=float)), np.radians(np.asarray(dec_deg, dtype=float))
    cos_dec = np.cos(dec)
    x = cos_dec * np.cos(ra)
    vectors = np.empty((*x.shape, 3))
    vectors[..., 0], vectors[..., 1], vectors[..., 2] = x, cos_dec * np.sin(ra), np.sin(dec)
    return vectors


def positions(vectors: npt.ArrayLike) -> tuple[Floats, Floats]:
    """(ra_deg in [0, 360), dec_deg) of vectors of any length, shape (n, 3)."""
    x, y, z = np.moveaxis(np.asarray(vectors, dtype=float), -1, 0)
    ra = np.degrees(np.arctan2(y, x)) % 360.0
    # A tiny negative angle modulo 360 rounds to 360 itself.
    return np.where(ra >= 360.0, 0.0, ra), np.degrees(np.arctan2(z, np.hypot(x, y)))


def chord(separation_arcsec: npt.ArrayLike) -> Floats:
    """Length of the chord between two unit vectors that far apart."""
    return 2.0 * np.sin(np.minimum(np.asarray(separation_arcsec, dtype=float) / ARCSEC_PER_RADIAN, np.pi) / 2.0)


def arc(chord_length: npt.ArrayLike) -> Floats:
    """The inverse of `chord`, arcsec."""
    return 2.0 * np.arcsin(np.clip(np.asarray(chord_length, dtype=float) / 2.0, 0.0, 1.0)) * ARCSEC_PER_RADIAN


def distance(first: Floats, second: Floats) -> Floats:
    """Length of the chord between vectors, shape (n, 3) or (3,): the norm of what they differ by, bit for bit."""
    x, y, z = (first[..., axis] - second[..., axis] for axis in range(3))
    return np.asarray(np.sqrt(x * x + y * y + z * z))


def separation_arcsec(ra1: npt.ArrayLike, dec1: npt.ArrayLike, ra2: npt.ArrayLike, dec2: npt.ArrayLike) -> Floats:
    """Great-circle separation by the chord: exact to rounding from 0 to 180 degrees."""
    return arc(distance(unit_vectors(ra1, dec1), unit_vectors(ra2, dec2)))


def offsets_arcsec(
    ra_from: npt.ArrayLike, dec_from: npt.ArrayLike, ra_to: npt.ArrayLike, dec_to: npt.ArrayLike
) -> tuple[Floats, Floats]:
    """(dra, ddec) from the first position to the second, arcsec east and north on the sky.

    Longitude and latitude of the second in the sky-offset frame of the first, so cos(dec) is included.
    """
    dec1, dec2 = np.radians(np.asarray(dec_from, dtype=float)), np.radians(np.asarray(dec_to, dtype=float))
    delta = np.radians((np.asarray(ra_to, dtype=float) - np.asarray(ra_from, dtype=float) + 180.0) % 360.0 - 180.0)
    # Differences are formed before sines: cos(delta) and products of cosines lose half the digits of an arcsecond.
    half = np.sin(delta / 2.0) ** 2
    x = np.cos(dec2 - dec1) - 2.0 * np.cos(dec1) * np.cos(dec2) * half
    y = np.cos(dec2) * np.sin(delta)
    z = np.sin(dec2 - dec1) + 2.0 * np.sin(dec1) * np.cos(dec2) * half
    return np.arctan2(y, x) * ARCSEC_PER_RADIAN, np.arctan2(z, np.hypot(x, y)) * ARCSEC_PER_RADIAN


def tangent_axes(ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Unit vectors to the east and to the north at positions, shape (n, 3) each."""
    ra, dec = np.radians(np.asarray(ra_deg, dtype=float)), np.radians(np.asarray(dec_deg, dtype=float))
    east = np.stack([-np.sin(ra), np.cos(ra), np.zeros_like(ra)], axis=-1)
    north = np.stack([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)], axis=-1)
    return east, north


def displaced(
    ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike, dra_arcsec: npt.ArrayLike, ddec_arcsec: npt.ArrayLike
) -> tuple[Floats, Floats]:
    """Positions moved by (dra, ddec) arcsec on the sky: the inverse of `offsets_arcsec`, valid at the poles too."""
    lon = np.asarray(dra_arcsec, dtype=float) / ARCSEC_PER_RADIAN
    lat = np.asarray(ddec_arcsec, dtype=float) / ARCSEC_PER_RADIAN
    x, y, z = np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)
    radial = unit_vectors(ra_deg, dec_deg)
    east, north = tangent_axes(ra_deg, dec_deg)
    return positions(x[..., None] * radial + y[..., None] * east + z[..., None] * north)


def tree_of(vectors: Floats) -> scipy.spatial.cKDTree:
    """A tree of unit vectors, shape (n, 3): for those that are searched more than once."""
    # Splitting at the middle of the space and not of the points: built in half the time and searched as fast.
    return scipy.spatial.cKDTree(vectors, balanced_tree=False)


def limit_of(radius_arcsec: float) -> float:
    """Chord within which pairs within a radius, inclusive, are found."""
    # One part in 10^12 keeps a pair at exactly the radius in, whatever the rounding of the unit vectors.
    return float(chord(radius_arcsec)) * (1 + 1e-12) + 1e-15


def indices_within(
    first: scipy.spatial.cKDTree, second: scipy.spatial.cKDTree, radius_arcsec: float
) -> tuple[Indices, Indices]:
    """Indices (i, j) of all pairs of two trees of unit vectors within a radius, inclusive, sorted by i, then j."""
    found = first.sparse_distance_matrix(second, limit_of(radius_arcsec), output_type="ndarray")
    # One key for both indices sorts several times faster than two.
    key = found["i"] * second.n + found["j"]
    key.sort()
    i, j = np.divmod(key, second.n)
    return i, j


def pairs_within(
    first: Floats | scipy.spatial.cKDTree, second: Floats | scipy.spatial.cKDTree, radius_arcsec: float
) -> tuple[Indices, Indices, Floats]:
    """All pairs of two sets of unit vectors within a radius.

    Parameters
    ----------
    first, second : shapes (n, 3) and (m, 3), or trees of them
    radius_arcsec : inclusive

    Returns
    -------
    i, j : indices into first and second, shape (k,), sorted by i, then j
    separation_arcsec : shape (k,)
    """
    a, b = (one if isinstance(one, scipy.spatial.cKDTree) else tree_of(one.reshape(-1, 3)) for one in (first, second))
    if not a.n or not b.n:
        return np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0)
    i, j = indices_within(a, b, radius_arcsec)
    return i, j, arc(np.linalg.norm(a.data[i] - b.data[j], axis=1))


def nearest(tree: scipy.spatial.cKDTree, vectors: Floats, radius_arcsec: float) -> Floats:
    """Separation of unit vectors from the nearest member of a tree [arcsec], inf where none is within the radius."""
    if not len(vectors) or not tree.n:
        return np.full(len(vectors), np.inf)
    distance = np.asarray(tree.query(vectors, distance_upper_bound=limit_of(radius_arcsec))[0])
    return np.where(np.isfinite(distance), arc(np.minimum(distance, 2.0)), np.inf)


def nearest_other(
    tree: scipy.spatial.cKDTree, rows: Indices | slice = slice(None), radius_arcsec: float = 648_000.0
) -> Floats:
    """Separation of some rows of a tree from the nearest other one [arcsec], NaN where none is within the radius."""
    vectors = tree.data[rows]
    if not len(vectors):
        return np.empty(0)
    # Itself, or one at the same place, and the next.
    distance = np.asarray(tree.query(vectors, k=2, distance_upper_bound=limit_of(radius_arcsec))[0])[:, 1]
    return np.where(np.isfinite(distance), arc(np.minimum(distance, 2.0)), np.nan)
