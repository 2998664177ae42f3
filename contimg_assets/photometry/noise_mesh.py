"""From values in the boxes of an image to a smooth mesh, up to the image's edges and beyond the last box's middle.

Noise rises toward the edges of an image that has been divided by the primary beam, and boxes there are filled in part:
their values belong to the middle of the pixels that they have. A mesh that goes on flat from the last box has a noise
too low by some percent at the edge.
"""

from __future__ import annotations

import numpy as np
import scipy
from numpy.lib.stride_tricks import sliding_window_view

from contimg_assets.sky.arrays import Flags, Floats, Values

# Medians are of 3 x 3 boxes, slopes of 5 x 5 of these.
_MEDIAN, _SLOPE = 3, 5
# Slopes of few boxes, or of boxes in one line, are drawn to none by this sum of squares [boxes^2].
_RIDGE = 0.1
# From the boxes at the edge to its pixels a level rises or falls by no more than this [ln].
_MOST = 0.4


def filled(known: Flags, box_pix: int) -> tuple[Floats, Floats, Floats]:
    """How the boxes of a strip that is at most one box high are filled.

    Parameters
    ----------
    known : array of bool, shape (height, width)
        Pixels that count.
    box_pix : int

    Returns
    -------
    (array, array, array), shape (n_boxes,) each
        Share of the pixels of the box that the strip has; how far the middle of those that count lies from that of a
        whole box, in y and in x [boxes], NaN where none counts.
    """
    height, width = known.shape
    edges = np.arange(0, width, box_pix)
    columns = known.sum(axis=0)
    n = np.add.reduceat(columns, edges)
    there = np.where(n > 0, n, np.nan)
    y = np.add.reduceat(np.arange(height) @ known, edges) / there
    x = np.add.reduceat(np.arange(width) * columns, edges) / there - edges
    share = n / (height * np.diff(edges, append=width))
    return share, (y + 0.5) / box_pix - 0.5, (x + 0.5) / box_pix - 0.5


def smoothed(mesh: Floats) -> Floats:
    """Medians of 3 x 3 boxes; boxes without a value have that of the nearest one."""
    if np.isnan(mesh).all():
        return mesh
    return np.asarray(scipy.ndimage.median_filter(_nearest(mesh), _MEDIAN, mode="nearest"), np.float64)


def smoothed_levels(mesh: Floats, dy: Floats, dx: Floats) -> Floats:
    """Medians of 3 x 3 boxes at the middles of all boxes, by the slope around them where boxes lack.

    Parameters
    ----------
    mesh : array of shape (n_boxes_y, n_boxes_x)
        Levels; NaN of boxes without a value, 0 of boxes where all pixels are the same.
    dy, dx : arrays of the same shape
        How far the middle of the pixels of each box lies from that of the whole box [boxes].

    Examples
    --------
    >>> import numpy as np
    >>> from contimg_assets.photometry.noise_mesh import smoothed_levels
    >>> levels, none = np.exp(0.1 * np.indices((6, 6))[0]), np.zeros((6, 6))
    >>> bool(np.allclose(smoothed_levels(levels, none, none), levels, rtol=0.01))
    True
    """
    has, plain = mesh > 0, smoothed(mesh)
    if not has.any():
        return plain
    row, column = np.indices(mesh.shape)
    log, y, x = np.log(np.where(has, mesh, 1.0)), row + dy, column + dx
    # Each median belongs to the middle of its boxes, which is not that of the box where boxes lack.
    near = _windows(has, _MEDIAN)[has]
    medians, y, x = (
        average(np.where(near, _windows(one, _MEDIAN)[has], np.nan), axis=-1)
        for average, one in ((np.nanmedian, log), (np.nanmean, y), (np.nanmean, x))
    )
    slope_y, slope_x = _slopes(*(_windows(_on_mesh(one, has), _SLOPE)[has] for one in (medians, y, x)))
    owner = _nearest(_on_mesh(np.arange(has.sum(), dtype=float), has)).astype(np.intp)
    change = slope_y[owner] * (row - y[owner]) + slope_x[owner] * (column - x[owner])
    return np.where(plain > 0, np.exp(medians[owner] + np.clip(change, -_MOST, _MOST)), 0.0)


def beyond(mesh: Floats) -> Floats:
    """A mesh of levels with one more box on each side, which goes on as the last two."""
    log = np.log(np.where(mesh > 0, mesh, 1.0))
    change = np.pad(log, 1, mode="reflect", reflect_type="odd") - np.pad(log, 1, mode="edge")
    return np.asarray(np.pad(mesh, 1, mode="edge") * np.exp(np.clip(change, -_MOST, _MOST)), np.float64)


def _slopes(values: Floats, y: Floats, x: Floats) -> tuple[Floats, Floats]:
    """Slopes (in y, in x) of planes through values, all of shape (n, k), NaN where there is none; shape (n,) each."""
    y, x, values = (one - np.nanmean(one, axis=-1, keepdims=True) for one in (y, x, values))
    yy, xx, xy, vy, vx = (np.nansum(one, axis=-1) for one in (y * y, x * x, x * y, values * y, values * x))
    yy, xx = yy + _RIDGE, xx + _RIDGE
    determinant = yy * xx - xy**2
    return (xx * vy - xy * vx) / determinant, (yy * vx - xy * vy) / determinant


def _windows(mesh: Values, side: int) -> Values:
    """The boxes around each box of a mesh, shape (n_boxes_y, n_boxes_x, side^2); what lies beyond is NaN, or False."""
    nothing = False if mesh.dtype == np.bool_ else np.nan
    around = sliding_window_view(np.pad(mesh, side // 2, constant_values=nothing), (side, side))
    return around.reshape(*mesh.shape, side * side)


def _on_mesh(values: Floats, has: Flags) -> Floats:
    mesh = np.full(has.shape, np.nan)
    mesh[has] = values
    return mesh


def _nearest(mesh: Floats) -> Floats:
    """Boxes without a value have that of the nearest one."""
    empty = np.isnan(mesh)
    if not empty.any():
        return mesh
    nearest = scipy.ndimage.distance_transform_edt(empty, return_distances=False, return_indices=True)
    return np.asarray(mesh[tuple(nearest)], np.float64)
