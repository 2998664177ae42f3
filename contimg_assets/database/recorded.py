"""Versions of what rows were made from: of each epoch's inputs, and of what all sources were computed with."""

from __future__ import annotations

from typing import Literal

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.database import bulk
from contimg_assets.database.epoch_products import EpochProducts
from contimg_assets.database.models import TABLES


def epoch_versions(connection: Connection) -> dict[str, dict[str, str]]:
    """Recorded versions of the inputs of every epoch: epoch -> name -> version."""
    epochs, versions = TABLES["epochs"], TABLES["epoch_versions"]
    query = sa.select(epochs.c.epoch, versions.c.name, versions.c.version).outerjoin(
        versions, versions.c.epoch == epochs.c.epoch
    )
    found: dict[str, dict[str, str]] = {}
    for epoch, name, version in bulk.rows(connection, query.order_by(epochs.c.epoch, versions.c.name)):
        known = found.setdefault(epoch, {})
        if name is not None:
            known[name] = version
    return found


def write_epoch_versions(connection: Connection, products: EpochProducts) -> None:
    """Record the versions of an epoch's inputs in place of those that are there."""
    table = TABLES["epoch_versions"]
    connection.execute(sa.delete(table).where(table.c.epoch == products.epoch))
    rows = [{"epoch": products.epoch, "name": name, "version": v} for name, v in sorted(products.versions.items())]
    if rows:
        connection.execute(sa.insert(table), rows)


def recomputed_with(connection: Connection) -> dict[str, str]:
    """Versions of parameters and catalogs that all sources were computed with: 'variability', 'matching'."""
    table = TABLES["recomputed_with"]
    return {row.name: row.version for row in connection.execute(sa.select(table.c.name, table.c.version)).all()}


def record_recomputed_with(
    connection: Connection, name: Literal["variability", "matching", "decisions"], version: str
) -> bool:
    """Record what all sources are computed with from now on; whether it was something else before."""
    known = recomputed_with(connection).get(name)
    if known == version:
        return False
    bulk.upsert(connection, TABLES["recomputed_with"], pd.DataFrame({"name": [name], "version": [version]}))
    return known is not None
