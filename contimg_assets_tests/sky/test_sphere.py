"""Positions and pairs on the sphere: exact at arcseconds, the same at RA 0 and the poles as anywhere."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st

from contimg_assets.sky.sphere import (
    arc,
    chord,
    displaced,
    distance,
    nearest_other,
    offsets_arcsec,
    pairs_within,
    positions,
    separation_arcsec,
    tree_of,
    unit_vectors,
)

RA = st.floats(0, 360, exclude_max=True)
DEC = st.floats(-90, 90)
SMALL = st.floats(-600, 600)


def _sky(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 360, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))


def test_vectors_are_unit_and_point_where_they_should() -> None:
    np.testing.assert_allclose(unit_vectors([0, 90, 180, 270, 5], [0, 0, 0, 0, 90]), [
        [1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0], [0, 0, 1],
    ], atol=1e-15)  # fmt: skip
    np.testing.assert_allclose(np.linalg.norm(unit_vectors(*_sky(1000)), axis=1), 1.0, rtol=1e-15)


def test_positions_are_the_inverse_of_vectors() -> None:
    ra, dec = _sky(2000)
    back_ra, back_dec = positions(unit_vectors(ra, dec) * 7.0)
    np.testing.assert_allclose(back_ra, ra, atol=1e-11)
    np.testing.assert_allclose(back_dec, dec, atol=1e-11)


def test_right_ascension_stays_below_360() -> None:
    ra, _ = positions([[1.0, -1e-20, 0.0], [1.0, -1e-17, 0.0], [1.0, 0.0, 0.0]])
    assert ((ra >= 0) & (ra < 360)).all()


@settings(max_examples=200)
@given(RA, DEC, RA, DEC)
def test_separations_are_astropys(ra1: float, dec1: float, ra2: float, dec2: float) -> None:
    expected = SkyCoord(ra1, dec1, unit="deg").separation(SkyCoord(ra2, dec2, unit="deg")).arcsec
    assert separation_arcsec(ra1, dec1, ra2, dec2) == pytest.approx(expected, rel=1e-9, abs=1e-8)


@settings(max_examples=200)
@given(RA, DEC, SMALL, SMALL)
def test_offsets_are_astropys_and_displacement_undoes_them(ra: float, dec: float, east: float, north: float) -> None:
    moved_ra, moved_dec = displaced(ra, dec, east, north)
    got = offsets_arcsec(ra, dec, moved_ra, moved_dec)
    np.testing.assert_allclose(got, (east, north), atol=1e-7)
    start, end = SkyCoord(ra, dec, unit="deg"), SkyCoord(moved_ra, moved_dec, unit="deg")
    longitude, latitude = start.spherical_offsets_to(end)
    np.testing.assert_allclose(got, (longitude.to_value(u.arcsec), latitude.to_value(u.arcsec)), atol=1e-6)


def test_offsets_are_east_and_north_with_cos_dec() -> None:
    east, north = offsets_arcsec(359.9999, 60.0, 0.0001, 60.0)
    assert east == pytest.approx(0.0002 * 3600 * 0.5, rel=1e-8)
    assert north == pytest.approx(0.0, abs=1e-5)
    east, north = offsets_arcsec(10.0, 20.0, 10.0, 20.001)
    assert (east, north) == (pytest.approx(0.0, abs=1e-9), pytest.approx(3.6, rel=1e-9))


def test_a_distance_is_the_norm_bit_for_bit() -> None:
    first, second = np.random.default_rng(4).normal(size=(2, 1000, 3))
    np.testing.assert_array_equal(distance(first, second), np.linalg.norm(first - second, axis=1))
    np.testing.assert_array_equal(distance(first, second[0]), np.linalg.norm(first - second[0], axis=1))


def test_chord_and_arc() -> None:
    assert chord(180 * 3600.0) == pytest.approx(2.0)
    np.testing.assert_allclose(arc(chord([0.0, 1e-6, 1.0, 1e5])), [0.0, 1e-6, 1.0, 1e5], rtol=1e-12)


@pytest.mark.parametrize(("ra", "dec"), [(0.0, 0.0), (90.0, 40.0), (180.0, -60.0), (0.0, 90.0), (33.0, -90.0)])
def test_pairs_are_all_pairs(ra: float, dec: float) -> None:
    rng = np.random.default_rng(3)
    first = unit_vectors(*displaced(np.full(60, ra), np.full(60, dec), *rng.uniform(-50, 50, (2, 60))))
    second = unit_vectors(*displaced(np.full(70, ra), np.full(70, dec), *rng.uniform(-50, 50, (2, 70))))
    i, j, separation = pairs_within(first, second, 15.0)
    everything = arc(np.linalg.norm(first[:, None] - second[None, :], axis=2))
    expected = np.argwhere(everything <= 15.0)
    np.testing.assert_array_equal(np.stack([i, j], axis=1), expected)
    np.testing.assert_allclose(separation, everything[i, j], rtol=1e-9)
    of_trees = pairs_within(tree_of(first), tree_of(second), 15.0)
    np.testing.assert_array_equal(of_trees, (i, j, separation))


@pytest.mark.parametrize(("ra", "dec"), [(0.0, 0.0), (180.0, -60.0), (0.0, 90.0)])
def test_nearest_other_is_the_next_one(ra: float, dec: float) -> None:
    rng = np.random.default_rng(4)
    some = unit_vectors(*displaced(np.full(60, ra), np.full(60, dec), *rng.uniform(-50, 50, (2, 60))))
    everything = arc(np.linalg.norm(some[:, None] - some[None, :], axis=2)) + np.diag(np.full(60, np.inf))
    expected = everything.min(axis=1)
    np.testing.assert_allclose(nearest_other(tree_of(some)), expected, rtol=1e-9)
    limit = float(np.median(expected))
    found = nearest_other(tree_of(some), np.arange(40, 60), limit)
    np.testing.assert_allclose(found, np.where(expected <= limit, expected, np.nan)[40:], rtol=1e-9)
    assert nearest_other(tree_of(np.repeat(some[:1], 2, axis=0))).tolist() == [0.0, 0.0]


def test_radius_is_inclusive_and_zero_finds_identical_positions() -> None:
    first, second = unit_vectors([10.0], [0.0]), unit_vectors([10.0, 10.0], [0.0, 2.0 / 3600])
    assert list(pairs_within(first, second, 2.0)[1]) == [0, 1]
    assert list(pairs_within(first, second, 1.999999)[1]) == [0]
    assert list(pairs_within(first, second, 0.0)[1]) == [0]


def test_empty_sets_have_no_pairs() -> None:
    some, none = unit_vectors([1.0], [2.0]), np.empty((0, 3))
    for first, second in ((some, none), (none, some), (none, none)):
        assert all(len(part) == 0 for part in pairs_within(first, second, 10.0))
    assert np.isnan(nearest_other(tree_of(some))).tolist() == [True]
    assert len(nearest_other(tree_of(none))) == 0
