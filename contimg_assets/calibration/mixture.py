"""The likelihood of flux ratios with outliers, and its maximum: batched Newton steps on a model of six parameters.

The model of y = ln(S / S_ref) with variance e^2 from the errors of both fluxes (after Hogg, Bovy & Lang 2010, eq. 17,
with a free mean and width of the bad points)::

    p(y) = (1 - f) N(y; m, e^2 + s^2) + f N(y; m + d, e^2 + s^2 + w^2),   m = ln g + ln(1 + c / S_ref)

g is the flux scale, b = c g an additive flux error, s the intrinsic scatter, f the share of outliers, whose ln ratio is
off by d and spread by w. Weak priors (below) keep s, f, d and w proper where the data are silent about them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from contimg_assets.sky import robust
from contimg_assets.sky.arrays import Flags, Floats, Indices

MU, C, LN_S, LOGIT_F, D, LN_W = range(6)
N_PARAMETERS = 6

# Means and widths of Gaussian priors; infinite width means none. The share of outliers has a beta prior instead: as if
# 1 outlier had been seen among 20 matches.
_PRIOR_MEAN = np.array([0.0, 0.0, np.log(0.05), 0.0, 0.0, np.log(0.7)])
_PRIOR_WIDTH = np.array([np.inf, np.inf, 1.0, np.inf, 0.7, 0.5])
_BETA = (1.0, 19.0)

# How long all starts climb, and how many of them go on to the end.
N_STARTS, _FIRST_ITERATIONS, _FINALISTS = 6, 15, 2

_MAX_STEP = np.array([0.3, np.inf, 1.0, 1.5, 0.5, 0.5])
_LOWER = np.array([-np.inf, -np.inf, np.log(1e-5), -14.0, -5.0, np.log(0.1)])
_UPPER = np.array([np.inf, np.inf, np.log(3.0), 6.0, 5.0, np.log(5.0)])


@dataclass(frozen=True)
class Ratios:
    """Log flux ratios: y, their variance, and the reference flux in any unit; shapes (n,), or (batch, n).

    A batch holds samples that differ, all of n matches: fitted together they end where each ends by itself.
    """

    y: Floats
    variance: Floats
    reference: Floats

    @classmethod
    def stacked(cls, samples: Sequence[Ratios]) -> Ratios:
        """A batch of samples of as many matches."""
        return cls(*(np.stack(values) for values in zip(*(vars(one).values() for one in samples), strict=True)))

    def of(self, rows: Indices | Flags) -> Ratios:
        """Those of some rows of a batch; of one sample, which serves all rows, the same."""
        return self if self.y.ndim == 1 else Ratios(self.y[rows], self.variance[rows], self.reference[rows])

    def repeated(self, times: int) -> Ratios:
        """A batch in which each sample stands so many times, one after the other."""
        return Ratios(*(np.repeat(values, times, axis=0) for values in (self.y, self.variance, self.reference)))


@dataclass(frozen=True)
class _Derivatives:
    value: Floats  # (batch,)
    gradient: Floats  # (batch, 6)
    hessian: Floats  # (batch, 6, 6)
    scores: Floats  # (batch, n, 6), of each match, unweighted
    responsibility: Floats  # (batch, n), probability of being no outlier

    def of(self, rows: Indices | Flags | slice) -> _Derivatives:
        return _Derivatives(*(values[rows] for values in self._arrays()))

    def put(self, rows: Indices | Flags, new: _Derivatives) -> None:
        """Replace those of some rows."""
        for values, others in zip(self._arrays(), new._arrays(), strict=True):
            values[rows] = others

    def _arrays(self) -> tuple[Floats, ...]:
        return self.value, self.gradient, self.hessian, self.scores, self.responsibility


class _Normal(NamedTuple):
    """ln N(z; 0, V), and its derivatives by mean (m) and variance (V), shape (batch, n)."""

    log: Floats
    m: Floats
    v: Floats
    mm: Floats
    mv: Floats
    vv: Floats

    @classmethod
    def at(cls, z: Floats, variance: Floats) -> _Normal:
        inverse = 1.0 / variance
        square = z * z * inverse
        return cls(
            -0.5 * (np.log(2 * np.pi * variance) + square),
            z * inverse,
            0.5 * inverse * (square - 1.0),
            -inverse,
            -z * inverse * inverse,
            inverse * inverse * (0.5 - square),
        )


def log_likelihood(parameters: Floats, data: Ratios, weights: Floats | None = None) -> Floats:
    """Log of likelihood times priors, shape (batch,), for parameters of shape (batch, 6)."""
    mean, inner, outer, f = _shape_of_model(parameters, data)
    z = data.y - mean
    good = np.log1p(-f) - 0.5 * (np.log(2 * np.pi * inner) + z * z / inner)
    z = z - parameters[:, D, None]
    bad = np.log(f) - 0.5 * (np.log(2 * np.pi * outer) + z * z / outer)
    each = np.logaddexp(good, bad)
    total = each.sum(axis=-1) if weights is None else (each * weights).sum(axis=-1)
    with_priors: Floats = total + _prior(parameters)[0]
    return with_priors


def _shape_of_model(p: Floats, data: Ratios) -> tuple[Floats, Floats, Floats, Floats]:
    mean = p[:, MU, None] + np.log1p(p[:, C, None] / data.reference)
    inner = data.variance + np.exp(2 * p[:, LN_S, None])
    outer = inner + np.exp(2 * p[:, LN_W, None])
    return mean, inner, outer, 1.0 / (1.0 + np.exp(-p[:, LOGIT_F, None]))


def _prior(p: Floats) -> tuple[Floats, Floats, Floats]:
    """Log prior (batch,), gradient (batch, 6) and diagonal of the Hessian (batch, 6)."""
    z = (p - _PRIOR_MEAN) / _PRIOR_WIDTH
    f = 1.0 / (1.0 + np.exp(-p[:, LOGIT_F]))
    a, b = _BETA
    value = -0.5 * (z * z).sum(axis=-1) + a * np.log(f) + b * np.log1p(-f)
    gradient = -z / _PRIOR_WIDTH
    gradient[:, LOGIT_F] = a * (1 - f) - b * f
    curvature = np.broadcast_to(-1.0 / _PRIOR_WIDTH**2, p.shape).copy()
    curvature[:, LOGIT_F] = -(a + b) * f * (1 - f)
    return value, gradient, curvature


def derivatives(p: Floats, data: Ratios, weights: Floats | None = None) -> _Derivatives:
    """Value, gradient and Hessian of `log_likelihood`, and the score of each match.

    One set of parameters, shape (1, 6), with many weightings, shape (batch, n), is evaluated once for all of them.
    """
    mean, inner, outer, f = _shape_of_model(p, data)
    a, b = _Normal.at(data.y - mean, inner), _Normal.at(data.y - mean - p[:, D, None], outer)
    good, bad = a.log + np.log1p(-f), b.log + np.log(f)
    each = np.logaddexp(good, bad)
    r = np.exp(good - each)
    q = 1.0 - r
    slope = np.broadcast_to(1.0 / (data.reference + p[:, C, None]), r.shape)
    v_s, v_w = 2 * np.exp(2 * p[:, LN_S, None]), 2 * np.exp(2 * p[:, LN_W, None])

    # Rows of the Jacobian of (mean, variance) by parameter; the scores follow by the chain rule.
    zero = np.zeros_like(r)
    grad_a = np.stack([a.m, a.m * slope, a.v * v_s, zero - f, zero, zero], axis=-1)
    grad_b = np.stack([b.m, b.m * slope, b.v * v_s, zero + (1 - f), b.m, b.v * v_w], axis=-1)
    scores = r[..., None] * grad_a + q[..., None] * grad_b
    w = np.ones_like(r) if weights is None else weights

    # Second derivatives: of the mixing (r q times the outer product of the differences), then of each component.
    difference = grad_a - grad_b
    hessian = np.swapaxes(difference * (w * r * q)[..., None], -1, -2) @ difference
    hessian += _within_components((w * r, a), (w * q, b), slope, v_s, v_w)
    hessian[:, LOGIT_F, LOGIT_F] += (-w * f * (1 - f)).sum(axis=-1)
    value, gradient, curvature = _prior(p)
    diagonal = np.arange(N_PARAMETERS)
    hessian[:, diagonal, diagonal] += curvature
    total = (w[..., None, :] @ scores)[..., 0, :]
    return _Derivatives((each * w).sum(axis=-1) + value, total + gradient, hessian, scores, r)


def _within_components(
    inner: tuple[Floats, _Normal], outer: tuple[Floats, _Normal], slope: Floats, v_s: Floats, v_w: Floats
) -> Floats:
    """Second derivatives of the weighted components, summed over the matches, shape (batch, 6, 6).

    Parameters
    ----------
    inner, outer : weight of each match in the component, and the component
    slope : derivative of the mean by c over that by m
    v_s, v_w : derivatives of the variances by ln s and ln w
    """
    (wr, a), (wq, b) = inner, outer
    mm, mv = wr * a.mm + wq * b.mm, (wr * a.mv + wq * b.mv) * v_s
    # What depends on d and w is in the outer component alone.
    mm_b, mv_b, vv_b = wq * b.mm, wq * b.mv, wq * b.vv
    entries = {
        (MU, MU): mm,
        (MU, C): mm * slope,
        (C, C): (mm - wr * a.m - wq * b.m) * slope * slope,
        (MU, LN_S): mv,
        (C, LN_S): mv * slope,
        (LN_S, LN_S): (wr * a.vv + wq * b.vv) * v_s * v_s + (wr * a.v + wq * b.v) * 2 * v_s,
        (MU, D): mm_b,
        (C, D): mm_b * slope,
        (D, D): mm_b,
        (LN_S, D): mv_b * v_s,
        (MU, LN_W): mv_b * v_w,
        (C, LN_W): mv_b * v_w * slope,
        (D, LN_W): mv_b * v_w,
        (LN_S, LN_W): vv_b * v_s * v_w,
        (LN_W, LN_W): vv_b * v_w * v_w + wq * b.v * 2 * v_w,
    }
    result = np.zeros((len(mm), N_PARAMETERS, N_PARAMETERS))
    for (i, j), values in entries.items():
        result[:, i, j] = result[:, j, i] = values.sum(axis=-1)
    return result


def start(data: Ratios) -> Floats:
    """Robust starting values of each sample, shape (samples, 6)."""
    y, variance = np.atleast_2d(data.y), np.atleast_2d(data.variance)
    centre = np.median(y, axis=-1)
    spread = robust.scatter(y, centre[:, None], axis=-1, factor=robust.MAD_TO_SIGMA_4)
    # Squares as Python has them: arrays' differ in the last digit of one in a thousand, and with it all fits.
    least = [
        max(one**2 - float(v), (0.3 * one) ** 2, 1e-6)
        for one, v in zip(spread.tolist(), np.median(variance, axis=-1), strict=True)
    ]
    found = np.tile([0.0, 0.0, 0.0, np.log(0.05 / 0.95), 0.0, np.log(0.7)], (len(y), 1))
    found[:, MU], found[:, LN_S] = centre, np.log(np.sqrt(least))
    return found


def starts(data: Ratios) -> Floats:
    """Starting values that lead to different maxima, shape (samples * N_STARTS, 6), the usual ones of a sample first.

    Where many are outliers the median lies between the two components, and from there the climb may end with the core
    and the outliers exchanged, or with one component that takes in both. So it also begins at the densest place, with a
    narrow core and a third of the matches outside it: on both sides, above, or below.
    """
    y = np.atleast_2d(data.y)
    usual = start(data)
    spread, mode = np.exp(usual[:, LN_S]), _densest(y)
    found = np.repeat(usual, N_STARTS, axis=0).reshape(len(y), N_STARTS, N_PARAMETERS)
    for number, (centre, width, share, shift, outer) in enumerate(
        (
            (mode, 0.4 * spread, 0.35, 0.0, 0.3),
            (mode, 0.4 * spread, 0.35, 0.2, 0.2),
            (mode, 0.4 * spread, 0.35, -0.2, 0.2),
            (mode, 0.1 * spread, 0.5, np.mean(y, axis=-1) - mode, 0.15),
            (usual[:, MU], 1.3 * spread, 0.02, 0.0, 1.0),
        ),
        start=1,
    ):
        found[:, number, MU], found[:, number, LN_S] = centre, np.log(np.maximum(width, 1e-3))
        found[:, number, LOGIT_F], found[:, number, D] = np.log(share / (1 - share)), shift
        found[:, number, LN_W] = np.log(outer)
    return found.reshape(-1, N_PARAMETERS)


def _densest(values: Floats) -> Floats:
    """The half-sample mode (Robertson & Cryer 1974) of each row: again and again the shortest half of what is left."""
    left = np.sort(values, axis=-1)
    while left.shape[-1] > 3:
        half = (left.shape[-1] + 1) // 2
        widths = left[:, half - 1 :] - left[:, : left.shape[-1] - half + 1]
        rows = np.argmin(widths, axis=-1)[:, None] + np.arange(half)
        left = np.take_along_axis(left, rows, axis=-1)
    return np.asarray(np.mean(left, axis=-1))


def maximize_from_starts(data: Ratios, *, free: Flags) -> tuple[Floats, _Derivatives]:
    """The highest of the maxima that `starts` lead to, shape (samples, 6), and the derivatives there."""
    many = Ratios(*(np.atleast_2d(values) for values in (data.y, data.variance, data.reference)))
    n = len(many.y)
    climbed, found = maximize(
        starts(many),
        many.repeated(N_STARTS),
        free=free,
        max_iterations=_FIRST_ITERATIONS,
        tolerance=1e-2,
        together=N_STARTS,
    )
    # Those that climb on may still pass each other.
    best = np.argsort(-found.value.reshape(n, N_STARTS), axis=-1, kind="stable")[:, :_FINALISTS]
    chosen = (best + N_STARTS * np.arange(n)[:, None]).ravel()
    finished, found = maximize(climbed[chosen], many.repeated(_FINALISTS), free=free, together=_FINALISTS)
    first = np.argmax(found.value.reshape(n, _FINALISTS), axis=-1) + _FINALISTS * np.arange(n)
    winners = finished[first]
    return winners, derivatives(winners, many)


def maximize(
    first: Floats,
    data: Ratios,
    *,
    free: Flags,
    weights: Floats | None = None,
    max_iterations: int = 60,
    tolerance: float = 1e-6,
    together: int | None = None,
) -> tuple[Floats, _Derivatives]:
    """Newton steps to the maximum, for a batch of samples, or of weightings of the same matches.

    Parameters
    ----------
    first : shape (batch, 6)
    free : shape (6,); the other parameters stay as they are
    weights : shape (batch, n), or None for ones
    max_iterations, tolerance : it stops when no step is longer than the tolerance in standard errors
    together : so many rows, one after the other, stop when all of them may; all where it is not given

    Returns
    -------
    parameters, shape (batch, 6), and the derivatives there. Steps go along the eigenvectors of the Hessian with the
    absolute eigenvalues, so that they climb where it is not concave (Dauphin et al. 2014), and are halved until the
    likelihood grows.
    """
    found = derivatives(first, data, weights)
    here = _Climb(first.copy(), found, data, weights)
    result, rows = _Climb(here.p, found, data, weights), np.arange(len(first))
    for _ in range(max_iterations):
        step = _newton_step(here.found, free)
        largest = np.abs(step / _MAX_STEP).max(axis=-1)
        step /= np.maximum(largest, 1.0)[:, None]
        information = np.abs(np.einsum("bi,bij,bj->b", step, here.found.hessian, step))
        there = (information < tolerance**2).reshape(-1, together or len(step)).all(axis=-1)
        if there.all():
            break
        if there.any():
            going = np.repeat(~there, together or len(step))
            rows, step, here = rows[going], step[going], here.of(going)
        here = here.stepped(step)
        result = here if len(rows) == len(first) else result.with_rows(rows, here)
    return result.p, result.found


@dataclass(frozen=True)
class _Climb:
    """Where the fits of a batch stand: parameters, shape (batch, 6), and the derivatives there."""

    p: Floats
    found: _Derivatives
    data: Ratios
    weights: Floats | None

    def of(self, rows: Indices | Flags) -> _Climb:
        weights = None if self.weights is None else self.weights[rows]
        return _Climb(self.p[rows], self.found.of(rows), self.data.of(rows), weights)

    def with_rows(self, rows: Indices, others: _Climb) -> _Climb:
        """The same, with some rows as they are in others."""
        self.p[rows] = others.p
        self.found.put(rows, others.found)
        return self

    def at(self, p: Floats) -> _Climb:
        return replace(self, p=p, found=derivatives(p, self.data, self.weights))

    def stepped(self, step: Floats) -> _Climb:
        """After a step, which is halved where the likelihood would not grow, and left out where that does not help."""
        lowest = np.tile(_LOWER, (len(step), 1))
        lowest[:, C] = -0.5 * self.data.reference.min(axis=-1)
        trial = self.at(np.clip(self.p + step, lowest, _UPPER))
        length, rows = 1.0, np.flatnonzero(trial.worse_than(self))
        for halving in range(12):
            if not len(rows):
                break
            length = length / 2 if halving < 11 else 0.0
            before = self.of(rows)
            shorter = before.at(np.clip(before.p + length * step[rows], lowest[rows], _UPPER))
            trial = shorter if len(rows) == len(step) else trial.with_rows(rows, shorter)
            rows = rows[shorter.worse_than(before)]
        return trial

    def worse_than(self, other: _Climb) -> Flags:
        """Where the likelihood is less, by more than rounding makes it."""
        worse: Flags = ~(self.found.value >= other.found.value - 1e-9 * np.abs(other.found.value))
        return worse


def one_step(first: Floats, data: Ratios, *, free: Flags, weights: Floats) -> Floats:
    """Parameters after one Newton step from those of all matches, shapes (1, 6) and, for each weighting, (batch, 6).

    What is neglected against `maximize` is of second order in the change of the parameters.
    """
    step = _newton_step(derivatives(first, data, weights), free)
    stepped: Floats = first + step / np.maximum(np.abs(step / _MAX_STEP).max(axis=-1), 1.0)[:, None]
    return stepped


def _newton_step(found: _Derivatives, free: Flags) -> Floats:
    hessian = found.hessian[:, free][:, :, free]
    # Scaling by the diagonal first makes eigenvalues comparable between parameters of different units.
    scale = 1.0 / np.sqrt(np.maximum(np.abs(np.diagonal(hessian, axis1=-2, axis2=-1)), 1e-12))
    values, vectors = np.linalg.eigh(hessian * scale[:, :, None] * scale[:, None, :])
    along = np.einsum("bij,bi->bj", vectors, found.gradient[:, free] * scale)
    step = np.zeros_like(found.gradient)
    step[:, free] = np.einsum("bij,bj->bi", vectors, along / np.maximum(np.abs(values), 1e-6)) * scale
    return step


def covariance(found: _Derivatives, free: Flags) -> Floats:
    """Inverse of the observed information, shape (batch, 6, 6); zero for parameters that are not free."""
    information = -found.hessian[:, free][:, :, free]
    scale = 1.0 / np.sqrt(np.maximum(np.abs(np.diagonal(information, axis1=-2, axis2=-1)), 1e-12))
    values, vectors = np.linalg.eigh(information * scale[:, :, None] * scale[:, None, :])
    inverse = np.einsum("bij,bj,bkj->bik", vectors, 1.0 / np.maximum(values, 1e-6), vectors)
    result = np.zeros_like(found.hessian)
    result[np.ix_(np.arange(len(result)), free, free)] = inverse * scale[:, :, None] * scale[:, None, :]
    return result
