"""Measurements and their sources joined in SQL as people write it: by an index whatever the join names."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from contimg_assets.database import ProductsDatabase
from contimg_assets.schemas.variability import SOURCE_MEASUREMENTS
from contimg_assets_tests.database.survey import Survey

SELECTIONS = {
    "all": "measurements m JOIN associations a ON a.measurement_id = m.measurement_id",
    "using": "measurements m JOIN associations a USING (measurement_id)",
    "without a source too": "measurements m LEFT JOIN associations a ON a.measurement_id = m.measurement_id",
    "the other way round": "associations a LEFT JOIN measurements m ON a.measurement_id = m.measurement_id",
    "three tables": "sources s JOIN associations a ON a.source_id = s.id "
    "JOIN measurements m ON m.measurement_id = a.measurement_id",
    "by the whole key": "measurements m JOIN associations a ON a.epoch = m.epoch "
    "AND a.measurement_id = m.measurement_id",
    "the view": "source_measurements",
}


@pytest.mark.parametrize("selection", SELECTIONS.values(), ids=list(SELECTIONS))
def test_a_join_on_the_id_alone_scans_one_table_only(sqlite_url: str, selection: str) -> None:
    with ProductsDatabase(sqlite_url) as database:
        database.upgrade()
        plan = database.query(f"EXPLAIN QUERY PLAN SELECT count(*) FROM {selection}")["detail"]
    # A second scan would be made for every row of the first.
    assert plan.str.startswith("SCAN").sum() == 1, plan.tolist()
    assert plan.str.startswith("SEARCH").sum() == len(plan) - 1


@pytest.mark.parametrize("name", ["measurements", "associations"])
def test_a_measurement_is_found_by_its_id_alone(sqlite_url: str, name: str) -> None:
    with ProductsDatabase(sqlite_url) as database:
        database.upgrade()
        plan = database.query(f"EXPLAIN QUERY PLAN SELECT * FROM {name} WHERE measurement_id = 'x'")["detail"]
    assert plan.tolist() == [f"SEARCH {name} USING INDEX ix_{name}_measurement_id (measurement_id=?)"]


def test_joins_of_twenty_thousand_rows_agree(database: ProductsDatabase) -> None:
    survey = Survey(n_sources=2500, n_epochs=10)
    database.replace_epochs(survey.epochs())
    counts = {name: _count(database, selection) for name, selection in SELECTIONS.items()}
    assert survey.seen.sum() > 19_000
    assert set(counts.values()) == {survey.seen.sum()}, counts


def _count(database: ProductsDatabase, selection: str) -> int:
    return int(database.query(f"SELECT count(*) AS n FROM {selection}")["n"][0])


def test_the_view_has_every_column_of_measurements_and_the_source(filled_database: ProductsDatabase) -> None:
    rows = filled_database.query("SELECT * FROM source_measurements ORDER BY source_id, measurement_id")
    assert list(rows.columns) == SOURCE_MEASUREMENTS.names
    measurements = filled_database.read_table("measurements").set_index("measurement_id")
    assert set(measurements.columns) < set(rows.columns)
    owner = filled_database.read_table("associations").set_index("measurement_id")["source_id"]
    assert (rows["source_id"].to_numpy() == owner.loc[rows["measurement_id"]].to_numpy()).all()
    assert (rows["ra_deg"].to_numpy() == measurements.loc[rows["measurement_id"], "ra_deg"].to_numpy()).all()
    assert not rows["is_limit"].any()


def test_indices_are_there_on_both_engines(database: ProductsDatabase) -> None:
    with database.engine.connect() as connection:
        for name in ("measurements", "associations"):
            indices = {index["name"]: index["column_names"] for index in sa.inspect(connection).get_indexes(name)}
            assert indices[f"ix_{name}_measurement_id"] == ["measurement_id"]


@pytest.mark.parametrize("condition", ["source_id = 'x'", "epoch = 'x'", "epoch = 'x' AND image = 'y'"])
@pytest.mark.parametrize("view", ["upper_limits", "light_curves"])
def test_limits_are_found_by_indices(sqlite_url: str, view: str, condition: str) -> None:
    with ProductsDatabase(sqlite_url) as database:
        database.upgrade()
        plan = database.query(f"EXPLAIN QUERY PLAN SELECT * FROM {view} WHERE {condition}")["detail"].tolist()
    # The last line of a view of several parts reads these.
    assert [step for step in plan if step.startswith("SCAN")] in ([], [f"SCAN {view}"]), plan
    (limits,) = [step for step in plan if step.startswith("SEARCH l ")]
    assert ("(cell=?)" if "source" in condition else "(epoch=?)") in limits
