"""Fluxes where nothing is: whether the errors of forced fluxes are as large as their scatter."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from contimg_assets.photometry.forced import STAMP_BEAMS, ImageNoise, forced_fluxes
from contimg_assets.sky.arrays import Values
from contimg_assets.sky.robust import MAD_SIGMA_ERROR, scatter

N_PLACES = 900
"""Empty places of an image."""
_LEAST = 50


def empty_pull(pixels: Values, noise: ImageNoise, sources: tuple[npt.ArrayLike, npt.ArrayLike]) -> tuple[float, float]:
    """Scatter of the fluxes at empty places of an image over their errors, by the median absolute deviation.

    Parameters
    ----------
    pixels : array of shape (ny, nx)
        May be mapped from a file.
    noise : ImageNoise
        Of the image.
    sources : pair of array_like of shape (m,)
        Positions (x, y) of what is known there, fitted along where it is near [pixel].

    Returns
    -------
    (float, float)
        The scatter, 1 where the errors are right, and its standard error; NaN where fewer than 50 of some 900 places
        have a flux.

    Examples
    --------
    >>> import numpy as np
    >>> from contimg_assets.photometry.beam import PixelBeam
    >>> from contimg_assets.photometry.empty_places import empty_pull
    >>> from contimg_assets.photometry.forced import noise_of
    >>> from contimg_assets.simulate.pixels import beam_noise
    >>> beam = PixelBeam.of_sky(12.0, 8.0, 30.0, np.array([[-2.0, 0.0], [0.0, 2.0]]))
    >>> image = beam_noise((400, 400), beam, np.random.default_rng(1))
    >>> pull, err = empty_pull(image, noise_of(image, beam), ([], []))
    >>> abs(pull - 1.0) < 3.0 * err
    True
    """
    height, width = pixels.shape
    step = max(int(np.sqrt(height * width / N_PLACES)), 1)
    y, x = (axis.ravel() for axis in np.mgrid[step // 2 : height : step, step // 2 : width : step])
    # Where pixels lack around a place its fit has a covariance of its own, which takes long and shows nothing else.
    whole = np.ones(len(x), dtype=bool)
    for dx, dy in _corners(noise):
        at_x, at_y = np.clip(x + dx, 0, width - 1), np.clip(y + dy, 0, height - 1)
        whole &= (at_x == x + dx) & (at_y == y + dy) & np.isfinite(pixels[at_y, at_x])
    x, y = x[whole], y[whole]
    found = forced_fluxes(pixels, x, y, noise, also=sources)
    there = found[found["reason"] == ""]
    if len(there) < _LEAST:
        return float("nan"), float("nan")
    pull = float(scatter((there["flux"] / there["flux_err"]).to_numpy(float)))
    return pull, pull * MAD_SIGMA_ERROR / float(np.sqrt(len(there)))


def _corners(noise: ImageNoise) -> list[tuple[int, int]]:
    """Offsets to the corners of the box of pixels that take part in a fit [pixel]."""
    width, height = noise.beam.reach_pix(STAMP_BEAMS)
    return [(dx, dy) for dx in (-width - 1, width + 1) for dy in (-height - 1, height + 1)]
