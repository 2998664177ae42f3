"""Errors of mean positions: 95 % of faint sources within them, although only what noise made brighter was detected."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from contimg_assets.variability.error_model import AXES, SNR_NODES, ErrorModel, position_rows
from contimg_assets.variability.position_errors import excess_of_faint, position_errors, with_systematics
from contimg_assets.variability.position_evidence import assumed_terms

COLUMNS = ["uncertainty_ew_arcsec", "uncertainty_ns_arcsec"]


def survey(
    seed: int, n: int, n_epochs: int, threshold: float = 5.0, beam_arcsec: float = 40.0, systematic_arcsec: float = 0.0
) -> pd.DataFrame:
    """Sources with Euclidean counts in epochs of one depth, with their true positional offset east."""
    rng = np.random.default_rng(seed)
    true = 2.0 * rng.random(n) ** (-1 / 1.5)
    snr = true[:, None] + rng.normal(size=(n, n_epochs))
    seen = snr > threshold
    sigma_true = beam_arcsec / 2.355 / true[:, None]
    # What a finder quotes: from the SNR and the size that it measured, as size^1.75.
    quoted = beam_arcsec / 2.355 / snr * np.exp(rng.normal(0.0, 1.77, (n, n_epochs)) / np.maximum(snr, 2.0))
    offset = np.hypot(sigma_true, systematic_arcsec) * rng.normal(size=(n, n_epochs))
    weight = np.where(seen, 1.0 / (quoted**2 + systematic_arcsec**2), 0.0)
    found = seen.any(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = (weight * offset).sum(axis=1) / weight.sum(axis=1)
        error = 1.0 / np.sqrt(weight.sum(axis=1))
        share = (weight**2 * quoted**2).sum(axis=1) / weight.sum(axis=1)
    return pd.DataFrame(
        {
            **dict.fromkeys(COLUMNS, error),
            "position_noise_share": share,
            "offset": mean,
            "min_snr": np.where(seen, snr, np.inf).min(axis=1),
            "max_snr": np.where(seen, snr, -np.inf).max(axis=1),
            "n_measurements": seen.sum(axis=1),
            "n_forced": 0,
            "n_untrusted": 0,
            "n_limits": n_epochs - seen.sum(axis=1),
        }
    )[found]


def test_what_does_not_come_of_noise_is_no_larger_for_faint_sources() -> None:
    # A sharp beam: half of a faint source's variance is the systematic error that is added to all.
    sources = survey(2, 60_000, 6, beam_arcsec=6.0, systematic_arcsec=0.4)
    errors = position_errors(sources)
    kinds = pd.cut(sources["n_measurements"], [0, 1, 3, 1000], labels=["1", "2-3", "4+"])
    for name in COLUMNS:
        good = (sources["offset"].abs() < 1.96 * errors[name]).groupby(kinds, observed=True).mean()
        assert good.between(0.93, 0.97).all()
    bright = sources.assign(position_noise_share=0.0)
    pd.testing.assert_frame_equal(pd.DataFrame(position_errors(bright), index=sources.index), sources[COLUMNS])


@pytest.mark.parametrize("n_epochs", [1, 6, 20])
def test_95_percent_are_within_1_96_errors_however_often_they_were_seen(n_epochs: int) -> None:
    sources = survey(1, 60_000, n_epochs)
    errors = position_errors(sources)
    kinds = pd.cut(sources["n_measurements"], [0, 1, 3, 1000], labels=["1", "2-3", "4+"])
    for name in COLUMNS:
        raw = (sources["offset"].abs() < 1.96 * sources[name]).groupby(kinds, observed=True).mean()
        good = (sources["offset"].abs() < 1.96 * errors[name]).groupby(kinds, observed=True).mean()
        print(n_epochs, raw.round(3).to_dict(), good.round(3).to_dict())
        assert good.between(0.93, 0.97).all()
        assert n_epochs == 1 or raw["1"] < 0.87


def test_the_more_images_missed_it_the_fainter_it_is() -> None:
    factors = [excess_of_faint(*(np.array([value]) for value in (5.5, 5.5, 1.0, m))).item() for m in (0.0, 1.0, 5.0)]
    assert 1.0 < factors[0] < factors[1] < factors[2] < 2.0
    seen_often = excess_of_faint(np.full(2, 6.0), np.full(2, 5.0), np.array([2.0, 50.0]), np.zeros(2))
    assert seen_often[0] > seen_often[1] >= 1.0
    # Half of very many is as half of ten.
    assert np.isfinite(excess_of_faint(np.array([6.0]), np.array([5.0]), np.array([1e4]), np.array([1e4]))).all()


def test_bright_sources_and_those_without_detections_keep_their_errors() -> None:
    sources = pd.DataFrame(
        {
            "uncertainty_ew_arcsec": [1.0, 1.0, 1.0],
            "uncertainty_ns_arcsec": [2.0, 2.0, 2.0],
            "position_noise_share": [1.0, 1.0, 1.0],
            "min_snr": [500.0, np.nan, 5.0],
            "max_snr": [600.0, np.nan, 5.0],
            "n_measurements": [3, 3, 2],
            "n_forced": [0, 0, 2],
            "n_untrusted": [0, 0, 0],
            "n_limits": [4, 4, 4],
        }
    )
    errors = position_errors(sources)
    np.testing.assert_allclose(errors["uncertainty_ew_arcsec"], [1.0, 1.0, 1.0], rtol=1e-4)
    np.testing.assert_allclose(errors["uncertainty_ns_arcsec"], [2.0, 2.0, 2.0], rtol=1e-4)
    assert position_errors(sources.iloc[:0])["uncertainty_ew_arcsec"].shape == (0,)


def test_the_order_and_the_company_of_sources_do_not_matter() -> None:
    sources = survey(2, 3000, 6).reset_index(drop=True)
    errors = position_errors(sources)["uncertainty_ew_arcsec"]
    order = np.random.default_rng(0).permutation(len(sources))
    np.testing.assert_array_equal(position_errors(sources.iloc[order])["uncertainty_ew_arcsec"], errors[order])
    np.testing.assert_array_equal(position_errors(sources.iloc[:7])["uncertainty_ew_arcsec"], errors[:7])


def test_weights_hold_the_systematic_error_that_was_measured_in_place_of_the_assumed_one() -> None:
    def model(east: float, north: float, band: str = "") -> pd.DataFrame:
        rows = [
            position_rows(axis, terms := assumed_terms(value), 0.0 * terms.squares, 9, assumed)
            for axis, value, assumed in (("east", east, 0.3), ("north", north, 0.4))
        ]
        return pd.concat(rows).assign(band=band)

    noise, of_image = np.array([0.05, 0.5, 2.0, 0.5]), 0.1
    rows = {name: 1.0 / (noise**2 + of_image**2 + assumed**2) for name, assumed in (("w_ew", 0.3), ("w_ns", 0.4))} | {
        "radius": np.array([0.1, np.nan, 3.0, 0.5]),
        "band": np.array([887, 887, 887, 1367]),
    }
    rows |= {f"noise_{name}": noise**2 * rows[f"w_{name}"] for name in ("ew", "ns")}
    rows |= dict.fromkeys(("systematic_ew", "systematic_ns"), np.full(4, np.nan))
    errors = ErrorModel.of_table(pd.concat([model(0.1, 0.7), model(1.0, 0.0, "1367")]))
    found = with_systematics(rows, errors)
    true = {"ew": np.array([0.1, 0.1, 0.1, 1.0]), "ns": np.array([0.7, 0.7, 0.7, 0.0])}
    for name, systematic in true.items():
        assert found[f"w_{name}"] == pytest.approx(1.0 / (noise**2 + of_image**2 + systematic**2))
        assert found[f"noise_{name}"] == pytest.approx(noise**2 * found[f"w_{name}"])
    same = with_systematics(rows, ErrorModel.of_table(model(0.3, 0.4)))
    assert same["w_ew"] == pytest.approx(rows["w_ew"]) and same["w_ns"] == pytest.approx(rows["w_ns"])
    assert with_systematics(rows, None) is rows and with_systematics(rows, ErrorModel.plain()) is rows


def test_weights_hold_what_was_measured_of_the_image_and_the_factor_of_the_finders_errors() -> None:
    terms = {axis: replace(assumed_terms(0.1), noise=np.full(len(SNR_NODES), 1.2**2)) for axis in AXES}
    errors = ErrorModel({**ErrorModel.plain().terms, **terms}, assumed=dict.fromkeys(AXES, 0.3))
    noise, of_image = np.array([0.05, 0.5, 2.0, 0.5]), np.array([0.05, 0.2, 1.0, np.nan])
    weight = 1.0 / (noise**2 + 0.3**2)
    rows = dict.fromkeys(("w_ew", "w_ns"), weight) | dict.fromkeys(("noise_ew", "noise_ns"), noise**2 * weight)
    rows |= {"systematic_ew": of_image, "systematic_ns": of_image.astype(np.float32)}
    rows |= {"radius": np.array([0.1, np.nan, 0.65, 0.5]), "band": np.full(4, 887)}
    found = with_systematics(rows, errors)
    true = 1.0 / ((1.2 * noise) ** 2 + np.array([0.05, 0.2, 1.0, 0.1]) ** 2)
    for name in ("ew", "ns"):
        assert found[f"w_{name}"] == pytest.approx(true, rel=1e-6)
        assert found[f"noise_{name}"] == pytest.approx((1.2 * noise) ** 2 * true, rel=1e-6)
