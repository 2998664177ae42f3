"""Unrelated catalog sources: their local density, how often they match by chance, and the share of real matches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import ConvexHull, QhullError
from scipy.special import lambertw

from contimg_assets.crossmatch.probability import SQUARE_DEGREES_OF_SKY, completeness, fit_q
from contimg_assets.sky import sphere
from contimg_assets.sky.arrays import Cells, Floats, Hashes, Indices, Integers
from contimg_assets.sky.cells import FINEST_ORDER, cells_around, centres, coarser

_MOST_STEPS = 6
_MIN_PER_CELL = 2.2
# Where the catalog seems to cover less of the area than this, its edge is looked for.
_COVERED_SHARE = 0.85
# Fewer sources than this may be the components of one; fewer inside the hull say little.
_FEWEST, _ENOUGH_INSIDE = 5, 3


def local_density(positions_29: Cells, catalog_29: Cells, radius_deg: float) -> Floats:
    """Catalog sources per square degree around positions, outside the catalog's footprint 0.

    Counted in the HEALPix cell of the position and the eight around it, over the area that the catalog covers there:
    that of the finer cells with any source in them, corrected for those that are empty by chance. Cells hang over the
    edge of a catalog, far over that of a small field: there the convex hull of the sources tells more.

    Parameters
    ----------
    positions_29, catalog_29 : nested cells of order 29, shapes (n,) and (m,)
    radius_deg : of the circle whose area the nine cells have, about; they are larger where the catalog is sparse
    """
    if not len(positions_29) or not len(catalog_29):
        return np.zeros(len(positions_29))
    wide = int(np.floor(np.log2(SQUARE_DEGREES_OF_SKY * 9.0 / (12.0 * np.pi * radius_deg**2)) / 2.0))
    wide = max(wide, 0)
    number = np.bincount(coarser(catalog_29, wide), minlength=12 << (2 * wide))
    while wide > 0 and len(catalog_29) < _MIN_PER_CELL * np.count_nonzero(number):
        number, wide = _merged(number), wide - 1
    occupied, area_deg2 = _occupied(catalog_29, number, wide)
    cells, of_position = np.unique(coarser(positions_29, wide), return_inverse=True)
    around = cells_around(cells, wide)
    there = around >= 0
    n_sources = np.where(there, number[around], 0).sum(axis=0)
    n_occupied = np.where(there, occupied[around], 0).sum(axis=0)
    per_occupied = np.divide(n_sources, n_occupied, out=np.zeros(len(cells)), where=n_occupied > 0)
    # Poisson: per_occupied = mean / (1 - exp(-mean)), solved for the mean. One source in each is no lower limit.
    m = np.maximum(per_occupied, 1.2)
    per_cell = np.where(n_occupied > 0, m + lambertw(-m * np.exp(-m)).real, 0.0)
    density = per_cell / area_deg2
    covered_deg2 = np.divide(n_sources, density, out=np.zeros(len(cells)), where=density > 0)
    whole_deg2 = SQUARE_DEGREES_OF_SKY / len(number) * there.sum(axis=0)
    edge = np.flatnonzero((n_sources > 0) & (covered_deg2 < _COVERED_SHARE * whole_deg2))
    if len(edge):
        within = _within_hulls(catalog_29, around[:, edge], wide)
        # Sources of two fields, or around a corner, have a hull that is mostly empty: there the cells tell more.
        density[edge] = np.maximum(density[edge], within)
    return density[of_position]


def _within_hulls(catalog_29: Cells, around: Cells, wide: int) -> Floats:
    """Sources per square degree inside the convex hull of those in some cells of order ``wide``; 0 of fewer than five.

    Given the hull, only the sources that are not its corners are anywhere in it by chance: their number over its area
    has no bias (Efron 1965, Biometrika 52, 331).

    Parameters
    ----------
    catalog_29 : cells of order 29, shape (m,)
    around : the cells of each place, -1 for none, shape (9, n)
    """
    # Catalogs come sorted, which a stable sort sees at once.
    shift, catalog_29 = 2 * (FINEST_ORDER - wide), np.sort(catalog_29, kind="stable")
    density = np.zeros(around.shape[1])
    for place, cells in enumerate(around.T):
        cells = cells[cells >= 0]
        start, stop = np.searchsorted(catalog_29, cells << shift), np.searchsorted(catalog_29, (cells + 1) << shift)
        sources = np.concatenate([catalog_29[a:b] for a, b in zip(start, stop, strict=True)])
        density[place] = _within_hull(sphere.unit_vectors(*centres(sources)))
    return density


def _within_hull(vectors: Floats) -> float:
    """Vectors that are no corners of their convex hull, over its area; a few, over a circle about all [deg^-2].

    0 of fewer than five, and of those at one place.
    """
    middle = vectors.sum(axis=0)
    if len(vectors) < _FEWEST or not middle.any():
        return 0.0
    # Lambert's projection keeps areas.
    east, north = sphere.tangent_axes(*sphere.positions(middle))
    stretched = vectors * np.sqrt(2.0 / (1.0 + vectors @ (middle / np.linalg.norm(middle))))[:, None]
    plane = np.degrees(np.stack([stretched @ east, stretched @ north], axis=1))
    try:
        hull = ConvexHull(plane)
    except QhullError:
        # All on a line, or at one place.
        hull = None
    if hull is not None and len(vectors) - len(hull.vertices) >= _ENOUGH_INSIDE:
        # In the plane Qhull's volume is the area.
        return (len(vectors) - len(hull.vertices)) / float(hull.volume)
    # Hulls of a few may be as thin as they like: over the circle about the box that holds them.
    diameter_deg = float(np.hypot(*np.ptp(plane, axis=0)))
    return len(vectors) / (np.pi / 4.0 * diameter_deg**2) if diameter_deg > 0 else 0.0


def _occupied(catalog_29: Cells, number: Integers, wide: int) -> tuple[Integers, float]:
    """How many of the finer cells in each cell of order ``wide`` have any source, and their area in deg^2.

    They are as fine as leaves some sources in each, and only those in occupied wide cells are ever counted: the work
    grows with the catalog and not with the sky.
    """
    inside = np.flatnonzero(number)
    steps = int(np.clip(np.log2(len(catalog_29) / (_MIN_PER_CELL * len(inside))) / 2.0, 0, _MOST_STEPS))
    place = np.zeros(len(number), np.int64)
    place[inside] = np.arange(len(inside))
    fine = coarser(catalog_29, wide + steps)
    index = (place[fine >> (2 * steps)] << (2 * steps)) | (fine & ((1 << (2 * steps)) - 1))
    counts = np.bincount(index, minlength=len(inside) << (2 * steps))
    occupied = np.zeros(len(number), np.int64)
    occupied[inside] = np.count_nonzero(counts.reshape(len(inside), -1), axis=1)
    return occupied, SQUARE_DEGREES_OF_SKY / (12 << (2 * (wide + steps)))


def _merged(counts: Integers) -> Integers:
    """Counts in the cells of the next coarser order: four nested cells make one."""
    return counts[0::4] + counts[1::4] + counts[2::4] + counts[3::4]


def offset_positions(
    ra_deg: Floats, dec_deg: Floats, keys: Hashes, shift_arcsec: float, n_max: int
) -> tuple[Floats, Floats, Indices]:
    """Positions shifted in up to eight directions: as many unrelated positions of the same footprint.

    Parameters
    ----------
    ra_deg, dec_deg : shape (n,)
    keys : a hash of each position's name: which directions it gets does not depend on the order of rows
    shift_arcsec : far more than errors and beams
    n_max : about how many to make, at most eight a position; of more positions than that, so many chosen by their keys

    Returns
    -------
    ra_deg, dec_deg, index of the position they come from, shape (k,)
    """
    n_directions = int(np.clip(n_max // max(len(ra_deg), 1), 1, 8))
    first = (keys % np.uint64(8)).astype(int)
    chosen = np.flatnonzero((keys >> np.uint64(3)) % np.uint64(1 << 20) < n_max / max(len(ra_deg), 1) * (1 << 20))
    # An odd stride visits all eight directions, and opposite ones soon.
    direction = (first[chosen, None] + 3 * np.arange(n_directions)) % 8
    index = np.repeat(chosen, n_directions)
    angle = direction.ravel() * (np.pi / 4.0)
    ra, dec = sphere.displaced(
        ra_deg[index], dec_deg[index], shift_arcsec * np.cos(angle), shift_arcsec * np.sin(angle)
    )
    return ra, dec, index


@dataclass(frozen=True)
class Blanks:
    """Per group of detections: how many have nothing within each radius, and how many offset positions have not."""

    radii_arcsec: Floats  # (n_radii,)
    n: Integers  # (n_groups,)
    n_random: Integers
    blank: Floats  # (n_groups, n_radii) counts
    blank_random: Floats
    enclosed: Floats  # (n_groups, n_radii) mean share of true counterparts within the radius

    def q(self, min_detections: int, default: float) -> Floats:
        """Q of each group: its own fit, that of all groups where it has too few detections, a default if all have.

        Fleuren et al. 2012 (MNRAS 423, 2407), eq. 8.
        """
        if not len(self.n):
            return np.empty(0)
        total, total_random = self.n.sum(), self.n_random.sum()
        pooled = default
        if total >= min_detections and total_random:
            enclosed = (self.enclosed * self.n[:, None]).sum(axis=0) / total
            pooled = float(
                fit_q(self.blank.sum(axis=0) / total, self.blank_random.sum(axis=0) / total_random, enclosed)
            )
        with np.errstate(divide="ignore", invalid="ignore"):
            own = fit_q(self.blank / self.n[:, None], self.blank_random / self.n_random[:, None], self.enclosed)
        return np.where((self.n >= min_detections) & (self.n_random > 0), own, pooled)


def count_blanks(
    nearest_arcsec: Floats,
    sigma_arcsec: Floats,
    group: Indices,
    nearest_random_arcsec: Floats,
    group_random: Indices,
    n_groups: int,
    radii_arcsec: Floats,
) -> Blanks:
    """Count detections and offset positions without a catalog source within radii.

    Parameters
    ----------
    nearest_arcsec : separation of the nearest catalog source of each detection, inf if none, shape (n,)
    sigma_arcsec : error of a pair per axis, for each of k equally likely errors of a catalog source, shape (k, n)
    group, group_random : group of each detection and offset position, from 0
    nearest_random_arcsec : as nearest_arcsec, of the offset positions, shape (k,)
    """

    def blanks(nearest: Floats, groups: Indices) -> Floats:
        # The first radius that holds the source; beyond the last, all radii are blank.
        bin_ = np.searchsorted(radii_arcsec, nearest, side="left")
        counts = np.bincount(groups * (len(radii_arcsec) + 1) + bin_, minlength=n_groups * (len(radii_arcsec) + 1))
        within = np.cumsum(counts.reshape(n_groups, len(radii_arcsec) + 1), axis=1)
        return (within[:, -1:] - within[:, :-1]).astype(float)

    n = np.bincount(group, minlength=n_groups)
    enclosed = (
        np.stack(
            [
                np.bincount(group, completeness(radius / sigma_arcsec).mean(axis=0), minlength=n_groups)
                for radius in radii_arcsec
            ],
            axis=1,
        )
        / np.maximum(n, 1)[:, None]
    )
    return Blanks(
        radii_arcsec,
        n,
        np.bincount(group_random, minlength=n_groups),
        blanks(nearest_arcsec, group),
        blanks(nearest_random_arcsec, group_random),
        enclosed,
    )
