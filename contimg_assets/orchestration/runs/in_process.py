"""Bring everything up to date, in this process, through Dagster: what `contimg run` does.

Each round asks the reconciler what is stale, makes it in one Dagster run per range of epochs, and looks again, until
nothing is left that can be made. Epochs that fail are left where they are, with their reason; the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import dagster as dg
import pandas as pd
from dagster._core.events import RunFailureReason
from dagster._core.execution.plan.objects import StepFailureData
from dagster._core.storage.tags import USER_TAG

from contimg_assets.errors import ContimgError, InputError, StoreError
from contimg_assets.identity.epochs import contiguous_ranges
from contimg_assets.orchestration.assets import SCALES_STAGES, build_assets, stage_keys
from contimg_assets.orchestration.assets.reference import catalog_file_key
from contimg_assets.orchestration.epoch_assets import FORCE_TAG, INTERRUPTED, seen_outside
from contimg_assets.orchestration.partitions import (
    RANGE_END_TAG,
    RANGE_START_TAG,
    register_epochs,
    registered_epochs,
)
from contimg_assets.orchestration.resources import EXECUTOR, build_resources
from contimg_assets.orchestration.runs.dead_runs import PROCESS_TAG, fail_dead_runs, this_process, wait_for_pools
from contimg_assets.orchestration.runs.timeline import NOT_BY_THE_DAEMON, of_code_location
from contimg_assets.pipeline import progress
from contimg_assets.pipeline.deliveries import NO_IMAGES, images_version
from contimg_assets.pipeline.hats import keep_hats
from contimg_assets.pipeline.inputs import FITS_IMAGES, INCOMING
from contimg_assets.pipeline.products import matching_of, published_error_model, recorded_products
from contimg_assets.pipeline.project import Project
from contimg_assets.pipeline.stages import CORRECTIONS_STAGE, EPOCH_STAGES, PRODUCTS, RAW_DETECTIONS
from contimg_assets.pipeline.staleness import (
    EpochRange,
    State,
    of_epochs,
    of_survey,
    ranges_to_make,
    stages_from,
    work_to_do,
)
from contimg_assets.pipeline.survey_tables import catalog_file_version, reference_tables, scales_input_version

# Those that wait until all others have been made.
_LAST = frozenset({PRODUCTS.name, *(stage.name for stage in EPOCH_STAGES if stage.of_images)})
# Far above what any chain of consequences needs (each late epoch is two rounds); a guard against an endless loop.
_MAX_ROUNDS = 100
_MAX_DELETIONS = 5
_FORESEEN = {kind.__name__ for kind in ContimgError.__subclasses__()}
# The web interface shows who started a run; without one it says that a person did by hand.
_STARTED_BY = {USER_TAG: "contimg run"}
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}

OnWork = Callable[[Sequence[str], Sequence[str]], None]
OnWait = Callable[[set[str]], None]


@dataclass
class Report:
    """What a call did: Dagster runs, and how everything stands afterwards.

    ``errors`` are of the program, ``problems`` of what it was given: files that are missing. ``troubles`` are of where
    things are kept, such as a full disk: told once, whatever they kept from being made; the next call tries again.
    """

    run_ids: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    assessment: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def failed(self) -> pd.DataFrame:
        """Rows of the assessment that failed, with their reasons."""
        return self.assessment[self.assessment["state"] == State.FAILED]

    @property
    def complete(self) -> bool:
        """Whether everything there is, is fresh."""
        told = self.errors or self.problems or self.troubles
        return not told and bool((self.assessment["state"] == State.FRESH).all())


def bring_up_to_date(
    project: Project,
    instance: dg.DagsterInstance,
    epochs: Collection[str] | None = None,
    *,
    force: bool = False,
    on_work: OnWork | None = None,
    on_done: progress.Listener | None = None,
    on_wait: OnWait | None = None,
) -> Report:
    """Make whatever is missing or stale, of all epochs or of some.

    Epochs that failed for no fault of theirs are tried once more: whoever calls may have made room on a disk.

    Parameters
    ----------
    epochs : to make; whatever they change in other epochs is made too. All if None
    force : make these epochs again even if nothing changed
    on_work : called with (stages, epochs) before each Dagster run
    on_done : called with (stage, epoch) whenever a stage is done with an epoch
    on_wait : called with the ids of others' runs, such as the daemon's, if those must be waited for

    Raises
    ------
    KeyboardInterrupt
        If somebody interrupts it; what was published stays.
    """
    report = Report(problems=project.missing_catalogs())
    launcher = _Launcher(project, instance, report, on_wait)
    project.forget_passing_failures()
    if project.products.current() is not None:
        project.products.upgrade()
    rounds = _Rounds(None if epochs is None else frozenset(epochs), force)
    scales = _EpochScales(project, launcher)
    for number in range(_MAX_ROUNDS):
        _make_catalogs(project, launcher)
        register_epochs(instance, project.epochs())
        in_order = registered_epochs(instance)
        if scales.nothing_else_changed:
            report.assessment = project.assess_survey_again(report.assessment)
        else:
            # Files that were all there a moment ago are not looked at once more in each round.
            report.assessment = project.assess(thorough=number == 0)
        tags = {FORCE_TAG: "true"} if rounds.forced else {}
        ranges = rounds.next(report.assessment, in_order)
        # Forced fluxes at sources that went with an epoch are measured no more: one more round.
        if not (ranges or scales.make(report.assessment) or _finish_deletions(project, report)):
            break
        for part in ranges:
            if on_work is not None:
                on_work(part.stages, part.epochs)
            if RAW_DETECTIONS.name in part.stages:
                report_deliveries(instance, project, part.epochs)
            range_tags = {RANGE_START_TAG: part.epochs[0], RANGE_END_TAG: part.epochs[-1]}
            launcher.launch(stage_keys(scales.along_with(part)), tags | range_tags, on_done)
    _keep_hats(project, report)
    return report


def _keep_hats(project: Project, report: Report) -> None:
    """Bring the HATS collection up to date: who was killed after it had written the database left it behind."""
    try:
        keep_hats(project.config, project.products)
    except InputError as error:
        if str(error) not in report.troubles:
            report.troubles.append(str(error))


class _Rounds:
    """What each round has to make: what is missing or stale, of the epochs asked for and of those that follow them."""

    def __init__(self, epochs: frozenset[str] | None, force: bool) -> None:
        self._epochs, self._force = epochs, force
        self._seen: list[frozenset[tuple[str, str, str]]] = []
        self._not_asked_for = pd.MultiIndex.from_tuples([], names=["epoch", "stage"])

    @property
    def forced(self) -> bool:
        """Whether the next round makes its epochs again even if nothing changed."""
        return self._force and not self._seen

    def next(self, assessment: pd.DataFrame, in_order: Sequence[str]) -> Sequence[EpochRange]:
        """Runs of the next round; none where nothing is left, or what is left was tried before."""
        forced = self.forced
        work = self._asked_for(work_to_do(of_epochs(assessment)))
        state = frozenset(zip(work["epoch"], work["stage"], work["reason"], strict=True))
        known = state in self._seen
        self._seen.append(state)
        if forced:
            chosen = [epoch for epoch in in_order if self._epochs is None or epoch in self._epochs]
            stages = tuple(stages_from(RAW_DETECTIONS.name, set(assessment["stage"])))
            return [EpochRange(stages, tuple(part)) for part in contiguous_ranges(chosen, in_order)]
        return [] if known else _products_last(ranges_to_make(work, in_order), in_order)

    def _asked_for(self, work: pd.DataFrame) -> pd.DataFrame:
        """Without what was left to do at the beginning of epochs that nobody asked for."""
        if self._epochs is None:
            return work
        rows = pd.MultiIndex.from_frame(work[["epoch", "stage"]])
        if not self._seen:
            self._not_asked_for = rows[~rows.get_level_values("epoch").isin(list(self._epochs))]
        return work[~rows.isin(self._not_asked_for)]


def _products_last(ranges: Sequence[EpochRange], in_order: Sequence[str]) -> Sequence[EpochRange]:
    """Leave the products to a later round where this one may change epochs besides its own.

    An epoch that is not the last one folds those after it again, whose matches and corrections follow in the next
    round. Written at once, their rows would be written twice: with the new fold, and with what follows from it.
    """
    alone = len(ranges) == 1 and ranges[0].epochs[-1] == in_order[-1]
    if alone or all(_LAST.issuperset(part.stages) for part in ranges):
        return ranges
    before = [EpochRange(tuple(name for name in part.stages if name not in _LAST), part.epochs) for part in ranges]
    return [part for part in before if part.stages]


def delete_epoch(project: Project, instance: dg.DagsterInstance, epoch: str, on_work: OnWork | None = None) -> Report:
    """Remove an epoch from the store and the products, and fold the later ones again without it.

    Raises
    ------
    StoreError
        If there is no such epoch, or its delivery is still there and would bring it back.
    """
    if epoch in {delivery.epoch for delivery in project.deliveries()}:
        raise StoreError(
            f"epoch {epoch!r} is still in {project.config.incoming_shown}; move its folder away first, or it comes back"
        )
    if epoch not in project.epochs_in_store() and epoch not in recorded_products(project.products):
        raise StoreError(f"there is no epoch {epoch!r}; `contimg status` lists them")
    for _ in range(_MAX_DELETIONS):
        project.store.mark_deleted(epoch)
        report = bring_up_to_date(project, instance, on_work=on_work)
        # A daemon's run that was writing it when it was deleted may have been done after that.
        if project.products.current() is not None:
            project.products.wait_for_writers()
        if epoch not in recorded_products(project.products):
            break
    return report


def _finish_deletions(project: Project, report: Report) -> bool:
    """Take deleted epochs out of the products, once the later ones no longer refer to them; whether there were any.

    That they were deleted is remembered until they are delivered again, for those who may still be at work on them.
    """
    gone = set(project.store.deleted_epochs()) - set(project.epochs())
    removed = False
    for epoch in sorted(gone & set(recorded_products(project.products))) if gone else ():
        try:
            project.products.delete_epoch(
                epoch, project.config.variability, matching_of(project.config), published_error_model(project.store)
            )
            removed = True
        except StoreError as error:
            report.troubles.append(f"epoch {epoch!r} was deleted and is still in the products: {error}")
    return removed


def report_deliveries(instance: dg.DagsterInstance, project: Project, epochs: Collection[str]) -> None:
    """Tell Dagster which deliveries there are, so that a daemon started later does not take them for news."""
    versions = project.delivery_versions()
    for delivery in project.deliveries():
        if delivery.epoch in epochs:
            event = seen_outside(dg.AssetKey(INCOMING), versions.version(delivery.folder), delivery.epoch)
            instance.report_runless_asset_event(event)
            images = images_version(delivery.folder, project.config.image_roots, project.config.paths.image_urls)
            if images not in (None, NO_IMAGES):
                instance.report_runless_asset_event(seen_outside(dg.AssetKey(FITS_IMAGES), images, delivery.epoch))


def _make_catalogs(project: Project, launcher: _Launcher) -> None:
    """Make reference catalogs whose file or configuration changed."""
    for table in reference_tables(project.config):
        if table.needs_making:
            (key,) = stage_keys([table.name])
            file = catalog_file_version(project.config, key.path[-1])
            launcher.instance.report_runless_asset_event(seen_outside(catalog_file_key(key.path[-1]), file))
            launcher.launch([key], {})


class _EpochScales:
    """The scales between epochs: solved again where an epoch changed since, once for what they are solved from."""

    def __init__(self, project: Project, launcher: _Launcher) -> None:
        self._project, self._launcher = project, launcher
        self._solved: set[str] = set()
        self._runs_before = 0

    @property
    def _applied(self) -> bool:
        return self._project.config.corrections.apply_flux == "epochs"

    @property
    def nothing_else_changed(self) -> bool:
        """Whether the last run solved them, no epoch is made from them, and nothing else was made since."""
        return not self._applied and 0 < self._runs_before == self._launcher.n_runs

    def along_with(self, part: EpochRange) -> Sequence[str]:
        """The stages of a run, and the scales if it makes corrections and products: one epoch more is then one run.

        Where products are made from the scales, these have a run of their own, and the products follow in another.
        """
        solves = not self._applied and {CORRECTIONS_STAGE.name, PRODUCTS.name} <= set(part.stages)
        return (*part.stages, *SCALES_STAGES) if solves else part.stages

    def make(self, assessment: pd.DataFrame) -> bool:
        """Solve them if they are stale; whether they were."""
        self._runs_before = 0
        stale = list(work_to_do(of_survey(assessment))["stage"])
        if not set(stale) & set(SCALES_STAGES):
            return False
        version = scales_input_version(self._project.config, self._project.store)
        if version in self._solved:
            return False
        self._solved.add(version)
        self._launcher.launch(stage_keys(SCALES_STAGES), {})
        self._runs_before = self._launcher.n_runs
        return True


def _was_interrupted(event: dg.DagsterEvent) -> bool:
    """Whether somebody ended the run: within what an asset does, or between two of them."""
    if event.is_step_failure:
        failure = event.step_failure_data.user_failure_data
        return failure is not None and failure.description == INTERRUPTED
    return event.is_job_failure and event.job_failure_data.failure_reason == RunFailureReason.UNEXPECTED_TERMINATION


class _Launcher:
    """Starts Dagster runs in this process, and keeps what became of them."""

    def __init__(
        self, project: Project, instance: dg.DagsterInstance, report: Report, on_wait: OnWait | None = None
    ) -> None:
        self.instance, self._report, self._on_wait = instance, report, on_wait
        fail_dead_runs(instance)
        # Without the checks that stand apart from the assets: they look at everything there is, and have their hours.
        definitions = dg.Definitions(
            assets=build_assets(project.config),
            resources=build_resources(project.config, project.products),
            executor=EXECUTOR,
        )
        self._job = definitions.resolve_implicit_global_asset_job_def()

    @property
    def n_runs(self) -> int:
        """Runs that were started so far."""
        return len(self._report.run_ids)

    def launch(
        self, selection: Sequence[dg.AssetKey], tags: dict[str, str], on_done: progress.Listener | None = None
    ) -> None:
        wait_for_pools(self.instance, self._on_wait)
        with progress.listening(on_done or (lambda stage, epoch: None)), of_code_location(self.instance, self._job):
            result = self._job.execute_in_process(
                instance=self.instance,
                asset_selection=list(selection),
                tags=tags | _STARTED_BY | NOT_BY_THE_DAEMON | {PROCESS_TAG: this_process()},
                raise_on_error=False,
                run_config=_QUIET,
            )
        self._report.run_ids.append(result.run_id)
        if any(map(_was_interrupted, result.all_events)):
            raise KeyboardInterrupt
        for event in result.all_events:
            if event.is_step_failure:
                self._keep_error(event.step_failure_data)

    def _keep_error(self, failure: StepFailureData) -> None:
        """An error of a whole step: foreseen ones as their sentence, once; others with their traceback.

        What failed in single epochs is kept with them.
        """
        error = failure.error
        while error is not None and error.cls_name not in _FORESEEN:
            error = error.cause
        if error is None and failure.user_failure_data is None:
            self._report.errors.append(failure.error_display_string)
        elif error is not None and (sentence := error.message.partition(": ")[2].strip()) not in self._report.troubles:
            self._report.troubles.append(sentence)
