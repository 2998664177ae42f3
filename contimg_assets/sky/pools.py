"""What is pooled over the sky: a fixed hierarchy of HEALPix cells, the finest that holds enough.

A number that must be estimated from many (a share, a typical error) is estimated for a place from its cell of the
finest order that has enough members, and from its cell of the coarsest order where none has. Whether a finer cell has
enough is decided within the coarsest cell alone: nothing outside of that cell changes anything for the places in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contimg_assets.sky.arrays import Cells, Floats, Indices, Integers
from contimg_assets.sky.cells import FINEST_ORDER, coarser

# Cells of 0.9 deg, and of 7.3 deg: a part of a field, and as far as anything is pooled.
FINEST_POOL, COARSEST_POOL = 6, 3


@dataclass(frozen=True)
class Pools:
    """The cell that each place pools in.

    Attributes
    ----------
    order : of the cell, shape (n,)
    cell : nested cell of that order, shape (n,)
    """

    order: Integers
    cell: Cells

    @classmethod
    def of(
        cls,
        places_29: Cells,
        members_29: Cells,
        least: float,
        weights: Floats | Integers | None = None,
        orders: tuple[int, int] = (FINEST_POOL, COARSEST_POOL),
    ) -> Pools:
        """The finest cells about places that hold enough.

        Parameters
        ----------
        places_29, members_29 : nested cells of order 29, shapes (n,) and (m,)
        least : members that are enough, by their number or the sum of their weights, shape (m,)
        orders : finest, coarsest
        """
        finest, coarsest = orders
        order = np.full(len(places_29), coarsest, np.int64)
        for one in range(coarsest + 1, finest + 1):
            cells, of_member = np.unique(coarser(members_29, one), return_inverse=True)
            full = cells[np.bincount(of_member, weights, minlength=len(cells)) >= least]
            order[np.isin(coarser(places_29, one), full)] = one
        return cls(order, places_29 >> (2 * (FINEST_ORDER - order)))

    def totals(self, members_29: Cells, values: Floats) -> Floats:
        """Sums over the members of each place's cell, of the columns of values, shape (n, k).

        Parameters
        ----------
        values : shape (m, k); members are summed in the order that they are given in
        """
        result = np.zeros((len(self.cell), values.shape[1]))
        for order in np.unique(self.order):
            here = np.flatnonzero(self.order == order)
            cells, of_place = np.unique(self.cell[here], return_inverse=True)
            at, inside = _places(coarser(members_29, int(order)), cells)
            for column in range(values.shape[1]):
                summed = np.bincount(at[inside], values[inside, column], minlength=len(cells))
                result[here, column] = summed[of_place]
        return result

    def quantiles(self, members_29: Cells, values: Floats, shares: Floats) -> Floats:
        """Quantiles of the members of each place's cell, shape (number of shares, n); NaN where there are none."""
        result = np.full((len(shares), len(self.cell)), np.nan)
        for order in np.unique(self.order):
            here = np.flatnonzero(self.order == order)
            cells = coarser(members_29, int(order))
            sorted_ = np.lexsort((values, cells))
            cells, ascending = cells[sorted_], values[sorted_]
            first, last = (np.searchsorted(cells, self.cell[here], side) for side in ("left", "right"))
            some = last > first
            # From the first of the cell, so that nothing rounds by what other cells hold.
            place = np.asarray(shares)[:, None] * (last - first - 1)[some]
            low = np.floor(place).astype(np.intp)
            share = place - low
            below, above = first[some] + low, np.minimum(first[some] + low + 1, last[some] - 1)
            result[:, here[some]] = ascending[below] * (1.0 - share) + ascending[above] * share
        return result


def _places(cells: Cells, wanted: Cells) -> tuple[Indices, Indices]:
    """For each cell its place among the wanted ones, ascending, and the rows that have one."""
    at = np.searchsorted(wanted, cells)
    inside = np.flatnonzero(at < len(wanted))
    inside = inside[wanted[at[inside]] == cells[inside]]
    return at, inside
