"""Polarized flux of sources over all epochs."""

from __future__ import annotations

import numpy as np
import pandas as pd

from contimg_assets.schemas.polarization import POLARIZED_SOURCES

DETECTED_SIGMA = 5.0
"""Fluxes at given places of this many errors and more count as detections."""
_KEY = ["source_id", "stokes", "band"]


def summed_up(points: pd.DataFrame, min_significance: float = 0.0) -> pd.DataFrame:
    """Mean polarized flux and fraction of each source, Stokes parameter and band.

    Means are over detections: where a source is seen only when it is bright, they are too large, and ``n_limits`` says
    how often it was not. Where fluxes were measured in the images, means are over all of them, and right; of these,
    those of 5 errors and more count as detections, and a source without one is left out.

    Parameters
    ----------
    points : DataFrame
        Schema POLARIZATION. Images that are not trusted do not count.
    min_significance : float
        Smallest significance of the most significant detection, of either sign.

    Returns
    -------
    DataFrame
        Schema POLARIZED_SOURCES: those that only polarized flux shows first, then the most significant.
    """
    trusted = points[points["trusted"].astype(bool)]
    limit = trusted["upper_limit_mjy_beam"].notna()
    seen = trusted[~limit & trusted["significance"].notna()]
    if seen.empty:
        return POLARIZED_SOURCES.empty()
    detected = seen[~seen["forced"].astype(bool) | (seen["significance"].abs() >= DETECTED_SIGMA)]
    if detected.empty:
        return POLARIZED_SOURCES.empty()
    best = detected.assign(size=detected["significance"].abs()).sort_values([*_KEY, "size", "measurement_id"])
    best = best.drop_duplicates(_KEY, keep="last").set_index(_KEY)
    flux = _weighted(seen, "flux_peak_corr_mjy_beam", "flux_peak_err_corr_mjy_beam")
    fraction = _weighted(seen, "fraction", "fraction_err")
    found = best[["name", "ra_deg", "dec_deg", "only_polarized"]].assign(
        n_detections=detected.groupby(_KEY).size(),
        n_limits=trusted[limit].groupby(_KEY).size(),
        flux_peak_mean_mjy_beam=flux["mean"],
        fraction=fraction["mean"],
        fraction_err=fraction["err"],
        max_significance=best["significance"],
    )
    found = found.assign(n_limits=found["n_limits"].fillna(0).astype(np.int64)).reset_index()
    found = found[found["max_significance"].abs() >= min_significance]
    size = found["max_significance"].abs()
    found = found.assign(size=size).sort_values(
        ["only_polarized", "size", *_KEY], ascending=[False, False, True, True, True], ignore_index=True
    )
    return found[POLARIZED_SOURCES.names]


def _weighted(points: pd.DataFrame, value: str, error: str) -> pd.DataFrame:
    """Weighted mean of a column and its error, by source, Stokes parameter and band; NaN where nothing is known."""
    weight = 1.0 / points[error].where(points[error] > 0) ** 2
    weight = weight.where(points[value].notna())
    sums = points[_KEY].assign(weight=weight, product=weight * points[value]).groupby(_KEY).sum(min_count=1)
    return pd.DataFrame({"mean": sums["product"] / sums["weight"], "err": 1.0 / np.sqrt(sums["weight"])})
