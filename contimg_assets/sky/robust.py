"""Medians where means would follow outliers: scatter, the error of a median, the shift of an image, per group.

Belongs here: what several stages ask of a sample of offsets or residuals. Does not belong here: which pairs the sample
is made of, and whether the result is believed; see `docs/image_shift.md` for how the stages differ in both.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import NamedTuple, TypeVar

import numpy as np
import pandas as pd
import scipy

from contimg_assets.sky.arrays import Flags, Floats, Indices

# Standard deviation of normal values over their median absolute deviation, 1 / Phi^-1(3/4).
MAD_TO_SIGMA = 1.482602218505602
# Standard error of the median of normal values over that of their mean, sqrt(pi / 2), and over MAD / sqrt(n).
MEDIAN_TO_MEAN = float(np.sqrt(np.pi / 2))
MAD_TO_MEDIAN_ERROR = MEDIAN_TO_MEAN * MAD_TO_SIGMA
# The same to four decimals. Matching, association and the start of the flux scale's fit have used these from the
# beginning: the exact ones would change their results in the seventh digit, and with them every version in every store.
MAD_TO_SIGMA_4 = 1.4826
MEDIAN_TO_MEAN_4 = 1.2533
# Relative standard error of a sigma from the MAD, times sqrt(n).
MAD_SIGMA_ERROR = 1.17

HUBER = 1.345
"""Residuals beyond so many sigmas weigh less (Huber 1964): 95 % efficiency for normal ones."""
# Mean square of psi over normal values.
_HUBER_SQUARE = 0.710165
_HALVINGS, _ROUNDS = 20, 5

_CLIP = 3.5
_CLIP_ROUNDS = 5
# Positions that agree exactly still have a width, so that the clipping has something to compare with [arcsec].
_LEAST_SCATTER = 1e-3


_Key = TypeVar("_Key", bound=Hashable)


def mad(values: Floats, centre: Floats | float = 0.0, axis: int | None = None) -> Floats:
    """Median absolute deviation from a given center, as it is: not a standard deviation."""
    return np.asarray(np.median(np.abs(values - centre), axis=axis), dtype=np.float64)


def numbers_by(key_of_each: Iterable[_Key]) -> dict[_Key, list[int]]:
    """Numbers of the samples, counted from 0, that have the same key: of samples of one size one array may hold all."""
    found: dict[_Key, list[int]] = {}
    for number, key in enumerate(key_of_each):
        found.setdefault(key, []).append(number)
    return found


def squares(values: Floats) -> Floats:
    """As Python has those of single numbers: arrays' differ in the last digit of one in a thousand.

    For what is computed of many samples at once, and must come out as it does of one.
    """
    return np.asarray([value**2 for value in np.ravel(values).tolist()], np.float64).reshape(np.shape(values))


def median_of_known(values: Floats) -> float:
    """Median of the values that are known; NaN of none."""
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else np.nan


def scatter(
    values: Floats, centre: Floats | float = 0.0, axis: int | None = None, factor: float = MAD_TO_SIGMA
) -> Floats:
    """Standard deviation about a given center, from the median absolute deviation."""
    return factor * mad(values, centre, axis)


def error_of_median(
    scatter_of_values: Floats | float, n: Floats | Indices | float, factor: float = MEDIAN_TO_MEAN
) -> Floats:
    """Standard error of the median of n values.

    Parameters
    ----------
    scatter_of_values : standard deviation of one value; or its MAD, with the factor `MAD_TO_MEDIAN_ERROR`
    n : number of values; need not be whole
    """
    return np.asarray(factor * scatter_of_values / np.sqrt(n), dtype=np.float64)


def own_error_of_median(values: Floats) -> Floats:
    """Standard error of the median from the values alone, whatever their distribution, of each column, shape (k,).

    Where values have errors of different sizes, the median is as good as those near it, while their scatter is that of
    all: the error from the scatter would be a fifth too large for sources of a usual range of brightness.

    Parameters
    ----------
    values : shape (n, k), finite

    Notes
    -----
    The standard deviation of the median over bootstrap samples, in closed form (Maritz & Jarrett 1978, JASA 73, 194),
    times a factor for small numbers, so that 1.96 of it hold 94 to 95 % of normal samples of 4 and more.
    """
    n = len(values)
    half = (n + 1) / 2.0
    weight = np.diff(scipy.special.betainc(half, half, np.arange(n + 1) / n))
    ordered = np.sort(values - np.median(values, axis=0), axis=0)
    mean, square = weight @ ordered, weight @ ordered**2
    few = 1.0 + 0.1 / np.sqrt(n) + 2.5 / n**2
    return np.asarray(np.sqrt(np.maximum(square - mean**2, 0.0)) * few, dtype=np.float64)


def weighted_center(values: Floats, sigma: Floats) -> tuple[Floats, Floats]:
    """Center of values with errors of different sizes, and its standard error, of each column, shapes (k,).

    Few values of a wide range of errors tell little by their scatter alone: the error of their median comes out a sixth
    too large, and the median itself is half as certain as a mean with weights. How large the errors are against each
    other is known; by how much they are too small or too large, the values say.

    Parameters
    ----------
    values : shape (n, k), n at least 2, finite
    sigma : standard errors, shape (n, k), positive

    Notes
    -----
    Huber's M-estimate of location, weights 1 / variance, with the scale of his proposal 2 (Huber 1964, Ann. Math. Stat.
    35, 73, section 9): the variances are those at which sum psi(z)^2 is what normal values give. Where the values
    scatter by more than their errors, what is missing is added to all variances alike (Paule & Mandel 1982, J. Res. NBS
    87, 377, with psi(z) for z), as a systematic error is; where they scatter by less, all errors are too large by one
    factor. The error is from the values left out one by one (the third estimator of MacKinnon & White 1985, J.
    Econometrics 29, 305), so that it holds whatever the errors have wrong: with a factor for small numbers, 1.96 of it
    hold 92 to 96 % of samples of 4 and more, 91 to 98 % where a floor of the errors is a third or three times what it
    should be.
    """
    n = len(values)
    # Whatever the order of the rows, the same sums to the last digit.
    order = np.lexsort((sigma, values), axis=0)
    values, sigma = (np.take_along_axis(one, order, axis=0) for one in (values, sigma))
    center = np.median(values, axis=0)
    # Enough to be added that all values are far inside.
    added = np.maximum(16.0 * np.max((values - center) ** 2, axis=0), 1e-300)
    low, high = np.zeros(values.shape[1]), np.full(values.shape[1], 2.0)
    for _ in range(_HALVINGS):
        part = 0.5 * (low + high)
        # From nothing (0) by the errors as they are (1) to all that may be added (2), in fine steps where it is little.
        variance = np.maximum(sigma**2 * np.minimum(part, 1.0) + added * np.maximum(part - 1.0, 0.0) ** 4, 1e-300)
        center = _moved(values, center, variance)
        scattered = np.minimum((values - center) ** 2 / variance, HUBER**2).sum(axis=0) > (n - 1) * _HUBER_SQUARE
        low, high = np.where(scattered, part, low), np.where(scattered, high, part)
    for _ in range(_ROUNDS):
        center = _moved(values, center, variance)
    residual = values - center
    weight = _huber_weights(residual, variance)
    left_out = residual / np.maximum(1.0 - weight / weight.sum(axis=0), 1e-6)
    slope = ((residual**2 < HUBER**2 * variance) / variance).sum(axis=0)
    few = 1.0 + 1.0 / n + 3.0 / n**2
    return center, few * np.sqrt(((weight * left_out) ** 2).sum(axis=0)) / slope


def _huber_weights(residual: Floats, variance: Floats) -> Floats:
    z = np.abs(residual) / np.sqrt(variance)
    return np.asarray(np.minimum(1.0, HUBER / np.maximum(z, 1e-300)) / variance)


def _moved(values: Floats, center: Floats, variance: Floats) -> Floats:
    """The center by the weights that values have about the last one."""
    weight = _huber_weights(values - center, variance)
    return np.asarray((weight * values).sum(axis=0) / weight.sum(axis=0))


class Shift(NamedTuple):
    """East and north with their standard errors [arcsec], and the number of pairs that they are from."""

    east: float
    north: float
    east_err: float
    north_err: float
    n: int


def clipped_shift(east: Floats, north: Floats, min_pairs: int) -> Shift | None:
    """Median of offsets without those over 3.5 sigma from it, sigma from the MAD of each axis.

    Parameters
    ----------
    east, north : offsets of the pairs, shape (n,) [arcsec]
    min_pairs : with fewer there is no shift, and clipping stops before fewer are left
    """
    if len(east) < min_pairs:
        return None
    inside = np.ones(len(east), bool)
    for _ in range(_CLIP_ROUNDS):
        middle = np.median(east[inside]), np.median(north[inside])
        width = [
            max(float(scatter(values[inside], centre, factor=MAD_TO_SIGMA_4)), _LEAST_SCATTER)
            for values, centre in zip((east, north), middle, strict=True)
        ]
        clipped = np.hypot((east - middle[0]) / width[0], (north - middle[1]) / width[1]) < _CLIP
        if clipped.sum() < min_pairs or (clipped == inside).all():
            break
        inside = clipped
    n = int(inside.sum())
    errors = [float(error_of_median(one, n, MEDIAN_TO_MEAN_4)) for one in width]
    return Shift(float(middle[0]), float(middle[1]), errors[0], errors[1], n)


def medians_of_groups(values: pd.DataFrame, group: Indices | pd.Series) -> pd.DataFrame:
    """Median of each column in each group; the index is the groups that have rows, ascending."""
    return values.groupby(group).median()


def scatter_of_groups(
    values: pd.DataFrame, centre: Floats, group: Indices | pd.Series, factor: float = MAD_TO_SIGMA
) -> pd.DataFrame:
    """Scatter of each column in each group about given centers, by the MAD.

    Parameters
    ----------
    values : columns of numbers, n rows
    center : of the group of each row, shape (n, number of columns)
    group : of each row, shape (n,)
    """
    return factor * medians_of_groups((values - centre).abs(), group)


def weighted_medians_exceed(values: Floats, weights: Floats, group: Indices, limit: Floats) -> Flags:
    """Whether the value at which half of the weight of a group is reached is above a limit, shape (n_groups,).

    It is where less than half of the weight lies at or below the limit: to know that nothing need be sorted. Groups
    without rows or weight exceed nothing.

    Parameters
    ----------
    values, weights : shape (n,), weights 0 or more
    group : of each value, shape (n,), from 0 to n_groups - 1
    limit : of each group, shape (n_groups,)
    """
    below = np.bincount(group, weights * (values <= limit[group]), minlength=len(limit))
    exceed: Flags = below < 0.5 * np.bincount(group, weights, minlength=len(limit))
    return exceed
