"""The whole chain on a small survey: from deliveries to the database, whatever the history."""

from __future__ import annotations

import io
import logging
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from contimg_assets.orchestration.runs.in_process import delete_epoch
from contimg_assets.pipeline.stages import EPOCH_STAGES, STAGES_OF_EVERY_EPOCH
from contimg_assets.pipeline.staleness import State, of_epochs, of_survey
from contimg_assets_tests.projects import TestProject, assert_same_rows, make_project, stale_tables


@pytest.fixture(scope="module")
def from_scratch(made: TestProject) -> dict[str, pd.DataFrame]:
    """Rows of a run from scratch: what every history must end in."""
    return made.rows()


def test_every_stage_of_every_epoch_is_made_in_one_run_that_warns_of_nothing(project: TestProject) -> None:
    project.deliver()
    report = project.run()
    assert report.complete
    assert len(of_epochs(report.assessment)) == len(project.epochs) * len(STAGES_OF_EVERY_EPOCH)
    references = [f"reference/{name}" for name in project.project.config.catalogs]
    assert list(of_survey(report.assessment)["stage"]) == [*references, "epoch_scales", "products/epoch_scales"]
    # Two reference catalogs, and one run for all stages of all epochs and the scales between them.
    assert len(report.run_ids) == 3
    assert not stale_tables(project.project)
    # "Data version mismatch for asset ..." was in the log of every backfill.
    entries = [entry for run in project.instance.get_runs() for entry in project.instance.all_logs(run.run_id)]
    assert len(entries) > 100
    assert not [entry.user_message for entry in entries if entry.level >= logging.WARNING]


def test_all_rows_are_accounted_for(from_scratch: dict[str, pd.DataFrame], survey: Path) -> None:
    delivered = sum(
        len(pd.read_csv(file)) for file in (survey / "incoming").glob("*/*.csv") if file.name != "images.csv"
    )
    measured = from_scratch["measurements"]
    assert len(measured) == delivered
    kept = measured[measured["duplicate_of"].isna()]
    assert set(kept["measurement_id"]) == set(from_scratch["associations"]["measurement_id"])


def test_a_second_run_has_nothing_to_do(finished: TestProject) -> None:
    before = finished.rows()
    assert finished.run().run_ids == []
    assert_same_rows(finished.rows(), before)


def test_materialising_an_epoch_twice_leaves_the_same_rows(finished: TestProject) -> None:
    before = finished.rows()
    report = finished.run([finished.epochs[1]], force=True)
    assert len(report.run_ids) == 1
    assert report.complete
    assert_same_rows(finished.rows(), before)


@pytest.mark.slow
def test_any_order_of_arrival_ends_in_the_same_rows(
    project: TestProject, from_scratch: dict[str, pd.DataFrame]
) -> None:
    # Other orders, of smaller skies: pipeline/test_chain.py without Dagster, test_histories.py with it.
    for place in (1, 3, 2, 0):
        project.deliver(project.epochs[place])
        assert project.run().complete
    # Aliases tell of names that were in use on the way; everything else is a function of the data alone.
    assert_same_rows(project.rows(), from_scratch, without=["source_aliases"])


@pytest.mark.slow
def test_a_late_epoch_changes_only_later_ones(project: TestProject) -> None:
    first, late, *later = project.epochs
    project.deliver(first, *later)
    project.run()
    before = len(project.materialized("associated_sources"))
    project.deliver(late)
    assert project.run().complete
    events = project.materialized("associated_sources")[before:]
    measured = project.materialized("measurements")
    assert late in events
    assert first not in events
    # One event a run and epoch, one more for the epoch by itself.
    assert measured.count(first) == measured.count(later[0])


@pytest.mark.slow
def test_a_changed_epoch_ends_as_from_scratch(finished: TestProject, tmp_path: Path, survey: Path) -> None:
    changed = finished.folder / "incoming" / finished.epochs[1]
    catalogue = next(path for path in sorted(changed.glob("*.csv")) if path.name != "images.csv")
    rows = pd.read_csv(catalogue, dtype=str).iloc[5:]
    rows.to_csv(catalogue, index=False)
    assert finished.run().complete

    scratch = make_project(tmp_path / "scratch", survey)
    shutil.rmtree(scratch.folder / "incoming")
    shutil.copytree(finished.folder / "incoming", scratch.folder / "incoming")
    assert scratch.run().complete
    assert_same_rows(finished.rows(), scratch.rows(), without=["source_aliases"])


def test_touched_and_reordered_files_stop_where_content_is_equal(finished: TestProject) -> None:
    before = finished.rows()
    folder = finished.folder / "incoming" / finished.epochs[0]
    for file in folder.iterdir():
        file.touch()
    assert finished.run().run_ids == []

    catalogue = next(path for path in sorted(folder.glob("*.csv")) if path.name != "images.csv")
    rows = pd.read_csv(catalogue, dtype=str)
    rows.iloc[::-1].to_csv(catalogue, index=False)
    versions = {stage.name: finished.project.store.record(stage.name, finished.epochs[0]) for stage in EPOCH_STAGES[:5]}
    assert finished.run().complete
    for name, old in versions.items():
        new = finished.project.store.record(name, finished.epochs[0])
        assert old is not None
        assert new is not None
        assert new.data_version == old.data_version
    after = finished.rows()
    lines = ["line"]
    pd.testing.assert_frame_equal(
        after["measurements"].drop(columns=lines, errors="ignore"),
        before["measurements"].drop(columns=lines, errors="ignore"),
    )


@pytest.mark.slow
def test_a_deleted_epoch_leaves_what_a_run_without_it_gives(
    finished: TestProject, tmp_path: Path, survey: Path
) -> None:
    gone = finished.epochs[1]
    shutil.rmtree(finished.folder / "incoming" / gone)
    assert delete_epoch(finished.project, finished.instance, gone).complete
    assert gone not in finished.instance.get_dynamic_partitions("epoch")

    scratch = make_project(tmp_path / "scratch", survey)
    scratch.deliver(*(epoch for epoch in finished.epochs if epoch != gone))
    assert scratch.run().complete
    assert_same_rows(finished.rows(), scratch.rows(), without=["source_aliases"])


def test_changed_parameters_are_recomputed_from_their_stage_on(finished: TestProject) -> None:
    finished.configure(corrections={"min_matches": 11})
    stale = finished.project.assess()
    states = dict(zip(zip(stale["epoch"], stale["stage"], strict=True), stale["state"], strict=True))
    epoch = finished.epochs[0]
    assert states[epoch, "catalog_matches"] == State.FRESH
    assert states[epoch, "corrections"] == State.STALE
    report = finished.run()
    assert report.complete
    run = finished.instance.get_run_by_id(report.run_ids[0])
    assert run is not None
    assert run.asset_selection is not None
    assert "measurements" not in {key.path[0] for key in run.asset_selection}
    assert "corrections" in {key.path[0] for key in run.asset_selection}


@pytest.mark.slow
@pytest.mark.parametrize(
    "corrections",
    [
        pytest.param({"apply_flux": "epochs", "min_snr": 8.0}, id="scales between epochs"),
        # So low that most sources vary, and which of them is known to depends on which epochs came before.
        pytest.param({"variable_min_epochs": 2, "variable_min_v": 0.02, "variable_max_p": 0.5}, id="known variables"),
    ],
)
def test_what_epochs_say_of_each_other_does_not_depend_on_their_arrival(
    project: TestProject, tmp_path: Path, survey: Path, corrections: dict[str, Any]
) -> None:
    project.configure(corrections=corrections)
    for places in ((2, 3), (0, 1)):
        project.deliver(*(project.epochs[place] for place in places))
        assert project.run().complete
    assert project.run().run_ids == []
    scratch = make_project(tmp_path / "scratch", survey)
    scratch.configure(corrections=corrections)
    scratch.deliver()
    assert scratch.run().complete
    rows = project.rows()
    assert_same_rows(rows, scratch.rows(), without=["source_aliases"])

    both = rows["corrections"].merge(rows["epoch_scales"], on=["epoch", "image"])
    assert len(both) == len(rows["images"]) == len(rows["corrections"])
    if "apply_flux" in corrections:
        scaled = both["flux_applied"].astype(bool)
        assert 4 <= scaled.sum() < len(both)
        assert both["flux_mult"][scaled].to_numpy() == pytest.approx(1 / both["epoch_scale"][scaled].to_numpy())
        assert (both["flux_mult"][~scaled] == 1).all()
        assert both["reason"][~scaled].str.contains("no scale between epochs|standard error").all()
    else:
        last = project.project.store.record("corrections", project.epochs[-1])
        assert last is not None
        assert last.facts["n_known_variables"] > 5


@pytest.mark.slow
def test_a_late_epoch_measures_later_ones_again_only_where_it_makes_a_variable_known(project: TestProject) -> None:
    first, *later = project.epochs
    project.deliver(*later)
    project.run()
    store = project.project.store
    before = {epoch: store.record("corrections", epoch) for epoch in later}
    project.deliver(first)
    assert project.run().complete
    for epoch, old in before.items():
        new = store.record("corrections", epoch)
        assert new is not None
        assert old is not None
        # What is known before it has changed, what was measured has not.
        assert new.inputs["state_before"] != old.inputs["state_before"]
        if new.inputs["catalog_matches"] == old.inputs["catalog_matches"]:
            assert new.data_version == old.data_version
            assert new.facts["measured_from"] == old.facts["measured_from"]


def test_a_changed_catalogue_is_matched_again(finished: TestProject) -> None:
    file = finished.folder / "catalogs" / "nvss_like.parquet"
    table = pd.read_parquet(file)
    table.assign(flux_mjy=table["flux_mjy"] * 1.5).to_parquet(file)
    assert stale_tables(finished.project) == ["reference/nvss_like"]
    before = {epoch: finished.project.store.record("associated_sources", epoch) for epoch in finished.epochs}
    assert finished.run().complete
    for epoch, record in before.items():
        assert finished.project.store.record("associated_sources", epoch) == record


BAD_INPUTS = {
    "missing column": (lambda text: text.replace("dec_deg", "declination", 1), "dec_deg"),
    "NaN position": (lambda text: _with_cell(text, "ra_deg", "nan"), "ra_deg"),
    "text for a number": (lambda text: _with_cell(text, "flux_int_mjy", "bright"), "bright"),
    "empty file": (lambda text: "", "empty"),
}


def _with_cell(text: str, column: str, value: str) -> str:
    rows = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    rows.loc[2, column] = value
    return rows.to_csv(index=False)


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_a_bad_catalogue_fails_its_epoch_alone(finished: TestProject, name: str) -> None:
    damage, word = BAD_INPUTS[name]
    bad = finished.epochs[2]
    file = sorted(path for path in (finished.folder / "incoming" / bad).glob("*.csv") if path.name != "images.csv")[0]
    good = file.read_text(encoding="utf-8")
    file.write_text(damage(good), encoding="utf-8")
    report = finished.run()

    assert list(report.failed["epoch"]) == [bad]
    message = report.failed["reason"].iloc[0]
    assert file.name in message
    assert word in message
    others = report.assessment[report.assessment["epoch"] != bad]
    assert (others["state"] == State.FRESH).all()
    # Nothing is tried again until something changes.
    assert finished.run().run_ids == []

    file.write_text(good, encoding="utf-8")
    assert finished.run().complete


def test_a_manifest_that_names_a_missing_file_fails_its_epoch_alone(project: TestProject) -> None:
    project.deliver()
    bad = project.epochs[0]
    file = sorted(path for path in (project.folder / "incoming" / bad).glob("*.csv") if path.name != "images.csv")[0]
    file.unlink()
    report = project.run()
    assert list(report.failed["epoch"]) == [bad]
    assert file.name in report.failed["reason"].iloc[0]
    made = of_epochs(report.assessment)
    assert set(made.loc[made["state"] == State.FRESH, "epoch"]) == set(project.epochs) - {bad}


def test_without_catalogues_sources_are_found_all_the_same(project: TestProject) -> None:
    (project.folder / "contimg.yaml").write_text("{}\n", encoding="utf-8")
    project.deliver(*project.epochs[:2])
    report = project.run()
    assert not len(report.failed)
    rows = project.rows()
    assert len(rows["sources"])
    assert not len(rows["cross_matches"])
    assert not rows["corrections"]["applied"].any()
