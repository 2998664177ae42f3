"""The driver of the stages: makes a run's epochs in time order, passes over what is fresh, lets a bad one fail alone.

A stage says what it makes of one epoch; which epochs are made, onto what, and what becomes of an error is decided here,
for stages whose epochs stand alone (`make_each`) and for those that fold (`fold`).
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Generic, Protocol, TypeVar

from contimg_assets.errors import ContimgError, InputError, QualityError, StoreError
from contimg_assets.pipeline import inputs as inputs_
from contimg_assets.pipeline import progress
from contimg_assets.pipeline.inputs import (
    STATE_AFTER,
    World,
    in_time_order,
    is_fresh,
    is_settled,
    stands,
    state_version,
)
from contimg_assets.pipeline.outcomes import (
    REFOLDED,
    UNCHANGED,
    Content,
    Failed,
    Made,
    Outcome,
    failed_checks,
    refuse_failed_checks,
)
from contimg_assets.pipeline.stages import NOTHING_BEFORE, Stage
from contimg_assets.pipeline.store import BAD_INPUT, INTERNAL, OF_STORE, EpochRecord, EpochStore, Failure
from contimg_assets.schemas.detections import REJECTED

S = TypeVar("S")
Make = Callable[[str, Mapping[str, str]], Content]
# Epochs of a run, the newest ones, that are shown in figures: each is kept for ever and takes longer to draw than the
# work on a small epoch.
EPOCHS_DRAWN = 1


class Log(Protocol):
    """Where an error's sentence, and the traceback of one that nobody foresaw, are written."""

    def error(self, msg: str, *, exc_info: BaseException | None = None) -> None: ...


@dataclass(frozen=True)
class Work:
    """A stage's share of a run.

    Attributes
    ----------
    asked : epochs that the run was asked for
    forced : whether they are made again even if they are fresh
    blocking : quality checks that keep an epoch from being published
    """

    stage: Stage
    world: World
    asked: Collection[str]
    log: Log
    forced: bool = False
    blocking: frozenset[str] = frozenset()

    @property
    def store(self) -> EpochStore:
        return self.world.store

    @cached_property
    def code(self) -> str:
        """Version of the stage's code and configuration."""
        return self.stage.code_version(self.world.config)

    @cached_property
    def in_order(self) -> list[str]:
        """The epochs asked for, in time order."""
        return in_time_order(self.asked, self.store)

    def failed(
        self, epoch: str, inputs: Mapping[str, str], error: Exception, content: Content | None = None
    ) -> Failed | None:
        """Record that an epoch failed, and why; None if it was deleted meanwhile, which is no failure.

        The rejected rows of what was made, but held back by a check, are kept with it (`contimg rejected`).
        """
        if self.store.is_deleted(epoch):
            return None
        stage = self.stage.name
        foreseen = isinstance(error, ContimgError)
        if foreseen:
            message = str(error)
            self.log.error(f"{stage} of epoch {epoch}: {message}")
        else:
            message = f"{type(error).__name__}: {error} (internal error; the run's log has the traceback)"
            self.log.error(f"{stage} of epoch {epoch}", exc_info=error)
        earlier = self.store.failure(stage, epoch)
        attempts = earlier.attempts if earlier is not None and stands(earlier, inputs, self.code) else 0
        failure = Failure(
            stage,
            epoch,
            message,
            _kind(error),
            self.code,
            dict(inputs),
            attempts + 1,
            failed_checks(content.checks if content else ()),
        )
        held_back = content.tables if content and isinstance(error, QualityError) else {}
        self.store.fail(failure, {name: table for name, table in held_back.items() if name == REJECTED.name})
        return Failed(failure)

    def stage_content(self, epoch: str, inputs: Mapping[str, str], content: Content) -> EpochRecord:
        """Write what was made, for the run's end to commit, unless a blocking check failed."""
        refuse_failed_checks(epoch, content.checks, self.blocking)
        return self.store.stage(
            self.stage.name,
            epoch,
            content.tables,
            code_version=self.code,
            inputs=inputs if content.inputs is None else content.inputs,
            facts=content.facts,
            hidden=self.stage.hidden,
            failed_checks=failed_checks(content.checks),
        )

    def made(self, record: EpochRecord, content: Content) -> Made:
        """An epoch that was asked for and made."""
        drawn = record.epoch in self.in_order[::-1][:EPOCHS_DRAWN]
        return Made(record, content.metadata, dict(content.figures()) if drawn else {})

    def made_again(self, record: EpochRecord, content: Content, before: EpochRecord | None, note: str) -> Made:
        """An epoch that was made again because another one changed; told of only if its content changed."""
        changed = before is None or before.data_version != record.data_version
        return Made(record, content.metadata, note=note, announced=changed)


def _kind(error: Exception) -> str:
    cause = error.__cause__
    # A permission or a disk that is lost comes back, and nothing about the files shows it.
    refused = isinstance(cause, OSError) and cause.errno not in (None, errno.ENOENT)
    if isinstance(error, StoreError) or (refused and isinstance(error, ContimgError)):
        return OF_STORE
    return BAD_INPUT if isinstance(error, ContimgError) else INTERNAL


def make_each(work: Work, make: Make) -> Iterator[Outcome]:
    """Make the run's epochs, each for itself.

    Parameters
    ----------
    make : the stage's work on one epoch, from its key and the versions of what it reads
    """
    for epoch in work.in_order:
        inputs: Mapping[str, str] = {}
        content: Content | None = None
        outcome: Outcome | None
        if not inputs_.takes_part(work.stage, epoch, work.world):
            continue
        try:
            current = work.world.record(work.stage, epoch)
            inputs = inputs_.of(work.stage, epoch, work.world)
            if current is not None and not work.forced and is_fresh(current, inputs, work.code):
                outcome = Made(current, note=UNCHANGED)
            else:
                content = make(epoch, inputs)
                outcome = work.made(work.stage_content(epoch, inputs, content), content)
        except Exception as error:  # noqa: BLE001 - recorded, shown, and raised again once the other epochs are done
            outcome = work.failed(epoch, inputs, error, content)
        progress.report(work.stage.name, epoch)
        if outcome is not None:
            yield outcome


def make_with_others(work: Work, make: Make, note: str) -> Iterator[Outcome]:
    """Make the run's epochs, each for itself, and then those that nobody asked for and that are no longer fresh.

    For stages of which an epoch's result depends on what other epochs brought. One that was never made, that would fail
    again, or that waits for other stages has or gets a run of its own.

    Parameters
    ----------
    make : as of `make_each`
    note : what is said of an epoch that nobody asked for
    """
    yield from make_each(work, make)
    others = [epoch for epoch in work.store.epochs(work.stage.name) if epoch not in work.asked]
    for epoch in in_time_order(others, work.store):
        inputs: Mapping[str, str] = {}
        content: Content | None = None
        current = work.world.record(work.stage, epoch)
        try:
            inputs = inputs_.of(work.stage, epoch, work.world)
            again = stands(work.store.failure(work.stage.name, epoch), inputs, work.code)
            waits = again or not inputs_.takes_part(work.stage, epoch, work.world)
            if is_fresh(current, inputs, work.code) or waits or not is_settled(work.stage, epoch, work.world):
                continue
        except (StoreError, InputError):
            continue
        try:
            content = make(epoch, inputs)
            yield work.made_again(work.stage_content(epoch, inputs, content), content, current, note)
        except Exception as error:  # noqa: BLE001 - recorded, shown, and raised again once the other epochs are done
            outcome = work.failed(epoch, inputs, error, content)
            if outcome is not None:
                yield outcome


@dataclass(frozen=True)
class Onto(Generic[S]):
    """What an epoch is folded onto.

    Attributes
    ----------
    state : after the epochs before it
    earlier : records of the epochs before it that take part, in time order
    inputs : versions of everything that is read
    stored : the epoch's own record so far; None if there is none, or it must not be used
    """

    state: S
    earlier: Sequence[EpochRecord]
    inputs: Mapping[str, str]
    stored: EpochRecord | None


class Step(Protocol[S]):
    """What a stage that folds must say."""

    def nothing(self) -> S:
        """The state before the first epoch."""

    def stored_state(self, taking_part: Sequence[EpochRecord]) -> S:
        """The state after the last of these epochs, as stored."""

    def version(self, state: S) -> str:
        """Version of a state."""

    def make(self, epoch: str, onto: Onto[S]) -> tuple[Content, S]:
        """The stage's work on one epoch: what it made, and the state after it."""


def fold(work: Work, step: Step[S]) -> Iterator[Outcome]:
    """Fold whatever is not fresh, in time order, and nothing else.

    Begins at the first epoch that is not good and goes on while the state after an epoch differs from what the next
    one's stored result was folded onto. Epochs that nobody asked for are folded again too where everything else that
    they read is settled; one that was never made, or whose other inputs are about to be made again, has or gets a run
    of its own, which goes on from there. An epoch that failed takes no part until something changes. So the stored
    results are those of a run from scratch, in whatever order the epochs arrived.
    """
    walk = _Walk(work, step)
    known = [epoch for epoch in work.store.epochs(work.stage.name) if epoch not in work.asked]
    for epoch in in_time_order({*work.asked, *known}, work.store):
        outcome = walk.visit(epoch)
        if epoch in work.asked:
            progress.report(work.stage.name, epoch)
        if outcome is not None:
            yield outcome


@dataclass
class _Walk(Generic[S]):
    """The fold's way along the epochs: the records that take part so far, and the state after the last of them."""

    work: Work
    step: Step[S]
    taking_part: list[EpochRecord] = field(default_factory=list)
    # After the last record that takes part; None where it is only stored.
    state: S | None = None

    def visit(self, epoch: str) -> Outcome | None:
        """Fold an epoch if it needs it; None where there is nothing to tell."""
        work = self.work
        asked = epoch in work.asked
        current: EpochRecord | None = None
        try:
            current = work.store.record(work.stage.name, epoch)
            inputs = inputs_.of(work.stage, epoch, work.world, self._version())
        except (StoreError, InputError) as error:
            self._take(current, None)
            return work.failed(epoch, {}, error) if asked else None
        if current is not None and is_fresh(current, inputs, work.code) and not (asked and work.forced):
            self._take(current, None)
            return Made(current, note=UNCHANGED) if asked else None
        if not asked:
            if stands(work.store.failure(work.stage.name, epoch), inputs, work.code):
                return None
            if not is_settled(work.stage, epoch, work.world):
                self._take(current, None)
                return None
        return self._make(epoch, inputs, current)

    def _make(self, epoch: str, inputs: Mapping[str, str], current: EpochRecord | None) -> Outcome | None:
        work, asked = self.work, epoch in self.work.asked
        content: Content | None = None
        try:
            stored = None if asked and work.forced else current
            content, after = self.step.make(epoch, Onto(self._state(), self.taking_part, inputs, stored))
            facts = {**content.facts, STATE_AFTER: self.step.version(after)}
            record = work.stage_content(epoch, inputs, _with_facts(content, facts))
            outcome = work.made(record, content) if asked else work.made_again(record, content, current, REFOLDED)
        except Exception as error:  # noqa: BLE001 - recorded, shown, and raised again once the other epochs are done
            return work.failed(epoch, inputs, error, content)
        self._take(record, after)
        return outcome

    def _take(self, record: EpochRecord | None, state: S | None) -> None:
        if record is not None:
            self.taking_part.append(record)
            self.state = state

    def _version(self) -> str:
        if not self.taking_part:
            return NOTHING_BEFORE[self.work.stage.name]
        return state_version(self.work.stage, self.taking_part[-1])

    def _state(self) -> S:
        if self.state is None:
            self.state = self.step.stored_state(self.taking_part) if self.taking_part else self.step.nothing()
        return self.state


def _with_facts(content: Content, facts: Mapping[str, object]) -> Content:
    return replace(content, facts=facts)
