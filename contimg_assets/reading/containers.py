"""Opening a table, whatever its format: found by its first bytes, and for text by its name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from contimg_assets.errors import InputError
from contimg_assets.reading.binary import open_described_text, open_fits, open_parquet, open_votable
from contimg_assets.reading.byte_by_byte import (
    Description,
    description_beside,
    has_description,
    own_description,
    readmes_in,
)
from contimg_assets.reading.columns import Container
from contimg_assets.reading.encodings import plain_text
from contimg_assets.reading.files import plain_name, read_bytes
from contimg_assets.reading.headers import Header, IsCatalog
from contimg_assets.reading.pulsars import is_pulsar_database, open_pulsar_database
from contimg_assets.reading.sky_models import is_sky_model, open_sky_model
from contimg_assets.reading.source_lists import is_source_list, open_source_list
from contimg_assets.reading.sqlite import open_sqlite
from contimg_assets.reading.text import TextContainer

# How texts begin that describe their columns. Comments of IPAC begin with a backslash, and types stand below the names.
_DESCRIBED = {
    "ecsv": re.compile(rb"# %ECSV"),
    "sextractor": re.compile(rb"#\s*[01]\s+[A-Z_][A-Z0-9_]*\s"),
    "ipac": re.compile(
        rb"(\\[^\n]*\n)*\|[^\n]*\|[ ]*\n\|[ ]*(?:char|c|double|d|float|f|real|r|int|i|long|l)[a-z]*[ ]*\|"
    ),
}
# Texts without a header begin with positions; some lines of older ones (FIRST until 2004) have a letter behind them.
_WARNING = re.compile(rb"^([ ]*\d\d +\d\d +[\d.]+ +[+-]\d\d +\d\d +[\d.]+ +)[A-Z](?=[ ])", re.MULTILINE)
_SQLITE = b"SQLite format 3\0"
# Beyond this, no more of a file is read than is asked for, where its format allows that.
_LARGE = 256_000_000

_CURES: tuple[tuple[bytes, str, str], ...] = (
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", "write its table as Parquet or FITS"),
    (b"PK\x03\x04", "a zip archive (a spreadsheet is one too)", "unpack it, or save the table as CSV"),
    (b"\xd0\xcf\x11\xe0", "a spreadsheet of an old format", "save the table as CSV"),
    (b"\x1f\x8b", "packed twice with gzip", "unpack it once"),
    (b"BZh", "packed with bzip2", "unpack it, or pack it with gzip"),
    (b"\xfd7zXZ\0", "packed with xz", "unpack it, or pack it with gzip"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd", "unpack it, or pack it with gzip"),
    (b"\x1f\x9d", "packed with compress", "unpack it, or pack it with gzip"),
    (b"ARROW1", "a Feather file", "write the table as Parquet"),
    (b"\x93NUMPY", "an array of numpy", "write the table as Parquet or FITS"),
    (b"%PDF", "a PDF document", "deliver the table as CSV, FITS, VOTable or Parquet"),
    *((start, "JSON", "write the table as CSV or Parquet") for start in (b"{", b"[{", b"[\n", b"[\r", b"[ {")),
    (b"<html", "a page of the web (HTML)", "look at it, and download the table again"),
    *((start, "a page of the web (HTML)", "save its table as CSV") for start in (b"<table", b"<div")),
    (b"<!doctype html", "a page of the web (HTML)", "look at it, and download the table again"),
)


def open_container(
    path: Path,
    is_catalog: IsCatalog,
    max_unpacked_mb: float,
    held: ExitStack,
    table: str | None = None,
    names: Sequence[str] | None = None,
) -> Container:
    """Open a catalog; the format is found by its first bytes, and for text by its name.

    Parameters
    ----------
    is_catalog : tells the catalog among the tables of a file that holds several
    max_unpacked_mb, held : as `read_bytes` takes them; ``held`` to be closed once the columns are loaded
    table : number or name of the table, where a person says which
    names : of the columns, for a text without a header

    Raises
    ------
    InputError
        If the file is empty, of no known format, or too damaged to have columns.
    """
    head = _head(path)
    if head.startswith(_SQLITE):
        return open_sqlite(path, is_catalog, table)
    large = path.is_file() and path.stat().st_size > _LARGE
    if large and head.startswith(b"PAR1"):
        return open_parquet(path, None)
    if large and head.startswith(b"SIMPLE  ="):
        return open_fits(path, None, is_catalog, table)
    content = read_bytes(path, max_unpacked_mb, held)
    if content.startswith(b"PAR1"):
        return open_parquet(path, content)
    if content.startswith(b"SIMPLE  ="):
        return open_fits(path, content, is_catalog, table)
    content = plain_text(content)
    kind = next((kind for kind, begins in _DESCRIBED.items() if begins.match(content)), None)
    if kind is not None:
        return open_described_text(path, content, kind)
    _refuse_others(path, content)
    if content[:1024].lstrip(b" \t\r\n").startswith(b"<"):
        return open_votable(path, content, is_catalog, table)
    if names is not None:
        return TextContainer(path, _WARNING.sub(rb"\1 ", content), header=Header(tuple(names), " "))
    return _open_text(path, content, is_catalog)


def _open_text(path: Path, content: bytes, is_catalog: IsCatalog) -> Container:
    """A text of whatever kind: those that are no table of lines first."""
    if is_sky_model(content):
        return open_sky_model(path, content)
    if is_source_list(content):
        return open_source_list(path, content)
    if is_pulsar_database(content):
        return open_pulsar_database(path, content)
    if has_description(content):
        return _fixed_columns(path, content, own_description(path, content), "that it describes itself")
    try:
        container = TextContainer(path, content, is_catalog=is_catalog)
        if len(container.names) == 1:
            raise InputError(
                f"{path}: this is no table: its header line is one name, {container.names[0][:60]!r}; deliver a "
                "table with a column for each value"
            )
        return container
    except InputError as error:
        beside = description_beside(path)
        if beside is None:
            if plain_name(path).endswith(".dat"):
                which = (
                    f"the ReadMe here does not describe {path.name}, or is a link that leads out of the folder"
                    if readmes_in(str(path.parent))
                    else "a file of the CDS is read with its ReadMe beside it"
                )
                raise InputError(f"{error}; {which}") from error
            raise
        return _fixed_columns(path, content, beside, "that a ReadMe beside it describes")


def _fixed_columns(path: Path, content: bytes, described: Description, by: str) -> TextContainer:
    container = TextContainer(path, content, header=described.header, frame=described.frame)
    container.about = replace(container.about, kind=f"text in the columns {by}")
    return container


def _head(path: Path) -> bytes:
    """The first bytes; none where the file cannot be read, which `read_bytes` says."""
    try:
        with path.open("rb") as stream:
            return stream.read(32)
    except OSError:
        return b""


def _refuse_others(path: Path, content: bytes) -> None:
    """Say what a file is that is no table of ours.

    Raises
    ------
    InputError
    """
    beginning = content[:100].lstrip().lower()
    for start, what, cure in _CURES:
        if content.startswith(start) or (start.startswith(b"<") and beginning.startswith(start)):
            raise InputError(f"{path}: this is {what}, which is not read; {cure}")
    if content.startswith(_SQLITE):
        raise InputError(f"{path}: an SQLite database is not read while it is packed; unpack it")
    name = plain_name(path)
    for suffixes, kind in (
        ((".fits", ".fit"), "FITS"),
        ((".parquet", ".pq"), "Parquet"),
        ((".xml", ".vot", ".votable"), "VOTable"),
    ):
        if name.endswith(suffixes) and not (kind == "VOTable" and beginning.startswith(b"<")):
            raise InputError(f"{path}: named like a {kind} file but does not begin like one; deliver it again")
