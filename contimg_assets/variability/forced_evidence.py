"""What forced fluxes say of sources: whether one was there before it was first detected, and whether one has faded."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import ndtr

from contimg_assets.sky.arrays import Floats, Indices

FLUX_FLOOR = 0.1
"""Fluxes of one source by a finder and by a fit at a fixed place differ by such a part of them for shapes and places
that are not quite those of the beam: a bright source has not faded for that."""


def chance_constant(first: pd.DataFrame, owner: Indices, flux: Floats, err: Floats) -> tuple[Floats, Floats, Floats]:
    """The chance that a constant source of the first flux has the forced fluxes of earlier images.

    Parameters
    ----------
    first : DataFrame
        flux_peak_mjy_beam and its error of the first detection of each source, errors of scales included (n rows).
    owner : array of shape (m,)
        Row in ``first`` of each forced flux.
    flux, err : array of shape (m,)
        Forced fluxes in earlier images, and their errors with those of the scales [mJy/beam].

    Returns
    -------
    (chance, mean, error)
        Each of shape (n,): the chance that the weighted mean of the forced fluxes is as low, or lower, if the source is
        constant; this mean, and its error [mJy/beam]. NaN for sources without forced fluxes.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from contimg_assets.variability.forced_evidence import chance_constant
    >>> first = pd.DataFrame({"flux_peak_mjy_beam": [50.0, 50.0], "flux_peak_err_mjy_beam": [4.0, 4.0]})
    >>> chance, mean, _ = chance_constant(first, np.array([0, 1]), np.array([1.0, 49.0]), np.array([3.0, 3.0]))
    >>> chance.round(2).tolist(), mean.tolist()
    ([0.0, 0.42], [1.0, 49.0])
    """
    n, weight = len(first), 1.0 / err**2
    total = np.bincount(owner, weight, n)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.bincount(owner, weight * flux, n) / total
        error: Floats = np.where(total > 0, total**-0.5, np.nan)
    seen, seen_err = (first[name].to_numpy(dtype=float) for name in ("flux_peak_mjy_beam", "flux_peak_err_mjy_beam"))
    chance = ndtr((mean - seen) / np.hypot(error, seen_err))
    return np.asarray(chance, np.float64), mean, error


def fading_significance(flux: Floats, flux_err: Floats, forced: Floats, forced_err: Floats) -> Floats:
    """By how many of its errors a forced flux lies below the source's own, shape (n,).

    Parameters
    ----------
    flux, flux_err : array of shape (n,)
        Mean flux of the detections, and its error [mJy/beam].
    forced, forced_err : array of shape (n,)
        Forced flux, and its error with that of the scale [mJy/beam].

    Examples
    --------
    >>> import numpy as np
    >>> from contimg_assets.variability.forced_evidence import fading_significance
    >>> ones = np.ones(2)
    >>> fading_significance(100 * ones, ones, np.array([0.0, 95.0]), ones).round(1).tolist()
    [9.9, 0.5]
    """
    error = np.sqrt(flux_err**2 + forced_err**2 + (FLUX_FLOOR * flux) ** 2)
    return np.asarray((flux - forced) / error, np.float64)
