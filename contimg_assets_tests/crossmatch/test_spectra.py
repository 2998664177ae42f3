"""Spectral indices and scaled fluxes."""

import numpy as np
import pytest

from contimg_assets.crossmatch.spectra import CatalogFluxes, SpectralIndices, scaled_flux, spectral_indices


def _fluxes(freq: np.ndarray, seen: np.ndarray, fractional: np.ndarray, common: float = 0.0) -> CatalogFluxes:
    """Fluxes of n objects in some catalogs, shape (catalogs, n), one catalog after the other."""
    n = seen.shape[1]
    return CatalogFluxes(np.repeat(freq, n), seen.ravel(), np.repeat(fractional, n), common)


def _fitted(freq: np.ndarray, seen: np.ndarray, fractional: np.ndarray, common: float = 0.0) -> SpectralIndices:
    n = seen.shape[1]
    group = np.tile(np.arange(n), len(freq))
    return spectral_indices(group, _fluxes(freq, seen, fractional, common), np.full(n, -0.7), np.full(n, 0.35))


def test_prior_comes_back_without_data_or_with_one_flux() -> None:
    prior, err = np.array([-0.7, -0.2]), np.array([0.35, 0.1])
    fluxes = CatalogFluxes(np.array([1400.0]), np.array([5.0]), np.array([0.1]))
    index = spectral_indices(np.array([1]), fluxes, prior, err)
    np.testing.assert_allclose(index.alpha, prior)
    np.testing.assert_allclose(index.alpha_err, err)
    assert np.isnan(index.mean_ln_freq[0])
    assert index.mean_ln_freq[1] == pytest.approx(np.log(1400))


def test_error_is_that_of_simulated_spectra() -> None:
    # Two catalogs, curvature none: pulls of the extrapolated and the interpolated flux must be normal.
    rng = np.random.default_rng(8)
    n = 20_000
    alpha = rng.normal(-0.7, 0.35, n)
    freq = np.array([150.0, 1400.0])
    fractional = np.array([0.1, 0.05])
    true = 100.0 * (freq[:, None] / 1000.0) ** alpha
    seen = true * np.exp(fractional[:, None] * rng.normal(size=true.shape))
    index = _fitted(freq, seen, fractional)
    assert np.std((index.alpha - alpha) / index.alpha_err) == pytest.approx(1.0, abs=0.02)
    for ours in (75.0, 500.0, 3000.0):
        expected, expected_err = scaled_flux(_fluxes(freq[1:], seen[1:], fractional[1:]), np.full(n, ours), index)
        pull = (np.log(expected) - np.log(100.0 * (ours / 1000.0) ** alpha)) / (expected_err / expected)
        assert np.std(pull) == pytest.approx(1.0, abs=0.03), ours


@pytest.mark.parametrize("ours", [75.0, 500.0, 3000.0])
def test_error_leaves_out_what_is_common_to_a_catalogue(ours: float) -> None:
    # Scales of both catalogs wrong by one and the same factor for all sources: it moves the mean, not the scatter.
    rng = np.random.default_rng(9)
    n, common = 20_000, 0.1
    alpha = rng.normal(-0.7, 0.35, n)
    freq, own = np.array([150.0, 1400.0]), np.array([0.04, 0.02])
    true = 100.0 * (freq[:, None] / 1000.0) ** alpha
    seen = true * np.exp(own[:, None] * rng.normal(size=true.shape) + np.array([0.1, -0.1])[:, None])
    fractional = np.hypot(own, common)
    index = _fitted(freq, seen, fractional, common)
    expected, expected_err = scaled_flux(_fluxes(freq[1:], seen[1:], fractional[1:], common), np.full(n, ours), index)
    residual = np.log(expected) - np.log(100.0 * (ours / 1000.0) ** alpha)
    assert np.std(residual) == pytest.approx(np.median(expected_err / expected), rel=0.03)
