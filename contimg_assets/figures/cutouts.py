"""A strip of cutouts over time: the place of the source, the beam, and what else is around."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from astropy.time import Time
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

from contimg_assets.figures.canvas import png_of
from contimg_assets.photometry.cutouts import SourceCutout
from contimg_assets.photometry.images import pixel_beam

_DPI = 80
_PER_ROW, _PANEL_INCHES = 8, 2.0
_SOURCE, _OTHER, _BEAM = "#c44e25", "#1f6fb4", "#ffffff"
# Gray scale, in rms: from the first, to the brightest forced flux of the strip between the other two. Where it went
# farther, noise and faint neighbors would be black.
_FROM_RMS, _TO_LEAST_RMS, _TO_MOST_RMS = -3.0, 8.0, 25.0


def plot_cutouts(cutouts: Sequence[SourceCutout]) -> bytes:
    """The cutouts of a source side by side, in one gray scale.

    Returns
    -------
    bytes of a PNG; eight panels a row, each with date, forced flux in mJy/beam, and whether it was detected there, or
    in another image of the epoch
    """
    columns = min(max(len(cutouts), 1), _PER_ROW)
    rows = max(-(-len(cutouts) // _PER_ROW), 1)
    figure = Figure(figsize=(columns * _PANEL_INCHES, rows * (_PANEL_INCHES + 0.45)), dpi=_DPI)
    FigureCanvasAgg(figure)
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.02, top=1 - 0.42 / (_PANEL_INCHES + 0.45) / rows, hspace=0.3)
    low, high = _limits(cutouts)
    # Of two images of an epoch that show a source, one has its detection; that of the other was taken for a repeat.
    epochs = {one.epoch for one in cutouts if np.isfinite(one.detected_mjy_beam)}
    for index, one in enumerate(cutouts):
        axes = figure.add_subplot(rows, columns, index + 1)
        _panel(axes, one, low, high)
        date = Time(one.mjd, format="mjd").strftime("%Y-%m-%d %H:%M")
        axes.set_title(f"{date}\n{_flux(one)}, {_seen(one, one.epoch in epochs)}", fontsize=7)
    return png_of(figure, _DPI)


def _limits(cutouts: Sequence[SourceCutout]) -> tuple[float, float]:
    rms = np.array([one.cutout.flux["local_rms_mjy_beam"] for one in cutouts], float)
    flux = np.array([one.cutout.flux["flux_peak_mjy_beam"] for one in cutouts], float)
    typical = float(np.median(rms[np.isfinite(rms)])) if np.isfinite(rms).any() else 1.0
    brightest = float(np.nanmax(np.append(flux, 0.0))) / typical
    return _FROM_RMS * typical, float(np.clip(brightest, _TO_LEAST_RMS, _TO_MOST_RMS)) * typical


def _panel(axes: Any, one: SourceCutout, low: float, high: float) -> None:
    image = one.cutout.image
    height, width = image.pixels.shape
    axes.imshow(image.pixels, origin="lower", cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    x, y = image.to_pixels([one.cutout.ra_deg], [one.cutout.dec_deg])
    beam = pixel_beam(image)
    sizes, axes_of_beam = np.linalg.eigh(np.array([[beam.xx, beam.xy], [beam.xy, beam.yy]]))
    angle = float(np.degrees(np.arctan2(axes_of_beam[1, 0], axes_of_beam[0, 0])))
    major, minor = sizes**-0.5
    axes.add_patch(Ellipse((x[0], y[0]), 2 * major, 2 * minor, angle=angle, fill=False, color=_SOURCE))
    axes.add_patch(Ellipse((0.12 * width, 0.12 * height), major, minor, angle=angle, color=_BEAM, alpha=0.8))
    axes.plot(*image.to_pixels(one.others["ra_deg"], one.others["dec_deg"]), "+", color=_OTHER, markersize=5)
    axes.set(xlim=(-0.5, width - 0.5), ylim=(-0.5, height - 0.5), xticks=[], yticks=[])


def _seen(one: SourceCutout, in_epoch: bool) -> str:
    if np.isfinite(one.detected_mjy_beam):
        return "detected"
    return "in another image" if in_epoch else "not detected"


def _flux(one: SourceCutout) -> str:
    if one.cutout.flux["reason"]:
        return str(one.cutout.flux["reason"])
    return f"{one.forced_mjy_beam:.3g} ± {one.forced_err_mjy_beam:.2g}"
