"""How fast rows reach the products database and come back, beside the engine's own driver on the same columns.

    python -m contimg_assets_tests.benchmarks.bench_rows [--rows 100000]

Rows of `measurements`, the widest table. In: a table in memory to rows of the transaction, against `executemany` of
tuples that are there already (SQLite) or COPY of text that is there already (PostgreSQL, where it is installed).
Out: a query to a DataFrame, against the driver's `fetchall`. Processor seconds of this process; on PostgreSQL wall
seconds, for the server works too. Nothing is kept: the transaction is undone.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.database import ProductsDatabase, bulk
from contimg_assets.database.models import TABLES, arrow_type
from contimg_assets.identity.ids import to_hex_text
from contimg_assets_tests import postgres

TABLE = TABLES["measurements"]


def made_up(n_rows: int) -> pa.Table:
    """Rows of all columns: ids in order, a dozen images, numbers."""
    rng = np.random.default_rng(1)
    columns: dict[str, pa.Array] = {}
    for column in TABLE.columns:
        kind = arrow_type(column.type)
        if column.name == "measurement_id":
            columns[column.name] = to_hex_text(np.sort(rng.integers(0, 2**63, n_rows).astype(np.uint64)))
        elif column.name in ("duplicate_of", "upper_limit_mjy_beam"):
            columns[column.name] = pa.nulls(n_rows, kind)
        elif pa.types.is_string(kind):
            columns[column.name] = pa.array([f"{column.name}{i % 12:03d}" for i in range(n_rows)])
        elif pa.types.is_boolean(kind):
            columns[column.name] = pa.array(np.zeros(n_rows, bool))
        elif pa.types.is_integer(kind):
            columns[column.name] = pa.array(rng.integers(0, 2**60, n_rows))
        else:
            columns[column.name] = pa.array(rng.random(n_rows))
    return pa.table(columns | {"epoch": pa.array(["2026-01-01T0000"] * n_rows)})


def undone(database: ProductsDatabase, work: Callable[[Connection], object], clock: Callable[[], float]) -> float:
    """Seconds of some work in a transaction that is undone."""
    with database.engine.connect() as connection, connection.begin() as transaction:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        start = clock()
        work(connection)
        seconds = clock() - start
        transaction.rollback()
    return seconds


def drivers_own(connection: Connection, data: pa.Table) -> Callable[[Connection], None]:
    """The same rows in the form that the driver takes, and what gives them to it."""
    names = ", ".join(f'"{name}"' for name in data.column_names)
    if connection.dialect.name == "sqlite":
        rows = list(zip(*(column.to_pylist() for column in data.itercolumns()), strict=True))
        statement = f"INSERT INTO {TABLE.name} ({names}) VALUES ({', '.join('?' * data.num_columns)})"
        return lambda one: one.connection.driver_connection.executemany(statement, rows)  # type: ignore[union-attr]
    buffer = io.BytesIO()
    pa.csv.write_csv(data, buffer, pa.csv.WriteOptions(include_header=False))

    def copy(one: Connection) -> None:
        cursor = one.connection.driver_connection.cursor()  # type: ignore[union-attr]
        with cursor, cursor.copy(f"COPY {TABLE.name} ({names}) FROM STDIN (FORMAT csv)") as rows:
            rows.write(buffer.getvalue())

    return copy


def compare(database: ProductsDatabase, n_rows: int) -> None:
    """Print rates in and out, the best of three."""
    database.upgrade()
    table = made_up(n_rows)
    with database.engine.connect() as connection:
        own = drivers_own(connection, bulk._arrow(TABLE, table))
        clock = time.process_time if connection.dialect.name == "sqlite" else time.perf_counter
    into = {"driver": own, "ours": lambda one: bulk.insert(one, TABLE, table)}
    best = {name: min(undone(database, work, clock) for _ in range(3)) for name, work in into.items()}
    print(f"in:  ours {n_rows / best['ours']:10,.0f} rows/s, {best['driver'] / best['ours']:4.0%} of the driver's rate")

    query, seconds = sa.select(TABLE), {"driver": np.inf, "ours": np.inf}

    def read(one: Connection) -> None:
        bulk.insert(one, TABLE, table)
        for _ in range(3):
            for name, work in (
                ("driver", lambda: one.execute(query).cursor.fetchall()),
                ("ours", lambda: bulk.fetch(one, query)),
            ):
                start = clock()
                work()
                seconds[name] = min(seconds[name], clock() - start)

    undone(database, read, clock)
    rate, share = n_rows / seconds["ours"], seconds["driver"] / seconds["ours"]
    print(f"out: ours {rate:10,.0f} rows/s, {share:4.0%} of the driver's rate")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(f"SQLite, {arguments.rows} rows of {len(TABLE.columns)} columns")
        compare(ProductsDatabase(Path(folder) / "products.sqlite3"), arguments.rows)
        if postgres.server_programs() is not None:
            print("PostgreSQL")
            with postgres.running() as url, ProductsDatabase(postgres.fresh_database(url)) as database:
                compare(database, arguments.rows)


if __name__ == "__main__":
    main()
