"""Dask's workers may be lost, strangers, or blind; each has its sentence, and results are the same."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from contimg_assets.config import Compute
from contimg_assets.errors import ComputeError
from contimg_assets.pipeline import dask_cluster, dask_engine
from contimg_assets.pipeline.dask_cluster import job_script
from contimg_assets.pipeline.dask_engine import Dask, Workers, connected, versions_here
from contimg_assets_tests.pipeline.test_executors import DASK, all_of, process_of, square


def slow_square(number: int) -> int:
    time.sleep(0.2)
    return number * number


def killed_once(folder: str, number: int) -> int:
    """Its process is killed the first time that number 5 is its task."""
    mark = Path(folder) / "killed"
    if number == 5 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def deadly(here: int, number: int) -> int:
    if number == 1 and os.getpid() != here:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_workers_are_other_processes_and_are_told_of(tmp_path: Path) -> None:
    told: list[dict[str, str]] = []
    found = all_of(Dask(DASK, tmp_path, lambda said: told.append(dict(said))), process_of, range(4))
    assert os.getpid() not in found
    assert told[0]["dask workers"] == "1 worker, 1 at once, 2.0 GB of memory each"
    assert told[0]["dask dashboard"].startswith("http://127.0.0.1:")
    assert not list(tmp_path.iterdir())


def test_what_a_killed_worker_had_is_done_by_another(tmp_path: Path) -> None:
    assert all_of(Dask(DASK), partial(killed_once, str(tmp_path)), range(12)) == [n * n for n in range(12)]
    assert (tmp_path / "killed").exists()


def test_a_scheduler_that_the_run_has_started_is_started_again() -> None:
    results: list[int] = []
    for done, result in enumerate(Dask(DASK).results(slow_square, ((number,) for number in range(8)), 8)):
        if done == 2:
            with connected(DASK) as connection:
                assert connection.cluster is not None
                connection.cluster.kill()
        results.append(result())
    assert results == [number * number for number in range(8)]


def test_a_worker_that_is_gone_for_good_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASK_DISTRIBUTED__DEPLOY__LOST_WORKER_TIMEOUT", "1s")
    own = DASK.model_copy(update={"memory": "1 GB"})
    with connected(own) as connection:
        (gone,) = connection.client.scheduler_info()["workers"]
        # What looks after a worker lets it go then, as it does where one is killed again and again.
        connection.client.retire_workers([gone])
    assert os.getpid() not in all_of(Dask(own), process_of, range(3))


@pytest.mark.slow
def test_work_that_kills_every_worker_is_not_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "1")
    own = DASK.model_copy(update={"memory": "1.5 GB"})
    results = list(Dask(own).results(partial(deadly, os.getpid()), ((number,) for number in range(3)), 3))
    assert (results[0](), results[2]()) == (0, 2)
    with pytest.raises(ComputeError, match=r"4 Dask workers died of this epoch, each with 1\.5 GB; give them more"):
        results[1]()


def test_a_cluster_that_does_not_start_is_started_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """One worker that is killed as it begins fails Dask's whole cluster."""
    said = [{"failed": "no worker"}, {"address": "tcp://here"}, {"failed": "no worker"}, {}]
    ended: list[str] = []
    monkeypatch.setattr(dask_engine, "_end", ended.append)
    monkeypatch.setattr(dask_engine, "_try_to_start", lambda compute: (f"process {len(said)}", said.pop(0)))
    assert dask_engine._start(DASK) == ("process 3", "tcp://here")
    assert ended == ["process 4"]
    said[0], said[1] = said[1], said[0]
    with pytest.raises(ComputeError, match=r"Dask's local cluster did not start \(no worker\); give workers more"):
        dask_engine._start(DASK)
    assert ended == ["process 4", "process 2", "process 1"]


def test_why_a_cluster_does_not_start_is_said_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(asked: object) -> None:
        raise RuntimeError("Nanny failed to start.") from RuntimeError("the worker process was killed")

    monkeypatch.setattr(dask_cluster, "_started", fail)
    monkeypatch.setattr("sys.stdin", io.StringIO('{"cluster": "local", "options": {}}\n'))
    with pytest.raises(SystemExit):
        dask_cluster.main()
    assert json.loads(capsys.readouterr().out) == {"failed": "the worker process was killed"}


def test_workers_with_other_versions_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    other = versions_here() | {"pandas": "1.0", "contimg_assets": "0.0 (code 0)"}
    monkeypatch.setattr(dask_engine, "versions_here", lambda: other)
    with pytest.raises(
        ComputeError, match=r"the Dask worker at tcp://127\S+ has pandas .* \(here 1\.0\), contimg_assets .* \(here 0"
    ):
        all_of(Dask(DASK), square, range(3))


def test_workers_that_do_not_see_the_store_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = dask_engine._asked_for_file
    monkeypatch.setattr(dask_engine, "_asked_for_file", lambda name: elsewhere(name.replace(str(tmp_path), "/tmp")))
    with pytest.raises(ComputeError, match=r"the Dask worker at tcp://127\S+ does not see .*; mount the project's"):
        all_of(Dask(DASK, tmp_path), square, range(3))
    assert not list(tmp_path.iterdir())


def test_without_dask_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ComputeError, match=r"distributed is not installed; pip install 'contimg-assets\[dask\]', or"):
        Dask(DASK)


def test_a_scheduler_that_is_not_there_is_named() -> None:
    nobody = Compute(engine="dask", address=f"tcp://127.0.0.1:{free_port()}", wait_minutes=0.01)
    with pytest.raises(ComputeError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:\d+; start it"):
        all_of(Dask(nobody), square, range(3))


def test_what_is_told_of_workers_without_limits() -> None:
    told = Workers(3, 12, 0, "http://here").told
    assert told["dask workers"] == "3 workers, 12 at once, no limit of memory"


def test_the_job_script_says_what_is_configured() -> None:
    pytest.importorskip("dask_jobqueue")
    slurm = {
        "partition": "sky",
        "account": "dsa110",
        "walltime": "02:30:00",
        "workers_per_job": 4,
        "scratch": "/scratch/$USER",
        "directives": ["--constraint=haswell"],
        "before": ["module load python/3.11"],
    }
    script = job_script(Compute(engine="dask", cluster="slurm", workers=8, memory="3 GB", wait_minutes=5, slurm=slurm))
    lines = script.splitlines()
    for line in (
        "#SBATCH -p sky",
        "#SBATCH -A dsa110",
        "#SBATCH -t 02:30:00",
        "#SBATCH --cpus-per-task=4",
        "#SBATCH --constraint=haswell",
        "#SBATCH --mem=12G",
        "module load python/3.11",
    ):
        assert line in lines
    # Four workers of one thread share the job's memory.
    (command,) = (line for line in lines if "tcp://SCHEDULER:PORT" in line)
    assert command.startswith(sys.executable)
    for words in ("--nthreads 1", "--nworkers 4", "--memory-limit 2.79GiB", "--death-timeout 300", "/scratch/$USER"):
        assert words in command


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class OwnCluster:
    """Scheduler and worker that somebody started by hand: `dask scheduler`, `dask worker`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.scheduler = self.start_scheduler()
        self.worker = self.start_worker()

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def start_scheduler(self) -> subprocess.Popen[bytes]:
        return self._start("scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard")

    def start_worker(self) -> subprocess.Popen[bytes]:
        return self._start("worker", self.address, "--nthreads", "1", "--local-directory", str(self.folder))

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{words[0]}.log").open("ab") as log:
            return subprocess.Popen([sys.executable, "-m", "dask", *words], stderr=log, stdout=log)

    def restart(self) -> None:
        """The scheduler is killed; its workers end with it, and what looks after both starts them again."""
        self.scheduler.kill()
        self.scheduler.wait()
        self.scheduler = self.start_scheduler()
        self.worker.wait(30)
        self.worker = self.start_worker()

    def end(self) -> None:
        for process in (self.worker, self.scheduler):
            process.terminate()
        for process in (self.worker, self.scheduler):
            process.wait(30)


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[OwnCluster]:
    cluster = OwnCluster(tmp_path)
    try:
        yield cluster
    finally:
        cluster.end()


@pytest.mark.slow
def test_results_are_the_same_when_the_scheduler_is_started_again(own_cluster: OwnCluster) -> None:
    compute = Compute(engine="dask", address=own_cluster.address)
    results: list[Any] = []
    for done, result in enumerate(Dask(compute).results(slow_square, ((number,) for number in range(20)), 20)):
        if done == 4:
            own_cluster.restart()
        results.append(result())
    assert results == [number * number for number in range(20)]


@pytest.mark.slow
def test_the_run_goes_on_alone_where_no_scheduler_comes_back(
    own_cluster: OwnCluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    compute = Compute(engine="dask", address=own_cluster.address, wait_minutes=0.5)
    results: list[int] = []
    for done, result in enumerate(Dask(compute).results(slow_square, ((number,) for number in range(10)), 10)):
        if done == 2:
            monkeypatch.setattr(dask_engine, "_CONNECT_S", 0.5)
            own_cluster.scheduler.kill()
        results.append(result())
    assert results == [number * number for number in range(10)]
    assert [line for line in caplog.messages if "the run goes on alone" in line] == [
        f"The Dask scheduler at {own_cluster.address}, or all its workers, are gone; the run goes on alone."
    ]


SCRIPT = """
import sys, time
from contimg_assets.config import Compute
from contimg_assets.pipeline.dask_engine import Dask
from contimg_assets_tests.pipeline.test_executors import note_and_wait

for result in Dask(Compute(engine="dask", workers=1)).results(note_and_wait, ((sys.argv[1], 600.0),) * 2, 2):
    result()
"""


@pytest.mark.slow
def test_a_script_without_a_main_guard_is_run_once_and_its_workers_end_with_it(tmp_path: Path) -> None:
    script, folder = tmp_path / "script.py", tmp_path / "workers"
    folder.mkdir()
    script.write_text(SCRIPT, encoding="utf-8")
    with subprocess.Popen([sys.executable, str(script), str(folder)]) as process:
        deadline = time.monotonic() + 120
        while not list(folder.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.05)
        (worker,) = (int(path.name) for path in folder.iterdir())
        process.kill()
    deadline = time.monotonic() + 60
    while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{worker}").exists()


@pytest.mark.slow
def test_a_connection_serves_all_stages() -> None:
    with connected(DASK) as first, connected(DASK.model_copy(update={"epochs_ahead": 9})) as second:
        assert first is second
