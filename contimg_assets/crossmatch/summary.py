"""How the matching of each group of targets to one catalog went: blank fields, false matches, offsets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from contimg_assets.catalogs.store import ReferenceCatalog
from contimg_assets.config import Matching
from contimg_assets.crossmatch.background import Blanks, count_blanks, offset_positions
from contimg_assets.crossmatch.candidates import MATCHED
from contimg_assets.crossmatch.offsets import Offsets
from contimg_assets.crossmatch.search import CatalogPairs, Sky, blur
from contimg_assets.crossmatch.targets import Targets
from contimg_assets.identity.ids import hash_text
from contimg_assets.schemas.matches import MATCH_SUMMARY
from contimg_assets.sky.arrays import Floats, Indices, Values


def blanks_of_groups(
    targets: Targets,
    sky: Sky,
    pairs: CatalogPairs,
    offsets: Offsets,
    density: Floats,
    parameters: Matching,
) -> Blanks:
    """Targets and offset positions without catalog source, inside the catalog's footprint."""
    nearest = np.full(len(targets), np.inf)
    np.minimum.at(nearest, pairs.target, pairs.distance)
    sigma = _pair_errors(targets, sky, offsets, parameters)
    covered = np.flatnonzero(density > 0)
    typical = float(np.median(sigma[1, covered])) if len(covered) else 1.0
    # Radii over which the share of true counterparts rises from little to nearly all, and the one of the summary.
    fit_radii = np.minimum(typical * np.array([0.75, 1.25, 1.75, 2.25, 2.75, 3.5]), parameters.max_radius_arcsec)
    radii = np.append(fit_radii, parameters.radius_arcsec)
    nearest_random, of = _nearest_to_offset_positions(targets, sky, covered, float(radii.max()), parameters)
    order = np.argsort(radii, kind="stable")
    blanks = count_blanks(
        nearest[covered],
        sigma[:, covered],
        targets.group[covered],
        nearest_random,
        of,
        len(targets.groups),
        radii[order],
    )
    # Back to the order of `radii`: the summary's own radius last.
    back = np.argsort(order, kind="stable")
    return replace(
        blanks,
        radii_arcsec=radii,
        blank=blanks.blank[:, back],
        blank_random=blanks.blank_random[:, back],
        enclosed=blanks.enclosed[:, back],
    )


def _pair_errors(targets: Targets, sky: Sky, offsets: Offsets, parameters: Matching) -> Floats:
    """Error per axis of a pair of each target with a typical catalog source, for three of those, shape (3, n)."""
    # Errors of a catalog spread over an order of magnitude: three of them stand for all.
    their_sigma = np.sqrt(0.5 * (sky.sigma_ew[sky.near] ** 2 + sky.sigma_ns[sky.near] ** 2))
    their_sigma = their_sigma if len(their_sigma) else np.zeros(1)
    catalog_sigma = np.quantile(their_sigma, [1 / 6, 1 / 2, 5 / 6])[:, None]
    own = np.sqrt(0.5 * (targets.sigma_ew**2 + targets.sigma_ns**2) + blur(targets, sky, parameters) ** 2)
    added = np.sqrt(0.5 * (offsets.systematic_ew**2 + offsets.systematic_ns**2))[targets.group]
    error: Floats = np.maximum(np.sqrt(own**2 + catalog_sigma**2 + added**2), parameters.min_error_arcsec)
    return error


def _nearest_to_offset_positions(
    targets: Targets, sky: Sky, covered: Indices, radius_arcsec: float, parameters: Matching
) -> tuple[Floats, Indices]:
    """Separation of the catalog source nearest to each offset position (inf beyond the radius), and their groups."""
    if not len(covered):
        return np.empty(0), np.empty(0, np.intp)
    ra, dec, origin = offset_positions(
        targets.ra[covered],
        targets.dec[covered],
        hash_text(targets.ids.iloc[covered]),
        parameters.false_match_shift_arcsec,
        parameters.max_offset_positions,
    )
    found = sky.match(ra, dec, radius_arcsec, mode="nearest")
    nearest = np.full(len(ra), np.inf)
    nearest[found["detected_index"]] = found["separation_arcsec"]
    return nearest, targets.group[covered][origin]


def summarized(
    targets: Targets,
    catalog: ReferenceCatalog,
    candidates: pd.DataFrame,
    offsets: Offsets,
    blanks: Blanks,
    q: Floats,
    density: Floats,
) -> pd.DataFrame:
    """The table MATCH_SUMMARY of one catalog."""
    n_groups = len(targets.groups)
    best = candidates[candidates["rank"] == 1]
    of = best["group"].to_numpy()
    matched = np.bincount(of, best["p_any"] > MATCHED, minlength=n_groups)
    likely = best["probability"].to_numpy() > MATCHED
    with np.errstate(divide="ignore", invalid="ignore"):
        n_covered = np.where(blanks.n > 0, blanks.n, np.nan)
        mean_density = np.bincount(targets.group, density, minlength=n_groups) / n_covered
        fraction = matched / n_covered
    own = offsets.applied & (offsets.borrowed == "")
    measured_with = pd.Series(np.where(own, catalog.name, offsets.borrowed), dtype="object")
    table = pd.DataFrame(
        {
            "image": pd.Series(targets.groups, dtype="str"),
            "catalog": catalog.name,
            "n_measurements": np.bincount(targets.group, minlength=n_groups),
            "n_covered": blanks.n,
            "n_matched": matched.astype(int),
            "matched_fraction": fraction,
            "dra_arcsec": offsets.dra,
            "ddec_arcsec": offsets.ddec,
            "dra_err_arcsec": offsets.dra_err,
            "ddec_err_arcsec": offsets.ddec_err,
            "dra_scatter_arcsec": offsets.dra_scatter,
            "ddec_scatter_arcsec": offsets.ddec_scatter,
            "n_offset": offsets.n,
            "offset_applied": offsets.applied,
            "offset_from": measured_with.where(measured_with != "").astype("str"),
            "systematic_ew_arcsec": offsets.systematic_ew,
            "systematic_ns_arcsec": offsets.systematic_ns,
            "density_per_deg2": mean_density,
            "q": q,
            "radius_arcsec": blanks.radii_arcsec[-1],
            **_false_matches(blanks),
            "n_false_best": np.bincount(of, np.where(likely, 1.0 - best["probability"], 0.0), minlength=n_groups),
            "catalog_version": catalog.version,
        }
    )
    return table.astype({"catalog": "str", "catalog_version": "str"})[MATCH_SUMMARY.names]


def _false_matches(blanks: Blanks) -> dict[str, Values]:
    """Columns of the summary: how many targets have a source within its radius, and how many by chance."""
    n, n_random = blanks.n, blanks.n_random
    within = n - blanks.blank[:, -1]
    with np.errstate(divide="ignore", invalid="ignore"):
        chance = 1.0 - blanks.blank_random[:, -1] / n_random
        true = np.clip((within - n * chance) / (1.0 - chance), 0.0, n)
        rate = np.where(within > 0, np.minimum(n * chance / within, 1.0), np.nan)
    return {
        "n_within_radius": within.astype(int),
        "n_offset_positions": n_random,
        "false_match_rate": rate,
        "n_false": (n - true) * chance,
    }
