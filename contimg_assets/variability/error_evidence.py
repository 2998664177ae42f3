"""The errors of fluxes as constant sources show them: evidence gathered epoch by epoch, and the model that it gives.

A flux is compared with the weighted mean of the source's earlier ones in images of the same configuration. The
differences of a constant source are independent of each other, and their variance is that of the flux plus that of the
mean. Means of two configurations are compared once, when the later one has a few fluxes. How large differences are, in
units of what the finder's errors say, is counted in cells of S / e and distance from the image center. A mixture is
fitted to the counts: normal differences whose width in each cell follows from the model, and wide shares (half Cauchy)
for sources that vary, blends and wrong associations, which so do not widen the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Self

import numpy as np
import pandas as pd
import scipy

from contimg_assets.sky.arrays import Flags, Floats, Indices, Integers
from contimg_assets.sky.robust import MAD_SIGMA_ERROR
from contimg_assets.variability.error_model import (
    PLAIN,
    RADIUS_NODES,
    SNR_NODES,
    TYPICAL_RADIUS,
    ErrorTerms,
    radius_weights,
    snr_weights,
)

_N_NOISE, _N_RADII = len(SNR_NODES), len(RADIUS_NODES)
# Cells: S / e in steps of a factor 1.19 from 4 to 16 and 1.41 elsewhere, distances from the image center, and what is
# compared.
_SNR_EDGES: Floats = np.asarray(2.8 * 2.0 ** (np.r_[2:10, 10:36:2] / 4.0))
_RADIUS_EDGES: Floats = np.array([0.15, 0.3, 0.42, 0.54, 0.65, 0.75, 0.85, 0.95, 1.05])
_N_RINGS = len(_RADIUS_EDGES) + 1
# Fluxes of one configuration; means of two; the first two images of a pointing, of which it is not known.
WITHIN, _BETWEEN, _FIRST_TWO, _N_KINDS = 0, 1, 2, 3
N_CELLS = (len(_SNR_EDGES) + 1) * _N_RINGS * _N_KINDS
# The first two images count until there are half as many differences that are known to be of one configuration.
_ENOUGH_WITHIN = 0.5
# Steps of |difference| over the finder's error of it: a factor 1.2 each, from 0.1 on.
_STEPS: Floats = np.asarray(0.1 * 1.2 ** np.arange(46))
N_STEPS = len(_STEPS) + 1
_LOWER: Floats = np.concatenate([[0.0], _STEPS])
_UPPER: Floats = np.concatenate([_STEPS, [np.inf]])
# Sums of each cell: variances, over the finder's, of floors of 100 % at each node, of steps, of the images' scales.
N_SUMS = 2 * _N_RADII + 1

# What is believed before there is evidence: the finder's errors, their square within 0.3; no floor, within 2 %, and no
# steps, within 3 %, at the typical distance from the center; neighboring nodes alike. Of other distances no more than
# that: few sources lie at the edges of images, where floors and steps are largest, and would not prevail.
_PRIOR_NOISE, _PRIOR_FLOOR, _PRIOR_STEP = 0.3, 0.02, 0.03
# Of k^2, the difference over the root of the distance in ln(S / e).
_ALIKE_NOISE, _ALIKE_FLOOR, _ALIKE_STEP = 0.2, 0.02, 0.05
# Shares of differences that are not normal, near the rest and far from it: widths in standard deviations, what is
# believed of the shares, as if seen in 100 differences.
_WILD_WIDTHS: Floats = np.array([3.0, 20.0])
_PRIOR_WILD: Floats = np.array([0.005, 0.02])
_PRIOR_SEEN = 100.0
_FROM_MEDIANS, _ITERATIONS, _CONVERGED = 5, 80, 0.01
# Of k^2: no finder's errors are more than ten times too large, but copies of one catalog differ by nothing at all.
_LEAST_NOISE = 0.01
# Median of the square of a normal value.
_MEDIAN_SQUARE = 0.4549
# A model is replaced when the evidence is this unlikely under it, all together or k alone, and errors change by this
# fraction somewhere.
_UNLIKELY, _UNLIKELY_NOISE = 0.01, 0.05
_NOTICEABLE = 0.01
# Fluxes in a configuration before its mean is compared with that of another one.
_COMPARED_AT = 3


@dataclass(frozen=True)
class Points:
    """Fluxes of one epoch, one a source at most.

    Attributes
    ----------
    source_id : shape (n,)
    configuration : number of the configuration of the image, shape (n,)
    flux, err : same unit, positive and finite, shape (n,)
    scale_err : error of the image's own flux scale as a fraction, shape (n,)
    radius : distance from the image center in radii of the image, shape (n,); NaN where not known
    tie_err : error of the absolute scale of the image's field as a fraction, shape (n,)
    """

    source_id: pd.Index
    configuration: Integers
    flux: Floats
    err: Floats
    scale_err: Floats
    radius: Floats
    tie_err: Floats

    def take(self, chosen: Flags | Indices) -> Self:
        """Some of them."""
        return type(self)(*(getattr(self, one.name)[chosen] for one in fields(self)))

    @property
    def whole(self) -> Floats:
        """What fractions are of, shape (n,): the flux."""
        return self.flux

    @property
    def of_image(self) -> Floats | float:
        """Variance that was measured of each image for itself: fluxes have none but that of its scale."""
        return 0.0

    def variance(self, model: ErrorTerms) -> Floats:
        """By a model, but for the images' scales, shape (n,)."""
        return model.variance(self.whole, self.err, self.radius)


_MEANS = ["weight", "mean", "noise_variance", "floor_variance", "scale_variance", "image_variance", "radius",
          "tie_square", "n"]  # fmt: skip
WEIGHT, MEAN, NOISE_VARIANCE, FLOOR_VARIANCE, SCALE_VARIANCE, IMAGE_VARIANCE, RADIUS, _TIE, N = range(len(_MEANS))
# Pairs of a source's place and a configuration are looked up as one number: more configurations than there will be.
_MOST_CONFIGURATIONS = 2**32


@dataclass(frozen=True)
class Means:
    """Weighted mean of each source's fluxes in each configuration, sorted by source and configuration.

    Attributes
    ----------
    sources : sorted, each once
    source : place in ``sources`` of each mean, shape (n,)
    configuration : of each mean, shape (n,)
    columns : of ERROR_MEANS from weight to n, shape (n, 9)
    """

    sources: pd.Index
    source: Integers
    configuration: Integers
    columns: Floats

    @classmethod
    def none(cls) -> Means:
        nothing = np.empty(0, np.int64)
        return cls(pd.Index([], dtype=object), nothing, nothing, np.empty((0, len(_MEANS))))

    @classmethod
    def of_rows(cls, rows: pd.DataFrame) -> Means:
        """The inverse of `rows`; further columns do not matter."""
        names = rows["source_id"].to_numpy(dtype=object)
        first = np.ones(len(names), dtype=bool)
        first[1:] = names[1:] != names[:-1]
        number = rows["configuration"].to_numpy(dtype=np.int64)
        sources = pd.Index(names[first], dtype=object)
        return cls(sources, np.cumsum(first) - 1, number, rows[_MEANS].to_numpy(dtype=float))

    @property
    def rows(self) -> pd.DataFrame:
        """Rows of ERROR_MEANS, without the kind of flux."""
        key = {"source_id": self.sources.take(self.source), "configuration": self.configuration}
        return pd.DataFrame(key | dict(zip(_MEANS, self.columns.T, strict=True)))

    @cached_property
    def _keys(self) -> Integers:
        return _keys(self.source, self.configuration)

    def row_of(self, source_id: pd.Index, configuration: Integers | int) -> Indices:
        """Row of the mean of each source in a configuration, shape (n,); -1 where there is none."""
        place = self.sources.get_indexer(source_id)
        keys = _keys(place, configuration)
        row = np.searchsorted(self._keys, keys)
        there = (place >= 0) & (row < len(self._keys))
        there[there] = self._keys[row[there]] == keys[there]
        return np.where(there, row, -1)

    def of(self, source_id: pd.Index, configuration: Integers | int) -> tuple[Flags, Floats]:
        """Which sources have a mean in a configuration, shape (n,), and their columns, shape (m, 9)."""
        row = self.row_of(source_id, configuration)
        return row >= 0, self.columns[row[row >= 0]]

    def with_points(self, points: Points, model: ErrorTerms) -> Means:
        """The means with another epoch's fluxes, weighted by what the model says of them."""
        new = as_means(points)
        new[:, WEIGHT] = 1.0 / (points.variance(model) + new[:, SCALE_VARIANCE])
        known = self._with_sources(points.source_id)
        own, others = known._keys, _keys(known.sources.get_indexer(points.source_id), points.configuration)
        keys = np.union1d(own, others)
        a, b = np.zeros((len(keys), len(_MEANS))), np.zeros((len(keys), len(_MEANS)))
        a[np.searchsorted(keys, own)] = self.columns
        b[np.searchsorted(keys, others)] = new
        weight = a[:, :1] + b[:, :1]
        share_a, share_b = a[:, :1] / weight, b[:, :1] / weight
        combined = a * share_a + b * share_b
        variances = slice(NOISE_VARIANCE, IMAGE_VARIANCE + 1)
        combined[:, variances] = a[:, variances] * share_a**2 + b[:, variances] * share_b**2
        combined[:, WEIGHT] = weight[:, 0]
        combined[:, N] = a[:, N] + b[:, N]
        source, configuration = np.divmod(keys, _MOST_CONFIGURATIONS)
        return Means(known.sources, source, configuration, combined)

    def _with_sources(self, source_id: pd.Index) -> Means:
        """The same with places for these sources, too."""
        new = source_id[self.sources.get_indexer(source_id) < 0]
        if not len(new):
            return self
        both = np.concatenate([self.sources.to_numpy(), new.to_numpy(dtype=object)])
        sources = pd.Index(np.unique(both), dtype=object)
        return replace(self, sources=sources, source=sources.get_indexer(self.sources)[self.source])


def _keys(place: Integers, configuration: Integers | int) -> Integers:
    """One number for each pair, which sort as the pairs do."""
    return place * _MOST_CONFIGURATIONS + configuration


def _kind_of(cell: Indices) -> Indices:
    return cell // _N_RINGS % _N_KINDS


@dataclass(frozen=True)
class Differences:
    """Differences of two estimates of a source's flux, and their variances in parts: (n,), floors and steps (n, 8)."""

    difference: Floats
    noise: Floats
    floor: Floats
    step: Floats
    scale: Floats
    radius: Floats


@dataclass(frozen=True)
class Evidence:
    """Differences of fluxes from earlier means, counted.

    Attributes
    ----------
    counts : by cell and step of the difference, shape (n_cells, n_steps)
    sums : over each cell, of variances in units of the finder's: of floors of 100 % at each node, of steps between
        configurations of 100 % at each node, of the images' scales; shape (n_cells, 17)
    """

    counts: Integers
    sums: Floats

    @classmethod
    def none(cls) -> Self:
        """Before anything was compared."""
        return cls(np.zeros((N_CELLS, N_STEPS), np.int64), np.zeros((N_CELLS, N_SUMS)))

    def fit(self, believed: float = 0.0) -> Fit:
        """The model that the evidence gives; ``believed``: floor beforehand."""
        return fit(self, believed)

    def misfits(self, terms: ErrorTerms) -> list[str]:
        """Where a model does not fit: one sentence a place."""
        return misfits(self, terms)

    @property
    def n(self) -> int:
        """Differences that a model is from."""
        return int(self.counts[self.used].sum())

    @property
    def used(self) -> Indices:
        """Cells that a model is from."""
        n = self.counts.sum(axis=1)
        kind = _kind_of(np.arange(N_CELLS))
        known = n[kind == WITHIN].sum() >= _ENOUGH_WITHIN * n[kind == _FIRST_TWO].sum()
        return np.flatnonzero((n > 0) & ~(known & (kind == _FIRST_TWO)))

    def with_points(self, points: Points, before: Means, after: Means) -> Self:
        """The evidence with the fluxes of another epoch, given the means before and after it."""
        here = after.row_of(points.source_id, points.configuration)
        within = self.with_differences(_from_means(points, before), WITHIN)
        within = within.with_differences(_alike_after_all(here, after), WITHIN)
        both = within.with_differences(_between(here, after), _BETWEEN)
        return both.with_differences(_first_two(points, before), _FIRST_TWO)

    def with_differences(self, found: Differences, kind: int) -> Self:
        """The evidence with some differences of a kind: of fluxes of one configuration, or between two."""
        noise, floors = found.noise[:, None], found.floor.sum(axis=1)
        scale = found.scale / found.noise
        size = np.abs(found.difference) / np.sqrt(found.noise * (1.0 + scale))
        row = np.searchsorted(_SNR_EDGES, np.sqrt(floors / found.noise), side="right")
        ring = np.searchsorted(_RADIUS_EDGES, found.radius, side="right")
        cell = (row * _N_KINDS + kind) * _N_RINGS + ring
        sums = np.concatenate([found.floor / noise, found.step / noise, scale[:, None]], axis=1)
        summed = np.stack([np.bincount(cell, column, minlength=N_CELLS) for column in sums.T], axis=1)
        step = np.searchsorted(_STEPS, size, side="right")
        counts = np.bincount(cell * N_STEPS + step, minlength=N_CELLS * N_STEPS).reshape(N_CELLS, N_STEPS)
        return replace(self, counts=self.counts + counts, sums=self.sums + summed)


def as_means(points: Points) -> Floats:
    """Fluxes as the means of one each, without weights."""
    one = np.ones((len(points.flux), len(_MEANS)))
    one[:, MEAN], one[:, NOISE_VARIANCE], one[:, FLOOR_VARIANCE] = points.flux, points.err**2, points.whole**2
    one[:, SCALE_VARIANCE], one[:, _TIE] = (points.scale_err * points.whole) ** 2, points.tie_err**2
    one[:, IMAGE_VARIANCE] = points.of_image
    one[:, RADIUS] = np.where(np.isfinite(points.radius), points.radius, TYPICAL_RADIUS)
    return one


def _from_means(points: Points, before: Means) -> Differences:
    """Of fluxes from the mean of the earlier ones in the same configuration."""
    known, old = before.of(points.source_id, points.configuration)
    return _of_rows(as_means(points.take(known)), old)


def _first_two(points: Points, before: Means) -> Differences:
    """Of fluxes in the second image of a pointing from those in the first."""
    second = points.take(points.configuration % 2 == 1)
    second = second.take(before.row_of(second.source_id, second.configuration) < 0)
    return _from_means(replace(second, configuration=second.configuration - 1), before)


def _between(here: Indices, after: Means) -> Differences:
    """Of the means of two configurations of a source: of those that now have enough fluxes, from the latest other.

    They are those in rows ``here``, which another flux was just added to.

    The other one has no more to wait for, however few it has: the first image of a pointing may be alone in its own.
    """
    rows, source, number = after.columns, after.source, after.configuration
    n = rows[:, N]
    here = here[n[here] == _COMPARED_AT]
    # Sorted by source, then configuration: the other one that was there before stands one row up, or two where the
    # second image of a pointing stands between.
    up = here - 1
    single = (up > 0) & (number[up] % 2 == 1) & (n[up] == 1.0)
    above = np.maximum(up - 1, 0)
    up = np.where(single & (number[above] == number[up] - 1) & (source[above] == source[up]), above, up)
    fits = (up >= 0) & (source[up] == source[here])
    here, up = here[fits], up[fits]
    step, other = (radius_weights(rows[at, RADIUS]) * rows[at, MEAN, None] ** 2 for at in (here, up))
    found = _of_rows(rows[here], rows[up])
    # Two fields are tied to catalogs each by itself: of what that costs, the steps are no measure.
    ties = sum(rows[at, _TIE] * rows[at, MEAN] ** 2 for at in (here, up))
    return replace(found, step=step + other, scale=found.scale + ties)


def _alike_after_all(here: Indices, after: Means) -> Differences:
    """Of the fluxes in the second image of a pointing from the mean of the first and, now, the third, in rows ``here``.

    The third image joined the first, not the second, which so was no other configuration.
    """
    rows, source, number = after.columns, after.source, after.configuration
    n = rows[:, N]
    here = here[(n[here] == 2.0) & (number[here] % 2 == 0) & (here + 1 < len(rows))]
    here = here[(source[here + 1] == source[here]) & (number[here + 1] == number[here] + 1) & (n[here + 1] == 1.0)]
    return _of_rows(rows[here + 1], rows[here])


def _of_rows(a: Floats, b: Floats) -> Differences:
    """Of the means a from the means b, without steps; columns of `Means`.

    How bright the source is, both say together, weighted by their noise: of all means this one does not depend on the
    difference. By the flux a alone, what is high by chance would be taken for brighter; as there are more faint sources
    than bright ones, squares of differences would look larger than they are, by some percent near the threshold.
    """
    noise_a, noise_b = a[:, NOISE_VARIANCE], b[:, NOISE_VARIANCE]
    noise, scale = noise_a + noise_b, a[:, SCALE_VARIANCE] + b[:, SCALE_VARIANCE]
    level = (a[:, MEAN] * noise_b + b[:, MEAN] * noise_a) / noise
    floor, other = (
        radius_weights(one[:, RADIUS]) * (one[:, FLOOR_VARIANCE] * (level / one[:, MEAN]) ** 2)[:, None]
        for one in (a, b)
    )
    return Differences(a[:, MEAN] - b[:, MEAN], noise, floor + other, 0.0 * floor, scale, a[:, RADIUS])


@dataclass(frozen=True)
class Fit:
    """Model that the evidence gives.

    Attributes
    ----------
    terms : k^2, f^2 and p^2
    precision : inverse covariance of `ErrorTerms.squares`
    n : differences that it is from
    """

    terms: ErrorTerms
    precision: Floats
    n: int

    @property
    def errors(self) -> Floats:
        """Standard errors of `ErrorTerms.squares`."""
        return np.asarray(np.sqrt(np.diag(np.linalg.inv(self.precision))))


def fit(evidence: Evidence, believed_floor: float = 0.0) -> Fit:
    """The model under which the differences are most likely, with what was believed before.

    Expectation and maximization: the share of each count that is not wild, and the second moment of what lies in its
    step, for the widths so far; then widths for those moments by least squares, no square below 0. It begins with the
    widths that the medians give: with widths that are far too small all would be taken for wild. With little evidence
    it is the finder's errors.
    """
    used = evidence.used
    cells = FittedCells.of(evidence, used)
    prior, believed = _prior(believed_floor)
    theta = cells.from_medians(prior, believed)
    wild = np.tile(_PRIOR_WILD, (len(used), 1))
    weight = np.zeros(len(used))
    for _ in range(_ITERATIONS):
        variance = cells.variance(theta)
        n_normal, moment, wild = cells.expectation(variance, wild)
        weight = n_normal / (2.0 * variance**2)
        found, step = cells.least_squares(moment, weight, prior, believed, theta)
        theta = found
        if step < _CONVERGED:
            break
    precision = (cells.design * weight[:, None]).T @ cells.design + prior.T @ prior
    theta[:_N_NOISE] = np.maximum(theta[:_N_NOISE], _LEAST_NOISE)
    return Fit(ErrorTerms.of_squares(theta), precision, evidence.n)


@dataclass(frozen=True)
class FittedCells:
    """Cells with differences: variance = design @ values + offset, in units of the finder's with the scales'."""

    counts: Floats
    design: Floats
    offset: Floats
    row: Indices

    @classmethod
    def of(cls, evidence: Evidence, used: Indices) -> FittedCells:
        mean = evidence.sums[used] / evidence.counts[used].sum(axis=1)[:, None]
        fractions, scale = mean[:, :-1], mean[:, -1]
        snr = np.sqrt(fractions[:, :_N_RADII].sum(axis=1))
        design = np.concatenate([snr_weights(snr), fractions], axis=1) / (1.0 + scale)[:, None]
        return cls(evidence.counts[used].astype(float), design, scale / (1.0 + scale), used // _N_RINGS)

    def variance(self, theta: Floats) -> Floats:
        return np.maximum(self.design @ theta + self.offset, 1e-4)

    def squares(self, terms: ErrorTerms) -> tuple[Floats, Floats]:
        """Squared differences over their variances by a model, and how many there are, shape (n_cells, steps).

        Counts are spread over their steps, which are too wide for medians and quantiles.
        """
        within = (np.arange(_PARTS) + 0.5) / _PARTS
        last = np.where(np.isfinite(_UPPER), _UPPER, 1.2 * _LOWER)
        value = (_LOWER[:, None] + (last - _LOWER)[:, None] * within).ravel()
        spread = np.repeat(self.counts / _PARTS, _PARTS, axis=1)
        return value[None, :] ** 2 / self.variance(terms.squares)[:, None], spread

    def share_of_floor(self, terms: ErrorTerms) -> Floats:
        """Share that floors have in the variance of each cell by a model, shape (n_cells,)."""
        columns = slice(_N_NOISE, _N_NOISE + _N_RADII)
        return np.asarray((self.design[:, columns] @ terms.floor) / self.variance(terms.squares))

    def least_squares(
        self, moment: Floats, weight: Floats, prior: Floats, believed: Floats, before: Floats
    ) -> tuple[Floats, float]:
        """Squares that give these second moments best, and by how many of their errors, squared, they moved."""
        root = np.sqrt(weight)
        rows = np.concatenate([self.design * root[:, None], prior])
        found, _ = scipy.optimize.nnls(rows, np.concatenate([(moment - self.offset) * root, believed]))
        step = rows @ (found - before)
        return found, float(step @ step)

    def from_medians(self, prior: Floats, believed: Floats) -> Floats:
        """Squares that the median difference of each cell gives, as if all were normal."""
        n = self.counts.sum(axis=1)
        at = np.argmax(np.cumsum(self.counts, axis=1) >= n[:, None] / 2.0, axis=1)
        moment = _middle_of_steps()[at] ** 2 / _MEDIAN_SQUARE
        theta = PLAIN.squares
        variance = np.maximum(moment, 0.1)
        for _ in range(_FROM_MEDIANS):
            theta, _ = self.least_squares(moment, n / (2.0 * variance**2), prior, believed, theta)
            variance = self.variance(theta)
        return theta

    def expectation(self, variance: Floats, wild: Floats) -> tuple[Floats, Floats, Floats]:
        """Number of normal differences of each cell, their second moment, and the shares of wild ones."""
        sigma = np.sqrt(variance)[:, None]
        low, high = _LOWER / sigma, _UPPER / sigma
        normal = np.maximum(scipy.special.erf(high / np.sqrt(2.0)) - scipy.special.erf(low / np.sqrt(2.0)), 1e-300)
        strange = [
            share[:, None] * 2.0 / np.pi * (np.arctan(high / width) - np.arctan(low / width))
            for share, width in zip(wild.T, _WILD_WIDTHS, strict=True)
        ]
        share = (1.0 - wild.sum(axis=1))[:, None] * normal
        per_count = self.counts / (share + sum(strange))
        share = share * per_count
        # Second moment of a normal value within a step: 1 - (b phi(b) - a phi(a)) / (Phi(b) - Phi(a)).
        last = np.where(np.isfinite(high), high, 0.0)
        edge = np.sqrt(2.0 / np.pi) * (last * np.exp(-(last**2) / 2.0) - low * np.exp(-(low**2) / 2.0))
        inside = np.clip(1.0 - edge / normal, low**2, np.where(np.isfinite(high), high, low + 1.0) ** 2)
        n_normal = share.sum(axis=1)
        moment = variance * (share * inside).sum(axis=1) / np.maximum(n_normal, 1e-9)
        return n_normal, moment, self._wild_shares(np.stack([(one * per_count).sum(axis=1) for one in strange], axis=1))

    def _wild_shares(self, n_wild: Floats) -> Floats:
        """Shares of wild differences, shape (n_cells, 2), given how many each cell has.

        Brighter sources show their variations: the share is that of the same S / e. Where few differences tell it, it
        is like that at all S / e: with what is believed beforehand variables would be taken for noise.
        """
        n = self.counts.sum(axis=1)
        usual = (n_wild.sum(axis=0) + _PRIOR_WILD * _PRIOR_SEEN) / (n.sum() + _PRIOR_SEEN)
        of_row = np.stack([np.bincount(self.row, one)[self.row] for one in n_wild.T], axis=1)
        shares: Floats = (of_row + usual * _PRIOR_SEEN) / (np.bincount(self.row, n)[self.row] + _PRIOR_SEEN)[:, None]
        return shares


def _middle_of_steps() -> Floats:
    return np.asarray(np.sqrt(np.maximum(_LOWER, 0.03) * np.where(np.isfinite(_UPPER), _UPPER, 1.2 * _LOWER)))


def _prior(floor: float) -> tuple[Floats, Floats]:
    """Rows and right-hand side of what is believed without evidence: this floor, none within what is usual."""
    unity = np.eye(_N_NOISE) / _PRIOR_NOISE
    typical = (RADIUS_NODES == TYPICAL_RADIUS)[None, :]
    nothing = [typical / width**2 for width in (floor or _PRIOR_FLOOR, _PRIOR_STEP)]
    apart = np.sqrt(np.diff(np.log(SNR_NODES)))[:, None]
    widths = ((_N_NOISE, _ALIKE_NOISE * apart), (_N_RADII, _ALIKE_FLOOR**2), (_N_RADII, _ALIKE_STEP**2))
    alike = [np.diff(np.eye(n), axis=0) / width for n, width in widths]
    rows = np.concatenate([scipy.linalg.block_diag(unity, *nothing), scipy.linalg.block_diag(*alike)])
    believed = np.where(np.arange(len(rows)) < _N_NOISE, 1.0 / _PRIOR_NOISE, 0.0)
    # The square of a floor is believed within itself.
    believed[_N_NOISE] = 1.0 if floor else 0.0
    return rows, believed


def has_moved(published: ErrorTerms, found: Fit) -> bool:
    """Whether a model has to be replaced: it is off by more than the errors of what is found, and that matters.

    Chance moves it by its own error, the less the more evidence there is. So it is replaced each time the evidence has
    grown by some factor, not every night.
    """
    off = found.terms.squares - published.squares
    together = float(off @ found.precision @ off)
    noise = off[:_N_NOISE]
    of_noise = float(noise @ np.linalg.inv(np.linalg.inv(found.precision)[:_N_NOISE, :_N_NOISE]) @ noise)
    likely = scipy.special.chdtrc(len(off), together) > _UNLIKELY
    if likely and scipy.special.chdtrc(_N_NOISE, of_noise) > _UNLIKELY_NOISE:
        return False
    return bool((np.abs(_widths(found.terms) / _widths(published) - 1.0) > _NOTICEABLE).any())


def _widths(terms: ErrorTerms) -> Floats:
    """Errors at all S / e and distances, within and between configurations."""
    floors = np.concatenate([terms.floor, terms.floor + terms.step])
    square = terms.noise[:, None] + floors[None, :] * SNR_NODES[:, None] ** 2
    return np.asarray(np.sqrt(np.maximum(square, 1e-4)))


GOOD_ETA = (0.8, 1.25)
"""Median eta of constant sources, over what it should be, that errors give which are right."""

FEWEST_JUDGED, _PARTS = 200, 8
_SNR_GROUPS, _RING_GROUPS = (7.9, 15.8, 31.7, 89.6), (0.3, 0.54, 0.75, 0.95)


def misfits(evidence: Evidence, terms: ErrorTerms) -> list[str]:
    """Where the median squared difference is outside 0.8 to 1.25 of what the model expects: one sentence a place.

    Outside by more than the error of the median.
    """
    table = median_ratios(evidence, terms)
    err = 2.0 * MAD_SIGMA_ERROR / np.sqrt(table["n"])
    outside = (table["ratio"] + err < GOOD_ETA[0]) | (table["ratio"] - err > GOOD_ETA[1])
    wrong = table[(table["n"] >= FEWEST_JUDGED) & outside]
    return [
        f"median squared difference of {row.n} fluxes at S / e {row.snr} and {row.radius} image radii is "
        f"{row.ratio:.2f} of what is expected"
        for row in wrong.itertuples()
    ]


def median_ratios(evidence: Evidence, terms: ErrorTerms) -> pd.DataFrame:
    """Median squared differences within a configuration over those that the model expects of constant sources.

    Returns
    -------
    DataFrame: snr, radius (ranges as text), n (differences), ratio
    """
    used = np.flatnonzero(evidence.counts.sum(axis=1))
    used = used[_kind_of(used) == WITHIN]
    if not len(used):
        return pd.DataFrame({"snr": [], "radius": [], "n": [], "ratio": []})
    cells = FittedCells.of(evidence, used)
    ratio, spread = cells.squares(terms)
    ratio /= _MEDIAN_SQUARE
    snr = np.searchsorted(_SNR_GROUPS, np.r_[2.8, _SNR_EDGES][used // (_N_KINDS * _N_RINGS)] * 1.01, side="right")
    ring = np.searchsorted(_RING_GROUPS, np.r_[0.0, _RADIUS_EDGES][used % _N_RINGS] * 1.01 + 1e-6, side="right")
    rows = []
    for group in np.unique(snr * 10 + ring):
        here = snr * 10 + ring == group
        order = np.argsort(ratio[here].ravel())
        counts = spread[here].ravel()[order]
        at = int(np.searchsorted(np.cumsum(counts), counts.sum() / 2.0))
        low, high = np.r_[0, _SNR_GROUPS, np.inf][group // 10 : group // 10 + 2]
        near, far = np.r_[0, _RING_GROUPS, np.inf][group % 10 : group % 10 + 2]
        rows.append(
            (f"{low:g}-{high:g}", f"{near:g}-{far:g}", int(counts.sum()), float(ratio[here].ravel()[order][at]))
        )
    return pd.DataFrame(rows, columns=["snr", "radius", "n", "ratio"])
