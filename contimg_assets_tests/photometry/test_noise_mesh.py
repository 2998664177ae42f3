"""The noise of an image is known up to its edges, where it rises as the primary beam falls."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from contimg_assets.photometry import noise_mesh
from contimg_assets.photometry.beam import PixelBeam
from contimg_assets.photometry.forced import forced_fluxes, noise_of
from contimg_assets.photometry.noise import NoiseMap, box_medians, measure_noise
from contimg_assets.photometry.noise_mesh import beyond, filled, smoothed_levels
from contimg_assets.simulate.pixels import beam_noise

BEAM = PixelBeam.of_sky(60.0, 33.0, 12.0, np.array([[-11.0, 0.0], [0.0, 11.0]]))
SIDE = 589
_ROW, _COLUMN = np.indices((SIDE, SIDE))
EDGE = np.hypot(_ROW - SIDE // 2, _COLUMN - SIDE // 2) / (SIDE // 2)
RMS = np.where(EDGE <= 1.0, 1.0 + 0.3 * EDGE**2, np.nan)
RIM = (EDGE > 0.85) & (EDGE <= 1.0)


def on_image(level: NoiseMap) -> np.ndarray:
    return level.at(_COLUMN.astype(float), _ROW.astype(float))[0]


def test_measured_noise_rises_on_to_the_edge() -> None:
    """On the mean of ten images: flat from the middles of the last boxes on, it was 5 % too low there."""
    ratios = [
        on_image(measure_noise(RMS * beam_noise((SIDE, SIDE), BEAM, np.random.default_rng(seed)), BEAM)) / RMS
        for seed in range(10)
    ]
    mean = np.mean(ratios, axis=0)
    assert mean[RIM].mean() / mean[EDGE < 0.5].mean() == pytest.approx(1.0, abs=0.03)
    # What is drawn on scatters hardly more than what is measured.
    assert np.std(ratios, axis=0)[RIM].mean() < 2.5 * np.std(ratios, axis=0)[EDGE < 0.5].mean()


def test_errors_at_the_edge_are_those_that_fluxes_have() -> None:
    pulls = []
    rng = np.random.default_rng(5)
    for seed in range(8):
        image = RMS * beam_noise((SIDE, SIDE), BEAM, np.random.default_rng(seed))
        angle, radius = rng.uniform(0, 2 * np.pi, 300), rng.uniform(0.86, 0.98, 300) * (SIDE // 2)
        x, y = SIDE // 2 + radius * np.cos(angle), SIDE // 2 + radius * np.sin(angle)
        found = forced_fluxes(image, x, y, noise_of(image, BEAM))
        pulls.append(found["flux"] / found["flux_err"])
    assert np.nanstd(np.concatenate(pulls)) == pytest.approx(1.0, abs=0.05)


def test_maps_of_the_finder_are_known_to_the_edge_too() -> None:
    ratio = on_image(NoiseMap(64, box_medians(RMS, 64, positive=True), np.zeros((10, 10)))) / RMS
    assert ratio[RIM].mean() / ratio[EDGE < 0.5].mean() == pytest.approx(1.0, abs=0.015)


def test_boxes_say_how_much_of_them_counts_and_where() -> None:
    known = np.ones((4, 10), dtype=bool)
    known[:, 4:6] = False
    share, dy, dx = filled(known, 4)
    np.testing.assert_allclose(share, [1.0, 0.5, 1.0])
    np.testing.assert_allclose(dy, 0.0)
    # The third box has two of its four columns on the image.
    np.testing.assert_allclose(dx, [0.0, 0.25, -0.25])
    none, _, _ = filled(np.zeros((4, 4), dtype=bool), 4)
    assert none.tolist() == [0.0]


def test_one_box_that_is_off_moves_nothing() -> None:
    levels, none = np.ones((7, 7)), np.zeros((7, 7))
    levels[0, 0] = 40.0
    np.testing.assert_allclose(smoothed_levels(levels, none, none), 1.0)


def test_what_has_no_level_stays_without() -> None:
    nothing, none = np.full((3, 3), np.nan), np.zeros((3, 3))
    assert np.isnan(smoothed_levels(nothing, none, none)).all()
    np.testing.assert_array_equal(smoothed_levels(none, none, none), none)
    half = np.where(np.indices((6, 6))[1] < 3, 0.0, 1.0)
    np.testing.assert_array_equal(smoothed_levels(half, np.zeros((6, 6)), np.zeros((6, 6))), half)
    np.testing.assert_array_equal(beyond(np.zeros((1, 2))), np.zeros((3, 4)))


def test_beyond_the_last_box_it_goes_on_but_not_far() -> None:
    np.testing.assert_allclose(beyond(np.array([[1.0, 1.1]]))[1], [1 / 1.1, 1.0, 1.1, 1.21])
    np.testing.assert_allclose(beyond(np.array([[1.0, 100.0]]))[1, 3], 100.0 * np.exp(0.4))


def test_examples_run() -> None:
    failed, tried = doctest.testmod(noise_mesh)
    assert tried > 0
    assert failed == 0
