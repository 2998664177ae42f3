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
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from contimg_assets.errors import InputError
from contimg_assets.files.stated_sizes import votable_excess
from contimg_assets.reading.columns import (
    EXCERPT,
    About,
    Columns,
    clean_text,
    distinct,
    first_line_of,
    one_chunk,
    parse_numbers,
    refuse_repeated,
    refuse_several,
    to_floats,
    units_in_names,
)
from contimg_assets.reading.encodings import check_text
from contimg_assets.reading.files import MAX_BYTES
from contimg_assets.reading.headers import IsCatalog
from contimg_assets.reading.stated_frames import of_coosys, of_header
from contimg_assets.sky.arrays import Flags, Floats, Indices

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
        stated, frames = _described_in(path, schema)
        self.about = About("Parquet", frames=frames)
        self.units: Mapping[str, str] = units_in_names(self.names, stated)
        self._masks = _masks_of(schema)

    def load(self, numbers: Sequence[str], texts: Sequence[str]) -> Columns:
        refuse_repeated(str(self.path), [*numbers, *texts], self._repeated)
        n_rows = self._file.metadata.num_rows
        masks = [self._masks[name] for name in dict.fromkeys([*numbers, *texts]) if name in self._masks]
        # A column of one value is kept in a few bytes, however often it is stated to stand there.
        if n_rows * max(1, len(numbers) + len(texts)) * 8 > MAX_BYTES:
            raise InputError(f"{self.path}: states {n_rows} rows; split the catalog, one file an image")
        try:
            table = self._file.read(columns=[*numbers, *texts, *masks], use_threads=False)
            table.validate(full=True)
        except (pa.ArrowException, *_PARSER_FAULTS) as error:
            raise _damaged(self.path, "Parquet", error) from error
        result = Columns({}, {}, np.arange(1, n_rows + 1, dtype=np.int64))
        for name in numbers:
            result.numbers[name], faults = self._numbers(name, self._unmasked(table, name))
            if len(faults[0]):
                result.not_numbers[name] = faults
        for name in texts:
            result.texts[name] = self._text(name, self._unmasked(table, name))
        return result

    def _unmasked(self, table: pa.Table, name: str) -> pa.Array:
        """A column, without the values that another one says are missing."""
        values = one_chunk(table.column(name))
        if name not in self._masks:
            return values
        missing = one_chunk(table.column(self._masks[name]))
        return pc.if_else(missing, pa.scalar(None, values.type), values)

    def _numbers(self, name: str, values: pa.Array) -> tuple[Floats, tuple[Indices, list[str]]]:
        """Numbers of a column, and which rows hold what text instead."""
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        kind = values.type
        if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind):
            return to_floats(values.cast(pa.float64(), safe=False)), _NO_FAULTS
        if pa.types.is_boolean(kind):
            return to_floats(values.cast(pa.int8())), _NO_FAULTS
        if any(is_kind(kind) for is_kind in _OF_TEXT):
            return parse_numbers(self._cast_text(name, values))
        raise InputError(f"{self.path}: column {name!r} is {kind}, not a number; convert it, or map another column")

    def _text(self, name: str, values: pa.Array) -> pa.Array:
        if pa.types.is_floating(values.type):
            values = _whole_numbers(values)
        return clean_text(self._cast_text(name, values))

    def _cast_text(self, name: str, values: pa.Array) -> pa.Array:
        try:
            return values.cast(pa.string())
        except pa.ArrowException as error:
            raise InputError(f"{self.path}: column {name!r} is {values.type}, not text; map another column") from error


_OF_TEXT = (
    *(pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view),
    *(pa.types.is_binary, pa.types.is_large_binary, pa.types.is_null),
)
# How astropy, and by the standard VOParquet TOPCAT and others, say what the columns are.
_OF_ASTROPY, _OF_VOPARQUET = b"table_meta_yaml", b"IVOA.VOTable-Parquet.content"
_MASK = ".mask"


def _described_in(path: Path, schema: pa.Schema) -> tuple[dict[str, str], dict[str, str]]:
    """Units of columns and frames of positions, as the metadata of a Parquet file say them in one way or another.

    Raises
    ------
    InputError
        If they are damaged.
    """
    metadata = schema.metadata or {}
    units, frames = {}, {}
    if _OF_VOPARQUET in metadata:
        fields = open_votable(path, metadata[_OF_VOPARQUET], lambda _: True)
        units, frames = dict(fields.units), dict(fields.about.frames)
    if _OF_ASTROPY in metadata:
        units |= _units_of_astropy(path, metadata[_OF_ASTROPY])
    of_fields = {f.name: (f.metadata or {}).get(b"unit", b"").decode("utf-8", "replace") for f in schema}
    return {**units, **{name: unit for name, unit in of_fields.items() if unit}}, frames


def _units_of_astropy(path: Path, header: bytes) -> dict[str, str]:
    """Units in the header that astropy writes into Parquet: a list of columns, before its own objects."""
    try:
        described = yaml.safe_load(header.decode("utf-8").partition("\nmeta:")[0])
        return {str(one["name"]): str(one["unit"]) for one in described["datatype"] if one.get("unit")}
    except (yaml.YAMLError, *_PARSER_FAULTS) as error:
        raise _damaged(path, "Parquet", error) from error


def _masks_of(schema: pa.Schema) -> dict[str, str]:
    """Column -> the one that says which of its values are missing, as astropy writes them beside each other."""
    if _OF_ASTROPY not in (schema.metadata or {}):
        return {}
    flags = {f.name for f in schema if pa.types.is_boolean(f.type)}
    return {name: name + _MASK for name in schema.names if name + _MASK in flags}


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
        If there is none as wanted, or several are catalogs.
    """
    listed = ", ".join(f"table {name}" for name in tables)[:200]
    if wanted is not None:
        exact = [name for name in tables if wanted.lower() in (name.lower(), *name.lower().split(" ", 1))]
        if len(exact) != 1:
            raise InputError(f"{path}: no table {wanted!r}; there are {listed}: say its number or name")
        return exact[0]
    found = [name for name, columns in tables.items() if is_catalog([column.strip() for column in columns])]
    if len(tables) > 1 and len(found) > 1:
        refuse_several(path, found)
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
                    "FITS", chosen if len(tables) > 1 else "", tuple(tables), {} if frame is None else {"": frame}
                )
                table = Table.read(hdu, character_as_bytes=True)
                return _of_table(path, table, about, nulls=_scaled_nulls(hdu), repeated=repeated)
        except (*_PARSER_FAULTS, fits.VerifyError) as error:
            raise _damaged(path, "FITS", error) from error


def _scaled_nulls(hdu: Any) -> dict[str, Flags]:
    """Where TNULL marks values of scaled columns as missing: by the number that stands in the file (FITS standard 4.0,
    section 7.3.2), which astropy looks for among the scaled ones."""
    nulls = {}
    for place, column in enumerate(hdu.columns):
        scaled = column.bscale not in (None, "", 1) or column.bzero not in (None, "", 0)
        if scaled and isinstance(column.null, int):
            stored = hdu.data.view(np.ndarray)
            missing = stored[stored.dtype.names[place]] == column.null
            if missing.ndim == 1:
                nulls[column.name.strip()] = missing
    return nulls


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
            return _of_table(path, table, about, first_line=header + 1)
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
            cautions = _status_of(path, parsed)
            found = {f"{n} {table.name or ''}".strip(): table for n, table in enumerate(parsed.iter_tables(), 1)}
            found = {name: table for name, table in found.items() if table.fields}
            if not found:
                raise InputError(f"{path}: this VOTable has no table; deliver a catalog")
            tables = {name: [f.name for f in table.fields] for name, table in found.items()}
            chosen = _the_catalog(path, tables, is_catalog, wanted)
            about = About("VOTable", chosen if len(found) > 1 else "", tuple(tables), cautions=cautions)
            return _of_votable(path, parsed, found[chosen], about)
        except _PARSER_FAULTS as error:
            raise _damaged(path, "VOTable", error) from error


def _status_of(path: Path, parsed: Any) -> tuple[str, ...]:
    """What a server says of its answer (IVOA's DALI): that it is cut, or no answer but an error, which is raised."""
    cautions = []
    for resource in parsed.resources:
        for info in resource.infos:
            status = str(info.value).upper() if info.name == "QUERY_STATUS" else ""
            if status == "ERROR":
                told = " ".join(str(info.content or "").split())[:EXCERPT] or "no reason is given"
                raise InputError(f"{path}: this is no catalog but a server's error ({told}); ask the server again")
            if status == "OVERFLOW":
                cautions.append("the server that wrote it has cut it (QUERY_STATUS OVERFLOW): rows are missing")
    return tuple(cautions)


def _of_votable(path: Path, parsed: Any, found: Any, about: About) -> AstropyContainer:
    fields = found.fields
    names, repeated = distinct([f.name for f in fields])
    table = found.to_table(use_names_over_ids=True)
    table.rename_columns(table.colnames, list(names))
    units = {
        name: f.unit.to_string() if hasattr(f.unit, "to_string") else str(f.unit)
        for name, f in zip(names, fields, strict=True)
        if f.unit
    }
    units = {name: unit for name, unit in units.items() if unit}
    systems = {system.ID: of_coosys(system) for system in parsed.iter_coosys()}
    frames = {name: systems[f.ref] for name, f in zip(names, fields, strict=True) if f.ref in systems}
    if len(set(systems.values())) == 1:
        frames[""] = next(iter(systems.values()))
    return _of_table(path, table, replace(about, frames=frames), units=units, repeated=repeated)


def _of_table(
    path: Path,
    table: Any,
    about: About,
    *,
    units: Mapping[str, str] | None = None,
    nulls: Mapping[str, Flags] = MappingProxyType({}),
    first_line: int = 1,
    repeated: frozenset[str] = frozenset(),
) -> AstropyContainer:
    """A table of astropy's as a container; its own units where none are given, ``nulls`` masked beside its own."""
    about = replace(about, frames={**about.frames, **_part_positions(table)})
    columns = _masked_columns(table)
    for name in columns.keys() & nulls.keys():
        columns[name][nulls[name]] = np.ma.masked
    vectors = [name for name in table.colnames if name.strip() not in columns]
    if vectors:
        told = f"columns with several values in each cell are not read: {', '.join(vectors)[:200]}"
        about = replace(about, cautions=(*about.cautions, told))
    return AstropyContainer(path, columns, _table_units(table) if units is None else units, about, first_line, repeated)


def _part_positions(table: Any) -> dict[str, str]:
    """Put two columns ("coord.ra", "coord.dec") for positions that astropy has read as one object.

    Returns
    -------
    Column -> frame.
    """
    frames = {}
    for name in table.colnames:
        positions = table[name]
        components = getattr(positions, "representation_component_names", {})
        if {"lon", "lat"} <= set(components.values()):
            equinox = getattr(positions, "equinox", None)
            place = table.index_column(name)
            for part, of_sphere in components.items():
                if of_sphere in ("lon", "lat"):
                    values = getattr(positions.spherical, of_sphere).deg
                    frames[f"{name}.{part}"] = f"{positions.frame.name} {equinox or ''}".strip()
                    table.add_column(values, index=place, name=f"{name}.{part}")
                    table[f"{name}.{part}"].unit = "deg"
            table.remove_column(name)
    return frames


def _masked_columns(table: Any) -> dict[str, np.ma.MaskedArray]:
    """Columns with one value in each cell; vectors, of one length or several, hold nothing that a reader asks for."""
    columns = {}
    for name in table.colnames:
        values = _of_one_value(table[name])
        if values is not None:
            columns[name.strip()] = np.ma.MaskedArray(
                np.ma.getdata(values).astype(values.dtype.newbyteorder("=")), np.ma.getmaskarray(values)
            )
    return columns


def _of_one_value(column: Any) -> np.ma.MaskedArray | None:
    """A column as an array, None where its cells hold vectors."""
    values = np.ma.asarray(getattr(column, "value", column))
    several = values.ndim != 1 or (
        values.dtype.kind == "O" and any(isinstance(value, np.ndarray) for value in np.ma.getdata(values))
    )
    return None if several else values


def _table_units(table: Any) -> dict[str, str]:
    units = {name: getattr(table[name], "unit", None) for name in table.colnames}
    return {name.strip(): str(unit) for name, unit in units.items() if unit is not None and str(unit).strip()}


def _damaged(path: Path, kind: str, error: BaseException) -> InputError:
    return InputError(f"{path}: damaged {kind} file ({first_line_of(error)}); deliver it again")
