"""What images cover: rms maps on HEALPix cells, footprints as their cells, and what is wrong with either."""

from __future__ import annotations

from pathlib import Path

import astropy.units as u
import numpy as np
import pandas as pd
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

from contimg_assets.config import Config
from contimg_assets.errors import InputError
from contimg_assets.ingest import rms_maps
from contimg_assets.ingest.epoch import EpochDetections, read_epoch
from contimg_assets.ingest.footprints import moc_as_text, read_coverage
from contimg_assets.sky.cells import healpix_29
from contimg_assets.sky.coverage import Coverage
from contimg_assets_tests.ingest.build import csv, sky, write_manifest

RA, DEC = 10.0, -30.0


def header(width: int = 240, height: int = 200, pixel_deg: float = 0.01, frame: str = "icrs") -> fits.Header:
    """A field about (RA, DEC), across RA 0 for a RA of 0."""
    wcs = WCS(naxis=2)
    kind = ("GLON-SIN", "GLAT-SIN") if frame == "galactic" else ("RA---SIN", "DEC--SIN")
    place = SkyCoord(RA * u.deg, DEC * u.deg).transform_to(frame)
    wcs.wcs.ctype = kind
    wcs.wcs.crval = [place.spherical.lon.deg, place.spherical.lat.deg]
    wcs.wcs.crpix = [width / 2 + 0.5, height / 2 + 0.5]
    wcs.wcs.cdelt = [-pixel_deg, pixel_deg]
    result = wcs.to_header()
    result["BUNIT"] = "Jy/beam"
    return result


def ramp(width: int = 240, height: int = 200) -> np.ndarray:
    """Noise in Jy/beam that grows from column to column."""
    return np.tile(1e-4 * (1 + np.arange(width) / width), (height, 1)).astype(np.float32)


def write(path: Path, pixels: np.ndarray, head: fits.Header, **changes: object) -> Path:
    for key, value in changes.items():
        head[key] = value
    fits.PrimaryHDU(pixels, head).writeto(path, overwrite=True)
    return path


def at(found: Coverage, ra: object, dec: object) -> tuple[np.ndarray, np.ndarray]:
    return found.at(healpix_29(np.atleast_1d(ra), np.atleast_1d(dec)))


@pytest.mark.parametrize("frame", ["icrs", "fk5", "galactic"])
@pytest.mark.parametrize("naxis", [2, 4])
def test_a_map_says_the_rms_at_a_place(tmp_path: Path, frame: str, naxis: int) -> None:
    head, pixels = header(frame=frame), ramp()
    path = write(tmp_path / "rms.fits", pixels.reshape((1,) * (naxis - 2) + pixels.shape), head.copy())
    found = read_coverage(path, None, "images.csv: line 2")
    assert found is not None
    rng = np.random.default_rng(0)
    x, y = rng.uniform(8, 231, 500), rng.uniform(8, 191, 500)
    place = WCS(head).pixel_to_world(x, y).icrs
    covered, rms = at(found, place.ra.deg, place.dec.deg)
    assert covered.all()
    # A cell is three pixels wide, over which the ramp rises by 2 per cent.
    np.testing.assert_allclose(rms, 0.1 * (1 + x / 240), rtol=0.02)
    outside = WCS(head).pixel_to_world(np.array([-4.0, 243.0, 120.0]), np.array([100.0, 100.0, 203.0])).icrs
    assert not at(found, outside.ra.deg, outside.dec.deg)[0].any()


def test_pixels_without_a_value_are_not_covered(tmp_path: Path) -> None:
    head, pixels = header(), ramp()
    pixels[:, :100] = np.nan
    pixels[:50] = 0.0
    pixels[150:] = -1.0
    found = read_coverage(write(tmp_path / "rms.fits", pixels, head), None, "here")
    assert found is not None
    y, x = np.mgrid[0:200:3, 0:240:3]
    place = WCS(head).pixel_to_world(x.ravel(), y.ravel()).icrs
    covered, rms = at(found, place.ra.deg, place.dec.deg)
    expected = ((x >= 100) & (y >= 50) & (y < 150)).ravel()
    # The edge is as sharp as the samples are dense: within a pixel of 36 arcsec.
    near = ((abs(x - 99.5) < 1.5) | (abs(y - 49.5) < 1.5) | (abs(y - 149.5) < 1.5)).ravel()
    assert (covered == expected)[~near].all()
    assert np.isfinite(rms[covered]).all()
    assert np.isnan(rms[~covered]).all()


@pytest.mark.parametrize(("unit", "scale"), [("mJy/beam", 1e3), ("JY/BEAM", 1.0), ("uJy beam-1", 1e6), ("Jy", 1.0)])
def test_units_by_bunit(tmp_path: Path, unit: str, scale: float) -> None:
    path = write(tmp_path / "rms.fits", ramp() * scale, header(), BUNIT=unit)
    found = read_coverage(path, None, "here")
    assert found is not None
    assert at(found, RA, DEC)[1] == pytest.approx(0.15, rel=0.02)


def test_scaled_and_compressed_maps_and_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head, pixels = header(), ramp()
    plain = read_coverage(write(tmp_path / "rms.fits", pixels, head), None, "here")
    exact: dict = {"compression_type": "GZIP_2", "quantize_level": 0.0}
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(pixels, head, **exact)]).writeto(tmp_path / "c.fits")
    monkeypatch.setattr(rms_maps, "_PIXELS_AT_ONCE", 240 * 7)
    monkeypatch.setattr(rms_maps, "_CELLS_AT_ONCE", 500)
    for path in (tmp_path / "rms.fits", tmp_path / "c.fits"):
        again = read_coverage(path, None, "here")
        assert plain is not None
        assert again is not None
        for name in ("start", "end", "rms_mjy_beam"):
            np.testing.assert_array_equal(getattr(again, name), getattr(plain, name))
    small = fits.PrimaryHDU(np.full((200, 240), 3, np.int16), head)
    small.header["BSCALE"] = 1e-4
    small.writeto(tmp_path / "scaled.fits")
    scaled = read_coverage(tmp_path / "scaled.fits", None, "here")
    assert scaled is not None
    assert at(scaled, RA, DEC)[1] == pytest.approx(0.3)


def test_a_map_of_the_whole_sky_is_sampled_in_coarser_cells(tmp_path: Path) -> None:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---CAR", "DEC--CAR"]
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = [180.0, 0.0], [180.5, 90.5], [-1.0, 1.0]
    head = wcs.to_header()
    head["BUNIT"] = "mJy/beam"
    found = read_coverage(write(tmp_path / "sky.fits", np.full((180, 360), 2.0), head), None, "here")
    assert found is not None
    rng = np.random.default_rng(1)
    covered, rms = at(found, rng.uniform(0, 360, 1000), np.degrees(np.arcsin(rng.uniform(-1, 1, 1000))))
    assert covered.mean() > 0.99
    assert set(rms[covered]) == {2.0}


MOC = "6/1-3 7/22"


def test_a_footprint_in_every_notation_is_its_cells(tmp_path: Path) -> None:
    mocpy = pytest.importorskip("mocpy", reason="mocpy is not installed; pip install 'contimg-assets[footprints]'")
    moc = mocpy.MOC.from_string(MOC)
    (tmp_path / "m.txt").write_text(MOC)
    moc.save(tmp_path / "m.fits", "fits")
    moc.save(tmp_path / "m.json", "json")
    ways = [MOC, '{"6": [1, 2, 3], "7": [22]}', *(tmp_path / f"m.{kind}" for kind in ("txt", "fits", "json"))]
    for way in ways:
        found = read_coverage(None, way, "here")
        assert found is not None
        assert list(zip(found.start, found.end, strict=True)) == [tuple(r) for r in moc.to_depth29_ranges.tolist()]
        assert np.isnan(found.rms_mjy_beam).all()
        assert moc_as_text(way, "here") == MOC


def test_a_footprint_limits_a_map(tmp_path: Path) -> None:
    mocpy = pytest.importorskip("mocpy", reason="mocpy is not installed; pip install 'contimg-assets[footprints]'")
    moc = mocpy.MOC.from_cone(RA * u.deg, DEC * u.deg, radius=3 * u.deg, max_depth=10)
    west = moc.intersection(mocpy.MOC.from_cone((RA - 1) * u.deg, DEC * u.deg, radius=1.5 * u.deg, max_depth=10))
    path = write(tmp_path / "rms.fits", ramp(), header())
    found = read_coverage(path, west.to_string(), "here")
    assert found is not None
    rng = np.random.default_rng(2)
    ra, dec = RA + rng.uniform(-3, 3, 2000), DEC + rng.uniform(-3, 3, 2000)
    covered, rms = at(found, ra, dec)
    assert (covered == west.contains_lonlat(ra * u.deg, dec * u.deg)).all()
    alone = read_coverage(path, None, "here")
    assert alone is not None
    mapped, value = at(alone, ra, dec)
    # Outside of the map the footprint still covers, with the image's own rms.
    np.testing.assert_array_equal(rms, np.where(covered & mapped, value, np.nan))
    assert (covered & ~mapped).any()


def deliver(folder: Path, **columns: object) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "field_a.csv").write_bytes(csv(sky()))
    return write_manifest(folder, [columns])


def read(folder: Path) -> EpochDetections:
    return read_epoch(folder, "e1", Config(root=folder.parent))


def test_an_epoch_keeps_what_its_images_cover(tmp_path: Path) -> None:
    pytest.importorskip("mocpy", reason="mocpy is not installed; pip install 'contimg-assets[footprints]'")
    folder = deliver(tmp_path / "e1", rms_map="rms.fits", footprint=MOC)
    write(folder / "rms.fits", ramp(), header())
    (folder / "b.csv").write_bytes(csv(sky(seed=2)))
    write_manifest(folder, [{"rms_map": "rms.fits"}, {"image": "b", "catalogue": "b.csv", "footprint": MOC}])
    found = read(folder)
    assert found.unlisted_files == ()
    assert found.images.set_index("image")["footprint"].to_dict()["b"] == MOC
    assert found.images["footprint"].isna().sum() == 1
    by_image = found.coverage.groupby("image")["rms_mjy_beam"]
    assert by_image.count().to_dict()["b"] == 0
    assert by_image.median()["field_a"] == pytest.approx(0.15, rel=0.05)
    bare = read(deliver(tmp_path / "e2"))
    assert bare.coverage.empty
    # A map at a URL is for forced fluxes: nobody waits for a server to know what an image covers.
    assert read(deliver(tmp_path / "e3", rms_map="https://example.org/rms.fits")).coverage.empty
    pd.testing.assert_frame_equal(
        bare.detections, found.detections[found.detections["image"] == "field_a"].reset_index(drop=True)
    )


@pytest.mark.parametrize(
    ("columns", "match"),
    [
        ({"rms_map": "no.fits"}, r"line 2, column 'rms_map' names 'no.fits', which is not in .*; deliver the file"),
        ({"rms_map": "../rms.fits"}, r"line 2, column 'rms_map' names '../rms.fits', which lies outside"),
        ({"rms_map": "field_a.csv"}, r"line 2, column 'rms_map': .*field_a.csv cannot be read .*; deliver the rms map"),
        ({"rms_map": "nothing.fits"}, r"column 'rms_map': .*nothing.fits has no pixel above 0; name the FITS image"),
        ({"rms_map": "unitless.fits"}, r"column 'rms_map': .*unitless.fits does not say its unit; set BUNIT"),
        ({"rms_map": "kelvin.fits"}, r"column 'rms_map': .*kelvin.fits has BUNIT 'K', .*; correct it"),
        ({"rms_map": "nowhere.fits"}, r"column 'rms_map': .*nowhere.fits has no celestial coordinates; write the map"),
        ({"rms_map": "cut.fits"}, r"column 'rms_map': .*cut.fits cannot be read .*; deliver the rms map again"),
        ({"rms_map": "table.fits"}, r"column 'rms_map': .*table.fits has no image; name the FITS image"),
        ({"footprint": "no.moc"}, r"line 2, column 'footprint' names 'no.moc', which is not in"),
        ({"footprint": "field_a.csv"}, r"column 'footprint': .*field_a.csv is not a MOC .*; deliver one as FITS"),
        ({"footprint": "6/1-3 7/x"}, r"column 'footprint': the text is not a MOC .* or leave the column empty"),
        ({"footprint": "rms.fits"}, r"column 'footprint': .*rms.fits is not a MOC"),
        ({"footprint": "6/"}, r"column 'footprint': the MOC is empty; deliver one that covers something"),
        ({"footprint": "6/" + "1 " * 60_000}, r"column 'footprint': a MOC of 120\d+ characters; put it into a file"),
    ],
    ids=lambda value: next(iter(value.values()))[:20] if isinstance(value, dict) else "",
)
def test_what_cannot_be_used_is_named_with_the_cure(tmp_path: Path, columns: dict, match: str) -> None:
    if "footprint" in columns:
        pytest.importorskip("mocpy", reason="mocpy is not installed; pip install 'contimg-assets[footprints]'")
    folder = deliver(tmp_path / "e1", **columns)
    write(folder / "rms.fits", ramp(), header())
    write(tmp_path / "rms.fits", ramp(), header())
    write(folder / "nothing.fits", np.full((200, 240), np.nan), header())
    write(folder / "kelvin.fits", ramp(), header(), BUNIT="K")
    write(folder / "unitless.fits", ramp(), header(), BUNIT="")
    write(folder / "nowhere.fits", ramp(), fits.Header({"BUNIT": "Jy/beam"}))
    (folder / "cut.fits").write_bytes((folder / "rms.fits").read_bytes()[:9000])
    fits.BinTableHDU.from_columns([fits.Column("a", "E", array=[1.0])]).writeto(folder / "table.fits")
    with pytest.raises(InputError, match=match):
        read(folder)
