"""Rows for images in other Stokes parameters than I that have no catalog: fluxes at the detections in I."""

from __future__ import annotations

import numpy as np
import pandas as pd

from contimg_assets.identity.ids import measurement_ids
from contimg_assets.schemas.detections import OTHER_DETECTIONS

_PLACE = ["component_id", "island_id", "line", "ra_deg", "dec_deg", "ra_err_arcsec", "dec_err_arcsec", "has_siblings"]
_MEASURED = ("flux_peak_mjy_beam", "flux_peak_err_mjy_beam", "local_rms_mjy_beam", "chi_squared_fit")


def rows_at_detections(image: pd.Series, detections: pd.DataFrame, fluxes: pd.DataFrame, epoch: str) -> pd.DataFrame:
    """What is measured in a polarized image at the detections of the image in I of the same observation.

    Both have the same error of position, so that a detection's place, as measured, is the place of its polarized flux.

    Parameters
    ----------
    image : Series
        Row of OTHER_IMAGES.
    detections : DataFrame
        Schema DETECTIONS, of the image in I (n rows).
    fluxes : DataFrame
        Of `contimg_assets.photometry.images.measure_image` at their places (n rows).
    epoch : str

    Returns
    -------
    DataFrame
        Schema OTHER_DETECTIONS: a row a place with a flux, of either sign, flagged as forced; of a point source the
        peak is the integrated flux too, and that is left out.
    """
    there = (fluxes["reason"] == "").to_numpy()
    own, found = detections[there].reset_index(drop=True), fluxes[there].reset_index(drop=True)
    columns = {
        **{name: own[name] for name in _PLACE},
        **{name: found[name] for name in _MEASURED},
        "measurement_id": measurement_ids(
            epoch, pd.Series([image["image"]] * len(own), dtype=object), own["component_id"]
        ),
        "image": image["image"],
        "stokes": image["stokes"],
        "snr": found["flux_peak_mjy_beam"] / found["flux_peak_err_mjy_beam"],
        "flags": 0,
        "forced": True,
    }
    rows = pd.DataFrame(columns, index=own.index).reindex(columns=OTHER_DETECTIONS.names)
    numbers = [column.name for column in OTHER_DETECTIONS if str(column.type) == "double"]
    return rows.astype(dict.fromkeys(numbers, np.float64))
