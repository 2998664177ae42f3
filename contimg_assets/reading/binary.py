"""Binary and self-describing files to columns: Parquet; FITS, VOTable, ECSV and SExtractor's text through astropy.

Belongs here: opening them safely. A file that its parser chokes on becomes an `InputError`; nothing is fetched from
elsewhere.
"""

from __future__ import annotations

import io
import re
import struct
import threading
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from contimg_assets.errors import InputError
from contimg_assets.files.stated_sizes import votable_excess
from contimg_assets.reading.columns import (
    About,
    Columns,
    clean_text,
    distinct,
    first_line_of,
    one_chunk,
    parse_numbers,
    refuse_repeated,
    to_floats,
    units_in_names,
)
from contimg_assets.reading.encodings import check_text
from contimg_assets.reading.files import MAX_BYTES
from contimg_assets.reading.headers import IsCatalog
from contimg_assets.reading.stated_frames import of_coosys, of_header
from contimg_assets.sky.arrays import Floats, Indices

# What the parsers of binary formats raise on damaged bytes, gathered by tests with damaged files.
_PARSER_FAULTS = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    EOFError,
    SyntaxError,
    RuntimeError,
    AssertionError,
    NotImplementedError,
    struct.error,
    Warning,
)
_NO_FAULTS: tuple[Indices, list[str]] = (np.empty(0, np.intp), [])

# astropy filters warnings through a global of the interpreter.
ASTROPY_LOCK = threading.Lock()


class ArrowContainer:
    """A Parquet file."""

    def __init__(self, path: Path, file: pq.ParquetFile) -> None:
        self.path, self._file = path, file
        schema = file.schema_arrow
        self.names, self._repeated = distinct(schema.names)
        self.about = About("Parquet")
        metadata = {f.name: f.metadata or {} for f in schema}
        stated = {
            name: values[b"unit"].decode("utf-8", "replace") for name, values in metadata.items() if values.get(b"unit")
        }
        self.units: Mapping[str, str] = units_in_names(self.names, stated)

    def load(self, numbers: Sequence[str], texts: Sequence[str]) -> Columns:
        refuse_repeated(str(self.path), [*numbers, *texts], self._repeated)
        n_rows = self._file.metadata.num_rows
        # A column of one value is kept in a few bytes, however often it is stated to stand there.
        if n_rows * max(1, len(numbers) + len(texts)) * 8 > MAX_BYTES:
            raise InputError(f"{self.path}: states {n_rows} rows; split the catalog, one file an image")
        try:
            table = self._file.read(columns=[*numbers, *texts], use_threads=False)
            table.validate(full=True)
        except (pa.ArrowException, *_PARSER_FAULTS) as error:
            raise _damaged(self.path, "Parquet", error) from error
        result = Columns({}, {}, np.arange(1, n_rows + 1, dtype=np.int64))
        for name in numbers:
            result.numbers[name], faults = self._numbers(name, one_chunk(table.column(name)))
            if len(faults[0]):
                result.not_numbers[name] = faults
        for name in texts:
            result.texts[name] = self._text(name, one_chunk(table.column(name)))
        return result

    def _numbers(self, name: str, values: pa.Array) -> tuple[Floats, tuple[Indices, list[str]]]:
        """Numbers of a column, and which rows hold what text instead."""
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        kind = values.type
        if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind):
            return to_floats(values.cast(pa.float64(), safe=False)), _NO_FAULTS
        if pa.types.is_boolean(kind):
            return to_floats(values.cast(pa.int8())), _NO_FAULTS
        if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind):
            return parse_numbers(values.cast(pa.string()))
        raise InputError(f"{self.path}: column {name!r} is {kind}, not a number; convert it, or map another column")

    def _text(self, name: str, values: pa.Array) -> pa.Array:
        if pa.types.is_floating(values.type):
            values = _whole_numbers(values)
        try:
            return clean_text(values.cast(pa.string()))
        except pa.ArrowException as error:
            raise InputError(f"{self.path}: column {name!r} is {values.type}, not text; map another column") from error


def _whole_numbers(values: pa.Array) -> pa.Array:
    """Identifiers that a missing value turned into floats, as integers again."""
    numbers = values.to_numpy(zero_copy_only=False)
    if (np.signbit(numbers) & (numbers == 0)).any():
        # Degrees of declinations between -1 and 0.
        return values
    try:
        return values.cast(pa.int64())
    except pa.ArrowInvalid:
        return values


def open_parquet(path: Path, content: bytes | None) -> ArrowContainer:
    """A Parquet file; of a large one, given without its content, only what is asked for is read."""
    try:
        source = path if content is None else pa.BufferReader(content)
        file = pq.ParquetFile(source, page_checksum_verification=True)
    except (pa.ArrowException, *_PARSER_FAULTS) as error:
        raise _damaged(path, "Parquet", error) from error
    return ArrowContainer(path, file)


class AstropyContainer:
    """A table that astropy has read: FITS, VOTable, described text."""

    def __init__(
        self,
        path: Path,
        columns: Mapping[str, np.ma.MaskedArray],
        units: Mapping[str, str],
        about: About,
        first_line: int = 1,
        repeated: frozenset[str] = frozenset(),
    ) -> None:
        self.path, self._columns, self._first_line = path, columns, first_line
        self.names = tuple(columns)
        self.units: Mapping[str, str] = units_in_names(self.names, units)
        self.about = about
        self._repeated = repeated

    def load(self, numbers: Sequence[str], texts: Sequence[str]) -> Columns:
        refuse_repeated(str(self.path), [*numbers, *texts], self._repeated)
        n_rows = len(next(iter(self._columns.values()))) if self._columns else 0
        result = Columns({}, {}, np.arange(self._first_line, self._first_line + n_rows, dtype=np.int64))
        for name in numbers:
            values = self._columns[name]
            if values.dtype.kind in "fiub":
                result.numbers[name] = np.where(np.ma.getmaskarray(values), np.nan, np.ma.getdata(values).astype(float))
            else:
                result.numbers[name], faults = parse_numbers(self._text(values))
                if len(faults[0]):
                    result.not_numbers[name] = faults
        for name in texts:
            result.texts[name] = clean_text(self._text(self._columns[name]))
        return result

    def _text(self, values: np.ma.MaskedArray) -> pa.Array:
        data, mask = np.ma.getdata(values), np.ma.getmaskarray(values)
        if data.dtype.kind == "f" and len(data) and (mask | (data == np.trunc(data))).all():
            # A declination's degrees may be -0, whose sign is that of its minutes.
            negative = np.signbit(data) & (data == 0)
            data = np.where(mask, 0, data).astype(np.int64).astype(str).astype(object)
            data[negative] = "-0"
        if data.dtype.kind == "S":
            try:
                data = np.char.decode(data, "utf-8")
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{self.path}: a text column is not UTF-8 ({error}); deliver the file again"
                ) from error
        try:
            return pa.array(data.astype(str).astype(object), pa.string(), mask=mask)
        except (pa.ArrowException, UnicodeError) as error:
            raise InputError(
                f"{self.path}: a text column holds no valid text ({error}); deliver the file again"
            ) from error


def _the_catalog(path: Path, tables: Mapping[str, Sequence[str]], is_catalog: IsCatalog, wanted: str | None) -> str:
    """The one table of a file that is a catalog; where none is, the first, whose columns the message then names.

    Parameters
    ----------
    tables : at least one; its columns, by "number name"
    wanted : its number or name, where a person says it

    Raises
    ------
    InputError
        If there is none as wanted, or several are catalogs: none of their rows may be lost, and one image has one
        catalog.
    """
    listed = ", ".join(f"table {name}" for name in tables)[:200]
    if wanted is not None:
        exact = [name for name in tables if wanted.lower() in (name.lower(), *name.lower().split(" ", 1))]
        if len(exact) != 1:
            raise InputError(f"{path}: no table {wanted!r}; there are {listed}: say its number or name")
        return exact[0]
    found = [name for name, columns in tables.items() if is_catalog([column.strip() for column in columns])]
    if len(tables) > 1 and len(found) > 1:
        named = ", ".join(f"table {name}" for name in found)[:200]
        raise InputError(
            f"{path}: {len(found)} of its tables are catalogs ({named}); deliver one table a file, "
            "or say which it is (the option --table, the key `table` in contimg.yaml)"
        )
    return found[0] if found else next(iter(tables))


def open_fits(path: Path, content: bytes | None, is_catalog: IsCatalog, wanted: str | None = None) -> AstropyContainer:
    """A table of a FITS file; a large file is given without its content."""
    from astropy.io import fits
    from astropy.table import Table

    with ASTROPY_LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # A truncated file or a checksum that does not match is only a warning to astropy.
        warnings.filterwarnings(
            "error", message=".*(truncated|Checksum verification failed|Datasum verification failed).*"
        )
        try:
            source = path if content is None else io.BytesIO(content)
            with fits.open(source, memmap=content is None, checksum=content is not None) as hdus:
                found = {
                    f"{n} {hdu.name}".strip(): hdu
                    for n, hdu in enumerate(hdus)
                    # SExtractor's FITS_LDAC has the image's header in a table of its own before the catalog.
                    if isinstance(hdu, fits.BinTableHDU | fits.TableHDU) and hdu.name != "LDAC_IMHEAD"
                }
                if not found:
                    raise InputError(f"{path}: this FITS file has no table; name a catalog in images.csv")
                tables = {name: list(hdu.columns.names) for name, hdu in found.items()}
                chosen = _the_catalog(path, tables, is_catalog, wanted)
                hdu = found[chosen]
                names, repeated = distinct(hdu.columns.names)
                if repeated:
                    for column, name in zip(hdu.columns, names, strict=True):
                        column.name = name
                frame = of_header(hdu.header) or of_header(hdus[0].header)
                about = About(
                    "FITS", chosen if len(tables) > 1 else "", tuple(tables), {"": frame} if frame is not None else {}
                )
                table = Table.read(hdu, character_as_bytes=True)
                return AstropyContainer(path, _masked_columns(table), _table_units(table), about, repeated=repeated)
        except (*_PARSER_FAULTS, fits.VerifyError) as error:
            raise _damaged(path, "FITS", error) from error


def open_described_text(path: Path, content: bytes, kind: str) -> AstropyContainer:
    """Text whose header says units and types, which plain text would lose: ECSV, IPAC, SExtractor's ASCII_HEAD."""
    from astropy.table import Table

    check_text(path, content)
    lines = content.decode("utf-8").splitlines()
    header = next((n for n, line in enumerate(lines) if not line.startswith("#")), len(lines)) + (kind == "ecsv")
    if kind == "sextractor" and re.match(r"#\s*0\s", lines[0]):
        lines[:header] = [_FROM_0.sub(lambda found: f"#{int(found[1]) + 1:4d}", line) for line in lines[:header]]
    about = About({"ecsv": "ECSV", "sextractor": "text of SExtractor (ASCII_HEAD)", "ipac": "IPAC table"}[kind])
    if kind == "ipac":
        header = next((n for n, line in enumerate(lines) if not line.startswith(("\\", "|"))), len(lines))
    with ASTROPY_LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            table = Table.read(lines, format=f"ascii.{kind}")
            return AstropyContainer(path, _masked_columns(table), _table_units(table), about, header + 1)
        except _PARSER_FAULTS as error:
            raise _damaged(path, kind.upper(), error) from error


# Numbers of columns in the header of SExtractor's text, which some writers count from 0.
_FROM_0 = re.compile(r"#\s*(\d+)")
_ENTITY = re.compile(rb"<!\s*(ENTITY|DOCTYPE)", re.IGNORECASE)
_STREAM = re.compile(rb"<(?:[A-Za-z0-9_.-]+:)?STREAM\b[^>]*\bhref", re.IGNORECASE)


def open_votable(path: Path, content: bytes, is_catalog: IsCatalog, wanted: str | None = None) -> AstropyContainer:
    """A table of a VOTable file, columns by their names and not their IDs."""
    from astropy.io import votable

    check_text(path, content)
    for pattern, what in ((_ENTITY, "declares entities"), (_STREAM, "asks for data from elsewhere")):
        if pattern.search(content):
            raise InputError(f"{path}: this VOTable {what}, which is refused; deliver a self-contained file")
    if (excess := votable_excess(content)) is not None:
        raise InputError(f"{path}: damaged VOTable file ({excess}); deliver it again")
    with ASTROPY_LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            parsed = votable.parse(io.BytesIO(content), verify="ignore", filename=path.name)
            found = {f"{n} {table.name or ''}".strip(): table for n, table in enumerate(parsed.iter_tables(), 1)}
            found = {name: table for name, table in found.items() if table.fields}
            if not found:
                raise InputError(f"{path}: this VOTable has no table; deliver a catalog")
            tables = {name: [f.name for f in table.fields] for name, table in found.items()}
            chosen = _the_catalog(path, tables, is_catalog, wanted)
            return _of_votable(path, parsed, found[chosen], chosen if len(found) > 1 else "", tuple(tables))
        except _PARSER_FAULTS as error:
            raise _damaged(path, "VOTable", error) from error


def _of_votable(path: Path, parsed: Any, found: Any, chosen: str, tables: tuple[str, ...]) -> AstropyContainer:
    fields = found.fields
    names, repeated = distinct([f.name for f in fields])
    table = found.to_table(use_names_over_ids=True)
    table.rename_columns(table.colnames, list(names))
    units = {
        name: f.unit.to_string() if hasattr(f.unit, "to_string") else str(f.unit)
        for name, f in zip(names, fields, strict=True)
        if f.unit
    }
    systems = {system.ID: of_coosys(system) for system in parsed.iter_coosys()}
    frames = {name: systems[f.ref] for name, f in zip(names, fields, strict=True) if f.ref in systems}
    if len(set(systems.values())) == 1:
        frames[""] = next(iter(systems.values()))
    about = About("VOTable", chosen, tables, frames)
    return AstropyContainer(path, _masked_columns(table), units, about, repeated=repeated)


def _masked_columns(table: object) -> dict[str, np.ma.MaskedArray]:
    """One-dimensional columns; vectors, of one length or several, hold nothing that a reader asks for."""
    columns = {}
    for name in table.colnames:  # type: ignore[attr-defined]
        column = table[name]  # type: ignore[index]
        if column.ndim == 1:
            values = np.ma.asarray(getattr(column, "value", column))
            if values.dtype.kind == "O" and any(isinstance(value, np.ndarray) for value in np.ma.getdata(values)):
                continue
            columns[name.strip()] = np.ma.MaskedArray(
                np.ma.getdata(values).astype(values.dtype.newbyteorder("=")), np.ma.getmaskarray(values)
            )
    return columns


def _table_units(table: object) -> dict[str, str]:
    units = {name: table[name].unit for name in table.colnames}  # type: ignore[attr-defined,index]
    return {name.strip(): str(unit) for name, unit in units.items() if unit is not None and str(unit).strip()}


def _damaged(path: Path, kind: str, error: BaseException) -> InputError:
    return InputError(f"{path}: damaged {kind} file ({first_line_of(error)}); deliver it again")
