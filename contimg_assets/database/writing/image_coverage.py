"""What images cover and how deep: packed rows of `image_coverage`, written and read one image at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.database import bulk
from contimg_assets.database.blocks import pack, unpack
from contimg_assets.database.models import TABLES
from contimg_assets.sky.coverage import Coverage
from contimg_assets.variability.new_sources import ImageKey


def pack_coverage(coverage: Coverage) -> bytes:
    """Ranges as steps, which repeat and compress well, and the rms in the seven digits that it has."""
    before = np.concatenate([[0], coverage.end[:-1]])
    columns = {
        "gap": coverage.start - before,
        "length": coverage.end - coverage.start,
        "rms_mjy_beam": coverage.rms_mjy_beam.astype(np.float32),
    }
    return pack(pa.table(columns), "zstd")


def unpack_coverage(data: bytes) -> Coverage:
    """The inverse of `pack_coverage`."""
    gap, length, rms = (column.to_numpy() for column in unpack(data).itercolumns())
    end = np.cumsum(gap + length)
    return Coverage(end - length, end, rms.astype(float))


def insert_coverage(connection: Connection, epoch: str, images: pa.Table, table: pa.Table) -> None:
    """One packed row for each image that has a coverage."""
    names, first = np.unique(table["image"].to_numpy().astype(str), return_index=True)
    centre = {row["image"]: row for row in images.select(["image", "ra_deg", "dec_deg"]).to_pylist()}
    rows = []
    for image, start, stop in zip(names, first, [*first[1:], table.num_rows], strict=False):
        here = table.slice(start, stop - start)
        coverage = Coverage(*(here[name].to_numpy() for name in ("start", "end", "rms_mjy_beam")))
        radius = coverage.reach_deg(centre[image]["ra_deg"], centre[image]["dec_deg"])
        rows.append((epoch, image, radius, pack_coverage(coverage)))
    if rows:
        frame = pd.DataFrame(rows, columns=["epoch", "image", "radius_deg", "cells"])
        bulk.insert(connection, TABLES["image_coverage"], frame)


class StoredCoverage(Mapping[ImageKey, Coverage]):
    """What images cover, read from the database one image at a time, with the rms on the corrected flux scale."""

    def __init__(self, connection: Connection, images: pd.DataFrame) -> None:
        detailed = images[images["detailed"]]
        keys = zip(detailed["epoch"], detailed["image"], strict=True)
        self._scale = dict(zip(keys, detailed["flux_mult"], strict=True))
        self._connection = connection
        table = TABLES["image_coverage"]
        self._query = sa.select(table.c.cells).where(
            table.c.epoch == sa.bindparam("epoch"), table.c.image == sa.bindparam("image")
        )

    def __getitem__(self, key: ImageKey) -> Coverage:
        scale = self._scale[key]
        data = self._connection.execute(self._query, {"epoch": key[0], "image": key[1]}).scalar_one()
        stored = unpack_coverage(data)
        return Coverage(stored.start, stored.end, stored.rms_mjy_beam * scale)

    def __contains__(self, key: object) -> bool:
        return key in self._scale

    def __iter__(self) -> Iterator[ImageKey]:
        return iter(self._scale)

    def __len__(self) -> int:
        return len(self._scale)
