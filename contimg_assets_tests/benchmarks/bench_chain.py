"""The whole chain, files to committed database: a backfill of many epochs in one go, then one epoch more, warm.

    python -m contimg_assets_tests.benchmarks.bench_chain [--sources 10000] [--epochs 100]

Prints wall and processor seconds, rows per second and peak memory, and against the targets of the design: 100 epochs of
10,000 in 90 s and 2 GB, one more on top in 3 s.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import yaml

from contimg_assets.cli.templates import write_templates
from contimg_assets.config import FILE_NAME, load_config
from contimg_assets.orchestration.runs.in_process import Report, bring_up_to_date
from contimg_assets.orchestration.runs.instance import open_instance
from contimg_assets.pipeline.project import Project
from contimg_assets.simulate import simulate_detections

COLUMNS = ["ra_deg", "dec_deg", "flux_peak_mjy_beam", "flux_peak_err_mjy_beam", "snr"]
N_IMAGES = 12


def deliver(folder: Path, table: pd.DataFrame) -> None:
    """One epoch as files: a catalog per image, then the manifest."""
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
                "ra_deg": 0.0,
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


def make_project(root: Path, tables: list[pd.DataFrame]) -> Project:
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
    (root / FILE_NAME).write_text(yaml.safe_dump({"catalogs": {"truth": catalog}}), encoding="utf-8")
    (root / "incoming").mkdir()
    return Project(load_config(root / FILE_NAME))


def measured(name: str, n_rows: int, work: Callable[[], Report]) -> None:
    wall, processor = time.perf_counter(), time.process_time()
    report = work()
    assert report.complete, (report.errors[:1], report.failed)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    rate = n_rows / wall
    print(f"{name:<40} {wall:7.2f} s wall {processor:7.2f} s processor {rate:10,.0f} rows/s {len(report.run_ids)} runs")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=100)
    arguments = parser.parse_args()
    tables = simulate_detections(arguments.sources, arguments.epochs + 1, images_per_epoch=N_IMAGES, completeness=1.0)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        project = make_project(root, tables)
        for table in tables[:-1]:
            deliver(root / "incoming" / table["epoch"].iloc[0], table)
        n_rows = sum(map(len, tables[:-1]))
        with open_instance(root) as instance:
            last_stage: dict[str, float] = {}

            def run() -> Report:
                return bring_up_to_date(
                    project, instance, on_done=lambda stage, _: last_stage.__setitem__(stage, time.perf_counter())
                )

            start = time.perf_counter()
            measured(f"{arguments.epochs} epochs of {arguments.sources} from files", n_rows, run)
            for stage, end in last_stage.items():
                print(f"    {stage:<36} done after {end - start:7.2f} s")
            deliver(root / "incoming" / tables[-1]["epoch"].iloc[0], tables[-1])
            measured("one epoch more, warm", len(tables[-1]), run)
            measured("nothing to do", 0, run)
        size_mb = sum(file.stat().st_size for file in root.rglob("*") if file.is_file()) / 1e6
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"peak memory {peak_gb:.2f} GB; all files {size_mb:.0f} MB")


if __name__ == "__main__":
    main()
