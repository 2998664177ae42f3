"""What keeps the products database small and whole: compaction, and the search for rows that refer to nothing."""

from __future__ import annotations

import sqlite3

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from contimg_assets.database.engine import reading, troubles_told
from contimg_assets.database.models import TABLES, Base
from contimg_assets.errors import StoreError


def size_bytes(engine: Engine) -> int:
    """Size of the database on disk [bytes]."""
    with reading(engine) as connection:
        if connection.dialect.name == "postgresql":
            return int(connection.execute(sa.text("SELECT pg_database_size(current_database())")).scalar_one())
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        return int(pages) * int(connection.exec_driver_sql("PRAGMA page_size").scalar_one())


def compact(engine: Engine) -> tuple[int, int]:
    """Give unused space back and measure the tables anew for the planner; return the size before and after [bytes].

    SQLite's file shrinks. PostgreSQL keeps the space for rows to come: to shrink its files would lock readers out.
    """
    before = size_bytes(engine)
    if engine.dialect.name == "postgresql":
        with troubles_told(engine), engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            connection.exec_driver_sql("VACUUM (ANALYZE)")
    else:
        raw = engine.raw_connection()
        try:
            for statement in ("VACUUM", "ANALYZE", "PRAGMA wal_checkpoint(TRUNCATE)"):
                raw.cursor().execute(statement).fetchall()
        except sqlite3.OperationalError as error:
            raise StoreError(
                f"the products database cannot be compacted ({error}); that needs as much room again as it has itself"
            ) from error
        finally:
            raw.close()
    return before, size_bytes(engine)


def orphans(engine: Engine) -> dict[str, int]:
    """Rows that refer to a row that is not there, and rows that nothing refers to though something must.

    Returns
    -------
    Number of such rows by description; only descriptions with any.
    """
    counts: dict[str, int] = {}
    with reading(engine) as connection:
        for table in Base.metadata.sorted_tables:
            for constraint in table.foreign_key_constraints:
                local = list(constraint.columns)
                remote_table = constraint.referred_table.alias()
                remote = [remote_table.c[key.column.name] for key in constraint.elements]
                found = sa.select(sa.literal(1)).where(
                    *(there == here for there, here in zip(remote, local, strict=True))
                )
                present = [column.is_not(None) for column in local]
                names = ", ".join(column.name for column in local)
                what = f"{table.name} whose ({names}) is not in {constraint.referred_table.name}"
                counts[what] = _count(connection, table, *present, ~found.correlate(table).exists())
        associations = TABLES["associations"]
        for what, table, links, conditions in (
            ("sources without a measurement", TABLES["sources"], {"id": "source_id"}, ()),
            (
                "measurements without a source",
                TABLES["measurements"],
                {"measurement_id": "measurement_id", "epoch": "epoch"},
                (TABLES["measurements"].c.duplicate_of.is_(None), ~TABLES["measurements"].c.is_limit.cast(sa.Boolean)),
            ),
        ):
            found = sa.select(sa.literal(1)).where(
                *(associations.c[there] == table.c[here] for here, there in links.items())
            )
            counts[what] = _count(connection, table, *conditions, ~found.correlate(table).exists())
    return {what: n for what, n in counts.items() if n}


def _count(connection: sa.Connection, table: sa.Table, *conditions: sa.ColumnElement[bool]) -> int:
    return int(connection.execute(sa.select(sa.func.count()).select_from(table).where(*conditions)).scalar_one())
