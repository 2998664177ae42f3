"""Peak fluxes at fixed positions of an image: least squares with the covariance of its noise.

The model of the pixels around a position is a point source there, point sources at the other positions nearby, and a
level: amplitudes are free, places are not. Neighboring pixels of an interferometer's image have nearly the same noise,
so that a sum over pixels that takes them as independent scatters by 1.4 times the rms, and its error is not that of any
pixel. Here the pixels are turned into those combinations that are independent, by the eigenvectors of the covariance
(generalized least squares, Aitken 1935), which gives the value with the smallest error, and this error.

Combinations that hardly have any noise are not used: what stands there is not the beam and the sky but the gridding and
the digits of the image.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy

from contimg_assets.photometry.beam import PixelBeam
from contimg_assets.photometry.noise import NoiseCorrelation, NoiseMap, measure_correlation, measure_noise
from contimg_assets.sky.arrays import Flags, Floats, Indices, Values

STAMP_BEAMS = 1.5
"""Pixels this far from a position take part in its fit [FWHM]."""
# Positions whose beams reach into the stamp are fitted along; so many at most, the nearest.
_NEIGHBOR_BEAMS, _MAX_NEIGHBORS = 2.5, 8
# Closer positions are one and the same to the beam, and only their sum could be measured [FWHM].
_UNRESOLVED_BEAMS = 0.3
# Positions that are the same but for rounding [pixel].
_SAME_PIX = 1e-3
# Pixels of a stamp are at least this part of the minor axis apart: what lies between is the same noise. Where the noise
# is finer than the beam, so many pixels are the limit.
_STEP_BEAMS, _MAX_PIXELS = 0.55, 400
# Combinations of pixels with less variance than this share of the largest are not used.
_LEAST_VARIANCE = 0.02
# Least share of the beam (of its square) that must lie on pixels with values.
_LEAST_SEEN = 0.5
# What the fit leaves of a pixel within a beam must be below this many rms, and this share of the brightest neighbor.
_ISLAND_SNR, _ISLAND_SHARE = 6.0, 0.1
# Positions at a time; and of their covariances, where each has its own, so many numbers.
_AT_ONCE, _COVARIANCES_AT_ONCE = 2000, 4_000_000

OUTSIDE, EDGE, BLANK, UNRESOLVED, ISLAND = "outside", "edge", "blank", "unresolved", "island"
REASONS = {
    OUTSIDE: "the position is not on the image",
    EDGE: "too little of the beam lies on the image",
    BLANK: "too many pixels around the position have no value",
    UNRESOLVED: "another position is closer than 0.3 beams",
    ISLAND: "there is emission that point sources at the positions do not explain",
}
"""Why a position has no flux."""


@dataclass(frozen=True)
class ImageNoise:
    """What is known of an image besides its pixels.

    Attributes
    ----------
    beam : PixelBeam
    level : NoiseMap
    correlation : NoiseCorrelation
        To at least `stamp_reach` of the beam.
    """

    beam: PixelBeam
    level: NoiseMap
    correlation: NoiseCorrelation


def stamp_reach(beam: PixelBeam) -> tuple[int, int]:
    """Largest separations in x and y of two pixels of one fit [pixel]."""
    width, height = beam.reach_pix(2.0 * STAMP_BEAMS)
    return width + 1, height + 1


def forced_fluxes(
    image: Values,
    x_pix: npt.ArrayLike,
    y_pix: npt.ArrayLike,
    noise: ImageNoise,
    also: tuple[npt.ArrayLike, npt.ArrayLike] = ((), ()),
    *,
    sums: bool = False,
) -> pd.DataFrame:
    """Peak fluxes of point sources at fixed positions.

    Parameters
    ----------
    image : array of shape (ny, nx)
        Pixels, not finite where there is none. May be mapped from a file: only the pixels around positions are read.
    x_pix, y_pix : array_like of shape (n,)
        Positions [pixel]; the middle of the first pixel is (0, 0).
    noise : ImageNoise
        Beam and noise of this image.
    also : pair of array_like of shape (m,), optional
        Positions (x, y) of other sources, such as detections, that are fitted along where they are near [pixel]. Those
        at the very place of a position are taken for that position.
    sums : bool, optional
        Whether a position closer than 0.3 beams to another one has what is measured of both together. It has no flux
        otherwise. Positions that are the very same have the same flux in either case.

    Returns
    -------
    DataFrame
        A row a position, in their order: ``flux`` and ``flux_err`` (peak, signed, in the unit of the image),
        ``chi_squared`` and ``dof`` of the fit, ``background`` (level under the source, from map and fit),
        ``local_rms``, ``n_neighbors`` (positions fitted along), ``reason``. Where there is no flux it is NaN and the
        reason is one of `REASONS`; else the reason is empty.

    Raises
    ------
    ValueError
        If the image does not have two axes, or x and y differ in length.

    References
    ----------
    Condon 1997, PASP 109, 166, for noise that is correlated by the beam; Aitken 1935, Proc. R. Soc. Edinb. 55, 42.

    Examples
    --------
    >>> import numpy as np
    >>> from contimg_assets.photometry.beam import PixelBeam
    >>> from contimg_assets.photometry.forced import forced_fluxes, noise_of
    >>> from contimg_assets.simulate.pixels import beam_noise
    >>> beam = PixelBeam.of_sky(12.0, 8.0, 30.0, np.array([[-2.0, 0.0], [0.0, 2.0]]))
    >>> image = 0.01 * beam_noise((300, 300), beam, np.random.default_rng(1))
    >>> y, x = np.mgrid[:300, :300]
    >>> image += 2.0 * beam(x - 150.3, y - 149.8)
    >>> found = forced_fluxes(image, [150.3, 40.0, 400.0], [149.8, 40.0, 10.0], noise_of(image, beam))
    >>> found["flux"].round(1).tolist(), found["reason"].tolist()
    ([2.0, 0.0, nan], ['', '', 'outside'])
    """
    x, y = np.atleast_1d(np.asarray(x_pix, float)), np.atleast_1d(np.asarray(y_pix, float))
    if np.ndim(image) != 2 or x.shape != y.shape or x.ndim != 1:
        raise ValueError("an image of two axes, and as many x as y, are needed")
    asked, row = np.unique(np.stack([x, y], axis=-1), axis=0, return_inverse=True)
    if len(asked) < len(x):
        once = forced_fluxes(image, asked[:, 0], asked[:, 1], noise, also, sums=sums)
        return once.take(row.ravel()).reset_index(drop=True)
    places = np.concatenate([np.stack([x, y], axis=-1), _elsewhere(np.stack([x, y], axis=-1), also)])
    neighbors = _Neighbors.among(places, len(x), noise.beam)
    neighbors = neighbors.without_unresolved() if sums else neighbors
    stamp = _Stamp.of(noise)
    found = {name: np.full(len(x), np.nan) for name in _VALUES}
    why = np.full(len(x), "", dtype=object)
    # Positions that are near each other are read together.
    for rows in _chunks(np.lexsort((x, y))):
        values, reasons = _fit(image, places, rows, neighbors, stamp, noise)
        why[rows] = reasons
        for name, value in values.items():
            found[name][rows] = value
    table = pd.DataFrame(found)
    table.loc[why != "", ["flux", "flux_err", "chi_squared", "dof", "background"]] = np.nan
    return table.assign(n_neighbors=neighbors.count, reason=why)


def noise_of(image: Values, beam: PixelBeam, level: NoiseMap | None = None) -> ImageNoise:
    """Measure what `forced_fluxes` needs to know of an image.

    Parameters
    ----------
    image : array of shape (ny, nx)
        May be mapped from a file.
    beam : PixelBeam
    level : NoiseMap, optional
        Noise and background where they are known, such as from a finder's maps; else they are measured.
    """
    level = measure_noise(image, beam) if level is None else level
    return ImageNoise(beam, level, measure_correlation(image, level, beam, stamp_reach(beam)))


_VALUES = ("flux", "flux_err", "chi_squared", "dof", "background", "local_rms")


def _elsewhere(places: Floats, also: tuple[npt.ArrayLike, npt.ArrayLike]) -> Floats:
    """The other sources that are none of the positions, shape (m, 2)."""
    others = np.stack([np.atleast_1d(np.asarray(one, float)) for one in also], axis=-1)
    others = np.asarray(others[np.isfinite(others).all(axis=1)], np.float64)
    known = places[np.isfinite(places).all(axis=1)]
    if not len(known) or not len(others):
        return others
    apart, _ = scipy.spatial.cKDTree(known).query(others)
    elsewhere: Floats = others[apart > _SAME_PIX]
    return elsewhere


def _chunks(order: Indices, size: int = _AT_ONCE) -> Iterator[Indices]:
    for first in range(0, len(order), size):
        yield order[first : first + size]


@dataclass(frozen=True)
class _Neighbors:
    """Positions that are fitted along with each: ``rows`` of all places, shape (n, k), -1 for none.

    ``close`` are those that are closer than two can be told apart, shape (n, k).
    """

    rows: Indices
    count: Indices
    close: Flags

    @classmethod
    def among(cls, places: Floats, n: int, beam: PixelBeam) -> _Neighbors:
        """Of the first n places, the nearest of all that are near."""
        known = np.flatnonzero(np.isfinite(places).all(axis=1))
        asked = known[known < n]
        rows = np.full((n, _MAX_NEIGHBORS), -1, np.intp)
        apart = np.full((n, _MAX_NEIGHBORS), np.inf)
        if len(asked):
            scaled = places[known] @ beam.root.T
            distance, at = scipy.spatial.cKDTree(scaled).query(
                scaled[: len(asked)], _MAX_NEIGHBORS + 1, distance_upper_bound=_NEIGHBOR_BEAMS
            )
            # The position itself is not always the first: another may lie at the same place.
            itself = at == np.arange(len(asked))[:, None]
            others = np.argsort(itself, axis=1, kind="stable")[:, :_MAX_NEIGHBORS]
            at = np.take_along_axis(at, others, 1)
            distance = np.take_along_axis(np.asarray(distance, np.float64), others, 1)
            rows[asked] = np.where(np.isfinite(distance), known[np.minimum(at, len(known) - 1)], -1)
            apart[asked] = distance
        return cls(rows, (rows >= 0).sum(axis=1), apart < _UNRESOLVED_BEAMS)

    def without_unresolved(self) -> _Neighbors:
        """What is one with a position to the beam is not fitted along; the others first, as they were."""
        order = np.argsort(self.close, axis=1, kind="stable")
        rows = np.take_along_axis(np.where(self.close, -1, self.rows), order, 1)
        return _Neighbors(rows, (rows >= 0).sum(axis=1), np.zeros_like(self.close))

    @property
    def unresolved(self) -> Flags:
        """Whether another one is closer to each than two can be told apart, shape (n,)."""
        return np.asarray(self.close.any(axis=1), np.bool_)


@dataclass(frozen=True)
class _Stamp:
    """Pixels that take part in a fit, by their offset from the nearest pixel, and what makes them independent."""

    dx: Indices
    dy: Indices
    covariance: Floats
    independent: Floats  # shape (m, n): combinations of pixels with unit variance, where all have a value

    @classmethod
    def of(cls, noise: ImageNoise) -> _Stamp:
        width, height = noise.beam.reach_pix(STAMP_BEAMS)
        step = max(1, int(_STEP_BEAMS * noise.beam.fwhm_pix[0] * min(1.0, noise.correlation.width(noise.beam))))
        dx, dy = _grid(width, height, step, noise.beam)
        while len(dx) > _MAX_PIXELS:
            step += 1
            dx, dy = _grid(width, height, step, noise.beam)
        covariance = noise.correlation.between(dx[:, None] - dx, dy[:, None] - dy)
        return cls(dx, dy, covariance, _independent(covariance[None])[0])


def _grid(width: int, height: int, step: int, beam: PixelBeam) -> tuple[Indices, Indices]:
    """Every so many pixels within the ellipse of a stamp, counted from the middle, which is always one of them."""
    along_x, along_y = (np.arange(-(reach // step), reach // step + 1) * step for reach in (width, height))
    x, y = np.meshgrid(along_x, along_y)
    inside = beam.squared(x, y) <= STAMP_BEAMS**2
    return x[inside], y[inside]


def _independent(covariance: Floats) -> Floats:
    """Combinations with unit variance, shape (..., n, n); those of hardly any variance are 0."""
    variance, vectors = np.linalg.eigh(covariance)
    used = variance > _LEAST_VARIANCE * variance[..., -1:]
    scale = np.where(used, 1.0 / np.sqrt(np.where(used, variance, 1.0)), 0.0)
    return np.asarray(scale[..., :, None] * np.swapaxes(vectors, -1, -2), np.float64)


@dataclass(frozen=True)
class _Pixels:
    """Pixels of some stamps, shape (rows, n): what is above the background in rms, and which there are."""

    snr: Floats
    known: Flags
    on_image: Flags
    dx: Floats  # from the position, not from the nearest pixel
    dy: Floats
    rms: Floats
    background: Floats


def _read(image: Values, x: Floats, y: Floats, stamp: _Stamp, level: NoiseMap) -> _Pixels:
    height, width = image.shape
    finite = np.isfinite(x) & np.isfinite(y)
    x, y = np.where(finite, x, -1e6), np.where(finite, y, -1e6)
    column = np.rint(x).astype(np.intp)[:, None] + stamp.dx
    row = np.rint(y).astype(np.intp)[:, None] + stamp.dy
    on_image = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    pixels = np.asarray(image[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)], np.float64)
    rms, background = level.at(column.astype(float), row.astype(float))
    known = on_image & np.isfinite(pixels) & (rms > 0)
    snr = np.where(known, pixels - background, 0.0) / np.where(known, rms, 1.0)
    return _Pixels(snr, known, on_image, column - x[:, None], row - y[:, None], rms, background)


def _fit(
    image: Values, places: Floats, rows: Indices, neighbors: _Neighbors, stamp: _Stamp, noise: ImageNoise
) -> tuple[dict[str, Floats], Values]:
    """Values of some positions, and why there is none."""
    x, y = places[rows].T
    pixels = _read(image, x, y, stamp, noise.level)
    at = neighbors.rows[rows][:, : int(neighbors.count[rows].max())]
    shapes = _shapes(pixels, places[rows], places[at], at >= 0, noise.beam)
    known = pixels.known.all(axis=1)
    data = np.concatenate([pixels.snr[:, None], shapes], axis=1)
    independent = np.zeros((*data.shape[:2], len(stamp.independent)))
    independent[known] = data[known] @ stamp.independent.T
    n_used = np.where(known, (stamp.independent != 0).any(axis=1).sum(), 0)
    why = _blanks(pixels, x, y, image.shape, noise.beam)
    at_once = max(1, _COVARIANCES_AT_ONCE // stamp.covariance.size)
    for few in _chunks(np.flatnonzero(~known & (why == "")), at_once):
        both = pixels.known[few][:, :, None] & pixels.known[few][:, None, :]
        turned = _independent(np.where(both, stamp.covariance, 0.0))
        independent[few] = data[few] @ np.swapaxes(turned, -1, -2)
        n_used[few] = (turned != 0).any(axis=2).sum(axis=1)
    amplitudes, variance, chi_squared = _solved(independent[:, 0], independent[:, 1:])
    left = pixels.snr - np.einsum("ik,ikn->in", amplitudes, shapes)
    why = np.where((why == "") & neighbors.unresolved[rows], UNRESOLVED, why)
    why = np.where((why == "") & _unexplained(left, pixels, amplitudes, noise.beam), ISLAND, why)
    middle = np.flatnonzero((stamp.dx == 0) & (stamp.dy == 0))[0]
    rms, level = pixels.rms[:, middle], pixels.background[:, middle]
    values = {
        "flux": amplitudes[:, 0] * rms,
        "flux_err": np.sqrt(variance) * rms,
        "chi_squared": chi_squared,
        "dof": (n_used - 2 - (at >= 0).sum(axis=1)).astype(float),
        "background": level + amplitudes[:, 1] * rms,
        "local_rms": np.where(np.isin(why, [OUTSIDE]), np.nan, rms),
    }
    return values, why


def _shapes(pixels: _Pixels, places: Floats, others: Floats, there: Flags, beam: PixelBeam) -> Floats:
    """What each amplitude adds to the pixels, in rms of the middle: source, level, neighbors; shape (rows, k, n)."""
    # A neighbor's offsets from the pixels are the position's own, moved by what lies between the two.
    between = np.where(there[..., None], others - places[:, None], 0.0)
    beside = beam(pixels.dx[:, None] - between[..., :1], pixels.dy[:, None] - between[..., 1:]) * there[..., None]
    own = np.stack([beam(pixels.dx, pixels.dy), np.ones_like(pixels.dx)], axis=1)
    middle = np.argmin(beam.squared(pixels.dx, pixels.dy), axis=1)[:, None]
    share = np.take_along_axis(pixels.rms, middle, 1) / np.where(pixels.known, pixels.rms, 1.0)
    return np.asarray(np.concatenate([own, beside], axis=1) * (share * pixels.known)[:, None], np.float64)


def _solved(data: Floats, shapes: Floats) -> tuple[Floats, Floats, Floats]:
    """(amplitudes, variance of the first, chi-squared) of plain least squares; shapes that are 0 have amplitude 0."""
    normal = shapes @ np.swapaxes(shapes, -1, -2)
    k = normal.shape[-1]
    diagonal = normal[:, np.arange(k), np.arange(k)]
    # A neighbor of which the pixels hold next to nothing is left out, as is what is not there.
    absent = diagonal <= 1e-6 * diagonal.max(axis=1, initial=1e-300, keepdims=True)
    used = ~absent[:, :, None] & ~absent[:, None, :]
    normal = np.where(used, normal, np.eye(k))
    inverse = np.linalg.inv(normal)
    right = np.where(absent, 0.0, np.einsum("ikm,im->ik", shapes, data))
    amplitudes = np.einsum("ikl,il->ik", inverse, right)
    left = data - np.einsum("ik,ikm->im", amplitudes, shapes)
    chi_squared = np.asarray((left**2).sum(axis=1), np.float64)
    return np.asarray(amplitudes, np.float64), np.asarray(inverse[:, 0, 0], np.float64), chi_squared


def _blanks(pixels: _Pixels, x: Floats, y: Floats, shape: tuple[int, ...], beam: PixelBeam) -> Values:
    """Reasons that the pixels themselves give."""
    weight = beam(pixels.dx, pixels.dy) ** 2
    total = weight.sum(axis=1)
    with np.errstate(invalid="ignore"):
        outside = ~((x >= -0.5) & (x <= shape[1] - 0.5) & (y >= -0.5) & (y <= shape[0] - 0.5))
    few = (weight * pixels.known).sum(axis=1) < _LEAST_SEEN * total
    cut = (weight * pixels.on_image).sum(axis=1) < _LEAST_SEEN * total
    why = np.full(len(x), "", dtype=object)
    why[few] = BLANK
    why[few & cut] = EDGE
    why[outside] = OUTSIDE
    return why


def _unexplained(left: Floats, pixels: _Pixels, amplitudes: Floats, beam: PixelBeam) -> Flags:
    """Whether the fit leaves more than noise, and than small faults of the beam, within a beam of the position."""
    near = pixels.known & (beam.squared(pixels.dx, pixels.dy) <= 1.0)
    most = np.max(np.abs(left), axis=1, where=near, initial=0.0)
    sources = np.delete(np.abs(amplitudes), 1, axis=1).max(axis=1)
    return np.asarray(most > np.maximum(_ISLAND_SNR, _ISLAND_SHARE * sources), np.bool_)
