"""Factors between units, by astropy.units: one rule for delivered detections and reference catalogs.

astropy is loaded when the first unit is asked for: it takes longer than most commands of `contimg`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from contimg_assets.errors import InputError

if TYPE_CHECKING:
    import astropy.units as u

_POWER_OF_TEN = re.compile(r"10\^\{?([+-]?\d+)\}?")
_WORD = re.compile(r"[A-Za-z]+")
_IN_QUOTES = re.compile(r"^(['\"])(.*\w.*)\1$")
# How files spell units that astropy knows by another word; AIPS writes capitals. Never where they are ambiguous (MJY).
_SPELLINGS = {
    **dict.fromkeys(("JY", "jy", "Jansky", "JANSKY"), "Jy"),
    **dict.fromkeys(("mjy", "milliJy", "mJansky", "milliJansky"), "mJy"),
    **dict.fromkeys(("ujy", "microJy", "uJY", "uJansky", "microJansky"), "uJy"),
    **dict.fromkeys(("BEAM", "Beam", "bm", "BM", "beams"), "beam"),
    **dict.fromkeys(("DEG", "Deg", "DEGS", "degs", "DEGREE", "DEGREES", "Degree", "Degrees", "degrees"), "deg"),
    **dict.fromkeys(("ARCSEC", "ARCSECS", "Arcsec", "asec", "ASEC", "arcsecs", "arcseconds"), "arcsec"),
    **dict.fromkeys(("ARCMIN", "Arcmin", "amin", "arcminutes"), "arcmin"),
    **dict.fromkeys(("RADIAN", "RADIANS", "Radian", "Radians", "radians", "RAD"), "rad"),
    **dict.fromkeys(("MAS", "masec"), "mas"),
    **dict.fromkeys(("hours", "HOURS", "HOUR", "Hours", "hms", "HMS"), "hour"),
    **dict.fromkeys(("sec", "SEC", "seconds"), "s"),
    **dict.fromkeys(("counts", "COUNTS"), "count"),
}
_WHOLE = {'"': "arcsec", "''": "arcsec", "'": "arcmin", "deg.": "deg", "mJybeam-1": "mJy/beam", "Jybeam-1": "Jy/beam"}


@lru_cache(maxsize=1024)
def factor(delivered: str, ours: str) -> float:
    """What a value in the unit ``delivered`` is multiplied with to be in the unit ``ours``.

    A flux density stated without "per beam" counts as per beam where a peak is meant, and the reverse: finders differ
    in whether they write it so.

    Raises
    ------
    ValueError
        If a text is not a unit, or the two units do not measure the same thing by a plain factor.
    """
    import astropy.units as u

    given, wanted = _unit(_POWER_OF_TEN.sub(r"10**(\1) ", delivered.strip())), u.Unit(ours)
    if not isinstance(given, u.UnitBase):
        raise ValueError(f"{delivered!r} is logarithmic")
    for candidate in (given, given / u.beam, given * u.beam):
        if candidate.is_equivalent(wanted):
            try:
                return float(candidate.to(wanted))
            except (u.UnitConversionError, TypeError) as error:
                raise ValueError(f"{delivered!r} does not convert to {ours!r} by a factor") from error
    raise ValueError(f"{delivered!r} does not measure what {ours!r} does")


def right_ascension_factor(delivered: str, ours: str) -> float:
    """`factor` for right ascensions [deg] and their errors [arcsec], which may be in hours and seconds of time.

    Raises
    ------
    ValueError
        As `factor`.
    """
    of_time = {"deg": ("h", "hr", "hour", "hourangle"), "arcsec": ("s",)}
    word = _SPELLINGS.get(delivered.strip(), delivered.strip())
    # An hour is 15 degrees, a second of time 15 arcsec.
    return 15.0 if word in of_time.get(ours, ()) else factor(delivered, ours)


NOTATIONS = ("h:m:s", "d:m:s", "hms", "dms")
"""What files write for the unit of a sexagesimal position."""


@lru_cache(maxsize=1024)
def is_known(text: str) -> bool:
    """Whether it is a unit as astropy or files spell it, or a notation of positions."""
    import astropy.units as u

    if text.strip(' "') in NOTATIONS:
        return True
    # What is no unit is not compared with all that are, as it is for a message.
    return any(not isinstance(u.Unit(one, parse_strict="silent"), u.UnrecognizedUnit) for one in (text, _respelt(text)))


def converts(delivered: str, ours: str, of_right_ascension: bool = False) -> bool:
    """Whether values in one unit can be turned into another; positions may be sexagesimal, and in hours."""
    if delivered.strip(' "') in NOTATIONS:
        return ours == "deg"
    try:
        (right_ascension_factor if of_right_ascension else factor)(delivered, ours)
    except (ValueError, TypeError):
        return False
    return True


def is_of_time(delivered: str) -> bool:
    """Whether an error of right ascension in this unit is one of the coordinate, so that cos(dec) makes it one on the
    sky: seconds of time are."""
    return _SPELLINGS.get(delivered.strip(), delivered.strip()) in ("s", "h", "hr", "hour", "hourangle")


def _unit(text: str) -> u.UnitBase:
    """The unit, also as files spell it otherwise than the standard does."""
    import astropy.units as u

    try:
        return u.Unit(text)
    except ValueError:
        return u.Unit(_respelt(text))


def _respelt(text: str) -> str:
    """A unit in the words of the standard, without quotes about it."""
    text = _IN_QUOTES.sub(r"\2", text.strip())
    text = _WHOLE.get(text, text).replace(" per ", " / ").replace("_per_", " / ")
    return _WORD.sub(lambda word: _SPELLINGS.get(word.group(), word.group()), text)


def column_factor(
    file: str,
    column: str,
    delivered: str,
    ours: str,
    key: str = "ingest.column_map",
    convert: Callable[[str, str], float] = factor,
) -> float:
    """`factor`, with a message that names file and column, and where in the configuration a unit is stated.

    Raises
    ------
    InputError
    """
    try:
        return convert(delivered, ours)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{file}: column {column!r} has the unit {delivered!r}, which does not convert to {ours!r} ({error}); "
            f"correct the file, or state the unit in {key}"
        ) from error
