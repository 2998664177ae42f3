"""Connections: URLs, drivers, passwords, SQLite's settings and files that may only be read."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from contimg_assets.config.secrets import without_passwords
from contimg_assets.database import ProductsDatabase, engine, schema
from contimg_assets.errors import StoreError
from contimg_assets_tests.database.survey import Survey


def test_sqlite_is_strict_and_keeps_foreign_keys(sqlite_url: str) -> None:
    with ProductsDatabase(sqlite_url) as database:
        database.upgrade()
        with database.engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
            loose = connection.exec_driver_sql("SELECT name FROM pragma_table_list WHERE type = 'table' AND NOT strict")
            assert {row[0] for row in loose if not row[0].startswith("sqlite_")} == {"alembic_version"}
        with pytest.raises(sa.exc.IntegrityError, match="cannot store TEXT"), database.engine.begin() as connection:
            connection.exec_driver_sql("INSERT INTO reference_catalogs VALUES ('x', 'many', 1.0, 'v')")


def test_urls_that_cannot_be_used(tmp_path: Path) -> None:
    for url, message in (
        ("nonsense", "is not a database URL"),
        ("sqlite://", "must be a file"),
        (f"sqlite:///{tmp_path}/no/such.sqlite3", "does not exist"),
        ("mysql://x/y", "not supported"),
        (f"sqlite:///{tmp_path}", "is a folder"),
        ("postgresql://me:secret@host:port/x", r"'postgresql://me:\*\*\*@host:port/x' is not a database URL"),
    ):
        with pytest.raises(StoreError, match=message):
            ProductsDatabase(url)


def test_another_driver_is_answered_with_what_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    with pytest.raises(StoreError, match="needs psycopg2, which is not installed; write postgresql:// in its place"):
        ProductsDatabase("postgresql+psycopg2://me@host/x")


def test_passwords_are_not_shown() -> None:
    for url, shown in (
        ("postgresql://me:se:c@r/et@host:5432/x", "postgresql://me:***@host:5432/x"),
        (
            "postgresql://host/x?user=me&password=secret&sslmode=require",
            "postgresql://host/x?user=me&password=***&sslmode=require",
        ),
        ("postgresql+psycopg://me@/x", "postgresql+psycopg://me@/x"),
        ("sqlite:////home/me@there/p.sqlite3", "sqlite:////home/me@there/p.sqlite3"),
    ):
        assert without_passwords(url) == shown


def test_a_file_that_may_only_be_read_is_read(
    sqlite_url: str, empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "products.sqlite3"
    shutil.copy(empty_database, file)
    before = file.read_bytes()
    # Root may write everything: what others may is told instead.
    monkeypatch.setattr(engine.os, "access", lambda path, mode: mode != os.W_OK)
    with ProductsDatabase(sqlite_url) as database:
        assert database.current() == schema.newest_revision()
        assert database.variables().empty
        with pytest.raises(StoreError, match=r"cannot be used \(attempt to write a readonly database\); ask") as caught:
            database.replace_epochs(Survey().epochs())
        assert sqlite_url in str(caught.value)
        assert {path.name for path in tmp_path.iterdir()} == {file.name}
    assert file.read_bytes() == before
