"""What the FITS header of an image says of beam, field, time and frequency; pixels are never read."""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.time import Time

from contimg_assets.errors import InputError
from contimg_assets.files.urls import without_secrets
from contimg_assets.reading.fits_images import beam_of, field_of, image_hdu, open_stream, remote_faults
from contimg_assets.sky.times import MJD_OF_1900, MJD_OF_2200

_SECONDS = ("TELAPSE", "DURATION", "EXPTIME", "EXPOSURE", "INTTIME")


def image_from_header(path: Path | str) -> dict[str, float]:
    """What the header of a FITS image, a file or at a URL, gives of the manifest's columns.

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
            with (
                nullcontext(path) if isinstance(path, Path) else open_stream(path) as file,
                fits.open(file, memmap=True, lazy_load_hdus=True) as hdus,
            ):
                image = image_hdu(hdus)
                if image is None:
                    raise InputError(f"{path}: this FITS file has no image; name the image in images.csv")
                header = image.header
                found = beam_of(header, hdus) | field_of(header) | _time(header) | _frequency(header)
                return {name: float(value) for name, value in found.items() if value is not None and np.isfinite(value)}
        except remote_faults() as error:
            reason = without_secrets(str(error).splitlines()[0] if str(error) else repr(error))
            raise InputError(
                f"{path}: its FITS header cannot be read ({reason}); "
                "deliver the image again, or state its values in images.csv"
            ) from error


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
    if not MJD_OF_1900 < float(mjd) < MJD_OF_2200:
        raise ValueError(f"the date MJD {mjd} is not one of an observation")
    return float(mjd)


def _mjd(date: str) -> float:
    mjd = float(Time(str(date).strip(), scale="utc").mjd)
    if not MJD_OF_1900 < mjd < MJD_OF_2200:
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
