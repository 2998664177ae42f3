"""Names of sources, as the IAU asks: an acronym, `J`, and the position cut off (not rounded) behind its last digit.

`J035912.3+153523` is a cell of the sky, 0.1 s of right ascension by 1 arcsec of declination. Where several sources lie
in a cell, the one that was known first has the name, and the others a letter behind it, from `B` on, in the order in
which they became known. So a name is a function of the sources alone, whatever the order in which epochs arrived.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
import pandas as pd

from contimg_assets.sky.arrays import Floats, Hashes, Integers, Values

# Digits that the binary form of a number loses: 12.3 s may be held as 12.299999999.
_ROUNDING = 1e-6
_TENTHS_PER_DEG, _TENTHS_PER_DAY = 2400.0, 864_000
_DEC_BITS = 20

_DESIGNATION = re.compile(r"(J?)(\d{2,6}(?:\.\d?)?)(?:([+\-−])(\d{0,6}[A-Z]*))?")
_WHOLE = re.compile(r"J(\d\d)(\d\d)(\d\d\.\d)([+\-−])(\d\d)(\d\d)(\d\d)[A-Z]*$")


def name_cells(ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike) -> Integers:
    """Cells of the sky that names tell apart, as numbers.

    Parameters
    ----------
    ra_deg, dec_deg : array_like, shape (n,)
        ICRS [deg].

    Returns
    -------
    ndarray of int64, shape (n,)
        Equal exactly where the names are, but for their letters.
    """
    ra, dec = np.asarray(ra_deg, dtype=np.float64), np.asarray(dec_deg, dtype=np.float64)
    tenths = np.minimum(np.floor(ra * _TENTHS_PER_DEG + _ROUNDING), _TENTHS_PER_DAY - 1).astype(np.int64)
    arcsec = np.floor(np.abs(dec) * 3600.0 + _ROUNDING).astype(np.int64)
    return (tenths * 2 + (dec < 0)) << _DEC_BITS | arcsec


def designations(cells: Integers) -> Values:
    """What cells are called, without an acronym.

    Parameters
    ----------
    cells : ndarray of int64, shape (n,)
        Of `name_cells`.

    Returns
    -------
    ndarray of str, shape (n,)

    Examples
    --------
    >>> str(designations(name_cells([59.80125], [15.589999]))[0])
    'J035912.3+153523'
    """
    arcsec, rest = cells & ((1 << _DEC_BITS) - 1), cells >> _DEC_BITS
    tenths = rest >> 1
    digits = [
        _digits(tenths // 36_000),
        _digits(tenths // 600 % 60),
        _digits(tenths // 10 % 60),
        pd.Series("." + (tenths % 10).astype("U1").astype(object), dtype="str"),
        pd.Series(np.where(rest & 1, "-", "+"), dtype="str"),
        _digits(arcsec // 3600),
        _digits(arcsec // 60 % 60),
        _digits(arcsec % 60),
    ]
    name = pd.Series("J", index=range(len(cells)), dtype="str")
    for part in digits:
        name = name + part
    return name.to_numpy(dtype=object)


def _digits(values: Integers) -> pd.Series:
    """Two digits each."""
    return pd.Series(_TWO_DIGITS[values], dtype="str")


_TWO_DIGITS = np.array([f"{value:02d}" for value in range(100)], dtype=object)


def source_names(cells: Integers, known_since: Floats, ids: Hashes, acronym: str) -> Values:
    """Names of sources, of which all that share a cell must be given.

    Parameters
    ----------
    cells : ndarray of int64, shape (n,)
        Of `name_cells`.
    known_since : ndarray of float, shape (n,)
        When each became a source of its own, MJD [d]: in one cell the first has the name alone.
    ids : ndarray of uint64, shape (n,)
        Hashes of the sources, which order those of one time.
    acronym : str
        What stands before, such as "DSA"; nothing if empty.

    Returns
    -------
    ndarray of str, shape (n,)

    Examples
    --------
    >>> cells = name_cells([10.0, 10.0], [-0.0001, -0.0001])
    >>> source_names(cells, np.array([2.0, 1.0]), np.array([7, 8], np.uint64), "DSA").tolist()
    ['DSA J004000.0-000000B', 'DSA J004000.0-000000']
    """
    if not len(cells):
        return np.empty(0, dtype=object)
    order = np.lexsort((ids, known_since, cells))
    first = np.flatnonzero(np.r_[True, np.diff(cells[order]) != 0])
    rank = np.empty(len(cells), np.int64)
    rank[order] = np.arange(len(cells)) - np.repeat(first, np.diff(np.r_[first, len(cells)]))
    letters = np.array([_letters(one) for one in range(int(rank.max()) + 1)], dtype=object)[rank]
    names: Values = f"{acronym} ".lstrip() + designations(cells) + letters
    return names


def _letters(rank: int) -> str:
    """Nothing for the first, then B to Z, AA, AB ..."""
    text, number = "", rank + 1
    while rank and number:
        number, digit = divmod(number - 1, 26)
        text = chr(ord("A") + digit) + text
    return text


def designation_parts(text: str) -> tuple[str, str] | None:
    """What is given of a name: the beginnings of its right ascension and, with the sign, of its declination.

    A text is taken for a name by the `J` before its digits, or by an acronym before them and a sign within.

    Parameters
    ----------
    text : str
        A name or its beginning, as of "DSA J0359+1535", "j035912.3+15" or "J0359".

    Returns
    -------
    tuple of (str, str) or None
        None if the text is no such thing.

    Examples
    --------
    >>> designation_parts("dsa j0359+1535"), designation_parts("10.5,+3")
    (('0359', '+1535'), None)
    """
    last = text.strip().upper().split(" ")[-1]
    found = _DESIGNATION.fullmatch(last)
    if found is None:
        return None
    marked, ra, sign, dec = found.groups()
    if not (marked or (sign and text.strip()[0].isalpha())):
        return None
    return ra, {None: "", "+": "+"}.get(sign, "-") + (dec or "")


def position_of_name(text: str) -> tuple[float, float] | None:
    """Center of the cell that a whole name stands for: (ra_deg, dec_deg); None if the text is no whole name.

    Examples
    --------
    >>> ra_deg, dec_deg = position_of_name("DSA J035912.3+153523")
    >>> round(ra_deg, 5), round(dec_deg, 5)
    (59.80146, 15.58986)
    """
    found = _WHOLE.search(text.strip().upper())
    if found is None:
        return None
    hours, minutes, seconds, sign, degrees, arcmin, arcsec = found.groups()
    ra = 15.0 * (int(hours) + int(minutes) / 60 + (float(seconds) + 0.05) / 3600)
    dec = int(degrees) + int(arcmin) / 60 + (int(arcsec) + 0.5) / 3600
    return (ra, dec if sign == "+" else -dec) if ra < 360 and dec <= 90 else None
