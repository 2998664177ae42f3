"""How fast epochs are associated: `python -m contimg_assets_tests.benchmarks.bench_association [--million]`.

The limit is the bare search: two k-d trees and all pairs within the same radius, on the same data, in the same run. The
peer's seconds (vast-pipeline, deruiter, 2 cores: as shipped / with its one slow line mended) are from its own runs.
"""

from __future__ import annotations

import argparse
import io
import resource
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from scipy.spatial import cKDTree

from contimg_assets.association import FoldState, associate_measurements
from contimg_assets.association.fold import fold
from contimg_assets.config import Association
from contimg_assets.simulate import score_association, simulate_detections
from contimg_assets.sky.sphere import chord, unit_vectors

PEER_SECONDS = {(10_000, 100): (94.0, 61.0), (100_000, 10): (56.0, 14.5)}
SKY = {"double_fraction": 0.04, "blend_fraction": 0.005, "transient_fraction": 0.01}


def best_of(repeats: int, work: Callable[[], object]) -> tuple[float, float]:
    """Least (wall, processor) seconds: what other processes on the machine take is not ours."""
    wall, cpu = [], []
    for _ in range(repeats):
        start, start_cpu = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - start_cpu)
    return min(wall), min(cpu)


def bare_search(tables: list[pd.DataFrame]) -> None:
    """The pairs of each epoch with the first one, and nothing else."""
    vectors = [unit_vectors(table["ra_deg"], table["dec_deg"]) for table in tables]
    # The largest errors of two measurements, at the cut on the de Ruiter radius.
    worst = max(float(table["uncertainty_ew_arcsec"].max()) for table in tables)
    radius = float(chord(5.68 * np.sqrt(2.0) * worst))
    for each in vectors[1:]:
        cKDTree(each).sparse_distance_matrix(cKDTree(vectors[0]), radius, output_type="ndarray")


def per_epoch(tables: list[pd.DataFrame], method: str) -> np.ndarray:
    """Processor seconds of each epoch's fold, the least of three runs."""
    runs = []
    for _ in range(3):
        state, seconds = FoldState.empty(), []
        for table in tables:
            start = time.process_time()
            state = fold(state, table, Association.model_validate({"method": method})).state
            seconds.append(time.process_time() - start)
        runs.append(seconds)
    return np.min(runs, axis=0)


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--million", action="store_true", help="also 1,000,000 sources in 3 epochs")
    million = parser.parse_args().million
    for (n_sources, n_epochs), (shipped, mended) in PEER_SECONDS.items():
        tables = simulate_detections(n_sources, n_epochs, **SKY)
        truth = pd.concat(tables)
        limit, limit_cpu = best_of(3, lambda tables=tables: bare_search(tables))
        print(
            f"\n{n_sources:,} sources x {n_epochs} epochs, {len(truth):,} measurements; peak so far {peak_mb():.0f} MB"
        )
        print(f"  bare pair search      {limit:6.2f} s wall {limit_cpu:6.2f} s cpu")
        for method in ("deruiter", "optimal", "advanced", "basic"):
            wall, cpu = best_of(3, lambda m=method, tables=tables: associate_measurements(tables, "10arcsec", m))
            result = associate_measurements(tables, "10arcsec", method)
            score = score_association(result.associations, truth)
            print(
                f"  {method:9s} {wall:6.2f} s wall {cpu:6.2f} s cpu, {len(truth) / wall:9,.0f} measurements/s, "
                f"{cpu / limit_cpu:4.1f} x bare, peer shipped {shipped / wall:5.1f} x, mended {mended / wall:5.1f} x, "
                f"recall {score.pair_recall:.5f} precision {score.pair_precision:.5f} sources {len(result.sources):,}"
            )
        print(f"  peak memory {peak_mb():.0f} MB")
        buffer = io.BytesIO()
        pq.write_table(result.state.to_table(), buffer, compression="zstd")
        print(f"  state of {len(result.state):,} sources: {buffer.tell() / 1e6:.2f} MB as zstd Parquet")
        if n_epochs == 100:
            for method in ("deruiter", "optimal"):
                seconds = per_epoch(tables, method)
                early, late = np.median(seconds[5:15]), np.median(seconds[90:])
                print(
                    f"  {method}: an epoch of 6-15 {early * 1e3:.1f} ms, of 91-100 {late * 1e3:.1f} ms, "
                    f"x {late / early:.2f}"
                )
    if million:
        tables = simulate_detections(1_000_000, 3, **SKY)
        before = peak_mb()
        wall, cpu = best_of(1, lambda: associate_measurements(tables, "10arcsec", "optimal"))
        print(
            f"\n1,000,000 x 3: optimal {wall:.1f} s wall {cpu:.1f} s cpu, peak {peak_mb():.0f} MB ({before:.0f} before)"
        )


if __name__ == "__main__":
    main()
