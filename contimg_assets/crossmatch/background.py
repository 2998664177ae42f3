"""Unrelated catalog sources: their local density, how often they match by chance, and the share of real matches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from contimg_assets.crossmatch.probability import SQUARE_DEGREES_OF_SKY, completeness, fit_q
from contimg_assets.sky import sphere
from contimg_assets.sky.arrays import Cells, Flags, Floats, Hashes, Indices, Integers
from contimg_assets.sky.cells import FINEST_ORDER, cells_around, centres, coarser
from contimg_assets.sky.pools import Pools

_MOST_STEPS = 6
_MIN_PER_CELL = 2.2
# Where the catalog seems to cover less of the area than this, its edge is looked for.
_COVERED_SHARE = 0.85
# Fewer sources than this may be the components of one; fewer inside the hull say little.
_FEWEST, _ENOUGH_INSIDE = 5, 3
# Sources in nine cells that are enough to count in the next finer ones, a quarter as large; and how many orders of
# cells there are. That the larger cells decide keeps a place that is full by chance from being looked at more closely.
_ENOUGH, _COARSER = 80, 3
_DIRECTIONS = 8


def density_orders(radius_deg: float) -> tuple[int, int]:
    """Finest and coarsest order of the cells that density is counted in.

    Parameters
    ----------
    radius_deg : of the circle whose area nine cells of the finest order have, about
    """
    finest = int(np.floor(np.log2(SQUARE_DEGREES_OF_SKY * 9.0 / (12.0 * np.pi * radius_deg**2)) / 2.0))
    finest = max(min(finest, FINEST_ORDER - _MOST_STEPS), 0)
    return finest, max(finest - _COARSER, 0)


def local_density(positions_29: Cells, catalog_29: Cells, radius_deg: float) -> Floats:
    """Catalog sources per square degree around positions, outside the catalog's footprint 0.

    Counted in the HEALPix cell of the position and the eight around it, over the area that the catalog covers there:
    that of the finer cells with any source in them, corrected for those that are empty by chance. Cells hang over the
    edge of a catalog, far over that of a small field: there the convex hull of the sources tells more.

    Where the catalog is sparse the cells are larger, up to eight times as wide; each position's own surroundings
    decide. So nothing beyond the nine cells of the coarsest order counts, whatever else the catalog or the positions
    hold.

    Parameters
    ----------
    positions_29, catalog_29 : nested cells of order 29, shapes (n,) and (m,)
    radius_deg : of the circle whose area the nine cells have, about; they are larger where the catalog is sparse
    """
    density = np.zeros(len(positions_29))
    if not len(positions_29) or not len(catalog_29):
        return density
    # Catalogs come sorted, which a stable sort sees at once.
    catalog_29 = np.sort(catalog_29, kind="stable")
    finest, coarsest = density_orders(radius_deg)
    left = np.arange(len(positions_29))
    for order in range(coarsest, finest + 1):
        cells, of_position = np.unique(coarser(positions_29[left], order), return_inverse=True)
        around = cells_around(cells, order)
        number = _counts(catalog_29, around, order)
        finer = (number.sum(axis=0) >= _ENOUGH) & (order < finest)
        here = np.flatnonzero(~finer)
        of_cell = np.zeros(len(cells))
        of_cell[here] = _density_of_cells(catalog_29, around[:, here], number[:, here], order)
        density[left] = of_cell[of_position]
        left = left[finer[of_position]]
    return density


def _counts(catalog_29: Cells, cells: Cells, order: int) -> Integers:
    """Sources, sorted, in cells of an order; 0 for the cell -1."""
    shift = 2 * (FINEST_ORDER - order)
    first, last = np.searchsorted(catalog_29, cells << shift), np.searchsorted(catalog_29, (cells + 1) << shift)
    return np.where(cells >= 0, last - first, 0)


def _density_of_cells(catalog_29: Cells, around: Cells, number: Integers, order: int) -> Floats:
    """Sources per square degree in the nine cells of each place, over the area that the catalog covers there.

    Parameters
    ----------
    around, number : the cells of each place, -1 for none, and the sources in each, shape (9, n)
    """
    n_sources = number.sum(axis=0)
    n_occupied, area_deg2 = _occupied(catalog_29, around, number, order)
    per_occupied = np.divide(n_sources, n_occupied, out=np.zeros(around.shape[1]), where=n_occupied > 0)
    # Poisson: per_occupied = mean / (1 - exp(-mean)), solved for the mean. One source in each is no lower limit.
    m = np.maximum(per_occupied, 1.2)
    per_cell = np.where(n_occupied > 0, m + scipy.special.lambertw(-m * np.exp(-m)).real, 0.0)
    density: Floats = per_cell / area_deg2
    covered_deg2 = np.divide(n_sources, density, out=np.zeros(len(density)), where=density > 0)
    whole_deg2 = SQUARE_DEGREES_OF_SKY / (12 << (2 * order)) * (around >= 0).sum(axis=0)
    edge = np.flatnonzero((n_sources > 0) & (covered_deg2 < _COVERED_SHARE * whole_deg2))
    if len(edge):
        within = _within_hulls(catalog_29, around[:, edge], order)
        # Sources of two fields, or around a corner, have a hull that is mostly empty: there the cells tell more.
        density[edge] = np.maximum(density[edge], within)
    return density


def _occupied(catalog_29: Cells, around: Cells, number: Integers, order: int) -> tuple[Integers, Floats]:
    """How many finer cells in the nine cells of each place have any source, and the area of one in deg^2, shape (n,).

    They are as fine as leaves some sources in each, by the sources of that place.
    """
    filled = np.maximum(np.count_nonzero(number, axis=0), 1)
    per_filled = np.maximum(number.sum(axis=0), 1) / (_MIN_PER_CELL * filled)
    steps = np.clip(np.log2(per_filled) / 2.0, 0, _MOST_STEPS).astype(np.int64)
    occupied = np.zeros(around.shape[1], np.int64)
    for step in np.unique(steps):
        here = np.flatnonzero(steps == step)
        fine = coarser(catalog_29, order + int(step))
        fine = fine[np.diff(fine, prepend=-1) > 0]
        shift = 2 * int(step)
        cells = around[:, here]
        inside = np.searchsorted(fine, (cells + 1) << shift) - np.searchsorted(fine, cells << shift)
        occupied[here] = np.where(cells >= 0, inside, 0).sum(axis=0)
    return occupied, SQUARE_DEGREES_OF_SKY / (12.0 * 4.0 ** (order + steps))


def _within_hulls(catalog_29: Cells, around: Cells, wide: int) -> Floats:
    """Sources per square degree inside the convex hull of those in some cells of order ``wide``; 0 of fewer than five.

    Given the hull, only the sources that are not its corners are anywhere in it by chance: their number over its area
    has no bias (Efron 1965, Biometrika 52, 331).

    Parameters
    ----------
    catalog_29 : cells of order 29, ascending, shape (m,)
    around : the cells of each place, -1 for none, shape (9, n)
    """
    shift = 2 * (FINEST_ORDER - wide)
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
        hull = scipy.spatial.ConvexHull(plane)
    except scipy.spatial.QhullError:
        # All on a line, or at one place.
        hull = None
    if hull is not None and len(vectors) - len(hull.vertices) >= _ENOUGH_INSIDE:
        # In the plane Qhull's volume is the area.
        return (len(vectors) - len(hull.vertices)) / float(hull.volume)
    # Hulls of a few may be as thin as they like: over the circle about the box that holds them.
    diameter_deg = float(np.hypot(*np.ptp(plane, axis=0)))
    return len(vectors) / (np.pi / 4.0 * diameter_deg**2) if diameter_deg > 0 else 0.0


def offset_positions(
    ra_deg: Floats, dec_deg: Floats, keys: Hashes, group: Indices, shift_arcsec: float, n_max: int
) -> tuple[Floats, Floats, Indices]:
    """Positions shifted in up to eight directions: as many unrelated positions of the same footprint.

    Parameters
    ----------
    ra_deg, dec_deg : shape (n,)
    keys : a hash of each position's name: which directions it gets does not depend on the order of rows
    group : of each position, from 0: how many it gets depends on its own group alone
    shift_arcsec : far more than errors and beams
    n_max : about how many to make in a group, at most eight a position; in a group of more positions than that, so many
        chosen by their keys

    Returns
    -------
    ra_deg, dec_deg, index of the position they come from, shape (k,)
    """
    in_group = np.bincount(group)[group] if len(group) else np.empty(0, np.int64)
    first = (keys % np.uint64(_DIRECTIONS)).astype(int)
    chosen = np.flatnonzero((keys >> np.uint64(3)) % np.uint64(1 << 20) < n_max / in_group * (1 << 20))
    n_directions = np.clip(n_max // in_group[chosen], 1, _DIRECTIONS)
    index = np.repeat(chosen, n_directions)
    which = np.arange(len(index)) - np.repeat(np.cumsum(n_directions) - n_directions, n_directions)
    # An odd stride visits all eight directions, and opposite ones soon.
    angle = ((first[index] + 3 * which) % _DIRECTIONS) * (2.0 * np.pi / _DIRECTIONS)
    ra, dec = sphere.displaced(
        ra_deg[index], dec_deg[index], shift_arcsec * np.cos(angle), shift_arcsec * np.sin(angle)
    )
    return ra, dec, index


@dataclass(frozen=True)
class Blanks:
    """Per group of detections: how many have nothing within each of some radii, and how many offset positions have not.

    The radii are each detection's own, and an offset position has those of the detection that it comes from.
    """

    n: Integers  # (n_groups,)
    n_random: Integers
    blank: Floats  # (n_groups, n_radii) counts
    blank_random: Floats
    enclosed: Floats  # (n_groups, n_radii) shares of true counterparts within the radius, summed over the detections

    def q(self, places_29: Cells, min_detections: int, default: float) -> Floats:
        """Q of each group: its own fit; of a group with too few detections, that of the groups about it together.

        Those are the groups in the finest HEALPix cell that has enough detections (`contimg_assets.sky.pools`). Where
        not even the coarsest has, Q is a default. Fleuren et al. 2012 (MNRAS 423, 2407), eq. 8.

        Parameters
        ----------
        places_29 : nested cell of order 29 of each group, shape (n_groups,)
        """
        if not len(self.n):
            return np.empty(0)
        counts = np.column_stack([self.n, self.n_random, self.blank, self.blank_random, self.enclosed])
        own, enough = _fitted(counts, min_detections)
        if enough.all():
            return own
        totals = Pools.of(places_29, places_29, min_detections, self.n).totals(places_29, counts)
        pooled, known = _fitted(totals, min_detections)
        return np.where(enough, own, np.where(known, pooled, default))


def _fitted(counts: Floats, least: int) -> tuple[Floats, Flags]:
    """Q of each row of counts (n, n_random, blank, blank_random, enclosed), and whether its n is enough."""
    n, n_random = counts[:, :1], counts[:, 1:2]
    blank, blank_random, enclosed = np.split(counts[:, 2:], 3, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        q = fit_q(blank / n, blank_random / n_random, enclosed / n)
    return q, (n[:, 0] >= least) & (n_random[:, 0] > 0)


@dataclass(frozen=True)
class Nearest:
    """Detections or offset positions: the separation of the catalog source nearest to each, and their radii.

    Attributes
    ----------
    separation_arcsec : inf where there is none, shape (n,)
    radii_arcsec : the radii of each, shape (n, n_radii)
    group : of each, from 0, shape (n,)
    """

    separation_arcsec: Floats
    radii_arcsec: Floats
    group: Indices

    def blank(self, n_groups: int) -> Floats:
        """How many have nothing within each radius, shape (n_groups, n_radii)."""
        outside = self.separation_arcsec[:, None] > self.radii_arcsec
        return np.stack(
            [np.bincount(self.group, column, minlength=n_groups) for column in outside.T.astype(float)], axis=1
        )


def count_blanks(detected: Nearest, offset: Nearest, sigma_arcsec: Floats, n_groups: int) -> Blanks:
    """Count detections and offset positions without a catalog source within radii.

    Parameters
    ----------
    sigma_arcsec : error of a pair per axis of each detection, for each of k equally likely errors of a catalog source,
        shape (k, n)
    """
    enclosed = [
        np.bincount(detected.group, completeness(radius / sigma_arcsec).mean(axis=0), minlength=n_groups)
        for radius in detected.radii_arcsec.T
    ]
    return Blanks(
        np.bincount(detected.group, minlength=n_groups),
        np.bincount(offset.group, minlength=n_groups),
        detected.blank(n_groups),
        offset.blank(n_groups),
        np.stack(enclosed, axis=1),
    )
