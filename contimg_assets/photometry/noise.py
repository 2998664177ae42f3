"""The noise of an image: level and background by place, and how pixels are correlated.

The level is measured in boxes with SEP (Barbary 2016, JOSS 1, 58), the code of SExtractor (Bertin & Arnouts 1996,
A&AS 117, 393): clipped statistics, so that sources do not count. The correlation is that of the pixels without sources:
what it is depends on weights and deconvolution, and no header says it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
import sep

from contimg_assets.photometry.beam import PixelBeam
from contimg_assets.photometry.noise_mesh import beyond, filled, smoothed, smoothed_levels
from contimg_assets.sky.arrays import Flags, Floats, Values

# Boxes have this many beams on a side: 200 independent values and more, none of which need be free of sources.
_BOX_BEAMS = 16
_SMALLEST_BOX = 32
# A box with fewer pixels than this share has the values of its neighbors.
_LEAST_FILLED = 0.3
# Blocks of pixels for the correlation: so many at most, each of this many pixels on a side.
_BLOCKS, _BLOCK = 36, 192
# Pixels above this many rms, and all within one beam of them, are sources.
_SOURCE_SNR = 4.5
# With fewer beams of noise than this in all, the correlation is that of noise made by the beam.
_LEAST_BEAMS = 300


@dataclass(frozen=True)
class NoiseMap:
    """Level and background of an image, on a mesh of boxes.

    Attributes
    ----------
    box_pix : int
        Width and height of a box [pixel].
    rms, background : arrays of shape (n_boxes_y, n_boxes_x)
        Standard deviation and level in the boxes, in the unit of the image; NaN all over where the image has no pixel.
    """

    box_pix: int
    rms: Floats
    background: Floats

    def at(self, x_pix: Floats, y_pix: Floats) -> tuple[Floats, Floats]:
        """(rms, background) at pixels, bilinear between the middles of the boxes; arrays shaped like ``x_pix``.

        Beyond the last middles the rms goes on as it rises or falls there, the background flat.
        """
        places = np.stack([y_pix, x_pix]) / self.box_pix - 0.5 * (1.0 - 1.0 / self.box_pix)
        rms, background = (
            scipy.ndimage.map_coordinates(mesh, at, order=1, mode="nearest")
            for mesh, at in ((beyond(self.rms), places + 1.0), (self.background, places))
        )
        return rms, background


@dataclass(frozen=True)
class NoiseCorrelation:
    """Covariance of two pixels by their separation, in units of the product of their rms.

    Attributes
    ----------
    values : array of shape (2 h + 1, 2 w + 1)
        Covariance at separations of -h to h pixels in y (axis 0) and -w to w in x (axis 1). It is 1 at separation 0
        where the rms is that of the pixels; more or less where it is not.
    """

    values: Floats

    @classmethod
    def of_beam(cls, beam: PixelBeam, reach_pix: tuple[int, int], widening: float = 2.0**0.5) -> NoiseCorrelation:
        """That of white noise convolved with the beam (Condon 1997, PASP 109, 166), which is as wide as two beams.

        Parameters
        ----------
        beam : PixelBeam
        reach_pix : (int, int)
            Largest separations in x and y [pixel].
        widening : float
            FWHM of the correlation over that of the beam: 1 where the noise has the power spectrum of the beam itself.
        """
        dy, dx = np.mgrid[-reach_pix[1] : reach_pix[1] + 1, -reach_pix[0] : reach_pix[0] + 1]
        return cls(beam(dx / widening, dy / widening))

    def width(self, beam: PixelBeam) -> float:
        """FWHM in units of that of the beam, by the number of pixels above half of the maximum."""
        above = float((self.values > 0.5 * self.values.max()).sum())
        return float(np.sqrt(above / (np.pi / 4.0 * np.prod(beam.fwhm_pix))))

    def between(self, dx_pix: Values, dy_pix: Values) -> Floats:
        """Covariance at whole separations; 0 beyond those that are known."""
        height, width = (n // 2 for n in self.values.shape)
        known = (np.abs(dx_pix) <= width) & (np.abs(dy_pix) <= height)
        rows, columns = np.where(known, dy_pix, 0) + height, np.where(known, dx_pix, 0) + width
        return np.where(known, self.values[rows, columns], 0.0)


def box_of(beam: PixelBeam) -> int:
    """Size of the boxes in which the noise of an image with this beam is measured [pixel]."""
    return max(_SMALLEST_BOX, round(_BOX_BEAMS * float(np.sqrt(np.prod(beam.fwhm_pix)))))


def measure_noise(image: Values, beam: PixelBeam) -> NoiseMap:
    """Level and background of the noise of an image.

    Parameters
    ----------
    image : array of shape (ny, nx)
        May be mapped from a file: a strip of boxes is read at a time. Pixels that are not finite do not count.
    beam : PixelBeam

    Returns
    -------
    NoiseMap
        Medians of 3 x 3 boxes, in the unit of the image; see `noise_mesh` for the edges.
    """
    height, width = image.shape
    box = min(box_of(beam), height, width)
    tops = range(0, height, box)
    n = (len(tops), -(-width // box))
    rms, background, dy, dx = np.full((4, *n), np.nan)
    for row, top in enumerate(tops):
        strip = np.ascontiguousarray(image[top : top + box], np.float32)
        good = np.isfinite(strip)
        share, dy[row], dx[row] = filled(good, box)
        rms[row], background[row] = _of_strip(strip, good, share, box)
    return NoiseMap(box, smoothed_levels(rms, dy, dx), smoothed(background))


def _of_strip(strip: Values, good: Flags, share: Floats, box: int) -> tuple[Floats, Floats]:
    """(rms, background) of each box of a strip that is one box high; of the pixels of each, a share is good."""
    height, width = strip.shape
    enough = share >= _LEAST_FILLED
    if not enough.any():
        return np.full(len(share), np.nan), np.full(len(share), np.nan)
    found = sep.Background(strip, mask=~good, bw=box, bh=height, fw=1, fh=1)
    # At the middle of a box the map is the value of the box.
    middles = np.minimum(np.arange(0, width, box) + box // 2, width - 1)
    values = (np.asarray(one[height // 2, middles], np.float64) for one in (found.rms(), found.back()))
    rms, background = (np.where(enough, value, np.nan) for value in values)
    return rms, background


def box_medians(plane: Values, box_pix: int, *, positive: bool = False) -> Floats:
    """A finder's map of rms or background on the mesh of a `NoiseMap`: medians of boxes, and of 3 x 3 of these.

    Parameters
    ----------
    plane : array of shape (ny, nx)
        May be mapped from a file: a strip of boxes is read at a time. Pixels that are not finite do not count.
    box_pix : int
        Width and height of a box [pixel].
    positive : bool
        Whether pixels that are not above 0 do not count either.
    """
    height, width = plane.shape
    columns = -(-width // box_pix)
    mesh, dy, dx = np.full((3, -(-height // box_pix), columns), np.nan)
    for row in range(len(mesh)):
        strip = np.asarray(plane[row * box_pix : (row + 1) * box_pix], np.float64)
        known = np.isfinite(strip) & ((strip > 0) | (not positive))
        _, dy[row], dx[row] = filled(known, box_pix)
        strip = np.where(known, strip, np.nan)
        strip = np.pad(strip, ((0, 0), (0, columns * box_pix - width)), constant_values=np.nan)
        boxes = strip.reshape(len(strip), columns, box_pix).swapaxes(0, 1).reshape(columns, -1)
        some = ~np.isnan(boxes).all(axis=1)
        mesh[row, some] = np.nanmedian(boxes[some], axis=1)
    return smoothed_levels(mesh, dy, dx) if positive else smoothed(mesh)


def measure_correlation(
    image: Values, noise: NoiseMap, beam: PixelBeam, reach_pix: tuple[int, int]
) -> NoiseCorrelation:
    """How the noise of an image is correlated, from its pixels without sources.

    Parameters
    ----------
    image : array of shape (ny, nx)
        May be mapped from a file; at most 36 blocks of 192 x 192 pixels, spread evenly, are read.
    noise : NoiseMap
        Of this image.
    beam : PixelBeam
    reach_pix : (int, int)
        Largest separations in x and y that are wanted [pixel].

    Returns
    -------
    NoiseCorrelation
        That of noise made by the beam, where hardly any pixel is free of sources, or none has any noise.
    """
    height, width = image.shape
    side_y, side_x = min(_BLOCK, height), min(_BLOCK, width)
    shape = tuple(
        scipy.fft.next_fast_len(side + reach, real=True)
        for side, reach in zip((side_y, side_x), reach_pix[::-1], strict=True)
    )
    products, pairs = np.zeros(shape), np.zeros(shape)
    n_free = 0
    for top, left in _blocks(height, width, side_y, side_x):
        block = np.asarray(image[top : top + side_y, left : left + side_x], np.float64)
        rows, columns = np.mgrid[top : top + side_y, left : left + side_x]
        rms, background = noise.at(columns.astype(float), rows.astype(float))
        normal = (block - background) / rms
        free = _free_of_sources(normal, beam)
        n_free += int(free.sum())
        products += _autocorrelation(np.where(free, normal, 0.0), shape)
        pairs += _autocorrelation(free.astype(float), shape)
    if n_free < _LEAST_BEAMS * np.pi / 4.0 * np.prod(beam.fwhm_pix) or not products[0, 0] > 0:
        return NoiseCorrelation.of_beam(beam, reach_pix)
    mean = np.where(pairs > 0.5, products / np.maximum(pairs, 1.0), 0.0)
    centered = scipy.fft.fftshift(mean)
    y, x = shape[0] // 2, shape[1] // 2
    return NoiseCorrelation(centered[y - reach_pix[1] : y + reach_pix[1] + 1, x - reach_pix[0] : x + reach_pix[0] + 1])


def _blocks(height: int, width: int, side_y: int, side_x: int) -> list[tuple[int, int]]:
    """Top left corners of blocks, spread evenly, that do not overlap more than they must."""
    per_axis = int(np.sqrt(_BLOCKS))
    tops, lefts = (
        np.unique(np.linspace(0, n - side, min(per_axis, -(-n // side))).astype(int))
        for n, side in ((height, side_y), (width, side_x))
    )
    return [(int(top), int(left)) for top in tops for left in lefts]


def _free_of_sources(normal: Floats, beam: PixelBeam) -> Flags:
    """Pixels of noise alone: finite, and farther than a beam from what stands out, up or down."""
    finite = np.isfinite(normal)
    high = np.abs(np.where(finite, normal, 0.0)) > _SOURCE_SNR
    width, height = beam.reach_pix(1.0)
    dy, dx = np.mgrid[-height : height + 1, -width : width + 1]
    return finite & ~scipy.ndimage.binary_dilation(high, beam.squared(dx, dy) <= 1.0)


def _autocorrelation(values: Floats, shape: tuple[int, ...]) -> Floats:
    """Sum over all pixels of products at each separation, by the Fourier transform."""
    return np.asarray(scipy.fft.irfft2(np.abs(scipy.fft.rfft2(values, shape)) ** 2, shape), np.float64)
