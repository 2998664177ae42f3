"""What is stale, and why: compares what every stage recorded that it read with what is there now.

Level-triggered: an update that an event missed is found by the next comparison. `contimg status`, `contimg run`, the
nightly schedule and a check all call `assess`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import pandas as pd

from contimg_assets.errors import InputError
from contimg_assets.identity.epochs import contiguous_ranges
from contimg_assets.pipeline import inputs as inputs_
from contimg_assets.pipeline.inputs import NotMadeYet, SurveyTable, World, is_fresh, stands, state_version
from contimg_assets.pipeline.records import EpochRecord
from contimg_assets.pipeline.stages import EPOCH_STAGES, NOTHING_BEFORE, RAW_DETECTIONS, Stage

# In place of an epoch's key, in rows about tables that the whole survey has one of.
SURVEY = ""
NEVER_MADE = "never made"
_COLUMNS = ["epoch", "stage", "state", "reason"]
_NAMES = [stage.name for stage in EPOCH_STAGES]


class State(StrEnum):
    FRESH = "fresh"
    STALE = "stale"
    MISSING = "missing"
    FAILED = "failed"
    WAITING = "waiting"  # cannot be made yet: an upstream stage is missing or failed


def assess(world: World) -> pd.DataFrame:
    """Every stage of every epoch and of the survey: fresh, stale, missing, failed or waiting, and why.

    Returns
    -------
    DataFrame with columns epoch, stage, state, reason; epochs in time order, stages in the order of the flow. Epochs
    that were delivered but never read come last, by name, after them those that only the products hold, and at the end
    the tables that the whole survey has one of, with `SURVEY` for an epoch and the key of their asset for a stage.
    """
    return pd.DataFrame([*_of_epochs(world), *map(_of_survey, world.survey)], columns=_COLUMNS)


def with_survey(assessment: pd.DataFrame, tables: Iterable[SurveyTable]) -> pd.DataFrame:
    """An assessment with new rows about the tables of the whole survey, where no epoch has changed since."""
    rows = [*of_epochs(assessment).itertuples(index=False, name=None), *map(_of_survey, tables)]
    return pd.DataFrame(rows, columns=_COLUMNS)


def work_to_do(assessment: pd.DataFrame) -> pd.DataFrame:
    """Rows of an assessment that a run can put right: missing or stale, and not failed or waiting."""
    return assessment[assessment["state"].isin([State.STALE, State.MISSING])]


def of_epochs(assessment: pd.DataFrame) -> pd.DataFrame:
    """Its rows about stages of an epoch."""
    return assessment[assessment["epoch"] != SURVEY]


def of_survey(assessment: pd.DataFrame) -> pd.DataFrame:
    """Its rows about tables of the whole survey."""
    return assessment[assessment["epoch"] == SURVEY]


def _of_epochs(world: World) -> Iterator[tuple[str, str, State, str]]:
    before = dict(NOTHING_BEFORE)
    codes = {stage.name: stage.code_version(world.config) for stage in EPOCH_STAGES}
    for epoch in _epochs(world):
        upstream: str | None = None
        for stage in EPOCH_STAGES:
            if not inputs_.takes_part(stage, epoch, world):
                continue
            record = world.record(stage, epoch)
            question = _Question(world, stage, epoch, codes[stage.name], record)
            state, reason = question.answer(before.get(stage.name, ""), upstream)
            yield epoch, stage.name, state, reason
            if upstream is None and state in (State.STALE, State.MISSING):
                upstream = stage.name
            # An epoch that cannot be folded takes no part until something changes.
            if stage.folds and record is not None and state != State.FAILED:
                before[stage.name] = state_version(stage, record)


def _epochs(world: World) -> list[str]:
    known = inputs_.epochs_in_time_order(world.store)
    made = set(known)
    epochs = known + [epoch for epoch in world.delivered if epoch not in made]
    # A deleted epoch leaves the products once the later ones no longer refer to it.
    return epochs + sorted(set(world.products) - set(epochs) - set(world.store.deleted_epochs()))


@dataclass(frozen=True)
class _Question:
    """Whether one stage's result for one epoch is what it should be."""

    world: World
    stage: Stage
    epoch: str
    code: str
    record: EpochRecord | None

    def answer(self, before: str, upstream: str | None) -> tuple[State, str]:
        """The state, and the reason in words.

        Parameters
        ----------
        before : version of the state before the epoch, for a stage that folds
        upstream : the first stage of this epoch that has to be made again
        """
        try:
            expected = inputs_.of(self.stage, self.epoch, self.world, before)
        except NotMadeYet as error:
            return State.WAITING, "waits for " + ", ".join(error.missing)
        except InputError:
            if self.stage is not RAW_DETECTIONS:
                raise
            return self._without_delivery()
        failure = self.world.store.failure(self.stage.name, self.epoch)
        if failure is not None and stands(failure, expected, self.code):
            return State.FAILED, failure.message
        if self.record is None:
            damage = self.world.store.damage(self.stage.name, self.epoch)
            return State.MISSING, damage.sentence if damage else NEVER_MADE
        if self.record.code_version != self.code:
            return State.STALE, "code or configuration changed"
        if not is_fresh(self.record, expected, self.code):
            return State.STALE, "changed: " + ", ".join(_differences(self.record.inputs, expected))
        if upstream is not None:
            return State.STALE, f"{upstream} is made again first"
        return State.FRESH, ""

    def _without_delivery(self) -> tuple[State, str]:
        if self.record is None:
            return State.WAITING, "only its products are left; deliver it again, or `contimg epoch delete` removes them"
        # What was read stays until somebody deletes the epoch: a vanished delivery never destroys products.
        return State.FRESH, "its delivery is gone; `contimg epoch delete` removes the epoch"


def _of_survey(table: SurveyTable) -> tuple[str, str, State, str]:
    if table.expected is None:
        # What was read from a file stays when the file is gone, as with deliveries.
        state = State.WAITING if table.record is None else State.FRESH
        return SURVEY, table.name, state, table.problem
    if not table.needs_making:
        return SURVEY, table.name, State.FRESH, ""
    if table.record is None:
        return SURVEY, table.name, State.MISSING, NEVER_MADE
    return SURVEY, table.name, State.STALE, "what it is made from, the code or the configuration changed"


def _differences(recorded: Mapping[str, str], expected: Mapping[str, str]) -> list[str]:
    names = sorted(set(recorded) | set(expected))
    return [name for name in names if recorded.get(name) != expected.get(name)]


@dataclass(frozen=True)
class EpochRange:
    """One Dagster run: these stages of these epochs, which follow each other in time."""

    stages: tuple[str, ...]
    epochs: tuple[str, ...]


def ranges_to_make(assessment: pd.DataFrame, in_order: Sequence[str]) -> list[EpochRange]:
    """Runs that make what is stale or missing: an epoch takes part from its first stage that needs making on."""
    work = work_to_do(of_epochs(assessment))
    first = work["stage"].map(_NAMES.index).groupby(work["epoch"]).min()
    wanted = work.groupby("epoch")["stage"].agg(set)
    return [
        EpochRange(tuple(stages_from(_NAMES[start], set.union(*wanted[list(part)]))), tuple(part))
        for start in sorted(set(first))
        for part in contiguous_ranges(list(first.index[first == start]), in_order)
    ]


def stages_from(first: str, wanted: Collection[str]) -> list[str]:
    """A stage and those after it, in the order of the flow; stages of images only where they are wanted."""
    stages = EPOCH_STAGES[_NAMES.index(first) :]
    return [stage.name for stage in stages if not stage.of_images or stage.name in wanted]
