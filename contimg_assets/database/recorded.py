"""Versions of what rows were made from: of each epoch's inputs, and of what all sources were computed with."""

from __future__ import annotations

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.database import bulk
from contimg_assets.database.epoch_products import EpochProducts
from contimg_assets.database.models import TABLES


def set_recomputed_with(connection: Connection, name: str, version: str) -> bool:
    """Record what sources are computed with; whether it differs from what was recorded."""
    table = TABLES["recomputed_with"]
    known = connection.execute(sa.select(table.c.version).where(table.c.name == name)).scalar()
    if known == version:
        return False
    bulk.upsert(connection, table, pd.DataFrame({"name": [name], "version": [version]}))
    return known is not None


def epoch_versions(connection: Connection) -> dict[str, dict[str, str]]:
    """Recorded versions of inputs: epoch -> name -> version."""
    known: dict[str, dict[str, str]] = {}
    for epoch, name, version in connection.execute(sa.select(TABLES["epoch_versions"])).all():
        known.setdefault(epoch, {})[name] = version
    return known


def write_epoch_versions(connection: Connection, products: EpochProducts) -> None:
    table = TABLES["epoch_versions"]
    connection.execute(sa.delete(table).where(table.c.epoch == products.epoch))
    rows = [{"epoch": products.epoch, "name": name, "version": v} for name, v in sorted(products.versions.items())]
    if rows:
        connection.execute(sa.insert(table), rows)
