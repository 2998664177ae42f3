"""Scales between epochs: one table, replaced as a whole."""

from __future__ import annotations

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.database import bulk
from contimg_assets.database.models import TABLES
from contimg_assets.schemas.corrections import EPOCH_SCALES


def write_epoch_scales(connection: Connection, scales: pa.Table) -> None:
    """Write rows of EPOCH_SCALES in place of all that are there."""
    table = TABLES[EPOCH_SCALES.name]
    connection.execute(sa.delete(table))
    bulk.insert(connection, table, scales)
