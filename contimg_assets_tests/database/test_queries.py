"""Questions and views: each answer against what the survey was made from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from contimg_assets.database import ProductsDatabase
from contimg_assets.errors import InputError, StoreError
from contimg_assets.identity.ids import source_ids
from contimg_assets.schemas.variability import LIGHT_CURVE, PHOTOMETRY, VARIABILITY_STATS
from contimg_assets_tests.database.survey import Survey

# What existing readers select.
PHOTOMETRY_COLUMNS = [
    *("source_id", "ra_deg", "dec_deg", "flux_jy", "flux_err_jy", "peak_jyb", "peak_err_jyb", "normalized_flux_jy"),
    *("normalized_flux_err_jy", "snr", "measured_at", "mjd", "image_path", "mosaic_path", "nvss_flux_mjy"),
]
STATS_COLUMNS = [
    *("source_id", "ra_deg", "dec_deg", "nvss_flux_mjy", "mean_flux_mjy", "std_flux_mjy", "chi2_nu", "sigma_deviation"),
    *("eta_metric", "n_obs", "last_mjd"),
]


def test_light_curve_is_what_was_measured(filled_database: ProductsDatabase, survey: Survey) -> None:
    ids = source_ids(survey.births())
    for index in (0, 7, 29):
        curve = filled_database.light_curve(ids[index])
        assert list(curve.columns) == LIGHT_CURVE.names
        assert curve["epoch"].tolist() == survey.names
        seen = survey.seen[:, index]
        assert (~curve["is_limit"]).tolist() == seen.tolist()
        np.testing.assert_array_equal(curve["flux_peak_corr_mjy_beam"][seen], survey.flux_seen[seen, index])
        assert curve["flux_peak_corr_mjy_beam"][~seen].isna().all()
        # The faintest detections have about ten times the rms at the place, which is 1 mJy/beam.
        assert curve["upper_limit_mjy_beam"][~seen].between(10.0, 13.0).all()
        assert curve["upper_limit_mjy_beam"][seen].isna().all()
        assert len(filled_database.light_curve(ids[index], limits=False)) == seen.sum()


def test_missing_flags_stay_missing(filled_database: ProductsDatabase) -> None:
    table = filled_database.read_table("measurements")
    assert table["is_limit"].dtype == bool
    assert table["corrected"].isna().tolist() == table["is_limit"].tolist()
    assert table["corrected"].dropna().all()


def test_cone_search_is_brute_force(filled_database: ProductsDatabase, survey: Survey) -> None:
    everything = filled_database.cone(0.0, 16.0, 4 * 3600.0)
    assert len(everything) == survey.seen.any(axis=0).sum()
    assert everything["separation_arcsec"].is_monotonic_increasing
    for radius in (0.0, 200.0, 1500.0, 3000.0):
        for ra in (359.9, 0.1):
            found = filled_database.cone(ra, 16.2, radius)
            x = (everything["ra_deg"] - ra + 180) % 360 - 180
            near = np.hypot(x * np.cos(np.radians(16.2)), everything["dec_deg"] - 16.2) * 3600 < radius
            assert abs(len(found) - near.sum()) <= 1
            assert set(found["id"]) <= set(everything["id"])


def test_find_source(filled_database: ProductsDatabase, survey: Survey) -> None:
    ids = source_ids(survey.births())
    place = f"{survey.ra[3]},{survey.dec[3]}"
    assert filled_database.find_source(place) == ids[3] == filled_database.find_source(ids[3].upper())
    assert filled_database.source(ids[3])["n_epochs"] == survey.seen[:, 3].sum()
    with pytest.raises(StoreError, match="no source within 30 arcsec"):
        filled_database.find_source("100,-50")
    with pytest.raises(StoreError, match="no source '0123456789abcdef'"):
        filled_database.light_curve("0123456789abcdef")
    for place in ((360.0, 0, 1), (0, 0, np.inf), (0, 0, np.nan), (0, 0, -1.0)):
        with pytest.raises(InputError, match="RA must be"):
            filled_database.cone(*place)


def test_variables(filled_database: ProductsDatabase) -> None:
    found = filled_database.variables(eta=1.5, v=0.05)
    table = filled_database.read_table("variability").set_index("source_id")
    chosen = table[(table["eta_peak"] >= 1.5) & (table["v_peak"] >= 0.05)]
    assert set(found["source_id"]) == set(chosen.index)
    assert len(found)
    assert found["p_value_peak"].is_monotonic_increasing
    for radius in (np.inf, np.nan, -1.0):
        with pytest.raises(InputError, match="radius"):
            filled_database.cone(10.0, 10.0, radius)
    assert len(filled_database.variables(limit=3)) == 3
    everything = filled_database.variables()
    assert not everything["eta_peak"].is_monotonic_decreasing
    by = ["p_value_peak", "eta_peak", "source_id"]
    pd.testing.assert_frame_equal(everything, everything.sort_values(by, ascending=[True, False, True], kind="stable"))
    assert filled_database.variables(limit=3)["source_id"].tolist() == everything["source_id"][:3].tolist()
    assert filled_database.variables(sample="forced").empty
    with pytest.raises(InputError, match="kind is one of"):
        filled_database.variables(kind="total")


def test_v_and_eta_are_those_of_the_table(filled_database: ProductsDatabase) -> None:
    for kind in ("peak", "int"):
        found = filled_database.v_and_eta(kind)
        table = filled_database.read_table("variability")[[f"v_{kind}", f"eta_{kind}"]]
        assert table.notna().any(axis=None)
        by = [f"v_{kind}", f"eta_{kind}"]
        pd.testing.assert_frame_equal(
            found.sort_values(by, ignore_index=True), table.sort_values(by, ignore_index=True)
        )
    assert filled_database.v_and_eta(sample="forced").empty
    with pytest.raises(InputError, match="sample one of"):
        filled_database.v_and_eta(sample="some")


def test_photometry_view_as_its_readers_ask(filled_database: ProductsDatabase, survey: Survey) -> None:
    source = source_ids(survey.births())[4]
    rows = filled_database.query(
        "SELECT * FROM photometry WHERE source_id = :source ORDER BY measured_at", {"source": source}
    )
    assert list(rows.columns) == PHOTOMETRY_COLUMNS == PHOTOMETRY.names
    seen = survey.seen[:, 4]
    assert len(rows) == seen.sum()
    np.testing.assert_allclose(rows["flux_jy"] * 1000, survey.flux_seen[seen, 4])
    np.testing.assert_allclose(rows["normalized_flux_jy"] * 1000, survey.flux_seen[seen, 4])
    np.testing.assert_allclose(rows["peak_err_jyb"], 0.001)
    # MJD 61065 began at 2026-01-25T00:00:00 UTC.
    start = pd.Timestamp("2026-01-25T00:00:00Z").timestamp()
    np.testing.assert_allclose(rows["measured_at"], start + 86400.0 * np.flatnonzero(seen), atol=1e-3)


def test_variability_stats_view(filled_database: ProductsDatabase, survey: Survey) -> None:
    rows = filled_database.query("SELECT * FROM variability_stats").set_index("source_id")
    assert ["source_id", *rows.columns] == STATS_COLUMNS == VARIABILITY_STATS.names
    index = int(np.argmax(survey.seen.sum(axis=0)))
    row = rows.loc[source_ids(survey.births())[index]]
    flux = survey.flux_seen[survey.seen[:, index], index]
    assert row.mean_flux_mjy == pytest.approx(flux.mean())
    assert row.std_flux_mjy == pytest.approx(flux.std(ddof=1))
    assert row.sigma_deviation == pytest.approx(np.abs(flux - flux.mean()).max() / flux.std(ddof=1))
    weight = 1 / (1 + (0.01 * flux) ** 2)
    mean = (weight * flux).sum() / weight.sum()
    assert row.eta_metric == row.chi2_nu == pytest.approx((weight * (flux - mean) ** 2).sum() / (len(flux) - 1))
    assert row.n_obs == len(flux)
    assert row.last_mjd == 61065 + np.flatnonzero(survey.seen[:, index])[-1]


def test_forced_rows_count_where_there_are_any(database: ProductsDatabase) -> None:
    survey = Survey(n_sources=4, n_epochs=3, detected=1.0)
    last = survey.epoch(2)
    forced = last.measurements.assign(forced=[True, False, False, False], flux_int_corr_mjy=[-1.0, 20.0, 20.0, 20.0])
    database.replace_epochs([*survey.epochs()[:2], replace(last, measurements=forced)])
    source = source_ids(survey.births())[0]
    rows = database.source_variability(source).set_index("sample")
    assert rows["n_int"].to_dict() == {"all": 3, "detections": 2, "forced": 1}
    assert rows["flux_int_min_mjy"]["all"] == -1.0 == rows["flux_int_mean_mjy"]["forced"]
    assert np.isnan(rows["eta_int"]["forced"])
    assert database.query("SELECT n_obs FROM variability_stats WHERE source_id = :s", {"s": source}).n_obs[0] == 3
    assert database.source(source)["n_forced"] == 1
    # Measured at a place, not found there: it does not move the source.
    others = database.source_variability(source_ids(survey.births())[1])
    assert others["sample"].tolist() == ["detections"]
    database.replace_epochs([last])
    assert database.source_variability(source)["sample"].tolist() == ["detections"]
