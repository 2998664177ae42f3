"""The default method: in each epoch the one-to-one assignment of measurements to sources of least total cost.

A pair costs its negative log likelihood; a measurement without a source costs what a new source there is worth.
Groups of candidates that touch each other are solved together, so a double is never given out crosswise or twice
because one of its measurements came first.
"""

from __future__ import annotations

import numpy as np
import scipy

from contimg_assets.association.alignment import Alignment
from contimg_assets.association.decision import Decision, unmatched
from contimg_assets.association.observation import Observation
from contimg_assets.association.source_pairs import SourcePairs, tangent_offsets
from contimg_assets.association.state import FoldState
from contimg_assets.config import Association
from contimg_assets.sky.arrays import Floats, Indices
from contimg_assets.sky.sphere import arc, chord

DENSITY_NEIGHBOURS = 10
DENSITY_REACH_ARCSEC = 3600.0
# A lone pair this close is taken whatever the density: with errors of 1 arcsec a new source would be the better guess
# only above a million sources per square degree.
_SURE_DE_RUITER = 3.0
# Share of sources that are blends of two, over the share that are doubles of which one was missed: both from counts of
# components within a beam of each other.
_LN_BLEND_ODDS = -1.0
# In chi-squared. Noise alone puts a source between its measurement and a newcomer, but seldom this far.
_LEAST_GAIN = 2.0
# Beyond a factor of about four in flux, position alone decides; and no pair is lost for its flux.
_MOST_FOR_FLUX = 4.0
_LEAST_WORTH = -1e-3


def optimal(
    pairs: SourcePairs,
    state: FoldState,
    observation: Observation,
    alignment: Alignment,
    sources: scipy.spatial.cKDTree,
    parameters: Association,
) -> Decision:
    """Assign measurements to known sources one to one.

    With r the de Ruiter radius and C the sum of both covariances, a pair costs, relative to a new source at the
    measurement and a miss of the known one,

        r^2/2 + ln(2 pi sqrt|C|) + ln(f rho) - ln(p / (1 - p))

    where rho is the local density of known sources, f ``new_source_fraction`` and p ``completeness``. Pairs with a
    positive cost are no pairs. Where several are left, fluxes help to tell which belong together: a pair costs up to 4
    more, by how far its fluxes are apart for a Student t (3 degrees of freedom) of width ``flux_scatter``. Flux never
    makes a pair worthless, so a variable source is not lost. The assignment of least total cost is found with the
    sparse Jonker-Volgenant algorithm (`scipy.sparse.csgraph.min_weight_full_bipartite_matching`), for each group of
    pairs that touch each other by itself. So what becomes of a source depends on what lies near it alone.

    A measurement left over founds a new source. It is a **fork** of the source s where all of these hold: the pair with
    s is within the cut; s continues with another measurement of this epoch; the position of s lies between both
    measurements, nearer to their line than to that other one by 2 in chi-squared; and "s was both of them unresolved"
    is likelier than "s is that other one, and this one was missed each time before", with ``completeness`` as the
    chance of being seen: the more often s was seen alone, the less it takes. A fork gets an id of its own, a relation
    to s, and **no** copy of its history: every measurement stays in one source. The position of s starts anew at its
    measurement of this epoch, for until now it was the blend's.

    A measurement that lies between two sources, of which it continues one and nothing else continues the other, is
    reported as their blend, and does not move the position of the one it continues.

    Parameters
    ----------
    pairs : candidates within the cut on the de Ruiter radius
    state : the known sources
    observation, alignment : the measurements, and their aligned positions and variances
    sources : tree of the unit vectors of the known sources
    """
    n = len(observation)
    per_measurement = np.bincount(pairs.measurement, minlength=n)
    per_source = np.bincount(pairs.source, minlength=sources.n)
    lone = (per_measurement[pairs.measurement] == 1) & (per_source[pairs.source] == 1)
    sure = lone & (pairs.de_ruiter < _SURE_DE_RUITER)
    open_pairs = np.flatnonzero(~sure)
    cost = _relative_cost(pairs.keep(~sure), alignment.vectors, sources, parameters)
    worth = cost < 0.0
    open_pairs, cost = open_pairs[worth], cost[worth]
    m, s = pairs.measurement[open_pairs], pairs.source[open_pairs]
    surprise = flux_cost(observation.ln_flux[m] - state.ln_flux[s], parameters.flux_scatter)
    solved = open_pairs[_assignment(m, s, np.minimum(cost + surprise, _LEAST_WORTH))]
    kept = np.sort(np.concatenate([np.flatnonzero(sure), solved]))
    pair_of_measurement, pair_of_source = np.full(n, -1, np.intp), np.full(sources.n, -1, np.intp)
    pair_of_measurement[pairs.measurement[kept]] = pair_of_source[pairs.source[kept]] = kept
    # For every candidate: the pair that holds its measurement, and the pair that holds its source (-1: none does).
    holder, held = pair_of_measurement[pairs.measurement], pair_of_source[pairs.source]
    split, merged = _blends(pairs, holder, held, state, alignment, parameters)
    blends = np.stack([pairs.source[holder[merged]], pairs.source[merged]], axis=1)
    return Decision(
        kept,
        split,
        copies_history=False,
        born=unmatched(n, pairs, kept, split),
        blends=blends,
        keeps_position=np.unique(holder[merged]),
        restarts_position=np.unique(held[split]),
    )


def density_of_neighbors(points: Floats, tree: scipy.spatial.cKDTree) -> Floats:
    """Members of the tree per arcsec^2 around each point: k - 1 over the area of the circle to the k-th neighbor.

    Nothing farther than `DENSITY_REACH_ARCSEC` counts: where fewer than k are within that, their number over its area.
    """
    reach = float(chord(DENSITY_REACH_ARCSEC))
    distance = np.asarray(tree.query(points, k=DENSITY_NEIGHBOURS, distance_upper_bound=reach)[0])
    near = np.isfinite(distance).sum(axis=1)
    enough = near == DENSITY_NEIGHBOURS
    radius = np.where(enough, np.maximum(arc(np.minimum(distance[:, -1], 2.0)), 1.0), DENSITY_REACH_ARCSEC)
    return np.where(enough, DENSITY_NEIGHBOURS - 1, near) / (np.pi * radius**2)


def _relative_cost(
    pairs: SourcePairs, vectors: Floats, sources: scipy.spatial.cKDTree, parameters: Association
) -> Floats:
    if not len(pairs):
        return np.empty(0)
    asked, place = np.unique(pairs.measurement, return_inverse=True)
    density = density_of_neighbors(vectors[asked], sources)[place] * parameters.new_source_fraction
    odds = parameters.completeness / (1.0 - parameters.completeness)
    area = 2.0 * np.pi * np.sqrt(pairs.variance_ew * pairs.variance_ns)
    return 0.5 * pairs.de_ruiter**2 + np.log(area * density / odds)


def flux_cost(difference: Floats, scatter: float) -> Floats:
    """Negative log likelihood of differences of ln flux over that of none; 0 where a flux is unknown."""
    cost = 2.0 * np.log1p(difference**2 / (3.0 * scatter**2))
    return np.where(np.isnan(cost), 0.0, np.minimum(cost, _MOST_FOR_FLUX))


def _assignment(measurement: Indices, source: Indices, cost: Floats) -> Indices:
    """Indices of the pairs of the one-to-one assignment of least total cost; staying alone costs nothing.

    Solved by itself in each group of pairs that touch each other, so that no rounding depends on other groups.

    Parameters
    ----------
    cost : below 0
    """
    if not len(measurement):
        return np.empty(0, np.intp)
    rows, row = np.unique(measurement, return_inverse=True)
    columns, column = np.unique(source, return_inverse=True)
    n = len(rows) + len(columns)
    touching = scipy.sparse.csr_array((np.ones(len(cost)), (row, len(rows) + column)), shape=(n, n))
    of = scipy.sparse.csgraph.connected_components(touching, directed=False)[1]
    one_of_a_kind = (np.bincount(of[: len(rows)]) == 1) | (np.bincount(of[len(rows) :]) == 1)
    group = of[row]
    order = np.lexsort((cost, group))
    start = np.flatnonzero(np.diff(group[order], prepend=-1))
    # Where one side has but one member, it takes the best of the others.
    simple = one_of_a_kind[group[order[start]]]
    chosen = [order[start[simple]]]
    stop = np.append(start[1:], len(order))
    for first, last in zip(start[~simple], stop[~simple], strict=True):
        pairs = np.sort(order[first:last])
        chosen.append(pairs[_assignment_of_group(row[pairs], column[pairs], cost[pairs])])
    return np.sort(np.concatenate(chosen))


def _assignment_of_group(measurement: Indices, source: Indices, cost: Floats) -> Indices:
    rows, row = np.unique(measurement, return_inverse=True)
    columns, column = np.unique(source, return_inverse=True)
    # Every measurement has a column of its own for staying alone; the offset keeps all weights above zero and adds the
    # same to every full matching.
    alone = np.arange(len(rows))
    offset = 1.0 - float(cost.min())
    weights = np.concatenate([cost + offset, np.full(len(rows), offset)])
    graph = scipy.sparse.csr_array(
        (weights, (np.concatenate([row, alone]), np.concatenate([column, len(columns) + alone]))),
        shape=(len(rows), len(columns) + len(rows)),
    )
    matched_row, matched_column = scipy.sparse.csgraph.min_weight_full_bipartite_matching(graph)
    partner = np.empty(len(rows), np.intp)
    partner[matched_row] = matched_column
    return np.flatnonzero(partner[row] == column)


def _blends(
    pairs: SourcePairs, holder: Indices, held: Indices, state: FoldState, alignment: Alignment, parameters: Association
) -> tuple[Indices, Indices]:
    """(pairs that fork, pairs of a held measurement with the other source that it blends)."""
    sources = state.vectors
    split = np.flatnonzero((holder < 0) & (held >= 0))
    middle, one, other = pairs.source[split], pairs.measurement[held[split]], pairs.measurement[split]
    variance = 0.5 * (alignment.variance_ew + alignment.variance_ns)
    variance_of_source = 0.5 / state.weight_ew + 0.5 / state.weight_ns
    gain = _between(
        sources[middle],
        variance_of_source[middle],
        alignment.vectors[one],
        variance[one],
        alignment.vectors[other],
        variance[other],
    )
    unseen = -np.log1p(-parameters.completeness) * state.n_measurements[middle]
    evidence = np.where(gain > _LEAST_GAIN, 0.5 * gain + unseen + _LN_BLEND_ODDS, -1.0)
    split, evidence = split[evidence > 0.0], evidence[evidence > 0.0]
    # One parent a fork: the one with the best evidence.
    best = np.lexsort((split, -evidence, pairs.measurement[split]))
    split = split[best]
    first = np.ones(len(split), bool)
    first[1:] = pairs.measurement[split][1:] != pairs.measurement[split][:-1]

    merged = np.flatnonzero((holder >= 0) & (held < 0))
    middle, one, other = pairs.measurement[merged], pairs.source[holder[merged]], pairs.source[merged]
    gain = _between(
        alignment.vectors[middle],
        variance[middle],
        sources[one],
        variance_of_source[one],
        sources[other],
        variance_of_source[other],
    )
    merged = merged[gain > 2.0 * -np.log1p(-parameters.completeness)]
    return np.sort(split[first]), merged


def _between(
    middle: Floats, variance: Floats, one: Floats, variance_one: Floats, other: Floats, variance_other: Floats
) -> Floats:
    """How much better "middle is a blend of one and other" fits than "middle is one", in chi-squared; 0 if not between.

    A blend's position is the flux-weighted mean of both, so any point of the line between them is allowed.
    """
    ax, ay = tangent_offsets(middle, one)
    bx, by = tangent_offsets(middle, other)
    dx, dy = bx - ax, by - ay
    length2 = np.maximum(dx * dx + dy * dy, 1e-12)
    share = np.clip(-(ax * dx + ay * dy) / length2, 0.0, 1.0)
    px, py = ax + share * dx, ay + share * dy
    blend = (px * px + py * py) / (variance + (1 - share) ** 2 * variance_one + share**2 * variance_other)
    single = (ax * ax + ay * ay) / (variance + variance_one)
    return np.where((share > 0.1) & (share < 0.9), np.maximum(single - blend, 0.0), 0.0)
