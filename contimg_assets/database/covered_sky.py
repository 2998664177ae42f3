"""The part of the sky that images cover."""

from __future__ import annotations

import numpy as np
import sqlalchemy as sa

from contimg_assets.database import bulk
from contimg_assets.database.engine import reading
from contimg_assets.database.models import TABLES
from contimg_assets.database.products_database import ProductsDatabase
from contimg_assets.database.writing.image_coverage import unpack_coverage
from contimg_assets.sky.arrays import Cells
from contimg_assets.sky.cells import FINEST_ORDER, cells_within

# Pointings nearer to each other than this are drawn once [deg].
_SAME_DEG = 0.001


def covered_cells(database: ProductsDatabase, order: int) -> Cells:
    """Nested HEALPix cells that any image touches, ascending.

    Parameters
    ----------
    database : what to read; where an image has a footprint or an rms map that counts, else its circle
    order : of the cells
    """
    images, coverage = TABLES["images"].c, TABLES["image_coverage"].c
    same = sa.and_(coverage.epoch == images.epoch, coverage.image == images.image)
    circles = (
        sa.select(images.ra_deg, images.dec_deg, images.radius_deg)
        .select_from(TABLES["images"].outerjoin(TABLES["image_coverage"], same))
        .where(coverage.image.is_(None))
    )
    with reading(database.engine) as connection:
        found = bulk.fetch(connection, circles)
        packed = connection.execute(sa.select(coverage.cells)).scalars().all()
    rounded = (found / _SAME_DEG).round().drop_duplicates() * _SAME_DEG
    parts = [cells_within(ra, dec, radius + _SAME_DEG, order) for ra, dec, radius in rounded.to_numpy()]
    shift = 2 * (FINEST_ORDER - order)
    for data in packed:
        one = unpack_coverage(data)
        first, last = one.start >> shift, (one.end - 1) >> shift
        counts = last - first + 1
        parts.append(np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(counts.sum()))
    return np.unique(np.concatenate(parts)) if parts else np.empty(0, np.int64)
