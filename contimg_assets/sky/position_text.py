"""Positions as people write them: degrees or sexagesimal, with or without a comma."""

from __future__ import annotations

import numpy as np

from contimg_assets.errors import InputError


def parse_position(text: str) -> tuple[float, float]:
    """(ra_deg, dec_deg) of "RA,DEC" or "RA DEC", each in degrees or sexagesimal, then with hours of right ascension.

    A plain number is in degrees, whatever the other coordinate is written as: 187.7,+12:23:28 lies at 187.7 degrees.

    Raises
    ------
    InputError
        If the text is no position.
    """
    words = text.split()
    # Without a comma, as papers print it: 12:30:49.4 +12:23:28 or 12 30 49.4 +12 23 28.
    halves = [" ".join(words[: len(words) // 2]), " ".join(words[len(words) // 2 :])] if len(words) in (2, 6) else []
    parts = [part.strip() for part in text.split(",")] if "," in text else halves
    wrong = InputError(
        f"{text!r} is neither a source id (16 hexadecimal digits), a name such as J035912.3+153523, nor a position "
        "RA,DEC such as 187.70593,12.39112 or 12:30:49.4,+12:23:28"
    )
    if len(parts) != 2:
        raise wrong
    try:
        ra, dec = _degrees(parts[0], "hourangle"), _degrees(parts[1], "deg")
    except ValueError as error:
        raise wrong from error
    plain = all(part.lstrip("+-").replace(".", "", 1).isdigit() for part in parts)
    if plain and 90 < dec < 360 and abs(ra) <= 90:
        raise InputError(
            f"{text!r}: a declination of {dec:g} deg is beyond the pole; right ascension comes first: is {dec:g},{ra:g}"
            " meant?"
        )
    if not (np.isfinite(ra) and np.isfinite(dec) and 0 <= ra < 360 and -90 <= dec <= 90):
        raise wrong
    return ra, dec


def _degrees(text: str, unit: str) -> float:
    """A plain number in degrees, or a sexagesimal one whose leading part has this unit."""
    try:
        return float(text)
    except ValueError:
        from astropy.coordinates import Angle

        # No Longitude, which would turn hours below 0 into others.
        return float(Angle(text, unit).deg)
