"""What the database holds of sources, images and epochs, as far as writing depends on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.database import bulk
from contimg_assets.database.blocks import Block
from contimg_assets.database.light_curves import StoredEpochs, stored_epochs
from contimg_assets.database.models import TABLES
from contimg_assets.database.writing.image_coverage import StoredCoverage
from contimg_assets.database.writing.image_depths import unpack_models
from contimg_assets.sky.coverage import Coverage
from contimg_assets.variability.finder import DEFAULT_THRESHOLD
from contimg_assets.variability.new_sources import DEPTH_COLUMNS, ImageKey


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


def trusted_images(images: pd.DataFrame, threshold_snr: float | None) -> pd.DataFrame:
    """The images without those that are refused as wrong: of what these show nothing follows for a source.

    Parameters
    ----------
    images : of `read_images`
    threshold_snr : of the source finder; as measured if not given
    """
    kept = images[images["trusted"].to_numpy(dtype=bool)].reset_index(drop=True)
    measured = kept["threshold_snr"].fillna(DEFAULT_THRESHOLD)
    return kept.assign(threshold_snr=measured if threshold_snr is None else threshold_snr)


def read_observed(connection: Connection, fresh: Mapping[str, Block]) -> Observed:
    """Epochs and images as they are; `fresh` are the blocks of those that were written just now."""
    images = read_images(connection)
    return Observed(stored_epochs(connection, fresh), images, StoredCoverage(connection, images))


def read_images(connection: Connection) -> pd.DataFrame:
    """All images.

    Returns
    -------
    DataFrame, sorted by epoch and image: epoch, image, band, mjd, ra_deg, dec_deg, bmaj_arcsec, bmin_arcsec; radius_deg
    of a circle that holds what the image covers, field_radius_deg as delivered; detailed: whether its coverage itself
    is stored; flux_mult, flux_scale_err, flux_tie_err, and rms_mjy_beam on the scale that it corrects to; trusted;
    threshold_snr, rms_scatter, n_bright and DEPTH_COLUMNS: what its own detections say of its depth, as measured
    """
    image, correction, coverage = TABLES["images"], TABLES["corrections"], TABLES["image_coverage"]
    depth = TABLES["image_depths"]
    scale = sa.func.coalesce(correction.c.flux_mult, 1.0)
    query = (
        sa.select(
            image.c.epoch,
            image.c.image,
            image.c.band,
            image.c.mjd,
            image.c.ra_deg,
            image.c.dec_deg,
            sa.func.coalesce(coverage.c.radius_deg, image.c.radius_deg).label("radius_deg"),
            coverage.c.radius_deg.is_not(None).label("detailed"),
            (image.c.rms_mjy_beam * scale).label("rms_mjy_beam"),
            scale.label("flux_mult"),
            sa.func.coalesce(correction.c.flux_mult_err / correction.c.flux_mult, 0.0).label("flux_scale_err"),
            sa.func.coalesce(correction.c.flux_tie_err, 0.0).label("flux_tie_err"),
            sa.func.coalesce(correction.c.trusted, sa.true()).label("trusted"),
            image.c.radius_deg.label("field_radius_deg"),
            image.c.bmaj_arcsec,
            image.c.bmin_arcsec,
            depth.c.threshold_snr,
            depth.c.rms_scatter,
            depth.c.n_bright,
            depth.c.rms_model,
        )
        .outerjoin(coverage, sa.and_(coverage.c.epoch == image.c.epoch, coverage.c.image == image.c.image))
        .outerjoin(correction, sa.and_(correction.c.epoch == image.c.epoch, correction.c.image == image.c.image))
        .outerjoin(depth, sa.and_(depth.c.epoch == image.c.epoch, depth.c.image == image.c.image))
        .order_by(image.c.epoch, image.c.image)
    )
    images = bulk.fetch(connection, query)
    models = pd.DataFrame(unpack_models(images["rms_model"]), columns=DEPTH_COLUMNS)
    return pd.concat([images.drop(columns="rms_model"), models], axis=1)
