"""The driver of the stages: makes a run's epochs in time order, passes over what is fresh, lets a bad one fail alone.

A stage says what it makes of one epoch; which epochs are made, onto what, and what becomes of an error is decided here,
for stages whose epochs stand alone (`make_each`) and for those that fold (`fold`).
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, Generic, Protocol, TypeVar

from contimg_assets.errors import ContimgError, InputError, QualityError, StoreError
from contimg_assets.pipeline import inputs as inputs_
from contimg_assets.pipeline import progress
from contimg_assets.pipeline.engines import executor_of
from contimg_assets.pipeline.executors import Executor, Serial, Task, Tell
from contimg_assets.pipeline.inputs import (
    STATE_AFTER,
    STATE_BEFORE,
    World,
    in_time_order,
    is_fresh,
    is_settled,
    stands,
    state_version,
)
from contimg_assets.pipeline.outcomes import (
    REFOLDED,
    STILL_SHOWN,
    UNCHANGED,
    Content,
    Failed,
    Made,
    Outcome,
    failed_checks,
    refuse_failed_checks,
)
from contimg_assets.pipeline.records import BAD_INPUT, INTERNAL, OF_STORE, EpochRecord, Failure
from contimg_assets.pipeline.stages import NOTHING_BEFORE, Stage
from contimg_assets.pipeline.store import EpochStore
from contimg_assets.schemas.detections import REJECTED

S = TypeVar("S")
Make = Callable[[str, Mapping[str, str]], Content]
Refuse = Callable[[str, Mapping[str, str]], None]
# Epochs of a run, the newest ones, that are shown in figures: each is kept for ever.
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
    tell : told of the workers on other machines, when there are any
    """

    stage: Stage
    world: World
    asked: Collection[str]
    log: Log
    forced: bool = False
    blocking: frozenset[str] = frozenset()
    tell: Tell | None = None

    @property
    def store(self) -> EpochStore:
        return self.world.store

    @cached_property
    def code(self) -> str:
        """Version of the stage's code and configuration."""
        return self.stage.code_version(self.world.config)

    @cached_property
    def _asked(self) -> frozenset[str]:
        return frozenset(self.asked)

    def is_asked(self, epoch: str) -> bool:
        """Whether the run was asked for an epoch."""
        return epoch in self._asked

    @cached_property
    def in_order(self) -> list[str]:
        """The epochs asked for, in time order."""
        return in_time_order(self.asked, self.store)

    @cached_property
    def others(self) -> list[str]:
        """Epochs that the stage holds and that nobody asked for, in time order."""
        store = self.world.at_a_glance.store
        return in_time_order((epoch for epoch in store.epochs(self.stage.name) if not self.is_asked(epoch)), store)

    def passed_over(self, epoch: str, before: str = "") -> EpochRecord | None:
        """The record of an epoch that nobody asked for and that is fresh; None if it may not be, and must be looked at.

        Thousands are fresh: they are taken as they were found when the stage began, and not looked at one by one.

        Parameters
        ----------
        before : version of the state before the epoch, for a stage that folds
        """
        world = self.world.at_a_glance
        current = world.record(self.stage, epoch)
        try:
            fresh = is_fresh(current, inputs_.of(self.stage, epoch, world, before), self.code)
        except (StoreError, InputError):
            return None
        return current if fresh else None

    def failed(self, epoch: str, inputs: Mapping[str, str], error: Exception) -> Failed | None:
        """Record that an epoch failed, and why; None if it was deleted meanwhile, which is no failure.

        The rejected rows of what was made, but held back by a check, are kept with it (`contimg rejected`).
        """
        held_back = error.content if isinstance(error, NotStaged) else None
        error = error.error if isinstance(error, NotStaged) else error
        if self.store.is_deleted(epoch):
            return None
        stage = self.stage.name
        foreseen = isinstance(error, ContimgError)
        if foreseen:
            message = self.world.config.told(str(error))
            self.log.error(f"{stage} of epoch {epoch}: {message}")
        else:
            message = f"{type(error).__name__}: {error} (internal error; the run's log has the traceback)"
            self.log.error(f"{stage} of epoch {epoch}", exc_info=error)
        if self.store.record(stage, epoch) is not None:
            message = f"{message} ({STILL_SHOWN})"
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
            failed_checks(held_back.checks if held_back else ()),
        )
        tables = held_back.tables if held_back and isinstance(error, QualityError) else {}
        self.store.fail(failure, {name: table for name, table in tables.items() if name == REJECTED.name})
        return Failed(failure)

    @cached_property
    def executor(self) -> Executor:
        """Where the work on epochs is done."""
        return executor_of(self.world.config.compute, self.world.config.store, self.tell)

    def maker(self, make: Make) -> Maker:
        """What makes an epoch of the stage, here or elsewhere."""
        return Maker(self.stage, self.store, self.code, self.blocking, make)

    def is_drawn(self, epoch: str) -> bool:
        """Whether an epoch is shown in figures."""
        return epoch in self.in_order[max(0, len(self.in_order) - EPOCHS_DRAWN) :]

    def made_again(self, made: Made, before: EpochRecord | None, note: str) -> Made:
        """An epoch that was made again because another one changed; told of only if its content changed."""
        changed = before is None or before.data_version != made.record.data_version
        return replace(made, figures={}, note=note, announced=changed)


class NotStaged(Exception):
    """What was made of an epoch is not kept: why, and what it was."""

    def __init__(self, error: Exception, content: Content) -> None:
        super().__init__(str(error))
        self.error, self.content = error, content


@dataclass(frozen=True)
class Maker:
    """Makes an epoch of a stage, and writes what was made for the run's end to commit.

    It has no more than it needs, so that it can be sent to another process.

    Attributes
    ----------
    stage, store : what is made, and where it is kept
    code : version of the stage's code and configuration
    blocking : quality checks that keep an epoch from being published
    make : the stage's work on one epoch, from its key and the versions of what it reads
    """

    stage: Stage
    store: EpochStore
    code: str
    blocking: frozenset[str]
    make: Make

    @property
    def name(self) -> str:
        """What is shown of it where it is worked on."""
        return self.stage.name

    def __call__(self, epoch: str, inputs: Mapping[str, str], drawn: bool) -> Made:
        """Make an epoch; its figures too where it is ``drawn``.

        Raises
        ------
        NotStaged
            If it cannot be kept, such as for a blocking check that failed.
        Exception
            Whatever the stage's work raises.
        """
        return self.staged(epoch, inputs, self.make(epoch, inputs), drawn)

    def staged(self, epoch: str, inputs: Mapping[str, str], content: Content, drawn: bool) -> Made:
        """Write what was made of an epoch, see `__call__`."""
        try:
            refuse_failed_checks(epoch, content.checks, self.blocking)
            record = self.store.stage(
                self.stage.name,
                epoch,
                content.tables,
                code_version=self.code,
                inputs=inputs if content.inputs is None else content.inputs,
                facts=content.facts,
                hidden=self.stage.hidden,
                failed_checks=failed_checks(content.checks),
            )
            return Made(record, content.metadata, dict(content.figures()) if drawn else {})
        except Exception as error:
            raise NotStaged(error, content) from error


def _kind(error: Exception) -> str:
    cause = error.__cause__
    # A permission or a disk that is lost comes back, and nothing about the files shows it.
    refused = isinstance(cause, OSError) and cause.errno not in (None, errno.ENOENT)
    if isinstance(error, StoreError) or (refused and isinstance(error, ContimgError)):
        return OF_STORE
    return BAD_INPUT if isinstance(error, ContimgError) else INTERNAL


@dataclass(frozen=True)
class _Begun:
    """An epoch that was looked at: what it is made from, and what came of it where there is nothing to make."""

    epoch: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    fresh: EpochRecord | None = None
    error: Exception | None = None

    @property
    def is_over(self) -> bool:
        return self.fresh is not None or self.error is not None


def make_each(work: Work, make: Make, refuse: Refuse | None = None) -> Iterator[Outcome]:
    """Make the run's epochs, each for itself, wherever the configuration says; they come in time order.

    Parameters
    ----------
    make : the stage's work on one epoch, from its key and the versions of what it reads. Where it can be pickled (a
        function of a module, or a `functools.partial` of one) other processes may do it.
    refuse : asked about each epoch that is to be made, in time order and before any work on it; raises if it must not
        be made
    """
    begun: deque[_Begun] = deque()

    def tasks() -> Iterator[Task | None]:
        for epoch in work.in_order:
            if inputs_.takes_part(work.stage, epoch, work.world):
                one = _begin(work, epoch, refuse)
                begun.append(one)
                yield None if one.is_over else (epoch, one.inputs, work.is_drawn(epoch))

    for result in work.executor.results(work.maker(make), tasks(), len(work.in_order)):
        outcome = _outcome(work, begun.popleft(), result)
        if outcome is not None:
            yield outcome


def _begin(work: Work, epoch: str, refuse: Refuse | None) -> _Begun:
    inputs: Mapping[str, str] = {}
    try:
        current = work.world.record(work.stage, epoch)
        inputs = inputs_.of(work.stage, epoch, work.world)
        if current is not None and not work.forced and is_fresh(current, inputs, work.code):
            return _Begun(epoch, inputs, current)
        if refuse is not None:
            refuse(epoch, inputs)
        return _Begun(epoch, inputs)
    except Exception as error:  # noqa: BLE001 - recorded, shown, and raised again once the other epochs are done
        return _Begun(epoch, inputs, error=error)


def _outcome(work: Work, begun: _Begun, result: Callable[[], Made]) -> Outcome | None:
    outcome: Outcome | None
    try:
        if begun.error is not None:
            raise begun.error
        outcome = result() if begun.fresh is None else Made(begun.fresh, note=UNCHANGED)
    except Exception as error:  # noqa: BLE001 - recorded, shown, and raised again once the other epochs are done
        outcome = work.failed(begun.epoch, begun.inputs, error)
    progress.report(work.stage.name, begun.epoch)
    return outcome


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
    maker = work.maker(make)
    for epoch in work.others:
        if work.passed_over(epoch) is not None:
            continue
        inputs: Mapping[str, str] = {}
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
            yield work.made_again(maker(epoch, inputs, drawn=False), current, note)
        except Exception as error:  # noqa: BLE001 - recorded, shown, and raised again once the other epochs are done
            outcome = work.failed(epoch, inputs, error)
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
    former : gives the state that the epoch was folded onto when its record was made, of the same code and of the same
        versions of all else that is read; None if that is not known
    prepared : what `Step.prepare` gave for the epoch; None if it was not asked
    executor : where parts of the work on the epoch may be done
    """

    state: S
    earlier: Sequence[EpochRecord]
    inputs: Mapping[str, str]
    stored: EpochRecord | None
    prepared: Any = None
    executor: Executor = field(default_factory=Serial)
    former: Callable[[], S] | None = None


class Step(Protocol[S]):
    """What a stage that folds must say."""

    def nothing(self) -> S:
        """The state before the first epoch."""

    def stored_state(self, taking_part: Sequence[EpochRecord]) -> S:
        """The state after the last of these epochs, as stored."""

    def version(self, state: S) -> str:
        """Version of a state."""

    def hint(self, state: S) -> Any:
        """What `prepare` is told of the state after some earlier epoch, which need not be the last one before."""

    def prepare(self, epoch: str, hint: Any) -> Any:
        """The part of the work on one epoch that needs no state: done ahead of time, and maybe in another process."""

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
    in_order = in_time_order({*work.asked, *work.others}, work.world.at_a_glance.store)
    ahead: deque[tuple[str, Mapping[str, str] | None]] = deque()

    def tasks() -> Iterator[Task | None]:
        for epoch in in_order:
            inputs = walk.needs(epoch)
            ahead.append((epoch, inputs))
            yield None if inputs is None else (epoch, walk.hint())

    for prepare in work.executor.results(step.prepare, tasks(), len(in_order)):
        epoch, inputs = ahead.popleft()
        outcome = walk.visit(epoch, None if inputs is None else (inputs, prepare))
        if work.is_asked(epoch):
            progress.report(work.stage.name, epoch)
        if outcome is not None:
            yield outcome


def _without_state(inputs: Mapping[str, str]) -> dict[str, str]:
    return {name: version for name, version in inputs.items() if name != STATE_BEFORE}


# What was prepared for an epoch, and the versions that were read for that.
_Ahead = tuple[Mapping[str, str], Callable[[], Any]]


@dataclass
class _Walk(Generic[S]):
    """The fold's way along the epochs: the records that take part so far, and the state after the last of them."""

    work: Work
    step: Step[S]
    taking_part: list[EpochRecord] = field(default_factory=list)
    # After the last record that takes part; None where it is only stored.
    state: S | None = None
    # What was stored of the epochs so far, by the version of the state after it.
    stored: dict[str, EpochRecord] = field(default_factory=dict)

    def needs(self, epoch: str) -> Mapping[str, str] | None:
        """Versions of what an epoch is made from besides the state, if it is made whatever the state; else None.

        Others may be made again for the state alone, which asks for less work.
        """
        work = self.work
        if not work.is_asked(epoch):
            return None
        try:
            current = work.store.record(work.stage.name, epoch)
            inputs = _without_state(inputs_.of(work.stage, epoch, work.world))
        except (StoreError, InputError):
            return None
        if current is None or work.forced or current.code_version != work.code:
            return inputs
        return inputs if _without_state(current.inputs) != inputs else None

    def hint(self) -> Any:
        """What is told of the state so far to who prepares an epoch; None where the state was not read yet."""
        if self.state is not None:
            return self.step.hint(self.state)
        return None if self.taking_part else self.step.hint(self.step.nothing())

    def visit(self, epoch: str, ahead: _Ahead | None = None) -> Outcome | None:
        """Fold an epoch if it needs it; None where there is nothing to tell."""
        work = self.work
        asked = work.is_asked(epoch)
        if not asked and (fresh := work.passed_over(epoch, self._version())) is not None:
            self._remember(fresh)
            self._take(fresh, None)
            return None
        current: EpochRecord | None = None
        try:
            current = work.store.record(work.stage.name, epoch)
            inputs = inputs_.of(work.stage, epoch, work.world, self._version())
            self._remember(current)
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
        return self._make(epoch, inputs, current, ahead)

    def _make(
        self, epoch: str, inputs: Mapping[str, str], current: EpochRecord | None, ahead: _Ahead | None
    ) -> Outcome | None:
        work, asked = self.work, self.work.is_asked(epoch)
        try:
            stored = None if asked and work.forced else current
            # What was prepared from other versions, which were replaced meanwhile, is of no use.
            prepared = ahead[1]() if ahead is not None and ahead[0] == _without_state(inputs) else None
            former = self._former(inputs, stored)
            onto = Onto(self._state(), self.taking_part, inputs, stored, prepared, work.executor, former)
            content, after = self.step.make(epoch, onto)
            facts = {**content.facts, STATE_AFTER: self.step.version(after)}
            drawn = asked and work.is_drawn(epoch)
            made = self._maker.staged(epoch, inputs, replace(content, facts=facts), drawn)
        except Exception as error:  # noqa: BLE001 - recorded, shown, and raised again once the other epochs are done
            return work.failed(epoch, inputs, error)
        self._take(made.record, after)
        return made if asked else work.made_again(made, current, REFOLDED)

    def _remember(self, record: EpochRecord | None) -> None:
        if record is not None:
            self.stored[state_version(self.work.stage, record)] = record

    def _former(self, inputs: Mapping[str, str], stored: EpochRecord | None) -> Callable[[], S] | None:
        """See `Onto.former`."""
        if stored is None or stored.code_version != self.work.code:
            return None
        if _without_state(stored.inputs) != _without_state(inputs):
            return None
        version = stored.inputs.get(STATE_BEFORE, "")
        if version == NOTHING_BEFORE[self.work.stage.name]:
            return self.step.nothing
        before = self.stored.get(version)
        return None if before is None else partial(self.step.stored_state, [before])

    @cached_property
    def _maker(self) -> Maker:
        return self.work.maker(_never)

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


def _never(epoch: str, inputs: Mapping[str, str]) -> Content:
    raise AssertionError("a fold makes its epochs itself, each onto a state")
