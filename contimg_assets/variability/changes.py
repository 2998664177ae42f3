"""How much the flux of a source in one epoch differs from that in its other epochs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from contimg_assets.sky.arrays import Values


def deviations(
    flux: npt.ArrayLike, flux_err: npt.ArrayLike, mean: npt.ArrayLike, mean_err: npt.ArrayLike
) -> tuple[Values, Values]:
    """Take a point out of a weighted mean, and say how far the point is from the mean of the others.

    Parameters
    ----------
    flux, flux_err : array_like, shape (n,)
        Flux of each source in one epoch and its 1-sigma error [mJy or mJy/beam], as it went into the mean.
    mean, mean_err : array_like, shape (n,)
        Weighted mean of all epochs, that one included, and its error.

    Returns
    -------
    ratio : ndarray of float, shape (n,)
        Flux over the mean of the other epochs.
    sigma : ndarray of float, shape (n,)
        Difference over its error: standard normal for a constant source whose errors are right.
        Both NaN where there is no other epoch.

    Examples
    --------
    >>> ratio, sigma = deviations([12.0], [1.0], [10.5], [0.5])
    >>> ratio.round(3).tolist(), sigma.round(3).tolist()
    ([1.2], [1.732])
    """
    values = [np.asarray(one, dtype=float) for one in (flux, flux_err, mean, mean_err)]
    here, here_err, all_mean, all_err = values
    with np.errstate(divide="ignore", invalid="ignore"):
        own, every = here_err**-2.0, all_err**-2.0
        rest = every - own
        # Rounding leaves a little where nothing else is.
        rest = np.where(rest > 1e-9 * every, rest, np.nan)
        others = (every * all_mean - own * here) / rest
        return here / others, (here - others) / np.sqrt(here_err**2 + 1.0 / rest)
