"""Corrections: 100 images of 1,000 matches, measured and applied.

    python -m contimg_assets_tests.benchmarks.bench_corrections [--images 100] [--matches 1000]

Prints seconds, rates, peak memory, and the ratio against the library call that vast-post-processing spends its time in
(an orthogonal distance regression per image), on the same matches in the same run.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable

import numpy as np
from odrpack import odr_fit

from contimg_assets.calibration import apply_corrections, calculate_flux_scale, measure_corrections, selection_of
from contimg_assets.config import Corrections
from contimg_assets_tests.calibration.skies import epoch


def _best_of(repeats: int, work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--matches", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    measurements, matches, images = epoch(arguments.images, arguments.matches, outliers=0.05)
    parameters = Corrections()
    corrections = measure_corrections(measurements, matches, images, parameters)
    table = selection_of(measurements, matches, images, parameters).table
    groups = [table.iloc[rows] for rows in table.groupby("image").indices.values()]

    def regressions() -> None:
        for group in groups:
            ours, theirs = group["flux_mjy"].to_numpy(), group["reference_flux_mjy"].to_numpy()
            ours_err, theirs_err = group["flux_err_mjy"].to_numpy(), group["reference_flux_err_mjy"].to_numpy()
            odr_fit(
                lambda x, beta: beta[0] * x,
                theirs,
                ours,
                beta0=np.array([1.0]),
                weight_x=1 / theirs_err**2,
                weight_y=1 / ours_err**2,
            )

    def resampled() -> None:
        for index, group in enumerate(groups[:10]):
            calculate_flux_scale(group.reset_index(drop=True), bootstrap=200, seed=index)

    n = arguments.images * arguments.matches
    library = _best_of(arguments.repeats, regressions)
    rows = [
        (
            "measure_corrections (mixture, likelihood errors)",
            _best_of(arguments.repeats, lambda: measure_corrections(measurements, matches, images, parameters)),
        ),
        ("apply_corrections", _best_of(arguments.repeats, lambda: apply_corrections(measurements, corrections))),
        ("library: an ODR per image, flux scale alone", library),
        ("bootstrap of 200 replicates, scaled to all images", _best_of(1, resampled) * arguments.images / 10),
    ]
    print(f"{arguments.images} images of {arguments.matches} matches")
    for name, seconds in rows:
        print(f"{name:52s} {seconds:8.3f} s {n / seconds:12,.0f} matches/s {seconds / library:8.2f} x library")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
