"""Rows that belong to one epoch: deleted and inserted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.database import bulk
from contimg_assets.database.blocks import Block, make_block, pack
from contimg_assets.database.epoch_products import EpochProducts
from contimg_assets.database.light_curves import read_block
from contimg_assets.database.models import TABLES
from contimg_assets.database.recorded import epoch_versions, write_epoch_versions
from contimg_assets.database.writing.coverage import insert_coverage
from contimg_assets.database.writing.report import Stopwatch, WriteReport
from contimg_assets.errors import StoreError

ASSOCIATION_KEY = ["epoch", "measurement_id", "source_id"]


def replace_rows(
    connection: Connection,
    batch: Iterable[EpochProducts],
    delete: Sequence[str],
    report: WriteReport,
    watch: Stopwatch,
    anew: bool,
) -> tuple[dict[str, Block], dict[str, Block]]:
    """Delete and insert the rows that belong to epochs. Returns the old and the new blocks of those that changed.

    Only one epoch's tables are needed at a time: the batch may be a generator that reads them.
    """
    epochs = TABLES["epochs"]
    rows = connection.execute(sa.select(epochs.c.epoch, epochs.c.content_version)).all()
    recorded = {row.epoch: row.content_version for row in rows}
    old: dict[str, Block] = {}
    new: dict[str, Block] = {}
    for epoch in list(recorded) if anew else delete:
        if epoch in recorded:
            old[epoch] = read_block(connection, epoch)
            _delete_epoch(connection, epoch)
            report.deleted.append(epoch)
    if anew:
        recorded = {}
    versions = epoch_versions(connection)
    watch.lap("delete")
    for products in batch:
        if products.epoch in {*report.written, *report.unchanged, *delete}:
            raise StoreError(f"epoch {products.epoch!r} is given more than once; each epoch has one state")
        same = recorded.get(products.epoch) == products.content_version
        watch.lap("prepare")
        if same:
            report.unchanged.append(products.epoch)
        else:
            if products.epoch in recorded:
                old[products.epoch] = read_block(connection, products.epoch)
                _delete_epoch(connection, products.epoch)
                watch.lap("delete")
            new[products.epoch] = _insert_epoch(connection, products)
            report.written.append(products.epoch)
        if not same or versions.get(products.epoch, {}) != dict(products.versions):
            write_epoch_versions(connection, products)
        watch.lap("insert epochs")
    report.deleted = [epoch for epoch in report.deleted if epoch not in new]
    return old, new


def _delete_epoch(connection: Connection, epoch: str) -> None:
    associations = TABLES["associations"]
    own = sa.and_(associations.c.epoch == epoch, associations.c.copied_by.is_(None))
    connection.execute(sa.delete(associations).where(own))
    connection.execute(sa.delete(associations).where(associations.c.copied_by == epoch))
    for name in (
        "source_relations",
        "corrections",
        "measurements",
        "image_coverage",
        "images",
        "epoch_blocks",
        "epoch_limits",
        "epoch_versions",
        "epochs",
    ):
        connection.execute(sa.delete(TABLES[name]).where(TABLES[name].c.epoch == epoch))


def _insert_epoch(connection: Connection, products: EpochProducts) -> Block:
    """All rows that belong to one epoch. Its sources may come later within the transaction."""
    tables = products.tables
    mjd = pc.min_max(tables["images"]["mjd"]).as_py()
    measurements, associations = tables["measurements"], tables["associations"]
    epoch = {
        "epoch": [products.epoch],
        "mjd_start": [mjd["min"]],
        "mjd_end": [mjd["max"]],
        "n_images": [tables["images"].num_rows],
        "n_measurements": [measurements.num_rows],
        "n_duplicates": [measurements.num_rows - measurements["duplicate_of"].null_count],
        "n_associations": [associations.num_rows],
        "content_version": [products.content_version],
    }
    bulk.insert(connection, TABLES["epochs"], pa.table(epoch))
    bulk.insert(connection, TABLES["images"], _with(tables["images"], "epoch", products.epoch))
    insert_coverage(connection, products.epoch, tables["images"], tables["coverage"])
    for name, table in (("corrections", "corrections"), ("relations", "source_relations")):
        bulk.insert(connection, TABLES[table], _with(tables[name], "epoch", products.epoch))
    kept = measurements.drop_columns(["weight_ew_per_arcsec2", "weight_ns_per_arcsec2"])
    kept = _with(_with(kept, "epoch", products.epoch), "is_limit", False)
    bulk.insert(connection, TABLES["measurements"], kept)
    by = pc.if_else(associations["copied"], pa.scalar(products.epoch), pa.scalar(None, pa.string()))
    rows = associations.append_column("copied_by", by)
    bulk.insert(connection, TABLES["associations"], rows.sort_by([(name, "ascending") for name in ASSOCIATION_KEY]))
    block = make_block(tables["images"], measurements, associations)
    row = {"epoch": products.epoch, "points": pack(block.points), "copied": pack(block.copied)}
    connection.execute(sa.insert(TABLES["epoch_blocks"]), row)
    connection.execute(sa.insert(TABLES["epoch_limits"]), {"epoch": products.epoch, "sources": b""})
    return block


def _with(table: pa.Table, name: str, value: str | bool) -> pa.Table:
    """The table with a column that has one value."""
    column = (
        pa.array(np.full(table.num_rows, value))
        if isinstance(value, bool)
        else pa.array([value] * table.num_rows, pa.string())
    )
    return table.append_column(name, column)
