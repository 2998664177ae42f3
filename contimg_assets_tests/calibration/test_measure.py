"""The stage: one row an image, refusals with reasons, selection, catalogs, and the round trip."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from contimg_assets.calibration import (
    ImageFits,
    apply_corrections,
    filter_counts,
    measure,
    measure_corrections,
    selection_of,
    with_epoch_scales,
)
from contimg_assets.calibration.flux_scale import FluxScale
from contimg_assets.catalogs.store import ReferenceCatalog
from contimg_assets.config import Corrections, Matching
from contimg_assets.crossmatch.matches import match_catalogs
from contimg_assets.errors import InputError
from contimg_assets.figures.corrections import plot_corrections, worth_a_look
from contimg_assets.schemas.corrections import CORRECTED_MEASUREMENTS, CORRECTIONS
from contimg_assets.schemas.detections import IMAGES, MEASUREMENTS
from contimg_assets.schemas.matches import CATALOG_MATCHES
from contimg_assets.sky import sphere
from contimg_assets.sky.arrays import Indices
from contimg_assets_tests.calibration.skies import epoch, unmatched

Tables = tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]


def _rematched(corrected: pd.DataFrame, measurements: pd.DataFrame, matches: pd.DataFrame) -> tuple:
    """Measurements at their corrected positions and fluxes, and their matches."""
    moved = measurements.assign(
        ra_deg=corrected["ra_corr_deg"],
        dec_deg=corrected["dec_corr_deg"],
        flux_int_mjy=corrected["flux_int_corr_mjy"],
        flux_int_err_mjy=corrected["flux_int_err_corr_mjy"],
        flux_peak_mjy_beam=corrected["flux_peak_corr_mjy_beam"],
        flux_peak_err_mjy_beam=corrected["flux_peak_err_corr_mjy_beam"],
    )
    cat_ra, cat_dec = sphere.displaced(
        measurements["ra_deg"], measurements["dec_deg"], matches["dra_arcsec"], matches["ddec_arcsec"]
    )
    east, north = sphere.offsets_arcsec(moved["ra_deg"], moved["dec_deg"], cat_ra, cat_dec)
    return moved, matches.assign(dra_arcsec=east, ddec_arcsec=north, separation_arcsec=np.hypot(east, north))


def test_known_errors_are_found_and_taken_out() -> None:
    measurements, matches, images = epoch(2, 300, outliers=0.05)
    table = measure_corrections(measurements, matches, images, Corrections())
    CORRECTIONS.to_arrow(table)
    assert list(table["image"]) == ["image_000", "image_001"]
    for _, row in table.iterrows():
        assert row["applied"]
        assert row["position_applied"]
        assert row["flux_applied"]
        assert row["reason"] is None
        assert row["notes"] is None
        # The image was moved by (+0.8, -0.5) arcsec and scaled by 0.93.
        assert abs(row["dra_applied_arcsec"] + 0.8) < 4 * row["dra_err_arcsec"]
        assert abs(row["ddec_applied_arcsec"] - 0.5) < 4 * row["ddec_err_arcsec"]
        assert abs(row["flux_scale"] - 0.93) < 4 * row["flux_scale_err"]
        assert row["flux_mult"] == pytest.approx(1 / row["flux_scale"])
        assert row["flux_mult_err"] / row["flux_mult"] == pytest.approx(row["flux_scale_err"] / row["flux_scale"])


@pytest.mark.slow
@pytest.mark.parametrize("intrinsic", [0.01, 0.04])
def test_errors_of_scales_from_matches_are_those_of_their_scatter(intrinsic: float) -> None:
    measurements, images, catalog = unmatched(300, 80, intrinsic=intrinsic)
    matches = match_catalogs(measurements, images, [catalog], Matching()).matches
    table = measure_corrections(measurements, matches, images, Corrections())
    assert table["applied"].mean() > 0.99
    error = np.log(table["flux_scale"] / 0.93)
    quoted = table["flux_scale_err"] / table["flux_scale"]
    # The catalogue's common error of 5 % is in none of these.
    assert np.sqrt((quoted**2).mean()) == pytest.approx(error.std(), rel=0.15)
    assert 0.92 <= (error.abs() < 1.96 * quoted).mean() <= 0.98
    assert table["flux_intrinsic_scatter"].median() == pytest.approx(intrinsic, rel=0.3)
    assert table["flux_chi2_reduced"].median() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(("separation", "kept"), [(12.0, 60), (20.0, 60), (25.0, 100)])
def test_neighbours_in_the_catalogue_count_within_the_larger_beam(separation: float, kept: int) -> None:
    # Our beam of 15 arcsec sees two sources of the sharper catalog as one.
    measurements, images, catalog = unmatched(1, 100)
    rows = catalog.table.to_pandas()
    second = rows.head(40).assign(
        catalog_source_id=lambda t: t["catalog_source_id"] + "_second",
        dec_deg=lambda t: t["dec_deg"] + separation / 3600,
    )
    sharp = ReferenceCatalog("sharp", pd.concat([rows, second]), freq_mhz=1400.0, beam_arcsec=2.5)
    matches = match_catalogs(measurements, images, [sharp], Matching()).matches
    table = measure_corrections(measurements, matches, images, Corrections(min_snr=0, compact_floor=10))
    assert table["n_flux"].tolist() == [kept]


@settings(max_examples=15, deadline=None)
@given(
    dra=st.floats(-3, 3),
    ddec=st.floats(-3, 3),
    scale=st.floats(0.7, 1.4),
    add=st.sampled_from([0.0, 1.5]),
    place=st.sampled_from([(0.0, 0.0), (359.99, 45.0), (120.0, 89.5), (200.0, -89.9), (90.0, -30.0)]),
)
def test_correcting_and_measuring_again_finds_nothing(
    dra: float, ddec: float, scale: float, add: float, place: tuple[float, float]
) -> None:
    measurements, matches, images = epoch(
        1, 80, dra=dra, ddec=ddec, scale=scale, add_mjy=add, ra=place[0], dec=place[1], intrinsic=0.01
    )
    # A fixed selection: what is near the limits may go in or out when errors are taken out.
    parameters = Corrections(min_snr=0, compact_floor=10)
    first = measure_corrections(measurements, matches, images, parameters)
    assert first["applied"].all(), first["reason"].iloc[0]
    corrected = apply_corrections(measurements, first)
    again = measure_corrections(*_rematched(corrected, measurements, matches), images, parameters).iloc[0]
    assert again["dra_arcsec"] == pytest.approx(0, abs=1e-4)
    assert again["ddec_arcsec"] == pytest.approx(0, abs=1e-4)
    assert again["flux_scale"] == pytest.approx(1, rel=0.05 * again["flux_scale_err"])
    assert again["flux_add_mjy"] == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("model", ["linear", "smooth", "auto"])
def test_models_over_the_image_are_applied(model: str) -> None:
    measurements, matches, images = epoch(1, 400, ra=0.0)
    x, y = sphere.offsets_arcsec(0.0, 16.0, measurements["ra_deg"], measurements["dec_deg"])
    # A rotation and a stretch of the image beside the shift: 0.5 arcsec over half a degree.
    turned = matches.assign(dra_arcsec=matches["dra_arcsec"] - y / 3600, ddec_arcsec=matches["ddec_arcsec"] + x / 3600)
    parameters = Corrections(position_model=model)
    first = measure_corrections(measurements, turned, images, parameters)
    assert first["position_model"].iloc[0] == ("linear" if model == "auto" else model)
    corrected = apply_corrections(measurements, first)
    _, left = _rematched(corrected, measurements, turned)
    plain = measure_corrections(measurements, turned, images, Corrections(position_model="constant"))
    constant = apply_corrections(measurements, plain)
    _, left_by_constant = _rematched(constant, measurements, turned)
    for name in ("dra_arcsec", "ddec_arcsec"):
        assert left[name].median() == pytest.approx(0, abs=0.03)
        assert left[name].std() < 0.9 * left_by_constant[name].std()


def test_every_image_has_a_row_whatever_is_missing() -> None:
    measurements, matches, images = epoch(3, 100)
    empty, few = "image_001", "image_002"
    matches = matches[
        (matches["image"] != empty) & ((matches["image"] != few) | (matches.groupby("image").cumcount() < 6))
    ]
    images = pd.concat([images, images.tail(1).assign(image="image_without_measurements")])
    table = measure_corrections(measurements, matches, images, Corrections()).set_index("image")
    CORRECTIONS.to_arrow(table.reset_index())
    assert list(table.index) == sorted(images["image"])
    assert table.loc["image_000", "applied"]
    for name, n in ((empty, 0), (few, 6), ("image_without_measurements", 0)):
        row = table.loc[name]
        assert not row["applied"]
        assert not row["position_applied"]
        assert not row["flux_applied"]
        assert f"position: {n} usable matches, at least 10 needed" in row["reason"]
        assert f"flux: {n} usable matches, at least 10 needed" in row["reason"]
        assert (row["dra_applied_arcsec"], row["ddec_applied_arcsec"], row["flux_mult"]) == (0, 0, 1)
        assert (row["flux_add_mjy"], row["flux_mult_err"]) == (0, 0)
    corrected = apply_corrections(measurements, table.reset_index())
    as_it_was = corrected[corrected["image"] == empty]
    assert not as_it_was["corrected"].any()
    for raw, name in (
        ("ra_deg", "ra_corr_deg"),
        ("dec_deg", "dec_corr_deg"),
        ("flux_int_mjy", "flux_int_corr_mjy"),
        ("uncertainty_ew_arcsec", "uncertainty_ew_corr_arcsec"),
    ):
        np.testing.assert_array_equal(as_it_was[name], as_it_was[raw])
    assert (as_it_was["flux_scale_err"] == 0).all()


def test_an_empty_epoch() -> None:
    measurements, matches, images = epoch(1, 10)
    table = measure_corrections(measurements.head(0), matches.head(0), images, Corrections())
    assert list(table["reason"]) == [
        "position: 0 usable matches, at least 10 needed; flux: 0 usable matches, at least 10 needed"
    ]
    assert len(apply_corrections(measurements.head(0), table)) == 0
    nothing = measure_corrections(measurements.head(0), matches.head(0), images.head(0), Corrections())
    assert CORRECTIONS.to_arrow(nothing).num_rows == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dra": 8.0, "ddec": 6.0}, ", is larger than 5 arcsec"),
        ({"scale": 3.0}, "flux: the scale, 3.0"),
        ({"scale": 0.4}, "flux: the scale, 0.4"),
        ({"outliers": 0.5}, "of the matches are outliers, at most 40% allowed"),
    ],
)
def test_what_is_not_believable_is_refused(change: dict[str, float], words: str) -> None:
    row = measure_corrections(*epoch(1, 150, **change), Corrections()).iloc[0]  # type: ignore[arg-type]
    assert not row["applied"]
    assert words in row["reason"]
    # One of the two may be fine and is applied all the same.
    assert row["position_applied"] == ("arcsec" not in words)
    assert row["flux_applied"] == ("arcsec" in words)


def test_unsteady_scales_are_refused() -> None:
    measurements, matches, images = epoch(1, 60)
    bright = measurements["measurement_id"].iloc[0]
    for table, ours in ((measurements, "flux_int_mjy"), (measurements, "flux_peak_mjy_beam")):
        table.loc[table["measurement_id"] == bright, ours] = 60_000.0
    matches.loc[matches["measurement_id"] == bright, ["catalog_flux_mjy", "expected_flux_mjy"]] = 45_000.0
    row = measure_corrections(measurements, matches, images, Corrections(flux_method="huber")).iloc[0]
    assert "leaving one match out changes the scale by" in row["reason"]
    assert row["flux_influential_id"] == bright
    assert measure_corrections(measurements, matches, images, Corrections()).iloc[0]["applied"]
    listed = measurements.loc[measurements["measurement_id"] == bright, ["ra_deg", "dec_deg"]].to_numpy()
    known = Corrections(flux_method="huber", known_variables=tuple(map(tuple, listed)))
    without = measure_corrections(measurements, matches, images, known).iloc[0]
    assert without["n_flux"] == row["n_flux"] - 1
    assert without["flux_influential_id"] != bright
    assert without["flux_scale"] == pytest.approx(0.93, abs=0.05)


def test_noisy_offsets_and_scales_are_refused() -> None:
    measurements, matches, images = epoch(1, 15)
    rng = np.random.default_rng(0)
    wild = matches.assign(dra_arcsec=rng.normal(0, 4, len(matches)))
    row = measure_corrections(measurements, wild, images, Corrections()).iloc[0]
    assert "position: standard error of" in row["reason"]
    noisy = measurements["flux_int_mjy"] * np.exp(rng.normal(0, 0.5, len(measurements)))
    row = measure_corrections(
        measurements.assign(flux_int_mjy=noisy, flux_peak_mjy_beam=noisy), matches, images, Corrections()
    ).iloc[0]
    assert "flux: standard error of" in row["reason"]


def test_the_result_depends_on_no_order_and_is_the_same_again() -> None:
    measurements, matches, images = epoch(3, 100, outliers=0.1)
    parameters = Corrections(bootstrap=20)
    first = measure_corrections(measurements, matches, images, parameters)
    shuffled = tuple(table.sample(frac=1, random_state=2) for table in (measurements, matches, images))
    pd.testing.assert_frame_equal(measure_corrections(*shuffled, parameters), first)
    one = apply_corrections(measurements, first)
    pd.testing.assert_frame_equal(apply_corrections(one, first), one)


@pytest.mark.parametrize("selection", ["default", "vast"])
def test_fits_of_images_that_show_no_other_variable_are_kept(selection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    measurements, matches, images = epoch(4, 60, outliers=0.1)
    matches = matches.assign(source_id=matches["measurement_id"])
    parameters = Corrections(selection=selection)
    names = sorted(images["image"])
    image = measurements.set_index("measurement_id")["image"].loc[matches["measurement_id"]].to_numpy()
    sources = {name: matches["source_id"].to_numpy()[image == name] for name in names}
    fits = ImageFits.of(measurements, matches, images, parameters)
    fits.corrections(sources[names[0]][:5])
    fits = pickle.loads(pickle.dumps(fits))
    fitted: list[int] = []
    fit = measure.scales_of_images

    def counted(table: pd.DataFrame, rows: Sequence[Indices], *arguments: Any) -> list[FluxScale]:
        fitted.extend(map(len, rows))
        return fit(table, rows, *arguments)

    # Two images lose or gain sources against what was fitted, and then none.
    for variables, n_fits in (([*sources[names[1]][:7]], 2), ([*sources[names[1]][:7], "never seen"], 0), ([], 0)):
        fitted.clear()
        with monkeypatch.context() as patched:
            patched.setattr(measure, "scales_of_images", counted)
            found = fits.corrections(variables)
        assert len(fitted) == n_fits
        pd.testing.assert_frame_equal(
            found, measure_corrections(measurements, matches, images, parameters, variables), check_exact=True
        )


# --- selection -------------------------------------------------------------------------------------------------------


def _counts(tables: Tables, parameters: Corrections, **more: object) -> dict[str, int]:
    row = measure_corrections(*tables, parameters, **more).iloc[0]  # type: ignore[arg-type]
    return json.loads(row["selection"])["NVSS"]


def test_each_filter_takes_what_it_should() -> None:
    measurements, matches, images = epoch(1, 100, intrinsic=0.0)
    ids = matches["measurement_id"].to_numpy()
    matches.loc[0, "rank"] = 2
    matches.loc[1, "mutual"] = False
    matches.loc[2, "probability"] = 0.5
    matches.loc[3, "blend"] = True
    matches.loc[4, "n_candidates"] = 2
    measurements.loc[5, "forced"] = True
    measurements.loc[6, "flux_peak_mjy_beam"] /= 2  # extended
    measurements.loc[7, "flux_peak_mjy_beam"] *= 2  # sharper than the beam
    measurements.loc[8, "flux_int_mjy"] = -1.0
    measurements.loc[8, "flux_peak_mjy_beam"] = np.nan
    measurements.loc[8, "snr"] = -4.0
    # A neighbor 20 arcsec from one, without a match of its own; and one as near in RA but another image.
    near = measurements.iloc[[9, 10]].assign(measurement_id=["n1", "n2"], image=["image_000", "other"])
    near["dec_deg"] += 20 / 3600
    images = pd.concat([images, images.assign(image="other")])
    tables = (pd.concat([measurements, near], ignore_index=True), matches, images)
    chosen = selection_of(*tables, Corrections())
    out_of_position = set(ids) - set(chosen.table["measurement_id"][chosen.position])
    assert out_of_position == set(ids[[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]])
    # A forced flux is a good flux; its position is the catalogue's.
    assert set(ids) - set(chosen.table["measurement_id"][chosen.flux]) == set(ids[[0, 1, 2, 3, 4, 6, 7, 8, 9]])
    assert _counts(tables, Corrections()) == {
        "candidates": 100,
        "best": 99,
        "mutual": 98,
        "probable": 97,
        "isolated": 96,
        "isolated_in_catalog": 94,
        "snr": 93,
        "compact": 91,
        "position": 90,
        "flux": 91,
    }


def test_counts_of_all_images() -> None:
    measurements, matches, images = _two_catalogs()
    matches.loc[0, "rank"] = 2
    counts = filter_counts(measure_corrections(measurements, matches, images, Corrections()))
    assert list(counts.columns) == ["FIRST", "NVSS"]
    assert list(counts.index[:3]) == ["candidates", "best", "mutual"]
    assert list(counts.loc["best"]) == [240, 239]
    assert len(filter_counts(measure_corrections(measurements, matches.head(0), images, Corrections()))) == 0


def test_snr_cut_is_symmetric() -> None:
    """Of equal sources those that we measure too bright and those that the catalog does pass alike."""
    tables = epoch(1, 900, scale=1.0, intrinsic=0.1, seed=3)
    low, high = (measure_corrections(*tables, Corrections(min_snr=limit)).iloc[0] for limit in (0, 60))
    assert 100 < high["n_flux"] < low["n_flux"] - 100
    assert abs(high["flux_scale"] - 1) < 3 * high["flux_scale_err"]
    # Without the catalogue's errors too.
    measurements, matches, images = tables
    unknown = matches.assign(catalog_flux_err_mjy=np.nan, expected_flux_err_mjy=np.nan)
    row = measure_corrections(measurements, unknown, images, Corrections(min_snr=60)).iloc[0]
    assert abs(row["flux_scale"] - 1) < 3 * row["flux_scale_err"]
    assert "no flux errors in a catalog" in row["notes"]


@pytest.mark.parametrize(("finder_snr", "min_snr"), [(0.0, 100.0), (90.0, 20.0)])
def test_sources_that_their_spectra_make_bright_draw_no_scale(finder_snr: float, min_snr: float) -> None:
    """At another frequency than the catalog's, a limit on our own flux takes flat spectra and leaves steep ones."""
    scatter = 0.25
    measurements, matches, images = epoch(1, 3000, scale=1.0, intrinsic=scatter, seed=5)
    seen = measurements[measurements["snr"] >= finder_snr].reset_index(drop=True)
    matches = matches[matches["measurement_id"].isin(seen["measurement_id"])].reset_index(drop=True)
    of_spectra = np.hypot(matches["catalog_flux_err_mjy"], scatter * matches["expected_flux_mjy"])
    parameters = Corrections(min_snr=min_snr)
    known, unknown = (
        measure_corrections(seen, table, images, parameters).iloc[0]
        for table in (matches.assign(expected_flux_err_mjy=of_spectra), matches)
    )
    assert known["n_flux"] > 500
    assert known["flux_scale"] == pytest.approx(1.0, abs=3 * known["flux_scale_err"])
    # As it is without: too high by about the slope of the counts times the variance.
    assert unknown["flux_scale"] > 1.0 + 3 * unknown["flux_scale_err"]
    assert unknown["n_position"] == known["n_position"] or min_snr > finder_snr


def test_crop_and_variables() -> None:
    measurements, matches, images = epoch(1, 100)
    measurements["dist_from_centre_deg"] = np.linspace(0, 2, 100)
    tables = (measurements, matches, images)
    assert _counts(tables, Corrections(crop_radius_deg=1.0))["crop"] == 50
    counts = _counts(tables, Corrections(), variable_sources=list(matches["source_id"].head(7)))
    assert counts["position"] - counts["flux"] == 7
    place = (float(measurements["ra_deg"].iloc[3]), float(measurements["dec_deg"].iloc[3]))
    counts = _counts(tables, Corrections(known_variables=(place,)))
    assert counts["position"] - counts["flux"] == 1


def test_without_peak_fluxes_it_says_so() -> None:
    row = measure_corrections(*epoch(1, 100, with_peak=False), Corrections()).iloc[0]
    assert row["applied"]
    assert "compactness not judged" in row["notes"]
    assert row["flux_kind"] == "integrated"
    measurements, matches, images = epoch(1, 100)
    forced = measurements.assign(flux_int_mjy=np.nan, flux_int_err_mjy=np.nan)
    row = measure_corrections(forced, matches, images, Corrections()).iloc[0]
    assert row["flux_kind"] == "peak"
    assert row["flux_applied"]
    assert abs(row["flux_scale"] - 0.93) < 4 * row["flux_scale_err"]
    bare = measurements[["measurement_id", "image", "ra_deg", "dec_deg", "flux_int_mjy", "snr"]]
    row = measure_corrections(bare, matches, images, Corrections()).iloc[0]
    assert row["applied"]
    assert abs(row["flux_scale"] - 0.93) < 4 * row["flux_scale_err"]


# --- catalogs ------------------------------------------------------------------------------------------------------


def _two_catalogs(shift: float = 0.0, ratio: float = 1.0) -> Tables:
    measurements, matches, images = epoch(2, 120)
    other = matches.assign(
        catalog="FIRST",
        dra_arcsec=matches["dra_arcsec"] + shift,
        catalog_flux_mjy=matches["catalog_flux_mjy"] / ratio,
        expected_flux_mjy=matches["expected_flux_mjy"] / ratio,
    )
    return measurements, pd.concat([matches, other], ignore_index=True), images


def test_first_trusted_catalogue_ties() -> None:
    measurements, matches, images = _two_catalogs(shift=0.2, ratio=1.05)
    order = Corrections(position_catalogs=("FIRST", "NVSS"), flux_catalogs=("NVSS", "FIRST"))
    row = measure_corrections(measurements, matches, images, order).iloc[0]
    assert (row["position_catalog"], row["flux_catalog"]) == ("FIRST", "NVSS")
    assert row["dra_arcsec"] == pytest.approx(-0.6, abs=0.1)
    few = matches[(matches["catalog"] == "NVSS") | (matches.groupby(["image", "catalog"]).cumcount() < 5)]
    row = measure_corrections(measurements, few, images, order).iloc[0]
    assert (row["position_catalog"], row["applied"]) == ("NVSS", True)
    none = measure_corrections(measurements, matches, images, Corrections(flux_catalogs=("VLASS",))).iloc[0]
    assert "flux: 0 usable matches" in none["reason"]
    assert none["flux_catalog"] is None


def test_catalogues_combined_by_weight() -> None:
    tables = _two_catalogs(shift=0.2, ratio=1.05)
    both = ("FIRST", "NVSS")
    equal = Corrections(position_catalogs=both, flux_catalogs=both, combine="weighted")
    row = measure_corrections(*tables, equal).iloc[0]
    assert row["position_catalog"] == row["flux_catalog"] == "FIRST+NVSS"
    assert row["dra_arcsec"] == pytest.approx(-0.7, abs=0.05)
    assert row["flux_scale"] == pytest.approx(0.93 * np.sqrt(1.05), rel=0.01)
    # Catalogs that disagree by far more than their errors give a larger error.
    assert row["dra_err_arcsec"] > 0.05
    heavy = equal.model_copy(update={"catalog_weights": {"NVSS": 1e6}})
    assert measure_corrections(*tables, heavy).iloc[0]["dra_arcsec"] == pytest.approx(-0.8, abs=0.05)
    CORRECTIONS.to_arrow(measure_corrections(*tables, equal))


def test_unconfigured_flux_catalogue_is_one_near_our_frequency() -> None:
    measurements, matches, images = epoch(2, 120)
    far = matches.assign(catalog="VLASS", catalog_flux_mjy=matches["catalog_flux_mjy"] * 0.6)
    near = matches[matches.groupby("image").cumcount() < 60]
    both = pd.concat([far, near], ignore_index=True)
    table = measure_corrections(measurements, both, images, Corrections())
    assert set(table["flux_catalog"]) == {"NVSS"}
    assert set(measure_corrections(measurements, far, images, Corrections())["flux_catalog"]) == {"VLASS"}


def test_additive_errors_are_not_believed_across_frequencies() -> None:
    measurements, matches, images = epoch(1, 300, add_mjy=2.0)
    far = matches.assign(catalog_flux_mjy=matches["catalog_flux_mjy"] * 0.6)
    assert measure_corrections(measurements, matches, images, Corrections()).iloc[0]["flux_add_mjy"] > 1
    row = measure_corrections(measurements, far, images, Corrections()).iloc[0]
    assert row["flux_add_mjy"] == 0
    assert "scaled by 0.51 in ln S to our frequency" in row["notes"]


def test_configuration_says_what_is_applied() -> None:
    tables = epoch(1, 100)
    row = measure_corrections(*tables, Corrections(apply_flux="none", apply_position=False)).iloc[0]
    assert row["applied"]
    assert row["reason"] is None
    assert (row["dra_applied_arcsec"], row["flux_mult"]) == (0, 1)
    assert row["flux_scale"] == pytest.approx(0.93, abs=0.02)


def test_the_scale_between_epochs_is_applied_where_it_is_trusted() -> None:
    between = Corrections(apply_flux="epochs")
    table = measure_corrections(*epoch(4, 100), between)
    assert table["applied"].all()
    assert not table["flux_applied"].any()
    assert (table["flux_mult"] == 1).all()
    scales = pd.DataFrame(
        {
            "epoch": "e",
            "image": ["image_003", "image_000", "image_001"],
            "epoch_scale": [0.95, 0.96, 3.0],
            "epoch_scale_err": [0.002, 0.2, 0.002],
            "n_sources": 50,
            "connected": 0,
        }
    )
    table.loc[3, ["applied", "position_applied", "reason"]] = False, False, "position: too few"
    got = CORRECTIONS.to_arrow(with_epoch_scales(table, scales, between)).to_pandas().set_index("image")
    assert got["flux_mult"].tolist() == [1, 1, 1, pytest.approx(1 / 0.95)]
    assert got.loc["image_003", "flux_mult_err"] == pytest.approx(0.002 / 0.95**2)
    assert got["flux_applied"].tolist() == [False, False, False, True]
    assert not got["applied"].any()
    assert "standard error of 20.8%" in got.loc["image_000", "reason"]
    assert "the scale, 3.000" in got.loc["image_001", "reason"]
    assert "no scale between epochs" in got.loc["image_002", "reason"]
    assert got.loc["image_003", "reason"] == "position: too few"
    assert (got["position_applied"] == [True, True, True, False]).all()


def test_faults_are_named() -> None:
    measurements, matches, images = epoch(1, 20)
    with pytest.raises(InputError, match="no column 'mutual'"):
        measure_corrections(measurements, matches.drop(columns="mutual"), images, Corrections())
    with pytest.raises(InputError, match="name measurement '0000000000000000'"):
        measure_corrections(measurements.tail(19), matches, images, Corrections())
    with pytest.raises(InputError, match="of image 'image_000'"):
        measure_corrections(measurements, matches, images.assign(image="another"), Corrections())
    table = measure_corrections(measurements, matches, images, Corrections())
    with pytest.raises(InputError, match="image 'image_000' has no row in the corrections"):
        apply_corrections(measurements, table.head(0))
    with pytest.raises(ValidationError, match="needs position_model 'constant'"):
        Corrections(combine="weighted", position_model="linear")


# --- applying and plotting -------------------------------------------------------------------------------------------


def test_errors_after_correction() -> None:
    measurements, matches, images = epoch(1, 100)
    table = measure_corrections(measurements, matches, images, Corrections())
    row, got = table.iloc[0], apply_corrections(measurements, table)
    np.testing.assert_allclose(got["flux_int_err_corr_mjy"], measurements["flux_int_err_mjy"] * row["flux_mult"])
    np.testing.assert_allclose(got["local_rms_corr_mjy_beam"], measurements["local_rms_mjy_beam"] * row["flux_mult"])
    np.testing.assert_allclose(
        got["uncertainty_ew_corr_arcsec"], np.hypot(measurements["uncertainty_ew_arcsec"], row["dra_err_arcsec"])
    )
    np.testing.assert_allclose(got["flux_scale_err"], row["flux_scale_err"] / row["flux_scale"])
    np.testing.assert_array_equal(got["flux_int_mjy"], measurements["flux_int_mjy"])
    assert got["corrected"].all()


@pytest.mark.parametrize("case", ["good", "refused", "nothing"])
def test_plot_of_an_image(case: str) -> None:
    measurements, matches, images = epoch(1, 100, scale=3.0 if case == "refused" else 0.93)
    if case == "nothing":
        matches = matches.head(0)
    table = measure_corrections(measurements, matches, images, Corrections())
    chosen = selection_of(measurements, matches, images, Corrections())
    ((image, picture),) = plot_corrections(chosen, table)
    assert image == "image_000"
    assert picture.startswith(b"<svg ")
    words = picture.decode()
    assert ("(ellipse: 3σ)" in words) == (case != "nothing")
    assert (f"mixture: {table['flux_scale'][0]:.3f}" in words) == (case != "nothing")
    assert ("applied: " in words) == (case != "good")


def test_figures_are_of_the_images_most_unlike_the_others() -> None:
    measurements, matches, images = epoch(12, 40)
    table = measure_corrections(measurements, matches, images, Corrections())
    table.loc[3, "flux_scale"] *= 1.5
    table.loc[7, "applied"] = False
    selected = selection_of(measurements, matches, images, Corrections())
    shown = worth_a_look(selected, table)["image"].tolist()
    assert shown[:2] == [table["image"][7], table["image"][3]]
    # Of images of which nothing is wrong two; of the others as many as there are, up to a limit.
    assert len(shown) == 3
    refused = worth_a_look(selected, table.assign(applied=False), at_most=5)["image"].tolist()
    assert len(refused) == 5
    assert refused[0] == table["image"][3]
    # Of an image without matches there is nothing to see.
    without = selection_of(measurements, matches.head(0), images, Corrections())
    assert worth_a_look(without, table).empty


def test_empty_tables_of_the_schemas() -> None:
    """As the store reads them back: an epoch without detections, or without any reference catalog."""
    images = IMAGES.empty()
    nothing = measure_corrections(MEASUREMENTS.empty(), CATALOG_MATCHES.empty(), images, Corrections())
    assert CORRECTIONS.to_arrow(nothing).num_rows == 0
    corrected = apply_corrections(MEASUREMENTS.empty(), nothing)
    assert CORRECTED_MEASUREMENTS.to_arrow(corrected).num_rows == 0
    measurements, _, images = epoch(2, 30)
    for selection in ("default", "vast"):
        table = measure_corrections(measurements, CATALOG_MATCHES.empty(), images, Corrections(selection=selection))
        assert len(CORRECTIONS.to_arrow(table)) == 2
        assert not table["applied"].any()
        assert not apply_corrections(measurements, table)["corrected"].any()
