"""By which factor errors of forced fluxes are off: found whatever other errors there are, and some variables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from contimg_assets.photometry.constants import DRAWN, are_comparable, drawn, error_factor


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.25])
@pytest.mark.parametrize("varying", [0.0, 0.03])
def test_the_factor_is_found_with_its_error(factor: float, varying: float) -> None:
    rng, n, found = np.random.default_rng(5), 1500, []
    for _ in range(12):
        flux_err, other_err = rng.uniform(0.5, 2.0, n), rng.uniform(0.1, 1.0, n)
        off = factor * flux_err * rng.normal(size=n) + other_err * rng.normal(size=n) + 3.0
        off[: int(varying * n)] += rng.normal(0.0, 30.0, int(varying * n))
        found.append(error_factor(off, flux_err, other_err))
    factors, errors = (np.array([getattr(one, name) for one in found]) for name in ("factor", "factor_err"))
    assert np.mean(factors) == pytest.approx(factor * (1.0 + 0.7 * varying), abs=0.02)
    assert np.std(factors) == pytest.approx(np.mean(errors), rel=0.6)
    assert (errors < 0.05).all()


def test_few_fluxes_say_nothing_and_absurd_ones_a_limit() -> None:
    few = error_factor(np.ones(99), np.ones(99), np.ones(99))
    assert np.isnan(few.factor)
    assert few.n == 99
    scatter = np.random.default_rng(1).normal(size=200)
    assert error_factor(0.01 * scatter, np.ones(200), np.ones(200)).factor == 0.1
    assert error_factor(1e4 * scatter, np.ones(200), np.ones(200)).factor == 10.0


def test_the_same_detections_are_drawn_in_any_order() -> None:
    rng = np.random.default_rng(2)
    ids = np.array([f"{n:05d}" for n in rng.permutation(400)], dtype=object)
    table = pd.DataFrame({"image": np.where(np.arange(400) < 300, "a", "b"), "measurement_id": ids, "snr": 10.0})
    first = drawn(table)
    assert first.groupby("image").size().tolist() == [DRAWN, 100]
    pd.testing.assert_frame_equal(drawn(table.sample(frac=1.0, random_state=3)), first)


def test_sources_that_vary_or_may_be_missed_are_not_compared() -> None:
    mean = np.array([5.0, 12.0, 12.0, 40.0, np.nan, 12.0, 12.0, 12.0])
    p_value = np.array([0.5, 0.5, 1e-5, 0.5, 1.0, 0.5, 0.5, 0.5])
    # Smeared as all of the field, a blend, and one of a catalog without integrated fluxes.
    compactness = np.array([1.05, 1.05, 1.05, 1.05, 1.05, 1.12, 1.3, np.nan])
    found = are_comparable(np.ones(8), mean, p_value, compactness)
    assert found.tolist() == [False, True, False, False, False, True, False, True]
    assert are_comparable(np.ones(1), np.array([12.0]), np.ones(1), np.array([np.nan])).tolist() == [True]
