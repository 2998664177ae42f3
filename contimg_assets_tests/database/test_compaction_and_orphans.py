"""Compaction and the search for orphans, on each engine."""

from __future__ import annotations

import sqlalchemy as sa

from contimg_assets.database import ProductsDatabase
from contimg_assets.database.engine import writing
from contimg_assets_tests.database.conftest import assert_same_rows, dump
from contimg_assets_tests.database.survey import Survey


def test_compaction_gives_space_back_and_keeps_every_row(database: ProductsDatabase) -> None:
    survey = Survey(n_sources=400, n_epochs=6)
    database.replace_epochs(survey.epochs())
    for number in range(4):
        database.delete_epoch(survey.names[number])
    rows = dump(database)
    before, after = database.compact()
    assert before > 0
    assert after == database.size_bytes()
    assert_same_rows(dump(database), rows)
    if database.engine.dialect.name == "postgresql":
        vacuumed = database.query("SELECT relname, last_vacuum FROM pg_stat_user_tables WHERE last_analyze IS NOT NULL")
        tables = {"measurements", "sources", "associations"}
        assert tables <= set(vacuumed["relname"])
        # Of a divided table the parts are.
        assert tables <= set(vacuumed["relname"][vacuumed["last_vacuum"].notna()].str.replace(r"_\d+$", "", regex=True))
    else:
        # A third of the rows is left: the file shrinks by more than a third.
        assert after < 0.67 * before
        assert database.query("SELECT count(*) AS n FROM sqlite_stat1")["n"][0] > 0


def test_a_sound_database_has_no_orphans(database: ProductsDatabase) -> None:
    survey = Survey(n_images=2)
    database.replace_epochs(survey.epochs())
    assert database.orphans() == {}


def test_orphans_are_counted(database: ProductsDatabase) -> None:
    survey = Survey(n_sources=20)
    database.replace_epochs(survey.epochs())
    source = database.read_table("sources")["id"][3]
    n = len(database.light_curve(source, limits=False))
    with writing(database.engine) as connection:
        connection.execute(sa.text("DELETE FROM associations WHERE source_id = :s"), {"s": source})
    assert database.orphans() == {
        "sources without a measurement": 1,
        "measurements without a source": n,
    }
