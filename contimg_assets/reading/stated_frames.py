"""The frame of positions as files state it, in words that `sky.frames` understands."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from contimg_assets.sky.frames import Frame, frame_of_file, parse_frame

# What longitudes and latitudes of other frames than the equatorial one of J2000 are called.
OTHER_FRAMES = (
    (("glon", "_glon", "gl", "l", "gal_lon"), ("glat", "_glat", "gb", "b", "gal_lat"), Frame("galactic", 2000.0)),
    (
        ("rab1950", "_rab1950", "ra1950", "ra_b1950"),
        ("deb1950", "_deb1950", "de1950", "dec1950", "dec_b1950"),
        Frame("fk4", 1950.0),
    ),
    (("elon", "elong"), ("elat",), Frame("ecliptic", 2000.0)),
)
_EQUINOX_LINE = re.compile(r"equinox\s*[:=]\s*[jb]?(\d{4}(?:\.\d*)?)\b", re.IGNORECASE)
# Equinoxes before this are of FK4, as FITS has it.
_FIRST_OF_FK5 = 1984.0


def of_column(longitude: str) -> Frame | None:
    """The frame that the name of a column of longitudes or right ascensions means; None where it means none."""
    return next((frame for names, _, frame in OTHER_FRAMES if longitude.lower() in names), None)


def frame_of_positions(column: str, asked: str | None, frames: Mapping[str, str]) -> tuple[Frame, str]:
    """The frame of a file's positions, and what is said of it: as people say, as its column is called, as it states.

    Parameters
    ----------
    column : of right ascensions or longitudes
    asked : frame that people say it is
    frames : what the file states, see `contimg_assets.reading.columns.About`

    Raises
    ------
    ValueError
        If what the file states is none that is known.
    """
    if asked is not None:
        frame = parse_frame(asked)
        return frame, f"{frame} as you say" + (", converted to ICRS" if frame.name != "icrs" else "")
    named = of_column(column)
    if named is not None:
        return named, f"{named} by the column {column!r}, converted to ICRS"
    return frame_of_file(frames.get(column, frames.get("")))


def of_header(header: Any) -> str | None:
    """Frame and equinox, where a FITS header states them."""
    system = header.get("RADESYS", header.get("RADECSYS"))
    equinox = header.get("EQUINOX", header.get("EPOCH") if system is not None else None)
    if isinstance(equinox, str):
        match = re.fullmatch(r"\s*[JB]?(\d{4}(?:\.\d*)?)\s*", equinox)
        equinox = float(match[1]) if match else None
    if system is None:
        return None if not isinstance(equinox, int | float) else of_equinox(float(equinox))
    return str(system).strip() if not isinstance(equinox, int | float) else f"{str(system).strip()} {equinox:g}"


def of_coosys(system: Any) -> str:
    """Frame and equinox of an element COOSYS of a VOTable."""
    return " ".join(str(part) for part in (system.system, system.equinox) if part)


def of_comments(comments: Iterable[str]) -> str | None:
    """Frame of an equinox that comments above a text state, as PyBDSF writes it."""
    found = next((match for comment in comments if (match := _EQUINOX_LINE.match(comment.strip()))), None)
    return None if found is None else of_equinox(float(found[1]))


def of_equinox(equinox: float) -> str | None:
    """The frame that an equinox alone means; none for 2000, which stands beside positions in FK5 and ICRS alike."""
    if equinox == 2000.0:
        return None
    return f"{'FK4' if equinox < _FIRST_OF_FK5 else 'FK5'} {equinox:g}"
