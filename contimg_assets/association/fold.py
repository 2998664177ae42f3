"""The fold: the state after an epoch from the state before it and the epoch's measurements. Nothing else goes in.

A survey is folded epoch by epoch in time order; whatever the order in which data arrived, the same measurements give
the same states, ids, associations and relations, bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy

from contimg_assets.association.alignment import Alignment, align, unaligned
from contimg_assets.association.decision import Decision
from contimg_assets.association.methods import BY_RADIUS
from contimg_assets.association.observation import Observation
from contimg_assets.association.one_beam import Healed, heal, weight_of_doubt
from contimg_assets.association.overlaps import REPEATS, with_overlaps
from contimg_assets.association.reach import LEAST_REACH_ARCSEC, Reach
from contimg_assets.association.scene import Scene, beams_of
from contimg_assets.association.source_pairs import SourcePairs, moved_towards
from contimg_assets.association.state import FoldState
from contimg_assets.association.tiles import Tiling, decided
from contimg_assets.config import Association
from contimg_assets.errors import InputError
from contimg_assets.identity.ids import fork_hashes, free_hashes, is_taken, mix, source_hashes, text_of
from contimg_assets.schemas.tables import TableLike, as_frame, require
from contimg_assets.sky.arrays import Floats, Hashes, Indices, Values
from contimg_assets.sky.sphere import chord, positions, unit_vectors

# Part of the code version of everything that folds: raise it when results change.
VERSION = "5"

# A measurement that comes once more is at its place. One of 10^9 others that has its id by chance is anywhere.
_SAME_PLACE_ARCSEC = 60.0
RELATION_KINDS = ("fork", "shared", "blend")
# Known sources up to here beyond the epoch's measurements and images count, for the local density.
_MARGIN_ARCSEC = 3600.0
HISTOGRAM_EDGES = np.arange(0.0, 6.01, 0.5)


@dataclass(frozen=True)
class FoldRows:
    """An epoch's rows as numbers, in the order of its tables: for callers that put many epochs together.

    Attributes
    ----------
    measurement : ids of all measurements of the epoch, ascending
    source, row, separation_arcsec, de_ruiter : of each association; ``row`` is the measurement's row in the given table
    parent, child, fork_row : of each fork
    copies_history : whether the forks copy their parents' histories
    related_from, related_to, related_kind : of each relation; kinds are indices into `RELATION_KINDS`
    merged, into : sources known before that the epoch merged into others, and those; rows above name those that stay
    """

    measurement: Hashes
    source: Hashes
    row: Indices
    separation_arcsec: Floats
    de_ruiter: Floats
    parent: Hashes
    child: Hashes
    fork_row: Indices
    copies_history: bool
    related_from: Hashes
    related_to: Hashes
    related_kind: Indices
    merged: Hashes
    into: Hashes


@dataclass(frozen=True)
class FoldResult:
    """One epoch folded in. Its tables are made when they are asked for.

    Attributes
    ----------
    state : FoldState
        All sources after the epoch.
    rows : FoldRows
        The tables ``associations``, ``relations`` and ``forks`` as numbers.
    alignment : DataFrame
        One row an image, with its shift against the sources known before.
    diagnostics : dict
        Counts (``n_measurements``, ``n_matched``, ``n_new``, ``n_forked``, ``n_related``, ``n_merged``, ``n_sources``,
        ``n_unmatched_in_coverage`` or None), ``n_beyond_reach`` (about how many measurements lie too far from their
        sources), ``median_de_ruiter``, ``de_ruiter_histogram`` (counts) and ``de_ruiter_edges``.
    measurements : DataFrame
        As given.
    tile_work : DataFrame or None
        One row a group of tiles that was worked on, as `contimg_assets.association.tiles` has them; None where the
        epoch was folded as a whole.
    """

    state: FoldState
    rows: FoldRows
    alignment: pd.DataFrame
    diagnostics: dict[str, object]
    measurements: pd.DataFrame
    tile_work: pd.DataFrame | None = None

    @cached_property
    def associations(self) -> pd.DataFrame:
        """Schema ASSOCIATIONS, rows of this epoch's measurements (``copied`` false), by source_id."""
        return associations_table([self])

    @cached_property
    def relations(self) -> pd.DataFrame:
        """Schema RELATIONS, both directions, by from_source_id."""
        return relations_table([self])

    @cached_property
    def merges(self) -> pd.DataFrame:
        """Sources that were known before and are no more, and those that have their measurements, by source_id."""
        return pd.DataFrame({"source_id": text_of(self.rows.merged), "into_source_id": text_of(self.rows.into)})

    @cached_property
    def forks(self) -> pd.DataFrame:
        """Schema FORKS, by child; where ``copies_history``, `copy_fork_history` makes the child's earlier rows."""
        return forks_table([self])


def associations_table(results: Sequence[FoldResult]) -> pd.DataFrame:
    """Associations of epochs, one after the other."""
    rows = [result.rows for result in results]
    return pd.DataFrame(
        {
            "source_id": text_of(_joined_up([each.source for each in rows], np.uint64)),
            "measurement_id": _taken(results, "measurement_id", [each.row for each in rows]),
            "epoch": _taken(results, "epoch", [each.row for each in rows]),
            "separation_arcsec": _joined_up([each.separation_arcsec for each in rows], float),
            "de_ruiter": _joined_up([each.de_ruiter for each in rows], float),
            "copied": np.zeros(sum(len(each.row) for each in rows), bool),
        }
    )


def relations_table(results: Sequence[FoldResult]) -> pd.DataFrame:
    """Relations of epochs, one after the other."""
    rows = [result.rows for result in results]
    kind = _joined_up([each.related_kind for each in rows], np.intp)
    return pd.DataFrame(
        {
            "from_source_id": text_of(_joined_up([each.related_from for each in rows], np.uint64)),
            "to_source_id": text_of(_joined_up([each.related_to for each in rows], np.uint64)),
            "kind": pd.Series(np.array(RELATION_KINDS, dtype=object)[kind], dtype="str"),
        }
    )


def forks_table(results: Sequence[FoldResult]) -> pd.DataFrame:
    """Forks of epochs, one after the other."""
    rows = [result.rows for result in results]
    return pd.DataFrame(
        {
            "parent_source_id": text_of(_joined_up([each.parent for each in rows], np.uint64)),
            "child_source_id": text_of(_joined_up([each.child for each in rows], np.uint64)),
            "measurement_id": _taken(results, "measurement_id", [each.fork_row for each in rows]),
            "copies_history": np.repeat(
                np.array([each.copies_history for each in rows], bool), [len(each.child) for each in rows]
            ),
        }
    )


def _joined_up(parts: list[Values], kind: npt.DTypeLike) -> Values:
    return np.concatenate(parts) if parts else np.empty(0, kind)


def _taken(results: Sequence[FoldResult], name: str, rows: list[Indices]) -> pd.Series:
    """Values of a column of the given tables, in its own type."""
    filled = [k for k, each in enumerate(rows) if len(each)]
    if not filled:
        return pd.Series([], dtype="str")
    if len(filled) == 1:
        only = filled[0]
        return pd.Series(results[only].measurements[name].array.take(rows[only]))
    start = np.cumsum([0, *(len(results[k].measurements) for k in filled[:-1])])
    values = pd.concat([results[k].measurements[name] for k in filled], ignore_index=True)
    places = np.concatenate([rows[k] + first for k, first in zip(filled, start, strict=True)])
    return values.take(places).reset_index(drop=True)


def fold(
    state: FoldState | None,
    measurements: TableLike,
    parameters: Association | None = None,
    images: TableLike | None = None,
    repeats: TableLike | None = None,
    tiling: Tiling | None = None,
) -> FoldResult:
    """Associate one epoch's measurements with the sources known before it.

    Nothing else goes in, and nothing is changed: the same state and measurements give the same result, bit for bit.

    Parameters
    ----------
    state : FoldState or None
        After the previous epoch in time order (``result.state``); None before the first.
    measurements : DataFrame, Table, QTable or pyarrow.Table
        The epoch's measurements without duplicates, in any order: ``measurement_id``, ``epoch``, ``ra_deg``,
        ``dec_deg``, ``uncertainty_ew_arcsec``, ``uncertainty_ns_arcsec`` (1 sigma on the sky, > 0); optional ``image``,
        ``snr`` (which measurements align images), ``flux_peak_mjy_beam`` (helps "optimal" where sources compete).
    parameters : contimg_assets.config.Association, optional
        Section `association` of the configuration; its defaults if not given.
    images : DataFrame, Table, QTable or pyarrow.Table, optional
        ``image``, ``ra_deg``, ``dec_deg``, ``radius_deg`` of the epoch's images: where known sources could have been
        seen; optional ``bmin_arcsec``, FWHM of the minor axis of the beam: "optimal" then knows that closer together
        than half of it nobody tells two sources apart; optional ``bmaj_arcsec``, which says how far measurements
        may lie from their sources.
    repeats : DataFrame, Table, QTable or pyarrow.Table, optional
        Duplicates of the measurements in other images of the epoch: ``image``, ``ra_deg``, ``dec_deg`` and
        ``duplicate_of``, the measurement_id that was kept. They tell how images lie against each other that too few
        known sources lie in, as in the first epoch.
    tiling : contimg_assets.association.tiles.Tiling, optional
        How a large epoch is divided into tiles of the sky, and who works on them. The result is the same without.

    Returns
    -------
    FoldResult
        ``state`` after the epoch; tables ``associations``, ``relations``, ``forks``, ``merges``, ``alignment``;
        ``diagnostics``.

    Raises
    ------
    InputError
        If a column is missing, a position or error is not usable or an id comes twice; the message names the rows.

    References
    ----------
    de Ruiter, Willis & Arp 1977, A&AS 28, 211, eq. 2; Swinbank et al. 2015, A&C 11, 25 (the methods of vast-pipeline).

    Examples
    --------
    >>> import pandas as pd
    >>> import contimg_assets as ca
    >>> def epoch(name, ids, ra):
    ...     return pd.DataFrame({"measurement_id": ids, "epoch": name, "ra_deg": ra, "dec_deg": 16.0,
    ...                          "uncertainty_ew_arcsec": 0.5, "uncertainty_ns_arcsec": 0.5})
    >>> first = ca.fold(None, epoch("night1", ["a1", "b1"], [10.0, 11.0]))
    >>> second = ca.fold(first.state, epoch("night2", ["b2", "c2"], [11.0001, 12.0]))
    >>> second.diagnostics["n_matched"], second.diagnostics["n_new"], len(second.state)
    (1, 1, 3)
    """
    state = FoldState.empty() if state is None else state
    parameters = Association() if parameters is None else parameters
    measurements = as_frame(measurements, "measurements")
    if images is not None:
        images = as_frame(images, "images")
        require(images, ("ra_deg", "dec_deg", "radius_deg"), "images")
    if repeats is not None:
        repeats = as_frame(repeats, "repeats")
        require(repeats, REPEATS, "repeats")
    observation = Observation.of(measurements)
    # Sources farther off can play no part, so a small epoch costs little however large the sky is.
    near = state.near(*_box(observation, images, parameters))
    scene = scene_of(state.part(near), observation, images, parameters, repeats)
    return fold_scene(scene, state, near, measurements, images, tiling)


def fold_scene(
    scene: Scene,
    state: FoldState,
    near: Indices,
    measurements: pd.DataFrame,
    images: pd.DataFrame | None,
    tiling: Tiling | None = None,
) -> FoldResult:
    """Associate the measurements of a scene, see `fold`.

    Parameters
    ----------
    state, near : the sources known before, and which of them the scene has
    measurements : the table that the scene's rows are of
    images : of the epoch; None where they are not known
    """
    observation = scene.observation
    pairs, decision, tile_work = decided(scene, tiling)
    sources = _EpochSources.of(scene, pairs, decision)
    _refuse_repeated(sources, state, observation, measurements)
    sources = sources.with_free_ids(state.source)
    continued = _continued(scene, decision, pairs)
    added = _added(scene, decision, pairs, np.concatenate([sources.children, sources.newborn]))
    after = state.after(near, continued, added)
    healed = heal(after, scene, sources.source, sources.measurement, sources.newborn)
    rows = _rows(scene, pairs, decision, sources, healed)
    diagnostics: dict[str, object] = {
        "n_measurements": len(observation),
        "n_matched": int((np.bincount(pairs.measurement[decision.kept], minlength=1) > 0).sum()),
        "n_new": len(sources.newborn),
        "n_forked": len(sources.children),
        "n_related": len(rows.related_from) // 2,
        "n_merged": len(healed.gone),
        "n_sources": len(healed.state),
        "n_beyond_reach": _n_beyond_reach(scene, pairs.taken(decision.kept)),
        "n_unmatched_in_coverage": _unmatched_in_coverage(scene.sources, pairs.source[decision.kept], images),
        **radii(rows.de_ruiter),
    }
    return FoldResult(healed.state, rows, scene.alignment.table, diagnostics, measurements, tile_work)


def scene_of(
    known: FoldState,
    observation: Observation,
    images: pd.DataFrame | None,
    parameters: Association,
    repeats: pd.DataFrame | None,
    codes: Indices | None = None,
) -> Scene:
    """An epoch's measurements beside known sources, the shifts of its images taken out.

    Parameters
    ----------
    codes : images to take the shifts out of, of which all known sources around are given; all if not given
    """
    beams = beams_of(observation, images) if parameters.method == "optimal" else None
    reach = Reach.of(observation, known, images, parameters)
    alignment = _aligned(observation, known.tree, parameters, repeats, codes)
    return Scene(known, observation, alignment, parameters, reach, beams)


@dataclass(frozen=True)
class _EpochSources:
    """The epoch's associations, those of continued sources first, then of forks (``children``), then of new ones."""

    source: Hashes
    measurement: Indices
    children: Hashes
    newborn: Hashes

    @classmethod
    def of(cls, scene: Scene, pairs: SourcePairs, decision: Decision) -> _EpochSources:
        known, measured = scene.known.source, scene.observation.measurement
        forked = decision.forked
        children = fork_hashes(known[pairs.source[forked]], measured[pairs.measurement[forked]])
        newborn = source_hashes(measured[decision.born])
        source = np.concatenate([known[pairs.source[decision.kept]], children, newborn])
        chosen = pairs.measurement[np.concatenate([decision.kept, forked])]
        return cls(source, np.concatenate([chosen, decision.born]), children, newborn)

    def with_free_ids(self, taken: Hashes) -> _EpochSources:
        """The same, where forks and new ones have ids that none of the known sources has, nor another of them."""
        added = np.concatenate([self.children, self.newborn])
        given = free_hashes(added, taken)
        if np.array_equal(given, added):
            return self
        source = np.concatenate([self.source[: len(self.source) - len(added)], given])
        return replace(self, source=source, children=given[: len(self.children)], newborn=given[len(self.children) :])


def _rows(scene: Scene, pairs: SourcePairs, decision: Decision, sources: _EpochSources, healed: Healed) -> FoldRows:
    """The epoch's tables as numbers, in the names of the sources that are there after it."""
    known, observation = scene.known, scene.observation
    chosen = np.concatenate([decision.kept, decision.forked])
    unknown = np.full(len(decision.born), np.nan)
    source, measurement = healed.present(sources.source), sources.measurement
    order = np.lexsort((measurement, source))
    by_child = np.argsort(sources.children)
    forked = decision.forked[by_child]
    earlier = np.isin(healed.gone, known.source)
    return FoldRows(
        observation.measurement,
        source[order],
        observation.row[measurement[order]],
        np.concatenate([pairs.separation_arcsec[chosen], unknown])[order],
        np.concatenate([pairs.de_ruiter[chosen], unknown])[order],
        known.source[pairs.source[forked]],
        sources.children[by_child],
        observation.row[pairs.measurement[forked]],
        decision.copies_history,
        *_relations(scene, decision, pairs, sources, healed),
        healed.gone[earlier],
        healed.into[earlier],
    )


def _n_beyond_reach(scene: Scene, kept: SourcePairs) -> float:
    """About how many measurements lie too far from their known sources to be theirs; 0 of methods with a radius."""
    return 0.0 if scene.parameters.method in BY_RADIUS else scene.reach.n_beyond(kept)


def radii(de_ruiter: Floats) -> dict[str, object]:
    """How far measurements are from the sources that were known before, for the diagnostics; those of new ones are NaN.

    Whatever the order of the rows: a median and counts.
    """
    de_ruiter = de_ruiter[np.isfinite(de_ruiter)]
    return {
        "median_de_ruiter": float(np.median(de_ruiter)) if len(de_ruiter) else None,
        "de_ruiter_histogram": np.histogram(de_ruiter, HISTOGRAM_EDGES)[0].tolist(),
        "de_ruiter_edges": HISTOGRAM_EDGES.tolist(),
    }


def _aligned(
    observation: Observation,
    source_tree: scipy.spatial.cKDTree,
    parameters: Association,
    repeats: pd.DataFrame | None,
    codes: Indices | None,
) -> Alignment:
    if not is_aligned(parameters):
        return unaligned(observation, codes)
    against_known = align(observation, source_tree, parameters, codes)
    return against_known if repeats is None else with_overlaps(against_known, observation, repeats)


def is_aligned(parameters: Association) -> bool:
    """Whether shifts of images are taken out."""
    return parameters.align_images == "always" or (
        parameters.align_images == "optimal" and parameters.method == "optimal"
    )


def margin_arcsec(images: pd.DataFrame | None, parameters: Association) -> float:
    """How far beyond measurements and images known sources may play a part [arcsec]."""
    reach = parameters.max_separation_arcsec
    if reach is None:
        widest = 0.0 if images is None or "bmaj_arcsec" not in images else float(images["bmaj_arcsec"].max())
        # More only for beams that the margin does not hold: the density of a place must not change with the beam.
        reach = widest if widest > _MARGIN_ARCSEC else LEAST_REACH_ARCSEC
    return _MARGIN_ARCSEC + parameters.radius_arcsec + reach


def _box(observation: Observation, images: pd.DataFrame | None, parameters: Association) -> tuple[Floats, Floats]:
    """Lowest and highest unit vector of the measurements and images, with a margin."""
    margin = float(chord(margin_arcsec(images, parameters)))
    points, radius = observation.vectors, np.zeros((len(observation), 1))
    if images is not None:
        centres, radii = _circles(images)
        points, radius = np.concatenate([points, centres]), np.concatenate([radius, radii[:, None]])
    if not len(points):
        return np.ones(3), -np.ones(3)
    return (points - radius).min(axis=0) - margin, (points + radius).max(axis=0) + margin


def _continued(scene: Scene, decision: Decision, pairs: SourcePairs) -> FoldState:
    """Known sources after the epoch: running weighted means, in the aligned frame."""
    state, observation, alignment = scene.known, scene.observation, scene.alignment
    arrays = [values.copy() for values in state.arrays]
    at = pairs.source[decision.kept]
    for values, new in zip(arrays[1:], _joined(state, pairs, decision.kept, observation, alignment), strict=True):
        values[at] = new
    # Blends count as measurements, but neither as positions nor as fluxes.
    keeps_position, restarts_position = pairs.source[decision.keeps_position], pairs.source[decision.restarts_position]
    anew = _founded(pairs.measurement[decision.restarts_position], observation, alignment)
    for values, before, new in zip(arrays[1:6], state.arrays[1:6], anew[:5], strict=True):
        values[keeps_position] = before[keeps_position]
        values[restarts_position] = new
    for weight in arrays[3:5]:
        weight[pairs.source[decision.doubted]] *= weight_of_doubt(pairs.de_ruiter[decision.doubted])
    return FoldState(*arrays)


def _added(scene: Scene, decision: Decision, pairs: SourcePairs, source: Hashes) -> FoldState:
    """Sources that the epoch adds: forks, then new ones."""
    state, observation, alignment = scene.known, scene.observation, scene.alignment
    if decision.copies_history:
        forked = _joined(state, pairs, decision.forked, observation, alignment)
    else:
        forked = _founded(pairs.measurement[decision.forked], observation, alignment)
    born = _founded(decision.born, observation, alignment)
    return FoldState(source, *(np.concatenate(both) for both in zip(forked, born, strict=True)))


def _joined(
    state: FoldState, pairs: SourcePairs, chosen: Indices, observation: Observation, alignment: Alignment
) -> tuple[Values, ...]:
    """Columns of sources with one more measurement each."""
    source, measurement = pairs.source[chosen], pairs.measurement[chosen]
    weight_ew = 1.0 / alignment.variance_ew[measurement]
    weight_ns = 1.0 / alignment.variance_ns[measurement]
    total_ew, total_ns = state.weight_ew[source] + weight_ew, state.weight_ns[source] + weight_ns
    start, end = state.vectors[source], alignment.vectors[measurement]
    ra, dec = positions(moved_towards(start, end, weight_ew / total_ew, weight_ns / total_ns))
    # Copied rows carry separations, so equal histories have equal separations too.
    separation = pairs.separation_arcsec[chosen].view(np.uint64)
    history = mix(mix(state.history[source], observation.measurement[measurement]), separation)
    count = state.n_measurements[source] + 1
    before, now = state.ln_flux[source], observation.ln_flux[measurement]
    ln_flux = np.where(np.isnan(before), now, np.where(np.isnan(now), before, before + (now - before) / count))
    return ra, dec, total_ew, total_ns, ln_flux, count, history, state.twin[source]


def _founded(measurement: Indices, observation: Observation, alignment: Alignment) -> tuple[Values, ...]:
    """Columns of sources with one measurement each."""
    ra, dec = observation.ra_deg[measurement], observation.dec_deg[measurement]
    moved = alignment.moved[measurement]
    ra[moved], dec[moved] = positions(alignment.vectors[measurement[moved]])
    return (
        ra,
        dec,
        1.0 / alignment.variance_ew[measurement],
        1.0 / alignment.variance_ns[measurement],
        observation.ln_flux[measurement],
        np.ones(len(measurement), np.int64),
        mix(np.zeros(len(measurement), np.uint64), observation.measurement[measurement]),
        np.zeros(len(measurement), np.uint64),
    )


def _refuse_repeated(
    sources: _EpochSources, state: FoldState, observation: Observation, measurements: pd.DataFrame
) -> None:
    """Raise InputError if a measurement gave birth to a source before; at another place it has its id by chance."""
    added = np.concatenate([sources.children, sources.newborn])
    repeated = np.flatnonzero(is_taken(added, state.source))
    if not len(repeated):
        return
    founder = sources.measurement[len(sources.measurement) - len(added) + repeated]
    before = state.vectors[np.searchsorted(state.source, added[repeated])]
    near = np.linalg.norm(observation.vectors[founder] - before, axis=1) < chord(_SAME_PLACE_ARCSEC)
    if near.any():
        name = measurements["measurement_id"].iloc[observation.row[founder[near][0]]]
        raise InputError(
            f"measurement_id {name} comes in two epochs: give every measurement its own id, "
            "and every epoch's measurements to the fold once"
        )


def _relations(
    scene: Scene, decision: Decision, pairs: SourcePairs, sources: _EpochSources, healed: Healed
) -> tuple[Hashes, Hashes, Indices]:
    """Both directions of every relation of the epoch. Where a pair has two kinds, the first of fork, shared, blend."""
    known = scene.known.source
    parents = known[pairs.source[decision.forked]]
    siblings = _pairs_of_equal(parents, sources.children)
    shared = _pairs_of_equal(sources.measurement.astype(np.uint64), sources.source)
    blended = known[decision.blends]
    one = np.concatenate([parents, siblings[0], shared[0], blended[:, 0]])
    two = np.concatenate([sources.children, siblings[1], shared[1], blended[:, 1]])
    kind = np.repeat(np.arange(3), [len(parents) + len(siblings[0]), len(shared[0]), len(blended)])
    one, two = healed.present(one), healed.present(two)
    one, two, kind = np.concatenate([one, two]), np.concatenate([two, one]), np.concatenate([kind, kind])
    other = one != two
    one, two, kind = one[other], two[other], kind[other]
    order = np.lexsort((kind, two, one))
    one, two, kind = one[order], two[order], kind[order]
    first = np.ones(len(one), bool)
    first[1:] = (one[1:] != one[:-1]) | (two[1:] != two[:-1])
    return one[first], two[first], kind[first]


def _pairs_of_equal(key: Values, value: Hashes) -> tuple[Hashes, Hashes]:
    """All pairs of values whose keys are equal, each pair once."""
    order = np.argsort(key, kind="stable")
    key, value = key[order], value[order]
    firsts, seconds = [], []
    # Groups are small: pairs one apart, two apart, ... until no group is that long.
    for step in range(1, len(key)):
        same = key[step:] == key[:-step]
        if not same.any():
            break
        firsts.append(value[:-step][same])
        seconds.append(value[step:][same])
    empty = np.empty(0, np.uint64)
    return (np.concatenate(firsts), np.concatenate(seconds)) if firsts else (empty, empty)


def _unmatched_in_coverage(
    source_tree: scipy.spatial.cKDTree, matched: Indices, images: pd.DataFrame | None
) -> int | None:
    """Known sources inside an image that nothing continued; None where the images are not known."""
    if images is None or not source_tree.n:
        return None if images is None else 0
    covered = np.zeros(source_tree.n, bool)
    # Of thousands of images that cover the same sky each would name all of its sources again.
    circles = np.unique(np.column_stack(_circles(images)), axis=0)
    for members in source_tree.query_ball_point(circles[:, :3], circles[:, 3]):
        covered[members] = True
    covered[matched] = False
    return int(covered.sum())


def _circles(images: pd.DataFrame) -> tuple[Floats, Floats]:
    """(unit vectors of the centers, radii as chords) of images."""
    centres = unit_vectors(images["ra_deg"].to_numpy(dtype=float), images["dec_deg"].to_numpy(dtype=float))
    return centres, chord(images["radius_deg"].to_numpy(dtype=float) * 3600.0)
