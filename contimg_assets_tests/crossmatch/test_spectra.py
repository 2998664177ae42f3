"""Spectral indices and scaled fluxes."""

import numpy as np
import pytest

from contimg_assets.crossmatch.spectra import scaled_flux, spectral_indices


def test_prior_comes_back_without_data_or_with_one_flux() -> None:
    prior, err = np.array([-0.7, -0.2]), np.array([0.35, 0.1])
    alpha, alpha_err, mean, _ = spectral_indices(
        np.array([1]), np.array([1400.0]), np.array([5.0]), np.array([0.1]), prior, err
    )
    np.testing.assert_allclose(alpha, prior)
    np.testing.assert_allclose(alpha_err, err)
    assert np.isnan(mean[0])
    assert mean[1] == pytest.approx(np.log(1400))


def test_error_is_that_of_simulated_spectra() -> None:
    # Two catalogues, curvature none: pulls of the extrapolated and the interpolated flux must be normal.
    rng = np.random.default_rng(8)
    n = 20_000
    alpha = rng.normal(-0.7, 0.35, n)
    freq = np.array([150.0, 1400.0])
    fractional = np.array([0.1, 0.05])
    true = 100.0 * (freq[:, None] / 1000.0) ** alpha
    seen = true * np.exp(fractional[:, None] * rng.normal(size=true.shape))
    group = np.tile(np.arange(n), 2)
    fitted, err, mean, _ = spectral_indices(
        group, np.repeat(freq, n), seen.ravel(), np.repeat(fractional, n), np.full(n, -0.7), np.full(n, 0.35)
    )
    assert np.std((fitted - alpha) / err) == pytest.approx(1.0, abs=0.02)
    for ours in (75.0, 500.0, 3000.0):
        expected, expected_err = scaled_flux(
            seen[1], np.full(n, fractional[1]), np.full(n, freq[1]), np.full(n, ours), fitted, err, mean
        )
        pull = (np.log(expected) - np.log(100.0 * (ours / 1000.0) ** alpha)) / (expected_err / expected)
        assert np.std(pull) == pytest.approx(1.0, abs=0.03), ours


@pytest.mark.parametrize("ours", [75.0, 500.0, 3000.0])
def test_error_leaves_out_what_is_common_to_a_catalogue(ours: float) -> None:
    # Scales of both catalogues wrong by one and the same factor for all sources: it moves the mean, not the scatter.
    rng = np.random.default_rng(9)
    n, common = 20_000, 0.1
    alpha = rng.normal(-0.7, 0.35, n)
    freq, own = np.array([150.0, 1400.0]), np.array([0.04, 0.02])
    true = 100.0 * (freq[:, None] / 1000.0) ** alpha
    seen = true * np.exp(own[:, None] * rng.normal(size=true.shape) + np.array([0.1, -0.1])[:, None])
    fractional = np.hypot(own, common)
    fitted, err, mean, common_alpha = spectral_indices(
        *(np.tile(np.arange(n), 2), np.repeat(freq, n), seen.ravel(), np.repeat(fractional, n)),
        *(np.full(n, -0.7), np.full(n, 0.35), common),
    )
    expected, expected_err = scaled_flux(
        *(seen[1], np.full(n, fractional[1]), np.full(n, freq[1]), np.full(n, ours)),
        *(fitted, err, mean, common_alpha, common),
    )
    residual = np.log(expected) - np.log(100.0 * (ours / 1000.0) ** alpha)
    assert np.std(residual) == pytest.approx(np.median(expected_err / expected), rel=0.03)
