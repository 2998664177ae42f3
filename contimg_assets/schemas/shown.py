"""Numbers as people read them: with as many digits as their errors leave them, else as their units ask."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable
from typing import Any

import pandas as pd

# By a word of the column's name.
_FORMATS = {"deg": ".5f", "mjd": ".4f", "arcsec": ".2f"}
_UNITS = ("_mjy_beam", "_mjy", "_arcsec", "_deg", "")
_MOST_DECIMALS = 8


def error_column(name: str, names: Collection[str]) -> str | None:
    """The column that has the 1-sigma error of another one; None if there is none.

    Examples
    --------
    >>> error_column("flux_peak_mjy_beam", ["flux_peak_mjy_beam", "flux_peak_err_mjy_beam"])
    'flux_peak_err_mjy_beam'
    """
    unit = next(unit for unit in _UNITS if name.endswith(unit))
    base = name.removesuffix(unit)
    for candidate in (f"{base}_err{unit}", f"{base.removesuffix('_corr')}_err_corr{unit}"):
        if candidate in names and candidate != name:
            return candidate
    return None


def shown_value(name: Hashable, value: Any, err: Any = None) -> str:
    """A value as text; '-' where it is missing.

    Parameters
    ----------
    name : of its column, which ends in the unit
    value : number, text, flag
    err : its 1-sigma error: the number is rounded to two digits of it

    Examples
    --------
    >>> shown_value("flux_int_mjy", 12.34567, 0.123), shown_value("ra_deg", 59.8012512), shown_value("mjd", None)
    ('12.35', '59.80125', '-')
    """
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if not isinstance(value, float):
        return str(value)
    if isinstance(err, float) and math.isfinite(err) and err > 0 and math.isfinite(value):
        decimals = 1 - math.floor(math.log10(err))
        return f"{value:.{min(max(decimals, 0), _MOST_DECIMALS)}f}"
    words = str(name).split("_")
    form = next((form for word, form in _FORMATS.items() if word in words), ".4g")
    return f"{value:{form}}"


def shown_columns(frame: pd.DataFrame) -> dict[str, list[str]]:
    """Every column of a table as texts, numbers rounded by their errors where the table has these."""
    names = list(map(str, frame))
    result = {}
    for name in names:
        by = error_column(name, names)
        # An error has as many digits as what it is the error of.
        errors = frame[by] if by else frame[name] if "_err" in name else [None] * len(frame)
        result[name] = [shown_value(name, value, err) for value, err in zip(frame[name], errors, strict=True)]
    return result
