"""Robust statistics against their definitions, and against what normal samples must give."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtri

from contimg_assets.sky import robust


def test_factors_are_those_of_the_normal_distribution() -> None:
    assert pytest.approx(1 / ndtri(0.75), rel=1e-15) == robust.MAD_TO_SIGMA
    assert pytest.approx(np.sqrt(np.pi / 2), rel=1e-15) == robust.MEDIAN_TO_MEAN
    assert round(robust.MAD_TO_SIGMA, 4) == robust.MAD_TO_SIGMA_4
    assert round(robust.MEDIAN_TO_MEAN, 4) == robust.MEDIAN_TO_MEAN_4


def test_scatter_and_errors_of_normal_samples() -> None:
    samples = np.random.default_rng(1).normal(3.0, 2.0, (4000, 101))
    width = robust.scatter(samples, 3.0, axis=1)
    assert width.mean() == pytest.approx(2.0, rel=0.01)
    assert width.std() == pytest.approx(2.0 * robust.MAD_SIGMA_ERROR / np.sqrt(101), rel=0.05)
    medians = np.median(samples, axis=1)
    assert medians.std() == pytest.approx(float(robust.error_of_median(2.0, 101)), rel=0.05)
    of_mad = robust.error_of_median(robust.mad(samples, 3.0, axis=1), 101, robust.MAD_TO_MEDIAN_ERROR)
    assert of_mad == pytest.approx(robust.error_of_median(width, 101))


def test_clipped_shift_follows_the_many_and_not_the_far() -> None:
    rng = np.random.default_rng(2)
    pulls = []
    for _ in range(200):
        east, north = rng.normal((0.8, -0.4), 0.3, (80, 2)).T
        east[:15], north[:15] = rng.uniform(5, 15, (2, 15))
        shift = robust.clipped_shift(east, north, 10)
        assert shift is not None
        assert 55 <= shift.n <= 65
        pulls.append(((shift.east - 0.8) / shift.east_err, (shift.north + 0.4) / shift.north_err))
    assert np.std(pulls) == pytest.approx(1.0, abs=0.15)
    assert np.abs(np.mean(pulls)) < 0.2


def test_clipped_shift_of_few_or_equal_offsets() -> None:
    assert robust.clipped_shift(np.ones(4), np.ones(4), 5) is None
    same = robust.clipped_shift(np.full(9, 1.5), np.full(9, -2.0), 5)
    assert same is not None
    assert (same.east, same.north, same.n) == (1.5, -2.0, 9)
    # Offsets that agree exactly do not make a shift without error.
    assert same.east_err > 0


@given(st.lists(st.tuples(st.integers(0, 4), st.floats(-1e3, 1e3)), min_size=1, max_size=60))
def test_groups_are_as_each_group_alone(rows: list[tuple[int, float]]) -> None:
    group, values = np.array([g for g, _ in rows]), np.array([v for _, v in rows])
    frame = pd.DataFrame({"x": values, "y": -values})
    middle = robust.medians_of_groups(frame, group)
    width = robust.scatter_of_groups(frame, middle.loc[group].to_numpy(), group)
    for one in np.unique(group):
        alone = values[group == one]
        assert middle.loc[one, "x"] == np.median(alone)
        assert width.loc[one, "y"] == robust.scatter(-alone, -np.median(alone))


@given(
    st.lists(st.tuples(st.integers(0, 3), st.floats(0, 100), st.sampled_from([0.0, 0.25, 1.0, 3.0])), max_size=40),
    st.lists(st.floats(0, 100), min_size=4, max_size=4),
)
def test_a_weighted_median_exceeds_what_lies_below_it(
    rows: list[tuple[int, float, float]], limits: list[float]
) -> None:
    group = np.array([row[0] for row in rows], dtype=np.intp)
    values, weights = np.array([row[1] for row in rows]), np.array([row[2] for row in rows])
    for limit in (np.array(limits), np.resize(values, 4) if len(values) else np.zeros(4)):
        found = robust.weighted_medians_exceed(values, weights, group, limit)
        for one in range(4):
            mine = np.flatnonzero(group == one)[np.argsort(values[group == one])]
            reached = np.cumsum(weights[mine]) >= weights[mine].sum() / 2
            median = values[mine][reached][0] if weights[mine].sum() > 0 else 0.0
            assert found[one] == (median > limit[one])
