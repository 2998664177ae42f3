"""Which sources are known to vary, from the epochs before: they must not tie the flux scale of the next one.

A running mean and sum of squares of every source, so that an epoch costs the same whether it is the second or the
thousandth. Fluxes count as the catalog calibrates them, and only those of images whose scale is trusted: with an
image that is off by 30 % every source in it would seem to vary.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import chi2

from contimg_assets.calibration.selection import of_single_sources
from contimg_assets.config import Corrections
from contimg_assets.schemas.corrections import KNOWN_FLUXES
from contimg_assets.sky.arrays import Values


def calibrated_fluxes(
    measurements: pd.DataFrame, associations: pd.DataFrame, images: pd.DataFrame, corrections: pd.DataFrame
) -> pd.DataFrame:
    """The fluxes of one epoch that say whether a source varies.

    Parameters
    ----------
    measurements, associations, images, corrections : MEASUREMENTS, ASSOCIATIONS, IMAGES and CORRECTIONS of the epoch

    Returns
    -------
    source_id, flux_mjy, flux_err_mjy (the scale's own error included): measurements of one source each, not forced, in
    images with a trusted flux scale, whether it is applied or not
    """
    table = of_single_sources(measurements, associations, images)
    row = pd.Index(corrections["image"]).get_indexer(table["image"])
    scale, scale_err, add = (
        corrections[name].to_numpy(dtype=float, na_value=np.nan)[row]
        for name in ("flux_scale", "flux_scale_err", "flux_offset_mjy")
    )
    flux = (table["flux_mjy"].to_numpy(dtype=float) - np.nan_to_num(add)) / scale
    error = np.hypot(table["flux_err_mjy"].to_numpy(dtype=float), flux * scale_err) / scale
    usable = (row >= 0) & corrections["flux_trusted"].to_numpy(dtype=bool)[row] & ~table["forced"].to_numpy(dtype=bool)
    usable &= np.isfinite(flux) & (error > 0)
    found = pd.DataFrame({"source_id": table["source_id"], "flux_mjy": flux, "flux_err_mjy": error})
    left: pd.DataFrame = found[usable].reset_index(drop=True)
    return left


def add_fluxes(known: pd.DataFrame, fluxes: pd.DataFrame) -> pd.DataFrame:
    """The running statistics with another epoch's fluxes.

    Parameters
    ----------
    known : KNOWN_FLUXES so far
    fluxes : source_id, flux_mjy, flux_err_mjy; several of one source count each

    Returns
    -------
    KNOWN_FLUXES, sorted by source_id. Means and sums of squares of both parts are combined by the update of Chan, Golub
    & LeVeque (1983), which keeps its digits at any SNR.
    """
    if fluxes.empty:
        return known
    weight = fluxes["flux_err_mjy"].to_numpy(dtype=float) ** -2.0
    flux = fluxes["flux_mjy"].to_numpy(dtype=float)
    one = pd.DataFrame({"source_id": fluxes["source_id"], "n": 1, "w": weight, "f": flux, "wf": weight * flux})
    sums = one.groupby("source_id", sort=True).sum()
    new = pd.DataFrame(
        {"n": sums["n"], "mean_mjy": sums["f"] / sums["n"], "weight_per_mjy2": sums["w"]},
        index=sums.index,
    ).assign(weighted_mean_mjy=sums["wf"] / sums["w"])
    place = new.index.get_indexer(pd.Index(fluxes["source_id"]))
    off, weighted_off = (flux - new[name].to_numpy()[place] for name in ("mean_mjy", "weighted_mean_mjy"))
    new["squares_mjy2"] = np.bincount(place, off**2, minlength=len(new))
    new["chi2"] = np.bincount(place, weight * weighted_off**2, minlength=len(new))

    before = known.set_index("source_id")
    index = before.index.union(new.index, sort=True)
    a, b = (part.reindex(index, fill_value=0.0) for part in (before, new))
    n, w = a["n"] + b["n"], a["weight_per_mjy2"] + b["weight_per_mjy2"]
    # A source that one part lacks has no weight there, whatever its mean is said to be.
    shift, weighted_shift = b["mean_mjy"] - a["mean_mjy"], b["weighted_mean_mjy"] - a["weighted_mean_mjy"]
    combined = pd.DataFrame(
        {
            "n": n.astype(np.int64),
            "mean_mjy": a["mean_mjy"] + shift * (b["n"] / n),
            "squares_mjy2": a["squares_mjy2"] + b["squares_mjy2"] + shift**2 * (a["n"] * b["n"] / n),
            "weight_per_mjy2": w,
            "weighted_mean_mjy": a["weighted_mean_mjy"] + weighted_shift * (b["weight_per_mjy2"] / w),
            "chi2": a["chi2"] + b["chi2"] + weighted_shift**2 * (a["weight_per_mjy2"] * b["weight_per_mjy2"] / w),
        },
        index=index,
    )
    return combined.rename_axis("source_id").reset_index()[KNOWN_FLUXES.names]


def known_variables(known: pd.DataFrame, parameters: Corrections) -> Values:
    """Sources that vary by more than calibration can bear.

    Parameters
    ----------
    known : KNOWN_FLUXES
    parameters : section `corrections`: ``variable_min_epochs``, ``variable_min_v``, ``variable_max_p``

    Returns
    -------
    source_id, sorted: those with enough fluxes whose V = std / mean is large, and whose chi-squared about the weighted
    mean is larger than noise makes it but with a probability of ``variable_max_p``. V alone takes faint sources, chi2
    alone those whose errors the finder understates.
    """
    n = known["n"].to_numpy(dtype=float)
    enough = n >= parameters.variable_min_epochs
    freedom = np.maximum(n - 1, 1.0)
    mean = known["mean_mjy"].to_numpy(dtype=float)
    v = np.sqrt(known["squares_mjy2"].to_numpy(dtype=float) / freedom) / np.where(mean > 0, mean, np.nan)
    p = chi2.sf(known["chi2"].to_numpy(dtype=float), freedom)
    vary = enough & (v >= parameters.variable_min_v) & (p <= parameters.variable_max_p)
    return np.sort(known["source_id"].to_numpy(dtype=object)[vary])
