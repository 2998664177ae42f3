"""Readers of source finders' catalogs, one module a format, and the registry that finds the right one.

A new format is a module with a `Reader` (see `base`) and a line in `_FINDERS`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from contimg_assets.config import ColumnSource, Ingest
from contimg_assets.errors import InputError, meant
from contimg_assets.ingest.readers import aegean, casda, cirada, dsa110, pybdsf, selavy, sextractor, sky_model
from contimg_assets.ingest.readers.base import Reader, Rows, Source, overruled
from contimg_assets.ingest.readers.table import TableReader
from contimg_assets.reading.columns import Container, bare_name
from contimg_assets.reading.files import plain_name

__all__ = ["Reader", "Rows", "Source", "choose_reader", "is_catalog", "readers"]

_FINDERS: tuple[Reader, ...] = (
    selavy.READER,
    aegean.READER,
    pybdsf.READER,
    dsa110.READER,
    sky_model.READER,
    sextractor.READER,
    casda.READER,
    cirada.READER,
)


_ENOUGH_ALIKE = 3


def readers(parameters: Ingest) -> Mapping[str, Reader]:
    """All readers by name; ``table`` with the configured column map."""
    return {reader.name: reader for reader in (*_FINDERS, TableReader(parameters.column_map))}


@dataclass(frozen=True)
class Chosen:
    """A reader, what a person declared beside its columns, and whether the person said which reader it is.

    Parameters
    ----------
    column_map : our column -> the file's column and unit, before what the reader knows
    key : where in the configuration that stands
    """

    reader: Reader
    column_map: Mapping[str, ColumnSource]
    key: str
    stated: bool
    table: str | None = None
    frame: str | None = None

    def sources(self, columns: Sequence[str], path: Path) -> Sequence[Source]:
        """Where our columns come from.

        Raises
        ------
        InputError
            If a person stated the format, and a column that is declared is not there: it would have no effect.
        """
        present = {name.lower() for name in columns}
        there = {ours: one for ours, one in self.column_map.items() if one.column.lower() in present}
        absent = [ours for ours in self.column_map if ours not in there]
        if absent and columns and (self.stated or self.reader.name == "table"):
            wanted = self.column_map[absent[0]].column
            raise InputError(
                f"{path}: {self.key} takes {absent[0]} from the column {wanted!r}, which this file does not have "
                f"(it has {', '.join(columns[:40])[:500]}); correct the map, or give it a name of its own under "
                "ingest.formats and state that as the format in images.csv"
            )
        return overruled(self.reader.sources(columns), there)


def choose_reader(container: Container, stated: str | None, parameters: Ingest) -> Chosen:
    """The reader for a catalog: as stated, else as configured, else the one that recognizes it.

    A declared column map whose columns are all there, and are all that a table needs, means ``table``: the user's word
    comes before a guess. What it declares counts before what a finder's reader knows, too.

    Raises
    ------
    InputError
        If the stated format is none of ours, or no reader recognizes the columns.
    """
    known = readers(parameters)
    name = stated or parameters.default_format
    if name:
        return _stated(container.path, name, known, parameters)
    file_name, columns = plain_name(container.path), [column for column in container.names if column]
    recognizing = _recognizing(known, columns, file_name)
    if recognizing is None and not columns:
        recognizing = next((reader for reader in known.values() if reader.wrote(container.about.comments)), None)
        if recognizing is None:
            raise InputError(f"{container.path}: no header line of column names above the first row; add one")
    if recognizing is None:
        recognizing = _alike(container.path, known, columns, file_name)
    return Chosen(recognizing, parameters.column_map, "ingest.column_map", False, parameters.table, parameters.frame)


def _stated(path: Path, name: str, known: Mapping[str, Reader], parameters: Ingest) -> Chosen:
    own = parameters.formats.get(name)
    if own is not None:
        reader = known[own.on]
        if own.on == "table":
            reader = TableReader(own.columns)
        table, frame = own.table or parameters.table, own.frame or parameters.frame
        return Chosen(reader, own.columns, f"ingest.formats.{name}", True, table, frame)
    if name not in known:
        names = [*known, *parameters.formats]
        raise InputError(
            f"{path}: unknown format {name!r}{meant(name, names)}; state one of {', '.join(names)}, or none"
        )
    return Chosen(known[name], parameters.column_map, "ingest.column_map", True, parameters.table, parameters.frame)


def _alike(path: Path, known: Mapping[str, Reader], columns: Sequence[str], file_name: str) -> Reader:
    """The reader that a catalog is like, whose own names then say what is missing.

    Raises
    ------
    InputError
        If there is none.
    """
    for reader, islands in ((selavy.READER, selavy.ISLANDS), (aegean.READER, aegean.ISLANDS)):
        if any(signature <= set(columns) for signature in islands):
            name = next(name for name in ("island_id", "col_island_id", "island") if name in columns)
            raise InputError(
                f"{path}: this is {reader.name.capitalize()}'s catalog of islands; deliver its catalog of components, "
                f"or take islands for components with ingest.column_map (component_id: {{column: {name}}}) and the "
                f"format {reader.name}"
            )
    likeness = {reader.name: _likeness(reader, list(columns), file_name) for reader in known.values()}
    best = max(likeness, key=lambda name: likeness[name])
    if likeness[best] >= _ENOUGH_ALIKE:
        return known[best]
    table = known["table"]
    assert isinstance(table, TableReader)
    missing = ", ".join(" or ".join(choice) for choice in table.lacks(columns))
    raise InputError(
        f"{path}: no column is known as {missing}; add what is missing, or declare it in ingest.column_map. The file "
        f"has {', '.join(columns[:40])[:500]}, which is of none of the formats {', '.join(known)}"
    )


def is_catalog(columns: Sequence[str], path: Path, stated: str | None, parameters: Ingest) -> bool:
    """Whether a table with these columns, of a file with this path, is one that `choose_reader` has a reader for.

    For a stated or configured format: whether it has the columns that are needed.
    """
    known = readers(parameters)
    name = stated or parameters.default_format or ""
    own = parameters.formats.get(name)
    reader = known.get(own.on if own is not None else name)
    if reader is None:
        return _recognizing(known, list(columns), plain_name(path)) is not None
    present = {name.lower() for name in columns}
    sources = overruled(reader.sources(columns), parameters.column_map if own is None else own.columns)
    ours = {source.ours for source in sources if present & {name.lower() for name in source.names}}
    return all(ours & set(choice) for choice in reader.needs() if choice != ("component_id",))


def finder_of(columns: Sequence[str], path: Path) -> Reader | None:
    """The source finder whose catalog has these columns, for those who need no more than some of them."""
    return _finder(_FINDERS, columns, plain_name(path))


def _finder(known: Iterable[Reader], columns: Sequence[str], file_name: str) -> Reader | None:
    """The reader that recognizes columns: as they are written, else whatever their case and the units beside them."""
    readers = tuple(known)
    found = next((reader for reader in readers if reader.recognizes(columns, file_name)), None)
    if found is not None:
        return found
    present = {bare_name(name)[0].lower() for name in columns}
    return next((reader for reader in readers if reader.recognizes(_as_signed(reader, present), file_name)), None)


def _as_signed(reader: Reader, present: Collection[str]) -> list[str]:
    """Columns that are there in other letters, as the reader, or a survey, writes them."""
    signed = {name for signature in reader.signature for name in signature} | pybdsf.OF_SURVEYS
    return [name for name in signed if name.lower() in present]


def _recognizing(known: Mapping[str, Reader], columns: list[str], file_name: str) -> Reader | None:
    table = known["table"]
    assert isinstance(table, TableReader)
    finder = _finder(known.values(), columns, file_name)
    if table.declared and table.declared <= set(columns) and (finder is None or table.recognizes(columns, file_name)):
        return table
    return finder


def _likeness(reader: Reader, columns: list[str], file_name: str) -> int:
    """How many of a reader's columns are there; its name in the file's name counts as some.

    Surveys publish what a finder wrote in units of their own: their tables are like none.
    """
    present = set(columns)
    of_surveys = (pybdsf.READER.name, casda.READER.name, cirada.READER.name)
    if reader.name in of_surveys and present & pybdsf.OF_SURVEYS:
        return 0
    found = sum(any(name in present for name in source.names) for source in reader.sources(columns))
    return found + (_ENOUGH_ALIKE - 1 if found and reader.name in file_name else 0)
