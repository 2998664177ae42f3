"""Probabilities of positional matches: formulas on arrays, one place for each.

Conventions: angles in arcsec; errors are 1-sigma per axis; densities in sources per square degree; Q is the share of
detections that have a counterpart above the catalog's limit. Everything that can underflow is a logarithm.

References: de Ruiter, Willis & Arp 1977 (A&AS 28, 211), Sutherland & Saunders 1992 (MNRAS 259, 413), Budavari & Szalay
2008 (ApJ 679, 301), Fleuren et al. 2012 (MNRAS 423, 2407).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from contimg_assets.sky.arrays import Floats, Values
from contimg_assets.sky.sphere import ARCSEC_PER_RADIAN

ARCSEC2_PER_DEG2 = 3600.0**2
SQUARE_DEGREES_OF_SKY = 4.0 * np.pi * np.degrees(1.0) ** 2
Q_BOUNDS = (0.01, 0.99)


def completeness(de_ruiter: npt.ArrayLike) -> Floats:
    """Share of true counterparts within a de Ruiter radius, 1 - exp(-r^2/2) (Rayleigh distribution)."""
    return -np.expm1(-0.5 * np.asarray(de_ruiter, float) ** 2)


def radius_of_completeness(share: npt.ArrayLike) -> Floats:
    """The inverse of `completeness`."""
    radius: Floats = np.sqrt(-2.0 * np.log1p(-np.asarray(share, float)))
    return radius


def chance_probability(separation_arcsec: npt.ArrayLike, density_per_deg2: npt.ArrayLike) -> Floats:
    """Probability of at least one unrelated source nearer than this, 1 - exp(-pi rho psi^2)."""
    psi = np.asarray(separation_arcsec, float)
    probability: Floats = -np.expm1(-np.pi * np.asarray(density_per_deg2, float) / ARCSEC2_PER_DEG2 * psi * psi)
    return probability


def log_position_likelihood(
    de_ruiter: npt.ArrayLike,
    sigma_ew_arcsec: npt.ArrayLike,
    sigma_ns_arcsec: npt.ArrayLike,
    covariance_arcsec2: npt.ArrayLike = 0.0,
) -> Floats:
    """ln f, f = exp(-r^2/2) / (2 pi sqrt(det C)) per square arcsec."""
    determinant = (np.asarray(sigma_ew_arcsec, float) * np.asarray(sigma_ns_arcsec, float)) ** 2
    determinant = determinant - np.asarray(covariance_arcsec2, float) ** 2
    log_f: Floats = -0.5 * np.asarray(de_ruiter, float) ** 2 - np.log(2.0 * np.pi) - 0.5 * np.log(determinant)
    return log_f


def log10_bayes_factor(log_likelihood: npt.ArrayLike) -> Floats:
    """log10 B, B = 4 pi f with f per steradian (Budavari & Szalay 2008, eq. 16, for any covariance)."""
    log10_b: Floats = (np.asarray(log_likelihood, float) + np.log(4.0 * np.pi * ARCSEC_PER_RADIAN**2)) / np.log(10.0)
    return log10_b


def log_likelihood_ratio(
    log_likelihood: npt.ArrayLike, density_per_deg2: npt.ArrayLike, q: npt.ArrayLike = 1.0
) -> Floats:
    """ln LR, LR = Q f / rho (Sutherland & Saunders 1992, eq. 2, with Q for q(m) and rho for n(m))."""
    rho = np.asarray(density_per_deg2, float) / ARCSEC2_PER_DEG2
    log_ratio: Floats = np.asarray(log_likelihood, float) + np.log(np.asarray(q, float)) - np.log(rho)
    return log_ratio


def posterior(log_ratio: npt.ArrayLike, first: npt.ArrayLike, q: npt.ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Probabilities of all candidates of each detection (Sutherland & Saunders 1992, eq. 5).

    p_j = LR_j / (sum LR + 1 - Q): exact for at most one counterpart on a Poisson background.

    Parameters
    ----------
    log_ratio : ln LR of the candidates, those of one detection adjacent, shape (k,)
    first : index of each detection's first candidate, ascending from 0, shape (n,)
    q : Q of each detection, shape (n,) or scalar

    Returns
    -------
    probability : shape (k,)
    p_any, p_none : shape (n,); p_none keeps its digits where p_any is 1 to rounding
    """
    lr, start = np.asarray(log_ratio, float), np.asarray(first, np.intp)
    if not len(start):
        return np.empty(0), np.empty(0), np.empty(0)
    with np.errstate(divide="ignore"):
        log_no = np.broadcast_to(np.log1p(-np.asarray(q, float)), start.shape)
    group = np.repeat(np.arange(len(start)), np.diff(np.append(start, len(lr))))
    largest = np.maximum(np.maximum.reduceat(lr, start), log_no)
    summed = np.add.reduceat(np.exp(lr - largest[group]), start)
    none = np.exp(log_no - largest)
    total = summed + none
    return np.exp(lr - largest[group]) / total[group], summed / total, none / total


def pair_posterior(log_ratio: npt.ArrayLike) -> Floats:
    """LR / (LR + 1): the posterior of one pair by itself (Budavari & Szalay 2008, eq. 10, prior Q / N)."""
    probability: Floats = np.exp(-np.logaddexp(0.0, -np.asarray(log_ratio, float)))
    return probability


def log_likelihood_ratio_77(
    de_ruiter: npt.ArrayLike,
    sigma_ew_arcsec: npt.ArrayLike,
    sigma_ns_arcsec: npt.ArrayLike,
    density_per_deg2: npt.ArrayLike,
) -> Floats:
    """ln of the likelihood ratio of de Ruiter et al. (1977), exp(r^2 (2 lambda - 1) / 2) / (2 lambda)."""
    rho = np.asarray(density_per_deg2, float) / ARCSEC2_PER_DEG2
    lam = np.pi * np.asarray(sigma_ew_arcsec, float) * np.asarray(sigma_ns_arcsec, float) * rho
    log_ratio: Floats = 0.5 * np.asarray(de_ruiter, float) ** 2 * (2.0 * lam - 1.0) - np.log(2.0 * lam)
    return log_ratio


def posterior_77(log_ratio_77: npt.ArrayLike, q: npt.ArrayLike) -> Floats:
    """theta LR / (theta LR + 1 - theta) (de Ruiter et al. 1977, eq. 6)."""
    theta = np.asarray(q, float)
    probability: Floats = np.exp(-np.logaddexp(0.0, np.log1p(-theta) - np.log(theta) - np.asarray(log_ratio_77, float)))
    return probability


def log10_bayes_factor_exact(
    separation_arcsec: npt.ArrayLike, sigma1_arcsec: npt.ArrayLike, sigma2_arcsec: npt.ArrayLike
) -> Floats:
    """log10 B of two circular errors on the sphere itself (Budavari & Szalay 2008, eq. 14, von Mises-Fisher)."""
    w1 = (ARCSEC_PER_RADIAN / np.asarray(sigma1_arcsec, float)) ** 2
    w2 = (ARCSEC_PER_RADIAN / np.asarray(sigma2_arcsec, float)) ** 2
    psi = np.asarray(separation_arcsec, float) / ARCSEC_PER_RADIAN
    w = np.sqrt(w1 * w1 + w2 * w2 + 2.0 * w1 * w2 * np.cos(psi))
    # w - w1 - w2, without taking the difference of numbers that agree to ten digits.
    excess = -4.0 * w1 * w2 * np.sin(psi / 2.0) ** 2 / (w + w1 + w2)

    def log_sinh_without_growth(x: Values) -> Floats:
        log_sinh: Floats = np.log1p(-np.exp(-2.0 * x)) - np.log(2.0)
        return log_sinh

    log_b = np.log(w1 * w2 / w) + excess
    log_b = log_b + log_sinh_without_growth(w) - log_sinh_without_growth(w1) - log_sinh_without_growth(w2)
    log10_b: Floats = log_b / np.log(10.0)
    return log10_b


def fit_q(blank: npt.ArrayLike, blank_random: npt.ArrayLike, enclosed: npt.ArrayLike) -> Floats:
    """Q from the shares of detections and of random positions without catalog source, by least squares.

    B(R) / B_random(R) = 1 - Q F(R) (Fleuren et al. 2012, eq. 8), F(R) the share of true counterparts within R.

    Parameters
    ----------
    blank, blank_random, enclosed : B, B_random and F at each radius, shape (..., n_radii)

    Returns
    -------
    q : shape (...), bounded to [0.01, 0.99]
    """
    b, b_random, f = (np.asarray(values, float) for values in (blank, blank_random, enclosed))
    with np.errstate(divide="ignore", invalid="ignore"):
        # Where random positions are hardly ever blank, the ratio says nothing: weight by B_random^2.
        weight = b_random * b_random
        counterpart = np.where(b_random > 0, 1.0 - b / b_random, 0.0)
        q = (weight * f * counterpart).sum(axis=-1) / (weight * f * f).sum(axis=-1)
    bounded: Floats = np.clip(np.nan_to_num(q, nan=Q_BOUNDS[0]), *Q_BOUNDS)
    return bounded
