"""What changed in an epoch: sources that are brighter or fainter there than in their other epochs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from contimg_assets.config import Variability
from contimg_assets.database import bulk
from contimg_assets.database.engine import reading
from contimg_assets.database.models import TABLES
from contimg_assets.database.products_database import ProductsDatabase
from contimg_assets.database.tiles import tiling
from contimg_assets.errors import StoreError
from contimg_assets.ingest.bands import mhz_of_name
from contimg_assets.schemas.variability import FLUX_KINDS
from contimg_assets.variability.changes import deviations
from contimg_assets.variability.error_model import ErrorModel
from contimg_assets.variability.statistics import total_error


def newest_epoch(database: ProductsDatabase) -> str | None:
    """The epoch that was observed last; None if there is none."""
    epochs = TABLES["epochs"].c
    query = sa.select(epochs.epoch).order_by(epochs.mjd_start.desc(), epochs.epoch.desc()).limit(1)
    with reading(database.engine) as connection:
        return connection.execute(query).scalar()


def epoch_changes(database: ProductsDatabase, epoch: str, parameters: Variability) -> pd.DataFrame:
    """How each source that an epoch detected differs there from its other epochs.

    Parameters
    ----------
    database : what to read
    epoch : which one
    parameters : of the configuration: which errors light curves are judged with

    Returns
    -------
    DataFrame: name, source_id, ra_deg, dec_deg, image, snr, flux_mjy and flux_err_mjy, as it is judged, others_mjy:
        mean of the other epochs in the same band [mJy/beam or mJy], ratio: flux over that mean, sigma: difference over
        its error. The largest difference first. Images that are not trusted, and sources without another epoch, are
        left out.

    Raises
    ------
    StoreError
        If there is no such epoch.
    """
    kind = database.flux_kind()
    epochs = TABLES["epochs"].c
    with reading(database.engine) as connection:
        if connection.execute(sa.select(epochs.epoch).where(epochs.epoch == epoch)).first() is None:
            raise StoreError(f"there is no epoch {epoch!r} in the products; `contimg status` lists epochs")
        found = bulk.fetch(connection, _measured(kind, tiling(connection).in_epoch(connection, epoch)))
    model = ErrorModel.chosen(parameters, ErrorModel.of_table(database.read_table("error_model")))
    flux, err, scale = (found[name].to_numpy(dtype=float) for name in ("flux_mjy", "flux_err_mjy", "flux_scale_err"))
    mean, total = found["mean"].to_numpy(dtype=float), np.empty_like(err)
    for band, rows in found.groupby("band").indices.items():
        terms = model.of_band(mhz_of_name(str(band))).terms[kind]
        total[rows] = total_error(flux[rows], err[rows], scale[rows], terms, level=mean[rows])
    found["flux_err_mjy"] = total
    ratio, sigma = deviations(flux, found["flux_err_mjy"], found["mean"], found["mean_err"])
    found = found.assign(others_mjy=flux / ratio, ratio=ratio, sigma=sigma).drop(
        columns=["mean", "mean_err", "flux_scale_err", "band"]
    )
    found = found[found["sigma"].notna()]
    order = found["sigma"].abs().sort_values(ascending=False, kind="stable").index
    return found.loc[order].reset_index(drop=True)


def _measured(kind: str, in_epoch: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """Trusted detections of an epoch with the mean flux of each source in the band.

    Parameters
    ----------
    in_epoch : what joins its measurements and associations
    """
    unit = FLUX_KINDS[kind]
    m, a, s, v = (TABLES[name] for name in ("measurements", "associations", "sources", "variability"))
    of_source = sa.and_(v.c.source_id == a.c.source_id, v.c.band == m.c.band, v.c["sample"] == "detections")
    return (
        sa.select(
            *(s.c.name, a.c.source_id, s.c.ra_deg, s.c.dec_deg, m.c.image, m.c.snr, m.c.band),
            m.c[f"flux_{kind}_corr_{unit}"].label("flux_mjy"),
            m.c[f"flux_{kind}_err_corr_{unit}"].label("flux_err_mjy"),
            m.c.flux_scale_err,
            v.c[f"flux_{kind}_weighted_mean_{unit}"].label("mean"),
            v.c[f"flux_{kind}_weighted_mean_err_{unit}"].label("mean_err"),
        )
        .select_from(m)
        .join(a, in_epoch)
        .join(s, s.c.id == a.c.source_id)
        .join(v, of_source)
        .where(m.c.trusted, sa.not_(m.c.forced), m.c.duplicate_of.is_(None))
    )
