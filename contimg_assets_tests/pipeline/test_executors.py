"""Where work is done changes nothing: same results, same order, same errors, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import pytest

from contimg_assets.config import Compute
from contimg_assets.errors import InputError
from contimg_assets.pipeline.dask_engine import Dask
from contimg_assets.pipeline.engines import executor_of
from contimg_assets.pipeline.executors import Auto, Executor, Processes, Serial, Task, Threads

# One worker of Dask, whose tasks have less to wait for on a machine of two cores.
DASK = Compute(engine="dask", workers=1, epochs_ahead=4, wait_minutes=2)
EXECUTORS = [Serial(), Threads(2, 4), Processes(2, 4), Auto(Processes(2, 4)), Dask(DASK)]
every_executor = pytest.mark.parametrize("executor", EXECUTORS, ids=lambda one: type(one).__name__)


def square(number: int) -> int:
    return number * number


def picky(number: int) -> int:
    if number == 3:
        raise InputError("three is not allowed") from OSError(28, "no space left")
    return number


def process_of(number: int) -> int:
    return os.getpid()


def killed_elsewhere(here: int, number: int) -> int:
    if os.getpid() != here:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def all_of(executor: Executor, work: Callable[[int], int], numbers: range) -> list[int]:
    return [result() for result in executor.results(work, ((number,) for number in numbers), len(numbers))]


@every_executor
def test_results_come_in_the_order_of_the_tasks(executor: Executor) -> None:
    assert all_of(executor, square, range(20)) == [number * number for number in range(20)]
    assert all_of(executor, square, range(0)) == []


@every_executor
def test_an_error_is_raised_as_it_was_and_the_others_go_on(executor: Executor) -> None:
    results, errors = [], []
    for result in executor.results(picky, ((number,) for number in range(6)), 6):
        try:
            results.append(result())
        except InputError as error:
            errors.append(error)
    assert results == [0, 1, 2, 4, 5]
    assert [str(error) for error in errors] == ["three is not allowed"]
    # What lies behind an error tells whether it may pass; it is lost on the way from another process.
    assert isinstance(errors[0].__cause__, OSError)


@every_executor
def test_no_more_is_under_way_than_there_is_room_for(executor: Executor) -> None:
    taken: list[int] = []

    def tasks() -> Iterator[Task | None]:
        for number in range(12):
            taken.append(number)
            yield (number,)

    for done, result in enumerate(executor.results(square, tasks(), 12)):
        assert len(taken) <= done + 4
        assert result() == done * done


@every_executor
def test_nothing_is_done_where_there_is_nothing_to_do(executor: Executor) -> None:
    tasks = [None, (2,), None]
    _, second, _ = list(executor.results(square, tasks, 3))
    assert second() == 4


@every_executor
def test_work_that_cannot_be_sent_is_done(executor: Executor) -> None:
    offset = 5
    assert all_of(executor, lambda number: number + offset, range(4)) == [5, 6, 7, 8]


def test_processes_are_others() -> None:
    assert os.getpid() not in all_of(Processes(2, 4), process_of, range(4))


def test_what_a_killed_process_had_is_done_here() -> None:
    assert all_of(Processes(2, 4), partial(killed_elsewhere, os.getpid()), range(8)) == list(range(8))


def test_short_work_is_done_here() -> None:
    assert set(all_of(Auto(Processes(2, 4)), process_of, range(50))) == {os.getpid()}


class Noting(Processes):
    """Notes how many tasks it was left, and does them here."""

    long_s = 0.5

    def __init__(self) -> None:
        super().__init__(2, 4)
        self.left: list[int] = []

    def results(self, work: Callable, tasks: Iterable[Task | None], n_tasks: int) -> Iterator[Callable]:
        self.left.append(n_tasks)
        return Serial().results(work, tasks, n_tasks)


def busy(seconds: dict[int, float], number: int) -> int:
    end = time.process_time() + seconds.get(number, 0.1)
    while time.process_time() < end:
        pass
    return number


def test_what_the_first_task_loads_is_not_taken_for_work_that_is_left() -> None:
    helped = Noting()
    of_one_that_loads = partial(busy, {0: 0.3, **dict.fromkeys(range(1, 10), 0.0)})
    assert all_of(Auto(helped), of_one_that_loads, range(10)) == list(range(10))
    assert helped.left == []
    assert all_of(Auto(helped), partial(busy, {}), range(10)) == list(range(10))
    assert helped.left == [8]


@pytest.mark.parametrize(
    ("compute", "kind"),
    [
        (Compute(), Auto),
        (Compute(workers=1), Serial),
        (Compute(engine="serial"), Serial),
        (Compute(engine="threads", workers=3), Threads),
        (Compute(engine="processes"), Processes),
        (Compute(executor="processes"), Processes),
        (DASK, Dask),
    ],
)
def test_the_configuration_chooses(compute: Compute, kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Compute, "n_workers", property(lambda self: self.workers or 2))
    assert type(executor_of(compute)) is kind


SCRIPT = """
import sys, time
from pathlib import Path
from contimg_assets.pipeline.executors import Processes
from contimg_assets_tests.pipeline.test_executors import note_and_wait

print("begun", flush=True)
for result in Processes(2, 4).results(note_and_wait, ((sys.argv[1], 0.0),) * 2, 2):
    result()
print("done", flush=True)
for result in Processes(2, 4).results(note_and_wait, ((sys.argv[1], 600.0),) * 2, 2):
    result()
"""


def note_and_wait(folder: str, seconds: float) -> None:
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(seconds)


@pytest.mark.slow
def test_a_script_without_a_main_guard_is_run_once_and_its_helpers_end_with_it(tmp_path: Path) -> None:
    script, folder = tmp_path / "script.py", tmp_path / "helpers"
    folder.mkdir()
    script.write_text(SCRIPT, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    command = [sys.executable, str(script), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["begun\n", "done\n"]
        first = set(folder.iterdir())
        while len(waiting := set(folder.iterdir()) - first) < 2:
            time.sleep(0.05)
        process.kill()
        assert process.stdout.read() == ""
    helpers = {int(path.name) for path in waiting}
    deadline = time.monotonic() + 60
    while helpers and time.monotonic() < deadline:
        helpers = {pid for pid in helpers if Path(f"/proc/{pid}").exists()}
        time.sleep(0.05)
    assert not helpers
