"""One figure an image: offsets with their median and its error, and ln flux ratio against flux with the fit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from contimg_assets.calibration.selection import Selection
from contimg_assets.figures.canvas import place_words, small_png_of
from contimg_assets.schemas.tables import stand_among

_DPI = 60
# How far below the axes, and left of them, their labels stand.
_LABELS_INCH = (0.28, 0.42)
# Events are kept for ever, twice, and this many figures are most of 200 kB.
_MOST_FIGURES = 6
# Of images of which nothing is wrong: a figure takes as long as the corrections of ten images.
_MOST_APPLIED = 2
_USED, _LEFT_OUT, _FIT = "#1f6fb4", "#bbbbbb", "#c44e25"


def worth_a_look(selected: Selection, corrections: pd.DataFrame, at_most: int = _MOST_FIGURES) -> pd.DataFrame:
    """Rows of the images that somebody should see: those left as they are, then two that are most unlike the others.

    Parameters
    ----------
    selected : of `measure.selection_of`
    corrections : CORRECTIONS of the images
    at_most : number of rows

    Returns
    -------
    rows of ``corrections``; images without matches have nothing to be seen and are left out
    """
    shown = corrections[stand_among(corrections["image"], selected.table["image"])]
    measured = shown[["dra_arcsec", "ddec_arcsec", "flux_scale"]].astype(float)
    off = (measured - measured.median()).abs()
    unlike = (off / np.maximum(off.median(), 1e-9)).max(axis=1).fillna(0.0)
    applied = shown["applied"].to_numpy(dtype=bool)
    order = np.lexsort((shown["image"].to_numpy(dtype=str), -unlike.to_numpy(), applied))
    return shown.iloc[order[: min(at_most, int((~applied).sum()) + _MOST_APPLIED)]]


def plot_corrections(selected: Selection, corrections: pd.DataFrame) -> Iterator[tuple[str, bytes]]:
    """A figure for each image.

    Parameters
    ----------
    selected : of `measure.selection_of`
    corrections : CORRECTIONS of the images

    Yields
    ------
    image, bytes of a PNG of 540 x 240 pixels
    """
    figure = Figure(figsize=(9, 4), dpi=_DPI)
    FigureCanvasAgg(figure)
    # By hand: to find the layout, matplotlib draws everything twice, and there are many images in an epoch.
    figure.subplots_adjust(left=0.07, right=0.98, bottom=0.13, top=0.91, wspace=0.2)
    left, right = figure.subplots(1, 2)
    left.set(aspect="equal", adjustable="box", ylabel="north [arcsec]")
    right.set(xscale="log", ylabel="ln(our flux / its flux)")
    # 10, 20, 50, 100 ...: a field may span less than a decade.
    right.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    right.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    right.xaxis.set_minor_locator(NullLocator())
    for axis in (left.xaxis, left.yaxis, right.yaxis):
        axis.set_major_locator(MaxNLocator(5))
    for _, correction in corrections.iterrows():
        # Axes and their ticks take longer to make than to draw: they stay.
        for artist in (*left.lines, *left.patches, *right.lines, *right.collections):
            artist.remove()
        # Where there is nothing to show, not the limits of the image before.
        left.set(xlim=(1, -1), ylim=(-1, 1))
        right.set(xlim=(1, 1000), ylim=(-1, 1))
        of_image = (selected.table["image"] == correction["image"]).to_numpy()
        _plot_offsets(left, selected, of_image, correction)
        _plot_ratios(right, selected, of_image, correction)
        title_figure(figure, correction)
        for axes in (left, right):
            place_words(axes, *_LABELS_INCH)
        yield str(correction["image"]), small_png_of(figure, _DPI)


def title_figure(figure: Figure, correction: pd.Series) -> None:
    """The image's name, whatever it is (dollars in it are no formula), and what became of its correction."""
    if correction["applied"]:
        state = "applied"
    else:
        partly = correction["position_applied"] or correction["flux_applied"]
        state = f"{'partly applied' if partly else 'NOT applied'}: {correction['reason']}"
    title = f"{correction['image']} – {state}".replace("$", r"\$")
    figure.suptitle(title, fontsize=9, wrap=True)


def _of_catalog(selected: Selection, of_image: np.ndarray, names: Any) -> np.ndarray:
    catalogs = names.split("+") if isinstance(names, str) else []
    return of_image & selected.table["catalog"].isin(catalogs).to_numpy()


def _plot_offsets(axes: Any, selected: Selection, of_image: np.ndarray, correction: pd.Series) -> None:
    rows = _of_catalog(selected, of_image, correction["position_catalog"])
    used = rows & selected.position
    table = selected.table
    for mask, colour, label in ((rows & ~used, _LEFT_OUT, "left out"), (used, _USED, f"used ({used.sum()})")):
        axes.plot(table["dra_arcsec"][mask], table["ddec_arcsec"][mask], ".", ms=3, color=colour, label=label)
    if used.any():
        dra, ddec = correction["dra_arcsec"], correction["ddec_arcsec"]
        covariance = np.array(
            [
                [correction["dra_err_arcsec"] ** 2, correction["dra_ddec_cov_arcsec2"]],
                [correction["dra_ddec_cov_arcsec2"], correction["ddec_err_arcsec"] ** 2],
            ]
        )
        values, vectors = np.linalg.eigh(covariance)
        width, height = 6 * np.sqrt(np.maximum(values[::-1], 0))
        angle = np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1]))
        axes.add_patch(Ellipse((dra, ddec), width, height, angle=angle, fill=False, color=_FIT, lw=1.5, zorder=3))
        axes.plot(dra, ddec, "+", color=_FIT, zorder=3, label=f"median {dra:+.2f}, {ddec:+.2f}″ (ellipse: 3σ)")
        reach = 6 * np.nanmax([correction["dra_mad_arcsec"], correction["ddec_mad_arcsec"], 0.05])
        axes.set_xlim(dra + reach, dra - reach)
        axes.set_ylim(ddec - reach, ddec + reach)
    axes.axhline(0, color="k", lw=0.5)
    axes.axvline(0, color="k", lw=0.5)
    axes.set_xlabel(f"{correction['position_catalog'] or 'catalogue'} − image, east [arcsec]")
    axes.legend(fontsize=7, loc="upper right")


def _plot_ratios(axes: Any, selected: Selection, of_image: np.ndarray, correction: pd.Series) -> None:
    rows = _of_catalog(selected, of_image, correction["flux_catalog"])
    used = rows & selected.flux
    reference = selected.table["reference_flux_mjy"].to_numpy(dtype=float)
    flux = selected.table["flux_mjy"].to_numpy(dtype=float)
    rows &= (reference > 0) & (flux > 0)
    for mask, colour, label in ((rows & ~used, _LEFT_OUT, "left out"), (used, _USED, f"used ({used.sum()})")):
        axes.plot(reference[mask], np.log(flux[mask] / reference[mask]), ".", ms=3, color=colour, label=label)
    scale, error = correction["flux_scale"], correction["flux_scale_err"]
    if used.any() and np.isfinite(scale):
        grid = np.geomspace(reference[used].min(), reference[used].max(), 100)
        add = np.nan_to_num(correction["flux_offset_mjy"])
        with np.errstate(invalid="ignore"):
            line = np.log(scale + add / grid)
        axes.plot(grid, line, color=_FIT, label=f"{correction['flux_method']}: {scale:.3f} ± {error:.3f}")
        scatter = np.hypot(np.nan_to_num(correction["flux_intrinsic_scatter"]), error / scale)
        axes.fill_between(grid, line - scatter, line + scatter, color=_FIT, alpha=0.2, lw=0)
        spread = np.ptp(np.quantile(np.log(flux[used] / reference[used]), [0.05, 0.95]))
        axes.set_ylim(np.log(scale) - max(2 * spread, 0.2), np.log(scale) + max(2 * spread, 0.2))
    axes.axhline(0, color="k", lw=0.5)
    if rows.any():
        axes.set_xlim(reference[rows].min() / 1.1, reference[rows].max() * 1.1)
    axes.set_xlabel(f"flux of {correction['flux_catalog'] or 'catalogue'} at our frequency [mJy]")
    axes.legend(fontsize=7, loc="upper right")
