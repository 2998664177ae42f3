"""Local density, offset positions, blanks."""

import numpy as np
import pytest

from contimg_assets.crossmatch.background import Nearest, count_blanks, local_density, offset_positions
from contimg_assets.sky import sphere
from contimg_assets.sky.cells import healpix_29


def uniform(rng: np.random.Generator, n: int, min_dec: float = -90.0) -> tuple[np.ndarray, np.ndarray]:
    low = np.sin(np.radians(min_dec))
    return rng.uniform(0, 360, n), np.degrees(np.arcsin(rng.uniform(low, 1, n)))


@pytest.mark.parametrize("n", [2_000, 200_000])
def test_density_is_right_everywhere_poles_included(n: int) -> None:
    rng = np.random.default_rng(2)
    cells = healpix_29(*uniform(rng, n))
    ra, dec = np.array([0.0, 45.0, 123.0, 10.0, 359.999]), np.array([90.0, -90.0, 89.9, 41.8, 0.0])
    density = local_density(healpix_29(ra, dec), cells, 1.0)
    expected = n / 41252.96
    np.testing.assert_allclose(density, expected, rtol=0.6)
    everywhere = local_density(healpix_29(*uniform(rng, 3000)), cells, 1.0)
    assert everywhere.mean() == pytest.approx(expected, rel=0.03)


def test_density_at_the_edge_counts_only_what_is_covered() -> None:
    rng = np.random.default_rng(3)
    cells = healpix_29(*uniform(rng, 1_000_000, min_dec=0.0))
    expected = 1_000_000 / (41252.96 / 2)
    ra = np.linspace(0, 359, 200)
    at_edge = local_density(healpix_29(ra, np.full(200, 0.05)), cells, 1.0)
    assert at_edge.mean() == pytest.approx(expected, rel=0.1)
    assert (local_density(healpix_29(ra, np.full(200, -5.0)), cells, 1.0) == 0).all()


@pytest.mark.parametrize(("n", "radius_deg", "within"), [(10, 0.1, 0.25), (100, 0.5, 0.05), (500, 1.5, 0.05)])
def test_density_of_a_small_field_is_that_inside_it(n: int, radius_deg: float, within: float) -> None:
    rng = np.random.default_rng(5)
    found = []
    for ra, dec in zip(*uniform(rng, 40), strict=True):
        at = radius_deg * 3600.0 * np.sqrt(rng.uniform(0, 1, n + 50)), rng.uniform(0, 2 * np.pi, n + 50)
        inside = sphere.displaced(
            np.full(n + 50, ra), np.full(n + 50, dec), at[0] * np.cos(at[1]), at[0] * np.sin(at[1])
        )
        cells = healpix_29(*inside)
        found.append(local_density(cells[n:], cells[:n], 1.0).mean())
    assert np.mean(found) == pytest.approx(n / (np.pi * radius_deg**2), rel=within)


def test_density_of_sources_without_an_area_is_finite() -> None:
    for n in (1, 2, 3, 5):
        on_a_line = healpix_29(np.full(n, 10.0), 5.0 + 0.01 * np.arange(n))
        at_one_place = healpix_29(np.full(n, 10.0), np.full(n, 5.0))
        for cells in (on_a_line, at_one_place):
            density = local_density(cells, cells, 1.0)
            assert np.isfinite(density).all() and (density > 0).all()


def test_density_without_catalogue_or_positions() -> None:
    some = healpix_29(np.array([1.0]), np.array([2.0]))
    assert local_density(some, some[:0], 1.0).tolist() == [0.0]
    assert local_density(some[:0], some, 1.0).tolist() == []


def test_density_depends_on_nothing_beyond_the_coarsest_cells_around() -> None:
    rng = np.random.default_rng(6)
    # Sparse here, dense there, and a field by itself: every order of cells is used.
    catalog = [uniform(rng, 3_000), uniform(rng, 400_000, min_dec=50.0)]
    catalog.append(sphere.displaced(np.full(200, 77.0), np.full(200, -60.0), *rng.uniform(-3000, 3000, (2, 200))))
    ra, dec = np.concatenate(catalog, axis=1)
    for middle in ((0.0, 90.0), (359.99, 49.0), (77.0, -60.0), (200.0, 0.0)):
        around = sphere.displaced(*np.full((50, 2), middle).T, *rng.uniform(-9000, 9000, (2, 50)))
        cells = healpix_29(*around)
        whole = local_density(cells, healpix_29(ra, dec), 1.0)
        # Nine cells of order 3 reach no farther than two of their diameters.
        near = sphere.separation_arcsec(*middle, ra, dec) < 3600.0 * (4 * 7.7 + 3.6)
        part = local_density(cells[:20], healpix_29(ra[near], dec[near]), 1.0)
        assert 0 < near.sum() < len(ra) and (whole > 0).sum() > 20
        np.testing.assert_array_equal(part, whole[:20])


def test_offset_positions_lie_at_the_distance_in_all_directions() -> None:
    rng = np.random.default_rng(4)
    ra, dec = uniform(rng, 500)
    keys = rng.integers(0, 2**63, 500).astype(np.uint64)
    one = np.zeros(500, np.intp)
    there_ra, there_dec, of = offset_positions(ra, dec, keys, one, 300.0, 500 * 8)
    np.testing.assert_allclose(sphere.separation_arcsec(ra[of], dec[of], there_ra, there_dec), 300.0, rtol=1e-6)
    east, north = sphere.offsets_arcsec(ra[of], dec[of], there_ra, there_dec)
    directions = np.rint(np.degrees(np.arctan2(north, east)) / 45).reshape(500, 8) % 8
    assert (np.sort(directions, axis=1) == np.arange(8)).all()
    few = offset_positions(ra, dec, keys, one, 300.0, 250)
    assert 200 < len(few[0]) < 300
    order = rng.permutation(500)
    shuffled = offset_positions(ra[order], dec[order], keys[order], one, 300.0, 250)
    np.testing.assert_array_equal(np.sort(shuffled[0]), np.sort(few[0]))
    assert set(order[shuffled[2]]) == set(few[2])


def test_offset_positions_of_a_group_do_not_depend_on_other_groups() -> None:
    rng = np.random.default_rng(8)
    ra, dec = uniform(rng, 600)
    keys, group = rng.integers(0, 2**63, 600).astype(np.uint64), rng.integers(0, 3, 600)
    whole = offset_positions(ra, dec, keys, group, 300.0, 900)
    for one in range(3):
        rows = np.flatnonzero(group == one)
        alone = offset_positions(ra[rows], dec[rows], keys[rows], np.zeros(len(rows), np.intp), 300.0, 900)
        inside = group[whole[2]] == one
        for part, values in zip(alone[:2], whole[:2], strict=True):
            np.testing.assert_array_equal(part, values[inside])
    assert [len(part) for part in offset_positions(ra[:0], dec[:0], keys[:0], group[:0], 300.0, 900)] == [0, 0, 0]


def test_blanks_are_counted_per_group_and_radius() -> None:
    radii = np.array([[1.0, 2.0, 3.0]])
    cells = healpix_29(np.array([10.0, 10.0, 200.0]), np.array([5.0, 5.0, -5.0]))
    blanks = count_blanks(
        Nearest(np.array([0.5, 2.0, np.inf, 1.0]), np.repeat(radii, 4, axis=0), np.array([0, 0, 0, 2])),
        Nearest(np.array([np.inf, 3.0]), np.repeat(radii, 2, axis=0), np.array([0, 2])),
        sigma_arcsec=np.ones((1, 4)),
        n_groups=3,
    )
    assert blanks.n.tolist() == [3, 0, 1]
    assert blanks.blank.tolist() == [[2, 1, 1], [0, 0, 0], [0, 0, 0]]
    assert blanks.blank_random.tolist() == [[1, 1, 1], [0, 0, 0], [1, 1, 0]]
    np.testing.assert_allclose(blanks.enclosed[0], 3 * (1 - np.exp(-np.array([1, 4, 9]) / 2)))
    assert (blanks.q(cells, min_detections=10, default=0.4) == 0.4).all()
    # A group with too few has the share of those around it, and knows nothing of those far away.
    assert blanks.q(cells, min_detections=2, default=0.4)[1] == blanks.q(cells, min_detections=2, default=0.4)[0]
    assert blanks.q(cells, min_detections=2, default=0.4)[2] == 0.4


def test_each_detection_is_counted_within_radii_of_its_own() -> None:
    nearest = Nearest(np.array([1.5, 1.5]), np.array([[1.0, 2.0], [2.0, 4.0]]), np.array([0, 0]))
    assert nearest.blank(1).tolist() == [[1.0, 0.0]]
