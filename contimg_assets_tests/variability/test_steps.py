"""Steps between configurations are taken out as far as they are errors."""

from __future__ import annotations

import numpy as np
import pytest

from contimg_assets.variability.segments import Segments
from contimg_assets.variability.statistics import flux_statistics
from contimg_assets.variability.steps import without_steps

ONE = Segments(np.array([0]), np.array([10]))
CONFIGURATION = np.repeat([0, 4], [6, 4])


def chi_squared_of_generalized_least_squares(flux: np.ndarray, err: np.ndarray, step: float) -> float:
    """With the full covariance matrix."""
    same = CONFIGURATION[:, None] == CONFIGURATION[None, :]
    inverse = np.linalg.inv(np.diag(err**2) + same * step**2)
    ones = np.ones(len(flux))
    mean = ones @ inverse @ flux / (ones @ inverse @ ones)
    return float((flux - mean) @ inverse @ (flux - mean))


def test_chi_squared_is_that_of_the_full_covariance() -> None:
    rng = np.random.default_rng(2)
    err = rng.uniform(0.8, 1.2, 10)
    for fraction in (0.0, 0.01, 0.05):
        ours, exact = [], []
        for _ in range(200):
            flux = 100.0 + err * rng.normal(size=10) + np.where(CONFIGURATION == 4, fraction * 100 * rng.normal(), 0.0)
            level = without_steps(flux, err, np.full(10, fraction), CONFIGURATION, ONE)
            ours.append(flux_statistics(level, err, ONE)["eta"][0] * 9)
            exact.append(chi_squared_of_generalized_least_squares(flux, err, 100.0 * fraction))
        assert np.mean(ours) == pytest.approx(np.mean(exact), rel=0.03)
        assert np.array(ours) == pytest.approx(np.array(exact), rel=0.1, abs=0.5)


def test_nothing_is_touched_without_steps_or_a_second_configuration() -> None:
    flux, err = np.arange(10.0), np.ones(10)
    assert without_steps(flux, err, np.zeros(10), CONFIGURATION, ONE) is flux
    assert without_steps(flux, err, np.full(10, 0.1), np.zeros(10, int), ONE) is flux
    empty = Segments(np.empty(0, np.intp), np.empty(0, np.intp))
    assert not len(without_steps(flux[:0], err[:0], flux[:0], CONFIGURATION[:0], empty))


def test_other_sources_and_points_that_do_not_count_stay_as_they_are() -> None:
    two = Segments(np.array([0, 10]), np.array([10, 3]))
    flux = np.r_[np.repeat([100.0, 110.0], [6, 4]), 5.0, 6.0, 7.0]
    flux[2] = np.nan
    configuration = np.r_[CONFIGURATION, 0, 0, 0]
    level = without_steps(flux, np.ones(13), np.full(13, 0.1), configuration, two)
    assert level[10:].tolist() == [5.0, 6.0, 7.0]
    assert np.isnan(level[2])
    assert level[0] > 100.0
    assert level[9] < 110.0


def test_large_change_of_a_source_remains() -> None:
    flux = np.repeat([100.0, 300.0], [6, 4])
    level = without_steps(flux, np.ones(10), np.full(10, 0.03), CONFIGURATION, ONE)
    assert flux_statistics(level, np.ones(10), ONE)["p_value"][0] < 1e-30


def test_second_image_of_a_pointing_is_another_configuration_only_where_it_has_company() -> None:
    flux = np.r_[100.0, np.full(9, 110.0)]
    step, err = np.full(10, 0.1), np.ones(10)
    alone = np.r_[0, 1, np.zeros(8, int)]
    assert without_steps(flux, err, step, alone, ONE) is flux
    with_others = np.r_[0, np.ones(9, int)]
    expected = without_steps(flux, err, step, 2 * with_others, ONE)
    assert (without_steps(flux, err, step, with_others, ONE) == expected).all()
    # A single flux of an odd one beside an odd one with several.
    both = np.r_[0, 1, 4, 4, 5, 5, 5, 5, 5, 5]
    same = np.r_[0, 0, 2, 2, 6, 6, 6, 6, 6, 6]
    assert (without_steps(flux, err, step, both, ONE) == without_steps(flux, err, step, same, ONE)).all()
