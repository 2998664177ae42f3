"""Numbers as people read them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from contimg_assets.schemas.corrections import CORRECTIONS
from contimg_assets.schemas.shown import error_column, shown_columns, shown_value
from contimg_assets.schemas.variability import LIGHT_CURVE, SOURCES, VARIABILITY


@pytest.mark.parametrize(
    ("name", "value", "err", "text"),
    [
        ("flux_int_mjy", 12.34567, 0.123, "12.35"),
        ("flux_int_mjy", 1234.567, 45.6, "1235"),
        ("flux_int_mjy", -0.00012345, 1e-5, "-0.000123"),
        ("flux_int_mjy", 12.34567, 0.0, "12.35"),
        ("flux_int_mjy", 12.34567, np.nan, "12.35"),
        ("ra_deg", 359.9999951, None, "360.00000"),
        ("mjd", 61065.123456, None, "61065.1235"),
        ("mjd_start", 61065.123456, None, "61065.1235"),
        ("first_mjd", 61065.123456, None, "61065.1235"),
        ("separation_arcsec", 1.2345, None, "1.23"),
        ("eta_peak", 0.000123456, None, "0.0001235"),
        ("n_peak", 3, None, "3"),
        ("is_new", True, None, "True"),
        ("name", "DSA J1", None, "DSA J1"),
        ("eta_peak", np.nan, None, "-"),
        ("new_image", None, None, "-"),
        ("eta_peak", np.inf, 1.0, "inf"),
    ],
)
def test_values(name: str, value: object, err: float | None, text: str) -> None:
    assert shown_value(name, value, err) == text


@pytest.mark.parametrize(
    ("schema", "pairs"),
    [
        (SOURCES, {"flux_int_mjy": "flux_int_err_mjy", "flux_peak_mjy_beam": "flux_peak_err_mjy_beam"}),
        (LIGHT_CURVE, {"flux_int_corr_mjy": "flux_int_err_corr_mjy"}),
        (VARIABILITY, {"flux_peak_weighted_mean_mjy_beam": "flux_peak_weighted_mean_err_mjy_beam"}),
        (CORRECTIONS, {"dra_arcsec": "dra_err_arcsec", "flux_mult": "flux_mult_err", "flux_scale": "flux_scale_err"}),
    ],
)
def test_errors_are_found_by_name(schema, pairs: dict[str, str]) -> None:
    found = {name: error_column(name, schema.names) for name in schema.names}
    assert pairs.items() <= found.items()
    assert all(by is None or by in schema.names for by in found.values())
    assert found.get("ra_deg") is None


def test_a_table_is_rounded_by_its_errors() -> None:
    frame = pd.DataFrame({"flux_int_mjy": [1.23456, 100.4321], "flux_int_err_mjy": [0.0343, 3.21]})
    assert shown_columns(frame) == {"flux_int_mjy": ["1.235", "100.4"], "flux_int_err_mjy": ["0.034", "3.2"]}
