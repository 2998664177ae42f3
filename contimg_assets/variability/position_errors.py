"""Errors of sources' mean positions that hold for faint sources too.

A position's error goes as 1 / SNR of the source, and a finder quotes it with the SNR that it measured. Of a source near
the threshold only the measurements that noise made brighter are in the catalogs: it is fainter than they say, and its
position less certain. How much fainter, the images that missed it tell. What is added to the finder's errors, a
systematic error and that of the image's offset, is the same however faint a source is.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import scipy

from contimg_assets.sky.arrays import Floats, Values
from contimg_assets.variability.error_model import COLUMN_PART, UNIT_ARCSEC, ErrorModel, ErrorTerms

# Numbers of sources fall with flux as S^-2.5 (Euclidean counts): which of the true fluxes behind a measured one are
# more frequent (Hogg & Turner 1998, PASP 110, 727).
_SLOPE = 2.5
# Share of the detections of a source far above the threshold that finders miss for other reasons than noise.
_LOST = 0.05
# Above this SNR nothing is to be corrected; a source seen more often than this is where it is seen.
_BRIGHT, _OFTEN = 15.0, 10.0
# True SNR against the measured one, where the probability is worked out.
_BELOW, _ABOVE, _STEP, _FAINTEST = 6.0, 3.0, 0.25, 1.5
# The quoted error is itself measured: it goes as bmaj^1.75 bmin^-0.25 of the fit where that has the size of the beam
# (Condon 1997, PASP 109, 166, eq. 41), and both axes are off by 1 / SNR. ln(1 / error^2) then has this variance over
# SNR^2, beside that of the SNR.
_OF_WEIGHTS = 4.0 * (1.75**2 + 0.25**2)
# What that costs, in variance per variance of ln weight: one error has tails, beyond the 95 %; and a mean whose weights
# are wrong is less certain than the sum of its weights says, in which fits that came out small count most. By
# simulation, right to 2 % of the error for 1 to 20 measurements and a variance up to 0.3.
_OF_ONE, _OF_MANY = 0.75, 0.9
_CHUNK = 20_000
# Of the variance with the systematic error that was assumed: more than that remains without it, but where measurements
# are older than what is assumed now.
_LEAST_VARIANCE = 1e-3


def with_systematics(rows: Mapping[str, Values], errors: ErrorModel | None) -> Mapping[str, Values]:
    """Points of light curves, the weights of their positions with the errors that were measured.

    These are the finder's times its factor, and the systematic error of the image; where nothing is known of the image,
    that of all images together.

    Parameters
    ----------
    rows : w_ew, w_ns [arcsec^-2], noise_ew, noise_ns (shares of the variances 1 / w), systematic_ew, systematic_ns (of
        the image [arcsec], NaN where not known), radius, band, shape (n,)
    errors : None, or without positions: the weights stay as they are
    """
    if errors is None or not errors.assumed:
        return rows
    changed = {}
    for axis, name in COLUMN_PART.items():
        weight, share = rows[f"w_{name}"], rows[f"noise_{name}"]
        factor_square, systematic_square = _measured(rows, axis, name, errors)
        more = (factor_square - 1.0) * share + (systematic_square - errors.assumed[axis] ** 2) * weight
        change = 1.0 / np.maximum(1.0 + more, _LEAST_VARIANCE)
        changed[f"w_{name}"] = weight * change
        changed[f"noise_{name}"] = np.minimum(factor_square * share * change, 1.0)
    return {**rows, **changed}


def _measured(rows: Mapping[str, Values], axis: str, name: str, errors: ErrorModel) -> tuple[Floats, Floats]:
    """Along an axis: square of the factor of the finder's error of each point, and of its systematic error [arcsec^2].

    Each of shape (n,).
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        noise = np.sqrt(rows[f"noise_{name}"] / rows[f"w_{name}"])
    own = np.square(rows[f"systematic_{name}"], dtype=float)
    of_image = np.isfinite(own)

    def by(terms: ErrorTerms) -> tuple[Floats, Floats]:
        usual = UNIT_ARCSEC**2 * terms.floor_square(rows["radius"])
        systematic = np.where(of_image, own * terms.shape_square(rows["radius"]), usual)
        return terms.noise_square(np.full(len(noise), UNIT_ARCSEC), noise), systematic

    factor, systematic = by(errors.terms[axis])
    for band_mhz, model in errors.bands.items():
        here = rows["band"] == band_mhz
        factor, systematic = (
            np.where(here, *both) for both in zip(by(model.terms[axis]), (factor, systematic), strict=True)
        )
    return factor, systematic


def position_errors(sources: pd.DataFrame) -> dict[str, Floats]:
    """Errors of mean positions, with what the detection threshold hides.

    Parameters
    ----------
    sources : uncertainty_ew_arcsec, uncertainty_ns_arcsec (from the quoted errors), position_noise_share (of their
        squares), min_snr, max_snr, n_measurements, n_forced, n_untrusted (of images that are not trusted), n_limits
        (epochs that covered the source without a detection)

    Returns
    -------
    uncertainty_ew_arcsec, uncertainty_ns_arcsec, shape (n,); as they are where the SNR is not known, and for sources
    that were never detected
    """
    if not len(sources):
        return {"uncertainty_ew_arcsec": np.empty(0), "uncertainty_ns_arcsec": np.empty(0)}
    mean_snr = 0.5 * (sources["min_snr"] + sources["max_snr"]).to_numpy(dtype=float)
    n_seen = (sources["n_measurements"] - sources["n_forced"] - sources["n_untrusted"]).to_numpy(dtype=float)
    factor = np.ones(len(sources))
    known = np.flatnonzero((n_seen > 0) & (mean_snr > 0))
    factor[known] = _excess_of_noisy_weights(mean_snr[known], n_seen[known])
    faint = known[mean_snr[known] < _BRIGHT]
    factor[faint] *= excess_of_faint(
        mean_snr[faint],
        sources["min_snr"].to_numpy(dtype=float)[faint],
        n_seen[faint],
        sources["n_limits"].to_numpy(dtype=float)[faint],
    )
    share = sources["position_noise_share"].to_numpy(dtype=float)
    factor = np.sqrt(1.0 + share * (factor**2 - 1.0))
    return {
        name: sources[name].to_numpy(dtype=float) * factor
        for name in ("uncertainty_ew_arcsec", "uncertainty_ns_arcsec")
    }


def _excess_of_noisy_weights(mean_snr: Floats, n_seen: Floats) -> Floats:
    """By how much a mean position is less certain than the sum of weights says that are measured themselves."""
    variance = _OF_WEIGHTS / np.maximum(mean_snr, _FAINTEST) ** 2
    excess: Floats = np.sqrt(1.0 + variance * (_OF_ONE + _OF_MANY * (1.0 - 1.0 / n_seen)))
    return excess


def excess_of_faint(mean_snr: Floats, least_snr: Floats, n_seen: Floats, n_missed: Floats) -> Floats:
    """By how much the position errors of faint sources exceed the quoted ones: rms of measured over true SNR.

    The true SNR x has the probability x^-2.5 exp(-n (r - x)^2 / 2) P(missed | x)^m, for n detections of the mean SNR r
    and m images without one, each of which would have shown the source at the SNR of its faintest detection.

    Parameters
    ----------
    mean_snr, least_snr : of the detections, shape (n,)
    n_seen, n_missed : numbers of detections, and of epochs without one, shape (n,)
    """
    # Of a source seen often, the share that was missed counts.
    share = np.minimum(1.0, _OFTEN / n_seen)
    parts = [
        _excess(mean_snr[here], least_snr[here], (n_seen * share)[here], (n_missed * share)[here])
        for here in (slice(k, k + _CHUNK) for k in range(0, len(mean_snr), _CHUNK))
    ]
    return np.concatenate(parts) if parts else np.empty(0)


def _excess(mean_snr: Floats, least_snr: Floats, n_seen: Floats, n_missed: Floats) -> Floats:
    true = np.maximum(mean_snr[:, None] + np.arange(-_BELOW, _ABOVE, _STEP), _FAINTEST)
    missed = _LOST + (1.0 - _LOST) * scipy.special.ndtr(least_snr[:, None] - true)
    log_probability = -0.5 * n_seen[:, None] * (mean_snr[:, None] - true) ** 2 - _SLOPE * np.log(true)
    log_probability += n_missed[:, None] * np.log(missed)
    # Below the faintest possible SNR the grid has one value many times over: it counts once.
    log_probability[:, 1:][true[:, 1:] == _FAINTEST] = -np.inf
    weight = np.exp(log_probability - log_probability.max(axis=1, keepdims=True))
    squares = (weight * (mean_snr[:, None] / true) ** 2).sum(axis=1) / weight.sum(axis=1)
    excess: Floats = np.maximum(np.sqrt(squares), 1.0)
    return excess
