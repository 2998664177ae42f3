"""Pairs of targets and catalog rows that are near enough to matter.

Belongs here: finding them, with the errors of both positions. Does not belong here: what a pair is worth
(`candidates`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import pandas as pd
import pyarrow as pa

from contimg_assets.catalogs.motions import motions_of
from contimg_assets.config import Matching
from contimg_assets.crossmatch.offsets import Cloud, Offsets
from contimg_assets.crossmatch.targets import Targets
from contimg_assets.sky import sphere
from contimg_assets.sky.arrays import Cells, Flags, Floats, Indices, Values
from contimg_assets.sky.cells import neighborhood, order_of_radius, rows_in_cells
from contimg_assets.sky.pairs import cross_match_sources, tree_of_positions

# How far from a counterpart its neighbors in the catalog are looked for, in larger beams.
NEIGHBOR_BEAMS = 2.0


class AddedErrors(Protocol):
    """What the errors of a catalog leave out."""

    @property
    def largest_arcsec(self) -> float:
        """No error is larger [arcsec]."""

    def at(self, places_29: Cells, flux_mjy: Floats) -> tuple[Floats, Floats]:
        """Errors east and north of entries of these fluxes, as they count in cells of order 29; shape (n,) [arcsec]."""


class Sky:
    """Rows of a catalog as arrays, and a tree of those near enough to positions to be found.

    Parameters
    ----------
    table : of schema REFERENCE, sorted by cell
    rows : rows of it in whole cells of order `COARSEST_POOL` and coarser about the positions
    beam_arcsec : of the catalog
    cells : HEALPix cells of order 29 of the positions that will be searched from
    reach_arcsec : how far from those anything is looked for
    mjd : times of those positions, where known: sources with proper motions are looked for as far as they go till then
    """

    def __init__(
        self,
        table: pa.Table,
        rows: Indices,
        beam_arcsec: float,
        cells: Cells,
        reach_arcsec: float,
        mjd: Floats | None = None,
    ) -> None:
        self.table, self.rows = table, rows
        self.healpix = table.column("healpix_29").to_numpy()
        self.motions = motions_of(table)
        self.farthest_arcsec = 0.0
        if self.motions is not None and mjd is not None:
            self.farthest_arcsec = self.motions.farthest_arcsec(mjd)
        reach_arcsec += self.farthest_arcsec
        self.beam_arcsec = beam_arcsec
        self.ra, self.dec = table.column("ra_deg").to_numpy(), table.column("dec_deg").to_numpy()
        self.flux_mjy = table.column("flux_mjy").to_numpy()
        self._sigma = tuple(table.column(f"{c}_err_arcsec").to_numpy() for c in ("ra", "dec"))
        self._added: AddedErrors | None = None
        order = order_of_radius(reach_arcsec)
        self.near = (
            np.arange(table.num_rows) if order < 0 else rows_in_cells(self.healpix, neighborhood(cells, order), order)
        )
        # Indices are rows of the table, so that a match says which row it is.
        self._positions = pd.DataFrame({"ra_deg": self.ra[self.near], "dec_deg": self.dec[self.near]}, index=self.near)
        self._tree = tree_of_positions(self._positions)

    def add_errors(self, added: AddedErrors) -> None:
        """Add errors to those of the rows from now on, in quadrature."""
        self._added = added

    def errors(self, rows: Indices, places_29: Cells) -> tuple[Floats, Floats]:
        """Errors of rows, east and north, as they count for what lies in cells of order 29; shape (n,) [arcsec]."""
        east, north = (sigma[rows] for sigma in self._sigma)
        if self._added is None:
            return east, north
        more = self._added.at(places_29, self.flux_mjy[rows])
        return np.hypot(east, more[0]), np.hypot(north, more[1])

    def largest_error(self) -> float:
        """No row that is near any position has a larger error [arcsec]."""
        given = max(float(sigma[self.near].max(initial=0.0)) for sigma in self._sigma)
        return float(np.hypot(given, 0.0 if self._added is None else self._added.largest_arcsec))

    def match(self, ra: Floats, dec: Floats, radius_arcsec: float) -> pd.DataFrame:
        """`cross_match_sources` of positions with the rows."""
        positions = pd.DataFrame({"ra_deg": ra, "dec_deg": dec})
        return cross_match_sources(positions, self._positions, radius_arcsec, catalog_tree=self._tree)

    def nearest(self, ra: Floats, dec: Floats, radius_arcsec: float) -> Floats:
        """Separation of the row nearest to each position, inf where none is within the radius; arcsec."""
        return sphere.nearest(self._tree, sphere.unit_vectors(ra, dec), radius_arcsec)

    def nearest_other(self, rows: Indices, radius_arcsec: float) -> Floats:
        """Separation of the row nearest to each of the rows, NaN where none is within the radius; arcsec."""
        return sphere.nearest_other(self._tree, np.searchsorted(self.near, rows), radius_arcsec)


@dataclass(frozen=True)
class CatalogPairs:
    """All pairs of targets and catalog rows near enough to matter, sorted by target: arrays of shape (k,)."""

    target: Indices
    row: Indices
    separation: Floats
    dra: Floats
    ddec: Floats
    sigma_ew: Floats
    sigma_ns: Floats
    # After the group's offset is taken out:
    x: Floats
    y: Floats
    distance: Floats
    # Accepted by a person: a candidate however far away.
    accepted: Flags

    def cloud(self, group: Indices, unrelated_per_arcsec2: Floats) -> Cloud:
        """The offsets as they are, in the groups of the targets, shape (n,)."""
        return Cloud(self.dra, self.ddec, self.sigma_ew, self.sigma_ns, group[self.target], unrelated_per_arcsec2)

    def where(self, chosen: Values) -> CatalogPairs:
        return CatalogPairs(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


def reach_arcsec(targets: Targets, beam_arcsec: float, parameters: Matching) -> float:
    """How far from targets catalog rows can matter: as counterparts, at offset positions, as neighbors of one."""
    beams = max(float(targets.beam.max(initial=0.0)), beam_arcsec)
    counterpart = max(parameters.max_radius_arcsec, parameters.radius_arcsec, beams)
    counterpart += np.sqrt(2.0) * parameters.max_offset_arcsec
    reach: float = counterpart + max(parameters.false_match_shift_arcsec, NEIGHBOR_BEAMS * beams)
    return reach


def find_pairs(
    targets: Targets,
    sky: Sky,
    parameters: Matching,
    max_offset_arcsec: float,
    accepted: tuple[Indices, Indices] | None = None,
) -> CatalogPairs:
    """Pairs within the largest radius of any candidate, of the beams, and of any offset of an image.

    Each target and each row has a radius of its own, that of its widest pair: what else is looked for elsewhere, and
    how far, does not matter. ``accepted``, targets and rows, are among the pairs at any distance.
    """
    if not len(targets) or not len(sky.near):
        nothing, none = np.empty(0), np.empty(0, np.intp)
        return CatalogPairs(none, none, *(nothing,) * 8, np.empty(0, bool))
    blurred = blur(targets, sky, parameters)
    largest_error = np.hypot(
        np.hypot(np.maximum(targets.sigma_ew, targets.sigma_ns), blurred).max(), sky.largest_error()
    )
    candidate = max(parameters.radius_arcsec, parameters.radius_sigma * float(largest_error))
    beam = 0.5 * (float(targets.beam.max()) + sky.beam_arcsec)
    # Offsets are looked for in a square.
    radius = max(min(candidate, parameters.max_radius_arcsec), beam) + np.sqrt(2.0) * max_offset_arcsec
    found = sky.match(targets.ra, targets.dec, radius + sky.farthest_arcsec)
    i, j = found["detected_index"].to_numpy(), found["catalog_index"].to_numpy()
    separation, dra, ddec = (found[f"{name}_arcsec"].to_numpy() for name in ("separation", "dra", "ddec"))
    by_hand = np.zeros(len(i), bool)
    if accepted is not None:
        i, j, by_hand = _with_accepted(i, j, accepted, len(sky.ra))
        separation = sphere.separation_arcsec(targets.ra[i], targets.dec[i], sky.ra[j], sky.dec[j])
        # As without: what is summed over pairs must not round by their order.
        order = np.lexsort((j, separation, i))
        i, j, by_hand, separation = (values[order] for values in (i, j, by_hand, separation))
        dra, ddec = sphere.offsets_arcsec(targets.ra[i], targets.dec[i], sky.ra[j], sky.dec[j])
    their_ew, their_ns = sky.errors(j, targets.healpix[i])
    sigma_ew = np.sqrt(targets.sigma_ew[i] ** 2 + blurred[i] ** 2 + their_ew**2)
    sigma_ns = np.sqrt(targets.sigma_ns[i] ** 2 + blurred[i] ** 2 + their_ns**2)
    sigma_ew, sigma_ns = (np.maximum(sigma, parameters.min_error_arcsec) for sigma in (sigma_ew, sigma_ns))
    pairs = CatalogPairs(i, j, separation, dra, ddec, sigma_ew, sigma_ns, dra, ddec, separation, by_hand)
    if sky.motions is not None:
        pairs = _at_their_times(pairs, targets, sky, radius)
    sigma = np.maximum(pairs.sigma_ew, pairs.sigma_ns)
    own = np.maximum(candidate_radius(sigma, parameters), 0.5 * (targets.beam[pairs.target] + sky.beam_arcsec))
    return _near(pairs, own + np.sqrt(2.0) * max_offset_arcsec)


def _at_their_times(pairs: CatalogPairs, targets: Targets, sky: Sky, radius_arcsec: float) -> CatalogPairs:
    """The pairs with catalog sources where they are at the time of the target, their errors grown till then."""
    assert sky.motions is not None
    i, j = pairs.target, pairs.row
    east, north, east_gain, north_gain = sky.motions.of(j).until(targets.mjd[i])
    moving = np.flatnonzero((east != 0) | (north != 0))
    i, j = i[moving], j[moving]
    ra, dec = sphere.displaced(sky.ra[j], sky.dec[j], east[moving], north[moving])
    separation, dra, ddec = pairs.separation.copy(), pairs.dra.copy(), pairs.ddec.copy()
    separation[moving] = sphere.separation_arcsec(targets.ra[i], targets.dec[i], ra, dec)
    dra[moving], ddec[moving] = sphere.offsets_arcsec(targets.ra[i], targets.dec[i], ra, dec)
    carried = replace(
        pairs,
        separation=separation,
        dra=dra,
        ddec=ddec,
        sigma_ew=np.sqrt(np.maximum(pairs.sigma_ew**2 + east_gain, 0.0)),
        sigma_ns=np.sqrt(np.maximum(pairs.sigma_ns**2 + north_gain, 0.0)),
        x=dra,
        y=ddec,
        distance=separation,
    )
    return carried.where((separation <= radius_arcsec) | pairs.accepted)


def candidate_radius(sigma_arcsec: Floats, parameters: Matching) -> Floats:
    """How far a candidate may be, by the larger error of its pair; arcsec."""
    radius = np.maximum(parameters.radius_arcsec, parameters.radius_sigma * sigma_arcsec)
    return np.minimum(radius, parameters.max_radius_arcsec)


def _near(pairs: CatalogPairs, radius: Floats) -> CatalogPairs:
    """The pairs within the radius of their target or row: that of its widest pair that is within its own radius."""
    within = pairs.separation <= radius
    chosen = pairs.accepted.copy()
    for member in (pairs.target, pairs.row):
        numbers, of = np.unique(member, return_inverse=True)
        widest = np.zeros(len(numbers))
        np.maximum.at(widest, of[within], radius[within])
        chosen |= pairs.separation <= widest[of]
    return pairs.where(chosen)


def _with_accepted(
    i: Indices, j: Indices, accepted: tuple[Indices, Indices], n_rows: int
) -> tuple[Indices, Indices, Flags]:
    """All pairs, sorted, and which of them are accepted."""
    found, wanted = i.astype(np.int64) * n_rows + j, accepted[0].astype(np.int64) * n_rows + accepted[1]
    together = np.union1d(found, wanted)
    return together // n_rows, together % n_rows, np.isin(together, wanted)


def blur(targets: Targets, sky: Sky, parameters: Matching) -> Floats:
    """Error of extended measurements: their center depends on the resolution they are seen with."""
    beam = np.maximum(targets.beam, sky.beam_arcsec)
    return np.where(targets.extended, parameters.extended_beam_fraction * beam, 0.0)


def aligned(pairs: CatalogPairs, offsets: Offsets, group: Indices) -> CatalogPairs:
    """The pairs with each group's offset taken out; its error and the systematic one added in quadrature."""
    east, north, east_err, north_err = (
        np.where(offsets.applied, values, 0.0)
        for values in (offsets.dra, offsets.ddec, offsets.dra_err, offsets.ddec_err)
    )
    x, y = pairs.dra - east[group], pairs.ddec - north[group]
    return replace(
        pairs,
        sigma_ew=np.hypot(pairs.sigma_ew, np.hypot(offsets.systematic_ew, east_err)[group]),
        sigma_ns=np.hypot(pairs.sigma_ns, np.hypot(offsets.systematic_ns, north_err)[group]),
        x=x,
        y=y,
        distance=np.hypot(x, y),
    )
