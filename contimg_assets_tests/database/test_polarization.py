"""Other Stokes parameters in the products: the same rows whatever the order of arrival, and who is asked for them."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa
from alembic import command

from contimg_assets.config import Stokes
from contimg_assets.database import EpochProducts, ProductsDatabase, schema
from contimg_assets.database.export import export
from contimg_assets.errors import StoreError
from contimg_assets.polarization.fluxes import TotalIntensity, polarized_fluxes
from contimg_assets.schemas.detections import OTHER_IMAGES
from contimg_assets.schemas.polarization import POLARIZATION, POLARIZED_SOURCES
from contimg_assets.sky.sphere import displaced
from contimg_assets_tests.database.conftest import assert_same_rows, dump
from contimg_assets_tests.database.consistency import inconsistencies
from contimg_assets_tests.database.survey import Survey, filled

FRACTION = -0.2
OWN = displaced(0.0, 16.0, 5000.0, 0.0)


def sky() -> Survey:
    """Sources that are seen in I in some of the epochs, each in one at least."""
    survey = Survey(n_sources=15, n_epochs=3, detected=0.7)
    survey.seen[0] |= ~survey.seen.any(axis=0)
    return survey


def in_v(survey: Survey, number: int) -> EpochProducts:
    """An epoch with V of all sources, whether I shows them or not, and of one that has nothing in I."""
    products = survey.epoch(number)
    image = filled(
        OTHER_IMAGES, 1, image=["v"], stokes=["V"], ra_deg=0.0, dec_deg=16.0, radius_deg=2.0, freq_mhz=1405.0,
        rms_mjy_beam=0.5, bmaj_arcsec=58.8, mjd=products.images["mjd"].iloc[0],
    )  # fmt: skip
    total = TotalIntensity(products.images, products.measurements, products.associations)
    rows = found_in_v(survey, number).assign(image="v", stokes="V")
    return replace(products, stokes=polarized_fluxes(rows, image, total, Stokes(sources=("V",))))


def found_in_v(survey: Survey, number: int) -> pd.DataFrame:
    """What the finder has in V at an epoch: a fifth of each source, negative, and a source of its own."""
    rows = Survey(n_sources=len(survey.ra), n_epochs=len(survey.names), detected=1.1).epoch(number).measurements
    for name in ("flux_peak_mjy_beam", "flux_peak_corr_mjy_beam", "flux_int_mjy", "flux_int_corr_mjy"):
        rows[name] = rows[name] * FRACTION
    errors = [name for name in rows if ("flux" in name and "_err_m" in name) or "err_corr_m" in name]
    rows[errors] = 0.1
    rows["measurement_id"] = rows["measurement_id"].str[::-1]
    own = rows.iloc[[0]].assign(measurement_id=f"{number:016x}", ra_deg=OWN[0], dec_deg=OWN[1])
    return pd.concat([rows, own.assign(ra_corr_deg=OWN[0], dec_corr_deg=OWN[1])], ignore_index=True)


@pytest.fixture(scope="module")
def epochs() -> list[EpochProducts]:
    survey = sky()
    return [in_v(survey, number) for number in range(3)]


def test_any_order_of_arrival_ends_in_the_same_rows(database: ProductsDatabase, epochs: list[EpochProducts]) -> None:
    database.replace_epochs(epochs)
    expected = dump(database)
    rows = database.read_table("stokes_measurements")
    # A source that an epoch does not show in I is known by others.
    known = rows[rows["i_measurement_id"].isna() & (rows["status"] == "at source")]
    assert len(known) > 5 and known["fraction"].isna().all()
    assert (rows["status"] == "own source").sum() == 3
    assert inconsistencies(database) == {}
    for order in list(permutations(range(3)))[1:4]:
        database.replace_epochs([], delete=[one.epoch for one in epochs])
        assert database.read_table("stokes_measurements").empty
        for k in order:
            database.replace_epochs([epochs[k]])
        assert_same_rows(dump(database), expected)
    assert database.replace_epochs(epochs).written == []


def test_light_curves_and_lists(database: ProductsDatabase, epochs: list[EpochProducts], tmp_path: Path) -> None:
    database.replace_epochs(epochs)
    found = database.polarized_sources()
    assert list(found) == POLARIZED_SOURCES.names
    assert found["only_polarized"].tolist() == [True] + [False] * (len(found) - 1)
    own, first = found.iloc[0], found.iloc[1]
    assert own["name"].startswith("DSA J") and own["n_detections"] == 3
    assert first["fraction"] == pytest.approx(FRACTION, abs=4 * first["fraction_err"] + 0.02)
    curve = database.polarization(first["name"])
    assert list(curve) == POLARIZATION.names
    assert curve["mjd"].is_monotonic_increasing and len(curve) == 3
    assert len(database.polarization(own["source_id"])) == 3
    assert len(database.polarization()) >= len(database.polarization(limits=False)) > 40
    with pytest.raises(StoreError):
        database.polarization("0" * 16)
    assert export(database, "polarization", tmp_path / "p.parquet") == len(database.polarization())
    assert pd.read_parquet(tmp_path / "p.parquet")["fraction"].notna().any()


def test_sources_that_only_v_shows_are_sources_flagged(database: ProductsDatabase, epochs: list[EpochProducts]) -> None:
    database.replace_epochs(epochs[:2])
    (known,) = database.cone(*OWN, 60.0).to_dict("records")
    assert known["only_polarized"]
    assert known["n_measurements"] == known["n_epochs"] == 2
    assert (known["first_epoch"], known["last_epoch"]) == (epochs[0].epoch, epochs[1].epoch)
    assert [known["ra_deg"], known["dec_deg"]] == pytest.approx([float(one) for one in OWN], abs=1e-6)
    assert known["max_snr"] > 6 and pd.isna(known["flux_peak_mjy_beam"])
    database.replace_epochs(epochs[2:])
    # Those that I shows in the last epoch only are its sources now.
    assert database.read_table("sources")["only_polarized"].sum() == 1
    own = database.source(known["name"])
    assert own["id"] == known["id"] == database.find_source(f"{OWN[0]},{OWN[1]}")
    assert own["n_measurements"] == 3 and own["uncertainty_ew_arcsec"] < known["uncertainty_ew_arcsec"]
    assert len(database.polarization(own["id"])) == 3 and database.light_curve(own["id"]).empty
    assert database.source_variability(own["id"]).empty and database.orphans() == {}
    # It is in no list that fluxes in I make, and no neighbor of another source.
    assert own["id"] not in set(database.new_sources(max_false_chance=1.0, min_significance=0.0)["id"])
    # It goes with its detections.
    database.replace_epochs([], delete=[one.epoch for one in epochs])
    assert database.read_table("sources").empty and database.orphans() == {}


def test_i_alone_has_no_rows_and_the_same_content(database: ProductsDatabase, epochs: list[EpochProducts]) -> None:
    database.replace_epochs(sky().epochs())
    before = dump(database)
    assert database.polarization().empty and database.polarized_sources().empty
    assert database.replace_epochs(epochs).written == [one.epoch for one in epochs]
    with database.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM sources WHERE only_polarized"))
    without = {"stokes_measurements", "epochs"}
    assert_same_rows({k: v for k, v in dump(database).items() if k not in without},
                     {k: v for k, v in before.items() if k not in without})  # fmt: skip


def test_older_databases_get_the_table(database: ProductsDatabase) -> None:
    database.replace_epochs(Survey(n_sources=5, n_epochs=1).epochs())
    before = dump(database)
    with schema._migrating(database.engine) as connection:
        schema.views.drop_views(connection)
        command.downgrade(schema.alembic_config(connection), "0012")
    database.upgrade()
    assert database.check() == []
    assert_same_rows(dump(database), before)
