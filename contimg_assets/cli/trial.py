"""Simulated surveys that are run for real, each in a process of its own, to measure what they cost.

    python -m contimg_assets.cli.trial FOLDER

brings the project in the folder up to date, and prints what that took as one line of JSON.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from contimg_assets.errors import ComputeError
from contimg_assets.planning import Measured, SurveySize

SHAPES = (
    SurveySize(n_sources=50, n_epochs=2, n_images=2),
    SurveySize(n_sources=200, n_epochs=10, n_images=2),
    SurveySize(n_sources=1000, n_epochs=2, n_images=24),
    SurveySize(n_sources=8000, n_epochs=8, n_images=4),
)
"""Surveys that tell the terms of all costs apart, and take less than a minute together."""
# Variables that would lead a trial to the caller's own project.
_OF_THE_CALLER = ("DAGSTER_HOME", "CONTIMG_CONFIG")
# ru_maxrss is in kilobytes, but on macOS in bytes.
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


def run_trials(shapes: Sequence[SurveySize] = SHAPES, n_times: int = 1) -> Iterator[Measured]:
    """Simulate and run surveys of these sizes, one after the other, in folders that are removed.

    Parameters
    ----------
    n_times : how often each is run; of each cost the least counts, for what others do on the machine only adds to it

    Raises
    ------
    ComputeError
        If a run failed.
    """
    for shape in shapes:
        runs = []
        for _ in range(n_times):
            with tempfile.TemporaryDirectory(prefix="contimg_plan_") as folder:
                size = _simulate(Path(folder), shape)
                runs.append(_run(Path(folder)))
        yield Measured(size, {name: min(run[name] for run in runs) for name in runs[0]})


def _simulate(folder: Path, shape: SurveySize) -> SurveySize:
    """Write a project on a simulated survey; its size, with the rows that the finder found."""
    import yaml

    from contimg_assets.cli.app import make_project
    from contimg_assets.cli.demo import demo_configuration
    from contimg_assets.config import FILE_NAME
    from contimg_assets.simulate import SurveyParameters, simulate_survey

    # All sources are bright enough to be detected in every epoch, and images overlap little: a detection an epoch each.
    parameters = SurveyParameters(
        n_epochs=shape.n_epochs,
        n_sources=shape.n_sources,
        images_per_epoch=shape.n_images,
        flux_min_mjy=60.0,
        faint_per_deg2=0.0,
        image_radius_deg=1.1,
        missing_image_fraction=0.0,
    )
    truth = simulate_survey(folder, parameters)
    configuration = demo_configuration(parameters) | {"compute": {"engine": "serial"}}
    (folder / FILE_NAME).write_text(yaml.safe_dump(configuration), encoding="utf-8")
    make_project(folder)
    return SurveySize(shape.n_sources, shape.n_epochs, shape.n_images, len(truth.measurements) / shape.n_epochs)


def _run(folder: Path) -> dict[str, float]:
    """Costs of bringing a project up to date, in a process that does nothing else."""
    environment = {name: value for name, value in os.environ.items() if name not in _OF_THE_CALLER}
    ended = subprocess.run(  # noqa: S603 - this very module
        [sys.executable, "-m", __name__, str(folder)], env=environment, capture_output=True, text=True, check=False
    )
    if ended.returncode:
        reason = (ended.stderr.strip() or "it was killed").splitlines()[-1]
        raise ComputeError(f"a trial run of a simulated survey failed, so that nothing can be foretold: {reason}")
    told: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    return told | _sizes(folder)


def _sizes(folder: Path) -> dict[str, float]:
    """Bytes of what a run leaves, by kind."""

    def sizes_of(pattern: str) -> list[float]:
        return [float(file.stat().st_size) for file in folder.glob(pattern) if file.is_file()]

    return {
        "store_bytes": sum(sizes_of("store/**/*")),
        # Rows of a small survey are still in the journal, those of a large one in both files.
        "database_bytes": max(sizes_of("products.sqlite3*")),
        "dagster_bytes": sum(sizes_of(".dagster/**/*")),
    }


def _measure(folder: Path) -> dict[str, float]:
    """Bring a project up to date in this process; what it took since this process began."""
    from contimg_assets.config import FILE_NAME, load_config

    config = load_config(folder / FILE_NAME)
    from contimg_assets.orchestration.runs.in_process import bring_up_to_date
    from contimg_assets.orchestration.runs.instance import open_instance
    from contimg_assets.pipeline.executors import timing_tasks
    from contimg_assets.pipeline.project import Project

    project = Project(config)
    with open_instance(folder) as instance, timing_tasks() as shared:
        report = bring_up_to_date(project, instance)
    if not report.complete:
        raise ComputeError("; ".join([*report.errors, *report.troubles, *report.problems][:1]) or "not all was made")
    return {
        "processor_s": time.process_time(),
        "shared_s": sum(shared),
        "memory_bytes": float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT),
    }


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    print(json.dumps(_measure(Path.cwd())))
