"""What the database holds of sources, images and epochs, as far as writing depends on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.database import bulk
from contimg_assets.database.blocks import Block, Hashes
from contimg_assets.database.light_curves import StoredEpochs, stored_epochs
from contimg_assets.database.models import TABLES
from contimg_assets.database.writing.image_coverage import StoredCoverage
from contimg_assets.identity.ids import from_hex
from contimg_assets.sky.coverage import Coverage
from contimg_assets.variability.new_sources import ImageKey


@dataclass(frozen=True)
class Present:
    """What was there before a change.

    Attributes
    ----------
    sources : rows of `sources` as far as others depend on them, sorted by `id`, the hash
    images : see `read_images`
    """

    sources: pd.DataFrame
    images: pd.DataFrame

    @property
    def ids(self) -> Hashes:
        """Hashes of the sources, ascending."""
        return self.sources["id"].to_numpy()


@dataclass(frozen=True)
class Observed:
    """What was observed in all epochs, after a change.

    Attributes
    ----------
    epochs : in the order of observation
    images : see `read_images`
    coverage : (epoch, image) -> what it covers, where more than its circle and rms is known
    """

    epochs: StoredEpochs
    images: pd.DataFrame
    coverage: Mapping[ImageKey, Coverage]


def read_present(connection: Connection) -> Present:
    """Sources and images as they are."""
    table = TABLES["sources"]
    names = ("id", "ra_deg", "dec_deg", "first_mjd", "first_ra_deg", "first_dec_deg", "neighbour_arcsec", "is_new",
             "new_significance", "new_image")  # fmt: skip
    sources = bulk.fetch(connection, sa.select(*(table.c[name] for name in names)))
    sources = sources.assign(id=from_hex(sources["id"].to_numpy(dtype=object)))
    sources = sources.astype({"neighbour_arcsec": float}).sort_values("id", ignore_index=True)
    return Present(sources, read_images(connection))


def read_observed(connection: Connection, fresh: Mapping[str, Block]) -> Observed:
    """Epochs and images as they are; `fresh` are the blocks of those that were written just now."""
    images = read_images(connection)
    return Observed(stored_epochs(connection, fresh), images, StoredCoverage(connection, images))


def read_images(connection: Connection) -> pd.DataFrame:
    """All images.

    Returns
    -------
    DataFrame, sorted by epoch and image: epoch, image, mjd, ra_deg, dec_deg; radius_deg of a circle that holds what the
    image covers; detailed: whether its coverage itself is stored; flux_mult, and rms_mjy_beam on the scale that it
    corrects to; trusted: whether nothing of the image is refused as wrong
    """
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
            sa.func.coalesce(correction.c.trusted, sa.true()).label("trusted"),
        )
        .outerjoin(coverage, sa.and_(coverage.c.epoch == image.c.epoch, coverage.c.image == image.c.image))
        .outerjoin(correction, sa.and_(correction.c.epoch == image.c.epoch, correction.c.image == image.c.image))
        .order_by(image.c.epoch, image.c.image)
    )
    return bulk.fetch(connection, query)
