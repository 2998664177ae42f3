"""Which light curves vary: the tail of p-values, the null that the survey itself shows, and q-values that are kept."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from contimg_assets.variability.segments import Segments
from contimg_assets.variability.significance import (
    benjamini_hochberg,
    empirical_null,
    log10_survival,
    significances,
)
from contimg_assets.variability.statistics import flux_statistics

LN10 = np.log(10.0)


def survey(
    seed: int, n: int = 10_000, dof: int = 5, share: float = 0.05, scale: object = None, spread: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Chi-squared, degrees of freedom, SNR, and which sources vary; errors are off by a factor of (snr, source)."""
    rng = np.random.default_rng(seed)
    snr = np.exp(rng.uniform(np.log(5), np.log(2000), n))
    k = np.full(n, float(dof))
    varies = rng.uniform(size=n) < share
    factor = np.ones(n) if scale is None else scale(snr)
    factor = factor * np.exp(rng.normal(0.0, spread, n))
    more = np.where(varies, np.exp(rng.uniform(np.log(2), np.log(200), n)), 1.0)
    return factor * more * rng.chisquare(k), k, snr, varies


def selected(chi_squared: np.ndarray, dof: np.ndarray, snr: np.ndarray, q: float = 0.05) -> np.ndarray:
    return benjamini_hochberg(empirical_null(chi_squared, dof, snr).log10_p(chi_squared, dof, snr)) <= q


# --- p-values -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("x", [0.0, 1.0, 50.0, 1e3, 1e5, 1e9])
def test_logarithm_of_the_p_value_where_it_has_a_closed_form(x: float) -> None:
    np.testing.assert_allclose(log10_survival(x, 2), -x / 2 / LN10, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(log10_survival(x, 4), (-x / 2 + np.log1p(x / 2)) / LN10, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(
        log10_survival(x, 6), (-x / 2 + np.log1p(x / 2 + (x / 2) ** 2 / 2)) / LN10, rtol=1e-13, atol=1e-15
    )
    for spread in (0.05, 0.3, 0.6):
        d = 2 / spread**2
        expected = -d / 2 * np.log1p(x / d) / LN10
        np.testing.assert_allclose(log10_survival(x, 2, spread), expected, rtol=1e-12, atol=1e-15)


def test_odd_degrees_of_freedom_far_in_the_tail() -> None:
    """One: 2 (1 - Phi(sqrt x)), whose logarithm SciPy has; three: by recurrence of the incomplete gamma function."""
    x = np.array([30.0, 900.0, 2500.0, 4e4, 1e7])
    one = np.log(2.0) + special.log_ndtr(-np.sqrt(x))
    np.testing.assert_allclose(log10_survival(x, 1), one / LN10, rtol=1e-12)
    step = 0.5 * np.log(x / 2) - x / 2 - special.gammaln(1.5)
    np.testing.assert_allclose(log10_survival(x, 3), np.logaddexp(one, step) / LN10, rtol=1e-12)


@given(st.floats(0, 2000), st.integers(1, 300), st.sampled_from([0.0, 0.1, 0.4]))
@settings(max_examples=200, deadline=None)
def test_the_logarithm_is_that_of_the_p_value(x: float, k: int, spread: float) -> None:
    if spread:
        d = 2 / spread**2
        expected = special.betainc(d / 2, k / 2, d / (d + x))
    else:
        expected = special.chdtrc(k, x)
    if expected > 1e-290:
        np.testing.assert_allclose(log10_survival(x, k, spread), np.log10(expected), rtol=1e-9, atol=1e-12)


@given(st.lists(st.tuples(st.floats(0, 1e6), st.integers(1, 60)), min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
def test_each_p_value_stands_alone(points: list[tuple[float, int]]) -> None:
    x, k = np.array(points).T
    for spread in (0.0, 0.2):
        together = log10_survival(x, k, spread)
        assert together.tolist() == [float(log10_survival(a, b, spread)) for a, b in zip(x, k, strict=True)]


def test_what_has_no_scatter_has_no_p_value() -> None:
    assert np.isnan(log10_survival([np.nan, 3.0, 3.0], [4, 0, np.nan])).all()
    assert log10_survival(np.inf, 3) == -np.inf


def test_statistics_of_a_bright_variable_do_not_underflow() -> None:
    segments = Segments(np.array([0, 3]), np.array([3, 3]))
    flux, err = np.array([1.0, 1000.0, 1.0, 1.0, 2000.0, 1.0]), np.full(6, 0.1)
    result = flux_statistics(flux, err, segments)
    assert (result["p_value"] == 0).all()
    # Two degrees of freedom: exp(-chi-squared / 2).
    np.testing.assert_allclose(result["log10_p_value"], -result["eta"] / LN10, rtol=1e-12)
    assert result["log10_p_value"][1] < result["log10_p_value"][0] < -1e6


# --- q-values -----------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(-400, 0) | st.just(np.nan), max_size=30))
def test_q_values_are_benjamini_and_hochbergs(log10_p: list[float]) -> None:
    q = benjamini_hochberg(np.array(log10_p))
    known = [p for p in log10_p if not np.isnan(p)]
    for one, p in zip(q, log10_p, strict=True):
        if np.isnan(p):
            assert np.isnan(one)
            continue
        # The smallest share of false ones in any list that holds it: m p / rank, at the last of equal ones.
        lists = [len(known) * 10.0**limit / sum(r <= limit for r in known) for limit in known if limit >= p]
        assert one == pytest.approx(min(1.0, *lists), rel=1e-9)


def test_q_values_do_not_depend_on_the_order_of_sources() -> None:
    chi_squared, dof, snr, _ = survey(1, n=3000, scale=lambda snr: 1 + (0.003 * snr) ** 2)
    dof = np.random.default_rng(2).integers(1, 8, len(dof)).astype(float)
    null = empirical_null(chi_squared, dof, snr)
    order = np.random.default_rng(3).permutation(len(snr))
    again = empirical_null(chi_squared[order], dof[order], snr[order])
    for name in ("snr", "scale", "spread"):
        assert getattr(null, name).tolist() == getattr(again, name).tolist()


# --- the null that the survey shows -------------------------------------------------------------------------------


def judged(seeds: range, **options: object) -> tuple[float, float]:
    """Share of false ones among those selected, and share of the recoverable ones that are found."""
    n_selected = n_false = n_found = n_wanted = 0
    for seed in seeds:
        chi_squared, dof, snr, varies = survey(seed, **options)
        chosen = selected(chi_squared, dof, snr)
        scale = options["scale"](snr) if options.get("scale") else 1.0
        able = varies & (log10_survival(chi_squared / scale, dof) < -4)
        n_selected, n_false = n_selected + chosen.sum(), n_false + (chosen & ~varies).sum()
        n_found, n_wanted = n_found + (chosen & able).sum(), n_wanted + able.sum()
    return n_false / n_selected, n_found / n_wanted


@pytest.mark.parametrize("share", [0.02, 0.1, 0.4])
@pytest.mark.parametrize("dof", [1, 5, 20])
def test_honest_errors(dof: int, share: float) -> None:
    false, found = judged(range(8), dof=dof, share=share)
    assert false <= 0.06
    assert found >= 0.95


@pytest.mark.parametrize("share", [0.05, 0.4])
@pytest.mark.parametrize("dof", [5, 20])
def test_errors_that_are_too_small_for_bright_sources(dof: int, share: float) -> None:
    def scale(snr: np.ndarray) -> np.ndarray:
        return 1 + (0.003 * snr) ** 2

    options = {"dof": dof, "share": share, "scale": scale}
    # By theory alone most of the list would be constant.
    chi_squared, k, _, varies = survey(0, **options)
    naive = benjamini_hochberg(log10_survival(chi_squared, k)) <= 0.05
    assert (naive & ~varies).sum() / naive.sum() > (0.4 if share < 0.1 else 0.15)
    false, found = judged(range(4), **options)
    assert false <= 0.06
    assert found >= 0.95


def test_errors_that_are_too_small_by_the_same_factor_in_a_small_survey() -> None:
    false, found = judged(range(10), n=400, dof=7, share=0.1, scale=lambda snr: 3.0 + 0 * snr)
    assert false <= 0.07
    assert found >= 0.9


def test_errors_that_are_not_the_same_for_all_sources() -> None:
    chi_squared, dof, snr, varies = survey(1, dof=20, share=0.05, spread=0.4)
    naive = benjamini_hochberg(log10_survival(chi_squared, dof)) <= 0.05
    assert (naive & ~varies).sum() / naive.sum() > 0.5
    chosen = selected(chi_squared, dof, snr)
    assert (chosen & ~varies).sum() / chosen.sum() <= 0.06
    # A source that stands out against all others is still found.
    loud = varies & (chi_squared > 20 * dof)
    assert (chosen & loud).sum() >= 0.9 * loud.sum()


@pytest.mark.parametrize("seed", range(4))
def test_no_part_of_a_survey_is_taken_for_honest_by_a_hair(seed: int) -> None:
    chi_squared, dof, snr, varies = survey(seed, n=10_000, dof=5, share=0.03, spread=0.35)
    null = empirical_null(chi_squared, dof, snr)
    assert (null.spread > 0.1).all()
    chosen = selected(chi_squared, dof, snr)
    assert (chosen & ~varies).sum() / chosen.sum() <= 0.10


def test_theory_stands_where_the_bulk_scatters_a_little_less_and_gives_way_where_it_scatters_far_less() -> None:
    assert (empirical_null(*survey(1, scale=lambda snr: 0.75 + 0 * snr)[:3]).scale == 1).all()
    null = empirical_null(*survey(1, scale=lambda snr: 0.2 + 0 * snr)[:3])
    assert ((null.scale > 0.3) & (null.scale < 0.6)).all()
    np.testing.assert_allclose(null.measured, 0.2, rtol=0.25)


@pytest.mark.parametrize("n", [0, 1, 10])
def test_few_sources_teach_nothing(n: int) -> None:
    chi_squared, dof, snr, _ = survey(1, n=n)
    null = empirical_null(100 * chi_squared, dof, snr)
    assert (null.scale == 1).all() and (null.spread == 0).all()
    assert null.log10_p(chi_squared, dof, snr).tolist() == log10_survival(chi_squared, dof).tolist()


def test_sources_without_a_ratio_are_treated_like_the_worst() -> None:
    chi_squared, dof, snr, _ = survey(1, scale=lambda snr: 1 + (0.003 * snr) ** 2)
    null = empirical_null(chi_squared, dof, snr)
    faintest, worst = null.log10_p(np.full(2, 30.0), np.full(2, 5.0), np.array([-3.0, np.nan]))
    assert worst > faintest


def test_significances_of_a_table() -> None:
    chi_squared, dof, snr, varies = survey(1, n=500)
    table = pd.DataFrame({"n_int": dof + 1, "eta_int": chi_squared / dof, "flux_int_weighted_mean_mjy": snr})
    table["flux_int_weighted_mean_err_mjy"] = 1 / np.sqrt(table["n_int"])
    table.loc[500] = [1, np.nan, 10.0, 1.0]
    table.index = table.index[::-1]
    found = significances(table, "int")
    assert found.index.equals(table.index)
    assert np.isnan(found["q_value_int"].iloc[-1])
    chosen = (found["q_value_int"] <= 0.05).to_numpy()[:-1]
    assert chosen.tolist() == selected(chi_squared, dof, snr).tolist()
    assert (chosen & varies).sum() > 10
    nothing = significances(table[:0], "int")
    assert nothing.empty and list(nothing) == ["log10_p_null_int", "q_value_int"]


@pytest.mark.parametrize("n", [1, 2, 7, 19, 20])
def test_few_sources_of_very_many_epochs_are_judged(n: int) -> None:
    """Each would tell the factor well enough for a bin of its own: there were more bins than sources."""
    chi_squared, dof, snr, _ = survey(3, n=n, dof=1000, share=0.0)
    np.testing.assert_allclose(empirical_null(chi_squared, dof, snr).scale, 1.0, atol=0.2)
    chi_squared[0] *= 3.0
    assert np.flatnonzero(selected(chi_squared, dof, snr)).tolist() == ([0] if n > 1 else [])
