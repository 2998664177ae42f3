"""The systematic error of the positions of each image: images differ by far more than places in one do.

The ionosphere moves sources of an image, neighbors alike, in some epochs five times as far as in others. One number for
all images is too large for most and far too small for a few, and means of positions would be drawn by these. What an
image's positions are off by is told by their differences from the means of earlier ones, whose own systematic errors
are known by then. It is given once, in the image's own epoch, and never changes.

Of the first two images of a place only the sum is seen. Each is taken to have half of it: then their mean is as
uncertain as it is, whichever of the two is the bad one, and from the third image on each is told by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import scipy

from contimg_assets.sky.arrays import Flags, Floats, Indices, Integers
from contimg_assets.variability.error_evidence import (
    IMAGE_VARIANCE,
    MEAN,
    NOISE_VARIANCE,
    RADIUS,
    SCALE_VARIANCE,
    WEIGHT,
    Means,
    N,
)
from contimg_assets.variability.error_model import UNIT_ARCSEC, ErrorTerms
from contimg_assets.variability.position_evidence import MISTAKEN, QUOTED, WITHIN_QUOTED, Places

# Sources with two earlier positions that an image is judged by; where there are fewer, those with one take part.
_FEWEST = 20
# Squares count up to this many standard errors; so many differences are believed beforehand to be as usual, and as the
# squares say.
_FARTHEST, _PRIOR_USUAL, _PRIOR_SQUARES = 2.5, 10.0, 20.0
# Differences whose variance is systematic by at least this, over what is known, tell how far the tails reach.
_TELLING = 0.3
# A systematic error is found within this factor of the usual one, in so many halvings.
_RANGE, _HALVINGS = 30.0, 24
# Square of the usual one, where all images together show none [arcsec^2].
_LEAST_USUAL = 1e-4


@dataclass(frozen=True)
class Apart:
    """Squared differences of positions from earlier means, and their variances in parts [arcsec^2], shape (n,).

    Attributes
    ----------
    image : number of the image
    square : of the difference
    noise : by the finder's errors, and those of the images' offsets
    of_mean : by the systematic errors of the images in the mean
    share : by the image's own, over the square of its systematic error at the typical distance
    """

    image: Integers
    square: Floats
    noise: Floats
    of_mean: Floats
    share: Floats

    def variance(self, own: Floats) -> Floats:
        """Of each difference, given the squares of the images' systematic errors, shape (n_images,)."""
        return self.noise + self.of_mean + self.share * own[self.image]


def with_images(here: Places, means: Means, terms: ErrorTerms, n_images: int) -> tuple[Places, Means, Floats]:
    """Positions of an epoch with the systematic errors of their images.

    Parameters
    ----------
    here : their systematic errors do not count
    means : of earlier positions
    terms : what is published of all images together: how errors go with distance from the image center, and what is
        usual
    n_images : in the epoch

    Returns
    -------
    The positions; the means, first images judged by what the second ones say; the systematic error of each image at
    the typical distance from its center [arcsec], shape (n_images,), NaN where nothing tells
    """
    usual = max(terms.typical_square * UNIT_ARCSEC**2, _LEAST_USUAL)
    turned = (here.unit / UNIT_ARCSEC) ** 2
    shape = terms.shape_square(here.radius) * turned
    row = means.row_of(here.source_id, here.configuration)
    chosen, alone = _compared(here.image, row, means, n_images)
    old = means.columns[row[chosen]]
    of_first = np.where(alone[chosen], terms.shape_square(old[:, RADIUS]) * turned[chosen], 0.0)
    compared = here.take(chosen)
    factor_square = terms.noise_square(compared.unit, compared.err)
    apart = _apart(compared, shape[chosen], old, of_first, factor_square)
    own = systematic_squares(apart, n_images, usual)
    judged = np.where(np.isnan(own), usual, own)
    placed = replace(here, systematic=shape * judged[here.image])
    of_alone = of_first[alone[chosen]] * judged[here.image[alone]]
    return placed, _with_first(means, row[alone], of_alone), np.sqrt(own)


def _with_first(means: Means, row: Indices, image_variance: Floats) -> Means:
    """The means with other systematic errors in some rows of single positions."""
    if not len(row):
        return means
    columns = means.columns.copy()
    columns[row, IMAGE_VARIANCE] = image_variance
    columns[row, WEIGHT] = 1.0 / (columns[row, NOISE_VARIANCE] + columns[row, SCALE_VARIANCE] + image_variance)
    return replace(means, columns=columns)


def _compared(image: Integers, row: Indices, means: Means, n_images: int) -> tuple[Flags, Flags]:
    """Which positions tell about their images; those of them whose only earlier position is of an unknown image."""
    n_earlier = np.zeros(len(row))
    n_earlier[row >= 0] = means.columns[row[row >= 0], N]
    second = np.bincount(image[n_earlier >= 2.0], minlength=n_images) < _FEWEST
    alone = (n_earlier == 1.0) & second[image]
    return (n_earlier >= 2.0) | alone, alone


def _apart(here: Places, shape: Floats, old: Floats, of_first: Floats, factor_square: Floats) -> Apart:
    """Differences from the means ``old``, whose systematic errors are the image's own times ``of_first``, if not 0."""
    noise = factor_square * (here.err**2 + old[:, NOISE_VARIANCE])
    noise += (here.scale_err * here.unit) ** 2 + old[:, SCALE_VARIANCE]
    return Apart(
        here.image,
        (here.flux - old[:, MEAN]) ** 2,
        noise,
        np.where(of_first > 0.0, 0.0, old[:, IMAGE_VARIANCE]),
        shape + of_first,
    )


def systematic_squares(apart: Apart, n_images: int, usual: float) -> Floats:
    """Square of the systematic error of each image [arcsec^2], shape (n_images,); NaN without differences.

    It is such that 95 % of the positions are within 1.96 errors, as errors are quoted: first by the squares of all
    differences, the largest cut, then by the share of those that tell about tails.

    Parameters
    ----------
    usual : square of the systematic error that is believed beforehand
    """
    n = np.bincount(apart.image, minlength=n_images)
    # As information goes: what is mostly noise says little.
    weight = (apart.share * usual / (apart.noise + apart.of_mean + apart.share * usual)) ** 2
    expected = _mean_of_cut_square(_FARTHEST)

    def by_squares(own: Floats) -> Floats:
        cut = np.minimum(apart.square / apart.variance(own), _FARTHEST**2) - expected
        return np.bincount(apart.image, weight * cut, n_images) + _PRIOR_USUAL * (
            np.minimum(usual / own, _FARTHEST**2) - 1.0
        )

    found = _root(by_squares, np.full(n_images, usual))
    variance = apart.variance(found)
    telling = (apart.share * found[apart.image] > _TELLING * apart.noise) & (apart.square < MISTAKEN**2 * variance)
    image, square = apart.image[telling], apart.square[telling]
    n_telling = np.bincount(image, minlength=n_images)

    def by_share(own: Floats) -> Floats:
        beyond = np.bincount(image, square > WITHIN_QUOTED**2 * apart.variance(own)[telling], n_images)
        believed = _PRIOR_SQUARES * scipy.special.erfc(WITHIN_QUOTED * np.sqrt(own / found / 2.0))
        return beyond + believed - (1.0 - QUOTED) * (n_telling + _PRIOR_SQUARES)

    return np.where(n > 0, _root(by_share, found), np.nan)


def _root(score: Callable[[Floats], Floats], middle: Floats) -> Floats:
    """Where a falling score of each image is 0, within a range of squares about ``middle``."""
    low, high = middle / _RANGE**2, middle * _RANGE**2
    for _ in range(_HALVINGS):
        half = np.sqrt(low * high)
        too_small = score(half) > 0.0
        low, high = np.where(too_small, half, low), np.where(too_small, high, half)
    return np.asarray(np.sqrt(low * high))


def _mean_of_cut_square(most: float) -> float:
    """Mean of min(z^2, most^2) of normal values z."""
    beyond = 2.0 * scipy.special.ndtr(-most)
    density = np.exp(-0.5 * most**2) / np.sqrt(2.0 * np.pi)
    return float(1.0 - beyond - 2.0 * most * density + most**2 * beyond)
