"""Catalogue fluxes at our frequency, with the error that the spectral index brings in."""

from __future__ import annotations

import numpy as np

from contimg_assets.sky.arrays import Floats, Indices


def spectral_indices(
    group: Indices,
    freq_mhz: Floats,
    flux_mjy: Floats,
    fractional_err: Floats,
    prior: Floats,
    prior_err: Floats,
    common_err: float = 0.0,
) -> tuple[Floats, Floats, Floats, Floats]:
    """Spectral index of each object from the catalogues that see it, with a prior from the population.

    Weighted least squares of ln S = a + alpha ln nu with a normal prior on alpha: with one flux the prior comes back,
    with several frequencies far apart the data decide, and in between both do.

    Parameters
    ----------
    group : object of each flux, shape (k,), from 0
    freq_mhz, flux_mjy, fractional_err : of each flux, shape (k,)
    prior, prior_err : of each object, shape (n,)
    common_err : the part of every fractional_err that is a catalogue's scale, the same for all its fluxes

    Returns
    -------
    alpha, alpha_err : shape (n,)
    mean_ln_freq : weighted mean of ln nu of each object's fluxes, NaN without any, shape (n,)
    alpha_common_err : the part of alpha_err that the catalogues' scales bring in, shape (n,)
    """
    n = len(prior)
    weight = 1.0 / fractional_err**2
    x, y = np.log(freq_mhz), np.log(flux_mjy)
    total = np.bincount(group, weight, minlength=n)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(group, weight * x, minlength=n) / total
    spread = x - mean[group]
    precision = np.bincount(group, weight * spread**2, minlength=n) + 1.0 / prior_err**2
    alpha = (np.bincount(group, weight * spread * y, minlength=n) + prior / prior_err**2) / precision
    common = common_err * np.sqrt(np.bincount(group, (weight * spread) ** 2, minlength=n)) / precision
    return alpha, 1.0 / np.sqrt(precision), mean, common


def scaled_flux(
    flux_mjy: Floats,
    fractional_err: Floats,
    freq_mhz: Floats,
    our_freq_mhz: Floats,
    alpha: Floats,
    alpha_err: Floats,
    mean_ln_freq: Floats,
    alpha_common_err: Floats | float = 0.0,
    common_err: float = 0.0,
) -> tuple[Floats, Floats]:
    """Flux at our frequency, S (nu / nu_c)^alpha, and its error, shape (k,).

    The error carries those of flux and index, and that the index came from this very flux: interpolating between two
    catalogues is surer, extrapolating beyond them less sure, than independent errors would say. ``mean_ln_freq`` is
    that of the fit, or ln nu_c where this flux had no part in it.

    What is common to all fluxes of a catalogue (``common_err``, and what it brings into alpha) is not in the error:
    it does not average out over sources, and taken for scatter it would hide that theirs is smaller.
    """
    lever = np.log(our_freq_mhz / freq_mhz)
    expected = flux_mjy * np.exp(alpha * lever)
    own = fractional_err**2 - common_err**2
    variance = alpha_err**2 - alpha_common_err**2
    # Of the covariance alpha_err^2 (ln nu_c - mean), the share that this flux's own error has in its weight.
    covariance = (np.log(freq_mhz) - mean_ln_freq) * alpha_err**2 * own / fractional_err**2
    fractional = own + lever**2 * variance + 2.0 * lever * covariance
    return expected, np.abs(expected) * np.sqrt(np.maximum(fractional, 0.0))
