"""Rows that belong to sources, as consecutive segments of arrays: sums, means and extremes of each in one pass.

Everything that says something about each source works on this layout, so that no loop over sources is needed anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from contimg_assets.sky.arrays import Flags, Floats, Hashes, Indices, Integers, Values


def places(values: Values, keys: Values) -> tuple[Indices, Flags]:
    """Where values stand among ascending keys.

    Returns
    -------
    at : index of the key that equals the value, of any key where none does, shape (n,)
    found : whether one does, shape (n,)
    """
    if not len(keys):
        return np.zeros(len(values), dtype=np.intp), np.zeros(len(values), dtype=bool)
    at = np.minimum(np.searchsorted(keys, values), len(keys) - 1)
    return at, keys[at] == values


@dataclass(frozen=True)
class Segments:
    """Consecutive, non-empty segments of n rows.

    Attributes
    ----------
    starts : first row of each segment, shape (k,)
    counts : rows of each segment, shape (k,), all > 0
    """

    starts: Indices
    counts: Indices

    @classmethod
    def of_sorted(cls, keys: Values) -> Segments:
        """The runs of equal values of a sorted array, shape (n,)."""
        if not len(keys):
            return cls(np.empty(0, np.intp), np.empty(0, np.intp))
        starts = np.concatenate([[0], np.flatnonzero(keys[1:] != keys[:-1]) + 1]).astype(np.intp)
        return cls(starts, np.diff(np.append(starts, len(keys))).astype(np.intp))

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def rows(self) -> int:
        return int(self.counts.sum())

    def sum(self, values: Values) -> Values:
        """Sum of each segment, shape (k,)."""
        if not len(self):
            return np.zeros(0, values.dtype)
        return np.add.reduceat(values, self.starts)

    def minimum(self, values: Values) -> Values:
        return np.minimum.reduceat(values, self.starts) if len(self) else values[:0]

    def maximum(self, values: Values) -> Values:
        return np.maximum.reduceat(values, self.starts) if len(self) else values[:0]

    def spread(self, values: Values) -> Values:
        """One value a segment to one value a row, shape (n,)."""
        return np.repeat(values, self.counts)

    def count(self, flags: Flags) -> Integers:
        """Number of rows that are true in each segment, shape (k,)."""
        return self.sum(flags.astype(np.int64))

    def take(self, chosen: Indices) -> tuple[Segments, Indices]:
        """The chosen segments alone, and the rows they consist of."""
        counts = self.counts[chosen]
        ends = np.cumsum(counts)
        starts = (ends - counts).astype(np.intp)
        rows = np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(starts - self.starts[chosen], counts)
        return Segments(starts, counts), rows.astype(np.intp)

    def where(self, flags: Flags) -> tuple[Segments, Indices, Indices]:
        """The rows that are true: their segments, which segments these are, and which rows."""
        rows = np.flatnonzero(flags)
        counts = self.count(flags)
        present = np.flatnonzero(counts)
        kept = counts[present]
        return Segments((np.cumsum(kept) - kept).astype(np.intp), kept.astype(np.intp)), present, rows


@dataclass(frozen=True)
class LightCurves:
    """Points of many sources: by name in the order of source, time, measurement; or as they came, for plain sums.

    Attributes
    ----------
    source : hash of each source, ascending, shape (k,)
    segments : the points of each, once in order
    order : which of the rows that came is the i-th point, shape (n,)
    rows : name -> column as it came
    """

    source: Hashes
    segments: Segments
    order: Indices
    rows: Mapping[str, Values]
    _sorted: dict[str, Values] = field(default_factory=dict, repr=False)

    @classmethod
    def from_rows(cls, source: Hashes, rows: Mapping[str, Values]) -> LightCurves:
        """Sort rows, which must have the columns ``mjd`` and ``measurement``, into light curves."""
        # Rows mostly come epoch by epoch, each epoch sorted by source: a stable sort merges those runs quickly.
        order = np.argsort(source, kind="stable")
        key, mjd, measurement = source.take(order), rows["mjd"].take(order), rows["measurement"].take(order)
        same = key[1:] == key[:-1]
        later, equal = mjd[1:] > mjd[:-1], mjd[1:] == mjd[:-1]
        if (same & ~(later | (equal & (measurement[1:] >= measurement[:-1])))).any():
            order = np.lexsort((rows["measurement"], rows["mjd"], source))
            key = source.take(order)
        segments = Segments.of_sorted(key)
        return cls(key[segments.starts], segments, order, rows)

    def __getitem__(self, name: str) -> Values:
        """A column in the order of source, time, measurement, shape (n,)."""
        if name not in self._sorted:
            self._sorted[name] = self.rows[name].take(self.order)
        return self._sorted[name]

    def only(self, flags: Flags) -> LightCurves:
        """The points that are true (in order); sources without any are left out."""
        if flags.all():
            return self
        segments, present, points = self.segments.where(flags)
        return LightCurves(self.source[present], segments, self.order[points], self.rows)

    def at(self, name: str, points: Indices) -> Values:
        """A column at some points, without sorting all of it."""
        return self.rows[name].take(self.order.take(points))


@dataclass(frozen=True)
class RowSums:
    """Sums and extremes of each source over rows as they came: for what needs no order, the quicker way.

    Rows are added in the order they came, which is the same whatever other sources are worked on.
    """

    owner: Indices
    n_sources: int

    @classmethod
    def of(cls, curves: LightCurves) -> RowSums:
        """For light curves that have all their rows."""
        owner = np.empty(len(curves.order), dtype=np.intp)
        owner[curves.order] = curves.segments.spread(np.arange(len(curves.segments)))
        return cls(owner, len(curves.segments))

    def sum(self, values: Values) -> Floats:
        return np.asarray(np.bincount(self.owner, weights=values, minlength=self.n_sources), dtype=np.float64)

    def smallest(self, values: Floats) -> Floats:
        """NaN of a source that has nothing but NaN."""
        result = np.full(self.n_sources, np.inf)
        np.fmin.at(result, self.owner, values)
        return np.where(np.isinf(result), np.nan, result)

    def largest(self, values: Floats) -> Floats:
        return -self.smallest(-values)
