"""Sources with what belongs to each of them in nested columns: light curve, statistics and candidates of matching."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.database import bulk
from contimg_assets.database.export import arrow_schema, batch_of
from contimg_assets.database.models import TABLES
from contimg_assets.database.views import light_curves_of
from contimg_assets.sky.cells import healpix_29

# What each source has several rows of, and the column that says whose they are.
NESTED = {"light_curve": "light_curves", "variability": "variability", "matches": "cross_matches"}
OWNER = "source_id"
SPATIAL_INDEX = "_healpix_29"
"""The column that rows of a HATS catalog are sorted by: the cell of order 29, nested."""
_IN_ORDER = {
    "light_curves": ("mjd", "measurement_id"),
    "variability": ("band", "sample"),
    "cross_matches": ("catalog_type", "rank", "catalog_source_id"),
}


def nested_sources(connection: Connection, where: sa.ColumnElement[bool]) -> pa.Table:
    """Some sources, in the order of the sky.

    Parameters
    ----------
    where : which rows of `sources`

    Returns
    -------
    The columns of `sources`, those of NESTED, and SPATIAL_INDEX; by this and the id. A nested column is a structure of
    lists, as nested-pandas reads it; where a source has no rows, they are empty.
    """
    table, schema = TABLES["sources"], arrow_schema("sources")
    query = sa.select(*(table.c[name] for name in schema.names)).where(where)
    sources = pa.Table.from_batches([batch_of(bulk.rows(connection, query), schema)])
    place = healpix_29(sources["ra_deg"].to_numpy(), sources["dec_deg"].to_numpy())
    sources = sources.append_column(SPATIAL_INDEX, pa.array(place, pa.int64()))
    sources = sources.sort_by([(SPATIAL_INDEX, "ascending"), ("id", "ascending")]).combine_chunks()
    wanted = bulk.set_of_ids(connection, sources["id"].to_pylist())
    n_measurements = pc.if_else(sources["only_polarized"], 0, sources["n_measurements"])
    in_sky_order = sources.select(["id", "healpix"]).append_column("n_measurements", n_measurements)
    for column, name in NESTED.items():
        at = sources.num_columns - 1
        sources = sources.add_column(at, column, _nested(connection, name, in_sky_order, wanted))
    return sources


def _nested(connection: Connection, name: str, sources: pa.Table, wanted: sa.Select[Any]) -> pa.StructArray:
    """The rows of a table or view that belong to some sources, as a structure of lists, one list a source."""
    schema, ids = arrow_schema(name), sources["id"].combine_chunks()
    of = TABLES[name] if name in TABLES else light_curves_of(connection, sources, wanted)
    columns = [of.c[one] for one in schema.names]
    query = (
        sa.select(*columns).where(of.c[OWNER].in_(wanted)).order_by(*(of.c[one] for one in (OWNER, *_IN_ORDER[name])))
    )
    rows = pa.Table.from_batches([batch_of(bulk.rows(connection, query), schema)])
    owner = pc.index_in(rows[OWNER], ids).to_numpy().astype(np.int64)
    rows = rows.take(np.argsort(owner, kind="stable"))
    starts = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=len(ids)))]).astype(np.int32)
    names = [one for one in schema.names if one != OWNER]
    lists = [pa.ListArray.from_arrays(starts, rows[one].combine_chunks()) for one in names]
    return pa.StructArray.from_arrays(lists, names)
