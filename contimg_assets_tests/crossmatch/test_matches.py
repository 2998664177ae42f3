"""The table of candidates: signs, edges of the sky, relations, fluxes, and that the order of rows never matters."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contimg_assets.catalogs import store
from contimg_assets.catalogs.store import ReferenceCatalog
from contimg_assets.config import Matching
from contimg_assets.crossmatch.matches import match_catalogs, match_measurements, match_sources
from contimg_assets.errors import InputError
from contimg_assets.schemas.matches import CATALOG_MATCHES, MATCH_SUMMARY, SOURCE_MATCHES
from contimg_assets.sky import sphere
from contimg_assets_tests.crossmatch.skies import simulate_sky

IMAGES = pd.DataFrame({"image": ["a", "b"], "bmaj_arcsec": [15.0, 20.0], "freq_mhz": [1400.0, 1400.0]})


def measurements(ra: list[float], dec: list[float], image: str | list[str] = "a", **columns: object) -> pd.DataFrame:
    table = pd.DataFrame({"ra_deg": ra, "dec_deg": dec, "image": image})
    table["measurement_id"] = [f"{i:016x}" for i in range(len(table))]
    table["uncertainty_ew_arcsec"], table["uncertainty_ns_arcsec"] = 0.6, 0.8
    table["flux_int_mjy"] = 12.0
    return table.assign(**columns)


def catalog(
    ra: list[float], dec: list[float], name: str = "cat", freq: float = 1400.0, **columns: object
) -> ReferenceCatalog:
    table = pd.DataFrame({"ra_deg": ra, "dec_deg": dec})
    table["catalog_source_id"] = [f"{name.upper()} {i}" for i in range(len(table))]
    table["ra_err_arcsec"], table["dec_err_arcsec"] = 0.8, 0.6
    table["flux_mjy"], table["flux_err_mjy"] = 10.0, 0.5
    return ReferenceCatalog(name, table.assign(**columns), freq, 10.0)


def match(m: pd.DataFrame, *catalogs: ReferenceCatalog, **parameters: object) -> pd.DataFrame:
    result = match_catalogs(m, IMAGES, catalogs, Matching(**parameters))
    CATALOG_MATCHES.to_arrow(result.matches)
    MATCH_SUMMARY.to_arrow(result.summary)
    return result.matches


@pytest.mark.parametrize(
    ("ra", "dec"), [(10.0, 20.0), (0.0, 0.0), (359.9999, -45.0), (90.0, 60.0), (123.0, 90.0), (7.0, -89.9999)]
)
def test_offsets_point_from_measurement_to_catalogue(ra: float, dec: float) -> None:
    listed = sphere.displaced([ra], [dec], [3.0], [-2.0])
    found = match(measurements([ra], [dec]), catalog(*listed)).iloc[0]
    assert found["dra_arcsec"] == pytest.approx(3.0, abs=1e-6)
    assert found["ddec_arcsec"] == pytest.approx(-2.0, abs=1e-6)
    assert found["separation_arcsec"] == pytest.approx(np.hypot(3, 2), abs=1e-6)
    assert found["sigma_ew_arcsec"] == pytest.approx(1.0)
    assert found["sigma_ns_arcsec"] == pytest.approx(1.0)
    assert found["de_ruiter"] == pytest.approx(np.sqrt(13), abs=1e-6)


def test_values_of_one_pair_are_those_of_the_formula_sheet() -> None:
    # psi 3, sigma 1 and 1: log10 B of the sheet's fourth row.
    m = measurements([30.0], [10.0], uncertainty_ew_arcsec=1.0, uncertainty_ns_arcsec=1.0)
    listed = sphere.displaced([30.0], [10.0], [0.0], [3.0])
    found = match(m, catalog(*listed, ra_err_arcsec=1.0, dec_err_arcsec=1.0)).iloc[0]
    assert found["de_ruiter"] == pytest.approx(2.1213203435596424, rel=1e-8)
    assert found["log10_bayes_factor"] == pytest.approx(9.651687682070602, rel=1e-8)
    p = found["likelihood_ratio"] / (found["likelihood_ratio"] + 1 - Matching().default_q)
    assert found["probability"] == pytest.approx(p, rel=1e-12)
    assert found["p_any"] + found["p_none"] == pytest.approx(1.0, rel=1e-12)


def test_all_candidates_are_there_best_first() -> None:
    listed = sphere.displaced([0.0] * 3, [50.0] * 3, [1.0, -4.0, 30.0], [0.0, 0.0, 0.0])
    found = match(measurements([0.0], [50.0]), catalog(*listed))
    assert found["catalog_source_id"].tolist() == ["CAT 0", "CAT 1"]
    assert found["rank"].tolist() == [1, 2]
    assert found["n_candidates"].tolist() == [2, 2]
    assert found["mutual"].tolist() == [True, False]
    assert found["probability"].sum() == pytest.approx(found["p_any"].iloc[0], rel=1e-12)
    assert (found["p_any"].iloc[0], found["p_none"].iloc[0]) == (found["p_any"].iloc[1], found["p_none"].iloc[1])


def test_radius_grows_with_the_errors_up_to_a_limit() -> None:
    listed = sphere.displaced([40.0], [5.0], [0.0], [33.0])
    assert match(measurements([40.0], [5.0]), catalog(*listed)).empty
    unsure = catalog(*listed, ra_err_arcsec=7.0, dec_err_arcsec=7.0)
    assert len(match(measurements([40.0], [5.0]), unsure)) == 1
    assert match(measurements([40.0], [5.0]), unsure, max_radius_arcsec=30.0).empty


def test_blends_and_relations() -> None:
    # Beams of 15 and 10 arcsec: what lies within 12.5 arcsec is one thing to one of them.
    pair = sphere.displaced([80.0] * 2, [-30.0] * 2, [0.0, 9.0], [0.0, 0.0])
    one_many = match(measurements([80.0], [-30.0]), catalog(*pair))
    assert one_many["relation"].tolist() == ["1:n", "1:n"]
    assert one_many["blend"].all()
    many_one = match(measurements(*map(list, pair)), catalog([80.0], [-30.0]))
    assert set(many_one["relation"]) == {"n:1"}
    assert many_one["blend"].all()
    assert many_one["mutual"].tolist() == [True, False]
    two_two = match(measurements(*map(list, pair)), catalog(*pair))
    assert set(two_two["relation"]) == {"n:m"}
    alone = match(measurements([80.0], [-30.0]), catalog([80.0], [-30.0]))
    assert (alone["relation"].tolist(), alone["blend"].tolist(), alone["quality"].tolist()) == (["1:1"], [False], ["A"])


def test_images_that_see_the_same_source_are_no_blend() -> None:
    found = match(measurements([80.0, 80.0], [-30.0, -30.0], image=["a", "b"]), catalog([80.0], [-30.0]))
    assert found["relation"].tolist() == ["1:1", "1:1"]
    assert found["mutual"].tolist() == [True, True]


def test_extended_measurements_have_larger_errors() -> None:
    m = measurements([1.0], [1.0], flux_peak_mjy_beam=6.0)
    found = match(m, catalog([1.0], [1.0])).iloc[0]
    assert found["sigma_ew_arcsec"] == pytest.approx(np.hypot(1.0, 15.0 / 4))
    compact = match(m.assign(flux_peak_mjy_beam=11.0), catalog([1.0], [1.0])).iloc[0]
    assert compact["sigma_ew_arcsec"] == pytest.approx(1.0)


def test_flux_is_scaled_with_the_population_where_one_catalogue_sees_the_source() -> None:
    found = match(measurements([5.0], [5.0]), catalog([5.0], [5.0], freq=700.0)).iloc[0]
    assert found["expected_flux_mjy"] == pytest.approx(10.0 * 2**-0.7)
    assert found["flux_ratio"] == pytest.approx(12.0 / (10.0 * 2**-0.7))
    # The catalogue's scale is as wrong for every other of its sources: not in the error of this one.
    fractional = np.hypot(0.05, np.log(2) * 0.35)
    assert found["expected_flux_err_mjy"] == pytest.approx(found["expected_flux_mjy"] * fractional, rel=1e-6)


def test_flux_is_scaled_with_its_own_spectrum_where_two_catalogues_see_it() -> None:
    low = catalog([5.0], [5.0], "low", 150.0, flux_mjy=10.0, flux_err_mjy=0.01)
    high = catalog([5.0], [5.0], "high", 3000.0, flux_mjy=40.0, flux_err_mjy=0.01)
    found = match(measurements([5.0], [5.0]), low, high, flux_scale_err=0.001).set_index("catalog")
    index = np.log(4) / np.log(20)
    assert found["spectral_index"].tolist() == pytest.approx([index, index], rel=1e-3)
    assert found["expected_flux_mjy"].tolist() == pytest.approx([10 * (1400 / 150) ** index] * 2, rel=3e-3)


def test_flux_missing_in_the_catalogue_is_missing_not_zero() -> None:
    found = match(measurements([5.0], [5.0]), catalog([5.0], [5.0], flux_mjy=np.nan, flux_err_mjy=np.nan)).iloc[0]
    assert found[["catalog_flux_mjy", "expected_flux_mjy", "expected_flux_err_mjy", "flux_ratio"]].isna().all()


def test_peak_flux_on_request() -> None:
    m = measurements([5.0], [5.0], flux_peak_mjy_beam=9.0)
    assert match(m, catalog([5.0], [5.0]), flux="peak")["flux_ratio"].iloc[0] == pytest.approx(0.9)
    assert match(m, catalog([5.0], [5.0]))["flux_ratio"].iloc[0] == pytest.approx(1.2)


def test_nothing_configured_gives_empty_tables() -> None:
    result = match_catalogs(measurements([5.0], [5.0]), IMAGES, [], Matching())
    assert result.matches.empty and result.summary.empty
    assert CATALOG_MATCHES.to_arrow(result.matches).schema == CATALOG_MATCHES.arrow
    assert MATCH_SUMMARY.to_arrow(result.summary).schema == MATCH_SUMMARY.arrow


def test_an_empty_epoch_and_an_empty_catalogue() -> None:
    empty = measurements([], [])
    result = match_catalogs(empty, IMAGES, [catalog([5.0], [5.0])], Matching())
    assert CATALOG_MATCHES.to_arrow(result.matches).num_rows == 0
    assert result.summary["n_measurements"].tolist() == [0, 0]
    MATCH_SUMMARY.to_arrow(result.summary)
    result = match_catalogs(measurements([5.0], [5.0]), IMAGES, [catalog([], [])], Matching())
    assert CATALOG_MATCHES.to_arrow(result.matches).num_rows == 0
    assert result.summary["n_covered"].tolist() == [0, 0]
    MATCH_SUMMARY.to_arrow(result.summary)


def test_measurements_outside_the_footprint_are_not_covered() -> None:
    sky = simulate_sky(np.random.default_rng(1), n_images=4, per_image=50)
    far = sky.measurements.head(10).assign(ra_deg=180.0, measurement_id=[f"f{i:015x}" for i in range(10)])
    summary = match_catalogs(
        pd.concat([sky.measurements, far]), sky.images, [sky.catalog], Matching()
    ).summary.set_index("image")
    assert (summary["n_measurements"] - summary["n_covered"]).sum() == 10


def test_image_without_a_row_is_named() -> None:
    with pytest.raises(InputError, match="'nowhere'"):
        match(measurements([5.0], [5.0], image="nowhere"), catalog([5.0], [5.0]))


def test_an_epoch_without_images_has_no_matches() -> None:
    found = match_catalogs(measurements([], []), IMAGES.head(0), [catalog([5.0], [5.0])], Matching())
    assert found.matches.empty and found.summary.empty


def test_source_of_a_fork_is_the_nearest() -> None:
    m = measurements([5.0, 6.0], [5.0, 5.0])
    associations = pd.DataFrame(
        {
            "source_id": ["far", "near", "other"],
            "measurement_id": [m["measurement_id"][0]] * 2 + ["elsewhere"],
            "separation_arcsec": [2.0, 1.0, 0.0],
        }
    )
    found = match_measurements(m, IMAGES, [catalog([5.0, 6.0], [5.0, 5.0])], Matching(), associations)
    assert found["source_id"].tolist()[0] == "near"
    assert pd.isna(found["source_id"].tolist()[1])


@pytest.mark.parametrize("offset", [(9.0, -7.0), (-4.0, 3.9), (0.0, 0.0)])
@pytest.mark.parametrize("density", [60.0, 4000.0])
def test_an_image_far_off_is_matched_all_the_same(offset: tuple[float, float], density: float) -> None:
    rng = np.random.default_rng(5)
    sky = simulate_sky(rng, n_images=1, per_image=50, density_per_deg2=density, q=0.8, max_offset_arcsec=0.0)
    m = sky.measurements
    # The image is off by minus the offset that leads back to the catalog.
    m["ra_deg"], m["dec_deg"] = sphere.displaced(m["ra_deg"], m["dec_deg"], -offset[0], -offset[1])
    result = match_catalogs(m, sky.images, [sky.catalog], Matching())
    summary = result.summary.iloc[0]
    assert summary["offset_applied"]
    assert abs(summary["dra_arcsec"] - offset[0]) < 4 * summary["dra_err_arcsec"]
    assert abs(summary["ddec_arcsec"] - offset[1]) < 4 * summary["ddec_err_arcsec"]
    best = result.matches[result.matches["rank"] == 1].set_index("measurement_id")["catalog_source_id"]
    true = sky.truth.dropna()
    assert (best.reindex(true.index) == true).mean() > 0.95


def test_offset_is_borrowed_where_a_catalogue_is_too_sparse() -> None:
    sky = simulate_sky(
        np.random.default_rng(8),
        n_images=2,
        per_image=100,
        sigma_arcsec=0.3,
        catalog_sigma_arcsec=0.2,
        max_offset_arcsec=0.5,
    )
    m = sky.measurements
    m["ra_deg"], m["dec_deg"] = sphere.displaced(m["ra_deg"], m["dec_deg"], 8.0, 0.0)
    listed = sky.catalog.table.to_pandas().set_index("catalog_source_id")
    few = sky.truth.dropna().iloc[:3]
    sparse = ReferenceCatalog("sparse", listed.loc[few.to_numpy()].reset_index(), 1400.0, 1.0)
    alone = match_catalogs(m, sky.images, [sparse], Matching(default_q=0.05))
    assert not alone.summary["offset_applied"].any()
    both = match_catalogs(m, sky.images, [sparse, sky.catalog], Matching(default_q=0.05))
    MATCH_SUMMARY.to_arrow(both.summary)
    summary = both.summary.set_index("catalog")
    assert set(summary.loc["sparse", "offset_from"]) == set(summary.loc["sky", "offset_from"]) == {"sky"}
    np.testing.assert_array_equal(summary.loc["sparse", "dra_arcsec"], summary.loc["sky", "dra_arcsec"])
    assert (summary.loc["sparse", "dra_err_arcsec"] > 0.5).all()
    found = both.matches[both.matches["catalog"] == "sparse"].set_index("measurement_id")
    assert found.loc[few.index, "catalog_source_id"].tolist() == few.tolist()
    assert (found.loc[few.index, "probability"] > 0.9).all()
    # Raw offsets stay raw.
    assert (found.loc[few.index, "dra_arcsec"] < -4).all()


def test_unrelated_catalogue_moves_nothing() -> None:
    sky = simulate_sky(np.random.default_rng(6), n_images=9, per_image=300, density_per_deg2=3000.0, q=0.0)
    summary = match_catalogs(sky.measurements, sky.images, [sky.catalog], Matching()).summary
    assert not summary["offset_applied"].any()
    assert (summary["q"] < 0.05).all()
    assert summary["n_matched"].sum() < 0.01 * summary["n_measurements"].sum()


def test_errors_that_are_too_small_are_made_up_for() -> None:
    sky = simulate_sky(
        np.random.default_rng(7),
        n_images=4,
        per_image=300,
        density_per_deg2=400.0,
        sigma_arcsec=2.0,
        catalog_sigma_arcsec=0.1,
    )
    sky.measurements[["uncertainty_ew_arcsec", "uncertainty_ns_arcsec"]] *= 0.2
    summary = match_catalogs(sky.measurements, sky.images, [sky.catalog], Matching()).summary
    assert summary["systematic_ew_arcsec"].to_numpy() == pytest.approx(1.8, abs=0.35)
    left = match_catalogs(sky.measurements, sky.images, [sky.catalog], Matching(fit_systematic=False)).summary
    assert (left["systematic_ew_arcsec"] == 0).all()


def test_accepted_pairs_are_candidates_at_any_distance() -> None:
    sky = simulate_sky(np.random.default_rng(11), n_images=4, per_image=100, max_offset_arcsec=0.0)
    sources = sky.measurements.rename(columns={"measurement_id": "source_id", "flux_int_mjy": "flux_mjy"})
    sources = sources.assign(freq_mhz=1400.0, beam_arcsec=15.0)
    without = match_sources(sources, [sky.catalog], Matching())
    listed = sky.catalog.table.to_pandas()
    source = sources.iloc[0]
    separation = sphere.separation_arcsec(source["ra_deg"], source["dec_deg"], listed["ra_deg"], listed["dec_deg"])
    far = listed.iloc[int(np.argmin(np.abs(separation - 200.0)))]["catalog_source_id"]
    near = without[without["source_id"] == sources.iloc[1]["source_id"]].iloc[0]
    accepted = pd.DataFrame(
        [
            (source["source_id"], "sky", far),
            (near["source_id"], "sky", near["catalog_source_id"]),
            (source["source_id"], "sky", "no such source"),
            ("no such source", "sky", far),
            (source["source_id"], "other", far),
        ],
        columns=["source_id", "catalog", "catalog_source_id"],
    )
    found = match_sources(sources, [sky.catalog], Matching(), accepted)
    SOURCE_MATCHES.to_arrow(found)
    assert len(found) == len(without) + 1
    row = found[(found["source_id"] == source["source_id"]) & (found["catalog_source_id"] == far)].iloc[0]
    assert row["separation_arcsec"] == pytest.approx(200.0, abs=30)
    assert row["probability"] < 1e-100
    assert row["rank"] == row["n_candidates"] == (without["source_id"] == source["source_id"]).sum() + 1
    others = found.drop(row.name).reset_index(drop=True)
    unchanged = [name for name in without.columns if name != "n_candidates"]
    pd.testing.assert_frame_equal(others[unchanged], without[unchanged])


def test_catalogue_on_disk_gives_the_same_as_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "ROWS_PER_GROUP", 500)
    sky = simulate_sky(np.random.default_rng(12), n_images=4, per_image=60, density_per_deg2=300.0)
    everywhere = pd.DataFrame(
        {
            "catalog_source_id": [f"F{i}" for i in range(20_000)],
            "ra_deg": np.random.default_rng(13).uniform(30, 330, 20_000),
            "dec_deg": np.random.default_rng(14).uniform(-60, 60, 20_000),
        }
    )
    whole = pd.concat([sky.catalog.table.to_pandas(), everywhere])
    memory = ReferenceCatalog("sky", whole.assign(ra_err_arcsec=1.0, dec_err_arcsec=1.0), 1400.0, 10.0)
    store.write_catalog(memory.table, tmp_path / "sky.parquet")
    disk = ReferenceCatalog("sky", tmp_path / "sky.parquet", 1400.0, 10.0, memory.version)
    first = match_catalogs(sky.measurements, sky.images, [memory], Matching())
    again = match_catalogs(sky.measurements, sky.images, [disk], Matching())
    assert "table" not in disk.__dict__
    pd.testing.assert_frame_equal(first.matches, again.matches)
    pd.testing.assert_frame_equal(first.summary, again.summary)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_order_of_rows_never_matters(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sky = simulate_sky(rng, n_images=3, per_image=40, density_per_deg2=500.0, ra_deg=rng.uniform(0, 360))
    table = sky.catalog.table.to_pandas()
    shuffled = ReferenceCatalog("sky", table.sample(frac=1, random_state=seed % 1000), 1400.0, 10.0)
    first = match_catalogs(sky.measurements, sky.images, [sky.catalog], Matching())
    again = match_catalogs(
        sky.measurements.sample(frac=1, random_state=seed % 997), sky.images.iloc[::-1], [shuffled], Matching()
    )
    pd.testing.assert_frame_equal(first.matches, again.matches, check_exact=True)
    pd.testing.assert_frame_equal(first.summary, again.summary, check_exact=True)


@pytest.mark.parametrize("ra", [0.0, 90.0, 180.0, 270.0])
def test_the_sky_looks_the_same_everywhere(ra: float) -> None:
    here = simulate_sky(np.random.default_rng(3), n_images=4, per_image=50, ra_deg=ra, dec_deg=89.0)
    there = simulate_sky(np.random.default_rng(3), n_images=4, per_image=50, ra_deg=217.0, dec_deg=89.0)
    found = [match_catalogs(s.measurements, s.images, [s.catalog], Matching()).matches for s in (here, there)]
    assert len(found[0]) == len(found[1]) > 100
    # Cells of the density differ; what is measured does not.
    columns = ["measurement_id", "catalog_source_id", "rank", "mutual", "blend", "relation", "n_candidates"]
    pd.testing.assert_frame_equal(found[0][columns], found[1][columns])
    np.testing.assert_allclose(found[0]["de_ruiter"], found[1]["de_ruiter"], rtol=1e-4, atol=1e-4)


def test_sources_have_the_same_candidates_without_offset() -> None:
    sky = simulate_sky(np.random.default_rng(11), n_images=4, per_image=100, max_offset_arcsec=0.0)
    sources = sky.measurements.rename(columns={"measurement_id": "source_id", "flux_int_mjy": "flux_mjy"})
    found = match_sources(sources.assign(freq_mhz=1400.0, beam_arcsec=15.0), [sky.catalog], Matching())
    SOURCE_MATCHES.to_arrow(found)
    best = found[found["rank"] == 1].set_index("source_id")
    true = sky.truth.dropna()
    assert (best["catalog_source_id"].reindex(true.index) == true).mean() > 0.98
    assert best["flux_ratio"].median() == pytest.approx(1.0)
    assert not found["manual"].any()
    assert match_sources(sources.assign(freq_mhz=1400.0, beam_arcsec=15.0), [], Matching()).empty
    assert match_sources(sources.head(0).assign(freq_mhz=1.0, beam_arcsec=1.0), [sky.catalog], Matching()).empty
