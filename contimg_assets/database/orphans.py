"""Orphans: rows that refer to a row that is not there, or that nothing refers to though something must."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from contimg_assets.database.engine import reading
from contimg_assets.database.models import IN_TOTAL, TABLES, Base


def orphans(engine: Engine) -> dict[str, int]:
    """Rows that refer to a row that is not there, and rows that nothing refers to though something must.

    Returns
    -------
    Number of such rows by description; only descriptions with any.
    """
    with reading(engine) as connection:
        counts = {
            what: connection.execute(query).scalar_one() for what, query in (*_without_target(), *_without_origin())
        }
    return {what: n for what, n in counts.items() if n}


def _without_target() -> Iterator[tuple[str, sa.Select[Any]]]:
    """For each foreign key, what counts the rows whose key is not there."""
    for table in Base.metadata.sorted_tables:
        for constraint in table.foreign_key_constraints:
            target = constraint.referred_table.alias()
            present = [column.is_not(None) for column in constraint.columns]
            same = [
                target.c[key.column.name] == column
                for key, column in zip(constraint.elements, constraint.columns, strict=True)
            ]
            names = ", ".join(column.name for column in constraint.columns)
            yield (
                f"{table.name} whose ({names}) is not in {constraint.referred_table.name}",
                _count(table, *present, ~sa.select(sa.literal(1)).where(*same).correlate(table).exists()),
            )


def _without_origin() -> Iterator[tuple[str, sa.Select[Any]]]:
    """What counts the sources and measurements that no association names."""
    associations, sources, measurements = TABLES["associations"], TABLES["sources"], TABLES["measurements"]
    of_source = sa.select(sa.literal(1)).where(associations.c.source_id == sources.c.id)
    yield "sources without a measurement", _count(sources, IN_TOTAL, ~of_source.correlate(sources).exists())
    polarized = TABLES["stokes_measurements"]
    detection = sa.select(sa.literal(1)).where(polarized.c.source_id == sources.c.id)
    yield (
        "sources without a polarized detection",
        _count(sources, sources.c.only_polarized, ~detection.correlate(sources).exists()),
    )
    of_measurement = sa.select(sa.literal(1)).where(
        associations.c.measurement_id == measurements.c.measurement_id, associations.c.epoch == measurements.c.epoch
    )
    yield (
        "measurements without a source",
        _count(
            measurements,
            measurements.c.duplicate_of.is_(None),
            ~of_measurement.correlate(measurements).exists(),
        ),
    )


def _count(table: sa.Table, *conditions: sa.ColumnElement[bool]) -> sa.Select[Any]:
    return sa.select(sa.func.count()).select_from(table).where(*conditions)
