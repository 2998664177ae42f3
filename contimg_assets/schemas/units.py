"""Factors between units, by astropy.units: one rule for delivered detections and reference catalogs."""

from __future__ import annotations

import re
from functools import lru_cache

import astropy.units as u

from contimg_assets.errors import InputError

_POWER_OF_TEN = re.compile(r"10\^\{?([+-]?\d+)\}?")
_WORD = re.compile(r"[A-Za-z]+")
_CAPITALS = {"JY": "Jy", "BEAM": "beam", "DEG": "deg", "DEGREES": "deg", "degrees": "deg", "ARCSEC": "arcsec"}


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
    of_time = {"deg": ("h", "hr", "hour"), "arcsec": ("s",)}
    # An hour is 15 degrees, a second of time 15 arcsec.
    return 15.0 if delivered.strip() in of_time.get(ours, ()) else factor(delivered, ours)


def _unit(text: str) -> u.UnitBase:
    """The unit, also in the capitals of older FITS tables; never where they are ambiguous (MJY)."""
    try:
        return u.Unit(text)
    except ValueError:
        return u.Unit(_WORD.sub(lambda word: _CAPITALS.get(word.group(), word.group()), text))


def column_factor(file: str, column: str, delivered: str, ours: str) -> float:
    """`factor`, with a message that names file and column.

    Raises
    ------
    InputError
    """
    try:
        return factor(delivered, ours)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{file}: column {column!r} has the unit {delivered!r}, which does not convert to {ours!r} ({error}); "
            f"correct the file, or state the unit in ingest.column_map"
        ) from error
