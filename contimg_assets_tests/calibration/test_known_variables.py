"""Which sources are known to vary: running statistics against direct ones, and who is found."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contimg_assets.calibration import add_fluxes, calibrated_fluxes, known_variables, measure_corrections
from contimg_assets.config import Corrections
from contimg_assets.schemas.corrections import KNOWN_FLUXES
from contimg_assets_tests.calibration.skies import epoch


def _epochs(rng: np.random.Generator, flux: np.ndarray, error: float, present: float = 0.8) -> list[pd.DataFrame]:
    """Fluxes of sources in epochs, shape of ``flux`` (n_epochs, n_sources), with a fractional error."""
    tables = []
    for row in flux:
        seen = rng.random(len(row)) < present
        measured = row[seen] * (1 + error * rng.standard_normal(seen.sum()))
        ids = np.array([f"{i:016x}" for i in range(len(row))], dtype=object)[seen]
        tables.append(pd.DataFrame({"source_id": ids, "flux_mjy": measured, "flux_err_mjy": error * row[seen]}))
    return tables


def _added(epochs: list[pd.DataFrame]) -> pd.DataFrame:
    known = KNOWN_FLUXES.empty()
    for fluxes in epochs:
        known = KNOWN_FLUXES.to_arrow(add_fluxes(known, fluxes)).to_pandas()
    return known


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), n_epochs=st.integers(1, 6), snr=st.sampled_from([5.0, 100.0, 1e6]))
def test_running_statistics_are_those_of_all_fluxes_at_once(seed: int, n_epochs: int, snr: float) -> None:
    rng = np.random.default_rng(seed)
    epochs = _epochs(rng, np.tile(10 ** rng.uniform(0, 4, 12), (n_epochs, 1)), 1 / snr)
    # A source that an epoch has twice counts twice.
    epochs[0] = pd.concat([epochs[0], epochs[0].head(2).assign(flux_mjy=lambda t: t["flux_mjy"] * 1.5)])
    known = _added(epochs)
    for source, rows in pd.concat(epochs).groupby("source_id"):
        row = known.set_index("source_id").loc[source]
        flux, weight = rows["flux_mjy"].to_numpy(), rows["flux_err_mjy"].to_numpy() ** -2.0
        mean, weighted = flux.mean(), np.average(flux, weights=weight)
        scale = mean**2
        assert row["n"] == len(rows)
        assert row["mean_mjy"] == pytest.approx(mean, rel=1e-12)
        assert row["weighted_mean_mjy"] == pytest.approx(weighted, rel=1e-12)
        assert row["squares_mjy2"] == pytest.approx(((flux - mean) ** 2).sum(), rel=1e-6, abs=1e-24 * scale)
        assert row["chi2"] == pytest.approx((weight * (flux - weighted) ** 2).sum(), rel=1e-6, abs=1e-9)
    assert known["source_id"].is_monotonic_increasing
    assert set(known["source_id"]) == set(pd.concat(epochs)["source_id"])


def test_variables_are_known_and_constant_sources_are_not() -> None:
    rng = np.random.default_rng(1)
    flux = np.tile(10 ** rng.uniform(1, 3, 300), (8, 1))
    flux[:, :20] *= np.exp(0.5 * rng.standard_normal((8, 20)))
    # Faint ones have a large V by noise alone; bright ones a significant chi2 by a finder that is too sure.
    faint = _epochs(rng, np.full((8, 50), 10.0), 0.25, 1.0)
    bright = _epochs(rng, np.full((8, 50), 1000.0), 0.05, 1.0)
    tables = [
        pd.concat(
            [
                good,
                bad.assign(source_id="f" + bad["source_id"].str[1:]),
                sure.assign(source_id="b" + sure["source_id"].str[1:], flux_err_mjy=sure["flux_err_mjy"] / 10),
            ]
        )
        for good, bad, sure in zip(_epochs(rng, flux, 0.02), faint, bright, strict=True)
    ]
    found = set(known_variables(_added(tables), Corrections()))
    truly = {f"{i:016x}" for i in range(20)}
    assert found <= truly
    assert len(found) >= 18
    # Before the third flux nobody is known to vary.
    assert not len(known_variables(_added(tables[:2]), Corrections()))


def test_only_trusted_images_say_whether_a_source_varies() -> None:
    measurements, matches, images = epoch(2, 60, intrinsic=0.0, scale=0.8)
    associations = matches[["source_id", "measurement_id"]].assign(copied=False)
    corrections = measure_corrections(measurements, matches, images, Corrections(apply_flux="none"))
    corrections.loc[0, "flux_trusted"] = False
    fork = associations.iloc[[70]].assign(source_id="another")
    got = calibrated_fluxes(measurements, pd.concat([associations, fork]), images, corrections)
    row = measurements.set_index("measurement_id").loc[associations["measurement_id"]]
    inside = (row["image"] == "image_001").to_numpy().copy()
    inside[70] = False
    assert got["source_id"].tolist() == associations["source_id"][inside].tolist()
    scale = corrections.loc[1, "flux_scale"]
    assert scale == pytest.approx(0.8, abs=0.02)
    np.testing.assert_allclose(got["flux_mjy"] * scale, row["flux_int_mjy"][inside], rtol=1e-12)
    relative = np.hypot(row["flux_int_err_mjy"] / row["flux_int_mjy"], corrections.loc[1, "flux_scale_err"] / scale)
    np.testing.assert_allclose(got["flux_err_mjy"] / got["flux_mjy"], relative[inside], rtol=1e-12)


def test_a_known_variable_ties_no_flux() -> None:
    measurements, matches, images = epoch(1, 40, intrinsic=0.0)
    loud = matches["source_id"].iloc[7]
    all_of_them = measure_corrections(measurements, matches, images, Corrections()).iloc[0]
    without = measure_corrections(measurements, matches, images, Corrections(), [loud]).iloc[0]
    assert without["n_flux"] == all_of_them["n_flux"] - 1
    assert without["n_position"] == all_of_them["n_position"]
