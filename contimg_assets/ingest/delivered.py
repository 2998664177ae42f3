"""One catalog file to rows in our columns and units: container, reader, units, sentinels.

Belongs here: what is common to all readers. Does not belong here: whether a row is usable (`rows`).
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from contimg_assets.config import Ingest
from contimg_assets.errors import InputError
from contimg_assets.ingest.readers import choose_reader, is_catalog
from contimg_assets.ingest.readers.base import Reader, Rows, Source
from contimg_assets.reading.columns import Container
from contimg_assets.reading.containers import open_container
from contimg_assets.schemas.detections import DETECTIONS
from contimg_assets.schemas.units import column_factor
from contimg_assets.sky.arrays import Floats

OUR_UNITS = {column.name: column.unit for column in DETECTIONS}


@dataclass
class DeliveredCatalog:
    """A catalog as read: its rows, its format, and the columns that no one asked for."""

    path: Path
    format: str
    rows: Rows
    ignored: tuple[str, ...]


def read_delivered(path: Path, stated_format: str | None, parameters: Ingest) -> DeliveredCatalog:
    """Read one catalog.

    Parameters
    ----------
    path : CSV, fixed-width text, FITS, VOTable or Parquet; gzip is fine
    stated_format : name of the reader, or None to find it by content and name
    parameters : section `ingest`

    Raises
    ------
    InputError
        If the file cannot be read, lacks a column, or states a unit that does not fit.
    """
    with ExitStack() as held:
        recognised = partial(is_catalog, path=path, stated=stated_format, parameters=parameters)
        container = open_container(path, recognised, parameters.max_unpacked_mb, held)
        return _read(container, stated_format, parameters)


def _read(container: Container, stated_format: str | None, parameters: Ingest) -> DeliveredCatalog:
    reader = choose_reader(container, stated_format, parameters)
    found = _find_columns(container, reader)
    numbers = [name for name, source in found.values() if not source.text]
    texts = [name for name, source in found.values() if source.text]
    delivered = container.load(list(dict.fromkeys(numbers)), list(dict.fromkeys(texts)))
    rows = Rows(delivered, {}, {}, {ours: name for ours, (name, _) in found.items()})
    for ours, (name, source) in found.items():
        if source.text:
            rows.texts[ours] = delivered.texts[name]
        else:
            rows.numbers[ours] = _convert(container, name, source, delivered.numbers[name])
    reader.finish(rows)
    _require(container, reader, {*rows.numbers, *rows.texts})
    asked = {name for name, _ in found.values()}
    return DeliveredCatalog(
        container.path, reader.name, rows, tuple(name for name in container.names if name and name not in asked)
    )


def _find_columns(container: Container, reader: Reader) -> dict[str, tuple[str, Source]]:
    """Our column -> the file's column and its source; exact names first, else whatever the case."""
    present = {name for name in container.names if name}
    by_lower: dict[str, str] = {}
    for name in container.names:
        by_lower.setdefault(name.lower(), name)
    found: dict[str, tuple[str, Source]] = {}
    for source in reader.sources(container.names):
        exact = [name for name in source.names if name in present]
        alike = [by_lower[name.lower()] for name in source.names if name.lower() in by_lower]
        if exact or alike:
            found[source.ours] = ((exact + alike)[0], source)
    return found


def _convert(container: Container, name: str, source: Source, values: Floats) -> Floats:
    for sentinel in source.missing:
        values = np.where(values == sentinel, np.nan, values)
    if source.missing_if_negative:
        values = np.where(values < 0, np.nan, values)
    ours = OUR_UNITS.get(source.ours, "")
    if not ours:
        return values
    stated = source.unit if source.declared else container.units.get(name, source.unit)
    scale = column_factor(str(container.path), name, stated, ours)
    # What is too large to be held becomes infinite, and its row is set aside.
    with np.errstate(over="ignore"):
        return values if scale == 1.0 else values * scale


def _require(container: Container, reader: Reader, ours: Collection[str]) -> None:
    for choice in reader.needs():
        if not any(name in ours for name in choice):
            sources = {source.ours: source.names[0] for source in reader.sources(container.names)}
            wanted = " or ".join(repr(sources.get(name, name)) for name in choice)
            raise InputError(
                f"{container.path}: column {wanted} is missing (format {reader.name}); "
                "add it, or declare another in ingest.column_map"
            )


def text_column(rows: Rows, ours: str) -> pa.Array:
    """A text column, all null where the file has none."""
    return rows.texts.get(ours, pa.nulls(len(rows), pa.string()))
