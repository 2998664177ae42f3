"""Bring everything up to date, in this process, through Dagster: what `contimg run` does.

Each round asks the reconciler what is stale, makes it in one Dagster run per stretch of epochs, and looks again, until
nothing is left that can be made. Epochs that fail are left where they are, with their reason; the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import dagster as dg
import pandas as pd
from dagster._core.events import StepFailureData

from contimg_assets.config import Config
from contimg_assets.definitions import build_definitions
from contimg_assets.errors import ContimgError, StoreError
from contimg_assets.identity.epochs import contiguous_ranges
from contimg_assets.orchestration.assets import EPOCH_SCALES_KEYS, stage_keys
from contimg_assets.orchestration.assets.reference import catalog_file_key
from contimg_assets.orchestration.epoch_assets import FORCE_TAG, seen_outside
from contimg_assets.orchestration.partitions import RANGE_END_TAG, RANGE_START_TAG, register_epochs
from contimg_assets.orchestration.runs.dead_runs import PROCESS_TAG, fail_dead_runs, this_process, wait_for_pools
from contimg_assets.pipeline import progress
from contimg_assets.pipeline.deliveries import file_version
from contimg_assets.pipeline.products import matching_of, recorded_products
from contimg_assets.pipeline.project import Project
from contimg_assets.pipeline.stages import RAW_DETECTIONS, STAGES
from contimg_assets.pipeline.staleness import INCOMING, State, Stretch, stretches_to_make
from contimg_assets.pipeline.survey_tables import scales_input_version

_STAGE_NAMES = [stage.name for stage in STAGES]
# Far above what any chain of consequences needs (each late epoch is two rounds); a guard against an endless loop.
_MAX_ROUNDS = 100
_MAX_BURIALS = 5
_FORESEEN = {kind.__name__ for kind in ContimgError.__subclasses__()}
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
    """
    report = Report(problems=list(project.missing_catalogs().values()))
    launcher = _Launcher(project.config, instance, report, on_wait)
    project.forget_passing_failures()
    if project.products.current() is not None:
        project.products.upgrade()
    solved: set[str] = set()
    seen: list[frozenset[tuple[str, str, str]]] = []
    not_asked_for = pd.MultiIndex.from_tuples([], names=["epoch", "stage"])
    for _ in range(_MAX_ROUNDS):
        _make_catalogs(project, launcher)
        in_order = project.epochs()
        register_epochs(instance, in_order)
        report.assessment = project.assess()
        work = report.assessment[report.assessment["state"].isin([State.STALE, State.MISSING])]
        if epochs is not None:
            rows = pd.MultiIndex.from_frame(work[["epoch", "stage"]])
            if not seen:
                not_asked_for = rows[~rows.get_level_values("epoch").isin(list(epochs))]
            work = work[~rows.isin(not_asked_for)]
        first_round = not seen
        state = frozenset(zip(work["epoch"], work["stage"], work["reason"], strict=True))
        if force and first_round:
            chosen = [epoch for epoch in in_order if epochs is None or epoch in epochs]
            stretches = [Stretch(tuple(_STAGE_NAMES), tuple(part)) for part in contiguous_ranges(chosen, in_order)]
        elif state and state not in seen:
            stretches = stretches_to_make(work, in_order)
        elif _make_epoch_scales(project, launcher, solved):
            continue
        else:
            break
        seen.append(state)
        for stretch in stretches:
            if on_work is not None:
                on_work(stretch.stages, stretch.epochs)
            tags = {RANGE_START_TAG: stretch.epochs[0], RANGE_END_TAG: stretch.epochs[-1]}
            if force and first_round:
                tags[FORCE_TAG] = "true"
            if RAW_DETECTIONS.name in stretch.stages:
                report_deliveries(instance, project, stretch.epochs)
            launcher.launch(stage_keys(stretch.stages), tags, on_done)
    _finish_burials(project)
    return report


def delete_epoch(project: Project, instance: dg.DagsterInstance, epoch: str, on_work: OnWork | None = None) -> Report:
    """Remove an epoch from the store and the products, and fold the later ones again without it.

    Raises
    ------
    StoreError
        If there is no such epoch, or its delivery is still there and would bring it back.
    """
    if epoch in {delivery.epoch for delivery in project.deliveries()}:
        raise StoreError(
            f"epoch {epoch!r} is still in {project.config.incoming}; move its folder away first, or it comes back"
        )
    if epoch not in project.epochs_in_store() and epoch not in recorded_products(project.products):
        raise StoreError(f"there is no epoch {epoch!r}; `contimg status` lists them")
    for _ in range(_MAX_BURIALS):
        project.store.bury(epoch)
        report = bring_up_to_date(project, instance, on_work=on_work)
        # A daemon's run that had begun before may have made it whole again meanwhile.
        if epoch not in project.epochs_in_store():
            break
    return report


def _finish_burials(project: Project) -> None:
    """Take deleted epochs out of the products, once the later ones no longer refer to them."""
    known = set(project.epochs())
    for epoch in project.store.buried():
        if epoch not in known and epoch in recorded_products(project.products):
            project.products.delete_epoch(epoch, project.config.variability, matching_of(project.config))
        project.store.settle_burial(epoch)


def report_deliveries(instance: dg.DagsterInstance, project: Project, epochs: Collection[str]) -> None:
    """Tell Dagster which deliveries there are, so that a daemon started later does not take them for news."""
    versions = project.delivery_versions()
    for delivery in project.deliveries():
        if delivery.epoch in epochs:
            event = seen_outside(dg.AssetKey(INCOMING), versions.version(delivery.folder), delivery.epoch)
            instance.report_runless_asset_event(event)


def _make_catalogs(project: Project, launcher: _Launcher) -> None:
    """Materialise reference catalogues whose file or configuration changed."""
    for name in project.stale_catalogs():
        event = seen_outside(catalog_file_key(name), file_version(project.config.catalog_path(name)))
        launcher.instance.report_runless_asset_event(event)
        launcher.launch([dg.AssetKey(["reference", name])], {})


def _make_epoch_scales(project: Project, launcher: _Launcher, solved: set[str]) -> bool:
    """Solve the scales between epochs again where an epoch changed since; once for what there is to solve them from."""
    if not project.stale_epoch_scales() or (version := scales_input_version(project.config, project.store)) in solved:
        return False
    solved.add(version)
    launcher.launch(EPOCH_SCALES_KEYS, {})
    return True


class _Launcher:
    """Starts Dagster runs in this process, and keeps what became of them."""

    def __init__(
        self, config: Config, instance: dg.DagsterInstance, report: Report, on_wait: OnWait | None = None
    ) -> None:
        self.instance, self._report, self._on_wait = instance, report, on_wait
        fail_dead_runs(instance)
        whole = build_definitions(config)
        # Without the checks that stand apart from the assets: they look at everything there is, and have their hours.
        definitions = dg.Definitions(assets=whole.assets, resources=whole.resources, executor=whole.executor)
        self._job = definitions.resolve_implicit_global_asset_job_def()

    def launch(
        self, selection: Sequence[dg.AssetKey], tags: dict[str, str], on_done: progress.Listener | None = None
    ) -> None:
        wait_for_pools(self.instance, self._on_wait)
        with progress.listening(on_done or (lambda stage, epoch: None)):
            result = self._job.execute_in_process(
                instance=self.instance,
                asset_selection=list(selection),
                tags=tags | {PROCESS_TAG: this_process()},
                raise_on_error=False,
                run_config=_QUIET,
            )
        self._report.run_ids.append(result.run_id)
        for event in result.all_events:
            if event.is_step_failure and event.step_failure_data.user_failure_data is None:
                self._keep_error(event.step_failure_data)

    def _keep_error(self, failure: StepFailureData) -> None:
        """An error of a whole step: foreseen ones as their sentence, once; others with their traceback."""
        error = failure.error
        while error is not None and error.cls_name not in _FORESEEN:
            error = error.cause
        if error is None:
            self._report.errors.append(failure.error_display_string)
        elif (sentence := error.message.partition(": ")[2].strip()) not in self._report.troubles:
            self._report.troubles.append(sentence)
