"""Bands: a frequency has the same one in every survey; only images of one band have duplicates of each other."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import contimg_assets as ca
from contimg_assets.config import Bands, check_section
from contimg_assets.errors import ConfigError, InputError
from contimg_assets.ingest.bands import BAND_RATIO, band_names, bands_mhz, divided


@given(st.floats(10.0, 1e5), st.floats(1.0, 3.0))
def test_frequencies_that_differ_by_15_percent_are_never_in_one_band(low: float, ratio: float) -> None:
    one, other = bands_mhz([low, low * ratio]).tolist()
    assert one <= other
    if ratio >= BAND_RATIO * (1 + 1e-9):
        assert one != other


@given(st.permutations([887.5, 943.5, 1013.5, 1295.5, 1367.5, 1405.0, 1655.5, 3000.0]))
def test_a_frequency_has_the_same_band_whatever_else_was_delivered(frequencies: list[float]) -> None:
    together = bands_mhz(frequencies).tolist()
    assert together == [int(bands_mhz([one])[0]) for one in frequencies]
    by_frequency = dict(zip(frequencies, together, strict=True))
    assert by_frequency[1295.5] == by_frequency[1367.5] == by_frequency[1405.0]
    assert by_frequency[887.5] == by_frequency[943.5]


def test_configured_ranges_come_first_and_edges_that_cut_are_told() -> None:
    assert divided([1450.0, 1456.0, 887.5]) == [(1450.0, 1456.0)]
    wide = Bands(ranges_mhz=((1400.0, 1500.0),))
    assert band_names(bands_mhz([1450.0, 1456.0], wide)).tolist() == ["1450MHz", "1450MHz"]
    assert divided([1450.0, 1456.0], wide) == []


@pytest.mark.parametrize(
    ("ranges", "what"),
    [
        ([[900.0, 800.0]], "the lower frequency comes first"),
        ([[800.0, 900.0], [850.0, 950.0]], "overlap"),
        ([[800.0, 800.5], [800.5, 801.0]], "join them"),
    ],
)
def test_ranges_that_make_no_sense_are_refused(ranges: list[list[float]], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        check_section(Bands, {"ranges_mhz": ranges})


def test_a_missing_frequency_is_told() -> None:
    with pytest.raises(InputError, match="freq_mhz in row 1"):
        bands_mhz([888.0, np.nan])


def test_measurements_of_another_band_are_no_duplicates() -> None:
    images = pd.DataFrame(
        {"image": ["low", "low2", "high"], "ra_deg": [0.1, 359.9, 0.0], "dec_deg": 16.0, "bmaj_arcsec": 20.0}
    )
    rows = pd.DataFrame(
        {
            "measurement_id": ["l", "l2", "h"],
            "image": ["low", "low2", "high"],
            "ra_deg": [0.0, 0.0001, 359.9999],
            "dec_deg": 16.0,
            "uncertainty_ew_arcsec": 0.5,
            "uncertainty_ns_arcsec": 0.5,
        }
    )
    of_bands = images.assign(freq_mhz=[888.0, 887.0, 1367.0])
    marked = ca.remove_duplicates(rows, of_bands, mark=True).set_index("measurement_id")["duplicate_of"]
    assert marked.notna().to_dict() == {"l": False, "l2": True, "h": False}
    assert marked["l2"] == "l"
    assert len(ca.remove_duplicates(rows, images)) == 1
    joined = ca.remove_duplicates(rows, of_bands, bands=Bands(ranges_mhz=((800, 1400),)))
    assert joined["measurement_id"].tolist() == ["h"]


def test_of_unlike_beams_the_finer_one_is_kept() -> None:
    """The finer image sees the source at its edge, the coarser one at its center; alike, the center counts."""
    images = pd.DataFrame(
        {"image": ["coarse", "fine"], "ra_deg": [0.0, 0.9], "dec_deg": 16.0, "bmaj_arcsec": [30.0, 12.0]}
    )
    rows = pd.DataFrame(
        {"measurement_id": ["c", "f"], "image": ["coarse", "fine"], "ra_deg": [0.0, 0.0002], "dec_deg": 16.0}
        | {"uncertainty_ew_arcsec": 0.5, "uncertainty_ns_arcsec": 0.5}
    )
    for order in (rows, rows.iloc[::-1]):
        assert ca.remove_duplicates(order, images)["measurement_id"].tolist() == ["f"]
        alike = images.assign(bmaj_arcsec=[17.0, 12.0])
        assert ca.remove_duplicates(order, alike)["measurement_id"].tolist() == ["c"]
