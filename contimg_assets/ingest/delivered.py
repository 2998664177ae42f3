"""One catalog file to rows in our columns and units: container, reader, units, sentinels.

Belongs here: what is common to all readers. Does not belong here: whether a row is usable (`rows`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from contimg_assets.config import Ingest
from contimg_assets.errors import InputError
from contimg_assets.ingest.readers import Chosen, choose_reader, is_catalog
from contimg_assets.ingest.readers.base import Rows, Source
from contimg_assets.reading.columns import About, Columns, Container, bare_name, without_marks
from contimg_assets.reading.containers import open_container
from contimg_assets.reading.positions import PARTS, degrees_of, degrees_of_parts, parts_in
from contimg_assets.reading.stated_frames import frame_of_positions
from contimg_assets.schemas.detections import DETECTIONS
from contimg_assets.schemas.units import column_factor, factor, is_of_time, right_ascension_factor
from contimg_assets.sky.arrays import Floats
from contimg_assets.sky.frames import to_icrs, turned_errors

NO_CATALOG = "none"
FROM_IMAGE = "image"
"""Format of an image in another Stokes parameter than I that has no catalog: fluxes are measured in the image."""
"""Format of an image that is said to have no detections."""

# Units of what can be marked as missing by a number; angles of position may be -99 degrees.
_MEASURED_IN = ("mJy", "mJy / beam", "arcsec")
OUR_UNITS = {column.name: column.unit for column in DETECTIONS}


@dataclass(frozen=True)
class Taken:
    """Where one of our columns was taken from.

    Parameters
    ----------
    ours, theirs : the column here and in the file
    unit : that it was read in
    stated : who says the unit: "the file", "you", or nobody
    factor : that its values were multiplied with
    """

    ours: str
    theirs: str
    unit: str
    stated: str
    factor: float = 1.0


@dataclass
class DeliveredCatalog:
    """A catalog as read: its rows, its format, and the columns that no one asked for.

    ``about`` says what the file is, ``frame`` what became of its positions, ``taken`` where each column is from, and
    ``sought`` what was looked for under which names and is not there.
    """

    path: Path
    format: str
    rows: Rows
    ignored: tuple[str, ...]
    about: About
    frame: str
    taken: tuple[Taken, ...]
    sought: Mapping[str, tuple[str, ...]]


def read_delivered(path: Path, stated_format: str | None, parameters: Ingest) -> DeliveredCatalog:
    """Read one catalog.

    Parameters
    ----------
    path : CSV, fixed-width text, FITS, VOTable, Parquet or SQLite; gzip is fine
    stated_format : name of the reader, or of one of ``ingest.formats``, or None to find it by content and name
    parameters : section `ingest`

    Raises
    ------
    InputError
        If the file cannot be read, lacks a column, or states a unit that does not fit.
    """
    with ExitStack() as held:
        recognised = partial(is_catalog, path=path, stated=stated_format, parameters=parameters)
        own = parameters.formats.get(stated_format or parameters.default_format or "")
        table = (own.table if own is not None else None) or parameters.table
        container = open_container(path, recognised, parameters.max_unpacked_mb, held, table)
        return _read(container, choose_reader(container, stated_format, parameters))


def no_detections(path: Path, name: str = NO_CATALOG) -> DeliveredCatalog:
    """What an image without detections, or one in which fluxes are measured, has for a catalog."""
    rows = Rows(Columns({}, {}, np.empty(0, np.int64)), {}, {}, {})
    _nothing(rows)
    return DeliveredCatalog(path, name, rows, (), About("no catalog"), "", (), {})


def _read(container: Container, chosen: Chosen) -> DeliveredCatalog:
    reader = chosen.reader
    sources = chosen.sources(container.names, container.path)
    found = find_columns(container.names, sources)
    numbers = [name for name, source in found.values() if not source.text]
    texts = [name for name, source in found.values() if source.text]
    parts = {ours: parts_in(container.names, ours) for ours in PARTS if ours not in found}
    texts += [name for names in parts.values() for name in names]
    delivered = container.load(list(dict.fromkeys(numbers)), list(dict.fromkeys(texts)))
    rows = Rows(delivered, {}, {}, {ours: name for ours, (name, _) in found.items()})
    taken, of_time = [], False
    for ours, (name, source) in found.items():
        if source.text:
            rows.texts[ours] = delivered.texts[name]
            taken.append(Taken(ours, name, "", ""))
        else:
            rows.numbers[ours], one = _convert(container, name, source, delivered, chosen.key)
            taken.append(one)
            if ours == "ra_err_arcsec" and is_of_time(one.unit):
                of_time = True
    taken += _take_parts(rows, delivered, parts)
    if of_time and "dec_deg" in rows.numbers:
        # Seconds of time are errors of the coordinate, ours are on the sky.
        rows.numbers["ra_err_arcsec"] = rows.numbers["ra_err_arcsec"] * np.cos(np.radians(rows.numbers["dec_deg"]))
    if container.names:
        reader.finish(rows)
        _require(container, chosen, {*rows.numbers, *rows.texts})
    else:
        _nothing(rows)
    frame = _to_icrs(rows, container, chosen)
    asked = {*(name for name, _ in found.values()), *texts}
    return DeliveredCatalog(
        container.path,
        reader.name,
        rows,
        tuple(name for name in container.names if name and name not in asked),
        container.about,
        frame,
        tuple(taken),
        {source.ours: source.names for source in sources if source.ours not in found and not parts.get(source.ours)},
    )


def _take_parts(rows: Rows, delivered: Columns, parts: Mapping[str, Sequence[str]]) -> list[Taken]:
    """Take positions that are spread over several columns; where from."""
    taken = []
    for ours, names in parts.items():
        if names:
            hours = ours == "ra_deg"
            rows.numbers[ours] = degrees_of_parts([delivered.texts[name] for name in names], hours)
            rows.columns[ours] = " ".join(names)
            taken.append(Taken(ours, rows.columns[ours], "h:m:s" if hours else "d:m:s", ""))
    return taken


def _nothing(rows: Rows) -> None:
    """The columns that everybody needs, of a catalog of which comments alone are left."""
    rows.numbers |= {ours: np.empty(0) for ours in ("ra_deg", "dec_deg", "flux_peak_mjy_beam", "flux_int_mjy")}
    rows.texts["component_id"] = pa.array([], pa.string())


def find_columns(names: Sequence[str], sources: Sequence[Source]) -> dict[str, tuple[str, Source]]:
    """Our column -> the file's column and its source; exact names first, else whatever the case and a unit in it."""
    present = {name for name in names if name}
    by_lower: dict[str, str] = {}
    for name in names:
        by_lower.setdefault(name.lower(), name)
    for name in names:
        by_lower.setdefault(bare_name(name)[0].lower(), name)
    found: dict[str, tuple[str, Source]] = {}
    for source in sources:
        exact = [name for name in source.names if name in present]
        alike = [by_lower[name.lower()] for name in source.names if name.lower() in by_lower]
        if exact or alike:
            found[source.ours] = ((exact + alike)[0], source)
    return found


def _convert(container: Container, name: str, source: Source, delivered: Columns, key: str) -> tuple[Floats, Taken]:
    file = container.units.get(name)
    unit = source.unit if source.declared or file is None else file
    stated = "you" if source.declared else "the file" if file is not None else ""
    values = delivered.numbers[name]
    for sentinel in source.missing:
        values = np.where(values == sentinel, np.nan, values)
    if source.missing_if_negative:
        values = np.where(values < 0, np.nan, values)
    ours = OUR_UNITS.get(source.ours, "")
    if source.ours in ("ra_deg", "dec_deg"):
        return _position(container, name, source, delivered, unit if stated else None, key), Taken(
            source.ours, name, unit, stated
        )
    if not ours:
        return values, Taken(source.ours, name, "", "")
    convert = right_ascension_factor if source.ours == "ra_err_arcsec" else factor
    if ours in _MEASURED_IN:
        values = without_marks(values)
    scale = column_factor(str(container.path), name, unit, ours, key, convert)
    # What is too large to be held becomes infinite, and its row is set aside.
    with np.errstate(over="ignore"):
        return values if scale == 1.0 else values * scale, Taken(source.ours, name, unit, stated, scale)


def _position(
    container: Container, name: str, source: Source, delivered: Columns, unit: str | None, key: str
) -> Floats:
    try:
        return degrees_of(delivered, name, unit, hours=source.ours == "ra_deg")
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{container.path}: column {name!r} has the unit {unit!r}, which does not convert to 'deg' ({error}); "
            f"correct the file, or state the unit in {key}"
        ) from error


def _to_icrs(rows: Rows, container: Container, chosen: Chosen) -> str:
    """Bring positions, their errors and position angles into the ICRS; what is said of the frame."""
    try:
        frame, told = frame_of_positions(rows.columns.get("ra_deg", ""), chosen.frame, container.about.frames)
    except ValueError as error:
        raise InputError(
            f"{container.path}: the frame that the file states cannot be converted ({error}); say which it is in "
            "ingest.frame"
        ) from error
    if frame.name != "icrs":
        numbers = rows.numbers
        numbers["ra_deg"], numbers["dec_deg"], turn = to_icrs(numbers["ra_deg"], numbers["dec_deg"], frame)
        if {"ra_err_arcsec", "dec_err_arcsec"} <= set(numbers):
            errors = turned_errors(numbers["ra_err_arcsec"], numbers["dec_err_arcsec"], turn)
            numbers["ra_err_arcsec"], numbers["dec_err_arcsec"] = errors
        if "pa_deg" in numbers:
            numbers["pa_deg"] = numbers["pa_deg"] + turn
    return told


def _require(container: Container, chosen: Chosen, ours: Collection[str]) -> None:
    for choice in chosen.reader.needs():
        if not any(name in ours for name in choice):
            sources = {source.ours: source.names[0] for source in chosen.sources(container.names, container.path)}
            wanted = " or ".join(repr(sources.get(name, name)) for name in choice)
            raise InputError(
                f"{container.path}: column {wanted} is missing (format {chosen.reader.name}){_beside(container)}; "
                f"add it, or declare another in {chosen.key}, such as {choice[0]}: {{column: NAME, unit: UNIT}}"
            )


def _beside(container: Container) -> str:
    """What is known to be amiss with a file, behind a message on what it lacks."""
    return f" ({'; '.join(container.about.cautions)})" if container.about.cautions else ""


def text_column(rows: Rows, ours: str) -> pa.Array:
    """A text column, all null where the file has none."""
    return rows.texts.get(ours, pa.nulls(len(rows), pa.string()))
