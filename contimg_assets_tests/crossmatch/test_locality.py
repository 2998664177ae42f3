"""What lies beyond the reach changes nothing, not a bit of any probability: sources, images, catalog entries, beams."""

import numpy as np
import pandas as pd
import pytest

from contimg_assets.catalogs.store import ReferenceCatalog
from contimg_assets.config import Matching
from contimg_assets.crossmatch.matches import match_catalogs, match_sources
from contimg_assets.sky import sphere
from contimg_assets.sky.cells import coarser, healpix_29
from contimg_assets.sky.pools import COARSEST_POOL, Pools
from contimg_assets_tests.crossmatch.skies import simulate_sky

PLACES = [(0.0, 20.0), (123.4, 88.5), (210.0, -89.0), (45.0, 41.0)]
# Nine cells of order 3 about a target, and the width of the field.
REACH_DEG = 35.0


def _field(seed: int, ra_deg: float, dec_deg: float, name: str, **shape: float) -> tuple[pd.DataFrame, ...]:
    """Measurements, images and catalog entries of a field, of which faint entries are off by more than they say."""
    sky = simulate_sky(np.random.default_rng(seed), ra_deg=ra_deg, dec_deg=dec_deg, **shape)
    rng = np.random.default_rng(seed + 1)
    listed = sky.catalog.table.to_pandas()
    listed["flux_mjy"] = 2.5 * rng.random(len(listed)) ** -1.2
    off = 10.0 / listed["flux_mjy"].to_numpy() * rng.normal(size=(2, len(listed)))
    listed["ra_deg"], listed["dec_deg"] = sphere.displaced(listed["ra_deg"], listed["dec_deg"], *off)
    measurements, images = sky.measurements.copy(), sky.images.copy()
    for table in (measurements, images):
        table["image"] = name + table["image"]
    measurements["measurement_id"] = [f"{name}{i}" for i in measurements["measurement_id"]]
    listed["catalog_source_id"] = name + listed["catalog_source_id"]
    return measurements, images, listed.drop(columns="healpix_29")


def _catalogs(tables: list[pd.DataFrame]) -> list[ReferenceCatalog]:
    """A catalog of everything, and one with too few entries to measure an image's offset with."""
    whole = pd.concat(tables, ignore_index=True)
    number = whole["catalog_source_id"].str[-4:].astype(int)
    return [
        ReferenceCatalog("deep", whole, 1400.0, 45.0, "v"),
        ReferenceCatalog("shallow", whole[number % 40 == 0], 150.0, 25.0, "v"),
    ]


def _sources(measurements: pd.DataFrame) -> pd.DataFrame:
    names = {"measurement_id": "source_id", "flux_int_mjy": "flux_mjy"}
    return measurements.rename(columns=names).assign(freq_mhz=1400.0, beam_arcsec=15.0)


@pytest.mark.parametrize("place", PLACES)
def test_what_lies_beyond_the_reach_changes_nothing(place: tuple[float, float]) -> None:
    near = _field(3, *place, "near", n_images=16, per_image=60, density_per_deg2=90.0, catalog_sigma_arcsec=2.0)
    # Images of a few measurements: what too few say is said by those about them.
    small = _field(4, *place, "small", n_images=9, per_image=9, density_per_deg2=10.0, max_offset_arcsec=1.0)
    far_ra, far_dec = (place[0] + 180.0) % 360.0, -place[1]
    far = _field(5, far_ra, far_dec, "far", n_images=16, per_image=300, density_per_deg2=900.0, sigma_arcsec=4.0)
    far[1]["bmaj_arcsec"] = 60.0
    here = [pd.concat(parts, ignore_index=True) for parts in zip(near, small, strict=True)]
    everywhere = [pd.concat(parts, ignore_index=True) for parts in zip(near, small, far, strict=True)]
    separation = sphere.separation_arcsec(*place, everywhere[2]["ra_deg"], everywhere[2]["dec_deg"]) / 3600.0
    assert ((separation < 10.0) | (separation > REACH_DEG)).all()
    alone = match_catalogs(here[0], here[1], _catalogs([here[2]]), Matching())
    whole = match_catalogs(
        everywhere[0].sample(frac=1.0, random_state=1), everywhere[1], _catalogs([everywhere[2]]), Matching()
    )
    ours = whole.matches["image"].isin(here[1]["image"])
    assert 0 < ours.sum() < len(whole.matches) and len(alone.matches) > 500
    _same(alone.matches, whole.matches[ours])
    _same(alone.summary, whole.summary[whole.summary["image"].isin(here[1]["image"])])
    # All that the neighborhood is asked for was asked: errors of faint entries, offsets of another catalog.
    assert alone.summary["offset_from"].ne(alone.summary["catalog"]).any()
    plain = match_catalogs(here[0], here[1], _catalogs([here[2]]), Matching(fit_systematic=False)).matches
    assert len(plain) != len(alone.matches) or (plain["sigma_ew_arcsec"] != alone.matches["sigma_ew_arcsec"]).any()

    sources = _sources(everywhere[0])
    own = sources["image"].isin(here[1]["image"])
    alone_sources = match_sources(sources[own], _catalogs([here[2]]), Matching())
    whole_sources = match_sources(sources.iloc[::-1], _catalogs([everywhere[2]]), Matching())
    _same(alone_sources, whole_sources[whole_sources["source_id"].isin(sources.loc[own, "source_id"])])


@pytest.mark.parametrize("place", PLACES)
def test_a_source_depends_on_those_of_its_cell_and_just_around_it(place: tuple[float, float]) -> None:
    measurements, _, listed = _field(7, *place, "field", n_images=100, per_image=30, density_per_deg2=60.0)
    sources, catalogs = _sources(measurements), _catalogs([listed])
    cell = coarser(healpix_29(sources["ra_deg"], sources["dec_deg"]), COARSEST_POOL)
    whole = match_sources(sources, catalogs, Matching())
    for one in np.unique(cell):
        inside = sources[cell == one]
        around = sphere.separation_arcsec(
            inside["ra_deg"].to_numpy()[:, None],
            inside["dec_deg"].to_numpy()[:, None],
            sources["ra_deg"].to_numpy(),
            sources["dec_deg"].to_numpy(),
        )
        part = match_sources(sources[(around < 150.0).any(axis=0)], catalogs, Matching())
        ids = inside["source_id"]
        _same(part[part["source_id"].isin(ids)], whole[whole["source_id"].isin(ids)])
    assert len(np.unique(cell)) > 1


def _same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(
        one.reset_index(drop=True), other.reset_index(drop=True), check_exact=True, check_dtype=False
    )


def test_pools_are_the_finest_cells_that_hold_enough() -> None:
    rng = np.random.default_rng(1)
    members = healpix_29(rng.uniform(0.0, 40.0, 4000), np.degrees(np.arcsin(rng.uniform(0.0, 0.6, 4000))))
    pools = Pools.of(members, members, 60)
    for order, cell, place in zip(pools.order, pools.cell, members, strict=True):
        assert coarser(place, int(order)) == cell
        number = [(coarser(members, one) == coarser(place, one)).sum() for one in range(3, 7)]
        enough = [one for one, n in zip(range(3, 7), number, strict=True) if n >= 60]
        assert order == (max(enough) if enough else 3)
    totals = pools.totals(members, np.ones((len(members), 2)))
    assert totals.shape == (4000, 2) and (totals[:, 0] >= 1).all()
    median = pools.quantiles(members, np.arange(4000.0), np.array([0.5]))[0]
    first = coarser(members, int(pools.order[0])) == pools.cell[0]
    assert median[0] == np.median(np.flatnonzero(first)) and totals[0, 0] == first.sum()
    assert np.isnan(pools.quantiles(members[:0], np.empty(0), np.array([0.5]))).all()
