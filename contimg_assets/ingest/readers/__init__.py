"""Readers of source finders' catalogs, one module a format, and the registry that finds the right one.

A new format is a module with a `Reader` (see `base`) and a line in `_FINDERS`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from contimg_assets.config import Ingest
from contimg_assets.errors import InputError
from contimg_assets.ingest.readers import aegean, dsa110, pybdsf, selavy
from contimg_assets.ingest.readers.base import Reader, Rows, Source
from contimg_assets.ingest.readers.table import TableReader
from contimg_assets.reading.columns import Container
from contimg_assets.reading.files import plain_name

__all__ = ["Reader", "Rows", "Source", "choose_reader", "is_catalogue", "readers"]

_FINDERS: tuple[Reader, ...] = (selavy.READER, aegean.READER, pybdsf.READER, dsa110.READER)


_ENOUGH_ALIKE = 3


def readers(parameters: Ingest) -> Mapping[str, Reader]:
    """All readers by name; ``table`` with the configured column map."""
    return {reader.name: reader for reader in (*_FINDERS, TableReader(parameters.column_map))}


def choose_reader(container: Container, stated: str | None, parameters: Ingest) -> Reader:
    """The reader for a catalog: as stated, else as configured, else the one that recognizes it.

    A declared column map whose columns are all there means ``table``: the user's word comes before a guess.

    Raises
    ------
    InputError
        If the stated format is none of ours, or no reader recognizes the columns.
    """
    known = readers(parameters)
    name = stated or parameters.default_format
    if name:
        if name not in known:
            raise InputError(f"{container.path}: unknown format {name!r}; state one of {', '.join(known)}, or none")
        return known[name]
    file_name, columns = plain_name(container.path), [column for column in container.names if column]
    recognizing = _recognizing(known, columns, file_name)
    if recognizing is not None:
        return recognizing
    table = known["table"]
    # A known finder's catalog that lacks a column is reported by that finder's own names.
    likeness = {reader.name: _likeness(reader, columns, file_name) for reader in known.values()}
    best = max(likeness, key=lambda name: likeness[name])
    if likeness[best] >= _ENOUGH_ALIKE:
        return known[best]
    listed = ", ".join(columns[:40])[:500]
    missing = ", ".join(" or ".join(choice) for choice in table.needs())
    raise InputError(
        f"{container.path}: the columns ({listed}) are not those of {', '.join(known)}; a table needs {missing}: "
        "add the column that is missing, or declare it in ingest.column_map"
    )


def is_catalog(columns: Sequence[str], path: Path, stated: str | None, parameters: Ingest) -> bool:
    """Whether a table with these columns, of a file with this path, is one that `choose_reader` has a reader for.

    For a stated or configured format: whether it has the columns that are needed.
    """
    known = readers(parameters)
    reader = known.get(stated or parameters.default_format or "")
    if reader is None:
        return _recognizing(known, list(columns), plain_name(path)) is not None
    present = {name.lower() for name in columns}
    ours = {source.ours for source in reader.sources(columns) if present & {name.lower() for name in source.names}}
    return all(ours & set(choice) for choice in reader.needs() if choice != ("component_id",))


def _recognizing(known: Mapping[str, Reader], columns: list[str], file_name: str) -> Reader | None:
    table = known["table"]
    assert isinstance(table, TableReader)
    if table.declared and table.declared <= set(columns):
        return table
    return next((reader for reader in known.values() if reader.recognizes(columns, file_name)), None)


def _likeness(reader: Reader, columns: list[str], file_name: str) -> int:
    """How many of a reader's columns are there; its name in the file's name counts as some."""
    present = set(columns)
    found = sum(any(name in present for name in source.names) for source in reader.sources(columns))
    return found + (_ENOUGH_ALIKE - 1 if found and reader.name in file_name else 0)
