"""Simulated matches with known offsets and scales, in the columns of the stages before."""

from __future__ import annotations

import numpy as np
import pandas as pd

from contimg_assets.calibration import positions
from contimg_assets.catalogs.store import ReferenceCatalog
from contimg_assets.sky import sphere


def epoch(
    n_images: int = 1,
    n: int = 300,
    *,
    seed: int = 0,
    dra: float = 0.8,
    ddec: float = -0.5,
    scale: float = 0.93,
    add_mjy: float = 0.0,
    outliers: float = 0.0,
    intrinsic: float = 0.04,
    ra: float = 150.0,
    dec: float = 16.0,
    with_peak: bool = True,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """(measurements, matches, images) of an epoch whose images are off by (dra, ddec) arcsec, scale and add_mjy.

    Images are moved BY (dra, ddec), so that the offset that corrects them is the opposite. Positions are on a jittered
    grid of 3 arcmin, so that all are isolated. Every image has all of the sky's sources.
    """
    rng = np.random.default_rng(seed)
    side = int(np.ceil(np.sqrt(n)))
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2)[:n] - side / 2
    place = (grid + rng.uniform(-0.2, 0.2, grid.shape)) * 180.0
    true_ra, true_dec = sphere.displaced(np.full(n, ra), np.full(n, dec), place[:, 0], place[:, 1])
    true_flux = np.minimum(12.0 * (rng.pareto(1.0, n) + 1), 3000.0)
    reference_err, own_err = 0.3, 0.25
    catalog_flux = true_flux + rng.normal(0, reference_err, n)
    cat_ra, cat_dec = sphere.displaced(true_ra, true_dec, rng.normal(0, 0.1, n), rng.normal(0, 0.1, n))
    rows, found = [], []
    for index in range(n_images):
        factor = np.where(rng.random(n) < outliers, rng.uniform(0.2, 6, n), np.exp(rng.normal(0, intrinsic, n)))
        flux = scale * true_flux * factor + add_mjy + rng.normal(0, own_err, n)
        error = np.hypot(0.05, 12.0 / (flux / own_err))
        east, north = positions.turned(
            dra + rng.normal(0, 1, n) * error,
            ddec + rng.normal(0, 1, n) * error,
            positions.convergence((ra, dec), true_ra, true_dec),
        )
        ra_obs, dec_obs = sphere.displaced(true_ra, true_dec, east, north)
        image = f"image_{index:03d}"
        ids = np.array([f"{index:08x}{source:08x}" for source in range(n)], dtype=object)
        peak = flux * np.exp(rng.normal(0, 0.01, n)) if with_peak else np.full(n, np.nan)
        rows.append(
            pd.DataFrame(
                {
                    "measurement_id": ids,
                    "image": image,
                    "epoch": "e1",
                    "ra_deg": ra_obs,
                    "dec_deg": dec_obs,
                    "uncertainty_ew_arcsec": error,
                    "uncertainty_ns_arcsec": error,
                    "flux_peak_mjy_beam": peak,
                    "flux_peak_err_mjy_beam": own_err if with_peak else np.nan,
                    "flux_int_mjy": flux,
                    "flux_int_err_mjy": own_err,
                    "local_rms_mjy_beam": own_err,
                    "bmaj_arcsec": 15.0,
                    "bmin_arcsec": 15.0,
                    "snr": flux / own_err,
                    "dist_from_centre_deg": sphere.separation_arcsec(ra, dec, ra_obs, dec_obs) / 3600,
                    "forced": False,
                }
            )
        )
        east, north = sphere.offsets_arcsec(ra_obs, dec_obs, cat_ra, cat_dec)
        found.append(
            pd.DataFrame(
                {
                    "measurement_id": ids,
                    "source_id": [f"{source:016x}" for source in range(n)],
                    "image": image,
                    "catalog": "NVSS",
                    "catalog_source_id": [f"N{source}" for source in range(n)],
                    "separation_arcsec": np.hypot(east, north),
                    "dra_arcsec": east,
                    "ddec_arcsec": north,
                    "probability": 0.999,
                    "n_candidates": 1,
                    "rank": 1,
                    "mutual": True,
                    "blend": False,
                    "catalog_flux_mjy": catalog_flux,
                    "catalog_flux_err_mjy": reference_err,
                    "expected_flux_mjy": catalog_flux,
                    "expected_flux_err_mjy": reference_err,
                }
            )
        )
    images = pd.DataFrame(
        {
            "image": [f"image_{index:03d}" for index in range(n_images)],
            "epoch": "e1",
            "ra_deg": ra % 360,
            "dec_deg": dec,
            "bmaj_arcsec": 15.0,
        }
    )
    return pd.concat(rows, ignore_index=True), pd.concat(found, ignore_index=True), images


def unmatched(n_images: int, n: int, **settings: float) -> tuple[pd.DataFrame, pd.DataFrame, ReferenceCatalog]:
    """(measurements, images, catalog) for `match_catalogs`: images of skies of their own, 3 deg apart."""
    parts = []
    for index in range(n_images):
        row, column = divmod(index, 20)
        place = {"ra": 150.0 + 3.0 * column, "dec": -20.0 + 3.0 * row}
        measurements, matches, images = epoch(1, n, seed=index, **place, **settings)  # type: ignore[arg-type]
        own = {"image": f"image_{index:03d}"}
        ra, dec = sphere.displaced(
            measurements["ra_deg"], measurements["dec_deg"], matches["dra_arcsec"], matches["ddec_arcsec"]
        )
        catalog = pd.DataFrame(
            {
                "catalog_source_id": matches["catalog_source_id"] + f"_{index}",
                "ra_deg": ra,
                "dec_deg": dec,
                "ra_err_arcsec": 0.1,
                "dec_err_arcsec": 0.1,
                "flux_mjy": matches["catalog_flux_mjy"],
                "flux_err_mjy": matches["catalog_flux_err_mjy"],
            }
        )
        ids = f"{index:03d}" + measurements["measurement_id"].str[3:]
        parts.append((measurements.assign(measurement_id=ids, **own), images.assign(freq_mhz=1400.0, **own), catalog))
    measurements, images, catalog = (pd.concat(tables, ignore_index=True) for tables in zip(*parts, strict=True))
    return measurements, images, ReferenceCatalog("NVSS", catalog, freq_mhz=1400.0, beam_arcsec=15.0)
