"""Detections to measurements: vast-pipeline's numbers, the fallbacks for missing errors, and the real survey."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.coordinates import SkyCoord
from astropy_healpix import HEALPix

from contimg_assets.config import Config, Measurements
from contimg_assets.errors import InputError
from contimg_assets.ingest.checks import measurements_add_up, rows_add_up
from contimg_assets.ingest.epoch import EpochDetections, read_epoch
from contimg_assets.ingest.measurements import measure
from contimg_assets.schemas.detections import DETECTIONS, IMAGES, MEASUREMENTS
from contimg_assets.simulate.survey import simulate_survey
from contimg_assets_tests.ingest import build

VAST = Measurements(
    condon_errors="always",
    position_errors="radius",
    dedup_method="vast",
    systematic_ew_arcsec=1.0,
    systematic_ns_arcsec=1.0,
    # vast-pipeline does not apply its floors to Condon errors.
    min_position_err_arcsec=1e-9,
    min_flux_err_mjy=0.0,
)


@pytest.mark.shared
@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_selavy_to_measurements_as_vast(shared: Path, tmp_path: Path, number: int) -> None:
    golden = shared / "golden/association/e2e_4epochs"
    image = json.loads((golden / "images.json").read_text())[number - 1]
    folder = build.epoch_folder(
        tmp_path,
        (golden / f"selavy/epoch{number:02d}.csv").read_bytes(),
        ra_deg=image["ra"],
        dec_deg=image["dec"],
        radius_deg=image["xtr_radius"],
        bmaj_arcsec=image["beam_bmaj"] * 3600,
        bmin_arcsec=image["beam_bmin"] * 3600,
        bpa_deg=image["beam_bpa"],
        rms_mjy_beam=image["rms_median"],
    )
    epoch = read_epoch(folder, "e1", Config(root=tmp_path))
    got = measure(epoch.detections, epoch.images, VAST).set_index("component_id")
    expected = pd.read_csv(golden / f"measurements/epoch{number:02d}.csv").set_index("component_id")
    got = got.loc[expected.index]
    exact = {
        "ra_deg": expected["ra"],
        "dec_deg": expected["dec"],
        "ra_err_arcsec": expected["ra_err"] * 3600,
        "dec_err_arcsec": expected["dec_err"] * 3600,
        "flux_peak_mjy_beam": expected["flux_peak"],
        "flux_peak_err_mjy_beam": expected["flux_peak_err"],
        "flux_int_mjy": expected["flux_int"],
        "flux_int_err_mjy": expected["flux_int_err"],
        "bmaj_arcsec": expected["bmaj"],
        "bmaj_err_arcsec": expected["err_bmaj"] * 3600,
        "bmin_arcsec": expected["bmin"],
        "bmin_err_arcsec": expected["err_bmin"] * 3600,
        "pa_deg": expected["pa"],
        "pa_err_deg": np.degrees(expected["err_pa"]),
        "local_rms_mjy_beam": expected["local_rms"],
        "snr": expected["snr"],
        "compactness": expected["compactness"],
        "flux_int_isl_ratio": expected["flux_int_isl_ratio"],
        "flux_peak_isl_ratio": expected["flux_peak_isl_ratio"],
        "chi_squared_fit": expected["chi_squared_fit"],
    }
    for name, values in exact.items():
        np.testing.assert_allclose(got[name], values, rtol=1e-9, err_msg=name)
    assert got["has_siblings"].tolist() == expected["has_siblings"].tolist()
    assert got["island_id"].tolist() == expected["island_id"].tolist()
    # The golden error radius comes from an arccos, whose steps are up to 0.004 arcsec wide at these separations.
    np.testing.assert_allclose(got["error_radius_arcsec"], expected["error_radius"] * 3600, atol=0.004)
    np.testing.assert_allclose(got["uncertainty_ew_arcsec"], expected["uncertainty_ew"] * 3600, atol=1e-4)
    np.testing.assert_allclose(got["uncertainty_ns_arcsec"], expected["uncertainty_ns"] * 3600, atol=1e-4)
    np.testing.assert_allclose(got["weight_ew_per_arcsec2"], expected["weight_ew"] / 3600**2, rtol=1e-4)


def read(root: Path, table: pd.DataFrame, **manifest: object) -> EpochDetections:
    return read_epoch(build.epoch_folder(root, build.csv(table), **manifest), "e1", Config(root=root))


def measured(
    root: Path, table: pd.DataFrame, parameters: Measurements | None = None, **manifest: object
) -> pd.DataFrame:
    epoch = read(root, table, **manifest)
    result = measure(epoch.detections, epoch.images, parameters or Measurements())
    MEASUREMENTS.to_arrow(result)
    assert measurements_add_up(epoch.detections, result) == []
    return result.sort_values("line", ignore_index=True)


def test_delivered_errors_stay_and_systematics_are_added(tmp_path: Path) -> None:
    truth = build.sky(30)
    parameters = Measurements(systematic_ew_arcsec=0.4, systematic_ns_arcsec=0.2, flux_fractional_err=0.1)
    got = measured(tmp_path, truth, parameters)
    np.testing.assert_allclose(got["ra_err_arcsec"], truth["ra_err_arcsec"])
    np.testing.assert_allclose(got["uncertainty_ew_arcsec"], np.hypot(0.4, truth["ra_err_arcsec"]))
    np.testing.assert_allclose(got["uncertainty_ns_arcsec"], np.hypot(0.2, truth["dec_err_arcsec"]))
    np.testing.assert_allclose(got["weight_ns_per_arcsec2"] * got["uncertainty_ns_arcsec"] ** 2, 1.0)
    np.testing.assert_allclose(
        got["error_radius_arcsec"], np.hypot(truth["ra_err_arcsec"], truth["dec_err_arcsec"]), err_msg="on the sky"
    )
    np.testing.assert_allclose(
        got["flux_int_err_mjy"], np.hypot(truth["flux_int_err_mjy"], 0.1 * truth["flux_int_mjy"])
    )
    pairs = truth.groupby("island_id")["flux_int_mjy"].transform("sum")
    np.testing.assert_allclose(got["flux_int_isl_ratio"], truth["flux_int_mjy"] / pairs)
    assert got["has_siblings"].all()


def test_islands_are_those_of_one_image(tmp_path: Path) -> None:
    """The same island name in another image is another island; components without an island are alone."""
    first, second = build.sky(6, seed=1), build.sky(6, seed=2)
    first.loc[4:, "island_id"] = None
    folder = build.epoch_folder(tmp_path, build.csv(first))
    (folder / "b.csv").write_bytes(build.csv(second))
    epoch = read_epoch(
        build.write_manifest(folder, [{}, {"image": "b", "catalogue": "b.csv"}]), "e1", Config(root=folder)
    )
    got = measure(epoch.detections, epoch.images, Measurements())
    for image, truth in (("field_a", first), ("b", second)):
        rows = got[got["image"] == image].sort_values("line")
        island = truth["island_id"].fillna(truth["component_id"])
        for ratio, flux in (("flux_int_isl_ratio", "flux_int_mjy"), ("flux_peak_isl_ratio", "flux_peak_mjy_beam")):
            np.testing.assert_allclose(rows[ratio], truth[flux] / truth.groupby(island)[flux].transform("sum"))
        assert rows["has_siblings"].tolist() == truth["island_id"].notna().tolist()


def test_what_comes_from_the_image_is_of_the_right_image(tmp_path: Path) -> None:
    folder = build.epoch_folder(tmp_path, build.csv(build.sky(5, seed=1, ra_deg=0.0)))
    (folder / "b.csv").write_bytes(build.csv(build.sky(5, seed=2, ra_deg=0.5)))
    other = {"image": "b", "catalogue": "b.csv", "ra_deg": 0.5, "dec_deg": -29.5, "mjd_mid": 60001.0}
    epoch = read_epoch(build.write_manifest(folder, [{"ra_deg": 0.0}, other]), "e1", Config(root=folder))
    got = measure(epoch.detections, epoch.images, Measurements())
    assert (got["ra_deg"] > 359).any()
    of_b = got["image"] == "b"
    assert of_b.sum() == 5
    assert got["mjd"].eq(np.where(of_b, 60001.0, 60000.5)).all()
    centre = SkyCoord(np.where(of_b, 0.5, 0.0), np.where(of_b, -29.5, -30.0), unit="deg")
    position = SkyCoord(got["ra_deg"].to_numpy(), got["dec_deg"].to_numpy(), unit="deg")
    np.testing.assert_allclose(got["dist_from_centre_deg"], position.separation(centre).deg, rtol=1e-9)
    cells = HEALPix(nside=1024, order="nested", frame="icrs").skycoord_to_healpix(position)
    assert got["healpix"].tolist() == cells.tolist()


def test_floors(tmp_path: Path) -> None:
    truth = build.sky(5).assign(ra_err_arcsec=1e-5, flux_peak_err_mjy_beam=1e-6)
    got = measured(tmp_path, truth, Measurements(min_position_err_arcsec=0.05, min_flux_err_mjy=0.01))
    assert got["ra_err_arcsec"].eq(0.05).all()
    assert got["flux_peak_err_mjy_beam"].eq(0.01).all()


@pytest.mark.parametrize("zero", [False, True])
def test_condon_fills_what_is_missing_and_only_that(tmp_path: Path, zero: bool) -> None:
    truth = build.sky(6)
    errors = [name for name in truth if "_err" in name]
    full = measured(tmp_path, truth, Measurements(condon_errors="always"))
    assert not np.allclose(full["ra_err_arcsec"], truth["ra_err_arcsec"])
    without = truth.copy()
    without.loc[2, errors] = 0.0 if zero else np.nan
    got = measured(tmp_path, without, Measurements(condon_errors="missing"))
    for name in errors:
        np.testing.assert_allclose(got.loc[2, name], full.loc[2, name], err_msg=name)
        np.testing.assert_allclose(got[name].drop(index=2), truth[name].drop(index=2), err_msg=name)
    never = measured(tmp_path, without, Measurements(condon_errors="never"))
    snr = truth.loc[2, "flux_peak_mjy_beam"] / truth.loc[2, "local_rms_mjy_beam"]
    assert 10 / 2 / snr <= never.loc[2, "ra_err_arcsec"] <= 15 / 2 / snr
    assert np.isnan(never.loc[2, "bmaj_err_arcsec"])


def test_without_errors_and_axes_the_beam_decides(tmp_path: Path) -> None:
    """Beam of 15 by 10 arcsec, its major axis 90 degrees east of north: the eastern error is the larger one."""
    table = build.sky(4)[["component_id", "ra_deg", "dec_deg", "flux_int_mjy"]].assign(snr=[10.0, 50.0, 0.5, np.nan])
    got = measured(tmp_path, table, bpa_deg=90.0)
    fallback = table.loc[3, "flux_int_mjy"] / 0.25
    snr = np.array([10.0, 50.0, 1.0, fallback])
    np.testing.assert_allclose(got["ra_err_arcsec"], np.maximum(15 / 2 / snr, 0.01))
    np.testing.assert_allclose(got["dec_err_arcsec"], np.maximum(10 / 2 / snr, 0.01))
    flux_err = table["flux_int_mjy"] / table["snr"]
    np.testing.assert_allclose(got["flux_int_err_mjy"], flux_err.fillna(0.25), err_msg="flux/snr, else the image's rms")
    assert got["flux_peak_err_mjy_beam"].isna().all()


def test_every_position_error_is_finite_and_positive(tmp_path: Path) -> None:
    table = build.sky(40)
    rng = np.random.default_rng(2)
    for name in table.columns[4:]:
        table.loc[rng.random(40) < 0.5, name] = np.nan
    table["flux_int_mjy"] = table["flux_int_mjy"].fillna(1.0)
    for method in ("missing", "always", "never"):
        got = measured(tmp_path, table, Measurements(condon_errors=method))
        for name in ("uncertainty_ew_arcsec", "uncertainty_ns_arcsec", "error_radius_arcsec"):
            assert np.isfinite(got[name]).all()
            assert (got[name] > 0).all()


def test_the_position_of_a_forced_measurement_has_the_floor(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"source_name": ["a", "b"], "ra_deg": [10.0, 10.1], "dec_deg": [-30.0, -30.1]}
        | {"measured_flux_jy": [0.5, -0.002], "flux_err_jy": [0.01, 0.005], "snr": [50.0, -0.4]}
    )
    got = measured(tmp_path, table)
    assert got["forced"].all()
    assert got["ra_err_arcsec"].eq(0.01).all()
    np.testing.assert_allclose(got["flux_int_mjy"], [500.0, -2.0])
    np.testing.assert_allclose(got["flux_int_err_mjy"], [10.0, 5.0])


def test_row_order_does_not_matter(tmp_path: Path) -> None:
    epoch = read(tmp_path, build.sky(30))
    straight = measure(epoch.detections, epoch.images, Measurements())
    shuffled = measure(epoch.detections.sample(frac=1, random_state=4), epoch.images, Measurements())
    pd.testing.assert_frame_equal(straight, shuffled)


def test_an_empty_epoch() -> None:
    result = measure(DETECTIONS.empty(), IMAGES.empty(), Measurements())
    assert MEASUREMENTS.to_arrow(result).num_rows == 0


def test_a_strange_image_is_named(tmp_path: Path) -> None:
    epoch = read(tmp_path, build.sky(3))
    with pytest.raises(InputError, match="field_a"):
        measure(epoch.detections, epoch.images.assign(image="other"), Measurements())


# --- the real survey


@pytest.fixture(scope="module")
def survey(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, EpochDetections]:
    out = tmp_path_factory.mktemp("vast")
    tool = shared / "tools/make_incoming.py"
    subprocess.run([sys.executable, str(tool), str(shared / "data/vast_galplane_north"), str(out)], check=True)
    return {folder.name: read_epoch(folder, folder.name, Config(root=out)) for folder in sorted(out.iterdir())}


@pytest.mark.shared
def test_all_real_rows_are_accounted_for(survey: dict[str, EpochDetections]) -> None:
    assert len(survey) == 6
    assert sum(len(epoch.images) for epoch in survey.values()) == 68
    assert sum(len(epoch.detections) + len(epoch.rejected) for epoch in survey.values()) == 69173
    assert sum(len(epoch.rejected) for epoch in survey.values()) == 0
    for epoch in survey.values():
        measurements = measure(epoch.detections, epoch.images, Measurements())
        MEASUREMENTS.to_arrow(measurements)
        assert rows_add_up(epoch.images, epoch.detections, epoch.rejected) == []
        assert measurements_add_up(epoch.detections, measurements) == []
        assert (measurements["uncertainty_ew_arcsec"] >= 0.3).all()


@pytest.mark.shared
def test_the_default_rule_beats_vast_on_real_overlaps(
    shared: Path, survey: dict[str, EpochDetections], capsys: pytest.CaptureFixture[str]
) -> None:
    """Truth: two components of different images of an epoch that the survey matched to the same reference source.

    Completeness: share of these true pairs that end as one measurement. Purity: share of the kept measurements, of
    sources seen in several images, that are the only one of their source. Wrong: removed rows whose kept one shares no
    label.
    """
    labels = pd.read_parquet(shared / "data/vast_galplane_north/xmatch.parquet")
    labels["image"] = labels["field"] + "_SB" + labels["sbid"].astype(str)
    score = {rule: np.zeros(6) for rule in ("vast", "default")}
    for name, epoch in survey.items():
        mine = labels[labels["epoch"] == int(name.removeprefix("epoch"))][["image", "component_id", "cat", "ref_id"]]
        mine = mine.merge(epoch.detections[["image", "component_id", "measurement_id"]])
        pairs = mine.merge(mine, on=["cat", "ref_id"])
        pairs = pairs[(pairs["image_x"] != pairs["image_y"])][["measurement_id_x", "measurement_id_y"]]
        pairs = pairs.drop_duplicates().to_numpy()
        truth = set(map(tuple, pairs))
        for rule in score:
            result = measure(epoch.detections, epoch.images, Measurements(dedup_method=rule))
            stays = result["duplicate_of"].fillna(result["measurement_id"]).set_axis(result["measurement_id"])
            joined = stays.loc[pairs[:, 0]].to_numpy() == stays.loc[pairs[:, 1]].to_numpy()
            kept = stays.loc[pairs[:, 0]].to_numpy() == pairs[:, 0]
            single = pd.Series(joined).groupby(pairs[:, 0]).all()
            single = single[pd.Series(kept).groupby(pairs[:, 0]).all()]
            gone = result[result["duplicate_of"].notna()]
            right = sum(pair in truth for pair in zip(gone["measurement_id"], gone["duplicate_of"], strict=True))
            score[rule] += [joined.sum(), len(joined), single.sum(), len(single), right, len(gone)]
    lines = [
        f"{rule:8s} completeness {s[0] / s[1]:.5f} of {s[1] / 2:.0f} true pairs, purity of what is kept "
        f"{s[2] / s[3]:.5f}, removed rightly {s[4]:.0f} of {s[5]:.0f}"
        for rule, s in score.items()
    ]
    with capsys.disabled():
        print("\n" + "\n".join(lines))
    vast, default = score["vast"], score["default"]
    assert default[0] / default[1] > max(0.999, vast[0] / vast[1])
    assert default[2] / default[3] > max(0.998, vast[2] / vast[3])
    assert default[4] / default[5] >= vast[4] / vast[5]


def test_on_a_simulated_sky_with_blends_no_source_is_lost(tmp_path: Path) -> None:
    """Truth is known here, doubles and blends included: whatever is removed is of the source that stays for it."""
    truth = simulate_survey(tmp_path).measurements.set_index("measurement_id")["true_source"]
    extra = {"vast": 0, "default": 0}
    for folder in sorted((tmp_path / "incoming").iterdir())[:3]:
        epoch = read_epoch(folder, folder.name, Config(root=tmp_path))
        assert rows_add_up(epoch.images, epoch.detections, epoch.rejected) == []
        for rule in extra:
            table = measure(epoch.detections, epoch.images, Measurements(dedup_method=rule))
            assert measurements_add_up(epoch.detections, table) == []
            source = truth.reindex(table["measurement_id"]).fillna("none").set_axis(table.index)
            gone = table["duplicate_of"].notna()
            kept = source[~gone & (source != "none")]
            extra[rule] += len(kept) - kept.nunique()
            if rule == "default":
                assert set(source) - {"none"} == set(kept)
                stands_for = truth.reindex(table.loc[gone, "duplicate_of"]).to_numpy()
                assert (source[gone].to_numpy() == stands_for).mean() > 0.99
    assert extra["default"] <= 0.1 * extra["vast"]


def test_what_a_coarse_beam_blends_is_flagged_and_keeps_both_components(tmp_path: Path) -> None:
    """A finer image shows two where a coarser one of the same band shows one between them."""
    fine = build.sky(20).sort_values("dec_deg", ignore_index=True)
    fine = fine.drop(columns="island_id").assign(dec_deg=-30.5 + 0.05 * np.arange(20))
    fine.loc[1, ["ra_deg", "dec_deg"]] = fine.loc[0, "ra_deg"], fine.loc[0, "dec_deg"] + 20.0 / 3600
    coarse = fine.drop(index=1).assign(bmaj_arcsec=60.0, bmin_arcsec=60.0)
    coarse.loc[0, "dec_deg"] += 10.0 / 3600
    folder = build.epoch_folder(tmp_path, build.csv(fine))
    (folder / "b.csv").write_bytes(build.csv(coarse))
    rows = [{}, {"image": "coarse", "catalogue": "b.csv", "bmaj_arcsec": 60.0, "bmin_arcsec": 60.0}]
    epoch = read_epoch(build.write_manifest(folder, rows), "e1", Config(root=tmp_path))
    table = measure(epoch.detections, epoch.images, Measurements())
    of_coarse = table["image"] == "coarse"
    blend = of_coarse & (table["component_id"] == coarse.loc[0, "component_id"])
    assert table.loc[~of_coarse, "duplicate_of"].isna().all()
    assert table.loc[blend, "has_siblings"].tolist() == [True]
    assert not table.loc[~blend, "has_siblings"].any()
    # In another band they are not compared.
    images = epoch.images.assign(
        freq_mhz=[1400.0, 887.5] if epoch.images["image"].iloc[0] == "coarse" else [887.5, 1400.0]
    )
    assert not measure(epoch.detections, images, Measurements())["has_siblings"].any()
