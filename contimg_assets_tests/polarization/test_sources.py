"""Polarized detections without a measurement in I at their place: of known sources, or of sources of their own."""

from __future__ import annotations

import numpy as np
import pandas as pd

from contimg_assets.polarization.sources import place_detections, widest_arcsec
from contimg_assets.sky.sphere import displaced


def detections(east, epochs, stokes="V", error=1.0, **columns) -> pd.DataFrame:
    n = len(east)
    ra, dec = displaced(np.zeros(n), np.full(n, 16.0), np.asarray(east, float), np.zeros(n))
    fixed = {
        "measurement_id": [f"{k:016x}" for k in range(1, n + 1)],
        "epoch": epochs,
        "image": "v",
        "stokes": stokes,
        "band": "1355MHz",
        "mjd": [60000.0 + int(epoch[1:]) for epoch in epochs],
        "ra_corr_deg": ra,
        "dec_corr_deg": dec,
        "uncertainty_ew_corr_arcsec": error,
        "uncertainty_ns_corr_arcsec": error,
        "beam_arcsec": 40.0,
        "may_be_source": True,
    }
    return pd.DataFrame(fixed | columns)


def sources(east, error=0.5) -> pd.DataFrame:
    n = len(east)
    ra, dec = displaced(np.zeros(n), np.full(n, 16.0), np.asarray(east, float), np.zeros(n))
    columns = {"id": [f"s{k}" for k in range(n)], "ra_deg": ra, "dec_deg": dec}
    return pd.DataFrame(columns | dict.fromkeys(("uncertainty_ew_arcsec", "uncertainty_ns_arcsec"), error))


def test_a_source_of_other_epochs_goes_before_one_of_its_own() -> None:
    rows = detections([0.0, 600.0, 601.0, 900.0], ["e0", "e0", "e1", "e2"], may_be_source=[True, True, True, False])
    placed = place_detections(rows, sources([5.0, 3000.0]))
    assert placed["status"].tolist() == ["at source", "own source", "own source", "alone"]
    assert placed["source_id"].iloc[0] == "s0"
    # One source over both epochs, of the detection that came first in time.
    assert placed["source_id"].iloc[1] == placed["source_id"].iloc[2]
    assert placed["source_id"].isna().tolist() == [False, False, False, True]


def test_stokes_parameters_of_an_epoch_share_a_source() -> None:
    placed = place_detections(detections([0.0, 1.0, 0.5], ["e0", "e0", "e1"], stokes=["V", "Q", "V"]), sources([]))
    assert len(set(placed["source_id"])) == 1


def test_two_of_one_image_are_two() -> None:
    assert place_detections(detections([0.0, 60.0], ["e0", "e0"]), sources([]))["source_id"].nunique() == 2


def test_the_order_of_rows_and_sources_does_not_matter() -> None:
    rng = np.random.default_rng(5)
    rows = detections(rng.uniform(0, 3000, 60), [f"e{k % 4}" for k in range(60)])
    near = sources(rng.uniform(0, 3000, 20))
    expected = place_detections(rows, near).sort_values("measurement_id", ignore_index=True)
    order = rng.permutation(60)
    again = place_detections(rows.iloc[order].reset_index(drop=True), near.iloc[::-1].reset_index(drop=True))
    pd.testing.assert_frame_equal(again.sort_values("measurement_id", ignore_index=True), expected)


def test_only_the_neighborhood_counts() -> None:
    """A source that is farther away than a detection ever reaches is as good as none, however badly it is known."""
    rows = detections([0.0], ["e0"])
    far = sources([float(widest_arcsec(rows)[0]) + 0.1], error=1000.0)
    assert place_detections(rows, far)["status"].tolist() == ["own source"]


def test_nothing_to_place() -> None:
    assert place_detections(detections([], []), sources([1.0])).empty
