"""What all commands share: the project in the current folder, the screen, and how errors reach people."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from contimg_assets.errors import ConfigError, ContimgError

if TYPE_CHECKING:
    import pandas as pd

    from contimg_assets.config import Config

_FEW_ROWS, _MANY_COLUMNS = 3, 12
_NEVER_CUT = ("name", "source_id", "id", "epoch", "first_epoch", "catalog_source_id")

_tracebacks = False

console = Console()
error_console = Console(stderr=True)


@contextmanager
def _word_while_loading() -> Iterator[None]:
    """A word on a terminal, taken away again: what a command needs takes a second or two to load."""
    # Of one that is piped on, nothing but its own output is wanted; nothing else is printed meanwhile.
    if not sys.stdout.isatty() or not error_console.is_terminal or error_console.is_dumb_terminal:
        yield
        return
    sys.stderr.write("\x1b[2mloading ...\x1b[0m\r")
    sys.stderr.flush()
    try:
        yield
    finally:
        sys.stderr.write("\x1b[2K\r")
        sys.stderr.flush()


def open_project() -> Any:
    """The project of the current folder (`contimg.yaml`, or $CONTIMG_CONFIG)."""
    with _word_while_loading():
        from contimg_assets.config import load_config
        from contimg_assets.pipeline.project import Project

    return Project(load_config())


def require_project(config: Config) -> None:
    """Refuse a folder where there is neither a configuration nor anything of a project, before anything is made there.

    Raises
    ------
    ConfigError
    """
    from contimg_assets.config import find_config_file

    file = find_config_file()
    has_products = any(config.root.glob("*.sqlite3")) or not config.products_url.startswith("sqlite")
    if not (file.exists() or config.incoming.is_dir() or has_products):
        raise ConfigError(
            f"{file.parent} is no project: there is no {file.name}; change to the project's folder, name it by "
            "`contimg -C FOLDER`, or call `contimg init` to make one"
        )


def show_tracebacks(wanted: bool) -> None:
    """Whether errors that people can cure are shown with where they arose."""
    global _tracebacks
    _tracebacks = wanted


@contextmanager
def plain_errors() -> Iterator[None]:
    """Errors that a user can cure are printed as their one sentence, without a traceback; exit status 2."""
    with _word_while_loading():
        from contimg_assets.database.engine import telling_trouble

    try:
        # The products database tells its own troubles.
        with telling_trouble("Dagster's storage, where dagster.yaml says,"):
            yield
    except ContimgError as error:
        if _tracebacks:
            traceback.print_exc()
        _print_error(str(error))
        raise typer.Exit(2) from error


def _print_error(sentence: str) -> None:
    error_console.print(f"[bold red]error:[/] {escape(sentence)}", highlight=False, soft_wrap=True)


def command(
    app: typer.Typer, name: str | None = None, **arguments: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function as a command whose foreseeable errors are plain sentences."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def guarded(*args: Any, **keywords: Any) -> Any:
            with plain_errors():
                return function(*args, **keywords)

        app.command(name, **arguments)(guarded)
        return function

    return register


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Where SIGTERM ends what is written as Ctrl-C does: half of a file or folder is taken away again."""

    def end(number: int, frame: object) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def note(text: str) -> None:
    """Something to know about the output, kept out of it."""
    error_console.print(f"[dim]{escape(text)}[/]", highlight=False, soft_wrap=True)


def print_frame(frame: pd.DataFrame, title: str | None = None, columns: Sequence[str] | None = None) -> None:
    """A table on the screen; all of it tab-separated where the output is not a terminal, for other programs to read.

    Parameters
    ----------
    columns : that people look at first; the screen shows these where they are there, and all others are left out. A
        frame of few rows and many columns is shown with a line per column.
    """
    import pandas as pd

    from contimg_assets.schemas.shown import shown_columns

    if not sys.stdout.isatty():
        frame.to_csv(sys.stdout, sep="\t", index=False)
        return
    if frame.empty:
        console.print(f"{title}: none" if title else "none")
        return
    shown = frame[[name for name in columns if name in frame]] if columns else frame
    # By all columns: errors that are not shown round what is.
    texts = shown_columns(frame)
    if len(shown) <= _FEW_ROWS and len(shown.columns) > _MANY_COLUMNS:
        table = Table("column", *(str(i + 1) for i in range(len(shown))), title=title, show_header=len(shown) > 1)
        for name, column in texts.items():
            if name in shown:
                table.add_row(name, *map(escape, column))
    else:
        table = Table(title=title)
        for name in shown.columns:
            numeric = pd.api.types.is_numeric_dtype(shown[name]) and not pd.api.types.is_bool_dtype(shown[name])
            # Words of a name may stand on lines of their own; ids and names of epochs may not be cut.
            table.add_column(
                str(name).replace("_", " "),
                justify="right" if numeric else "left",
                no_wrap=name in _NEVER_CUT,
                overflow="fold",
            )
        for row in zip(*(texts[str(name)] for name in shown), strict=True):
            table.add_row(*map(escape, row))
    console.print(table)
    if len(shown.columns) < len(frame.columns):
        hidden = len(frame.columns) - len(shown.columns)
        console.print(f"[dim]{hidden} more columns: send the output to a file or another program to see all.[/]")
