"""The standalone utility."""

import numpy as np
import pandas as pd
import pytest

from contimg_assets.errors import InputError
from contimg_assets.sky import sphere
from contimg_assets.sky.pairs import cross_match_sources, tree_of_positions


def table(ra: list[float], dec: list[float], index: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"ra_deg": ra, "dec_deg": dec}, index=index)


DETECTED = table([0.0, *sphere.displaced([0.0], [60.0], [4.0], [0.0])[0]], [60.0, 60.0], ["x", "y"])
CATALOG = table(
    *map(list, sphere.displaced([0.0] * 3, [60.0] * 3, [1.0, 3.0, 400.0], [0.0, 0.0, 0.0])), ["a", "b", "c"]
)


def pairs(mode: str, radius: float = 10.0) -> list[tuple[str, str]]:
    found = cross_match_sources(DETECTED, CATALOG, radius, mode=mode)
    return list(zip(found["detected_index"], found["catalog_index"], strict=True))


def test_modes() -> None:
    assert pairs("all") == [("x", "a"), ("x", "b"), ("y", "b"), ("y", "a")]
    assert pairs("nearest") == [("x", "a"), ("y", "b")]
    assert pairs("mutual") == [("x", "a"), ("y", "b")]
    assert pairs("nearest", 2.0) == [("x", "a"), ("y", "b")]
    assert pairs("all", 0.5) == []


def test_mutual_leaves_out_who_is_not_nearest_to_its_nearest() -> None:
    found = cross_match_sources(DETECTED, CATALOG.loc[["a"]], 10.0, mode="mutual")
    assert found["detected_index"].tolist() == ["x"]
    assert cross_match_sources(DETECTED, CATALOG.loc[["a"]], 10.0, mode="nearest")["detected_index"].tolist() == [
        "x",
        "y",
    ]


def test_signs_and_errors() -> None:
    own = DETECTED.loc[["x"]].assign(uncertainty_ew_arcsec=0.3, uncertainty_ns_arcsec=9.0)
    found = cross_match_sources(own, CATALOG.loc[["a"]].assign(ra_err_arcsec=0.4, dec_err_arcsec=9.0), 5.0).iloc[0]
    assert found["dra_arcsec"] == pytest.approx(1.0, abs=1e-7)
    assert found["ddec_arcsec"] == pytest.approx(0.0, abs=1e-4)
    assert found["de_ruiter"] == pytest.approx(2.0, rel=1e-6)
    assert np.isnan(cross_match_sources(DETECTED, CATALOG, 5.0)["de_ruiter"]).all()


def test_equally_near_ones_stay_in_the_order_of_the_catalogue() -> None:
    twice = CATALOG.loc[["b", "a", "a"]].set_axis(["b", "first", "second"])
    assert cross_match_sources(DETECTED.loc[["x"]], twice, 10.0)["catalog_index"].tolist() == ["first", "second", "b"]
    assert cross_match_sources(DETECTED.loc[["x"]], twice, 10.0, mode="mutual")["catalog_index"].tolist() == ["first"]


def test_a_tree_made_once_changes_nothing() -> None:
    tree = tree_of_positions(CATALOG)
    for mode in ("all", "nearest", "mutual"):
        pd.testing.assert_frame_equal(
            cross_match_sources(DETECTED, CATALOG, 10.0, mode=mode, catalog_tree=tree),
            cross_match_sources(DETECTED, CATALOG, 10.0, mode=mode),
        )
    with pytest.raises(InputError, match="3 positions and the catalog 1"):
        cross_match_sources(DETECTED, CATALOG.head(1), 10.0, catalog_tree=tree)


def test_nothing_to_match() -> None:
    assert cross_match_sources(DETECTED.head(0), CATALOG, 5.0).empty
    assert cross_match_sources(DETECTED, CATALOG.head(0), 5.0, mode="mutual").empty


@pytest.mark.parametrize(
    ("detected", "radius", "mode", "message"),
    [
        (DETECTED.drop(columns="dec_deg"), 5.0, "all", "no column dec_deg"),
        (DETECTED.assign(ra_deg=np.nan), 5.0, "all", "row 0"),
        (DETECTED, -1.0, "all", "radius -1.0"),
        (DETECTED, np.nan, "all", "radius nan"),
        (DETECTED, 5.0, "best", "'best' is unknown"),
    ],
)
def test_bad_input_is_named(detected: pd.DataFrame, radius: float, mode: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        cross_match_sources(detected, CATALOG, radius, mode=mode)  # type: ignore[arg-type]
