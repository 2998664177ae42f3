"""One figure an image: offsets with their median and its error, and ln flux ratio against flux with the fit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from contimg_assets.calibration.selection import Selection
from contimg_assets.figures.vector import MARKED, REFUSED, USED, Axis, Panel, picture
from contimg_assets.schemas.tables import stand_among

# Events are kept for ever, twice, and this many figures are most of 200 kB.
_MOST_FIGURES = 6
# Of images of which nothing is wrong.
_MOST_APPLIED = 2
# What an ellipse is drawn with, and the line of a fit.
_N_FITTED = 25
_AROUND = np.linspace(0.0, 2.0 * np.pi, 33)


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
    image, content of an SVG of 540 x 240 pixels
    """
    for _, correction in corrections.iterrows():
        of_image = (selected.table["image"] == correction["image"]).to_numpy()
        panels = [_offsets(selected, of_image, correction), _ratios(selected, of_image, correction)]
        yield str(correction["image"]), picture(panels, height=240, title=title_of(correction))


def title_of(correction: pd.Series) -> str:
    """The image's name, and what became of its correction."""
    if correction["applied"]:
        state = "applied"
    else:
        partly = correction["position_applied"] or correction["flux_applied"]
        state = f"{'partly applied' if partly else 'NOT applied'}: {correction['reason']}"
    return f"{correction['image']} – {state}"


def _of_catalog(selected: Selection, of_image: np.ndarray, names: Any) -> np.ndarray:
    catalogs = names.split("+") if isinstance(names, str) else []
    return of_image & selected.table["catalog"].isin(catalogs).to_numpy()


def _plot_matches(panel: Panel, x: np.ndarray, y: np.ndarray, rows: np.ndarray, used: np.ndarray) -> None:
    for mask, color, label in ((rows & ~used, REFUSED, "left out"), (used, USED, f"used ({used.sum()})")):
        panel.points(x[mask], y[mask], color, label)


def _offsets(selected: Selection, of_image: np.ndarray, correction: pd.Series) -> Panel:
    rows = _of_catalog(selected, of_image, correction["position_catalog"])
    used = rows & selected.position
    east, north = (selected.table[name].to_numpy(dtype=float) for name in ("dra_arcsec", "ddec_arcsec"))
    label = f"{correction['position_catalog'] or 'catalogue'} − image, east [arcsec]"
    dra, ddec = correction["dra_arcsec"], correction["ddec_arcsec"]
    # Where there is nothing to show, about nothing.
    middle, reach = (0.0, 0.0), 1.0
    measured = used.any() and np.isfinite([dra, ddec]).all()
    if measured:
        reach = 6 * np.nanmax([correction["dra_mad_arcsec"], correction["ddec_mad_arcsec"], 0.05])
        middle = (dra, ddec)
    limits = [(at - reach, at + reach) for at in middle]
    panel = Panel(Axis(label, backward=True, limits=limits[0]), Axis("north [arcsec]", limits=limits[1]))
    panel.as_on_sky = True
    panel.level(0.0)
    panel.upright(0.0)
    _plot_matches(panel, east, north, rows, used)
    if measured:
        around = _ellipse(correction)
        panel.line(around[0], around[1], MARKED)
        panel.points([dra], [ddec], MARKED, f"median {dra:+.2f}, {ddec:+.2f}″ (ellipse: 3σ)", size=5)
    return panel


def _ellipse(correction: pd.Series) -> np.ndarray:
    """East and north of where the offset lies within three standard errors."""
    covariance = np.array(
        [
            [correction["dra_err_arcsec"] ** 2, correction["dra_ddec_cov_arcsec2"]],
            [correction["dra_ddec_cov_arcsec2"], correction["ddec_err_arcsec"] ** 2],
        ]
    )
    values, vectors = np.linalg.eigh(covariance)
    axes = vectors * (3 * np.sqrt(np.maximum(values, 0)))
    center = np.array([[correction["dra_arcsec"]], [correction["ddec_arcsec"]]])
    around: np.ndarray = center + axes @ np.array([np.cos(_AROUND), np.sin(_AROUND)])
    return around


def _ratios(selected: Selection, of_image: np.ndarray, correction: pd.Series) -> Panel:
    rows = _of_catalog(selected, of_image, correction["flux_catalog"])
    used = rows & selected.flux
    reference, flux = (selected.table[name].to_numpy(dtype=float) for name in ("reference_flux_mjy", "flux_mjy"))
    rows &= (reference > 0) & (flux > 0)
    label = f"flux of {correction['flux_catalog'] or 'catalogue'} at our frequency [mJy]"
    limits = (reference[rows].min() / 1.1, reference[rows].max() * 1.1) if rows.any() else (1.0, 1000.0)
    panel = Panel(Axis(label, log=True, limits=limits), Axis("ln(our flux / its flux)"))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(flux / reference)
    panel.level(0.0)
    _plot_matches(panel, reference, ratio, rows, used)
    if used.any() and np.isfinite(correction["flux_scale"]):
        _plot_scale(panel, reference[used], ratio[used], correction)
    return panel


def _plot_scale(panel: Panel, reference: np.ndarray, ratio: np.ndarray, correction: pd.Series) -> None:
    """The fitted scale with its scatter, and the panel about it."""
    scale, error = correction["flux_scale"], correction["flux_scale_err"]
    grid = np.geomspace(reference.min(), reference.max(), _N_FITTED)
    with np.errstate(invalid="ignore"):
        line = np.log(scale + np.nan_to_num(correction["flux_offset_mjy"]) / grid)
    scatter = np.hypot(np.nan_to_num(correction["flux_intrinsic_scatter"]), error / scale)
    panel.band(grid, line - scatter, line + scatter, MARKED)
    panel.line(grid, line, MARKED, f"{correction['flux_method']}: {scale:.3f} ± {error:.3f}")
    reach = max(2 * np.ptp(np.quantile(ratio, [0.05, 0.95])), 0.2)
    panel.y = Axis(panel.y.label, limits=(np.log(scale) - reach, np.log(scale) + reach))
