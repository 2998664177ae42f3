"""Measurements of the same source in overlapping images of one epoch: which one is kept, and which are its duplicates.

Two rules: `vast` as vast-pipeline has it, and the default, which has none of its faults. Both look at pairs from
different images only, keep the measurement that is nearest to its image's center, and settle ties by identifier. Plain
functions on arrays; rows are expected in the order of their identifiers, so that the order of delivery never matters.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy

from contimg_assets.sky.arrays import Flags, Floats, Indices, Integers
from contimg_assets.sky.robust import medians_of_groups, scatter, scatter_of_groups
from contimg_assets.sky.sphere import arc, distance, limit_of, offsets_arcsec, unit_vectors

MIN_PAIRS_FOR_SHIFT = 5
"""Fewest mutual nearest pairs that the shift between two images is measured from."""

MIN_OVER_CHANCE = 3
"""How many times the chance pairs those pairs must be."""

_ROUNDING = 1 + 1e-12
# A pair that nothing else competes with is one source up to this many times ``sigma``: position errors have tails, and
# two sources that are each seen in one image only, this near to each other, are rarer still.
_ALONE = 2.0
# Images that share few sources, or are off by more than half a beam, are shifted as others of the epoch are: so many
# shifts tell by how much.
_FEWEST_SHIFTS = 3
# Pairs reach from the shift of their images so many times their scatter; shifts are columns of that name.
_CUT_OFF = 2.0
_SHIFT = ["east", "north", "scatter_east", "scatter_north"]
# Half of all lengths of vectors whose components have the standard deviation 1 are shorter.
_MEDIAN_OF_RAYLEIGH = float(np.sqrt(2.0 * np.log(2.0)))
_WORKERS = min(4, os.cpu_count() or 1)
# Pairs whose median tells how two images lie against each other around a place, and the least number of pairs for it.
_NEAREST, _FEWEST_FOR_WARP = 15, 45
# The shift around a place must predict pairs that it was not formed from better than one shift for all by this factor.
_WARPED = 0.9


class Duplicates(NamedTuple):
    """For each row, shape (n,): the row that is kept in its place (-1 where it is kept itself), and their
    separation."""

    kept: Indices
    separation_arcsec: Floats


class _RowPairs(NamedTuple):
    """Pairs of rows of different images, i before j."""

    i: Indices
    j: Indices
    separation_arcsec: Floats

    def where(self, rows: Flags) -> _RowPairs:
        return _RowPairs(self.i[rows], self.j[rows], self.separation_arcsec[rows])


def find_duplicates_vast(
    ra_deg: Floats,
    dec_deg: Floats,
    image: npt.NDArray[np.integer],
    dist_from_centre_deg: Floats,
    radius_arcsec: float = 2.5,
) -> Duplicates:
    """The rule of vast-pipeline: of each pair within the radius, the one farther from its image's center goes.

    A measurement that goes still makes others go: in a chain A-B-C, C goes because of B although B goes too, and one
    blend removes both components that another image resolves. `kept` of these is the nearest to its center at the
    chain's end.

    Parameters
    ----------
    ra_deg, dec_deg : positions, shape (n,)
    image : number of the image of each row
    dist_from_centre_deg : separation from the center of its image
    radius_arcsec : inclusive
    """
    vectors = unit_vectors(ra_deg, dec_deg)
    pairs = _pairs(vectors, image, radius_arcsec)
    kept = _best_partner(pairs, _Order.of(dist_from_centre_deg))
    # Each row points at a better one: following the pointers ends at one that is kept.
    while True:
        onward = np.where(kept >= 0, kept[np.maximum(kept, 0)], -1)
        if (onward < 0).all():
            break
        kept = np.where(onward >= 0, onward, kept)
    return _with_separations(kept, vectors)


def find_duplicates(
    ra_deg: Floats,
    dec_deg: Floats,
    uncertainty_ew_arcsec: Floats,
    uncertainty_ns_arcsec: Floats,
    image: npt.NDArray[np.integer],
    dist_from_centre_deg: Floats,
    beam_arcsec: float,
    radius_arcsec: float = 2.5,
    sigma: float = 4.0,
) -> Duplicates:
    """The default rule.

    1. The shift between each two images is the median offset of their mutually nearest measurements within half a beam
       (within one beam, where the images are off by so much that half a beam would cut off their pairs), and is taken
       out before pairs are compared (images of real surveys are off by several arcsec against each other, and not by
       the same everywhere: the scatter about the shift is taken as the position error where it is larger).
       With fewer than `MIN_PAIRS_FOR_SHIFT` such pairs, or mostly chance pairs, there is no shift, and the scatter of
       the shifts of the other images of the epoch, where there are at least three, is added to the position errors.
       Where what is left differs over the two images, as at the edges of real fields, the median of the nearest pairs
       around a place is taken out too.
    2. Two measurements can be the same source if they are closer than ``radius_arcsec``, or than ``sigma`` combined
       position errors (but never farther than half a beam); up to twice ``sigma`` where the shift was measured and no
       other measurement of the two images is within half a beam of either. Where it was not, but those of other images
       were, up to one beam, if no other measurement of the two is within a beam of either.
    3. Between each two images a measurement has at most one partner. Where several compete, partners are those of the
       one-to-one assignment of greatest total likelihood. One blend therefore never removes two components that another
       image resolves, and the components of a double are not given out crosswise.
    4. In the order of their distance from the center of their image, each measurement is kept and removes its partners,
       unless it has been removed itself. What is removed removes nothing: a chain A-B-C keeps A and C.

    Parameters
    ----------
    ra_deg, dec_deg : positions, shape (n,), in the order of the identifiers, which settles ties
    uncertainty_ew_arcsec, uncertainty_ns_arcsec : 1-sigma position errors, systematics included
    image : number of the image of each row
    dist_from_centre_deg : separation from the center of its image
    beam_arcsec : largest FWHM of the images' beams
    radius_arcsec : pairs closer than this are candidates whatever their errors
    sigma : pairs closer than this many combined errors are candidates
    """
    vectors = unit_vectors(ra_deg, dec_deg)
    limit, whole = max(radius_arcsec, beam_arcsec / 2), max(radius_arcsec, beam_arcsec)
    pairs = _pairs(vectors, image, whole * np.sqrt(2))
    east, north = offsets_arcsec(ra_deg[pairs.i], dec_deg[pairs.i], ra_deg[pairs.j], dec_deg[pairs.j])
    shifts = _image_shifts(pairs, image, vectors, (east, north), limit, whole)
    east, north = east - shifts.east, north - shifts.north
    residual = np.hypot(east, north)
    error_east = np.hypot(uncertainty_ew_arcsec[pairs.i], uncertainty_ew_arcsec[pairs.j])
    error_north = np.hypot(uncertainty_ns_arcsec[pairs.i], uncertainty_ns_arcsec[pairs.j])
    normalized = np.hypot(
        east / _sigma(error_east, shifts.scatter_east, shifts.measured),
        north / _sigma(error_north, shifts.scatter_north, shifts.measured),
    )
    alone = shifts.measured & _alone(pairs, image, residual <= limit)
    reach = np.where(alone, _ALONE * sigma, sigma)
    usual = ~shifts.measured & (shifts.scatter_east > 0)
    farthest = np.where(usual & _alone(pairs, image, residual <= whole), whole, limit)
    candidate = (residual <= radius_arcsec * _ROUNDING) | ((normalized <= reach) & (residual <= farthest))
    pairs = pairs.where(candidate)
    pairs = pairs.where(_one_to_one(pairs, image, normalized[candidate], sigma))
    kept = _keep_in_order(pairs, _Order.of(dist_from_centre_deg))
    return _with_separations(kept, vectors)


def _sigma(error: Floats, scatter_arcsec: Floats, measured: Flags) -> Floats:
    """Standard deviation of offsets along an axis: pairs scatter about the shift of their images by their errors, too.

    Where that shift is not known, the scatter is that of shifts, which is beside the errors.
    """
    return np.where(measured, np.maximum(error, scatter_arcsec), np.hypot(error, scatter_arcsec))


def _pairs(vectors: Floats, image: npt.NDArray[np.integer], radius_arcsec: float) -> _RowPairs:
    """All pairs of different images within the radius, inclusive."""
    if len(vectors) < 2 or image.min() == image.max():
        nothing = np.empty(0, np.intp)
        return _RowPairs(nothing, nothing, np.empty(0))
    # A tree of points that are neighbors in memory, here along strips of declination, is built and searched faster.
    along = np.argsort(4 * np.floor(vectors[:, 2] * 1000) + vectors[:, 0])
    tree = scipy.spatial.cKDTree(vectors[along], balanced_tree=False, compact_nodes=False)
    found = along[tree.query_pairs(limit_of(radius_arcsec), output_type="ndarray")]
    found = found[image[found[:, 0]] != image[found[:, 1]]]
    i, j = np.minimum(found[:, 0], found[:, 1]), np.maximum(found[:, 0], found[:, 1])
    return _RowPairs(i, j, arc(distance(vectors[i], vectors[j])))


class _Order(NamedTuple):
    """Rows in the order of distance from their image's center (ties by row), and the place of each row in it."""

    rows: Indices
    rank: Indices

    @classmethod
    def of(cls, dist_from_centre_deg: Floats) -> _Order:
        rows = np.argsort(dist_from_centre_deg)
        if (dist_from_centre_deg[rows[1:]] == dist_from_centre_deg[rows[:-1]]).any():
            rows = np.argsort(dist_from_centre_deg, kind="stable")
        rank = np.empty(len(rows), np.intp)
        rank[rows] = np.arange(len(rows))
        return cls(rows, rank)

    def sorted(self, pairs: _RowPairs) -> tuple[Indices, Indices]:
        """The row of each pair that comes first, and the other."""
        first = np.where(self.rank[pairs.i] < self.rank[pairs.j], pairs.i, pairs.j)
        return first, pairs.i + pairs.j - first

    def row_at(self, rank: Indices) -> Indices:
        """The rows at these places; -1 beyond the last."""
        return np.append(self.rows, -1)[rank]


def _best_partner(pairs: _RowPairs, order: _Order) -> Indices:
    """The partner that comes first of all, where it comes before the row itself; -1 else."""
    first, second = order.sorted(pairs)
    best = np.full(len(order.rank), len(order.rank), np.intp)
    np.minimum.at(best, second, order.rank[first])
    return order.row_at(best)


def _keep_in_order(pairs: _RowPairs, order: _Order) -> Indices:
    """Greedy choice in order, for all rows at once.

    In each round every undecided row without an undecided partner before it is kept and its partners go; this is the
    same set as going through the rows one by one, in as many rounds as the longest chain in falling order needs.
    """
    first, second = order.sorted(pairs)
    n_rows = len(order.rank)
    best = np.full(n_rows, n_rows, np.intp)
    undecided = np.ones(n_rows, bool)
    while len(first):
        waits = np.zeros(n_rows, bool)
        waits[second] = True
        keeps = undecided & ~waits
        removes = keeps[first]
        np.minimum.at(best, second[removes], order.rank[first[removes]])
        undecided[keeps] = False
        undecided[second[removes]] = False
        alive = undecided[first] & undecided[second]
        first, second = first[alive], second[alive]
    return order.row_at(best)


def _ends(pairs: _RowPairs, image: npt.NDArray[np.integer]) -> tuple[Indices, Indices]:
    """Both rows of each pair as numbers that also tell the other image: equal where pairs compete for a row."""
    n_images = int(image.max(initial=0)) + 1
    return pairs.i * n_images + image[pairs.j], pairs.j * n_images + image[pairs.i]


def _alone(pairs: _RowPairs, image: npt.NDArray[np.integer], inside: Flags) -> Flags:
    """Which pairs are the only ones ``inside`` the limit, between their two images, of both of their rows."""
    one, other = _ends(pairs, image)
    ends, place = np.unique(np.concatenate([one, other]), return_inverse=True)
    within = np.bincount(place, np.tile(inside, 2), minlength=len(ends))
    alone: Flags = inside & (within[place[: len(one)]] == 1) & (within[place[len(one) :]] == 1)
    return alone


def _one_to_one(pairs: _RowPairs, image: npt.NDArray[np.integer], normalized: Floats, sigma: float) -> Flags:
    """Which pairs make the one-to-one assignment of greatest total likelihood between each two images.

    A pair is worth ln(1 + exp((sigma^2 - n^2) / 2)) at n combined errors: the ln of its likelihood over that of two
    sources, if both are equally likely at ``sigma``. Every candidate is worth something.
    """
    one, other = _ends(pairs, image)
    key = pd.Series(np.concatenate([one, other]))
    single = ~key.duplicated(keep=False).to_numpy()
    chosen = single[: len(one)] & single[len(one) :]
    open_pairs = np.flatnonzero(~chosen)
    if not len(open_pairs):
        return chosen
    # Rows of the lower image on one side: the graph has two sides, and groups of pairs of images do not touch.
    swap = image[pairs.i] > image[pairs.j]
    low, high = np.where(swap, other, one)[open_pairs], np.where(swap, one, other)[open_pairs]
    rows, row = np.unique(low, return_inverse=True)
    columns, column = np.unique(high, return_inverse=True)
    worth = np.logaddexp(0.0, 0.5 * (sigma**2 - normalized[open_pairs] ** 2))
    # Every row has a column of its own for staying alone; the offset keeps all weights above zero.
    alone, offset = np.arange(len(rows)), 1.0 + float(worth.max())
    graph = scipy.sparse.csr_array(
        (
            np.concatenate([offset - worth, np.full(len(rows), offset)]),
            (np.concatenate([row, alone]), np.concatenate([column, len(columns) + alone])),
        ),
        shape=(len(rows), len(columns) + len(rows)),
    )
    partner = np.empty(len(rows), np.intp)
    matched_row, matched_column = scipy.sparse.csgraph.min_weight_full_bipartite_matching(graph)
    partner[matched_row] = matched_column
    chosen[open_pairs[partner[row] == column]] = True
    return chosen


def _mutual_nearest(pairs: _RowPairs, image: npt.NDArray[np.integer], distance: Floats) -> Flags:
    """Which pairs are each other's nearest between their two images; ties by row."""
    n_pairs, n_images = len(distance), int(image.max(initial=0)) + 1
    # Every pair is seen from both of its rows.
    row, other = np.concatenate([pairs.i, pairs.j]), np.concatenate([pairs.j, pairs.i])
    key = pd.Series(row.astype(np.int64) * n_images + image[other])
    nearest = ~key.duplicated(keep=False).to_numpy()
    # Only those with several candidates have to be compared.
    several = np.flatnonzero(~nearest)
    several = several[np.lexsort((other[several], np.concatenate([distance, distance])[several]))]
    nearest[several] = ~key.iloc[several].duplicated().to_numpy()
    return nearest[:n_pairs] & nearest[n_pairs:]


class _ImageShifts(NamedTuple):
    """How the two images of each pair lie against each other, shape (number of pairs,), arcsec.

    ``east`` and ``north`` are the shift from the image of i to that of j; ``scatter_east`` and ``scatter_north`` the
    robust scatter about it; ``measured`` is false where there are too few pairs, or mostly chance pairs: there the
    shift is 0, and the scatter that of the other images' shifts; 0 if that is not known either.
    """

    east: Floats
    north: Floats
    scatter_east: Floats
    scatter_north: Floats
    measured: Flags


def _image_shifts(
    pairs: _RowPairs,
    image: npt.NDArray[np.integer],
    vectors: Floats,
    offsets: tuple[Floats, Floats],
    limit_arcsec: float,
    whole_arcsec: float,
) -> _ImageShifts:
    """Shift and scatter of each two images from their mutually nearest pairs within a limit, or within a whole beam.

    Parameters
    ----------
    vectors : unit vectors of the rows
    offsets : east and north from i to j of each pair [arcsec]
    """
    if not len(pairs.i):
        nothing = np.empty(0)
        return _ImageShifts(nothing, nothing, nothing, nothing, np.empty(0, bool))
    # Offsets go from the lower image to the higher, so that all pairs of two images have one sign.
    sign = np.where(image[pairs.i] < image[pairs.j], 1.0, -1.0)
    n_images = int(image.max(initial=0)) + 1
    low, high = np.minimum(image[pairs.i], image[pairs.j]), np.maximum(image[pairs.i], image[pairs.j])
    both = low.astype(np.int64) * n_images + high
    all_offsets = sign[:, None] * np.stack(offsets, axis=1)
    mutual, found = _shifts_within(pairs, image, both, all_offsets, limit_arcsec)
    wide_mutual, wide = _shifts_within(pairs, image, both, all_offsets, whole_arcsec)
    # Where images are off by so much that half a beam cuts off their pairs, one beam tells the shift.
    farthest = np.hypot(wide["east"], wide["north"]) + _CUT_OFF * np.hypot(wide["scatter_east"], wide["scatter_north"])
    cut = wide.index[wide["believed"] & ((farthest > limit_arcsec) | ~found["believed"].reindex(wide.index).eq(True))]
    found = pd.concat([found.drop(cut, errors="ignore"), wide.loc[cut]]).sort_index()
    mutual = np.where(np.isin(both, cut), wide_mutual, mutual)
    believed, n_pairs = found["believed"].to_numpy(dtype=bool), found["n"].to_numpy()
    found = found[_SHIFT]
    sizes = np.hypot(found.loc[believed, "east"], found.loc[believed, "north"])
    usual = float(np.median(sizes)) / _MEDIAN_OF_RAYLEIGH if len(sizes) >= _FEWEST_SHIFTS else 0.0
    unknown = {"east": 0.0, "north": 0.0, "scatter_east": usual, "scatter_north": usual}
    known = found[believed].reindex(both).fillna(unknown).to_numpy()

    def warped(key: int) -> None:
        here = np.flatnonzero(both == key)
        used = mutual[here]
        left = all_offsets[here] - known[here, :2]
        warp = _warp(vectors[pairs.i[here]], left, used)
        if warp is not None:
            known[here, :2] += warp
            known[here, 2:] = scatter((left - warp)[used], axis=0)

    # Each pair of rows is of one pair of images, and NumPy and the tree let go of the interpreter.
    with ThreadPoolExecutor(_WORKERS) as pool:
        list(pool.map(warped, found.index[believed & (n_pairs >= _FEWEST_FOR_WARP)]))
    measured = np.isin(both, found.index[believed])
    return _ImageShifts(sign * known[:, 0], sign * known[:, 1], known[:, 2], known[:, 3], measured)


def _shifts_within(
    pairs: _RowPairs, image: npt.NDArray[np.integer], both: Integers, offsets: Floats, limit_arcsec: float
) -> tuple[Flags, pd.DataFrame]:
    """Which pairs are mutually nearest within a limit, and what they say of each two images.

    The pairs of a ring of the same area say how many are by chance: where they are not much fewer, nothing is learnt.

    Parameters
    ----------
    both : number of the two images of each pair
    offsets : from the lower image to the higher, shape (n, 2) [arcsec]

    Returns
    -------
    Flags of the pairs; a row for each two images that have such pairs: east, north, scatter_east, scatter_north, n,
    believed
    """
    inside = pairs.separation_arcsec <= limit_arcsec
    mutual = np.zeros(len(both), bool)
    mutual[inside] = _mutual_nearest(pairs.where(inside), image, pairs.separation_arcsec[inside])
    near = pd.DataFrame(offsets[mutual], columns=["east", "north"])
    middle = medians_of_groups(near, both[mutual])
    spread = scatter_of_groups(near, middle.reindex(both[mutual]).to_numpy(), both[mutual])
    found = middle.join(spread.add_prefix("scatter_"))
    n_pairs = pd.Series(both[mutual]).value_counts().reindex(found.index)
    ring = ~inside & (pairs.separation_arcsec <= np.sqrt(2) * limit_arcsec)
    chance = pd.Series(both[ring]).value_counts().reindex(found.index, fill_value=0)
    believed = (n_pairs >= MIN_PAIRS_FOR_SHIFT) & (n_pairs > MIN_OVER_CHANCE * chance)
    return mutual, found.assign(n=n_pairs, believed=believed)


def _warp(places: Floats, left: Floats, used: Flags) -> Floats | None:
    """What is left of the offsets around each place, as the median of its nearest pairs; None where nothing is gained.

    Parameters
    ----------
    places : unit vectors of the pairs of two images, shape (n, 3)
    left : their offsets without the shift of the images, shape (n, 2) [arcsec]
    used : pairs to learn from, shape (n,)
    """
    learnt = np.flatnonzero(used)
    nearest = learnt[np.asarray(scipy.spatial.cKDTree(places[learnt]).query(places, k=_NEAREST + 1)[1])]
    # A pair does not predict itself.
    own = nearest[:, 0] == np.arange(len(places))
    around = np.where(own[:, None], nearest[:, 1:], nearest[:, :-1])
    warp = np.empty_like(left)
    for axis in range(left.shape[1]):
        # The median of an odd number of values is one of them.
        values = left[around, axis]
        values.partition(_NEAREST // 2, axis=1)
        warp[:, axis] = values[:, _NEAREST // 2]
    after, before = ((values[used] ** 2).sum(axis=1) for values in (left - warp, left))
    # Medians of squares: outliers must not decide whether the images are warped.
    return warp if np.median(after) < _WARPED * np.median(before) else None


def _with_separations(kept: Indices, vectors: Floats) -> Duplicates:
    separation = np.full(len(kept), np.nan)
    rows = np.flatnonzero(kept >= 0)
    separation[rows] = arc(distance(vectors[rows], vectors[kept[rows]]))
    return Duplicates(kept, separation)
