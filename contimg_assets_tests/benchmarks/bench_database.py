"""The products database: a backfill, one epoch more, one epoch replaced, and the questions people ask.

    python -m contimg_assets_tests.benchmarks.bench_database [--sources 10000] [--epochs 100] [--url postgresql://...]

Prints seconds (wall and processor), rates and peak memory. For the ratio, the plainest way to store the same epoch's
measurements, a pandas `to_sql` of one table without keys, indices or statistics, runs in the same run. Processor
seconds tell more than wall seconds on a machine that others use too.
"""

from __future__ import annotations

import argparse
import resource
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from contimg_assets.catalogs.store import ReferenceCatalog
from contimg_assets.config import Matching
from contimg_assets.database import ProductsDatabase
from contimg_assets.database.epoch_products import EpochProducts
from contimg_assets.database.matching import source_matching
from contimg_assets_tests.database.survey import Survey


@contextmanager
def clock(name: str) -> Iterator[None]:
    wall, processor = time.perf_counter(), time.process_time()
    yield
    print(f"  {name:52s} {time.perf_counter() - wall:8.3f} s wall {time.process_time() - processor:8.3f} s processor")


def milliseconds(work: Callable[[], object], repeats: int = 20) -> str:
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        taken.append(1000 * (time.perf_counter() - start))
    return f"{np.median(taken):7.1f} ms median {max(taken):7.1f} ms worst"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sources", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--url", help="an empty database; a temporary SQLite file if not given")
    arguments = parser.parse_args()
    survey = Survey(arguments.sources, arguments.epochs + 3, detected=0.97, n_images=12)
    with tempfile.TemporaryDirectory() as folder:
        url = arguments.url or f"sqlite:///{Path(folder) / 'products.sqlite3'}"
        with ProductsDatabase(url) as database:
            database.upgrade()
            run(database, survey, arguments.epochs, Path(folder))
        size = sum(file.stat().st_size for file in Path(folder).glob("products*")) / 1e6
    print(f"  database {size:.0f} MB; peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


def run(database: ProductsDatabase, survey: Survey, n_epochs: int, folder: Path) -> None:
    print(f"{len(survey.ra)} sources, {n_epochs} epochs of 12 images, {database.engine.dialect.name}")

    def batch() -> Iterator[EpochProducts]:
        yield from (survey.epoch(number) for number in range(n_epochs))

    with clock("making the epochs, which the next line does too"):
        for _ in batch():
            pass
    with clock(f"backfill of {n_epochs} epochs in one transaction"):
        database.replace_epochs(batch())
    catalog = ReferenceCatalog(
        "nvss",
        _catalog(survey),
        freq_mhz=1400.0,
        beam_arcsec=45.0,
        version="1",
    )
    for number in range(n_epochs, n_epochs + 2):
        products = survey.epoch(number)
        _ = products.content_version
        with clock("one epoch more"):
            report = database.replace_epochs([products])
        print("     " + ", ".join(f"{name} {s:.3f}" for name, s in report.seconds.items() if s >= 0.01))
    changed = survey.epoch(n_epochs // 2, flux_factor=1.1)
    _ = changed.content_version
    with clock("an epoch in the middle replaced"):
        database.replace_epochs([changed])
    with clock("the same again: nothing to do"):
        database.replace_epochs([changed])
    matching = source_matching([catalog], Matching())
    with clock("all sources matched to a catalog"):
        database.replace_epochs([], matching=matching)
    products = survey.epoch(n_epochs + 2)
    _ = products.content_version
    with clock("one epoch more, sources matched again"):
        database.replace_epochs([products], matching=matching)
    with clock("peer: pandas to_sql of the epoch's measurements"), sqlite3.connect(folder / "peer.sqlite3") as peer:
        products.measurements.to_sql("measurements", peer, index=False)

    source = database.cone(0.0, survey.centre[1], 600.0)["id"][0]
    database.light_curve(source)
    for name, ask in {
        "source at a position": lambda: database.find_source(f"{survey.ra[5]},{survey.dec[5]}"),
        "cone of 10 arcmin": lambda: database.cone(0.0, survey.centre[1], 600.0),
        "light curve": lambda: database.light_curve(source),
        "matches": lambda: database.matches(source),
        "variables, the first 100": lambda: database.variables(eta=2.0, v=0.05, limit=100),
        "new sources": lambda: database.new_sources(),
    }.items():
        print(f"  {name:52s} {milliseconds(ask)}")


def _catalog(survey: Survey) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "catalog_source_id": [f"N{i:06d}" for i in range(len(survey.ra))],
            "ra_deg": survey.ra,
            "dec_deg": survey.dec,
            "flux_mjy": survey.flux,
            "flux_err_mjy": 1.0,
        }
    )


if __name__ == "__main__":
    main()
