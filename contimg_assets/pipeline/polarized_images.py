"""Polarized images without catalogs of an epoch that was read: fluxes are measured in them at its detections in I."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pandas as pd

from contimg_assets.config import Config
from contimg_assets.errors import InputError
from contimg_assets.ingest.delivered import FROM_IMAGE
from contimg_assets.ingest.epoch import EpochDetections
from contimg_assets.pipeline.deliveries import find_image, image_files
from contimg_assets.polarization.fluxes import partners
from contimg_assets.polarization.images import rows_at_detections
from contimg_assets.schemas.core import frame_of
from contimg_assets.schemas.detections import OTHER_DETECTIONS

_LOG = logging.getLogger(__name__)
_STATED = ("ra_deg", "dec_deg", "radius_deg", "bmaj_arcsec", "bmin_arcsec", "bpa_deg")


def with_polarized_images(found: EpochDetections, folder: Path, epoch: str, config: Config) -> EpochDetections:
    """The epoch with rows for its images in other Stokes parameters that have no catalog.

    An image that cannot be used has no rows, which is told; the sources that it covers have limits by its noise.
    """
    others = found.other_images
    wanted = others[others["format"] == FROM_IMAGE]
    if wanted.empty or found.images.empty:
        return found
    partner = partners(wanted, found.images, config.bands)
    parts, counts = [found.other_detections], {}
    for _, image in wanted.iterrows():
        own = found.detections[found.detections["image"] == partner[image["image"]]].reset_index(drop=True)
        try:
            rows = _in_image(image, own, folder, epoch, config)
        except InputError as error:
            _LOG.warning("epoch %s: no fluxes are measured in image %s: %s", epoch, image["image"], error)
            continue
        parts.append(rows)
        counts[image["image"]] = len(rows)
    together = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    together = together.sort_values("measurement_id", ignore_index=True)
    n_rows = others["image"].map(counts).fillna(others["n_rows"]).astype("int64")
    return replace(
        found,
        other_detections=frame_of(OTHER_DETECTIONS.to_arrow(together)),
        other_images=others.assign(n_rows=n_rows),
    )


def _in_image(image: pd.Series, own: pd.DataFrame, folder: Path, epoch: str, config: Config) -> pd.DataFrame:
    # Most surveys have none, and what opens them takes half a second to load.
    from contimg_assets.photometry.images import measure_image

    path, maps = find_image(folder, (image_files(folder) or {})[image["image"]], config)
    stated = {name: float(image[name]) for name in _STATED}
    places = own[["ra_deg", "dec_deg"]]
    return rows_at_detections(image, own, measure_image(path, places, places[:0], stated, maps), epoch)
