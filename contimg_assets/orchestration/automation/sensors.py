"""Watching the outside: deliveries and catalog files become epochs and observed versions.

`deliveries` starts no run; Dagster's own sensor `automation` does, by the assets' conditions. `reconciler` makes what
no event asked for, and `vanished_epochs` removes what is gone, where that is wanted.
"""

import functools
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping

import dagster as dg
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus

from contimg_assets.config import Automation
from contimg_assets.errors import ConfigError, InputError, StoreError
from contimg_assets.orchestration.assets.reference import catalog_file_key
from contimg_assets.orchestration.automation.jobs import RECONCILE, REMOVE_VANISHED, OpenProject
from contimg_assets.orchestration.automation.requests import digest, runs_to_launch, tables_to_launch
from contimg_assets.orchestration.epoch_assets import seen_outside
from contimg_assets.orchestration.partitions import register_epochs
from contimg_assets.orchestration.runs.dead_runs import UNFINISHED, fail_dead_runs, never_taken, told_of_waiting
from contimg_assets.pipeline.deliveries import NO_IMAGES, Delivery, images_version
from contimg_assets.pipeline.inputs import FITS_IMAGES, INCOMING
from contimg_assets.pipeline.project import Project
from contimg_assets.pipeline.staleness import of_epochs, work_to_do
from contimg_assets.pipeline.survey_tables import catalog_file_version, missing_catalog

# The cursor holds a digest per bucket of epochs instead of a version per epoch, so it stays a few kB for ever.
_BUCKETS = 256
# The reconciler's cursor names the epochs that it found wanting; more than this many wait for the next time.
_MAX_EPOCHS = 2000

# Dagster gives a sensor a minute; a look at a server of deliveries goes on at the next tick [s].
_LOOK_S = 25.0

Look = Callable[[dg.SensorEvaluationContext], dg.SensorResult | dg.SkipReason]


def _errors_are_said(look: Look) -> Look:
    """A sensor's function that says what people must put right, and waits for it; other errors are raised."""

    @functools.wraps(look)
    def told(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        try:
            return look(context)
        except (InputError, ConfigError, StoreError) as error:
            return dg.SkipReason(str(error))

    return told


def build_automation_sensor(automation: Automation) -> dg.AutomationConditionSensorDefinition:
    """Dagster's own sensor that evaluates the assets' automation conditions."""
    return dg.AutomationConditionSensorDefinition(
        "automation",
        target=dg.AssetSelection.all(),
        minimum_interval_seconds=automation.conditions_interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )


def build_deliveries_sensor(automation: Automation, open_project: OpenProject) -> dg.SensorDefinition:
    """The sensor on the incoming folder and the catalogs' files."""

    @dg.sensor(
        name="deliveries",
        minimum_interval_seconds=automation.sensor_interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Registers epochs whose files have been still, and reports the content version of each and of "
        "every catalog's file. A touched file changes nothing. Runs are started by `automation`.",
    )
    @_errors_are_said
    def deliveries(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        project = open_project()
        found = project.deliveries(_LOOK_S)
        versions = project.delivery_versions()
        looked_at = {one.epoch: versions.version_when_quiet(one.folder, automation.settle_seconds) for one in found}
        current = {epoch: version for epoch, version in looked_at.items() if version is not None}
        versions.forget_except(one.folder for one in found)
        versions.save()
        known = project.epochs(found)
        waiting = (
            {one.epoch for one in found} - set(current) - set(project.store.at_a_glance().epochs("raw_detections"))
        )
        register_epochs(context.instance, [epoch for epoch in known if epoch not in waiting])

        seen: Mapping[str, str] = json.loads(context.cursor) if context.cursor else {}
        # Where no epoch has images nothing has an event: what is made from images waits for it. Where one has, the
        # others have theirs too, so that sources that they bring are measured on the older images.
        images = _images_versions(project, [one for one in found if one.epoch in current])
        buckets = _bucket_digests({epoch: version + images.get(epoch, "") for epoch, version in current.items()})
        files = _catalog_file_versions(project)
        events = [
            seen_outside(dg.AssetKey(INCOMING), version, epoch)
            for epoch, version in current.items()
            if seen.get(_bucket(epoch)) != buckets[_bucket(epoch)]
        ]
        events += [
            seen_outside(dg.AssetKey(FITS_IMAGES), version, epoch)
            for epoch, version in images.items()
            if seen.get(_bucket(epoch)) != buckets[_bucket(epoch)]
        ]
        events += [
            seen_outside(catalog_file_key(name), version)
            for name, version in files.items()
            if seen.get(f"catalog {name}") != version
        ]
        cursor = json.dumps(buckets | {f"catalog {name}": version for name, version in files.items()})
        return dg.SensorResult(asset_events=events, cursor=cursor)

    return deliveries


def build_reconciler_sensor(automation: Automation, open_project: OpenProject) -> dg.SensorDefinition:
    """The sensor that compares versions instead of listening to events, and makes what no event asked for."""

    @dg.sensor(
        name="reconciler",
        job=RECONCILE,
        minimum_interval_seconds=automation.reconcile_interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="While nothing runs, compares what every stage has read with what is there now, and makes what "
        "is missing or stale since its last look. An update that an event missed is never lost.",
    )
    @_errors_are_said
    def reconciler(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        fail_dead_runs(context.instance)
        if something_runs(context.instance):
            return dg.SkipReason("runs are under way")
        if (waiting := told_of_waiting(context.instance)) is not None:
            context.log.warning(waiting)
        project = open_project()
        found = project.deliveries(_LOOK_S)
        in_order, assessment = project.epochs(found), project.assess(found)
        # What appeared just now is left to the events; what was there at the last look already, they have missed.
        work = work_to_do(of_epochs(assessment))
        findings = {
            str(epoch): digest([*rows["stage"], *rows["reason"]])
            for epoch, rows in list(work.groupby("epoch", sort=False))[:_MAX_EPOCHS]
        }
        before: Mapping[str, str] = json.loads(context.cursor) if context.cursor else {}
        missed = [epoch for epoch, finding in findings.items() if before.get(epoch) == finding]
        tables = tables_to_launch(project, assessment)
        requests = [request for request in tables if request.run_key in before]
        if missed:
            # Where a run changed nothing, the same findings launch one again in an hour and not before.
            label = f"{int(time.time() // 3600)} {digest(findings[epoch] for epoch in missed)}"
            requests += runs_to_launch(context.instance, work[work["epoch"].isin(missed)], in_order, label)
        skip = None if requests else dg.SkipReason("; ".join(project.missing_catalogs()) or "nothing was missed")
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=skip,
            cursor=json.dumps(findings | {str(request.run_key): "" for request in tables}),
        )

    return reconciler


def something_runs(instance: dg.DagsterInstance) -> bool:
    """Whether a run or a backfill has been asked for and is not finished; without runs that nothing will ever start."""
    backfills = BulkActionsFilter(statuses=[BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING])
    unfinished = instance.get_runs_count(dg.RunsFilter(statuses=UNFINISHED))
    return unfinished > len(never_taken(instance)) or bool(instance.get_backfills(backfills, limit=1))


def build_vanished_sensor(automation: Automation, open_project: OpenProject) -> dg.SensorDefinition:
    """The sensor that says which epochs' deliveries are gone, and removes those epochs where that is configured."""

    @dg.sensor(
        name="vanished_epochs",
        job_name=REMOVE_VANISHED,
        minimum_interval_seconds=automation.reconcile_interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Names the epochs whose delivery is gone. Removes them from store and products only with "
        "`automation.remove_vanished`, after `automation.vanished_hours`.",
    )
    @_errors_are_said
    def vanished_epochs(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        project = open_project()
        delivered = {one.epoch for one in project.deliveries(_LOOK_S)}
        known: Mapping[str, float] = json.loads(context.cursor) if context.cursor else {}
        now = time.time()
        gone = {epoch: known.get(epoch, now) for epoch in project.vanished_epochs()}
        cursor = json.dumps(gone)
        if not gone:
            return dg.SensorResult(skip_reason=dg.SkipReason("every epoch's delivery is there"), cursor=cursor)
        sentence = f"{len(gone)} epoch(s) whose delivery is gone: {', '.join(gone)}"
        limit = now - 3600.0 * automation.vanished_hours
        due = sorted(epoch for epoch, since in gone.items() if since <= limit)
        if not delivered:
            sentence += "; nothing is left in the incoming folder, so this may be a disk that is not mounted"
        elif automation.remove_vanished and due:
            run_key = f"{due[0]}..{due[-1]} {digest([due, [gone[epoch] for epoch in due]])}"
            config = dg.RunConfig(ops={"remove_epochs": {"config": {"epochs": due}}})
            return dg.SensorResult(run_requests=[dg.RunRequest(run_key, config)], cursor=cursor)
        return dg.SensorResult(skip_reason=dg.SkipReason(sentence), cursor=cursor)

    return vanished_epochs


def _catalog_file_versions(project: Project) -> dict[str, str]:
    """Content version of every configured catalog's file that is there."""
    config = project.config
    present = [name for name in config.catalogs if missing_catalog(config, name) is None]
    return {name: catalog_file_version(config, name) for name in present}


def _images_versions(project: Project, deliveries: Iterable[Delivery]) -> dict[str, str]:
    """Version of the FITS images of every epoch; of none where none has any."""
    of_images = project.config.image_roots, project.config.paths.image_urls
    versions = {one.epoch: images_version(one.folder, *of_images) or NO_IMAGES for one in deliveries}
    return versions if set(versions.values()) - {NO_IMAGES} else {}


def _bucket(epoch: str) -> str:
    return str(int.from_bytes(hashlib.blake2b(epoch.encode(), digest_size=2).digest()) % _BUCKETS)


def _bucket_digests(versions: Mapping[str, str]) -> dict[str, str]:
    members: dict[str, list[str]] = {}
    for epoch in sorted(versions):
        members.setdefault(_bucket(epoch), []).append(f"{epoch}={versions[epoch]}")
    return {bucket: _digest(lines) for bucket, lines in members.items()}


def _digest(lines: Iterable[str]) -> str:
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=6).hexdigest()
