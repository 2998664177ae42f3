"""Candidates among the pairs: probabilities, ranks, relations, fluxes at our frequency, quality."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from contimg_assets.config import Matching
from contimg_assets.crossmatch import probability as formulas
from contimg_assets.crossmatch.search import NEIGHBOR_BEAMS, CatalogPairs, Sky, candidate_radius
from contimg_assets.crossmatch.spectra import CatalogFluxes, scaled_flux, spectral_indices
from contimg_assets.crossmatch.targets import Targets
from contimg_assets.sky.arrays import Flags, Floats, Indices
from contimg_assets.sky.pairs import de_ruiter_radius

# More likely than not.
MATCHED = 0.5


def candidates_of(
    targets: Targets, sky: Sky, pairs: CatalogPairs, density: Floats, q: Floats, parameters: Matching
) -> pd.DataFrame:
    """Probabilities, ranks and relations of the pairs that are candidates."""
    company = _company(targets, sky, pairs)
    best = _best_first(targets, pairs, density, q, parameters)
    near, i = pairs.where(best.rows), pairs.target[best.rows]
    first = np.flatnonzero(np.diff(i, prepend=-1))
    counts = np.diff(np.append(first, len(i)))
    probability, p_any, p_none = formulas.posterior(best.log_ratio, first, q[targets.group[i[first]]])
    several_rows, several_detections = company.several_rows[best.rows], company.several_detections[best.rows]
    columns = sky.table.select(
        ["catalog_source_id", "ra_deg", "dec_deg", "flux_mjy", "flux_err_mjy", "spectral_index"]
    ).take(pa.array(near.row))
    relation = np.array(["1:1", "1:n", "n:1", "n:m"], dtype=object)
    return pd.DataFrame(
        {
            "target": i,
            "group": targets.group[i],
            "catalog_source_id": columns.column("catalog_source_id").to_pandas(),
            "separation_arcsec": near.separation,
            "dra_arcsec": near.dra,
            "ddec_arcsec": near.ddec,
            "sigma_ew_arcsec": near.sigma_ew,
            "sigma_ns_arcsec": near.sigma_ns,
            "de_ruiter": best.de_ruiter,
            "log10_bayes_factor": formulas.log10_bayes_factor(best.log_likelihood),
            "likelihood_ratio": np.exp(best.log_ratio),
            "probability": probability,
            "p_any": np.repeat(p_any, counts),
            "p_none": np.repeat(p_none, counts),
            "p_chance": formulas.chance_probability(near.distance, density[i]),
            "n_candidates": np.repeat(counts, counts),
            "rank": np.arange(len(i)) - np.repeat(first, counts) + 1,
            "mutual": company.mutual[best.rows],
            "blend": several_rows | several_detections,
            "relation": pd.Series(relation[several_rows + 2 * several_detections], dtype="str"),
            "catalog_ra_deg": columns.column("ra_deg").to_numpy(),
            "catalog_dec_deg": columns.column("dec_deg").to_numpy(),
            "catalog_flux_mjy": columns.column("flux_mjy").to_numpy(),
            "catalog_flux_err_mjy": columns.column("flux_err_mjy").to_numpy(),
            "catalog_neighbour_arcsec": _neighbors(near.row, first, sky, targets.beam[i]),
            "given_index": columns.column("spectral_index").to_numpy(),
        }
    )


@dataclass(frozen=True)
class _Company:
    """Whether a pair is each other's nearest, and whether the beams hold another row or target, shape (k,)."""

    mutual: Flags
    several_rows: Flags
    several_detections: Flags


def _company(targets: Targets, sky: Sky, pairs: CatalogPairs) -> _Company:
    in_beams = pairs.distance <= 0.5 * (targets.beam[pairs.target] + sky.beam_arcsec)
    # A catalog source meets the measurements of one image: those of another see the same source again.
    partner = targets.image[pairs.target].astype(np.int64) * max(len(sky.ra), 1) + pairs.row
    partners, of_partner = np.unique(partner, return_inverse=True)
    rows = np.bincount(pairs.target, in_beams, minlength=len(targets)).astype(int)[pairs.target]
    seen = np.bincount(of_partner, in_beams, minlength=len(partners)).astype(int)[of_partner]
    mutual = _nearest_of(pairs.target, len(targets), pairs.distance)
    mutual &= _nearest_of(of_partner, len(partners), pairs.distance)
    return _Company(mutual, rows - in_beams > 0, seen - in_beams > 0)


@dataclass(frozen=True)
class _Ranking:
    """The candidates, sorted by target and best first: which pairs they are, and how good, shape (k,)."""

    rows: Indices
    de_ruiter: Floats
    log_likelihood: Floats
    log_ratio: Floats


def _best_first(targets: Targets, pairs: CatalogPairs, density: Floats, q: Floats, parameters: Matching) -> _Ranking:
    radius = candidate_radius(np.maximum(pairs.sigma_ew, pairs.sigma_ns), parameters)
    chosen = np.flatnonzero(((pairs.distance <= radius) | pairs.accepted) & (density[pairs.target] > 0))
    near = pairs.where(chosen)
    i = near.target
    r = de_ruiter_radius(near.x, near.y, near.sigma_ew, near.sigma_ns)
    log_f = formulas.log_position_likelihood(r, near.sigma_ew, near.sigma_ns)
    log_ratio = formulas.log_likelihood_ratio(log_f, density[i], q[targets.group[i]])
    # Equal ones by distance, then by the catalog's order on the sky.
    order = np.lexsort((near.row, near.distance, -log_ratio, i))
    return _Ranking(chosen[order], r[order], log_f[order], log_ratio[order])


def _neighbors(rows: Indices, best: Indices, sky: Sky, beams: Floats) -> Floats:
    """Separation of the catalog source nearest to each best candidate; NaN beyond two of the larger of its target's
    beam and the catalog's, and for the others."""
    least = np.full(len(rows), np.nan)
    if len(best):
        radius = NEIGHBOR_BEAMS * np.maximum(beams[best], sky.beam_arcsec)
        separation = sky.nearest_other(rows[best], float(radius.max()))
        least[best] = np.where(separation <= radius, separation, np.nan)
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


def of_all_catalogs(targets: Targets, parts: list[pd.DataFrame], parameters: Matching) -> pd.DataFrame | None:
    """Candidates of all catalogs together: fluxes at our frequency, quality, order of rows. None without any."""
    filled = [part for part in parts if len(part)]
    if not filled:
        return None
    matches = pd.concat(filled, ignore_index=True)
    of = matches["target"].to_numpy()
    matches = matches.assign(**_at_our_frequency(matches, of, targets, parameters))
    matches = matches.assign(quality=quality(matches), catalog=matches["catalog"].astype("str"))
    catalog = pd.factorize(matches["catalog"], sort=True)[0]
    order = np.lexsort((matches["rank"].to_numpy(), catalog, targets.place[of]))
    return matches.take(order).reset_index(drop=True)


def _at_our_frequency(matches: pd.DataFrame, of: Indices, targets: Targets, parameters: Matching) -> dict[str, Floats]:
    """Columns of the matches: the flux expected at our frequency, the index it is carried with, our flux over it."""
    flux, err = matches["catalog_flux_mjy"].to_numpy(), matches["catalog_flux_err_mjy"].to_numpy()
    # The scales of catalogs weigh their fluxes against each other; all matches of an image have the same one's.
    common = max(parameters.flux_scale_err, 1e-3)
    with np.errstate(divide="ignore", invalid="ignore"):
        fractional = np.hypot(np.nan_to_num(err / flux, nan=0.0, posinf=0.0), common)
    fluxes = CatalogFluxes(matches["freq_mhz"].to_numpy(), flux, fractional, common)
    # One flux a catalog, and only of counterparts that stand alone: a blend is not the spectrum of one object.
    clear = ((matches["rank"] == 1) & (matches["probability"] > MATCHED) & ~matches["blend"]).to_numpy()
    used = clear & (flux > 0)
    prior, prior_err = _prior(matches, of, clear, targets, parameters)
    index = spectral_indices(of[used], fluxes.only(used), prior, prior_err).of_fluxes(of, used, fluxes)
    expected, expected_err = scaled_flux(fluxes, targets.freq_mhz[of], index)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(expected > 0, targets.flux[of] / expected, np.nan)
    return {
        "expected_flux_mjy": expected,
        "expected_flux_err_mjy": expected_err,
        "spectral_index": index.alpha,
        "spectral_index_err": index.alpha_err,
        "flux_ratio": ratio,
    }


def _prior(
    matches: pd.DataFrame, of: Indices, clear: Flags, targets: Targets, parameters: Matching
) -> tuple[Floats, Floats]:
    """Spectral index before looking at fluxes: the population's, or what a catalog gives for a counterpart; together
    with that from bands of our own, where there is one."""
    prior = np.full(len(targets), parameters.spectral_index)
    prior_err = np.full(len(targets), parameters.spectral_index_err)
    given = matches["given_index"].to_numpy()
    rows = np.flatnonzero(clear & np.isfinite(given))
    prior[of[rows]] = given[rows]
    # A fit within one survey's band, carried to another band: half the population's scatter.
    prior_err[of[rows]] = 0.5 * parameters.spectral_index_err
    own = np.flatnonzero(targets.alpha_err > 0)
    if len(own) and parameters.spectral_index_err > 0:
        known, measured = prior_err[own] ** -2, targets.alpha_err[own] ** -2
        prior[own] = (known * prior[own] + measured * targets.alpha[own]) / (known + measured)
        prior_err[own] = (known + measured) ** -0.5
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
