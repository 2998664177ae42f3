"""What an image's finder would have seen: against skies whose noise, threshold and sources are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contimg_assets.sky.arrays import Floats
from contimg_assets.sky.sphere import displaced
from contimg_assets.variability.finder import (
    MIN_ROWS,
    Depth,
    Seen,
    chance_missed,
    finder_threshold,
    fit_depths,
    flux_limits,
    local_rms,
    noise_peaks,
    place_in_image,
    rms_of_rows,
    share_lost,
)


def seen(rms: list[float], owner: list[int] | None = None, threshold: float = 5.0, lost: float = 0.0) -> Seen:
    n = len(rms)
    owners = np.arange(n) if owner is None else np.array(owner)
    return Seen(owners, np.array(rms), np.full(n, threshold), np.zeros(n), np.full(n, lost))


def fit_depth(place: Floats, rms: Floats, image_rms: float) -> Depth:
    return fit_depths(place, rms, [np.arange(len(rms))], [image_rms])[0]


# --- the rms over an image ----------------------------------------------------------------------------------------


def field(ra: float, dec: float, n: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rows of an image of 1.5 degrees whose noise rises outwards and to the east: places, rms as quoted, true rms."""
    rng = np.random.default_rng(seed)
    radius, angle = 1.5 * np.sqrt(rng.random(n)), rng.uniform(0, 2 * np.pi, n)
    east, north = radius * np.sin(angle), radius * np.cos(angle)
    at = displaced(np.full(n, ra), np.full(n, dec), east * 3600, north * 3600)
    true = 2.0 * np.exp(0.8 * (radius / 1.5) ** 2 + 0.2 * east / 1.5)
    return *at, true * np.exp(rng.normal(0, 0.03, n)), true


@pytest.mark.parametrize(("ra", "dec"), [(0.0, 16.0), (180.0, -60.0), (0.0, 90.0), (77.0, -90.0), (359.9, 89.0)])
def test_the_rms_rises_to_the_edge_wherever_the_image_lies(ra: float, dec: float) -> None:
    rows_ra, rows_dec, quoted, _ = field(ra, dec, 120)
    center, radius = (np.array([ra]), np.array([dec])), np.array([1.5])
    depth = fit_depth(place_in_image(rows_ra, rows_dec, center, radius), quoted, 2.0)
    test_ra, test_dec, _, true = field(ra, dec, 500, seed=2)
    here = local_rms(place_in_image(test_ra, test_dec, center, radius), np.tile(depth.model, (500, 1)))
    assert np.abs(np.log(here / true)).max() < 0.1
    assert depth.scatter == pytest.approx(0.03, rel=0.4)


def test_few_rows_say_little_and_outliers_nothing() -> None:
    center, radius = (np.zeros(1), np.zeros(1)), np.ones(1)
    nowhere, middle = np.empty((0, 2)), np.zeros((1, 2))
    none = fit_depth(nowhere, np.empty(0), 3.0)
    assert local_rms(middle, none.model[None])[0] == pytest.approx(3.0, rel=1e-5)
    assert np.isnan(local_rms(middle, fit_depth(nowhere, np.empty(0), np.nan).model[None])[0])
    # Where the image does not tell its rms, its rows do.
    one = fit_depth(middle, np.array([4.0]), np.nan)
    assert local_rms(middle, one.model[None])[0] == pytest.approx(4.0, rel=1e-5)
    ra, dec, quoted, true = field(0.0, 0.0, 60)
    place = place_in_image(ra, dec, center, radius * 1.5)
    broken = quoted.copy()
    broken[:6] *= 30.0
    good, bad = (local_rms(place, np.tile(fit_depth(place, rms, 2.0).model, (60, 1))) for rms in (quoted, broken))
    np.testing.assert_allclose(bad[6:], good[6:], rtol=0.12)
    # Far outside of the rows the model does not run away.
    assert local_rms(np.array([[5.0, -5.0]]), fit_depth(place, quoted, 2.0).model[None])[0] < 1.3 * true.max()


def test_images_fitted_together_come_out_as_each_alone() -> None:
    rng = np.random.default_rng(30)
    sizes, own = [0, 1, 12, 12, 12, 0], [2.0, np.nan, 2.0, np.nan, 1.0, np.nan]
    place, rms = rng.uniform(-1, 1, (37, 2)), 2.0 + rng.random(37)
    # Of this image fewer rows are known than of those that have as many.
    rms[3] = np.nan
    rows = [np.arange(end - n, end) for n, end in zip(sizes, np.cumsum(sizes), strict=True)]
    for found, these, image_rms in zip(fit_depths(place, rms, rows, own), rows, own, strict=True):
        alone = fit_depth(place[these], rms[these], image_rms)
        np.testing.assert_array_equal(found.model, alone.model)
        assert found.scatter == alone.scatter


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_the_order_of_rows_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ra, dec, quoted, _ = field(0.0, 10.0, 40, seed)
    place = place_in_image(ra, dec, (np.zeros(1), np.full(1, 10.0)), np.full(1, 1.5))
    order = rng.permutation(40)
    first, second = fit_depth(place, quoted, 2.0), fit_depth(place[order], quoted[order], 2.0)
    np.testing.assert_allclose(first.model, second.model, atol=1e-5)


def test_the_rms_of_rows_that_quote_none() -> None:
    rows = pd.DataFrame(
        {
            "local_rms_mjy_beam": [2.0, np.nan, np.nan, 0.0, np.nan],
            "flux_peak_mjy_beam": [30.0, 30.0, np.nan, 30.0, np.nan],
            "flux_int_mjy": [40.0, 40.0, 40.0, 40.0, np.nan],
            "snr": [10.0, 10.0, 10.0, 5.0, 10.0],
        }
    )
    np.testing.assert_allclose(rms_of_rows(rows), [2.0, 3.0, 4.0, 6.0, np.nan])


@given(st.floats(3.0, 12.0), st.integers(MIN_ROWS, 400), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_the_threshold_is_found(threshold: float, n: int, seed: int) -> None:
    snr = threshold * (1.0 - np.random.default_rng(seed).random(n)) ** (-1.0 / 0.9)
    assert finder_threshold(snr) == pytest.approx(threshold, rel=0.3 if n < 50 else 0.12)
    assert np.isnan(finder_threshold(snr[: MIN_ROWS - 1]))
    assert finder_threshold(np.append(snr, [np.nan, 0.0])) == finder_threshold(snr)


# --- limits -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scatter", [0.0, 0.08])
def test_a_source_at_the_limit_is_detected_as_often_as_promised(scatter: float) -> None:
    rng = np.random.default_rng(1)
    one = seen([1.0, 3.0, 1.0, 1.5], owner=[0, 1, 2, 2])._replace(scatter=np.full(4, scatter))
    limit = flux_limits(one, 0.95, 3)
    n = 40_000
    rms = one.rms * np.exp(rng.normal(0, scatter, (n, 4)))
    measured = limit[one.owner] + rng.normal(0, 1, (n, 4)) * one.rms
    detected = measured >= 5.0 * rms
    shares = [detected[:, 0].mean(), detected[:, 1].mean(), (detected[:, 2] | detected[:, 3]).mean()]
    assert shares == pytest.approx([0.95] * 3, abs=0.006)
    # Two images find more than one; a limit is above the threshold.
    assert 5.0 < limit[2] < limit[0] == pytest.approx(limit[1] / 3.0)


def test_limits_follow_chance_threshold_and_scale() -> None:
    one = seen([1.0])
    assert flux_limits(one, 0.95, 1)[0] == pytest.approx(5.0 + 1.644854)
    assert flux_limits(one, 0.99, 1)[0] > flux_limits(one, 0.95, 1)[0]
    assert flux_limits(seen([2.0], threshold=10.0), 0.95, 1)[0] == pytest.approx(23.289707)
    uncertain = one._replace(scatter=np.array([0.1]))
    assert flux_limits(uncertain, 0.95, 1)[0] == pytest.approx(5.0 + 1.644854 * np.hypot(1.0, 0.5))
    assert flux_limits(seen([]), 0.95, 0).shape == (0,)


# --- new sources --------------------------------------------------------------------------------------------------


def test_the_chance_bounds_how_often_constant_sources_look_new() -> None:
    """Constant sources of all fluxes that one image misses and the next one shows: few have a chance of p or less."""
    rng = np.random.default_rng(2)
    n = 400_000
    flux = 3.0 * (1.0 - rng.random(n)) ** -1.0
    first, second = flux + rng.normal(0, 1, n), flux + rng.normal(0, 1, n)
    looks_new = np.flatnonzero((first < 5.0) & (second >= 5.0))
    chance = chance_missed(second[looks_new], np.ones(len(looks_new)), seen([1.0] * len(looks_new)))
    for p in (0.05, 0.01, 0.002):
        # Of all sources, also those that cannot look new; and near the threshold it is not too cautious by orders.
        assert (chance <= p).sum() <= p * (flux < 12.0).sum()
    assert (chance <= 0.05).sum() > 0


def test_bright_sources_are_missed_by_accident_alone() -> None:
    flux, err = np.array([100.0, 100.0, 5.0, np.nan]), np.ones(4)
    images = seen([1.0, 1.0, 1.0, 1.0, 1.0], owner=[0, 1, 1, 2, 3], lost=0.02)
    chance = chance_missed(flux, err, images)
    assert chance[:2] == pytest.approx([0.02, 0.0004])
    assert chance[2] == pytest.approx(0.51, abs=0.01)
    assert chance[3] == 1.0
    # No image, no evidence.
    assert chance_missed(flux[:1], err[:1], seen([])).tolist() == [1.0]


def test_noise_peaks_are_fewer_the_higher_and_the_smaller_the_image() -> None:
    snr = np.array([5.0, 6.0, 8.0])
    peaks = noise_peaks(snr, np.full(3, 5.0), np.full(3, 50_000.0))
    assert 0.1 < peaks[0] < 1.0
    assert peaks[2] < 1e-3 < peaks[1] < peaks[0]
    assert noise_peaks(snr[:1], np.full(1, 5.0), np.full(1, 5e6))[0] > 10 * peaks[0]
    # A high threshold leaves artifacts.
    assert 0 < noise_peaks(np.array([10.0]), np.array([10.0]), np.array([5e4]))[0] <= 0.1


def test_images_that_lose_sources_stand_out() -> None:
    lost = share_lost(np.array([0.0, 30.0, 0.0]), np.array([100.0, 60.0, 0.0]))
    assert lost[1] > 0.4 > 0.1 > lost[0]
    assert lost[0] < lost[2] < lost[1]
    assert share_lost(np.zeros(1), np.zeros(1)).tolist() == [0.02]
