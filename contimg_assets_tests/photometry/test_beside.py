"""Positions beside bright sources, whose artifacts may pass for flux."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from contimg_assets.photometry.beside import near_bright
from contimg_assets.sky.sphere import displaced

BEAM = 30.0


def around(ra_deg: float, dec_deg: float, beams: list[float]) -> pd.DataFrame:
    """Places so many beams to the east of a source."""
    n = len(beams)
    ra, dec = displaced(np.full(n, ra_deg), np.full(n, dec_deg), BEAM * np.array(beams), np.zeros(n))
    return pd.DataFrame({"ra_deg": ra, "dec_deg": dec})


def source(ra_deg: float, dec_deg: float, snr: float) -> pd.DataFrame:
    return pd.DataFrame({"ra_deg": [ra_deg], "dec_deg": [dec_deg], "snr": [snr]})


@pytest.mark.parametrize(("ra_deg", "dec_deg"), [(120.0, 16.0), (359.999, -40.0), (77.0, 89.9999)])
@pytest.mark.parametrize(
    ("snr", "flagged"),
    [
        (49.0, [False, False, False, False]),
        (51.0, [True, True, False, False]),
        (199.0, [True, True, False, False]),
        (201.0, [True, True, True, False]),
        (np.nan, [False, False, False, False]),
    ],
)
def test_the_brighter_a_source_the_farther_its_artifacts_reach(
    ra_deg: float, dec_deg: float, snr: float, flagged: list[bool]
) -> None:
    places = around(ra_deg, dec_deg, [0.5, 1.9, 3.9, 4.1])
    assert near_bright(places, source(ra_deg, dec_deg, snr), BEAM).tolist() == flagged


def test_one_bright_source_among_many_faint_ones_is_enough() -> None:
    many = pd.concat([source(10.0 + 0.001 * k, 0.0, 6.0) for k in range(20)] + [source(10.01, 0.0, 90.0)])
    assert near_bright(around(10.01, 0.0, [1.0, -3.0]), many, BEAM).tolist() == [True, False]


def test_where_nothing_lies_nothing_is_near() -> None:
    places, one = around(10.0, 0.0, [0.0, 1.0]), source(10.0, 0.0, 99.0)
    assert near_bright(places, one[:0], BEAM).tolist() == [False, False]
    assert near_bright(places[:0], one, BEAM).tolist() == []
