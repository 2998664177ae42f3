"""What is stale, and why: compares what every stage recorded that it read with what is there now.

Level-triggered: an update that an event missed is found by the next comparison. `contimg status`, `contimg run`, the
nightly schedule and a check all call `assess`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import pandas as pd

from contimg_assets.association.state import FoldState
from contimg_assets.config import Config
from contimg_assets.errors import StoreError
from contimg_assets.identity.epochs import contiguous_ranges
from contimg_assets.identity.versions import version_of_table
from contimg_assets.pipeline.stages import (
    ASSOCIATED_SOURCES,
    CORRECTIONS_STAGE,
    PRODUCTS,
    RAW_DETECTIONS,
    STAGES,
    Stage,
)
from contimg_assets.pipeline.store import EpochRecord, EpochStore
from contimg_assets.schemas.corrections import KNOWN_FLUXES

INCOMING = "incoming"
STATE_BEFORE = "state_before"
STATE_AFTER = "state_after"
SCALES = "epoch_scales"
NO_SCALES = "none"
NEVER_MADE = "never made"
# Version of the state that the first epoch is folded onto, of each stage that folds.
NOTHING_BEFORE = {
    ASSOCIATED_SOURCES.name: FoldState.empty().version,
    CORRECTIONS_STAGE.name: version_of_table(KNOWN_FLUXES.arrow.empty_table()),
}


class State(StrEnum):
    FRESH = "fresh"
    STALE = "stale"
    MISSING = "missing"
    FAILED = "failed"
    WAITING = "waiting"  # cannot be made yet: an upstream stage is missing or failed


@dataclass(frozen=True)
class Situation:
    """Everything that staleness is judged by, read once.

    Attributes
    ----------
    products : what the products database was written from, by epoch
    deliveries : version of the delivered files, by epoch
    catalogs : version of each reference catalogue
    scales : version of each epoch's scales between epochs; None where the configuration does not apply them
    """

    config: Config
    store: EpochStore
    products: Mapping[str, EpochRecord]
    deliveries: Mapping[str, str]
    catalogs: Mapping[str, str]
    scales: Mapping[str, str] | None = None

    def record(self, stage: str, epoch: str) -> EpochRecord | None:
        return self.products.get(epoch) if stage == "products" else self.store.record(stage, epoch)


def epochs_in_time_order(store: EpochStore) -> list[str]:
    """Epochs whose detections were read, by (earliest image, key)."""
    order = []
    for epoch in store.epochs(RAW_DETECTIONS.name):
        record = store.record(RAW_DETECTIONS.name, epoch)
        if record is not None:
            order.append((float(record.facts["mjd_first"]), epoch))
    return [epoch for _, epoch in sorted(order)]


def expected_inputs(
    stage: Stage,
    epoch: str,
    records: Mapping[str, EpochRecord],
    *,
    delivery: str | None,
    catalogs: Mapping[str, str],
    before: str = "",
    scales: Mapping[str, str] | None = None,
) -> dict[str, str] | None:
    """Versions that ``stage`` would read for ``epoch`` now; None while an upstream stage has nothing for it.

    Parameters
    ----------
    records : of this epoch, by stage
    delivery : version of the delivered files, None if they are gone
    catalogs : version of every reference catalogue
    before : version of the fold's state before this epoch, for a stage that folds
    scales : version of each epoch's scales between epochs, where they are applied
    """
    if stage is RAW_DETECTIONS:
        return {INCOMING: delivery} if delivery is not None else None
    if any(name not in records for name in stage.reads):
        return None
    inputs = {name: records[name].data_version for name in stage.reads}
    if stage.reads_catalogs:
        inputs |= {f"reference/{name}": version for name, version in catalogs.items()}
    if stage.folds:
        inputs[STATE_BEFORE] = before
    if stage is PRODUCTS and scales is not None:
        inputs[SCALES] = scales.get(epoch, NO_SCALES)
    return inputs


def state_version(stage: Stage, record: EpochRecord | None) -> str:
    """Version of a fold's state after an epoch; of the empty state where there is none."""
    return str(record.facts.get(STATE_AFTER, "")) if record is not None else NOTHING_BEFORE[stage.name]


def assess(now: Situation) -> pd.DataFrame:
    """Every stage of every epoch: fresh, stale, missing, failed or waiting, and why.

    Returns
    -------
    DataFrame with columns epoch, stage, state, reason; epochs in time order, stages in the order of the flow. Epochs
    that were delivered but never read come last, by name, and after them those that only the products hold.
    """
    known = epochs_in_time_order(now.store)
    in_store = set(known)
    epochs = known + [epoch for epoch in now.deliveries if epoch not in in_store]
    # A deleted epoch leaves the products once the later ones no longer refer to it.
    epochs += sorted(set(now.products) - set(epochs) - set(now.store.buried()))
    rows: list[tuple[str, str, State, str]] = []
    before = dict(NOTHING_BEFORE)
    codes = {stage.name: stage.code_version(now.config) for stage in STAGES}
    for epoch in epochs:
        records: dict[str, EpochRecord] = {}
        upstream: str | None = None
        for stage in STAGES:
            record = now.record(stage.name, epoch)
            expected = expected_inputs(
                stage,
                epoch,
                records,
                delivery=now.deliveries.get(epoch),
                catalogs=now.catalogs,
                before=before.get(stage.name, ""),
                scales=now.scales,
            )
            state, reason = _judge(now, stage, codes[stage.name], epoch, record, expected, upstream)
            rows.append((epoch, stage.name, state, reason))
            if upstream is None and state in (State.STALE, State.MISSING):
                upstream = stage.name
            if record is not None:
                records[stage.name] = record
                # An epoch that cannot be folded takes no part until something changes.
                if stage.folds and state != State.FAILED:
                    before[stage.name] = state_version(stage, record)
    return pd.DataFrame(rows, columns=["epoch", "stage", "state", "reason"])


def _judge(
    now: Situation,
    stage: Stage,
    code: str,
    epoch: str,
    record: EpochRecord | None,
    expected: Mapping[str, str] | None,
    upstream: str | None,
) -> tuple[State, str]:
    if expected is None:
        if stage is RAW_DETECTIONS and record is None:
            return State.WAITING, "only its products are left; deliver it again, or `contimg epoch delete` removes them"
        if stage is RAW_DETECTIONS:
            # What was read stays until somebody deletes the epoch: a vanished delivery never destroys products.
            return State.FRESH, "its delivery is gone; `contimg epoch delete` removes the epoch"
        return State.WAITING, "waits for " + ", ".join(name for name in stage.reads if now.record(name, epoch) is None)
    failure = now.store.failure(stage.name, epoch)
    if failure is not None and failure.inputs == expected and failure.code_version == code:
        return State.FAILED, failure.message
    if record is None:
        return State.MISSING, now.store.damage(stage.name, epoch) or NEVER_MADE
    if record.code_version != code:
        return State.STALE, "code or configuration changed"
    if dict(record.inputs) != dict(expected):
        return State.STALE, "changed: " + ", ".join(_differences(record.inputs, expected))
    if upstream is not None:
        return State.STALE, f"{upstream} is made again first"
    return State.FRESH, ""


def _differences(recorded: Mapping[str, str], expected: Mapping[str, str]) -> list[str]:
    names = sorted(set(recorded) | set(expected))
    return [name for name in names if recorded.get(name) != expected.get(name)]


@dataclass(frozen=True)
class Stretch:
    """One Dagster run: these stages of these epochs, which follow each other in time."""

    stages: tuple[str, ...]
    epochs: tuple[str, ...]


def stretches_to_make(assessment: pd.DataFrame, in_order: Sequence[str]) -> list[Stretch]:
    """Runs that make what is stale or missing: an epoch takes part from its first stage that needs making on."""
    work = assessment[assessment["state"].isin([State.STALE, State.MISSING])]
    names = [stage.name for stage in STAGES]
    first = work["stage"].map(names.index).groupby(work["epoch"]).min()
    return [
        Stretch(tuple(names[start:]), tuple(part))
        for start in sorted(set(first))
        for part in contiguous_ranges(list(first.index[first == start]), in_order)
    ]


def upstream_versions(stage: Stage, epoch: str, store: EpochStore) -> dict[str, str]:
    """Data versions of the stages that ``stage`` reads, for one epoch.

    Raises
    ------
    StoreError
        If one of them has not been made.
    """
    versions = {}
    for name in stage.reads:
        record = store.record(name, epoch)
        if record is None:
            raise StoreError(
                f"{name} of epoch {epoch!r} has not been made yet; `contimg run --epochs {epoch}` makes it"
            )
        versions[name] = record.data_version
    return versions


def in_time_order(epochs: Iterable[str], store: EpochStore) -> list[str]:
    """Epochs by observation time; those not read yet last, by name."""
    rank = {epoch: place for place, epoch in enumerate(epochs_in_time_order(store))}
    return sorted(epochs, key=lambda epoch: (rank.get(epoch, len(rank)), epoch))
