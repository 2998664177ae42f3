"""Ranges of cells: lookup, overlay and extent against brute force."""

from __future__ import annotations

import astropy.units as u
import numpy as np
from astropy_healpix import HEALPix
from hypothesis import given, settings
from hypothesis import strategies as st

from contimg_assets.database.writing.image_coverage import pack_coverage, unpack_coverage
from contimg_assets.sky.cells import healpix_29
from contimg_assets.sky.coverage import Coverage, merged, overlaid
from contimg_assets.sky.sphere import separation_arcsec

N = 60
PLACES = np.arange(N)


@st.composite
def coverages(draw: st.DrawFn) -> tuple[Coverage, np.ndarray]:
    """Ranges on a short line of cells, and the same cell by cell: rms, -1 where not covered, NaN where not known."""
    values = draw(st.lists(st.sampled_from([-1.0, -1.0, np.nan, 1.0, 2.0]), min_size=N, max_size=N))
    cells = np.array(values)
    covered = np.flatnonzero(cells != -1.0)
    order = np.random.default_rng(draw(st.integers(0, 99))).permutation(len(covered))
    chosen = covered[order].astype(np.int64)
    return merged(chosen, chosen + 1, cells[chosen]), cells


@given(coverages())
@settings(max_examples=100, deadline=None)
def test_lookup_is_brute_force(drawn: tuple[Coverage, np.ndarray]) -> None:
    ranges, cells = drawn
    covered, rms = ranges.at(PLACES)
    np.testing.assert_array_equal(covered, cells != -1.0)
    np.testing.assert_array_equal(rms, np.where(cells == -1.0, np.nan, cells))
    # As few ranges as can be.
    changes = (cells[1:] != cells[:-1]) & ~(np.isnan(cells[1:]) & np.isnan(cells[:-1]))
    assert len(ranges.start) == np.count_nonzero((cells != -1.0) & np.concatenate([[True], changes]))


@given(coverages(), coverages())
@settings(max_examples=100, deadline=None)
def test_overlay_is_brute_force(first: tuple[Coverage, np.ndarray], second: tuple[Coverage, np.ndarray]) -> None:
    covered, rms = overlaid(first[0], second[0]).at(PLACES)
    inside, known = first[1] != -1.0, second[1] != -1.0
    np.testing.assert_array_equal(covered, inside)
    expected = np.where(inside & known, second[1], np.where(inside, first[1], np.nan))
    np.testing.assert_array_equal(rms, expected)


@given(coverages())
@settings(max_examples=50, deadline=None)
def test_packing_loses_nothing(drawn: tuple[Coverage, np.ndarray]) -> None:
    again = unpack_coverage(pack_coverage(drawn[0]))
    for name in ("start", "end", "rms_mjy_beam"):
        np.testing.assert_array_equal(getattr(again, name), getattr(drawn[0], name))


@given(st.floats(0, 359.99), st.floats(-90, 90), st.floats(0.1, 100))
@settings(max_examples=40, deadline=None)
def test_the_circle_about_it_holds_all_of_it(ra: float, dec: float, radius: float) -> None:
    order = 9 if radius < 10 else 4
    grid = HEALPix(1 << order, order="nested")
    cells = np.sort(grid.cone_search_lonlat(ra * u.deg, dec * u.deg, radius * u.deg)).astype(np.int64)
    shift = 2 * (29 - order)
    field = merged(cells << shift, (cells + 1) << shift, np.full(len(cells), np.nan))
    lon, lat = grid.boundaries_lonlat(cells, 2)
    farthest = separation_arcsec(lon.deg.ravel(), lat.deg.ravel(), ra, dec).max() / 3600
    reach = field.reach_deg(ra, dec)
    assert farthest <= reach + 1e-9
    assert reach <= min(farthest + 0.7, 180.0)
    assert field.at(healpix_29([ra], [dec]))[0].all()
