"""Sensors, schedules, jobs and standing checks on a project, without daemon: what they report, launch and remove."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
import sqlalchemy as sa

from contimg_assets.config import Config, load_config
from contimg_assets.database.compaction import compact
from contimg_assets.database.engine import writing
from contimg_assets.database.orphans import orphans
from contimg_assets.definitions import build_definitions
from contimg_assets.orchestration.automation.checks import (
    epochs_keep_coming,
    no_delivery_vanished,
    no_orphans,
    nothing_needs_eyes,
    nothing_stale,
)
from contimg_assets.orchestration.automation.sensors import something_runs
from contimg_assets.orchestration.partitions import EPOCH_PARTITIONS, RANGE_END_TAG, RANGE_START_TAG, register_epochs
from contimg_assets.orchestration.runs.in_process import bring_up_to_date, delete_epoch
from contimg_assets.pipeline import upkeep
from contimg_assets.pipeline.inputs import INCOMING
from contimg_assets.pipeline.project import Project
from contimg_assets.pipeline.records import Failure
from contimg_assets.pipeline.stages import RAW_DETECTIONS, STAGES_OF_EVERY_EPOCH
from contimg_assets.pipeline.staleness import of_epochs
from contimg_assets_tests.instances import instance_in_memory
from contimg_assets_tests.orchestration.automation.deployment import (
    assert_same_products,
    deliver,
    make_project,
    products,
    small_survey,
)
from contimg_assets_tests.orchestration.automation.ticks import Automaton, automated


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return small_survey(tmp_path_factory.mktemp("survey"), 3)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, survey: list[Path]) -> Path:
    """Folder of a project with two epochs, everything made; never changed by a test."""
    project = make_project(tmp_path_factory.mktemp("made") / "project", survey[0].parents[1])
    for epoch in survey[:2]:
        deliver(epoch, project.config.incoming)
    with instance_in_memory() as instance:
        assert bring_up_to_date(project, instance).complete
    project.products.close()
    return project.config.root


@pytest.fixture
def automaton(made: Path, tmp_path: Path) -> Iterator[Automaton]:
    """A copy of it."""
    with automated(copy_of(made, tmp_path / "project")) as found:
        yield found


def copy_of(made: Path, folder: Path, **automation: object) -> Project:
    shutil.copytree(made, folder)
    loaded = load_config(folder / "contimg.yaml")
    settings = loaded.automation.model_copy(update={"settle_seconds": 0.0, **automation})
    return Project(loaded.model_copy(update={"automation": settings}))


def change(automaton: Automaton, epoch: Path) -> None:
    folder = automaton.project.config.incoming / epoch.name
    file = next(file for file in sorted(folder.glob("*.csv")) if file.name != "images.csv")
    pd.read_csv(file, dtype=str).iloc[:-3].to_csv(file, index=False)


# Deliveries


def test_deliveries_registers_what_is_still_and_reports_versions_once(automaton, survey):
    found = automaton.sensor("deliveries")
    reported = {event.partition for event in found.asset_events if event.asset_key == dg.AssetKey("incoming")}
    assert reported == {epoch.name for epoch in survey[:2]}
    assert automaton.sensor("deliveries").asset_events == []

    incoming = automaton.project.config.incoming
    unfinished = incoming / survey[2].name
    shutil.copytree(survey[2], unfinished, ignore=shutil.ignore_patterns("images.csv"))
    automaton.sensor("deliveries")
    assert list(automaton.instance.get_dynamic_partitions(EPOCH_PARTITIONS)) == [epoch.name for epoch in survey[:2]]
    shutil.copy(survey[2] / "images.csv", unfinished)
    (event,) = automaton.sensor("deliveries").asset_events
    assert event.partition == survey[2].name
    assert list(automaton.instance.get_dynamic_partitions(EPOCH_PARTITIONS)) == [epoch.name for epoch in survey]


@pytest.mark.parametrize("allowed", [(), ("/proc",)], ids=["outside", "unreadable"])
def test_an_epoch_that_cannot_be_read_hides_no_other(made, tmp_path, survey, allowed):
    """`/proc/self/mem` cannot be read even by root, as a file without leave cannot be by others."""
    project = copy_of(made, tmp_path / "project")
    paths = project.config.paths.model_copy(update={"image_roots": tuple(map(Path, allowed))})
    project = Project(project.config.model_copy(update={"paths": paths}))
    bad = project.config.incoming / "bad"
    bad.mkdir()
    manifest = (survey[2] / "images.csv").read_text().splitlines()
    cells = manifest[1].split(",")
    cells[manifest[0].split(",").index("catalogue")] = "/proc/self/mem"
    (bad / "images.csv").write_text("\n".join([manifest[0], ",".join(cells), ""]))
    deliver(survey[2], project.config.incoming)
    with automated(project) as automaton:
        reported = {event.partition for event in automaton.sensor("deliveries").asset_events}
        assert reported >= {"bad", survey[2].name}
        report = bring_up_to_date(project, automaton.instance)
    (failure,) = report.failed.itertuples()
    assert (failure.epoch, failure.stage) == ("bad", "raw_detections")
    assert "/proc/self/mem" in failure.reason or "/mem: cannot be read" in failure.reason
    assessment = project.assess()
    assert set(assessment.loc[assessment["epoch"] == survey[2].name, "state"]) == {"fresh"}
    project.products.close()


def test_deliveries_waits_until_files_are_still(made, tmp_path, survey):
    project = copy_of(made, tmp_path / "project", settle_seconds=3600.0)
    with automated(project) as automaton:
        deliver(survey[2], project.config.incoming)
        automaton.sensor("deliveries")
        assert survey[2].name not in automaton.instance.get_dynamic_partitions(EPOCH_PARTITIONS)


def test_cursor_of_deliveries_is_bounded(automaton, survey):
    manifest = (survey[0] / "images.csv").read_text()

    def tick() -> set[str | None]:
        context = dg.build_sensor_context(
            instance=automaton.instance,
            cursor=automaton.sensor_cursors.get("deliveries"),
            definitions=automaton.definitions,
        )
        found = automaton.definitions.resolve_sensor_def("deliveries").evaluate_tick(context)
        automaton.sensor_cursors["deliveries"] = found.cursor
        return {event.partition for event in found.asset_events}

    for n in range(600):
        folder = automaton.project.config.incoming / f"epoch{n:04d}"
        folder.mkdir()
        (folder / "images.csv").write_text(manifest)
    assert len(tick()) >= 600
    assert len(automaton.sensor_cursors["deliveries"] or "") < 10_000
    (automaton.project.config.incoming / "epoch0007" / "images.csv").write_text(manifest + "\n")
    # Those that share the changed one's bucket are reported again, in the version they had: nothing follows from that.
    reported = tick()
    assert "epoch0007" in reported
    assert len(reported) < 30


def test_missing_incoming_folder_is_said_and_removes_nothing(automaton):
    shutil.rmtree(automaton.project.config.incoming)
    for name in ("deliveries", "vanished_epochs", "reconciler"):
        found = automaton.sensor(name)
        assert "incoming" in found.skip_message
        assert not found.run_requests


# Reconciler, nightly


def test_reconciler_launches_only_what_was_wanting_at_its_last_look_already(automaton, survey):
    assert automaton.sensor("reconciler").run_requests == []
    change(automaton, survey[0])
    assert automaton.sensor("reconciler").run_requests == []
    (request,) = automaton.sensor("reconciler").run_requests
    assert request.tags[RANGE_START_TAG] == survey[0].name
    assert dg.AssetKey("raw_detections") in request.asset_selection
    # The same findings carry the same key: the daemon launches them once.
    (again,) = automaton.sensor("reconciler").run_requests
    assert again.run_key == request.run_key


def test_reconciler_waits_while_something_runs(automaton, survey):
    change(automaton, survey[0])
    automaton.sensor("reconciler")
    job = automaton.definitions.resolve_implicit_global_asset_job_def()
    run = automaton.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    assert something_runs(automaton.instance)
    assert automaton.sensor("reconciler").skip_message == "runs are under way"
    automaton.instance.report_run_failed(run)
    assert not something_runs(automaton.instance)
    assert len(automaton.sensor("reconciler").run_requests) == 1


def test_reconciler_remakes_a_stale_catalogue_once_per_version(automaton):
    file = automaton.project.config.catalog_path("nvss_like")
    pd.read_parquet(file).iloc[:-1].to_parquet(file)
    assert automaton.sensor("reconciler").run_requests == []
    (request,) = automaton.sensor("reconciler").run_requests
    assert request.asset_selection == [dg.AssetKey(["reference", "nvss_like"])]
    assert automaton.sensor("reconciler").run_requests[0].run_key == request.run_key


def nightly(automaton: Automaton, day: int) -> dg.ScheduleExecutionData:
    # A schedule is given a reference to its instance, which only one on disk has.
    with (
        dg.DagsterInstance.local_temp() as instance,
        dg.build_schedule_context(
            instance=instance,
            scheduled_execution_time=dt.datetime(2026, 3, day, 3, tzinfo=dt.UTC),
            repository_def=automaton.definitions.get_repository_def(),
        ) as context,
    ):
        return automaton.definitions.resolve_schedule_def("nightly").evaluate_tick(context)


@pytest.mark.slow
def test_nightly_requests_what_is_stale_with_a_key_per_night(automaton, survey):
    assert nightly(automaton, 1).skip_message == "every epoch is up to date"
    change(automaton, survey[1])
    (request,) = nightly(automaton, 1).run_requests
    assert (request.tags[RANGE_START_TAG], request.tags[RANGE_END_TAG]) == (survey[1].name, survey[1].name)
    assert nightly(automaton, 1).run_requests[0].run_key == request.run_key
    assert nightly(automaton, 2).run_requests[0].run_key != request.run_key
    selection = [key.path[-1] for key in request.asset_selection]
    register_epochs(automaton.instance, automaton.project.epochs())
    result = (
        automaton.definitions.resolve_job_def("reconcile")
        .get_subset(asset_selection=set(request.asset_selection))
        .execute_in_process(instance=automaton.instance, tags=request.tags)
    )
    assert result.success, selection
    assert (of_epochs(automaton.project.assess())["state"] == "fresh").all()


def test_schedules_have_their_times_from_the_configuration(made, tmp_path):
    project = copy_of(made, tmp_path / "project", nightly_cron="15 9 * * *", timezone="America/Los_Angeles")
    with automated(project) as automaton:
        schedule = automaton.definitions.resolve_schedule_def("nightly")
        assert (schedule.cron_schedule, schedule.execution_timezone) == ("15 9 * * *", "America/Los_Angeles")
        weekly = automaton.definitions.resolve_schedule_def("weekly")
        assert (weekly.cron_schedule, weekly.job_name) == (project.config.automation.weekly_cron, "maintenance")


# Vanished epochs


def test_vanished_epoch_is_reported_and_kept(automaton, survey):
    shutil.rmtree(automaton.project.config.incoming / survey[0].name)
    found = automaton.sensor("vanished_epochs")
    assert found.run_requests == []
    assert survey[0].name in found.skip_message
    assert not no_delivery_vanished(automaton.project).passed
    assert survey[0].name in str(no_delivery_vanished(automaton.project).description)
    assert set(automaton.project.epochs_in_store()) == {epoch.name for epoch in survey[:2]}


def test_a_folder_that_cannot_be_taken_is_not_gone(automaton, survey):
    (automaton.project.config.incoming / survey[1].name / "images.csv").unlink()
    assert automaton.project.vanished_epochs() == []
    assert no_delivery_vanished(automaton.project).passed
    assert survey[1].name in automaton.project.unusable_folders()


def test_vanished_epoch_is_removed_where_configured_and_after_its_time(made, tmp_path, survey):
    project = copy_of(made, tmp_path / "project", remove_vanished=True, vanished_hours=1.0)
    with automated(project) as automaton:
        shutil.rmtree(project.config.incoming / survey[0].name)
        assert automaton.sensor("vanished_epochs").run_requests == []
        automaton.sensor_cursors["vanished_epochs"] = json.dumps({survey[0].name: time.time() - 3700})
        (request,) = automaton.sensor("vanished_epochs").run_requests
        job = automaton.definitions.resolve_job_def("remove_vanished_epochs")
        assert job.execute_in_process(instance=automaton.instance, run_config=request.run_config).success
        assert project.epochs_in_store() == [survey[1].name]
        assert (of_epochs(project.assess())["state"] == "fresh").all()
        assert set(products(project)["measurements"]["epoch"]) == {survey[1].name}
        # Nothing is left in the incoming folder: an unmounted disk must not empty the products.
        shutil.rmtree(project.config.incoming / survey[1].name)
        automaton.sensor_cursors["vanished_epochs"] = json.dumps({survey[1].name: time.time() - 3700})
        found = automaton.sensor("vanished_epochs")
        assert found.run_requests == []
        assert "not mounted" in found.skip_message


# Jobs


def test_rebuild_products_from_the_store_into_an_empty_database(automaton):
    before = products(automaton.project)
    with writing(automaton.project.products.engine) as connection:
        connection.execute(sa.text("DELETE FROM cross_matches"))
    job = automaton.definitions.resolve_job_def("rebuild_products")
    assert job.execute_in_process(instance=automaton.instance).success
    assert_same_products(products(automaton.project), before)

    automaton.project.products.close()
    for file in automaton.project.config.root.glob("products.sqlite3*"):
        file.unlink()
    assert job.execute_in_process(instance=automaton.instance).success
    assert_same_products(products(automaton.project), before)


def test_jobs_for_people_make_the_epochs_they_choose(automaton, survey):
    change(automaton, survey[1])
    register_epochs(automaton.instance, automaton.project.epochs())

    def states_after(job: str) -> list[str]:
        launched = automaton.definitions.resolve_job_def(job)
        assert launched.execute_in_process(instance=automaton.instance, partition_key=survey[1].name).success
        found = automaton.project.assess().set_index(["epoch", "stage"])["state"]
        return [str(state) for state in found[survey[1].name]]

    assert states_after("ingest_epoch") == ["fresh", "fresh", *["stale"] * (len(STAGES_OF_EVERY_EPOCH) - 2)]
    assert states_after("everything") == ["fresh"] * len(STAGES_OF_EVERY_EPOCH)


def test_nightly_tries_once_more_what_failed_for_no_fault_of_its_own(automaton, survey):
    change(automaton, survey[1])
    epoch = survey[1].name
    delivered = automaton.project.world().delivery(epoch)
    for kind, asked in (("input", 0), ("store", 1), ("internal", 1)):
        failure = Failure(
            "raw_detections", epoch, "no space left", kind, RAW_DETECTIONS.code_version(automaton.project.config),
            {INCOMING: delivered},
        )  # fmt: skip
        automaton.project.store.fail(failure)
        assert "failed" in set(automaton.project.assess()["state"])
        requests = nightly(automaton, 1).run_requests or []
        assert sum("raw_detections" in str(request.asset_selection) for request in requests) == asked, kind


@pytest.mark.slow
def test_rebuild_products_keeps_decisions_on_sources_that_were_renamed(made, tmp_path, survey):
    project = copy_of(made, tmp_path / "project")
    with automated(project) as automaton:
        old = products(project)["cross_matches"].query("rank == 1").iloc[0]
        counterpart = (old["catalog_type"], old["catalog_source_id"])
        # Made from the last two epochs; then the first one comes, and all its sources are named after it.
        shutil.rmtree(project.config.incoming / survey[0].name)
        delete_epoch(project, automaton.instance, survey[0].name)
        old = project.products.query(
            "SELECT * FROM cross_matches WHERE catalog_type = :c AND catalog_source_id = :s AND rank = 1",
            dict(zip("cs", counterpart, strict=True)),
        ).iloc[0]
        project.products.decide_match("reject", old["source_id"], *counterpart)
        deliver(survey[0], project.config.incoming)
        assert bring_up_to_date(project, automaton.instance).complete
        before = products(project) | {"source_aliases": project.products.read_table("source_aliases")}
        assert old["source_id"] in set(before["source_aliases"]["alias"])
        job = automaton.definitions.resolve_job_def("rebuild_products")
        assert job.execute_in_process(instance=automaton.instance).success
        after = products(project) | {"source_aliases": project.products.read_table("source_aliases")}
        assert_same_products(after, before)
        present = project.products.present_source(old["source_id"])
        assert project.products.matches(present).query("match_quality == 'rejected'")["source_id"].tolist() == [present]
        assert (of_epochs(project.assess())["state"] == "fresh").all()


def test_maintenance_removes_old_leftovers_and_nothing_else(automaton):
    store = automaton.project.store
    folder = next(store.root.glob("measurements/*/"))
    snapshot = store.root / "measurements" / ".snapshot" / "record.json"
    snapshot.parent.mkdir()
    young = folder / ".record.json.ab.tmp"
    old = {
        folder / "measurements-0123456789abcdef.parquet",
        store.root / ".delivery_versions.json.ab.tmp",
        store.root / "reference" / "no_longer_configured.parquet",
        store.root / "reference" / ".nvss_like.parquet.ab.tmp",
    }
    days_ago = time.time() - 3 * 86400
    for file in (*old, young, snapshot):
        file.write_text("left by a killed process")
        if file != young:
            os.utime(file, (days_ago, days_ago))
    before = products(automaton.project)
    kept = {file for file in store.root.rglob("*") if file.is_file()} - old
    assert automaton.definitions.resolve_job_def("maintenance").execute_in_process(instance=automaton.instance).success
    assert {file for file in store.root.rglob("*") if file.is_file()} == kept
    assert_same_products(products(automaton.project), before)
    assert (of_epochs(automaton.project.assess())["state"] == "fresh").all()


def test_tidy_store_says_what_it_removed(automaton):
    file = next(automaton.project.store.root.glob("corrections/*/")) / "x.tmp"
    file.write_text("12345")
    assert upkeep.tidy_store(automaton.project, 1.0) == []
    os.utime(file, (0, 0))
    assert upkeep.tidy_store(automaton.project, 1.0) == [(str(file), 5)]


def test_compaction_gives_space_back(automaton):
    engine = automaton.project.products.engine
    with writing(engine) as connection:
        connection.execute(sa.text("CREATE TABLE ballast AS SELECT randomblob(4000000) AS b"))
    with writing(engine) as connection:
        connection.execute(sa.text("DROP TABLE ballast"))
    before, after = compact(engine)
    assert before - after > 3_000_000


# Standing checks


def test_nothing_needs_eyes(automaton):
    engine = automaton.project.products.engine
    with writing(engine) as connection:
        connection.execute(sa.text("UPDATE corrections SET trusted = 1, applied = 1, n_position = 99, n_flux = 99"))
    found = nothing_needs_eyes(automaton.project)
    assert found.passed
    assert " good. " in found.metadata["products"].value
    with writing(engine) as connection:
        connection.execute(
            sa.text(
                "UPDATE corrections SET trusted = 0, applied = 0, reason = 'flux: the scale, 0.2' "
                "WHERE (epoch, image) IN (SELECT epoch, image FROM corrections LIMIT 1)"
            )
        )
    found = nothing_needs_eyes(automaton.project)
    assert not found.passed
    assert found.severity == dg.AssetCheckSeverity.WARN
    assert "refused: takes no part" in found.description
    (row,) = found.metadata["what"].records
    assert row.data["why"] == "flux: the scale, 0.2"
    assert row.data["cure"]


def test_nothing_stale(automaton, survey):
    assert nothing_stale(automaton.project).passed
    change(automaton, survey[0])
    found = nothing_stale(automaton.project)
    assert not found.passed
    assert "stale" in str(found.description)


def test_no_orphans(automaton):
    engine = automaton.project.products.engine
    assert no_orphans(automaton.project).passed
    raw = engine.raw_connection()
    try:
        raw.cursor().execute("PRAGMA foreign_keys = OFF")
        raw.cursor().execute("DELETE FROM sources WHERE id = (SELECT min(source_id) FROM associations)")
        raw.cursor().execute("PRAGMA foreign_keys = ON")
    finally:
        raw.close()
    assert "associations whose (source_id) is not in sources" in orphans(engine)
    assert not no_orphans(automaton.project).passed


def test_every_measurement_has_a_source_and_every_source_a_measurement(automaton):
    engine = automaton.project.products.engine
    with writing(engine) as connection:
        connection.execute(sa.text("DELETE FROM associations"))
    assert set(orphans(engine)) == {"sources without a measurement", "measurements without a source"}


def test_epochs_keep_coming(automaton):
    assert epochs_keep_coming(automaton.project).passed
    manifests = sorted(automaton.project.config.incoming.glob("*/images.csv"))
    for manifest in manifests:
        os.utime(manifest, (0, 0))
    os.utime(manifests[0])  # an old one that is touched is no new epoch
    found = epochs_keep_coming(automaton.project)
    assert not found.passed
    assert "hours ago" in str(found.description)


def test_definitions_load_with_and_without_catalogues(automaton, tmp_path):
    dg.Definitions.validate_loadable(automaton.definitions)
    dg.Definitions.validate_loadable(build_definitions(Config(root=tmp_path)))
