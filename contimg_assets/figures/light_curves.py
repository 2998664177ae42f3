"""Light curves as pictures: fluxes with errors, upper limits, and points of refused images in grey."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from contimg_assets.figures.canvas import new_figure, plain
from contimg_assets.figures.vector import LIMIT, REFUSED, USED

_FLUX = {"peak": "flux_peak_{}corr_mjy_beam", "int": "flux_int_{}corr_mjy"}
_UNITS = {"peak": "mJy/beam", "int": "mJy"}
_WORDS = {"peak": "peak flux density", "int": "integrated flux density"}


def best_kind(curve: pd.DataFrame) -> str:
    """'peak'; 'int' where the curve has no peak fluxes."""
    return "peak" if curve[_FLUX["peak"].format("")].notna().any() else "int"


def fluxes(curve: pd.DataFrame, kind: str) -> tuple[Any, Any]:
    """Flux densities and their 1-sigma errors, the scale's own included, of the points of a light curve.

    Parameters
    ----------
    curve : columns of LIGHT_CURVE
    kind : 'peak' or 'int'
    """
    flux = curve[_FLUX[kind].format("")].to_numpy(dtype=float)
    err = curve[_FLUX[kind].format("err_")].to_numpy(dtype=float)
    scale = np.nan_to_num(curve["flux_scale_err"].to_numpy(dtype=float))
    return flux, np.hypot(err, scale * flux)


def draw_light_curve(curve: pd.DataFrame, title: str = "", kind: str | None = None) -> Figure:
    """A light curve.

    Parameters
    ----------
    curve : columns of LIGHT_CURVE, as `ProductsDatabase.light_curve` gives them
    title : such as the name of the source
    kind : 'peak' or 'int'; peak fluxes where there are any, if not given
    """
    kind = best_kind(curve) if kind is None else kind
    figure, ((axes,),) = new_figure(width=7.0, height=3.6)
    flux, err = fluxes(curve, kind)
    mjd = curve["mjd"].to_numpy(dtype=float)
    is_limit, trusted = curve["is_limit"].to_numpy(bool), curve["trusted"].fillna(True).to_numpy(bool)
    forced = curve["forced"].to_numpy(bool)
    groups = (
        ("detected", ~is_limit & ~forced & trusted, USED, "o", USED),
        ("forced", ~is_limit & forced & trusted, USED, "s", "none"),
        ("image refused", ~is_limit & ~trusted, REFUSED, "o", REFUSED),
    )
    for label, rows, color, marker, face in groups:
        if rows.any():
            axes.errorbar(mjd[rows], flux[rows], err[rows], fmt=marker, ms=4, lw=1, color=color, mfc=face, label=label)
    if is_limit.any():
        axes.plot(
            mjd[is_limit], curve["upper_limit_mjy_beam"][is_limit], "v", ms=5, color=LIMIT, mfc="none", label="limit"
        )
    axes.axhline(0, color="k", lw=0.5)
    axes.set(xlabel="MJD (UTC) [d]", ylabel=f"{_WORDS[kind]} [{_UNITS[kind]}]", title=plain(title))
    axes.ticklabel_format(useOffset=False)
    if len(curve):
        axes.legend(fontsize=7, ncols=4, loc="best")
    return figure
