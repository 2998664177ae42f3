"""How much worse a catalog's faint entries are located than it says, from the scatter of their matches.

Catalogs without errors of their own get one error for all, and the errors of others leave out what blends bring: the
fainter an entry of a survey with a beam of 45 arcsec, the more its neighbors within the beam move it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from contimg_assets.crossmatch.offsets import Cloud, systematic
from contimg_assets.crossmatch.probability import ARCSEC2_PER_DEG2
from contimg_assets.crossmatch.search import CatalogPairs, Sky
from contimg_assets.crossmatch.targets import Targets
from contimg_assets.sky.arrays import Cells, Floats, Indices
from contimg_assets.sky.cells import FINEST_ORDER, coarser
from contimg_assets.sky.pools import FINEST_POOL, Pools

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


@dataclass(frozen=True)
class RegionalErrors:
    """Errors to add in quadrature, by place and flux.

    Attributes
    ----------
    members_29 : cells of order 29 of the targets of the pairs that they are from: how many there are about a place says
        from how far around it errors are taken
    of_region : the errors in each HEALPix cell, by order and cell; none where nothing is to be added
    """

    members_29: Cells
    of_region: Mapping[tuple[int, int], FaintErrors]

    @property
    def largest_arcsec(self) -> float:
        """No error is larger [arcsec]."""
        largest = [max(one.east_arcsec.max(), one.north_arcsec.max()) for one in self.of_region.values()]
        return float(max(largest, default=0.0))

    def at(self, places_29: Cells, flux_mjy: Floats) -> tuple[Floats, Floats]:
        """Errors east and north of entries of these fluxes, as they count in cells of order 29; shape (n,) [arcsec]."""
        added = np.zeros((2, len(places_29)))
        cells, of = np.unique(coarser(places_29, FINEST_POOL), return_inverse=True)
        pools = _pools(cells << (2 * (FINEST_ORDER - FINEST_POOL)), self.members_29)
        for region in sorted(set(zip(pools.order.tolist(), pools.cell.tolist(), strict=True)) & set(self.of_region)):
            inside = np.flatnonzero(((pools.order == region[0]) & (pools.cell == region[1]))[of])
            added[:, inside] = self.of_region[region].at(flux_mjy[inside])
        return added[0], added[1]


def _pools(places_29: Cells, members_29: Cells) -> Pools:
    return Pools.of(places_29, members_29, _PAIRS_PER_STEP * _MOST_STEPS)


def faint_errors(
    sky: Sky, pairs: CatalogPairs, targets: Targets, radius_arcsec: float, density: Floats
) -> RegionalErrors | None:
    """The errors that the scatter of a catalog's matches demands beyond those of its bright entries, place by place.

    They are measured from the pairs of the targets in a HEALPix cell: the finest about a target that has pairs enough
    for all steps in flux. So no pair outside of a target's cell of order `COARSEST_POOL` counts for it.

    Parameters
    ----------
    pairs : with the offsets of the images taken out
    radius_arcsec : pairs within this are looked at
    density : of the catalog at each target, shape (n,) [deg^-2]

    Returns
    -------
    None where nothing is to be added
    """
    near = np.flatnonzero((pairs.distance <= radius_arcsec) & (sky.flux_mjy[pairs.row] > 0))
    members = targets.healpix[pairs.target[near]]
    pools = _pools(members, members)
    found = {}
    for order in np.unique(pools.order).tolist():
        of_target, of_pair = coarser(targets.healpix, order), coarser(members, order)
        of_row = coarser(sky.healpix[sky.rows], order)
        for cell in np.unique(pools.cell[pools.order == order]).tolist():
            # All three are in the order of the sky.
            there, own = near[_run(of_pair, cell)], density[_run(of_target, cell)]
            if len(there) < 2 * _PAIRS_PER_STEP:
                continue
            flux = sky.flux_mjy[sky.rows[_run(of_row, cell)]]
            errors = _of_region(sky.flux_mjy, flux, pairs.where(there), radius_arcsec, own.sum() / ARCSEC2_PER_DEG2)
            if errors is not None:
                found[order, cell] = errors
    return RegionalErrors(members, found) if found else None


def _run(ascending: Cells, cell: int) -> slice:
    """Where a cell stands among cells in ascending order."""
    return slice(*np.searchsorted(ascending, [cell, cell + 1]))


def _of_region(
    flux_mjy: Floats, of_sky: Floats, pairs: CatalogPairs, radius_arcsec: float, unrelated: float
) -> FaintErrors | None:
    """The errors in one part of the sky.

    Parameters
    ----------
    flux_mjy, of_sky : of all entries, and of those in that part of the sky
    pairs : of targets in it, all within the radius and of known flux
    unrelated : pairs per arcsec^2 of offset that chance makes, with all entries together

    Returns
    -------
    None where there are too few pairs, or their scatter is the same for all fluxes
    """
    ln_flux = np.log(flux_mjy[pairs.row])
    n_steps = min(len(ln_flux) // _PAIRS_PER_STEP, _MOST_STEPS)
    edges = np.quantile(ln_flux, np.linspace(0.0, 1.0, n_steps + 1)[1:-1])
    step = np.searchsorted(edges, ln_flux, side="right")
    share = np.bincount(np.searchsorted(edges, np.log(of_sky[of_sky > 0]), side="right"), minlength=n_steps)
    cloud = Cloud(
        pairs.x,
        pairs.y,
        pairs.sigma_ew,
        pairs.sigma_ns,
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
