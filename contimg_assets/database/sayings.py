"""What people say of sources: tags, notes, favorites; and the lists that they save under names.

Each is a table that is only ever added to, a row for each time that somebody adds something or takes it back. What was
said last holds. Rows name sources as they were named then; who asks gets the present source that has the measurements.
"""

from __future__ import annotations

import getpass
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.database import bulk
from contimg_assets.database.models import ADDED, TABLES, TAKEN_BACK
from contimg_assets.errors import InputError
from contimg_assets.identity.versions import combine_versions

_LONGEST_NOTE, _LONGEST_NAME, _LONGEST_QUERY = 20_000, 100, 10_000
# A tag is a word in conditions of lists and in addresses.
_TAG = re.compile(r"[\w.:+/-]{1,64}")


@dataclass(frozen=True)
class Kind:
    """One kind of what people say.

    Attributes
    ----------
    table : where it stands
    key : what is said of what: the last row of these columns holds
    values : further columns
    """

    table: str
    key: tuple[str, ...]
    values: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """What a person says."""
        return (*self.key, *self.values)


TAGS = Kind("source_tags", ("source_id", "tag"))
NOTES = Kind("source_notes", ("source_id", "note"))
FAVORITES = Kind("favorite_sources", ("source_id", "author"))
QUERIES = Kind("saved_queries", ("name",), ("query",))


def record(connection: Connection, kind: Kind, said: Mapping[str, str], author: str, taken_back: bool = False) -> None:
    """Add a row; it is never changed afterwards. What holds already is not said again.

    Parameters
    ----------
    said : the columns of the kind but the author
    taken_back : whether it is taken back
    """
    action = TAKEN_BACK if taken_back else ADDED
    row = {**said, "action": action, "author": author, "created_at": datetime.now(UTC).isoformat("T", "microseconds")}
    now = current(kind).subquery()
    wanted = [now.c[name] == row[name] for name in kind.columns]
    holds = connection.execute(sa.select(sa.literal(1)).select_from(now).where(*wanted)).first() is not None
    if holds == taken_back:
        bulk.insert(connection, TABLES[kind.table], pd.DataFrame([{"id": combine_versions(*row.values()), **row}]))


def current(kind: Kind) -> sa.Select[Any]:
    """What holds now: the columns of the kind, author and created_at; sources as they are named now.

    What is said of a source whose measurements are all gone is not in it, and is again when they are back.
    """
    table, aliases = TABLES[kind.table], TABLES["source_aliases"]
    origin: sa.FromClause = table
    present = {column.name: column.label(column.name) for column in table.c}
    conditions: list[sa.ColumnElement[bool]] = []
    if "source_id" in kind.key:
        gone = sa.and_(aliases.c.alias == table.c.source_id, aliases.c.gone)
        origin = table.outerjoin(aliases, gone)
        name = sa.case((aliases.c.alias.is_(None), table.c.source_id), else_=aliases.c.source_id)
        present["source_id"] = name.label("source_id")
        conditions = [name.is_not(None)]
    newest = sa.func.row_number().over(
        partition_by=[present[name].element for name in kind.key],
        order_by=[table.c.created_at.desc(), table.c.id.desc()],
    )
    ranked = sa.select(*present.values(), newest.label("place")).select_from(origin).where(*conditions).subquery()
    shown = dict.fromkeys((*kind.columns, "author", "created_at"))
    query = sa.select(*(ranked.c[name] for name in shown))
    return query.where(ranked.c.place == 1, ranked.c.action == ADDED)


def read(connection: Connection, kind: Kind, **where: str) -> pd.DataFrame:
    """What holds now, the newest first; with the names of sources before their ids.

    Parameters
    ----------
    where : column -> value that is wanted
    """
    now, sources = current(kind).subquery(), TABLES["sources"]
    query = sa.select(now)
    if "source_id" in kind.key:
        query = sa.select(sources.c.name, *now.c).select_from(now.outerjoin(sources, now.c.source_id == sources.c.id))
    query = query.where(*(now.c[name] == value for name, value in where.items()))
    return bulk.fetch(connection, query.order_by(now.c.created_at.desc(), *(now.c[name] for name in kind.key)))


def checked_tag(text: str) -> str:
    """A tag as it is kept.

    Raises
    ------
    InputError
        If it is no word.
    """
    tag = text.strip()
    if not _TAG.fullmatch(tag):
        raise InputError(
            f"tag {tag[:80]!r} is not one word of at most 64 letters, digits and any of . : + / - _; such as needs-look"
        )
    return tag


def checked_note(text: str) -> str:
    """A note as it is kept.

    Raises
    ------
    InputError
        If it says nothing, or more than a note may.
    """
    return _checked(text, "a note", _LONGEST_NOTE)


def checked_name(text: str) -> str:
    """The name of a saved query as it is kept."""
    return _checked(text, "the name of a list", _LONGEST_NAME)


def checked_query(text: str) -> str:
    """A saved query as it is kept."""
    return _checked(text, "a list", _LONGEST_QUERY, empty=True)


def checked_author(text: str | None) -> str:
    """Who says something: whom the caller names, else whose computer it is."""
    return _checked(text if text is not None else _login_name(), "the name of an author", _LONGEST_NAME)


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, ImportError, OSError):
        # A container may run a user who has no name.
        return "unknown"


def _checked(text: str, what: str, longest: int, empty: bool = False) -> str:
    kept = text.strip().replace("\0", "")
    if not (kept or empty) or len(kept) > longest:
        raise InputError(f"{what} has from 1 to {longest} characters; this has {len(kept)}")
    return kept
