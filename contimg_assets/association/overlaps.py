"""The shifts of images that too few known sources lie in, from the sources that they share with other images.

In the first epoch nothing is known yet, and each image would keep a frame of its own. What one image shows in its
overlap with another one would then be founded in the frame of the one or the other, by as much apart as the two images
are off; later epochs, which have one frame, would find both places and found a second source at one of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy

from contimg_assets.association.alignment import Alignment, image_center, shifted, transported_axes
from contimg_assets.association.observation import Observation
from contimg_assets.identity.ids import hashes_of
from contimg_assets.sky import robust
from contimg_assets.sky.arrays import Flags, Floats, Indices
from contimg_assets.sky.sphere import ARCSEC_PER_RADIAN, unit_vectors

REPEATS = ("image", "ra_deg", "dec_deg", "duplicate_of")
"""Columns of the duplicates that say how images lie against each other."""

_FEWEST_SHARED = 5
# What holds a group of images that no known source lies in: their shifts are 0 within this [arcsec]. Overlaps know
# their differences to a tenth of it. A common shift is a rotation of the sky only about axes that are square to all
# centers, so that over wide fields overlaps would, with less to hold it, make one up from their noise.
_UNTIED_ARCSEC = 1.0


@dataclass(frozen=True)
class _Shared:
    """Sources that two images share: numbers of both images, unit vectors in both; shapes (n,) and (n, 3)."""

    image: Indices
    other: Indices
    place: Floats
    other_place: Floats


def with_overlaps(alignment: Alignment, observation: Observation, repeats: pd.DataFrame) -> Alignment:
    """Shift images without a shift of their own as those that they overlap with say.

    Parameters
    ----------
    alignment : against the known sources
    observation : measurements of the epoch without duplicates
    repeats : its duplicates, with the columns `REPEATS`

    Returns
    -------
    Alignment. Only the differences of images that nothing ties count as error: their common shift moves all sources
    alike, and later epochs are measured against it.
    """
    free = alignment.table["dra_arcsec"].isna().to_numpy()
    if not free.any() or not len(observation) or not len(repeats):
        return alignment
    observed = _observed(_shared(alignment, observation, repeats), observation, free)
    if not observed:
        return alignment
    shift, error, n_pairs = _solved(observed, len(free))
    known = free & (n_pairs > 0)
    vectors = alignment.vectors.copy()
    variance_ew, variance_ns = alignment.variance_ew.copy(), alignment.variance_ns.copy()
    table, moved = alignment.table.copy(), alignment.moved.copy()
    for code in np.flatnonzero(known):
        members = np.flatnonzero(observation.image == code)
        vectors[members] = shifted(vectors[members], image_center(observation, int(code)), *shift[code])
        moved[members] = True
        variance_ew[members] += error[code, 0] ** 2
        variance_ns[members] += error[code, 1] ** 2
    names = ["dra_arcsec", "ddec_arcsec", "dra_err_arcsec", "ddec_err_arcsec"]
    table.loc[known, names] = np.concatenate([shift, error], axis=1)[known]
    table.loc[known, "n_pairs"] = n_pairs[known]
    table.loc[known, "applied"] = True
    return Alignment(vectors, variance_ew, variance_ns, moved, table)


def _shared(alignment: Alignment, observation: Observation, repeats: pd.DataFrame) -> _Shared:
    """Duplicates and what they repeat, with the shifts of images that have one taken out of both."""
    kept = hashes_of(repeats["duplicate_of"])
    # Sums must not depend on the order of the rows.
    order = np.lexsort((repeats["image"].astype(str).to_numpy(), kept))
    repeats, kept = repeats.iloc[order], kept[order]
    at = np.minimum(np.searchsorted(observation.measurement, kept), len(observation) - 1)
    image = pd.Index(observation.image_names).get_indexer(pd.Index(repeats["image"].astype(str)))
    found = (observation.measurement[at] == kept) & (image >= 0)
    at, image = at[found], image[found]
    place = unit_vectors(*(repeats[name].to_numpy(dtype=float)[found] for name in ("ra_deg", "dec_deg")))
    table = alignment.table
    for code in np.flatnonzero(table["applied"].to_numpy(dtype=bool)):
        rows = image == code
        offset = float(table["dra_arcsec"].iloc[code]), float(table["ddec_arcsec"].iloc[code])
        place[rows] = shifted(place[rows], image_center(observation, int(code)), *offset)
    return _Shared(image, observation.image[at], place, alignment.vectors[at])


@dataclass(frozen=True)
class _Difference:
    """Shift of image i less that of image j, as measured in axes at their overlap.

    ``axes_i`` and ``axes_j`` are the axes of the images' shifts in those axes, shape (2, 2); ``j`` is -1, and its axes
    do not count, where the other image has a shift already.
    """

    i: int
    j: int
    axes_i: Floats
    axes_j: Floats
    value: Floats
    error: Floats
    n: int


def _observed(shared: _Shared, observation: Observation, free: Flags) -> list[_Difference]:
    """What each two images that share enough sources say, of which at least one has no shift yet."""
    found = []
    swap = shared.image > shared.other
    low, high = np.where(swap, shared.other, shared.image), np.where(swap, shared.image, shared.other)
    start = np.where(swap[:, None], shared.other_place, shared.place)
    end = np.where(swap[:, None], shared.place, shared.other_place)
    both = low.astype(np.int64) * len(free) + high
    for key in np.unique(both):
        here = both == key
        i, j = divmod(int(key), len(free))
        if i == j or not (free[i] or free[j]):
            continue
        axes = transported_axes(image_center(observation, i), start[here])
        displacement = (end[here] - start[here]) * ARCSEC_PER_RADIAN
        east, north = ((displacement * axis).sum(axis=1) for axis in axes)
        measured = robust.clipped_shift(east, north, _FEWEST_SHARED)
        if measured is None:
            continue
        value, error, n = np.array(measured[:2]), np.array(measured[2:4]), int(measured[4])
        middle = start[here].mean(axis=0, keepdims=True)
        middle /= np.linalg.norm(middle)
        frame = _axes(observation, i, middle)
        turn = frame @ _axes(observation, j, middle).T
        if not free[i]:
            # Seen from the other one, in the axes that it was measured in.
            found.append(_Difference(j, -1, turn, turn, -value, error, n))
        else:
            found.append(_Difference(i, j if free[j] else -1, np.eye(2), turn, value, error, n))
    return found


def _axes(observation: Observation, code: int, place: Floats) -> Floats:
    """East and north of an image at one place, shape (2, 3)."""
    return np.concatenate(transported_axes(image_center(observation, code), place))


def _solved(observed: list[_Difference], n_images: int) -> tuple[Floats, Floats, Indices]:
    """Shift of each image and its error, shape (n_images, 2) [arcsec]; sources that it is from, shape (n_images,)."""
    shift, error = np.zeros((n_images, 2)), np.full((n_images, 2), _UNTIED_ARCSEC)
    n_pairs = np.zeros(n_images, np.int64)
    for one in observed:
        n_pairs[[one.i] if one.j < 0 else [one.i, one.j]] += one.n
    links = [(one.i, one.j) for one in observed if one.j >= 0]
    i, j = np.array(links, dtype=np.intp).reshape(-1, 2).T
    group = scipy.sparse.csgraph.connected_components(
        scipy.sparse.coo_array((np.ones(len(i)), (i, j)), shape=(n_images, n_images)), directed=False
    )[1]
    # Each group of images by itself: it is small, and images that it does not touch do not round it.
    of_group: dict[int, list[_Difference]] = {}
    for one in observed:
        of_group.setdefault(int(group[one.i]), []).append(one)
    for number, differences in of_group.items():
        members = np.flatnonzero(group == number)
        shift[members], error[members] = _solved_together(differences, members)
    return shift, error, n_pairs


def _solved_together(observed: list[_Difference], members: Indices) -> tuple[Floats, Floats]:
    """Shifts of images that hang together, and their errors, shape (n, 2) [arcsec].

    Parameters
    ----------
    members : numbers of the images, ascending
    """
    place = {int(image): k for k, image in enumerate(members)}
    size = 2 * len(members)
    normal, right = np.eye(size) / _UNTIED_ARCSEC**2, np.zeros(size)
    for one in observed:
        design = np.zeros((2, size))
        design[:, 2 * place[one.i] : 2 * place[one.i] + 2] = one.axes_i
        if one.j >= 0:
            design[:, 2 * place[one.j] : 2 * place[one.j] + 2] = -one.axes_j
        weighted = design / one.error[:, None] ** 2
        normal += design.T @ weighted
        right += weighted.T @ one.value
    covariance = np.linalg.inv(normal)
    shift = (covariance @ right).reshape(-1, 2)
    kept = np.eye(len(members))
    if all(one.j >= 0 for one in observed):
        # Nothing ties them: what all have in common is no error.
        kept -= 1.0 / len(members)
    variance = np.stack([np.diag(kept @ covariance[axis::2, axis::2] @ kept) for axis in (0, 1)], axis=1)
    return shift, np.sqrt(np.maximum(variance, 0.0))
