"""Thousands of epochs of some twenty rows each: what a run, a look, and one night more cost when little is in each.

    python -m contimg_assets_tests.benchmarks.bench_many_epochs [--epochs 3000]

Processor seconds tell more than wall seconds on a machine that others use too. What grows faster than the number of
epochs shows when their number is doubled.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from contimg_assets.cli.demo import demo_configuration
from contimg_assets.simulate import SurveyParameters, simulate_survey
from contimg_assets_tests.histories import quick, told
from contimg_assets_tests.projects import make_project


def measured(what: str, work: Callable[[], Any]) -> Any:
    """Do it, and print what it took."""
    wall, cpu = time.monotonic(), time.process_time()
    done = work()
    print(f"{what:<28} {time.monotonic() - wall:8.1f} s wall {time.process_time() - cpu:8.1f} s CPU", flush=True)
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=3000)
    n_epochs = parser.parse_args().epochs
    parameters = SurveyParameters(
        n_epochs=n_epochs + 1,
        images_per_epoch=1,
        image_radius_deg=0.8,
        n_sources=24,
        n_transients=2,
        flux_min_mjy=80.0,
        faint_per_deg2=0.0,
        missing_image_fraction=0.0,
        mean_gap_days=1.0,
    )
    with tempfile.TemporaryDirectory() as folder, quick():
        measured("simulation", lambda: simulate_survey(Path(folder, "survey"), parameters))
        project = make_project(Path(folder, "project"), Path(folder, "survey"))
        project.configure(**demo_configuration(parameters))
        os.chdir(project.folder)
        *known, tonight = project.epochs
        late = known.pop(len(known) // 2)
        project.deliver(*known)
        assert not (wrong := told(measured(f"run of {len(known)} epochs", project.run))), wrong
        measured("status", project.project.assess)
        measured("run with nothing to do", project.run)
        project.deliver(tonight)
        assert not (wrong := told(measured("one night more", project.run))), wrong
        project.deliver(late)
        assert not (wrong := told(measured("a late epoch in the middle", project.run))), wrong
        rows = project.rows()
        print(f"{len(rows['measurements']) / n_epochs:.1f} rows per epoch, {len(rows['sources'])} sources")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
