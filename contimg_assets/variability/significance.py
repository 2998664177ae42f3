"""Which light curves vary, with a known share of false ones: p-values far into the tail, an empirical null, q-values.

The p-value of a light curve is the chance that a constant source scatters at least this much. It says nothing about how
many of the sources below a limit are constant: of a million constant ones a hundred have p < 1e-4. The q-value of a
source does: it is the smallest share of constant sources that can be expected in a list which reaches down to it
(Benjamini & Hochberg 1995, J. R. Stat. Soc. B 57, 289). It depends on all sources of a survey, so that it is formed
when it is asked for, and kept nowhere: a night would change it for all.

P-values are only as good as the errors of the fluxes. How much constant sources really scatter is seen in the bulk of
the survey (Efron 2004, J. Am. Stat. Assoc. 99, 96): chi-squared is taken to be that of theory times a factor, which is
measured in bins of signal to noise, and taken out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy

from contimg_assets.schemas.variability import FLUX_KINDS
from contimg_assets.sky.arrays import Floats, Integers

# Of the constant sources, this share with the smallest chi-squared measures the null: variables lie above.
_KEPT = 0.9
# The quantile that the measurement begins with: right as long as not more than half of the sources vary.
_START = 0.25
# A bin has as many sources as are needed to know the factor to this error, and there are no more bins than this.
_BIN_ERROR, _MAX_BINS = 0.07, 20
# Bins that are taken together to see how much the factor differs from source to source: at least, and groups at most.
_BINS_PER_GROUP, _MAX_GROUPS = 6, 3
# Where a few sources of many epochs would fill no more bins than there are of them, each has so many instead.
_LEAST_IN_BIN = 10
# With a larger error in all there is nothing to be learnt: theory stands.
_MAX_ERROR = 0.25
# Constant sources are taken to scatter less than theory only down to so many times the factor that is measured, and its
# errors: at the finder's threshold, light curves are cut off, and their bulk scatters less, but not their tail.
_CAUTION, _CAUTION_ERRORS = 2.0, 3.0
# A smaller spread cannot be told from none; with a larger one nothing would ever be called variable.
_MIN_SPREAD = 0.05
_SPREADS = tuple(round(0.05 * i, 2) for i in range(1, 13))
# A spread must make the data more likely by this much, in ln; so many sources tell it well enough; light curves with
# fewer degrees of freedom cannot tell it from variables.
_MIN_GAIN, _MAX_FITTED, _MIN_FITTED_DOF = 2.0, 20_000, 3.0
_MAX_ROUNDS, _MAX_TERMS = 200, 10_000
# Fluxes that are all the same, as people make them up, have no scatter at all.
_LEAST_SCALE = 1e-6
# Smaller p-values are found by their logarithm.
_SMALL = 1e-200


def log10_survival(chi_squared: npt.ArrayLike, dof: npt.ArrayLike, spread: npt.ArrayLike = 0.0) -> Floats:
    """Decimal logarithm of the chance that chi-squared exceeds a value; right however small that is.

    Parameters
    ----------
    chi_squared : at least 0, shape (n,)
    dof : degrees of freedom, more than 0, shape (n,)
    spread : standard deviation of ln variance, where the variance that chi-squared is in units of is not the same for
        all sources, shape (n,). Chi-squared / dof then follows an F-distribution with 2 / spread^2 further degrees

    Returns
    -------
    shape (n,); NaN where something is NaN, or there are no degrees of freedom

    Notes
    -----
    Beyond the reach of a float, by the continued fraction of the incomplete gamma function (Abramowitz & Stegun 1964,
    6.5.31) in the form of Lentz, and by the series of the incomplete beta function (the same, 26.5.4).
    """
    arrays = (np.asarray(values, dtype=float) for values in (chi_squared, dof, spread))
    x, k, width = np.broadcast_arrays(*arrays)
    certain = width < _MIN_SPREAD
    with np.errstate(divide="ignore", invalid="ignore"):
        d = 2.0 / width**2
        ordinary = np.where(certain, scipy.special.chdtrc(k, x), scipy.special.betainc(d / 2, k / 2, d / (d + x)))
        ordinary = np.where(k > 0, ordinary, np.nan)
        result = np.asarray(np.log10(ordinary))
    tail = (ordinary < _SMALL) & np.isfinite(x)
    for rows, log_tail in ((tail & certain, _log_upper_gamma), (tail & ~certain, _log_upper_f)):
        if rows.any():
            result[rows] = log_tail(x[rows], k[rows], d[rows]) / np.log(10.0)
    return result


def _log_upper_gamma(chi_squared: Floats, k: Floats, _: Floats) -> Floats:
    """ln of the survival function of chi-squared far above its k degrees of freedom, shape (n,)."""
    a, x = k / 2.0, chi_squared / 2.0
    b = x + 1.0 - a
    d = 1.0 / b
    c = np.full(len(x), 1e300)
    fraction = d.copy()
    going = np.ones(len(x), dtype=bool)
    for i in range(1, _MAX_TERMS):
        factor = -i * (i - a)
        b = b + 2.0
        d = 1.0 / (factor * d + b)
        c = b + factor / c
        step = c * d
        # One that has converged is left as it is, so that no source depends on which others are worked on with it.
        fraction[going] *= step[going]
        going &= np.abs(step - 1.0) > 1e-15
        if not going.any():
            break
    return np.asarray(a * np.log(x) - x - scipy.special.gammaln(a) + np.log(fraction))


def _log_upper_f(chi_squared: Floats, k: Floats, d: Floats) -> Floats:
    """The same of k times an F-distribution with k and d degrees of freedom, shape (n,)."""
    a, b, x = d / 2.0, k / 2.0, d / (d + chi_squared)
    total, term = np.ones(len(x)), np.ones(len(x))
    for i in range(_MAX_TERMS):
        term = term * x * (a + b + i) / (a + 1.0 + i)
        # Terms that are too small to count are lost in rounding: no source depends on the others.
        total += term
        if np.all(term < 1e-17 * total):
            break
    return np.asarray(a * np.log(x) + b * np.log1p(-x) - np.log(a) - scipy.special.betaln(a, b) + np.log(total))


@dataclass(frozen=True)
class EmpiricalNull:
    """How much constant sources scatter, by signal to noise: their chi-squared is that of theory times a factor.

    Attributes
    ----------
    snr : median signal to noise ratio of each bin, ascending, shape (b,)
    scale : typical factor, shape (b,): at least 1, except where the data demand far less
    spread : scatter of ln factor from source to source, shape (b,); 0 if all sources of a bin have the same
    measured, measured_err : the typical factor as it was measured, and its standard error, shape (b,)
    """

    snr: Floats
    scale: Floats
    spread: Floats
    measured: Floats
    measured_err: Floats

    @classmethod
    def theory(cls) -> EmpiricalNull:
        """Errors are what they say."""
        one, unknown = np.ones(1), np.full(1, np.nan)
        return cls(one, one, np.zeros(1), unknown, unknown)

    def log10_p(self, chi_squared: Floats, dof: Floats, snr: Floats) -> Floats:
        """Logarithm of the chance that a constant source has this chi-squared, shape (n,).

        Between bins, scale and spread follow the logarithm of the signal to noise ratio. A source whose ratio is not
        positive is treated like the faintest; one without like the worst.
        """
        place, knots = np.log(np.maximum(snr, self.snr[0])), np.log(self.snr)
        scale = np.exp(np.interp(place, knots, np.log(self.scale)))
        spread = np.interp(place, knots, self.spread)
        scale = np.where(np.isnan(snr), self.scale.max(), scale)
        spread = np.where(np.isnan(snr), self.spread.max(), spread)
        return log10_survival(chi_squared / scale, dof, spread)


def empirical_null(chi_squared: Floats, dof: Floats, snr: Floats) -> EmpiricalNull:
    """Measure how much constant sources scatter, from all sources of a survey, of which some vary.

    Parameters
    ----------
    chi_squared, dof : of each light curve against a constant, and its degrees of freedom, shape (n,), finite
    snr : signal to noise ratio of one of its points, shape (n,); the bins are formed by it

    Notes
    -----
    In each bin, the scale is that at which the mean of the smallest nine tenths of the constant sources' chi-squared is
    what theory says of the smallest nine tenths: a trimmed mean, iterated from the lower quartile. Variables lie in the
    part that is left out. The spread is the one of the largest likelihood of that same part, for groups of bins (Smyth
    2004, Stat. Appl. Genet. Mol. Biol. 3, 3, but truncated), where all groups together demand one. The result does not
    depend on the order of the sources.
    """
    usable = np.isfinite(snr) & (snr > 0)
    chi_squared, dof, snr = chi_squared[usable], dof[usable], snr[usable]
    error = _standard_error(dof)
    if not error <= _MAX_ERROR:
        return EmpiricalNull.theory()
    n_bins = int(np.clip((_BIN_ERROR / error) ** 2, 1, _MAX_BINS))
    order = np.lexsort((dof, chi_squared, snr))
    bins, gains = [], []
    groups, n_parts = _split(order, n_bins)
    if n_parts > len(groups[-1]):
        groups, n_parts = _split(order, len(order) // _LEAST_IN_BIN)
    for group in groups:
        parts = np.array_split(group, n_parts)
        alike = np.concatenate([chi_squared[part] / _scale(chi_squared[part], dof[part], 0.0) for part in parts])
        gains.append(_gains(alike, dof[group]))
    for group, spread in zip(groups, _spreads(gains), strict=True):
        for part in np.array_split(group, n_parts):
            scale = _scale(chi_squared[part], dof[part], spread)
            bins.append((float(np.median(snr[part])), scale, scale * _standard_error(dof[part]), spread))
    place, scale, scale_err, spread = np.array(bins).T
    least = np.minimum(_CAUTION * (scale + _CAUTION_ERRORS * scale_err), 1.0)
    return EmpiricalNull(place, np.maximum(scale, least), spread, scale, scale_err)


def _split(order: Integers, n_bins: int) -> tuple[list[Integers], int]:
    """Groups of sources, the last one the smallest, and the number of bins in each."""
    groups = np.array_split(order, int(np.clip(n_bins // _BINS_PER_GROUP, 1, _MAX_GROUPS)))
    return groups, max(1, round(n_bins / len(groups)))


def _below(k: Floats, spread: float) -> tuple[Floats, Floats]:
    """The quantile _KEPT of constant sources' chi-squared, and the mean of what lies below it, shape (n,)."""
    if spread < _MIN_SPREAD:
        limit = scipy.special.chdtri(k, 1.0 - _KEPT)
        return np.asarray(limit), np.asarray(k * scipy.special.chdtr(k + 2.0, limit) / _KEPT)
    d = 2.0 / spread**2
    limit = k * scipy.special.fdtri(k, d, _KEPT)
    share = scipy.special.betainc(k / 2 + 1, d / 2 - 1, limit / (limit + d))
    return np.asarray(limit), np.asarray(k * d / (d - 2.0) * share / _KEPT)


def _scale(chi_squared: Floats, dof: Floats, spread: float) -> float:
    """The typical factor of one bin."""
    k, row = np.unique(dof, return_inverse=True)
    limit, mean = (values[row] for values in _below(k, spread))
    scale = max(float(np.quantile(chi_squared / scipy.special.chdtri(k, 1.0 - _START)[row], _START)), _LEAST_SCALE)
    for _ in range(_MAX_ROUNDS):
        kept = chi_squared < scale * limit
        if not kept.any():
            break
        last, scale = scale, max(float(chi_squared[kept].sum() / mean[kept].sum()), _LEAST_SCALE)
        if abs(scale - last) <= 1e-9 * last:
            break
    return scale


def _standard_error(dof: Floats) -> float:
    """Standard error of ln scale from sources of these degrees of freedom: variance over slope^2 of its equation."""
    k, count = np.unique(dof, return_counts=True)
    limit, mean = _below(k, 0.0)
    density = np.exp((k / 2 - 1) * np.log(limit) - limit / 2 - k / 2 * np.log(2.0) - scipy.special.gammaln(k / 2))
    slope = float((count * (mean * _KEPT - (limit - mean) * limit * density)).sum())
    variance = float((count * (k * (k + 2.0) * scipy.special.chdtr(k + 4.0, limit) - mean * mean * _KEPT)).sum())
    return float(np.sqrt(variance)) / slope if slope > 0 else np.inf


def _gains(chi_squared: Floats, dof: Floats) -> Floats:
    """By how much each of `_SPREADS` of ln factor makes a group more likely than none, its typical factor being 1."""
    long = np.flatnonzero(dof >= _MIN_FITTED_DOF)
    if not len(long):
        return np.zeros(len(_SPREADS))
    some = long[:: -(-len(long) // _MAX_FITTED)]
    chi_squared, dof = np.maximum(chi_squared[some], 1e-12), dof[some]
    k, row = np.unique(dof, return_inverse=True)
    limit, _ = _below(k, 0.0)
    kept = chi_squared < limit[row]
    fit = _TruncatedFit(chi_squared[kept], dof[kept], k, limit, np.bincount(row[kept], minlength=len(k)))
    return np.array([fit.best(spread) for spread in _SPREADS]) - fit.best(0.0)


def _spreads(gains: list[Floats]) -> list[float]:
    """Spread of each group: the likeliest, if all groups together demand one; else 0.

    Whether errors differ from source to source is asked once for the survey. Asked of each group, one that just fails
    to demand it would have none, and list a hundred constant sources more than one that just does.
    """
    if not gains or float(np.sum(gains, axis=0).max()) <= _MIN_GAIN:
        return [0.0] * len(gains)
    return [_SPREADS[int(np.argmax(own))] if own.max() > 0.0 else 0.0 for own in gains]


@dataclass(frozen=True)
class _TruncatedFit:
    """Constant sources' chi-squared below a limit that is fixed for each number of degrees of freedom.

    Attributes
    ----------
    chi_squared, dof : of the sources below the limit, shape (n,)
    k, limit, count : each number of degrees of freedom, its limit, and how many sources it has, shape (u,)
    """

    chi_squared: Floats
    dof: Floats
    k: Floats
    limit: Floats
    count: Integers

    def best(self, spread: float) -> float:
        """Log-likelihood with this spread, at the scale where it is largest."""
        logs = float(((self.dof / 2 - 1) * np.log(self.chi_squared)).sum())
        found = scipy.optimize.minimize_scalar(
            lambda ln_scale: -self._without_logs(spread, ln_scale),
            bounds=(-0.7, 0.7),
            method="bounded",
            options={"xatol": 1e-3},
        )
        return logs - float(found.fun)

    def _without_logs(self, spread: float, ln_scale: float) -> float:
        """The terms of the log-likelihood that depend on spread or scale."""
        scale = np.exp(ln_scale)
        x, limit = self.chi_squared / scale, self.limit / scale
        if spread < _MIN_SPREAD:
            of_dof = (
                -self.k / 2 * np.log(2.0)
                - scipy.special.gammaln(self.k / 2)
                - np.log(scipy.special.chdtr(self.k, limit))
            )
            terms = -x / 2
        else:
            d = 2.0 / spread**2
            share = scipy.special.betainc(self.k / 2, d / 2, limit / (limit + d))
            of_dof = -self.k / 2 * np.log(d) - scipy.special.betaln(self.k / 2, d / 2) - np.log(share)
            terms = -(self.dof + d) / 2 * np.log1p(x / d)
        return float(terms.sum() + (self.count * (of_dof - self.k / 2 * ln_scale)).sum())


def benjamini_hochberg(log10_p: Floats) -> Floats:
    """Q-value of each p-value, shape (n,); NaN where it is NaN.

    The smallest false discovery rate at which it would still be selected (Benjamini & Hochberg 1995; Storey 2002,
    J. R. Stat. Soc. B 64, 479).
    """
    log10_p = np.asarray(log10_p, dtype=float)
    result = np.full(len(log10_p), np.nan)
    known = np.flatnonzero(~np.isnan(log10_p))
    if len(known):
        order = known[np.argsort(log10_p[known], kind="stable")]
        m = len(order)
        raw = log10_p[order] + np.log10(m) - np.log10(np.arange(1.0, m + 1))
        result[order] = 10.0 ** np.minimum(np.minimum.accumulate(raw[::-1])[::-1], 0.0)
    return result


def significances(statistics: pd.DataFrame, kind: str) -> pd.DataFrame:
    """How sure it is that sources vary, judged among all sources of a survey.

    Parameters
    ----------
    statistics : DataFrame
        Rows of one sample of all sources: ``n``, ``eta``, ``flux_weighted_mean``, ``flux_weighted_mean_err`` with the
        suffixes that they have in the table `variability` for this kind of flux.
    kind : {'peak', 'int'}
        Which flux.

    Returns
    -------
    DataFrame
        Index of the statistics; ``log10_p_null_<kind>``: logarithm of the p-value with the errors that the survey
        itself shows; ``q_value_<kind>``: expected share of constant sources in a list down to this one. NaN of sources
        with fewer than two points.
    """
    unit = FLUX_KINDS[kind]
    n = statistics[f"n_{kind}"].to_numpy(dtype=float)
    eta = statistics[f"eta_{kind}"].to_numpy(dtype=float)
    mean = statistics[f"flux_{kind}_weighted_mean_{unit}"].to_numpy(dtype=float)
    mean_err = statistics[f"flux_{kind}_weighted_mean_err_{unit}"].to_numpy(dtype=float)
    log10_p, q = np.full(len(n), np.nan), np.full(len(n), np.nan)
    judged = np.flatnonzero(np.isfinite(eta) & (n > 1))
    if len(judged):
        dof = n[judged] - 1.0
        with np.errstate(divide="ignore", invalid="ignore"):
            # Of one point: the error of the mean is smaller by the root of their number.
            snr = mean[judged] / (mean_err[judged] * np.sqrt(n[judged]))
        chi_squared = eta[judged] * dof
        log10_p[judged] = empirical_null(chi_squared, dof, snr).log10_p(chi_squared, dof, snr)
        q[judged] = benjamini_hochberg(log10_p[judged])
    columns = {f"log10_p_null_{kind}": log10_p, f"q_value_{kind}": q}
    return pd.DataFrame(columns, index=statistics.index)
