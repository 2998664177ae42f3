"""Positions and pairs on the sphere, on plain arrays: everything that measures or searches the sky calls these.

All positions are ICRS degrees. Nothing here subtracts right ascensions: differences are taken through unit vectors or
the sky-offset frame, so RA 0, 90, 180, 270 and the poles are like anywhere else.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

ARCSEC_PER_RADIAN = 180.0 * 3600.0 / np.pi
Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]


def unit_vectors(ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike) -> Floats:
    """Unit vectors of positions, shape (n, 3)."""
    ra, dec = np.radians(np.asarray(ra_deg, dtype=float)), np.radians(np.asarray(dec_deg, dtype=float))
    cos_dec = np.cos(dec)
    return np.stack([cos_dec * np.cos(ra), cos_dec * np.sin(ra), np.sin(dec)], axis=-1)


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


def separation_arcsec(ra1: npt.ArrayLike, dec1: npt.ArrayLike, ra2: npt.ArrayLike, dec2: npt.ArrayLike) -> Floats:
    """Great-circle separation by the chord: exact to rounding from 0 to 180 degrees."""
    return arc(np.linalg.norm(unit_vectors(ra1, dec1) - unit_vectors(ra2, dec2), axis=-1))


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


def displaced(
    ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike, dra_arcsec: npt.ArrayLike, ddec_arcsec: npt.ArrayLike
) -> tuple[Floats, Floats]:
    """Positions moved by (dra, ddec) arcsec on the sky: the inverse of `offsets_arcsec`, valid at the poles too."""
    ra, dec = np.radians(np.asarray(ra_deg, dtype=float)), np.radians(np.asarray(dec_deg, dtype=float))
    lon = np.asarray(dra_arcsec, dtype=float) / ARCSEC_PER_RADIAN
    lat = np.asarray(ddec_arcsec, dtype=float) / ARCSEC_PER_RADIAN
    x, y, z = np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)
    radial = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)
    east = np.stack([-np.sin(ra), np.cos(ra), np.zeros_like(ra)], axis=-1)
    north = np.stack([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)], axis=-1)
    return positions(x[..., None] * radial + y[..., None] * east + z[..., None] * north)


def pairs_within(first: Floats, second: Floats, radius_arcsec: float) -> tuple[Indices, Indices, Floats]:
    """All pairs of two sets of unit vectors within a radius.

    Parameters
    ----------
    first, second : shapes (n, 3) and (m, 3)
    radius_arcsec : inclusive

    Returns
    -------
    i, j : indices into first and second, shape (k,), sorted by i, then j
    separation_arcsec : shape (k,)
    """
    if not len(first) or not len(second):
        return np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0)
    # One part in 10^12 keeps a pair at exactly the radius in, whatever the rounding of the unit vectors.
    limit = float(chord(radius_arcsec)) * (1 + 1e-12) + 1e-15
    found = cKDTree(first).sparse_distance_matrix(cKDTree(second), limit, output_type="ndarray")
    # One key for both indices sorts several times faster than two.
    order = np.argsort(found["i"] * len(second) + found["j"])
    return found["i"][order], found["j"][order], arc(found["v"][order])


def pairs_among(vectors: Floats, radius_arcsec: float) -> tuple[Indices, Indices, Floats]:
    """Pairs i < j of one set of unit vectors (n, 3) within a radius, in no order, and their separations [arcsec]."""
    if not len(vectors):
        return np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0)
    i, j = cKDTree(vectors, balanced_tree=False).query_pairs(float(chord(radius_arcsec)), output_type="ndarray").T
    return i, j, arc(np.linalg.norm(vectors[i] - vectors[j], axis=1))


def nearest(first: Floats, second: Floats) -> tuple[Indices, Floats]:
    """Index into `second` of the nearest neighbour of each of `first`, and the separation in arcsec (inf if none)."""
    if not len(second):
        return np.full(len(first), -1, np.intp), np.full(len(first), np.inf)
    distance, index = cKDTree(second).query(first)
    return np.asarray(index, np.intp), arc(distance)
