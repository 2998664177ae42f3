"""`contimg cutout` on a survey with images: files that are written, places that are right, and what cannot be cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from typer.testing import CliRunner

from contimg_assets.cli.app import app
from contimg_assets.pipeline.cutouts import SourceCutouts, source_cutouts
from contimg_assets.simulate import SurveyParameters, SurveyTruth, simulate_survey
from contimg_assets_tests.projects import TestProject, make_project

PARAMETERS = SurveyParameters(
    n_epochs=3, images_per_epoch=1, n_sources=150, n_transients=4, transient_flux_mjy=(150, 500), image_radius_deg=1.2,
    offset_sigma_arcsec=2.5, flux_scale_sigma=0.2, missing_image_fraction=0.0, seed=8,
)  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> TestProject:
    survey = tmp_path_factory.mktemp("survey")
    simulate_survey(survey, PARAMETERS, images=True)
    made = make_project(tmp_path_factory.mktemp("cutouts") / "project", survey)
    made.deliver()
    assert made.run().complete
    return made


def found_of(project: TestProject, row: pd.Series, **options: object) -> SourceCutouts:
    opened = project.project
    source_id = opened.products.find_source(f"{row['ra_deg']:.6f},{row['dec_deg']:.6f}", 30.0)
    return source_cutouts(opened.config, opened.products, source_id, **options)


def bright(project: TestProject) -> pd.Series:
    """A constant point source without neighbors that all epochs detect."""
    sources = SurveyTruth.read(project.survey / "truth").sources
    alone = sources["companion"].isna() & (sources["source_class"] == "constant") & (sources["size_arcsec"] == 0)
    return sources[alone & (sources["flux_mjy"] > 100)].iloc[0]


def test_forced_fluxes_are_where_the_corrected_source_is(project: TestProject) -> None:
    truth = bright(project)
    found = found_of(project, truth)
    assert [one.epoch for one in found.cutouts] == project.epochs
    assert found.left_out == ()
    for one in found.cutouts:
        assert one.cutout.flux["reason"] == ""
        # The scale of an image is known to a few percent.
        error = np.hypot(one.forced_err_mjy_beam, 0.08 * truth["flux_mjy"])
        assert abs(one.forced_mjy_beam - truth["flux_mjy"]) < 3.5 * error
        assert abs(one.detected_mjy_beam - truth["flux_mjy"]) < 3.5 * error
        y, x = np.unravel_index(np.nanargmax(one.cutout.image.pixels), one.cutout.image.pixels.shape)
        at = one.cutout.image.to_pixels([one.cutout.ra_deg], [one.cutout.dec_deg])
        assert np.hypot(x - at[0][0], y - at[1][0]) < 1.5


def test_a_transient_is_not_there_before_it_begins(project: TestProject) -> None:
    truth = SurveyTruth.read(project.survey / "truth")
    first = truth.sources[truth.sources["source_class"] == "transient"].iloc[0]
    curve = truth.light_curves[truth.light_curves["true_source"] == first["true_source"]].set_index("epoch")
    found = found_of(project, first)
    assert any(np.isnan(one.detected_mjy_beam) for one in found.cutouts)
    for one in found.cutouts:
        true = curve["flux_mjy"][one.epoch]
        assert abs(one.forced_mjy_beam - true) < 4 * np.hypot(one.forced_err_mjy_beam, 0.08 * true)


def test_fluxes_are_those_of_the_stage(project: TestProject) -> None:
    """Where the stage has measured a source, a cutout has the same flux: there is one rule."""
    with project.project.products as database:
        rows = database.query("SELECT * FROM forced_photometry WHERE reason = '' ORDER BY source_id, epoch")
        raw = database.query("SELECT * FROM forced_fluxes").set_index(["epoch", "position"])
    # Those with neighbors above all: what is fitted along is the same too.
    chosen = rows.sort_values("n_neighbors", ascending=False, kind="stable").groupby("epoch").head(8)
    assert (chosen["n_neighbors"] > 0).any()
    assert len(chosen) > 15
    for row in chosen.itertuples():
        opened = project.project
        (one,) = source_cutouts(opened.config, opened.products, row.source_id, epochs=[row.epoch]).cutouts
        assert one.cutout.flux["n_neighbors"] == row.n_neighbors
        assert one.forced_mjy_beam == pytest.approx(row.flux_peak_corr_mjy_beam, rel=1e-9)
        assert one.forced_err_mjy_beam == pytest.approx(row.flux_peak_err_corr_mjy_beam, rel=1e-9)
        measured = raw.loc[(row.epoch, row.source_id), "flux_peak_mjy_beam"]
        assert one.cutout.header()["FLUX"] == pytest.approx(measured, rel=1e-9)


def test_the_command_writes_files(project: TestProject, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(project.folder)
    truth = bright(project)
    where = f"{truth['ra_deg']:.6f},{truth['dec_deg']:.6f}"
    result = CliRunner().invoke(app, ["cutout", where, "--size", "600", "--out", str(tmp_path)], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    (folder,) = tmp_path.iterdir()
    assert (folder / f"{folder.name}.png").read_bytes().startswith(b"\x89PNG")
    files = sorted(folder.glob("*.fits"))
    assert [file.name.split("_")[0] for file in files] == project.epochs
    with fits.open(files[0]) as hdus:
        header, pixels = hdus[0].header, hdus[0].data
    assert header["BUNIT"] == "mJy/beam"
    assert header["OBJECT"] == folder.name
    assert header["BMAJ"] * 3600 == pytest.approx(PARAMETERS.bmaj_arcsec)
    assert pixels.shape == (54, 54)
    x, y = WCS(header).world_to_pixel_values(header["RA_POS"], header["DEC_POS"])
    assert pixels[round(float(y)), round(float(x))] == pytest.approx(header["FLUX"], rel=0.25)
    one = CliRunner().invoke(app, ["cutout", where, "--epochs", project.epochs[1], "--out", str(tmp_path / "one")])
    assert one.exit_code == 0, one.output
    assert len(list((tmp_path / "one" / folder.name).glob("*.fits"))) == 1


def test_the_finders_map_of_rms_is_used_and_one_with_other_pixels_is_said(project: TestProject) -> None:
    truth, epoch = bright(project), project.epochs[0]
    folder = project.folder / "incoming" / epoch
    manifest = folder / "images.csv"
    content, (image,) = manifest.read_bytes(), folder.glob("*.fits")
    pixels, header = fits.getdata(image, header=True)
    fits.writeto(folder / "rms.map", np.full(pixels.shape, 0.007, "float32"), header)
    fits.writeto(folder / "small.map", np.full((20, 20), 0.007, "float32"), header)
    try:
        found = {}
        for name in ("rms.map", "small.map"):
            pd.read_csv(manifest).assign(rms_map=name).to_csv(manifest, index=False)
            found[name] = found_of(project, truth, epochs=[epoch])
    finally:
        manifest.write_bytes(content)
        (folder / "rms.map").unlink()
        (folder / "small.map").unlink()
    (measured,) = found_of(project, truth, epochs=[epoch]).cutouts
    (with_map,) = found["rms.map"].cutouts
    assert with_map.cutout.header()["RMS"] == pytest.approx(7.0)
    assert measured.cutout.header()["RMS"] == pytest.approx(truth_rms(project, epoch), rel=0.1)
    # Errors are those of the pixels, whatever a map says.
    assert with_map.forced_err_mjy_beam == pytest.approx(measured.forced_err_mjy_beam, rel=0.1)
    assert found["small.map"].cutouts == ()
    assert "has 20 x 20 pixels" in found["small.map"].left_out[0]


def truth_rms(project: TestProject, epoch: str) -> float:
    images = SurveyTruth.read(project.survey / "truth").images
    return float(images.loc[images["epoch"] == epoch, "rms_mjy_beam"].iloc[0])


def test_what_cannot_be_cut_is_said(project: TestProject, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(project.folder)
    truth = bright(project)
    where = f"{truth['ra_deg']:.6f},{truth['dec_deg']:.6f}"

    def refused(*options: str) -> str:
        result = CliRunner().invoke(app, ["cutout", where, "--out", str(tmp_path), *options])
        assert result.exit_code == 2
        return " ".join(result.output.split())

    assert "no image of epoch 2020-01-01 covers source" in refused("--epochs", "2020-01-01")
    epoch = project.epochs[0]
    (file,) = (project.folder / "incoming" / epoch).glob("*.fits")
    content = file.read_bytes()
    file.write_bytes(content[:100_000])
    try:
        found = found_of(project, truth)
    finally:
        file.write_bytes(content)
    assert [one.epoch for one in found.cutouts] == project.epochs[1:]
    assert "the file ends before its pixels do" in found.left_out[0]
    assert "ask for" in refused("--size", "3")
    assert not list(tmp_path.iterdir())
