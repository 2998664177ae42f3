"""The error model of all fluxes: one small table, replaced as a whole with the statistics that are made from it."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.database import bulk
from contimg_assets.database.models import TABLES
from contimg_assets.identity.versions import version_of_table
from contimg_assets.schemas.error_model import BAND_ERROR_MODEL
from contimg_assets.variability.error_model import ErrorModel


def write_error_model(connection: Connection, rows: pd.DataFrame | None) -> tuple[ErrorModel, bool]:
    """Write rows of BAND_ERROR_MODEL in place of those there are; the model from now on, and whether it is another.

    Parameters
    ----------
    rows : None keeps what is there; without a column `band`, rows are of all bands
    """
    table = TABLES["error_model"]
    columns = [table.c[name] for name in BAND_ERROR_MODEL.names]
    stored = pd.DataFrame(connection.execute(sa.select(*columns)).all(), columns=BAND_ERROR_MODEL.names)
    if rows is None:
        return ErrorModel.of_table(stored), False
    rows = rows if "band" in rows else rows.assign(band="")
    wanted = _sorted(rows)
    if version_of_table(wanted) == version_of_table(_sorted(stored)):
        return ErrorModel.of_table(stored), False
    connection.execute(sa.delete(table))
    bulk.insert(connection, table, wanted)
    return ErrorModel.of_table(rows), True


def _sorted(rows: pd.DataFrame) -> pa.Table:
    table = BAND_ERROR_MODEL.to_arrow(rows[BAND_ERROR_MODEL.names] if len(rows) else BAND_ERROR_MODEL.empty())
    return table.sort_by([(name, "ascending") for name in BAND_ERROR_MODEL.key])
