"""The true sky of a simulated survey: when and where it looks, what is there, and how bright it is at each epoch."""

from __future__ import annotations

import numpy as np
import pandas as pd

from contimg_assets.simulate.parameters import SurveyParameters
from contimg_assets.sky.arrays import Floats, Indices, Values
from contimg_assets.sky.sphere import displaced, pairs_within, unit_vectors

SIDEREAL_DAY = 0.99726957
MJD_UNIX = 40587.0


def schedule(parameters: SurveyParameters, rng: np.random.Generator) -> pd.DataFrame:
    """The images that were delivered: epoch, image, mjd, ra_deg, dec_deg, radius_deg, rms and the image's own errors.

    A transit telescope sees the same strip at the same sidereal time, so epochs are whole sidereal days apart and the
    images of an epoch as far apart in time as in right ascension. ``dra_arcsec``, ``ddec_arcsec`` and ``flux_mult`` are
    the true correction: corrected position = measured + offset, corrected flux = measured * flux_mult. The offset is
    that of the image's center; the rest of the image moves with it as one piece.
    """
    p = parameters
    n, m = p.n_epochs, p.images_per_epoch
    gaps = rng.geometric(1.0 / p.mean_gap_days, n)
    start = p.start_mjd + np.concatenate([[0], np.cumsum(gaps[1:])]) * SIDEREAL_DAY
    # A strip at a high declination goes round the pole; it never goes round twice.
    step = min(p.image_spacing_deg / max(np.cos(np.radians(p.centre_dec_deg)), 1e-9), 360.0 / m)
    along = (np.arange(m) - (m - 1) / 2) * step
    epoch_index, image_index = np.repeat(np.arange(n), m), np.tile(np.arange(m), n)
    jitter = rng.normal(0.0, p.pointing_jitter_deg * 3600.0, (n * m, 2))
    ra, dec = displaced(
        (p.centre_ra_deg + along[image_index]) % 360.0, np.full(n * m, p.centre_dec_deg), jitter[:, 0], jitter[:, 1]
    )
    first = start - 0.5 * (m - 1) * step / 360.0 * SIDEREAL_DAY
    names = pd.to_datetime((first - MJD_UNIX) * 86400, unit="s").strftime("%Y-%m-%dT%H%M").to_numpy(dtype=object)
    missing = rng.random(n * m) < p.missing_image_fraction
    # An epoch without any image would be no epoch.
    missing[image_index == rng.integers(0, m, n)[epoch_index]] = False
    table = pd.DataFrame(
        {
            "epoch": names[epoch_index],
            "image": names[epoch_index] + np.char.mod("_tile%03d", image_index).astype(object),
            "epoch_index": epoch_index,
            "mjd": start[epoch_index] + along[image_index] / 360.0 * SIDEREAL_DAY,
            "ra_deg": ra,
            "dec_deg": dec,
            "radius_deg": p.image_radius_deg,
            "rms_mjy_beam": rng.uniform(*p.rms_mjy_beam, n * m),
            "dra_arcsec": rng.normal(0.0, p.offset_sigma_arcsec, n * m),
            "ddec_arcsec": rng.normal(0.0, p.offset_sigma_arcsec, n * m),
            "flux_mult": np.exp(rng.normal(0.0, p.flux_scale_sigma, n * m)),
            "flux_add_mjy": 0.0,
        }
    )
    return table[~missing].reset_index(drop=True)


def true_sources(parameters: SurveyParameters, images: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Everything on the strip, one row a source, sorted by ``true_source`` (text, stable).

    Returns
    -------
    DataFrame with true_source, source_class (constant, variable, transient, double), ra_deg, dec_deg, flux_mjy (mean at
    the observing frequency; the peak of a transient), spectral_index, size_arcsec (FWHM), modulation_index, companion
    (the other component of a double), companion_arcsec, blend (a double closer than the finder resolves).
    """
    p = parameters
    n_doubles, n_blends = int(p.n_sources * p.double_fraction / 2), int(p.n_sources * p.blend_fraction / 2)
    n_pairs = n_doubles + n_blends
    n_single = p.n_sources - n_pairs
    centres = images.drop_duplicates("image")
    field = _Union(centres["ra_deg"].to_numpy(), centres["dec_deg"].to_numpy(), p.image_radius_deg)
    n_faint = rng.poisson(p.faint_per_deg2 * field.area_deg2(rng))
    ra, dec = field.sample(rng, n_single + n_faint + p.n_transients)
    flux = np.concatenate(
        [_bright_counts(p, rng, n_single), _power_law(rng, n_faint, p.counts_slope, p.faint_min_mjy, p.flux_min_mjy)]
    )
    low, high = np.log(p.transient_flux_mjy)
    flux = np.append(flux, np.exp(rng.uniform(low, high, p.n_transients)))

    # Companions come last, so that component k of the pairs is single source k.
    separation, pair_ra, pair_dec = _companions(p, rng, ra[:n_pairs], dec[:n_pairs], n_doubles)
    pair_flux = np.maximum(flux[:n_pairs] * rng.uniform(0.3, 1.0, n_pairs), p.faint_min_mjy)
    ra, dec, flux = np.append(ra, pair_ra), np.append(dec, pair_dec), np.append(flux, pair_flux)

    n = len(ra)
    kind = np.full(n, "constant", dtype=object)
    n_fixed = n_single + n_faint
    kind[n_fixed : n_fixed + p.n_transients] = "transient"
    kind[:n_pairs] = kind[n_fixed + p.n_transients :] = "double"
    variable = _variable(p, rng, np.flatnonzero((np.arange(n) < n_single) & (kind == "constant")), flux)
    kind[variable] = "variable"
    modulation = np.zeros(n)
    modulation[variable] = rng.uniform(*p.variable_modulation, len(variable))

    extended = (rng.random(n) < p.extended_fraction) & ~np.isin(kind, ["variable", "transient"])
    size = np.where(extended, p.extended_size_arcsec * np.exp(rng.normal(0.0, np.log(1.6), n)), 0.0)
    names = np.char.mod("S%07d", np.arange(n)).astype(object)
    partner, apart = _partners(names, separation)
    return pd.DataFrame(
        {
            "true_source": names,
            "source_class": kind,
            "ra_deg": ra,
            "dec_deg": dec,
            "flux_mjy": flux,
            "spectral_index": rng.normal(p.spectral_index_mean, p.spectral_index_sigma, n),
            "size_arcsec": size,
            "modulation_index": modulation,
            "companion": partner,
            "companion_arcsec": apart,
            "blend": np.nan_to_num(apart, nan=np.inf) < p.blend_radius_arcsec,
        }
    )


def _companions(
    p: SurveyParameters, rng: np.random.Generator, ra_deg: Floats, dec_deg: Floats, n_doubles: int
) -> tuple[Floats, Floats, Floats]:
    """Separation [arcsec] and place of the companion of each position; the first are doubles, the rest blends."""
    n_pairs = len(ra_deg)
    beams = np.concatenate(
        [
            rng.uniform(*p.double_separation_beams, n_doubles),
            rng.uniform(*p.blend_separation_beams, n_pairs - n_doubles),
        ]
    )
    separation, angle = beams * p.bmaj_arcsec, rng.uniform(0.0, 2.0 * np.pi, n_pairs)
    return separation, *displaced(ra_deg, dec_deg, separation * np.sin(angle), separation * np.cos(angle))


def _partners(names: Values, separation: Floats) -> tuple[Values, Floats]:
    """The other component of each source, None without, and how far it is, NaN without; companions come last."""
    n_pairs = len(separation)
    first, second = slice(n_pairs), slice(len(names) - n_pairs, len(names))
    partner, apart = np.full(len(names), None, dtype=object), np.full(len(names), np.nan)
    partner[first], partner[second] = names[second], names[first]
    apart[first] = apart[second] = separation
    return partner, apart


def _variable(p: SurveyParameters, rng: np.random.Generator, single: Indices, flux_mjy: Floats) -> Indices:
    """Which of the single sources vary, bright ones only."""
    candidates = single[flux_mjy[single] >= p.variable_min_flux_mjy]
    n_variable = min(int(p.n_sources * p.variable_fraction), len(candidates))
    return rng.choice(candidates, n_variable, replace=False) if n_variable else candidates[:0]


def light_curves(
    parameters: SurveyParameters, sources: pd.DataFrame, epoch_mjd: Floats, rng: np.random.Generator
) -> Floats:
    """True integrated fluxes [mJy] at the observing frequency, shape (n_epochs, n_sources).

    Variables: ln flux is a damped random walk, stepped exactly over irregular gaps (Kelly, Bechtold & Siemiginowska
    2009, eq. 6), with the modulation index given. Transients: off, then peak * decay^k for a few epochs, then off.
    """
    p = parameters
    n_epochs = len(epoch_mjd)
    flux: Floats = np.ones((n_epochs, 1)) * sources["flux_mjy"].to_numpy(float)
    kind = sources["source_class"].to_numpy()

    variable = np.flatnonzero(kind == "variable")
    sigma = np.sqrt(np.log1p(sources["modulation_index"].to_numpy(float)[variable] ** 2))
    steps = rng.normal(size=(n_epochs, len(variable)))
    state = steps[0]
    for k in range(n_epochs):
        if k:
            memory = np.exp(-(epoch_mjd[k] - epoch_mjd[k - 1]) / p.variable_timescale_days)
            state = memory * state + np.sqrt(1.0 - memory**2) * steps[k]
        flux[k, variable] *= np.exp(sigma * state - sigma**2 / 2.0)

    transient = np.flatnonzero(kind == "transient")
    start = rng.integers(min(1, n_epochs - 1), n_epochs, len(transient))
    length = rng.integers(p.transient_epochs[0], p.transient_epochs[1] + 1, len(transient))
    age = np.arange(n_epochs)[:, None] - start
    flux[:, transient] *= np.where((age >= 0) & (age < length), p.transient_decay ** np.maximum(age, 0), 0.0)
    return flux


def _power_law(rng: np.random.Generator, n: int, slope: float, low: float, high: float) -> Floats:
    """Draws from N(>S) ~ S^-slope between two fluxes."""
    share = rng.random(n)
    flux: Floats = (low**-slope - share * (low**-slope - high**-slope)) ** (-1.0 / slope)
    return flux


def _bright_counts(p: SurveyParameters, rng: np.random.Generator, n: int) -> Floats:
    """Draws from the broken power law of N(>S), continuous in N at the break."""
    knee = min(max(p.counts_break_mjy, p.flux_min_mjy), p.flux_max_mjy)
    above = rng.random(n) < (knee / p.flux_min_mjy) ** -p.counts_slope
    faint = _power_law(rng, n, p.counts_slope, p.flux_min_mjy, knee)
    return np.where(above, _power_law(rng, n, p.counts_slope_bright, knee, p.flux_max_mjy), faint)


class _Union:
    """The part of the sky inside at least one of many equal circles, wherever they lie."""

    def __init__(self, ra_deg: Floats, dec_deg: Floats, radius_deg: float) -> None:
        self.ra_deg, self.dec_deg, self.radius_deg = ra_deg, dec_deg, radius_deg
        self.centres = unit_vectors(ra_deg, dec_deg)

    def _draw(self, rng: np.random.Generator, n: int) -> tuple[Floats, Floats, Floats]:
        """Points uniform in circles taken at random, and how many circles hold each."""
        circle = rng.integers(0, len(self.ra_deg), n)
        height = 1.0 - rng.random(n) * (1.0 - np.cos(np.radians(self.radius_deg)))
        angle = rng.uniform(0.0, 2.0 * np.pi, n)
        radius = np.sqrt(1.0 - height**2)
        east, north = radius * np.sin(angle), radius * np.cos(angle)
        lat = np.arcsin(north)
        lon = np.arctan2(east, height)
        ra, dec = displaced(
            self.ra_deg[circle], self.dec_deg[circle], np.degrees(lon) * 3600.0, np.degrees(lat) * 3600.0
        )
        _, j, _ = pairs_within(self.centres, unit_vectors(ra, dec), self.radius_deg * 3600.0)
        return ra, dec, np.maximum(np.bincount(j, minlength=n), 1).astype(float)

    def sample(self, rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
        """n points uniform over the union: a point that k circles hold is kept with probability 1 / k."""
        ra, dec = np.empty(0), np.empty(0)
        while len(ra) < n:
            new_ra, new_dec, depth = self._draw(rng, max(2 * n, 100))
            keep = rng.random(len(depth)) * depth < 1.0
            ra, dec = np.append(ra, new_ra[keep]), np.append(dec, new_dec[keep])
        return ra[:n], dec[:n]

    def area_deg2(self, rng: np.random.Generator) -> float:
        """Area of the union, to a percent."""
        circle = 2.0 * np.pi * (1.0 - np.cos(np.radians(self.radius_deg))) * (180.0 / np.pi) ** 2
        return float(len(self.ra_deg) * circle * np.mean(1.0 / self._draw(rng, 20_000)[2]))
