"""The survey on disk: the truth tables say what the files hold, signs included, anywhere on the sky."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from contimg_assets.config import Config
from contimg_assets.errors import InputError
from contimg_assets.identity.ids import measurement_ids
from contimg_assets.ingest.epoch import read_epoch
from contimg_assets.simulate import ReferenceParameters, SurveyParameters, SurveyTruth, simulate_survey
from contimg_assets.simulate.finder import CATALOG_COLUMNS, blend, condon_errors, groups_within
from contimg_assets.sky.sphere import offsets_arcsec, pairs_within, separation_arcsec, unit_vectors

SMALL = {"n_epochs": 3, "images_per_epoch": 4, "n_sources": 400}


def _delivered(out: Path) -> pd.DataFrame:
    """All catalogs as a reader finds them, with epoch and image from the manifests."""
    parts = []
    for manifest in sorted((out / "incoming").glob("*/images.csv")):
        for row in pd.read_csv(manifest).itertuples():
            table = pd.read_csv(manifest.parent / str(row.catalogue))
            parts.append(table.assign(epoch=manifest.parent.name, image=row.image, mjd=row.mjd_mid))
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SurveyTruth]:
    out = tmp_path_factory.mktemp("survey")
    return out, simulate_survey(out, SurveyParameters(**SMALL))


def test_every_row_has_its_truth_and_the_truth_every_row(survey: tuple[Path, SurveyTruth]) -> None:
    out, truth = survey
    rows = _delivered(out)
    ids = np.concatenate(
        [measurement_ids(epoch, t["image"], t["component_id"]) for epoch, t in rows.groupby("epoch", sort=False)]
    )
    assert truth.measurements["measurement_id"].is_unique
    assert set(ids) == set(truth.measurements["measurement_id"])
    assert set(CATALOG_COLUMNS) < set(rows.columns)
    assert truth.sources["true_source"].is_unique
    assert set(truth.measurements["true_source"].dropna()) <= set(truth.sources["true_source"])


def test_truth_is_read_back_as_it_was(survey: tuple[Path, SurveyTruth]) -> None:
    out, truth = survey
    again = SurveyTruth.read(out / "truth")
    for name in ("sources", "measurements", "images", "light_curves", "counterparts"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(truth, name), check_dtype=False)


def test_corrected_is_measured_plus_offset_and_measured_times_scale(tmp_path: Path) -> None:
    """The brief's signs, from the files: with the true corrections the residuals are the quoted errors, without not."""
    parameters = SurveyParameters(
        **SMALL,
        offset_sigma_arcsec=8.0,
        flux_scale_sigma=0.5,
        false_per_image=0.0,
        blend_fraction=0.0,
        extended_fraction=0.0,
        faint_per_deg2=0.0,
        detection_snr=12.0,
        seed=4,
    )
    truth = simulate_survey(tmp_path, parameters)
    rows = _delivered(tmp_path).merge(truth.measurements, on=["epoch", "image", "component_id"])
    rows = rows.merge(truth.images, on=["epoch", "image"], suffixes=("", "_image"))
    rows = rows[rows["second_source"].isna()]
    assert len(rows) > 200
    dra, ddec = offsets_arcsec(rows["ra_deg"], rows["dec_deg"], rows["true_ra_deg"], rows["true_dec_deg"])
    for offset, axis in ((dra, "ra"), (ddec, "dec")):
        pull = (offset - rows[f"d{axis}_arcsec"]) / rows[f"{axis}_err_arcsec"]
        assert abs(np.mean(pull)) < 4 / np.sqrt(len(rows))
        assert np.std(pull) == pytest.approx(1.0, abs=0.12)
        assert np.std(offset / rows[f"{axis}_err_arcsec"]) > 3
    corrected = rows["flux_peak_mjy_beam"] * rows["flux_mult"]
    pull = (corrected - rows["true_flux_mjy"]) / (rows["flux_peak_err_mjy_beam"] * rows["flux_mult"])
    assert np.std(pull) == pytest.approx(1.0, abs=0.12)
    assert np.std((rows["flux_peak_mjy_beam"] - rows["true_flux_mjy"]) / rows["flux_peak_err_mjy_beam"]) > 3


@pytest.mark.parametrize(("ra", "dec"), [(0.0, 16.0), (200.0, -30.0), (40.0, 89.5), (10.0, -90.0)])
def test_any_strip_works(tmp_path: Path, ra: float, dec: float) -> None:
    parameters = SurveyParameters(**SMALL, centre_ra_deg=ra, centre_dec_deg=dec)
    truth = simulate_survey(tmp_path, parameters)
    rows = _delivered(tmp_path)
    assert rows["ra_deg"].between(0, 360, inclusive="left").all()
    assert rows["dec_deg"].between(-90, 90).all()
    true = truth.measurements.dropna(subset="true_source")
    rows = rows.merge(true, on=["epoch", "image", "component_id"])
    apart = separation_arcsec(rows["ra_deg"], rows["dec_deg"], rows["true_ra_deg"], rows["true_dec_deg"])
    assert apart.max() < 30
    inside = rows.merge(truth.images, on=["epoch", "image"], suffixes=("", "_image"))
    from_centre = separation_arcsec(
        inside["ra_deg"], inside["dec_deg"], inside["ra_deg_image"], inside["dec_deg_image"]
    )
    assert from_centre.max() < (parameters.image_radius_deg + 0.03) * 3600


def test_the_default_strip_crosses_ra_zero_with_overlaps(survey: tuple[Path, SurveyTruth]) -> None:
    out, truth = survey
    rows = _delivered(out)
    assert (rows["ra_deg"] > 350).any() and (rows["ra_deg"] < 10).any()
    repeats = truth.measurements.dropna(subset="true_source").groupby(["epoch", "true_source"])["image"].nunique()
    assert (repeats > 1).sum() > 10


def test_detections_start_at_the_threshold(survey: tuple[Path, SurveyTruth]) -> None:
    rows = _delivered(survey[0])
    snr = rows["flux_peak_mjy_beam"] / rows["local_rms_mjy_beam"]
    assert snr.min() >= 5.0 - 1e-6
    assert snr.min() < 5.2
    assert rows["local_rms_mjy_beam"].between(4.0, 14.0).all()


def test_what_is_close_is_one_detection(survey: tuple[Path, SurveyTruth]) -> None:
    _, truth = survey
    parameters = SurveyParameters(**SMALL)
    blends = truth.measurements["second_source"].notna()
    assert blends.any()
    assert truth.sources.loc[truth.sources["blend"], "companion_arcsec"].max() <= 0.7 * parameters.bmaj_arcsec
    resolved = truth.sources[(truth.sources["source_class"] == "double") & ~truth.sources["blend"]]
    assert resolved["companion_arcsec"].between(58.8, 2.5 * 58.8).all()


def test_transients_were_not_there_at_first_and_variables_vary(tmp_path: Path) -> None:
    truth = simulate_survey(tmp_path, SurveyParameters(n_epochs=12, images_per_epoch=6, n_transients=30, seed=3))
    curves = truth.light_curves.merge(truth.sources[["true_source", "source_class", "modulation_index"]])
    flux = curves.pivot_table(index="true_source", columns="mjd", values="flux_mjy")
    kind = truth.sources.set_index("true_source").loc[flux.index, "source_class"]
    transients = flux[kind == "transient"].to_numpy()
    assert (transients[:, 0] == 0).all()
    assert ((transients > 0).sum(axis=1) >= 1).all()
    assert ((transients > 0).sum(axis=1) <= 3).all()
    steady = flux[kind.isin(["constant", "double"])].to_numpy()
    assert np.ptp(steady, axis=1).max() == 0
    variable = flux[kind == "variable"]
    spread = variable.std(axis=1) / variable.mean(axis=1)
    wanted = truth.sources.set_index("true_source").loc[variable.index, "modulation_index"]
    assert np.median(spread / wanted) == pytest.approx(0.95, abs=0.25)
    assert variable.to_numpy().min() > 0
    seen = set(truth.measurements["true_source"])
    assert len(seen & set(kind.index[kind == "transient"])) >= 28


def test_light_curves_are_what_the_measurements_show(survey: tuple[Path, SurveyTruth]) -> None:
    _, truth = survey
    rows = truth.measurements[truth.measurements["second_source"].isna()].dropna(subset="true_source")
    both = rows.merge(truth.light_curves, on=["true_source", "epoch"])
    assert len(both) == len(rows)
    # A companion below a tenth is not called a blend, but its light is there.
    assert (both["true_flux_mjy"] >= both["flux_mjy"] * (1 - 1e-9)).all()
    assert (both["true_flux_mjy"] <= both["flux_mjy"] * 1.3).all()
    assert np.isclose(both["true_flux_mjy"], both["flux_mjy"]).mean() > 0.95


def test_reference_catalogues_show_the_same_sky(survey: tuple[Path, SurveyTruth]) -> None:
    out, truth = survey
    parameters = SurveyParameters(**SMALL)
    tables = {c.name: pd.read_parquet(out / "catalogs" / f"{c.name}.parquet") for c in parameters.catalogs}
    sources = unit_vectors(truth.sources["ra_deg"], truth.sources["dec_deg"])
    for name, table in tables.items():
        assert "true_source" not in table
        assert table["catalog_source_id"].is_unique
        assert table["ra_deg"].between(0, 360, inclusive="left").all()
        i, j, apart = pairs_within(unit_vectors(table["ra_deg"], table["dec_deg"]), sources, 30.0)
        matched = pd.DataFrame({"i": i, "j": j, "apart": apart}).sort_values("apart").drop_duplicates("i")
        assert len(matched) > 0.97 * len(table)
        pull = matched["apart"] / table["ra_err_arcsec"].to_numpy()[matched["i"]]
        assert np.median(pull) == pytest.approx(1.18, abs=0.15), "median of a Rayleigh distribution"
        bright = table["flux_mjy"].to_numpy()[matched["i"]] > 50
        found = matched[bright]
        known = truth.sources.iloc[found["j"]]
        ratio = table["flux_mjy"].to_numpy()[found["i"]] / known["flux_mjy"].to_numpy()
        assert np.median(ratio) == pytest.approx(1.0, abs=0.03)
        assert "transient" not in set(known["source_class"])
        true = truth.counterparts[truth.counterparts["catalog"] == name].merge(table, on="catalog_source_id")
        true = true.merge(truth.sources, on="true_source", suffixes=("", "_source"))
        assert len(true) == len(table)
        from_true = separation_arcsec(true["ra_deg"], true["dec_deg"], true["ra_deg_source"], true["dec_deg_source"])
        assert (from_true < 6 * true["ra_err_arcsec"]).mean() > 0.98
    nvss, first = tables["nvss_like"], tables["first_like"]
    i, j, _ = pairs_within(
        unit_vectors(nvss["ra_deg"], nvss["dec_deg"]), unit_vectors(first["ra_deg"], first["dec_deg"]), 10.0
    )
    assert len(set(i)) < 0.8 * len(nvss), "some are only in the one"
    assert len(set(j)) < 0.98 * len(first), "and some only in the other"


def test_a_catalogue_at_another_frequency_has_other_fluxes(tmp_path: Path) -> None:
    low = ReferenceParameters(
        name="low", freq_mhz=150.0, beam_arcsec=25.0, rms_mjy_beam=2.0, position_floor_arcsec=0.5, lost_fraction=0.0
    )
    truth = simulate_survey(tmp_path, SurveyParameters(**SMALL, catalogs=(low,)))
    table = pd.read_parquet(tmp_path / "catalogs" / "low.parquet")
    i, j, _ = pairs_within(
        unit_vectors(table["ra_deg"], table["dec_deg"]),
        unit_vectors(truth.sources["ra_deg"], truth.sources["dec_deg"]),
        5.0,
    )
    source = truth.sources.iloc[j]
    alone = ((source["source_class"] == "constant") & source["companion"].isna()).to_numpy()
    expected = source["flux_mjy"] * (150.0 / 1405.0) ** source["spectral_index"]
    ratio = table["flux_mjy"].to_numpy()[i] / expected.to_numpy()
    assert np.median(ratio[alone & (expected.to_numpy() > 100)]) == pytest.approx(1.0, abs=0.02)


def test_same_seed_same_files_and_a_second_survey_needs_its_own_folder(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    simulate_survey(a, SurveyParameters(**SMALL))
    simulate_survey(b, SurveyParameters(**SMALL))
    files = sorted(path.relative_to(a) for path in a.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(b) for path in b.rglob("*") if path.is_file())
    assert all((a / path).read_bytes() == (b / path).read_bytes() for path in files)
    simulate_survey(a, SurveyParameters(**SMALL))
    with pytest.raises(InputError, match="name a new folder"):
        simulate_survey(a, SurveyParameters(**SMALL, seed=9))


def test_an_empty_sky_still_delivers(tmp_path: Path) -> None:
    parameters = SurveyParameters(
        n_epochs=2, images_per_epoch=2, n_sources=0, n_transients=0, faint_per_deg2=0.0, false_per_image=0.0
    )
    truth = simulate_survey(tmp_path, parameters)
    assert len(truth.measurements) == 0
    assert len(_delivered(tmp_path)) == 0
    assert len(list((tmp_path / "incoming").glob("*/images.csv"))) == 2
    assert len(pd.read_parquet(tmp_path / "catalogs" / "nvss_like.parquet")) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_epochs": 0},
        {"rms_mjy_beam": (9.0, 5.0)},
        {"no_such_key": 1},
        {"flux_min_mjy": 1.0},
        {"centre_dec_deg": 91.0},
    ],
)
def test_impossible_parameters_are_refused(wrong: dict) -> None:
    with pytest.raises(ValidationError):
        SurveyParameters(**wrong)


def test_condon_errors_of_a_point_source() -> None:
    """For a source of the beam's size: peak error = rms, position error = beam / (2.355 SNR) along each axis."""
    got = condon_errors(np.array([10.0]), np.array([60.0]), np.array([30.0]), np.array([0.0]), (60.0, 30.0))
    assert got["peak"][0] == pytest.approx(0.1)
    assert got["dec_err_arcsec"][0] == pytest.approx(60.0 / (2.354820045 * 10.0))
    assert got["ra_err_arcsec"][0] == pytest.approx(30.0 / (2.354820045 * 10.0))
    assert got["total"][0] == pytest.approx(np.sqrt(3) / 10)


def test_a_blend_is_the_sum_at_the_centroid() -> None:
    sources = pd.DataFrame(
        {"ra_deg": [359.9999, 0.0001, 90.0], "dec_deg": 0.0, "flux_mjy": [10.0, 30.0, 5.0], "size_arcsec": 0.0}
    )
    got = blend(sources, np.array([4, 4, 2]), (50.0, 40.0))
    assert got["flux_mjy"].tolist() == [5.0, 40.0]
    assert got["index"].tolist() == [2, 1]
    assert got["second"].tolist() == [-1, 0]
    assert got["ra_deg"][1] == pytest.approx(0.00005)
    assert got["bmaj_arcsec"][0] == 50.0
    assert got["bmaj_arcsec"][1] > 50.0


def test_groups_reach_as_far_as_their_steps() -> None:
    labels = groups_within([359.999, 0.0, 0.001, 0.01], [0.0, 0.0, 0.0, 0.0], 3.7)
    assert labels[0] == labels[1] == labels[2] != labels[3]


def test_the_pipeline_reads_it_and_gives_the_ids_that_the_truth_names(survey: tuple[Path, SurveyTruth]) -> None:
    out, truth = survey
    config = Config(root=out)
    for epoch, rows in truth.measurements.groupby("epoch"):
        got = read_epoch(out / "incoming" / str(epoch), str(epoch), config)
        assert len(got.rejected) == 0
        assert set(got.detections["measurement_id"]) == set(rows["measurement_id"])
        both = got.detections.merge(rows, on="measurement_id")
        assert (both["component_id_x"] == both["component_id_y"]).all()
        images = got.images.merge(truth.images, on="image")
        np.testing.assert_allclose(images["mjd_x"], images["mjd_y"], atol=1e-6)
        np.testing.assert_allclose(images["rms_mjy_beam_x"], images["rms_mjy_beam_y"], rtol=1e-9)


def test_other_stokes_parameters_change_nothing_in_i(tmp_path: Path) -> None:
    small = {"n_epochs": 1, "images_per_epoch": 2, "n_sources": 150, "n_transients": 0, "seed": 3}
    alone = simulate_survey(tmp_path / "i", SurveyParameters(**small))
    both = simulate_survey(tmp_path / "iv", SurveyParameters(**small, stokes=("V",)))
    pd.testing.assert_frame_equal(both.measurements, alone.measurements)
    assert alone.polarization.empty and not (tmp_path / "i" / "truth" / "polarization.parquet").exists()
    for file in sorted((tmp_path / "i" / "incoming").glob("*/*_tile*.csv")):
        assert (tmp_path / "iv" / "incoming" / file.parent.name / file.name).read_bytes() == file.read_bytes()
    (manifest,) = (tmp_path / "iv" / "incoming").glob("*/images.csv")
    assert pd.read_csv(manifest)["stokes"].tolist() == ["I", "I", "V", "V"]
    flux = pd.concat([pd.read_csv(file) for file in manifest.parent.glob("*_V.csv")])["flux_peak_mjy_beam"]
    assert (flux < 0).any() and (flux > 0).any()
    pd.testing.assert_frame_equal(SurveyTruth.read(tmp_path / "iv" / "truth").polarization, both.polarization)
