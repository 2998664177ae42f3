"""Lists of sources as people ask for them: filtered, sorted and cut into pages by the database."""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.database import bulk, sayings
from contimg_assets.database.annotations import tag_texts
from contimg_assets.database.engine import reading
from contimg_assets.database.models import TABLES
from contimg_assets.database.products_database import ProductsDatabase
from contimg_assets.errors import InputError, meant
from contimg_assets.schemas.core import TEXT, Column
from contimg_assets.schemas.variability import SOURCES, VARIABILITY

# A page of a browser, and what one answer may hold.
MOST_ROWS = 1_000_000
_MOST_IN_CONE = 20_000
# Rows that are asked for by their ids.
_SMALL_PAGE = 500
_SAMPLE = "detections"

_TAGS = Column("tags", TEXT, "", "Words that people put on the source", nullable=True)
COLUMNS: dict[str, Column] = {
    column.name: column
    for column in (*SOURCES, *(one for one in VARIABILITY if one.name not in VARIABILITY.key), _TAGS)
}
"""Columns of lists: those of sources, of their variability by detections in the band of the source, and their tags."""

SAID: dict[str, tuple[sayings.Kind, str]] = {
    "tag": (sayings.TAGS, "tag"),
    "note": (sayings.NOTES, "note"),
    "favorite": (sayings.FAVORITES, "author"),
}
"""What people say that conditions may name too, and the column of it that they compare."""

_CONDITION = re.compile(r"\s*(\w+)\s*(>=|<=|!=|=|>|<|~)\s*(\S(?:.*\S)?)\s*")
_AND = re.compile(r"\s*(?:,|;|&+|\band\b)\s*", re.IGNORECASE)
_COMPARE: dict[str, Any] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
    "!=": operator.ne,
}
_FLAGS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True)
class SourceQuery:
    """Which sources, in which order.

    Attributes
    ----------
    where : conditions such as "eta_peak > 3, v_peak >= 0.1, is_new = true"; `~` asks whether a text has a part. Also
        what people say: "tag = needs-look, tag != artefact, note ~ jet, favorite = NAME"
    cone : ra_deg, dec_deg and radius_arcsec of a circle that the sources lie in
    sort : column to sort by, with '-' before it for the largest first; missing values come last
    offset, limit : which part of the list
    """

    where: str = ""
    cone: tuple[float, float, float] | None = None
    sort: str = "name"
    offset: int = 0
    limit: int = 50


@dataclass(frozen=True)
class SourcePage:
    """A part of a list, and how long the list is."""

    rows: pd.DataFrame
    total: int


def list_sources(database: ProductsDatabase, query: SourceQuery, columns: Sequence[str]) -> SourcePage:
    """A part of the list of sources.

    Parameters
    ----------
    database : what to read
    query : which part
    columns : of COLUMNS

    Raises
    ------
    InputError
        If there is no such column, a condition cannot be read, or the circle holds too many sources.
    """
    sources, variability = TABLES["sources"], TABLES["variability"]
    # Statistics are of one band each: those of the source's own band, as are its fluxes.
    of_source = sa.and_(variability.c.source_id == sources.c.id, variability.c.band == sources.c.band)
    joined = sources.outerjoin(variability, sa.and_(of_source, variability.c["sample"] == _SAMPLE))
    wanted = [_parsed(text) for text in _AND.split(query.where.strip()) if text]
    conditions = [_condition(*one) for one in wanted]
    if query.cone is not None:
        conditions.append(_within(database, query.cone))
    # The wide table is joined only where it is asked for: counting and sorting sources alone is far quicker.
    counted = joined if {name for name, _, _ in wanted} - {*sources.c.keys(), *SAID} else sources
    stored = list(dict.fromkeys([*(name for name in columns if name != _TAGS.name), "id"]))
    with reading(database.engine) as connection:
        total = connection.execute(sa.select(sa.func.count()).select_from(counted).where(*conditions)).scalar_one()
        asked = _Asked(query, conditions, joined, counted)
        rows = (
            _page(connection, asked, stored) if query.limit <= _SMALL_PAGE else _all_at_once(connection, asked, stored)
        )
    if _TAGS.name in columns:
        rows = rows.assign(**{_TAGS.name: tag_texts(database, rows["id"])})
    return SourcePage(rows[list(columns)], int(total))


@dataclass(frozen=True)
class _Asked:
    """A list in terms of tables.

    Attributes
    ----------
    conditions : on the tables
    joined : sources with their statistics, where they have any
    needed : `joined`, or sources alone where conditions ask for nothing else
    """

    query: SourceQuery
    conditions: Sequence[sa.ColumnElement[bool]]
    joined: sa.Join
    needed: sa.FromClause


def _all_at_once(connection: Connection, asked: _Asked, columns: Sequence[str]) -> pd.DataFrame:
    """Rows in their order."""
    chosen = sa.select(*(_column(name) for name in columns)).select_from(asked.joined).where(*asked.conditions)
    return bulk.fetch(connection, _cut(chosen.order_by(*_order(asked.query.sort)), asked.query))


def _page(connection: Connection, asked: _Asked, columns: Sequence[str]) -> pd.DataFrame:
    """A few rows: which, from as little as tells, then all that is wanted of these."""
    ids = _ids(connection, asked)
    wanted = sa.select(*(_column(name) for name in columns)).select_from(asked.joined)
    rows = bulk.fetch(connection, wanted.where(TABLES["sources"].c.id.in_(ids)))
    place = {one: number for number, one in enumerate(ids)}
    order = rows["id"].map(place).sort_values(kind="stable").index
    return rows.loc[order].reset_index(drop=True)


def _ids(connection: Connection, asked: _Asked) -> list[str]:
    """Ids of a page, in their order."""
    sources, variability, query = TABLES["sources"], TABLES["variability"], asked.query
    column = _column(query.sort.removeprefix("-"))
    chosen = sa.select(sources.c.id).where(*asked.conditions).order_by(*_order(query.sort))
    if column.table is not variability:
        return list(connection.execute(_cut(chosen.select_from(asked.needed), query)).scalars())
    # Missing values come last: where enough others are, an index may give them in order, whatever has none.
    first: sa.FromClause = variability
    if not asked.conditions:
        # Bands that are not the sources' own are in it too, and taken out afterwards.
        names = dict.fromkeys(("source_id", "band", "sample", column.name))
        head = sa.select(*(variability.c[name] for name in names)).where(
            variability.c["sample"] == _SAMPLE, column.is_not(None)
        )
        order = [one if one is not sources.c.id else variability.c.source_id for one in _order(query.sort)]
        first = head.order_by(*order).limit(2 * (query.offset + query.limit)).subquery()
        chosen = sa.select(sources.c.id).order_by(*_order_of(first.c[column.name], query.sort))
    own = sa.and_(first.c.source_id == sources.c.id, first.c.band == sources.c.band, first.c["sample"] == _SAMPLE)
    having = chosen.select_from(sources.join(first, own)).where(first.c[column.name].is_not(None))
    ids = connection.execute(_cut(having, query)).scalars().all()
    if len(ids) < query.limit:
        whole = sa.select(sources.c.id).where(*asked.conditions).order_by(*_order(query.sort))
        ids = connection.execute(_cut(whole.select_from(asked.joined), query)).scalars().all()
    return list(ids)


def _cut(chosen: sa.Select[Any], query: SourceQuery) -> sa.Select[Any]:
    return chosen.offset(query.offset).limit(min(query.limit, MOST_ROWS))


def to_arrow(rows: pd.DataFrame) -> pa.Table:
    """Rows of a list with units and meanings of their columns."""
    schema = pa.schema([COLUMNS[name].arrow.with_nullable(True) for name in map(str, rows)])
    return pa.Table.from_pandas(rows, schema, preserve_index=False)


def _column(name: str) -> sa.Column[Any]:
    """A column by its name.

    Raises
    ------
    InputError
        If there is none.
    """
    if name not in COLUMNS:
        raise InputError(f"there is no column {name!r}{meant(name, [*COLUMNS, *SAID])}")
    if name == _TAGS.name:
        raise InputError("tags are shown only; a condition asks for one of them: tag = needs-look")
    table = TABLES["sources"] if name in TABLES["sources"].c else TABLES["variability"]
    return table.c[name]


def _order(sort: str) -> list[sa.ColumnElement[Any]]:
    return _order_of(_column(sort.removeprefix("-")), sort)


def _order_of(column: sa.ColumnElement[Any], sort: str) -> list[sa.ColumnElement[Any]]:
    """What to order by, given the column of a table or of a part of it."""
    known, identity = _column(sort.removeprefix("-")), TABLES["sources"].c.id
    direction = column.desc() if sort.startswith("-") else column.asc()
    # As far as an index has the same order.
    may_be_missing = known.table is not TABLES["sources"] or known.nullable
    first = direction.nulls_last() if may_be_missing else direction
    # Names are as good as ids to tell sources apart.
    return [first] if known.name in ("id", "name") else [first, identity]


def _parsed(text: str) -> tuple[str, str, str]:
    """Column, comparison and value of a condition."""
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise InputError(f"{text!r} is no condition; write column, comparison and value, such as eta_peak > 3")
    name, sign, word = found.groups()
    return name, sign, word


def _condition(name: str, sign: str, word: str) -> sa.ColumnElement[bool]:
    """One condition in SQL; values are bound, never written into it."""
    if name in SAID:
        return _said(name, sign, word.strip("'\""))
    column = _column(name)
    if sign == "~":
        return column.cast(sa.Text()).contains(word, autoescape=True)
    value = _value(COLUMNS[name], word)
    if isinstance(value, bool) and sign not in ("=", "!="):
        raise InputError(f"{name} is true or false: ask {name} = true or {name} = false")
    compared: sa.ColumnElement[bool] = _COMPARE[sign](column, value)
    return compared


def _said(name: str, sign: str, word: str) -> sa.ColumnElement[bool]:
    """Whether people say something of a source, or do not."""
    if sign not in ("=", "!=", "~"):
        raise InputError(f"{name} {sign} {word}: ask {name} = {word}, {name} != {word} or {name} ~ {word}")
    kind, column = SAID[name]
    now = sayings.current(kind).subquery()
    value = now.c[column]
    fits = value.contains(word, autoescape=True) if sign == "~" else value == word
    those = TABLES["sources"].c.id.in_(sa.select(now.c.source_id).where(fits))
    return sa.not_(those) if sign == "!=" else those


def _value(column: Column, word: str) -> Any:
    """What a word means in a column."""
    if pa.types.is_string(column.type):
        return word.strip("'\"")
    try:
        return _FLAGS[word.lower()] if pa.types.is_boolean(column.type) else float(word)
    except (KeyError, ValueError) as error:
        kind = "true or false" if pa.types.is_boolean(column.type) else "a number"
        raise InputError(f"{column.name} is {kind}, and {word!r} is none") from error


def _within(database: ProductsDatabase, cone: tuple[float, float, float]) -> sa.ColumnElement[bool]:
    found = database.cone(*cone)
    if len(found) > _MOST_IN_CONE:
        raise InputError(f"the circle holds {len(found)} sources; make it smaller, to at most {_MOST_IN_CONE}")
    return TABLES["sources"].c.id.in_(found["id"].tolist())
