"""New sources and upper limits: what images covered, and how deep."""

from __future__ import annotations

from dataclasses import replace

import astropy.units as u
import numpy as np
import pandas as pd
import pytest
from astropy.coordinates import Latitude, Longitude
from astropy_healpix import HEALPix

from contimg_assets.catalogs.store import ReferenceCatalog
from contimg_assets.config import Matching, Variability
from contimg_assets.database import EpochProducts, ProductsDatabase
from contimg_assets.database.matching import source_matching
from contimg_assets.identity.ids import source_ids
from contimg_assets.ingest.footprints import coverage_table, read_coverage
from contimg_assets.sky.coverage import Coverage, merged
from contimg_assets_tests.database.conftest import assert_same_rows, dump
from contimg_assets_tests.database.survey import Survey, nvss


def test_a_late_bright_source_is_new(database: ProductsDatabase) -> None:
    survey = Survey(n_sources=6, n_epochs=4, detected=1.0)
    survey.seen[:3, 0] = False  # bright, late: new
    survey.flux_seen[:, 0] = 30.0
    survey.seen[:3, 1] = False  # faint, late: it would not have been seen before
    survey.flux_seen[:, 1] = 5.2
    survey.seen[0, 3] = False  # bright, missed once: finders do that
    survey.flux_seen[:, 3] = 40.0
    database.replace_epochs(survey.epochs())
    ids = source_ids(survey.births())
    candidates = database.new_sources(max_false_chance=1.0).set_index("id")
    assert candidates.index.tolist() == [ids[3], ids[0], ids[1]]
    assert candidates["is_new"].tolist() == [True, True, False]
    # The rms at the place is that of the rows, 1 mJy/beam, not the image's of 1.5.
    assert candidates["new_significance"].tolist() == pytest.approx([40.0, 30.0, 5.2], rel=0.05)
    assert candidates["new_image"].str.startswith(survey.names[0]).any()
    # Two or three epochs more than once by accident is unlikely, once is not.
    assert candidates["false_chance"][:2].tolist() == pytest.approx([0.065, 6e-5], rel=0.5)
    assert candidates["false_chance"].iloc[2] > 0.1
    assert database.new_sources()["id"].tolist() == [ids[0]]
    assert database.new_sources(max_false_chance=0.1)["id"].tolist() == [ids[3], ids[0]]
    assert np.isnan(database.source(ids[2])["new_significance"])
    assert database.new_sources(min_significance=35.0, max_false_chance=1.0)["id"].tolist() == [ids[3]]
    assert database.new_sources(since_mjd=99999.0).empty
    assert "false_chance" in database.new_sources(since_mjd=99999.0)


def test_one_of_many_that_the_finder_often_misses_is_not_new(database: ProductsDatabase) -> None:
    survey = Survey(n_sources=60, n_epochs=6, detected=1.0)
    survey.flux[:20] = survey.flux_seen[:, :20] = 60.0
    survey.seen[:5, 0] = False
    database.replace_epochs(survey.epochs())
    late = source_ids(survey.births())[0]
    assert database.new_sources()["id"].tolist() == [late]
    # Others were there before and after gaps of two to four epochs.
    survey.seen[1:5, 1:3] = survey.seen[1:4, 3] = survey.seen[2:4, 4] = False
    database.rebuild(survey.epochs())
    assert database.new_sources().empty
    (chance,) = database.new_sources(max_false_chance=1.0)["false_chance"]
    assert 0.005 < chance < 0.2


def bright_and_late() -> Survey:
    """A survey whose source 0 appears bright in the last of four epochs."""
    survey = Survey(n_sources=30, n_epochs=4, detected=1.0)
    survey.seen[:3, 0] = False
    survey.flux_seen[:, 0] = survey.flux[0] = 60.0
    return survey


def test_a_source_that_a_catalog_has_is_not_new(database: ProductsDatabase) -> None:
    survey = bright_and_late()
    late = source_ids(survey.births())[0]
    with_it = nvss(survey)
    matching = source_matching([with_it], Matching())
    database.replace_epochs(survey.epochs(), matching=matching)
    assert database.new_sources().empty
    assert database.new_sources(max_false_chance=1.0)["false_chance"].tolist() == [1.0]
    # People know better: it is another source.
    database.decide_match("reject", late, "nvss", "N000", None, "me", matching)
    assert database.new_sources()["id"].tolist() == [late]
    # Or the catalog has a far fainter one there.
    survey.flux[0] = 5.0
    faint = nvss(survey)
    database.rebuild(survey.epochs(), matching=source_matching([faint], Matching()))
    assert database.new_sources()["id"].tolist() == [late]


def test_a_catalog_without_it_is_one_more_image(database: ProductsDatabase) -> None:
    survey = bright_and_late()
    survey.seen[1:3] = False  # one earlier image alone
    without = catalog_of(survey, survey.flux != 60.0)
    database.replace_epochs([survey.epoch(0), survey.epoch(3)])
    (alone,) = database.new_sources(max_false_chance=1.0)["false_chance"]
    database.replace_epochs([], matching=source_matching([without], Matching()))
    (both,) = database.new_sources(max_false_chance=1.0)["false_chance"]
    assert 5e-4 < alone < 0.02
    assert both < 0.2 * alone
    # One that lacks most sources says nothing.
    few = catalog_of(survey, np.arange(30) > 22)
    database.replace_epochs([], matching=source_matching([few], Matching()))
    assert database.new_sources(max_false_chance=1.0)["false_chance"].tolist() == [alone]


def catalog_of(survey: Survey, listed: np.ndarray) -> ReferenceCatalog:
    """A catalog of some of the true sources."""
    rows = {
        "catalog_source_id": [f"N{i:03d}" for i in np.flatnonzero(listed)],
        "ra_deg": survey.ra[listed],
        "dec_deg": survey.dec[listed],
        "flux_mjy": survey.flux[listed],
        "flux_err_mjy": 1.0,
    }
    return ReferenceCatalog("nvss", pd.DataFrame(rows), freq_mhz=1400.0, beam_arcsec=45.0)


def test_integrated_fluxes_do_where_there_are_no_peaks(database: ProductsDatabase) -> None:
    survey = bright_and_late()
    epochs = []
    for epoch in survey.epochs():
        rows = pd.DataFrame(epoch.measurements)
        peaks = [name for name in rows if name.startswith("flux_peak") and "ratio" not in name]
        epochs.append(replace(epoch, measurements=rows.assign(**dict.fromkeys([*peaks, "local_rms_mjy_beam"], np.nan))))
    database.replace_epochs(epochs)
    found = database.new_sources()
    assert found["id"].tolist() == [source_ids(survey.births())[0]]
    # The rms is flux over signal to noise ratio.
    assert found["new_significance"][0] == pytest.approx(60.0, rel=0.05)
    assert found["first_flux_mjy_beam"].tolist() == [60.0]


def test_an_image_that_is_refused_shows_nothing(database: ProductsDatabase) -> None:
    survey = bright_and_late()
    epochs = [
        replace(epoch, corrections=pd.DataFrame(epoch.corrections).assign(trusted=False), measurements=refused(epoch))
        for epoch in survey.epochs()[:3]
    ]
    database.replace_epochs([*epochs, survey.epoch(3)])
    assert database.new_sources(min_significance=0.1, max_false_chance=1.0).empty
    assert not database.read_table("sources")["is_new"].any()
    assert database.query("SELECT count(*) AS n FROM upper_limits")["n"].tolist() == [0]
    # The other way round: what only a refused image shows is not new.
    good, bad = survey.epochs()[:3], survey.epoch(3)
    bad = replace(bad, corrections=pd.DataFrame(bad.corrections).assign(trusted=False), measurements=refused(bad))
    database.rebuild([*good, bad])
    assert database.new_sources().empty


def refused(epoch: EpochProducts) -> pd.DataFrame:
    return pd.DataFrame(epoch.measurements).assign(trusted=False)


def test_no_limit_beside_a_detection(database: ProductsDatabase) -> None:
    """The same object under two names: where the one is detected, the other has no limit."""
    survey = Survey(n_sources=12, n_epochs=3, detected=1.0)
    survey.ra[1], survey.dec[1] = survey.ra[0], survey.dec[0] + 0.3 / 3600
    survey.seen[:, 0] = [True, False, False]
    survey.seen[:, 1] = [False, True, False]
    database.replace_epochs(survey.epochs())
    ids = source_ids(survey.births())
    limits = database.query("SELECT source_id, epoch FROM upper_limits")
    assert set(limits.itertuples(index=False, name=None)) == {(one, survey.names[2]) for one in ids[:2]}
    assert database.new_sources(max_false_chance=1.0).query("false_chance < 1").empty


def test_limits_in_sigma_are_what_they_were(database: ProductsDatabase) -> None:
    survey = Survey(n_sources=30, n_epochs=2, detected=1.0)
    survey.seen[1, :3] = False
    query = "SELECT upper_limit_mjy_beam AS s FROM upper_limits"
    database.replace_epochs(survey.epochs(), Variability(upper_limit_sigma=4.0))
    assert database.query(query)["s"].tolist() == pytest.approx([4.0] * 3, rel=0.03)
    database.replace_epochs(survey.epochs(), Variability(finder_threshold_sigma=6.0))
    assert database.query(query)["s"].tolist() == pytest.approx([6.0 + 1.645] * 3, rel=0.03)
    # Else the threshold is that of the rows, of which the faintest has about ten sigma here.
    database.replace_epochs(survey.epochs())
    lowest = survey.flux_seen[1, 3:].min()
    assert database.query(query)["s"].tolist() == pytest.approx([lowest + 1.645] * 3, rel=0.1)


def test_an_image_without_rows_has_its_own_rms(database: ProductsDatabase) -> None:
    survey = Survey(n_sources=12, n_epochs=2, detected=1.0)
    survey.seen[1] = False
    survey.seen[1, 5] = False
    database.replace_epochs(survey.epochs())
    limits = database.query("SELECT upper_limit_mjy_beam AS s FROM upper_limits")["s"]
    assert limits.tolist() == pytest.approx([1.5 * (5.0 + 1.645)] * 12, rel=0.01)
    assert database.read_table("image_depths")["n_bright"].tolist()[1] == 0


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
    # Faint ones may have been missed for their flux.
    assert sources["new_significance"][far].notna().tolist() == (survey.ra < 180)[far].tolist()
    bright = far & (survey.flux_seen[1] > 15.0)
    assert sources["is_new"][bright].tolist() == (survey.ra < 180)[bright].tolist()
    assert sources["n_limits"][far].tolist() == (survey.ra < 180)[far].astype(int).tolist()
    before = dump(database, ("source_aliases",))
    database.replace_epochs([first])
    assert database.read_table("sources")["new_significance"].notna().all()
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
    limits = database.query("SELECT upper_limit_mjy_beam, dec_deg FROM upper_limits")
    # All rows of the epoch are gone, so that nothing tells the finder's threshold but its default.
    assert limits["upper_limit_mjy_beam"].tolist() == pytest.approx([30.0 * (5.0 + 1.644854)] * len(limits))
    assert (limits["dec_deg"] > survey.centre[1] - 0.05).all()
    before = dump(database)
    database.replace_epochs([survey.epoch(0)])
    assert database.read_table("image_coverage").empty
    database.replace_epochs([survey.epoch(1)])
    database.replace_epochs([epochs[0]], delete=[survey.names[1]])
    assert_same_rows(dump(database), before)


def test_limits_and_new_sources_do_not_depend_on_the_order(database: ProductsDatabase) -> None:
    """Sources are so dense that many have another one within the beam, in some epochs alone."""
    survey = Survey(n_sources=500, n_epochs=4, detected=0.6, n_images=2)
    epochs = survey.epochs()
    database.replace_epochs(epochs)
    without = ("source_aliases",)
    expected, new = dump(database, without), database.new_sources(max_false_chance=1.0)
    missed = (~survey.seen).sum()
    n_limits = int(database.query("SELECT count(*) AS n FROM upper_limits")["n"][0])
    assert 0.8 * missed < n_limits < missed
    assert len(new)
    for order in ((3, 1, 0, 2), (2, 3, 0, 1)):
        database.replace_epochs([], delete=survey.names)
        for number in order:
            # Ids of sources are those of the whole survey: here the fold is not what is tested.
            database.replace_epochs([epochs[number]])
        assert_same_rows(dump(database, without), expected)
        pd.testing.assert_frame_equal(database.new_sources(max_false_chance=1.0), new)
    before = dump(database)
    assert database.replace_epochs(epochs).written == []
    assert_same_rows(dump(database), before)
