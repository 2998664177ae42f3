"""Images as the imagers write them: the same fluxes from each, and a sentence for each that cannot be used."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

from contimg_assets.errors import InputError
from contimg_assets.ingest.header import image_from_header
from contimg_assets.photometry.images import forced_photometry, pixel_beam
from contimg_assets.reading.fits_images import open_image
from contimg_assets.simulate.pixels import add_point_sources, beam_noise
from contimg_assets.sky.arrays import Floats, Values
from contimg_assets.sky.sphere import displaced

SIDE = 256
FLUXES_MJY = np.array([30.0, -8.0, 0.0])


def header(**changes: Any) -> fits.Header:
    """An image of 2 arcsec pixels across RA 0, 12 x 8 arcsec beam, in Jy/beam; None takes a key out."""
    values: dict[str, Any] = {
        "CTYPE1": "RA---SIN",
        "CTYPE2": "DEC--SIN",
        "CRPIX1": 120.0,
        "CRPIX2": 130.0,
        "CRVAL1": 0.01,
        "CRVAL2": -45.0,
        "CDELT1": -2 / 3600,
        "CDELT2": 2 / 3600,
        "CUNIT1": "deg",
        "CUNIT2": "deg",
        "BMAJ": 12 / 3600,
        "BMIN": 8 / 3600,
        "BPA": 30.0,
        "BUNIT": "Jy/beam",
    }
    made = fits.Header()
    for key, value in (values | changes).items():
        if value is not None:
            made[key] = value
    return made


def sky(head: fits.Header) -> tuple[Values, pd.DataFrame]:
    """Pixels in Jy/beam with an rms of 1 mJy/beam and three sources, placed on the sky by offsets from the middle."""
    wcs = WCS(head, naxis=2)
    middle = wcs.pixel_to_world(128.0, 128.0).icrs
    ra, dec = displaced(*np.broadcast_arrays(middle.ra.deg, middle.dec.deg, np.zeros(3))[:2], *OFFSETS)
    x, y = wcs.world_to_pixel(SkyCoord(ra, dec, unit="deg"))
    beam = sky_beam(wcs)
    noise = beam_noise((SIDE, SIDE), beam, np.random.default_rng(1))
    places = pd.DataFrame({"ra_deg": ra, "dec_deg": dec}, index=["a", "b", "c"])
    return (add_point_sources(noise, x, y, FLUXES_MJY, beam) / 1000.0).astype(np.float32), places


OFFSETS = np.array([0.0, 101.3, -80.0]), np.array([0.4, 55.5, 77.7])


def sky_beam(wcs: WCS) -> Any:
    from contimg_assets.photometry.beam import PixelBeam

    return PixelBeam.of_sky(12.0, 8.0, 30.0, np.asarray(wcs.pixel_scale_matrix) * 3600)


def measured(path: Path, places: pd.DataFrame) -> pd.DataFrame:
    found = forced_photometry(path, places)
    assert (found["reason"] == "").all()
    assert found.index.tolist() == ["a", "b", "c"]
    return found


def check(found: pd.DataFrame) -> None:
    pulls: Floats = ((found["flux_peak_mjy_beam"] - FLUXES_MJY) / found["flux_peak_err_mjy_beam"]).to_numpy(float)
    assert (np.abs(pulls) < 3.5).all()
    np.testing.assert_allclose(found["flux_peak_err_mjy_beam"], 1.0, rtol=0.25)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame, pd.DataFrame]:
    path = tmp_path_factory.mktemp("plain") / "plain.fits"
    pixels, places = sky(header())
    fits.writeto(path, pixels, header())
    return path, places, measured(path, places)


def test_a_plain_image(plain: tuple[Path, pd.DataFrame, pd.DataFrame]) -> None:
    check(plain[2])
    found = forced_photometry(str(plain[0]), SkyCoord(plain[1]["ra_deg"], plain[1]["dec_deg"], unit="deg"))
    np.testing.assert_array_equal(found["flux_peak_mjy_beam"], plain[2]["flux_peak_mjy_beam"])


def cube(pixels: Values, axes: int) -> Values:
    """First plane the image, the others something else."""
    planes = np.stack([pixels, pixels * 0 + 7])
    return planes if axes == 3 else planes[None]


def write_as(path: Path, how: str, pixels: Values) -> None:
    plain_header = header()
    match how:
        case "float64 in mJy":
            fits.writeto(path, pixels.astype(np.float64) * 1000, header(BUNIT="mJy/beam"))
        case "3 axes":
            fits.writeto(path, cube(pixels, 3), plain_header)
        case "4 axes as ASKAP and WSClean":
            head = header(
                CTYPE3="FREQ", CRVAL3=887.5e6, CDELT3=1e6, CRPIX3=1.0, CTYPE4="STOKES", CRVAL4=1.0, CRPIX4=1.0
            )
            fits.writeto(path, cube(pixels, 4), head)
        case "scaled integers":
            hdu = fits.PrimaryHDU(pixels, plain_header)
            hdu.scale("int32", bscale=1e-7, bzero=0.01)
            hdu.writeto(path)
        case "packed by fpack":
            packed = fits.CompImageHDU(pixels, plain_header, compression_type="RICE_1", quantize_level=64)
            fits.HDUList([fits.PrimaryHDU(), packed]).writeto(path)
        case "packed by gzip":
            fits.writeto(path.with_suffix(".raw"), pixels, plain_header)
            path.write_bytes(gzip.compress(path.with_suffix(".raw").read_bytes(), 1))
        case "beams of CASA":
            columns = [
                fits.Column("BMAJ", "1E", "arcsec", array=[12.0, 99.0]),
                fits.Column("BMIN", "1E", "arcsec", array=[8.0, 99.0]),
            ]
            columns += [fits.Column("BPA", "1E", "deg", array=[30.0, 0.0]), fits.Column("CHAN", "1J", array=[0, 1])]
            beams = fits.BinTableHDU.from_columns(columns, name="BEAMS")
            head = header(BMAJ=None, BMIN=None, BPA=None, CASAMBM=True)
            fits.HDUList([fits.PrimaryHDU(cube(pixels, 3), head), beams]).writeto(path)
        case "history of AIPS":
            head = header(BMAJ=None, BMIN=None, BPA=None, BUNIT="JY/BEAM", CROTA2=0.0, EPOCH=2000.0)
            head["HISTORY"] = "AIPS   CLEAN BMAJ=  3.3333E-03 BMIN=  2.2222E-03 BPA=  30.00"
            fits.writeto(path, pixels, head)
        case "in an extension":
            fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(pixels, plain_header)]).writeto(path)


@pytest.mark.parametrize(
    ("how", "tolerance"),
    [
        ("float64 in mJy", 1e-5),
        ("3 axes", 1e-6),
        ("4 axes as ASKAP and WSClean", 1e-6),
        ("scaled integers", 1e-3),
        ("packed by fpack", 0.05),
        ("packed by gzip", 1e-6),
        ("beams of CASA", 1e-6),
        ("history of AIPS", 0.02),
        ("in an extension", 1e-6),
    ],
)
def test_however_it_is_written_the_fluxes_are_the_same(
    plain: tuple[Path, pd.DataFrame, pd.DataFrame], tmp_path: Path, how: str, tolerance: float
) -> None:
    pixels, places = sky(header())
    write_as(tmp_path / "i.fits", how, pixels)
    found = measured(tmp_path / "i.fits", places)
    np.testing.assert_allclose(found["flux_peak_mjy_beam"], plain[2]["flux_peak_mjy_beam"], atol=tolerance)
    assert image_from_header(tmp_path / "i.fits")["bmaj_arcsec"] == pytest.approx(12.0, rel=1e-4)


@pytest.mark.parametrize(
    "changes",
    [
        {"CRVAL2": 90.0, "CRVAL1": 0.0},
        {"CRVAL2": 89.98, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"},
        {"CROTA2": 40.0},
        {"CRPIX1": -3000.0, "CRPIX2": 4000.0},
        {"CRVAL1": 359.99},
        {"RADESYS": "FK5", "EQUINOX": 2000.0},
    ],
)
def test_wherever_it_is_on_the_sky_and_however_turned(tmp_path: Path, changes: dict[str, Any]) -> None:
    head = header(**changes)
    pixels, places = sky(head)
    fits.writeto(tmp_path / "i.fits", pixels, head)
    check(measured(tmp_path / "i.fits", places))


def test_an_image_in_galactic_coordinates_has_its_beam_east_of_north(tmp_path: Path) -> None:
    center = SkyCoord(150.0, -45.0, unit="deg").galactic
    head = header(CTYPE1="GLON-SIN", CTYPE2="GLAT-SIN", CRVAL1=center.l.deg, CRVAL2=center.b.deg)
    fits.writeto(tmp_path / "i.fits", np.zeros((SIDE, SIDE), np.float32), head)
    with open_image(tmp_path / "i.fits") as image:
        along = displaced(150.0, -45.0, 6 * np.sin(np.radians(30.0)), 6 * np.cos(np.radians(30.0)))
        x, y = image.to_pixels([150.0, float(along[0])], [-45.0, float(along[1])])
        assert float(pixel_beam(image)(x[1] - x[0], y[1] - y[0])) == pytest.approx(0.5, abs=1e-3)


def test_maps_of_the_finder_are_used(plain: tuple[Path, pd.DataFrame, pd.DataFrame], tmp_path: Path) -> None:
    path, places, first = plain
    fits.writeto(tmp_path / "rms.fits", np.full((SIDE, SIDE), 0.5, np.float32), header(BUNIT="mJy/beam"))
    fits.writeto(tmp_path / "mean.fits", np.zeros((1, 1, SIDE, SIDE), np.float32), header(BMAJ=None))
    found = forced_photometry(path, places, rms_map=tmp_path / "rms.fits", background_map=tmp_path / "mean.fits")
    np.testing.assert_allclose(found["local_rms_mjy_beam"], 0.5)
    np.testing.assert_allclose(found["flux_peak_mjy_beam"], first["flux_peak_mjy_beam"], atol=0.5)
    fits.writeto(tmp_path / "small.fits", np.ones((9, 9), np.float32), header())
    with pytest.raises(InputError, match=r"small\.fits: has 9 x 9 pixels, and its image plain\.fits 256 x 256"):
        forced_photometry(path, places, rms_map=tmp_path / "small.fits")
    # As many pixels of another place; and a map without coordinates, which cannot be told.
    fits.writeto(tmp_path / "elsewhere.fits", np.full((SIDE, SIDE), 5e-4, np.float32), header(CRVAL1=11.0))
    with pytest.raises(InputError, match=r"elsewhere\.fits: its WCS has the middle .* pixels from that of its image"):
        forced_photometry(path, places, rms_map=tmp_path / "elsewhere.fits")
    bare = fits.Header({"BUNIT": "Jy/beam"})
    fits.writeto(tmp_path / "bare.fits", np.full((SIDE, SIDE), 5e-4, np.float32), bare)
    assert forced_photometry(path, places, rms_map=tmp_path / "bare.fits")["reason"].eq("").any()


def test_only_the_pixels_that_are_needed_are_mapped(plain: tuple[Path, pd.DataFrame, pd.DataFrame]) -> None:
    with open_image(plain[0]) as image:
        base: Any = image.pixels
        while getattr(base, "base", None) is not None and not isinstance(base, np.memmap):
            base = base.base
        assert isinstance(base, np.memmap) or "mmap" in type(base).__name__
        assert not image.pixels.flags.owndata


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"BUNIT": "K"}, r"i\.fits: has BUNIT 'K', which is no flux density per beam"),
        ({"BUNIT": None}, r"i\.fits: does not say its unit"),
        ({"BMAJ": None}, r"i\.fits: its header has no beam; add bmaj_arcsec to images\.csv"),
        (
            {"BMAJ": 12.0, "BMIN": 8.0},
            r"a beam of 4\.32e\+04 x 2\.88e\+04 arcsec cannot be that of an image of 256 x 256",
        ),
        ({"BMAJ": 1e-7, "BMIN": 1e-7}, r"a beam of 0\.00036 x 0\.00036 arcsec cannot be"),
        ({"BMIN": 20 / 3600}, r"a beam of 12 x 20 arcsec cannot be"),
        ({"CTYPE1": "LINEAR", "CTYPE2": "LINEAR"}, r"i\.fits: its first two axes are no celestial coordinates"),
    ],
)
def test_a_header_that_cannot_be_used_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    fits.writeto(tmp_path / "i.fits", np.ones((SIDE, SIDE), np.float32), header(**changes))
    with pytest.raises(InputError, match=message), open_image(tmp_path / "i.fits"):
        pass


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        (
            {"ra_deg": 10.0, "dec_deg": -45.0, "radius_deg": 0.1},
            r"its WCS has the middle 7\.06 deg from where images\.csv",
        ),
        ({"bmaj_arcsec": 20.0}, r"its header has bmaj_arcsec 12, but images\.csv 20; correct the one"),
    ],
)
def test_an_image_that_contradicts_its_manifest_is_refused(
    plain: tuple[Path, pd.DataFrame, pd.DataFrame], stated: dict[str, float], message: str
) -> None:
    with pytest.raises(InputError, match=message), open_image(plain[0], stated):
        pass
    right = {"ra_deg": 0.0, "dec_deg": -45.0, "radius_deg": 0.1, "bmaj_arcsec": 12.1, "bmin_arcsec": 8.0}
    with open_image(plain[0], right) as image:
        assert image.bmaj_arcsec == pytest.approx(12.0)


def test_the_manifest_gives_the_beam_that_a_header_lacks(tmp_path: Path) -> None:
    pixels, _ = sky(header())
    fits.writeto(tmp_path / "i.fits", pixels, header(BMAJ=None, BMIN=None, BPA=None))
    with open_image(tmp_path / "i.fits", {"bmaj_arcsec": 12.0, "bmin_arcsec": 8.0, "bpa_deg": 30.0}) as image:
        assert (image.bmaj_arcsec, image.bmin_arcsec, image.bpa_deg) == (12.0, 8.0, 30.0)


def test_damaged_files_are_named(plain: tuple[Path, pd.DataFrame, pd.DataFrame], tmp_path: Path) -> None:
    content = plain[0].read_bytes()
    for name, part, message in (
        ("short.fits", content[:100_000], r"short\.fits: the file ends before its pixels do \(100000 of 265024"),
        ("short.fits.gz", gzip.compress(content)[:50_000], r"short\.fits\.gz: this FITS image cannot be read"),
        ("empty.fits", b"", r"empty\.fits: this FITS image cannot be read"),
        ("text.fits", b"no image at all\n" * 500, r"text\.fits: this FITS image cannot be read"),
    ):
        (tmp_path / name).write_bytes(part)
        with pytest.raises(InputError, match=message):
            forced_photometry(tmp_path / name, plain[1])
    with pytest.raises(InputError, match=r"none\.fits: no such file; deliver the image"):
        forced_photometry(tmp_path / "none.fits", plain[1])
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns([fits.Column("a", "1E", array=[1.0])])]).writeto(
        tmp_path / "table.fits"
    )
    with pytest.raises(InputError, match=r"table\.fits: this FITS file has no image"):
        forced_photometry(tmp_path / "table.fits", plain[1])
    fits.writeto(tmp_path / "nan.fits", np.full((SIDE, SIDE), np.nan, np.float32), header())
    with pytest.raises(InputError, match=r"nan\.fits: no pixel has a value; deliver the image again"):
        forced_photometry(tmp_path / "nan.fits", plain[1])
