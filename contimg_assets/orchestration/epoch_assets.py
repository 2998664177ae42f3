"""How an asset with a partition per epoch works: its manners, and what it tells Dagster of each epoch.

Belongs here: the decorator that gives all such assets the same manners, and the events. Does not belong here: which
epochs are made and in which order (`pipeline.chain`), and what any stage does.
"""

import inspect
import logging
import uuid
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial, wraps
from typing import Any

import dagster as dg
from dagster._core.definitions.source_asset import SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.events import (
    DagsterEvent,
    DagsterEventBatchMetadata,
    DagsterEventType,
    StepMaterializationData,
)

from contimg_assets.config import Config
from contimg_assets.database import ProductsDatabase
from contimg_assets.errors import ComputeError, InputError
from contimg_assets.identity.versions import combine_versions
from contimg_assets.orchestration.columns import COLUMN_SCHEMA, columns_of
from contimg_assets.orchestration.lineage import COLUMN_LINEAGE, stage_lineage
from contimg_assets.orchestration.partitions import EPOCH_PARTITIONS, EPOCHS, SINGLE_RUN
from contimg_assets.orchestration.plots import PICTURES, embedded
from contimg_assets.pipeline.chain import Work
from contimg_assets.pipeline.delivery_copies import bring_deliveries
from contimg_assets.pipeline.inputs import STATE_AFTER
from contimg_assets.pipeline.outcomes import Failed, Made, Outcome
from contimg_assets.pipeline.project import forget_deletions, of_database, stored_world
from contimg_assets.pipeline.records import INTERNAL
from contimg_assets.pipeline.stages import RAW_DETECTIONS, Stage
from contimg_assets.pipeline.store import EpochStore

DATA_VERSION_TAG = "dagster/data_version"
OWNERS = ["team:contimg"]
FORCE_TAG = "contimg/force"
NONE_FAILED = "no_epoch_failed"
MORE = "more"
# Of an epoch on an asset's page, besides its columns' lineage.
_MOST_ENTRIES = 12
# A check's result is kept thrice for ever: it names its own epochs and the newest others, and how each begins to fail.
_MAX_NAMED, _MAX_SAID, _MOST_LETTERS = 20, 3, 300
# Events are kept for ever: a table in one is what fits on a page, and so are a run's epochs that show all they have.
_MOST_ROWS = 50
_MOST_SHOWN = 50
# Dagster adds no event of its own to a result whose metadata have this key.
_TOLD_OTHERWISE = {SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION: True}
# An error that nobody foresaw (a full disk, a lost mount) is tried once more; a bad input is not: `epochs_failed`.
RETRY_INTERNAL_ERRORS = dg.RetryPolicy(max_retries=1, delay=2)
INTERRUPTED = "interrupted; what was published stays, and the next run makes the rest"


def ending_when_interrupted(function: Callable[..., Any]) -> Callable[..., Any]:
    """What an asset does, ending where somebody presses Ctrl-C or terminates the run, or where no worker is to be had.

    Dagster takes these for errors like others, which `RETRY_INTERNAL_ERRORS` has it try once more.
    """
    if inspect.isgeneratorfunction(function):

        @wraps(function)
        def body(*arguments: Any, **named: Any) -> Iterator[Any]:
            with _not_retried_in_vain():
                yield from function(*arguments, **named)
    else:

        @wraps(function)
        def body(*arguments: Any, **named: Any) -> Any:
            with _not_retried_in_vain():
                return function(*arguments, **named)

    return body


@contextmanager
def _not_retried_in_vain() -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, DagsterExecutionInterruptedError) as interrupt:
        raise dg.Failure(INTERRUPTED, allow_retries=False) from interrupt
    except ComputeError as error:
        # Workers were waited for as long as is configured: once more would find none either.
        raise dg.Failure(str(error), allow_retries=False) from error


def epoch_asset(
    stage: Stage, config: Config, *, check_specs: Sequence[dg.AssetCheckSpec] = (), **arguments: Any
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """`dagster.asset` for a stage: partitions, versions, storage, columns and owners as the table of stages says."""
    arguments.setdefault("kinds", {"pandas", "parquet"})
    arguments.setdefault("retry_policy", RETRY_INTERNAL_ERRORS)
    with warnings.catch_warnings():
        # Known, and the reason why Dagster's minor version is pinned; nobody who runs this can do anything about it.
        warnings.filterwarnings("ignore", "Parameter `backfill_policy` of function `asset`", dg.BetaWarning)
        decorator: Callable[[Callable[..., Any]], dg.AssetsDefinition] = dg.asset(
            name=stage.name,
            partitions_def=EPOCHS,
            backfill_policy=SINGLE_RUN,
            code_version=stage.code_version(config),
            io_manager_key="store",
            group_name="epochs",
            owners=OWNERS,
            metadata={COLUMN_SCHEMA: columns_of(stage.tables[0])},
            check_specs=[*check_specs, none_failed_spec(dg.AssetKey(stage.name))],
            **arguments,
        )
    return lambda function: decorator(ending_when_interrupted(function))


def quality_check(stage: Stage, name: str, description: str, *, blocking: bool = False) -> dg.AssetCheckSpec:
    """A check that a stage makes of each epoch; a blocking one that fails keeps the epoch from being published."""
    return dg.AssetCheckSpec(name, asset=stage.name, blocking=blocking, description=description)


def work_of(
    context: dg.AssetExecutionContext,
    stage: Stage,
    config: Config,
    store: EpochStore,
    database: ProductsDatabase | None = None,
) -> Work:
    """What a run asks of a stage.

    Parameters
    ----------
    database : for a stage that is kept there, or reads it
    """
    if stage is RAW_DETECTIONS:
        _look_at_deliveries(context, config)
    world = stored_world(config, store)
    asked = list(context.partition_keys)
    if stage is RAW_DETECTIONS:
        forget_deletions(world, asked)
    if database is not None:
        world = replace(world, **of_database(config, database))
    return Work(
        stage,
        world,
        [epoch for epoch in asked if not store.is_deleted(epoch)],
        context.log,
        forced=context.run.tags.get(FORCE_TAG) == "true",
        blocking=frozenset(spec.name for spec in context.assets_def.check_specs if spec.blocking),
        tell=partial(_tell_of_workers, context),
    )


def _look_at_deliveries(context: dg.AssetExecutionContext, config: Config) -> None:
    """See what a server of deliveries has now; while it does not answer, what was copied before is read."""
    try:
        bring_deliveries(config)
    except InputError as error:
        context.log.warning(str(error))


def _tell_of_workers(context: dg.AssetExecutionContext, told: Mapping[str, str]) -> None:
    """Say who helps, and where they are watched: at once, on the run's page, and with what it made."""
    context.log.info("; ".join(f"{name}: {value}" for name, value in told.items()))
    context.instance.add_run_tags(
        context.run.run_id, {f"contimg/{name.replace(' ', '_')}": v for name, v in told.items()}
    )


def publish(context: dg.AssetExecutionContext, work: Work, outcomes: Iterable[Outcome]) -> Iterator[Any]:
    """Commit what was made and tell Dagster of every epoch; raise at the end if any failed.

    Dagster copies the one data version of a run's result to all its epochs (dagster#34013), so a run of several epochs
    tells of each by itself, as it does of epochs that it changed without having been asked (a re-folded later epoch).
    """
    made, failures = sorted_out(outcomes)
    lineage = {COLUMN_LINEAGE: stage_lineage(work.stage.name, work.world.config)}
    if failures:
        work.store.commit_all(one.record for one in made)
        tell(context, epoch_events(context.asset_key, made, lineage))
        yield from check_results(context, work.store, work.stage)
        raise epochs_failed(failures, len(made))
    yield dg.MaterializeResult(value=[one.record for one in made], **run_result(work, made, lineage))
    if not of_one_epoch(work, made):
        tell(context, [*of_nothing(context, context.asset_key, made), *epoch_events(context.asset_key, made, lineage)])
    yield from check_results(context, work.store, work.stage)


def of_nothing(
    context: dg.AssetExecutionContext, key: dg.AssetKey, made: Sequence[Made]
) -> Iterator[dg.AssetMaterialization]:
    """The events of epochs that were asked for and of which nothing is to be told, such as one without images.

    Whoever asked for them would take them for failed.
    """
    told = {one.record.epoch for one in made if one.announced}
    for epoch in context.partition_keys:
        if epoch not in told:
            yield dg.AssetMaterialization(key, partition=epoch)


def tell(context: dg.AssetExecutionContext, events: Iterable[dg.AssetMaterialization]) -> None:
    """Tell Dagster of many epochs at once: its storage writes them together, where it can.

    The same as to yield them one by one, which takes ten times as long, and without what is the same for all events of
    the step, which is longer than what they say.
    """
    run, batch, told = context.run, str(uuid.uuid4()), list(events)
    for number, event in enumerate(told, 1):
        context.instance.report_dagster_event(
            DagsterEvent(
                DagsterEventType.ASSET_MATERIALIZATION.value,
                run.job_name,
                step_key=context.get_step_execution_context().step.key,
                event_specific_data=StepMaterializationData(event),
                message=f"{event.asset_key.to_user_string()} of epoch {event.partition}",
            ),
            run.run_id,
            logging.DEBUG,
            batch_metadata=DagsterEventBatchMetadata(batch, number == len(told)),
        )


def of_one_epoch(work: Work, made: Sequence[Made]) -> bool:
    """Whether a run was asked for one epoch and made no other: its one result then says all of it."""
    return len(made) == 1 and list(work.asked) == [made[0].record.epoch]


def run_result(work: Work, made: Sequence[Made], of_asset: Mapping[str, Any]) -> dict[str, Any]:
    """Data version and metadata of the one `dagster.MaterializeResult` that a run has for an asset."""
    versions = [one.record.data_version for one in made]
    if of_one_epoch(work, made):
        return {"data_version": dg.DataVersion(versions[0]), "metadata": {**of_asset, **shown(made[0])}}
    return {"data_version": dg.DataVersion(combine_versions(*versions)), "metadata": _TOLD_OTHERWISE}


def sorted_out(outcomes: Iterable[Outcome]) -> tuple[list[Made], list[Failed]]:
    """The epochs that were made or found fresh, and those that failed."""
    made: list[Made] = []
    failures: list[Failed] = []
    for outcome in outcomes:
        if isinstance(outcome, Made):
            made.append(outcome)
        else:
            failures.append(outcome)
    return made, failures


def shown(one: Made) -> dict[str, Any]:
    """What the UI shows of an epoch: pictures, tables, then numbers, which it draws over the epochs; at most a dozen.

    What is beyond, or is no table and no number, such as the bins of a histogram, is together in the last entry.
    """
    pictures = {PICTURES: embedded(one.figures)} if one.figures else {}
    tables: dict[str, Any] = {}
    plain: dict[str, Any] = {}
    more: dict[str, Any] = {}
    for name, value in (_shortened(name, value) for name, value in one.all_metadata.items()):
        if _is_table(value):
            tables[name] = dg.MetadataValue.table([_record(row) for row in value])
        elif name == STATE_AFTER or isinstance(value, list | dict):
            more[name] = value
        else:
            plain[name] = value
    # The number of rows stands apart, at the head of the asset's page.
    n_plain = _MOST_ENTRIES - len(pictures) - len(tables) - 1 + ("dagster/row_count" in plain)
    more = dict(list(plain.items())[n_plain:]) | more
    return pictures | tables | dict(list(plain.items())[:n_plain]) | ({MORE: more} if more else {})


def _shortened(name: str, value: Any) -> tuple[str, Any]:
    """A list of no more rows than a page shows, under a name that says so."""
    if not isinstance(value, list) or len(value) <= _MOST_ROWS:
        return name, value
    return f"{name} (first {_MOST_ROWS} of {len(value)})", value[:_MOST_ROWS]


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _record(row: Mapping[str, Any]) -> dg.TableRecord:
    return dg.TableRecord({str(name): value for name, value in row.items()})


def epoch_events(
    key: dg.AssetKey, made: Iterable[Made], of_asset: Mapping[str, Any] | None = None
) -> Iterator[dg.AssetMaterialization]:
    """The events that say what each epoch of an asset now holds.

    Metadata ``of_asset`` goes with the last one, where the UI looks for it: it would be the same for all. Of many
    epochs the newest show what they have, and the others their numbers in one.
    """
    told = [one for one in made if one.announced]
    for n_after, one in zip(range(len(told) - 1, -1, -1), told, strict=True):
        yield dg.AssetMaterialization(
            key,
            partition=one.record.epoch,
            metadata=dict((of_asset or {}) if not n_after else {})
            | (shown(one) if n_after < _MOST_SHOWN else _in_short(one)),
            tags={DATA_VERSION_TAG: one.record.data_version},
        )


def _in_short(one: Made) -> dict[str, Any]:
    """The numbers of an epoch, which would be ten times as long if each were shown by itself."""
    numbers = {name: value for name, value in one.all_metadata.items() if not isinstance(value, list)}
    return {"numbers": numbers} if one.record.tables else {}


def seen_outside(key: dg.AssetKey, version: str, partition: str | None = None) -> dg.AssetMaterialization:
    """The event that says which version of something that others deliver there is.

    A materialization, because Dagster's conditions do not see observations of assets that it cannot execute.
    """
    return dg.AssetMaterialization(key, partition=partition, tags={DATA_VERSION_TAG: version})


def epochs_failed(failures: Sequence[Failed], n_made: int) -> dg.Failure:
    """The one error of a run in which epochs failed: which, and why."""
    reasons = {one.failure.epoch: one.failure.message for one in failures}
    n_failed = len(failures)
    return dg.Failure(
        description=(
            f"{n_failed} of {n_failed + n_made} epochs failed, the others are done: "
            if n_made
            else f"{'the epoch' if n_failed == 1 else f'all {n_failed} epochs'} failed: "
        )
        + "; ".join(f"{epoch}: {reason}" for epoch, reason in reasons.items()),
        metadata={f"failed {epoch}": reason for epoch, reason in reasons.items()},
        allow_retries=any(one.failure.kind == INTERNAL for one in failures),
    )


def none_failed_spec(asset: dg.AssetKey) -> dg.AssetCheckSpec:
    """The check that every such asset has: it names the epochs that failed there, and why, until they are mended."""
    return dg.AssetCheckSpec(NONE_FAILED, asset=asset, description="Every epoch that was tried here was made.")


def check_results(context: dg.AssetExecutionContext, store: EpochStore, stage: Stage) -> Iterator[dg.AssetCheckResult]:
    """One result for each check of the asset, over all epochs in the store: it fails as long as it fails for any.

    An error if an epoch of this run is among them, else a warning: a blocking check that fails with an error holds
    back what comes after it, and that must not happen to the epochs of another run.
    """
    problems = _problems(store, stage.name, set(context.instance.get_dynamic_partitions(EPOCH_PARTITIONS)))
    own = set(context.partition_keys)
    for spec in context.assets_def.check_specs:
        offenders = problems.get(spec.name, {})
        grave = spec.blocking and not own.isdisjoint(offenders)
        named = {epoch: _begun(offenders[epoch]) for epoch in _worth_naming(offenders, own)}
        said = [f"{epoch}: {sentence}" for epoch, sentence in named.items()][:_MAX_SAID]
        more = len(offenders) - len(said)
        yield dg.AssetCheckResult(
            asset_key=spec.asset_key,
            check_name=spec.name,
            passed=not offenders,
            severity=dg.AssetCheckSeverity.ERROR if grave else dg.AssetCheckSeverity.WARN,
            metadata={"epochs that fail": len(offenders)}
            | {f"epoch {epoch}": sentence for epoch, sentence in named.items()},
            description="; ".join([*said, *([f"and {more} more"] if more else [])]) or None,
        )


def _worth_naming(offenders: Collection[str], own: Collection[str]) -> list[str]:
    """Epochs of this run, then the newest others; no more than a page shows."""
    newest_first = sorted(offenders, reverse=True)
    return sorted(newest_first, key=lambda epoch: epoch not in own)[:_MAX_NAMED]


def _begun(sentence: str) -> str:
    """What fails first, of an epoch of which much may fail: `contimg images` lists all of it."""
    return sentence if len(sentence) <= _MOST_LETTERS else f"{sentence[: _MOST_LETTERS - 1]}…"


def _problems(store: EpochStore, stage: str, known: Collection[str]) -> dict[str, dict[str, str]]:
    """Sentences by check and epoch, of all known epochs that the stage has made or has failed to make."""
    problems: dict[str, dict[str, str]] = {}
    store = store.at_a_glance()
    failures = {failure.epoch: failure for failure in store.failures(stage) if failure.epoch in known}
    for epoch, failure in failures.items():
        problems.setdefault(NONE_FAILED, {})[epoch] = failure.message
    for epoch in sorted({*store.epochs(stage), *failures}):
        tried = failures.get(epoch) or store.record(stage, epoch)
        for name, sentence in (tried.failed_checks if tried else {}).items():
            problems.setdefault(name, {})[epoch] = sentence
    return problems
