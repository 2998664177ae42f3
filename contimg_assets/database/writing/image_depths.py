"""How deep images are and what their finders detect: measured from an epoch's own rows, written and read."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
from sqlalchemy.engine import Connection

from contimg_assets.database import bulk
from contimg_assets.database.models import TABLES
from contimg_assets.sky.arrays import Floats
from contimg_assets.variability.finder import (
    N_TERMS,
    bright_snr,
    finder_threshold,
    fit_depths,
    place_in_image,
    rms_of_rows,
)

_COLUMNS = ["image", "ra_corr_deg", "dec_corr_deg", "local_rms_mjy_beam", "flux_peak_mjy_beam", "flux_int_mjy", "snr"]


def measure_depths(images: pd.DataFrame, measurements: pd.DataFrame) -> pd.DataFrame:
    """What the rows of an epoch's images say of their depth.

    Parameters
    ----------
    images : image, ra_deg, dec_deg, radius_deg, rms_mjy_beam
    measurements : all detections of the images, duplicates too, no forced ones: image, ra_corr_deg, dec_corr_deg,
        local_rms_mjy_beam, flux_peak_mjy_beam, flux_int_mjy, snr

    Returns
    -------
    DataFrame, one row an image: image, threshold_snr (of the epoch where the image has too few rows), rms_scatter,
    n_bright (detections above `bright_snr`), rms_model (bytes of `Depth.model`)
    """
    rms, snr = rms_of_rows(measurements), measurements["snr"].to_numpy(dtype=float)
    of_image = images.set_index("image").loc[measurements["image"]]
    center = of_image["ra_deg"].to_numpy(dtype=float), of_image["dec_deg"].to_numpy(dtype=float)
    ra, dec = (measurements[name].to_numpy(dtype=float) for name in ("ra_corr_deg", "dec_corr_deg"))
    place = place_in_image(ra, dec, center, of_image["radius_deg"].to_numpy(dtype=float))
    rows_of = measurements.reset_index(drop=True).groupby("image").indices
    of_epoch = finder_threshold(snr)
    rows_of_images = [np.asarray(rows_of.get(image, ()), np.intp) for image in images["image"]]
    depths = fit_depths(place, rms, rows_of_images, images["rms_mjy_beam"].astype(float).tolist())
    table = []
    for image, rows, depth in zip(images["image"], rows_of_images, depths, strict=True):
        threshold = finder_threshold(snr[rows])
        threshold = of_epoch if np.isnan(threshold) else threshold
        n_bright = int((snr[rows] >= bright_snr(threshold)).sum())
        table.append((image, threshold, depth.scatter, n_bright, depth.model.astype("<f8").tobytes()))
    return pd.DataFrame(table, columns=["image", "threshold_snr", "rms_scatter", "n_bright", "rms_model"])


def insert_depths(connection: Connection, epoch: str, images: pa.Table, measurements: pa.Table) -> None:
    """One row for each image of an epoch."""
    rows = measurements.select([*_COLUMNS, "forced"]).to_pandas()
    depths = measure_depths(images.to_pandas(), rows[~rows["forced"].astype(bool)])
    bulk.insert(connection, TABLES["image_depths"], depths.assign(epoch=epoch))


def unpack_models(models: pd.Series) -> Floats:
    """Terms of the models of images, NaN where there is none, shape (n_images, N_TERMS + 2)."""
    unpacked = np.full((len(models), N_TERMS + 2), np.nan)
    there = models.notna().to_numpy()
    if there.any():
        data = b"".join(bytes(model) for model in models[there])
        unpacked[there] = np.frombuffer(data, dtype="<f8").reshape(-1, N_TERMS + 2)
    return unpacked
