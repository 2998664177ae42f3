"""Condon errors and error radii against vast-pipeline's numbers, and by their own laws."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contimg_assets.ingest.condon import condon_errors, error_radius


@pytest.mark.shared
def test_condon_errors_are_those_of_vast(shared: Path) -> None:
    golden = pd.read_csv(shared / "golden/association/functions/condon_errors.csv")
    got = condon_errors(
        bmaj_arcsec=golden["bmaj"],
        bmin_arcsec=golden["bmin"],
        pa_deg=golden["pa"],
        flux_peak_mjy_beam=golden["flux_peak"],
        flux_int_mjy=golden["flux_int"],
        snr=golden["snr"],
        beam_bmaj_arcsec=golden["theta_B_deg"] * 3600,
        beam_bmin_arcsec=golden["theta_b_deg"] * 3600,
    )
    expected = {
        "ra_err_arcsec": golden["expected_ra_err_deg"] * 3600,
        "dec_err_arcsec": golden["expected_dec_err_deg"] * 3600,
        "flux_peak_err_mjy_beam": golden["expected_flux_peak_err"],
        "flux_int_err_mjy": golden["expected_flux_int_err"],
        "bmaj_err_arcsec": golden["expected_err_bmaj_deg"] * 3600,
        "bmin_err_arcsec": golden["expected_err_bmin_deg"] * 3600,
        "pa_err_deg": np.degrees(golden["expected_err_pa_rad"]),
    }
    assert len(golden) == 20
    for name, values in expected.items():
        np.testing.assert_allclose(getattr(got, name), values, rtol=1e-10, err_msg=name)


@pytest.mark.shared
def test_error_radius_is_that_of_vast_where_the_error_is_of_the_coordinate(shared: Path) -> None:
    golden = pd.read_csv(shared / "golden/association/functions/calc_error_radius.csv")
    got = error_radius(golden["ra_err"], golden["dec_err"], golden["dec"])
    np.testing.assert_allclose(got * 3600, golden["expected_error_radius"] * 3600, atol=0.003)


def test_error_radius_on_the_sky_does_not_depend_on_declination() -> None:
    np.testing.assert_allclose(error_radius([1.0, 3.0], [1.0, 4.0]), [np.sqrt(2), 5.0])


def test_unresolved_round_source_has_the_beam_over_signal_to_noise() -> None:
    """For a point source in a round beam the position error is the beam's sigma over the signal to noise."""
    got = condon_errors(
        bmaj_arcsec=[20.0],
        bmin_arcsec=[20.0],
        pa_deg=[33.0],
        flux_peak_mjy_beam=[50.0],
        flux_int_mjy=[50.0],
        snr=[25.0],
        beam_bmaj_arcsec=20.0,
        beam_bmin_arcsec=20.0,
    )
    expected = 20.0 / np.sqrt(8 * np.log(2)) / 25.0
    np.testing.assert_allclose([got.ra_err_arcsec[0], got.dec_err_arcsec[0]], expected)
    np.testing.assert_allclose(got.flux_peak_err_mjy_beam, 50.0 / 25.0)
    assert got.pa_err_deg[0] == 180.0


def _one(**changes: float) -> dict[str, float]:
    values = {
        "bmaj_arcsec": 30.0,
        "bmin_arcsec": 12.0,
        "pa_deg": 0.0,
        "flux_peak_mjy_beam": 10.0,
        "flux_int_mjy": 11.0,
        "snr": 10.0,
        "beam_bmaj_arcsec": 15.0,
        "beam_bmin_arcsec": 10.0,
    }
    return values | changes


def test_major_axis_to_the_north_makes_the_northern_error_larger() -> None:
    north, east = condon_errors(**_one(pa_deg=0.0)), condon_errors(**_one(pa_deg=90.0))
    assert north.dec_err_arcsec > 2 * north.ra_err_arcsec
    np.testing.assert_allclose(east.ra_err_arcsec, north.dec_err_arcsec)
    np.testing.assert_allclose(east.dec_err_arcsec, north.ra_err_arcsec)


@pytest.mark.parametrize("name", ["bmaj_arcsec", "bmin_arcsec", "snr", "beam_bmaj_arcsec", "beam_bmin_arcsec"])
@pytest.mark.parametrize("value", [0.0, np.nan])
def test_what_cannot_be_computed_is_missing_and_never_zero(name: str, value: float) -> None:
    for error in condon_errors(**_one(**{name: value})):
        assert np.isnan(error)


@given(
    st.floats(5, 50),
    st.floats(0.2, 1),
    st.floats(-180, 180),
    st.floats(3, 1e5),
    st.floats(1.1, 100),
)
def test_errors_are_positive_fall_with_signal_to_noise_and_turn_with_the_angle(
    major: float, axis_ratio: float, angle: float, snr: float, brighter: float
) -> None:
    shape = {"bmaj_arcsec": major, "bmin_arcsec": major * axis_ratio, "pa_deg": angle}
    faint, bright = condon_errors(**_one(snr=snr, **shape)), condon_errors(**_one(snr=snr * brighter, **shape))
    for first, second in zip(faint[:-1], bright[:-1], strict=True):
        assert 0 < second < first
        np.testing.assert_allclose(first / second, brighter, rtol=1e-9)
    turned = condon_errors(**_one(snr=snr, **(shape | {"pa_deg": angle + 180})))
    np.testing.assert_allclose(turned.ra_err_arcsec, faint.ra_err_arcsec, rtol=1e-9)
    # The sum of squares does not depend on the angle.
    unturned = condon_errors(**_one(snr=snr, **(shape | {"pa_deg": 0.0})))
    np.testing.assert_allclose(
        faint.ra_err_arcsec**2 + faint.dec_err_arcsec**2, unturned.ra_err_arcsec**2 + unturned.dec_err_arcsec**2
    )


def test_negative_components_and_almost_round_ones() -> None:
    """Stokes V has negative components; the angle of an almost round one is free, and half a turn is all there is."""
    for positive, negative in zip(condon_errors(**_one()), condon_errors(**_one(snr=-10.0)), strict=True):
        assert positive == negative
    assert condon_errors(**_one(bmaj_arcsec=12.0001, snr=3.0)).pa_err_deg == 180.0
