"""Candidate pairs of measurements and sources: separation, offsets, de Ruiter radius.

Belongs here: which pairs a method may choose from. Does not belong here: the choice (`vast_pipeline`, `optimal`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import scipy

from contimg_assets.sky.arrays import Flags, Floats, Indices
from contimg_assets.sky.sphere import ARCSEC_PER_RADIAN, indices_within


@dataclass(frozen=True)
class SourcePairs:
    """Candidates, shape (k,), sorted by measurement, then source.

    ``variance_ew`` and ``variance_ns`` are the sums of both positions' variances [arcsec^2].
    """

    measurement: Indices
    source: Indices
    separation_arcsec: Floats
    de_ruiter: Floats
    variance_ew: Floats
    variance_ns: Floats

    def __len__(self) -> int:
        return len(self.measurement)

    def keep(self, mask: Flags) -> SourcePairs:
        """The pairs where ``mask`` is true."""
        return self if mask.all() else self.taken(mask)

    def taken(self, rows: Flags | Indices) -> SourcePairs:
        """Some of the pairs, by number or where a mask is true."""
        return SourcePairs(
            self.measurement[rows],
            self.source[rows],
            self.separation_arcsec[rows],
            self.de_ruiter[rows],
            self.variance_ew[rows],
            self.variance_ns[rows],
        )

    def plus(self, others: SourcePairs) -> SourcePairs:
        """These pairs and, after them, others."""
        return SourcePairs(*(np.concatenate([getattr(self, f.name), getattr(others, f.name)]) for f in fields(self)))


def tangent_offsets(start: Floats, end: Floats) -> tuple[Floats, Floats]:
    """(east, north) in arcsec of ``end`` from ``start``, unit vectors of shape (k, 3) close to each other.

    Components of the chord along east and north at the midpoint. The chord is at right angles to the midpoint, so its
    length is exact, and neither right ascensions nor cos(dec) enter: the poles are like anywhere else.
    """
    cos_ra, sin_ra, z, across = _midpoint(start, end)
    dx, dy, dz = (end[:, axis] - start[:, axis] for axis in range(3))
    east = dy * cos_ra - dx * sin_ra
    north = (dz * across - (dx * cos_ra + dy * sin_ra) * z) / np.hypot(z, across)
    return east * ARCSEC_PER_RADIAN, north * ARCSEC_PER_RADIAN


def moved_towards(start: Floats, end: Floats, share_east: Floats, share_north: Floats) -> Floats:
    """Unit vectors part of the way from ``start`` to ``end``, with a share of the way for each axis, shape (k, 3)."""
    chord_vector = end - start
    if (share_east == share_north).all():
        return start + chord_vector * share_north[:, None]
    cos_ra, sin_ra, _, _ = _midpoint(start, end)
    east = (chord_vector[:, 1] * cos_ra - chord_vector[:, 0] * sin_ra) * (share_east - share_north)
    moved = start + chord_vector * share_north[:, None]
    moved[:, 0] -= east * sin_ra
    moved[:, 1] += east * cos_ra
    return moved


def _midpoint(start: Floats, end: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """(cos RA, sin RA, z, distance from the polar axis) of the sum of two vectors; RA is 0 at the poles."""
    x, y, z = (start[:, axis] + end[:, axis] for axis in range(3))
    across = np.hypot(x, y)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(across > 0, x / across, 1.0), np.where(across > 0, y / across, 0.0), z, across


def candidates(
    measured: scipy.spatial.cKDTree,
    measured_variance: tuple[Floats, Floats],
    sources: scipy.spatial.cKDTree,
    source_variance: tuple[Floats, Floats],
    radius_arcsec: float,
) -> SourcePairs:
    """All pairs within a radius.

    Parameters
    ----------
    measured, sources : trees of the unit vectors of n measurements and m sources
    measured_variance, source_variance : (east, north) variances [arcsec^2], shapes (n,) and (m,)
    radius_arcsec : inclusive
    """
    if not measured.n or not sources.n:
        nothing, none = np.empty(0), np.empty(0, np.intp)
        return SourcePairs(none, none, nothing, nothing, nothing, nothing)
    i, j = indices_within(measured, sources, radius_arcsec)
    east, north = tangent_offsets(measured.data[i], sources.data[j])
    variance_ew = measured_variance[0][i] + source_variance[0][j]
    variance_ns = measured_variance[1][i] + source_variance[1][j]
    radius = np.sqrt(east * east / variance_ew + north * north / variance_ns)
    return SourcePairs(i, j, np.hypot(east, north), radius, variance_ew, variance_ns)
