"""Statistics of light curves with the forced fluxes of the images: formed when they are asked for, stored nowhere.

The stored statistics are those of the detections. With forced fluxes they would change with every image that is
measured, however old; a hundred thousand sources take a second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.config import Variability
from contimg_assets.database import bulk
from contimg_assets.database.blocks import EpochPoints, light_curves
from contimg_assets.database.light_curves import passes, stored_epochs
from contimg_assets.database.models import TABLES, is_evidence, view_of
from contimg_assets.identity.ids import from_hex, hash_text, mix, to_hex
from contimg_assets.ingest.bands import band_names, mhz_of_name
from contimg_assets.schemas.error_model import BAND_ERROR_MODEL
from contimg_assets.schemas.forced import FORCED_PHOTOMETRY
from contimg_assets.schemas.variability import VARIABILITY
from contimg_assets.sky.sphere import separation_arcsec, unit_vectors
from contimg_assets.variability.error_model import ErrorModel, in_image_radii
from contimg_assets.variability.statistics import variability_table

_COLUMNS = ("position", "epoch", "image", "band", "mjd", "ra_deg", "dec_deg", "flux_peak_corr_mjy_beam",
            "flux_peak_err_corr_mjy_beam", "flux_scale_err", "trusted")  # fmt: skip


def forced_variability(
    connection: Connection, parameters: Variability, sources: Sequence[str] | None = None
) -> pd.DataFrame:
    """Rows of VARIABILITY with the samples 'forced' and 'all' of the sources that have forced fluxes.

    Parameters
    ----------
    sources : ids; all sources if not given
    """
    points = _forced_points(connection, sources)
    if points.empty:
        return VARIABILITY.empty()
    table = TABLES["error_model"]
    rows = bulk.fetch(connection, sa.select(*(table.c[name] for name in BAND_ERROR_MODEL.names)))
    errors = ErrorModel.of_table(rows)
    epochs = stored_epochs(connection, {})
    by_epoch = {str(epoch): of_epoch for epoch, of_epoch in points.groupby("epoch", sort=False)}
    tables = []
    for part, stored in passes(connection, epochs, np.unique(from_hex(points["position"].to_numpy(dtype=object)))):
        together = [_with_forced(here, by_epoch.get(name)) for name, here in zip(epochs.names, stored, strict=True)]
        curves = light_curves(together, part)
        if curves is not None:
            tables.append(variability_table(curves, parameters, errors))
    found = pd.concat(tables, ignore_index=True)
    found = found[found["sample"] != "detections"]
    names = {"source_id": to_hex(found["source_id"].to_numpy()), "band": band_names(found["band"].to_numpy())}
    return found.assign(**names)[VARIABILITY.names].sort_values(["source_id", "band", "sample"], ignore_index=True)


def _forced_points(connection: Connection, sources: Sequence[str] | None) -> pd.DataFrame:
    """Forced fluxes, with the center, radius, frequency and beam of their images."""
    view = view_of(FORCED_PHOTOMETRY)
    image = TABLES["images"].c
    same = sa.and_(image.epoch == view.c.epoch, image.image == view.c.image)
    of_image = (image.ra_deg.label("center_ra_deg"), image.dec_deg.label("center_dec_deg"), image.radius_deg)
    query = sa.select(*(view.c[name] for name in _COLUMNS), *of_image, image.freq_mhz, image.bmaj_arcsec)
    query = query.select_from(view.join(TABLES["images"], same)).where(is_evidence(view))
    if sources is not None:
        query = query.where(view.c.position.in_(list(sources)))
    return bulk.fetch(connection, query)


def _with_forced(here: EpochPoints, forced: pd.DataFrame | None) -> EpochPoints:
    """An epoch's points and its forced ones; an integrated flux is the peak of a point source."""
    if forced is None:
        return here
    own, added = here.own, _columns(forced, here.own)
    source = np.concatenate([own["source"], added["source"]])
    order = np.argsort(source, kind="stable")
    together = {
        name: np.concatenate([values, np.asarray(added[name]).astype(values.dtype)])[order]
        for name, values in own.items()
    }
    return EpochPoints(together, here.copies)


def _columns(forced: pd.DataFrame, own: Mapping[str, Any]) -> dict[str, Any]:
    n = len(forced)
    code, bands = pd.factorize(forced["band"])
    band_mhz = np.array([mhz_of_name(name) for name in bands], dtype=np.int64)
    source = from_hex(forced["position"].to_numpy(dtype=object))
    flux, err = (forced[f"flux_peak_{name}corr_mjy_beam"].to_numpy(dtype=float) for name in ("", "err_"))
    vectors = unit_vectors(forced["ra_deg"], forced["dec_deg"])
    off = separation_arcsec(*(forced[name] for name in ("ra_deg", "dec_deg", "center_ra_deg", "center_dec_deg")))
    values: dict[str, Any] = dict.fromkeys(own, np.full(n, np.nan))
    # Which images were taken alike is kept with detections alone: those of an epoch mostly are.
    alike = np.bincount(own["configuration"].astype(int)).argmax() if len(own["configuration"]) else 0
    return values | {
        "source": source,
        "measurement": mix(source, hash_text(forced["image"].to_numpy(dtype=object))),
        **{axis: vectors[:, i] for i, axis in enumerate("xyz")},
        **dict.fromkeys(("w_ew", "w_ns", "siblings"), np.zeros(n)),
        **{name: forced[name].to_numpy(dtype=float) for name in ("freq_mhz", "mjd", "flux_scale_err")},
        "beam_arcsec": forced["bmaj_arcsec"].to_numpy(dtype=float),
        **dict.fromkeys(("flux_peak", "flux_int"), flux),
        **dict.fromkeys(("flux_peak_err", "flux_int_err"), err),
        "snr": flux / err,
        "forced": np.ones(n),
        "trusted": forced["trusted"].fillna(True).to_numpy(dtype=float),
        "radius": in_image_radii(off / 3600.0, forced["radius_deg"].to_numpy(dtype=float)),
        "configuration": np.full(n, alike),
        "band": band_mhz[code],
    }
