"""Rows of the table `sources` from light curves: positions, times, counts, extremes. Plain functions on arrays."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from contimg_assets.schemas.variability import FLUX_KINDS
from contimg_assets.sky.arrays import Flags, Floats, Hashes, Integers, Values
from contimg_assets.sky.beams import ALIKE_BEAMS
from contimg_assets.sky.cells import index_cells
from contimg_assets.sky.sphere import positions, tangent_axes
from contimg_assets.variability.error_model import ErrorModel
from contimg_assets.variability.position_errors import with_systematics
from contimg_assets.variability.segments import LightCurves, RowSums, places


def mean_positions(rows: Mapping[str, Values], use: Flags, sums: RowSums) -> dict[str, Floats]:
    """Weighted mean position of each source, its error, and the share that noise has of the error's square.

    The mean is taken in the plane that touches the sky at the source: east weighted by w_ew, north by w_ns; right at
    RA 0 and at the poles.

    Parameters
    ----------
    rows : x, y, z (unit vectors), w_ew, w_ns [arcsec^-2], noise_ew, noise_ns (shares of the variances 1 / w),
        shape (n,)
    use : rows that count, shape (n,)
    sums : which source each row belongs to
    """
    w_ew, w_ns = np.where(use, rows["w_ew"], 0.0), np.where(use, rows["w_ns"], 0.0)
    by_east = np.stack([sums.sum(w_ew * rows[axis]) for axis in "xyz"], axis=-1)
    by_north = np.stack([sums.sum(w_ns * rows[axis]) for axis in "xyz"], axis=-1)
    sum_ew, sum_ns = sums.sum(w_ew), sums.sum(w_ns)
    up = by_east / np.linalg.norm(by_east, axis=-1, keepdims=True)
    east, north = tangent_axes(*positions(up))
    xi = np.einsum("ij,ij->i", by_east, east) / sum_ew
    eta = np.einsum("ij,ij->i", by_north, north) / sum_ns
    ra_deg, dec_deg = positions(up + xi[:, None] * east + eta[:, None] * north)
    return {
        "ra_deg": ra_deg,
        "dec_deg": dec_deg,
        "uncertainty_ew_arcsec": 1.0 / np.sqrt(sum_ew),
        "uncertainty_ns_arcsec": 1.0 / np.sqrt(sum_ns),
        # Of the variance of the mean, sum w^2 v / (sum w)^2; both axes by the mean of their shares.
        "position_noise_share": sums.sum((w_ew + w_ns) * (0.5 * (rows["noise_ew"] + rows["noise_ns"])))
        / (sum_ew + sum_ns),
    }


def visits(curves: LightCurves, n_epochs: int) -> Flags:
    """Whether each source has a point in each epoch, shape (k, n_epochs)."""
    seen = np.zeros((len(curves.segments), n_epochs), dtype=bool)
    seen[RowSums.of(curves).owner, curves.rows["epoch"]] = True
    return seen


def visits_in_bands(curves: LightCurves, n_epochs: int, bands_mhz: Integers) -> Flags:
    """Whether each source has a point in each epoch and band, shape (k, n_epochs * n_bands), an epoch's side by side.

    Parameters
    ----------
    bands_mhz : all bands there are, ascending
    """
    n_bands = len(bands_mhz)
    seen = np.zeros((len(curves.segments), n_epochs * n_bands), dtype=bool)
    band = np.searchsorted(bands_mhz, curves.rows["band"])
    seen[RowSums.of(curves).owner, curves.rows["epoch"] * n_bands + band] = True
    return seen


def source_table(curves: LightCurves, epochs: list[str], seen: Flags, errors: ErrorModel | None = None) -> pd.DataFrame:
    """What light curves alone say about each source; `id` is the hash (uint64).

    Parameters
    ----------
    curves : sorted points
    epochs : names that the column `epoch` of the points counts in
    seen : see `visits`
    errors : systematic errors of positions as measured; those of the measurements if not given

    Returns
    -------
    DataFrame with the columns of SOURCES except neighbors, relations, limits, fluxes and novelty; also
    position_noise_share (see `mean_positions`), freq_mhz, beam_arcsec (means over the points of the band), band [MHz],
    first_band_mhz, first_flux_mjy_beam (peak flux of the first detection, its integrated flux where there is no peak)
    and first_flux_err_mjy_beam (the error of the image's scale included).
    """
    segments, sums, rows = curves.segments, RowSums.of(curves), curves.rows
    use = _best_rows(rows, sums)
    in_order, points = use[curves.order], np.arange(segments.rows)
    first = segments.minimum(np.where(in_order, points, len(points)))
    last = segments.maximum(np.where(in_order, points, -1))
    names = np.asarray(epochs, dtype=object)
    first_ra, first_dec = positions(np.stack([curves.at(axis, first) for axis in "xyz"], axis=-1))
    table = pd.DataFrame({"id": curves.source, **mean_positions(with_systematics(rows, errors), use, sums)})
    table["healpix"] = index_cells(table["ra_deg"].to_numpy(), table["dec_deg"].to_numpy())
    table["first_epoch"], table["last_epoch"] = names[curves.at("epoch", first)], names[curves.at("epoch", last)]
    table["first_mjd"], table["last_mjd"] = curves.at("mjd", first), curves.at("mjd", last)
    table["first_ra_deg"], table["first_dec_deg"] = first_ra, first_dec
    has_peak = np.isfinite(curves.at("flux_peak", first))
    flux, err = (
        np.where(has_peak, *(curves.at(f"flux_{kind}{suffix}", first) for kind in ("peak", "int")))
        for suffix in ("", "_err")
    )
    table["first_flux_mjy_beam"] = flux
    table["first_flux_err_mjy_beam"] = np.hypot(err, curves.at("flux_scale_err", first) * flux)
    table["n_measurements"] = segments.counts
    table["n_forced"] = sums.sum(rows["forced"]).astype(np.int64)
    table["n_untrusted"] = sums.sum(~rows["trusted"]).astype(np.int64)
    table["n_epochs"] = seen.sum(axis=1)
    table["n_siblings"] = sums.sum(rows["siblings"]).astype(np.int64)
    band, n_bands, alike = _main_band(rows, use, sums)
    table["band"], table["n_bands"], table["first_band_mhz"] = band, n_bands, curves.at("band", first)
    table["mixed_beams"] = _mixed_beams(rows, use, sums)
    for name in ("freq_mhz", "beam_arcsec"):
        table[name] = sums.sum(np.where(alike, rows[name], 0.0)) / sums.sum(alike)
    known = use & alike & ~np.isnan(rows["compactness"])
    with np.errstate(invalid="ignore"):
        table["compactness"] = sums.sum(np.where(known, rows["compactness"], 0.0)) / sums.sum(known)
    snr = np.where(use, rows["snr"], np.nan)
    table["min_snr"], table["max_snr"] = sums.smallest(snr), sums.largest(snr)
    for name in ("flux_peak_isl_ratio", "flux_int_isl_ratio"):
        table[f"min_{name}"] = sums.smallest(rows[name])
    return table


def _main_band(rows: Mapping[str, Values], use: Flags, sums: RowSums) -> tuple[Integers, Integers, Flags]:
    """The band that most of each source's rows in `use` are of, the lowest of several; bands it has; rows of that band.

    Fluxes, compactness and beams of different bands have no common mean.
    """
    bands, code = np.unique(rows["band"], return_inverse=True)
    if len(bands) == 1:
        same = np.full(sums.n_sources, bands[0]), np.ones(sums.n_sources, np.int64)
        return *same, np.ones(len(code), dtype=bool)
    place = sums.owner * len(bands) + code
    shape = (sums.n_sources, len(bands))
    counts = np.bincount(place, weights=use, minlength=shape[0] * shape[1]).reshape(shape)
    there = np.bincount(place, minlength=shape[0] * shape[1]).reshape(shape) > 0
    main = np.argmax(counts, axis=1)
    return bands[main], there.sum(axis=1), code == main[sums.owner]


def _mixed_beams(rows: Mapping[str, Values], use: Flags, sums: RowSums) -> Flags:
    """Whether rows in `use` of each source, in any one band, are of beams that are not alike, shape (k,)."""
    mixed = np.zeros(sums.n_sources, dtype=bool)
    for band in np.unique(rows["band"]):
        beam = np.where(use & (rows["band"] == band), rows["beam_arcsec"], np.nan)
        with np.errstate(invalid="ignore"):
            mixed |= sums.largest(beam) > ALIKE_BEAMS * sums.smallest(beam)
    return mixed


def _best_rows(rows: Mapping[str, Values], sums: RowSums) -> Flags:
    """The rows of each source that say what and where it is, shape (n,).

    Forced rows were put where they are, not found there, and images that are not trusted may be wrong: they count only
    for a source that has nothing better.
    """
    forced, trusted = rows["forced"], rows["trusted"]
    use, found = np.zeros(len(forced), dtype=bool), np.zeros(sums.n_sources, dtype=bool)
    for rank in (~forced & trusted, ~forced, trusted, np.ones(len(forced), dtype=bool)):
        use |= rank & ~found[sums.owner]
        found = sums.sum(use) > 0
        if found.all():
            break
    return use


def mean_fluxes(source: Hashes, variability: pd.DataFrame, band_mhz: Integers) -> dict[str, Floats]:
    """Weighted mean fluxes of the detections of some sources; NaN for a source never detected in a trusted image.

    Parameters
    ----------
    source : hashes, ascending, shape (n,)
    variability : as `variability_table` gives it
    band_mhz : band of each source's fluxes [MHz], shape (n,)

    Returns
    -------
    flux_peak_mjy_beam, flux_peak_err_mjy_beam, flux_int_mjy, flux_int_err_mjy, shape (n,)
    """
    detections = variability[variability["sample"] == "detections"]
    if len(source):
        of_source = places(detections["source_id"].to_numpy(), source)[0]
        detections = detections[detections["band"].to_numpy() == band_mhz[of_source]].sort_values("source_id")
    row, known = places(source, detections["source_id"].to_numpy())
    fluxes = {}
    for kind, unit in FLUX_KINDS.items():
        for ours, theirs in ((f"flux_{kind}", "weighted_mean"), (f"flux_{kind}_err", "weighted_mean_err")):
            fluxes[f"{ours}_{unit}"] = np.full(len(source), np.nan)
            values = detections[f"flux_{kind}_{theirs}_{unit}"].to_numpy(dtype=float)
            fluxes[f"{ours}_{unit}"][known] = values[row[known]]
    return fluxes
