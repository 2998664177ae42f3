"""Sources that the finder misses again and again: how many there are is read off the gaps in light curves."""

from __future__ import annotations

import numpy as np
import pytest

from contimg_assets.variability.finder import Seen, chance_missed
from contimg_assets.variability.flickering import NO_FLICKERING, Flickering, flickering, tells_of_gaps


def detections(lost: np.ndarray, n_visits: int, seed: int) -> np.ndarray:
    """Which visits found each source, shape (n, n_visits), of sources missed with these chances, shape (n,)."""
    return np.random.default_rng(seed).random((len(lost), n_visits)) >= lost[:, None]


def telling(found: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Visits that missed and that found each source, and numbers, of those whose light curves tell."""
    n_visits, n_found = found.shape[1], found.sum(axis=1)
    between = n_visits - found[:, ::-1].argmax(axis=1) - found.argmax(axis=1) - n_found
    beyond = n_visits - n_found - between
    use = (n_found >= 2) & tells_of_gaps(between, beyond)
    return (between + beyond)[use], n_found[use], np.ones(np.count_nonzero(use))


def looks_new(n_earlier: int, often: Flickering = NO_FLICKERING) -> float:
    """The chance that so many earlier images miss a bright source."""
    seen = Seen(np.zeros(n_earlier, int), np.ones(n_earlier), np.full(n_earlier, 5.0), *np.zeros((2, n_earlier)))
    return float(chance_missed(np.array([100.0]), np.zeros(1), seen._replace(lost=seen.lost + 0.05), often)[0])


@pytest.mark.parametrize("n_visits", [5, 8, 20])
@pytest.mark.parametrize(
    ("lost", "number"),
    [
        ([0.05, 0.5], [18000, 2000]),
        # Of these, most are found once, and look like transients: they count all the same.
        ([0.05, 0.85], [18000, 2000]),
        ([0.02, 0.2, 0.6, 0.9], [18000, 1000, 500, 500]),
    ],
)
def test_chances_that_look_new_are_met(n_visits: int, lost: list[float], number: list[int]) -> None:
    """Of sources found by the last visit, the share that all before it missed."""
    p, n, n_earlier = np.array(lost), np.array(number), n_visits - 1
    really = n @ ((1 - p) * p**n_earlier) / (n @ (1 - p))
    often = flickering(*telling(detections(np.repeat(p, n), n_visits, 2)))
    # Few visits do not tell how often the worst are missed: what is taken of them makes fewer sources look new.
    assert really / 2 < looks_new(n_earlier, often) < 3.5 * really
    assert looks_new(n_earlier) < really / 5


def test_misses_at_random_are_left_as_they_are() -> None:
    often = flickering(*telling(detections(np.full(5000, 0.05), 8, 3)))
    assert looks_new(6, often) < 2e-4


def test_transients_are_not_taken_for_sources_that_are_often_missed() -> None:
    found = detections(np.full(1000, 0.01), 12, 4)
    found[:200] = False
    for row, start in enumerate(np.random.default_rng(5).integers(0, 10, 200)):
        found[row, start : start + 3] = True
    with_transients, without = (looks_new(4, flickering(*telling(rows))) for rows in (found, found[200:]))
    assert with_transients == pytest.approx(without)
    assert with_transients < 2e-4


@pytest.mark.parametrize("missed", [[], [0.0, 0.0], [0.0, 1.0]])
def test_nothing_is_said_without_a_source_missed_twice(missed: list[float]) -> None:
    n = len(missed)
    assert flickering(np.array(missed), np.full(n, 3.0), np.full(n, 10.0)) is NO_FLICKERING


def test_numbers_count_as_so_many_rows() -> None:
    missed, found, number = telling(detections(np.repeat([0.1, 0.7], [800, 200]), 6, 6))
    pairs, place = np.unique(np.stack([missed, found]), axis=1, return_inverse=True)
    once, together = flickering(missed, found, number), flickering(*pairs, np.bincount(place, number))
    np.testing.assert_allclose(together.share, once.share)
    assert once.share.sum() > 0.1
