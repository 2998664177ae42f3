"""Where the work on epochs is done: here, in threads, or in other processes; results and their order are the same.

An `Executor` is asked for the results of tasks in their order, and may work ahead. It hands a thing to do to
something that has ``submit(function, *arguments)`` and gives futures, as `concurrent.futures` has it. The engine that
spans machines is one more of them, in `dask_engine`; `engines` has the one that is configured.

What fails elsewhere is done once more here. So errors are raised where they can be told as they are, a helper that was
killed costs time and nothing else, and all executors end in the same failures with the same sentences.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent import futures
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache, partial
from multiprocessing.connection import wait
from types import ModuleType
from typing import Any, Protocol, TypeVar

import pyarrow as pa

from contimg_assets.errors import ComputeError

_LOG = logging.getLogger(__name__)
_PACKAGE = __name__.partition(".")[0]
R = TypeVar("R")
Result = TypeVar("Result", covariant=True)
Task = tuple[Any, ...]
# Told of where the work is done, once that is known: by what it is called, the words or address to show.
Tell = Callable[[Mapping[str, str]], None]

# Work of a stage that is left must be longer than this, or other processes save nothing [s of a processor]: the first
# ones load what the stages need, which takes three seconds, and later stages have them at once. A backfill of 20 epochs
# of 10,000 takes 31 s alone; with two processes 18 s here and 21 s there.
_LONG_AT_FIRST_S, _LONG_S = 3.0, 0.5
# What the first task of a stage may take besides its own work [s of a processor]: modules are loaded and catalogs read
# that the tasks after it have at once.
_LOADING_S = 2.0
# Tasks by which it is judged what the next ones will take.
_LATEST = 20
# What work on epochs loads where it is first needed: the process that helpers are copies of loads it once for them all.
_LOADED_LATE = ("astropy_healpix", "scipy.ndimage", "scipy.optimize", "scipy.spatial")


class Executor(Protocol):
    """Gives the results of tasks in their order."""

    def results(self, work: Callable[..., R], tasks: Iterable[Task | None], n_tasks: int) -> Iterator[Callable[[], R]]:
        """For each task what gives its result, or raises what the work raised.

        Parameters
        ----------
        work : done for each task, with the task as its arguments; the same result wherever and whenever it is done
        tasks : read as far ahead as there is room; None where nothing is to be done ahead of time
        n_tasks : how many they are at most

        Returns
        -------
        Iterator of functions; that of a None must not be called
        """


class Future(Protocol[Result]):
    """What a helper was given to do."""

    def result(self) -> Result:
        """What came of it; raises what the work raised."""

    def cancel(self) -> object:
        """It is no longer wanted."""


class Helpers(Protocol):
    """Those that a thing to do is handed to."""

    def submit(self, function: Callable[..., R], /, *arguments: Any) -> Future[R]:
        """Hand it on.

        Raises
        ------
        RuntimeError
            If there are no helpers any more.
        """


class Serial:
    """Does each task here, when its result is asked for."""

    def results(self, work: Callable[..., R], tasks: Iterable[Task | None], n_tasks: int) -> Iterator[Callable[[], R]]:
        """See `Executor.results`."""
        for task in tasks:
            yield partial(work if _seconds is None else partial(_timed_into, _seconds, work), *(task or ()))


# Where `timing_tasks` collects; None where nobody asks.
_seconds: list[float] | None = None


@contextmanager
def timing_tasks() -> Iterator[list[float]]:
    """Collect the processor seconds of each task that is done here meanwhile: what helpers would have taken over."""
    global _seconds
    before, _seconds = _seconds, []
    try:
        yield _seconds
    finally:
        _seconds = before


class Helped:
    """Has helpers, which are there from the first task to the last one.

    Parameters
    ----------
    n_at_once : tasks that are under way or done and not asked for yet
    """

    def __init__(self, n_at_once: int) -> None:
        self._n_at_once = n_at_once

    def _helpers(self) -> AbstractContextManager[Helpers]:
        raise NotImplementedError

    def _sendable(self, work: Callable[..., R]) -> Callable[..., R] | None:
        """The work as it is handed on; None if it cannot be."""
        raise NotImplementedError

    def results(self, work: Callable[..., R], tasks: Iterable[Task | None], n_tasks: int) -> Iterator[Callable[[], R]]:
        """See `Executor.results`."""
        sendable = self._sendable(work)
        if sendable is None:
            yield from Serial().results(work, tasks, n_tasks)
            return
        with self._helpers() as helpers:
            waiting: deque[tuple[Task | None, Future[R] | None]] = deque()
            try:
                for task in tasks:
                    waiting.append((task, None if task is None else _submitted(helpers, sendable, task)))
                    if len(waiting) >= self._n_at_once:
                        yield _result(work, *waiting.popleft())
                while waiting:
                    yield _result(work, *waiting.popleft())
            finally:
                for _, future in waiting:
                    if future is not None:
                        future.cancel()


class Threads(Helped):
    """Threads of this process: they share its memory, and the interpreter, which one of them has at a time."""

    def __init__(self, n_workers: int, n_at_once: int) -> None:
        super().__init__(n_at_once)
        self._n_workers = n_workers

    def _helpers(self) -> AbstractContextManager[Helpers]:
        return ThreadPoolExecutor(self._n_workers, thread_name_prefix="epochs")

    def _sendable(self, work: Callable[..., R]) -> Callable[..., R] | None:
        return work


class Processes(Helped):
    """Other processes of this machine, copies of one that has loaded what stages need.

    They end with this process, however it ends. Work that cannot be sent to another process, such as a function within
    a function, is done here.
    """

    def __init__(self, n_workers: int, n_at_once: int) -> None:
        super().__init__(n_at_once)
        self._n_workers = n_workers

    # Whether one that has loaded what stages need is there already.
    _began = False

    @property
    def long_s(self) -> float:
        """Work that is shorter is done sooner here [s]."""
        return _LONG_S if Processes._began else _LONG_AT_FIRST_S

    def _helpers(self) -> AbstractContextManager[Helpers]:
        Processes._began = True
        # Not copies of this process: it has threads, and a lock that one of them holds would stay locked for ever. What
        # it has loaded so far is loaded once, in the process that they are copies of.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(loaded_modules())
        return _ProcessPool(self._n_workers, context, initializer=_begin_helping)

    def _sendable(self, work: Callable[..., R]) -> Callable[..., R] | None:
        return packed(work)


def loaded_modules() -> list[str]:
    """What helpers will need, most likely: modules of this package that this process has loaded, and a few others."""
    return [*sorted(name for name in sys.modules if name.startswith(f"{_PACKAGE}.")), *_LOADED_LATE]


class Auto:
    """Works alone until what is left would take longer than it takes other processes to start, then with them."""

    def __init__(self, helped: Processes) -> None:
        self._helped = helped

    def results(self, work: Callable[..., R], tasks: Iterable[Task | None], n_tasks: int) -> Iterator[Callable[[], R]]:
        """See `Executor.results`."""
        left = iter(tasks)
        timed: list[float] = []
        for n_begun, task in enumerate(left):
            yield partial(_timed, work, task or (), timed)
            n_left = n_tasks - n_begun - 1
            if n_left > 1 and n_left * _expected(timed) > self._helped.long_s:
                yield from self._helped.results(work, left, n_left)


def _expected(seconds: list[float]) -> float:
    """What one more task will take [s of a processor], from what those before it took, the first of them first."""
    latest = seconds[max(1, len(seconds) - _LATEST) :]
    return sum(latest) / len(latest) if latest else max(0.0, sum(seconds) - _LOADING_S)


def _submitted(helpers: Helpers, work: Callable[..., R], task: Task) -> Future[R] | None:
    try:
        return helpers.submit(work, *task)
    except RuntimeError:
        # A helper was killed, for which all the others are let go: what is left is done here.
        return None


def _result(work: Callable[..., R], task: Task | None, future: Future[R] | None) -> Callable[[], R]:
    def result() -> R:
        if future is not None:
            try:
                return future.result()
            except ComputeError:
                # Done here it would do to this process what it has done to its helpers.
                raise
            except Exception as error:  # noqa: BLE001 - raised here, where it can be told, by doing it once more
                _LOG.debug("done once more, for elsewhere it ended with %r", error)
        return work(*(task or ()))

    return result


def _timed_into(seconds: list[float], work: Callable[..., R], *task: Any) -> R:
    return _timed(work, task, seconds)


def _timed(work: Callable[..., R], task: Task, seconds: list[float]) -> R:
    # Not by the clock: on a machine that is busy otherwise, helpers would have to wait as well.
    start = time.process_time()
    try:
        return work(*task)
    finally:
        seconds.append(time.process_time() - start)


class _ProcessPool(ProcessPoolExecutor):
    """`ProcessPoolExecutor` whose processes do not execute the script that this one was started with.

    They need nothing of it, and one without ``if __name__ == "__main__"`` would run everything once more in each.
    """

    def submit(self, function: Callable[..., R], /, *arguments: Any, **named: Any) -> futures.Future[R]:
        # A process is started when there is something for it to do.
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            return super().submit(function, *arguments, **named)
        finally:
            sys.modules["__main__"] = main


def packed(work: Callable[..., R]) -> Callable[..., R] | None:
    """The work as it is sent to other processes, each of which unpacks it once; None if it cannot be sent."""
    try:
        return partial(_unpacked_and_done, pickle.dumps(work))
    except (pickle.PicklingError, AttributeError, TypeError):
        return None


@lru_cache(maxsize=4)
def _unpacked(work: bytes) -> Callable[..., Any]:
    # Kept: a reference catalog that the work holds is read once, not for every epoch.
    unpacked: Callable[..., Any] = pickle.loads(work)  # noqa: S301 - written by this package's own process
    return unpacked


def _unpacked_and_done(work: bytes, *task: Any) -> Any:
    return _unpacked(work)(*task)


def _begin_helping() -> None:
    """What a helping process does first."""
    # Whoever interrupts a run means the process that has started it, which lets its helpers go.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Each epoch has a process: more threads than cores would only be in each other's way.
    pa.set_cpu_count(1)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(parent: int) -> None:
    wait([parent])
    os._exit(1)
