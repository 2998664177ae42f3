"""Histories of a tiny project: epochs that arrive in part and whole, are replaced and deleted, by whichever run.

Whatever happened, the products must be those of a run from scratch on what lies in the incoming folder now. There are
few contents of few epochs, so that such a run is made once for each state of the folder and remembered.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from contimg_assets.cli.demo import demo_configuration
from contimg_assets.definitions import build_definitions
from contimg_assets.orchestration.assets import stage_keys
from contimg_assets.orchestration.automation.requests import runs_to_launch
from contimg_assets.orchestration.partitions import RANGE_END_TAG, RANGE_START_TAG, register_epochs
from contimg_assets.orchestration.runs.in_process import Report, delete_epoch
from contimg_assets.pipeline.project import Project
from contimg_assets.pipeline.stages import EPOCH_STAGES
from contimg_assets.pipeline.staleness import of_epochs, work_to_do
from contimg_assets.simulate import SurveyParameters, simulate_survey
from contimg_assets.simulate.parameters import NVSS_LIKE
from contimg_assets_tests.orchestration.automation.ticks import Automaton
from contimg_assets_tests.projects import TestProject, assert_same_rows, make_project

# Crowded, with pairs that are not always seen as two, so that sources fork.
TINY = SurveyParameters(
    n_epochs=3,
    images_per_epoch=1,
    image_radius_deg=0.4,
    n_sources=40,
    n_transients=2,
    flux_min_mjy=60.0,
    faint_per_deg2=0.0,
    double_fraction=0.6,
    double_separation_beams=(0.3, 1.2),
    blend_radius_beams=0.2,
    lost_fraction=0.2,
    missing_image_fraction=0.0,
    catalogs=(NVSS_LIKE,),
    seed=4,
)
# Forks of the second one copy rows of earlier epochs, so that an epoch names measurements of others; under the third,
# products of every epoch depend on all epochs.
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "optimal": {"association": {"method": "optimal"}},
    "forking": {"association": {"method": "advanced", "radius_arcsec": 60.0}},
    "scales between epochs": {"corrections": {"apply_flux": "epochs", "min_snr": 8.0}},
}
# The last one is of two bands, each with V, in which sources of its own are made, and with images of half the beam.
MIXED = "forking, mixed"
CONFIGURATIONS[MIXED] = CONFIGURATIONS["forking"] | {"stokes": {"sources": ["V"]}}
SKIES = {MIXED: TINY.model_copy(update={"other_bands_mhz": (2150.0,), "stokes": ("V",), "n_only_polarized": 1})}
ABSENT, IN_PART, WHOLE = 0, 1, 2
State = tuple[int, ...]
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
# What an empty database has none of; it may remember which catalogs there were.
_OF_EPOCHS = ("epochs", "images", "measurements", "sources", "associations", "variability", "corrections")


@dataclass
class Sky:
    """A survey to deliver from, in all contents of its epochs, and what runs from scratch make of each state."""

    folder: Path
    configuration: Mapping[str, Any]
    parameters: SurveyParameters = TINY
    known: dict[State, TestProject] = field(default_factory=dict)
    rows: dict[State, dict[str, pd.DataFrame]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        whole = self.folder / "survey" / "incoming"
        if not whole.exists():
            self._make(whole)
        self.epochs = sorted(folder.name for folder in whole.iterdir())

    def _make(self, whole: Path) -> None:
        simulate_survey(self.folder / "survey", self.parameters)
        if self.parameters is SKIES[MIXED]:
            for number, manifest in enumerate(sorted(whole.glob("*/images.csv"))):
                _add_finer_images(manifest, number)
        for number, epoch in enumerate(sorted(folder.name for folder in whole.iterdir())):
            shutil.copytree(whole / epoch, self.content(number, WHOLE))
            shutil.copytree(whole / epoch, self.content(number, IN_PART))
            for file in self.content(number, IN_PART).glob("*_tile*.csv"):
                rows = pd.read_csv(file, dtype=str).sample(frac=0.7, random_state=number).sort_index()
                rows.to_csv(file, index=False)

    def content(self, number: int, content: int) -> Path:
        return self.folder / "contents" / f"{number} {content}"

    def deliver(self, incoming: Path, number: int, content: int) -> None:
        """Put an epoch in place of what lies there, or take it away."""
        target = incoming / self.epochs[number]
        if target.exists():
            shutil.rmtree(target)
        if content != ABSENT:
            shutil.copytree(self.content(number, content), target)

    def project(self, folder: Path) -> TestProject:
        """A project without deliveries."""
        project = make_project(folder, self.folder / "survey")
        project.configure(**self.sections())
        return project

    def sections(self) -> dict[str, Any]:
        """The configuration: the survey's catalogs, and what is special here."""
        demo = demo_configuration(self.parameters) | {"automation": {"settle_seconds": 0}}
        return demo | {name: demo.get(name, {}) | dict(section) for name, section in self.configuration.items()}

    def from_scratch(self, state: State) -> dict[str, pd.DataFrame]:
        """Rows of a run from scratch on this state of the incoming folder."""
        if state not in self.rows:
            folder = self.folder / "scratch" / "".join(map(str, state))
            if not folder.exists():
                self._run_from_scratch(state, folder)
            self.known[state] = TestProject(folder, self.folder / "survey")
            self.rows[state] = self.known[state].rows()
        return self.rows[state]

    def _run_from_scratch(self, state: State, folder: Path) -> None:
        """Make a project whole before it has its name: others may look for it."""
        project = self.project(folder.with_name(f"{folder.name}-{os.getpid()}"))
        for number, content in enumerate(state):
            self.deliver(project.folder / "incoming", number, content)
        report = project.run()
        assert report.complete, told(report)
        if not folder.exists():
            project.folder.rename(folder)

    def begun(self, folder: Path, state: State) -> TestProject:
        """A copy of a project that a run from scratch has left."""
        self.from_scratch(state)
        shutil.copytree(self.known[state].folder, folder)
        return TestProject(folder, self.folder / "survey")


def _add_finer_images(manifest: Path, seed: int) -> None:
    """Beside each image in I another one of half the beam, which shows most of the same sources a little elsewhere."""
    rng = np.random.default_rng(seed)
    images = pd.read_csv(manifest)
    fine = images[images["stokes"] == "I"]
    fine = fine.assign(image=fine["image"] + "_fine", catalogue="fine_" + fine["catalogue"])
    for name in fine["catalogue"]:
        rows = pd.read_csv(manifest.parent / name.removeprefix("fine_")).sample(frac=0.85, random_state=seed)
        rows["dec_deg"] += rng.normal(0.0, 1.0, len(rows)) / 3600.0
        rows.sort_index().to_csv(manifest.parent / name, index=False)
    fine = fine.assign(**{name: fine[name] / 2.0 for name in ("bmaj_arcsec", "bmin_arcsec")})
    pd.concat([images, fine]).to_csv(manifest, index=False)


@contextmanager
def quick() -> Iterator[None]:
    """Without waiting for disks, which takes longer than all else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda descriptor: None)
        yield


def told(report: Report) -> list[str]:
    """What a run found wrong."""
    wrong = report.assessment[report.assessment["state"] != "fresh"] if len(report.assessment) else report.assessment
    rows = [" ".join(map(str, row)) for row in wrong.itertuples(index=False)]
    return [*report.errors, *report.troubles, *report.problems, *rows]


def known_epochs(project: Project) -> set[str]:
    """Epochs that were read, or that the products have: those that can be deleted."""
    with project.products as database:
        written = set(database.recorded_versions()) if database.current() is not None else set()
    return written | set(project.epochs_in_store())


@dataclass(frozen=True)
class Step:
    """What arrives, is replaced or goes at once, and what looks at it then."""

    changes: tuple[tuple[int, int], ...]
    by: str
    seed: int = 0


class History:
    """One project on its way."""

    def __init__(self, sky: Sky, project: TestProject, state: State) -> None:
        self.sky, self.project, self.state = sky, project, state
        self._automaton: Automaton | None = None

    def take(self, step: Step) -> None:
        """Change the incoming folder, delete what went, and let one kind of run look at it."""
        if step.by == "conditions":
            _ = self.automaton
        before = self.state
        for number, content in step.changes:
            self.sky.deliver(self.project.folder / "incoming", number, content)
            self.state = (*self.state[:number], content, *self.state[number + 1 :])
        gone = [number for number, content in enumerate(self.state) if content == ABSENT and before[number] != ABSENT]
        for number in gone:
            if self.sky.epochs[number] not in known_epochs(self.project.project):
                continue
            report = delete_epoch(self.project.project, self.project.instance, self.sky.epochs[number])
            assert report.complete, told(report)
        getattr(self, f"by_{step.by}")(step)

    def by_nobody(self, step: Step) -> None:
        """The next step finds it."""

    def by_run(self, step: Step) -> None:
        """`contimg run`: all is well, and the products are those of a run from scratch."""
        report = self.project.run()
        assert report.complete, told(report)
        self.compare()

    def by_some(self, step: Step) -> None:
        """`contimg run --epochs`: no epoch fails."""
        epochs = self.delivered[step.seed % 2 :: 2]
        if epochs:
            report = self.project.run(epochs)
            assert not len(report.failed) and not report.errors and not report.troubles, told(report)

    def by_jobs(self, step: Step) -> None:
        """What the reconciler and the schedule launch, in another order at times: every run succeeds."""
        project = self.project.project
        requests = runs_to_launch(self.project.instance, project.assess(), project.epochs(), "test")
        job = build_definitions(project.config).resolve_implicit_global_asset_job_def()
        for request in requests[::-1] if step.seed % 2 else requests:
            self._launch(job, request.asset_selection or [], request.tags)

    def by_materialize(self, step: Step) -> None:
        """Somebody makes all stages of single epochs in the UI, newest first or oldest first."""
        project = self.project.project
        register_epochs(self.project.instance, project.epochs())
        job = build_definitions(project.config).resolve_implicit_global_asset_job_def()
        for epoch in self.delivered[:: -1 if step.seed % 2 else 1]:
            names = [stage.name for stage in EPOCH_STAGES]
            self._launch(job, stage_keys(names), {RANGE_START_TAG: epoch, RANGE_END_TAG: epoch})

    def by_conditions(self, step: Step) -> None:
        """Sensors and conditions, tick by tick: every run succeeds, and nothing of an epoch is left to do."""
        automaton = self.automaton
        done = automaton.settle(40)
        assert all(one.success for one in done), done
        job = automaton.definitions.resolve_implicit_global_asset_job_def()
        # What appeared just now is left to the events; at its second look the reconciler makes what they have missed.
        for _ in range(3):
            for request in automaton.sensor("reconciler").run_requests:
                self._launch(job, request.asset_selection or [], request.tags)
        left = work_to_do(of_epochs(self.project.project.assess()))
        assert left.empty, left.to_string()

    @property
    def automaton(self) -> Automaton:
        """Sensors and conditions; to see what is new, they must have looked before."""
        if self._automaton is None:
            self._automaton = Automaton(self.project.project, self.project.instance)
            self._automaton.settle()
        return self._automaton

    def _launch(self, job: dg.JobDefinition, keys: Sequence[dg.AssetKey], tags: Mapping[str, str]) -> None:
        result = job.execute_in_process(
            instance=self.project.instance,
            asset_selection=list(keys),
            tags=dict(tags),
            raise_on_error=False,
            run_config=_QUIET,
        )
        failed = [event.step_failure_data.error_display_string for event in result.all_events if event.is_step_failure]
        assert result.success, failed

    @property
    def delivered(self) -> list[str]:
        return [epoch for epoch, content in zip(self.sky.epochs, self.state, strict=True) if content != ABSENT]

    def compare(self) -> None:
        """The products are those of a run from scratch, but for the names that sources once had."""
        rows = self.project.rows()
        if any(self.state):
            assert_same_rows(rows, self.sky.from_scratch(self.state), without={"source_aliases"})
        else:
            assert {name: len(rows[name]) for name in _OF_EPOCHS} == dict.fromkeys(_OF_EPOCHS, 0)


@contextmanager
def begun(sky: Sky, folder: Path, start: State) -> Iterator[History]:
    """A history in a folder that goes with it."""
    project = sky.begun(folder, start)
    try:
        yield History(sky, project, start)
    finally:
        shutil.rmtree(folder)
