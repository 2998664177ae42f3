"""Matching 100,000 measurements to a catalog of 2,000,000 sources, all columns, against a bare pair search.

    python -m contimg_assets_tests.benchmarks.bench_matching [--measurements N] [--sources N] [--repeat N]

The peer, run in the same process on the same positions, is astropy's `search_around_sky` with the same largest radius:
it finds pairs and separations and nothing else.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import pandas as pd
from astropy.coordinates import SkyCoord, search_around_sky

from contimg_assets.catalogs.store import ReferenceCatalog, build_catalog, write_catalog
from contimg_assets.config import CatalogConfig, Matching
from contimg_assets.crossmatch.matches import match_catalogs
from contimg_assets.schemas.matches import CATALOG_MATCHES
from contimg_assets.sky import sphere

PER_IMAGE = 1000
BOUND_SECONDS = 1.5
BOUND_MEGABYTES = 1000.0


def survey(n: int, n_sources: int, folder: Path) -> None:
    """Measurements in images of 3 deg radius all over the sky, 80 % of them of catalog sources, and the catalog."""
    rng = np.random.default_rng(1)
    ra, dec = rng.uniform(0, 360, n_sources), np.degrees(np.arcsin(rng.uniform(-1, 1, n_sources)))
    rows: dict[str, Any] = {"name": np.char.add("S", np.arange(n_sources).astype(str)), "ra_deg": ra, "dec_deg": dec}
    rows |= {"flux_mjy": rng.lognormal(2.5, 1.0, n_sources), "flux_err_mjy": 0.5}
    pd.DataFrame(rows).to_parquet(folder / "survey.parquet")
    config = CatalogConfig(path="survey.parquet", freq_mhz=1400.0, beam_arcsec=45.0, position_err_arcsec=1.5)
    write_catalog(build_catalog("survey", config, folder), folder / "reference.parquet")
    n_images = max(n // PER_IMAGE, 1)
    centre_ra, centre_dec = rng.uniform(0, 360, n_images), np.degrees(np.arcsin(rng.uniform(-0.9, 0.99, n_images)))
    tables = []
    vectors = sphere.unit_vectors(ra, dec)
    for image in range(n_images):
        middle = sphere.unit_vectors(centre_ra[image], centre_dec[image])
        inside = np.flatnonzero(vectors @ middle > np.cos(np.radians(3.0)))
        seen = rng.choice(inside, min(int(0.8 * PER_IMAGE), len(inside)), replace=False)
        alone = PER_IMAGE - len(seen)
        x, y = rng.uniform(-10_000, 10_000, (2, alone))
        new = sphere.displaced(np.full(alone, centre_ra[image]), np.full(alone, centre_dec[image]), x, y)
        at = np.concatenate([ra[seen], new[0]]), np.concatenate([dec[seen], new[1]])
        offset = rng.uniform(-3, 3, 2)
        found = sphere.displaced(*at, *(rng.normal(0, 2.0, (2, PER_IMAGE)) + offset[:, None]))
        tables.append(pd.DataFrame({"image": f"image{image:04d}", "ra_deg": found[0], "dec_deg": found[1]}))
    measurements = pd.concat(tables, ignore_index=True)
    measurements["measurement_id"] = [f"{i:016x}" for i in rng.permutation(len(measurements))]
    measurements["uncertainty_ew_arcsec"] = measurements["uncertainty_ns_arcsec"] = 1.5
    measurements["flux_int_mjy"], measurements["flux_peak_mjy_beam"] = 12.0, 11.0
    images = pd.DataFrame({"image": sorted(set(measurements["image"])), "bmaj_arcsec": 45.0, "freq_mhz": 1405.0})
    measurements.to_parquet(folder / "measurements.parquet")
    images.to_parquet(folder / "images.parquet")


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measurements", type=int, default=100_000)
    parser.add_argument("--sources", type=int, default=2_000_000)
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # In a process of its own, so that its memory is not taken for ours.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            pool.submit(survey, args.measurements, args.sources, Path(folder)).result()
        measurements, images = (
            pd.read_parquet(Path(folder) / f"{name}.parquet") for name in ("measurements", "images")
        )
        parameters = Matching()
        before = peak_megabytes()
        start = time.perf_counter()
        catalog = ReferenceCatalog("survey", Path(folder) / "reference.parquet")
        result = match_catalogs(measurements, images, [catalog], parameters)
        print(f"cold, from the file: {time.perf_counter() - start:.2f} s")
        table = catalog.table
        ours = best_of(args.repeat, lambda: match_catalogs(measurements, images, [catalog], parameters))
        print(
            f"warm: {ours[0]:.2f} s (bound {BOUND_SECONDS} s), {ours[1]:.2f} s of CPU, "
            f"{len(measurements) / ours[0]:,.0f} measurements/s"
        )
        print(
            f"peak memory {peak_megabytes():.0f} MB (bound {BOUND_MEGABYTES:.0f} MB), {before:.0f} MB before matching"
        )
        CATALOG_MATCHES.to_arrow(result.matches)
        print(f"{len(result.matches):,} candidates, {len(CATALOG_MATCHES.names)} columns")
        # The radius of our own search: the beams, and the largest offset of an image.
        radius = max(parameters.radius_arcsec, 0.5 * (45.0 + 45.0)) + 2**0.5 * parameters.max_offset_arcsec

        def peer() -> int:
            first = SkyCoord(measurements["ra_deg"].to_numpy() * u.deg, measurements["dec_deg"].to_numpy() * u.deg)
            second = SkyCoord(table.column("ra_deg").to_numpy() * u.deg, table.column("dec_deg").to_numpy() * u.deg)
            return len(search_around_sky(first, second, radius * u.arcsec)[0])

        theirs = best_of(args.repeat, peer)
        print(
            f"astropy search_around_sky: {theirs[0]:.2f} s, {theirs[1]:.2f} s of CPU, "
            f"{peer():,} pairs within {radius:.0f} arcsec and nothing else"
        )
        print(f"ratio astropy / ours: {theirs[0] / ours[0]:.2f}, of CPU {theirs[1] / ours[1]:.2f}")


def best_of(repeat: int, call: Callable[[], object]) -> tuple[float, float]:
    """Least elapsed and CPU seconds of several calls: the machine may be shared."""
    elapsed, cpu = [], []
    for _ in range(repeat):
        start, start_cpu = time.perf_counter(), time.process_time()
        call()
        elapsed.append(time.perf_counter() - start)
        cpu.append(time.process_time() - start_cpu)
    return min(elapsed), min(cpu)


if __name__ == "__main__":
    main()
