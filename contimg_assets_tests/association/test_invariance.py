"""The same sky gives the same sources: in any rotation, in any order of rows, run after run."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contimg_assets.association import associate_measurements
from contimg_assets.config import Association
from contimg_assets.simulate import simulate_detections
from contimg_assets.sky.sphere import separation_arcsec
from contimg_assets_tests.association.skies import rotated, sources_of, table, turn_to

METHODS = ["basic", "advanced", "deruiter", "optimal"]
CENTRE = (0.0, 16.0)


def _sky(seed: int) -> list:
    return simulate_detections(
        250,
        4,
        seed=seed,
        centre_ra_deg=CENTRE[0],
        centre_dec_deg=CENTRE[1],
        double_fraction=0.3,
        shift_sigma_arcsec=1.0,
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("ra", "dec"), [(0.0, 0.0), (90.0, 10.0), (180.0, -45.0), (270.0, 3.0), (77.0, 90.0), (77.0, -90.0), (359.99, 89.7)]
)
def test_rotation(method: str, ra: float, dec: float) -> None:
    tables = _sky(5)
    turned = rotated(tables, turn_to(*CENTRE, ra, dec, roll_deg=33.0))
    expected = associate_measurements(tables, "8arcsec", method, align_images="never")
    got = associate_measurements(turned, "8arcsec", method, align_images="never")
    assert sources_of(got) == sources_of(expected)
    # Names come from the measurements, not from the positions.
    assert set(got.sources["source_id"]) == set(expected.sources["source_id"])
    merged = got.associations.merge(expected.associations, on=["source_id", "measurement_id"], suffixes=("", "_0"))
    np.testing.assert_allclose(merged["de_ruiter"], merged["de_ruiter_0"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(merged["separation_arcsec"], merged["separation_arcsec_0"], rtol=0, atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(
    ra=st.floats(0, 360, exclude_max=True),
    dec=st.floats(-90, 90),
    roll=st.floats(0, 360),
    seed=st.integers(0, 10),
    method=st.sampled_from(METHODS),
)
def test_any_rotation(ra: float, dec: float, roll: float, seed: int, method: str) -> None:
    tables = _sky(seed)
    turned = rotated(tables, turn_to(*CENTRE, ra, dec, roll))
    expected = associate_measurements(tables, "8arcsec", method, align_images="never")
    assert sources_of(associate_measurements(turned, "8arcsec", method, align_images="never")) == sources_of(expected)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("turn_deg", [90.0, 180.0, 343.3])
def test_rotation_of_elliptical_errors_about_the_pole(method: str, turn_deg: float) -> None:
    """East and north, along which the errors are given, turn with the sky in this rotation only."""
    tables = [
        each.assign(
            uncertainty_ew_arcsec=each["uncertainty_ew_arcsec"] * 1.6,
            uncertainty_ns_arcsec=each["uncertainty_ns_arcsec"] * 0.7,
        )
        for each in _sky(5)
    ]
    turned = [each.assign(ra_deg=(each["ra_deg"] + turn_deg) % 360.0) for each in tables]
    expected, got = (associate_measurements(each, "8arcsec", method) for each in (tables, turned))
    assert sources_of(got) == sources_of(expected)


@pytest.mark.parametrize(("ra", "dec"), [(90.0, 10.0), (180.0, -45.0), (77.0, 60.0), (77.0, 90.0), (359.99, -89.7)])
def test_rotation_with_alignment(ra: float, dec: float) -> None:
    """Few pairs hang on an image's shift, which is measured in planes that turn with the sky to a small part of it."""
    tables = _sky(5)
    turned = rotated(tables, turn_to(*CENTRE, ra, dec, roll_deg=33.0))
    expected, got = (associate_measurements(each) for each in (tables, turned))
    assert got.alignment["applied"].any()
    assert list(got.alignment["applied"]) == list(expected.alignment["applied"])
    before, after = sources_of(expected), sources_of(got)
    assert ((before - after) + (after - before)).total() <= 0.02 * before.total()


@pytest.mark.parametrize(("ra", "dec"), [(0.0, 16.0), (90.0, 0.0), (10.0, 89.9), (0.0, 90.0), (0.0, -90.0)])
def test_alignment_works_at_the_poles(ra: float, dec: float) -> None:
    """An image that is off is a sky that is turned a little: the shift is not the same in RA and Dec near a pole."""
    tables = simulate_detections(
        400, 3, seed=1, double_fraction=0.0, blend_fraction=0.0, systematic_arcsec=0.3, shift_sigma_arcsec=3.0,
        transient_fraction=0.0, completeness=0.95, min_separation_arcsec=12.0,
    )  # fmt: skip
    result = associate_measurements(rotated(tables, turn_to(*CENTRE, ra, dec, 20.0)))
    truth = {i: s for t in tables for i, s in zip(t["measurement_id"], t["true_source"], strict=True)}
    named = result.associations.assign(true_source=result.associations["measurement_id"].map(truth))
    assert named.groupby("source_id")["true_source"].nunique().max() == 1
    assert len(result.sources) == named["true_source"].nunique()
    assert len(result.alignment) == 3
    assert result.alignment.loc[result.alignment["epoch"] != "epoch0000", "applied"].all()


@pytest.mark.parametrize("method", METHODS)
def test_order_of_rows_and_repetition_change_nothing(method: str) -> None:
    tables = _sky(9)
    rng = np.random.default_rng(0)
    first = associate_measurements(tables, "8arcsec", method)
    again = associate_measurements([t.iloc[rng.permutation(len(t))] for t in tables], "8arcsec", method)
    assert first.state.to_table().equals(again.state.to_table())
    for name in ("associations", "sources", "relations", "forks", "alignment"):
        assert getattr(first, name).equals(getattr(again, name)), name


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("ra", "dec"), [(0.0, 16.0), (180.0, 0.0), (40.0, 90.0), (0.0, -89.5)])
def test_far_sources_play_no_part(method: str, ra: float, dec: float) -> None:
    """A small epoch on top of a whole sky: what is near is as without the rest, and the rest stays as it was."""
    tables = rotated(_sky(2), turn_to(*CENTRE, ra, dec))
    rng = np.random.default_rng(1)
    far_ra, far_dec = rng.uniform(0, 360, 3000), np.degrees(np.arcsin(rng.uniform(-1, 1, 3000)))
    off = separation_arcsec(far_ra, far_dec, ra, dec) > 3 * 3600
    far = table(far_ra[off], far_dec[off], epoch="far")
    parameters = Association(method=method)
    alone = associate_measurements(tables, method=method, parameters=parameters)
    whole = associate_measurements([far, *tables], method=method, parameters=parameters)
    rows = whole.associations[whole.associations["epoch"] != "far"].reset_index(drop=True)
    assert rows.equals(alone.associations)
    sources = whole.sources.set_index("source_id")
    assert sources.loc[alone.sources["source_id"]].reset_index().equals(alone.sources)
    rest = sources.drop(index=alone.sources["source_id"])
    assert (rest["n_measurements"] == 1).all()
    assert len(rest) == len(far)
