"""The systematic error of each image's positions: told from the means of earlier ones, also where these are bad."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from contimg_assets.sky.arrays import Floats
from contimg_assets.variability.error_evidence import IMAGE_VARIANCE, Means
from contimg_assets.variability.error_model import UNIT_ARCSEC, ErrorTerms
from contimg_assets.variability.image_positions import Apart, systematic_squares, with_images
from contimg_assets.variability.position_evidence import Places

TERMS = ErrorTerms.fixed(floor=0.2 / UNIT_ARCSEC)
N = 400
NAMES = pd.Index([f"s{k:04d}" for k in range(N)], dtype=object)


def image(rng: np.random.Generator, systematic: float, number: int = 0, noise: Floats | float = 0.08) -> Places:
    """Positions of all sources in one image [arcsec]; all are truly at 100."""
    err = np.broadcast_to(noise, N).astype(float)
    nothing = np.zeros(N)
    return Places(
        source_id=NAMES,
        configuration=np.zeros(N, np.int64),
        flux=100.0 + rng.normal(size=N) * np.hypot(err, systematic),
        err=err,
        scale_err=nothing,
        radius=np.full(N, 0.65),
        tie_err=nothing,
        unit=np.full(N, UNIT_ARCSEC),
        image=np.full(N, number, np.int64),
        systematic=nothing,
    )


def follow(systematics: list[float], seed: int = 1) -> tuple[list[float], Means]:
    """What is found of images that come one after the other, and the means after them."""
    rng, means, found = np.random.default_rng(seed), Means.none(), []
    for systematic in systematics:
        placed, means, own = with_images(image(rng, systematic), means, TERMS, 1)
        means = means.with_points(placed, TERMS)
        found.append(float(own[0]))
    return found, means


def test_each_image_has_its_own_from_the_third_on() -> None:
    true = [0.15, 0.1, 0.1, 0.9, 0.05, 0.3, 0.1]
    found, means = follow(true)
    assert np.isnan(found[0])
    assert found[1] == pytest.approx(np.sqrt((0.15**2 + 0.1**2) / 2.0), rel=0.15)
    assert found[2:] == pytest.approx(true[2:], rel=0.15, abs=0.03)
    # The bad image hardly draws the means, and their errors hold.
    assert np.std(means.columns[:, 1]) == pytest.approx(1.0 / np.sqrt(means.columns[:, 0].mean()), rel=0.1)
    assert np.std(means.columns[:, 1]) < 0.07


def test_a_first_image_that_is_bad_does_not_make_all_others_bad() -> None:
    true = [1.0, 0.1, 0.1, 0.1, 0.1]
    found, means = follow(true)
    assert found[1] == pytest.approx(np.sqrt((1.0 + 0.1**2) / 2.0), rel=0.15)
    assert max(found[3:]) < 0.15
    # Half of what both differ by is said to be of each.
    first = means.columns[:, IMAGE_VARIANCE]
    assert np.isfinite(first).all() and (first > 0).all()


def test_images_of_an_epoch_are_told_apart_and_what_nothing_tells_is_none() -> None:
    rng = np.random.default_rng(3)
    _, means = follow([0.1, 0.1, 0.1])
    one, other = image(rng, 0.4), image(rng, 0.06, number=2)
    half = np.arange(N) % 2 == 0
    both = replace(
        one,
        flux=np.where(half, one.flux, other.flux),
        image=np.where(half, one.image, other.image),
    )
    placed, after, own = with_images(both, means, TERMS, 4)
    assert own[[0, 2]] == pytest.approx([0.4, 0.06], rel=0.2)
    assert np.isnan(own[[1, 3]]).all()
    assert placed.systematic[half] == pytest.approx(own[0] ** 2) and placed.systematic[~half] == pytest.approx(
        own[2] ** 2
    )
    assert after.columns == pytest.approx(means.columns)


def test_with_few_sources_it_is_as_usual_and_with_none_of_them_the_systematic_error_is_that_of_all() -> None:
    rng = np.random.default_rng(4)
    _, means = follow([0.1, 0.1, 0.1])
    few = image(rng, 0.02).take(np.arange(3))
    _, _, own = with_images(few, means, TERMS, 1)
    assert 0.1 < own[0] < 0.22
    placed, _, own = with_images(few, Means.none(), TERMS, 1)
    assert np.isnan(own[0]) and placed.systematic == pytest.approx(0.2**2)


@pytest.mark.parametrize("tails", [False, True])
def test_95_percent_are_within_1_96_errors_with_tails_too(tails: bool) -> None:
    rng = np.random.default_rng(5)
    off = 0.3 * (rng.standard_t(3, size=4000) if tails else rng.normal(size=4000))
    noise = rng.uniform(0.02, 1.0, 4000)
    apart = Apart(
        image=np.zeros(4000, np.int64),
        square=(off + noise * rng.normal(size=4000)) ** 2,
        noise=noise**2,
        of_mean=np.zeros(4000),
        share=np.ones(4000),
    )
    own = systematic_squares(apart, 1, 0.2**2)
    bright = noise < 0.3
    assert np.mean(apart.square[bright] < 1.96**2 * apart.variance(own)[bright]) == pytest.approx(0.95, abs=0.012)
    assert tails or np.sqrt(own[0]) == pytest.approx(0.3, rel=0.06)


def test_positions_that_agree_exactly_end_in_a_small_error_not_in_none() -> None:
    apart = Apart(np.zeros(50, np.int64), np.zeros(50), np.full(50, 0.01), np.zeros(50), np.ones(50))
    own = systematic_squares(apart, 1, 0.04)
    assert 0.0 < own[0] < 0.02
