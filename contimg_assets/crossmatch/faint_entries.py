"""How much worse a catalog's faint entries are located than it says, from the scatter of their matches.

Catalogs without errors of their own get one error for all, and the errors of others leave out what blends bring: the
fainter an entry of a survey with a beam of 45 arcsec, the more its neighbors within the beam move it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contimg_assets.crossmatch.offsets import Cloud, systematic
from contimg_assets.crossmatch.search import CatalogPairs, Sky
from contimg_assets.sky.arrays import Floats, Indices

# Pairs of each step in flux: their scatter is known to an eighth, and what is no more than a third is none.
_PAIRS_PER_STEP, _MOST_STEPS = 100, 10
_CLEAR = 1.3
_LEAST_TRUE, _TRUE_SHARE = 50, 0.5


@dataclass(frozen=True)
class FaintErrors:
    """Errors to add in quadrature, by flux.

    Attributes
    ----------
    ln_flux : of the steps, ascending, shape (n,)
    east_arcsec, north_arcsec : what is added there; between two steps in proportion, beyond the ends as at the end
    """

    ln_flux: Floats
    east_arcsec: Floats
    north_arcsec: Floats

    def at(self, flux_mjy: Floats) -> tuple[Floats, Floats]:
        """Errors east and north to add for entries of these fluxes; 0 where the flux is not known."""
        known = flux_mjy > 0
        ln_flux = np.log(flux_mjy, where=known, out=np.zeros(len(flux_mjy)))
        east, north = (
            np.where(known, np.interp(ln_flux, self.ln_flux, error), 0.0)
            for error in (self.east_arcsec, self.north_arcsec)
        )
        return east, north


def faint_errors(sky: Sky, pairs: CatalogPairs, radius_arcsec: float, unrelated: float) -> FaintErrors | None:
    """The errors that the scatter of a catalog's matches demands beyond those of its bright entries.

    Parameters
    ----------
    pairs : with the offsets of the images taken out
    radius_arcsec : pairs within this are looked at
    unrelated : pairs per arcsec^2 of offset that chance makes, with all entries together

    Returns
    -------
    None where there are too few pairs, or their scatter is the same for all fluxes
    """
    near = np.flatnonzero((pairs.distance <= radius_arcsec) & (sky.flux_mjy[pairs.row] > 0))
    ln_flux = np.log(sky.flux_mjy[pairs.row[near]])
    n_steps = min(len(near) // _PAIRS_PER_STEP, _MOST_STEPS)
    if n_steps < 2:
        return None
    edges = np.quantile(ln_flux, np.linspace(0.0, 1.0, n_steps + 1)[1:-1])
    step = np.searchsorted(edges, ln_flux, side="right")
    of_sky = sky.flux_mjy[sky.near]
    share = np.bincount(np.searchsorted(edges, np.log(of_sky[of_sky > 0]), side="right"), minlength=n_steps)
    cloud = Cloud(
        pairs.x[near],
        pairs.y[near],
        pairs.sigma_ew[near],
        pairs.sigma_ns[near],
        step.astype(np.intp),
        unrelated * share / max(len(of_sky), 1),
    )
    found = np.bincount(step, minlength=n_steps)
    true = np.maximum(found - cloud.unrelated_per_arcsec2 * np.pi * radius_arcsec**2, 0.0)
    # Where most pairs are chance, nothing is learnt.
    there = np.flatnonzero((true >= _LEAST_TRUE) & (true > _TRUE_SHARE * found))
    if len(there) < 2:
        return None
    middle = np.array([np.median(ln_flux[step == k]) for k in there])
    errors = [
        _beyond_the_bright(added[there], _typical(sigma, step, n_steps)[there])
        for added, sigma in zip(systematic(cloud, true), (cloud.sigma_x, cloud.sigma_y), strict=True)
    ]
    return FaintErrors(middle, *errors) if any(error.any() for error in errors) else None


def _typical(sigma: Floats, step: Indices, n_steps: int) -> Floats:
    """Mean variance of the pairs of each step, as an error."""
    count = np.maximum(np.bincount(step, minlength=n_steps), 1)
    error: Floats = np.sqrt(np.bincount(step, sigma**2, minlength=n_steps) / count)
    return error


def _beyond_the_bright(added: Floats, sigma: Floats) -> Floats:
    """What steps need beyond the brighter half, whose need is an error of the images; 0 where it is not clear."""
    common = float(np.median(added[len(added) // 2 :]))
    clear = added**2 + sigma**2 > _CLEAR**2 * (common**2 + sigma**2)
    more: Floats = np.where(clear, np.sqrt(np.maximum(added**2 - common**2, 0.0)), 0.0)
    return more
