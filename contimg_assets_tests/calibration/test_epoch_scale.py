"""The scale between epochs: solved together, robust against variables, tied to the catalog."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from contimg_assets.calibration import calculate_epoch_scales, constant_sources
from contimg_assets.config import Corrections
from contimg_assets.errors import InputError
from contimg_assets.schemas.corrections import EPOCH_SCALES
from contimg_assets_tests.calibration.skies import epoch


def _fluxes(
    rng: np.random.Generator,
    ln_scale: np.ndarray,
    n: int = 150,
    variables: float = 0.1,
    error: float = 0.02,
    present: float = 0.8,
) -> pd.DataFrame:
    """Fluxes of n sources in images with the given ln scales; variables vary by a factor of 2."""
    flux = 20 * (rng.pareto(1.0, n) + 1)
    varies = rng.random(n) < variables
    rows = []
    for image, value in enumerate(ln_scale):
        seen = np.flatnonzero(rng.random(n) < present)
        ln_true = np.log(flux[seen]) + np.where(varies[seen], rng.normal(0, 0.7, len(seen)), 0)
        measured = np.exp(ln_true + value + rng.normal(0, error, len(seen)))
        rows.append(
            pd.DataFrame(
                {
                    "source_id": [f"{source:016x}" for source in seen],
                    "epoch": f"epoch_{image // 2}",
                    "image": f"image_{image:03d}",
                    "flux_mjy": measured,
                    "flux_err_mjy": error * measured,
                }
            )
        )
    return pd.concat(rows, ignore_index=True)


def _corrections(ln_scale: np.ndarray, error: float = 0.01, trusted: bool = True) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "epoch": [f"epoch_{image // 2}" for image in range(len(ln_scale))],
            "image": [f"image_{image:03d}" for image in range(len(ln_scale))],
            "flux_scale": np.exp(ln_scale),
            "flux_scale_err": error * np.exp(ln_scale),
            "flux_trusted": trusted,
        }
    )


def test_relative_scales_and_their_errors() -> None:
    pulls = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        truth = rng.normal(0, 0.05, 12)
        truth -= truth.mean()
        got = calculate_epoch_scales(_fluxes(rng, truth))
        EPOCH_SCALES.to_arrow(got)
        # Without a catalog the mean is that of the images.
        pulls.append((np.log(got["epoch_scale"]) - truth) / (got["epoch_scale_err"] / got["epoch_scale"]))
    assert np.std(pulls) == pytest.approx(1.0, abs=0.15)
    assert np.abs(pulls).max() < 5


def test_the_catalogue_ties_the_mean_and_its_scatter_does_not_enter() -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(np.log(0.9), 0.03, 20)
    noisy = truth + rng.normal(0, 0.02, 20)
    got = calculate_epoch_scales(_fluxes(rng, truth, n=400), _corrections(noisy, error=0.02))
    error = np.log(got["epoch_scale"].to_numpy()) - truth
    assert abs(error.mean()) < 3 * 0.02 / np.sqrt(20)
    assert error.std() < 0.2 * 0.02
    assert (got["epoch_scale_err"] / got["epoch_scale"]).between(0.003, 0.008).all()


def test_untrusted_scales_do_not_tie() -> None:
    rng = np.random.default_rng(2)
    truth = np.zeros(6)
    corrections = _corrections(truth + 0.1)
    corrections.loc[0, ["flux_scale", "flux_trusted"]] = 3.0, False
    got = calculate_epoch_scales(_fluxes(rng, truth), corrections)
    assert np.log(got["epoch_scale"]).mean() == pytest.approx(0.1, abs=0.01)


def test_groups_without_common_sources_are_tied_apart() -> None:
    rng = np.random.default_rng(3)
    north = _fluxes(rng, np.zeros(3))
    south = _fluxes(rng, np.zeros(3)).assign(
        source_id=lambda t: "f" + t["source_id"].str[1:], image=lambda t: t["image"].str.replace("image", "south")
    )
    ties = _corrections(np.full(3, 0.2))
    got = calculate_epoch_scales(pd.concat([north, south]), ties).set_index("image")
    assert got["connected"].nunique() == 2
    of_north = got.index.str.startswith("image")
    assert np.log(got["epoch_scale"][of_north]).mean() == pytest.approx(0.2, abs=0.02)
    assert np.log(got["epoch_scale"][~of_north]).mean() == pytest.approx(0.0, abs=1e-6)


def test_images_without_enough_sources_get_no_scale() -> None:
    rng = np.random.default_rng(4)
    fluxes = _fluxes(rng, np.zeros(4))
    few = fluxes[(fluxes["image"] != "image_002") | (fluxes.groupby("image").cumcount() < 5)]
    got = calculate_epoch_scales(few).set_index("image")
    assert np.isnan(got.loc["image_002", "epoch_scale"])
    assert got.loc["image_002", "n_sources"] == 0
    assert got.drop(index="image_002")["epoch_scale"].notna().all()
    alone = calculate_epoch_scales(fluxes[fluxes["image"] == "image_000"])
    assert np.isnan(alone["epoch_scale"]).all()
    EPOCH_SCALES.to_arrow(alone)
    assert len(calculate_epoch_scales(fluxes.head(0))) == 0


def test_neither_order_nor_unusable_rows_matter() -> None:
    rng = np.random.default_rng(5)
    fluxes = _fluxes(rng, np.linspace(-0.1, 0.1, 5))
    got = calculate_epoch_scales(fluxes)
    bad = pd.DataFrame(
        {
            "epoch": "epoch_0",
            "source_id": ["x", None, "y"],
            "image": "image_000",
            "flux_mjy": [-1.0, 2.0, np.nan],
            "flux_err_mjy": 0.1,
        }
    )
    again = calculate_epoch_scales(pd.concat([bad, fluxes.sample(frac=1, random_state=0)]))
    pd.testing.assert_frame_equal(again, got, rtol=1e-9)


def test_many_images_without_a_dense_inverse(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(6)
    truth = rng.normal(0, 0.05, 30)
    fluxes, ties = _fluxes(rng, truth), _corrections(truth)
    dense = calculate_epoch_scales(fluxes, ties), calculate_epoch_scales(fluxes)
    monkeypatch.setattr("contimg_assets.calibration.epoch_scale._DENSE_LIMIT", 10)
    sparse = calculate_epoch_scales(fluxes, ties), calculate_epoch_scales(fluxes)
    for one, other in zip(dense, sparse, strict=True):
        np.testing.assert_allclose(other["epoch_scale"], one["epoch_scale"], rtol=1e-6)
    np.testing.assert_allclose(sparse[1]["epoch_scale_err"], dense[1]["epoch_scale_err"], rtol=0.1)


def test_constant_sources_of_an_epoch() -> None:
    measurements, matches, images = epoch(2, 60, intrinsic=0.0)
    associations = matches[["source_id", "measurement_id"]].assign(copied=False)
    ids, sources = associations["measurement_id"].to_numpy(), associations["source_id"].to_numpy()
    measurements.loc[0, "snr"] = 12.0
    measurements.loc[1, "flux_peak_mjy_beam"] /= 2
    near = measurements.iloc[[2]].assign(measurement_id="near", dec_deg=measurements["dec_deg"][2] + 0.004)
    measurements = pd.concat([measurements, near], ignore_index=True)
    fork = associations.iloc[[3]].assign(source_id="another")
    copied = associations.iloc[[4]].assign(source_id="a fork's history", copied=True)
    associations = pd.concat([associations, fork, copied], ignore_index=True)
    got = constant_sources(measurements, associations, images, Corrections(), variable_sources=[sources[5]])
    assert list(got.columns) == ["source_id", "image", "flux_mjy", "flux_err_mjy"]
    out = set(ids[[0, 1, 2, 3, 5, 65]])
    expected = {(sources[i], measurements["image"][i]) for i in range(120) if ids[i] not in out}
    assert set(zip(got["source_id"], got["image"], strict=True)) == expected
    assert len(got) == 114
    assert len(constant_sources(measurements, associations.head(0), images, Corrections())) == 0


def test_missing_column_is_named() -> None:
    with pytest.raises(InputError, match="flux_err_mjy"):
        calculate_epoch_scales(pd.DataFrame({"epoch": ["e"], "source_id": ["a"], "image": ["b"], "flux_mjy": [1.0]}))


@pytest.mark.parametrize(("n_epochs", "error"), [(2, 0.01), (3, 0.01), (4, 0.01), (5, 0.01), (12, 0.01), (3, 0.02)])
def test_errors_are_right_for_few_epochs_too(n_epochs: int, error: float) -> None:
    rng = np.random.default_rng(n_epochs)
    pulls = []
    for _ in range(100):
        # Errors quoted are half the noise, or all of it.
        fluxes = _fluxes(rng, np.zeros(n_epochs), n=120, variables=0.05, present=1.0, error=0.02)
        got = calculate_epoch_scales(fluxes.assign(flux_err_mjy=error * fluxes["flux_mjy"]))
        pulls.append(np.log(got["epoch_scale"]) / (got["epoch_scale_err"] / got["epoch_scale"]))
    assert np.sqrt(np.mean(np.square(pulls))) == pytest.approx(1, abs=0.13)
    assert 0.92 <= np.mean(np.abs(pulls) < 1.96) <= 0.98
