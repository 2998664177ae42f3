"""Multi-order coverage maps (MOC) of the Virtual Observatory: sets of HEALPix cells, written as short as can be.

Reference: Fernique et al. 2022, IVOA recommendation MOC 2.0.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from contimg_assets.sky.arrays import Cells


def cells_by_order(cells: Cells, order: int) -> dict[int, Cells]:
    """Cells with four siblings in place of which their parent stands, as far as it goes.

    Parameters
    ----------
    cells : ndarray of int
        Nested HEALPix cells of one order, in any order, repeated or not.
    order : int
        Their order.

    Returns
    -------
    dict of int to ndarray
        Order -> ascending cells; orders without any are left out, but for the finest.

    Examples
    --------
    >>> import numpy as np
    >>> {order: found.tolist() for order, found in cells_by_order(np.array([4, 5, 6, 7, 9]), 1).items()}
    {1: [9], 0: [1]}
    """
    here, found = np.unique(np.asarray(cells, dtype=np.int64)), {}
    for depth in range(order, -1, -1):
        parents, counts = np.unique(here >> 2, return_counts=True)
        whole = parents[counts == 4] if depth else parents[:0]
        left = here[~np.isin(here >> 2, whole)]
        if len(left) or depth == order:
            found[depth] = left
        here = whole
    return found


def moc_text(by_order: Mapping[int, Cells]) -> str:
    """A MOC as its own ASCII notation, "6/1-3 7/22".

    Examples
    --------
    >>> import numpy as np
    >>> moc_text({6: np.array([1, 2, 3, 9]), 7: np.array([22])})
    '6/1-3 9 7/22'
    """
    return " ".join(f"{order}/{' '.join(_ranges(by_order[order]))}" for order in sorted(by_order))


def _ranges(cells: Cells) -> list[str]:
    runs = np.split(cells, np.flatnonzero(np.diff(cells) > 1) + 1)
    return [f"{run[0]}" if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs if len(run)]
