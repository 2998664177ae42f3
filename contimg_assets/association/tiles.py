"""An epoch decided tile by tile of the sky: the same candidates and decisions, bit for bit, as for the whole of it.

What becomes of a measurement depends on its group: the measurements and known sources that hang together by candidate
pairs. Tiles are nested HEALPix cells; those that follow each other are worked on together until they hold enough
measurements. Who works on some tiles reads their measurements, those within a margin, and the known sources around
all of these. It keeps a group if the lowest cell of order 29 that a measurement of it lies in belongs to these tiles,
so that each group is kept once. A group is whole where no measurement that lies beyond the margin can be a candidate of
any of its sources. What is in a group that is not whole is worked on again, by itself, with twice the margin: at last
with all of the sky, where every group is whole.

The shifts of images are known before: they are measured over a whole image.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pandas as pd
import scipy

from contimg_assets.association.decision import Decision
from contimg_assets.association.methods import decide, search_radius_arcsec
from contimg_assets.association.one_beam import possible_outliers
from contimg_assets.association.optimal import DENSITY_REACH_ARCSEC
from contimg_assets.association.scene import Scene
from contimg_assets.association.source_pairs import SourcePairs
from contimg_assets.sky.arrays import Cells, Flags, Indices
from contimg_assets.sky.cells import FINEST_ORDER, cells_around, coarser, grid, healpix_29, order_of_radius
from contimg_assets.sky.sphere import ARCSEC_PER_RADIAN, distance, limit_of, positions

# What `order_of_radius` says of a radius that no cell's neighbors hold.
_WHOLE_SKY = -1
# Margins are made of cells so many orders finer than the tiles: finer ones would be too many for what they save.
_FINER = 5
# Of a decision, what numbers pairs.
_OF_PAIRS = ("kept", "forked", "keeps_position", "restarts_position", "doubted")
_LAST_CELL = 12 << (2 * FINEST_ORDER)


@dataclass(frozen=True)
class TileTask:
    """Some tiles with their margin, and all that is needed to decide about them.

    Attributes
    ----------
    scene : measurements of the tiles and their margin, and the known sources around
    rows, sources : which of the epoch's measurements and known sources these are
    cell : of order 29, of each measurement
    asked : whether each measurement is one to decide about
    inner : whether each known source has all measurements around it that may play a part
    first, end : cells of order 29 that belong to the tiles: from ``first`` until before ``end``
    margin_arcsec : at least so much is read around each measurement that is asked for
    """

    scene: Scene
    rows: Indices
    sources: Indices
    cell: Cells
    asked: Flags
    inner: Flags
    first: int
    end: int
    margin_arcsec: float


@dataclass(frozen=True)
class TileDecision:
    """What was decided about the groups of a `TileTask` that are whole and belong to its tiles.

    Indices of measurements and sources are those of the epoch; those of pairs are those of ``pairs``.

    Attributes
    ----------
    pairs : those that were chosen
    decision : about them
    again : measurements that were asked for and whose groups are not whole, ascending
    seconds : of a processor
    """

    pairs: SourcePairs
    decision: Decision
    again: Indices
    seconds: float


Run = Callable[[Callable[[TileTask], TileDecision], Iterable[TileTask], int], Iterable[TileDecision]]


def here(work: Callable[[TileTask], TileDecision], tasks: Iterable[TileTask], n_tasks: int) -> Iterator[TileDecision]:
    """Work on one after the other in this process."""
    return map(work, tasks)


@dataclass(frozen=True)
class Tiling:
    """How an epoch is divided into tiles, and who works on them.

    Attributes
    ----------
    order : of the nested HEALPix cells that are the tiles
    rows_at_once : tiles that follow each other are worked on together until they hold so many measurements; an epoch
        that does not hold twice as many is not divided
    margin_arcsec : what is read around tiles at first
    run : gives the work's result for each task, in their order; the third argument says how many there are
    """

    order: int = 4
    rows_at_once: int = 50_000
    margin_arcsec: float = 60.0
    run: Run = here


def decided(scene: Scene, tiling: Tiling | None) -> tuple[SourcePairs, Decision, pd.DataFrame | None]:
    """Chosen candidates of a scene and what was decided about them, tile by tile where that is wanted and of use.

    Returns
    -------
    pairs, decision : see `contimg_assets.association.methods.decide`; by tile, pairs are those that were chosen
    tile_work : a row for each time that some tiles were worked on, by ``tile``, the first of them: ``n_tiles``,
        ``n_measurements``, ``margin_arcsec``, processor ``seconds``, and ``ra_deg``, ``dec_deg`` of that tile; None
        where the scene was decided as a whole
    """
    if tiling is None or len(scene.observation) < max(2 * tiling.rows_at_once, 1):
        return *decide(scene), None
    places = _Places.of(scene, tiling.order)
    cores, margin = places.cores(tiling.rows_at_once), max(tiling.margin_arcsec, places.search_arcsec)
    done: list[TileDecision] = []
    work: list[pd.DataFrame] = []
    while cores:
        tasks = (places.task(core, margin) for core in cores)
        answers = list(tiling.run(decide_tiles, tasks, len(cores)))
        done += answers
        work.append(_work_table(cores, answers, margin, tiling.order))
        # Without those that are whole by now; the others keep their tiles.
        cores = [
            _Core(answer.again, core.first, core.end, core.n_tiles)
            for core, answer in zip(cores, answers, strict=True)
            if len(answer.again)
        ]
        margin *= 2.0
    return *_joined(done, len(scene.observation)), pd.concat(work, ignore_index=True)


@dataclass(frozen=True)
class _Core:
    """Measurements to decide about, and the tiles that own their groups."""

    rows: Indices
    first: int
    end: int
    n_tiles: int


@dataclass(frozen=True)
class _Sorted:
    """Rows by their cell of order 29."""

    cell: Cells
    row: Indices

    @classmethod
    def of(cls, cell: Cells) -> _Sorted:
        row = np.argsort(cell, kind="stable")
        return cls(cell[row], row)

    def within(self, cells: Cells, order: int) -> Indices:
        """Rows that lie in some cells of an order; ascending."""
        shift = 2 * (FINEST_ORDER - order)
        first, last = (np.searchsorted(self.cell, edge << shift) for edge in (cells, cells + 1))
        count = last - first
        offset = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        return np.sort(self.row[np.repeat(first, count) + offset])


@dataclass(frozen=True)
class _Places:
    """Where an epoch's measurements and the known sources lie.

    Attributes
    ----------
    cell, source_cell : of order 29, of each measurement (its image's shift taken out) and known source
    search_arcsec : measurements and sources farther apart never play a part for each other, but for the density
    """

    scene: Scene
    order: int
    cell: Cells
    source_cell: Cells
    measured: _Sorted
    known: _Sorted
    search_arcsec: float

    @classmethod
    def of(cls, scene: Scene, order: int) -> _Places:
        cell = healpix_29(*positions(scene.alignment.vectors))
        source_cell = healpix_29(scene.known.ra_deg, scene.known.dec_deg)
        beams = np.empty(0) if scene.beam_arcsec is None else scene.beam_arcsec
        search = max(search_radius_arcsec(scene), float(np.nanmax(beams, initial=0.0)))
        return cls(scene, order, cell, source_cell, _Sorted.of(cell), _Sorted.of(source_cell), search)

    def cores(self, rows_at_once: int) -> list[_Core]:
        """Tiles that follow each other, together until they hold enough measurements."""
        tile, start, count = np.unique(coarser(self.measured.cell, self.order), return_index=True, return_counts=True)
        part = (np.cumsum(count) - count) // max(rows_at_once, 1)
        begin = np.flatnonzero(np.diff(part, prepend=-1))
        ends = np.append(begin[1:], len(tile))
        shift = 2 * (FINEST_ORDER - self.order)
        stops = np.append(start, len(self.cell))
        return [
            _Core(
                np.sort(self.measured.row[start[k] : stops[end]]),
                int(tile[k]) << shift,
                (int(tile[end - 1]) + 1) << shift,
                int(end - k),
            )
            for k, end in zip(begin.tolist(), ends.tolist(), strict=True)
        ]

    def task(self, core: _Core, margin_arcsec: float) -> TileTask:
        """Some tiles with a margin."""
        order = min(order_of_radius(margin_arcsec), self.order + _FINER)
        if order == _WHOLE_SKY:
            rows, inner = np.arange(len(self.cell)), None
        else:
            inner = _around(_distinct(coarser(self.cell[core.rows], order)), order)
            rows = self.measured.within(_around(inner, order), order)
        sources = self._sources_around(rows)
        return TileTask(
            self.scene.part(rows, sources),
            rows,
            sources,
            self.cell[rows],
            _among(rows, core.rows),
            np.ones(len(sources), bool) if inner is None else _among(coarser(self.source_cell[sources], order), inner),
            core.first,
            core.end,
            margin_arcsec,
        )

    def _sources_around(self, rows: Indices) -> Indices:
        """Known sources that any of some measurements may have for a candidate, or for a neighbor in a density."""
        reach = max(DENSITY_REACH_ARCSEC, self.search_arcsec)
        order = order_of_radius(reach)
        if order == _WHOLE_SKY:
            return np.arange(len(self.source_cell))
        near = self.known.within(_around(_distinct(coarser(self.cell[rows], order)), order), order)
        vectors = self.scene.alignment.vectors[rows]
        middle = vectors.mean(axis=0)
        length = float(np.sqrt((middle**2).sum()))
        if length == 0.0:
            return near
        middle /= length
        # Within the reach of the circle that holds all of them.
        radius = 2.0 * np.arcsin(min(float(distance(vectors, middle).max()) / 2.0, 1.0)) * ARCSEC_PER_RADIAN
        inside = distance(self.scene.known.vectors[near], middle) <= limit_of(radius + 1.001 * reach)
        return near[inside]


def _around(cells: Cells, order: int) -> Cells:
    """Some cells and their neighbors; ascending."""
    around = _distinct(cells_around(cells, order).ravel())
    return around[around >= 0]


def _distinct(values: Cells) -> Cells:
    """Each value once, ascending: `numpy.unique` of as many numbers takes several times as long."""
    values = np.sort(values)
    distinct: Cells = values[np.diff(values, prepend=-2) != 0]
    return distinct


def _among(values: Cells | Indices, wanted: Cells | Indices) -> Flags:
    """Whether each value is one of some that ascend."""
    at = np.minimum(np.searchsorted(wanted, values), len(wanted) - 1)
    found: Flags = wanted[at] == values
    return found


def decide_tiles(task: TileTask) -> TileDecision:
    """Decide about the groups of some tiles that are whole: a function of its task, to be done anywhere."""
    start = time.process_time()
    pairs, decision = decide(task.scene)
    of_measurement, of_source = _groups(task, pairs, decision)
    n_groups = len(task.rows) + len(task.sources)
    asked = np.zeros(n_groups, bool)
    asked[of_measurement[task.asked]] = True
    whole = _whole(task, of_source)
    lowest = np.full(n_groups, _LAST_CELL)
    np.minimum.at(lowest, of_measurement, task.cell)
    own = asked & whole & (lowest >= task.first) & (lowest < task.end)
    again = task.rows[task.asked & ~whole[of_measurement]]
    pairs, decision = _chosen(pairs, decision, own[of_measurement], own[of_source])
    pairs = replace(pairs, measurement=task.rows[pairs.measurement], source=task.sources[pairs.source])
    decision = replace(decision, born=task.rows[decision.born], blends=task.sources[decision.blends])
    return TileDecision(pairs, decision, again, time.process_time() - start)


def _whole(task: TileTask, of_source: Indices) -> Flags:
    """Whether each group has all that belongs to it."""
    whole = np.ones(len(task.rows) + len(task.sources), bool)
    whole[of_source[~task.inner]] = False
    return whole


def _groups(task: TileTask, pairs: SourcePairs, decision: Decision) -> tuple[Indices, Indices]:
    """Group of each measurement and of each known source."""
    of_measurement, of_source = _hanging_together(task, pairs.measurement, pairs.source)
    # What is left without a candidate may still be a known source's; in groups that are not whole that is not known.
    free = ~_whole(task, of_source)[of_measurement]
    free[decision.born] = True
    measurement, source = possible_outliers(task.scene, np.flatnonzero(free))
    if not len(measurement) or task.scene.parameters.method != "optimal":
        return of_measurement, of_source
    return _hanging_together(
        task, np.concatenate([pairs.measurement, measurement]), np.concatenate([pairs.source, source])
    )


def _hanging_together(task: TileTask, measurement: Indices, source: Indices) -> tuple[Indices, Indices]:
    n = len(task.rows)
    size = n + len(task.sources)
    links = scipy.sparse.coo_array((np.ones(len(source), bool), (measurement, n + source)), shape=(size, size))
    group: Indices = scipy.sparse.csgraph.connected_components(links, directed=False)[1].astype(np.intp)
    return group[:n], group[n:]


def _chosen(
    pairs: SourcePairs, decision: Decision, of_measurements: Flags, of_sources: Flags
) -> tuple[SourcePairs, Decision]:
    """The pairs that were chosen of some measurements, and what was decided about these and some known sources."""
    chosen = np.sort(np.concatenate([decision.kept, decision.forked]))
    chosen = chosen[of_measurements[pairs.measurement[chosen]]]
    place = np.full(len(pairs), -1)
    place[chosen] = np.arange(len(chosen))
    of_pairs: dict[str, Indices] = {name: place[getattr(decision, name)] for name in _OF_PAIRS}
    kept: dict[str, Any] = {name: places[places >= 0] for name, places in of_pairs.items()}
    return pairs.taken(chosen), replace(
        decision,
        born=decision.born[of_measurements[decision.born]],
        blends=decision.blends[of_sources[decision.blends[:, 0]]],
        **kept,
    )


def _joined(parts: Sequence[TileDecision], n_measurements: int) -> tuple[SourcePairs, Decision]:
    """Decisions of all tiles as one, in the order that they have where the epoch is decided as a whole."""
    pairs = SourcePairs(
        *(np.concatenate([getattr(part.pairs, field.name) for part in parts]) for field in fields(SourcePairs))
    )
    start = np.cumsum([0, *(len(part.pairs) for part in parts[:-1])])
    of_pairs = {
        name: np.concatenate([getattr(part.decision, name) + first for part, first in zip(parts, start, strict=True)])
        for name in _OF_PAIRS
    }
    # Pairs of outliers come after the others.
    last = np.zeros(len(pairs), bool)
    last[of_pairs["doubted"]] = True
    order = np.lexsort((pairs.source, pairs.measurement, last))
    place = np.empty(len(order), np.intp)
    place[order] = np.arange(len(order))
    in_order: dict[str, Any] = {name: np.sort(place[numbers]) for name, numbers in of_pairs.items()}
    decision = replace(
        parts[0].decision,
        born=np.sort(np.concatenate([part.decision.born for part in parts])),
        blends=np.concatenate([part.decision.blends for part in parts]),
        **in_order,
    )
    pairs = pairs.taken(order)
    _check_each_once(pairs, decision, n_measurements)
    return pairs, decision


def _check_each_once(pairs: SourcePairs, decision: Decision, n_measurements: int) -> None:
    """Raise if a measurement was left out, or belongs to two tiles: no rows are better than wrong ones."""
    named = (np.bincount(pairs.measurement, minlength=n_measurements) > 0).astype(np.intp)
    named += np.bincount(decision.born, minlength=n_measurements)
    twice = (np.diff(pairs.measurement) == 0) & (np.diff(pairs.source) == 0)
    if twice.any() or (named != 1).any():
        raise AssertionError("tiles must decide about each measurement once")


def _work_table(cores: Sequence[_Core], done: Sequence[TileDecision], margin_arcsec: float, order: int) -> pd.DataFrame:
    """What some tiles took, see `decided`."""
    tile = np.array([core.first for core in cores], np.int64) >> (2 * (FINEST_ORDER - order))
    longitude, latitude = grid(order).healpix_to_lonlat(tile)
    return pd.DataFrame(
        {
            "tile": tile,
            "n_tiles": [core.n_tiles for core in cores],
            "ra_deg": longitude.deg,
            "dec_deg": latitude.deg,
            "n_measurements": [len(core.rows) for core in cores],
            "margin_arcsec": margin_arcsec,
            "seconds": [one.seconds for one in done],
        }
    )
