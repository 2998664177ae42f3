"""Small plots of what a stage made of an epoch: PNGs of a few kB each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from contimg_assets.figures.canvas import new_figure, place_words, plain, small_png_of
from contimg_assets.variability.error_model import ASSUMED, AXES, FLOOR, NOISE

_DPI = 60
# How far below the axes, and left of them, their labels stand.
_LABELS_INCH = (0.3, 0.55)
# As the view `forced_photometry` has it: of normal errors, 95 % lie below so many.
_OF_95_PERCENT = 1.645


def plot_offsets_and_scales(corrections: pd.DataFrame) -> bytes:
    """Offset and flux scale of every image with their errors, refused ones in grey.

    Parameters
    ----------
    corrections : schema CORRECTIONS
    """
    figure, (left, right) = _figure(2)
    applied = corrections["applied"].to_numpy(bool)
    place = np.arange(len(corrections))
    for used, colour in ((applied, "tab:blue"), (~applied, "0.6")):
        rows = corrections[used]
        left.errorbar(
            rows["dra_arcsec"], rows["ddec_arcsec"], rows["ddec_err_arcsec"], rows["dra_err_arcsec"], ".", color=colour
        )
        right.errorbar(place[used], rows["flux_scale"], rows["flux_scale_err"], fmt=".", color=colour)
    left.axhline(0, color="k", lw=0.5)
    left.axvline(0, color="k", lw=0.5)
    left.invert_xaxis()
    left.set(xlabel="catalogue - image, east [arcsec]", ylabel="north [arcsec]", title="position offsets")
    right.axhline(1, color="k", lw=0.5)
    right.set(xlabel="image", ylabel="our flux / catalogue's", title="flux scales (grey: not applied)")
    return _png(figure)


def plot_matches(matches: pd.DataFrame) -> bytes:
    """Offsets of the best matches, and separations of all candidates by what they are worth.

    Parameters
    ----------
    matches : schema CATALOG_MATCHES
    """
    figure, (left, right) = _figure(2)
    best = matches[(matches["rank"] == 1) & (matches["probability"] > 0.5)]
    for name, rows in best.groupby("catalog"):
        left.plot(rows["dra_arcsec"], rows["ddec_arcsec"], ".", ms=2, label=f"{name} ({len(rows)})")
    left.axhline(0, color="k", lw=0.5)
    left.axvline(0, color="k", lw=0.5)
    left.invert_xaxis()
    left.set(xlabel="catalogue - ours, east [arcsec]", ylabel="north [arcsec]", title="matches with probability > 0.5")
    if len(best):
        left.legend(fontsize=7)
    likely = (matches["probability"] > 0.5).to_numpy()
    separation = matches["separation_arcsec"].to_numpy(float)
    right.hist([separation[likely], separation[~likely]], bins=30, stacked=True, label=["> 0.5", "<= 0.5"])
    right.set(xlabel="separation [arcsec]", ylabel="candidates", title="candidates by probability")
    right.legend(fontsize=7)
    return _png(figure)


def plot_variability(variability: pd.DataFrame, kind: str = "peak", max_q: float = 0.0) -> bytes:
    """`draw_variability` as a small picture."""
    return _png(draw_variability(variability, kind, max_q))


def draw_variability(
    variability: pd.DataFrame, kind: str = "peak", max_q: float = 0.0, n_named: int = 0, title: str = ""
) -> Figure:
    """Variability index V against eta: constant sources lie lower left, variables upper right.

    Parameters
    ----------
    variability : columns eta_<kind> and v_<kind> of schema VARIABILITY; q_value_<kind>, where there is such a column
    kind : which flux
    max_q : sources up to this q-value are marked
    n_named : the names of so many of these are written beside them, the first ones; column `name`
    """
    if n_named:
        figure, ((axes,),) = new_figure(width=7.0, height=5.5)
    else:
        figure, (axes,) = _figure(1)
    eta, v = f"eta_{kind}", f"v_{kind}"
    shown = variability[(variability[eta] > 0) & (variability[v] > 0)]
    if len(shown):
        grid = axes.hexbin(shown[eta], shown[v], gridsize=40, xscale="log", yscale="log", bins="log", mincnt=1)
        figure.colorbar(grid, label="sources")
    if max_q and f"q_value_{kind}" in shown:
        chosen = shown[shown[f"q_value_{kind}"] <= max_q]
        axes.plot(chosen[eta], chosen[v], "r+", ms=4, mew=0.7, label=f"{len(chosen)} with q <= {max_q:g}")
        axes.legend(fontsize=7, loc="lower right")
        for row in chosen[:n_named].to_dict("records"):
            label = plain(row["name"])
            axes.annotate(label, (row[eta], row[v]), (-4, 2), textcoords="offset points", ha="right", fontsize=6)
    what = {"peak": "peak flux", "int": "integrated flux"}[kind]
    axes.set(xlabel="eta (reduced chi squared)", ylabel="V (std / mean)")
    axes.set_title(plain(title) or f"{len(shown)} light curves, {what}")
    return figure


def plot_epoch_scales(scales: pd.DataFrame, epochs_in_time_order: Sequence[str]) -> bytes:
    """Flux scale between epochs of every image, by epoch.

    Parameters
    ----------
    scales : schema EPOCH_SCALES
    """
    figure, (axes,) = _figure(1)
    place = pd.Index(epochs_in_time_order).get_indexer(pd.Index(scales["epoch"]))
    axes.errorbar(place, scales["epoch_scale"], scales["epoch_scale_err"], fmt=".", ms=3, lw=0.5)
    axes.axhline(1, color="k", lw=0.5)
    axes.set(xlabel="epoch, in time order", ylabel="our flux / true flux", title="flux scale of every image")
    return _png(figure)


def plot_error_model(rows: pd.DataFrame) -> bytes:
    """Factor of the finder's errors by S / e, floor and step, and systematic errors of positions, by distance from the
    image center.

    Parameters
    ----------
    rows : schema ERROR_MODEL
    """
    figure, (left, right, places) = _figure(3)
    of_positions = rows["flux_kind"].isin(AXES)
    _plot_systematics(places, rows[of_positions])
    rows = rows[~of_positions]
    styles = {("int", "noise"): "C0.-", ("peak", "noise"): "C1.-", ("int", "floor"): "C0.-", ("peak", "floor"): "C1.-"}
    for (kind, term), of_term in rows.groupby(["flux_kind", "term"]):
        axes, factor = (left, 1.0) if term == "noise" else (right, 100.0)
        style = styles.get((str(kind), str(term)), "C0.--" if kind == "int" else "C1.--")
        value, err = factor * of_term["value"], factor * of_term["value_err"]
        axes.errorbar(of_term["at"], value, err, fmt=style[2:], color=style[:2], label=f"{kind} {term}", lw=1)
    left.axhline(1, color="k", lw=0.5)
    left.set(xlabel="S / e", ylabel="error / finder's error", title="noise", xscale="log")
    right.set(xlabel="distance from center [image radii]", ylabel="percent of the flux", title="floor, steps (dashed)")
    if len(rows):
        left.legend(fontsize="small")
    return _png(figure)


def _plot_systematics(axes: Axes, rows: pd.DataFrame) -> None:
    """Systematic errors of positions: as measured, and dashed those that measurements have by configuration."""
    for number, (axis, of_axis) in enumerate(rows.groupby("flux_kind")):
        floor, assumed = (of_axis[of_axis["term"] == term] for term in (FLOOR, ASSUMED))
        axes.errorbar(
            floor["at"], floor["value"], floor["value_err"], fmt=".-", color=f"C{number}", label=str(axis), lw=1
        )
        for value in assumed["value"]:
            axes.axhline(value, color=f"C{number}", ls="--", lw=0.5)
    if len(rows):
        # Where there are hardly any positions the error is as large as what is believed beforehand.
        axes.set_ylim(0.0, 1.5 * rows.loc[rows["term"] != NOISE, "value"].max() + 1e-3)
        axes.legend(fontsize="small")
    axes.set(xlabel="distance from center [image radii]", ylabel="arcsec", title="positions (dashed: assumed)")


def plot_forced_fluxes(fluxes: pd.DataFrame) -> bytes:
    """Forced fluxes over their errors, beside pure noise; and where the worst image has which upper limits.

    Parameters
    ----------
    fluxes : schema FORCED_FLUXES; at least one with a flux
    """
    figure, (left, right) = _figure(2)
    there = fluxes[fluxes["reason"] == ""]
    flux, err = (there[f"flux_peak_{name}mjy_beam"].to_numpy(float) for name in ("", "err_"))
    edges = np.linspace(-5.0, 10.0, 61)
    left.hist(np.clip(flux / err, edges[0], edges[-1]), edges, color="0.7", label=f"{len(there)} fluxes")
    normal = np.exp(-0.5 * edges**2) / np.sqrt(2.0 * np.pi) * (edges[1] - edges[0])
    left.plot(edges, len(there) * normal, "k-", lw=1, label="if all were noise")
    left.set(xlabel="flux / error (the last bin: all above)", ylabel="positions", title="where nothing is detected")
    left.legend(fontsize=7)
    limits = there.assign(limit=np.maximum(flux, 0.0) + _OF_95_PERCENT * err)
    medians = limits.groupby("image")["limit"].median()
    worst = limits[limits["image"] == medians.idxmax()]
    order = np.argsort(worst["limit"].to_numpy(float))
    ra, dec, limit = (worst[name].to_numpy(float)[order] for name in ("ra_deg", "dec_deg", "limit"))
    # Across RA 0 as anywhere else.
    east = (ra - ra[0] + 180.0) % 360.0 - 180.0 + ra[0]
    points = right.scatter(east, dec, c=limit, s=12, vmax=float(np.quantile(limit, 0.95)))
    figure.colorbar(points, label="upper limit of 95 % [mJy/beam]", extend="max")
    right.invert_xaxis()
    right.set(xlabel="RA [deg]", ylabel="Dec [deg]", title=plain(f"worst image: {medians.idxmax()}"))
    return _png(figure)


def plot_constant_fluxes(constants: pd.DataFrame, factor: float) -> bytes:
    """Forced fluxes of constant sources against what other epochs say of them: over their errors, and by brightness.

    Parameters
    ----------
    constants : DataFrame
        Columns flux, flux_err, mean, other_err, in one unit; a row a flux.
    factor : float
        By which errors of the fluxes are off.
    """
    figure, (left, right) = _figure(2)
    flux, err, mean, other = (constants[name].to_numpy(float) for name in ("flux", "flux_err", "mean", "other_err"))
    pulls = (flux - mean) / np.hypot(err, other)
    edges = np.linspace(-5.0, 5.0, 51)
    left.hist(np.clip(pulls, edges[0], edges[-1]), edges, color="0.7", label=f"{len(pulls)} fluxes")
    normal = np.exp(-0.5 * edges**2) / np.sqrt(2.0 * np.pi) * (edges[1] - edges[0])
    left.plot(edges, len(pulls) * normal, "k-", lw=1, label="if errors are right")
    left.set(xlabel="(flux - mean of other epochs) / error", ylabel="fluxes", title=f"scatter: {factor:.2f} errors")
    left.legend(fontsize=7)
    right.plot(mean / err, np.clip(pulls, -6.0, 6.0), ".", color="0.5", ms=3)
    for level in (-2.0, 0.0, 2.0):
        right.axhline(level, color="k", lw=0.5)
    right.set(xlabel="mean of other epochs / error", ylabel="difference / error", title="by brightness")
    return _png(figure)


def _figure(n_panels: int) -> tuple[Figure, Any]:
    figure = Figure(figsize=(4.5 * n_panels, 3.6), dpi=_DPI)
    FigureCanvasAgg(figure)
    # By hand: to find the layout, matplotlib draws everything twice, and a plot must not cost more than the work.
    figure.subplots_adjust(left=0.16 / n_panels, right=0.97, bottom=0.15, top=0.9, wspace=0.3)
    return figure, figure.subplots(1, n_panels, squeeze=False)[0]


def _png(figure: Figure) -> bytes:
    for axes in figure.axes:
        place_words(axes, *_LABELS_INCH)
    return small_png_of(figure, _DPI)
