"""Polarized fluxes at the sources of I: which row is whose, signed fractions with their errors, limits."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contimg_assets.config import Stokes
from contimg_assets.polarization.fluxes import TotalIntensity, partners, polarized_fluxes
from contimg_assets.schemas.association import ASSOCIATIONS
from contimg_assets.schemas.corrections import CORRECTED_MEASUREMENTS
from contimg_assets.schemas.detections import IMAGES, OTHER_IMAGES, STOKES
from contimg_assets.schemas.polarization import STOKES_MEASUREMENTS
from contimg_assets.sky.sphere import displaced
from contimg_assets_tests.database.survey import filled

BEAM = 40.0


def images(schema=IMAGES, **columns) -> pd.DataFrame:
    n = len(columns["image"])
    fixed = {
        "ra_deg": 0.0,
        "dec_deg": 0.0,
        "radius_deg": 1.0,
        "freq_mhz": 1405.0,
        "rms_mjy_beam": 0.2,
        "mjd": 61000.0,
        "bmaj_arcsec": BEAM,
    }
    return filled(schema, n, **fixed | columns)


def rows(ra, dec, flux, error=0.2, **columns) -> pd.DataFrame:
    n = len(np.atleast_1d(ra))
    given = {
        "measurement_id": [f"{columns.get('image', 'i')}{k:03d}" for k in range(n)],
        "component_id": [f"c{k}" for k in range(n)],
        "image": "i",
        **{name: np.broadcast_to(ra, n) for name in ("ra_deg", "ra_corr_deg")},
        **{name: np.broadcast_to(dec, n) for name in ("dec_deg", "dec_corr_deg")},
        **{f"uncertainty_{axis}{corr}_arcsec": 1.0 for axis in ("ew", "ns") for corr in ("", "_corr")},
        **dict.fromkeys(("flux_peak_mjy_beam", "flux_peak_corr_mjy_beam"), flux),
        **dict.fromkeys(("flux_peak_err_mjy_beam", "flux_peak_err_corr_mjy_beam"), error),
        "mjd": 61000.0,
        "trusted": True,
    }
    return filled(CORRECTED_MEASUREMENTS, n, **given | columns)


def total(measurements: pd.DataFrame, image: pd.DataFrame | None = None) -> TotalIntensity:
    n = len(measurements)
    ids = measurements["measurement_id"]
    own = filled(ASSOCIATIONS, n, measurement_id=ids, source_id=[f"s{one}" for one in ids], epoch="e")
    return TotalIntensity(images(image=["i"]) if image is None else image, measurements, own)


def in_stokes(table: pd.DataFrame, stokes: str = "V") -> pd.DataFrame:
    return table.assign(image=stokes.lower(), stokes=stokes)


def others(*stokes: str, **columns) -> pd.DataFrame:
    return images(OTHER_IMAGES, image=[one.lower() for one in stokes], stokes=list(stokes), **columns)


def test_fractions_are_signed_and_their_errors_hold() -> None:
    rng, n = np.random.default_rng(4), 4000
    truth = rng.uniform(-0.6, 0.6, n)
    ra, dec = rng.uniform(-0.5, 0.5, n) % 360, rng.uniform(-0.5, 0.5, n)
    flux = rng.uniform(20.0, 200.0, n)
    seen = rows(ra, dec, flux + rng.normal(0, 0.5, n), 0.5)
    v = in_stokes(rows(*displaced(ra, dec, *rng.normal(size=(2, n))), flux * truth + rng.normal(0, 0.2, n)))
    # Crowded on purpose: the nearest counts, and most are the right one.
    found = polarized_fluxes(v, others("V"), total(seen)).merge(
        pd.DataFrame({"i_measurement_id": seen["measurement_id"], "truth": truth, "number": np.arange(n)})
    )
    own = found[found["measurement_id"].isin(v["measurement_id"]) & (found["status"] == "at source")]
    own = own[own["component_id"] == "c" + own["number"].astype(str)]
    assert len(own) > 0.97 * n
    pulls = ((own["fraction"] - own["truth"]) / own["fraction_err"]).to_numpy()
    assert abs(pulls.mean()) < 0.06
    assert pulls.std() == pytest.approx(1.0, abs=0.04)
    assert (np.sign(own["significance"]) == np.sign(own["flux_peak_mjy_beam"])).all()


@pytest.mark.parametrize(("ra", "dec"), [(0.0, 16.0), (359.9999, -45.0), (12.0, 90.0), (77.0, -89.999)])
def test_a_row_is_its_sources_wherever_on_the_sky(ra: float, dec: float) -> None:
    image = images(image=["i"], ra_deg=ra, dec_deg=dec)
    there = displaced(ra, dec, 3.0, -4.0)
    found = polarized_fluxes(
        in_stokes(rows(*map(np.atleast_1d, there), -3.0)),
        others("V", ra_deg=ra, dec_deg=dec),
        total(rows([ra], [dec], 30.0), image),
    )
    assert found["status"].tolist() == ["at source"]
    assert found["source_id"].tolist() == ["si000"]
    assert found["separation_arcsec"].iloc[0] == pytest.approx(5.0, abs=1e-3)
    assert found["fraction"].iloc[0] == pytest.approx(-0.1)
    assert found["significance"].iloc[0] == pytest.approx(-15.0)


def test_what_is_covered_and_not_detected_is_a_limit() -> None:
    seen = rows([0.0, 0.5, 1.5], [0.0, 0.0, 0.0], [30.0, 60.0, 50.0], local_rms_mjy_beam=[0.2, 0.3, 0.4])
    found = polarized_fluxes(in_stokes(rows([0.0], [0.0], 3.0)), others("V", "Q"), total(seen))
    limits = found[found["status"] == "undetected"].set_index(["stokes", "source_id"])
    # The third lies outside of the images' circles.
    assert sorted(limits.index) == [("Q", "si000"), ("Q", "si001"), ("V", "si001")]
    row = limits.loc[("V", "si001")]
    assert row["upper_limit_mjy_beam"] == pytest.approx(6.64 * 0.2 * 1.5)
    assert row["fraction_limit"] == pytest.approx(6.64 * 0.3 / 60.0)
    assert np.isnan(row["fraction"]) and np.isnan(row["flux_peak_mjy_beam"])


def test_linear_polarization_without_its_bias() -> None:
    found = polarized_fluxes(in_stokes(rows([0.0], [0.0], 0.5, 0.3), "L"), others("L"), total(rows([0.0], [0.0], 10.0)))
    assert found["fraction"].iloc[0] == pytest.approx(0.04)


def test_of_two_rows_at_a_source_the_nearer_is_its_own() -> None:
    v = in_stokes(rows(*displaced([0.0, 0.0], [0.0, 0.0], [2.0, -15.0], [0.0, 0.0]), [3.0, -2.0]))
    found = polarized_fluxes(v, others("V"), total(rows([0.0], [0.0], 30.0))).set_index("component_id")
    assert found["status"].to_dict() == {"c0": "at source", "c1": "beside"}


def test_what_is_at_no_source_may_be_one_only_where_configured() -> None:
    v = in_stokes(rows([0.2, 0.3], [0.0, 0.0], [-3.0, 1.0]))
    seen = total(rows([0.0], [0.0], 30.0))
    found = polarized_fluxes(v, others("V"), seen).dropna(subset="component_id")
    assert found["status"].tolist() == ["alone"] * 2
    assert not found["may_be_source"].any()
    asked = polarized_fluxes(v, others("V"), seen, Stokes(sources=("V",))).dropna(subset="component_id")
    # The second is 5 sigma: not enough.
    assert asked["may_be_source"].tolist() == [True, False]
    assert not polarized_fluxes(v, others("V"), seen, Stokes(sources=("Q",)))["may_be_source"].any()


def test_negative_detections_in_i_belong_to_no_source() -> None:
    negative = rows([0.0], [0.0], -3.0).assign(stokes="I", measurement_id="n")
    found = polarized_fluxes(negative, others(), total(rows([0.0], [0.0], 30.0)), Stokes(sources=("V",)))
    assert found[["status", "source_id", "may_be_source"]].values.tolist() == [["negative", None, False]]


def test_another_band_tells_the_source_and_no_fraction() -> None:
    image = images(image=["i"], freq_mhz=888.0)
    found = polarized_fluxes(in_stokes(rows([0.0], [0.0], 3.0)), others("V"), total(rows([0.0], [0.0], 30.0), image))
    assert found["source_id"].tolist() == ["si000"]
    assert found["fraction"].isna().all()


def test_an_epoch_without_anything() -> None:
    none = polarized_fluxes(in_stokes(rows([], [], [])), others("V"), total(rows([], [], [])))
    assert none.empty and list(none) == STOKES_MEASUREMENTS.names


def test_partners_are_of_the_band_then_the_nearest() -> None:
    own = images(image=["near", "far", "low"], freq_mhz=[1405.0, 1405.0, 888.0], ra_deg=[0.3, 5.0, 0.0])
    assert partners(others("V"), own).to_dict() == {"v": "near"}
    assert partners(others("V", freq_mhz=888.0), own).to_dict() == {"v": "low"}
    assert partners(others("V", freq_mhz=300.0), own).to_dict() == {"v": "low"}


@settings(max_examples=25, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(random) -> None:
    rng = np.random.default_rng(2)
    ra, dec = rng.uniform(0.0, 0.05, (2, 30))
    seen = rows(ra, dec, 30.0)
    v = in_stokes(rows(*displaced(ra, dec, *rng.normal(0, 8, (2, 30))), 3.0))
    expected = polarized_fluxes(v, others("V"), total(seen))
    order, other = (random.sample(range(30), 30) for _ in range(2))
    again = polarized_fluxes(
        v.iloc[order].reset_index(drop=True), others("V"), total(seen.iloc[other].reset_index(drop=True))
    )
    STOKES_MEASUREMENTS.to_arrow(again)
    pd.testing.assert_frame_equal(again, expected)


def test_columns_have_units() -> None:
    assert STOKES.name in OTHER_IMAGES.names
    assert STOKES_MEASUREMENTS["upper_limit_mjy_beam"].unit == "mJy / beam"
