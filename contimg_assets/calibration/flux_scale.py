"""The flux scale of one image from its matches: four estimators with one result.

Belongs here: what turns pairs of fluxes into a scale with errors and diagnostics. The likelihood of the estimator
`mixture` is in `mixture`; which matches count is decided in `selection`, whether the result is trusted in `trust`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd

from contimg_assets.calibration import mixture
from contimg_assets.errors import InputError
from contimg_assets.schemas.tables import TableLike, as_frame
from contimg_assets.sky import robust
from contimg_assets.sky.arrays import Flags, Floats, Indices

Method = Literal["mixture", "huber", "odr", "median"]
Offset = Literal["never", "auto", "always"]

_MIN_FIT = {"mixture": 3, "huber": 2, "odr": 3, "median": 2}
_CANDIDATES_LEFT_OUT = 3
_FEW = 200
_MIN_OFFSET_SIGMA = 5.0
# Where ln ratios scatter by more than this beyond their errors, what is core and what is outlier is a matter of taste
# (variables and blends are off by as much), and the scale is the median of all.
MAX_CORE_SCATTER = 0.2


@dataclass(frozen=True)
class FluxScale:
    """Our fluxes = scale * reference fluxes + offset_mjy; to correct, (flux - offset_mjy) / scale.

    NaN stands for what a method does not give.

    Attributes
    ----------
    method : str
        The estimator; "median" may stand in for "mixture".
    n : int
        Matches.
    scale, scale_err : float
        Our flux over the reference's, and its standard error.
    scale_err_bootstrap : float
        The same by bootstrap.
    offset_mjy, offset_err_mjy : float
        Additive flux error, mJy, and its standard error; NaN where none was fitted.
    intrinsic_scatter : float
        Scatter of ln flux ratio beyond the errors.
    outlier_fraction : float
        Share of matches in the outlier component.
    chi2_reduced : float
        Chi-squared per degree of freedom with the intrinsic scatter.
    max_influence : float
        Largest change of the scale when one match is left out, in units of ``scale_err``.
    most_influential : int
        Row of that match; -1 where none was looked for.
    """

    method: str
    n: int
    scale: float = np.nan
    scale_err: float = np.nan
    scale_err_bootstrap: float = np.nan
    offset_mjy: float = np.nan
    offset_err_mjy: float = np.nan
    intrinsic_scatter: float = np.nan
    outlier_fraction: float = np.nan
    chi2_reduced: float = np.nan
    max_influence: float = np.nan
    most_influential: int = -1

    @property
    def mult(self) -> float:
        """Factor that corrects fluxes."""
        return 1.0 / self.scale

    @property
    def mult_err(self) -> float:
        return self.scale_err / self.scale**2


def calculate_flux_scale(
    matches: TableLike,
    method: Method = "mixture",
    *,
    offset: Offset = "auto",
    bootstrap: int = 0,
    seed: int = 0,
) -> FluxScale:
    """Flux scale of an image from its matches: divide fluxes by it to correct them.

    Parameters
    ----------
    matches : DataFrame, Table, QTable or pyarrow.Table
        One row a match, with ``flux_mjy``, ``flux_err_mjy``, ``reference_flux_mjy``, ``reference_flux_err_mjy``, as
        `calibration_matches` returns them of `match_measurements`, and `matched_fluxes` of `cross_match_sources`. Or
        the columns ``flux_int_mjy``, ``flux_int_err_mjy`` of measurements and ``expected_flux_mjy``,
        ``expected_flux_err_mjy`` of matches; or of matches alone ``flux_ratio`` and ``expected_flux_mjy``. Missing
        errors count as 0: the intrinsic scatter takes them up.
    method : {"mixture", "huber", "odr", "median"}
        "mixture" (likelihood with outliers; the median instead where even the core scatters by over 20 %), "huber"
        (unweighted robust regression through the origin: statsmodels RLM with Huber's T), "odr" (orthogonal distance
        regression with both errors), or "median" (of the ln ratios).
    offset : {"auto", "never", "always"}
        Whether an additive flux error is fitted too, by "mixture" and "odr"; "auto" takes it where it exceeds five
        standard errors and lowers the Bayesian information criterion ("mixture" only).
    bootstrap : int
        Replicates of the bootstrap error ("mixture" and "median"), 0 for none.
    seed : int
        Of the bootstrap.

    Returns
    -------
    FluxScale
        ``scale``, ``scale_err``, ``offset_mjy`` and diagnostics; ``mult`` is the factor that corrects fluxes. The scale
        is NaN where fewer usable matches are left than the fit needs.

    Raises
    ------
    InputError
        If a column is missing or the method unknown.

    References
    ----------
    Hogg, Bovy & Lang 2010, arXiv:1008.4686, eq. 17 ("mixture": likelihood with outliers); Huber 1964, Ann. Math.
    Statist. 35, 73 ("huber"); Boggs & Rogers 1990, Contemp. Math. 112, 186 ("odr").

    Examples
    --------
    >>> import pandas as pd
    >>> import contimg_assets as ca
    >>> ours, theirs = [110.0, 57.0, 212.0, 335.0], [100.0, 50.0, 200.0, 300.0]
    >>> pairs = pd.DataFrame({"flux_mjy": ours, "reference_flux_mjy": theirs})
    >>> scale = ca.calculate_flux_scale(pairs, "median")
    >>> round(scale.scale, 3), round(110.0 * scale.mult, 1)
    (1.108, 99.3)
    """
    matches = as_frame(matches, "matches")
    if method not in _METHODS:
        raise InputError(f"flux scale method {method!r} is unknown; use one of {', '.join(_METHODS)}")
    if offset not in ("never", "auto", "always"):
        raise InputError(f"offset {offset!r} is unknown; use one of never, auto, always")
    if bootstrap < 0:
        raise InputError(f"bootstrap {bootstrap} is not allowed; it is a number of replicates, 0 for none")
    return scales_of_images(matches, [np.arange(len(matches))], method, [offset], bootstrap, [seed])[0]


def scales_of_images(
    matches: pd.DataFrame,
    rows: Sequence[Indices],
    method: Method,
    offsets: Sequence[Offset],
    bootstrap: int,
    seeds: Sequence[int],
) -> list[FluxScale]:
    """`calculate_flux_scale` of several images, to the last digit: arrays hold those with as many matches.

    Parameters
    ----------
    matches : of all images, with the columns that the scale of one needs
    rows : those of each image
    method, bootstrap : as of `calculate_flux_scale`
    offsets, seeds : of each image, likewise
    """
    samples = _pairs(matches.take(np.concatenate(rows)), [len(one) for one in rows])
    found = [FluxScale(method, len(pairs.index)) for pairs in samples]
    for n, numbers in robust.numbers_by(len(pairs.index) for pairs in samples).items():
        if n < _MIN_FIT[method]:
            continue
        asked = [_Asked(samples[i], offsets[i], bootstrap, np.random.default_rng(seeds[i])) for i in numbers]
        for number, fit in zip(numbers, _METHODS[method](asked), strict=True):
            if fit.most_influential >= 0:
                fit = replace(fit, most_influential=int(samples[number].index[fit.most_influential]))
            found[number] = fit
    return found


@dataclass(frozen=True)
class _FluxPairs:
    flux: Floats
    flux_err: Floats
    reference: Floats
    reference_err: Floats
    index: Indices  # rows of the matches they come from

    def without(self, i: int) -> _FluxPairs:
        return _FluxPairs(*(np.delete(values, i) for values in vars(self).values()))

    @property
    def ln_ratio(self) -> Floats:
        return np.log(self.flux / self.reference)

    @property
    def variance(self) -> Floats:
        return (self.flux_err / self.flux) ** 2 + (self.reference_err / self.reference) ** 2


@dataclass(frozen=True)
class _Asked:
    """What the scale of one image is measured from."""

    pairs: _FluxPairs
    offset: Offset
    bootstrap: int
    rng: np.random.Generator


def _pairs(matches: pd.DataFrame, sizes: Sequence[int]) -> list[_FluxPairs]:
    """The pairs of each image, of matches that stand image after image; ``sizes`` says how many each has."""
    if not {"flux_mjy", "flux_int_mjy"} & set(matches.columns) and {"flux_ratio", "expected_flux_mjy"} <= set(matches):
        matches = matches.assign(flux_mjy=matches["flux_ratio"] * matches["expected_flux_mjy"])
    columns = []
    for ours, raw, required in (
        ("flux_mjy", "flux_int_mjy", True),
        ("flux_err_mjy", "flux_int_err_mjy", False),
        ("reference_flux_mjy", "expected_flux_mjy", True),
        ("reference_flux_err_mjy", "expected_flux_err_mjy", False),
    ):
        name = ours if ours in matches.columns else raw
        if name in matches.columns:
            columns.append(matches[name].to_numpy(dtype=float, na_value=np.nan))
        elif required:
            raise InputError(f"matches have neither column {ours!r} nor {raw!r}: the flux scale needs one of them")
        else:
            columns.append(np.zeros(len(matches)))
        if np.isinf(columns[-1]).any() and name.endswith("err_mjy"):
            row = int(np.argmax(np.isinf(columns[-1])))
            raise InputError(f"matches: row {row}, column {name!r} is infinite; leave it missing where it is unknown")
    flux, flux_err, reference, reference_err = columns
    # A flux of 0 or less has no logarithm; such rows are forced fits or blanks, not calibrators.
    usable = np.flatnonzero((flux > 0) & (reference > 0) & np.isfinite(flux) & np.isfinite(reference))
    last = np.cumsum(np.asarray(sizes, dtype=np.intp))
    of_image = np.arange(len(matches)) - np.repeat(last - sizes, sizes)
    flux_err, reference_err = np.nan_to_num(flux_err), np.nan_to_num(reference_err)
    parts = np.split(usable, np.searchsorted(usable, last)[:-1])
    return [_FluxPairs(flux[p], flux_err[p], reference[p], reference_err[p], of_image[p]) for p in parts]


# --- mixture -----------------------------------------------------------------------------------------------------

_SCALE_ALONE = np.arange(mixture.N_PARAMETERS) != mixture.C
_WITH_OFFSET = np.ones(mixture.N_PARAMETERS, dtype=bool)
# Numbers that the fits of a batch have at once: more would not stay near the processor.
_BATCH = 100_000


@dataclass(frozen=True)
class _Fitted:
    """The maximum of one image: parameters, shape (1, 6), derivatives there, ratios in ``unit`` mJy, what is free."""

    best: Floats
    found: mixture._Derivatives
    data: mixture.Ratios
    unit: float
    free: Flags

    @property
    def scatter2(self) -> float:
        return float(np.exp(2 * self.best[0, mixture.LN_S]))

    @cached_property
    def covariance(self) -> Floats:
        """Of the parameters, shape (6, 6)."""
        n = self.data.y.shape[-1]
        # The likelihood's maximum has the scatter about the fitted scale, and its curvature knows nothing of the error
        # of that scatter. With few matches the scale has a Student distribution of n - k degrees of freedom, whose
        # variance is larger by n / (n - k - 2).
        k = int(self.free[: mixture.C + 1].sum())
        return np.asarray(mixture.covariance(self.found, self.free)[0] * n / max(n - k - 2, 1))

    @cached_property
    def relative_error(self) -> float:
        cov = self.covariance
        scale = np.exp(self.best[0, mixture.MU])
        return float(scale * np.sqrt(cov[mixture.MU, mixture.MU]) / scale)


def _mixtures(asked: Sequence[_Asked]) -> list[FluxScale]:
    """The scales of images that all have as many matches."""
    size = max(1, _BATCH // (mixture.N_STARTS * mixture.N_PARAMETERS * len(asked[0].pairs.index)))
    found = []
    for first in range(0, len(asked), size):
        part = asked[first : first + size]
        fits = _with_offsets(_maxima(part), part)
        core = [not fit.scatter2 > MAX_CORE_SCATTER**2 for fit in fits]
        influences = iter(_mixture_influences([fit for fit, good in zip(fits, core, strict=True) if good]))
        found += [
            _mixture_scale(fit, one, *next(influences)) if good else _median(one)
            for fit, one, good in zip(fits, part, core, strict=True)
        ]
    return found


def _maxima(asked: Sequence[_Asked]) -> list[_Fitted]:
    """The fits without additive error."""
    units = [float(np.median(one.pairs.reference)) for one in asked]
    data = [
        mixture.Ratios(one.pairs.ln_ratio, one.pairs.variance, one.pairs.reference / unit)
        for one, unit in zip(asked, units, strict=True)
    ]
    best, found = mixture.maximize_from_starts(mixture.Ratios.stacked(data), free=_SCALE_ALONE)
    each = [slice(i, i + 1) for i in range(len(asked))]
    return [
        _Fitted(best[row], found.of(row), one, unit, _SCALE_ALONE)
        for row, one, unit in zip(each, data, units, strict=True)
    ]


def _with_offsets(fits: list[_Fitted], asked: Sequence[_Asked]) -> list[_Fitted]:
    """The same with an additive error where it is asked for, or where it is called for."""
    enough = len(asked[0].pairs.index) > mixture.N_PARAMETERS
    wanted = [i for i, one in enumerate(asked) if enough and _may_need_offset(fits[i], one.offset)]
    if not wanted:
        return fits
    first = np.concatenate([fits[i].best for i in wanted])
    data = mixture.Ratios.stacked([fits[i].data for i in wanted])
    others, found = mixture.maximize(first, data, free=_WITH_OFFSET, together=1)
    result = list(fits)
    for row, i in enumerate(wanted):
        fit = fits[i]
        other = _Fitted(others[row : row + 1], found.of(slice(row, row + 1)), fit.data, fit.unit, _WITH_OFFSET)
        error = np.sqrt(mixture.covariance(other.found, _WITH_OFFSET)[0, mixture.C, mixture.C])
        gain = 2 * (other.found.value[0] - fit.found.value[0]) - np.log(len(fit.data.y))
        significant = gain > 0 and abs(other.best[0, mixture.C]) > _MIN_OFFSET_SIGMA * error
        if asked[i].offset == "always" or significant:
            result[i] = other
    return result


def _may_need_offset(fit: _Fitted, offset: Offset) -> bool:
    if offset != "auto":
        return offset == "always"
    # Rao's score test, which needs no second fit: far below what is asked for after it, the fit is not worth it.
    variance = mixture.covariance(fit.found, _WITH_OFFSET)[0, mixture.C, mixture.C]
    return bool(fit.found.gradient[0, mixture.C] ** 2 * variance > _MIN_OFFSET_SIGMA**2 / 2)


def _mixture_scale(fit: _Fitted, asked: _Asked, influence: float, row: int) -> FluxScale:
    """What the maximum says of the scale; ``influence`` and ``row`` are of `_mixture_influences`."""
    best, data, unit, free = fit.best, fit.data, fit.unit, fit.free
    mu, c = best[0, mixture.MU], best[0, mixture.C]
    cov, s2 = fit.covariance, fit.scatter2
    scale, scale_err = np.exp(mu), np.exp(mu) * np.sqrt(cov[mixture.MU, mixture.MU])
    slope = np.zeros(mixture.N_PARAMETERS)
    slope[[mixture.MU, mixture.C]] = c * scale * unit, scale * unit
    residual = data.y - mu - np.log1p(c / data.reference)
    r = fit.found.responsibility[0]
    return FluxScale(
        "mixture",
        len(data.y),
        scale=float(scale),
        scale_err=float(scale_err),
        scale_err_bootstrap=_mixture_bootstrap(best, data, free, asked.bootstrap, asked.rng),
        offset_mjy=float(c * scale * unit) if free[mixture.C] else np.nan,
        offset_err_mjy=float(np.sqrt(slope @ cov @ slope)) if free[mixture.C] else np.nan,
        intrinsic_scatter=float(np.sqrt(s2)),
        outlier_fraction=float(1 / (1 + np.exp(-best[0, mixture.LOGIT_F]))),
        chi2_reduced=float((r * residual**2 / (data.variance + s2)).sum() / max(r.sum() - 1, 1)),
        max_influence=influence,
        most_influential=row,
    )


def _mixture_influences(fits: Sequence[_Fitted]) -> list[tuple[float, int]]:
    """Largest change of ln g by leaving one match out, in standard errors, and its row; of each image.

    The change to first order is the match's score times the covariance; the few largest are fitted again.
    """
    result, again = [], []
    for i, fit in enumerate(fits):
        cov = mixture.covariance(fit.found, fit.free)[0]
        first_order = fit.found.scores[0] @ cov[mixture.MU]
        rows = np.argsort(-np.abs(first_order), kind="stable")[:_CANDIDATES_LEFT_OUT]
        result.append((float(np.abs(first_order[rows[0]]) / fit.relative_error), int(rows[0])))
        if not np.abs(first_order[rows[0]]) < 0.3 * fit.relative_error:
            again.append((i, rows))
    for free in (_SCALE_ALONE, _WITH_OFFSET):
        of_these = [(i, rows) for i, rows in again if fits[i].free is free]
        if of_these:
            result = _left_out(fits, of_these, result)
    return result


def _left_out(
    fits: Sequence[_Fitted], again: Sequence[tuple[int, Indices]], result: Sequence[tuple[float, int]]
) -> list[tuple[float, int]]:
    """The result in which some images, which have the same free parameters, are fitted without single matches."""
    k, n = len(again[0][1]), len(fits[again[0][0]].data.y)
    weights = np.ones((len(again) * k, n))
    weights[np.arange(len(weights)), np.concatenate([rows for _, rows in again])] = 0.0
    data = mixture.Ratios.stacked([fits[i].data for i, _ in again]).repeated(k)
    first = np.repeat(np.concatenate([fits[i].best for i, _ in again]), k, axis=0)
    without, _ = mixture.maximize(first, data, free=fits[again[0][0]].free, weights=weights, together=k)
    found = list(result)
    for (i, rows), mu in zip(again, without[:, mixture.MU].reshape(-1, k), strict=True):
        change = np.abs(mu - fits[i].best[0, mixture.MU]) / fits[i].relative_error
        worst = int(np.argmax(change))
        found[i] = float(change[worst]), int(rows[worst])
    return found


def _mixture_bootstrap(
    best: Floats,
    data: mixture.Ratios,
    free: Flags,
    replicates: int,
    rng: np.random.Generator,
) -> float:
    """Standard deviation of g over resampled matches, all replicates at once.

    Each takes one Newton step from the maximum (Davidson & MacKinnon 1999); with few matches, which a replicate may
    miss half of, it goes on to its own maximum.
    """
    if not replicates:
        return np.nan
    n = len(data.y)
    scales = []
    # In batches, so that memory stays below about 100 MB however many matches there are.
    batch = max(1, int(200_000 / n))
    for first in range(0, replicates, batch):
        size = min(batch, replicates - first)
        weights = rng.multinomial(n, np.full(n, 1 / n), size=size).astype(float)
        fitted = mixture.one_step(best, data, free=free, weights=weights)
        if n < _FEW:
            fitted, _ = mixture.maximize(fitted, data, free=free, weights=weights, max_iterations=8, tolerance=0.02)
        scales.append(np.exp(fitted[:, mixture.MU]))
    return float(np.std(np.concatenate(scales), ddof=1)) if replicates > 1 else np.nan


# --- median ------------------------------------------------------------------------------------------------------


def _median(asked: _Asked) -> FluxScale:
    # All of scipy.stats for one function of one method.
    from scipy.stats.mstats import mjci

    pairs, bootstrap = asked.pairs, asked.bootstrap
    y = np.sort(pairs.ln_ratio)
    n = len(y)
    centre = np.median(y)
    scatter = float(robust.scatter(y, centre))
    # Maritz & Jarrett (1978): the bootstrap's standard error of the median in closed form, for any distribution.
    error = float(np.nan_to_num(mjci(y - centre, prob=[0.5])[0]))
    scale = float(np.exp(centre))
    replicates = np.exp(np.median(y[asked.rng.integers(0, n, size=(bootstrap, n))], axis=1)) if bootstrap > 1 else None
    # Leaving out any one match below the median moves it to the same place: only three medians are possible.
    left_out = [float(np.median(np.delete(y, i))) for i in (0, (n - 1) // 2, n - 1)]
    order = np.argsort(pairs.ln_ratio, kind="stable")
    changes = np.abs(np.array(left_out) - centre)
    worst = int(np.argmax(changes))
    return FluxScale(
        "median",
        n,
        scale=scale,
        scale_err=float(scale * error),
        scale_err_bootstrap=float(np.std(replicates, ddof=1)) if replicates is not None else np.nan,
        intrinsic_scatter=float(np.sqrt(max(scatter**2 - float(np.median(pairs.variance)), 0.0))),
        outlier_fraction=float(np.mean(np.abs(y - centre) > 5 * scatter)) if scatter > 0 else 0.0,
        chi2_reduced=np.nan,
        max_influence=float(changes[worst] / error) if error > 0 else 0.0,
        most_influential=int(order[(0, (n - 1) // 2, n - 1)[worst]]),
    )


# --- vast-post-processing's two estimators --------------------------------------------------------------------------


def _huber(asked: _Asked) -> FluxScale:
    def fit(sample: _FluxPairs) -> tuple[float, float]:
        from statsmodels.robust.norms import HuberT
        from statsmodels.robust.robust_linear_model import RLM

        # A perfect fit has no scatter to scale residuals by.
        slope = float(np.median(sample.flux / sample.reference))
        if np.allclose(sample.flux, slope * sample.reference, rtol=1e-12, atol=0):
            return slope, 0.0
        fitted = RLM(sample.flux, sample.reference, M=HuberT()).fit()
        return float(fitted.params[0]), float(fitted.bse[0])

    return _with_influence("huber", asked.pairs, fit(asked.pairs), lambda sample: fit(sample)[0])


def _odr(asked: _Asked) -> FluxScale:
    pairs, offset = asked.pairs, asked.offset
    # Zero errors would be infinite weights, and the fit silently returns its starting values.
    usable = np.flatnonzero((pairs.flux_err > 0) & (pairs.reference_err > 0))
    pairs = _FluxPairs(*(values[usable] for values in vars(pairs).values()))
    if len(usable) < _MIN_FIT["odr"]:
        return FluxScale("odr", len(usable))

    def fit(sample: _FluxPairs) -> tuple[Floats, Floats]:
        from odrpack import odr_fit

        result = odr_fit(
            lambda x, beta: beta[0] * x + beta[1],
            sample.reference,
            sample.flux,
            beta0=np.array([1.0, 0.0]),
            fix_beta=np.array([False, offset != "always"]),
            weight_x=1 / sample.reference_err**2,
            weight_y=1 / sample.flux_err**2,
            # Forward differences leave the intercept uncertain by a part in a million.
            diff_scheme="central",
        )
        return result.beta, result.sd_beta

    beta, error = fit(pairs)
    result = _with_influence("odr", pairs, (float(beta[0]), float(error[0])), lambda sample: float(fit(sample)[0][0]))
    if result.most_influential >= 0:
        result = replace(result, most_influential=int(usable[result.most_influential]))
    if offset == "always":
        result = replace(result, offset_mjy=float(beta[1]), offset_err_mjy=float(error[1]))
    return result


def _with_influence(
    method: str, pairs: _FluxPairs, fitted: tuple[float, float], slope_of: Callable[[_FluxPairs], float]
) -> FluxScale:
    """The result of a regression, with the influence of the matches of most leverage (the brightest) and residual."""
    scale, error = fitted
    residual = np.abs(pairs.flux - scale * pairs.reference)
    spread = float(robust.scatter(residual))
    leverage = pairs.reference**2 / (pairs.reference**2).sum()
    n_left_out = min(_CANDIDATES_LEFT_OUT, len(pairs.flux) - _MIN_FIT[method])
    rows = np.argsort(-leverage * residual, kind="stable")[: max(n_left_out, 0)]
    changes = np.array([abs(slope_of(pairs.without(int(row))) - scale) for row in rows])
    worst = int(np.argmax(changes)) if len(changes) else -1
    return FluxScale(
        method,
        len(pairs.flux),
        scale=scale,
        scale_err=error,
        outlier_fraction=float(np.mean(residual > 5 * spread)) if spread > 0 else 0.0,
        max_influence=(float(changes[worst] / error) if error > 0 else 0.0) if worst >= 0 else np.nan,
        most_influential=int(rows[worst]) if worst >= 0 else -1,
    )


def _one_by_one(fit: Callable[[_Asked], FluxScale]) -> Callable[[Sequence[_Asked]], list[FluxScale]]:
    return lambda asked: [fit(one) for one in asked]


_METHODS: dict[str, Callable[[Sequence[_Asked]], list[FluxScale]]] = {
    "mixture": _mixtures,
    "huber": _one_by_one(_huber),
    "odr": _one_by_one(_odr),
    "median": _one_by_one(_median),
}
