"""The benchmark of truth on the smallest real survey: what people read first, with the thresholds that it must keep."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from contimg_assets_tests.benchmarks.bench_truth import REACHED, Row, Wanted, rows_of
from contimg_assets_tests.benchmarks.truth import real


@pytest.mark.shared
@pytest.mark.slow
def test_the_smallest_real_survey_can_be_trusted(shared: Path, tmp_path: Path) -> None:
    found = real.survey(real.SMALLEST, tmp_path, shared)
    rows = list(rows_of(real.SMALLEST, found, REACHED))
    print(*rows, sep="\n")
    assert len(rows) == len(REACHED)
    assert [str(row) for row in rows if not row.passed] == []


@pytest.mark.parametrize(
    ("wanted", "values", "passed"),
    [
        (Wanted("", 0.8, 1.25), (0.8, 1.25), True),
        (Wanted("", 0.8, 1.25), (0.8, 1.26), False),
        (Wanted("", high=0.0), (0.0,), True),
        (Wanted("", 0.9), (np.nan, 0.95), True),
        # What could not be measured at all is no success.
        (Wanted("", 0.9), (np.nan,), False),
        (Wanted("", 0.9), (), False),
    ],
)
def test_a_row_passes_if_every_number_is_in_range(wanted: Wanted, values: tuple[float, ...], passed: bool) -> None:
    assert Row("here", wanted, values).passed is passed
