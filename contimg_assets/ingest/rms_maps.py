"""The rms map of an image, pixel by pixel, to what it covers and how deep: ranges of HEALPix cells.

Belongs here: everything that opens an rms map. Who has none does not load this module, for astropy comes with it.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning
from astropy_healpix import HEALPix

from contimg_assets.errors import InputError
from contimg_assets.reading.fits_images import FAULTS, image_hdu, mjy_beam_of
from contimg_assets.sky.arrays import Cells, Floats, Values
from contimg_assets.sky.cells import FINEST_ORDER, cells_within
from contimg_assets.sky.coverage import Coverage, merged

MAP_ORDER = 11
"""Cells of 1.7 arcmin, over which the noise of an interferometer's image hardly changes."""

# Sixteen samples a cell, 26 arcsec apart: a median that one bright pixel does not move, and the edge to half that.
_FINER = 2
_MAX_CELLS = 1 << 20
_CELLS_AT_ONCE = 1 << 15
_PIXELS_AT_ONCE = 4_000_000


def coverage_of_map(path: Path, where: str) -> Coverage:
    """What an rms map covers, and how deep.

    Parameters
    ----------
    path : FITS image of the local rms, unit by BUNIT; pixels that are not finite or not above 0 are not covered
    where : the manifest's line and column, for messages

    Raises
    ------
    InputError
        If the file cannot be used or covers nothing.
    """
    with warnings.catch_warnings():
        # What astropy mends in old headers (dates, units) it mends silently here: rms maps are written by many tools.
        warnings.simplefilter("ignore", FITSFixedWarning)
        warnings.simplefilter("ignore", fits.verify.VerifyWarning)
        try:
            # Sections are read from the file as they are asked for; scaled integers cannot be mapped to memory.
            with fits.open(path, memmap=False, lazy_load_hdus=True) as hdus:
                image = image_hdu(hdus)
                if image is None:
                    raise InputError(f"{where}: {path} has no image; name the FITS image of the local rms")
                found = _sampled(image, mjy_beam_of(image.header, f"{where}: {path}"), path, where)
        except FAULTS as error:
            raise InputError(
                f"{where}: {path} cannot be read ({str(error).splitlines()[0] if str(error) else error!r}); deliver "
                "the rms map again, or leave the column empty"
            ) from error
    if not len(found.start):
        raise InputError(
            f"{where}: {path} has no pixel above 0; name the FITS image of the local rms, or leave the column empty"
        )
    return found


def _sampled(image: fits.ImageHDU, scale: float, path: Path, where: str) -> Coverage:
    """The map on HEALPix cells: of each the median of samples, at the map's edge only the part of it that has pixels.

    Only the pixels that are sampled are read, some rows at a time: mosaics are larger than memory should be.
    """
    wcs = WCS(image.header, naxis=2)
    if not wcs.has_celestial:
        raise InputError(f"{where}: {path} has no celestial coordinates; write the map with its image's WCS")
    width, height = int(image.header["NAXIS1"]), int(image.header["NAXIS2"])
    order, cells = _cells_of_field(wcs, width, height)
    fine = HEALPix(1 << (order + _FINER), order="nested")
    n_children = 1 << (2 * _FINER)
    starts, ends, values = [], [], []
    for first in range(0, len(cells), _CELLS_AT_ONCE):
        chunk = cells[first : first + _CELLS_AT_ONCE]
        children = chunk[:, None] * n_children + np.arange(n_children)
        lon, lat = fine.healpix_to_lonlat(children.ravel())
        x, y = wcs.world_to_pixel(SkyCoord(lon, lat, frame="icrs"))
        samples = _pixels(image, x, y, width, height) * scale
        samples = np.where(np.isfinite(samples) & (samples > 0), samples, np.nan).reshape(children.shape)
        known = ~np.isnan(samples)
        some = np.asarray(known.any(axis=1))
        # Kept to the seven digits that maps have: half the bytes, and the same value when read back.
        rms = np.nanmedian(samples[some], axis=1).astype(np.float32).astype(float)
        whole, rows = np.asarray(known[some].all(axis=1)), np.flatnonzero(some)
        part, child = np.nonzero(known[some] & ~whole[:, None])
        for here, depth, value in (
            (chunk[rows[whole]], order, rms[whole]),
            (children[rows[part], child], order + _FINER, rms[part]),
        ):
            shift = 2 * (FINEST_ORDER - depth)
            starts.append(here << shift)
            ends.append((here + 1) << shift)
            values.append(value)
    return merged(np.concatenate(starts), np.concatenate(ends), np.concatenate(values))


def _cells_of_field(wcs: WCS, width: int, height: int) -> tuple[int, Cells]:
    """The order to sample at, and its cells about the middle pixel as far as the border."""
    centre = wcs.pixel_to_world((width - 1) / 2, (height - 1) / 2).icrs
    # Along the border: of a map of half the sky and more, the corners are not what is farthest.
    along, zero = np.linspace(-0.5, 0.5, 65), np.zeros(65)
    x = np.concatenate([along, along, zero - 0.5, zero + 0.5]) * width + (width - 1) / 2
    y = np.concatenate([zero - 0.5, zero + 0.5, along, along]) * height + (height - 1) / 2
    radius = centre.separation(wcs.pixel_to_world(x, y).icrs).deg
    # Part of the border lies outside the sky.
    reach = float(np.max(radius)) if np.isfinite(radius).all() else 180.0
    sky = 12.0 * (1 - np.cos(np.radians(reach))) / 2
    order = min(MAP_ORDER, int(np.log2(_MAX_CELLS / max(sky, 1e-12)) / 2))
    return order, cells_within(centre.ra.deg, centre.dec.deg, reach, order)


def _pixels(image: fits.ImageHDU, x: Values, y: Values, width: int, height: int) -> Floats:
    """Values of the nearest pixels, NaN outside of the image; of further axes the first plane."""
    values = np.full(len(x), np.nan)
    with np.errstate(invalid="ignore"):
        inside = np.flatnonzero((x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5))
    column, row = np.rint(x[inside]).astype(np.intp), np.rint(y[inside]).astype(np.intp)
    column, row = np.clip(column, 0, width - 1), np.clip(row, 0, height - 1)
    rows_at_once = max(1, _PIXELS_AT_ONCE // width)
    plane = (0,) * (int(image.header["NAXIS"]) - 2)
    strip = row // rows_at_once
    order = np.argsort(strip, kind="stable")
    for chosen in np.split(order, np.flatnonzero(np.diff(strip[order])) + 1):
        if len(chosen):
            top = int(strip[chosen[0]]) * rows_at_once
            section = image.section[(*plane, slice(top, min(top + rows_at_once, height)), slice(0, width))]
            values[inside[chosen]] = section[row[chosen] - top, column[chosen]]
    return values
