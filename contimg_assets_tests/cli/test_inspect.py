"""`contimg inspect`, and what `contimg catalog add` and `remove` say."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from contimg_assets.cli.app import app
from contimg_assets_tests.ingest import build

runner = CliRunner()


def call(*arguments: str, status: int = 0) -> str:
    result = runner.invoke(app, list(arguments), env={"COLUMNS": "300"})
    assert result.exit_code == status, (result.output, result.exception)
    return result.output


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_inspect_of_a_finders_catalog(folder: Path) -> None:
    (folder / "x.txt").write_bytes(build.selavy_text(build.sky(12)))
    told = call("inspect", "x.txt")
    assert "read as detections; written by: selavy; 12 rows" in told
    assert "flux_int_mjy is flux_int [mJy] (unit: the file)" in told
    assert "looked for and not found: " in told
    assert "frame: none stated, taken for ICRS" in told
    assert "galactic as you say, converted to ICRS" in call("inspect", "x.txt", "--frame", "galactic")
    (folder / "contimg.yaml").write_text("ingest:\n  frame: fk4 1950\n")
    assert "FK4 B1950 as you say, converted to ICRS" in call("inspect", "x.txt")


def test_add_says_all_that_it_took_and_remove_takes_it_out(folder: Path) -> None:
    (folder / "n.csv").write_text("NVSS,RAJ2000,DEJ2000\nA,10.5,-3.25\nB,10.6,-95\n")
    told = call("catalog", "add", "NVSS", "n.csv")
    assert "1400 MHz (preset nvss); beam 45 arcsec (preset nvss); position errors 1 arcsec" in told
    assert "note: the preset nvss names columns that the file lacks: e_RAJ2000 for ra_err_arcsec" in told
    assert "1 of 2 rows set aside" in told
    assert "no longer configured" in call("catalog", "remove", "Nvss")
    assert "No reference catalog is configured" in call("catalog", "list")


def test_swapped_columns_are_said_to_be_swapped(folder: Path) -> None:
    """Numbers alone show it where right ascensions are beyond 90 degrees; the images of the survey do elsewhere."""
    header = "component_id,ra_deg,dec_deg,flux_int_mjy\n"
    (folder / "d.csv").write_text(header + "a,-11.0,293.0,5\nb,-11.1,293.1,6\n")
    assert "2 of 2 rows set aside: not allowed: -90 <= dec_deg <= 90; are its columns swapped?" in call(
        "inspect", "d.csv", "--format", "table"
    )
    # One impossible declination is damage.
    (folder / "d.csv").write_text(header + "a,11.0,293.0,5\nb,11.1,16.1,6\nc,11.1,16.2,6\n")
    assert "rows set aside: not allowed: -90 <= dec_deg <= 90\n" in call("inspect", "d.csv", "--format", "table")

    build.epoch_folder(folder, build.csv(build.sky(12)), ra_deg=60.0, dec_deg=16.0)
    (folder / "incoming").mkdir()
    (folder / "e1").rename(folder / "incoming" / "e1")
    (folder / "contimg.yaml").write_text("# ours")
    (folder / "r.csv").write_text("name,ra,dec,flux_mjy\nA,16.1,60.2,3\nB,15.9,59.9,4\n")
    told = call("catalog", "add", "mine", "r.csv", "--freq-mhz", "1400")
    assert "none of its sources lies in the 1 images looked at, and they would with right ascension and decl" in told


def test_a_file_without_rows_is_said_to_have_none(folder: Path) -> None:
    (folder / "x.csv").write_text("NVSS,RAJ2000,DEJ2000,e_RAJ2000,S1.4,e_S1.4,l_MajAxis,MajAxis,f_resFlux\n")
    assert call("inspect", "x.csv", status=2).startswith("error: x.csv: it has no row; look at it")


def test_proper_motions_are_followed_to_the_mean_time_of_the_images(folder: Path) -> None:
    build.epoch_folder(folder, build.csv(build.sky(12)))
    (folder / "incoming").mkdir()
    (folder / "e1").rename(folder / "incoming" / "e1")
    (folder / "contimg.yaml").write_text("{}\n".replace("{}", "# ours"))
    star = "source_id,ra,dec,ra_error,dec_error,pmra,pmdec,ref_epoch\n1,10.0,-30.0,0.1,0.1,1000,0,2016.0\n"
    (folder / "gaia.csv").write_text(star)
    told = call("catalog", "add", "gaia", "gaia.csv", "--freq-mhz", "4.6e8")
    assert "proper motions: shown as of MJD 60000, the mean of your images" in told
    assert "positions_at_mjd: 60000.5" in (folder / "contimg.yaml").read_text()
    assert "no flux density was found" in told
