"""Spectral indices with errors that are right: of power laws with known index, noise and scale errors."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from contimg_assets.errors import InputError
from contimg_assets.variability.spectral_index import spectral_indices


def points(n: int = 2000, tie: float = 0.0, bands: tuple[float, ...] = (888.0, 1367.0), variable: float = 0.0):
    """Each source in each band in four epochs, and the true indices."""
    rng = np.random.default_rng(4)
    alpha = rng.normal(-0.7, 0.25, n)
    parts = []
    for freq in bands:
        off = np.exp(rng.normal(0, tie)) if tie else 1.0
        for epoch in range(4):
            flux = 50.0 * (freq / 888.0) ** alpha * off
            if variable:
                flux = flux * rng.lognormal(0, variable, n)
            parts.append(
                pd.DataFrame(
                    {
                        "source_id": [f"s{k:04d}" for k in range(n)],
                        "epoch": f"e{epoch}",
                        "band": f"{freq:g}MHz",
                        "freq_mhz": freq,
                        "flux_mjy": flux + rng.normal(0, 1.0, n),
                        "flux_err_mjy": 1.0,
                        "flux_tie_err": tie,
                    }
                )
            )
    return pd.concat(parts, ignore_index=True), alpha


@pytest.mark.parametrize("per_epoch", [False, True])
def test_pulls_of_noise_have_a_width_of_one(per_epoch: bool) -> None:
    table, alpha = points()
    found = spectral_indices(table, per_epoch)
    true = pd.Series(alpha, index=sorted(table["source_id"].unique())).reindex(found["source_id"]).to_numpy()
    pulls = (found["alpha"] - true) / found["alpha_err"]
    assert 0.9 < pulls.std() < 1.1
    assert abs(pulls.mean()) < 0.1
    assert abs(found["alpha"].median() + 0.7) < 0.02
    assert found["epoch"].isna().all() == (not per_epoch)


def test_the_scatter_of_the_population_is_found() -> None:
    found = spectral_indices(points()[0])
    assert np.sqrt(found["alpha"].var() - (found["alpha_err"] ** 2).mean()) == pytest.approx(0.25, abs=0.02)


def test_errors_of_ties_are_common_and_counted_once() -> None:
    table, _ = points(50, tie=0.05)
    found = spectral_indices(table)
    expected = 0.05 * np.sqrt(2) / np.log(1367 / 888)
    assert found["alpha_tie_err"].to_numpy() == pytest.approx(expected, rel=0.1)
    assert (found["alpha_err"] > found["alpha_tie_err"]).all()


def test_a_source_that_varies_has_a_larger_error() -> None:
    steady, wild = (spectral_indices(points(300, variable=v)[0])["alpha_err"].median() for v in (0.0, 0.3))
    assert wild > 3 * steady


def test_three_bands_show_a_curvature() -> None:
    table, _ = points(200, bands=(500.0, 1000.0, 2000.0))
    straight = spectral_indices(table)
    assert 0.9 < (straight["curvature"] / straight["curvature_err"]).std() < 1.1
    bent = table.assign(flux_mjy=table["flux_mjy"] * np.exp(-0.5 * np.log(table["freq_mhz"] / 1000.0) ** 2))
    assert spectral_indices(bent)["curvature"].median() == pytest.approx(-0.5, abs=0.05)
    assert spectral_indices(points(5)[0])["curvature"].isna().all()


def test_sources_of_one_band_and_negative_means_have_none() -> None:
    table, _ = points(3)
    one = table[(table["source_id"] != "s0000") | (table["band"] == "888MHz")].copy()
    one.loc[(one["source_id"] == "s0001") & (one["band"] == "888MHz"), "flux_mjy"] = -5.0
    assert spectral_indices(one)["source_id"].tolist() == ["s0002"]
    assert spectral_indices(table.iloc[:0]).empty


def test_an_error_of_zero_is_told() -> None:
    table, _ = points(2)
    table.loc[3, "flux_err_mjy"] = 0.0
    with pytest.raises(InputError, match="row 3"):
        spectral_indices(table)


def test_what_is_detected_only_where_noise_makes_it_bright_is_not_too_flat() -> None:
    """Near the threshold of the higher band; epochs that did not detect a source say that it was fainter."""
    rng, n, n_epochs = np.random.default_rng(8), 1500, 6
    alpha, low = rng.normal(-0.7, 0.2, n), rng.uniform(10.0, 40.0, n)
    high = low * (1367.0 / 888.0) ** alpha
    source = np.tile([f"s{k:04d}" for k in range(n)], n_epochs)
    parts = []
    for band, freq, flux in (("low", 888.0, low), ("high", 1367.0, high)):
        seen = np.tile(flux, n_epochs) + rng.normal(0, 1.5, n * n_epochs)
        columns = {"source_id": source, "band": band, "freq_mhz": freq, "flux_err_mjy": 1.5}
        detected = seen > 7.5
        parts.append(
            pd.DataFrame(
                columns | {"flux_mjy": np.where(detected, seen, np.nan), "below_mjy": np.where(detected, np.nan, 7.5)}
            )
        )
    table = pd.concat(parts, ignore_index=True)
    true = pd.Series(alpha, index=[f"s{k:04d}" for k in range(n)])
    faint = pd.Series(high < 9.0, index=true.index)
    bias = {}
    for what, rows in (("with", table), ("without", table.drop(columns="below_mjy").dropna(subset="flux_mjy"))):
        found = spectral_indices(rows).set_index("source_id")
        pulls = (found["alpha"] - true.reindex(found.index)) / found["alpha_err"]
        bias[what] = pulls[faint.reindex(found.index)].mean()
        assert pulls[~faint.reindex(found.index)].std() == pytest.approx(1.0, abs=0.1)
    assert bias["without"] > 0.8
    assert abs(bias["with"]) < 0.25


def test_a_bright_source_that_was_lost_once_is_no_fainter_for_it() -> None:
    rows = points(5)[0]
    lost = rows.iloc[[0]].assign(flux_mjy=np.nan, below_mjy=5.0)
    pd.testing.assert_frame_equal(spectral_indices(pd.concat([rows, lost])), spectral_indices(rows))
