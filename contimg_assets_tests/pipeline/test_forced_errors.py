"""Whether errors of forced fluxes hold is seen at constant sources: they do on simulated images, and not by a map that
is wrong and believed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits

from contimg_assets.orchestration.automation.checks import errors_hold
from contimg_assets.photometry import noise
from contimg_assets.pipeline.forced_errors import constant_fluxes, measured_factor
from contimg_assets.pipeline.stages import FORCED_STAGE
from contimg_assets.simulate import SurveyParameters, simulate_survey
from contimg_assets_tests.projects import TestProject, make_project

PARAMETERS = SurveyParameters(
    n_epochs=4, images_per_epoch=4, n_sources=900, n_transients=0, flux_min_mjy=55, counts_slope=1.4, faint_per_deg2=0,
    image_radius_deg=0.9, image_spacing_deg=1.7, missing_image_fraction=0.0, seed=3,
)  # fmt: skip


def write_maps(incoming: Path, factor: float) -> None:
    """Rms maps that say this many times the true noise, named in the manifests."""
    for manifest in incoming.glob("*/images.csv"):
        images = pd.read_csv(manifest)
        for image in images.itertuples():
            with fits.open(manifest.parent / image.path) as hdus:
                side = hdus[0].data.shape[-1]
                y, x = np.indices((side, side)) - side // 2
                edge = np.hypot(x, y) * abs(hdus[0].header["CDELT1"]) / PARAMETERS.image_radius_deg
                rms = image.rms_mjy_beam * (1.0 + (PARAMETERS.rms_edge_factor - 1.0) * edge**2)
                hdus[0].data = (factor * rms / 1000.0).astype(np.float32)[None, None]
                hdus.writeto(manifest.parent / f"{image.image}_rms.fits")
        images.assign(rms_map=images["image"] + "_rms.fits").to_csv(manifest, index=False)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> TestProject:
    folder = tmp_path_factory.mktemp("survey")
    simulate_survey(folder, PARAMETERS, images=True)
    write_maps(folder / "incoming", 0.8)
    made = make_project(tmp_path_factory.mktemp("project") / "project", folder)
    made.deliver()
    assert made.run().complete
    return made


@pytest.mark.slow
def test_errors_hold_though_the_noise_is_25_percent_above_the_rms_maps(project: TestProject) -> None:
    """The correlation of the noise is measured on the pixels, and puts a map right that is wrong all over."""
    result = errors_hold(project.project)
    assert result.passed
    assert result.metadata["fluxes"].value > 500
    assert 0.9 < result.metadata["scatter over errors"].value < 1.1
    assert "![constant sources](data:image/svg+xml;base64," in str(result.metadata["pictures"].value)


@pytest.mark.slow
def test_fluxes_of_constants_are_in_no_light_curve(project: TestProject) -> None:
    store = project.project.store
    constants = pd.concat([store.read(FORCED_STAGE.name, epoch, "forced_constants") for epoch in project.epochs])
    assert len(constants) > 500
    assert (constants["reason"] == "").mean() > 0.9
    forced = project.rows()["forced_fluxes"]
    for epoch in project.epochs:
        here = set(store.read(FORCED_STAGE.name, epoch, "forced_constants")["position"])
        assert not here & set(forced.loc[forced["epoch"] == epoch, "position"])


@pytest.mark.slow
def test_a_map_that_is_wrong_and_believed_fails_the_check(
    project: TestProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on images with too little noise to measure its correlation on."""
    monkeypatch.setattr(noise, "_LEAST_BEAMS", np.inf)
    for image in (project.folder / "incoming").glob("*/*_tile???.fits"):
        os.utime(image, ns=(0, image.stat().st_mtime_ns + 1_000_000))
    assert project.run().complete
    constants = constant_fluxes(project.project.store, project.project.products)
    assert measured_factor(constants).factor == pytest.approx(1.27, abs=0.08)
    result = errors_hold(project.project)
    assert not result.passed
    assert "too small" in str(result.description)
