"""The size of the products database, and giving unused space back."""

from __future__ import annotations

import sqlite3

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from contimg_assets.database import bulk
from contimg_assets.database.engine import reading, troubles_told
from contimg_assets.database.models import TABLES
from contimg_assets.database.tiles import DIVIDED, tiling
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
            if tiling(connection).order is not None:
                # Only the parts of divided tables were looked at.
                bulk.analyze(connection, [TABLES[name] for name in DIVIDED])
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
