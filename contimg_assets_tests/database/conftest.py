"""Databases to test on: SQLite always, PostgreSQL where Debian's server is installed, whole and divided by tiles."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from contimg_assets.database import ProductsDatabase
from contimg_assets.database.models import TABLES
from contimg_assets_tests import postgres
from contimg_assets_tests.database.survey import Survey

# Aliases tell what was here before: they are history by nature.
HISTORY = ("source_aliases", "recomputed_with")
# Cells so small that the patch of the test's survey lies in several.
PARTITION_ORDER = 6
# What is also tried on a divided database each time, and what is among the slow tests: all that writes the divided
# tables in another way, or asks them another thing.
_DIVIDED_EACH_TIME = {"test_aliases"}
_DIVIDED_AMONG_THE_SLOW = {
    *("test_bands", "test_compaction_and_orphans", "test_concurrency", "test_far_epochs", "test_joins", "test_limits"),
    *("test_matches", "test_new_sources", "test_queries", "test_schema", "test_writing"),
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "engine" in metafunc.fixturenames:
        # What makes its tables itself decides there whether they are divided.
        may_be_divided = metafunc.definition.path.stem in _DIVIDED_EACH_TIME | _DIVIDED_AMONG_THE_SLOW
        divided = ("divided",) if may_be_divided and "url" not in metafunc.fixturenames else ()
        metafunc.parametrize("engine", ["sqlite", "postgres", *divided], indirect=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        case = getattr(item, "callspec", None)
        if case and case.params.get("engine") == "divided" and item.path.stem not in _DIVIDED_EACH_TIME:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL (without database) of a PostgreSQL server on a temporary folder and a free loopback port."""
    if postgres.server_programs() is None:
        pytest.skip("PostgreSQL is not installed; `apt-get install postgresql` to run these tests")
    pytest.importorskip("psycopg", reason="psycopg is not installed; pip install 'contimg-assets[postgres]'")
    with postgres.running() as url:
        yield url


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite database without rows, to copy: migrations take longer than most tests."""
    file = tmp_path_factory.mktemp("empty") / "products.sqlite3"
    with ProductsDatabase(f"sqlite:///{file}") as database:
        database.upgrade()
    return file


@pytest.fixture(scope="session")
def empty_postgres(postgres_server: str) -> str:
    """Name of a PostgreSQL database without rows, to copy."""
    return _empty_database(postgres_server)


@pytest.fixture(scope="session")
def empty_divided(postgres_server: str) -> str:
    """The same, divided by tiles."""
    return _empty_database(postgres_server, PARTITION_ORDER)


def _empty_database(server: str, partition_order: int | None = None) -> str:
    url = postgres.fresh_database(server)
    with ProductsDatabase(url, partition_order) as database:
        database.upgrade()
    return url.rsplit("/", 1)[1]


def copied(empty: Path, folder: Path, name: str = "products.sqlite3") -> ProductsDatabase:
    """A fresh database in a folder."""
    shutil.copy(empty, folder / name)
    return ProductsDatabase(f"sqlite:///{folder / name}")


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'products.sqlite3'}"


@pytest.fixture
def postgres_url(postgres_server: str) -> str:
    """A fresh database of the server."""
    return postgres.fresh_database(postgres_server)


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> str:
    """Each engine in turn."""
    name: str = request.param
    return name


@pytest.fixture
def url(request: pytest.FixtureRequest, engine: str) -> str:
    """A fresh database of the engine."""
    found: str = request.getfixturevalue(f"{engine}_url")
    return found


@pytest.fixture
def database(request: pytest.FixtureRequest, engine: str) -> Iterator[ProductsDatabase]:
    """A database of the engine, with tables and without rows."""
    if engine == "sqlite":
        opened = copied(request.getfixturevalue("empty_database"), request.getfixturevalue("tmp_path"))
    else:
        empty = request.getfixturevalue(f"empty_{engine}")
        opened = ProductsDatabase(postgres.fresh_database(request.getfixturevalue("postgres_server"), like=empty))
    with opened as database:
        database.upgrade()
        yield database


@pytest.fixture
def survey() -> Survey:
    return Survey(n_sources=30, n_epochs=5, detected=0.8)


@pytest.fixture
def filled_database(database: ProductsDatabase, survey: Survey) -> ProductsDatabase:
    database.replace_epochs(survey.epochs())
    return database


def dump(database: ProductsDatabase, without: tuple[str, ...] = ()) -> dict[str, list[tuple]]:
    """All rows of all tables, in the order of their keys."""
    rows = {}
    with database.engine.connect() as connection:
        for name, table in TABLES.items():
            if name not in without:
                query = sa.select(table).order_by(*table.primary_key.columns)
                rows[name] = [tuple(row) for row in connection.execute(query).all()]
    return rows


def assert_same_rows(first: dict[str, list[tuple]], second: dict[str, list[tuple]]) -> None:
    """Compare table by table, so that a difference is shown where it is."""
    assert first.keys() == second.keys()
    for name in first:
        assert first[name] == second[name], f"table {name} differs"
