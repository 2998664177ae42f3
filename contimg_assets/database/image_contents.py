"""What an image shows: its detections, each with its source."""

from __future__ import annotations

import pandas as pd
import sqlalchemy as sa

from contimg_assets.database import bulk
from contimg_assets.database.engine import reading
from contimg_assets.database.models import TABLES
from contimg_assets.database.products_database import ProductsDatabase
from contimg_assets.database.tiles import tiling

_FLUXES = {
    "peak": ("flux_peak_corr_mjy_beam", "flux_peak_weighted_mean_mjy_beam"),
    "int": ("flux_int_corr_mjy", "flux_int_weighted_mean_mjy"),
}


def image_measurements(database: ProductsDatabase, epoch: str, image: str, kind: str) -> pd.DataFrame:
    """Detections of an image that belong to sources.

    Parameters
    ----------
    database : what to read
    epoch, image : which image
    kind : 'peak' or 'int'

    Returns
    -------
    DataFrame: name and id of the source, ra_deg, dec_deg (corrected), snr, flux_mjy and mean_flux_mjy: the corrected
    flux here and the mean one of the source in the image's band [mJy/beam or mJy]; the brightest first
    """
    m, a, s, v = (TABLES[name].c for name in ("measurements", "associations", "sources", "variability"))
    here, mean = _FLUXES[kind]
    of_band = sa.and_(v.source_id == s.id, v.band == m.band, v.sample == "detections")
    with reading(database.engine) as connection:
        in_epoch = tiling(connection).in_epoch(connection, epoch)
        query = (
            sa.select(
                s.name,
                s.id,
                m.ra_corr_deg.label("ra_deg"),
                m.dec_corr_deg.label("dec_deg"),
                m.snr,
                m[here].label("flux_mjy"),
                v[mean].label("mean_flux_mjy"),
            )
            .select_from(TABLES["measurements"])
            .join(TABLES["associations"], in_epoch)
            .join(TABLES["sources"], s.id == a.source_id)
            .join(TABLES["variability"], of_band, isouter=True)
            .where(m.image == image, m.duplicate_of.is_(None))
            .order_by(m[here].desc(), s.id)
        )
        return bulk.fetch(connection, query)
