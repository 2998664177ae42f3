"""Polarized images without catalogs: fluxes at the sources of I, of either sign, are measured in the images."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits

from contimg_assets.config import Config
from contimg_assets.errors import InputError
from contimg_assets.ingest.epoch import read_epoch
from contimg_assets.pipeline.polarized_images import with_polarized_images
from contimg_assets.simulate import SurveyParameters, SurveyTruth, simulate_survey
from contimg_assets_tests.projects import TestProject, make_project

PARAMETERS = SurveyParameters(
    n_epochs=2, images_per_epoch=2, n_sources=220, n_transients=0, image_radius_deg=0.9, image_spacing_deg=1.5,
    missing_image_fraction=0, stokes=("V",), polarized_fraction=0.4, n_only_polarized=0, polarized_catalogs=False,
    seed=9,
)  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> TestProject:
    survey = tmp_path_factory.mktemp("survey")
    simulate_survey(survey, PARAMETERS, images=True)
    made = make_project(tmp_path_factory.mktemp("project") / "project", survey)
    made.deliver()
    assert made.run().complete
    return made


def test_fractions_are_the_true_ones_with_errors_that_hold(project: TestProject) -> None:
    truth = SurveyTruth.read(project.survey / "truth")
    rows = project.rows()
    measured = rows["stokes_measurements"].query("status == 'at source' and forced")
    assert (measured["stokes"] == "V").all()
    detected = rows["measurements"].query("not is_limit and duplicate_of.isna()")
    # Every detection in I has its flux in V, but for a few places at edges and in islands.
    assert measured["i_measurement_id"].nunique() > 0.9 * len(detected)
    alone = truth.measurements[truth.measurements["second_source"].isna()].merge(truth.sources, on="true_source")
    alone = alone[(alone["size_arcsec"] == 0) & alone["companion"].isna()]
    joined = measured.merge(alone, left_on="i_measurement_id", right_on="measurement_id", suffixes=("", "_true"))
    true = truth.polarization.set_index("true_source")["fraction"].reindex(joined["true_source"]).fillna(0.0).to_numpy()
    pulls = (joined["fraction"].to_numpy() - true) / joined["fraction_err"].to_numpy()
    assert len(pulls) > 100
    assert abs(np.median(pulls)) < 0.3
    assert np.std(pulls) == pytest.approx(1.0, abs=0.25)
    # Of either sign, and those that are not polarized scatter about nothing.
    strong = np.abs(true) * joined["flux_mjy"].to_numpy() > 60
    assert strong.sum() > 5
    assert (np.sign(joined["fraction"].to_numpy()) == np.sign(true))[strong].all()
    nothing = joined[true == 0]["significance"].to_numpy()
    assert abs(np.median(nothing)) < 0.4
    assert (nothing < 0).mean() == pytest.approx(0.5, abs=0.15)


def test_only_what_is_polarized_is_listed(project: TestProject) -> None:
    truth = SurveyTruth.read(project.survey / "truth").polarization
    with project.project.products as database:
        listed = database.polarized_sources()
    assert 3 < len(listed) < len(truth)
    assert (listed["max_significance"].abs() >= 5).all()
    assert (listed["n_detections"] >= 1).all()


def test_fluxes_do_not_depend_on_overlaps_and_i_is_as_without(project: TestProject, tmp_path: Path) -> None:
    plain = PARAMETERS.model_copy(update={"stokes": ()})
    simulate_survey(tmp_path / "survey", plain)
    alone = make_project(tmp_path / "project", tmp_path / "survey")
    alone.deliver(alone.epochs[0])
    found = read_epoch(alone.folder / "incoming" / alone.epochs[0], alone.epochs[0], alone.project.config)
    with_v = project.project.store.read("raw_detections", project.epochs[0], "detections")
    pd.testing.assert_frame_equal(found.detections.drop(columns="line"), with_v.drop(columns="line"))


def copied_epoch(project: TestProject, tmp_path: Path) -> tuple[Path, Path, Path]:
    """A copy of the first epoch's delivery, and its two images in V."""
    folder = tmp_path / project.epochs[0]
    shutil.copytree(project.folder / "incoming" / folder.name, folder)
    first, second = sorted(folder.glob("*_V.fits"))
    return folder, first, second


def test_an_image_that_cannot_be_used_is_told_and_has_no_rows(
    project: TestProject, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, bad, good = copied_epoch(project, tmp_path)
    bad.write_bytes(b"nothing")
    config = Config(root=tmp_path)
    found = with_polarized_images(read_epoch(folder, folder.name, config), folder, folder.name, config)
    assert set(found.other_detections["image"]) == {good.stem}
    assert bad.stem in caplog.text
    counts = found.other_images.set_index("image")["n_rows"]
    assert counts[bad.stem] == 0
    assert counts[good.stem] == len(found.other_detections) > 20


def test_maps_of_a_polarized_image_are_used_and_a_wrong_one_is_told(
    project: TestProject, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, bad, good = copied_epoch(project, tmp_path)
    pixels, header = fits.getdata(good, header=True)
    fits.writeto(folder / "rms.fits", np.full(pixels.shape, 0.0042, "float32"), header)
    fits.writeto(folder / "small.fits", np.zeros((9, 9), "float32"), header)
    images = pd.read_csv(folder / "images.csv", dtype=str)
    named = images["image"].map({bad.stem: "small.fits", good.stem: np.nan})
    images.assign(background_map=named, rms_map=images["image"].map({good.stem: "rms.fits"})).to_csv(
        folder / "images.csv", index=False
    )
    config = Config(root=tmp_path)
    found = with_polarized_images(read_epoch(folder, folder.name, config), folder, folder.name, config)
    assert set(found.other_detections["image"]) == {good.stem}
    np.testing.assert_allclose(found.other_detections["local_rms_mjy_beam"], 4.2, rtol=1e-5)
    assert "small.fits: has 9 x 9 pixels" in caplog.text


def test_without_catalog_and_image_a_row_of_the_manifest_is_refused(project: TestProject, tmp_path: Path) -> None:
    folder = tmp_path / "e1"
    shutil.copytree(project.folder / "incoming" / project.epochs[0], folder)
    images = pd.read_csv(folder / "images.csv", dtype=str)
    images.loc[images["stokes"] == "V", "path"] = np.nan
    images.to_csv(folder / "images.csv", index=False)
    with pytest.raises(InputError, match="column 'catalogue' is empty"):
        read_epoch(folder, "e1", Config(root=tmp_path))
