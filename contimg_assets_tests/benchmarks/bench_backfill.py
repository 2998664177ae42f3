"""How long a backfill from the UI takes, from the click to the last row: 60 epochs of 1,000 rows in 90 s at most.

    python -m contimg_assets_tests.benchmarks.bench_backfill [--epochs 60]

A real daemon and a real webserver; beside it the same epochs by `contimg run`'s own driver, as a ratio.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import dagster as dg

from contimg_assets.config import load_config
from contimg_assets.orchestration.runs.in_process import bring_up_to_date
from contimg_assets.pipeline.project import Project
from contimg_assets_tests.orchestration.automation.deployment import (
    deployed,
    make_project,
    products,
    small_survey,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=60)
    n_epochs = parser.parse_args().epochs
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        survey = small_survey(
            folder / "survey", n_epochs, images_per_epoch=6, n_sources=2500, image_radius_deg=1.8, faint_per_deg2=0.0
        )
        project = make_project(folder / "project", survey[0].parents[1])
        backfilled = backfill(project, survey)
        n_rows = len(products(project)["measurements"])
        driven = drive(project, folder / "driven")
    print(f"{n_epochs} epochs, {n_rows} measurements and limits")
    print(f"backfill, click to last row  {backfilled:6.1f} s   ({backfilled / driven:.2f} of the driver alone)")
    print(f"driver in this process       {driven:6.1f} s")


def backfill(project: Project, survey: list[Path]) -> float:
    """Seconds from launching a backfill of all epochs until all are fresh."""
    with deployed(project) as running:
        names = running.deliver_without_automation(survey)
        start = time.perf_counter()
        running.launch_backfill(names)
        running.wait_for_epochs(900)
        return time.perf_counter() - start


def drive(project: Project, folder: Path) -> float:
    """Seconds that the driver takes for the same epochs."""
    folder.mkdir()
    for name in ("incoming", "catalogs"):
        shutil.copytree(project.config.root / name, folder / name)
    shutil.copy(project.config.root / "contimg.yaml", folder)
    other = Project(load_config(folder / "contimg.yaml"))
    start = time.perf_counter()
    with dg.DagsterInstance.ephemeral() as instance:
        bring_up_to_date(other, instance)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
