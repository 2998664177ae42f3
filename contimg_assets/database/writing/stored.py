"""What the database holds of images and sources, as far as writing depends on it."""

from __future__ import annotations

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.database import bulk
from contimg_assets.database.blocks import NO_HASHES
from contimg_assets.database.models import TABLES
from contimg_assets.identity import from_hex


def read_images(connection: Connection) -> pd.DataFrame:
    """All images, with the rms on the corrected flux scale; a circle that holds what they cover, and whether the
    coverage itself is stored."""
    image, correction, coverage = TABLES["images"], TABLES["corrections"], TABLES["image_coverage"]
    scale = sa.func.coalesce(correction.c.flux_mult, 1.0)
    query = (
        sa.select(
            image.c.epoch,
            image.c.image,
            image.c.mjd,
            image.c.ra_deg,
            image.c.dec_deg,
            sa.func.coalesce(coverage.c.radius_deg, image.c.radius_deg).label("radius_deg"),
            coverage.c.radius_deg.is_not(None).label("detailed"),
            (image.c.rms_mjy_beam * scale).label("rms_mjy_beam"),
            scale.label("flux_mult"),
        )
        .outerjoin(coverage, sa.and_(coverage.c.epoch == image.c.epoch, coverage.c.image == image.c.image))
        .outerjoin(correction, sa.and_(correction.c.epoch == image.c.epoch, correction.c.image == image.c.image))
        .order_by(image.c.epoch, image.c.image)
    )
    return bulk.fetch(connection, query)


def read_sources(connection: Connection) -> pd.DataFrame:
    """The sources before the change, as far as others depend on it; `id` is the hash."""
    table = TABLES["sources"]
    names = ("id", "ra_deg", "dec_deg", "first_mjd", "first_ra_deg", "first_dec_deg", "neighbour_arcsec", "n_limits",
             "is_new", "new_significance", "new_image")  # fmt: skip
    frame = bulk.fetch(connection, sa.select(*(table.c[name] for name in names)))
    frame["id"] = from_hex(frame["id"].to_numpy(dtype=object)) if len(frame) else NO_HASHES
    frame["neighbour_arcsec"] = frame["neighbour_arcsec"].astype(float)
    return frame.sort_values("id", ignore_index=True)
