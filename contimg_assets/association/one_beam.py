"""What the beam says: closer together than half of it, two sources are one to the finder.

Errors of positions have tails: edges of fields are warped by some arcsec, bright sources have structure. A measurement
that lies beyond its errors from a source that was missed, with nothing else within the beam, is that source all the
same. Where a second source was founded nevertheless, the two were never seen together in one image: they are twins, and
become one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy

from contimg_assets.association.decision import Decision
from contimg_assets.association.optimal import density_of_neighbors, flux_cost
from contimg_assets.association.scene import Scene
from contimg_assets.association.source_pairs import SourcePairs, tangent_offsets
from contimg_assets.association.state import FoldState
from contimg_assets.identity.ids import mix
from contimg_assets.sky.arrays import Flags, Floats, Hashes, Indices, Values
from contimg_assets.sky.sphere import chord, displaced

# Share of the measurements whose positions are off by more than their errors say, and by how much of the beam (1 sigma
# per axis): from ASKAP/VAST, where fields overlap.
_OUTLIERS = 1e-3
_OUTLIER_BEAMS = 0.125
_HALF = 0.5
# Of a normal distribution in two dimensions 95 % lie within this many sigma.
_WITHIN_95 = 2.4477
_NOT_MEASURED = -1
# Fluxes of one source in two images of an epoch are within this many times `flux_scatter` of each other.
_SAME_FLUX = 2.5


def with_outliers(scene: Scene, pairs: SourcePairs, decision: Decision) -> tuple[SourcePairs, Decision]:
    """Give measurements that would found a source to the missed one within half a beam, where nothing else is near.

    Nothing else means no other known source within a beam of the measurement, and no other measurement within a beam of
    the source. A pair is taken if its cost, with the position as an outlier, is below that of a new source.

    Returns
    -------
    The pairs, these at the end, and the decision with them among ``kept`` and ``doubted``.
    """
    measurement, source = possible_outliers(scene, decision.born)
    beams = scene.beam_arcsec
    if beams is None or not len(measurement):
        return pairs, decision
    beam = chord(beams[measurement])
    missed = np.ones(scene.sources.n, bool)
    missed[pairs.source[decision.kept]] = False
    others = np.asarray(
        scene.measured.query(scene.sources.data[source], k=[2], distance_upper_bound=float(beam.max()))[0]
    )[:, 0]
    alone = missed[source] & (others > beam)
    measurement, source = measurement[alone], source[alone]
    more = scene.reach.within(_pairs(scene, measurement, source))
    measurement, source = more.measurement, more.source
    flux = scene.observation.ln_flux[measurement] - scene.known.ln_flux[source]
    more = more.keep(_cost(scene, more, scene.alignment.vectors[measurement], beams[measurement], flux) < 0.0)
    added = len(pairs) + np.arange(len(more))
    decision = replace(
        decision,
        kept=np.concatenate([decision.kept, added]),
        born=np.setdiff1d(decision.born, more.measurement),
        doubted=added,
    )
    return pairs.plus(more), decision


def possible_outliers(scene: Scene, measurement: Indices) -> tuple[Indices, Indices]:
    """Those of some measurements with one known source within half a beam and no other one within a beam, and that."""
    beams = scene.beam_arcsec
    if beams is not None:
        measurement = measurement[np.isfinite(beams[measurement])]
    if beams is None or not len(measurement) or not scene.sources.n:
        return np.empty(0, np.intp), np.empty(0, np.intp)
    beam = chord(beams[measurement])
    vectors = scene.alignment.vectors[measurement]
    found = scene.sources.query(vectors, k=[1, 2], distance_upper_bound=float(beam.max()))
    separation, index = np.asarray(found[0]), np.asarray(found[1])
    near = (separation[:, 0] <= _HALF * beam) & (separation[:, 1] > beam)
    return measurement[near], index[near, 0].astype(np.intp)


def weight_of_doubt(de_ruiter: Floats) -> Floats:
    """What the weight of a position is multiplied with after a pair so many errors apart: the errors were too small."""
    share: Floats = np.minimum(1.0, (_WITHIN_95 / np.maximum(de_ruiter, 1e-9)) ** 2)
    return share


def _pairs(scene: Scene, measurement: Indices, source: Indices) -> SourcePairs:
    known, alignment = scene.known, scene.alignment
    return _candidates(
        (measurement, source),
        (alignment.vectors[measurement], scene.sources.data[source]),
        alignment.variance_ew[measurement] + 1.0 / known.weight_ew[source],
        alignment.variance_ns[measurement] + 1.0 / known.weight_ns[source],
    )


def _candidates(
    index: tuple[Indices, Indices], ends: tuple[Floats, Floats], variance_ew: Floats, variance_ns: Floats
) -> SourcePairs:
    east, north = tangent_offsets(*ends)
    radius = np.sqrt(east * east / variance_ew + north * north / variance_ns)
    return SourcePairs(*index, np.hypot(east, north), radius, variance_ew, variance_ns)


def _cost(scene: Scene, pairs: SourcePairs, places: Floats, beam_arcsec: Floats, flux: Floats) -> Floats:
    """Cost of "these two are one, a position is an outlier" relative to "one of them is new, the other was missed".

    Parameters
    ----------
    places : unit vectors around which the density of known sources is taken
    flux : differences of ln flux, NaN where unknown
    """
    parameters = scene.parameters
    variance = 0.5 * (pairs.variance_ew + pairs.variance_ns) + (_OUTLIER_BEAMS * beam_arcsec) ** 2
    likelihood = np.log(_OUTLIERS / (2.0 * np.pi * variance)) - 0.5 * pairs.separation_arcsec**2 / variance
    odds = parameters.completeness / (1.0 - parameters.completeness)
    density = density_of_neighbors(places, scene.sources) if len(places) else np.empty(0)
    # Even an empty sky has room for a new source.
    new = np.log(np.maximum(density, 1e-12) * parameters.new_source_fraction / odds)
    cost: Floats = new - likelihood + flux_cost(flux, parameters.flux_scatter)
    return cost


@dataclass(frozen=True)
class Healed:
    """The state without the twins that became one.

    Attributes
    ----------
    state : FoldState
    gone, into : sources that are no more, ascending, and those that have their measurements now
    """

    state: FoldState
    gone: Hashes
    into: Hashes

    def present(self, source: Hashes) -> Hashes:
        """The sources that stand for some, shape (n,)."""
        if not len(self.gone):
            return source
        at = np.minimum(np.searchsorted(self.gone, source), len(self.gone) - 1)
        return np.where(self.gone[at] == source, self.into[at], source)


def heal(after: FoldState, scene: Scene, source: Hashes, measurement: Indices, newborn: Hashes) -> Healed:
    """Merge twins: sources within half a beam that were never seen together in one image.

    A source that is born within half a beam of another has it for a twin, until an epoch tells them apart.
    When either is measured, they become one if that costs less than two sources do, at the positions that they have by
    then. The older one stays.

    Parameters
    ----------
    after : the state after the epoch
    source, measurement : the epoch's associations
    newborn : sources of one measurement that the epoch founded
    """
    nothing = np.empty(0, np.uint64)
    if scene.beam_arcsec is None or not len(source):
        return Healed(after, nothing, nothing)
    twin = after.twin.copy()
    seen = np.full(len(after), _NOT_MEASURED)
    seen[np.searchsorted(after.source, source)] = measurement
    born = np.searchsorted(after.source, np.sort(newborn))
    twin[born] = _twins_at_birth(after, scene, born, scene.beam_arcsec[seen[born]])
    one = np.flatnonzero(twin)
    if not len(one):
        return Healed(after, nothing, nothing)
    other = np.minimum(np.searchsorted(after.source, twin[one]), len(after) - 1)
    # A part of the sky may be without the twin of a source at its border, far from the epoch.
    here = after.source[other] == twin[one]
    one, other = one[here], other[here]
    together = _told_apart(scene, seen[one], seen[other])
    twin[one[together]] = 0
    news = ~together & ((seen[one] != _NOT_MEASURED) | (seen[other] != _NOT_MEASURED))
    one, other = one[news], other[news]
    pairs = _candidates(
        (one, other),
        (after.vectors[one], after.vectors[other]),
        1.0 / after.weight_ew[one] + 1.0 / after.weight_ew[other],
        1.0 / after.weight_ns[one] + 1.0 / after.weight_ns[other],
    )
    flux = after.ln_flux[one] - after.ln_flux[other]
    # Of two that were measured with different beams, the finer one: it would have told them apart.
    beams = [np.where(seen[k] != _NOT_MEASURED, scene.beam_arcsec[seen[k]], np.nan) for k in (one, other)]
    beam_arcsec = np.fmin(*beams)
    cost = _cost(scene, pairs, after.vectors[one], beam_arcsec, flux)
    limit = scene.parameters.max_separation_arcsec
    farthest = _HALF * beam_arcsec if limit is None else np.minimum(_HALF * beam_arcsec, limit)
    pairs = pairs.keep((cost < 0.0) & (pairs.separation_arcsec <= farthest))
    return _merged(replace(after, twin=twin), pairs)


def _told_apart(scene: Scene, one: Indices, other: Indices) -> Flags:
    """Which pairs of measurements of the epoch (-1: not measured) show that their sources are two.

    Two of one image do. So do two of different images whose fluxes differ: one image told apart what is a blend in the
    other.
    """
    both = (one != _NOT_MEASURED) & (other != _NOT_MEASURED)
    image, ln_flux = scene.observation.image, scene.observation.ln_flux
    with np.errstate(invalid="ignore"):
        differs = np.abs(ln_flux[one] - ln_flux[other]) > _SAME_FLUX * scene.parameters.flux_scatter
    apart: Flags = both & ((image[one] == image[other]) | differs)
    return apart


def _twins_at_birth(after: FoldState, scene: Scene, born: Indices, beam_arcsec: Floats) -> Hashes:
    """The twin of each newborn source: the nearest known source within half a beam, else a newborn one; 0 for none.

    Parameters
    ----------
    beam_arcsec : FWHM of the beam that each was measured with, NaN where not known
    """
    twin = np.zeros(len(born), np.uint64)
    reach = np.nan_to_num(chord(_HALF * beam_arcsec))
    if not reach.any():
        return twin
    widest, vectors = float(reach.max()), after.vectors[born]
    if scene.sources.n:
        found = scene.sources.query(vectors, distance_upper_bound=widest)
        distance, index = np.asarray(found[0]), np.asarray(found[1])
        near = distance <= reach
        twin[near] = scene.known.source[index[near]]
    # Of two that were born together the one with the smaller number stays, so that no two point at each other.
    both = scipy.spatial.cKDTree(vectors).query_pairs(widest, output_type="ndarray")
    apart = vectors[both[:, 0]] - vectors[both[:, 1]]
    both = both[np.sqrt((apart**2).sum(axis=1)) <= np.minimum(reach[both[:, 0]], reach[both[:, 1]])]
    low, high = both.min(axis=1), both.max(axis=1)
    order = np.lexsort((low, high))
    low, high = low[order][::-1], high[order][::-1]
    free = twin[high] == 0
    twin[high[free]] = after.source[born[low[free]]]
    return twin


def _merged(state: FoldState, pairs: SourcePairs) -> Healed:
    """The state in which the first of each pair became the second."""
    arrays = tuple(values.copy() for values in state.arrays)
    source, twin = arrays[0], arrays[-1]
    # Those that others become come last, so that what they are given goes on with them. Pairs are few.
    order = np.lexsort((state.source[pairs.measurement], state.n_measurements[pairs.measurement]))
    into = np.arange(len(state))
    for k in order:
        gone, stays = int(pairs.measurement[k]), _end(into, int(pairs.source[k]))
        if gone == stays:
            continue
        _absorb(arrays, stays, gone, float(weight_of_doubt(pairs.de_ruiter[k])))
        into[gone] = stays
    moved = np.flatnonzero(into != np.arange(len(state)))
    ends = np.array([_end(into, int(k)) for k in moved], dtype=np.intp)
    healed = Healed(state, source[moved], source[ends])
    twin[:] = healed.present(twin)
    twin[twin == source] = 0
    stays_on = into == np.arange(len(state))
    return replace(healed, state=FoldState(*(values[stays_on] for values in arrays)))


def _end(into: Indices, index: int) -> int:
    while into[index] != index:
        index = int(into[index])
    return index


def _absorb(arrays: tuple[Values, ...], stays: int, gone: int, doubt: float) -> None:
    """Give the measurements of one source to another one, in the columns of a state."""
    source, ra, dec, weight_ew, weight_ns, ln_flux, count, history, _ = arrays
    a, b = np.array([stays]), np.array([gone])
    state = FoldState(*arrays)
    east, north = tangent_offsets(state.part(a).vectors, state.part(b).vectors)
    share_ew = weight_ew[b] / (weight_ew[a] + weight_ew[b])
    share_ns = weight_ns[b] / (weight_ns[a] + weight_ns[b])
    ra[a], dec[a] = displaced(ra[a], dec[a], share_ew * east, share_ns * north)
    weight_ew[a] = (weight_ew[a] + weight_ew[b]) * doubt
    weight_ns[a] = (weight_ns[a] + weight_ns[b]) * doubt
    both = np.array([ln_flux[stays], ln_flux[gone]])
    counts = np.where(np.isnan(both), 0, [count[stays], count[gone]])
    if counts.any():
        ln_flux[a] = (np.nan_to_num(both) * counts).sum() / counts.sum()
    count[a] += count[b]
    history[a] = mix(mix(history[a], source[b]), history[b])
