"""One flux scale for a field: each image's own scale against its sources' earlier fluxes, the catalog asked once.

An image of a place that earlier epochs have covered takes its scale from them alone, however well or badly a catalog
ties it that night: so nothing that a catalog does to one image (another one in use, an additive term, too many
outliers) can make it differ from the others of its field. An image of a new place is tied to the catalog, and to the
images that it overlaps. What such a tie is wrong by is common to all later images of the place, and no variability.

The mean of all earlier fluxes holds the scale: what one image adds to its error falls as the number of epochs, so that
the scale does not wander off.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from contimg_assets.calibration import trust
from contimg_assets.calibration.flux_scale import FluxScale
from contimg_assets.calibration.image_ties import KNOWN, START, image_ties, is_covered
from contimg_assets.calibration.positions import PositionOffset
from contimg_assets.calibration.relative_scale import (
    Ratios,
    RelativeScale,
    ScatterModel,
    block_correlation,
    blocks,
    error_of_scale,
    fit_relative_scales,
    information_of,
    scatter_model,
)
from contimg_assets.calibration.selection import isolated_and_compact, least_snrs, of_single_sources
from contimg_assets.config import Corrections
from contimg_assets.schemas.corrections import SCALE_PULLS
from contimg_assets.schemas.tables import rows_among, stand_among
from contimg_assets.sky import robust
from contimg_assets.sky.arrays import Flags, Floats, Indices, Values
from contimg_assets.sky.sphere import offsets_arcsec

# In standard errors: a source this far above the threshold is practically always there.
_ABOVE_THRESHOLD = 4.0
# Scatter of ln flux ratios beyond the errors, where nothing has shown it yet.
_USUAL_SCATTER = 0.01
# A tie to a catalog counts beside those to other images, with its weight, up to so many times the largest error that a
# scale may have which is applied for itself: without it an image would hang on overlaps alone, whose errors are larger.
_BESIDE_OTHERS = 2.0
# Scatter of the scales of a field's images, of which a few do not say much: as if two had been seen with it.
_FIELD_SCATTER, _FIELD_PRIOR = 0.05, 2.0


def tie_fluxes(
    measurements: pd.DataFrame,
    associations: pd.DataFrame,
    images: pd.DataFrame,
    parameters: Corrections,
) -> pd.DataFrame:
    """Fluxes of isolated, compact sources: what images may be compared by.

    Duplicates are told apart: they say what images that overlap differ by. Of fluxes near the image's threshold only
    those that noise made bright are there: sources count from four standard errors above it on, or from ``min_snr`` on
    where that is less.

    Parameters
    ----------
    measurements, associations, images : MEASUREMENTS, ASSOCIATIONS and IMAGES of the epoch
    parameters : section `corrections`

    Returns
    -------
    source_id, measurement_id, image, flux_mjy, flux_err_mjy, snr, least_snr (of a source that counts in this image),
    repeated (whether it is a duplicate of another image's), east_deg, north_deg (from the image's center), sorted by
    image and source; a source that an image has twice is left out. Not cut by SNR.
    """
    owners = _with_duplicates(measurements, associations)
    repeated = owners.loc[owners["repeated"], "measurement_id"]
    table = of_single_sources(measurements, owners, images)
    table = table.assign(catalog="sources", repeated=stand_among(table["measurement_id"], repeated))
    chosen = isolated_and_compact(table, measurements, images, parameters)
    flux, error = (table[name].to_numpy(dtype=float) for name in ("flux_mjy", "flux_err_mjy"))
    chosen &= (flux > 0) & (error > 0) & ~table["forced"].to_numpy(dtype=bool)
    table = table[chosen]
    table = table[~table.duplicated(["image", "source_id"], keep=False)]
    row = table["image_row"].to_numpy()
    east, north = offsets_arcsec(
        images["ra_deg"].to_numpy(dtype=float)[row],
        images["dec_deg"].to_numpy(dtype=float)[row],
        table["ra_deg"].to_numpy(dtype=float),
        table["dec_deg"].to_numpy(dtype=float),
    )
    table = table.assign(east_deg=east / 3600.0, north_deg=north / 3600.0)
    table["least_snr"] = _least_snr(measurements, table["image"], parameters.min_snr)
    columns = [
        "source_id",
        "measurement_id",
        "image",
        "flux_mjy",
        "flux_err_mjy",
        "snr",
        "least_snr",
        "repeated",
        "east_deg",
        "north_deg",
    ]
    return table.sort_values(["image", "source_id"])[columns].reset_index(drop=True)


def _least_snr(measurements: pd.DataFrame, image: pd.Series, min_snr: float) -> Floats:
    """SNR from which on the threshold of its image does not select a source by its noise."""
    found = image.map(least_snrs(measurements)).to_numpy(dtype=float) + _ABOVE_THRESHOLD
    return np.fmin(found, min_snr)


def _with_duplicates(measurements: pd.DataFrame, associations: pd.DataFrame) -> pd.DataFrame:
    """source_id, measurement_id, repeated: also duplicates, which are of the source of what they repeat."""
    own = associations.loc[~associations["copied"].to_numpy(dtype=bool), ["source_id", "measurement_id"]]
    own = own.assign(repeated=False)
    is_repeat = measurements["duplicate_of"].notna() if "duplicate_of" in measurements else None
    if is_repeat is None or not is_repeat.any():
        return own
    repeats = measurements.loc[is_repeat, ["measurement_id", "duplicate_of"]]
    repeats = repeats[~stand_among(repeats["measurement_id"], own["measurement_id"])]
    kept = own.rename(columns={"measurement_id": "duplicate_of"}).assign(repeated=True)
    return pd.concat([own, repeats.merge(kept, on="duplicate_of")[[*own.columns]]], ignore_index=True)


def relative_scales(fluxes: pd.DataFrame, known: pd.DataFrame, variable_sources: Collection[str] = ()) -> pd.DataFrame:
    """Each image's scale against the mean earlier fluxes of its sources.

    Parameters
    ----------
    fluxes : `tie_fluxes` of one epoch
    known : KNOWN_FLUXES of the epochs before
    variable_sources : source_id of sources known to vary: they tie nothing

    Returns
    -------
    One row an image of the fluxes, indexed and sorted by it: n_relative (sources), n_candidates (constant sources that
    are bright enough, known or not), n_known (of those), scale, own_err, known_err (fractions), scatter,
    outlier_fraction, tie_err (of the sources' scale, NaN where nothing tied it), ln_usual, ln_usual_err (what the
    field's scale is in other images).
    """
    return _relative(_fits_of_images(fluxes, known, variable_sources))


def scale_pulls(fluxes: pd.DataFrame, known: pd.DataFrame, variable_sources: Collection[str] = ()) -> pd.DataFrame:
    """By how much the noise of single measurements draws the scale of their image along.

    Parameters
    ----------
    fluxes, known, variable_sources : as of `relative_scales`

    Returns
    -------
    SCALE_PULLS: the measurements that `relative_scales` measured scales from; sorted by measurement_id
    """
    return _pulls(_fits_of_images(fluxes, known, variable_sources))


@dataclass(frozen=True)
class _ImageFit:
    """An image, its rows of the ties, those of the sources that give its scale, and that scale."""

    image: str
    rows: Indices
    chosen: Indices
    fit: RelativeScale


@dataclass(frozen=True)
class _Fits:
    """`tie_fluxes` of an epoch with what is known of the sources, see `_with_known`, and the fit of each image."""

    ties: pd.DataFrame
    of_images: Sequence[_ImageFit]


def _fits_of_images(fluxes: pd.DataFrame, known: pd.DataFrame, variable_sources: Collection[str]) -> _Fits:
    """The fit of each image, sorted by name; sources that vary take no part."""
    ties = _with_known(fluxes[~fluxes["source_id"].isin(set(variable_sources))], known)
    usable, repeated = (ties[name].to_numpy(dtype=bool) for name in ("usable", "repeated"))
    of_image = ties.groupby("image", sort=False).indices
    parts = [(image, np.asarray(of_image[image], np.intp)) for image in sorted(of_image, key=str)]
    chosen = [rows[_without_repeats(usable[rows], repeated[rows])] for _, rows in parts]
    fits = _fitted(_ratios(ties, chosen))
    each = zip(parts, chosen, fits, strict=True)
    return _Fits(ties, [_ImageFit(str(image), rows, some, fit) for (image, rows), some, fit in each])


def _relative(fits: _Fits) -> pd.DataFrame:
    names = (
        "bright",
        "is_known",
        "repeated",
        "tie_err",
        "n",
        "ln_scale",
        "ln_scale_squares",
        "flux_err_mjy",
        "flux_mjy",
    )
    columns = {name: fits.ties[name].to_numpy() for name in names}
    records = [{"image": one.image, **_record(one, columns)} for one in fits.of_images]
    return pd.DataFrame(records, columns=["image", *_RELATIVE]).set_index("image").astype(float)


def _pulls(fits: _Fits) -> pd.DataFrame:
    if not fits.of_images:
        return SCALE_PULLS.empty()
    table = fits.ties[["measurement_id"]].take(np.concatenate([one.chosen for one in fits.of_images]))
    table = table.assign(pull=np.concatenate([one.fit.pull for one in fits.of_images]))
    return table.sort_values("measurement_id").reset_index(drop=True)


def _with_known(fluxes: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """`tie_fluxes` with what is known of their sources, and ``usable``: which of them tie their image."""
    row = rows_among(fluxes["source_id"], known["source_id"])
    found = known.take(np.maximum(row, 0)) if len(known) else known.reindex(np.zeros(len(row), dtype=int))
    n, mean, weight, n_tied, tie_err = (
        found[name].to_numpy(dtype=float) for name in ("n", "mean_mjy", "weight_per_mjy2", "n_tied", "tie_err")
    )
    flux, flux_err, least = (fluxes[name].to_numpy(dtype=float) for name in ("flux_mjy", "flux_err_mjy", "least_snr"))
    is_known = (row >= 0) & (mean > 0)
    image = fluxes["image"].to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = flux / mean
        own_var, earlier_var = _noise_of_all(flux_err**2, n / weight, np.where(is_known, n, 0.0), image)
        surely = pd.Series(np.where(is_known & (mean >= 1.5 * least * np.sqrt(own_var)), ratio, np.nan))
        scale = surely.groupby(image).transform("median").fillna(1.0).to_numpy()
        # By the mean of all fluxes, this one among them: a limit on the earlier ones alone, or on this one, would
        # prefer those that noise made bright, on one side of the ratio. Of Gaussian noise, weighted by its variance,
        # such a mean says nothing about the ratio.
        in_scale = own_var / scale**2
        together = (mean * n / earlier_var + flux / scale / in_scale) / (n / earlier_var + 1.0 / in_scale)
        usable = is_known & (together >= least * np.sqrt(np.maximum(in_scale, earlier_var)))
        return fluxes.assign(
            usable=usable,
            is_known=is_known,
            bright=fluxes["snr"].to_numpy(dtype=float) >= least,
            # In units of that same mean: those of the earlier mean would give sources that were bright by noise then,
            # and are fainter now, more weight.
            ratio=scale * (1.0 + (ratio / scale - 1.0) * mean / together),
            noise=own_var / together**2,
            known_noise=earlier_var / n / together**2,
            squares=found["squares_mjy2"].to_numpy(dtype=float) / together**2,
            n=n,
            tie_err=np.where(n_tied > 0, tie_err, np.nan),
            ln_scale=found["ln_scale"].to_numpy(dtype=float),
            ln_scale_squares=found["ln_scale_squares"].to_numpy(dtype=float),
        )


def _noise_of_all(own_var: Floats, earlier_var: Floats, n: Floats, image: Values) -> tuple[Floats, Floats]:
    """Variances of this image's fluxes and of single earlier ones, without what noise does to them.

    A fit that noise makes large has a large flux and a large error: weighted by it, fluxes would come out too faint.
    Averaged over all fluxes of a source, this one no more than the others, the error prefers no side of the ratio.

    Parameters
    ----------
    own_var, earlier_var : shape (n_fluxes,)
    n : earlier fluxes, 0 where there are none
    image : name of the image of each
    """
    apart = pd.Series(np.where(n > 0, np.log(own_var / earlier_var), np.nan))
    of_image = apart.groupby(image).transform("median").fillna(0.0).to_numpy()
    # The source's own excess over what the image's noise makes of it, shared by all its fluxes.
    mean = np.log(earlier_var) + (np.log(own_var / earlier_var) - of_image) / (n + 1.0)
    return np.where(n > 0, np.exp(mean + of_image), own_var), np.exp(mean)


_RELATIVE = (
    *("n_relative", "n_candidates", "n_known", "scale", "own_err", "known_err", "scatter", "outlier_fraction"),
    *("tie_err", "ln_usual", "ln_usual_err", "noise_err", "repeated_share"),
)


def _without_repeats(used: Flags, repeated: Flags) -> Flags:
    """Sources without duplicates: they lie where images overlap, and the earlier fluxes there are another image's.

    Its primary beam is wrong in another way. Only an image that mostly repeats another one would have little left.
    """
    kept: Flags = used & ~repeated
    return kept if 2 * np.count_nonzero(kept) >= np.count_nonzero(used) else used


def _fitted(samples: Sequence[Ratios]) -> list[RelativeScale]:
    """The scales of the images of an epoch, which share what the scatter of their ratios is like."""
    # By their noise first: the scatter about medians of a dozen sources, most of them faint, would be taken for that of
    # the bright ones. About scales that follow the bright ones, it is too small; the second time it is right.
    model = ScatterModel()
    for _ in range(2):
        model = scatter_model(samples, fit_relative_scales(samples, model))
    factors = block_correlation(fit_relative_scales(samples, model))
    return fit_relative_scales(samples, model, factors)


def _ratios(ties: pd.DataFrame, chosen: Sequence[Indices]) -> list[Ratios]:
    """Of each image, of some rows of the ties."""
    names = ("ratio", "noise", "known_noise", "n", "squares", "east_deg", "north_deg")
    columns = [ties[name].to_numpy(dtype=float) for name in names]
    found = []
    for rows in chosen:
        ratio, noise, known_noise, n, squares, east, north = (column[rows] for column in columns)
        found.append(Ratios(ratio, noise, known_noise, n, squares, blocks(east, north)))
    return found


def _record(of: _ImageFit, ties: Mapping[str, Values]) -> dict[str, float]:
    """One of `_RELATIVE`; ``ties`` has columns of the ties of all images."""
    fit = of.fit
    bright, known, repeated = (ties[name][of.rows].astype(bool) for name in ("bright", "is_known", "repeated"))
    tie_errs = ties["tie_err"][of.chosen]
    tied = ~np.isnan(tie_errs)
    tie_err = np.nan
    if 2 * np.count_nonzero(tied) >= len(tied) > 0:
        # Where images overlap, others gave the earlier fluxes: what noise does to these is not in this image's first
        # tie.
        others = float(np.sqrt(ties["repeated"][of.chosen].mean()) * fit.known_err)
        tie_err = float(np.hypot(tie_errs[tied].mean(), np.nan_to_num(others)))
    usual, usual_err = np.nan, np.nan
    if known.any():
        of_known = of.rows[known]
        n = ties["n"][of_known]
        variance = (ties["ln_scale_squares"][of_known] + _FIELD_PRIOR * _FIELD_SCATTER**2) / (n - 1.0 + _FIELD_PRIOR)
        usual = robust.median_of_known(ties["ln_scale"][of_known])
        usual_err = float(np.sqrt(robust.median_of_known(variance)))
    tying = of.rows[_without_repeats(bright, repeated)]
    relative = ties["flux_err_mjy"][tying] / ties["flux_mjy"][tying]
    return {
        "n_relative": fit.n,
        "n_candidates": int(bright.sum()),
        "n_known": int((bright & known).sum()),
        "scale": fit.scale,
        "own_err": fit.own_err,
        "known_err": fit.known_err,
        "scatter": fit.scatter,
        "outlier_fraction": fit.outlier_fraction,
        "tie_err": tie_err,
        "ln_usual": usual,
        "ln_usual_err": usual_err,
        # What its sources would tie it by, were their fluxes known.
        "noise_err": error_of_scale(information_of(relative**2 + _USUAL_SCATTER**2), len(relative)),
        "repeated_share": float(repeated[bright].mean()) if bright.any() else 0.0,
    }


def field_scales(
    fluxes: pd.DataFrame,
    known: pd.DataFrame,
    corrections: pd.DataFrame,
    parameters: Corrections,
    variable_sources: Collection[str] = (),
) -> pd.DataFrame:
    """The scale of each image of an epoch in the scale of its field, judged.

    Parameters
    ----------
    fluxes : `tie_fluxes` of the epoch
    known : KNOWN_FLUXES of the epochs before
    corrections : CORRECTIONS of the epoch, for what the catalog says of each image
    parameters : section `corrections`
    variable_sources : source_id of sources known to vary, see `known_variables`

    Returns
    -------
    One row an image of the corrections, in their order, indexed by it: what `relative_scales` has, and ``tied_by``
    (None where nothing gives a scale), ``field_scale``, ``field_err`` (its own fractional error), ``field_tie_err``
    (common to the field, NaN where no catalog tied it), ``refusal`` (a sentence, None where it is applied), ``wrong``
    (whether what was measured is refused as wrong)
    """
    return _judged(_relative(_fits_of_images(fluxes, known, variable_sources)), fluxes, corrections, parameters)


def field_scales_and_pulls(
    fluxes: pd.DataFrame,
    known: pd.DataFrame,
    corrections: pd.DataFrame,
    parameters: Corrections,
    variable_sources: Collection[str] = (),
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`field_scales` and `scale_pulls`, of the same fits."""
    fits = _fits_of_images(fluxes, known, variable_sources)
    return _judged(_relative(fits), fluxes, corrections, parameters), _pulls(fits)


def _judged(
    relative: pd.DataFrame, fluxes: pd.DataFrame, corrections: pd.DataFrame, parameters: Corrections
) -> pd.DataFrame:
    """See `field_scales`; ``relative`` is of `relative_scales`."""
    names = corrections["image"].to_numpy()
    relative = relative.reindex(names)
    counts = ["n_relative", "n_candidates", "n_known"]
    relative[counts] = relative[counts].fillna(0).astype(int)
    relative["repeated_share"] = relative["repeated_share"].fillna(0.0)
    catalog = _catalog_ties(corrections, parameters).set_axis(names)
    covered = is_covered(relative)
    refusals = [
        trust.refuse_relative(row["scale"], row["outlier_fraction"], row["scatter"], parameters) if here else None
        for row, here in zip(relative.to_dict("records"), covered, strict=True)
    ]
    wrong = np.array([refusal is not None for refusal in refusals], dtype=bool)
    wrong |= ~covered & catalog["wrong"].to_numpy()
    table = relative.assign(tied_by=None, field_scale=np.nan, field_err=np.nan, field_tie_err=np.nan)
    of_known = covered & ~wrong
    table.loc[of_known, "tied_by"] = KNOWN
    for name, column in (("field_scale", "scale"), ("field_err", "own_err"), ("field_tie_err", "tie_err")):
        table.loc[of_known, name] = relative.loc[of_known, column]
    # An image that is found to be wrong must not have drawn those that it overlaps.
    for _ in range(2):
        new = ~covered & ~wrong
        if not new.any():
            break
        solved = image_ties(relative[~wrong], new[~wrong], catalog[~wrong], fluxes)
        table.loc[new, solved.columns] = solved.to_numpy()
        scale, error = (table[name].to_numpy(dtype=float) for name in ("field_scale", "field_err"))
        found = new & (np.abs(scale - 1) - 3 * scale * error > parameters.max_scale_change)
        if not found.any():
            break
        wrong |= found
    # Nor is a place begun by an image of few sources, whose noise would pass for the scale of the place.
    unsure = (table["tied_by"] == START) & (table["field_err"].astype(float) > parameters.max_scale_err)
    table.loc[wrong | unsure, "tied_by"] = None
    sentences = [
        _refusal(of_known, of_catalog, row, parameters)
        for of_known, of_catalog, row in zip(refusals, catalog["refusal"], table.to_dict("records"), strict=True)
    ]
    return table.assign(refusal=pd.Series(sentences, index=table.index, dtype=object), wrong=wrong)


def _refusal(of_known: str | None, of_catalog: str | None, row: dict[Any, Any], parameters: Corrections) -> str | None:
    """Why a scale is not applied; None if it is."""
    if of_known is not None:
        return of_known
    scale = float(row["field_scale"])
    if np.isfinite(scale) and (sentence := trust.refuse_scale(scale, scale * row["field_err"], parameters)):
        return sentence
    if row["tied_by"] in (None, START):
        return of_catalog or "flux: neither a catalog nor earlier epochs give a scale"
    return None


def _catalog_ties(corrections: pd.DataFrame, parameters: Corrections) -> pd.DataFrame:
    """What the catalog says of each image: name, scale, err (a fraction), usable, wrong, refusal (a sentence or None).

    Whether there are too many outliers is asked of all images of a catalog together: near the limit single images of
    one field fall on either side of it by chance.
    """
    fits = [
        FluxScale(
            str(row["flux_method"]),
            int(row["n_flux"]),
            scale=float(row["flux_scale"]),
            scale_err=float(row["flux_scale_err"]),
            outlier_fraction=float(row["flux_outlier_fraction"]),
            max_influence=float(row["flux_max_influence"]),
        )
        for row in corrections.to_dict("records")
    ]
    enough = (corrections["n_flux"] >= parameters.min_matches).to_numpy()
    outliers = pd.Series([fit.outlier_fraction for fit in fits], dtype=float).where(enough)
    typical = outliers.groupby(corrections["flux_catalog"].fillna("").to_numpy()).transform("median")
    judged = [
        replace(fit, outlier_fraction=share) if np.isfinite(share) else fit
        for fit, share in zip(fits, typical, strict=True)
    ]
    refusals = [trust.refuse_flux(fit, parameters) for fit in judged]
    together = parameters.model_copy(update={"max_scale_err": _BESIDE_OTHERS * parameters.max_scale_err})
    scale = np.array([fit.scale for fit in fits], dtype=float)
    return pd.DataFrame(
        {
            "name": corrections["flux_catalog"].fillna("").to_numpy(dtype=object),
            "scale": scale,
            "err": np.array([fit.scale_err for fit in fits], dtype=float) / scale,
            "usable": [trust.refuse_flux(fit, together) is None for fit in judged],
            "wrong": [trust.is_wrong_flux(fit, parameters) for fit in fits],
            "refusal": pd.Series(refusals, dtype=object),
        }
    )


def with_field_scales(corrections: pd.DataFrame, scales: pd.DataFrame, parameters: Corrections) -> pd.DataFrame:
    """Corrections of one epoch that apply the scale of the field.

    Parameters
    ----------
    corrections : CORRECTIONS of the epoch; what was applied to its fluxes before does not matter
    scales : `field_scales` of the same images
    parameters : section `corrections`

    Returns
    -------
    CORRECTIONS. A refused image keeps its fluxes, with the reason and ``applied`` false.
    """
    refused = scales["refusal"].notna().to_numpy()
    scale, own_err = (scales[name].to_numpy(dtype=float) for name in ("field_scale", "field_err"))
    mult = np.where(refused, 1.0, 1.0 / np.where(refused, 1.0, scale))
    # An image that begins a place keeps its fluxes, whose scale is off by nothing there, and as noisy as any other's.
    kept_err = np.where(scales["tied_by"] == START, np.nan_to_num(own_err), _error_as_measured(scales))
    reasons = [
        "; ".join([*_about_positions(before), *([refusal] if refusal else [])]) or None
        for before, refusal in zip(corrections["reason"], scales["refusal"], strict=True)
    ]
    adds = _additive(corrections, parameters)
    moved = corrections["position_applied"].to_numpy(dtype=bool)
    return corrections.assign(
        applied=(moved | (not parameters.apply_position)) & ~refused,
        flux_applied=~refused,
        trusted=~(_wrong_positions(corrections, parameters) | scales["wrong"].to_numpy(dtype=bool)),
        reason=pd.Series(reasons, index=corrections.index, dtype=object),
        flux_mult=mult,
        flux_mult_err=np.where(refused, kept_err, mult * np.nan_to_num(own_err)),
        flux_tie_err=np.where(refused, np.nan, scales["field_tie_err"].to_numpy(dtype=float)),
        flux_add_mjy=np.where(refused, 0.0, adds["flux_offset_mjy"]),
        flux_add_err_mjy=np.where(refused, 0.0, adds["flux_offset_err_mjy"]),
        flux_tied_by=scales["tied_by"].to_numpy(dtype=object),
        n_relative=scales["n_relative"].to_numpy(),
        relative_scale=scales["scale"].to_numpy(dtype=float),
        relative_scale_err=scales["scale"].to_numpy(dtype=float) * scales["own_err"].to_numpy(dtype=float),
        relative_scatter=scales["scatter"].to_numpy(dtype=float),
        relative_outlier_fraction=scales["outlier_fraction"].to_numpy(dtype=float),
    )


def _error_as_measured(scales: pd.DataFrame) -> Floats:
    """How far off the fluxes of images that keep theirs may be from others of their place (a fraction), (n_images,).

    What is measured of each scale, too badly to be applied, and what scales of the field usually are say how large the
    scale that is left in them is likely to be. It is 0 where no image of the place has a scale that it could differ by.
    """
    usual, usual_err, measured, measured_err = (
        scales[name].to_numpy(dtype=float) for name in ("ln_usual", "ln_usual_err", "field_scale", "field_err")
    )
    known = np.isfinite(usual) & np.isfinite(usual_err)
    weight = 1.0 / np.where(known, usual_err, _FIELD_SCATTER) ** 2
    seen = np.isfinite(measured) & (measured_err > 0)
    own = np.where(seen, 1.0 / np.where(seen, measured_err, 1.0) ** 2, 0.0)
    ln_scale = weight * np.where(known, usual, 0.0) + own * np.log(np.where(seen, measured, 1.0))
    left = np.hypot(ln_scale / (weight + own), (weight + own) ** -0.5)
    # Too poor to begin a place, which a better one does; what is found to be wrong takes part in nothing.
    poor = seen & scales["tied_by"].isna().to_numpy() & ~scales["wrong"].to_numpy(dtype=bool)
    compared = known | np.isfinite(scales["field_tie_err"].to_numpy(dtype=float)) | poor
    return np.where(compared, left, 0.0)


def without_additive(fluxes: pd.DataFrame, corrections: pd.DataFrame, parameters: Corrections) -> pd.DataFrame:
    """`tie_fluxes` less the additive error of their image, where the configuration asks for one."""
    add = _additive(corrections, parameters)["flux_offset_mjy"].set_axis(corrections["image"])
    flux = fluxes["flux_mjy"] - fluxes["image"].map(add).to_numpy(dtype=float)
    left: pd.DataFrame = fluxes.assign(flux_mjy=flux)[flux > 0]
    return left


def _additive(corrections: pd.DataFrame, parameters: Corrections) -> pd.DataFrame:
    """Additive error of each image and its error: measured against the catalog, 0 where none is asked for."""
    measured = corrections[["flux_offset_mjy", "flux_offset_err_mjy"]].astype(float).fillna(0.0)
    return measured if parameters.flux_offset == "always" else measured * 0.0


def _about_positions(reason: object) -> list[str]:
    sentences = reason.split("; ") if isinstance(reason, str) else []
    return [sentence for sentence in sentences if sentence.startswith("position:")]


def _wrong_positions(corrections: pd.DataFrame, parameters: Corrections) -> Flags:
    names = ("dra_arcsec", "ddec_arcsec", "dra_err_arcsec", "ddec_err_arcsec")
    rows = zip(corrections["n_position"], *(corrections[name].astype(float) for name in names), strict=True)
    return np.array([trust.is_wrong_position(PositionOffset(int(n), *row), parameters) for n, *row in rows], dtype=bool)
