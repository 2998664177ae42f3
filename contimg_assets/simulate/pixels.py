"""Images with known truth: noise that is correlated by the beam, and point sources in it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import fft

from contimg_assets.photometry.beam import PixelBeam
from contimg_assets.sky.arrays import Floats, Indices

# A beam is nothing beyond so many FWHM: exp(-4 ln 2 * 9) = 1e-11.
_REACH_BEAMS = 3.0


def beam_noise(shape: tuple[int, int], beam: PixelBeam, rng: np.random.Generator) -> Floats:
    """Noise of rms 1, as white noise convolved with the beam (Condon 1997, PASP 109, 166).

    Parameters
    ----------
    shape : (ny, nx)
    beam : PixelBeam
    rng : numpy.random.Generator

    Returns
    -------
    array of shape (ny, nx)
        Edges are like the rest: the noise is made on a larger plane and cut out.

    Examples
    --------
    >>> import numpy as np
    >>> from contimg_assets.photometry.beam import PixelBeam
    >>> from contimg_assets.simulate.pixels import beam_noise
    >>> beam = PixelBeam.of_sky(10.0, 10.0, 0.0, np.array([[-2.0, 0.0], [0.0, 2.0]]))
    >>> round(float(beam_noise((400, 400), beam, np.random.default_rng(3)).std()), 1)
    1.0
    """
    width, height = beam.reach_pix(_REACH_BEAMS)
    padded = fft.next_fast_len(shape[0] + height, real=True), fft.next_fast_len(shape[1] + width, real=True)
    y, x = (np.minimum(np.arange(n), n - np.arange(n)) * np.where(np.arange(n) <= n // 2, 1, -1) for n in padded)
    kernel = beam(x[None, :], y[:, None])
    kernel /= np.sqrt((kernel**2).sum())
    white = rng.standard_normal(padded)
    noise = fft.irfft2(fft.rfft2(white) * fft.rfft2(kernel), padded)
    return np.asarray(noise[: shape[0], : shape[1]], np.float64)


def add_point_sources(
    image: Floats, x_pix: npt.ArrayLike, y_pix: npt.ArrayLike, flux: npt.ArrayLike, beam: PixelBeam
) -> Floats:
    """The image with point sources added, each the beam at exactly its position.

    Parameters
    ----------
    image : array of shape (ny, nx)
    x_pix, y_pix : array_like of shape (n,)
        Positions [pixel]; parts of a beam that lie outside of the image are lost.
    flux : array_like of shape (n,)
        Peaks, in the unit of the image.
    beam : PixelBeam
    """
    x, y, peak = (np.asarray(one, float) for one in (x_pix, y_pix, flux))
    width, height = beam.reach_pix(_REACH_BEAMS)
    dy, dx = (one.ravel() for one in np.mgrid[-height : height + 1, -width : width + 1])
    column = np.rint(x).astype(np.intp)[:, None] + dx
    row = np.rint(y).astype(np.intp)[:, None] + dy
    values = peak[:, None] * beam(column - x[:, None], row - y[:, None])
    inside = (column >= 0) & (column < image.shape[1]) & (row >= 0) & (row < image.shape[0])
    at: Indices = row[inside] * image.shape[1] + column[inside]
    return image + np.bincount(at, values[inside], image.size).reshape(image.shape)
