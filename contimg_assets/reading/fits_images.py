"""FITS images of the sky: where the pixels lie, in which unit they are, and with which beam; pixels as they are needed.

Belongs here: what an image's file says of itself, for everything that opens one. Pixels of plain files are mapped to
memory, so that only those are read that are looked at; of cubes the first plane alone.
"""

from __future__ import annotations

import math
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import numpy.typing as npt
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS, WcsError

from contimg_assets.errors import InputError
from contimg_assets.files.servers import open_server, trouble
from contimg_assets.files.urls import server_faults, shown_url, without_secrets
from contimg_assets.schemas.units import factor
from contimg_assets.sky.arrays import Floats, Values
from contimg_assets.sky.sphere import offsets_arcsec, separation_arcsec

T = TypeVar("T")

FAULTS = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    EOFError,
    struct.error,
    zlib.error,
    WcsError,
    fits.VerifyError,
)
"""What astropy raises on damaged images."""

_AIPS_BEAM = re.compile(r"BMAJ=\s*([\d.E+-]+)\s+BMIN=\s*([\d.E+-]+)\s+BPA=\s*([\d.E+-]+)")
# Where pixels cannot be mapped they are held in memory: so many at most.
_MOST_IN_MEMORY = 500_000_000
# A beam is sampled by this many pixels at least, and fits on the image so many times.
_LEAST_BEAM_PIX, _LEAST_BEAMS_ACROSS = 1.2, 3.0
# How far the middle may be from where it is said to be, in radii; and by which factor the beam may differ.
_OFF_CENTER, _OFF_BEAM = 0.5, 1.1
_KEYS_OF_SCALED = ("BSCALE", "BZERO", "BLANK")
# Of a remote file, blocks of so many bytes are fetched and the last ones kept: rows of a part are near each other.
_REMOTE: Mapping[str, Any] = {"block_size": 1 << 18, "cache_type": "blockcache"}


@dataclass(frozen=True)
class ImageFrame:
    """Where the pixels of an image lie, in which unit they are, and with which beam.

    Attributes
    ----------
    path : Path or str
        A file, or the URL of one.
    to_mjy_beam : float
        What pixels are multiplied with to be in mJy/beam.
    wcs : astropy.wcs.WCS
        Of the two axes.
    bmaj_arcsec, bmin_arcsec, bpa_deg : float
        Restoring beam, FWHM and position angle [arcsec, deg].
    """

    path: Path | str
    to_mjy_beam: float
    wcs: WCS
    bmaj_arcsec: float
    bmin_arcsec: float
    bpa_deg: float

    @property
    def beam(self) -> tuple[float, float, float]:
        """Restoring beam: FWHM of the major and minor axis [arcsec], position angle [deg]."""
        return self.bmaj_arcsec, self.bmin_arcsec, self.bpa_deg

    @property
    def name(self) -> str:
        """Name of the file, without folders."""
        return str(self.path).rpartition("/")[2]

    def to_pixels(self, ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike) -> tuple[Floats, Floats]:
        """(x, y) of positions [deg, ICRS]; NaN for what the projection does not show."""
        places = SkyCoord(np.asarray(ra_deg, float), np.asarray(dec_deg, float), unit="deg")
        x, y = self.wcs.world_to_pixel(places)
        return np.atleast_1d(np.asarray(x, np.float64)), np.atleast_1d(np.asarray(y, np.float64))

    @property
    def pixel_matrix_arcsec(self) -> Floats:
        """Offsets to the east and north (rows) for a step of a pixel in x and y (columns), at the reference pixel."""
        return _pixel_matrix(self.wcs)

    def _with_pixels(self, pixels: Values, shape: tuple[int, int], rows: slice, columns: slice) -> SkyImage:
        """Some rows and columns of the image, which has this shape, as an image of its own."""
        frame = {field.name: getattr(self, field.name) for field in fields(ImageFrame)}
        # Of a file of four axes it has the lengths of all of them, and slices the wrong ones.
        wcs = self.wcs.deepcopy()
        wcs.array_shape = shape
        return SkyImage(**frame | {"wcs": wcs[rows, columns]}, pixels=pixels)


@dataclass(frozen=True)
class SkyImage(ImageFrame):
    """An image that is open.

    Attributes
    ----------
    pixels : array of shape (ny, nx)
        In the unit of the file; mapped to memory where that can be.
    """

    pixels: Values

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width [pixel]."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def part(self, rows: slice, columns: slice) -> SkyImage:
        """Some rows and columns as an image of its own; nothing is read."""
        return self._with_pixels(self.pixels[rows, columns], self.shape, rows, columns)


@dataclass(frozen=True)
class RemoteImage(ImageFrame):
    """An image at a URL that is open: pixels are fetched where they are asked for.

    Attributes
    ----------
    shape : (int, int)
        Height and width [pixel].
    fetch : callable
        Gives the pixels of some rows and columns, in the unit of the file.
    """

    shape: tuple[int, int]
    fetch: Callable[[slice, slice], Values]

    def part(self, rows: slice, columns: slice) -> SkyImage:
        """Fetch a part, as an image of its own.

        Raises
        ------
        InputError
            If it cannot be fetched.
        """
        return self._with_pixels(_fetched(self.path, self.fetch, rows, columns), self.shape, rows, columns)


@dataclass(frozen=True)
class SkyMap:
    """A map of rms or background that is open, of a file or at a URL: pixels are read where they are asked for.

    Attributes
    ----------
    path : Path or str
    shape : (int, int)
        Height and width [pixel].
    to_mjy_beam : float
        What pixels are multiplied with to be in mJy/beam.
    fetch : callable
        Gives the pixels of some rows and columns, in the unit of the file.
    field : mapping
        ra_deg and dec_deg of its middle, and radius_deg, as its header says; empty where that has no coordinates.
    """

    path: Path | str
    shape: tuple[int, int]
    to_mjy_beam: float
    fetch: Callable[[slice, slice], Values]
    field: Mapping[str, float | None]

    def check_belongs_to(self, image: SkyImage | RemoteImage) -> None:
        """Refuse a map of other pixels than an image has.

        Raises
        ------
        InputError
        """
        cure, shape = "name the map that belongs to the image", image.shape
        if self.shape != shape:
            raise InputError(
                f"{self.path}: has {self.shape[1]} x {self.shape[0]} pixels, and its image {image.name} "
                f"{shape[1]} x {shape[0]}; {cure}"
            )
        field = _known(self.field)
        if not field:
            return
        x, y = (float(at[0]) for at in image.to_pixels(field["ra_deg"], field["dec_deg"]))
        off = math.hypot(x - (shape[1] - 1) / 2, y - (shape[0] - 1) / 2)
        if not off <= 1.0:
            raise InputError(
                f"{self.path}: its WCS has the middle {off:.3g} pixels from that of its image {image.name}; {cure}"
            )

    def part(self, rows: slice, columns: slice) -> Values:
        """Pixels of some rows and columns, in the unit of the file.

        Raises
        ------
        InputError
            If they cannot be fetched.
        """
        return _fetched(self.path, self.fetch, rows, columns)


def _fetched(path: Path | str, fetch: Callable[[slice, slice], Values], rows: slice, columns: slice) -> Values:
    try:
        return fetch(rows, columns)
    except remote_faults() as error:
        raise _damaged(path, error) from error


def image_hdu(hdus: fits.HDUList) -> fits.PrimaryHDU | None:
    """The first part of a file that is an image, packed or not; None where there is none."""
    return next((hdu for hdu in hdus if hdu.header.get("NAXIS", 0) >= 2 and hdu.is_image), None)


def beam_of(header: fits.Header, hdus: fits.HDUList) -> dict[str, float | None]:
    """bmaj_arcsec, bmin_arcsec and bpa_deg by header, by CASA's table of beams, or by AIPS's history; None without."""
    values = [header.get(key) for key in ("BMAJ", "BMIN", "BPA")]
    if values[0] is None and header.get("CASAMBM") is True and "BEAMS" in hdus:
        return dict(_beam_of_table(hdus["BEAMS"]))
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


def _beam_of_table(table: fits.BinTableHDU) -> dict[str, float]:
    """Beam of the first plane: CASA writes a row a channel and polarization."""
    rows = table.data
    first = np.lexsort([rows[name] for name in ("CHAN", "POL") if name in rows.names] or [np.arange(len(rows))])[0]
    units = {column.name.upper(): column.unit or unit for column, unit in _default_units(table.columns)}
    return {
        name: float(rows[key][first]) * factor(units[key], unit)
        for name, key, unit in (
            ("bmaj_arcsec", "BMAJ", "arcsec"),
            ("bmin_arcsec", "BMIN", "arcsec"),
            ("bpa_deg", "BPA", "deg"),
        )
    }


def _default_units(columns: fits.ColDefs) -> list[tuple[fits.Column, str]]:
    return [(column, "deg" if column.name.upper() == "BPA" else "arcsec") for column in columns]


def field_of(header: fits.Header) -> dict[str, float | None]:
    """ra_deg and dec_deg of the middle pixel and radius_deg to the farthest corner; empty without coordinates."""
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


def mjy_beam_of(header: fits.Header, named: str) -> float:
    """What pixels are multiplied with to be in mJy/beam, by BUNIT.

    Raises
    ------
    InputError
        If there is no unit, or none of flux density per beam; ``named`` is the file, for the message.
    """
    unit = str(header.get("BUNIT", "")).strip()
    if not unit:
        raise InputError(f"{named} does not say its unit; set BUNIT in its header, such as 'Jy/beam'")
    try:
        return factor(unit, "mJy / beam")
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{named} has BUNIT {unit!r}, which is no flux density per beam; correct it, such as to 'Jy/beam'"
        ) from error


def open_delivered(
    image: Path | str, stated: Mapping[str, float] | None = None
) -> AbstractContextManager[SkyImage | RemoteImage]:
    """Open the image of a manifest, a file or a URL, which `resolve_image` tells apart: `open_image`, `open_remote`."""
    return open_remote(image, stated) if isinstance(image, str) else open_image(image, stated)


@contextmanager
def open_image(path: Path, stated: Mapping[str, float] | None = None) -> Iterator[SkyImage]:
    """Open an image to look at its pixels, which are there as long as it is open.

    Parameters
    ----------
    path : Path
        FITS file of 2 to 4 axes, plain, packed by fpack, or gzipped.
    stated : mapping, optional
        What the manifest says of it: any of ra_deg, dec_deg, radius_deg, bmaj_arcsec, bmin_arcsec, bpa_deg. The beam
        counts where the file has none; what contradicts the file is refused.

    Yields
    ------
    SkyImage

    Raises
    ------
    InputError
        If the file is missing, damaged, cut short or no image; if its unit is no flux density per beam; if it has no
        celestial coordinates, no beam or an absurd one; if it is of another place or beam than stated.
    """
    with _opened(path) as hdus:
        yield _read(path, hdus, lambda hdu: _sky_image(path, hdu, hdus, {} if stated is None else stated))


@contextmanager
def open_remote(url: str, stated: Mapping[str, float] | None = None) -> Iterator[RemoteImage]:
    """Open an image at a URL; of its pixels nothing is fetched before somebody asks for a part.

    Parameters
    ----------
    url : str
        As fsspec takes it: http, https, s3 and others, each where its package is installed. Plain or packed by fpack;
        the server must answer requests for ranges of bytes.
    stated : mapping, optional
        As of `open_image`.

    Yields
    ------
    RemoteImage

    Raises
    ------
    InputError
        As of `open_image`; or if a package for such URLs is missing.
    """
    with _opened_remote(url) as hdus:
        yield _read(url, hdus, lambda hdu: _remote_image(url, hdu, hdus, {} if stated is None else stated))


def remote_faults() -> tuple[type[Exception], ...]:
    """What astropy, fsspec and what that uses raise for images that are damaged or out of reach."""
    return (*FAULTS, *server_faults())


@contextmanager
def open_map(path: Path | str) -> Iterator[SkyMap]:
    """Open a map of rms or background, a file or a URL, as `open_delivered` does it with images.

    Raises
    ------
    InputError
        If the file is missing, damaged, cut short or no image, or its unit is no flux density per beam.
    """
    with _opened_remote(path) if isinstance(path, str) else _opened(path) as hdus:
        yield _read(path, hdus, lambda hdu: _sky_map(path, hdu))


@contextmanager
def open_stream(url: str) -> Iterator[BinaryIO]:
    """Open a file at a URL; of its content nothing is fetched before somebody reads it.

    Raises
    ------
    InputError
        If it is not there or cannot be reached, or a package for such URLs is missing.
    """
    system, name = open_server(url)
    try:
        stream = system.open(name, "rb", **_REMOTE)
    except remote_faults() as error:
        raise trouble(url, error) from error
    with stream:
        yield stream


@contextmanager
def _opened_remote(url: str) -> Iterator[fits.HDUList]:
    with open_stream(url) as stream:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                hdus = fits.open(stream, lazy_load_hdus=True)
            except remote_faults() as error:
                raise _damaged(url, error) from error
        with hdus:
            yield hdus


@contextmanager
def _opened(path: Path) -> Iterator[fits.HDUList]:
    if not path.is_file():
        raise InputError(f"{path}: no such file; deliver the image, or leave 'path' empty in images.csv")
    with warnings.catch_warnings():
        # A file that is cut short is refused where its pixels are looked for.
        warnings.simplefilter("ignore")
        try:
            hdus = fits.open(path, memmap=True, lazy_load_hdus=True)
        except FAULTS as error:
            raise _damaged(path, error) from error
    with hdus:
        yield hdus


def _read(path: Path | str, hdus: fits.HDUList, what: Callable[[fits.PrimaryHDU], T]) -> T:
    """What a function makes of the first image of a file, with a sentence for what astropy says of damaged ones."""
    with warnings.catch_warnings():
        # What astropy mends in old headers (dates, units) it mends silently here: many tools write images.
        warnings.simplefilter("ignore")
        try:
            hdu = image_hdu(hdus)
            if hdu is None:
                raise InputError(f"{path}: this FITS file has no image; name the image in images.csv")
            return what(hdu)
        except remote_faults() as error:
            raise _damaged(path, error) from error


def _damaged(path: Path | str, error: BaseException) -> InputError:
    reason = str(error).splitlines()[0] if str(error) else repr(error)
    return InputError(
        f"{shown_url(path)}: this FITS image cannot be read ({without_secrets(reason)}); deliver it again"
    )


def _sky_image(path: Path, hdu: fits.PrimaryHDU, hdus: fits.HDUList, stated: Mapping[str, float]) -> SkyImage:
    return SkyImage(**vars(_frame(path, hdu, hdus, stated)), pixels=_plane(path, hdu))


def _remote_image(url: str, hdu: fits.PrimaryHDU, hdus: fits.HDUList, stated: Mapping[str, float]) -> RemoteImage:
    shape, fetch = _sections(hdu)
    return RemoteImage(**vars(_frame(url, hdu, hdus, stated)), shape=shape, fetch=fetch)


def _sky_map(path: Path | str, hdu: fits.PrimaryHDU) -> SkyMap:
    unit, field = mjy_beam_of(hdu.header, f"{path}:"), field_of(hdu.header)
    if isinstance(path, str):
        shape, fetch = _sections(hdu)
        return SkyMap(path, shape, unit, fetch, field)
    plane = _plane(path, hdu)
    return SkyMap(path, (plane.shape[0], plane.shape[1]), unit, lambda rows, columns: plane[rows, columns], field)


def _sections(hdu: fits.PrimaryHDU) -> tuple[tuple[int, int], Callable[[slice, slice], Values]]:
    """Height and width of the first plane, and what reads some of its rows and columns."""
    plane = (0,) * (int(hdu.header["NAXIS"]) - 2)

    def fetch(rows: slice, columns: slice) -> Values:
        return np.asarray(hdu.section[(*plane, rows, columns)])

    return (int(hdu.header["NAXIS2"]), int(hdu.header["NAXIS1"])), fetch


def _frame(path: Path | str, hdu: fits.PrimaryHDU, hdus: fits.HDUList, stated: Mapping[str, float]) -> ImageFrame:
    wcs = WCS(hdu.header, naxis=2)
    if not wcs.has_celestial:
        raise InputError(f"{path}: its first two axes are no celestial coordinates; write the image with its WCS")
    scale = mjy_beam_of(hdu.header, f"{path}:")
    beam = {**{name: stated.get(name) for name in _BEAM}, **_known(beam_of(hdu.header, hdus))}
    _check_place(path, _known(field_of(hdu.header)), stated)
    _check_beam(path, beam, stated, _pixel_matrix(wcs), hdu.header)
    major, minor, angle = (float(beam[name] or 0.0) for name in _BEAM)
    return ImageFrame(path, scale, wcs, major, minor, angle)


_BEAM = ("bmaj_arcsec", "bmin_arcsec", "bpa_deg")


def _known(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}


def _plane(path: Path, hdu: fits.PrimaryHDU) -> Values:
    """The first plane; mapped where the file has its numbers as they are."""
    header = hdu.header
    plane = (0,) * (int(header["NAXIS"]) - 2)
    packed = isinstance(hdu, fits.CompImageHDU)
    zipped = _is_gzipped(path)
    if not (packed or zipped):
        place = hdu.fileinfo()["datLoc"]
        if path.stat().st_size < place + hdu.size:
            raise InputError(
                f"{path}: the file ends before its pixels do ({path.stat().st_size} of {place + hdu.size} bytes); "
                "deliver it again"
            )
        if int(header["BITPIX"]) < 0 and not any(key in header for key in _KEYS_OF_SCALED):
            mapped: Values = np.asarray(hdu.data)[plane]
            return mapped
    n_pixels = int(header["NAXIS1"]) * int(header["NAXIS2"])
    if n_pixels > _MOST_IN_MEMORY:
        raise InputError(f"{path}: {n_pixels} packed pixels do not fit in memory; deliver it unpacked, of floats")
    # Scaled integers cannot be mapped to memory, nor sections of them be read from a file that is.
    with fits.open(path, memmap=False, lazy_load_hdus=True) as hdus:
        again = image_hdu(hdus)
        assert again is not None
        return np.asarray(again.section[(*plane, slice(None), slice(None))], np.float32)


def _is_gzipped(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _check_place(path: Path | str, field: Mapping[str, float], stated: Mapping[str, float]) -> None:
    if not {"ra_deg", "dec_deg", "radius_deg"} <= set(stated) or not {"ra_deg", "radius_deg"} <= set(field):
        return
    off = float(separation_arcsec(field["ra_deg"], field["dec_deg"], stated["ra_deg"], stated["dec_deg"])) / 3600
    if not off <= _OFF_CENTER * max(field["radius_deg"], stated["radius_deg"]):
        raise InputError(
            f"{path}: its WCS has the middle {off:.2f} deg from where images.csv says; correct ra_deg, dec_deg and "
            "radius_deg, or name the right image in 'path'"
        )


def _check_beam(
    path: Path | str, beam: Mapping[str, float | None], stated: Mapping[str, float], matrix: Floats, header: fits.Header
) -> None:
    lacking = [name for name in _BEAM if beam[name] is None]
    if lacking:
        raise InputError(f"{path}: its header has no beam; add {' and '.join(lacking)} to images.csv")
    major, minor, angle = (float(beam[name] or 0.0) for name in _BEAM)
    pixel = float(np.sqrt(abs(np.linalg.det(matrix))))
    most = min(int(header["NAXIS1"]), int(header["NAXIS2"])) * pixel / _LEAST_BEAMS_ACROSS
    if not (_LEAST_BEAM_PIX * pixel <= minor <= major <= most and np.isfinite(angle)):
        raise InputError(
            f"{path}: a beam of {major:.4g} x {minor:.4g} arcsec cannot be that of an image of "
            f"{header['NAXIS1']} x {header['NAXIS2']} pixels of {pixel:.3g} arcsec; correct BMAJ and BMIN (degrees) in "
            "the header"
        )
    for name, value in (("bmaj_arcsec", major), ("bmin_arcsec", minor)):
        said = stated.get(name, value)
        if not value / _OFF_BEAM <= said <= value * _OFF_BEAM:
            raise InputError(
                f"{path}: its header has {name} {value:.4g}, but images.csv {said:.4g}; correct the one that is wrong"
            )


def _pixel_matrix(wcs: WCS) -> Floats:
    if str(wcs.wcs.ctype[0]).startswith("RA"):
        # The plane of the projection is that of east and north at the reference pixel, at the pole too.
        return np.asarray(wcs.pixel_scale_matrix * 3600.0, np.float64)
    x, y = wcs.wcs.crpix - 1
    here = wcs.pixel_to_world(np.array([x - 0.5, x, x + 0.5, x]), np.array([y, y - 0.5, y, y + 0.5])).icrs
    ra, dec = here.ra.deg, here.dec.deg
    east, north = offsets_arcsec(ra[:2], dec[:2], ra[2:], dec[2:])
    return np.stack([east, north]).astype(np.float64)
