"""A long walk through what may befall a project: whatever it was, one run later all is as from scratch.

    python -m contimg_assets_tests.benchmarks.soak [--steps 300] [--seed 1] [--database sqlite|postgresql]

Each step changes what lies in the incoming folder (epochs arrive in part or whole, are replaced, are deleted) and draws
a mishap: runs that are killed, a full disk, damaged files of the store, two runs at once, an epoch deleted under a
run's hands, a person's decision, readers beside the writer. After every other step one run has its quiet, and must end
well: the products are those of a run from scratch, cross matches with all decisions on top, and no decision is lost.

Runs are processes of their own, forked from one that has everything imported. Mishaps fall at random moments, so a
seed draws the same steps, not the same moments.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pandas as pd

from contimg_assets.crossmatch.overrides import ACTIONS
from contimg_assets.database import ProductsDatabase
from contimg_assets.database.engine import writing
from contimg_assets.database.models import TABLES
from contimg_assets.orchestration.runs.in_process import bring_up_to_date, delete_epoch
from contimg_assets.orchestration.runs.instance import open_instance
from contimg_assets.pipeline.products import matching_of
from contimg_assets.pipeline.store_check import check_store, mend_store
from contimg_assets_tests import postgres
from contimg_assets_tests.database.consistency import inconsistencies
from contimg_assets_tests.histories import ABSENT, CONFIGURATIONS, IN_PART, WHOLE, Sky, State, known_epochs, quick, told
from contimg_assets_tests.projects import TestProject, assert_same_rows

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["contimg_assets_tests.preloaded", "contimg_assets_tests.benchmarks.soak"])
_PATIENCE_SECONDS = 600
_DECISIONS, _ALIASES, _MATCHES = "match_overrides", "source_aliases", "cross_matches"
# What a run from scratch does not have, or has without what people decided.
_COMPARED_APART = (_DECISIONS, _ALIASES, _MATCHES)
_ENDED_WELL = 0
# Mishaps fall upon what other mishaps have left, too.
_SHARE_OF_QUIET = 0.5


def run(folder: Path, survey: Path) -> None:
    """`contimg run` in a process of its own; exit status 1 if anything is not well."""
    _begin(folder)
    project = TestProject(folder, survey).project
    with open_instance(folder) as instance:
        report = bring_up_to_date(project, instance)
    _end(told(report))


def run_on_a_full_disk(folder: Path, survey: Path, n_bytes: int) -> None:
    """A run that may write no file larger than this."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))
    run(folder, survey)


def delete(folder: Path, survey: Path, epoch: str) -> None:
    """`contimg epoch delete`."""
    _begin(folder)
    project = TestProject(folder, survey).project
    with open_instance(folder) as instance:
        report = delete_epoch(project, instance, epoch)
    _end(told(report))


def read_on(folder: Path, survey: Path, enough: Any) -> None:
    """A reader who looks again and again, until told that it is enough: he never sees half of anything."""
    with TestProject(folder, survey).project.products as database:
        while not enough.wait(0.05):
            if database.current() is not None and (found := inconsistencies(database)):
                _end([str(found)])
    _end([])


def _begin(folder: Path) -> None:
    """Work in the project's folder, as people do, and without pictures."""
    os.chdir(folder)
    # What Dagster and other libraries say of a disk that is full on purpose is for those who look for it.
    with Path(folder, "errors.log").open("ab") as log:
        os.dup2(log.fileno(), 2)
    quick().__enter__()


def _end(wrong: list[str]) -> None:
    sys.stdout.write("".join(f"    {line}\n" for line in wrong))
    sys.stdout.flush()
    os._exit(1 if wrong else _ENDED_WELL)


class Soak:
    """One project on its walk."""

    def __init__(self, folder: Path, sky: Sky, seed: int, url: str | None = None) -> None:
        self.sky, self.draw = sky, random.Random(seed)
        self.project = sky.project(folder)
        if url is not None:
            self.project.configure(**sky.sections() | {"paths": {"products": url}})
        self.state: State = (ABSENT,) * len(sky.epochs)
        self.decisions: list[dict[str, Any]] = []
        self.seconds = [5.0]
        # Since the last comparison.
        self.what: list[str] = []
        self.mishaps: dict[str, Callable[[], None]] = {
            "quiet": lambda: None,
            "killed": self.killed,
            "full disk": self.full_disk,
            "damaged": self.damaged,
            "two at once": self.two_at_once,
            "deleted meanwhile": self.deleted_meanwhile,
            "decision": self.decision,
            "readers": self.readers,
        }

    @property
    def folder(self) -> Path:
        return self.project.folder

    def step(self) -> str:
        """Change something and let something happen; every other time, run in quiet and compare. What, in words."""
        what = f"{self.change()} {(mishap := self.draw.choice(list(self.mishaps)))}"
        self.what.append(what)
        self.mishaps[mishap]()
        if self.draw.random() < _SHARE_OF_QUIET:
            self.rest()
            return f"{what}; quiet, and as from scratch"
        return what

    def rest(self) -> None:
        """Run in quiet, which must end well, and compare."""
        began = time.monotonic()
        assert self.join(self.start(run)) == _ENDED_WELL, self.what
        self.seconds.append(time.monotonic() - began)
        self.compare()
        self.what.clear()

    def change(self) -> str:
        """Let epochs arrive, be replaced or go."""
        numbers = self.draw.sample(range(len(self.state)), self.draw.randint(0, len(self.state)))
        for number in numbers:
            self.put(number, self.draw.choice([ABSENT, IN_PART, IN_PART, WHOLE, WHOLE]))
        return "".join(map(str, self.state))

    def put(self, number: int, content: int) -> None:
        there = self.state[number] != ABSENT
        self.sky.deliver(self.folder / "incoming", number, content)
        self.state = (*self.state[:number], content, *self.state[number + 1 :])
        epoch = self.sky.epochs[number]
        if there and content == ABSENT and epoch in known_epochs(self.project.project):
            assert self.join(self.start(delete, epoch)) == _ENDED_WELL, f"deleting {epoch}"

    def start(self, work: Callable[..., None], *arguments: Any) -> BaseProcess:
        process = _PROCESSES.Process(target=work, args=(self.folder, self.project.survey, *arguments), daemon=True)
        process.start()
        return process

    @staticmethod
    def join(process: BaseProcess) -> int | None:
        process.join(_PATIENCE_SECONDS)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise AssertionError(f"a run was still going on after {_PATIENCE_SECONDS} s")
        return process.exitcode

    def wait_a_while(self) -> None:
        """As long as some part of a run may take."""
        time.sleep(self.draw.uniform(0.0, 1.2) * statistics.median(self.seconds[-9:]))

    def killed(self) -> None:
        """Up to three runs are killed at any moment."""
        for _ in range(self.draw.randint(1, 3)):
            process = self.start(run)
            self.wait_a_while()
            process.kill()
            process.join()

    def full_disk(self) -> None:
        """A run finds no room for larger files."""
        self.join(self.start(run_on_a_full_disk, self.draw.choice([0, 3_000, 20_000, 60_000, 150_000, 400_000])))

    def damaged(self) -> None:
        """Files of the store are gone, cut, empty or full of something else; `contimg check` finds the latter."""
        files = sorted(file for file in (self.folder / "store").rglob("*") if file.is_file())
        for file in self.draw.sample(files, min(len(files), self.draw.randint(1, 4))):
            if file.parent.name == "buried":
                continue
            content = file.read_bytes()
            how = self.draw.choice(["gone", "cut", "empty", "other"])
            if how == "gone":
                file.unlink()
            else:
                kept = {"cut": content[: len(content) // 2], "empty": b"", "other": self.draw.randbytes(len(content))}
                file.write_bytes(kept[how])
        project = self.project.project
        assert mend_store(project, check_store(project)) == []

    def two_at_once(self) -> None:
        """Two runs at once: what one makes, the other finds made. Neither fails for the other."""
        both = [self.start(run) for _ in range(2)]
        ended = [self.join(process) for process in both]
        assert ended == [_ENDED_WELL, _ENDED_WELL], self.what

    def deleted_meanwhile(self) -> None:
        """An epoch is taken away and deleted while a run is at work on it."""
        present = [number for number, content in enumerate(self.state) if content != ABSENT]
        if not present:
            return
        number = self.draw.choice(present)
        self.put(number, WHOLE if self.state[number] == IN_PART else IN_PART)
        process = self.start(run)
        self.wait_a_while()
        self.put(number, ABSENT)
        self.join(process)

    def decision(self) -> None:
        """A person accepts or rejects a counterpart, withdraws that, or comments on it."""
        project = self.project.project
        with project.products as database:
            matches = database.read_table(_MATCHES) if database.is_current() else pd.DataFrame()
            if matches.empty:
                return
            match = matches.iloc[self.draw.randrange(len(matches))]
            database.decide_match(
                self.draw.choice(list(ACTIONS)),
                match["source_id"],
                match["catalog_type"],
                match["catalog_source_id"],
                comment=f"said at step {len(self.seconds)}",
                matching=matching_of(project.config),
            )
            self.decisions = _records(database.read_table(_DECISIONS))

    def readers(self) -> None:
        """Others read while a run writes."""
        enough = _PROCESSES.Event()
        reader = self.start(read_on, enough)
        self.join(self.start(run))
        enough.set()
        assert self.join(reader) == _ENDED_WELL, "a reader saw what must not be there"

    def compare(self) -> None:
        """The products are those of a run from scratch, with all that people decided."""
        if not any(self.state):
            assert known_epochs(self.project.project) == set(), "these should be gone"
            return
        rows, expected = self.project.rows(), self.sky.from_scratch(self.state)
        assert_same_rows(without_decisions(rows), without_decisions(expected), without=_COMPARED_APART)
        assert _records(rows[_DECISIONS]) == self.decisions, "decisions differ"
        assert_same_rows({_MATCHES: rows[_MATCHES]}, {_MATCHES: self.matches_from_scratch(rows)})

    def matches_from_scratch(self, rows: dict[str, pd.DataFrame]) -> pd.DataFrame:
        """Cross matches of a run from scratch, after decisions and aliases were put back and applied."""
        if rows[_DECISIONS].empty:
            return self.sky.from_scratch(self.state)[_MATCHES]
        scratch = self.sky.known[self.state]
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "products.sqlite3")
            with (
                contextlib.closing(sqlite3.connect(scratch.folder / file.name)) as source,
                contextlib.closing(sqlite3.connect(file)) as copy,
            ):
                source.backup(copy)
            with ProductsDatabase(file) as database:
                with writing(database.engine) as connection:
                    for name in (_DECISIONS, _ALIASES):
                        table = rows[name].astype(object).where(rows[name].notna(), None)
                        if len(table):
                            connection.execute(TABLES[name].insert(), _records(table))
                config = scratch.project.config
                # Another version than recorded: all are matched again.
                database.replace_epochs([], config.variability, None)
                database.replace_epochs([], config.variability, matching_of(config))
                return database.read_table(_MATCHES)


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def without_decisions(rows: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Tables, but for the version of what people decided, which a run from scratch knows nothing of."""
    recomputed = rows["recomputed_with"]
    return rows | {"recomputed_with": recomputed[recomputed["name"] != "decisions"].reset_index(drop=True)}


@contextlib.contextmanager
def database_url(kind: str) -> Iterator[str | None]:
    """Where products are kept: None for a file within the project."""
    if kind == "sqlite":
        yield None
        return
    with postgres.running() as server:
        yield postgres.fresh_database(server)


def main() -> None:
    """Walk, tell of every step, and say at the end how many there were."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--configuration", choices=list(CONFIGURATIONS), default="forking")
    parser.add_argument("--sky", type=Path, help="folder of runs from scratch, for several of this kind to share")
    parser.add_argument("--folder", type=Path, help="to work in; left as it is at the end, for a look at what differs")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="soak-"))
    folder.mkdir(exist_ok=True)
    began = time.monotonic()
    with quick(), database_url(options.database) as url:
        sky = Sky(options.sky or folder / "sky", CONFIGURATIONS[options.configuration])
        soak = Soak(folder / "project", sky, options.seed, url)
        for number in range(options.steps):
            what = soak.step()
            print(f"{number + 1:4d} {time.monotonic() - began:7.0f} s  {what}", flush=True)
        soak.rest()
    print(f"{options.steps} steps, 0 differences, {len(soak.decisions)} decisions, {time.monotonic() - began:.0f} s")
    if options.folder is None:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
