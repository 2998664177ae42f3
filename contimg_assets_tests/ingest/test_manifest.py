"""The manifest: what it must have, where its files may be, what the FITS headers add."""

import os
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from contimg_assets.config import Config
from contimg_assets.errors import InputError
from contimg_assets.ingest.epoch import read_epoch
from contimg_assets.ingest.header import image_from_header
from contimg_assets.ingest.manifest import read_manifest
from contimg_assets_tests.ingest import build


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return build.epoch_folder(tmp_path, build.csv(build.sky(5)))


def refused(folder: Path, match: str, *rows: dict, config: Config | None = None) -> None:
    if rows:
        build.write_manifest(folder, list(rows))
    with pytest.raises(InputError, match=match) as caught:
        read_epoch(folder, "e1", config or Config(root=folder))
    assert "images.csv" in str(caught.value)


def test_a_folder_without_manifest(folder: Path) -> None:
    (folder / "images.csv").unlink()
    refused(folder, "needs a manifest")


def test_a_missing_catalogue_is_named_with_its_line(folder: Path) -> None:
    refused(
        folder,
        r"line 3, column 'catalogue' names 'other\.csv', which is not in",
        {},
        {"image": "b", "catalogue": "other.csv"},
    )


@pytest.mark.parametrize("name", ["../secret.csv", "/etc/passwd", "a/../../secret.csv", "link.csv", "link/secret.csv"])
def test_no_path_leaves_the_folder(folder: Path, name: str) -> None:
    outside = folder.parent / "outside"
    outside.mkdir()
    (outside / "secret.csv").write_bytes(build.csv(build.sky(3)))
    (folder.parent / "secret.csv").write_bytes(build.csv(build.sky(3)))
    (folder / "link.csv").symlink_to(outside / "secret.csv")
    (folder / "link").symlink_to(outside)
    (folder / "a").mkdir()
    refused(folder, "lies outside", {"catalogue": name})


def test_a_configured_root_is_allowed(folder: Path) -> None:
    outside = folder.parent / "outside"
    outside.mkdir()
    (outside / "x.csv").write_bytes(build.csv(build.sky(3)))
    build.write_manifest(folder, [{"catalogue": str(outside / "x.csv")}])
    config = Config(root=folder, paths={"image_roots": [str(outside)]})  # type: ignore[arg-type]
    assert len(read_epoch(folder, "e1", config).detections) == 3
    refused(folder, "lies outside")


def test_directories_loops_and_pipes(folder: Path) -> None:
    (folder / "dir.csv").mkdir()
    refused(folder, "not a regular file", {"catalogue": "dir.csv"})
    (folder / "loop.csv").symlink_to(folder / "loop.csv")
    refused(folder, "cannot be opened", {"catalogue": "loop.csv"})
    os.mkfifo(folder / "pipe.csv")
    refused(folder, "not a regular file", {"catalogue": "pipe.csv"})
    refused(folder, "not a file name|not in|cannot be opened", {"catalogue": "x" * 5000})
    refused(folder, "same file|not in", {"catalogue": "images.csv"})


@pytest.mark.parametrize(
    ("column", "value", "match"),
    [
        ("mjd_mid", 2460000.5, "line 2, column 'mjd_mid'.*modified Julian date"),
        ("mjd_mid", "today", "line 2, column 'mjd_mid': 'today' is not a number"),
        ("mjd_mid", np.nan, "column 'mjd_mid' is missing and no FITS image.*add it to the manifest"),
        ("ra_deg", -181.0, "column 'ra_deg'.*not allowed"),
        ("dec_deg", 91.0, "column 'dec_deg'.*not allowed"),
        ("radius_deg", 0.0, "column 'radius_deg'.*not allowed"),
        ("bmaj_arcsec", np.nan, "column 'bmaj_arcsec' is missing and no FITS image.*add it to the manifest"),
        ("bmaj_arcsec", 0.0, "column 'bmaj_arcsec'.*arcsec above 0"),
        ("bmin_arcsec", 30.0, "larger than bmaj_arcsec"),
        ("freq_mhz", "inf", "column 'freq_mhz'.*not allowed"),
        ("rms_mjy_beam", -1.0, "column 'rms_mjy_beam'.*not allowed"),
        ("image", "", "column 'image' is empty"),
        ("image", "a/b", "no image name"),
        ("catalogue", "", "column 'catalogue' is empty"),
    ],
)
def test_bad_values_are_named_with_line_column_and_cure(folder: Path, column: str, value: object, match: str) -> None:
    refused(folder, match, {column: value})


@pytest.mark.parametrize("unit", ["GHz", "mHz", "furlongs"])
def test_a_row_of_units_that_are_not_those_of_the_names_is_refused(folder: Path, unit: str) -> None:
    header, *rows = (folder / "images.csv").read_text().splitlines()
    units = {"freq_mhz": unit, "ra_deg": "deg", "bmaj_arcsec": "arcsec"}
    line = ",".join(f"[{units[name]}]" if name in units else "" for name in header.split(","))
    (folder / "images.csv").write_text("\n".join([header, line, *rows, ""]))
    with pytest.raises(InputError, match=rf"column 'freq_mhz': its unit is stated to be '{unit}', and MHz is needed"):
        read_manifest(folder, Config())
    (folder / "images.csv").write_text("\n".join([header, line.replace(unit, "MHz"), *rows, ""]))
    assert len(read_manifest(folder, Config()).images) == 1


def test_images_and_catalogues_are_listed_once(folder: Path) -> None:
    refused(folder, "line 3: image 'field_a' is listed twice", {}, {"catalogue": "b.csv"})
    refused(folder, "line 3: catalogue 'field_a.csv' is listed twice", {}, {"image": "b"})
    refused(folder, "same file", {}, {"image": "b", "catalogue": "./field_a.csv"})


@pytest.mark.parametrize("content", [b"", b"\n\n", b"image,catalogue\n", b"image,mjd\na,1\n", b"\xff\xfei\0m\0"])
def test_empty_and_foreign_manifests(folder: Path, content: bytes) -> None:
    (folder / "images.csv").write_bytes(content)
    refused(folder, "empty|lists no image|'catalogue' is missing|UTF-16")


def test_a_manifest_may_lack_the_last_lines_end(folder: Path) -> None:
    text = (folder / "images.csv").read_text()
    (folder / "images.csv").write_text(text.rstrip("\n"))
    assert read_epoch(folder, "e1", Config(root=folder)).images["rms_mjy_beam"].tolist() == [0.25]


def test_files_that_are_not_listed_are_told(folder: Path) -> None:
    (folder / "forgotten.csv").write_text("x")
    assert read_manifest(folder, Config(root=folder)).unlisted == ("forgotten.csv",)


def test_rms_that_nothing_gives(folder: Path) -> None:
    (folder / "field_a.csv").write_bytes(build.csv(build.sky(4).drop(columns="local_rms_mjy_beam")))
    refused(folder, "'rms_mjy_beam' is missing.*add it to the manifest", {"rms_mjy_beam": np.nan})


def image_header(**changes: object) -> fits.Header:
    header = fits.Header()
    values = {
        "SIMPLE": True,
        "BITPIX": -32,
        "NAXIS": 4,
        "NAXIS1": 1000,
        "NAXIS2": 500,
        "NAXIS3": 1,
        "NAXIS4": 1,
        "CTYPE1": "RA---SIN",
        "CRVAL1": 0.001,
        "CRPIX1": 500.5,
        "CDELT1": -0.002,
        "CUNIT1": "deg",
        "CTYPE2": "DEC--SIN",
        "CRVAL2": 16.0,
        "CRPIX2": 250.5,
        "CDELT2": 0.002,
        "CUNIT2": "deg",
        "CTYPE3": "FREQ",
        "CRVAL3": 1.405e9,
        "CRPIX3": 1.0,
        "CDELT3": 2.4e8,
        "CTYPE4": "STOKES",
        "CRVAL4": 1.0,
        "CRPIX4": 1.0,
        "CDELT4": 1.0,
        "RADESYS": "ICRS",
        "BMAJ": 58.8 / 3600,
        "BMIN": 33.1 / 3600,
        "BPA": 12.0,
        "DATE-OBS": "2026-01-25T22:00:00",
        "EXPTIME": 300.0,
    }
    for key, value in (values | changes).items():
        if value is not None:
            header[key] = value
    return header


def write_header(path: Path, header: fits.Header) -> Path:
    """A header alone: pixels that are not there cannot be read."""
    path.write_bytes(header.tostring(sep="", endcard=True, padding=True).encode())
    return path


def test_what_the_header_gives(tmp_path: Path) -> None:
    got = image_from_header(write_header(tmp_path / "i.fits", image_header()))
    assert got["bmaj_arcsec"] == pytest.approx(58.8)
    assert got["bmin_arcsec"] == pytest.approx(33.1)
    assert got["bpa_deg"] == 12.0
    assert got["ra_deg"] == pytest.approx(0.001, abs=1e-9)
    assert got["dec_deg"] == pytest.approx(16.0, abs=1e-9)
    assert got["radius_deg"] == pytest.approx(np.hypot(1.0, 0.5), rel=1e-3)
    assert got["freq_mhz"] == pytest.approx(1405.0)
    assert got["mjd_mid"] == pytest.approx(61065.916666667 + 150 / 86400, abs=1e-8)
    history = image_header(BMAJ=None, BMIN=None, BPA=None)
    history["HISTORY"] = "AIPS   CLEAN BMAJ=  1.6333E-02 BMIN=  9.1944E-03 BPA=  -3.50"
    got = image_from_header(write_header(tmp_path / "h.fits", history))
    assert got["bmaj_arcsec"] == pytest.approx(58.8, rel=1e-4)
    assert got["bpa_deg"] == -3.5


def test_the_manifest_comes_before_the_header(folder: Path) -> None:
    write_header(folder / "i.fits", image_header(CRVAL1=10.0, CRVAL2=-30.0))
    empty = dict.fromkeys(
        ("mjd_mid", "ra_deg", "dec_deg", "radius_deg", "bmaj_arcsec", "bmin_arcsec", "bpa_deg"), np.nan
    )
    build.write_manifest(folder, [empty | {"path": "i.fits", "radius_deg": 1.9}])
    image = read_epoch(folder, "e1", Config(root=folder)).images.iloc[0]
    assert image["bmaj_arcsec"] == pytest.approx(58.8)
    assert image["radius_deg"] == 1.9
    assert image["freq_mhz"] == 887.5
    assert image["path"] == "i.fits"


def test_a_header_without_beam_needs_the_manifest(folder: Path) -> None:
    write_header(folder / "i.fits", image_header(BMAJ=None))
    refused(
        folder,
        r"image field_a\): column 'bmaj_arcsec' is missing and the FITS header does not give it; add it to",
        {"path": "i.fits", "bmaj_arcsec": np.nan},
    )


@pytest.mark.parametrize(
    "content", [b"", b"SIMPLE  =", b"not fits at all" * 1000, b"SIMPLE  =                    T" + b" " * 6000]
)
def test_a_damaged_image_is_named(folder: Path, content: bytes) -> None:
    (folder / "i.fits").write_bytes(content)
    build.write_manifest(folder, [{"path": "i.fits", "bmaj_arcsec": np.nan}])
    with pytest.raises(InputError, match=r"i\.fits"):
        read_epoch(folder, "e1", Config(root=folder))


def test_images_keep_their_own_values(folder: Path) -> None:
    (folder / "b.csv").write_bytes(build.csv(build.sky(7, seed=2)))
    build.write_manifest(folder, [{"image": "z"}, {"image": "b", "catalogue": "b.csv", "freq_mhz": 1405.0}])
    epoch = read_epoch(folder, "e1", Config(root=folder))
    assert epoch.images["image"].tolist() == ["b", "z"]
    assert epoch.images["freq_mhz"].tolist() == [1405.0, 887.5]
    assert epoch.images["n_rows"].tolist() == [7, 5]
    assert epoch.detections.groupby("image").size().to_dict() == {"b": 7, "z": 5}


@pytest.mark.parametrize(
    ("keys", "mjd"),
    [
        ({"DATE-OBS": "2026-01-25", "MJD-OBS": 61065.9}, 61065.9 + 150 / 86400),
        ({"DATE-OBS": "2026-01-25", "TIME-OBS": "12:00:00"}, 61065.5 + 150 / 86400),
        ({"DATE-OBS": "2026-01-25", "MJD-AVG": 61065.9}, 61065.9),
        ({"DATE-OBS": None, "MJD-BEG": 61065.8, "MJD-END": 61065.9}, 61065.85),
        ({"DATE-OBS": "2026-01-25T12:00:00", "MJD-OBS": 61000.0}, 61065.5 + 150 / 86400),
    ],
)
def test_the_middle_of_the_exposure_by_other_headers(tmp_path: Path, keys: dict, mjd: float) -> None:
    found = image_from_header(write_header(tmp_path / "i.fits", image_header(**keys)))
    assert found["mjd_mid"] == pytest.approx(mjd, abs=1e-7)
