"""Small plots of what a stage made of an epoch: SVGs of a few kB each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from contimg_assets.figures.vector import LIMIT, MARKED, REFUSED, USED, Axis, Panel, picture
from contimg_assets.variability.error_model import ASSUMED, AXES, FLOOR, NOISE

_DISTANCE = "distance from center [image radii]"
FLUXES = {"peak": "peak flux", "int": "integrated flux"}
# Of kinds, catalogs and bands, in the order in which these come.
_SERIES = (USED, MARKED, "#3c8a4e", "#7a55a3", LIMIT, "#444444")
# As the view `forced_photometry` has it: of normal errors, 95 % lie below so many.
_OF_95_PERCENT = 1.645
_N_CELLS = 40
# Shades of a color, from what is lowest to what is highest.
_SHADES = ("#fde725", "#7ad151", "#22a884", "#2a788e", "#414487", "#440154")


def plot_offsets_and_scales(corrections: pd.DataFrame) -> bytes:
    """Offset and flux scale of every image with their errors, refused ones in grey.

    Parameters
    ----------
    corrections : schema CORRECTIONS
    """
    left = Panel(Axis("catalogue − image, east [arcsec]", backward=True), Axis("north [arcsec]"), "position offsets")
    right = Panel(Axis("image"), Axis("our flux / catalogue's"), "flux scales (grey: not applied)")
    applied = corrections["applied"].to_numpy(bool)
    place = np.arange(len(corrections))
    for used, color in ((~applied, REFUSED), (applied, USED)):
        rows = corrections[used]
        dra, ddec, dra_err, ddec_err, scale, scale_err = (
            rows[name]
            for name in (
                *("dra_arcsec", "ddec_arcsec", "dra_err_arcsec", "ddec_err_arcsec", "flux_scale", "flux_scale_err"),
            )
        )
        left.bars(dra, ddec, color, x_err=dra_err, y_err=ddec_err)
        left.points(dra, ddec, color, size=5)
        right.bars(place[used], scale, color, y_err=scale_err)
        right.points(place[used], scale, color, size=5)
    left.level(0.0)
    left.upright(0.0)
    right.level(1.0)
    return picture([left, right])


def plot_matches(matches: pd.DataFrame) -> bytes:
    """Offsets of the best matches, and separations of all candidates by what they are worth.

    Parameters
    ----------
    matches : schema CATALOG_MATCHES
    """
    east, north = Axis("catalogue − ours, east [arcsec]", backward=True), Axis("north [arcsec]")
    left = Panel(east, north, "matches with probability > 0.5")
    right = Panel(Axis("separation [arcsec]"), Axis("candidates"), "candidates by probability")
    likely = (matches["probability"] > 0.5).to_numpy()
    best = matches[(matches["rank"] == 1) & likely]
    for number, (name, rows) in enumerate(best.groupby("catalog")):
        label = f"{name} ({len(rows)})"
        left.points(rows["dra_arcsec"], rows["ddec_arcsec"], _SERIES[number % len(_SERIES)], label)
    left.level(0.0)
    left.upright(0.0)
    separation = matches["separation_arcsec"].to_numpy(float)
    counts, edges = np.histogram(separation, bins=30)
    right.histogram(counts, edges, MARKED, "≤ 0.5")
    right.histogram(np.histogram(separation[likely], edges)[0], edges, USED, "> 0.5")
    return picture([left, right])


def plot_variability(variability: pd.DataFrame, kind: str = "peak", max_q: float = 0.0) -> bytes:
    """Variability index V against eta: constant sources lie lower left, variables upper right.

    Parameters
    ----------
    variability : columns eta_<kind> and v_<kind> of schema VARIABILITY; q_value_<kind>, where there is such a column
    kind : which flux
    max_q : sources up to this q-value are marked
    """
    eta, v = f"eta_{kind}", f"v_{kind}"
    shown = variability[(variability[eta] > 0) & (variability[v] > 0)]
    title = f"{len(shown)} light curves, {FLUXES[kind]}"
    panel = Panel(Axis("eta (reduced chi squared)", log=True), Axis("V (std / mean)", log=True), title)
    if len(shown):
        _density(panel, shown[eta].to_numpy(float), shown[v].to_numpy(float))
    if max_q and f"q_value_{kind}" in shown:
        chosen = shown[shown[f"q_value_{kind}"] <= max_q]
        panel.points(chosen[eta], chosen[v], MARKED, f"{len(chosen)} with q ≤ {max_q:g}", size=4)
    return picture([panel], width=320, height=240)


def _density(panel: Panel, x: Any, y: Any) -> None:
    """Numbers of points in cells of both logarithms: the more, the darker, of those that are alike in one go."""
    count, x_edges, y_edges = np.histogram2d(np.log10(x), np.log10(y), bins=_N_CELLS)
    i, j = np.nonzero(count)
    level = np.ceil(6 * np.log1p(count[i, j]) / np.log1p(count.max())) / 6
    # Around each cell, and a gap.
    around = np.array([[0, 1, 1, 0], [0, 0, 1, 1]])
    corners_x, corners_y = (
        np.column_stack([10 ** edges[at[:, None] + corner], np.full(len(at), np.nan)])
        for edges, at, corner in ((x_edges, i, around[0]), (y_edges, j, around[1]))
    )
    for opacity in np.unique(level):
        cells = level == opacity
        panel.area(corners_x[cells].ravel(), corners_y[cells].ravel(), USED, opacity=float(opacity))


def plot_epoch_scales(scales: pd.DataFrame, epochs_in_time_order: Sequence[str]) -> bytes:
    """Flux scale between epochs of every image, by epoch.

    Parameters
    ----------
    scales : schema EPOCH_SCALES
    """
    panel = Panel(Axis("epoch, in time order"), Axis("our flux / true flux"), "flux scale of every image")
    place = pd.Index(epochs_in_time_order).get_indexer(pd.Index(scales["epoch"]))
    panel.bars(place, scales["epoch_scale"], USED, y_err=scales["epoch_scale_err"])
    panel.points(place, scales["epoch_scale"], USED)
    panel.level(1.0)
    return picture([panel], width=320)


def plot_error_model(rows: pd.DataFrame) -> bytes:
    """Factor of the finder's errors by S / e, floor and step, and systematic errors of positions, by distance from the
    image center.

    Parameters
    ----------
    rows : schema ERROR_MODEL
    """
    left = Panel(Axis("S / e", log=True), Axis("error / finder's error"), "noise")
    right = Panel(Axis(_DISTANCE), Axis("percent of the flux"), "floor, steps (dashed)")
    of_positions = rows["flux_kind"].isin(AXES)
    for (kind, term), of_term in rows[~of_positions].groupby(["flux_kind", "term"]):
        panel, factor = (left, 1.0) if term == NOISE else (right, 100.0)
        color = USED if kind == "int" else MARKED
        value, err = factor * of_term["value"], factor * of_term["value_err"]
        panel.bars(of_term["at"], value, color, y_err=err)
        panel.line(of_term["at"], value, color, f"{kind} {term}", dashed=term not in (NOISE, FLOOR))
        panel.points(of_term["at"], value, color, size=5)
    left.level(1.0)
    return picture([left, right, _systematics(rows[of_positions])], width=720)


def _systematics(rows: pd.DataFrame) -> Panel:
    """Systematic errors of positions: as measured, and dashed those that measurements have by configuration."""
    angles = rows[rows["term"].isin([FLOOR, ASSUMED])]
    # Where there are hardly any positions the error is as large as what is believed beforehand.
    limits = (0.0, 1.5 * float(angles["value"].max()) + 1e-3) if len(angles) else None
    panel = Panel(Axis(_DISTANCE), Axis("arcsec", limits=limits), "positions (dashed: assumed)")
    for color, (axis, of_axis) in zip(_SERIES, angles.groupby("flux_kind"), strict=False):
        floor, assumed = (of_axis[of_axis["term"] == term] for term in (FLOOR, ASSUMED))
        panel.bars(floor["at"], floor["value"], color, y_err=floor["value_err"])
        panel.line(floor["at"], floor["value"], color, str(axis))
        panel.points(floor["at"], floor["value"], color, size=5)
        ends = [floor["at"].min(), floor["at"].max()]
        for value in assumed["value"]:
            panel.line(ends, [value, value], color, dashed=True)
    return panel


def plot_forced_fluxes(fluxes: pd.DataFrame) -> bytes:
    """Forced fluxes over their errors, beside pure noise; and where the worst image has which upper limits.

    Parameters
    ----------
    fluxes : schema FORCED_FLUXES; at least one with a flux
    """
    there = fluxes[fluxes["reason"] == ""]
    flux, err = (there[f"flux_peak_{name}mjy_beam"].to_numpy(float) for name in ("", "err_"))
    left = Panel(Axis("flux / error (the last bin: all above)"), Axis("positions"), "where nothing is detected")
    _beside_noise(left, flux / err, np.linspace(-5.0, 10.0, 61), ("fluxes", "if all were noise"))
    limits = there.assign(limit=np.maximum(flux, 0.0) + _OF_95_PERCENT * err)
    worst = limits.groupby("image")["limit"].median().idxmax()
    right = Panel(Axis("RA [deg]", backward=True), Axis("Dec [deg]"), f"worst image: {worst}")
    _shaded(right, limits[limits["image"] == worst])
    return picture([left, right])


def _beside_noise(panel: Panel, pulls: Any, edges: Any, words: tuple[str, str]) -> None:
    """A histogram of values over their errors, beside as many of pure noise."""
    panel.histogram(np.histogram(np.clip(pulls, edges[0], edges[-1]), edges)[0], edges, REFUSED)
    panel.points([], [], "#666666", f"{len(pulls)} {words[0]}")
    normal = np.exp(-0.5 * edges**2) / np.sqrt(2.0 * np.pi) * (edges[1] - edges[0])
    panel.line(edges, len(pulls) * normal, "#000000", words[1])


def _shaded(panel: Panel, places: pd.DataFrame) -> None:
    """Places with their upper limits, in shades of which each has as many."""
    limit, ra, dec = (places[name].to_numpy(float) for name in ("limit", "ra_deg", "dec_deg"))
    # Across RA 0 as anywhere else.
    east = (ra - ra[0] + 180.0) % 360.0 - 180.0 + ra[0]
    bounds = np.quantile(limit, np.linspace(0.0, 1.0, len(_SHADES) + 1)[1:])
    shade = np.minimum(np.searchsorted(bounds, limit), len(_SHADES) - 1)
    for number in np.unique(shade):
        rows = shade == number
        label = f"≤ {bounds[number]:.3g} mJy/beam"
        panel.points(east[rows], dec[rows], _SHADES[number], label, size=5)


def plot_constant_fluxes(constants: pd.DataFrame, factor: float) -> bytes:
    """Forced fluxes of constant sources against what other epochs say of them: over their errors, and by brightness.

    Parameters
    ----------
    constants : DataFrame
        Columns flux, flux_err, mean, other_err, in one unit; a row a flux.
    factor : float
        By which errors of the fluxes are off.
    """
    flux, err, mean, other = (constants[name].to_numpy(float) for name in ("flux", "flux_err", "mean", "other_err"))
    pulls = (flux - mean) / np.hypot(err, other)
    left = Panel(Axis("(flux − mean of other epochs) / error"), Axis("fluxes"), f"scatter: {factor:.2f} errors")
    _beside_noise(left, pulls, np.linspace(-5.0, 5.0, 51), ("fluxes", "if errors are right"))
    right = Panel(Axis("mean of other epochs / error"), Axis("difference / error"), "by brightness")
    right.points(mean / err, np.clip(pulls, -6.0, 6.0), "#666666")
    right.level(-2.0, 0.0, 2.0)
    return picture([left, right])
