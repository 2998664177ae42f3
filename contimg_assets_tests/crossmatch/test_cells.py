"""Cells near positions: none that matters is ever left out."""

import numpy as np
import pytest

from contimg_assets.crossmatch import sphere
from contimg_assets.crossmatch.cells import (
    COARSE_ORDER,
    cells_around,
    coarser,
    healpix_29,
    neighbourhood,
    order_of_radius,
    rows_in_cells,
)


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
        flags = neighbourhood(healpix_29(np.array([ra]), np.array([dec])), order)
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
