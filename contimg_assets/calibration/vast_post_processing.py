"""The filters, pairs and clipping of vast-post-processing 2.1, for comparison with its results.

Everything that its `vast_xmatch_qc` does before it fits, on two tables in our columns. Known weaknesses (one-way pairs,
clipping of linear ratios, one constant limit of compactness) are part of it; the default selection does without them.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from contimg_assets.sky import sphere
from contimg_assets.sky.arrays import Flags, Floats
from contimg_assets.sky.pairs import cross_match_sources


def isolated(vectors: Floats, limit_arcsec: float) -> Flags:
    """Whether no other of the positions is within the limit (inclusive), shape (n,)."""
    if len(vectors) < 2:
        return np.ones(len(vectors), dtype=bool)
    i, j, _ = sphere.pairs_within(vectors, vectors, limit_arcsec)
    alone = np.ones(len(vectors), dtype=bool)
    alone[i[i != j]] = False
    return alone


def select(
    table: pd.DataFrame,
    *,
    flux_limit_mjy: float = 0.0,
    snr_limit: float = 20.0,
    neighbor_arcmin: float = 1.0,
    max_compactness: float | None = 1.5,
) -> Flags:
    """Rows of one catalog that may calibrate, shape (n,). All limits are strict.

    Parameters
    ----------
    table : ra_deg, dec_deg, flux_int_mjy, flux_peak_mjy_beam, bmaj_arcsec, bmin_arcsec, local_rms_mjy_beam
    max_compactness : of integrated over peak flux; None keeps extended components
    """
    flux_int = table["flux_int_mjy"].to_numpy(dtype=float)
    flux_peak = table["flux_peak_mjy_beam"].to_numpy(dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        keep = flux_int > flux_limit_mjy
        keep &= (table["bmaj_arcsec"].to_numpy(dtype=float) > 0) & (table["bmin_arcsec"].to_numpy(dtype=float) > 0)
        keep &= flux_int / table["local_rms_mjy_beam"].to_numpy(dtype=float) > snr_limit
        if max_compactness is not None:
            keep &= np.where(flux_peak == 0, 0.0, flux_int / flux_peak) < max_compactness
    vectors = sphere.unit_vectors(table["ra_deg"], table["dec_deg"])
    return keep & isolated(vectors, 60.0 * neighbor_arcmin)


def clip_ratios(ratio: Floats, sigma: float = 5.0) -> Flags:
    """Ratios within `sigma` standard deviations of the median, repeated until nothing changes, shape (n,)."""
    keep = np.isfinite(ratio)
    while keep.any():
        next_keep = keep & (np.abs(ratio - np.median(ratio[keep])) <= sigma * np.std(ratio[keep]))
        if next_keep.sum() == keep.sum():
            break
        keep = next_keep
    return keep


def match(
    catalogue: pd.DataFrame,
    reference: pd.DataFrame,
    *,
    radius_arcsec: float = 10.0,
    clip_sigma: float = 5.0,
    condon: bool = False,
) -> pd.DataFrame:
    """The pairs that offset and scale are fitted to: nearest reference of each row, positive errors, ratios clipped.

    Parameters
    ----------
    catalog, reference : already selected; columns of `select`, and component_id, flux_int_err_mjy,
        flux_peak_err_mjy_beam
    condon : debias peak fluxes by rms^2 / peak (Condon 1997) before their ratios are clipped

    Returns
    -------
    component_id, component_id_reference, separation_arcsec, dra_arcsec, ddec_arcsec (reference minus catalog),
    flux_mjy, flux_err_mjy, reference_flux_mjy, reference_flux_err_mjy (integrated), flux_peak_ratio
    """
    catalogue, reference = catalogue.reset_index(drop=True), reference.reset_index(drop=True)
    nearest = cross_match_sources(catalogue, reference, radius_arcsec, mode="nearest")
    nearest = nearest[nearest["separation_arcsec"] < radius_arcsec].reset_index(drop=True)
    left = catalogue.take(nearest["detected_index"].to_numpy()).reset_index(drop=True)
    right = reference.take(nearest["catalog_index"].to_numpy()).reset_index(drop=True)
    ratio = (_peak(left, condon) / _peak(right, condon)).to_numpy(dtype=float)
    pairs = pd.DataFrame(
        {
            "component_id": left["component_id"],
            "component_id_reference": right["component_id"],
            "separation_arcsec": nearest["separation_arcsec"],
            "dra_arcsec": nearest["dra_arcsec"],
            "ddec_arcsec": nearest["ddec_arcsec"],
            "flux_mjy": left["flux_int_mjy"],
            "flux_err_mjy": left["flux_int_err_mjy"],
            "reference_flux_mjy": right["flux_int_mjy"],
            "reference_flux_err_mjy": right["flux_int_err_mjy"],
            "flux_peak_ratio": ratio,
        }
    )
    positive = (left["flux_peak_err_mjy_beam"] > 0) & (right["flux_peak_err_mjy_beam"] > 0)
    return pairs[positive.to_numpy() & clip_ratios(ratio, clip_sigma)].reset_index(drop=True)


def _peak(table: pd.DataFrame, condon: bool) -> pd.Series:
    peak = table["flux_peak_mjy_beam"]
    return peak - table["local_rms_mjy_beam"] ** 2 / peak if condon else peak
