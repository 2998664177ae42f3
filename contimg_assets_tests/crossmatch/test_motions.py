"""Stars and pulsars are matched where they are when an image is taken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.time import Time

from contimg_assets.catalogs.store import ReferenceCatalog, build_catalog, write_catalog
from contimg_assets.config import CatalogConfig, Matching
from contimg_assets.crossmatch.matches import match_catalogs, match_sources
from contimg_assets.schemas.catalogs import MOTIONS

# Barnard's star is the fastest; the second lies near the pole across RA 0, the third stays.
STARS = pd.DataFrame(
    {
        "source_id": [1, 2, 3],
        "designation": ["fast", "polar", "still"],
        "ra": [269.45, 359.999, 10.0],
        "dec": [4.69, 88.5, -30.0],
        "ra_error": [10.0, 10.0, 10.0],
        "dec_error": [10.0, 10.0, 10.0],
        "ref_epoch": [2016.0, 2016.0, 2016.0],
        "pmra": [-800.0, 900.0, np.nan],
        "pmdec": [10_300.0, -100.0, np.nan],
        "pmra_error": [20.0, 20.0, np.nan],
        "pmdec_error": [40.0, 40.0, np.nan],
    }
)
YEARS = (2019.0, 2025.0)


def catalog(tmp_path: Path, stored: bool, **settings: object) -> ReferenceCatalog:
    STARS.to_csv(tmp_path / "gaia.csv", index=False)
    config = CatalogConfig.model_validate({"path": tmp_path / "gaia.csv", "freq_mhz": 5e8} | settings)
    table = build_catalog("gaia", config, tmp_path)
    if not stored:
        return ReferenceCatalog("gaia", table)
    write_catalog(table, tmp_path / "gaia.parquet")
    assert set(MOTIONS) <= set(pq.read_schema(tmp_path / "gaia.parquet").names)
    return ReferenceCatalog("gaia", tmp_path / "gaia.parquet")


def seen(year: float) -> SkyCoord:
    """Where the stars are, by astropy."""
    here = SkyCoord(STARS["ra"].to_numpy() * u.deg, STARS["dec"].to_numpy() * u.deg)
    years = year - 2016.0
    east = STARS["pmra"].fillna(0.0).to_numpy() * years * u.mas
    north = STARS["pmdec"].fillna(0.0).to_numpy() * years * u.mas
    return here.directional_offset_by(np.arctan2(east, north), np.hypot(east, north))


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("at", [None, 2022.0])
def test_each_image_meets_the_stars_where_they_are_then(tmp_path: Path, at: float | None, stored: bool) -> None:
    settings = {} if at is None else {"positions_at_mjd": Time(at, format="jyear").mjd}
    images, rows = [], []
    for year in YEARS:
        name = str(year)
        images.append({"image": name, "bmaj_arcsec": 10.0, "freq_mhz": 888.0, "mjd": Time(year, format="jyear").mjd})
        sky = seen(year)
        rows += [
            {"measurement_id": f"{name}{star}", "image": name, "ra_deg": ra, "dec_deg": dec}
            for star, ra, dec in zip(STARS["designation"], sky.ra.deg, sky.dec.deg, strict=True)
        ]
    measurements = pd.DataFrame(rows).assign(uncertainty_ew_arcsec=0.001, uncertainty_ns_arcsec=0.001)
    parameters = Matching(min_error_arcsec=1e-4)
    found = match_catalogs(measurements, pd.DataFrame(images), [catalog(tmp_path, stored, **settings)], parameters)
    matches = found.matches[found.matches["rank"] == 1].set_index("measurement_id")
    assert len(matches) == len(rows)
    assert (matches["catalog_source_id"] == [name[6:] for name in matches.index]).all()
    # Near the pole, motions over years turn against each other's axes.
    limit = 1e-6 if at is None else 0.005
    assert matches[["dra_arcsec", "ddec_arcsec", "separation_arcsec"]].abs().max().max() < limit
    for year in YEARS:
        grown = matches.loc[f"{year}fast"]
        expected = np.hypot([0.010, 0.010], np.array([0.020, 0.040]) * (year - 2016.0))
        np.testing.assert_allclose(grown[["sigma_ew_arcsec", "sigma_ns_arcsec"]].astype(float), expected, rtol=0.02)
    np.testing.assert_allclose(matches.loc["2025.0still", "sigma_ns_arcsec"], np.hypot(0.010, 0.001), rtol=1e-6)


def test_sources_meet_them_in_the_middle_of_their_time(tmp_path: Path) -> None:
    sky = seen(2024.0)
    sources = pd.DataFrame({"source_id": STARS["designation"], "ra_deg": sky.ra.deg, "dec_deg": sky.dec.deg})
    sources = sources.assign(uncertainty_ew_arcsec=0.1, uncertainty_ns_arcsec=0.1, beam_arcsec=10.0, freq_mhz=888.0)
    dated = sources.assign(mjd=Time(2024.0, format="jyear").mjd)
    gaia = catalog(tmp_path, False)
    best = match_sources(dated, [gaia], Matching()).set_index("source_id")
    assert set(best.index) == set(STARS["designation"])
    assert best["separation_arcsec"].max() < 0.01
    # Without a time, a source meets them where the catalog has them.
    undated = match_sources(sources, [gaia], Matching())
    assert set(undated["source_id"]) == {"polar", "still"}


def test_catalogs_without_motions_are_as_they_were(tmp_path: Path) -> None:
    STARS.drop(columns=["pmra", "pmdec"]).to_csv(tmp_path / "x.csv", index=False)
    table = build_catalog("x", CatalogConfig(path=tmp_path / "x.csv", freq_mhz=1e3), tmp_path)
    assert not set(MOTIONS) & set(table.column_names)
