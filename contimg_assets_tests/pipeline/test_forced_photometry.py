"""The stage `forced_photometry`: right fluxes, the same rows in any order of arrival, and images that are bad."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contimg_assets.errors import StoreError
from contimg_assets.orchestration.runs.in_process import delete_epoch
from contimg_assets.pipeline.stages import FORCED_STAGE
from contimg_assets.simulate import SurveyParameters, SurveyTruth, simulate_survey
from contimg_assets.sky.sphere import pairs_within, unit_vectors
from contimg_assets_tests.projects import TestProject, assert_same_rows, make_project

PARAMETERS = SurveyParameters(
    n_epochs=3, images_per_epoch=1, n_sources=110, n_transients=3, transient_flux_mjy=(150, 500), image_radius_deg=0.8,
    offset_sigma_arcsec=2.0, missing_image_fraction=0.0, seed=8,
)  # fmt: skip
FORCED_TABLES = ("forced_fluxes", "forced_epochs")


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("survey")
    simulate_survey(folder, PARAMETERS, images=True)
    return folder


@pytest.fixture(scope="module")
def scratch(survey: Path, tmp_path_factory: pytest.TempPathFactory) -> TestProject:
    """All epochs at once; tests leave it as it is."""
    made = make_project(tmp_path_factory.mktemp("scratch") / "project", survey)
    made.deliver()
    assert made.run().complete
    return made


def copy_of(project: TestProject, folder: Path) -> TestProject:
    shutil.copytree(project.folder, folder)
    return TestProject(folder, project.survey)


def image_of(project: TestProject, epoch: str) -> Path:
    (file,) = (project.folder / "incoming" / epoch).glob("*.fits")
    return file


def forced(project: TestProject) -> pd.DataFrame:
    return project.rows()["forced_fluxes"]


def problems(project: TestProject, epoch: str) -> list[str]:
    found = project.project.store.read(FORCED_STAGE.name, epoch, "forced_images")["problem"]
    return [problem for problem in found if problem]


def test_fluxes_are_those_of_the_truth_with_errors_that_hold(scratch: TestProject) -> None:
    truth = SurveyTruth.read(scratch.survey / "truth")
    with scratch.project.products as database:
        found = database.query("SELECT * FROM forced_photometry WHERE reason = '' AND trusted")
    sources = truth.sources[truth.sources["source_class"] == "constant"]
    i, j, _ = pairs_within(
        unit_vectors(found["ra_deg"], found["dec_deg"]), unit_vectors(sources["ra_deg"], sources["dec_deg"]), 12.0
    )
    alone = sources.iloc[j]["size_arcsec"].to_numpy() == 0
    rows, flux = found.iloc[i[alone]], sources.iloc[j[alone]]["flux_mjy"].to_numpy()
    error = np.hypot(rows["flux_peak_err_corr_mjy_beam"], 0.1 * flux)
    pulls = ((rows["flux_peak_corr_mjy_beam"] - flux) / error).to_numpy()
    assert len(pulls) > 20
    # Places of faint first detections are off by a part of the beam: a few percent of the flux.
    assert abs(np.median(pulls)) < 0.5
    assert 0.7 < np.std(pulls) < 1.4


def test_nothing_is_measured_that_was_detected(scratch: TestProject) -> None:
    with scratch.project.products as database:
        both = database.query(
            "SELECT COUNT(*) AS n FROM forced_fluxes f JOIN associations a ON a.epoch = f.epoch "
            "AND a.source_id = f.position JOIN measurements m ON m.epoch = a.epoch "
            "AND m.measurement_id = a.measurement_id WHERE NOT m.is_limit"
        )
    assert both["n"].item() == 0
    assert len(forced(scratch)) > 30


def test_light_curves_have_forced_points_in_place_of_limits(scratch: TestProject) -> None:
    rows = forced(scratch)
    source = rows.loc[rows["reason"] == "", "position"].iloc[0]
    with scratch.project.products as database:
        curve = database.light_curve(source)
        assert len(database.source_images(source)) == len(scratch.epochs)
    points = curve[curve["forced"].astype(bool)]
    assert len(points) == (rows["position"] == source).sum()
    assert not curve["is_limit"].astype(bool).any()
    least = points["flux_peak_corr_mjy_beam"].clip(lower=0) + 1.645 * points["flux_peak_err_corr_mjy_beam"]
    np.testing.assert_allclose(points["upper_limit_mjy_beam"].to_numpy(float), least.to_numpy(float))


@pytest.mark.slow
def test_any_order_of_arrival_ends_in_the_same_rows(scratch: TestProject, survey: Path, tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", survey)
    for epoch in reversed(project.epochs):
        project.deliver(epoch)
        assert project.run().complete
    assert_same_rows(project.rows(), scratch.rows(), without=["source_aliases"])


@pytest.mark.slow
def test_images_that_come_later_make_forced_fluxes_and_nothing_else(
    scratch: TestProject, survey: Path, tmp_path: Path
) -> None:
    project = make_project(tmp_path / "project", survey)
    project.deliver()
    for epoch in project.epochs:
        image_of(project, epoch).rename(tmp_path / f"{epoch}.fits")
    assert project.run().complete
    before = project.rows()
    assert before["forced_fluxes"].empty
    assert project.materialized(FORCED_STAGE.name) == []
    for epoch in project.epochs:
        (tmp_path / f"{epoch}.fits").rename(project.folder / "incoming" / epoch / f"{epoch}_tile000.fits")
    assert project.run().complete
    assert_same_rows(project.rows(), before, without=FORCED_TABLES)
    assert_same_rows(project.rows(), scratch.rows())
    # Once up to date, nothing is left to do.
    assert project.run().run_ids == []


@pytest.mark.slow
def test_an_epoch_or_image_that_goes_takes_its_fluxes_along(scratch: TestProject, tmp_path: Path) -> None:
    project = copy_of(scratch, tmp_path / "project")
    gone, without, *_ = project.epochs
    manifest = project.folder / "incoming" / without / "images.csv"
    table = pd.read_csv(manifest, dtype=str)
    table.drop(columns="path").to_csv(manifest, index=False)
    assert project.run().complete
    assert without not in set(forced(project)["epoch"])
    assert project.run().run_ids == []
    shutil.rmtree(project.folder / "incoming" / gone)
    assert delete_epoch(project.project, project.instance, gone).complete
    rows = project.rows()
    assert gone not in {*rows["forced_fluxes"]["epoch"], *rows["forced_epochs"]["epoch"]}
    assert set(rows["forced_fluxes"]["position"]) <= set(rows["sources"]["id"])


def _cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:200_000])


def _header(**values: object):
    def change(file: Path) -> None:
        with fits.open(file, mode="update") as hdus:
            hdus[0].header.update(values)

    return change


def _blank(file: Path) -> None:
    with fits.open(file, mode="update") as hdus:
        hdus[0].data[:] = np.nan


FAULTS = {
    "ends before its pixels do": _cut_short,
    "no flux density per beam": _header(BUNIT="K"),
    "from where images.csv says": _header(CRVAL1=200.0),
    "cannot be that of an image": _header(BMAJ=40.0, BMIN=40.0),
    "no pixel has a value": _blank,
}


@pytest.mark.slow
def test_an_image_that_cannot_be_used_is_told_and_the_epoch_goes_on(scratch: TestProject, tmp_path: Path) -> None:
    project = copy_of(scratch, tmp_path / "project")
    epoch, other = project.epochs[1], project.epochs[0]
    kept = forced(scratch)
    for sentence, damage in FAULTS.items():
        shutil.copy(image_of(scratch, epoch), image_of(project, epoch))
        damage(image_of(project, epoch))
        assert project.run().complete
        (told,) = problems(project, epoch)
        assert sentence in told
        rows = forced(project)
        assert epoch not in set(rows["epoch"])
        pd.testing.assert_frame_equal(
            rows[rows["epoch"] == other].reset_index(drop=True), kept[kept["epoch"] == other].reset_index(drop=True)
        )
    failed = project.project.store.record(FORCED_STAGE.name, epoch).failed_checks
    assert "images_usable" in failed


def test_a_source_that_the_finder_lost_is_not_new_and_one_that_went_has_faded(scratch: TestProject) -> None:
    truth = SurveyTruth.read(scratch.survey / "truth").sources
    with scratch.project.products as database:
        candidates = database.new_sources(max_false_chance=1.0, min_significance=0.0)
        listed = database.new_sources(max_false_chance=0.05, min_significance=5.0)
        faded = database.faded()
    # Those that its finder would have detected: fainter ones are not lost but lifted over the threshold by noise.
    constant = truth[(truth["source_class"] == "constant") & (truth["flux_mjy"] > 40)]
    seen = unit_vectors(candidates["ra_deg"], candidates["dec_deg"])
    i, _, _ = pairs_within(seen, unit_vectors(constant["ra_deg"], constant["dec_deg"]), 15.0)
    before = candidates.iloc[i][["forced_before_mjy_beam", "forced_before_err_mjy_beam", "false_chance"]].dropna()
    assert len(before) > 0
    assert candidates.iloc[i]["is_new"].any()
    assert not set(candidates.iloc[i]["id"]) & set(listed["id"])
    for found in (listed, faded):
        assert len(found) > 0
        found = found[found["flux_peak_mjy_beam"] > 100]
        varying = truth[truth["source_class"] != "constant"]
        places = unit_vectors(found["ra_deg"], found["dec_deg"])
        j, _, _ = pairs_within(places, unit_vectors(varying["ra_deg"], varying["dec_deg"]), 15.0)
        assert set(j) == set(range(len(found)))
    assert (faded["significance"] >= 5).all()
    assert (faded["forced_mjy_beam"] < faded["flux_peak_mjy_beam"]).all()


def test_statistics_are_there_with_and_without_forced_fluxes(scratch: TestProject) -> None:
    rows = forced(scratch)
    source = rows.loc[rows["reason"] == "", "position"].iloc[0]
    with scratch.project.products as database:
        one, every = database.source_variability(source), database.forced_variability()
        curve = database.light_curve(source)
    assert one["sample"].tolist() == ["all", "detections", "forced"]
    counts = one.set_index("sample")["n_peak"]
    usable = curve["trusted"].astype(bool)
    assert counts["all"] == usable.sum() == counts["detections"] + counts["forced"]
    alone = every[every["source_id"] == source].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, one[one["sample"] != "detections"].reset_index(drop=True), check_dtype=False)


def test_fluxes_beside_bright_sources_decide_nothing(scratch: TestProject, tmp_path: Path) -> None:
    project = copy_of(scratch, tmp_path / "project")
    with project.project.products as database:
        every = database.new_sources(max_false_chance=1.0, min_significance=0.0)
        assert every["forced_before_mjy_beam"].notna().any()
        assert len(database.faded()) and len(database.forced_variability())
        source = forced(scratch)["position"].iloc[0]
        curve = database.light_curve(source)
        with database.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE forced_fluxes SET near_bright = 1")
        assert database.faded().empty and database.forced_variability().empty
        now = database.new_sources(max_false_chance=1.0, min_significance=0.0)
        assert now["forced_before_mjy_beam"].isna().all()
        # They are measured and shown all the same.
        pd.testing.assert_frame_equal(pd.DataFrame(database.light_curve(source)), pd.DataFrame(curve))


def test_monitored_positions_are_measured_everywhere_and_move(scratch: TestProject, tmp_path: Path) -> None:
    project = copy_of(scratch, tmp_path / "project")
    images = scratch.rows()["images"]
    ra, dec, mjd = (float(images[name].iloc[0]) for name in ("ra_deg", "dec_deg", "mjd"))
    detections = scratch.rows()["measurements"].sort_values("snr")
    bright = detections.iloc[-1]
    same = (detections["ra_deg"] - bright["ra_deg"]).abs() + (detections["dec_deg"] - bright["dec_deg"]).abs() < 0.003
    bright_in = set(detections.loc[same & (detections["snr"] >= 50), "epoch"])
    assert 0 < len(bright_in) < len(project.epochs) == same.sum()
    (project.folder / "watched.csv").write_text(
        "name,ra_deg,dec_deg,pm_ra_mas_yr,pm_dec_mas_yr,epoch\n"
        f"my star,{ra},{dec},0,3600000,{mjd}\nstill,{ra},{dec - 0.2},,,\n"
        f"beside,{bright['ra_deg']},{bright['dec_deg'] + 80 / 3600},,,\n"
        f"itself,{bright['ra_deg']},{bright['dec_deg'] + 1 / 3600},,,\nagain,{ra},{dec - 0.2},,,\n",
        encoding="utf-8",
    )
    project.configure(monitor={"file": "watched.csv"})
    assert project.run().complete
    rows = forced(project)
    watched = rows[rows["monitored"].astype(bool)].merge(images[["epoch", "mjd"]], on="epoch").sort_values("mjd")
    assert set(watched["position"]) == {"my star", "still", "beside", "itself", "again"}
    flagged = watched[watched["near_bright"].astype(bool)]
    assert set(flagged["position"]) == {"beside", "itself"} and set(flagged["epoch"]) == bright_in
    # What is watched may be a source itself, a little off, and be watched twice.
    itself = watched[watched["position"] == "itself"].set_index("epoch")["flux_peak_mjy_beam"]
    peaks = detections[same].set_index("epoch")["flux_peak_mjy_beam"]
    measured = itself.dropna()
    assert len(measured) >= 2
    np.testing.assert_allclose(measured, peaks[measured.index], rtol=0.1)
    still, again = (watched[watched["position"] == name]["flux_peak_mjy_beam"] for name in ("still", "again"))
    assert still.notna().all()
    np.testing.assert_array_equal(still, again)
    star = watched[watched["position"] == "my star"]
    assert len(star) == len(project.epochs)
    np.testing.assert_allclose((star["dec_deg"] - dec) * 3600, (star["mjd"] - mjd) / 365.25 * 3600, atol=0.01)
    with project.project.products as database:
        summed = database.monitored().set_index("name")
        assert summed["n_images"].to_dict() == dict.fromkeys(("my star", "still", "beside", "itself", "again"), 3)
        assert len(database.forced_fluxes("still")) == 3
        with pytest.raises(StoreError):
            database.forced_fluxes("00:00:00 -80:00:00")
    # All else stays as it was.
    rest = rows[~rows["monitored"].astype(bool)].reset_index(drop=True)
    pd.testing.assert_frame_equal(rest, forced(scratch))
    (project.folder / "watched.csv").write_text("name,ra_deg\nx,1\n", encoding="utf-8")
    report = project.run()
    assert "column 'dec_deg' is missing" in report.failed["reason"].iloc[0]


def test_each_band_is_measured_where_its_own_images_detect_nothing(tmp_path: Path) -> None:
    two = SurveyParameters(
        n_epochs=1, images_per_epoch=1, n_sources=160, n_transients=0, image_radius_deg=0.6, missing_image_fraction=0.0,
        other_bands_mhz=(2150.0,), seed=8,
    )  # fmt: skip
    simulate_survey(tmp_path / "survey", two, images=True)
    project = make_project(tmp_path / "project", tmp_path / "survey")
    project.deliver()
    assert project.run().complete
    with project.project.products as database:
        measured = database.query("SELECT source_id, band FROM forced_photometry")
        seen = database.query(
            "SELECT a.source_id, m.band FROM associations a JOIN measurements m ON m.epoch = a.epoch "
            "AND m.measurement_id = a.measurement_id"
        )
    both = pd.concat([measured, seen.drop_duplicates()])
    assert not both.duplicated().any()
    assert (both.groupby("source_id").size() == 2).mean() > 0.9
    assert seen.drop_duplicates().duplicated("source_id").sum() > 10
    assert set(measured["band"]) == {"1355MHz", "2061MHz"}


STEPS = ("catalog", "image", "other image", "image gone", "epoch gone", "run")


def _take(step: str, project: TestProject, epoch: str) -> None:
    """One thing that happens to an epoch's folder; what cannot happen now does not."""
    folder, source = project.folder / "incoming" / epoch, project.survey / "incoming" / epoch
    (image,) = (file.name for file in source.glob("*.fits"))
    if step == "run":
        assert not project.run().errors
    elif step == "catalog" and not folder.exists():
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.fits"))
    elif step == "epoch gone" and epoch in project.project.epochs_in_store():
        shutil.rmtree(folder, ignore_errors=True)
        delete_epoch(project.project, project.instance, epoch)
    elif folder.exists() and step == "image":
        shutil.copy(source / image, folder / image)
    elif folder.exists() and step == "other image":
        with fits.open(source / image) as hdus:
            hdus[0].data = np.flip(hdus[0].data, axis=-1)
            hdus.writeto(folder / image, overwrite=True)
    elif step == "image gone":
        (folder / image).unlink(missing_ok=True)


@settings(max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 2)), min_size=6, max_size=10),
    st.permutations(range(3)),
    st.permutations(range(3)),
)
@pytest.mark.slow
def test_any_history_of_catalogs_and_images_ends_in_the_same_rows(
    scratch: TestProject,
    survey: Path,
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[str, int]],
    catalogs: list[int],
    images: list[int],
) -> None:
    project = make_project(tmp_path_factory.mktemp("history") / "project", survey)
    pairs = zip(catalogs, images, strict=True)
    arrivals = [step for catalog, image in pairs for step in (("catalog", catalog), ("image", image))]
    for step, number in [*steps, ("run", 0), *arrivals, ("run", 0), *(("catalog", n) for n in range(3))]:
        _take(step, project, project.epochs[number])
    for number in range(3):
        _take("image", project, project.epochs[number])
    assert project.run().complete
    got, expected = project.rows(), scratch.rows()
    assert_same_rows({name: got[name] for name in FORCED_TABLES}, {name: expected[name] for name in FORCED_TABLES})
