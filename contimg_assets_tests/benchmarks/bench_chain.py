"""The whole chain, files to committed database: a backfill in one go, then one epoch more, a late one, and nothing.

    python -m contimg_assets_tests.benchmarks.bench_chain [--sources 10000] [--epochs 100] [--images 12]
        [--elsewhere 2000,...] [--executor auto]

The default is 100 epochs of 10,000. Others to try: ``--sources 100000 --epochs 10``; ``--sources 1000 --epochs 1000``;
thousands of small epochs (``--sources 20 --epochs 5000 --images 1``); many images in an epoch (``--sources 20000
--epochs 1 --images 2000``); one small epoch more with so many sources far away, each in a project of its own
(``--sources 475 --epochs 2 --elsewhere 2000,20000,60000``): its processor seconds in the stages, and their ratio to the
first's, which says whether a night costs what the night holds.

Prints processor seconds of this process and of those that helped it (they tell more than wall seconds on a machine
that others use too), wall seconds, rows per second, what Dagster's files grew by, and peak memory. As a yardstick, a
bare loop parses, pairs and inserts the same rows: pandas, a k-d tree, and `executemany` into an SQLite table without
index; each run is told as a multiple of it, row by row. On a quiet machine the cores are busy for
(processor seconds of both) / (wall seconds x cores) of the time.
"""

from __future__ import annotations

import argparse
import os
import resource
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import chdir
from importlib import import_module
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from scipy.spatial import cKDTree

from contimg_assets.cli.templates import write_templates
from contimg_assets.config import FILE_NAME, load_config
from contimg_assets.orchestration.runs.in_process import Report, bring_up_to_date
from contimg_assets.orchestration.runs.instance import open_instance
from contimg_assets.pipeline import chain
from contimg_assets.pipeline.project import Project
from contimg_assets.simulate import simulate_detections

COLUMNS = ["ra_deg", "dec_deg", "flux_peak_mjy_beam", "flux_peak_err_mjy_beam", "snr"]
N_IMAGES = 12
FAR_RA_DEG, _MOST_OF_A_FIELD = 90.0, 60_000


def deliver(folder: Path, table: pd.DataFrame, ra_deg: float = 0.0) -> None:
    """One epoch as files: a catalog per image, then the manifest; all images have one center."""
    folder.mkdir(parents=True)
    manifest = []
    for image, rows in table.groupby("image"):
        named = rows[COLUMNS].assign(
            component_id=[f"c{i}" for i in range(len(rows))], flux_int_mjy=rows["flux_peak_mjy_beam"]
        )
        named.to_csv(folder / f"{image}.csv", index=False, float_format="%.9g")
        manifest.append(
            {
                "image": image,
                "catalogue": f"{image}.csv",
                "mjd_mid": rows["mjd"].iloc[0],
                "ra_deg": ra_deg,
                "dec_deg": 16.0,
                "radius_deg": 4.0,
                "bmaj_arcsec": 15.0,
                "bmin_arcsec": 15.0,
                "bpa_deg": 0.0,
                "freq_mhz": 1405.0,
                "rms_mjy_beam": 0.25,
            }
        )
    pd.DataFrame(manifest).to_csv(folder / "images.csv", index=False)


def make_project(root: Path, tables: list[pd.DataFrame], executor: str = "auto") -> Project:
    """A project whose reference catalog holds the true sky."""
    write_templates(root)
    truth = pd.concat(tables[:3]).drop_duplicates("true_source")
    (root / "catalogs").mkdir()
    pd.DataFrame(
        {
            "catalog_source_id": [f"T{i:06d}" for i in truth["true_source"]],
            "ra_deg": truth["ra_deg"],
            "dec_deg": truth["dec_deg"],
            "flux_mjy": truth["flux_peak_mjy_beam"],
            "flux_err_mjy": truth["flux_peak_err_mjy_beam"],
        }
    ).to_parquet(root / "catalogs" / "truth.parquet", index=False)
    catalog = {"path": "catalogs/truth.parquet", "freq_mhz": 1400.0, "beam_arcsec": 15.0}
    content = {"catalogs": {"truth": catalog}, "compute": {"engine": executor}}
    (root / FILE_NAME).write_text(yaml.safe_dump(content), encoding="utf-8")
    (root / "incoming").mkdir()
    return Project(load_config(root / FILE_NAME))


def processor_seconds() -> float:
    times = os.times()
    return times.user + times.system


def helpers_seconds() -> float:
    """Processor seconds so far of the processes that help, and of the one that they are copies of."""
    pid = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]  # nobody else tells
    if pid is None:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def size_mb(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


class Bench:
    """A project and what is measured of it."""

    def __init__(self, root: Path, tables: list[pd.DataFrame], executor: str = "auto") -> None:
        self.root = root
        self.project = make_project(root, tables, executor)
        self.delivered = 0
        # Of each run: its name, processor seconds of all, rows that were delivered before it.
        self.runs: list[tuple[str, float, int]] = []

    def deliver(self, *tables: pd.DataFrame, ra_deg: float = 0.0) -> None:
        for table in tables:
            deliver(self.root / "incoming" / table["epoch"].iloc[0], table, ra_deg)
        self.delivered = sum(map(len, tables))

    def run(self, name: str) -> float:
        """Bring it up to date; processor seconds."""

        def work() -> Report:
            with open_instance(self.root) as instance:
                return bring_up_to_date(self.project, instance)

        return self.measured(name, work)

    def measured(self, name: str, work: Callable[[], Report]) -> float:
        before = size_mb(self.root / ".dagster")
        wall, processor, helped = time.perf_counter(), processor_seconds(), helpers_seconds()
        report = work()
        assert report.complete, (report.errors[:1], report.failed)
        wall, processor = time.perf_counter() - wall, processor_seconds() - processor
        helped = helpers_seconds() - helped
        rate = self.delivered / wall
        shares = f"{processor:8.2f} + {helped:.2f} s processor"
        print(f"{name:<36} {shares} {wall:8.2f} s wall {rate:10,.0f} rows/s", flush=True)
        print(f"{'':<36} {len(report.run_ids)} runs, Dagster {size_mb(self.root / '.dagster') - before:+.2f} MB")
        self.runs.append((name, processor + helped, self.delivered))
        self.delivered = 0
        return processor + helped

    def tell_against(self, bare_seconds: float) -> None:
        """Print each run as a multiple of what the bare loop takes for as many rows."""
        n_rows = sum(rows for _, _, rows in self.runs)
        for name, seconds, rows in self.runs:
            if rows:
                print(f"{name}: {seconds / (bare_seconds * rows / n_rows):.1f} x the bare loop for as many rows")


def bare_loop(root: Path) -> float:
    """Processor seconds of parsing, pairing with the sources so far, and inserting the same rows, and nothing else."""
    start = processor_seconds()
    database = sqlite3.connect(root / "bare.sqlite3")
    database.execute("CREATE TABLE rows (epoch, image, ra, dec, peak, error, snr, component, flux, source)")
    known = np.empty((0, 3))
    for epoch in sorted((root / "incoming").iterdir()):
        parts = [pd.read_csv(file).assign(image=file.stem) for file in epoch.glob("*.csv") if file.name != "images.csv"]
        rows = pd.concat(parts, ignore_index=True)
        ra, dec = np.radians(rows["ra_deg"].to_numpy()), np.radians(rows["dec_deg"].to_numpy())
        xyz = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)
        distance, index = cKDTree(known).query(xyz) if len(known) else (np.full(len(xyz), 9.0), np.zeros(len(xyz), int))
        new = distance > np.radians(30.0 / 3600.0)
        index = np.where(new, len(known) + np.cumsum(new) - 1, index)
        known = np.concatenate([known, xyz[new]])
        named = [[epoch.name] * len(rows), *(rows[name].tolist() for name in ("image", *COLUMNS))]
        others = [rows["component_id"].tolist(), rows["flux_int_mjy"].tolist(), index.tolist()]
        database.executemany(f"INSERT INTO rows VALUES ({','.join('?' * 10)})", zip(*named, *others, strict=True))
    database.commit()
    database.close()
    (root / "bare.sqlite3").unlink()
    return processor_seconds() - start


def far_away(n_sources: int) -> Iterator[tuple[pd.DataFrame, float]]:
    """Epochs of other parts of the sky, before all others, and the right ascension of each."""
    n_fields = max(1, round(n_sources / _MOST_OF_A_FIELD))
    for field in range(n_fields):
        (table,) = simulate_detections(
            n_sources // n_fields, 1, seed=field, images_per_epoch=N_IMAGES, completeness=1.0
        )
        ra_deg = FAR_RA_DEG + 9.0 * field
        far = table.assign(epoch=f"elsewhere{field}", ra_deg=(table["ra_deg"] + ra_deg) % 360.0)
        far = far.assign(mjd=table["mjd"] - 100.0 + field, image=f"far{field}_" + far["image"].astype(str))
        far["true_source"] = far["true_source"] + 10_000_000
        yield far, ra_deg


class StageClock:
    """Processor seconds in the work of the stages: without Dagster, and without figures, which cost the same always."""

    _TIMED = (
        ("pipeline.chain", "fold"),
        ("orchestration.assets.raw_detections", "make_each"),
        ("orchestration.assets.measurements", "make_each"),
        ("orchestration.assets.catalog_matches", "make_each"),
        ("orchestration.assets.products", "write_products"),
    )

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._before: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> StageClock:
        for name, function in self._TIMED:
            module = import_module(f"contimg_assets.{name}")
            self._before.append((module, function, getattr(module, function)))
            setattr(module, function, self._timed(getattr(module, function)))
        self._before.append((chain, "EPOCHS_DRAWN", chain.EPOCHS_DRAWN))
        chain.EPOCHS_DRAWN = 0
        return self

    def __exit__(self, *_: object) -> None:
        for module, function, original in self._before:
            setattr(module, function, original)

    def _timed(self, work_on: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        def timed(work: Any, *arguments: Any) -> Iterator[Any]:
            outcomes = work_on(work, *arguments)
            while True:
                start = processor_seconds()
                outcome = next(outcomes, None)
                spent = self.seconds.get(work.stage.name, 0.0) + processor_seconds() - start
                self.seconds[work.stage.name] = spent
                if outcome is None:
                    return
                yield outcome

        return timed


def one_epoch_more(n_elsewhere: int, tables: list[pd.DataFrame]) -> dict[str, float]:
    """Processor seconds in the stages of the last epoch, on top of the others and of a far part of the sky."""
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        bench = Bench(Path(folder), tables, "serial")
        for far, ra_deg in far_away(n_elsewhere):
            bench.deliver(far, ra_deg=ra_deg)
        bench.run(f"{n_elsewhere} sources elsewhere")
        for table in tables[:-1]:
            bench.deliver(table)
            bench.run("an epoch")
        bench.deliver(tables[-1])
        with StageClock() as clock:
            bench.run("one epoch more")
    return clock.seconds


def elsewhere(numbers: list[int], tables: list[pd.DataFrame]) -> None:
    found = {number: one_epoch_more(number, tables) for number in numbers}
    first = sum(found[numbers[0]].values())
    print(f"\none epoch of {len(tables[-1])} more, processor seconds in the stages:")
    for number, seconds in found.items():
        parts = ", ".join(f"{name} {value:.2f}" for name, value in sorted(seconds.items()))
        total = sum(seconds.values())
        print(f"{number:>9} sources elsewhere {total:6.2f} s, {total / first:4.2f} times the first ({parts})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--images", type=int, default=N_IMAGES, help="images in an epoch")
    parser.add_argument("--executor", default="auto", choices=["auto", "serial", "threads", "processes", "dask"])
    parser.add_argument("--elsewhere", help="sources in another part of the sky, such as 2000,20000,60000")
    arguments = parser.parse_args()
    shape = {"images_per_epoch": arguments.images, "completeness": 1.0}
    tables = simulate_detections(arguments.sources, arguments.epochs + 2, **shape)
    if arguments.elsewhere:
        elsewhere([int(number) for number in arguments.elsewhere.split(",")], tables)
        return
    *first, late, last = [
        *tables[: len(tables) // 2],
        *tables[len(tables) // 2 + 1 : -1],
        tables[len(tables) // 2],
        tables[-1],
    ]
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        bench = Bench(Path(folder), tables, arguments.executor)
        bench.deliver(*first)
        whole = bench.run(f"{len(first)} epochs of {arguments.sources}")
        bench.deliver(last)
        more = bench.run("one epoch more")
        bench.deliver(late)
        bench.run("a late epoch in the middle")
        bench.run("nothing to do")
        bare = bare_loop(bench.root)
        print(f"bare loop over the same files: {bare:.2f} s processor")
        bench.tell_against(bare)
        print(f"one epoch more took {more / whole:.1%} of the backfill; all files {size_mb(bench.root):.0f} MB")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
