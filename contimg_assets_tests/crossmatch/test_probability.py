"""Formulas against exact values, and what must hold for any input."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contimg_assets.crossmatch import probability as p
from contimg_assets.sky.pairs import de_ruiter_radius

finite = st.floats(0.05, 30.0)


@pytest.fixture(scope="module")
def golden(shared: Path) -> dict:
    return json.loads((shared / "golden" / "probability_values.json").read_text())


def column(rows: list[dict], key: str) -> np.ndarray:
    return np.array([row[key] for row in rows], dtype=float)


@pytest.mark.shared
def test_rayleigh_values(golden: dict) -> None:
    rows = golden["rayleigh"]
    np.testing.assert_allclose(p.completeness(column(rows, "r")), column(rows, "complete"), rtol=1e-12)
    np.testing.assert_allclose(1 - p.completeness(column(rows, "r")), column(rows, "lost"), rtol=1e-6)
    shares = np.array([float(key) for key in golden["r_for_completeness"]])
    np.testing.assert_allclose(
        p.radius_of_completeness(shares), list(golden["r_for_completeness"].values()), rtol=1e-12
    )


@pytest.mark.shared
def test_chance_values(golden: dict) -> None:
    rows = golden["p_chance"]
    for key, density in (("NVSS_52", 52), ("FIRST_90", 90), ("dense_5000", 5000)):
        np.testing.assert_allclose(
            p.chance_probability(column(rows, "radius_arcsec"), density), column(rows, key), rtol=1e-10
        )


@pytest.mark.shared
def test_values_of_single_candidates(golden: dict) -> None:
    rows = golden["single"]
    psi, s1, s2 = (column(rows, key) for key in ("psi", "sigma1", "sigma2"))
    rho, q = column(rows, "density_deg2"), column(rows, "Q")
    sigma = np.hypot(s1, s2)
    r = de_ruiter_radius(psi, 0.0, sigma, sigma)
    log_f = p.log_position_likelihood(r, sigma, sigma)
    log_ratio = p.log_likelihood_ratio(log_f, rho, q)
    first = np.arange(len(rows))
    probability, p_any, p_none = p.posterior(log_ratio, first, q)
    log_ratio_77 = p.log_likelihood_ratio_77(r, sigma, sigma, rho)
    expected = {
        "r": r,
        "completeness": p.completeness(r),
        "log10_B": p.log10_bayes_factor(log_f),
        "LR": np.exp(log_ratio),
        "P_ss92": probability,
        "P_bs08_pair": p.pair_posterior(log_ratio),
        "P_nway_like": p.pair_posterior(p.log_likelihood_ratio(log_f, rho, q)),
        "LR_deRuiter77": np.exp(log_ratio_77),
        "P_deRuiter77": p.posterior_77(log_ratio_77, q),
        "p_chance": p.chance_probability(psi, rho),
    }
    for key, values in expected.items():
        np.testing.assert_allclose(values, column(rows, key), rtol=1e-6, atol=1e-15, err_msg=key)
    np.testing.assert_allclose(p.log10_bayes_factor_exact(psi, s1, s2), column(rows, "log10_B_exact"), rtol=1e-9)
    np.testing.assert_array_equal(p_any, probability)
    np.testing.assert_allclose(p_none, 1 - column(rows, "P_ss92"), rtol=1e-6, atol=1e-12)


@pytest.mark.shared
def test_values_of_several_candidates(golden: dict) -> None:
    rows = golden["multi"]
    psi = np.concatenate([row["psi"] for row in rows])
    sigma = np.concatenate([row["sigma"] for row in rows])
    counts = np.array([len(row["psi"]) for row in rows])
    first, q = np.cumsum(counts) - counts, column(rows, "Q")
    r = de_ruiter_radius(0.0, psi, sigma, sigma)
    log_ratio = p.log_likelihood_ratio(
        p.log_position_likelihood(r, sigma, sigma), np.repeat(column(rows, "rho"), counts), np.repeat(q, counts)
    )
    probability, p_any, p_none = p.posterior(log_ratio, first, q)
    np.testing.assert_allclose(np.exp(log_ratio), np.concatenate([row["LR"] for row in rows]), rtol=1e-9)
    np.testing.assert_allclose(probability, np.concatenate([row["p_i"] for row in rows]), rtol=1e-9)
    np.testing.assert_allclose(p_any, column(rows, "p_any"), rtol=1e-9)
    np.testing.assert_allclose(p_none, column(rows, "p_none"), rtol=1e-9)


@pytest.mark.shared
def test_values_with_covariance(golden: dict) -> None:
    case = golden["elliptical"]
    c = np.array(case["C1"]) + np.array(case["C2"])
    sigma_ew, sigma_ns = np.sqrt(c[0, 0]), np.sqrt(c[1, 1])
    r = de_ruiter_radius(case["dx"], case["dy"], sigma_ew, sigma_ns, c[0, 1])
    log_f = p.log_position_likelihood(r, sigma_ew, sigma_ns, c[0, 1])
    np.testing.assert_allclose(r**2, case["chi2"], rtol=1e-12)
    np.testing.assert_allclose(np.exp(log_f), case["f_per_arcsec2"], rtol=1e-12)
    np.testing.assert_allclose(p.log10_bayes_factor(log_f), case["log10_B"], rtol=1e-12)


@given(st.lists(st.floats(-5000, 5000), min_size=1, max_size=8), st.floats(0.0, 0.999))
def test_posterior_is_a_distribution_however_extreme(log_ratio: list[float], q: float) -> None:
    probability, p_any, p_none = p.posterior(log_ratio, [0], [q])
    assert (probability >= 0).all()
    np.testing.assert_allclose(probability.sum(), p_any[0], rtol=1e-12)
    np.testing.assert_allclose(p_any + p_none, 1.0, rtol=1e-12)
    best = int(np.argmax(log_ratio))
    assert probability[best] == probability.max()


def test_posterior_with_every_detection_expected_to_match() -> None:
    probability, p_any, p_none = p.posterior([-2000.0, -2001.0], [0], [1.0])
    np.testing.assert_allclose(probability, [1 / (1 + np.exp(-1)), np.exp(-1) / (1 + np.exp(-1))], rtol=1e-12)
    assert (p_any[0], p_none[0]) == (1.0, 0.0)


def test_posterior_of_nothing() -> None:
    assert [len(values) for values in p.posterior([], [], [])] == [0, 0, 0]


@given(finite, finite, finite, finite)
def test_de_ruiter_radius_turns_with_the_sky(x: float, y: float, a: float, b: float) -> None:
    r = de_ruiter_radius(x, y, a, b)
    np.testing.assert_allclose(r, de_ruiter_radius(y, x, b, a), rtol=1e-12)
    np.testing.assert_allclose(r, de_ruiter_radius(-x, y, a, b), rtol=1e-12)
    np.testing.assert_allclose(r**2, (x / a) ** 2 + (y / b) ** 2, rtol=1e-12)


@given(st.floats(0.02, 0.98), st.floats(0.5, 3.0))
def test_fit_q_recovers_the_share_behind_the_blanks(q: float, background: float) -> None:
    radius = np.array([1.0, 2.0, 3.0, 4.0])
    enclosed, blank_random = p.completeness(radius), np.exp(-0.01 * background * radius**2)
    np.testing.assert_allclose(p.fit_q(blank_random * (1 - q * enclosed), blank_random, enclosed), q, rtol=1e-9)


def test_fit_q_stays_within_bounds() -> None:
    enclosed = np.array([0.5, 0.9])
    assert p.fit_q([0.0, 0.0], [1.0, 1.0], [0.5, 0.9]) == 0.99
    assert p.fit_q([1.0, 1.0], [0.9, 0.8], enclosed) == 0.01
    assert p.fit_q([0.0, 0.0], [0.0, 0.0], enclosed) == 0.01
