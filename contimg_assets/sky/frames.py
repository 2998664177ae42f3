"""Frames that positions are given in, and their way to the ICRS, by astropy."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from contimg_assets.sky.arrays import Floats

NAMES = ("icrs", "fk5", "fk4", "galactic", "ecliptic", "supergalactic")
"""What a person may say; fk5 and fk4 with an equinox behind, such as "fk4 1950"."""

_WORDS = {
    "icrs": "icrs",
    "icrf": "icrs",
    "fk5": "fk5",
    "eq_fk5": "fk5",
    "j2000": "fk5",
    "fk4": "fk4",
    "eq_fk4": "fk4",
    "fk4-no-e": "fk4-no-e",
    "b1950": "fk4",
    "galactic": "galactic",
    "gal": "galactic",
    "ecliptic": "ecliptic",
    "ecl_fk5": "ecliptic",
    "supergalactic": "supergalactic",
}
_EQUINOX = re.compile(r"[JB]?(\d{4}(?:\.\d*)?)", re.IGNORECASE)


@dataclass(frozen=True)
class Frame:
    """A frame and its equinox [years], which means something for fk4, fk5 and ecliptic."""

    name: str
    equinox: float

    def __str__(self) -> str:
        if self.name in ("fk4", "fk4-no-e"):
            return f"{self.name.upper()} B{self.equinox:g}"
        if self.name in ("fk5", "ecliptic"):
            return f"{self.name.upper() if self.name == 'fk5' else self.name} J{self.equinox:g}"
        return self.name.upper() if self.name == "icrs" else self.name


ICRS = Frame("icrs", 2000.0)


def parse_frame(text: str) -> Frame:
    """A frame as people and files write it: ICRS, "FK4 1950", "eq_FK5 J2000", B1950, galactic.

    Raises
    ------
    ValueError
        If it is none that is known; the message lists those that are.
    """
    words = text.strip().lower().split()
    name = next((_WORDS[word] for word in words if word in _WORDS), None)
    if name is None:
        raise ValueError(f"the frame {text!r} is not known; say one of {', '.join(NAMES)}")
    found = next((match for word in words if (match := _EQUINOX.fullmatch(word))), None)
    return Frame(name, float(found[1]) if found else (1950.0 if name.startswith("fk4") else 2000.0))


def frame_of_file(text: str | None) -> tuple[Frame, str]:
    """The frame that a file states, and what is said of it; the ICRS where it states none.

    Every other frame is converted, FK5 J2000 too, which differs from the ICRS by less than 0.03 arcsec.

    Raises
    ------
    ValueError
        If it is none that is known.
    """
    if text is None:
        return ICRS, "none stated, taken for ICRS"
    frame = parse_frame(text)
    if frame.name == "icrs":
        return frame, str(frame)
    small = " (they differ by less than 0.03 arcsec)" if frame == Frame("fk5", 2000.0) else ""
    return frame, f"{frame}, converted to ICRS{small}"


def to_icrs(lon_deg: Floats, lat_deg: Floats, frame: Frame) -> tuple[Floats, Floats, Floats]:
    """Positions in the ICRS [deg], and by how much directions turn [deg, added to position angles]; shape (n,) each.

    Positions that are missing, beyond a pole, or not from -180 to 360 degrees stay as they are.
    """
    from astropy.coordinates import SkyCoord

    turn = np.zeros(len(lon_deg))
    usable = (np.abs(lat_deg) <= 90) & (lon_deg >= -180) & (lon_deg <= 360)
    if frame.name == "icrs" or not usable.any():
        return lon_deg, lat_deg, turn
    lon, lat = lon_deg[usable], lat_deg[usable]
    # A step north in the frame shows where its north lies; at the pole itself, a step south does.
    step = np.where(lat < 89.9, 1e-3, -1e-3)
    here = SkyCoord(lon, lat, unit="deg", frame=_of_astropy(frame)).icrs
    there = SkyCoord(lon, lat + step, unit="deg", frame=_of_astropy(frame)).icrs
    angle = here.position_angle(there).deg
    turn[usable] = np.where(step > 0, angle, angle + 180.0) % 360.0
    ra, dec = lon_deg.copy(), lat_deg.copy()
    ra[usable], dec[usable] = here.ra.deg, here.dec.deg
    return ra, dec, turn


def turned_errors(east: Floats, north: Floats, turn_deg: Floats) -> tuple[Floats, Floats]:
    """Errors along two axes as errors along axes that are turned against them."""
    cosine, sine = np.cos(np.radians(turn_deg)), np.sin(np.radians(turn_deg))
    return np.hypot(east * cosine, north * sine), np.hypot(east * sine, north * cosine)


def _of_astropy(frame: Frame) -> object:
    from astropy.coordinates import FK4, FK5, BarycentricMeanEcliptic, FK4NoETerms, Galactic, Supergalactic

    if frame.name in ("galactic", "supergalactic"):
        return Galactic() if frame.name == "galactic" else Supergalactic()
    if frame.name == "fk5":
        return FK5(equinox=f"J{frame.equinox}")
    if frame.name == "ecliptic":
        return BarycentricMeanEcliptic(equinox=f"J{frame.equinox}")
    return (FK4 if frame.name == "fk4" else FK4NoETerms)(equinox=f"B{frame.equinox}")
