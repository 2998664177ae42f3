"""The relative flux scale of one image: its fluxes against what the same sources had on average before.

A source's mean flux over the earlier epochs has no scatter of a catalog, no difference in frequency or beam, and less
noise than any single flux. So hundreds of constant sources give an image's own scale to a few thousandths.

The ratio S / mean is taken as it is, not its logarithm, and its variance from the mean of all fluxes, not from the flux
itself or the earlier ones alone: they would prefer sources that noise made bright on one side, by as much as the
scale's error where many are faint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import scipy

from contimg_assets.sky.arrays import Flags, Floats, Indices
from contimg_assets.sky.robust import numbers_by, scatter, squares

# Tukey's biweight at 95 % efficiency: a variable source loses all weight, not just some.
_BIWEIGHT = 4.685
_EFFICIENCY = 0.95
_ITERATIONS = 30
_CONVERGED = 1e-3
# How many sources the scatter of the other images of the epoch counts for, and how many blocks "no correlation" does.
_SCATTER_PRIOR, _CORRELATION_PRIOR = 20.0, 5.0
# How many earlier fluxes of a source the model of its scatter counts for: by how much the sources differ; how many
# sources "they do not differ" counts for.
_SOURCE_PRIORS, _DIFFERENCES_PRIOR = (2.0, 50.0), 20.0
_FEWEST_FREE = 1.0
_BINS, _FEWEST_IN_BIN = 8, 25
_LEAST_VARIANCE = 1e-8
# Least variance of a source, as a share of the median.
_LEAST_SHARE = 1 / 16


@dataclass(frozen=True)
class ScatterModel:
    """Variance of relative fluxes = factor * (error / flux)^2 + floor^2: what the errors lack, of faint and of bright.

    Finders understate errors by a factor, which faint sources show; primary beams, ionosphere and deconvolution scatter
    the bright ones by a fraction of their flux. What a single source has scattered so far is believed against the model
    as one with ``counts_for`` fluxes: few where sources differ.
    """

    factor: float = 1.0
    floor: float = 0.0
    counts_for: float = _SOURCE_PRIORS[1]

    def variance(self, noise: Floats) -> Floats:
        found: Floats = self.factor * noise + self.floor**2 + _LEAST_VARIANCE
        return found


@dataclass(frozen=True)
class Ratios:
    """Flux over mean earlier flux of the constant sources of one image, shapes (n,); or of several, (images, n).

    Attributes
    ----------
    ratio : this image's flux over the mean of the earlier, calibrated ones
    noise : variance of the ratio by this flux's error, in units of the square of the mean flux
    known_noise : variance of the mean flux by the errors of the earlier fluxes, as a fraction squared
    n_fluxes : earlier fluxes that the mean is of
    squares : sum of their squared deviations from the mean, in units of the square of the mean
    block : number of the part of the image that the source lies in, from 0
    """

    ratio: Floats
    noise: Floats
    known_noise: Floats
    n_fluxes: Floats
    squares: Floats
    block: Indices

    @classmethod
    def stacked(cls, samples: Sequence[Ratios]) -> Ratios:
        """Of several images with as many sources."""
        return cls(*(np.stack(values) for values in zip(*(vars(one).values() for one in samples), strict=True)))

    def of(self, rows: Flags) -> Ratios:
        """Some of several images."""
        return Ratios(*(values[rows] for values in vars(self).values()))

    def variances(self, scale2: Floats, model: ScatterModel) -> tuple[Floats, Floats]:
        """Variance of this image's relative fluxes, and of the means; ``scale2`` is the square of its scale.

        The model's, drawn towards what each source itself has shown: at the edge of an image, or where it is extended
        or varies a little, it scatters more than others.
        """
        free = np.maximum(self.n_fluxes - 1.0, 0.0)
        typical = model.variance(self.known_noise * self.n_fluxes)
        prior = model.counts_for
        excess = (prior * typical + self.squares) / ((prior + free) * typical)
        return model.variance(self.noise / scale2) * excess, typical * excess / self.n_fluxes


@dataclass(frozen=True)
class RelativeScale:
    """Our flux = scale * earlier mean flux; NaN where there is none.

    Attributes
    ----------
    n : sources
    scale : the image's scale
    own_err, known_err : its fractional error by what is this image's own, and by that of the earlier means, which the
        other images of the field have too
    scatter : of the ratios beyond the errors, a fraction
    outlier_fraction : share of the sources that have no weight
    block_chi2, n_blocks : sum of squares of the blocks' mean residuals in units of their errors; blocks, 0 if too few
    influence : change of the scale with each ratio, as fractions, shape (n,)
    pull : covariance of the scale and the noise of each source's flux, as fractions, shape (n,): a source that is high
        by noise draws the scale along, and is less off in it than others are. What sources scatter beyond noise is not
        in it: two dozen ratios tell that badly, and a floor that is not there would free the brightest fluxes, which
        have hardly any noise, of an error of the scale that they do have
    """

    n: int
    scale: float = np.nan
    own_err: float = np.nan
    known_err: float = np.nan
    scatter: float = np.nan
    outlier_fraction: float = np.nan
    block_chi2: float = 0.0
    n_blocks: int = 0
    influence: Floats = field(default_factory=lambda: np.empty(0), compare=False, repr=False)
    pull: Floats = field(default_factory=lambda: np.empty(0), compare=False, repr=False)


def blocks(east: Floats, north: Floats) -> Indices:
    """Parts of an image with equally many sources each: strips along north, each cut along east.

    Residuals of neighbors go together (primary beam, ionosphere), so that the scale is worse than so many sources
    would make it if each stood alone; means of blocks say by how much.
    """
    n = len(east)
    side = 4 if n >= 64 else 3 if n >= 27 else 2 if n >= 12 else 1
    strip = _equal_parts(north, np.zeros(n, dtype=np.intp), side)
    return strip * side + _equal_parts(east, strip, side)


def _equal_parts(values: Floats, group: Indices, parts: int) -> Indices:
    """Number of the part, from 0, that a value is in where each group is sorted and cut into equal parts."""
    order = np.lexsort((values, group))
    sizes = np.bincount(group, minlength=1)
    first = np.cumsum(sizes) - sizes
    part = np.empty(len(values), dtype=np.intp)
    sorted_group = group[order]
    rank = np.arange(len(values)) - first[sorted_group]
    part[order] = rank * parts // np.maximum(sizes[sorted_group], 1)
    return part


def fit_relative_scales(
    samples: Sequence[Ratios], model: ScatterModel, correlation: Floats | None = None
) -> list[RelativeScale]:
    """The scale that most sources of each image agree on, by a redescending M-estimate.

    What comes out for an image is the same to the last digit, whichever others are there.

    Parameters
    ----------
    samples : an image each
    model : how far the ratios of constant sources scatter
    correlation : factor by which the variance of each image is larger than for sources that know nothing of each other,
        from `block_correlation`; 1 where it is not given

    Returns
    -------
    RelativeScale of each; of no source the scale is NaN
    """
    found = [RelativeScale(0)] * len(samples)
    factors = np.ones(len(samples)) if correlation is None else correlation
    for n, numbers in numbers_by(len(one.ratio) for one in samples).items():
        if n:
            fits = _fits_of_as_many([samples[number] for number in numbers], model, factors[numbers])
            for number, fit in zip(numbers, fits, strict=True):
                found[number] = fit
    return found


@dataclass(frozen=True)
class _State:
    """Where the fits of images with n sources stand: the scale, shape (images,), and what it is from, (images, n).

    Attributes
    ----------
    own, known, variance : of this image's relative fluxes, of the means, and of the ratios
    inside, weight : of each source; 1 and 0 are the center and beyond where it counts
    total : of the weights, shape (images,)
    """

    scale: Floats
    own: Floats
    known: Floats
    variance: Floats
    inside: Floats
    weight: Floats
    total: Floats

    @classmethod
    def after(cls, scale: Floats, ratios: Ratios, model: ScatterModel) -> tuple[_State, Floats]:
        """By one step from some scales; and by which fraction it changed them, NaN where nothing has weight."""
        residual = ratios.ratio / scale[:, None] - 1.0
        own, known = ratios.variances(squares(scale)[:, None], model)
        # An image that is noisier than the others of the epoch: its own residuals say so.
        stretch = _stretch(residual / np.sqrt(own + known))
        variance = stretch[:, None] * (own + known)
        # No source may speak for the whole image, however bright: it may vary, or be extended.
        taken = _bounded(variance)
        inside = np.maximum(1.0 - residual**2 / (_BIWEIGHT**2 * taken), 0.0)
        weight = inside**2 / taken
        total = weight.sum(axis=-1)
        with np.errstate(invalid="ignore"):
            change = np.where(total > 0, (weight * residual).sum(axis=-1) / total, np.nan)
        return cls(scale * (1.0 + change), own, known, variance, inside, weight, total), change

    def put(self, rows: Indices, others: _State) -> None:
        """Replace some images."""
        for values, new in zip(vars(self).values(), vars(others).values(), strict=True):
            values[rows] = new


def _fits_of_as_many(samples: Sequence[Ratios], model: ScatterModel, correlation: Floats) -> list[RelativeScale]:
    """See `fit_relative_scales`: of images that all have n sources."""
    ratios = Ratios.stacked(samples)
    state = _converged(ratios, model)
    scale2 = squares(state.scale)[:, None]
    spread_of = _spreads(state, correlation)
    left = ratios.ratio / state.scale[:, None] - 1.0
    noise = ratios.noise / scale2 + ratios.known_noise
    beyond = [
        float(np.sqrt(max(one**2 - middle, 0.0)))
        for one, middle in zip(scatter(left, axis=-1).tolist(), np.median(noise, axis=-1).tolist(), strict=True)
    ]
    outliers = np.mean(state.inside == 0.0, axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        influence = state.weight / state.total[:, None]
    pull = influence * np.minimum(state.own, ratios.noise / scale2)
    n, found = ratios.ratio.shape[1], []
    for i, one in enumerate(samples):
        if not state.total[i] > 0:
            found.append(RelativeScale(n, influence=np.zeros(n), pull=np.zeros(n)))
            continue
        chi2, n_blocks = _block_chi2(left[i], state.weight[i], state.variance[i], one.block)
        own_err, known_err = spread_of[i]
        found.append(
            RelativeScale(
                n,
                scale=float(state.scale[i]),
                own_err=own_err,
                known_err=known_err,
                scatter=beyond[i],
                outlier_fraction=float(outliers[i]),
                block_chi2=chi2,
                n_blocks=n_blocks,
                influence=influence[i],
                pull=pull[i],
            )
        )
    return found


def _converged(ratios: Ratios, model: ScatterModel) -> _State:
    """The fits of images, each at the step at which its scale hardly changes."""
    state, change = _State.after(np.median(ratios.ratio, axis=-1), ratios, model)
    rows, scale, total = np.arange(len(change)), state.scale, state.total
    for _ in range(_ITERATIONS - 1):
        # Nor does one go on where nothing has weight.
        with np.errstate(divide="ignore"):
            going = np.abs(change) >= _CONVERGED / np.sqrt(total)
        if not going.any():
            break
        rows, ratios, scale = rows[going], ratios.of(going), scale[going]
        here, change = _State.after(scale, ratios, model)
        scale, total = here.scale, here.total
        state.put(rows, here)
    return state


def _spreads(state: _State, correlation: Floats) -> list[tuple[float, float]]:
    """The image's own fractional error of each scale, and that of the earlier means."""
    n = state.weight.shape[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        weight2 = state.weight**2
        own_share = (weight2 * state.own).sum(axis=-1) / (weight2 * (state.own + state.known)).sum(axis=-1)
        information = squares(state.total) / (weight2 * state.variance).sum(axis=-1)
    found = []
    for share, one, factor in zip(own_share.tolist(), information.tolist(), correlation.tolist(), strict=True):
        spread = factor * error_of_scale(one, n) ** 2
        found.append((float(np.sqrt(spread * share)), float(np.sqrt(spread * (1.0 - share)))))
    return found


def _bounded(variance: Floats) -> Floats:
    """Variances that weights are from: no source may speak for the whole image, however bright."""
    return np.maximum(variance, _LEAST_SHARE * np.median(variance, axis=-1, keepdims=True))


def information_of(variance: Floats) -> float:
    """Inverse variance of the mean of relative fluxes with these variances, shape (n,), weighted as scales are."""
    if not len(variance):
        return 0.0
    weight = 1.0 / _bounded(variance)
    return float(weight.sum() ** 2 / (weight**2 * variance).sum())


def error_of_scale(information: float, n: int) -> float:
    """Fractional error of a scale from n sources whose inverse variances have this sum; NaN of none."""
    if not information > 0:
        return np.nan
    # Few sources do not tell their scatter well: Student's distribution has a larger variance. The other images of the
    # epoch tell it too.
    freedom = max(n - 1.0, 1.0) + _SCATTER_PRIOR
    return float(np.sqrt(freedom / (freedom - 2.0) / (_EFFICIENCY * information)))


def _stretch(normalized: Floats) -> Floats:
    """Factor of the variance by which each image scatters more or less than the model; of few sources near 1.

    Not cut off at 1: chance takes it to either side, and half of the chance would make all errors too large.
    """
    return drawn_variance(normalized, 1.0)


def drawn_variance(residuals: Floats, usual: float) -> Floats:
    """Variance of residuals about their own center, drawn to the usual one: a dozen of them do not tell it well.

    Parameters
    ----------
    residuals : array, shape (n,) or (samples, n)
    usual : variance of others like them
    """
    n = residuals.shape[-1]
    found = squares(scatter(residuals, axis=-1)) * n / max(n - 1.0, 1.0)
    return np.asarray((n * found + _SCATTER_PRIOR * usual) / (n + _SCATTER_PRIOR))


def _block_chi2(residual: Floats, weight: Floats, variance: Floats, block: Indices) -> tuple[float, int]:
    """Sum of squares of the blocks' mean residuals in units of what sources that stand alone give; blocks."""
    n_blocks = int(block.max()) + 1
    if n_blocks < 2:
        return 0.0, 0
    shift2 = np.bincount(block, weight * residual, minlength=n_blocks) ** 2
    expected = np.bincount(block, weight**2 * variance, minlength=n_blocks)
    there = expected > 0
    return float((shift2[there] / expected[there]).sum()), int(there.sum())


def scatter_model(ratios: Sequence[Ratios], fits: Sequence[RelativeScale]) -> ScatterModel:
    """How far the ratios of all images of an epoch scatter, against their noise.

    Parameters
    ----------
    ratios, fits : of the images; their scales and influences as found so far

    Returns
    -------
    ScatterModel; of few sources its factor is 1
    """
    model = _scatter_of_ratios(ratios, fits)
    return replace(model, counts_for=_fluxes_that_count(ratios, model))


def _scatter_of_ratios(ratios: Sequence[Ratios], fits: Sequence[RelativeScale]) -> ScatterModel:
    """Factor and floor."""
    both = [(one, fit) for one, fit in zip(ratios, fits, strict=True) if np.isfinite(fit.scale)]
    noise = _joined([_left(one.noise / fit.scale**2 * (1.0 + 1.0 / one.n_fluxes), fit) for one, fit in both])
    share = _joined([_left(1.0 + 1.0 / one.n_fluxes, fit) for one, fit in both])
    residual = _joined([one.ratio / fit.scale - 1.0 for one, fit in both])
    n_bins = min(_BINS, len(noise) // _FEWEST_IN_BIN)
    if n_bins < 2:
        # A ratio that its image has no other beside agrees with the scale that it makes.
        tells = float(np.median(share)) if len(noise) else 0.0
        if tells <= 0:
            return ScatterModel()
        left = float(scatter(residual)) ** 2 - float(np.median(noise))
        return ScatterModel(1.0, float(np.sqrt(max(left, 0.0) / tells * len(noise) / (len(noise) + _SCATTER_PRIOR))))
    parts = np.array_split(np.argsort(noise, kind="stable"), n_bins)
    seen = np.array([float(scatter(residual[rows])) ** 2 for rows in parts])
    design = np.array([[noise[rows].mean(), share[rows].mean()] for rows in parts])
    weight = np.array([np.sqrt(len(rows)) for rows in parts]) / np.maximum(seen, 1e-12)
    (factor, floor2), _ = scipy.optimize.nnls(design * weight[:, None], seen * weight)
    return ScatterModel(max(float(factor), 0.25), float(np.sqrt(floor2)))


def _left(variance: Floats, fit: RelativeScale) -> Floats:
    """Variance of ratios about the scale that was fitted to them, shape (n,), given that about the true one.

    A ratio r_i has left r_i - sum a_j r_j, a the influences: (1 - 2 a_i) v_i + sum a_j^2 v_j.
    """
    left: Floats = (1.0 - 2.0 * fit.influence) * variance + float((fit.influence**2 * variance).sum())
    return left


def _fluxes_that_count(ratios: Sequence[Ratios], model: ScatterModel) -> float:
    """How many fluxes of a source the model counts for, against what the source itself has scattered so far.

    The variance that ln of the sources' own scatter has beyond chance (Smyth 2004, Stat. Appl. Genet. Mol. Biol. 3, 3,
    section 6.2). Where sources do not differ, weights by what few fluxes scattered would prefer those that agreed by
    chance, and errors would come out too small.
    """
    free = _joined([one.n_fluxes - 1.0 for one in ratios])
    own = _joined([one.squares / (model.variance(one.known_noise * one.n_fluxes)) for one in ratios])
    few, many = _SOURCE_PRIORS
    # What agrees exactly was made up.
    shown = (free >= _FEWEST_FREE) & (own > 0)
    if not shown.any():
        return many
    half = free[shown] / 2.0
    by_chance = scipy.special.polygamma(1, half)
    off = np.log(own[shown] / free[shown]) - (scipy.special.digamma(half) - np.log(half))
    weight = 1.0 / by_chance**2
    beyond = float((weight * ((off - np.median(off)) ** 2 - by_chance)).sum()) / float(
        weight.sum() * (1.0 + _DIFFERENCES_PRIOR / shown.sum())
    )
    numbers = np.geomspace(many, few, 200)
    return float(np.interp(beyond, scipy.special.polygamma(1, numbers / 2.0), numbers))


def _joined(parts: list[Floats]) -> Floats:
    joined: Floats = np.concatenate(parts) if parts else np.empty(0)
    return joined


def block_correlation(scales: Sequence[RelativeScale]) -> Floats:
    """Factor by which each image's variance of the scale is larger because residuals of neighbors go together.

    From the blocks of the image itself and, as these are few, of the other images of the epoch. Of all images together
    never below 1: blocks agree better than their errors by chance alone.
    """
    chi2 = np.array([one.block_chi2 for one in scales])
    freedom = np.array([max(one.n_blocks - 1.0, 0.0) for one in scales])
    # Of each image at most ten times what chance makes of it: broken images are refused, not averaged.
    pooled = (_CORRELATION_PRIOR + np.minimum(chi2, 10.0 * freedom).sum()) / (_CORRELATION_PRIOR + freedom.sum())
    factor: Floats = (_CORRELATION_PRIOR * max(pooled, 1.0) + chi2) / (_CORRELATION_PRIOR + freedom)
    return factor
