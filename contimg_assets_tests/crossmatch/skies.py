"""Simulated detections of a simulated catalog, with the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from contimg_assets.catalogs.store import ReferenceCatalog
from contimg_assets.sky import sphere


@dataclass(frozen=True)
class Sky:
    """Tables for `match_catalogs`, and the true counterpart of each measurement (None where it has none)."""

    measurements: pd.DataFrame
    images: pd.DataFrame
    catalog: ReferenceCatalog
    truth: pd.Series
    offsets: pd.DataFrame
    density_per_deg2: float
    q: float


def simulate_sky(
    rng: np.random.Generator,
    n_images: int = 20,
    per_image: int = 200,
    density_per_deg2: float = 200.0,
    q: float = 0.8,
    sigma_arcsec: float = 1.0,
    catalog_sigma_arcsec: float = 1.0,
    max_offset_arcsec: float = 3.0,
    dec_deg: float = 20.0,
    ra_deg: float = 0.0,
) -> Sky:
    """Images of one square degree side by side across ``ra_deg``; the catalog reaches one degree beyond them.

    Every error is drawn anew (0.5 to 1.5 times its typical value, both axes apart); every image has an offset.
    """
    n = n_images * per_image
    side = int(np.ceil(np.sqrt(n_images)))
    column, row = np.divmod(np.repeat(np.arange(n_images), per_image), side)
    half = side / 2.0

    def place(x_deg: np.ndarray, y_deg: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # East and north of the center on the sky, uniform enough over a few degrees.
        return sphere.displaced(np.full(len(x_deg), ra_deg), np.full(len(x_deg), dec_deg), x_deg * 3600, y_deg * 3600)

    ra, dec = place(column - half + rng.random(n), row - half + rng.random(n))
    own = sigma_arcsec * rng.uniform(0.5, 1.5, (n, 2))
    shift = rng.uniform(-max_offset_arcsec, max_offset_arcsec, (n_images, 2))
    image = np.repeat(np.arange(n_images), per_image)
    seen = sphere.displaced(ra, dec, *(own * rng.normal(size=(n, 2)) - shift[image]).T)
    has = rng.random(n) < q
    n_field = rng.poisson((density_per_deg2 - q * per_image) * (side + 2) ** 2)
    field = place(*rng.uniform(-half - 1, half + 1, (2, n_field)))
    true_ra, true_dec = np.concatenate([ra[has], field[0]]), np.concatenate([dec[has], field[1]])
    theirs = catalog_sigma_arcsec * rng.uniform(0.5, 1.5, (len(true_ra), 2))
    listed = sphere.displaced(true_ra, true_dec, *(theirs * rng.normal(size=theirs.shape)).T)
    names = np.array([f"C{i:08d}" for i in range(len(true_ra))], dtype=object)
    catalog = pd.DataFrame(
        {
            "catalog_source_id": names,
            "ra_deg": listed[0],
            "dec_deg": listed[1],
            "ra_err_arcsec": theirs[:, 0],
            "dec_err_arcsec": theirs[:, 1],
            "flux_mjy": 10.0,
            "flux_err_mjy": 0.1,
        }
    )
    ids = np.array([f"{i:016x}" for i in rng.permutation(n)], dtype=object)
    images = [f"image{i:03d}" for i in range(n_images)]
    measurements = pd.DataFrame(
        {
            "measurement_id": ids,
            "image": np.array(images, dtype=object)[image],
            "ra_deg": seen[0],
            "dec_deg": seen[1],
            "uncertainty_ew_arcsec": own[:, 0],
            "uncertainty_ns_arcsec": own[:, 1],
            "flux_int_mjy": 10.0,
        }
    )
    truth = pd.Series(None, index=ids, dtype=object)
    truth[ids[has]] = names[: has.sum()]
    return Sky(
        measurements,
        pd.DataFrame({"image": images, "bmaj_arcsec": 15.0, "freq_mhz": 1400.0}),
        ReferenceCatalog("sky", catalog, 1400.0, 10.0),
        truth,
        pd.DataFrame({"image": images, "dra_arcsec": shift[:, 0], "ddec_arcsec": shift[:, 1]}),
        density_per_deg2,
        q,
    )
