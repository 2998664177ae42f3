"""A shift moves an image as one piece, also where east turns with every step."""

import numpy as np
import pytest

from contimg_assets.simulate.rigid import rigidly_moved
from contimg_assets.sky.sphere import displaced, offsets_arcsec, separation_arcsec

CENTRES = [(0.0, 16.0), (359.999, -45.0), (120.0, 89.9), (120.0, 90.0), (10.0, -90.0)]


@pytest.mark.parametrize("centre", CENTRES)
def test_the_centre_moves_as_asked(centre: tuple[float, float]) -> None:
    ra, dec = rigidly_moved([centre[0]], [centre[1]], [centre[0]], [centre[1]], [3.0], [-2.0])
    expected = displaced([centre[0]], [centre[1]], [3.0], [-2.0])
    assert separation_arcsec(ra, dec, *expected)[0] < 1e-4


@pytest.mark.parametrize("centre", CENTRES)
def test_distances_stay_and_going_back_ends_at_the_start(centre: tuple[float, float]) -> None:
    rng = np.random.default_rng(1)
    ra, dec = displaced(np.full(50, centre[0]), np.full(50, centre[1]), *rng.uniform(-5000, 5000, (2, 50)))
    shift = np.full(50, 4.0), np.full(50, -3.0)
    middle = np.full(50, centre[0]), np.full(50, centre[1])
    moved = rigidly_moved(ra, dec, *middle, *shift)
    before, after = (
        separation_arcsec(ra[:-1], dec[:-1], ra[1:], dec[1:]),
        separation_arcsec(moved[0][:-1], moved[1][:-1], moved[0][1:], moved[1][1:]),
    )
    np.testing.assert_allclose(after, before, atol=1e-5)
    back = rigidly_moved(*moved, *middle, -shift[0], -shift[1])
    assert separation_arcsec(*back, ra, dec).max() < 1e-4
    assert separation_arcsec(*moved, ra, dec) == pytest.approx(np.full(50, 5.0), abs=0.01)


def test_far_from_the_poles_it_is_a_shift() -> None:
    ra, dec = np.array([359.5, 0.5]), np.array([15.5, 16.5])
    moved = rigidly_moved(ra, dec, np.zeros(2), np.full(2, 16.0), np.full(2, 2.0), np.full(2, 1.0))
    dra, ddec = offsets_arcsec(ra, dec, *moved)
    np.testing.assert_allclose(dra, 2.0, atol=0.02)
    np.testing.assert_allclose(ddec, 1.0, atol=0.02)
