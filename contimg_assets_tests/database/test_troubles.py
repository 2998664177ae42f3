"""A database that is full, gone, locked or not ours to write: one sentence with the cure, and nothing is lost."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from contimg_assets.database import ProductsDatabase, engine
from contimg_assets.errors import StoreError
from contimg_assets_tests.database.survey import Survey


def pragma(database: ProductsDatabase, *statements: str) -> None:
    """Say something on each connection as soon as it is made; those that are open are closed."""

    @sa.event.listens_for(database.engine, "connect")
    def _say(connection, _record) -> None:
        for statement in statements:
            connection.execute(f"PRAGMA {statement}")

    database.engine.dispose()


def full(database: ProductsDatabase, _: Path) -> None:
    with database.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    pragma(database, f"max_page_count = {pages}")


def read_only(database: ProductsDatabase, _: Path) -> None:
    pragma(database, "query_only = ON")


def locked(database: ProductsDatabase, file: Path) -> None:
    other = sa.create_engine(f"sqlite:///{file}")
    connection = other.connect()
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    connection.exec_driver_sql("CREATE TABLE held (x)")
    sa.event.listen(database.engine, "close", lambda *_: connection.close(), once=True)
    pragma(database, "busy_timeout = 10")


def spoiled(database: ProductsDatabase, file: Path) -> None:
    database.close()
    with file.open("r+b") as stream:
        stream.write(b"no database at all")


def gone(database: ProductsDatabase, file: Path) -> None:
    database.close()
    shutil.rmtree(file.parent)


@pytest.mark.parametrize(
    ("happen", "cure"),
    [(full, "make room"), (read_only, "ask for permission"), (locked, "try again"), (spoiled, "backup"), (gone, "ask")],
    ids=["full", "read-only", "locked", "spoiled", "gone"],
)
def test_trouble_is_told_with_its_cure(
    empty_database: Path, tmp_path: Path, happen: Callable[[ProductsDatabase, Path], None], cure: str
) -> None:
    file = tmp_path / "folder" / "products.sqlite3"
    file.parent.mkdir()
    shutil.copy(empty_database, file)
    with ProductsDatabase(f"sqlite:///{file}") as database:
        happen(database, file)
        with pytest.raises(StoreError, match=rf"products\.sqlite3 cannot be used \(.*\); .*{cure}"):
            database.replace_epochs(Survey().epochs())
    if file.exists() and happen is not spoiled:
        with ProductsDatabase(f"sqlite:///{file}") as database:
            assert database.recorded_versions() == {}
            database.replace_epochs(Survey().epochs())
            assert len(database.recorded_versions()) > 1


def test_compaction_that_finds_no_room_is_told(empty_database: Path, tmp_path: Path) -> None:
    from contimg_assets.database.compaction import compact

    file = tmp_path / "products.sqlite3"
    shutil.copy(empty_database, file)
    with ProductsDatabase(f"sqlite:///{file}") as database:
        read_only(database, file)
        with pytest.raises(StoreError, match="cannot be compacted"):
            compact(database.engine)


@pytest.mark.parametrize("state", ["25006", "53100", "42501", "57P03"])
def test_what_postgresql_says_is_trouble_too(state: str) -> None:
    kinds = {"25006": sa.exc.InternalError, "42501": sa.exc.ProgrammingError}
    said = {
        "25006": "cannot execute INSERT in a read-only transaction",
        "53100": 'could not extend file "base/1/2": No space left on device',
        "42501": "permission denied for table sources",
        "57P03": "the database system is starting up",
    }[state]
    origin = Exception(said)
    origin.sqlstate = state  # type: ignore[attr-defined]
    error = kinds.get(state, sa.exc.OperationalError)("INSERT", {}, origin)
    sentence = str(engine.trouble(error, "the database"))
    cure = {"25006": "permission", "53100": "make room", "42501": "permission", "57P03": "server runs"}[state]
    assert cure in sentence
    assert sentence.startswith("the database cannot be used (")


def test_a_postgresql_database_that_may_only_be_read_is_told(postgres_url: str) -> None:
    with ProductsDatabase(postgres_url) as database:
        database.upgrade()
        with database.engine.connect() as connection, connection.begin():
            name = connection.engine.url.database
            connection.exec_driver_sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with ProductsDatabase(postgres_url) as database:
        with pytest.raises(StoreError, match=r"cannot be used \(.*read-only.*\); ask for permission"):
            database.replace_epochs(Survey().epochs())
        assert database.recorded_versions() == {}
