"""How an asset with a partition per epoch works: epoch by epoch, each on its own feet, and tells Dagster of each.

Belongs here: the decorator that gives all such assets the same manners, the loop over a run's epochs (fresh ones are
passed over, a bad one fails alone) and the events. Does not belong here: what any stage does.
"""

import math
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import pandas as pd
import pyarrow as pa

from contimg_assets.config import Config
from contimg_assets.errors import ContimgError, QualityError, StoreError
from contimg_assets.identity.versions import combine_versions
from contimg_assets.orchestration.columns import COLUMN_SCHEMA, columns_of
from contimg_assets.orchestration.lineage import COLUMN_LINEAGE, stage_lineage
from contimg_assets.orchestration.partitions import EPOCH_PARTITIONS, EPOCHS, SINGLE_RUN
from contimg_assets.pipeline import progress
from contimg_assets.pipeline.stages import Stage
from contimg_assets.pipeline.staleness import STATE_BEFORE, in_time_order
from contimg_assets.pipeline.store import BAD_INPUT, INTERNAL, OF_STORE, EpochRecord, EpochStore, Failure
from contimg_assets.schemas.detections import REJECTED

DATA_VERSION_TAG = "dagster/data_version"
OWNERS = ["team:contimg"]
FORCE_TAG = "contimg/force"
NONE_FAILED = "no_epoch_failed"
REFOLDED = "folded again because an earlier epoch changed"
_MAX_NAMED = 20
# An error that nobody foresaw (a full disk, a lost mount) is tried once more; a bad input is not: `epochs_failed`.
RETRY_INTERNAL_ERRORS = dg.RetryPolicy(max_retries=1, delay=2)


@dataclass(frozen=True)
class Check:
    """Outcome of one quality check of one epoch. A blocking one that fails keeps the epoch from being published."""

    name: str
    passed: bool
    description: str

    @classmethod
    def of(cls, name: str, problems: Sequence[str]) -> "Check":
        """The outcome of a check that returns one sentence per problem."""
        return cls(name, not problems, "; ".join(problems))


@dataclass(frozen=True)
class Content:
    """What a stage made of one epoch, before it is stored. ``inputs`` where other versions were read than announced."""

    tables: Mapping[str, pd.DataFrame | pa.Table]
    inputs: Mapping[str, str] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    checks: Sequence[Check] = ()


@dataclass(frozen=True)
class Made:
    """One epoch that a stage made, or found to be fresh.

    ``announced`` is false where only what Dagster does not see changed, such as a fold's state.
    """

    record: EpochRecord
    metadata: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    announced: bool = True

    @property
    def all_metadata(self) -> dict[str, Any]:
        notes = {"note": self.note} if self.note else {}
        rows = {"dagster/row_count": self.record.rows} if self.record.tables else {}
        return {**rows, **self.record.facts, **self.metadata, **notes}


@dataclass(frozen=True)
class Failed:
    """One epoch that a stage could not make."""

    failure: Failure


Outcome = Made | Failed


def epoch_asset(
    stage: Stage, config: Config, *, check_specs: Sequence[dg.AssetCheckSpec] = (), **arguments: Any
) -> Callable[[Callable], dg.AssetsDefinition]:
    """`dagster.asset` for a stage: partitions, versions, storage, column schema and owners as the flow says."""
    arguments.setdefault("kinds", {"pandas", "parquet"})
    arguments.setdefault("retry_policy", RETRY_INTERNAL_ERRORS)
    with warnings.catch_warnings():
        # Known, and the reason why Dagster's minor version is pinned; nobody who runs this can do anything about it.
        warnings.filterwarnings("ignore", "Parameter `backfill_policy` of function `asset`", dg.BetaWarning)
        return _asset(stage, config, check_specs, arguments)


def _asset(
    stage: Stage, config: Config, check_specs: Sequence[dg.AssetCheckSpec], arguments: Mapping[str, Any]
) -> Callable[[Callable], dg.AssetsDefinition]:
    return dg.asset(
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


def each_epoch(
    context: dg.AssetExecutionContext,
    stage: Stage,
    config: Config,
    store: EpochStore,
    inputs_of: Callable[[str], Mapping[str, str]],
    make: Callable[[str, Mapping[str, str]], Content],
    blocking: frozenset[str] = frozenset(),
    later: Collection[str] = (),
) -> Iterator[Outcome]:
    """Make the run's epochs in time order, passing over those made already from the same inputs by the same code.

    Parameters
    ----------
    inputs_of : versions of everything that the stage reads for an epoch
    make : the stage's work on one epoch
    blocking : checks that keep an epoch from being published
    later : epochs of a stage that folds, which nobody asked for: made again where nothing but the state before them
        changed. One that anything else changed has, or gets, a run of its own, which goes on from there.
    """
    code = stage.code_version(config)
    forced = context.run.tags.get(FORCE_TAG) == "true"
    asked = set(context.partition_keys)
    going_on = False
    for epoch in in_time_order({*asked, *later}, store):
        inputs: Mapping[str, str] = {}
        content: Content | None = None
        current = store.record(stage.name, epoch)
        going_on = epoch in asked or (going_on and current is not None and current.code_version == code)
        if not going_on:
            continue
        try:
            inputs = inputs_of(epoch)
            fresh = current is not None and current.code_version == code and current.inputs == dict(inputs)
            if epoch not in asked and current is not None:
                going_on = but_state(current.inputs) == but_state(inputs)
                if fresh or not going_on:
                    continue
            if not (forced and epoch in asked) and fresh and current is not None:
                outcome: Outcome = Made(current, note="inputs, code and configuration unchanged: nothing to do")
            else:
                content = make(epoch, inputs)
                refuse_failed_checks(epoch, content.checks, blocking)
                record = store.stage(
                    stage.name,
                    epoch,
                    content.tables,
                    code_version=code,
                    inputs=inputs if content.inputs is None else content.inputs,
                    facts=content.facts,
                    hidden=stage.hidden,
                    failed_checks=failed_checks(content.checks),
                )
                if epoch in asked:
                    outcome = Made(record, content.metadata)
                else:
                    changed = current is None or current.data_version != record.data_version
                    outcome = Made(record, content.metadata, REFOLDED, announced=changed)
        except Exception as error:  # noqa: BLE001 - recorded, shown, and raised again by `publish` once the others are done
            outcome = failed(context, store, stage, config, epoch, inputs, error, content)
        if epoch in asked:
            progress.report(stage.name, epoch)
        yield outcome


def but_state(inputs: Mapping[str, str]) -> dict[str, str]:
    """Versions of what a stage that folds reads for an epoch itself, without the state before it."""
    return {name: version for name, version in inputs.items() if name != STATE_BEFORE}


def failed(
    context: dg.AssetExecutionContext,
    store: EpochStore,
    stage: Stage,
    config: Config,
    epoch: str,
    inputs: Mapping[str, str],
    error: Exception,
    content: Content | None = None,
) -> Failed:
    """Record that an epoch failed. The traceback of an error that nobody foresaw goes to the run's log.

    The rejected rows of what was made, but held back by a check, are kept with it (`contimg rejected`).
    """
    checks = content.checks if content else ()
    held_back = content.tables if content and isinstance(error, QualityError) else {}
    code = stage.code_version(config)
    foreseen = isinstance(error, ContimgError)
    message = (
        str(error) if foreseen else f"{type(error).__name__}: {error} (internal error; the run's log has the traceback)"
    )
    if foreseen:
        context.log.error(f"{stage.name} of epoch {epoch}: {message}")
    else:
        context.log.error(f"{stage.name} of epoch {epoch}", exc_info=error)
    earlier = store.failure(stage.name, epoch)
    repeated = earlier is not None and earlier.inputs == dict(inputs) and earlier.code_version == code
    failure = Failure(
        stage.name,
        epoch,
        message,
        _kind(error),
        code,
        dict(inputs),
        (earlier.attempts if earlier and repeated else 0) + 1,
        failed_checks(checks),
    )
    store.fail(failure, {name: table for name, table in held_back.items() if name == REJECTED.name})
    return Failed(failure)


def _kind(error: Exception) -> str:
    if isinstance(error, StoreError):
        return OF_STORE
    return BAD_INPUT if isinstance(error, ContimgError) else INTERNAL


def refuse_failed_checks(epoch: str, checks: Iterable[Check], blocking: frozenset[str]) -> None:
    """Raise QualityError if a blocking check failed."""
    refused = [check for check in checks if check.name in blocking and not check.passed]
    if refused:
        raise QualityError(f"epoch {epoch!r} is not published: " + "; ".join(check.description for check in refused))


def medians(table: pd.DataFrame, *columns: str) -> dict[str, float]:
    """Median of each column as ``median_<column>``, without those that have no value."""
    found = {f"median_{column}": float(table[column].median()) for column in columns if table[column].notna().any()}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def publish(
    context: dg.AssetExecutionContext, config: Config, store: EpochStore, outcomes: Iterable[Outcome]
) -> Iterator[Any]:
    """Commit what was made and tell Dagster of every epoch; raise at the end if any failed.

    Dagster copies the one data version of a run's result to all its epochs (dagster#34013), so a run of several epochs
    adds an event for each, as it does for epochs that it changed without having been asked (a re-folded later epoch).
    """
    made: list[Made] = []
    failures: list[Failed] = []
    for outcome in outcomes:
        (made if isinstance(outcome, Made) else failures).append(outcome)  # type: ignore[arg-type]
    lineage = {COLUMN_LINEAGE: stage_lineage(context.asset_key.path[-1], config)}
    if failures:
        store.commit_all(one.record for one in made)
        yield from epoch_events(context.asset_key, made, lineage)
        yield from check_results(context, store, context.asset_key.path[-1])
        raise epochs_failed(failures, len(made))
    records = [one.record for one in made]
    single = len(made) == 1 and list(context.partition_keys) == [made[0].record.epoch]
    yield dg.MaterializeResult(
        value=records,
        data_version=dg.DataVersion(
            made[0].record.data_version if single else combine_versions(*(record.data_version for record in records))
        ),
        metadata=made[0].all_metadata | lineage if single else {"epochs": len(made)},
    )
    if not single:
        yield from epoch_events(context.asset_key, made, lineage)
    yield from check_results(context, store, context.asset_key.path[-1])


def epoch_events(
    key: dg.AssetKey, made: Iterable[Made], of_asset: Mapping[str, Any] | None = None
) -> Iterator[dg.AssetMaterialization]:
    """The events that say what each epoch of an asset now holds.

    Metadata ``of_asset`` goes with the last one, where the UI looks for it: it would be the same for all.
    """
    told = [one for one in made if one.announced]
    for one in told:
        yield dg.AssetMaterialization(
            key,
            partition=one.record.epoch,
            metadata=one.all_metadata | dict((of_asset if one is told[-1] else None) or {}),
            tags={DATA_VERSION_TAG: one.record.data_version},
        )


def seen_outside(key: dg.AssetKey, version: str, partition: str | None = None) -> dg.AssetMaterialization:
    """The event that says which version of something that others deliver there is.

    A materialisation, because Dagster's conditions do not see observations of assets that it cannot execute.
    """
    return dg.AssetMaterialization(key, partition=partition, tags={DATA_VERSION_TAG: version})


def epochs_failed(failures: Sequence[Failed], n_made: int) -> dg.Failure:
    """The one error of a run in which epochs failed: which, and why."""
    reasons = {one.failure.epoch: one.failure.message for one in failures}
    return dg.Failure(
        description=f"{len(failures)} of {len(failures) + n_made} epoch(s) failed, the others are done: "
        + "; ".join(f"{epoch}: {reason}" for epoch, reason in reasons.items()),
        metadata={f"failed {epoch}": reason for epoch, reason in reasons.items()},
        allow_retries=any(one.failure.kind == INTERNAL for one in failures),
    )


def none_failed_spec(asset: dg.AssetKey) -> dg.AssetCheckSpec:
    """The check that every such asset has: it names the epochs that failed there, and why, until they are mended."""
    return dg.AssetCheckSpec(NONE_FAILED, asset=asset, description="Every epoch that was tried here was made.")


def failed_checks(checks: Iterable[Check]) -> dict[str, str]:
    """The sentence of each check that failed, by name."""
    return {check.name: check.description for check in checks if not check.passed}


def check_results(context: dg.AssetExecutionContext, store: EpochStore, stage: str) -> Iterator[dg.AssetCheckResult]:
    """One result for each check of the asset, over all epochs in the store: it fails as long as it fails for any.

    An error if an epoch of this run is among them, else a warning: a blocking check that fails with an error holds
    back what comes after it, and that must not happen to the epochs of another run.
    """
    problems = _problems(store, stage, set(context.instance.get_dynamic_partitions(EPOCH_PARTITIONS)))
    own = set(context.partition_keys)
    for spec in context.assets_def.check_specs:
        offenders = problems.get(spec.name, {})
        grave = spec.blocking and not own.isdisjoint(offenders)
        sentences = [f"{epoch}: {sentence}" for epoch, sentence in offenders.items()]
        yield dg.AssetCheckResult(
            asset_key=spec.asset_key,
            check_name=spec.name,
            passed=not offenders,
            severity=dg.AssetCheckSeverity.ERROR if grave else dg.AssetCheckSeverity.WARN,
            metadata={"epochs that fail": len(offenders)}
            | {f"epoch {epoch}": sentence for epoch, sentence in list(offenders.items())[:_MAX_NAMED]},
            description="; ".join(sentences[:_MAX_NAMED]) or None,
        )


def _problems(store: EpochStore, stage: str, known: Collection[str]) -> dict[str, dict[str, str]]:
    """Sentences by check and epoch, of all known epochs that the stage has made or has failed to make."""
    problems: dict[str, dict[str, str]] = {}
    failures = {failure.epoch: failure for failure in store.failures(stage) if failure.epoch in known}
    for epoch, failure in failures.items():
        problems.setdefault(NONE_FAILED, {})[epoch] = failure.message
    for epoch in sorted({*store.epochs(stage), *failures}):
        tried = failures.get(epoch) or store.record(stage, epoch)
        for name, sentence in (tried.failed_checks if tried else {}).items():
            problems.setdefault(name, {})[epoch] = sentence
    return problems
