"""What the FITS header of an image says of beam, field, time and frequency; pixels are never read."""

from __future__ import annotations

import re
import struct
import warnings
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.time import Time
from astropy.wcs import WCS, WcsError

from contimg_assets.errors import InputError

_FAULTS = (OSError, ValueError, TypeError, LookupError, AttributeError, struct.error, WcsError, fits.VerifyError)
_AIPS_BEAM = re.compile(r"BMAJ=\s*([\d.E+-]+)\s+BMIN=\s*([\d.E+-]+)\s+BPA=\s*([\d.E+-]+)")
_SECONDS = ("TELAPSE", "DURATION", "EXPTIME", "EXPOSURE", "INTTIME")
_MJD_OF_1900, _MJD_OF_2200 = 15020.0, 124593.0


def image_from_header(path: Path) -> dict[str, float]:
    """What a FITS image's header gives of the manifest's columns.

    Returns
    -------
    dict with some of mjd_mid, ra_deg, dec_deg, radius_deg, bmaj_arcsec, bmin_arcsec, bpa_deg, freq_mhz: what the header
    does not have is not there. The center is the WCS position of the middle pixel, the radius the separation of the
    farthest corner. The time is the middle of the observation: MJD-AVG or DATE-AVG, the mean of DATE-BEG and DATE-END
    (or MJD-BEG and MJD-END), or DATE-OBS plus half of the exposure; MJD-OBS where DATE-OBS has no time of day.

    Raises
    ------
    InputError
        If the file is no FITS image.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with fits.open(path, memmap=True, lazy_load_hdus=True) as hdus:
                header = next((hdu.header for hdu in hdus if hdu.header.get("NAXIS", 0) >= 2 and hdu.is_image), None)
                if header is None:
                    raise InputError(f"{path}: this FITS file has no image; name the image in images.csv")
                return {
                    name: float(value)
                    for name, value in (_beam(header) | _field(header) | _time(header) | _frequency(header)).items()
                    if value is not None and np.isfinite(value)
                }
        except _FAULTS as error:
            raise InputError(
                f"{path}: its FITS header cannot be read ({str(error).splitlines()[0] if str(error) else error!r}); "
                "deliver the image again, or state its values in images.csv"
            ) from error


def _beam(header: fits.Header) -> dict[str, float | None]:
    values = [header.get(key) for key in ("BMAJ", "BMIN", "BPA")]
    if values[0] is None:
        found = [_AIPS_BEAM.search(str(line)) for line in header.get("HISTORY", ())]
        last = next((match for match in reversed(found) if match), None)
        values = [float(text) for text in last.groups()] if last else values
    major, minor, angle = values
    return {
        "bmaj_arcsec": None if major is None else float(major) * 3600,
        "bmin_arcsec": None if minor is None else float(minor) * 3600,
        "bpa_deg": None if angle is None else float(angle),
    }


def _field(header: fits.Header) -> dict[str, float | None]:
    wcs = WCS(header, naxis=2)
    if not wcs.has_celestial:
        return {}
    width, height = float(header["NAXIS1"]), float(header["NAXIS2"])
    centre = wcs.pixel_to_world((width - 1) / 2, (height - 1) / 2).icrs
    corners = wcs.pixel_to_world(
        np.array([-0.5, width - 0.5, -0.5, width - 0.5]), np.array([-0.5, -0.5, height - 0.5, height - 0.5])
    ).icrs
    return {
        "ra_deg": float(centre.ra.deg),
        "dec_deg": float(centre.dec.deg),
        "radius_deg": float(np.nanmax(centre.separation(corners).deg)),
    }


def _time(header: fits.Header) -> dict[str, float | None]:
    if "MJD-AVG" in header:
        return {"mjd_mid": _in_range(header["MJD-AVG"])}
    if "DATE-AVG" in header:
        return {"mjd_mid": _mjd(header["DATE-AVG"])}
    if "DATE-BEG" in header and "DATE-END" in header:
        return {"mjd_mid": (_mjd(header["DATE-BEG"]) + _mjd(header["DATE-END"])) / 2}
    if "MJD-BEG" in header and "MJD-END" in header:
        return {"mjd_mid": (_in_range(header["MJD-BEG"]) + _in_range(header["MJD-END"])) / 2}
    start = _start(header)
    if start is None:
        return {}
    seconds = next((float(header[key]) for key in _SECONDS if key in header), 0.0)
    return {"mjd_mid": float(start) + seconds / 86400 / 2}


def _start(header: fits.Header) -> float | None:
    """Beginning of the observation; a date without a time of day counts only where nothing says the time."""
    date = str(header.get("DATE-OBS", "")).strip()
    if date and "T" not in date and "TIME-OBS" in header:
        return _mjd(f"{date}T{str(header['TIME-OBS']).strip()}")
    if date and ("T" in date or "MJD-OBS" not in header):
        return _mjd(date)
    return _in_range(header["MJD-OBS"]) if "MJD-OBS" in header else None


def _in_range(mjd: float) -> float:
    if not _MJD_OF_1900 < float(mjd) < _MJD_OF_2200:
        raise ValueError(f"the date MJD {mjd} is not one of an observation")
    return float(mjd)


def _mjd(date: str) -> float:
    mjd = float(Time(str(date).strip(), scale="utc").mjd)
    if not _MJD_OF_1900 < mjd < _MJD_OF_2200:
        raise ValueError(f"the date {date!r} is not one of an observation")
    return mjd


def _frequency(header: fits.Header) -> dict[str, float | None]:
    for axis in range(1, int(header.get("NAXIS", 0)) + 1):
        if str(header.get(f"CTYPE{axis}", "")).strip().upper().startswith("FREQ"):
            step = float(header.get(f"CDELT{axis}", 0.0))
            middle = (float(header[f"NAXIS{axis}"]) + 1) / 2
            return {
                "freq_mhz": (float(header[f"CRVAL{axis}"]) + (middle - float(header.get(f"CRPIX{axis}", 1))) * step)
                / 1e6
            }
    for key in ("RESTFRQ", "RESTFREQ", "FREQ"):
        if key in header:
            return {"freq_mhz": float(header[key]) / 1e6}
    return {}
