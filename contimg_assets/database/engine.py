"""Connections: SQLite tuned for one writer beside many readers, PostgreSQL; transactions that wait, not fail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from contimg_assets.errors import StoreError

# A writer that backfills a thousand epochs may hold the lock for minutes; the others wait rather than fail.
BUSY_TIMEOUT_SECONDS = 1800
_WRITES = "contimg_writes"
# One number that all writers of a PostgreSQL database agree to lock on.
_ADVISORY_LOCK = 0x636F6E74


def open_engine(url: str) -> Engine:
    """Engine for a products database.

    Raises
    ------
    StoreError
        If the URL is not one, its driver is not installed, or its folder does not exist.
    """
    try:
        parsed = sa.make_url(url)
        if parsed.get_backend_name() == "sqlite":
            return _sqlite(parsed)
        if parsed.get_backend_name() == "postgresql":
            if parsed.drivername == "postgresql":
                parsed = parsed.set(drivername="postgresql+psycopg")
            return sa.create_engine(parsed, pool_pre_ping=True)
    except sa.exc.ArgumentError as error:
        raise StoreError(
            f"{url!r} is not a database URL; use sqlite:///products.sqlite3 or postgresql://..."
        ) from error
    except ModuleNotFoundError as error:
        raise StoreError(
            f"{error.name} is needed for {parsed.get_backend_name()} databases; pip install 'contimg-assets[postgres]'"
        ) from error
    raise StoreError(f"databases of kind {parsed.get_backend_name()!r} are not supported; use sqlite or postgresql")


def _sqlite(url: sa.URL) -> Engine:
    if url.database in (None, "", ":memory:"):
        raise StoreError("the products database must be a file, as in sqlite:///products.sqlite3")
    folder = Path(str(url.database)).absolute().parent
    if not folder.is_dir():
        raise StoreError(f"{folder} does not exist; create the folder of the products database first")
    engine = sa.create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_SECONDS})

    @sa.event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: Any) -> None:
        # Transactions begin where SQLAlchemy says, see _begin, and not where the driver guesses.
        connection.isolation_level = None
        for pragma in (
            "journal_mode = WAL",
            "synchronous = NORMAL",
            "foreign_keys = ON",
            "cache_size = -131072",
            # Every epoch adds a point to most sources: pages are written to again soon, so the log is copied back late.
            "wal_autocheckpoint = 20000",
            "temp_store = MEMORY",
            # Blocks of light curves are read straight from the file, without a copy in the cache.
            "mmap_size = 1073741824",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A transaction that reads before it writes fails at once if another wrote in between: writers lock first.
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def writing_options(engine: Engine) -> Engine:
    """The engine, for connections whose transactions write."""
    return engine.execution_options(**{_WRITES: True})


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that writes: one at a time, others wait; committed at the end, or nothing of it happened."""
    with writing_options(engine).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that sees one state of the database from its first question to its last."""
    options = {"isolation_level": "REPEATABLE READ"} if engine.dialect.name == "postgresql" else {}
    with engine.execution_options(**options).connect() as connection, connection.begin():
        yield connection
