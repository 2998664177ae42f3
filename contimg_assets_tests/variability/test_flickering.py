"""Sources that the finder misses again and again: how many there are is read off the gaps in light curves."""

from __future__ import annotations

import numpy as np
import pytest

from contimg_assets.variability.finder import Seen, chance_missed
from contimg_assets.variability.flickering import NO_FLICKERING, flickering


def detections(lost: np.ndarray, n_visits: int, seed: int) -> np.ndarray:
    """Which visits found each source, shape (n, n_visits), of sources missed with these chances, shape (n,)."""
    return np.random.default_rng(seed).random((len(lost), n_visits)) >= lost[:, None]


def gaps(found: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Visits missed between the first and the last, visits between, and numbers, of sources that both found."""
    found = found[found[:, 0] & found[:, -1]]
    n = found.shape[1] - 2
    return (n - found[:, 1:-1].sum(axis=1)).astype(float), np.full(len(found), float(n)), np.ones(len(found))


@pytest.mark.parametrize("n_visits", [8, 20])
def test_share_and_chance_are_those_of_the_truth(n_visits: int) -> None:
    fitted = flickering(*gaps(detections(np.repeat([0.02, 0.6], [27000, 3000]), n_visits, 1)))
    # Of the sources that a visit finds, those that are often missed are fewer than of all there are.
    assert fitted.share == pytest.approx(3000 * 0.4 / (3000 * 0.4 + 27000 * 0.98), rel=0.2)
    assert fitted.lost == pytest.approx(0.6, abs=0.04)


@pytest.mark.parametrize("n_visits", [4, 6, 8])
def test_chances_that_look_new_are_met(n_visits: int) -> None:
    """Of sources found by the last visit, the share that all before it missed."""
    number, lost, n = np.array([18000, 2000]), np.array([0.05, 0.5]), n_visits - 1
    really = number @ ((1 - lost) * lost**n) / (number @ (1 - lost))
    seen = Seen(np.zeros(n, int), np.ones(n), np.full(n, 5.0), np.zeros(n), np.full(n, 0.05))
    often = flickering(*gaps(detections(np.repeat(lost, number), n_visits, 2)))
    alone, chance = (chance_missed(np.array([100.0]), np.zeros(1), seen, one)[0] for one in (NO_FLICKERING, often))
    assert chance == pytest.approx(really, rel=0.5)
    assert alone < really / 10


def test_misses_at_random_are_left_as_they_are() -> None:
    fitted = flickering(*gaps(detections(np.full(5000, 0.05), 8, 3)))
    assert fitted.share * fitted.lost**5 < 2e-4


def test_transients_are_not_taken_for_sources_that_are_often_missed() -> None:
    found = detections(np.full(1000, 0.01), 12, 4)
    found[:200] = False
    for row, start in enumerate(np.random.default_rng(5).integers(0, 10, 200)):
        found[row, start : start + 3] = True
    assert flickering(*gaps(found)) == pytest.approx(flickering(*gaps(found[200:])))


@pytest.mark.parametrize("missed", [[], [0.0, 0.0], [0.0, 1.0]])
def test_nothing_is_said_without_a_source_missed_twice(missed: list[float]) -> None:
    n = len(missed)
    assert flickering(np.array(missed), np.full(n, 3.0), np.full(n, 10.0)) == NO_FLICKERING


def test_numbers_count_as_so_many_rows() -> None:
    k, n, number = gaps(detections(np.repeat([0.1, 0.7], [800, 200]), 6, 6))
    pairs, place = np.unique(np.stack([k, n]), axis=1, return_inverse=True)
    assert flickering(*pairs, np.bincount(place, number)) == pytest.approx(flickering(k, n, number))
