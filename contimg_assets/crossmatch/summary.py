"""How the matching of each group of targets to one catalog went: blank fields, false matches, offsets."""

from __future__ import annotations

import numpy as np
import pandas as pd

from contimg_assets.catalogs.store import ReferenceCatalog
from contimg_assets.config import Matching
from contimg_assets.crossmatch.background import Blanks, Nearest, count_blanks, offset_positions
from contimg_assets.crossmatch.candidates import MATCHED
from contimg_assets.crossmatch.offsets import Offsets
from contimg_assets.crossmatch.search import CatalogPairs, Sky, blur, candidate_radius
from contimg_assets.crossmatch.targets import Targets
from contimg_assets.identity.ids import hash_text
from contimg_assets.sky.arrays import Floats, Indices, Values
from contimg_assets.sky.cells import FINEST_ORDER, coarser
from contimg_assets.sky.pools import FINEST_POOL, Pools

# In units of a pair's error: over these the share of true counterparts rises from little to nearly all.
_FIT_RADII = np.array([0.75, 1.25, 1.75, 2.25, 2.75, 3.5])
# Catalog sources whose errors tell what is usual around a place.
_ENOUGH_ERRORS = 30


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
    # Within these all rows are among the pairs, whatever the rows' own errors.
    farthest = np.maximum(
        candidate_radius(
            np.hypot(np.maximum(targets.sigma_ew, targets.sigma_ns), blur(targets, sky, parameters)), parameters
        ),
        0.5 * (targets.beam + sky.beam_arcsec),
    )
    radii = np.minimum(sigma[1][:, None] * _FIT_RADII, farthest[:, None])
    radii = np.column_stack([radii, np.full(len(targets), parameters.radius_arcsec)])
    detected = Nearest(nearest[covered], radii[covered], targets.group[covered])
    offset = _offset_positions(targets, sky, covered, radii, parameters)
    return count_blanks(detected, offset, sigma[:, covered], len(targets.groups))


def _pair_errors(targets: Targets, sky: Sky, offsets: Offsets, parameters: Matching) -> Floats:
    """Error per axis of a pair of each target with a typical catalog source, for three of those, shape (3, n)."""
    # Errors of a catalog spread over an order of magnitude: three of those around stand for all.
    east, north = sky.errors(sky.rows, sky.healpix[sky.rows])
    their_sigma = np.sqrt(0.5 * (east**2 + north**2))
    cells, of = np.unique(coarser(targets.healpix, FINEST_POOL), return_inverse=True)
    cells = cells << (2 * (FINEST_ORDER - FINEST_POOL))
    pools = Pools.of(cells, sky.healpix[sky.rows], _ENOUGH_ERRORS)
    quantiles = pools.quantiles(sky.healpix[sky.rows], their_sigma, np.array([1 / 6, 1 / 2, 5 / 6]))
    catalog_sigma = np.nan_to_num(quantiles)[:, of]
    own = np.sqrt(0.5 * (targets.sigma_ew**2 + targets.sigma_ns**2) + blur(targets, sky, parameters) ** 2)
    added = np.sqrt(0.5 * (offsets.systematic_ew**2 + offsets.systematic_ns**2))[targets.group]
    error: Floats = np.maximum(np.sqrt(own**2 + catalog_sigma**2 + added**2), parameters.min_error_arcsec)
    return error


def _offset_positions(targets: Targets, sky: Sky, covered: Indices, radii: Floats, parameters: Matching) -> Nearest:
    """The catalog source nearest to each offset position, with the radii and the group that it comes from."""
    ra, dec, origin = offset_positions(
        targets.ra[covered],
        targets.dec[covered],
        hash_text(targets.ids.iloc[covered]),
        targets.group[covered],
        parameters.false_match_shift_arcsec,
        parameters.max_offset_positions,
    )
    origin = covered[origin]
    nearest = sky.nearest(ra, dec, float(radii[origin].max(initial=0.0)))
    return Nearest(nearest, radii[origin], targets.group[origin])


def summarized(
    targets: Targets,
    catalog: ReferenceCatalog,
    candidates: pd.DataFrame,
    offsets: Offsets,
    blanks: Blanks,
    q: Floats,
    density: Floats,
) -> pd.DataFrame:
    """The columns of MATCH_SUMMARY but for the radius within which matches by chance are counted."""
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
            **_false_matches(blanks),
            "n_false_best": np.bincount(of, np.where(likely, 1.0 - best["probability"], 0.0), minlength=n_groups),
            "catalog_version": catalog.version,
        }
    )
    return table.astype({"catalog": "str", "catalog_version": "str"})


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
