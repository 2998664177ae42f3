"""Which sources are known to vary, from the epochs before: they must not tie the flux scale of the next one.

A running mean and sum of squares of every source, so that an epoch costs the same whether it is the second or the
thousandth. Fluxes count as the catalog calibrates them, and only those of images whose scale is trusted: with an
image that is off by 30 % every source in it would seem to vary.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import scipy

from contimg_assets.calibration.image_ties import START
from contimg_assets.calibration.selection import of_single_sources
from contimg_assets.config import Corrections
from contimg_assets.schemas.corrections import KNOWN_FLUXES
from contimg_assets.schemas.tables import rows_among
from contimg_assets.sky.arrays import Indices, Values


def calibrated_fluxes(
    measurements: pd.DataFrame,
    associations: pd.DataFrame,
    images: pd.DataFrame,
    corrections: pd.DataFrame,
    apply_flux: str = "catalog",
) -> pd.DataFrame:
    """The fluxes of one epoch that say whether a source varies.

    Parameters
    ----------
    measurements, associations, images, corrections : MEASUREMENTS, ASSOCIATIONS, IMAGES and CORRECTIONS of the epoch
    apply_flux : of section `corrections`: with "relative" as the scale of the field calibrates them, else as the
        catalog does, whether that is applied or not

    Returns
    -------
    source_id, flux_mjy, flux_err_mjy (the scale's own error included), tie_err, ln_scale: measurements of one source
    each, not forced, in images that are trusted and have a flux scale
    """
    table = of_single_sources(measurements, associations, images)
    row = rows_among(table["image"], corrections["image"])
    scales = _applied_scales(corrections) if apply_flux == "relative" else _catalog_scales(corrections)
    scale, scale_err, add, tie_err = (
        scales[name].to_numpy(dtype=float, na_value=np.nan)[row] for name in ("scale", "scale_err", "add", "tie_err")
    )
    flux = (table["flux_mjy"].to_numpy(dtype=float) - np.nan_to_num(add)) / scale
    error = np.hypot(table["flux_err_mjy"].to_numpy(dtype=float), flux * scale_err) / scale
    usable = (row >= 0) & scales["usable"].to_numpy(dtype=bool)[row] & ~table["forced"].to_numpy(dtype=bool)
    if "trusted" in corrections:
        usable &= corrections["trusted"].to_numpy(dtype=bool)[row]
    usable &= np.isfinite(flux) & (error > 0)
    with np.errstate(invalid="ignore"):
        found = pd.DataFrame(
            {
                "source_id": table["source_id"],
                "flux_mjy": flux,
                "flux_err_mjy": error,
                "tie_err": tie_err,
                "ln_scale": np.log(scale),
            }
        )
    left: pd.DataFrame = found[usable].reset_index(drop=True)
    return left


def _catalog_scales(corrections: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "scale": corrections["flux_scale"],
            "scale_err": corrections["flux_scale_err"],
            "add": corrections["flux_offset_mjy"],
            "tie_err": 0.0,
            "usable": corrections["flux_trusted"],
        }
    )


def _applied_scales(corrections: pd.DataFrame) -> pd.DataFrame:
    """Also of images that begin a place: their raw fluxes are its scale."""
    scale = 1.0 / corrections["flux_mult"]
    return pd.DataFrame(
        {
            "scale": scale,
            "scale_err": corrections["flux_mult_err"] * scale**2,
            "add": corrections["flux_add_mjy"],
            "tie_err": corrections["flux_tie_err"],
            "usable": corrections["flux_applied"].astype(bool) | (corrections["flux_tied_by"] == START),
        }
    )


def add_fluxes(known: pd.DataFrame, fluxes: pd.DataFrame) -> pd.DataFrame:
    """The running statistics with another epoch's fluxes.

    Parameters
    ----------
    known : KNOWN_FLUXES so far
    fluxes : source_id, flux_mjy, flux_err_mjy; several of one source count each. Where given tie_err (missing counts
        as unknown) and ln_scale (missing: 0) of their images

    Returns
    -------
    KNOWN_FLUXES, sorted by source_id. Means and sums of squares of both parts are combined by the update of Chan, Golub
    & LeVeque (1983), which keeps its digits at any SNR.
    """
    if fluxes.empty:
        return known
    new = _of_epoch(fluxes)
    # Of the sources that the epoch does not show nothing changes: what is done for each costs as much as the epoch.
    place = pd.Index(known["source_id"]).get_indexer(new.index)
    seen = place[place >= 0]
    before = known.take(seen).set_index("source_id")
    index = before.index.union(new.index, sort=True)
    a, b = (_columns(part.reindex(index, fill_value=0.0)) for part in (before, new))
    return _with_changed(known, seen, _combined(a, b, index))


@np.errstate(divide="ignore", invalid="ignore")
def _of_epoch(fluxes: pd.DataFrame) -> pd.DataFrame:
    """The statistics of one epoch's fluxes alone, by source."""
    weight = fluxes["flux_err_mjy"].to_numpy(dtype=float) ** -2.0
    flux = fluxes["flux_mjy"].to_numpy(dtype=float)
    ln_scale = fluxes["ln_scale"].to_numpy(dtype=float) if "ln_scale" in fluxes else np.zeros(len(fluxes))
    tie_err = fluxes["tie_err"].to_numpy(dtype=float) if "tie_err" in fluxes else np.full(len(fluxes), np.nan)
    one = pd.DataFrame(
        {
            "source_id": fluxes["source_id"],
            "n": 1,
            "w": weight,
            "f": flux,
            "wf": weight * flux,
            "ln_scale": ln_scale,
            "n_tied": np.isfinite(tie_err).astype(int),
            "tie_err": np.nan_to_num(tie_err),
        }
    )
    sums = one.groupby("source_id", sort=True).sum()
    # Columns as arrays: for the few sources of a small epoch, arithmetic of tables takes ten times as long.
    total = _columns(sums)
    new = {
        "n": total["n"],
        "mean_mjy": total["f"] / total["n"],
        "weight_per_mjy2": total["w"],
        "weighted_mean_mjy": total["wf"] / total["w"],
        "ln_scale": total["ln_scale"] / total["n"],
        "n_tied": total["n_tied"],
        "tie_err": total["tie_err"] / np.maximum(total["n_tied"], 1),
    }
    place = sums.index.get_indexer(pd.Index(fluxes["source_id"]))
    off, weighted_off = (flux - new[name][place] for name in ("mean_mjy", "weighted_mean_mjy"))
    new["squares_mjy2"] = np.bincount(place, off**2, minlength=len(sums))
    new["chi2"] = np.bincount(place, weight * weighted_off**2, minlength=len(sums))
    new["ln_scale_squares"] = np.bincount(place, (ln_scale - new["ln_scale"][place]) ** 2, minlength=len(sums))
    return pd.DataFrame(new, index=sums.index)


def _columns(table: pd.DataFrame) -> dict[str, Values]:
    return {str(name): column.to_numpy() for name, column in table.items()}


@np.errstate(divide="ignore", invalid="ignore")
def _combined(a: Mapping[str, Values], b: Mapping[str, Values], index: pd.Index) -> pd.DataFrame:
    """Both parts of the statistics of some sources, of which one or the other may be nothing, together."""
    n, w = a["n"] + b["n"], a["weight_per_mjy2"] + b["weight_per_mjy2"]
    # A source that one part lacks has no weight there, whatever its mean is said to be.
    shift, weighted_shift = b["mean_mjy"] - a["mean_mjy"], b["weighted_mean_mjy"] - a["weighted_mean_mjy"]
    ln_shift = b["ln_scale"] - a["ln_scale"]
    n_tied = a["n_tied"] + b["n_tied"]
    combined = pd.DataFrame(
        {
            "n": n.astype(np.int64),
            "mean_mjy": a["mean_mjy"] + shift * (b["n"] / n),
            "squares_mjy2": a["squares_mjy2"] + b["squares_mjy2"] + shift**2 * (a["n"] * b["n"] / n),
            "weight_per_mjy2": w,
            "weighted_mean_mjy": a["weighted_mean_mjy"] + weighted_shift * (b["weight_per_mjy2"] / w),
            "ln_scale": a["ln_scale"] + ln_shift * (b["n"] / n),
            "ln_scale_squares": a["ln_scale_squares"] + b["ln_scale_squares"] + ln_shift**2 * (a["n"] * b["n"] / n),
            "n_tied": n_tied.astype(np.int64),
            "tie_err": a["tie_err"] + (b["tie_err"] - a["tie_err"]) * (b["n_tied"] / np.maximum(n_tied, 1)),
            "chi2": a["chi2"] + b["chi2"] + weighted_shift**2 * (a["weight_per_mjy2"] * b["weight_per_mjy2"] / w),
        },
        index=index,
    )
    return combined.rename_axis("source_id").reset_index()[KNOWN_FLUXES.names]


def _with_changed(known: pd.DataFrame, seen: Indices, changed: pd.DataFrame) -> pd.DataFrame:
    """KNOWN_FLUXES with others in place of the rows that were seen."""
    stays = np.ones(len(known), bool)
    stays[seen] = False
    return _merged(known.loc[stays, KNOWN_FLUXES.names], changed)


def _merged(one: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Rows of two tables that are sorted by source_id, and have none in common, together and sorted."""
    place = np.searchsorted(one["source_id"].to_numpy(dtype=object), other["source_id"].to_numpy(dtype=object))
    order = np.insert(np.arange(len(one)), place, len(one) + np.arange(len(other)))
    return pd.concat([one, other], ignore_index=True).take(order).reset_index(drop=True)


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
    p = scipy.special.chdtrc(freedom, known["chi2"].to_numpy(dtype=float))
    vary = enough & (v >= parameters.variable_min_v) & (p <= parameters.variable_max_p)
    return np.sort(known["source_id"].to_numpy(dtype=object)[vary])
