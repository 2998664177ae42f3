"""The methods of vast-pipeline: basic (nearest), advanced and deruiter (all candidates, reduced).

Rules of Swinbank et al. (2015, A&C 11, 25) as vast-pipeline has them: many-to-many pairs are reduced first, then a
source with several measurements forks, then a measurement with several sources is shared by them. Two of its rules are
mended: reduction looks at all pairs of a measurement (pairs of sources near the radius forked in every epoch), and
ties are given out one to one (identical rows doubled in every epoch).
"""

from __future__ import annotations

import numpy as np
import scipy

from contimg_assets.association.decision import Decision, unmatched
from contimg_assets.association.source_pairs import SourcePairs
from contimg_assets.sky.arrays import Flags, Floats, Indices


def basic(pairs: SourcePairs, n_measurements: int) -> Decision:
    """Each measurement joins its nearest source; where several chose one source, the nearest keeps it, others fork."""
    nearest = _is_least(pairs.measurement, pairs.separation_arcsec)
    chosen = np.flatnonzero(_without_ties(pairs.measurement, pairs.source, nearest))
    kept, forked = one_to_many(pairs.source[chosen], pairs.separation_arcsec[chosen])
    return _decision(pairs, n_measurements, chosen[kept], chosen[forked])


def advanced(pairs: SourcePairs, n_measurements: int, distance: Floats) -> Decision:
    """Every measurement joins all its candidates that survive the reduction of many-to-many pairs.

    Parameters
    ----------
    distance : what "nearest" means: separations (`advanced`) or de Ruiter radii (`deruiter`), shape of the pairs
    """
    chosen = np.flatnonzero(many_to_many(pairs.measurement, pairs.source, distance))
    kept, forked = one_to_many(pairs.source[chosen], distance[chosen])
    return _decision(pairs, n_measurements, chosen[kept], chosen[forked])


def many_to_many(measurement: Indices, source: Indices, distance: Floats) -> Flags:
    """Which pairs stay: all but those whose measurement and source both have others and that are not the nearest.

    Nearest of all pairs of the measurement, not only of those that would have to go.

    Ties for the nearest between several sources are given out so that as many sources as possible get a measurement.
    """
    if not len(measurement):
        return np.zeros(0, bool)
    crowded = (np.bincount(measurement)[measurement] > 1) & (np.bincount(source)[source] > 1)
    nearest = _is_least(measurement, distance)
    return ~crowded | _without_ties(measurement, source, crowded & nearest)


def one_to_many(source: Indices, distance: Floats) -> tuple[Indices, Indices]:
    """(kept, forked) indices: of several measurements of one source the nearest keeps it, each other forks off it.

    At equal distance the first one keeps it: the caller's order is by measurement id.
    """
    order = np.lexsort((np.arange(len(source)), distance, source))
    ordered = source[order]
    first = np.ones(len(order), bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return np.sort(order[first]), np.sort(order[~first])


def _decision(pairs: SourcePairs, n_measurements: int, kept: Indices, forked: Indices) -> Decision:
    born = unmatched(n_measurements, pairs, kept, forked)
    none = np.empty(0, np.intp)
    return Decision(kept, forked, True, born, none.reshape(0, 2), none, none)


def _is_least(measurement: Indices, distance: Floats) -> Flags:
    """Whether no pair of the same measurement is nearer."""
    if not len(measurement):
        return np.zeros(0, bool)
    least = np.full(int(measurement.max()) + 1, np.inf)
    np.minimum.at(least, measurement, distance)
    least_of_its_own: Flags = distance == least[measurement]
    return least_of_its_own


def _without_ties(measurement: Indices, source: Indices, mask: Flags) -> Flags:
    """``mask`` with one pair per measurement left where it holds pairs with several sources."""
    index = np.flatnonzero(mask)
    if not len(index):
        return mask
    m, s = measurement[index], source[index]
    first = np.full(int(m.max()) + 1, -1, np.intp)
    first[m[::-1]] = s[::-1]
    several = np.unique(m[s != first[m]])
    if not len(several):
        return mask
    # Those with one choice compete for the same sources.
    part = np.isin(s, s[np.isin(m, several)])
    rows, row = np.unique(m[part], return_inverse=True)
    columns, column = np.unique(s[part], return_inverse=True)
    graph = scipy.sparse.csr_array((np.ones(len(row), np.int8), (row, column)), shape=(len(rows), len(columns)))
    match = scipy.sparse.csgraph.maximum_bipartite_matching(graph, perm_type="column")
    chosen = np.where(match >= 0, columns[match], first[rows])
    result = mask.copy()
    result[index[part]] = s[part] == chosen[row]
    return result
