"""The list of monitored positions: names, and places that may move."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from contimg_assets.catalogs.motions import epochs_mjd, motions, moved
from contimg_assets.errors import InputError
from contimg_assets.sky.arrays import Floats

_NEEDED = ("name", "ra_deg", "dec_deg")
_MOTION = ("pm_ra_mas_yr", "pm_dec_mas_yr", "epoch")


def read_monitored(file: Path) -> pd.DataFrame:
    """Read the list of monitored positions.

    Parameters
    ----------
    file : Path
        CSV with a header line: name, ra_deg, dec_deg (ICRS, degrees); for what moves pm_ra_mas_yr (on the sky),
        pm_dec_mas_yr [mas / yr] and epoch [year or MJD].

    Returns
    -------
    DataFrame
        These columns, in the order of the file; motions that are not given are NaN.

    Raises
    ------
    InputError
        If the file is missing or no such list, a name is missing or repeated, a position is none, or a motion is given
        in part.
    """
    try:
        table = pd.read_csv(file, dtype=str, skipinitialspace=True, comment="#", encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(f"{file}: no such file; create it, or correct monitor.file in contimg.yaml") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read as CSV ({str(error).splitlines()[0]}); correct it") from error
    table.columns = [str(name).strip().lower() for name in table.columns]
    missing = [name for name in _NEEDED if name not in table]
    if missing:
        raise InputError(f"{file}: line 1: column {missing[0]!r} is missing; it needs name, ra_deg and dec_deg")
    names = table["name"].str.strip()
    _refuse(file, names.isna() | (names == ""), "column 'name': is empty; give each position a name")
    _refuse(file, names.duplicated(), "column 'name': repeats one above; give each position a name of its own")
    numbers = {name: _numbers(file, table, name) for name in (*_NEEDED[1:], *_MOTION)}
    found = pd.DataFrame({"name": names, **numbers})
    on_sky = found["ra_deg"].between(0, 360, inclusive="left") & found["dec_deg"].between(-90, 90)
    _refuse(file, ~on_sky, "ra_deg must be in [0, 360) and dec_deg in [-90, 90]; correct the position")
    given = found[list(_MOTION)].notna().sum(axis=1)
    _refuse(file, given.between(1, 2), f"a motion needs all of {', '.join(_MOTION)}; add what is missing")
    no_time = np.isinf(epochs_mjd(found["epoch"].to_numpy(dtype=float)))
    _refuse(file, pd.Series(no_time), "column 'epoch': must be a year from 1800 to 2200, MJD or JD; correct it")
    return found


def monitored_at(monitored: pd.DataFrame, mjd: float) -> tuple[Floats, Floats]:
    """Right ascension and declination of the monitored positions at a time [deg], shape (n,) each.

    Parameters
    ----------
    monitored : DataFrame
        As `read_monitored` gives it.
    mjd : float
        Time [MJD].

    Examples
    --------
    >>> import pandas as pd
    >>> from contimg_assets.photometry.monitored import monitored_at
    >>> star = pd.DataFrame({"name": ["star"], "ra_deg": [10.0], "dec_deg": [0.0], "pm_ra_mas_yr": [3600.0],
    ...                      "pm_dec_mas_yr": [0.0], "epoch": [2000.0]})
    >>> ra, dec = monitored_at(star, 51544.5 + 3652.5)  # ten years later
    >>> ra.round(6).tolist(), dec.round(6).tolist()
    ([10.01], [0.0])
    """
    columns = (monitored[name].to_numpy(dtype=float) for name in _MOTION)
    east, north, epoch = columns
    nothing = np.full(len(monitored), np.nan)
    ra, dec = (monitored[name].to_numpy(dtype=float) for name in ("ra_deg", "dec_deg"))
    errors = {"ra_err_arcsec": nothing, "dec_err_arcsec": nothing}
    at_ra, at_dec, _, _ = moved(ra, dec, errors, motions((east, north), (nothing, nothing), epochs_mjd(epoch)), mjd)
    return at_ra, at_dec


def _numbers(file: Path, table: pd.DataFrame, name: str) -> pd.Series:
    if name not in table:
        return pd.Series(np.nan, index=table.index)
    numbers = pd.to_numeric(table[name], errors="coerce")
    wrong = ~np.isfinite(numbers) & (table[name].notna() | (name in _NEEDED))
    _refuse(file, wrong, f"column {name!r}: is no number; correct it")
    return numbers.astype(float)


def _refuse(file: Path, wrong: pd.Series, what: str) -> None:
    if wrong.any():
        raise InputError(f"{file}: row {int(np.argmax(wrong.to_numpy())) + 1}: {what}")
