"""Questions, decisions, views and exports: each answer against what the survey was made from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import astropy.units as u
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from astropy.coordinates import Latitude, Longitude
from astropy.table import Table
from astropy_healpix import HEALPix

from contimg_assets.catalogs.store import ReferenceCatalog
from contimg_assets.config import Matching, Variability
from contimg_assets.database import EpochProducts, ProductsDatabase
from contimg_assets.database.export import arrow_schema, export, export_pairs, export_table, exportable
from contimg_assets.database.matching import source_matching
from contimg_assets.database.models import TABLES
from contimg_assets.errors import InputError, StoreError
from contimg_assets.identity.ids import source_ids
from contimg_assets.ingest.footprints import coverage_table, read_coverage
from contimg_assets.schemas.variability import LIGHT_CURVE, PHOTOMETRY, VARIABILITY_STATS
from contimg_assets.sky.coverage import Coverage, merged
from contimg_assets_tests.database.conftest import assert_same_rows, dump
from contimg_assets_tests.database.survey import Survey, with_forks

# What existing readers select.
PHOTOMETRY_COLUMNS = [
    *("source_id", "ra_deg", "dec_deg", "flux_jy", "flux_err_jy", "peak_jyb", "peak_err_jyb", "normalized_flux_jy"),
    *("normalized_flux_err_jy", "snr", "measured_at", "mjd", "image_path", "mosaic_path", "nvss_flux_mjy"),
]
STATS_COLUMNS = [
    *("source_id", "ra_deg", "dec_deg", "nvss_flux_mjy", "mean_flux_mjy", "std_flux_mjy", "chi2_nu", "sigma_deviation"),
    *("eta_metric", "n_obs", "last_mjd"),
]


@pytest.fixture
def survey() -> Survey:
    return Survey(n_sources=30, n_epochs=5, detected=0.8)


@pytest.fixture
def filled_database(database: ProductsDatabase, survey: Survey) -> ProductsDatabase:
    database.replace_epochs(survey.epochs())
    return database


def nvss(survey: Survey) -> ReferenceCatalog:
    """The true sources, and 40 of a grid that have nothing to do with them."""
    frame = pd.DataFrame(
        {
            "catalog_source_id": [f"N{i:03d}" for i in range(len(survey.ra))],
            "ra_deg": survey.ra,
            "dec_deg": survey.dec,
            "flux_mjy": survey.flux,
            "flux_err_mjy": 1.0,
        }
    )
    return ReferenceCatalog("nvss", frame, freq_mhz=1400.0, beam_arcsec=45.0, version="v1")


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
        np.testing.assert_allclose(curve["upper_limit_mjy_beam"][~seen], 7.5)
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


def test_matches_and_peoples_decisions(database: ProductsDatabase, survey: Survey) -> None:
    matching = source_matching([nvss(survey)], Matching())
    assert matching is not None
    database.replace_epochs(survey.epochs(), matching=matching)
    births = source_ids(survey.births())
    source, other = births[2], births[5]
    best = database.matches(source).iloc[0]
    assert (best["catalog_type"], best["catalog_source_id"], best["rank"]) == ("nvss", "N002", 1)
    assert best["probability"] > 0.9
    assert best["created_at"].startswith("2026-01-2")
    flux = database.query("SELECT nvss_flux_mjy FROM photometry WHERE source_id = :s", {"s": source}).nvss_flux_mjy
    np.testing.assert_allclose(flux, survey.flux[2])

    database.decide_match("reject", source, "nvss", "N002", "a side lobe", "somebody", matching)
    database.decide_match("accept", other, "nvss", "N009", author="somebody", matching=matching)
    database.decide_match("comment", other, "nvss", comment="look again", matching=matching)
    rejected = database.matches(source).set_index("catalog_source_id").loc["N002"]
    assert (rejected["match_quality"], rejected["manual"], rejected["comment"]) == ("rejected", True, "a side lobe")
    accepted = database.matches(other).set_index("catalog_source_id")
    assert (accepted["rank"]["N009"], accepted["match_quality"]["N009"]) == (1, "accepted")
    assert set(accepted["comment"]) == {"look again"}
    nvss_flux = database.query("SELECT nvss_flux_mjy FROM variability_stats WHERE source_id = :s", {"s": source})
    assert nvss_flux.nvss_flux_mjy.isna().all()

    # They survive whatever is written, and decisions without a matcher show with the next writing.
    before = dump(database)
    database.rebuild([])
    database.replace_epochs(survey.epochs(), matching=matching)
    assert_same_rows(dump(database, ("source_aliases",)), {k: v for k, v in before.items() if k != "source_aliases"})
    database.decide_match("accept", source, "nvss", "N002")
    assert database.matches(source).iloc[0]["match_quality"] == "rejected"
    with pytest.raises(InputError, match="is not one that sources are matched to: nvss"):
        database.decide_match("accept", source, "first", "F1")
    with pytest.raises(InputError, match="say which source"):
        database.decide_match("accept", source, "nvss")
    with pytest.raises(StoreError, match="no source"):
        database.decide_match("accept", "0" * 16, "nvss", "N001")
    n_decisions = len(database.read_table("match_overrides"))
    for action in ("accept", "reject", "comment"):
        with pytest.raises(InputError, match=r"'nvss' has no source 'N02'; name one of .* 'N002' at \d\.\d arcsec, 'N"):
            database.decide_match(action, source, "nvss", "N02", "typed in haste", matching=matching)
    assert len(database.read_table("match_overrides")) == n_decisions


def test_decisions_follow_aliases(database: ProductsDatabase) -> None:
    survey = Survey(n_sources=12, n_epochs=2, detected=1.0)
    matching = source_matching([nvss(survey)], Matching())
    database.replace_epochs([survey.epoch(1, skip=frozenset({0}))], matching=matching)
    old = source_ids(survey.births(frozenset({0})))[4]
    database.decide_match("reject", old, "nvss", "N004", "not ours", matching=matching)
    database.replace_epochs(survey.epochs(), matching=matching)
    new = source_ids(survey.births())[4]
    assert database.present_source(old) == new != old
    assert database.find_source(old) == new
    row = database.matches(old).set_index("catalog_source_id").loc["N004"]
    assert (row["source_id"], row["match_quality"], row["comment"]) == (new, "rejected", "not ours")
    # What is said of a source without any counterpart is found with the source.
    database.decide_match("comment", new, "nvss", None, "looked at it", matching=matching)
    for name in (old, new):
        assert database.decisions(name)["comment"].tolist() == ["looked at it", "not ours"]
    assert database.decisions(source_ids(survey.births())[5]).empty


def test_rebuilding_keeps_aliases_and_decisions_and_no_reader_sees_less(database: ProductsDatabase) -> None:
    survey = Survey(n_sources=12, n_epochs=3, detected=1.0)
    matching = source_matching([nvss(survey)], Matching())
    late = frozenset({0})
    database.replace_epochs([survey.epoch(number, skip=late) for number in (1, 2)], matching=matching)
    old = source_ids(survey.births(late))
    database.decide_match("reject", old[4], "nvss", "N004", "not ours", matching=matching)
    database.replace_epochs(survey.epochs(), matching=matching)
    with database.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM variability")  # somebody's slip: rows of equal epochs are made again
    seen = []

    def epochs() -> Iterator[EpochProducts]:
        for products in survey.epochs()[:2]:
            seen.append(len(database.query("SELECT * FROM light_curves WHERE NOT is_limit")))
            yield products

    report = database.rebuild(epochs(), matching=matching)
    assert seen == [36, 36]
    assert (report.written, report.deleted) == (survey.names[:2], survey.names[2:])
    assert len(database.read_table("variability")) == 12
    for _ in range(2):
        aliases = database.read_table("source_aliases").set_index("alias")["source_id"]
        assert aliases[old].tolist() == source_ids(survey.births()).tolist()
        row = database.matches(old[4]).set_index("catalog_source_id").loc["N004"]
        assert (row["match_quality"], row["comment"]) == ("rejected", "not ours")
        # Nothing is left, and everything comes back: so do the names that sources had.
        database.rebuild([])
        assert database.read_table("source_aliases")["source_id"].isna().all()
        database.replace_epochs(survey.epochs(), matching=matching)


def test_another_catalogue_version_matches_again(database: ProductsDatabase, survey: Survey) -> None:
    catalog = nvss(survey)
    database.replace_epochs(survey.epochs(), matching=source_matching([catalog], Matching()))
    moved = ReferenceCatalog("nvss", catalog.table.to_pandas().assign(flux_mjy=5.0), 1400.0, 45.0, "v2")
    database.replace_epochs([], matching=source_matching([moved], Matching()))
    assert set(database.read_table("cross_matches")["catalog_flux_mjy"]) == {5.0}
    assert database.read_table("reference_catalogs")["version"].tolist() == ["v2"]
    database.replace_epochs([])
    assert database.read_table("cross_matches").empty


@pytest.mark.parametrize("name", exportable())
def test_every_table_exports_to_every_format(name: str, sqlite_url: str, empty_database: Path, tmp_path: Path) -> None:
    """Every value as it is in the table, and missing where it is missing there."""
    import shutil

    shutil.copy(empty_database, tmp_path / "products.sqlite3")
    survey = Survey(n_sources=8, n_epochs=3)
    matching = source_matching([nvss(survey)], Matching())
    with ProductsDatabase(sqlite_url) as database:
        database.replace_epochs([survey.epoch(number, skip=frozenset({0})) for number in (1, 2)], matching=matching)
        # A counterpart that matching does not find has hardly a number; old sources get aliases.
        source = database.read_table("sources")["id"][0]
        database.decide_match("accept", source, "nvss", "N007", matching=matching)
        database.replace_epochs(survey.epochs(), matching=matching)
        is_view = name in ("light_curves", "photometry", "variability_stats")
        order = "source_id, mjd" if name in ("light_curves", "photometry") else "source_id"
        key = order if is_view else ", ".join(column.name for column in TABLES[name].primary_key)
        expected = database.query(f"SELECT * FROM {name} ORDER BY {key}").astype(object)
        for suffix, kind in (("parquet", None), ("csv", None), ("xml", None), ("vot", "votable"), ("fits", None)):
            file = tmp_path / f"t.{suffix}"
            assert export_table(database, name, file, kind) == len(expected)
            found = pq.read_table(file) if suffix == "parquet" else as_arrow(file, arrow_schema(name))
            assert found.column_names == list(expected)
            for column in found.column_names:
                got = [None if value == "" else value for value in found[column].to_pylist()]
                wanted = expected[column].where(expected[column].notna(), None).tolist()
                assert got == wanted, f"{column} in {suffix}"
        assert not list(tmp_path.glob(".*"))


def as_arrow(file: Path, schema: pa.Schema) -> pa.Table:
    """A file as its readers see it; masked values are missing."""
    if file.suffix == ".csv":
        options = pa_csv.ConvertOptions(column_types=schema, strings_can_be_null=True, quoted_strings_can_be_null=False)
        return pa_csv.read_csv(file, convert_options=options)
    table = Table.read(file)
    columns = {}
    for name in table.colnames:
        values = table[name].astype(str) if table[name].dtype.kind in "SO" else table[name]
        mask = np.ma.getmaskarray(np.ma.MaskedArray(values))
        plain = np.ma.getdata(np.ma.MaskedArray(values)).tolist()
        columns[name] = [None if gone else value for value, gone in zip(plain, mask, strict=True)]
    return pa.table(columns)


def test_exports_say_units_and_ucds(filled_database: ProductsDatabase, tmp_path: Path) -> None:
    from astropy.io.votable import parse_single_table

    export_table(filled_database, "sources", tmp_path / "sources.xml")
    fields = {field.name: field for field in parse_single_table(tmp_path / "sources.xml").fields}
    assert str(fields["ra_deg"].unit) == "deg"
    assert fields["ra_deg"].ucd == "pos.eq.ra;meta.main"
    assert str(fields["flux_int_mjy"].unit) == "mJy"
    assert "integrated" in fields["flux_int_mjy"].description
    export_table(filled_database, "sources", tmp_path / "sources.parquet")
    field = pq.read_schema(tmp_path / "sources.parquet").field("first_mjd")
    assert field.metadata[b"unit"] == b"d"
    stored = pq.read_table(tmp_path / "sources.parquet").to_pandas()
    np.testing.assert_array_equal(stored["ra_deg"], filled_database.read_table("sources")["ra_deg"])
    assert stored["is_new"].dtype == bool


def test_exports_refuse_what_they_do_not_know(filled_database: ProductsDatabase, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no table 'stars'"):
        export_table(filled_database, "stars", tmp_path / "t.csv")
    with pytest.raises(InputError, match="format 'doc' is unknown"):
        export_table(filled_database, "sources", tmp_path / "t.doc")
    with pytest.raises(InputError, match=r"the suffix of t\.csv says csv, not fits"):
        export_table(filled_database, "sources", tmp_path / "t.csv", "fits")
    for table, file, message in (
        ("sources", tmp_path, "is a folder"),
        ("sources", tmp_path / "no" / "t.csv", "no does not exist"),
        ("pairs", tmp_path / "no" / "t.parquet", "no does not exist"),
        ("pairs", tmp_path / "t.csv", "pairs are written as parquet only"),
    ):
        with pytest.raises(InputError, match=message):
            export(filled_database, table, file)
    assert not list(tmp_path.glob("*t.*"))


def test_pairs_on_request(filled_database: ProductsDatabase, survey: Survey, tmp_path: Path) -> None:
    n = survey.seen.sum(axis=0)
    assert export_pairs(filled_database, tmp_path / "pairs.parquet") == (n * (n - 1) // 2).sum()
    pairs = pq.read_table(tmp_path / "pairs.parquet").to_pandas()
    assert (pairs["mjd_a"] < pairs["mjd_b"]).all()
    source = source_ids(survey.births())[int(np.argmax(n))]
    only = export_pairs(filled_database, tmp_path / "one.parquet", [source])
    assert only == n.max() * (n.max() - 1) // 2
    row = pairs[pairs["source_id"] == source].iloc[0]
    curve = filled_database.light_curve(source).set_index("measurement_id")["flux_peak_corr_mjy_beam"]
    a, b = curve[row["measurement_id_a"]], curve[row["measurement_id_b"]]
    assert row["vs_peak"] == pytest.approx((a - b) / np.sqrt(2))
    assert row["m_peak"] == pytest.approx(2 * (a - b) / (a + b))


def test_pairs_of_a_fork_count_what_it_copied(database: ProductsDatabase, tmp_path: Path) -> None:
    epochs, forks = with_forks(Survey(n_sources=12, n_epochs=3, detected=1.0).epochs(), 6)
    database.replace_epochs(epochs)
    assert export_pairs(database, tmp_path / "pairs.parquet", forks) == 3 * len(forks)
    for fork in forks:
        assert export_pairs(database, tmp_path / "one.parquet", [fork]) == 3
