"""Two bands in the products: light curves, mean fluxes and new sources of each, whatever the order of arrival."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from alembic import command

from contimg_assets.catalogs.store import ReferenceCatalog
from contimg_assets.config import Bands, Matching, Variability
from contimg_assets.database import EpochProducts, ProductsDatabase, schema
from contimg_assets.database.engine import reading, writing
from contimg_assets.database.export import export
from contimg_assets.database.image_contents import image_measurements
from contimg_assets.database.matching import source_matching
from contimg_assets.database.source_list import SourceQuery, list_sources
from contimg_assets_tests.database.conftest import assert_same_rows, dump
from contimg_assets_tests.database.consistency import inconsistencies
from contimg_assets_tests.database.survey import Survey

LOW, HIGH = 888.0, 1367.0
FAINTER = (HIGH / LOW) ** -0.7


def alternating(n_epochs: int = 4, n_sources: int = 30) -> list[EpochProducts]:
    """Constant sources, epochs in one band and the other in turn."""
    survey = Survey(n_sources=n_sources, n_epochs=n_epochs, detected=1.1)
    rng = np.random.default_rng(3)
    survey.flux = 20.0 + 10.0 * rng.pareto(1.5, n_sources)
    survey.flux_seen = survey.flux + rng.normal(size=(n_epochs, n_sources))
    low = [survey.epoch(k) for k in range(0, n_epochs, 2)]
    survey.flux_seen = survey.flux * FAINTER + rng.normal(size=(n_epochs, n_sources))
    high = [survey.epoch(k) for k in range(1, n_epochs, 2)]
    both = [with_frequency(one, LOW) for one in low] + [with_frequency(one, HIGH) for one in high]
    return sorted(both, key=lambda one: one.epoch)


def with_frequency(products: EpochProducts, freq_mhz: float, bands: Bands | None = None) -> EpochProducts:
    return replace(products, images=products.images.assign(freq_mhz=freq_mhz), bands=bands or Bands())


def test_a_list_has_each_source_once_with_the_statistics_of_its_own_band(database: ProductsDatabase) -> None:
    database.replace_epochs(alternating())
    page = list_sources(database, SourceQuery(), ["id", "band", "eta_peak"])
    assert page.total == len(page.rows) == page.rows["id"].nunique() == 30
    eta = database.read_table("variability").set_index(["source_id", "band"])["eta_peak"]
    expected = [eta[one] for one in page.rows[["id", "band"]].itertuples(index=False, name=None)]
    assert page.rows["eta_peak"].tolist() == expected


def test_constant_sources_in_two_bands_are_no_variables(database: ProductsDatabase) -> None:
    epochs = alternating()
    database.replace_epochs(epochs)
    rows = database.read_table("variability")
    assert sorted(rows["band"].unique()) == ["1355MHz", "891MHz"]
    assert len(rows) == 60
    assert rows["p_value_peak"].min() > 1e-4
    assert database.variables(q_value=0.05).empty
    sources = database.read_table("sources")
    assert sources["n_bands"].tolist() == [2] * 30
    # As many detections in either: fluxes and frequency are those of the lower band.
    assert set(sources["band"]) == {"891MHz"}
    assert sources["freq_mhz"].tolist() == [LOW] * 30
    low = rows[rows["band"] == "891MHz"].set_index("source_id")["flux_int_weighted_mean_mjy"]
    assert sources.set_index("id")["flux_int_mjy"].equals(
        low.reindex(sources["id"]).rename_axis("id").rename("flux_int_mjy")
    )
    curve = database.light_curve(sources["id"][0])
    assert curve["band"].tolist() == ["891MHz", "1355MHz"] * 2
    with reading(database.engine) as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM variability_stats")).scalar_one() == 30
    # Taken together, as they are with one configured band, nearly all of them vary.
    one = [replace(products, bands=Bands(ranges_mhz=((800.0, 1400.0),))) for products in epochs]
    assert database.replace_epochs(one).written == [products.epoch for products in epochs]
    assert (database.read_table("variability")["p_value_peak"] < 1e-4).sum() >= 28
    assert inconsistencies(database) == {}


def test_any_order_of_arrival_ends_in_the_same_rows(database: ProductsDatabase) -> None:
    epochs = alternating(3, 12)
    database.replace_epochs(epochs)
    expected = dump(database)
    for order in list(permutations(range(3)))[1:4]:
        database.replace_epochs([], delete=[one.epoch for one in epochs])
        for k in order:
            database.replace_epochs([epochs[k]])
        assert_same_rows(dump(database), expected)
    assert database.replace_epochs(epochs).written == []


def test_images_of_another_band_make_no_source_new(database: ProductsDatabase) -> None:
    survey = Survey(n_sources=20, n_epochs=2, detected=1.1)
    survey.seen[0, 5:] = False
    survey.flux_seen[:] = 100.0
    first, second = survey.epochs()
    parameters = Variability(new_min_significance=5.0)
    database.replace_epochs([first, second], parameters)
    assert database.read_table("sources")["is_new"].sum() == 15
    database.replace_epochs([with_frequency(second, 2150.0)], parameters)
    sources = database.read_table("sources")
    assert not sources["is_new"].any()
    assert sources["new_image"].isna().all()


def test_what_one_band_shows_first_and_another_later_is_new_in_that_band_alone(database: ProductsDatabase) -> None:
    survey = Survey(n_sources=20, n_epochs=3, detected=1.1, n_images=2)
    survey.flux_seen[:] = 100.0
    # Of two images each source is detected in one: low and then high, always high, and one that nobody saw at first.
    survey.image_of[:] = 1
    survey.image_of[0, :6] = 0
    survey.seen[0, 6] = False
    epochs = [in_both_bands(k, survey) for k in range(3)]
    database.replace_epochs(epochs)
    # A handful of sources says little of how many a finder loses.
    found = database.new_in_band(max_false_chance=0.05)
    rows = database.read_table("sources").set_index("id")
    assert set(found["new_in"]) == {"1355MHz"}
    assert len(found) == 6
    assert (rows.loc[found["id"], "first_epoch"] == survey.names[0]).all()
    assert (found["first_epoch"] == survey.names[1]).all()
    assert (found["new_image"].str.startswith(survey.names[0])).all()
    assert (found["new_significance"] > 5).all()
    # In all bands there is one, which is in no band alone.
    every = database.new_sources(max_false_chance=0.05)
    assert len(every) == 1
    assert not set(every["id"]) & set(found["id"])
    assert database.new_in_band(since_mjd=float(found["first_mjd"].max()) + 1).empty
    assert database.new_in_band(min_significance=1e6).columns.isin(found.columns).all()
    database.replace_epochs([with_frequency(one, LOW) for one in epochs])
    assert database.new_in_band(max_false_chance=1.0).empty


@pytest.mark.parametrize("two", [False, True])
def test_older_databases_learn_their_bands(database: ProductsDatabase, two: bool) -> None:
    epochs = alternating(2) if two else [with_frequency(one, LOW) for one in alternating(2)]
    database.replace_epochs(epochs)
    before = dump(database)
    with schema._migrating(database.engine) as connection:
        schema.views.drop_views(connection)
        command.downgrade(schema.alembic_config(connection), "0009")
    database.upgrade()
    assert database.check() == []
    for table in ("images", "measurements"):
        after = database.read_table(table)
        assert set(after["band"]) == ({"891MHz", "1355MHz"} if two else {"891MHz"})
    # Statistics of one band are right as they are; mixed ones are all made again with whatever is written next.
    with writing(database.engine) as connection:
        known = connection.execute(sa.text("SELECT version FROM recomputed_with WHERE name = 'variability'"))
        assert (known.scalar_one() == "mixed bands") == two
    report = database.replace_epochs(epochs)
    assert report.n_recomputed == (30 if two else 0)
    assert_same_rows(dump(database), before)


def test_other_bands_are_another_content() -> None:
    one = alternating(2, 5)[0]
    ranges = replace(one, bands=Bands(ranges_mhz=((800.0, 1400.0),)))
    assert ranges.content_version != one.content_version
    assert pd.Index(ranges.band_mhz).tolist() == [1100]


def test_spectral_indices_are_asked_of_the_database(database: ProductsDatabase, tmp_path: Path) -> None:
    database.replace_epochs(alternating())
    found = database.spectral_indices()
    assert export(database, "spectral_indices", tmp_path / "alpha.parquet") == 30
    assert pd.read_parquet(tmp_path / "alpha.parquet")["alpha_err"].tolist() == found["alpha_err"].tolist()
    assert len(found) == 30
    assert found["alpha"].median() == pytest.approx(-0.7, abs=0.1)
    assert ((found["alpha"] + 0.7) / found["alpha_err"]).std() < 1.5
    # No epoch has both bands.
    assert database.spectral_indices(per_epoch=True).empty


def test_a_band_that_goes_takes_its_statistics_along(database: ProductsDatabase) -> None:
    epochs = alternating()
    low = [one for one in epochs if one.band_mhz[0] == 891]
    database.replace_epochs(low)
    expected = dump(database)
    database.replace_epochs(epochs)
    database.replace_epochs([], delete=[one.epoch for one in epochs if one.band_mhz[0] != 891])
    assert_same_rows(dump(database), expected)


def in_both_bands(number: int, survey: Survey) -> EpochProducts:
    """One epoch whose sources are detected in either of two images, which are of different bands."""
    products = survey.epoch(number)
    return replace(products, images=products.images.assign(freq_mhz=[LOW, HIGH]))


def test_limits_are_of_the_band_that_did_not_detect(database: ProductsDatabase) -> None:
    survey = Survey(n_sources=12, n_epochs=3, detected=1.1, n_images=2)
    epochs = [in_both_bands(k, survey) for k in range(3)]
    database.replace_epochs(epochs)
    limits = database.query("SELECT * FROM upper_limits")
    # Each source is seen in one band of each epoch, and has a limit in the other.
    assert len(limits) == 36
    band = database.read_table("measurements").groupby(["epoch", "band"]).size()
    expected = {(epoch, "891MHz" if name == "1355MHz" else "1355MHz"): n for (epoch, name), n in band.items()}
    assert limits.groupby(["epoch", "band"]).size().to_dict() == expected
    assert database.read_table("sources")["n_limits"].tolist() == [3] * 12
    assert inconsistencies(database) == {}
    before = dump(database)
    for order in ((2, 0, 1), (1, 2, 0)):
        database.replace_epochs([], delete=[one.epoch for one in epochs])
        for k in order:
            database.replace_epochs([epochs[k]])
        assert_same_rows(dump(database), before)
    database.replace_epochs([with_frequency(epochs[1], LOW)])
    database.replace_epochs([epochs[1]])
    assert_same_rows(dump(database), before)


def test_light_curves_of_unlike_beams_say_so(database: ProductsDatabase) -> None:
    epochs = Survey(n_sources=10, n_epochs=3, detected=1.1).epochs()
    fine = replace(epochs[2], images=epochs[2].images.assign(bmaj_arcsec=20.0))
    database.replace_epochs([*epochs[:2], fine])
    assert database.read_table("sources")["mixed_beams"].all()
    # A finer beam in another band mixes nothing.
    database.replace_epochs([with_frequency(fine, 888.0)])
    assert not database.read_table("sources")["mixed_beams"].any()
    database.replace_epochs([replace(fine, images=fine.images.assign(bmaj_arcsec=40.0))])
    assert not database.read_table("sources")["mixed_beams"].any()


def test_an_image_is_compared_with_the_mean_of_its_own_band(database: ProductsDatabase) -> None:
    epochs = alternating()
    database.replace_epochs(epochs)
    for products, band in zip(epochs[:2], ("891MHz", "1355MHz"), strict=True):
        found = image_measurements(database, products.epoch, products.images["image"].iloc[0], "peak")
        rows = database.read_table("variability").set_index(["source_id", "band"])["flux_peak_weighted_mean_mjy_beam"]
        assert found["mean_flux_mjy"].tolist() == [rows[one, band] for one in found["id"]]
        assert (found["flux_mjy"] / found["mean_flux_mjy"]).median() == pytest.approx(1.0, abs=0.02)


def test_counterparts_are_compared_with_the_index_of_our_own_bands(database: ProductsDatabase) -> None:
    """Flat sources, which a catalog of another frequency lists as bright as they are."""
    survey = Survey(n_sources=30, n_epochs=4, detected=1.1)
    survey.flux_seen = np.broadcast_to(survey.flux, (4, 30)) * np.ones((4, 1))
    both = [with_frequency(one, (LOW, HIGH)[k % 2]) for k, one in enumerate(survey.epochs())]
    frame = pd.DataFrame(
        {
            "catalog_source_id": [f"N{k}" for k in range(30)],
            "ra_deg": survey.ra,
            "dec_deg": survey.dec,
            "flux_mjy": survey.flux,
            "flux_err_mjy": 0.1,
        }
    )
    matching = source_matching(
        [ReferenceCatalog("deep", frame, freq_mhz=4000.0, beam_arcsec=45.0, version="v1")], Matching()
    )
    for epochs, expected in ((both[::2], (4000.0 / LOW) ** -0.7), (both, 1.0)):
        database.replace_epochs(epochs, None, matching)
        rows = database.read_table("cross_matches").query("rank == 1")
        bright = database.read_table("sources").query("flux_peak_mjy_beam > 30")["id"]
        ratio = rows[rows["source_id"].isin(bright)]["flux_ratio"]
        assert len(ratio) > 3
        assert ratio.median() == pytest.approx(expected, rel=0.1)
