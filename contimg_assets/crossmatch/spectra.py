"""Catalog fluxes at our frequency, with the error that the spectral index brings in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contimg_assets.sky.arrays import Flags, Floats, Indices


@dataclass(frozen=True)
class CatalogFluxes:
    """Flux densities that catalogs list, shape (k,).

    Attributes
    ----------
    freq_mhz, flux_mjy, fractional_err : of each flux
    common_err : the part of every fractional_err that is a catalog's scale, the same for all its fluxes
    """

    freq_mhz: Floats
    flux_mjy: Floats
    fractional_err: Floats
    common_err: float = 0.0

    def only(self, rows: Flags) -> CatalogFluxes:
        """Some of the fluxes."""
        return CatalogFluxes(self.freq_mhz[rows], self.flux_mjy[rows], self.fractional_err[rows], self.common_err)


@dataclass(frozen=True)
class SpectralIndices:
    """Spectral indices alpha of objects, S ~ nu^alpha, shape (n,).

    Attributes
    ----------
    alpha, alpha_err : the index and its error
    mean_ln_freq : weighted mean of ln nu of the fluxes that it is from, NaN without any
    alpha_common_err : the part of alpha_err that the catalogs' scales bring in
    """

    alpha: Floats
    alpha_err: Floats
    mean_ln_freq: Floats
    alpha_common_err: Floats

    def of_fluxes(self, group: Indices, used: Flags, fluxes: CatalogFluxes) -> SpectralIndices:
        """The index of each flux's object, shape (k,); a flux that was not ``used`` for it stands at its own ln nu."""
        mean = np.where(used, self.mean_ln_freq[group], np.log(fluxes.freq_mhz))
        return SpectralIndices(self.alpha[group], self.alpha_err[group], mean, self.alpha_common_err[group])


def spectral_indices(group: Indices, fluxes: CatalogFluxes, prior: Floats, prior_err: Floats) -> SpectralIndices:
    """Spectral index of each object from the catalogs that see it, with a prior from the population.

    Weighted least squares of ln S = a + alpha ln nu with a normal prior on alpha: with one flux the prior comes back,
    with several frequencies far apart the data decide, and in between both do.

    Parameters
    ----------
    group : object of each flux, shape (k,), from 0
    fluxes : k fluxes
    prior, prior_err : of each object, shape (n,)
    """
    n = len(prior)
    weight = 1.0 / fluxes.fractional_err**2
    x, y = np.log(fluxes.freq_mhz), np.log(fluxes.flux_mjy)
    total = np.bincount(group, weight, minlength=n)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(group, weight * x, minlength=n) / total
    spread = x - mean[group]
    precision = np.bincount(group, weight * spread**2, minlength=n) + 1.0 / prior_err**2
    alpha = (np.bincount(group, weight * spread * y, minlength=n) + prior / prior_err**2) / precision
    common = fluxes.common_err * np.sqrt(np.bincount(group, (weight * spread) ** 2, minlength=n)) / precision
    return SpectralIndices(alpha, 1.0 / np.sqrt(precision), mean, common)


def scaled_flux(fluxes: CatalogFluxes, our_freq_mhz: Floats, index: SpectralIndices) -> tuple[Floats, Floats]:
    """Flux at our frequency, S (nu / nu_c)^alpha, and its error, shape (k,).

    The error carries those of flux and index, and that the index came from this very flux: interpolating between two
    catalogs is surer, extrapolating beyond them less sure, than independent errors would say.

    What is common to all fluxes of a catalog (``common_err``, and what it brings into alpha) is not in the error:
    it does not average out over sources, and taken for scatter it would hide that theirs is smaller.

    Parameters
    ----------
    fluxes : k fluxes
    our_freq_mhz : shape (k,)
    index : that of each flux, as from `SpectralIndices.of_fluxes`
    """
    lever = np.log(our_freq_mhz / fluxes.freq_mhz)
    expected = fluxes.flux_mjy * np.exp(index.alpha * lever)
    own = fluxes.fractional_err**2 - fluxes.common_err**2
    variance = index.alpha_err**2 - index.alpha_common_err**2
    # Of the covariance alpha_err^2 (ln nu_c - mean), the share that this flux's own error has in its weight.
    distance = np.log(fluxes.freq_mhz) - index.mean_ln_freq
    covariance = distance * index.alpha_err**2 * own / fluxes.fractional_err**2
    fractional = own + lever**2 * variance + 2.0 * lever * covariance
    return expected, np.abs(expected) * np.sqrt(np.maximum(fractional, 0.0))
