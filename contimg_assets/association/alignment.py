"""The shift of each image against the sources known before it, measured and taken out before matching.

Real images are off by up to 4 arcsec while their position errors are 0.3 arcsec. Only pairs that cannot be mistaken
count: bright measurements that are alone in a wide neighborhood, near a source that is alone too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy

from contimg_assets.association.observation import Observation
from contimg_assets.config import Association
from contimg_assets.schemas.association import ALIGNMENT
from contimg_assets.sky import robust
from contimg_assets.sky.arrays import Flags, Floats, Indices
from contimg_assets.sky.sphere import ARCSEC_PER_RADIAN, chord, nearest, tree_of

BRIGHTEST_PER_IMAGE = 1000
_SIGNIFICANT = 3.0
# Pairs whose median tells the shift around a place: enough to beat their noise down, few enough to stay near.
_NEAREST = 15
# Without structure the local median adds a tenth to the scatter; it must take some away instead.
_WARPED = 0.95
_TESTED = 500
_SAME_PLACE = 1e-12


@dataclass(frozen=True)
class Alignment:
    """Measured positions with the shifts of their images taken out.

    Attributes
    ----------
    vectors : unit vectors for matching, shape (n, 3)
    variance_ew, variance_ns : variances of the measurements with those of their images' shifts added [arcsec^2]
    moved : whether the image of each measurement was shifted, shape (n,)
    table : one row an image (schema ALIGNMENT)
    """

    vectors: Floats
    variance_ew: Floats
    variance_ns: Floats
    moved: Flags
    table: pd.DataFrame

    def part(self, rows: Indices) -> Alignment:
        """Some of the measurements, ascending; the table is that of all images."""
        return Alignment(
            self.vectors[rows], self.variance_ew[rows], self.variance_ns[rows], self.moved[rows], self.table
        )


def transported_axes(centre: Floats, vectors: Floats) -> tuple[Floats, Floats]:
    """East and north of ``centre``, carried along great circles to each of ``vectors``, shape (n, 3) each.

    A shift that is the same in these axes all over an image is a small rotation of the sky, at a pole as anywhere.
    """
    x, y, z = centre
    across = np.hypot(x, y)
    cos_ra, sin_ra = (x / across, y / across) if across > 0 else (1.0, 0.0)
    east = np.array([-sin_ra, cos_ra, 0.0])
    north = np.array([-z * cos_ra, -z * sin_ra, across])
    cosine = _dot(vectors, centre)
    halfway = vectors + centre
    return tuple(axis - halfway * (_dot(vectors, axis) / (1.0 + cosine))[:, None] for axis in (east, north))  # type: ignore[return-value]


def image_center(observation: Observation, code: int) -> Floats:
    """Unit vector of the middle of an image's measurements, where its shift has its axes; shape (3,)."""
    center = observation.vectors[observation.image == code].mean(axis=0)
    unit: Floats = center / np.sqrt(_dot(center, center))
    return unit


def shifted(vectors: Floats, center: Floats, dra_arcsec: Floats | float, ddec_arcsec: Floats | float) -> Floats:
    """Unit vectors of an image moved east and north in the axes of its center, shape (n, 3)."""
    east, north = transported_axes(center, vectors)
    moved = vectors + (dra_arcsec * east + ddec_arcsec * north) / ARCSEC_PER_RADIAN
    unit: Floats = moved / np.sqrt(_dot(moved, moved))[:, None]
    return unit


def unaligned(observation: Observation, codes: Indices | None = None) -> Alignment:
    """Positions as they are; the table is of all images, or of some."""
    names = observation.image_names if len(observation) else ()
    names = names if codes is None else tuple(names[code] for code in codes.tolist())
    unknown = np.full(len(names), np.nan)
    table = pd.DataFrame(
        {
            "image": pd.Series(names, dtype="str"),
            "dra_arcsec": unknown,
            "ddec_arcsec": unknown,
            "dra_err_arcsec": unknown,
            "ddec_err_arcsec": unknown,
            "n_pairs": np.zeros(len(names), np.int64),
            "applied": np.zeros(len(names), bool),
            "warped": np.zeros(len(names), bool),
        }
    )
    return Alignment(
        observation.vectors, observation.sigma_ew**2, observation.sigma_ns**2, np.zeros(len(observation), bool), table
    )


def align(
    observation: Observation,
    sources: scipy.spatial.cKDTree,
    parameters: Association,
    codes: Indices | None = None,
) -> Alignment:
    """Measure each image's shift against known sources, and take it out where it is significant.

    Of the `BRIGHTEST_PER_IMAGE` brightest measurements of an image those count that are one half of an isolated mutual
    pair: their source is within ``alignment_radius_arcsec``, there is no other source within twice that, and none of
    the other measurements has the same source. The shift is the median of the offsets after clipping at 3.5 sigma (by
    the median absolute deviation). It is applied if there are ``alignment_min_pairs`` and it is 3 times its error.

    Parameters
    ----------
    sources : tree of the unit vectors of the known sources
    codes : images to do this for, all if not given; the others stay as they are, and have no row in the table
    """
    if not len(observation) or not sources.n:
        return unaligned(observation, codes)
    radius = parameters.alignment_radius_arcsec
    bright = _brightest(observation, parameters.alignment_min_snr)
    if codes is not None:
        bright = bright[_rivals(observation, bright, np.isin(observation.image[bright], codes), 2 * radius)]
    found = sources.query(observation.vectors[bright], k=[1, 2], distance_upper_bound=float(chord(2 * radius)))
    separation, index = np.asarray(found[0]), np.asarray(found[1])
    alone = (separation[:, 0] <= chord(radius)) & np.isinf(separation[:, 1])
    chosen, nearest = bright[alone], index[alone, 0].astype(np.intp)
    mutual = np.bincount(nearest, minlength=sources.n)[nearest] == 1
    chosen, nearest = chosen[mutual], nearest[mutual]
    vectors = observation.vectors.copy()
    variance_ew, variance_ns = observation.sigma_ew**2, observation.sigma_ns**2
    rows, moved = [], np.zeros(len(observation), bool)
    for code in range(len(observation.image_names)) if codes is None else codes.tolist():
        name = observation.image_names[code]
        members = np.flatnonzero(observation.image == code)
        centre = image_center(observation, code)
        used = observation.image[chosen] == code
        start = observation.vectors[chosen[used]]
        displacement = (sources.data[nearest[used]] - start) * ARCSEC_PER_RADIAN
        east, north = transported_axes(centre, start)
        shift = robust.clipped_shift(
            _dot(displacement, east), _dot(displacement, north), parameters.alignment_min_pairs
        )
        if shift is None:
            rows.append(_row(name, int(used.sum())))
            continue
        dra, ddec, dra_err, ddec_err, n_pairs = shift
        significant = np.hypot(dra / dra_err, ddec / ddec_err) > _SIGNIFICANT
        row = (name, dra, ddec, dra_err, ddec_err, n_pairs, bool(significant))
        if not significant:
            dra = ddec = dra_err = ddec_err = 0.0
        residual = np.stack([_dot(displacement, east) - dra, _dot(displacement, north) - ddec])
        local = _local_shift(start, residual, vectors[members])
        rows.append((*row, local is not None))
        if local is not None or significant:
            extra, extra_err = local if local is not None else (np.zeros((2, 1)), np.zeros(2))
            shift_ew, shift_ns = (dra + extra[0])[:, None], (ddec + extra[1])[:, None]
            vectors[members] = shifted(vectors[members], centre, shift_ew, shift_ns)
            variance_ew[members] += dra_err**2 + extra_err[0] ** 2
            variance_ns[members] += ddec_err**2 + extra_err[1] ** 2
            moved[members] = True
    table = pd.DataFrame(rows, columns=ALIGNMENT.names)
    return Alignment(vectors, variance_ew, variance_ns, moved, table)


def _local_shift(pairs: Floats, residual: Floats, members: Floats) -> tuple[Floats, Floats] | None:
    """What is left of an image's offset around each of its measurements, if it differs over the image.

    The edges of real fields are off by some arcsec against their middle. The median residual of the `_NEAREST` pairs
    around a place is taken out too, if it predicts pairs that it was not formed from better than nothing does.

    Parameters
    ----------
    pairs : unit vectors of the pairs' measurements, shape (n, 3)
    residual : what is left of their offsets east and north, shape (2, n) [arcsec]
    members : unit vectors of all measurements of the image, shape (m, 3)

    Returns
    -------
    Shifts shape (2, m) and their errors shape (2,) [arcsec], or None
    """
    if len(pairs) < 3 * _NEAREST:
        return None
    tree = scipy.spatial.cKDTree(pairs)
    # The brightest come first.
    tested = residual[:, :_TESTED]
    around = np.asarray(tree.query(pairs[:_TESTED], k=_NEAREST + 1)[1])[:, 1:]
    left = tested - np.median(residual[:, around], axis=2)
    spread = robust.scatter(left, axis=1, factor=robust.MAD_TO_SIGMA_4)
    # The median of the squares over both axes: outliers must not decide whether the field is warped.
    if np.median((left**2).sum(axis=0)) > _WARPED * np.median((tested**2).sum(axis=0)):
        return None
    # One more than needed: a measurement that is itself among the pairs does not predict its own shift.
    distance, nearest = (np.asarray(found) for found in tree.query(members, k=_NEAREST + 1))
    own = distance[:, 0] < _SAME_PLACE
    nearest = np.where(own[:, None], nearest[:, 1:], nearest[:, :-1])
    return np.median(residual[:, nearest], axis=2), robust.error_of_median(spread, _NEAREST, robust.MEDIAN_TO_MEAN_4)


def _rivals(observation: Observation, rows: Indices, wanted: Flags, radius_arcsec: float) -> Flags:
    """Which rows are wanted, or may have the same source as one that is."""
    rivals = wanted.copy()
    if wanted.any() and not wanted.all():
        tree = tree_of(observation.vectors[rows[wanted]])
        others = observation.vectors[rows[~wanted]]
        rivals[~wanted] = np.isfinite(nearest(tree, others, radius_arcsec))
    return rivals


def _row(name: str, n_pairs: int) -> tuple[str, float, float, float, float, int, bool, bool]:
    return (name, np.nan, np.nan, np.nan, np.nan, n_pairs, False, False)


def _dot(first: Floats, second: Floats) -> Floats:
    # Spelled out, because a matrix product may sum in an order that depends on threads.
    return first[..., 0] * second[..., 0] + first[..., 1] * second[..., 1] + first[..., 2] * second[..., 2]


def _brightest(observation: Observation, min_snr: float) -> np.ndarray:
    """Up to BRIGHTEST_PER_IMAGE measurements of each image, best first within an image."""
    known = np.isfinite(observation.snr)
    usable = np.flatnonzero(~known | (observation.snr >= min_snr))
    # Where the signal to noise is unknown, small errors mean bright.
    brightness = np.where(known, observation.snr, 1.0 / np.hypot(observation.sigma_ew, observation.sigma_ns))[usable]
    order = np.lexsort((-brightness, observation.image[usable]))
    usable = usable[order]
    image = observation.image[usable]
    first = np.searchsorted(image, image)
    return usable[np.arange(len(usable)) - first < BRIGHTEST_PER_IMAGE]
