"""Statistics of light curves: 10,000 sources of 100 epochs.

    python -m contimg_assets_tests.benchmarks.bench_variability [--sources 10000] [--epochs 100]

Prints seconds (wall and processor), rates, peak memory, and ratios: to vast-pipeline as measured on the reference
machine (18 s without pairs; with pairs out of memory at 21 GB), and to a pandas groupby of mean and standard deviation
of the same points in the same run.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable

import numpy as np
import pandas as pd

from contimg_assets.config import Variability
from contimg_assets.variability.error_model import ErrorModel, ErrorTerms
from contimg_assets.variability.segments import LightCurves
from contimg_assets.variability.statistics import flux_statistics, variability_table
from contimg_assets.variability.two_epoch import pair_maxima

VAST_SECONDS = 18.0


def light_curves(n_sources: int, n_epochs: int, variable: float) -> LightCurves:
    """Points epoch by epoch, as the database delivers them; a share of the sources varies by half."""
    rng = np.random.default_rng(1)
    mean = 10.0 * rng.pareto(1.5, n_sources) + 10.0
    err = rng.uniform(0.8, 1.2, (n_epochs, n_sources))
    flux = mean + err * rng.normal(size=(n_epochs, n_sources))
    changing = rng.uniform(size=n_sources) < variable
    flux[:, changing] *= rng.lognormal(0, 0.5, (n_epochs, int(changing.sum())))
    n = n_sources * n_epochs
    source = np.tile(np.sort(rng.integers(0, 2**63, n_sources, dtype=np.uint64)), n_epochs)
    columns = {
        "mjd": np.repeat(np.arange(float(n_epochs)), n_sources),
        "measurement": rng.integers(0, 2**63, n, dtype=np.uint64),
        "forced": np.zeros(n, dtype=bool),
        "flux_scale_err": np.full(n, 0.01),
    }
    columns |= {"radius": rng.uniform(0, 1.1, n), "configuration": np.zeros(n, np.int64)}
    for kind in ("peak", "int"):
        columns |= {f"flux_{kind}": flux.ravel(), f"flux_{kind}_err": err.ravel()}
    return LightCurves.from_rows(source, columns)


def best_of(repeats: int, work: Callable[[], object]) -> tuple[float, float]:
    """(wall, processor) seconds."""
    taken = []
    for _ in range(repeats):
        wall, processor = time.perf_counter(), time.process_time()
        work()
        taken.append((time.perf_counter() - wall, time.process_time() - processor))
    return min(t[0] for t in taken), min(t[1] for t in taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sources", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    few = light_curves(arguments.sources, arguments.epochs, 0.05)
    all_ = light_curves(arguments.sources, arguments.epochs, 1.0)
    parameters = Variability()
    measured = ErrorModel({kind: ErrorTerms.fixed(1.2, 0.02, 0.05) for kind in ("peak", "int")})
    two = LightCurves(few.source, few.segments, few.order, {**few.rows, "configuration": (few.rows["mjd"] > 40) * 1})
    frame = pd.DataFrame({"source": few.segments.spread(few.source), "flux": few["flux_peak"]})

    def statistics() -> None:
        for kind in ("peak", "int"):
            flux_statistics(few[f"flux_{kind}"], few[f"flux_{kind}_err"], few.segments)

    def pairs(curves: LightCurves) -> None:
        for kind in ("peak", "int"):
            pair_maxima(curves[f"flux_{kind}"], curves[f"flux_{kind}_err"], curves.segments, parameters.min_abs_vs)

    work: dict[str, Callable[[], object]] = {
        "statistics, peak and integrated": statistics,
        "pair maxima, 5 % variable": lambda: pairs(few),
        "pair maxima, all variable": lambda: pairs(all_),
        "the table `variability`, all in": lambda: variability_table(few, parameters),
        "the same, errors measured": lambda: variability_table(few, parameters, measured),
        "the same, with two configurations": lambda: variability_table(two, parameters, measured),
        "pandas groupby, mean and std alone": lambda: frame.groupby("source")["flux"].agg(["mean", "std"]),
    }
    seconds = {name: best_of(arguments.repeats, run) for name, run in work.items()}
    points = arguments.sources * arguments.epochs
    print(f"{arguments.sources} sources x {arguments.epochs} epochs, best of {arguments.repeats}")
    for name, (wall, processor) in seconds.items():
        print(f"  {name:36s} {wall:7.3f} s wall {processor:7.3f} s processor {points / wall / 1e6:7.1f} M points/s")
    scale = points / 1e6
    print(f"  vast-pipeline, reference machine     {VAST_SECONDS * scale:7.1f} s without pairs")
    ratio = VAST_SECONDS * scale / seconds["statistics, peak and integrated"][0]
    print(f"  statistics: {ratio:.0f} times as fast as vast-pipeline")
    print(f"  peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
