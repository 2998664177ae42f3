"""Rows that belong to one epoch: deleted, inserted, or left as they are where its content is the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.database import bulk
from contimg_assets.database.blocks import NO_HASHES, Block, Hashes, make_block, pack
from contimg_assets.database.epoch_products import EpochProducts
from contimg_assets.database.light_curves import pack_cells, read_block
from contimg_assets.database.limits import sources_with_limits
from contimg_assets.database.models import TABLES
from contimg_assets.database.partitioning import delete_measured, insert_measured, place_copies
from contimg_assets.database.recorded import epoch_versions, write_epoch_versions
from contimg_assets.database.writing.image_coverage import insert_coverage
from contimg_assets.database.writing.image_depths import insert_depths
from contimg_assets.database.writing.report import Stopwatch
from contimg_assets.errors import StoreError
from contimg_assets.ingest.bands import band_names
from contimg_assets.sky.arrays import Floats

ASSOCIATION_KEY = ["epoch", "measurement_id", "source_id"]
# Tables with an epoch's rows beside what it measured, those that refer to others first.
_OF_EPOCH = (
    "source_relations",
    "corrections",
    "stokes_measurements",
    "image_limits",
    "image_coverage",
    "image_depths",
    "images",
    "epoch_blocks",
    "epoch_cells",
    "epoch_versions",
    "epochs",
)


@dataclass
class ChangedEpochs:
    """What a change did to epochs.

    Attributes
    ----------
    written, unchanged, deleted : names, in the order in which they came
    before, after : the points of epochs that were there and are not as they were, and of those that are written now
    limited : the source of each upper limit that epochs had which are not as they were
    """

    written: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    before: dict[str, Block] = field(default_factory=dict)
    after: dict[str, Block] = field(default_factory=dict)
    limited: list[Hashes] = field(default_factory=list)

    @property
    def sources(self) -> Hashes:
        """Hashes of the sources that have points in a changed epoch, before or after, ascending."""
        return np.unique(np.concatenate([self.members_before, self.members_after]))

    @property
    def members_before(self) -> Hashes:
        """The source of each point that changed epochs had."""
        return _members(self.before)

    @property
    def members_after(self) -> Hashes:
        """The source of each point that changed epochs have now."""
        return _members(self.after)

    @property
    def places(self) -> tuple[Floats, Floats]:
        """ra_deg, dec_deg of the points of changed epochs, before and after."""
        found = [block.places for block in (*self.before.values(), *self.after.values())]
        ra, dec = (np.concatenate([np.empty(0), *(place[axis] for place in found)]) for axis in (0, 1))
        return ra, dec


def _members(blocks: Mapping[str, Block]) -> Hashes:
    columns = [table["source"].to_numpy() for block in blocks.values() for table in (block.points, block.copied)]
    return np.concatenate([NO_HASHES, *columns])


def replace_rows(
    connection: Connection, batch: Iterable[EpochProducts], delete: Sequence[str], anew: bool, watch: Stopwatch
) -> ChangedEpochs:
    """Delete and insert the rows that belong to epochs.

    Only one epoch's tables are needed at a time: the batch may be a generator that reads them.

    Parameters
    ----------
    batch : the epochs to write; one whose content is as recorded is left alone
    delete : names of epochs to remove; those that are not there do not matter
    anew : remove all epochs first, and write those of the batch whether or not they are as recorded

    Raises
    ------
    StoreError
        If an epoch is given twice.
    """
    epochs = TABLES["epochs"]
    rows = connection.execute(sa.select(epochs.c.epoch, epochs.c.content_version)).all()
    recorded = {row.epoch: row.content_version for row in rows}
    change = ChangedEpochs()
    for epoch in [name for name in (list(recorded) if anew else delete) if name in recorded]:
        _take_out(connection, epoch, change)
        delete_forced(connection, epoch)
        change.deleted.append(epoch)
    if anew:
        recorded = {}
    versions = epoch_versions(connection)
    watch.lap("delete")
    for products in batch:
        if products.epoch in {*change.written, *change.unchanged, *delete}:
            raise StoreError(f"epoch {products.epoch!r} is given more than once; each epoch has one state")
        same = recorded.get(products.epoch) == products.content_version
        watch.lap("prepare")
        if same:
            change.unchanged.append(products.epoch)
        else:
            if products.epoch in recorded:
                _take_out(connection, products.epoch, change)
                watch.lap("delete")
            change.after[products.epoch] = _insert_epoch(connection, products)
            change.written.append(products.epoch)
        if not same or versions.get(products.epoch) != dict(products.versions):
            write_epoch_versions(connection, products)
        watch.lap("insert epochs")
    if change.written:
        place_copies(connection, change.written)
    change.deleted = [epoch for epoch in change.deleted if epoch not in change.after]
    return change


def delete_forced(connection: Connection, epoch: str) -> None:
    """Remove the forced fluxes of an epoch."""
    for name in ("forced_fluxes", "forced_epochs"):
        connection.execute(sa.delete(TABLES[name]).where(TABLES[name].c.epoch == epoch))


def _take_out(connection: Connection, epoch: str, change: ChangedEpochs) -> None:
    """Delete an epoch's rows, and keep its points, and whose limits it had, in the change."""
    change.before[epoch] = read_block(connection, epoch)
    change.limited.append(sources_with_limits(connection, epoch))
    delete_measured(connection, epoch)
    for name in _OF_EPOCH:
        connection.execute(sa.delete(TABLES[name]).where(TABLES[name].c.epoch == epoch))


def _insert_epoch(connection: Connection, products: EpochProducts) -> Block:
    """All rows that belong to one epoch. Its sources may come later within the transaction."""
    epoch, tables = products.epoch, products.tables
    measurements, associations = tables["measurements"], tables["associations"]
    bulk.insert(connection, TABLES["epochs"], _epoch_row(products))
    band = pa.array(band_names(products.band_mhz), pa.string())
    bulk.insert(connection, TABLES["images"], _with(tables["images"], epoch=epoch).append_column("band", band))
    insert_coverage(connection, epoch, tables["images"], tables["coverage"])
    insert_depths(connection, epoch, tables["images"], measurements)
    bulk.insert(connection, TABLES["corrections"], _with(tables["corrections"], epoch=epoch))
    bulk.insert(connection, TABLES["source_relations"], _with(tables["relations"], epoch=epoch))
    kept = measurements.drop_columns(["weight_ew_per_arcsec2", "weight_ns_per_arcsec2"])
    of_image = band.take(pc.index_in(kept["image"], tables["images"]["image"]).combine_chunks())
    measured = _with(kept, epoch=epoch, is_limit=False).append_column("band", of_image)
    if "stokes" in tables:
        bulk.insert(connection, TABLES["stokes_measurements"], _with(tables["stokes"], epoch=epoch))
    by = pc.if_else(associations["copied"], pa.scalar(epoch), pa.scalar(None, pa.string()))
    rows = associations.append_column("copied_by", by)
    insert_measured(connection, epoch, measured, rows.sort_by([(name, "ascending") for name in ASSOCIATION_KEY]))
    block = make_block(tables["images"], measurements, associations, tables["configurations"], products.band_mhz)
    packed = {"epoch": epoch, "points": pack(block.points), "copied": pack(block.copied)}
    connection.execute(sa.insert(TABLES["epoch_blocks"]), packed)
    connection.execute(sa.insert(TABLES["epoch_cells"]), {"epoch": epoch, "cells": pack_cells(block.cells)})
    return block


def _epoch_row(products: EpochProducts) -> pa.Table:
    """The row of `epochs`."""
    images, measurements = products.tables["images"], products.tables["measurements"]
    mjd = pc.min_max(images["mjd"]).as_py()
    return pa.table(
        {
            "epoch": [products.epoch],
            "mjd_start": [mjd["min"]],
            "mjd_end": [mjd["max"]],
            "n_images": [images.num_rows],
            "n_measurements": [measurements.num_rows],
            "n_duplicates": [measurements.num_rows - measurements["duplicate_of"].null_count],
            "n_associations": [products.tables["associations"].num_rows],
            "content_version": [products.content_version],
        }
    )


def _with(table: pa.Table, **columns: str | bool) -> pa.Table:
    """The table with columns that have one value each."""
    for name, value in columns.items():
        table = table.append_column(name, pa.repeat(pa.scalar(value), table.num_rows))
    return table
