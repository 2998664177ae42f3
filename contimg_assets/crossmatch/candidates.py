"""Candidates among the pairs: probabilities, ranks, relations, fluxes at our frequency, quality."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa

from contimg_assets.config import Matching
from contimg_assets.crossmatch import probability as formulas
from contimg_assets.crossmatch.detections import Detections
from contimg_assets.crossmatch.search import NEIGHBOUR_BEAMS, Pairs, Sky
from contimg_assets.crossmatch.spectra import scaled_flux, spectral_indices
from contimg_assets.sky.arrays import Flags, Floats, Indices
from contimg_assets.sky.pairs import de_ruiter_radius

# More likely than not.
MATCHED = 0.5


def candidates_of(
    detections: Detections, sky: Sky, pairs: Pairs, density: Floats, q: Floats, parameters: Matching
) -> pd.DataFrame:
    """Probabilities, ranks and relations of the pairs that are candidates."""
    n_rows = len(sky.ra)
    group = detections.group[pairs.detection]
    in_beams = pairs.distance <= 0.5 * (detections.beam[pairs.detection] + sky.beam_arcsec)
    # A catalogue source meets the measurements of one image: those of another see the same source again.
    partner = group.astype(np.int64) * max(n_rows, 1) + pairs.row
    partners, of_partner = np.unique(partner, return_inverse=True)
    others_row = np.bincount(pairs.detection, in_beams, minlength=len(detections)).astype(int)[pairs.detection]
    others_row = others_row - in_beams
    others_detection = np.bincount(of_partner, in_beams, minlength=len(partners)).astype(int)[of_partner] - in_beams
    mutual = _nearest_of(pairs.detection, len(detections), pairs.distance)
    mutual &= _nearest_of(of_partner, len(partners), pairs.distance)
    largest = np.maximum(pairs.sigma_ew, pairs.sigma_ns)
    radius = np.minimum(
        np.maximum(parameters.radius_arcsec, parameters.radius_sigma * largest), parameters.max_radius_arcsec
    )
    chosen = np.flatnonzero(((pairs.distance <= radius) | pairs.accepted) & (density[pairs.detection] > 0))
    near = pairs.where(chosen)
    i = near.detection
    r = de_ruiter_radius(near.x, near.y, near.sigma_ew, near.sigma_ns)
    log_f = formulas.log_position_likelihood(r, near.sigma_ew, near.sigma_ns)
    log_ratio = formulas.log_likelihood_ratio(log_f, density[i], q[detections.group[i]])
    # Best first within a detection; equal ones by distance, then by the catalogue's order on the sky.
    order = np.lexsort((near.row, near.distance, -log_ratio, i))
    chosen, near, i = chosen[order], near.where(order), i[order]
    r, log_f, log_ratio = r[order], log_f[order], log_ratio[order]
    first = np.flatnonzero(np.diff(i, prepend=-1))
    counts = np.diff(np.append(first, len(i)))
    probability, p_any, p_none = formulas.posterior(log_ratio, first, q[detections.group[i[first]]])
    several_rows, several_detections = others_row[chosen] > 0, others_detection[chosen] > 0
    rows = pa.array(near.row)
    columns = sky.table.select(
        ["catalog_source_id", "ra_deg", "dec_deg", "flux_mjy", "flux_err_mjy", "spectral_index"]
    ).take(rows)
    relation = np.array(["1:1", "1:n", "n:1", "n:m"], dtype=object)
    return pd.DataFrame(
        {
            "detection": i,
            "group": detections.group[i],
            "catalog_source_id": columns.column("catalog_source_id").to_pandas(),
            "separation_arcsec": near.separation,
            "dra_arcsec": near.dra,
            "ddec_arcsec": near.ddec,
            "sigma_ew_arcsec": near.sigma_ew,
            "sigma_ns_arcsec": near.sigma_ns,
            "de_ruiter": r,
            "log10_bayes_factor": formulas.log10_bayes_factor(log_f),
            "likelihood_ratio": np.exp(log_ratio),
            "probability": probability,
            "p_any": np.repeat(p_any, counts),
            "p_none": np.repeat(p_none, counts),
            "p_chance": formulas.chance_probability(near.distance, density[i]),
            "n_candidates": np.repeat(counts, counts),
            "rank": np.arange(len(i)) - np.repeat(first, counts) + 1,
            "mutual": mutual[chosen],
            "blend": several_rows | several_detections,
            "relation": pd.Series(relation[several_rows + 2 * several_detections], dtype="str"),
            "catalog_ra_deg": columns.column("ra_deg").to_numpy(),
            "catalog_dec_deg": columns.column("dec_deg").to_numpy(),
            "catalog_flux_mjy": columns.column("flux_mjy").to_numpy(),
            "catalog_flux_err_mjy": columns.column("flux_err_mjy").to_numpy(),
            "catalog_neighbour_arcsec": _neighbours(near.row, first, sky, detections.beam),
            "given_index": columns.column("spectral_index").to_numpy(),
        }
    )


def _neighbours(rows: Indices, best: Indices, sky: Sky, beams: Floats) -> Floats:
    """Separation of the catalogue source nearest to each best candidate; NaN beyond two beams, and for the others."""
    least = np.full(len(rows), np.nan)
    if len(best):
        least[best] = sky.nearest_other(rows[best], NEIGHBOUR_BEAMS * max(float(beams.max()), sky.beam_arcsec))
    return least


def _nearest_of(group: Indices, n_groups: int, distance: Floats) -> Flags:
    """Whether each pair is the nearest of its group; of equals, the first."""
    least = np.full(n_groups, np.inf)
    np.minimum.at(least, group, distance)
    equal = np.flatnonzero(distance == least[group])[::-1]
    first = np.zeros(n_groups, np.intp)
    # Written last to first, so that the first of equals stays.
    first[group[equal]] = equal
    nearest = np.zeros(len(group), dtype=bool)
    nearest[first[group[equal]]] = True
    return nearest


def of_all_catalogs(detections: Detections, parts: list[pd.DataFrame], parameters: Matching) -> pd.DataFrame | None:
    """Candidates of all catalogues together: fluxes at our frequency, quality, order of rows. None without any."""
    filled = [part for part in parts if len(part)]
    if not filled:
        return None
    matches = pd.concat(filled, ignore_index=True)
    of = matches["detection"].to_numpy()
    flux, err = matches["catalog_flux_mjy"].to_numpy(), matches["catalog_flux_err_mjy"].to_numpy()
    freq, ours = matches["freq_mhz"].to_numpy(), detections.freq_mhz[of]
    # The scales of catalogues weigh their fluxes against each other; all matches of an image have the same one's.
    common = max(parameters.flux_scale_err, 1e-3)
    with np.errstate(divide="ignore", invalid="ignore"):
        fractional = np.hypot(np.nan_to_num(err / flux, nan=0.0, posinf=0.0), common)
    # One flux a catalogue, and only of counterparts that stand alone: a blend is not the spectrum of one object.
    clear = (matches["rank"] == 1) & (matches["probability"] > MATCHED) & ~matches["blend"]
    used = clear.to_numpy() & (flux > 0)
    prior, prior_err = _prior(matches, of, clear.to_numpy(), len(detections), parameters)
    alpha, alpha_err, mean_ln_freq, alpha_common = spectral_indices(
        of[used], freq[used], flux[used], fractional[used], prior, prior_err, common
    )
    in_fit = np.where(used, mean_ln_freq[of], np.log(freq))
    expected, expected_err = scaled_flux(
        flux, fractional, freq, ours, alpha[of], alpha_err[of], in_fit, alpha_common[of], common
    )
    matches["expected_flux_mjy"], matches["expected_flux_err_mjy"] = expected, expected_err
    matches["spectral_index"], matches["spectral_index_err"] = alpha[of], alpha_err[of]
    with np.errstate(divide="ignore", invalid="ignore"):
        matches["flux_ratio"] = np.where(expected > 0, detections.flux[of] / expected, np.nan)
    matches["quality"] = quality(matches)
    matches["catalog"] = matches["catalog"].astype("str")
    catalog = pd.factorize(matches["catalog"], sort=True)[0]
    order = np.lexsort((matches["rank"].to_numpy(), catalog, detections.place[of]))
    return matches.take(order).reset_index(drop=True)


def _prior(matches: pd.DataFrame, of: Indices, clear: Flags, n: int, parameters: Matching) -> tuple[Floats, Floats]:
    """Spectral index before looking at fluxes: the population's, or what a catalogue gives for a counterpart."""
    prior = np.full(n, parameters.spectral_index)
    prior_err = np.full(n, parameters.spectral_index_err)
    given = matches["given_index"].to_numpy()
    rows = np.flatnonzero(clear & np.isfinite(given))
    prior[of[rows]] = given[rows]
    # A fit within one survey's band, carried to another band: half the population's scatter.
    prior_err[of[rows]] = 0.5 * parameters.spectral_index_err
    return prior, prior_err


def quality(matches: pd.DataFrame) -> pd.Series:
    """Grade of a candidate, for people who sort tables; the probability is the number to compute with.

    A: the best, probability >= 0.9, nearest to each other, alone in the beams. B: the best, probability >= 0.9. C: the
    best, probability >= 0.5. D: any other.
    """
    best, p = (matches["rank"] == 1).to_numpy(), matches["probability"].to_numpy()
    alone = (matches["mutual"] & ~matches["blend"]).to_numpy(bool)
    grade = np.select([best & (p >= 0.9) & alone, best & (p >= 0.9), best & (p >= 0.5)], ["A", "B", "C"], "D")
    return pd.Series(grade, index=matches.index, dtype="str")
