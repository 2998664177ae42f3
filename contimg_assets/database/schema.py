"""The version of a database's schema: bringing it up to date, saying what it is, finding drift."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from contimg_assets.database import views
from contimg_assets.database.engine import open_engine, reading, troubles_told, writing, writing_options
from contimg_assets.database.models import Base
from contimg_assets.database.partitioning import divide, divided_metadata, is_part
from contimg_assets.database.tiles import tiling
from contimg_assets.errors import StoreError

if TYPE_CHECKING:
    from alembic.config import Config as AlembicConfig

# Alembic takes longer to load than most questions to answer: who migrates nothing does not load it.
_REVISION = sa.table("alembic_version", sa.column("version_num", sa.String))
_VERSIONS = Path(str(resources.files("contimg_assets.database") / "migrations" / "versions"))


def alembic_config(connection: Connection | None = None) -> AlembicConfig:
    """Alembic on the migrations inside the package.

    Parameters
    ----------
    connection : what migrations run on; not needed to ask which there are
    """
    from alembic.config import Config as AlembicConfig

    config = AlembicConfig()
    config.set_main_option("script_location", str(resources.files("contimg_assets.database") / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


@cache
def newest_revision() -> str:
    """The revision that this version of the package writes."""
    return _known_revisions()[0]


def _known_revisions() -> tuple[str, ...]:
    """All revisions, the newest first."""
    config = alembic_config()
    folders = config.get_main_option("version_locations")
    return _revisions_in(
        str(config.get_main_option("script_location")), None if folders is None else tuple(folders.split(os.pathsep))
    )


@cache
def _revisions_in(migrations: str, folders: tuple[str, ...] | None) -> tuple[str, ...]:
    # Alembic loads every migration for that, and each run asks more than once.
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(migrations, version_locations=None if folders is None else list(folders))
    return tuple(script.revision for script in scripts.walk_revisions())


def current_revision(connection: Connection) -> str | None:
    """The revision that the database has; None if it is empty, or another program's."""
    if not sa.inspect(connection).has_table(_REVISION.name):
        return None
    found: str | None = connection.execute(sa.select(_REVISION.c.version_num)).scalar_one_or_none()
    return found


def upgrade(engine: Engine, revision: str = "head", partition_order: int | None = None) -> str:
    """Bring tables and views up to date, in one transaction. Returns the revision.

    Parameters
    ----------
    engine : of a database that is empty or was written by this version or an older one
    revision : where to stop, for tests of migrations; the newest if not given
    partition_order : of the HEALPix cells that a new database of PostgreSQL is divided by; others stay as they are

    Raises
    ------
    StoreError
        If the database was written by a newer version of the package, is another program's, or a migration leaves rows
        without their parents.
    """
    from alembic import command

    if revision == "head":
        with reading(engine) as connection:
            if current_revision(connection) == newest_revision() and not _stale_views(connection):
                return newest_revision()
    with _migrating(engine) as connection:
        before = current_revision(connection)
        if before is not None and before not in _known_revisions():
            raise StoreError(
                f"the products database has schema revision {before}, which this version of contimg_assets does not "
                "know; install the version that wrote it, or a newer one"
            )
        if before is None:
            _refuse_others_tables(connection)
        views.drop_views(connection)
        command.upgrade(alembic_config(connection), revision)
        if before is None and partition_order is not None:
            divide(connection, partition_order)
        views.create_views(connection)
        return str(current_revision(connection))


def _refuse_others_tables(connection: Connection) -> None:
    """Raise StoreError if a database that we never wrote has tables or views by names of ours."""
    inspector = sa.inspect(connection)
    present = {*inspector.get_table_names(), *inspector.get_view_names()}
    others = sorted(present & {*Base.metadata.tables, *views.VIEWS})
    if others:
        raise StoreError(
            f"the products database has {', '.join(others)} of another program, and nothing of ours; give the products "
            "a database of their own in paths.products of contimg.yaml"
        )


@contextmanager
def _migrating(engine: Engine) -> Iterator[Connection]:
    """A writing transaction in which SQLite may take tables apart: foreign keys are looked at once, at the end."""
    if engine.dialect.name != "sqlite":
        with writing(engine) as connection:
            yield connection
        return
    with troubles_told(engine), writing_options(engine).connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        # No part of any transaction, so not through SQLAlchemy, which would begin one.
        driver.execute("PRAGMA foreign_keys = OFF")
        try:
            with connection.begin():
                yield connection
                orphan = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
                if orphan is not None:
                    raise StoreError(
                        f"a migration leaves a row of {orphan[0]} without its {orphan[2]}; nothing is changed"
                    )
        finally:
            driver.execute("PRAGMA foreign_keys = ON")


def _stale_views(connection: Connection) -> bool:
    """Whether a view is missing or is not the one of this version."""
    if connection.dialect.name != "sqlite":
        return set(views.VIEWS) - set(sa.inspect(connection).get_view_names()) != set()
    present = dict(
        tuple(row)
        for row in connection.execute(sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'view'")).all()
    )
    return any(present.get(name) != f"CREATE VIEW {name} AS{query}" for name, query in views.VIEWS.items())


def holds(connection: Connection, names: Iterable[str]) -> bool:
    """Whether tables are there with all columns that the models have."""
    inspector = sa.inspect(connection)
    present = set(inspector.get_table_names())
    return all(
        name in present
        and {column.name for column in Base.metadata.tables[name].columns}
        <= {column["name"] for column in inspector.get_columns(name)}
        for name in names
    )


def check(connection: Connection) -> list[str]:
    """What differs between the database and the models, in words; empty if nothing does.

    Revision, tables, columns with their types, indices and foreign keys, and whether the views are there.
    """
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    is_divided = tiling(connection).order is not None
    context = MigrationContext.configure(connection, opts={"compare_type": True, "include_name": _is_no_part})
    revision = context.get_current_revision()
    faults = []
    if revision != newest_revision():
        faults.append(
            f"schema revision is {revision or 'none'}, newest is {newest_revision()}; run `contimg db upgrade`"
        )
    if revision is None:
        return faults
    metadata = divided_metadata() if is_divided else Base.metadata
    faults += [_in_words(difference) for difference in compare_metadata(context, metadata)]
    missing = set(views.VIEWS) - set(sa.inspect(connection).get_view_names())
    faults += [f"view {name} is missing; run `contimg db upgrade`" for name in sorted(missing)]
    return faults


def _is_no_part(name: str | None, kind: str, _parents: Any) -> bool:
    return kind != "table" or name is None or not is_part(name)


def _in_words(difference: Any) -> str:
    if isinstance(difference, list):
        return "; ".join(_in_words(part) for part in difference)
    what, *where = difference
    names = [getattr(part, "name", part) for part in where if part is not None]
    return f"{what.replace('_', ' ')}: {', '.join(str(name) for name in names)}"


def write_migration(message: str, folder: Path | None = None) -> Path:
    """Write the migration from the newest one to the models as they are now, for developers; look it over before use.

    Parameters
    ----------
    message : what changes, in a few words
    folder : where to write, beside the other migrations if not given; it must be one that Alembic looks into

    Returns
    -------
    The file that was written.
    """
    from alembic import command
    from alembic.script import ScriptDirectory

    target = folder or _VERSIONS
    with TemporaryDirectory() as temporary:
        engine = open_engine(f"sqlite:///{Path(temporary) / 'empty.sqlite3'}")
        upgrade(engine)
        with writing(engine) as connection:
            config = alembic_config(connection)
            config.set_main_option("version_locations", os.pathsep.join({str(_VERSIONS), str(target)}))
            # Numbers are reserved as work begins, and need not follow each other.
            scripts = ScriptDirectory.from_config(config).walk_revisions()
            number = f"{max(int(one.revision) for one in scripts) + 1:04d}"
            script = command.revision(config, message, autogenerate=True, rev_id=number, version_path=str(target))
        engine.dispose()
    assert script is not None and not isinstance(script, list)
    return Path(script.path)
