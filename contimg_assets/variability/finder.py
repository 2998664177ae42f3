"""What an image's source finder would have seen at a place: local rms, threshold, chance of missing a source, limits.

All of it is measured from the rows that the finder delivered for the image, so that it is known the moment an epoch is
written and does not change when other epochs come.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy

from contimg_assets.sky import robust
from contimg_assets.sky.arrays import Floats, Indices
from contimg_assets.sky.sphere import tangent_axes, unit_vectors
from contimg_assets.variability.flickering import NO_FLICKERING, Flickering

N_TERMS = 7
"""Terms of the model of ln rms over an image; two more numbers bound it."""

DEFAULT_THRESHOLD = 5.0
"""Threshold of a finder that delivered too few rows to tell [sigma]; what most finders are run with."""

MIN_ROWS = 20
"""Fewer rows do not tell a threshold."""

# How far ln rms may lie from the image's own, and its terms from none, where no row says more.
_PRIOR_SIGMA = 0.5
# No finder's rms is known better than this, in ln.
_LEAST_SCATTER = 0.02
_HUBER = 1.5
# Of ln(rms): what follows is the same on machines that add up in another order.
_DIGITS = 6
_ROUNDS = 5
# The model is believed this far beyond what it takes at the rows, in ln rms.
_MARGIN = 0.1
# Of an interval that holds a limit: to a millionth.
_HALVINGS = 24
# Nodes and weights for the mean over a flux's normal error.
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(9)
# Height above the threshold over which the number of noise peaks falls by e [sigma]: that of Gaussian noise is 0.2 at 5
# sigma, and noise of synthesis images has longer tails.
_NOISE_TAIL = 0.35
# Gaussian noise has this many peaks above u per FWHM^2 of the beam, times u exp(-u^2 / 2) (Worsley et al. 1992,
# J. Cereb. Blood Flow Metab. 12, 900; after Adler 1981, The Geometry of Random Fields).
_PEAKS_PER_BEAM = 4.0 * np.log(2.0) / (2.0 * np.pi) ** 1.5
# And at least so many in an image, as artifacts are not Gaussian.
_LEAST_PEAKS = 0.1
_ARTIFACT_FACTOR = 2.0
# This many times the threshold is bright: by noise alone such a source is never missed.
_BRIGHT = 2.0
# What is taken of the share of bright sources that a finder misses, with the weight of so many sources.
_PRIOR_LOST = 0.02
_PRIOR_SOURCES = 25.0


class Depth(NamedTuple):
    """How deep an image is, by its own rows.

    Attributes
    ----------
    model : terms of ln(rms) over the field, then the smallest and the largest ln(rms), shape (N_TERMS + 2,); NaN where
        neither rows nor the image tell the rms
    scatter : of ln(rms) of the rows about the model: how well the local rms is known
    """

    model: Floats
    scatter: float


def rms_of_rows(rows: pd.DataFrame) -> Floats:
    """Local rms at detections [mJy/beam]: as the finder gave it, else the flux over its signal to noise ratio.

    Parameters
    ----------
    rows : local_rms_mjy_beam, flux_peak_mjy_beam, flux_int_mjy, snr
    """
    rms = rows["local_rms_mjy_beam"].to_numpy(dtype=float)
    peak, total = (rows[name].to_numpy(dtype=float) for name in ("flux_peak_mjy_beam", "flux_int_mjy"))
    with np.errstate(divide="ignore", invalid="ignore"):
        derived = np.abs(np.where(np.isfinite(peak), peak, total)) / rows["snr"].to_numpy(dtype=float)
        return np.where(rms > 0, rms, np.where(derived > 0, derived, np.nan))


def finder_threshold(snr: Floats) -> float:
    """The signal to noise ratio from which on a finder reports detections; NaN of fewer than `MIN_ROWS` rows.

    It is a low quantile, as some rows lie below by accident, less the gap that so few rows leave above the threshold
    where their number falls as 1 / snr.
    """
    known = np.sort(snr[np.isfinite(snr) & (snr > 0)])
    n = len(known)
    if n < MIN_ROWS:
        return float("nan")
    k = n // 100
    return float(known[k] * (1.0 - (k + 1) / n))


def bright_snr(threshold: float) -> float:
    """Signal to noise ratio from which on noise does not decide whether a source is detected."""
    return _BRIGHT * (DEFAULT_THRESHOLD if np.isnan(threshold) else threshold)


def place_in_image(ra_deg: Floats, dec_deg: Floats, center: tuple[Floats, Floats], radius_deg: Floats) -> Floats:
    """East and north of an image's center in units of its radius, shape (n, 2); right at RA 0 and at the poles.

    Parameters
    ----------
    center : right ascension and declination of the image of each position [deg], shape (n,) or one
    """
    east, north = tangent_axes(*center)
    vectors = unit_vectors(ra_deg, dec_deg)
    scale = np.sin(np.radians(np.clip(radius_deg, 1e-6, 90.0)))
    return np.stack([(vectors * axis).sum(axis=-1) / scale for axis in (east, north)], axis=-1)


def fit_depths(place: Floats, rms: Floats, rows: Sequence[Indices], image_rms: Sequence[float]) -> list[Depth]:
    """A smooth model of the rms over each image: a plane, two powers of the radius for the primary beam, an ellipse.

    ln(rms) is fitted by weighted least squares, robustly (Huber weights), with a prior that takes the image's own rms
    everywhere. So few rows say little, and none leave the image's rms. Arrays hold the images of which as many rows are
    known; what comes out for one is the same to the last digit, whichever others are there.

    Parameters
    ----------
    place : of the rows of all images, see `place_in_image`, shape (n, 2)
    rms : at the rows [mJy/beam]; NaN where not known, shape (n,)
    rows : those of each image
    image_rms : of each image [mJy/beam]; NaN if not known
    """
    known = np.isfinite(rms) & (rms > 0) & np.isfinite(place).all(axis=-1)
    found: list[Depth] = [Depth(np.full(N_TERMS + 2, np.nan), 0.0)] * len(rows)
    used = [of_image[known[of_image]] for of_image in rows]
    bases = np.array(
        [
            own if np.isfinite(own) and own > 0 else (float(np.median(rms[use])) if len(use) else np.nan)
            for use, own in zip(used, image_rms, strict=True)
        ]
    )
    for n, alike in robust.numbers_by(map(len, used)).items():
        numbers = [number for number in alike if np.isfinite(bases[number])]
        if numbers:
            all_used, base = np.concatenate([used[number] for number in numbers]), bases[numbers]
            terms = _terms(place[all_used]).reshape(len(numbers), n, N_TERMS)
            values = np.log(rms[all_used].reshape(len(numbers), n) / base[:, None])
            for number, model, scatter in zip(numbers, *_models(terms, values, np.log(base)), strict=True):
                found[number] = Depth(model, scatter)
    return found


def _models(terms: Floats, values: Floats, ln_base: Floats) -> tuple[Floats, list[float]]:
    """`Depth.model` of images with n rows each, shape (images, N_TERMS + 2), and the scatter about each.

    Parameters
    ----------
    terms, values : shapes (images, n, N_TERMS) and (images, n); the values are ln(rms) less ``ln_base``
    """
    model = np.full((len(values), N_TERMS + 2), np.nan)
    coefficients, scatter = np.zeros((len(values), N_TERMS)), np.zeros(len(values))
    fitted = np.zeros((len(values), 1))
    if values.shape[1]:
        coefficients, scatter = _robust_fits(terms, values)
        fitted = _product(terms, coefficients)
    model[:, :N_TERMS] = coefficients
    model[:, 0] += ln_base
    model[:, N_TERMS] = ln_base + (fitted.min(axis=-1) - _MARGIN)
    model[:, N_TERMS + 1] = ln_base + (fitted.max(axis=-1) + _MARGIN)
    return np.round(model, _DIGITS), [round(one, _DIGITS) for one in scatter.tolist()]


def _robust_fits(terms: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Coefficients of each image, and the scatter about them."""
    weight: Floats = np.ones_like(values)
    scatter: Floats = np.maximum(np.std(values, axis=-1), _LEAST_SCATTER)
    coefficients: Floats = np.zeros((len(values), N_TERMS))
    prior = np.eye(N_TERMS) / _PRIOR_SIGMA**2
    for _ in range(_ROUNDS):
        weighted = terms * (weight / robust.squares(scatter)[:, None])[..., None]
        normal = np.swapaxes(terms, -1, -2) @ weighted + prior
        right = _product(np.swapaxes(weighted, -1, -2), values)
        coefficients = np.asarray(np.linalg.solve(normal, right[..., None])[..., 0], np.float64)
        residual = values - _product(terms, coefficients)
        scatter = np.maximum(robust.scatter(residual, axis=-1), _LEAST_SCATTER)
        weight = np.asarray(np.minimum(1.0, _HUBER * scatter[:, None] / np.maximum(np.abs(residual), 1e-300)))
    return coefficients, scatter


def _product(matrices: Floats, vectors: Floats) -> Floats:
    """Of each matrix and vector, shapes (k, m, n) and (k, n)."""
    return np.asarray((matrices @ vectors[..., None])[..., 0])


def _terms(place: Floats) -> Floats:
    x, y = place[:, 0], place[:, 1]
    squared = x * x + y * y
    return np.stack([np.ones_like(x), squared, squared**2, x, y, x * x - y * y, 2.0 * x * y], axis=-1)


def local_rms(place: Floats, models: Floats) -> Floats:
    """Rms at places [mJy/beam], shape (n,); NaN where the model is.

    Parameters
    ----------
    place : in the image, see `place_in_image`, shape (n, 2)
    models : of the image of each place, see `Depth`, shape (n, N_TERMS + 2)
    """
    value = (_terms(place) * models[:, :N_TERMS]).sum(axis=-1)
    result: Floats = np.exp(np.clip(value, models[:, N_TERMS], models[:, N_TERMS + 1]))
    return result


class Seen(NamedTuple):
    """Pairs of a source and an image that covered its place.

    Attributes
    ----------
    owner : number of the source, shape (m,)
    rms : of the image at the place [mJy/beam]
    threshold : of its finder [sigma]
    scatter : of ln(rms) about its model, and of the image's flux scale, in quadrature
    lost : share of bright sources that the finder misses all the same
    """

    owner: Indices
    rms: Floats
    threshold: Floats
    scatter: Floats
    lost: Floats


def flux_limits(seen: Seen, chance: float, n: int) -> Floats:
    """The peak flux density that at least one image would have detected with a chance [mJy/beam], shape (n,).

    A source of peak S is found in an image where S with its noise exceeds the threshold t times the rms: with chance
    Phi((S - t rms) / sigma), where sigma is the rms, and the errors of the rms and of the flux scale at the threshold,
    in quadrature. Bright sources that a finder misses all the same are not counted: no flux makes up for these.

    Parameters
    ----------
    seen : images that cover each place, at least one
    chance : such as 0.95
    n : number of places
    """
    level, sigma = seen.threshold * seen.rms, seen.rms * np.hypot(1.0, seen.threshold * seen.scatter)
    # The images that cover a place find a source more often than the best of them alone: above that, below nothing.
    high = np.full(n, np.inf)
    np.minimum.at(high, seen.owner, level + scipy.special.ndtri(chance) * sigma)
    shared = np.bincount(seen.owner, minlength=n)[seen.owner] > 1
    owner, level, sigma = seen.owner[shared], level[shared], sigma[shared]
    low = np.zeros(n)
    several = np.unique(owner)
    for _ in range(_HALVINGS if len(several) else 0):
        middle = 0.5 * (low + high)
        missed = np.bincount(owner, scipy.special.log_ndtr((level - middle[owner]) / sigma), minlength=n)
        enough = missed <= np.log1p(-chance)
        high[several] = np.where(enough, middle, high)[several]
        low[several] = np.where(enough, low, middle)[several]
    return high


def chance_missed(flux: Floats, flux_err: Floats, seen: Seen, often: Flickering = NO_FLICKERING) -> Floats:
    """The chance that all the images of its place miss a source, had it had its flux all the time, shape (n,).

    In one image, a source of flux S stays below the threshold t by noise with chance Phi((t rms - S) / rms); the finder
    misses the others with chance `lost`. Images miss it independently, at the same true flux: the product is averaged
    over the normal error of the measured one. With one image it is the chance that two measurements of a constant
    source differ so much, whatever its flux: a faint source that noise lifted over the threshold once is included.
    A share of the sources is missed more often, and the product is averaged over both kinds.

    Parameters
    ----------
    flux, flux_err : as first detected [mJy/beam], the errors of its own image's and of the other scales included
    seen : earlier images of their places
    often : sources that the finder misses again and again
    """
    n = len(flux)
    total: Floats = np.zeros(n)
    spread = seen.rms * np.hypot(1.0, seen.threshold * seen.scatter)
    kinds = [(1.0 - often.share.sum(), 0.0), *zip(often.share, often.lost, strict=True)]
    with np.errstate(divide="ignore", invalid="ignore"):
        for node, weight in zip(_NODES, _WEIGHTS / _WEIGHTS.sum(), strict=True):
            true = flux[seen.owner] + node * flux_err[seen.owner]
            below = scipy.special.ndtr((seen.threshold * seen.rms - true) / spread)
            for share, often_lost in kinds:
                lost = np.maximum(seen.lost, often_lost)
                log_missed = np.log(lost + (1.0 - lost) * below)
                total = total + weight * share * np.exp(np.bincount(seen.owner, log_missed, minlength=n))
    return np.where(np.isfinite(flux) & np.isfinite(flux_err), np.minimum(total, 1.0), 1.0)


def noise_peaks(snr: Floats, threshold: Floats, n_beams: Floats) -> Floats:
    """Number of noise peaks at least as high that an image is expected to hold, shape (n,).

    At the threshold it is that of Gaussian noise, doubled for artifacts; above it falls more slowly than Gaussian
    noise, as it does in images.

    Parameters
    ----------
    snr : height of the peak [sigma]
    threshold : of the finder [sigma]
    n_beams : area of the image over bmaj bmin
    """
    at_threshold = _PEAKS_PER_BEAM * n_beams * threshold * np.exp(-(threshold**2) / 2.0)
    at_threshold = np.maximum(_ARTIFACT_FACTOR * at_threshold, _LEAST_PEAKS)
    return np.asarray(at_threshold * np.exp(-np.maximum(snr - threshold, 0.0) / _NOISE_TAIL), dtype=np.float64)


def share_lost(missed: Floats, known: Floats) -> Floats:
    """Share of bright known sources that the finder of each image misses, shape (n,).

    Images with few known sources take the share of all images; a survey with few takes one in fifty.

    Parameters
    ----------
    missed, known : bright known sources inside each image that it did not detect, and all of them, shape (n,)
    """
    common = (missed.sum() + _PRIOR_LOST * _PRIOR_SOURCES) / (known.sum() + _PRIOR_SOURCES)
    return np.asarray((missed + common * _PRIOR_SOURCES) / (known + _PRIOR_SOURCES), dtype=np.float64)
