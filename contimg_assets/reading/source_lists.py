"""The lists of the catalog browsers of NVSS, VLSS and VLSSr: a source in two lines, its values and their errors.

    00 00 00.36 +13 06 35.3    5.3 <63.3 <56.4           1.47       C0000P12  512.04  756.33
           0.69         8.3    0.6                       0.46

A search adds the distance from its center behind the position, and the direction behind the errors; both are whole
numbers, which fluxes are not, unless they are too large for their column (Cygnus A). NVSS lists mJy with one decimal,
VLSS and VLSSr Jy with two; a line above the list says which.
"""

from __future__ import annotations

import re
from array import array
from pathlib import Path

import numpy as np

from contimg_assets.errors import InputError
from contimg_assets.reading.columns import About
from contimg_assets.reading.encodings import check_text
from contimg_assets.reading.in_memory import Parted

_VALUES = (
    rb"^[ ]?(?P<h>\d\d) (?P<m>[ \d]\d) (?P<s>[ \d]\d\.\d+) "
    rb"(?P<sign>[+-])(?P<deg>\d\d) (?P<min>[ \d]\d) (?P<sec>[ \d]\d\.\d+)"
    rb"(?:[ ]+(?P<distance>\d+)(?=[ ]))?[ ]+(?P<flux>\d+(?:\.(?P<decimals>\d+))?)(?=[ <\n]|$)[^\n]*"
)
_ERRORS = (
    rb"\n[ ]{5,}(?P<e_ra>\d+\.\d+)[ ]+(?P<e_dec>\d+\.\d+)"
    rb"(?:[ ]+(?P<direction>-?\d+)(?=[ ]))?[ ]+(?P<e_flux>\d+(?:\.\d+)?)(?=[ \n]|$)[^\n]*"
)
_ROW = re.compile(_VALUES + rb"(?:" + _ERRORS + rb")?$", re.MULTILINE)
_LIST = re.compile(_VALUES + _ERRORS + rb"$", re.MULTILINE)
_UNIT = re.compile(rb"^[# ]*h +m +s +d +m +s\b.*?\b(mJy|Jy)\b", re.MULTILINE)
_LOOKED_AT = 100_000


def is_source_list(content: bytes) -> bool:
    """Whether a text has a source in two lines near its beginning."""
    return _LIST.search(content[:_LOOKED_AT]) is not None


def open_source_list(path: Path, content: bytes) -> Parted:
    """Read a list. What is no source, such as the title of a page, is passed over.

    Raises
    ------
    InputError
        If fluxes are in no unit that is known.
    """
    # Pages begin with a form feed, which is no damage here.
    content = content.replace(b"\f", b" ")
    check_text(path, content)
    content = content.replace(b"\r\n", b"\n")
    names = ("RAJ2000", "DEJ2000", "e_RAJ2000", "e_DEJ2000", "Flux", "e_Flux")
    values = {name: array("d") for name in names}
    lines, decimals = array("q"), set[int]()
    distances, directions = array("d"), array("d")
    line, at = 1, 0
    for match in _ROW.finditer(content):
        line += content.count(b"\n", at, match.start())
        at = match.start()
        lines.append(line)
        if match["decimals"] is not None:
            decimals.add(len(match["decimals"]))
        for whole, there in ((distances, match["distance"]), (directions, match["direction"])):
            whole.append(np.nan if there is None else float(there))
        for name, value in zip(names, _numbers(match), strict=True):
            values[name].append(value)
    unit = _unit(path, content, decimals)
    units = {"RAJ2000": "deg", "DEJ2000": "deg", "e_RAJ2000": "s", "e_DEJ2000": "arcsec", "Flux": unit, "e_Flux": unit}
    columns = {name: np.frombuffer(numbers, float) if len(numbers) else np.empty(0) for name, numbers in values.items()}
    if 2 * np.isfinite(distances).sum() < len(distances):
        # A list without distances: a whole number in their place is a flux, and what follows it a size.
        for name, instead in (("Flux", np.array(distances)), ("e_Flux", np.array(directions))):
            columns[name] = np.where(np.isfinite(instead), instead, columns[name])
    return Parted(path, columns, units, list(lines), About("list of sources in two lines each (NVSS, VLSS)"))


def _numbers(match: re.Match[bytes]) -> tuple[float, ...]:
    ra = 15.0 * (int(match["h"]) + int(match["m"]) / 60 + float(match["s"]) / 3600)
    dec = int(match["deg"]) + int(match["min"]) / 60 + float(match["sec"]) / 3600
    errors = (match["e_ra"], match["e_dec"], match["e_flux"])
    e_ra, e_dec, e_flux = (np.nan if text is None else float(text) for text in errors)
    return ra, -dec if match["sign"] == b"-" else dec, e_ra, e_dec, float(match["flux"]), e_flux


def _unit(path: Path, content: bytes, decimals: set[int]) -> str:
    """Of the fluxes: as a line above says, else as they are written."""
    said = _UNIT.search(content[:_LOOKED_AT])
    if said is not None:
        return said[1].decode()
    if len(decimals) == 1:
        return "mJy" if decimals == {1} else "Jy"
    raise InputError(f"{path}: nothing says whether its fluxes are in Jy or mJy; keep the two lines above the list")
