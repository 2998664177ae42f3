"""Tables of SQLite databases."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from contimg_assets.errors import InputError
from contimg_assets.reading.columns import (
    About,
    Columns,
    clean_text,
    parse_numbers,
    refuse_several,
    units_in_names,
)
from contimg_assets.reading.headers import IsCatalog

_USUAL = ("sources", "catalog")


class SqliteContainer:
    """A table or view of an SQLite database."""

    def __init__(self, path: Path, names: Sequence[str], about: About, table: str) -> None:
        self.path, self._table = path, table
        self.names = tuple(names)
        self.units: Mapping[str, str] = units_in_names(names, {})
        self.about = about

    def load(self, numbers: Sequence[str], texts: Sequence[str]) -> Columns:
        asked = list(dict.fromkeys([*numbers, *texts])) or list(self.names[:1])
        selected = ", ".join(map(_quoted, asked))
        with _reading(self.path) as connection:
            rows = connection.execute(f"SELECT {selected} FROM {_quoted(self._table)}").fetchall()  # noqa: S608 - the file's own names
        columns = dict(zip(asked, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(asked, ())
        result = Columns({}, {}, np.arange(1, len(rows) + 1, dtype=np.int64))
        for name in numbers:
            result.numbers[name], faults = _numbers(columns[name])
            if len(faults[0]):
                result.not_numbers[name] = faults
        for name in texts:
            result.texts[name] = clean_text(_texts(columns[name]))
        return result


def _numbers(values: Sequence[object]) -> tuple[np.ndarray, tuple[np.ndarray, list[str]]]:
    if all(value is None or isinstance(value, int | float) for value in values):
        return np.array([np.nan if value is None else value for value in values], float), (np.empty(0, np.intp), [])
    return parse_numbers(_texts(values))


def _texts(values: Sequence[object]) -> pa.Array:
    whole = all(value is None or (isinstance(value, float) and value.is_integer()) for value in values)
    # Identifiers that a missing value turned into floats, as integers again.
    shown = [None if value is None else str(int(value)) if whole else _text(value) for value in values]  # type: ignore[call-overload]
    return pa.array(shown, pa.string())


def _text(value: object) -> str:
    """A cell as text; bytes as the text that they are, else as Python shows them."""
    if isinstance(value, bytes):
        with contextlib.suppress(UnicodeDecodeError):
            return value.decode("utf-8")
    return str(value)


def open_sqlite(path: Path, is_catalog: IsCatalog, wanted: str | None) -> SqliteContainer:
    """The table that is wanted, else the one that is a catalog, else the one of a usual name, else the first.

    Raises
    ------
    InputError
        If the file is damaged, has no such table, or several that are catalogs.
    """
    with _reading(path) as connection:
        query = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%'"
        names = [str(row[0]) for row in connection.execute(query)]
        columns = {
            name: [str(row[1]) for row in connection.execute(f"PRAGMA table_info({_quoted(name)})")] for name in names
        }
    known = [name for name in names if is_catalog(columns[name])]
    usual = [name for name in _USUAL if name in names]
    if wanted is None and len(known) > 1 and not set(usual) & set(known):
        refuse_several(path, known)
    chosen = wanted or next(iter([*(known if len(known) == 1 else []), *usual, *known, *names]), None)
    if chosen is None or chosen not in names:
        raise InputError(f"{path}: no table {chosen!r}; there are {', '.join(names) or 'none'}")
    return SqliteContainer(path, columns[chosen], About("SQLite", chosen, tuple(names)), chosen)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that can neither create nor lock a file that others fill."""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            yield connection
    except (sqlite3.Error, OverflowError) as error:
        raise InputError(f"{path}: damaged SQLite file ({error}); deliver it again") from error


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
