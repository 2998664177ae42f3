"""Many rows at once, by the fastest way each engine has: `executemany` on SQLite, COPY on PostgreSQL."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.database.models import arrow_type

# Rows that are Python objects at once: more of them leave the processor's cache, and take half as long again.
_AT_ONCE = 1000


def insert(connection: Connection, table: sa.Table, frame: pd.DataFrame | pa.Table) -> int:
    """Insert rows; columns of the table that the frame lacks stay null. Returns the number of rows."""
    data = _arrow(table, frame)
    if data.num_rows:
        if _is_postgres(connection):
            _copy(connection, _quoted(table.name), data)
        else:
            _insert_tuples(connection, table, data)
    return int(data.num_rows)


def upsert(connection: Connection, table: sa.Table, frame: pd.DataFrame | pa.Table) -> int:
    """Insert rows, or set all their columns where the key is there already. Returns the number of rows."""
    data = _arrow(table, frame)
    if not data.num_rows:
        return 0
    key = [column.name for column in table.primary_key]
    changes = ", ".join(f"{name} = excluded.{name}" for name in data.column_names if name not in key)
    conflict = f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {changes}"
    if _is_postgres(connection):
        temporary, columns = f"new_{table.name}", _list(data)
        connection.exec_driver_sql(f"CREATE TEMP TABLE {temporary} (LIKE {table.name}) ON COMMIT DROP")
        _copy(connection, temporary, data)
        connection.exec_driver_sql(
            f"INSERT INTO {table.name} ({columns}) SELECT {columns} FROM {temporary} {conflict}"  # noqa: S608
        )
        connection.exec_driver_sql(f"DROP TABLE {temporary}")
    else:
        _insert_tuples(connection, table, data, conflict)
    return int(data.num_rows)


def _insert_tuples(connection: Connection, table: sa.Table, data: pa.Table, conflict: str = "") -> None:
    marks = ", ".join("?" * data.num_columns)
    statement = f"INSERT INTO {table.name} ({_list(data)}) VALUES ({marks}) {conflict}"  # noqa: S608 (our own names)
    for first in range(0, data.num_rows, _AT_ONCE):
        connection.exec_driver_sql(statement, _tuples(data.slice(first, _AT_ONCE)))


def delete(connection: Connection, table: sa.Table, key: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Delete rows one by one, given the values of the key's columns."""
    mark = "%s" if _is_postgres(connection) else "?"
    where = " AND ".join(f"{name} = {mark}" for name in key)
    if rows:
        connection.exec_driver_sql(f"DELETE FROM {table.name} WHERE {where}", list(rows))  # noqa: S608


def set_of_ids(connection: Connection, ids: Sequence[str] | npt.NDArray[np.object_]) -> sa.Select[Any]:
    """The ids as a query for ``column.in_(...)``, from a temporary table; good until the next call."""
    name = "some_ids"
    if _is_postgres(connection):
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS {name}")
        connection.exec_driver_sql(f"CREATE TEMP TABLE {name} (id TEXT PRIMARY KEY) ON COMMIT DROP")
        _copy(connection, name, pa.table({"id": pa.array(ids, pa.string())}))
        connection.exec_driver_sql(f"ANALYZE {name}")
        return sa.select(sa.column("id", sa.Text())).select_from(sa.table(name))
    connection.exec_driver_sql(f"CREATE TEMP TABLE IF NOT EXISTS {name} (id TEXT PRIMARY KEY) WITHOUT ROWID")
    connection.exec_driver_sql(f"DELETE FROM temp.{name}")  # noqa: S608
    if len(ids):
        connection.exec_driver_sql(f"INSERT INTO temp.{name} VALUES (?)", [(i,) for i in ids])  # noqa: S608
    return sa.select(sa.column("id", sa.Text())).select_from(sa.table(name, schema="temp"))


def analyze(connection: Connection, tables: Sequence[sa.Table]) -> None:
    """Measure tables that changed much, on PostgreSQL: it plans questions by what they held when last looked at."""
    if _is_postgres(connection):
        connection.exec_driver_sql(f"ANALYZE {', '.join(table.name for table in tables)}")


def _is_postgres(connection: Connection) -> bool:
    return connection.dialect.name == "postgresql"


def fetch(connection: Connection, query: sa.Select[Any]) -> pd.DataFrame:
    """Rows of a query as a DataFrame; flags as bool, or boolean where some are missing; missing numbers as NaN."""
    result = connection.execute(query)
    names = list(result.keys())
    kinds = [column.type for column in query.selected_columns]
    parts: list[list[npt.NDArray[Any]]] = [[] for _ in names]
    # Straight from the driver: a row object a row would cost more than the query.
    while rows := (result.cursor.fetchmany(_AT_ONCE) if result.cursor is not None else []):
        for part, values, kind in zip(parts, zip(*rows, strict=True), kinds, strict=True):
            part.append(_array(values, kind))
    columns = (
        _series(np.concatenate(part or [_array((), kind)]), kind) for part, kind in zip(parts, kinds, strict=True)
    )
    return pd.DataFrame(dict(zip(names, columns, strict=True)), copy=False)


def rows(connection: Connection, query: sa.Select[Any]) -> Sequence[Any]:
    """Rows of a query as the driver has them: where many are texts, a row object a row would cost more than they."""
    result = connection.execute(query)
    found: Sequence[Any] = result.cursor.fetchall() if result.cursor is not None else []
    result.close()
    return found


def fetch_bytes(connection: Connection, table: str, column: str, epoch: str) -> bytes:
    """A column of bytes of an epoch's one row."""
    query = f"SELECT {column} FROM {table} WHERE epoch = "  # noqa: S608 (names of our own schema)
    if not _is_postgres(connection):
        return bytes(connection.exec_driver_sql(query + "?", (epoch,)).scalar_one())
    driver = connection.connection.driver_connection
    assert driver is not None
    # In text, as other values are sent, bytes are written as digits: twice as long, and slow to read.
    with driver.cursor(binary=True) as cursor:
        (value,) = cursor.execute(query + "%s", (epoch,)).fetchone()
        return bytes(value)


def _array(values: Sequence[Any], kind: sa.types.TypeEngine[Any]) -> npt.NDArray[Any]:
    """Some values of a column; as objects where flags or whole numbers are missing."""
    if isinstance(kind, sa.Float):
        return np.array(values, dtype=float)
    if isinstance(kind, sa.Boolean | sa.Integer) and None not in values:
        return np.array(values, dtype=bool if isinstance(kind, sa.Boolean) else np.int64)
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found


def _series(values: npt.NDArray[Any], kind: sa.types.TypeEngine[Any]) -> pd.Series:
    """A whole column of what `_array` gives."""
    if values.dtype != object:
        return pd.Series(values, copy=False)
    if isinstance(kind, sa.Boolean):
        return pd.Series([None if value is None else bool(value) for value in values], dtype="boolean")
    return pd.Series(values, dtype=float if isinstance(kind, sa.Integer) else object, copy=False)


def _arrow(table: sa.Table, frame: pd.DataFrame | pa.Table) -> pa.Table:
    """The frame's columns that the table has, in the table's order and types."""
    present = frame.column_names if isinstance(frame, pa.Table) else list(frame.columns)
    unknown = set(present) - set(table.columns.keys())
    if unknown:
        raise ValueError(f"table {table.name!r} has no column(s) {', '.join(sorted(unknown))}")
    arrays, names = [], []
    for column in table.columns:
        if column.name not in present:
            continue
        kind = arrow_type(column.type)
        values = frame[column.name]
        arrays.append(
            values.cast(kind) if isinstance(values, pa.ChunkedArray) else pa.array(values, kind, from_pandas=True)
        )
        names.append(column.name)
    return pa.table(arrays, names=names)


def _list(data: pa.Table) -> str:
    return ", ".join(f'"{name}"' for name in data.column_names)


def _quoted(name: str) -> str:
    return f'"{name}"'


def _tuples(data: pa.Table) -> list[tuple[Any, ...]]:
    return list(zip(*(_python(column) for column in data.itercolumns()), strict=True))


def _python(column: pa.ChunkedArray) -> list[Any]:
    """Values as Python objects; NumPy is far quicker at it than Arrow, and SQLite takes NaN for NULL."""
    kind, complete = column.type, not column.null_count
    values: list[Any]
    if pa.types.is_floating(kind) or pa.types.is_string(kind) or (pa.types.is_integer(kind) and complete):
        values = column.to_numpy().tolist()
    elif pa.types.is_boolean(kind) and complete:
        values = column.to_numpy().astype(np.int64).tolist()
    else:
        values = column.to_pylist()
    return values


def _copy(connection: Connection, table: str, data: pa.Table) -> None:
    buffer = io.BytesIO()
    # Missing values are empty, empty texts are quoted: COPY tells them apart.
    pa.csv.write_csv(_finite(data), buffer, pa.csv.WriteOptions(include_header=False))
    driver = connection.connection.driver_connection
    assert driver is not None
    with driver.cursor() as cursor, cursor.copy(f"COPY {table} ({_list(data)}) FROM STDIN (FORMAT csv)") as copy:
        copy.write(buffer.getvalue())


def _finite(data: pa.Table) -> pa.Table:
    """NaN as null: SQLite stores it so, and PostgreSQL must not differ. Bytes as COPY reads them."""
    columns = []
    for column in data.itercolumns():
        if pa.types.is_floating(column.type):
            columns.append(pa.array(column.to_numpy(), pa.float64(), from_pandas=True))
        elif pa.types.is_binary(column.type):
            columns.append(pa.array([None if value is None else f"\\x{value.hex()}" for value in column.to_pylist()]))
        else:
            columns.append(column)
    return pa.table(columns, names=data.column_names)
