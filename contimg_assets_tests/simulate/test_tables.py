"""Measurement tables with true labels: reproducible, honest about their errors, the same anywhere on the sky."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contimg_assets.simulate import simulate_detections
from contimg_assets.sky.sphere import offsets_arcsec, separation_arcsec

PLACES = [(0.0, 16.0), (359.99, -60.0), (180.0, 90.0), (77.0, -90.0)]


def _alone(tables: list[pd.DataFrame]) -> pd.DataFrame:
    table = pd.concat(tables)
    return table[table["second_source"].isna()]


def test_same_seed_same_tables_other_seed_other_tables() -> None:
    first, again, other = (simulate_detections(500, 4, seed=seed) for seed in (3, 3, 4))
    for a, b in zip(first, again, strict=True):
        pd.testing.assert_frame_equal(a, b)
    assert not first[0]["ra_deg"].equals(other[0]["ra_deg"])


def test_ids_are_unique_and_fixed_width() -> None:
    ids = pd.concat(simulate_detections(2000, 5))["measurement_id"]
    assert ids.is_unique
    assert set(ids.str.len()) == {16}


@pytest.mark.parametrize("place", PLACES)
def test_positions_scatter_as_their_errors_say(place: tuple[float, float]) -> None:
    """Of two epochs of one source, the offset over the error of the difference has unit variance in both axes."""
    first, second = simulate_detections(
        20_000, 2, seed=5, centre_ra_deg=place[0], centre_dec_deg=place[1], completeness=1.0, transient_fraction=0.0
    )
    pairs = _alone([first]).merge(_alone([second]), on="true_source", suffixes=("", "_2"))
    assert len(pairs) > 19_000
    dra, ddec = offsets_arcsec(pairs["ra_deg"], pairs["dec_deg"], pairs["ra_deg_2"], pairs["dec_deg_2"])
    for offset, axis in ((dra, "ew"), (ddec, "ns")):
        pull = offset / np.hypot(pairs[f"uncertainty_{axis}_arcsec"], pairs[f"uncertainty_{axis}_arcsec_2"])
        assert abs(np.mean(pull)) < 4 / np.sqrt(len(pairs))
        assert np.var(pull) == pytest.approx(1.0, abs=4 * np.sqrt(2 / len(pairs)))
    assert (pairs["ra_deg"].between(0, 360, inclusive="left")).all()
    assert pairs["uncertainty_ew_arcsec"].between(1.0, 2.0).all()


def test_the_circle_has_the_density_asked_for_across_ra_zero() -> None:
    (table,) = simulate_detections(20_000, 1, density_per_deg2=400.0, completeness=1.0, transient_fraction=0.0)
    radius = separation_arcsec(0.0, 16.0, table["ra_deg"], table["dec_deg"]).max() / 3600
    assert np.pi * radius**2 == pytest.approx(20_000 / 400.0, rel=0.02)
    assert (table["ra_deg"] > 350).mean() == pytest.approx(0.5, abs=0.02)


def test_doubles_lie_where_asked_and_others_keep_their_distance() -> None:
    (table,) = simulate_detections(
        10_000,
        1,
        systematic_arcsec=0.0,
        beam_arcsec=1e-6,
        double_fraction=0.1,
        blend_fraction=0.0,
        completeness=1.0,
        transient_fraction=0.0,
    )
    table = table.sort_values("true_source", ignore_index=True)
    assert len(table) == 10_000
    first, second = table.iloc[:500], table.iloc[9500:]
    apart = separation_arcsec(first["ra_deg"], first["dec_deg"], second["ra_deg"], second["dec_deg"])
    assert apart.min() >= 4.0 - 1e-6
    assert apart.max() <= 9.0 + 1e-6


def test_blends_are_sometimes_one_row_between_both() -> None:
    tables = simulate_detections(
        2000, 20, blend_fraction=0.2, blend_probability=0.5, completeness=1.0, systematic_arcsec=0.0, beam_arcsec=1e-6
    )
    rows = pd.concat(tables)
    blends = rows[rows["second_source"].notna()]
    assert len(blends) / (200 * 20) == pytest.approx(0.5, abs=0.05)
    places = rows[rows["second_source"].isna()].drop_duplicates("true_source").set_index("true_source")
    pair = blends.iloc[0]
    a, b = places.loc[pair["true_source"]], places.loc[pair["second_source"]]
    whole = separation_arcsec(a["ra_deg"], a["dec_deg"], b["ra_deg"], b["dec_deg"])
    to_a = separation_arcsec(a["ra_deg"], a["dec_deg"], pair["ra_deg"], pair["dec_deg"])
    to_b = separation_arcsec(b["ra_deg"], b["dec_deg"], pair["ra_deg"], pair["dec_deg"])
    assert to_a + to_b == pytest.approx(whole, abs=1e-5)
    assert to_a < to_b, "the brighter one, which the row is named after, is nearer to the centroid"


def test_shifts_are_those_of_the_images() -> None:
    table = simulate_detections(5000, 1, images_per_epoch=4, shift_sigma_arcsec=3.0, seed=2, completeness=1.0)[0]
    steady = simulate_detections(5000, 1, images_per_epoch=4, shift_sigma_arcsec=0.0, seed=2, completeness=1.0)[0]
    both = steady.merge(table, on="measurement_id", suffixes=("", "_s"))
    assert len(both) == len(table)
    dra, ddec = offsets_arcsec(both["ra_deg"], both["dec_deg"], both["ra_deg_s"], both["dec_deg_s"])
    # East at the edge of a wedge is not quite east at its middle.
    np.testing.assert_allclose(dra, both["shift_ra_arcsec_s"], atol=0.1)
    np.testing.assert_allclose(ddec, both["shift_dec_arcsec_s"], atol=0.1)
    assert both.groupby("image")["shift_ra_arcsec_s"].nunique().eq(1).all()
    assert both["image"].nunique() == 4


def test_transients_come_in_one_run_of_epochs() -> None:
    tables = simulate_detections(1000, 12, transient_fraction=0.3, completeness=1.0, blend_fraction=0.0)
    rows = pd.concat([table.assign(k=k) for k, table in enumerate(tables)])
    span = rows.groupby("true_source")["k"].agg(["min", "max", "size"])
    assert (span["max"] - span["min"] + 1 == span["size"]).all()
    assert (span["size"] <= 3).sum() == pytest.approx(300, abs=60)


@settings(max_examples=25, deadline=None)
@given(ra=st.floats(0, 360, exclude_max=True), dec=st.floats(-90, 90), seed=st.integers(0, 10**6))
def test_the_same_sky_wherever_it_lies(ra: float, dec: float, seed: int) -> None:
    """Distances of the rows from the center and from each other do not know where on the sphere they are."""
    here, there = (
        simulate_detections(50, 1, seed=seed, centre_ra_deg=a, centre_dec_deg=d)[0].sort_values("measurement_id")
        for a, d in ((0.0, 0.0), (ra, dec))
    )
    assert (here["measurement_id"].to_numpy() == there["measurement_id"].to_numpy()).all()
    from_centre = [
        separation_arcsec(a, d, table["ra_deg"], table["dec_deg"])
        for a, d, table in ((0.0, 0.0, here), (ra, dec, there))
    ]
    # Noise is drawn along east and north of each place, which a rotation turns near a pole; it has a few arcsec.
    np.testing.assert_allclose(*from_centre, atol=30.0)
    assert there["ra_deg"].between(0, 360, inclusive="left").all()


@pytest.mark.parametrize(("n_sources", "n_epochs"), [(0, 3), (1, 2), (5, 0)])
def test_nothing_and_next_to_nothing(n_sources: int, n_epochs: int) -> None:
    tables = simulate_detections(n_sources, n_epochs, completeness=1.0, transient_fraction=0.0)
    assert len(tables) == n_epochs
    assert all(len(table) == n_sources for table in tables)


def test_impossible_skies_are_refused() -> None:
    with pytest.raises(ValueError, match="more than the sky holds"):
        simulate_detections(1000, 1, density_per_deg2=0.01)
    with pytest.raises(ValueError, match="too crowded"):
        simulate_detections(500, 1, density_per_deg2=500_000.0)
    with pytest.raises(ValueError, match="between 0 and 1"):
        simulate_detections(10, 1, double_fraction=0.9, blend_fraction=0.2)
