"""Commands that answer with a table: all of them are cut, sorted and written in the same ways."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any

import typer

from contimg_assets.cli.console import command, note, print_frame
from contimg_assets.cli.formats import CsvOption, JsonOption
from contimg_assets.errors import meant

if TYPE_CHECKING:
    import pandas as pd

_UP = ":up"


@dataclass(frozen=True)
class Listing:
    """What a command found.

    Attributes
    ----------
    frame : all rows, in the order that is of most use
    title : of the table
    columns : that people look at first
    notes : what to know about all of the rows
    note_of : what to know about those that are shown
    absolute : columns that are sorted by their size, whatever the sign
    """

    frame: pd.DataFrame
    title: str
    columns: Sequence[str]
    notes: Sequence[str] = ()
    note_of: Callable[[pd.DataFrame], Sequence[str]] = field(default=lambda shown: ())
    absolute: Sequence[str] = ()


ColumnsOption = Annotated[str | None, typer.Option(help="Only these columns, with commas between them; 'all' for all")]
SortOption = Annotated[
    str | None, typer.Option(help="Column to sort by, the largest first; COLUMN:up for the smallest first")
]
LimitOption = Annotated[int | None, typer.Option(min=1, help="At most this many rows")]


def listing(
    app: typer.Typer, limit: int | None = None, name: str | None = None
) -> Callable[[Callable[..., Listing]], Callable[..., Any]]:
    """Register a function as a command that prints its listing, with the options that all listings have.

    Parameters
    ----------
    limit : rows where the person names no number; all if none
    name : of the command; that of the function if not given
    """
    options = {
        "columns": (ColumnsOption, None),
        "sort": (SortOption, None),
        "limit": (LimitOption, limit),
        "csv": (CsvOption, False),
        "json": (JsonOption, False),
    }
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in options.items()
    ]

    def register(function: Callable[..., Listing]) -> Callable[..., Any]:
        @wraps(function)
        def listed(*args: Any, **keywords: Any) -> None:
            own = {name: keywords.pop(name) for name in options}
            _show(function(*args, **keywords), **own)

        signature = inspect.signature(function, eval_str=True)
        # What Typer reads: options of the command, then those of all listings.
        listed.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[*signature.parameters.values(), *added], return_annotation=None
        )
        listed.__annotations__ = {one.name: one.annotation for one in (*signature.parameters.values(), *added)}
        command(app, name)(listed)
        return function

    return register


def _show(found: Listing, columns: str | None, sort: str | None, limit: int | None, csv: bool, json: bool) -> None:
    """Print a listing as it is asked for; what is not the table goes to the other stream."""
    rows = _sorted(found, sort)
    shown = rows if limit is None else rows[:limit]
    chosen = _chosen(shown, columns)
    table = shown if chosen is None else shown[chosen]
    if json:
        print(table.to_json(orient="records", indent=1))
    elif csv:
        table.to_csv(sys.stdout, index=False)
    elif chosen is None:
        # What is missing everywhere is of no use to people; programs count on every column.
        useful = shown.dropna(axis=1, how="all") if len(shown) and sys.stdout.isatty() else shown
        print_frame(useful, found.title, found.columns)
    else:
        print_frame(table, found.title)
    if len(shown) < len(rows):
        note(f"There are {len(rows)}: --limit shows more.")
    for sentence in (*found.notes, *found.note_of(shown)):
        note(sentence)


def _sorted(found: Listing, sort: str | None) -> pd.DataFrame:
    if sort is None:
        return found.frame
    name = sort.removesuffix(_UP)
    _check(name, found.frame)
    key = abs if name in found.absolute else None
    return found.frame.sort_values(name, ascending=sort.endswith(_UP), kind="stable", key=key, na_position="last")


def _chosen(frame: pd.DataFrame, columns: str | None) -> list[str] | None:
    """The columns that an option names; None if none does."""
    if columns is None:
        return None
    names = [name.strip() for name in columns.split(",") if name.strip()]
    if names == ["all"]:
        return list(map(str, frame))
    for name in names:
        _check(name, frame)
    return names


def _check(name: str, frame: pd.DataFrame) -> None:
    if name not in frame:
        there = list(map(str, frame))
        raise typer.BadParameter(f"no column {name!r}{meant(name, there)}; there are: {', '.join(there)}")
