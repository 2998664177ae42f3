"""The schema: migrations from version to version with rows in the tables, no drift from the models, comments, views."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from alembic import command
from typer.testing import CliRunner

from contimg_assets.cli.app import app
from contimg_assets.database import ProductsDatabase, schema
from contimg_assets.database.engine import reading
from contimg_assets.database.export import exportable
from contimg_assets.database.models import TABLES, arrow_type, describe_table, sql_type
from contimg_assets.database.views import VIEWS, drop_views
from contimg_assets.errors import StoreError
from contimg_assets_tests.database.conftest import assert_same_rows, dump
from contimg_assets_tests.database.survey import Survey


def test_upgrade_of_nothing(url: str) -> None:
    with ProductsDatabase(url) as database:
        assert database.current() is None
        assert "run `contimg db upgrade`" in database.check()[0]
        assert database.upgrade() == database.current() == schema.newest_revision()
        assert database.check() == []
        assert database.upgrade() == schema.newest_revision()


def test_an_old_database_with_rows_is_upgraded(url: str) -> None:
    survey = Survey()
    with ProductsDatabase(url) as database:
        database.upgrade()
        database.replace_epochs(survey.epochs())
        before = dump(database)
        # As the first version would have written it: what came later is taken out again.
        with schema._migrating(database.engine) as connection:
            drop_views(connection)
            command.downgrade(schema.alembic_config(connection), "0001")
        assert database.current() == "0001"
        assert any("schema revision is 0001" in fault for fault in database.check())
        with reading(database.engine) as connection:
            assert "n_epoch_scale" in {one["name"] for one in sa.inspect(connection).get_columns("corrections")}
        assert database.upgrade() == schema.newest_revision()
        assert database.check() == []
        # What the first version did not measure comes when an epoch is written again.
        assert_same_rows(dump(database), {**before, "image_depths": []})
        assert len(database.query("SELECT * FROM photometry")) == survey.seen.sum()
        # It goes on as if it had always been new.
        assert database.replace_epochs(survey.epochs()).written == []


def test_a_database_of_the_first_version_is_upgraded_and_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three epochs, of which the first came last, with counterparts and a decision: frozen as text, never made anew."""
    frozen = Path(__file__).with_name("products_0001.sql").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CONTIMG_CONFIG", raising=False)
    with closing(sqlite3.connect("products.sqlite3")) as connection:
        connection.executescript(frozen)
        before = rows_of(connection)
    assert {name for name, rows in before.items() if not rows} == {"source_relations"}

    def contimg(*arguments: str, status: int = 0) -> str:
        result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})
        assert result.exit_code == status, (result.output, result.exception)
        return result.stdout

    assert contimg("db", "current").strip() == "0001"
    contimg("db", "check", status=1)
    contimg("db", "upgrade")
    contimg("db", "check")
    with closing(sqlite3.connect("products.sqlite3")) as connection:
        after = rows_of(connection, {name: list(rows[0]) for name, rows in before.items() if rows})
    # Their place is a table of its own now.
    moved = {"epoch_scale", "epoch_scale_err", "n_epoch_scale"}
    before["corrections"] = [{k: v for k, v in row.items() if k not in moved} for row in before["corrections"]]
    limits = {row["measurement_id"]: row for row in before["measurements"] if row["is_limit"]}
    names = sorted(
        (row["source_id"], row["epoch"], limits[row["measurement_id"]]["upper_limit_mjy_beam"])
        for row in before["associations"]
        if row["measurement_id"] in limits
    )
    without_limits = {
        name: [row for row in rows if row.get("measurement_id") not in limits]
        for name, rows in before.items()
        if name not in ("alembic_version", "epoch_limits")
    }
    assert {name: after[name] for name in without_limits} == without_limits

    (decision,) = before["match_overrides"]
    past = str(decision["source_id"])
    (present,) = [str(row["source_id"]) for row in before["source_aliases"] if row["alias"] == past]
    shown = contimg("source", past)
    assert present in shown
    assert "rejected" in shown
    assert len(contimg("lightcurve", past).splitlines()) == 4
    assert len(contimg("variables", "--p-value", "1").splitlines()) == 5
    assert len(contimg("new", "--max-false-chance", "1").splitlines()) == 3
    for table in exportable():
        contimg("export", table, "--out", f"{table}.parquet")
        assert pq.read_metadata(f"{table}.parquet").num_rows == len(after.get(table, [])) or table in VIEWS
    assert pq.read_metadata("light_curves.parquet").num_rows == len(before["associations"])
    moved_limits = pq.read_table("upper_limits.parquet").sort_by([("source_id", "ascending"), ("epoch", "ascending")])
    assert len(limits) == 4
    for (source, epoch, limit), row in zip(names, moved_limits.to_pylist(), strict=True):
        assert (row["source_id"], row["epoch"]) == (source, epoch)
        assert row["upper_limit_mjy_beam"] == pytest.approx(limit, rel=1e-8)
    contimg("export", "pairs", "--out", "pairs.parquet")
    assert pq.read_metadata("pairs.parquet").num_rows


def rows_of(
    connection: sqlite3.Connection, columns: Mapping[str, list[str]] | None = None
) -> dict[str, list[dict[str, object]]]:
    """All rows of all tables; only some columns, where given."""
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    found: dict[str, list[dict[str, object]]] = {}
    for table in tables:
        cursor = connection.execute(
            f"SELECT * FROM {table} ORDER BY 1, 2" if table != "alembic_version" else "SELECT * FROM alembic_version"
        )
        names = [column[0] for column in cursor.description]
        chosen = (columns or {}).get(table, names)
        found[table] = [
            {name: value for name, value in zip(names, row, strict=True) if name in chosen} for row in cursor
        ]
    return found


MIGRATION = """
import sqlalchemy as sa
from alembic import op
revision = "9999"
down_revision = "{newest}"
def upgrade():
    with op.batch_alter_table("epochs", recreate="auto") as batch:
        batch.alter_column("n_images", new_column_name="n_pictures")
    op.execute("{statement}")
def downgrade():
    pass
"""


@pytest.fixture
def a_later_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[None]:
    """A migration that takes apart a table others refer to."""
    folder = tmp_path / "versions"
    folder.mkdir()
    text = MIGRATION.format(newest=schema.newest_revision(), statement=request.param)
    (folder / "9999_later.py").write_text(text)
    packaged = schema.alembic_config

    def config(connection: sa.Connection | None = None) -> object:
        result = packaged(connection)
        own = Path(str(result.get_main_option("script_location"))) / "versions"
        result.set_main_option("version_locations", f"{own}:{folder}")
        return result

    monkeypatch.setattr(schema, "alembic_config", config)
    schema.newest_revision.cache_clear()
    yield
    schema.newest_revision.cache_clear()


@pytest.mark.parametrize("a_later_version", ["SELECT 1"], indirect=True)
def test_a_migration_may_take_tables_apart(database: ProductsDatabase, a_later_version: None) -> None:
    database.replace_epochs(Survey().epochs())
    before = dump(database)["measurements"]
    assert database.upgrade() == "9999"
    assert database.query("SELECT n_pictures FROM epochs").n_pictures.tolist() == [1, 1, 1, 1]
    assert dump_of(database, "measurements") == before
    with pytest.raises(sa.exc.IntegrityError), database.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM epochs"))


@pytest.mark.parametrize("a_later_version", ["DELETE FROM images"], indirect=True)
def test_a_bad_migration_changes_nothing(database: ProductsDatabase, a_later_version: None) -> None:
    database.replace_epochs(Survey().epochs())
    with pytest.raises((StoreError, sa.exc.IntegrityError)):
        database.upgrade()
    assert database.query("SELECT n_images FROM epochs").n_images.tolist() == [1, 1, 1, 1]
    assert len(database.query("SELECT * FROM photometry"))


def dump_of(database: ProductsDatabase, name: str) -> list[tuple]:
    table = TABLES[name]
    with database.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.select(table).order_by(*table.primary_key.columns)).all()]


def test_a_newer_database_is_left_alone(database: ProductsDatabase) -> None:
    with database.engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '7777'"))
    with pytest.raises(StoreError, match="revision 7777, which this version of contimg_assets does not know"):
        database.upgrade()


def test_drift_is_found(database: ProductsDatabase) -> None:
    with database.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE reference_catalogs ADD COLUMN colour TEXT"))
        connection.execute(sa.text("DROP VIEW photometry"))
    faults = database.check()
    assert any("colour" in fault for fault in faults)
    assert any("view photometry is missing" in fault for fault in faults)
    database.upgrade()
    assert not any("view" in fault for fault in database.check())


def test_every_migration_can_be_undone(url: str) -> None:
    from contimg_assets.database.views import drop_views

    with ProductsDatabase(url) as database:
        database.upgrade()
        with schema._migrating(database.engine) as connection:
            drop_views(connection)
            command.downgrade(schema.alembic_config(connection), "base")
        with database.engine.connect() as connection:
            assert set(sa.inspect(connection).get_table_names()) == {"alembic_version"}
        assert database.upgrade() == schema.newest_revision()


def test_a_migration_is_written_for_developers(tmp_path: Path) -> None:
    column: sa.Column = sa.Column("colour", sa.Text(), comment="What it looks like")
    TABLES["reference_catalogs"].append_column(column)
    try:
        text = schema.write_migration("colours", tmp_path).read_text()
    finally:
        TABLES["reference_catalogs"]._columns.remove(column)
    assert f"down_revision: str | None = '{schema.newest_revision()}'" in text
    assert "add_column(sa.Column('colour', sa.Text()" in text


def test_columns_say_what_they_hold_and_their_units() -> None:
    for table in TABLES.values():
        for column in table.columns:
            assert column.comment, f"{table.name}.{column.name}"
    assert TABLES["sources"].c.ra_deg.comment.endswith("[deg]")
    assert TABLES["measurements"].c.flux_int_corr_mjy.comment.endswith("[mJy]")


def test_tables_and_columns_are_described_in_words() -> None:
    described = describe_table("sources")
    assert described.description == "What measurements of different epochs are measurements of."
    assert [column.name for column in described.columns] == list(TABLES["sources"].columns.keys())
    ra = described.columns[2]
    assert (ra.name, ra.type, ra.nullable) == ("ra_deg", "DOUBLE", False)
    assert ra.description.endswith("[deg]")


def test_types_go_to_the_database_and_back() -> None:
    for kind in (pa.float64(), pa.int64(), pa.bool_(), pa.string()):
        assert arrow_type(sql_type(kind)) == kind


def test_comments_reach_postgres(postgres_url: str) -> None:
    with ProductsDatabase(postgres_url) as database:
        database.upgrade()
        with database.engine.connect() as connection:
            columns = {c["name"]: c for c in sa.inspect(connection).get_columns("sources")}
    assert columns["first_mjd"]["comment"] == "Time of the first detection, MJD UTC [d]"


def test_tables_and_views_of_the_design(database: ProductsDatabase) -> None:
    assert set(TABLES) >= {
        *("epochs", "images", "measurements", "sources", "associations", "source_relations", "source_aliases"),
        *("reference_catalogs", "cross_matches", "match_overrides", "corrections", "variability"),
    }
    assert set(TABLES["cross_matches"].columns.keys()) >= {
        *("id", "source_id", "catalog_type", "catalog_source_id", "separation_arcsec", "dra_arcsec", "ddec_arcsec"),
        *("flux_ratio", "match_quality", "probability", "manual", "comment", "created_at"),
    }
    with database.engine.connect() as connection:
        assert set(sa.inspect(connection).get_view_names()) == set(VIEWS)


@pytest.mark.parametrize("kind", ["TABLE", "VIEW"])
@pytest.mark.parametrize("name", ["photometry", "sources"])
def test_another_programs_database_is_left_alone(url: str, kind: str, name: str) -> None:
    with ProductsDatabase(url) as database:
        with database.engine.begin() as connection:
            connection.execute(sa.text(f"CREATE {kind} {name} AS SELECT 1 AS x"))
        with pytest.raises(StoreError, match=f"has {name} of another program"):
            database.upgrade()
        assert database.query(f"SELECT x FROM {name}")["x"].tolist() == [1]
        assert database.current() is None
