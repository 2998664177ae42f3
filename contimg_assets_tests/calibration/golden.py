"""Golden cases of vast-post-processing in the columns of the stages before, for our own default."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from contimg_assets.sky import sphere
from contimg_assets.sky.pairs import cross_match_sources

_OURS = {
    "ra_deg_cont": "ra_deg",
    "dec_deg_cont": "dec_deg",
    "flux_peak": "flux_peak_mjy_beam",
    "flux_peak_err": "flux_peak_err_mjy_beam",
    "flux_int": "flux_int_mjy",
    "flux_int_err": "flux_int_err_mjy",
    "maj_axis": "bmaj_arcsec",
    "min_axis": "bmin_arcsec",
    "rms_image": "local_rms_mjy_beam",
}
# What was put into each case (README.md and the descriptions): shift east, north [arcsec], scale, additive error [mJy].
TRUTH = {
    "c01_basic": (0.8, -0.5, 0.93, 0.0),
    "c02_free_intercept": (0.8, -0.5, 0.93, 0.7),
    "c03_ra_wrap": (-1.5, 1.1, 1.11, 0.0),
    "c05_outliers": (0.8, -0.5, 0.93, 0.0),
    "c06_limits": (0.8, -0.5, 0.93, 0.0),
    "c08_condon": (0.8, -0.5, 0.93, 0.0),
    "c09_few": (0.8, -0.5, 0.93, 0.0),
}


def read(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Catalogue, reference (our names of columns) and what is expected."""
    catalogue, reference = (
        pd.read_csv(folder / f"{name}.csv").rename(columns=_OURS) for name in ("catalogue", "reference")
    )
    return catalogue, reference, json.loads((folder / "expected.json").read_text())


def as_stages(catalogue: pd.DataFrame, reference: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """(measurements, matches, images) of one image: nearest reference within 15 arcsec, and whether it is mutual."""
    pairs = cross_match_sources(catalogue, reference, 15.0, mode="nearest")
    mutual = cross_match_sources(catalogue, reference, 15.0, mode="mutual")
    near, other = pairs["detected_index"].to_numpy(), pairs["catalog_index"].to_numpy()
    around = cross_match_sources(reference, reference, 40.0)
    crowded = np.isin(
        np.arange(len(reference)), around["detected_index"][around["detected_index"] != around["catalog_index"]]
    )
    measurements = catalogue.assign(
        measurement_id=catalogue["component_id"],
        image="field",
        snr=catalogue["flux_peak_mjy_beam"] / catalogue["local_rms_mjy_beam"],
        dist_from_centre_deg=0.0,
        forced=False,
    )
    matches = pd.DataFrame(
        {
            "measurement_id": measurements["measurement_id"].to_numpy()[near],
            "source_id": None,
            "catalog": "reference",
            "separation_arcsec": pairs["separation_arcsec"],
            "dra_arcsec": pairs["dra_arcsec"],
            "ddec_arcsec": pairs["ddec_arcsec"],
            "probability": 0.99,
            "n_candidates": 1,
            "rank": 1,
            "mutual": np.isin(near, mutual["detected_index"]),
            "blend": crowded[other],
            "catalog_flux_mjy": reference["flux_int_mjy"].to_numpy()[other],
            "catalog_flux_err_mjy": reference["flux_int_err_mjy"].to_numpy()[other],
            "expected_flux_mjy": reference["flux_int_mjy"].to_numpy()[other],
            "expected_flux_err_mjy": reference["flux_int_err_mjy"].to_numpy()[other],
        }
    )
    ours = sphere.unit_vectors(catalogue["ra_deg"], catalogue["dec_deg"])
    centre_ra, centre_dec = sphere.positions(ours.mean(axis=0)[None])
    images = pd.DataFrame(
        {"image": ["field"], "epoch": ["e"], "ra_deg": centre_ra, "dec_deg": centre_dec, "bmaj_arcsec": [25.0]}
    )
    return measurements, matches, images
