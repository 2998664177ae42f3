"""New sources and upper limits: what images covered, and how deep."""

from __future__ import annotations

from dataclasses import replace

import astropy.units as u
import numpy as np
import pandas as pd
import pytest
from astropy.coordinates import Latitude, Longitude
from astropy_healpix import HEALPix

from contimg_assets.config import Variability
from contimg_assets.database import EpochProducts, ProductsDatabase
from contimg_assets.identity.ids import source_ids
from contimg_assets.ingest.footprints import coverage_table, read_coverage
from contimg_assets.sky.coverage import Coverage, merged
from contimg_assets_tests.database.conftest import assert_same_rows, dump
from contimg_assets_tests.database.survey import Survey


def test_a_late_bright_source_is_new(database: ProductsDatabase) -> None:
    survey = Survey(n_sources=6, n_epochs=3, detected=1.0)
    survey.seen[:2, 0] = False  # bright, late: new
    survey.flux_seen[:, 0] = 30.0
    survey.seen[:2, 1] = False  # faint, late: it would not have been seen before
    survey.flux_seen[:, 1] = 6.0
    database.replace_epochs(survey.epochs())
    new = database.new_sources()
    ids = source_ids(survey.births())
    assert new["id"].tolist() == [ids[0]]
    assert new["new_significance"][0] == pytest.approx(30.0 / 1.5)
    assert new["new_image"][0].startswith(survey.names[0])
    assert database.source(ids[1])["new_significance"] == pytest.approx(6.0 / 1.5)
    assert np.isnan(database.source(ids[2])["new_significance"])
    assert database.new_sources(min_significance=3.0)["id"].tolist() == [ids[0], ids[1]]
    assert database.new_sources(since_mjd=99999.0).empty


def test_a_footprint_says_what_was_covered(database: ProductsDatabase) -> None:
    mocpy = pytest.importorskip("mocpy", reason="mocpy is not installed; pip install 'contimg-assets[footprints]'")
    survey = Survey(n_sources=20, n_epochs=3, detected=1.0)
    survey.seen[0] = False
    first = survey.epoch(0)
    # The eastern half of the patch; the circle would have covered all of it.
    east = mocpy.MOC.from_polygon(
        Longitude([0, 3, 3, 0] * u.deg), Latitude([13, 13, 19, 19] * u.deg), max_depth=12
    ).to_string()
    changed = delivered(first, read_coverage(None, east, "here"), east)
    database.replace_epochs([changed, survey.epoch(1), survey.epoch(2)])
    assert database.read_table("images")["footprint"].tolist() == [east, None, None]
    ids = source_ids(survey.births())
    sources = database.read_table("sources").set_index("id").loc[ids]
    far = np.abs((survey.ra + 180) % 360 - 180) > 0.02
    assert sources["is_new"][far].tolist() == (survey.ra < 180)[far].tolist()
    assert sources["n_limits"][far].tolist() == (survey.ra < 180)[far].astype(int).tolist()
    before = dump(database, ("source_aliases",))
    database.replace_epochs([first])
    assert database.read_table("sources")["is_new"].all()
    database.replace_epochs([changed])
    assert_same_rows(dump(database, ("source_aliases",)), before)


def delivered(epoch: EpochProducts, coverage: Coverage | None, footprint: str | None = None) -> EpochProducts:
    """The epoch with a coverage of its one image."""
    images = pd.DataFrame(epoch.images).assign(footprint=footprint)
    return replace(epoch, images=images, coverage=coverage_table(list(images["image"]), [coverage]))


def test_an_rms_map_says_how_deep_a_place_was_seen(database: ProductsDatabase) -> None:
    survey = Survey(n_sources=20, n_epochs=3, detected=1.0)
    survey.seen[:2] = False
    # Ten times the image's rms of 1.5 in the north, the south is not covered.
    cells = np.arange(12 << 20, dtype=np.int64)
    lat = HEALPix(1 << 10, order="nested").healpix_to_lonlat(cells)[1].to_value(u.deg)
    cells = cells[(lat > survey.centre[1]) & (lat < survey.centre[1] + 3)]
    north = merged(cells << 38, (cells + 1) << 38, np.full(len(cells), 15.0))
    first = delivered(survey.epoch(0), north)
    corrections = pd.DataFrame(first.corrections).assign(flux_mult=2.0)
    epochs = [replace(first, corrections=corrections), survey.epoch(2)]
    database.replace_epochs(epochs)
    ids = source_ids(survey.births())
    sources = database.read_table("sources").set_index("id").loc[ids]
    clear = np.abs(survey.dec - survey.centre[1]) > 0.05
    is_north = survey.dec > survey.centre[1]
    expected = np.where(is_north, survey.flux_seen[2] / 30.0, np.nan)
    np.testing.assert_allclose(sources["new_significance"][clear], expected[clear], rtol=1e-12)
    limits = database.query("SELECT upper_limit_mjy_beam, dec_deg FROM measurements WHERE is_limit")
    assert set(limits["upper_limit_mjy_beam"]) == {30.0 * Variability().upper_limit_sigma}
    assert (limits["dec_deg"] > survey.centre[1] - 0.05).all()
    before = dump(database)
    database.replace_epochs([survey.epoch(0)])
    assert database.read_table("image_coverage").empty
    database.replace_epochs([survey.epoch(1)])
    database.replace_epochs([epochs[0]], delete=[survey.names[1]])
    assert_same_rows(dump(database), before)
