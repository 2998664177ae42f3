"""Forced fluxes of sources that do not vary: by which factor the errors of forced fluxes are off.

Places without a detection would be a biased sample: what noise lifted over the finder's threshold is not among them. So
forced fluxes are taken at sources that the finder surely detects, and compared with the mean of the same source in
other epochs, of which this image's noise is no part.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy

from contimg_assets.sky.arrays import Flags, Floats

DRAWN = 100
"""Detections of an image at which forced fluxes are taken too."""
# A source that is drawn has this signal-to-noise ratio in its image; one that is used has it by its mean in other
# epochs. The second range lies well within the first, so that noise here hardly decides who is used.
_SNR_DRAWN, _SNR_USED = (6.0, 26.0), (9.0, 20.0)
_LEAST = 100
# Sources that scatter more in the other epochs than constant ones do with this chance are left out.
_LEAST_P = 0.02
# Sources whose integrated flux over peak differs from the median by more are no point sources.
_POINT = 0.1
# Relative standard error of the biweight scale of normal values, times sqrt(n).
_BIWEIGHT_ERROR = 0.77
# Factors are looked for in this range.
_FACTORS = (0.1, 10.0)


class ErrorFactor(NamedTuple):
    """By which factor the errors of forced fluxes are off: 1 where they are right, more where they are too small.

    Attributes
    ----------
    factor, factor_err : float
        NaN where there are fewer than 100 fluxes.
    n : int
        Fluxes that were compared.
    """

    factor: float
    factor_err: float
    n: int


def drawn(detections: pd.DataFrame) -> pd.DataFrame:
    """Which detections of each image forced fluxes are taken at, to check their errors.

    Parameters
    ----------
    detections : DataFrame
        Columns ``image``, ``measurement_id``, ``snr``; each the only one of its source in the epoch and band.

    Returns
    -------
    DataFrame
        At most 100 an image, drawn by their ids, which are random and the same whatever else there is.

    Examples
    --------
    >>> import pandas as pd
    >>> from contimg_assets.photometry.constants import drawn
    >>> found = pd.DataFrame({"image": "a", "measurement_id": ["2", "0", "1"], "snr": [5.5, 12.0, 900.0]})
    >>> drawn(found)["measurement_id"].tolist()
    ['0']
    """
    fit = detections[detections["snr"].between(*_SNR_DRAWN)]
    return fit.sort_values(["image", "measurement_id"]).groupby("image").head(DRAWN).reset_index(drop=True)


def are_comparable(flux_err: Floats, mean: Floats, p_value: Floats, compactness: Floats) -> Flags:
    """Which sources do not vary in other epochs, are detected in an image for sure by their mean there, and are so
    faint that the error of the forced flux matters most; shape (n,).

    Those that are larger than most, extended ones and blends of crowded fields, are left out: the peak that a finder
    fits to them is not that of a point source at their place.

    Parameters
    ----------
    flux_err : array of shape (n,)
        Errors of the forced fluxes.
    mean : array of shape (n,)
        Means of the sources in other epochs, in the same unit.
    p_value : array of shape (n,)
        Chance that a constant source scatters as much as each does in the other epochs.
    compactness : array of shape (n,)
        Mean of integrated over peak flux of each source; NaN where not known.
    """
    low, high = _SNR_USED
    usual = np.nanmedian(compactness) if np.isfinite(compactness).any() else 1.0
    is_point = ~(np.abs(compactness / usual - 1.0) > _POINT)
    bright = (mean >= low * flux_err) & (mean <= high * flux_err)
    return np.asarray(bright & (p_value >= _LEAST_P) & is_point, np.bool_)


def error_factor(difference: Floats, flux_err: Floats, other_err: Floats) -> ErrorFactor:
    """By which factor errors are off, from differences that have other, known errors too.

    Parameters
    ----------
    difference : array of shape (n,)
        Forced fluxes minus what they should be. Some of the sources may vary: the scatter is the biweight scale.
    flux_err, other_err : array of shape (n,)
        Errors of the forced fluxes, and those of all else, in the same unit.

    Returns
    -------
    ErrorFactor
        The k for which differences scatter by the root of (k flux_err)^2 + other_err^2.

    References
    ----------
    Beers, Flynn & Gebhardt 1990, AJ 100, 32 (biweight scale).

    Examples
    --------
    >>> import numpy as np
    >>> from contimg_assets.photometry.constants import error_factor
    >>> rng = np.random.default_rng(1)
    >>> off = 1.25 * rng.normal(size=4000) + 0.4 * rng.normal(size=4000)
    >>> found = error_factor(off, np.full(4000, 1.0), np.full(4000, 0.4))
    >>> abs(found.factor - 1.25) < 3 * found.factor_err, found.factor_err < 0.03
    (True, True)
    """
    # Half of all commands of `contimg` need none of it, and it takes a fifth of a second.
    from astropy.stats import biweight_scale

    n = len(difference)
    if n < _LEAST:
        return ErrorFactor(np.nan, np.nan, n)
    centered = difference - np.median(difference)

    def excess(factor: float) -> float:
        return float(biweight_scale(centered / np.hypot(factor * flux_err, other_err))) - 1.0

    low, high = _FACTORS
    if excess(low) <= 0 or excess(high) >= 0:
        factor = low if excess(low) <= 0 else high
    else:
        factor = float(scipy.optimize.brentq(excess, low, high, xtol=1e-4))
    share = float(np.median((factor * flux_err) ** 2 / ((factor * flux_err) ** 2 + other_err**2)))
    return ErrorFactor(factor, factor * _BIWEIGHT_ERROR / float(np.sqrt(n)) / share, n)
