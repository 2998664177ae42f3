"""Connections: SQLite tuned for one writer beside many readers, PostgreSQL; transactions that wait, not fail."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Connection as Connection
from sqlalchemy.engine import Engine as Engine

from contimg_assets.config.secrets import without_passwords
from contimg_assets.errors import StoreError

# A writer that backfills a thousand epochs may hold the lock for minutes; the others wait rather than fail.
BUSY_TIMEOUT_SECONDS = 1800
_WRITES = "contimg_writes"
_URL = "contimg_url"
# Numbers that all who use a PostgreSQL database agree to lock on: who writes, and who is just ending a transaction.
_ADVISORY_LOCK = 0x636F6E74
END_LOCK = _ADVISORY_LOCK + 1


# What is raised for a database's own error, by whichever driver.
DatabaseError = sa.exc.DBAPIError
# Of these, what is raised for a row that breaks a rule of its table, such as one that is there already.
IntegrityError = sa.exc.IntegrityError

# What databases say, and what helps; the first that fits.
_CURES = (
    (r"\bfull\b|no space left", "make room on its disk, then call `contimg run`"),
    ("not a database|malformed|disk image", "put a backup in its place, or move it away and call `contimg run`"),
    (r"disk i/o error|input/output error", "see that its disk is there and sound, then call `contimg run`"),
    ("readonly|read-only|unable to open|permission denied", "ask for permission to its file and folder or its tables"),
    ("no such (table|column)|already exists", "`contimg db upgrade` brings its schema up to date"),
    ("locked", "another program holds it; try again when that is done"),
    ("", "correct paths.products in contimg.yaml, or see that the server runs and lets you in"),
)
# PostgreSQL: no privilege, read-only. SQLAlchemy takes these for faults of programs.
_REFUSED = ("42501", "25006")


def trouble(error: DatabaseError, which: str) -> str | None:
    """What a database's own error means and what helps, in one sentence; None if it is a fault of this package.

    Parameters
    ----------
    which : the database, in words
    """
    # Not the subclasses: integrity, data and syntax are for programs to get right, but a missing permission is not.
    refused = error.connection_invalidated or getattr(error.orig, "sqlstate", None) in _REFUSED
    if not (refused or isinstance(error, sa.exc.OperationalError) or type(error) is sa.exc.DatabaseError):
        return None
    said = without_passwords(" ".join(str(error.orig).split("\n", maxsplit=1)[0].split()))
    cure = next(cure for pattern, cure in _CURES if re.search(pattern, said, re.IGNORECASE))
    return f"{which} cannot be used ({said}); {cure}"


@contextmanager
def telling_trouble(which: str) -> Iterator[None]:
    """Raise a database's own error as one sentence with its cure, where somebody can cure it.

    Parameters
    ----------
    which : the database, in words

    Raises
    ------
    StoreError
    """
    try:
        yield
    except DatabaseError as error:
        sentence = trouble(error, which)
        if sentence is None:
            raise
        raise StoreError(sentence) from error


@contextmanager
def troubles_told(engine: Engine) -> Iterator[None]:
    """A database that is full, gone, locked or not ours to write is no fault of an epoch: it is told as what it is."""
    url = engine.get_execution_options().get(_URL, str(engine.url))
    with telling_trouble(f"the products database {without_passwords(url)}"):
        yield


def url_of(place: str | Path) -> str:
    """The URL of a database: itself, or that of an SQLite file that is named by its path.

    A bare word is no file: "postgres" or a forgotten ending would quietly make an empty database.
    """
    if isinstance(place, Path) or ("://" not in place and Path(place).suffix and not place.startswith("sqlite:")):
        return f"sqlite:///{place}"
    return place


def open_log_file(url: str, wait_s: float) -> Engine:
    """Engine for an SQLite file that others made and that tells what happened, with its own log switched on.

    No transaction waits for the disk: a power cut may cost the last ones, never the file.

    Parameters
    ----------
    wait_s : how long to wait for other writers [s]
    """
    engine = sa.create_engine(url, connect_args={"timeout": wait_s})

    @sa.event.listens_for(engine, "connect")
    def _(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA synchronous=NORMAL")
        # Of a new file: each of some thirty tables and indices has a page, and most of them nothing else.
        connection.execute("PRAGMA page_size=1024")
        connection.execute("PRAGMA wal_autocheckpoint=4000")

    return engine


def is_log_file(engine: Engine) -> bool:
    """Whether the file of `open_log_file` has its tables, and says of which version they are."""
    with engine.connect() as connection:
        return _states_version(connection)


def make_log_file(engine: Engine, tables: sa.MetaData, version: str) -> None:
    """Make the tables of a new file of `open_log_file` in one step, and write into it of which version they are.

    As Alembic notes it: whoever brings such files to a later version finds nothing different. Of several processes that
    make the same file at once, one does.
    """
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        if not _states_version(connection):
            for statement in _statements(tables):
                connection.exec_driver_sql(statement)
            connection.exec_driver_sql(f"INSERT INTO {_VERSIONS.name} VALUES (?)", (version,))  # noqa: S608
        connection.commit()


@cache
def newest_version(scripts: str) -> str:
    """The version that Alembic's scripts in a folder lead to, such as ``package:folder``."""
    # Loaded with the first new file: most commands make none.
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", scripts)
    return str(ScriptDirectory.from_config(config).as_revision_number("head"))


_VERSIONS = sa.Table(
    "alembic_version",
    sa.MetaData(),
    sa.Column("version_num", sa.String(32), nullable=False),
    sa.PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)


def _states_version(connection: Connection) -> bool:
    table = f"SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '{_VERSIONS.name}'"  # noqa: S608
    if connection.exec_driver_sql(table).first() is None:
        return False
    return connection.exec_driver_sql(f"SELECT 1 FROM {_VERSIONS.name}").first() is not None  # noqa: S608


@cache
def _statements(tables: sa.MetaData) -> tuple[str, ...]:
    """What makes the tables and their indices on SQLite, and that of their version."""
    dialect = sqlite.dialect()
    made: list[sa.schema.CreateTable | sa.schema.CreateIndex] = []
    for table in (_VERSIONS, *tables.sorted_tables):
        made.append(sa.schema.CreateTable(table))
        made += [sa.schema.CreateIndex(index) for index in sorted(table.indexes, key=lambda index: str(index.name))]
    return tuple(str(one.compile(dialect=dialect)) for one in made)


class ChangesOfFile:
    """Whether anybody has written to an SQLite file: a question that reads none of its rows.

    Parameters
    ----------
    url : of a file that is there
    """

    def __init__(self, url: str) -> None:
        engine = sa.create_engine(url, poolclass=sa.pool.NullPool, connect_args={"check_same_thread": False})
        # Held open, and for nothing else: SQLite tells each connection of what the others wrote.
        self._connection = engine.raw_connection()

    def number(self) -> int:
        """Another one after every transaction that wrote, of any process."""
        cursor = self._connection.cursor()
        try:
            cursor.execute("PRAGMA data_version")
            ((number,),) = cursor.fetchall()
            return int(number)
        finally:
            cursor.close()

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()


def append_rows(connection: Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> range:
    """Insert rows that SQLite numbers in a column `id`, all together; their numbers.

    Nobody else writes until the end of the transaction: the newest rows are these, in their order.
    """
    connection.execute(table.insert(), rows)
    newest: int = connection.execute(sa.select(sa.func.max(table.c.id))).scalar_one()
    return range(newest - len(rows) + 1, newest + 1)


def delete_rows(connection: Connection, table: sa.Table, keys: Sequence[Mapping[str, Any]]) -> None:
    """Delete the rows that have these values in these columns, the same columns for all."""
    if keys:
        same = [table.c[name] == sa.bindparam(f"of_{name}") for name in keys[0]]
        values = [{f"of_{name}": value for name, value in key.items()} for key in keys]
        connection.execute(sa.delete(table).where(*same), values)


def open_engine(url: str) -> Engine:
    """Engine for a products database; connects to nothing yet.

    Parameters
    ----------
    url : SQLAlchemy URL of an SQLite file or a PostgreSQL database

    Raises
    ------
    StoreError
        If the URL is not one, its driver is not installed, or its folder does not exist.
    """
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        parsed = None
    if parsed is None:
        # Outside of the block, whose error may quote the URL with its password.
        raise StoreError(
            f"{without_passwords(url)!r} is not a database URL; use a file such as products.sqlite3, "
            "sqlite:///products.sqlite3 or postgresql://..."
        )
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(parsed)
    if parsed.get_backend_name() != "postgresql":
        raise StoreError(f"databases of kind {parsed.get_backend_name()!r} are not supported; use sqlite or postgresql")
    if "@" in (parsed.host or ""):
        # Or else the server's name, with half of the password in it, is told as one that nobody knows.
        raise StoreError(
            f"the database URL {without_passwords(url)!r} has an @ too many; in a password write %40 for it"
        )
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    try:
        return sa.create_engine(parsed, pool_pre_ping=True, execution_options={_URL: url})
    except ModuleNotFoundError as error:
        raise StoreError(
            f"{parsed.drivername} needs {error.name}, which is not installed; write postgresql:// in its place, which "
            "takes psycopg 3, and pip install 'contimg-assets[postgres]'"
        ) from error
    except sa.exc.ArgumentError:
        drivername = parsed.drivername
    raise StoreError(
        f"there is no driver {drivername!r} for databases; write postgresql:// in its place, which takes psycopg 3"
    )


def _sqlite(url: sa.URL) -> Engine:
    if url.database in (None, "", ":memory:"):
        raise StoreError("the products database must be a file, as in sqlite:///products.sqlite3")
    file = Path(str(url.database)).absolute()
    if not file.parent.is_dir():
        folder = without_passwords(str(file.parent))
        raise StoreError(f"{folder} does not exist; create the folder of the products database first")
    if file.is_dir():
        raise StoreError(f"{file} is a folder; the products database must be a file, such as {file}/products.sqlite3")
    # To write, SQLite puts files beside the database.
    read_only = file.exists() and not all(os.access(place, os.W_OK) for place in (file, file.parent))
    if read_only:
        url = _read_only(url, file)
    engine = sa.create_engine(
        url, connect_args={"timeout": BUSY_TIMEOUT_SECONDS}, execution_options={_URL: f"sqlite:///{file}"}
    )

    @sa.event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: Any) -> None:
        # Transactions begin where SQLAlchemy says, see _begin, and not where the driver guesses.
        connection.isolation_level = None
        for pragma in (
            *(() if read_only else ("journal_mode = WAL",)),
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


def _read_only(url: sa.URL, file: Path) -> sa.URL:
    """The URL of a file that may be read but not written."""
    options = {"mode": "ro", "uri": "true"}
    # Readers share memory with writers through files beside the database. Where there are none, nobody writes, and
    # where none can be made, SQLite must be told to do without.
    if not file.with_name(f"{file.name}-wal").exists() and not os.access(file.parent, os.W_OK):
        options["immutable"] = "1"
    return url.set(database=f"file:{quote(str(file))}").update_query_dict(options)


def writing_options(engine: Engine) -> Engine:
    """The engine, for connections whose transactions write."""
    return engine.execution_options(**{_WRITES: True})


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that writes: one at a time, others wait; committed at the end, or nothing of it happened."""
    with troubles_told(engine), writing_options(engine).begin() as connection:
        if connection.dialect.name != "postgresql":
            yield connection
            return
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
        yield connection
        # What is checked at the end is checked before, for readers who begin meanwhile wait for the end.
        connection.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(END_LOCK)))


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that sees one state of the database from its first question to its last.

    PostgreSQL shows the rows of a transaction that ends an instant before it tells others which parts of tables it
    made: who begins between would see its rows without those in new parts. So readers begin beside no end.
    """
    is_postgres = engine.dialect.name == "postgresql"
    options = {"isolation_level": "REPEATABLE READ"} if is_postgres else {}
    with troubles_told(engine), engine.execution_options(**options).connect() as connection, connection.begin():
        if is_postgres:
            # The first question fixes the state that is seen; the lock then waits for whoever's end that state has.
            connection.execute(sa.select(sa.func.pg_advisory_lock_shared(END_LOCK)))
            connection.execute(sa.select(sa.func.pg_advisory_unlock_shared(END_LOCK)))
        yield connection
