"""Images with known truth: noise that is correlated by the beam, and point sources in it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import fft

from contimg_assets.photometry.beam import PixelBeam
from contimg_assets.sky.arrays import Floats, Indices

# A beam is nothing beyond so many FWHM: exp(-4 ln 2 * 9) = 1e-11.
_REACH_BEAMS = 3.0
# Spokes around a source, as of an array with three arms, to so many FWHM; depth and width of the bowl.
_SPOKES, _REACH_OF_SPOKES, _BOWL, _BOWL_BEAMS = 6, 15.0, 0.5, 8.0


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
    n = np.size(x_pix)
    return add_gaussians(image, x_pix, y_pix, flux, np.tile([beam.xx, beam.xy, beam.yy], (n, 1)))


def add_gaussians(
    image: Floats, x_pix: npt.ArrayLike, y_pix: npt.ArrayLike, peak: npt.ArrayLike, forms: Floats
) -> Floats:
    """The image with elliptical Gaussians added, each at exactly its position.

    Parameters
    ----------
    image : array of shape (ny, nx)
    x_pix, y_pix : array_like of shape (n,)
        Positions [pixel]; parts that lie outside of the image are lost.
    peak : array_like of shape (n,)
        In the unit of the image.
    forms : array of shape (n, 3)
        Of each, the xx, xy and yy of a `PixelBeam` [pixel^-2].
    """
    x, y, height = (np.asarray(one, float) for one in (x_pix, y_pix, peak))
    added = np.zeros(image.size)
    for rows in _of_one_size(forms):
        dx, dy = _box(forms[rows])
        column = np.rint(x[rows]).astype(np.intp)[:, None] + dx
        row = np.rint(y[rows]).astype(np.intp)[:, None] + dy
        xx, xy, yy = forms[rows].T[..., None]
        values = height[rows, None] * PixelBeam(xx, xy, yy)(column - x[rows, None], row - y[rows, None])
        inside = (column >= 0) & (column < image.shape[1]) & (row >= 0) & (row < image.shape[0])
        at: Indices = row[inside] * image.shape[1] + column[inside]
        added += np.bincount(at, values[inside], image.size)
    return image + added.reshape(image.shape)


def artifacts(
    shape: tuple[int, int],
    places_pix: tuple[npt.ArrayLike, npt.ArrayLike],
    peak: npt.ArrayLike,
    beam: PixelBeam,
    rng: np.random.Generator,
) -> Floats:
    """What deconvolution and errors of gains leave around sources: six spokes of either sign, and a negative bowl.

    Parameters
    ----------
    shape : (ny, nx)
    places_pix : pair of array_like of shape (n,)
        Positions (x, y) of the sources [pixel].
    peak : array_like of shape (n,)
        Strength: about the root of the mean square of what lies a beam away.
    beam : PixelBeam
    rng : numpy.random.Generator
        Strength and direction of the spokes are random, of each source by itself: no two images have the same.

    Returns
    -------
    array of shape (ny, nx)
        Nothing at the places themselves; from one to a few beams away the most.

    Examples
    --------
    >>> import numpy as np
    >>> from contimg_assets.photometry.beam import PixelBeam
    >>> from contimg_assets.simulate.pixels import artifacts
    >>> beam = PixelBeam.of_sky(10.0, 10.0, 0.0, np.array([[-2.0, 0.0], [0.0, 2.0]]))
    >>> image = artifacts((101, 101), ([50.0], [50.0]), [1.0], beam, np.random.default_rng(1))
    >>> bool(image[50, 50] == 0), bool(np.abs(image).max() > 0.5), bool(image.mean() < 0)
    (True, True, True)
    """
    image = np.zeros(shape)
    width, height = beam.reach_pix(_REACH_OF_SPOKES)
    for x, y, strength in zip(*(np.atleast_1d(np.asarray(one, float)) for one in (*places_pix, peak)), strict=True):
        top, left = max(round(y) - height, 0), max(round(x) - width, 0)
        part = image[top : max(round(y) + height + 1, 0), left : max(round(x) + width + 1, 0)]
        row, column = np.indices(part.shape)
        across, along = np.tensordot(beam.root, np.stack([column + left - x, row + top - y]), 1)
        r, angle = np.hypot(across, along), np.arctan2(along, across)
        # Grows from nothing at the source itself, so that its own flux stays.
        outside = 1.0 - np.exp(-4.0 * np.log(2.0) * r**2)
        spokes = rng.normal() * np.sqrt(2.0) * np.cos(_SPOKES * (angle - rng.uniform(0.0, 2.0 * np.pi))) / (1.0 + r)
        bowl = -_BOWL * np.exp(-4.0 * np.log(2.0) * (r / _BOWL_BEAMS) ** 2)
        part += strength * outside * (2.0 * spokes + bowl) * (r <= _REACH_OF_SPOKES)
    return image


def _of_one_size(forms: Floats) -> list[Indices]:
    """Rows of Gaussians of about the same size, so that one box serves all of them."""
    width = np.exp2(np.ceil(np.log2(np.min(forms[:, [0, 2]], axis=1) ** -0.5))) if len(forms) else np.empty(0)
    return [np.flatnonzero(width == one) for one in np.unique(width)]


def _box(forms: Floats) -> tuple[Indices, Indices]:
    """Offsets of the pixels that some Gaussians reach."""
    determinant = forms[:, 0] * forms[:, 2] - forms[:, 1] ** 2
    width, height = (int(np.ceil(_REACH_BEAMS * np.sqrt((forms[:, axis] / determinant).max()))) for axis in (2, 0))
    dy, dx = np.mgrid[-height : height + 1, -width : width + 1]
    return dx.ravel(), dy.ravel()
