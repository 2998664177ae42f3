"""An epoch that was folded, onto sources of which some are others now: only what lies near these is decided again.

What becomes of a measurement depends on its group (the measurements and sources within reach of each other, and their
twins), on the density of known sources around it, and on the shift of its image. So those groups are decided again that
lie within the reach of the density of a source that changed, or of which a measurement has another place because the
shift of its image is another. That is done twice: onto the sources as they were, which tells what of the stored rows
goes, and onto those that are there now, which tells what comes in its place. All other rows stay; counts add up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy

from contimg_assets.association.fold import FoldResult, fold_scene, is_aligned, scene_of
from contimg_assets.association.observation import Observation
from contimg_assets.association.optimal import DENSITY_REACH_ARCSEC
from contimg_assets.association.overlaps import REPEATS
from contimg_assets.association.scene import Scene
from contimg_assets.association.state import FoldState
from contimg_assets.config import Association, Bands
from contimg_assets.identity.ids import hashes_of
from contimg_assets.ingest.bands import bands_mhz
from contimg_assets.sky.arrays import Flags, Floats, Indices
from contimg_assets.sky.sphere import distance, indices_within, limit_of, nearest, tree_of

# An epoch of which more is to be decided again is folded as a whole: that is one fold in place of two.
_MOST = 0.5
# Groups that hang together farther than this from what changed are no groups of a few measurements any more.
_MOST_ROUNDS = 6
_WIDEST_ARCSEC = 600.0
# A measurement, a source, its twin and another measurement are three links.
_LINKS = 4.0

Near = Callable[[Floats, Floats], tuple[FoldState, FoldState]]
"""Gives the sources around positions (RA, declination [deg]) as they were and as they are, as far as they play a part,
and all that changed anywhere."""


@dataclass(frozen=True)
class Epoch:
    """What an epoch is folded from, besides the sources; see `contimg_assets.association.fold.fold`.

    Attributes
    ----------
    largest_shift_arcsec : of its images, as they were taken out when it was folded
    """

    measurements: pd.DataFrame
    images: pd.DataFrame
    repeats: pd.DataFrame
    parameters: Association
    bands: Bands
    largest_shift_arcsec: float


@dataclass(frozen=True)
class FoldedAgain:
    """Some measurements of an epoch, folded onto the sources as they were and onto those that are there now.

    Attributes
    ----------
    rows : of the given table, those that were decided again
    known : sources around them before the epoch, as they are now
    before, now : results that hold these measurements alone; their states have the sources around them, and the tables
        ``alignment`` the images that were looked at
    """

    rows: Indices
    known: FoldState
    before: FoldResult
    now: FoldResult


def differing(one: FoldState, other: FoldState) -> tuple[FoldState, FoldState]:
    """The sources of each of two states that the other has not, or has with other values."""
    both, at, at_other = np.intersect1d(one.source, other.source, assume_unique=True, return_indices=True)
    same = np.ones(len(both), bool)
    for values, others in zip(one.arrays, other.arrays, strict=True):
        # Bit for bit, as a missing flux is equal to a missing one.
        same &= values[at].view(np.uint64) == others[at_other].view(np.uint64)
    flags, of_other = np.ones(len(one), bool), np.ones(len(other), bool)
    flags[at[same]] = False
    of_other[at_other[same]] = False
    return one.part(np.flatnonzero(flags)), other.part(np.flatnonzero(of_other))


def fold_near_changes(epoch: Epoch, changed: tuple[FoldState, FoldState], near: Near) -> FoldedAgain | None:
    """Decide again about what the change of some sources may have an effect on.

    Parameters
    ----------
    changed : the sources that are others now, as they were and as they are
    near : gives the sources around positions

    Returns
    -------
    FoldedAgain, or None where the epoch has to be folded as a whole: with another method than ``optimal``, with several
    bands, where images without a shift of their own take part, or where it is most of the epoch
    """
    if epoch.parameters.method != "optimal" or not len(epoch.measurements) or _n_bands(epoch) != 1:
        return None
    observation = Observation.of(epoch.measurements)
    places = np.concatenate([state.vectors for state in changed])
    touched = _within(observation.vectors, places, DENSITY_REACH_ARCSEC)
    overlapping = _overlapping(epoch, observation)
    for _ in range(_MOST_ROUNDS):
        codes = _images(observation, touched, overlapping)
        scenes = _scenes(epoch, observation, codes, near)
        if is_aligned(epoch.parameters) and np.isin(_free(codes, scenes), overlapping).any():
            return None
        touched = _touched(epoch, observation, scenes, touched, places)
        if touched.mean() > _MOST:
            return None
        if np.isin(_images(observation, touched, overlapping), codes).all():
            return _folded(epoch, scenes, np.flatnonzero(touched))
    return None


def _n_bands(epoch: Epoch) -> int:
    return len(np.unique(bands_mhz(epoch.images["freq_mhz"], epoch.bands)))


def _within(vectors: Floats, places: Floats, radius_arcsec: float) -> Flags:
    """Which unit vectors lie within a radius of any of others."""
    found: Flags = np.isfinite(nearest(tree_of(places), vectors, radius_arcsec))
    return found


def _images(observation: Observation, rows: Flags, overlapping: Indices) -> Indices:
    """Numbers of the images of some measurements, and of those that show the same sources as one of these."""
    codes = np.unique(observation.image[rows])
    return np.union1d(codes, overlapping[np.isin(overlapping[:, 0], codes), 1])


def _scenes(epoch: Epoch, observation: Observation, codes: Indices, near: Near) -> tuple[Scene, Scene]:
    """The epoch beside the sources around some images as they were and as they are, their shifts taken out."""
    here = np.isin(observation.image, codes)
    known = near(observation.ra_deg[here], observation.dec_deg[here])
    before, now = (scene_of(one, observation, epoch.images, epoch.parameters, None, codes) for one in known)
    return before, now


def _free(codes: Indices, scenes: tuple[Scene, Scene]) -> Indices:
    """Images without a shift against known sources: they may get one from images that they overlap."""
    free: Indices = codes[np.any([scene.alignment.table["dra_arcsec"].isna() for scene in scenes], axis=0)]
    return free


def _overlapping(epoch: Epoch, observation: Observation) -> Indices:
    """Numbers of two images of which one repeats what the other shows, both ways round, shape (n, 2)."""
    kept = hashes_of(epoch.repeats[REPEATS[-1]])
    at = np.minimum(np.searchsorted(observation.measurement, kept), len(observation) - 1)
    image = pd.Index(observation.image_names).get_indexer(pd.Index(epoch.repeats["image"].astype(str)))
    found = (observation.measurement[at] == kept) & (image >= 0)
    pairs = np.stack([image[found], observation.image[at[found]]], axis=1)
    return np.unique(np.concatenate([pairs, pairs[:, ::-1]]), axis=0)


def _touched(
    epoch: Epoch, observation: Observation, scenes: tuple[Scene, Scene], known: Flags, places: Floats
) -> Flags:
    """Measurements whose groups are others now, or may be decided otherwise.

    Parameters
    ----------
    known : those that are known to be
    places : unit vectors of the sources that changed
    """
    before, now = scenes
    beams = np.empty(0) if now.beam_arcsec is None else now.beam_arcsec
    reach = max(*(scene.reach.widest_arcsec for scene in scenes), float(np.nanmax(beams, initial=0.0)))
    # Offsets of single sources have that limit along each axis, and so has what is taken out anywhere in an image.
    shift = max(epoch.largest_shift_arcsec, np.sqrt(2.0) * epoch.parameters.alignment_radius_arcsec)
    width = reach + 2.0 * shift
    if width > _WIDEST_ARCSEC or any(_twins_apart(scene.known, width) for scene in scenes):
        return np.ones(len(observation), bool)
    touched = known | _within(observation.vectors, places, DENSITY_REACH_ARCSEC + 2.0 * width)
    for name in ("vectors", "variance_ew", "variance_ns", "moved"):
        one, other = getattr(before.alignment, name), getattr(now.alignment, name)
        touched |= (one != other).reshape(len(observation), -1).any(axis=1)
    n_before = -1
    while touched.sum() > n_before:
        n_before = int(touched.sum())
        # Who hangs together with one of these over a source, or a source and its twin, is among those near them.
        close = np.flatnonzero(_within(observation.vectors, observation.vectors[touched], _LINKS * width))
        group = _groups(observation.vectors[close], [scene.known for scene in scenes], width)
        touched[close] = np.isin(group, group[touched[close]])
    return touched


def _twins_apart(state: FoldState, width_arcsec: float) -> bool:
    """Whether a source lies farther from its twin than any that hang together otherwise."""
    one = np.flatnonzero(state.twin)
    other = np.minimum(np.searchsorted(state.source, state.twin[one]), len(state) - 1)
    there = state.source[other] == state.twin[one]
    apart = distance(state.vectors[one[there]], state.vectors[other[there]])
    return bool((apart > limit_of(width_arcsec)).any())


def _groups(vectors: Floats, states: list[FoldState], width_arcsec: float) -> Indices:
    """Group of each position: those hang together that are, or have sources, within a width of each other."""
    n, tree = len(vectors), tree_of(vectors)
    ids = np.unique(np.concatenate([state.source for state in states]))
    links = [tree.query_pairs(limit_of(width_arcsec), output_type="ndarray").T]
    for state in states:
        node = n + np.searchsorted(ids, state.source)
        if n and len(state):
            row, source = indices_within(tree, state.tree, width_arcsec)
            links.append(np.stack([row, node[source]]))
        twins = np.flatnonzero(state.twin)
        at = np.minimum(np.searchsorted(ids, state.twin[twins]), len(ids) - 1)
        there = ids[at] == state.twin[twins]
        links.append(np.stack([node[twins[there]], n + at[there]]))
    one, other = np.concatenate(links, axis=1)
    size = n + len(ids)
    graph = scipy.sparse.coo_array((np.ones(len(one), bool), (one, other)), shape=(size, size))
    group: Indices = scipy.sparse.csgraph.connected_components(graph, directed=False)[1].astype(np.intp)
    return group[:n]


def _folded(epoch: Epoch, scenes: tuple[Scene, Scene], rows: Indices) -> FoldedAgain:
    results = []
    for scene in scenes:
        everything = np.arange(len(scene.known))
        part = scene.part(rows, everything)
        results.append(fold_scene(part, scene.known, everything, epoch.measurements, epoch.images))
    return FoldedAgain(scenes[0].observation.row[rows], scenes[1].known, *results)
