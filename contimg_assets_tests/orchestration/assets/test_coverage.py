"""Rms maps through the whole chain: from the epoch's folder to new sources and upper limits."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from contimg_assets.pipeline.staleness import State
from contimg_assets_tests.projects import TestProject


def write_map(file: Path, image: pd.Series, rms_mjy_beam: float) -> None:
    """A map of one value that holds the image's field, a minute of arc a pixel."""
    n = int(2 * image["radius_deg"] * 60) + 10
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---SIN", "DEC--SIN"]
    wcs.wcs.crval = [image["ra_deg"], image["dec_deg"]]
    wcs.wcs.crpix, wcs.wcs.cdelt = [n / 2 + 0.5] * 2, [-1 / 60, 1 / 60]
    header = wcs.to_header()
    header["BUNIT"] = "Jy/beam"
    fits.PrimaryHDU(np.full((n, n), rms_mjy_beam * 1e-3, np.float32), header).writeto(file, overwrite=True)


def deliver_maps(project: TestProject, epoch: str, rms_mjy_beam: float) -> Path:
    folder = project.folder / "incoming" / epoch
    manifest = pd.read_csv(folder / "images.csv", dtype={"image": str})
    for _, image in manifest.iterrows():
        write_map(folder / f"{image['image']}.rms.fits", image, rms_mjy_beam)
    manifest.assign(rms_map=manifest["image"] + ".rms.fits").to_csv(folder / "images.csv", index=False)
    return folder


def limits(project: TestProject, epoch: str) -> pd.DataFrame:
    with project.project.products as database:
        return database.query("SELECT * FROM upper_limits WHERE epoch = :epoch ORDER BY source_id", {"epoch": epoch})


def made(project: TestProject, epoch: str, stage: str) -> State:
    return project.project.assess().set_index(["epoch", "stage"])["state"][epoch, stage]


@pytest.mark.slow
def test_rms_maps_reach_limits_and_new_sources(project: TestProject) -> None:
    first, second, *_ = project.epochs
    project.deliver(first, second)
    assert project.run().complete
    plain = project.rows()
    folder = deliver_maps(project, first, 1000.0)
    assert made(project, first, "raw_detections") == State.STALE
    assert project.run().complete
    rows = project.rows()
    assert len(rows["image_coverage"]) == len(pd.read_csv(folder / "images.csv"))
    # Nothing stands out of so much noise, wherever the catalogs found it.
    assert plain["sources"]["new_significance"].max() > 5 > rows["sources"]["new_significance"].max()
    scale = rows["corrections"].set_index(["epoch", "image"])["flux_mult"]
    of_first = limits(project, first)
    factor = scale.loc[list(zip(of_first["epoch"], of_first["image"], strict=True))].to_numpy()
    in_sigma = of_first["upper_limit_mjy_beam"] / (1000.0 * np.where(np.isnan(factor), 1.0, factor))
    assert len(of_first)
    # The threshold of 5 and what makes a detection nearly certain; less where several images cover the place.
    assert in_sigma.between(4.5, 8.0).all()
    assert in_sigma.median() > 6.0

    runs = len(project.materialized("measurements"))
    for file in folder.glob("*.rms.fits"):
        os.utime(file)
    assert project.run().run_ids == []
    assert made(project, first, "raw_detections") == State.FRESH

    deliver_maps(project, first, 2000.0)
    assert made(project, first, "raw_detections") == State.STALE
    before = limits(project, first)["upper_limit_mjy_beam"]
    assert project.run().complete
    np.testing.assert_allclose(limits(project, first)["upper_limit_mjy_beam"], 2 * before, rtol=1e-6)
    assert project.materialized("measurements")[runs:].count(second) == 0


@pytest.mark.slow
def test_a_bad_map_fails_its_epoch_alone(project: TestProject) -> None:
    first, second, *_ = project.epochs
    project.deliver(first, second)
    folder = deliver_maps(project, first, 1.0)
    next(folder.glob("*.rms.fits")).write_bytes(b"SIMPLE")
    report = project.run()
    assert not report.complete
    failure = project.project.store.failure("raw_detections", first)
    assert failure is not None
    assert "column 'rms_map'" in failure.message
    assert "deliver the rms map again" in failure.message
    assert made(project, second, "products") == State.FRESH
    deliver_maps(project, first, 1.0)
    assert project.run().complete
