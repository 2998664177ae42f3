"""Images of the same sky in other Stokes parameters than I: what is polarized, and what the finder delivers."""

from __future__ import annotations

import numpy as np
import pandas as pd

from contimg_assets.simulate.finder import detect
from contimg_assets.simulate.parameters import SurveyParameters
from contimg_assets.sky.arrays import Floats
from contimg_assets.sky.sphere import displaced

# Noise of the other images over that of I, where the confusion of faint sources counts too.
_NOISE = 0.7
_FLUX_ALONE_MJY = (80.0, 300.0)
_SIGNED = ("flux_peak_mjy_beam", "flux_int_mjy", "true_flux_mjy")
COLUMNS = ("true_source", "stokes", "ra_deg", "dec_deg", "fraction", "flux_mjy")
"""Of the truth: `fraction` of the flux in I, signed; for what only polarized images show, `flux_mjy` instead."""


def true_polarization(p: SurveyParameters, images: pd.DataFrame, sources: pd.DataFrame) -> pd.DataFrame:
    """Which sources are polarized and how much, by Stokes parameter.

    Parameters
    ----------
    images : as delivered, for where the sky was looked at
    sources : as from `true_sources`

    Returns
    -------
    DataFrame with `COLUMNS`. Components of doubles and blends are not polarized; L is positive.
    """
    rng, tables = np.random.default_rng([p.seed, 7]), []
    alone = np.flatnonzero(sources["companion"].isna())
    places = images.drop_duplicates(["ra_deg", "dec_deg"])
    for stokes in p.stokes:
        chosen = alone[rng.random(len(alone)) < p.polarized_fraction]
        sign = np.where(stokes == "L", 1.0, rng.choice([-1.0, 1.0], len(chosen)))
        of_source = sources.iloc[chosen]
        fraction = sign * rng.uniform(*p.polarization_degree, len(chosen))
        tables.append(of_source[["true_source", "ra_deg", "dec_deg"]].assign(stokes=stokes, fraction=fraction))
        n = p.n_only_polarized
        at = places.iloc[rng.integers(0, len(places), n)]
        shift = rng.uniform(-0.5, 0.5, (2, n)) * p.image_radius_deg * 3600.0
        ra, dec = displaced(at["ra_deg"], at["dec_deg"], shift[0], shift[1])
        flux = rng.uniform(*_FLUX_ALONE_MJY, n) * np.where(stokes == "L", 1.0, rng.choice([-1.0, 1.0], n))
        names = [f"only_{stokes}{number}" for number in range(n)]
        only = {"true_source": names, "stokes": stokes, "ra_deg": ra, "dec_deg": dec, "flux_mjy": flux}
        tables.append(pd.DataFrame(only))
    empty = pd.DataFrame(columns=list(COLUMNS))
    return pd.concat(tables, ignore_index=True)[list(COLUMNS)] if tables else empty


def in_other_stokes(p: SurveyParameters, images: pd.DataFrame) -> pd.DataFrame:
    """The images of one epoch in each of the other Stokes parameters, of the same observations: with their errors."""
    parts = [images.assign(image=images["image"] + f"_{stokes}", stokes=stokes) for stokes in p.stokes]
    again = pd.concat(parts, ignore_index=True)
    return again.assign(rms_mjy_beam=again["rms_mjy_beam"] * _NOISE)


def polarized_sky(sources: pd.DataFrame, flux_mjy: Floats, truth: pd.DataFrame) -> tuple[pd.DataFrame, Floats]:
    """What images in another Stokes parameter show: sources, and their signed fluxes [mJy].

    Parameters
    ----------
    flux_mjy : in I, shape (n_sources,)
    truth : rows of `true_polarization` of the Stokes parameter
    """
    in_total = truth[truth["fraction"].notna()].set_index("true_source")["fraction"]
    fraction = in_total.reindex(sources["true_source"]).fillna(0.0).to_numpy(float)
    only = truth[truth["flux_mjy"].notna()]
    sky = pd.concat([sources, only[["true_source", "ra_deg", "dec_deg"]]], ignore_index=True)
    sky = sky.assign(size_arcsec=sky["size_arcsec"].fillna(0.0))
    return sky, np.concatenate([flux_mjy * fraction, only["flux_mjy"].to_numpy(float)])


def detect_polarized(
    p: SurveyParameters, images: pd.DataFrame, sources: pd.DataFrame, flux_mjy: Floats, truth: pd.DataFrame
) -> pd.DataFrame:
    """What the finder delivers for images of one epoch, frequency and other Stokes parameter, see `detect`.

    Finders look for both signs where they are asked to: what is negative is found by its size.

    Parameters
    ----------
    flux_mjy : in I at this epoch and frequency, shape (n_sources,)
    truth : as from `true_polarization`
    """
    stokes = str(images["stokes"].iloc[0])
    sky, flux = polarized_sky(sources, flux_mjy, truth[truth["stokes"] == stokes])
    rng = np.random.default_rng(
        [p.seed, 8, int(images["epoch_index"].iloc[0]), int(images["freq_mhz"].iloc[0]), "QUVL".index(stokes)]
    )
    table = detect(p, images, sky, np.abs(flux), np.arange(len(sky)), rng)
    sign_of = pd.Series(np.sign(flux), index=sky["true_source"].to_numpy())
    sign = sign_of.reindex(table["true_source"]).to_numpy(float)
    # What is no source has either sign; linear polarization none.
    sign = np.where(np.isnan(sign), 1.0 if stokes == "L" else rng.choice([-1.0, 1.0], len(sign)), sign)
    return table.assign(**{name: table[name] * sign for name in _SIGNED})
