"""Databases to test on: SQLite always, PostgreSQL where Debian's server is installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from contimg_assets.database import ProductsDatabase
from contimg_assets.database.models import TABLES
from contimg_assets_tests.database.survey import Survey

# Aliases tell what was here before: they are history by nature.
HISTORY = ("source_aliases", "recomputed_with")


def _server_programs() -> Path | None:
    """Folder of initdb and postgres; Debian keeps them out of PATH."""
    found = shutil.which("initdb")
    if found:
        return Path(found).parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return installed[-1].parent if installed else None


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL (without database) of a PostgreSQL server on a temporary folder and a free loopback port."""
    programs = _server_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed; `apt-get install postgresql` to run these tests")
    pytest.importorskip("psycopg", reason="psycopg is not installed; pip install 'contimg-assets[postgres]'")
    folder = tmp_path_factory.mktemp("postgres")
    data = folder / "data"
    # The server refuses to run as root; Debian's package brings a user for it.
    as_user: list[str] = []
    if os.geteuid() == 0:
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]
        for path in (folder, *folder.parents):
            if path == Path(path.anchor) or path.stat().st_mode & 0o001:
                continue
            path.chmod(path.stat().st_mode | 0o001)
        shutil.chown(folder, "postgres", "postgres")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    subprocess.run(
        [
            *as_user,
            str(programs / "initdb"),
            "-D",
            str(data),
            "-U",
            "contimg",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
            "--locale=C",
        ],
        check=True,
        capture_output=True,
        cwd=folder,
    )
    log = (folder / "log").open("wb")
    server = subprocess.Popen(
        [
            *as_user,
            str(programs / "postgres"),
            "-D",
            str(data),
            "-h",
            "127.0.0.1",
            "-p",
            str(port),
            "-k",
            str(folder),
            "-F",
        ],
        stdout=log,
        stderr=log,
        cwd=folder,
    )
    url = f"postgresql+psycopg://contimg@127.0.0.1:{port}"
    try:
        _wait_for(f"{url}/postgres", server)
        yield url
    finally:
        server.terminate()
        server.wait(timeout=60)
        log.close()


def _wait_for(url: str, server: subprocess.Popen) -> None:
    import time

    engine = sa.create_engine(url, poolclass=sa.NullPool)
    for _ in range(200):
        if server.poll() is not None:
            pytest.fail("the PostgreSQL server stopped while starting")
        try:
            engine.connect().close()
            return
        except sa.exc.OperationalError:
            time.sleep(0.1)
    pytest.fail("the PostgreSQL server did not start within 20 s")


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite database without rows, to copy: migrations take longer than most tests."""
    file = tmp_path_factory.mktemp("empty") / "products.sqlite3"
    with ProductsDatabase(f"sqlite:///{file}") as database:
        database.upgrade()
    return file


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
    name = f"products_{os.urandom(4).hex()}"
    engine = sa.create_engine(f"{postgres_server}/postgres", isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    # Not dropped: the server goes, and its folder with it.
    return f"{postgres_server}/{name}"


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    """Each engine in turn."""
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture
def database(url: str, empty_database: Path) -> Iterator[ProductsDatabase]:
    if url.startswith("sqlite"):
        shutil.copy(empty_database, url.removeprefix("sqlite:///"))
    with ProductsDatabase(url) as database:
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
