"""The frozen survey: unpacking it, and comparing with it what today's code makes of the same deliveries.

Nothing of the package is used to read what it holds: a reader that changed together with a writer would not notice.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from contimg_assets_tests.frozen.arithmetic import LIBRARIES, probe

ARCHIVE = Path(__file__).parent / "survey_4d43436.tar.xz"
# Sentences for people, which may be reworded; what they are said of may not change.
WORDS = ("reason", "notes")
# When a person decided, and what is named after that moment.
MOMENTS = {"match_overrides": ("id", "created_at")}
# A memory of file times, which may be lost at any time.
MEMORY = "delivery_versions.json"
# Hashes of content and numbers written as text: equal only where every bit is.
OF_BITS = ("version", "content_version", "catalog_version", "selection", "position_coefficients")
CLOSE = 1e-6

Tables = Mapping[str, pd.DataFrame]


@dataclass(frozen=True)
class FrozenProject:
    """A project's folder, as files."""

    folder: Path

    def hashes(self) -> dict[str, str]:
        """Of every file of the store, by its path, but for the memory of file times."""
        store = self.folder / "store"
        files = (path for path in store.rglob("*") if path.is_file() and path.name != MEMORY)
        return {str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)}

    def rows(self) -> dict[str, pd.DataFrame]:
        """All rows of all tables of the products database, sorted by their columns; views too."""
        with self._database() as connection:
            found = connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")
            names = sorted(name for (name,) in found if name != "alembic_version")
            return {name: _sorted(pd.read_sql_query(f"SELECT * FROM {name}", connection)) for name in names}

    def columns(self) -> dict[str, dict[str, str]]:
        """Types of the columns of every table and view."""
        with self._database() as connection:
            found = connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')").fetchall()
            return {
                name: {str(row[1]): str(row[2]) for row in connection.execute(f"PRAGMA table_info({name})")}
                for (name,) in found
            }

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.folder / "products.sqlite3")) as connection:
            yield connection

    @cached_property
    def records(self) -> dict[tuple[str, str], Any]:
        """Records of the store by (stage, epoch)."""
        paths = sorted((self.folder / "store").glob("*/*/record.json"))
        return {path.parts[-3:-1]: json.loads(path.read_text(encoding="utf-8")) for path in paths}  # type: ignore[misc]

    def stored(self) -> dict[str, pd.DataFrame]:
        """All current tables of the store, by 'stage/epoch/table', and those without epochs."""
        store = self.folder / "store"
        files = {
            f"{stage}/{epoch}/{name}": store / stage / epoch / table["file"]
            for (stage, epoch), record in self.records.items()
            for name, table in record["tables"].items()
        }
        files |= {str(path.relative_to(store)): path for path in (*store.glob("reference/*"), *store.glob("*.parquet"))}
        return {name: pq.read_table(path, partitioning=None).to_pandas() for name, path in files.items()}

    def described(self) -> dict[str, dict[bytes, bytes]]:
        """What tables without epochs say of themselves: their versions, and what they were made from."""
        store = self.folder / "store"
        return {
            path.name: {key: value for key, value in _metadata(path).items() if key.startswith(b"contimg_")}
            for path in (*store.glob("reference/*"), *store.glob("*.parquet"))
        }


def _metadata(path: Path) -> dict[bytes, bytes]:
    schema: pa.Schema = pq.read_schema(path)
    return dict(schema.metadata or {})


def _sorted(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.sort_values(list(rows.columns), ignore_index=True) if len(rows) else rows


def unpack(folder: Path, only: Iterable[str] | None = None) -> FrozenProject:
    """The survey in a folder of its own, as if a user had copied it there; some of its files if asked for."""
    wanted = None if only is None else tuple(only)
    with tarfile.open(ARCHIVE) as tar:
        members = [one for one in tar.getmembers() if wanted is None or one.name.startswith(wanted)]
        tar.extractall(folder, members, filter="data")
    return FrozenProject(folder)


def same_arithmetic() -> bool:
    """Whether every bit can be asked for: same libraries, and the same last digits of elementary functions."""
    with tarfile.open(ARCHIVE) as tar:
        content = tar.extractfile("made_with.json")
        assert content is not None
        made_with = json.load(content)
    return bool(made_with == {"probe": probe(), "versions": {name: version(name) for name in LIBRARIES}})


def assert_same_tables(got: Tables, frozen: Tables, *, without: Mapping[str, Iterable[str]] | None = None) -> bool:
    """Tables are equal but for words, bit for bit where the arithmetic is the same; tables and columns may be added.

    Where a sentence was reworded, all hashes of content that it went into differ, and are not compared.

    Returns
    -------
    Whether all hashes had to be, and were, equal
    """
    assert set(got) >= set(frozen)
    exact = same_arithmetic()
    words = {name: [column for column in WORDS if column in rows] for name, rows in frozen.items()}
    reworded = any(not got[name][columns].equals(frozen[name][columns]) for name, columns in words.items())
    for name, expected in frozen.items():
        left_out: set[str] = {*words[name], *(without or {}).get(name, ())}
        if reworded or not exact:
            left_out |= set(OF_BITS) if not exact else {"version", "content_version"}
            left_out |= {str(column) for column in expected if _is_binary(expected[column])}
        columns = [column for column in expected if column not in left_out]
        how: dict[str, Any] = {"check_exact": True} if exact else {"rtol": CLOSE, "atol": CLOSE}
        pd.testing.assert_frame_equal(got[name][columns], expected[columns], obj=f"table {name}", **how)
    return exact and not reworded


def _is_binary(values: pd.Series) -> bool:
    return bool(values.map(lambda value: isinstance(value, bytes)).any())


def assert_same_records(got: FrozenProject, frozen: FrozenProject, *, without: Iterable[str] = ()) -> None:
    """The store holds the same tables, and where every bit must be equal the same versions of everything.

    Not of stages (or tables of the survey) whose rule has changed since.
    """
    assert set(got.records) == set(frozen.records)
    changed = tuple(without)
    tables = {name: rows for name, rows in frozen.stored().items() if not name.startswith(changed or ("/",))}
    # Hashes of what a changed stage made are in the records of those that read it.
    all_bits = assert_same_tables(got.stored(), tables) and not changed
    for key, record in frozen.records.items():
        if key[0] in changed:
            continue
        made = got.records[key]
        assert made["code_version"] == record["code_version"], key
        assert set(made["tables"]) == set(record["tables"]), key
        assert set(made["failed_checks"]) == set(record["failed_checks"]), key
        assert set(made["facts"]) >= set(record["facts"]), key
        if all_bits:
            assert made["data_version"] == record["data_version"], key
            assert made["inputs"] == record["inputs"], key
            assert {name: made["facts"][name] for name in record["facts"]} == record["facts"], key
            versions = {name: (table["rows"], table["version"]) for name, table in record["tables"].items()}
            assert {name: (table["rows"], table["version"]) for name, table in made["tables"].items()} == versions, key
    if all_bits:
        described = got.described()
        for name, about in frozen.described().items():
            # What a table says of itself may become more.
            assert {key: described[name].get(key) for key in about} == about, name
