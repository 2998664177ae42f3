"""Positions as files write them: degrees, hours, sexagesimal; right ascensions that run from -180.

Belongs here: what becomes of the cells. Does not belong here: the frame that they are in (`frames`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contimg_assets.reading.columns import Columns, to_floats
from contimg_assets.schemas.units import NOTATIONS, factor, right_ascension_factor
from contimg_assets.sky.arrays import Floats

# 12:34:56.7, 12 34 56.7, 12h34m56.7s, +12d34m56s, 12°34'56", +12.34.56.7 (BBS), and the same without seconds. LSMTool
# writes few seconds as 05.1e-12.
_SEXAGESIMAL = (
    r"^\s*(?P<sign>[+-]?)\s*(?P<whole>\d{1,3})(?:\s*[:hd°]\s*|\s+)"
    r"(?P<minutes>\d{1,2}(?:\.\d*)?)(?:(?:\s*[:m'′]\s*|\s+)(?:(?P<seconds>\d{1,2}(?:\.\d*)?(?:[eE]-\d+)?)\s*(?:s|\"|″|'')?)?)?\s*$"
)
_DOTTED = (
    r"^\s*(?P<sign>[+-]?)\s*(?P<whole>\d{1,3})\.(?P<minutes>\d{1,2})\.(?P<seconds>\d{1,2}(?:\.\d*)?(?:[eE]-\d+)?)\s*$"
)
# Share of declinations beyond a pole above which they are none, and not damaged.
_MOST_DAMAGED = 0.5
_SUFFIXED = r"^\s*(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(?P<unit>deg|rad|°)\s*$"


def degrees_of(columns: Columns, name: str, unit: str | None, hours: bool) -> Floats:
    """A column of positions in degrees, right ascensions from 0 to 360.

    A column that holds no plain number is taken for sexagesimal. What is neither stays in ``columns.not_numbers``.

    Parameters
    ----------
    name : of the column
    unit : that the file or a person states, None without one
    hours : whether it is a right ascension: sexagesimal ones are in hours, unless their unit is degrees

    Raises
    ------
    ValueError
        If the unit is none of an angle.
    """
    values = columns.numbers[name]
    stated = "" if unit is None else unit.strip(' "')
    index, texts = columns.not_numbers.get(name, (np.empty(0, np.intp), []))
    parsed = np.empty(0)
    if len(index) and not np.isfinite(values).any():
        parsed = sexagesimal(pa.array(texts, pa.string()), hours and not stated.startswith("d"))
    if np.isfinite(parsed).any():
        values = values.copy()
        values[index] = parsed
        neither = np.isnan(parsed)
        del columns.not_numbers[name]
        if neither.any():
            kept = [text for text, keep in zip(texts, neither, strict=True) if keep]
            columns.not_numbers[name] = (index[neither], kept)
    elif stated and not stated.startswith(NOTATIONS):
        scale = right_ascension_factor(stated, "deg") if hours else factor(stated, "deg")
        values = values if scale == 1.0 else values * scale
    return wrapped(values) if hours else values


PARTS: Mapping[str, tuple[str, ...]] = {"ra_deg": ("rah", "ram", "ras"), "dec_deg": ("de-", "ded", "dem", "des")}
"""Our column -> names of those that sexagesimal positions have over several: texts of the CDS and of older surveys.

The sign of a declination may have a column of its own. RAh, RA_h and rah are one name, and so are DEd and DEC_D.
"""

_OTHER_PARTS = {"de-": "de-", "dec-": "de-", "design": "de-", "decsign": "de-"} | {
    f"dec{unit}": f"de{unit}" for unit in "dms"
}


def parts_in(columns: Collection[str], ours: str) -> tuple[str, ...]:
    """The columns that one of our positions is spread over; none where they are not all there."""
    there: dict[str, str] = {}
    for column in columns:
        plain = column.lower().replace("_", "")
        there.setdefault(_OTHER_PARTS.get(plain, plain), column)
    names = PARTS.get(ours, ())
    complete = bool(names) and set(names) - {"de-"} <= set(there)
    return tuple(there[name] for name in names if name in there) if complete else ()


def degrees_of_parts(texts: Sequence[pa.Array], hours: bool) -> Floats:
    """The parts of positions, as `PARTS` orders them, in degrees; shape (n,)."""
    *whole, seconds = texts
    # Hours, degrees and minutes may be written as 23.0.
    first, *others = (*(pc.replace_substring_regex(part, r"^(\s*[+-]?\d+)\.0*\s*$", r"\1") for part in whole), seconds)
    if len(texts) == len(PARTS["dec_deg"]):
        first, *others = (pc.binary_join_element_wise(pc.fill_null(first, ""), others[0], ""), *others[1:])
    return sexagesimal(pc.binary_join_element_wise(first, *others, " "), hours=hours)


def wrapped(ra_deg: Floats) -> Floats:
    """Right ascensions from -180 to 0 as those from 180 to 360 that they are; all others as they are."""
    if not (ra_deg < 0).any():
        return ra_deg
    below = (ra_deg < 0) & (ra_deg >= -180)
    turned = np.where(below, ra_deg + 360.0, ra_deg)
    # A hair below zero is nearest to 360, which is zero.
    return np.where(below & (turned >= 360.0), 0.0, turned)


def look_swapped(ra_deg: Floats, dec_deg: Floats) -> bool:
    """Whether right ascensions and declinations stand in each other's columns, as far as the numbers alone can tell.

    Parameters
    ----------
    ra_deg, dec_deg : as they were read, shape (n,); declinations beyond a pole are what shows it, so that positions
        between 0 and 90 degrees both ways never do
    """
    placed = np.isfinite(ra_deg) & np.isfinite(dec_deg)
    ra, dec = ra_deg[placed], dec_deg[placed]
    # A few declinations that are not possible are damage, and no order of columns.
    if not len(dec) or np.mean(dec > 90.0) <= _MOST_DAMAGED:
        return False
    # Declinations below zero were taken for right ascensions from -90.
    return bool(((ra <= 90.0) | (ra >= 270.0)).all() and ((dec >= 0.0) & (dec <= 360.0)).all())


def sexagesimal(texts: pa.Array, hours: bool) -> Floats:
    """Texts in degrees, NaN where they are no angles; shape (n,)."""
    # One comma, in the last number, is a decimal one.
    texts = pc.replace_substring_regex(texts, r"^([^,]*\d),(\d+[^,\d]*)$", r"\1.\2")
    result = np.full(len(texts), np.nan)
    for pattern in (_SEXAGESIMAL, _DOTTED):
        parts = pc.extract_regex(texts, pattern)
        whole, minutes, seconds = (_floats(parts, part) for part in ("whole", "minutes", "seconds"))
        in_parts = np.isnan(seconds) | (minutes == np.floor(minutes))
        seconds = np.where(np.isnan(seconds), 0.0, seconds)
        negative = np.asarray(pc.fill_null(pc.equal(pc.struct_field(parts, "sign"), "-"), False))
        value = np.where(negative, -1.0, 1.0) * (whole + minutes / 60.0 + seconds / 3600.0)
        sound = (minutes < 60) & (seconds <= 60) & in_parts
        result = np.where(sound, value * (factor("hourangle", "deg") if hours else 1.0), result)
    parts = pc.extract_regex(texts, _SUFFIXED)
    number = _floats(parts, "number")
    in_rad = np.asarray(pc.fill_null(pc.equal(pc.struct_field(parts, "unit"), "rad"), False))
    return np.where(np.isnan(number), result, np.where(in_rad, np.degrees(number), number))


def _floats(parts: pa.Array, name: str) -> Floats:
    text = pc.struct_field(parts, name)
    return to_floats(pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text).cast(pa.float64()))
