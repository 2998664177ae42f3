"""Speed and memory of the ingest: a million detections in a hundred files, and a large Selavy text.

    python -m contimg_assets_tests.benchmarks.bench_ingest [--files 100] [--rows 10000] [--only csv|parquet|selavy]

For CSV and Parquet: files -> parsed, checked, measured, duplicates marked, written as Parquet; rows per second, peak
memory of a process of its own, and the ratio against the bare library call that only parses the same files in the same
run.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from contimg_assets.config import Config
from contimg_assets.ingest.delivered import read_delivered
from contimg_assets.ingest.epoch import read_epoch
from contimg_assets.ingest.measurements import measure
from contimg_assets.pipeline.table_files import write_table
from contimg_assets.schemas.detections import MEASUREMENTS, REJECTED
from contimg_assets.sky.sphere import displaced
from contimg_assets_tests.ingest import build


def survey(root: Path, n_files: int, n_rows: int, kind: str) -> Path:
    """An epoch of overlapping images along a strip across RA 0: neighbors share a third of their sky."""
    rng = np.random.default_rng(8)
    folder = root / kind
    folder.mkdir()
    spacing, half = 2.0, 1.5
    n_sources = int(n_rows * n_files / (2 * half / spacing) * 1.01)
    ra = (rng.random(n_sources) * n_files * spacing - half) % 360
    dec = 16 + rng.uniform(-1.5, 1.5, n_sources)
    rows = []
    for number in range(n_files):
        centre = (number * spacing) % 360
        inside = np.flatnonzero(np.abs((ra - centre + 180) % 360 - 180) < half)
        inside = rng.permutation(inside)[:n_rows]
        table = build.sky(len(inside), seed=number)
        table["component_id"] = [f"component_{i}a" for i in range(len(inside))]
        noise = 0.3 * rng.standard_normal((2, len(inside)))
        east, north = displaced(ra[inside], dec[inside], noise[0] + rng.normal(0, 1), noise[1] + rng.normal(0, 1))
        table["ra_deg"], table["dec_deg"] = east.round(6) % 360, north.round(6)
        name = f"field_{number:03d}.{kind}"
        if kind == "csv":
            table.to_csv(folder / name, index=False)
        else:
            table.to_parquet(folder / name, index=False)
        rows.append({"image": name, "catalogue": name, "ra_deg": centre, "dec_deg": 16.0, "radius_deg": 2.5})
    return build.write_manifest(folder, rows)


def chain(folder: Path) -> dict[str, float]:
    """Files to written measurements; seconds of each step."""
    started, cpu = time.perf_counter(), time.process_time()
    epoch = read_epoch(folder, "bench", Config(root=folder.parent))
    read = time.perf_counter()
    write_table(REJECTED.to_arrow(epoch.rejected), folder / "rejected.out")
    n_rows = len(epoch.detections)
    measurements = measure(epoch.detections, epoch.images, Config().measurements)
    del epoch
    measured = time.perf_counter()
    duplicates = int(measurements["duplicate_of"].notna().sum())
    table = MEASUREMENTS.to_arrow(measurements)
    del measurements
    write_table(table, folder / "measurements.out")
    written = time.perf_counter()
    return {
        "rows": n_rows,
        "duplicates": duplicates,
        "read": read - started,
        "measure": measured - read,
        "write": written - measured,
        "total": written - started,
        "cpu": time.process_time() - cpu,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def library(folder: Path, kind: str) -> float:
    """Seconds of the bare parser for the same files."""
    started = time.perf_counter()
    for path in sorted(folder.glob(f"*.{kind}")):
        if path.name != "images.csv":
            pa_csv.read_csv(path) if kind == "csv" else pq.read_table(path)
    return time.perf_counter() - started


def selavy(root: Path, n_rows: int = 100_000) -> None:
    truth = build.sky(n_rows, seed=3)
    truth["component_id"] = [f"component_{i}a" for i in range(n_rows)]
    path = root / "selavy.txt"
    path.write_bytes(build.selavy_text(truth))
    read_delivered(path, None, Config().ingest)
    started = time.perf_counter()
    rows = read_delivered(path, None, Config().ingest).rows
    ours = time.perf_counter() - started
    started = time.perf_counter()
    pd.read_csv(path, sep=r"\s+", skiprows=[1])
    peer = time.perf_counter() - started
    size = path.stat().st_size / 1e6
    print(f"selavy   {len(rows)} rows ({size:.0f} MB): {ours:.2f} s; bare pandas.read_csv {peer:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--only", choices=["csv", "parquet", "selavy"])
    parser.add_argument("--chain", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.chain:
        print(chain(arguments.chain))
        return
    with tempfile.TemporaryDirectory() as scratch:
        for kind in ("csv", "parquet"):
            if arguments.only not in (None, kind):
                continue
            folder = survey(Path(scratch), arguments.files, arguments.rows, kind)
            command = [sys.executable, "-m", __spec__.name if __spec__ else __name__, "--chain", str(folder)]
            found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            result = {name: float(value) for name, value in _pairs(found)}
            bare = library(folder, kind)
            print(
                f"{kind:8s} {result['rows']:.0f} rows, {result['duplicates']:.0f} duplicates: {result['total']:.2f} s "
                f"(read and check {result['read']:.2f}, measure {result['measure']:.2f}, write {result['write']:.2f})"
                f" = {result['rows'] / result['total']:,.0f} rows/s, "
                f"{result['cpu']:.2f} s of CPU; peak {result['peak_mb']:.0f} MB; "
                f"bare parser {bare:.2f} s (chain is {result['total'] / bare:.1f} x)"
            )
        if arguments.only in (None, "selavy"):
            selavy(Path(scratch))


def _pairs(text: str) -> list[tuple[str, str]]:
    return [tuple(item.split(": ")) for item in text.strip().strip("{}").replace("'", "").split(", ")]


if __name__ == "__main__":
    main()
