"""A small light curve in letters, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

_WIDTH, _HEIGHT = 64, 9
_POINT, _BAR, _LIMIT, _REFUSED, _FORCED = "●", "│", "▽", "·", "□"


def sketch_light_curve(curve: pd.DataFrame, kind: str, width: int = _WIDTH) -> Iterator[str]:
    """Lines of text that show a light curve: points with errors, upper limits, forced fluxes, refused images as dots.

    Parameters
    ----------
    curve : columns of LIGHT_CURVE
    kind : 'peak' or 'int'
    width : letters across
    """
    unit = {"peak": "mjy_beam", "int": "mjy"}[kind]
    limit = curve["is_limit"].to_numpy(bool)
    value = np.where(limit, curve["upper_limit_mjy_beam"], curve[f"flux_{kind}_corr_{unit}"]).astype(float)
    error = np.where(limit, 0.0, curve[f"flux_{kind}_err_corr_{unit}"].fillna(0.0)).astype(float)
    shown = np.isfinite(value)
    if not shown.any():
        return
    mjd, value, error, limit = curve["mjd"].to_numpy(float)[shown], value[shown], error[shown], limit[shown]
    forced = curve["forced"].fillna(False) if "forced" in curve else pd.Series(False, curve.index)
    mark = np.where(forced.to_numpy(bool)[shown], _FORCED, _POINT)
    refused = ~curve["trusted"].fillna(True).to_numpy(bool)[shown]
    low, high = min(0.0, float((value - error).min())), float((value + error).max())
    row = _places(high - value, high - low, _HEIGHT)
    top, bottom = _places(high - value - error, high - low, _HEIGHT), _places(high - value + error, high - low, _HEIGHT)
    column = _places(mjd - mjd.min(), float(np.ptp(mjd)), width)
    canvas = np.full((_HEIGHT, width), " ")
    rows = np.arange(_HEIGHT)[:, None]
    bars = (rows >= top) & (rows <= bottom)
    across, point = np.nonzero(bars)
    canvas[across, column[point]] = _BAR
    canvas[row, column] = np.where(limit, _LIMIT, np.where(refused, _REFUSED, mark))
    labels = {0: f"{high:.3g}", _HEIGHT - 1: f"{low:.3g}"}
    for number, letters in enumerate(canvas):
        yield f"{labels.get(number, ''):>8} ┤{''.join(letters)}".rstrip()
    start, end = f"{mjd.min():.1f}", f"{mjd.max():.1f} MJD"
    yield " " * 10 + start + end.rjust(width - len(start))


def _places(values: np.ndarray, span: float, n: int) -> np.ndarray:
    """Which of n places each value of a span falls into, from 0."""
    return np.clip(np.rint(values / span * (n - 1)) if span > 0 else np.zeros(len(values)), 0, n - 1).astype(int)
