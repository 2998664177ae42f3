"""The error model in the products: one table, and the statistics that are made with it, in one transaction."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from contimg_assets.config import Variability
from contimg_assets.database import ProductsDatabase
from contimg_assets.database.epoch_products import EpochProducts
from contimg_assets.variability.error_model import AXES, ErrorTerms, model_rows, position_rows
from contimg_assets.variability.position_evidence import assumed_terms
from contimg_assets_tests.database.conftest import assert_same_rows, dump
from contimg_assets_tests.database.survey import Survey


def rows(noise_factor: float, floor: float, step: float = 0.0) -> pd.DataFrame:
    """Of a model that is the same everywhere."""
    terms = ErrorTerms.fixed(noise_factor, floor, step)
    kinds = [model_rows(kind, terms, np.full(len(terms.squares), 1e-4), 1000) for kind in ("peak", "int")]
    return pd.concat(kinds, ignore_index=True)


def detections(database: ProductsDatabase) -> pd.DataFrame:
    found = database.read_table("variability")
    return found[found["sample"] == "detections"].set_index("source_id")


def test_another_model_makes_all_statistics_again_and_the_same_one_none(database: ProductsDatabase) -> None:
    survey = Survey()
    database.replace_epochs(survey.epochs()[:3])
    plain = detections(database)
    report = database.replace_epochs([survey.epoch(3)], error_model=rows(2.0, 0.05))
    assert report.n_recomputed == report.n_sources
    changed = detections(database)
    both = changed["n_int"] == plain["n_int"].reindex(changed.index)
    many = both & (changed["n_int"] > 1)
    assert many.any()
    assert (changed.loc[many, "eta_int"] < plain["eta_int"].reindex(changed.index)[many] / 3.9).all()
    assert len(database.read_table("error_model")) == 2 * len(ErrorTerms.fixed().squares)
    before = dump(database)
    assert database.replace_epochs([survey.epoch(3)], error_model=rows(2.0, 0.05)).n_recomputed == 0
    # Who says nothing of it keeps it.
    assert database.replace_epochs([]).n_recomputed == 0
    assert_same_rows(dump(database), before)
    database.rebuild(survey.epochs())
    assert_same_rows(dump(database), before)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2)])
def test_models_on_the_way_leave_no_trace(database: ProductsDatabase, order: tuple[int, ...]) -> None:
    survey = Survey(n_sources=25)
    for k in order:
        database.replace_epochs([survey.epoch(k)], error_model=rows(1.0 + 0.1 * k, 0.01))
    database.replace_epochs([], error_model=rows(1.3, 0.03))
    changed = dump(database)
    database.rebuild(survey.epochs(), error_model=rows(1.3, 0.03))
    assert_same_rows(dump(database), changed)


def test_configuration_of_the_project_goes_before_the_measured_model(database: ProductsDatabase) -> None:
    epochs = Survey().epochs()
    database.replace_epochs(epochs, Variability(error_model="none"), error_model=rows(2.0, 0.05))
    plain = detections(database)
    database.rebuild(epochs, Variability(error_model="fixed", error_noise_factor=2.0, error_floor=0.05))
    fixed = detections(database)
    database.rebuild(epochs, Variability(), error_model=rows(2.0, 0.05))
    assert detections(database)["eta_int"].to_numpy() == pytest.approx(fixed["eta_int"].to_numpy(), nan_ok=True)
    assert fixed["eta_int"].median() < plain["eta_int"].median() / 4


def test_configurations_of_images_take_steps_out(database: ProductsDatabase) -> None:
    survey = Survey(n_epochs=6, detected=1.0)
    factors = (1.0, 1.0, 1.0, 1.2, 1.2, 1.2)
    epochs = [survey.epoch(k, flux_factor=factor) for k, factor in enumerate(factors)]
    model = rows(1.0, 0.0, 0.15)
    database.replace_epochs(epochs, error_model=model)
    one = detections(database)
    configured = [
        replace(epoch, configurations=of_images(epoch, int(factor > 1)))
        for epoch, factor in zip(epochs, factors, strict=True)
    ]
    report = database.replace_epochs(configured, error_model=model)
    assert len(report.written) == 6
    two = detections(database)
    bright = one["flux_int_mean_mjy"] > 30
    assert (two.loc[bright, "eta_int"] < one.loc[bright, "eta_int"]).mean() > 0.9
    # What was measured stays.
    for name in ("flux_int_mean_mjy", "flux_int_max_mjy", "v_int"):
        assert two[name].to_numpy() == pytest.approx(one[name].to_numpy())


MEASURED = Variability(position_systematic="measured")


def of_images(epoch: EpochProducts, configuration: int = 0, systematic: float = np.nan) -> pd.DataFrame:
    """What was measured of an epoch's images, the same of each."""
    both = dict.fromkeys(("systematic_ew_arcsec", "systematic_ns_arcsec"), systematic)
    return pd.DataFrame({"image": epoch.images["image"], "configuration": configuration, **both})


def with_positions(systematic: float, assumed: float) -> pd.DataFrame:
    """A model with the same systematic error of positions everywhere [arcsec]."""
    terms = assumed_terms(systematic)
    nothing = 0.0 * terms.squares
    return pd.concat([rows(1.0, 0.0), *(position_rows(axis, terms, nothing, 9, assumed) for axis in AXES)])


def test_positions_are_as_certain_as_repeated_ones_show(database: ProductsDatabase) -> None:
    survey = Survey()
    errors = ["uncertainty_ew_arcsec", "uncertainty_ns_arcsec"]
    measured = Variability(position_systematic="measured")
    database.replace_epochs(survey.epochs()[:3], parameters=measured, error_model=rows(1.0, 0.0))
    plain = database.read_table("sources").set_index("id")
    model = with_positions(0.0, 0.1)
    report = database.replace_epochs([], parameters=measured, error_model=model)
    assert report.n_recomputed == report.n_sources
    sharper = database.read_table("sources").set_index("id")
    assert (sharper[errors] < plain[errors]).all(axis=None)
    database.replace_epochs([survey.epoch(3)], parameters=measured, error_model=model)
    before = dump(database)
    database.rebuild(survey.epochs()[3::-1], measured, error_model=model)
    assert_same_rows(dump(database), before)
    database.rebuild(survey.epochs()[:3], Variability(position_systematic="configured"), error_model=model)
    configured = database.read_table("sources").set_index("id")
    pd.testing.assert_frame_equal(configured[["ra_deg", *errors]], plain[["ra_deg", *errors]])


def test_an_image_whose_positions_are_off_draws_no_mean(database: ProductsDatabase) -> None:
    epochs, errors = Survey(detected=1.0).epochs()[:3], ["uncertainty_ew_arcsec", "uncertainty_ns_arcsec"]
    model = with_positions(0.1, 0.1)
    database.replace_epochs(epochs, parameters=MEASURED, error_model=model)
    alike = database.read_table("sources").set_index("id")
    judged = [
        replace(epoch, configurations=of_images(epoch, systematic=systematic))
        for epoch, systematic in zip(epochs, (np.nan, 0.1, 1e4), strict=True)
    ]
    database.replace_epochs(judged, parameters=MEASURED, error_model=model)
    without = database.read_table("sources").set_index("id")
    database.rebuild(epochs[:2], parameters=MEASURED, error_model=model)
    two = database.read_table("sources").set_index("id").reindex(without.index)
    seen = two["ra_deg"].notna().to_numpy()
    assert seen.sum() > 10
    for name in errors:
        # The finder's errors are known as well as the SNR of all three says.
        assert without.loc[seen, name].to_numpy() == pytest.approx(two.loc[seen, name].to_numpy(), rel=0.05)
        assert (without.loc[seen, name] > alike.loc[without.index[seen], name]).all()
    for name in ("ra_deg", "dec_deg"):
        assert without.loc[seen, name].to_numpy() == pytest.approx(two.loc[seen, name].to_numpy(), abs=1e-8)
