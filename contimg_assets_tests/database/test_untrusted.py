"""An image that is not trusted teaches nothing: its measurements are there, flagged, and no statistic counts them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from contimg_assets.database import ProductsDatabase
from contimg_assets.database.blocks import epoch_points, pack, unpack
from contimg_assets.database.engine import reading, writing
from contimg_assets.database.epoch_products import EpochProducts
from contimg_assets.database.export import export, export_pairs
from contimg_assets.database.models import TABLES
from contimg_assets.database.writing.stored import read_images
from contimg_assets_tests.database.conftest import assert_same_rows, dump
from contimg_assets_tests.database.survey import Survey

BROKEN = 2


def broken(epoch: EpochProducts) -> EpochProducts:
    """The epoch as an image left it that is not trusted: fluxes five times too faint, positions an arcminute off."""
    measurements = pd.DataFrame(epoch.measurements).assign(trusted=False)
    for name in measurements:
        if name.startswith("flux_") and name.endswith(("_corr_mjy_beam", "_corr_mjy")) and "err" not in name:
            measurements[name] /= 5.0
    measurements["dec_corr_deg"] += 1.0 / 60.0
    return replace(epoch, measurements=measurements, corrections=pd.DataFrame(epoch.corrections).assign(trusted=False))


def with_broken(survey: Survey) -> list[EpochProducts]:
    epochs = survey.epochs()
    return [broken(epoch) if number == BROKEN else epoch for number, epoch in enumerate(epochs)]


@pytest.fixture
def with_and_without(
    database: ProductsDatabase, sqlite_url: str, empty_database: Path, tmp_path: Path, survey: Survey
) -> tuple[ProductsDatabase, ProductsDatabase]:
    """A survey with an image that is not trusted, and the same without that image."""
    database.replace_epochs(with_broken(survey))
    other = ProductsDatabase(tmp_path / "without.sqlite3")
    other.upgrade()
    other.replace_epochs([epoch for number, epoch in enumerate(survey.epochs()) if number != BROKEN])
    return database, other


def by_id(database: ProductsDatabase, table: str) -> pd.DataFrame:
    key = "id" if table == "sources" else "source_id"
    return database.read_table(table).set_index(key).sort_index()


def test_it_is_no_part_of_any_statistic(
    with_and_without: tuple[ProductsDatabase, ProductsDatabase], survey: Survey
) -> None:
    broken_one, clean = (by_id(database, "variability") for database in with_and_without)
    both = broken_one.index.intersection(clean.index)
    assert len(both) > 20
    invalid = [name for name in broken_one if name.startswith("n_invalid")]
    pd.testing.assert_frame_equal(
        broken_one.loc[both].drop(columns=invalid), clean.loc[both].drop(columns=invalid), check_dtype=False
    )
    assert broken_one.loc[both, "n_invalid_peak"].sum() > 10
    # Nor of positions, first detections and extremes.
    broken_one, clean = (by_id(database, "sources") for database in with_and_without)
    names = ["ra_deg", "dec_deg", "uncertainty_ew_arcsec", "first_mjd", "first_epoch", "last_mjd", "first_dec_deg",
             "min_snr", "flux_peak_mjy_beam", "compactness"]  # fmt: skip
    pd.testing.assert_frame_equal(broken_one.loc[both, names], clean.loc[both, names])
    assert (broken_one["n_untrusted"] == 1).sum() == survey.seen[BROKEN].sum()


def test_its_measurements_are_there_and_flagged(
    with_and_without: tuple[ProductsDatabase, ProductsDatabase], survey: Survey
) -> None:
    database, _ = with_and_without
    name = survey.names[BROKEN]
    measured = database.query("SELECT trusted FROM measurements WHERE epoch = :epoch", {"epoch": name})
    assert len(measured) == survey.seen[BROKEN].sum() and not measured["trusted"].astype(bool).any()
    assert not database.read_table("corrections").set_index("epoch").loc[name, "trusted"]
    source = by_id(database, "sources").query("n_untrusted == 1 and n_measurements > 2").index[0]
    curve = database.light_curve(source, limits=False)
    assert curve["epoch"][~curve["trusted"].astype(bool)].tolist() == [name]
    with reading(database.engine) as connection:
        images = read_images(connection).set_index("epoch")["trusted"]
    assert images[~images].index.tolist() == [name]


def test_a_source_of_untrusted_images_alone_stays_without_statistics(database: ProductsDatabase) -> None:
    survey = Survey(n_sources=10, n_epochs=3, detected=1.0)
    survey.seen[:, 4] = [False, True, False]
    epochs = survey.epochs()
    database.replace_epochs([epochs[0], broken(epochs[1]), epochs[2]])
    (only,) = by_id(database, "sources").query("n_untrusted == n_measurements").index
    row = database.source(only)
    assert row["first_epoch"] == row["last_epoch"] == survey.names[1]
    assert np.isfinite(row[["ra_deg", "dec_deg"]].to_numpy(dtype=float)).all()
    assert pd.isna(row["flux_peak_mjy_beam"])
    statistics = database.source_variability(only).iloc[0]
    assert statistics["n_peak"] == 0
    assert statistics[["flux_peak_mean_mjy_beam", "eta_peak", "log10_p_value_peak"]].isna().all()
    assert only not in set(database.variables()["source_id"])


def test_any_order_of_arrival_ends_in_the_same_rows(database: ProductsDatabase, tmp_path: Path, survey: Survey) -> None:
    epochs = with_broken(survey)
    database.replace_epochs(epochs)
    with ProductsDatabase(tmp_path / "other.sqlite3") as other:
        other.upgrade()
        # First taken for a good one.
        other.replace_epochs([epochs[4], survey.epoch(BROKEN, skip=frozenset({0, 1, 3}))])
        other.replace_epochs([epochs[number] for number in (1, 3, 0, 2, 4)])
        without = ("source_aliases",)
        assert_same_rows(dump(other, without), dump(database, without))


def test_its_pairs_do_not_count(
    with_and_without: tuple[ProductsDatabase, ProductsDatabase], survey: Survey, tmp_path: Path
) -> None:
    n = np.delete(survey.seen, BROKEN, axis=0).sum(axis=0)
    assert export_pairs(with_and_without[0], tmp_path / "pairs.parquet") == (n * (n - 1) // 2).sum()


def test_blocks_of_earlier_versions_are_trusted(database: ProductsDatabase, survey: Survey) -> None:
    database.replace_epochs(survey.epochs())
    before = dump(database, without=("epoch_blocks",))
    blocks = TABLES["epoch_blocks"]
    with writing(database.engine) as connection:
        for row in connection.execute(sa.select(blocks.c.epoch, blocks.c.points)).all():
            old = unpack(row.points).drop_columns(["trusted"])
            assert epoch_points(old, pa.table({"source": [], "measurement": []})).own["trusted"].all()
            connection.execute(sa.update(blocks).where(blocks.c.epoch == row.epoch).values(points=pack(old)))
    # An epoch that is written beside them reads them again.
    database.replace_epochs([], delete=[survey.names[4]])
    database.replace_epochs([survey.epoch(4)])
    assert_same_rows(dump(database, without=("epoch_blocks",)), before)


# --- questions about variables ------------------------------------------------------------------------------------


def noisy(database: ProductsDatabase, n_sources: int = 400, n_varying: int = 40) -> set[str]:
    """Fill the database with sources whose errors are half of what they scatter, and some that vary; return these."""
    survey = Survey(n_sources=n_sources, n_epochs=6, detected=1.0)
    rng = np.random.default_rng(5)
    survey.flux_seen = 100.0 + rng.normal(scale=2.0, size=survey.flux_seen.shape)
    survey.flux_seen[:, :n_varying] *= rng.lognormal(0, 0.5, (6, n_varying))
    database.replace_epochs(survey.epochs())
    ids = dict(zip(survey.births(), range(n_sources), strict=True))
    associations = database.read_table("associations")
    born = associations[associations["measurement_id"].isin(ids)]
    return set(born.loc[born["measurement_id"].map(ids) < n_varying, "source_id"])


def test_variables_up_to_a_q_value(database: ProductsDatabase) -> None:
    varying = noisy(database)
    by_theory = set(database.variables(p_value=1e-2)["source_id"])
    assert len(by_theory - varying) > 60
    found = database.variables(q_value=0.05)
    assert len(set(found["source_id"]) - varying) <= 5
    assert len(set(found["source_id"]) & varying) >= 38
    assert (found["q_value_peak"] <= 0.05).all()
    assert found["log10_p_value_peak"].is_monotonic_increasing
    np.testing.assert_allclose(10.0 ** found["log10_p_value_peak"], found["p_value_peak"], rtol=1e-9)
    # A q-value is that of the whole survey, whatever else is asked.
    few = database.variables(q_value=0.05, v=0.3, limit=7)
    assert len(few) == 7 and (few["v_peak"] >= 0.3).all()
    q = found.set_index("source_id")["q_value_peak"]
    assert few["q_value_peak"].tolist() == q[few["source_id"]].tolist()
    judged = database.significances().set_index("source_id")
    assert len(judged) == 400
    assert judged.loc[q.index, "q_value_peak"].tolist() == q.tolist()
    assert len(database.variables(q_value=1.0)) == len(database.variables()) == 400


def test_a_night_rewrites_no_statistics_of_sources_that_it_does_not_see(database: ProductsDatabase) -> None:
    survey = Survey(n_sources=60, n_epochs=4, detected=1.0)
    survey.seen[3, :30] = False
    database.replace_epochs(survey.epochs()[:3])
    before = by_id(database, "variability")
    q = database.significances().set_index("source_id")["q_value_peak"]
    database.replace_epochs([survey.epoch(3)])
    same = by_id(database, "variability").loc[before.index].eq(before) | before.isna()
    assert same.all(axis=1).sum() >= 30
    # Their q-values follow all the same.
    assert not database.significances().set_index("source_id")["q_value_peak"].loc[q.index].equals(q)


def test_variables_export_with_their_q_values(filled_database: ProductsDatabase, tmp_path: Path) -> None:
    for suffix in ("parquet", "xml", "csv", "fits"):
        assert export(filled_database, "variables", tmp_path / f"v.{suffix}") == len(filled_database.variables())
    table = pq.read_table(tmp_path / "v.parquet")
    assert table.column_names == list(filled_database.variables())
    assert table["q_value_peak"].to_pylist() == filled_database.variables()["q_value_peak"].tolist()
    assert table.schema.field("flux_peak_max_mjy_beam").metadata[b"unit"] == b"mJy / beam"
