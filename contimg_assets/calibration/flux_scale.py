"""The flux scale of one image from its matches: four estimators with one result.

Belongs here: what turns pairs of fluxes into a scale with errors and diagnostics. The likelihood of the estimator
`mixture` is in `mixture`; which matches count is decided in `selection`, whether the result is trusted in `trust`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
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
    pairs = _pairs(matches)
    if len(pairs.index) < _MIN_FIT[method]:
        return FluxScale(method, len(pairs.index))
    result = _METHODS[method](pairs, offset, bootstrap, np.random.default_rng(seed))
    if result.most_influential >= 0:
        result = replace(result, most_influential=int(pairs.index[result.most_influential]))
    return result


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


def _pairs(matches: pd.DataFrame) -> _FluxPairs:
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
    return _FluxPairs(
        flux[usable],
        np.nan_to_num(flux_err[usable]),
        reference[usable],
        np.nan_to_num(reference_err[usable]),
        usable,
    )


# --- mixture -----------------------------------------------------------------------------------------------------


def _mixture(pairs: _FluxPairs, offset: Offset, bootstrap: int, rng: np.random.Generator) -> FluxScale:
    unit = float(np.median(pairs.reference))
    data = mixture.Ratios(pairs.ln_ratio, pairs.variance, pairs.reference / unit, unit)
    free = np.ones(mixture.N_PARAMETERS, dtype=bool)
    free[mixture.C] = False
    best, found = mixture.maximize_from_starts(data, free=free)
    with_offset = np.ones(mixture.N_PARAMETERS, dtype=bool)
    if offset == "auto":
        # Rao's score test, which needs no second fit: far below what is asked for after it, the fit is not worth it.
        score = found.gradient[0, mixture.C] ** 2 * mixture.covariance(found, with_offset)[0, mixture.C, mixture.C]
        offset = "auto" if score > _MIN_OFFSET_SIGMA**2 / 2 else "never"
    if offset != "never" and len(pairs.flux) > mixture.N_PARAMETERS:
        other, other_found = mixture.maximize(best, data, free=with_offset)
        error = np.sqrt(mixture.covariance(other_found, with_offset)[0, mixture.C, mixture.C])
        gain = 2 * (other_found.value[0] - found.value[0]) - np.log(len(data.y))
        if offset == "always" or (gain > 0 and abs(other[0, mixture.C]) > _MIN_OFFSET_SIGMA * error):
            best, found, free = other, other_found, with_offset

    s2 = np.exp(2 * best[0, mixture.LN_S])
    if s2 > MAX_CORE_SCATTER**2:
        return _median(pairs, offset, bootstrap, rng)
    n = len(data.y)
    mu, c = best[0, mixture.MU], best[0, mixture.C]
    # The likelihood's maximum has the scatter about the fitted scale, and its curvature knows nothing of the error of
    # that scatter. With few matches the scale has a Student distribution of n - k degrees of freedom, whose variance
    # is larger by n / (n - k - 2).
    k = int(free[: mixture.C + 1].sum())
    cov = mixture.covariance(found, free)[0] * n / max(n - k - 2, 1)
    scale, scale_err = np.exp(mu), np.exp(mu) * np.sqrt(cov[mixture.MU, mixture.MU])
    slope = np.zeros(mixture.N_PARAMETERS)
    slope[[mixture.MU, mixture.C]] = c * scale * unit, scale * unit
    f = 1 / (1 + np.exp(-best[0, mixture.LOGIT_F]))
    residual = data.y - mu - np.log1p(c / data.reference)
    r = found.responsibility[0]
    influence, row = _mixture_influence(best, found, data, free, scale_err / scale)
    return FluxScale(
        "mixture",
        n,
        scale=float(scale),
        scale_err=float(scale_err),
        scale_err_bootstrap=_mixture_bootstrap(best, data, free, bootstrap, rng),
        offset_mjy=float(c * scale * unit) if free[mixture.C] else np.nan,
        offset_err_mjy=float(np.sqrt(slope @ cov @ slope)) if free[mixture.C] else np.nan,
        intrinsic_scatter=float(np.sqrt(s2)),
        outlier_fraction=float(f),
        chi2_reduced=float((r * residual**2 / (data.variance + s2)).sum() / max(r.sum() - 1, 1)),
        max_influence=influence,
        most_influential=row,
    )


def _mixture_influence(
    best: Floats, found: mixture._Derivatives, data: mixture.Ratios, free: Flags, error: float
) -> tuple[float, int]:
    """Largest change of ln g by leaving one match out, in standard errors, and its row.

    The change to first order is the match's score times the covariance; the few largest are fitted again.
    """
    cov = mixture.covariance(found, free)[0]
    first_order = found.scores[0] @ cov[mixture.MU]
    rows = np.argsort(-np.abs(first_order), kind="stable")[:_CANDIDATES_LEFT_OUT]
    if np.abs(first_order[rows[0]]) < 0.3 * error:
        return float(np.abs(first_order[rows[0]]) / error), int(rows[0])
    weights = np.ones((len(rows), len(data.y)))
    weights[np.arange(len(rows)), rows] = 0.0
    without, _ = mixture.maximize(np.repeat(best, len(rows), axis=0), data, free=free, weights=weights)
    change = np.abs(without[:, mixture.MU] - best[0, mixture.MU]) / error
    worst = int(np.argmax(change))
    return float(change[worst]), int(rows[worst])


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


def _median(pairs: _FluxPairs, offset: Offset, bootstrap: int, rng: np.random.Generator) -> FluxScale:
    # All of scipy.stats for one function of one method.
    from scipy.stats.mstats import mjci

    y = np.sort(pairs.ln_ratio)
    n = len(y)
    centre = np.median(y)
    scatter = float(robust.scatter(y, centre))
    # Maritz & Jarrett (1978): the bootstrap's standard error of the median in closed form, for any distribution.
    error = float(np.nan_to_num(mjci(y - centre, prob=[0.5])[0]))
    scale = float(np.exp(centre))
    replicates = np.exp(np.median(y[rng.integers(0, n, size=(bootstrap, n))], axis=1)) if bootstrap > 1 else None
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


def _huber(pairs: _FluxPairs, offset: Offset, bootstrap: int, rng: np.random.Generator) -> FluxScale:
    def fit(sample: _FluxPairs) -> tuple[float, float]:
        from statsmodels.robust.norms import HuberT
        from statsmodels.robust.robust_linear_model import RLM

        # A perfect fit has no scatter to scale residuals by.
        slope = float(np.median(sample.flux / sample.reference))
        if np.allclose(sample.flux, slope * sample.reference, rtol=1e-12, atol=0):
            return slope, 0.0
        fitted = RLM(sample.flux, sample.reference, M=HuberT()).fit()
        return float(fitted.params[0]), float(fitted.bse[0])

    return _with_influence("huber", pairs, fit(pairs), lambda sample: fit(sample)[0])


def _odr(pairs: _FluxPairs, offset: Offset, bootstrap: int, rng: np.random.Generator) -> FluxScale:
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


_METHODS: dict[str, Callable[[_FluxPairs, Offset, int, np.random.Generator], FluxScale]] = {
    "mixture": _mixture,
    "huber": _huber,
    "odr": _odr,
    "median": _median,
}
