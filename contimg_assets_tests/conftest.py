"""Fixtures that every folder of tests uses."""

import gc
import os
import shutil
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import hypothesis
import pytest
import typer.main
import typer.testing

from contimg_assets.cli.app import collect_less_often
from contimg_assets_tests.memory import in_memory
from contimg_assets_tests.once import made_once
from contimg_assets_tests.projects import TestProject, make_project, make_survey

# Machines are noisy and shared: how long an example takes says nothing.
hypothesis.settings.register_profile("contimg", deadline=None)
hypothesis.settings.load_profile("contimg")

# Temporary folders lie in memory where it has room: a commit of SQLite waits ten milliseconds for a disk, and
# none of it is to be kept. What passed is taken away at the end (`tmp_path_retention_policy`).
if memory := in_memory():
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(memory))

# Processes that tests start spend most of their first seconds on compiling what they import, unless it is kept.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

SHARED = Path(__file__).resolve().parents[2] / "shared"
_HERE = Path(__file__).parent
# A real daemon's story waits more than it works, so that one at a time shares the machine with all the rest: the folder
# that each of them is begun before. The others follow by folder; the root's, which are long, first.
_STORIES = {"test_faults.py": "", "test_arrivals.py": "database"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files so that no worker begins a long one last; `--no-loadscope-reorder` lets pytest-xdist keep it."""

    def place(item: pytest.Item) -> tuple[str, str]:
        folder = item.path.parent.relative_to(_HERE).as_posix()
        is_story = item.path.parent.name == "daemon"
        return _STORIES[item.path.name] if is_story else folder, item.path.name

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over what was imported, as a run does: it costs a sixth of one otherwise."""
    gc.collect()
    collect_less_often()


@pytest.fixture(scope="session", autouse=True)
def commands_built_once() -> Iterator[None]:
    """Typer's runner builds all fifty commands for each call of one; a program builds them once, and so do tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.testing, "_get_command", cache(typer.main.get_command))
        yield


@pytest.fixture(scope="module", autouse=True)
def workers_of_dask() -> Iterator[None]:
    """Those of a file are no other's: what one has done to them, such as killing them, is not felt elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        # They are asked for functions of the tests too, wherever the run that starts them is.
        patch.setenv("PYTHONPATH", str(_HERE.parent), prepend=os.pathsep)
        yield
    if engine := sys.modules.get("contimg_assets.pipeline.dask_engine"):
        engine.close_all()


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real observations and golden cases that are not part of the project."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not there: tests against real observations and golden cases need it")
    return SHARED


@pytest.fixture(scope="session")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small simulated survey: incoming/, catalogs/, truth/; not to be changed."""
    return made_once(tmp_path_factory, "survey", make_survey)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, survey: Path) -> TestProject:
    """The small survey, everything made; to be copied and not to be changed."""

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            project = make_project(folder, survey)
            patch.chdir(project.folder)
            project.deliver()
            assert project.run().complete

    # A copy for this worker: who reads a database, or copies it, must not meet another one that has it open.
    folder = tmp_path_factory.mktemp("made") / "project"
    shutil.copytree(made_once(tmp_path_factory, "made", make), folder)
    return TestProject(folder, survey)


@pytest.fixture
def finished(made: TestProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TestProject:
    """A copy of it, in the current folder."""
    folder = tmp_path / "project"
    shutil.copytree(made.folder, folder)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.delenv("CONTIMG_CONFIG", raising=False)
    return TestProject(folder, made.survey)


@pytest.fixture
def project(tmp_path: Path, survey: Path, monkeypatch: pytest.MonkeyPatch) -> TestProject:
    """A project without deliveries in the current folder."""
    made = make_project(tmp_path / "project", survey)
    monkeypatch.chdir(made.folder)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.delenv("CONTIMG_CONFIG", raising=False)
    return made
