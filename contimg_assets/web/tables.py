"""Tables of pages: texts, links and meanings of columns; what they hold is escaped by the templates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd

from contimg_assets.database.source_list import COLUMNS
from contimg_assets.schemas.shown import shown_columns
from contimg_assets.schemas.variability import CROSS_MATCHES, LIGHT_CURVE

# A page is no place for a text of 100,000 letters; the whole of it is in the JSON.
_LONGEST = 300
# A name such as an epoch's, 2026-01-25T2200, is one word, and no browser may break it at its dashes.
_LONGEST_NAME = 40
_MEANINGS = {column.name: column for schema in (CROSS_MATCHES, LIGHT_CURVE) for column in schema} | COLUMNS


@dataclass(frozen=True)
class Cell:
    """One value, and where it leads."""

    text: str
    number: bool = False
    href: str | None = None

    @property
    def kind(self) -> str:
        """How it stands in its column: `number`, `name` in one line, or text."""
        if self.number:
            return "number"
        return "name" if self.text and len(self.text) <= _LONGEST_NAME and " " not in self.text else ""


@dataclass(frozen=True)
class Head:
    """A column: its name, its meaning, and what sorts by it."""

    name: str
    meaning: str
    number: bool
    href: str | None = None


@dataclass(frozen=True)
class Shown:
    """A table as a template shows it."""

    heads: list[Head]
    rows: list[list[Cell]]


def shown_table(
    frame: pd.DataFrame,
    links: Mapping[str, Callable[[int], str]] | None = None,
    sort: Callable[[str], str] | None = None,
    hidden: tuple[str, ...] = (),
) -> Shown:
    """A table for a template.

    Parameters
    ----------
    frame : the rows
    links : column -> where the value of a row leads, by the row's number
    sort : where the head of a column leads
    hidden : columns that only links need
    """
    texts = {name: values for name, values in shown_columns(frame).items() if name not in hidden}
    numeric = {
        name: pd.api.types.is_numeric_dtype(frame[name]) and not pd.api.types.is_bool_dtype(frame[name])
        for name in texts
    }
    chosen = links or {}
    columns = [
        [
            Cell(_short(text), numeric[name], chosen[name](row) if name in chosen else None)
            for row, text in enumerate(values)
        ]
        for name, values in texts.items()
    ]
    heads = [Head(name, _meaning(name), numeric[name], sort(name) if sort else None) for name in texts]
    return Shown(heads, [list(row) for row in zip(*columns, strict=True)])


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _meaning(name: str) -> str:
    column = _MEANINGS.get(name)
    if column is None:
        return ""
    return f"{column.description} [{column.unit}]" if column.unit else column.description
