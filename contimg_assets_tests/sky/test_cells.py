"""Cells near positions: none that matters is ever left out."""

import astropy.units as u
import numpy as np
import pytest
from astropy_healpix import HEALPix
from hypothesis import given, settings
from hypothesis import strategies as st

from contimg_assets.sky import sphere
from contimg_assets.sky.cells import (
    COARSE_ORDER,
    cell_radius_deg,
    cells_around,
    cells_within,
    coarser,
    healpix_29,
    neighborhood,
    order_of_radius,
    rows_in_cells,
)
from contimg_assets.sky.sphere import separation_arcsec


@pytest.mark.parametrize("radius_arcsec", [0.0, 1.0, 45.0, 68.0, 69.0, 300.0, 3600.0, 20_000.0, 60_000.0])
def test_every_point_within_the_radius_lies_in_a_flagged_cell(radius_arcsec: float) -> None:
    rng = np.random.default_rng(int(radius_arcsec))
    order = order_of_radius(radius_arcsec)
    for _ in range(40):
        n = 200
        # Few positions at a time: flags of many would hide a gap.
        dec = rng.choice([rng.uniform(-90, 90), 90.0, -90.0, 41.8103, -41.8103, 89.99, 0.0])
        ra = rng.choice([rng.uniform(0, 360), 0.0, 45.0, 90.0, 359.99999])
        angle = rng.uniform(0, 2 * np.pi, n)
        # Exactly on the circle, by great-circle steps along rotated axes.
        centre = sphere.unit_vectors(ra, dec)
        east, north = np.linalg.svd(centre[None])[2][1:]
        r = radius_arcsec / sphere.ARCSEC_PER_RADIAN
        rim = np.cos(r) * centre + np.sin(r) * (np.cos(angle)[:, None] * east + np.sin(angle)[:, None] * north)
        flags = neighborhood(healpix_29(np.array([ra]), np.array([dec])), order)
        assert len(rows_in_cells(healpix_29(*sphere.positions(rim)), flags, order)) == n


def test_order_is_limited_and_ends_where_a_circle_is_a_sky() -> None:
    assert order_of_radius(0.01) == COARSE_ORDER
    assert order_of_radius(648_000.0) == -1
    orders = [order_of_radius(radius) for radius in np.geomspace(1, 6e5, 200)]
    assert (np.diff(orders) <= 0).all()


def test_coarser_cells_hold_the_finer() -> None:
    rng = np.random.default_rng(1)
    ra, dec = rng.uniform(0, 360, 1000), rng.uniform(-90, 90, 1000)
    fine = healpix_29(ra, dec)
    assert (coarser(fine, 3) == coarser(fine, 7) >> 8).all()
    assert coarser(fine, 0).max() <= 11


def test_corner_cells_have_seven_neighbours() -> None:
    around = cells_around(np.arange(12 * 16), 2)
    missing = (around < 0).sum(axis=0)
    assert set(missing) == {0, 1}
    # 24 cells at the eight corners where three base cells meet.
    assert missing.sum() == 24


@given(st.floats(0, 359.9), st.floats(-90, 90), st.floats(0.01, 180), st.integers(0, 6))
@settings(max_examples=60, deadline=None)
def test_cells_within_a_circle(ra: float, dec: float, radius: float, order: int) -> None:
    found = cells_within(ra, dec, radius, order)
    grid = HEALPix(1 << order, order="nested")
    lon, lat = grid.healpix_to_lonlat(np.arange(12 << (2 * order)))
    separation = separation_arcsec(lon.to_value(u.deg), lat.to_value(u.deg), ra, dec) / 3600
    assert set(np.flatnonzero(separation <= radius)) <= set(found)
    assert (np.diff(found) > 0).all()
    assert separation[found].max() <= radius + cell_radius_deg(order)


@pytest.mark.parametrize("order", [0, 1, 3, 6])
def test_no_point_of_a_cell_is_farther_than_its_radius(order: int) -> None:
    grid = HEALPix(1 << order, order="nested")
    cells = np.arange(12 << (2 * order))
    lon, lat = grid.healpix_to_lonlat(cells)
    edge_lon, edge_lat = grid.boundaries_lonlat(cells, 4)
    separation = separation_arcsec(edge_lon.deg, edge_lat.deg, lon.deg[:, None], lat.deg[:, None]) / 3600
    assert separation.max() <= cell_radius_deg(order) + 1e-9
