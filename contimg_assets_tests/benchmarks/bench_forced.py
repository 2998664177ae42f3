"""Forced fluxes at 10,000 positions of an image of 8,192 x 8,192 pixels, noise and its correlation measured as well.

    python -m contimg_assets_tests.benchmarks.bench_forced [--positions N] [--side N] [--seeds N] [--rows N]
        [--beside FOLDER]

The image is read from a file through a memory map, as images of surveys are. A second part injects fluxes of -1 to 50
rms, alone, in pairs of 0.7 to 1.5 beams and at edges, and prints how far found fluxes are from them, in their errors,
and how often limits of 95 % hold. A third writes forced fluxes of 100 epochs into a database, then those of one more.
With ``--beside``, a clone of https://github.com/askap-vast/forced_phot, its fluxes, alone and in pairs, are compared
with these.
"""

from __future__ import annotations

import argparse
import importlib
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from astropy.io import fits
from astropy.wcs import WCS

from contimg_assets.database import ProductsDatabase
from contimg_assets.database.forced import write_forced
from contimg_assets.photometry.beam import PixelBeam
from contimg_assets.photometry.forced import forced_fluxes, noise_of
from contimg_assets.photometry.noise import NoiseMap
from contimg_assets.schemas.forced import FORCED_FLUXES
from contimg_assets.simulate.pixels import add_point_sources, beam_noise
from contimg_assets_tests.photometry.test_forced import BEAM, injected

BOUND_SECONDS, BOUND_MEGABYTES = 5.0, 600.0
_TILE = 2048
_LIMIT_SIGMA = 1.645


def write_noise(file: Path, side: int, beam: PixelBeam) -> None:
    """Noise in tiles, so that the benchmark's own memory does not count."""
    tile = beam_noise((min(_TILE, side),) * 2, beam, np.random.default_rng(1)).astype(">f4")
    image = np.memmap(file, ">f4", "w+", shape=(side, side))
    for top in range(0, side, len(tile)):
        for left in range(0, side, len(tile)):
            part = image[top : top + len(tile), left : left + len(tile)]
            part[:] = tile[: part.shape[0], : part.shape[1]]
    image.flush()


def anonymous_megabytes() -> float:
    """Memory of this process that is not a file's pages."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(float(line.split()[1]) / 1024.0 for line in lines if line.startswith("RssAnon"))


def speed(n: int, side: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "image"
        write_noise(file, side, BEAM)
        image = np.memmap(file, ">f4", "r", shape=(side, side))
        x, y = np.random.default_rng(2).uniform(0, side - 1, (2, n))
        start = time.process_time()
        noise = noise_of(image, BEAM)
        middle = time.process_time()
        found = forced_fluxes(image, x, y, noise)
        end = time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
    print(f"{n:,} positions on {side:,}^2: {(found['reason'] == '').sum():,} with fluxes")
    print(f"noise {middle - start:.2f} s CPU, fluxes {end - middle:.2f} s CPU, bound {BOUND_SECONDS} s for both")
    print(f"{anonymous_megabytes():.0f} MB at the end, bound {BOUND_MEGABYTES:.0f}; with the file at most {peak:.0f}")


def truth(seeds: int) -> None:
    parts = []
    for seed in range(seeds):
        image, places = injected(seed, 2000)
        found = forced_fluxes(image, places["x"], places["y"], noise_of(image, BEAM))
        parts.append(places.assign(pull=(found["flux"] - places["flux"]) / found["flux_err"]))
    pulls = (
        pd.concat(parts)
        .groupby("kind")["pull"]
        .agg(n="size", mean="mean", std="std", limits_hold=lambda pull: (pull > -_LIMIT_SIGMA).mean())
    )
    print(pulls.assign(mean_err=pulls["std"] / pulls["n"] ** 0.5).round(4).to_string())


def beside(folder: Path, n: int = 2000) -> None:
    """Fluxes of VAST's code on one image, alone and in pairs that it fits together, with and without noise."""
    sys.path.insert(0, str(folder))
    other = importlib.import_module("forced_phot")
    noise, flat = beam_noise((n, n), BEAM, np.random.default_rng(5)), np.ones((n, n))
    header = fits.Header({"BMAJ": 12 / 3600, "BMIN": 8 / 3600, "BPA": 30.0, "CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN"})
    header.update(CRPIX1=n / 2, CRPIX2=n / 2, CRVAL1=10.0, CRVAL2=-30.0, CDELT1=-2 / 3600, CDELT2=2 / 3600)
    known = noise_of(noise, BEAM, NoiseMap(n // 20, np.ones((20, 20)), np.zeros((20, 20))))
    _, injected_places = injected(5, n)
    for kind in ("alone", "pair"):
        places = injected_places[injected_places["kind"] == kind]
        x, y, flux = (places[name].to_numpy(float) for name in ("x", "y", "flux"))
        for what, level in (("without noise", 0.0), ("with noise", 1.0)):
            image = add_point_sources(level * noise, x, y, flux, BEAM)
            files = (fits.HDUList([fits.PrimaryHDU(one.astype("f4"), header)]) for one in (image, 0.0 * flat, flat))
            # Pairs are closer than 1.5 major axes, and those of them that are fitted together share a cluster.
            theirs, _, _, _, cluster = other.ForcedPhot(*files).measure(WCS(header).pixel_to_world(x, y))
            ours = forced_fluxes(image, x, y, known)
            apart, left, off = (
                one / ours["flux_err"] for one in (theirs - ours["flux"], ours["flux"] - flux, theirs - flux)
            )
            print(
                f"{kind}, {what}: {x.size:,} places, {(np.asarray(cluster) > 0).mean():.0%} of forced_phot's in "
                f"clusters; forced_phot less ours in errors: mean {apart.mean():.4f}, scatter {apart.std():.3f}, "
                f"within 0.1 {(apart.abs() < 0.1).mean():.1%}; scatter about the truth {left.std():.3f} for ours, "
                f"{off.std():.3f} for theirs"
            )


def rows(n: int, epochs: int = 100) -> None:
    """Write forced fluxes of many epochs into a database, and then those of one more, and of an old one again."""
    rng, each = np.random.default_rng(3), n // epochs
    sources = np.sort(rng.integers(0, 2**63, each))

    def of_epoch(number: int) -> pa.Table:
        numbers = [column.name for column in FORCED_FLUXES if str(column.type) == "double"]
        columns: dict[str, object] = {name: np.abs(rng.normal(5.0, 1.0, each)) for name in numbers}
        columns |= {column.name: False for column in FORCED_FLUXES if str(column.type) == "bool"}
        columns |= {"position": [f"{one:016x}" for one in sources], "n_neighbors": 0, "reason": ""}
        return FORCED_FLUXES.to_arrow(pd.DataFrame(columns).assign(image=f"image_{number}"))

    with tempfile.TemporaryDirectory() as folder, ProductsDatabase(Path(folder) / "products.sqlite3") as database:
        database.upgrade()
        written = 0.0
        for first in range(0, epochs, 10):
            tables = {f"e{k:04d}": ("1", of_epoch(k)) for k in range(first, first + 10)}
            start = time.process_time()
            write_forced(database, tables, "1")
            written += time.process_time() - start
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
        print(f"{n:,} rows of {epochs} epochs: {written:.1f} s CPU, {size / n:.0f} bytes a row")
        for what, name in (("one more epoch", "e9999"), ("an old epoch again", f"e{epochs // 2:04d}")):
            table = of_epoch(epochs)
            start = time.process_time()
            write_forced(database, {name: ("2", table)}, "1")
            print(f"{what} of {each:,} rows: {time.process_time() - start:.2f} s CPU")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--positions", type=int, default=10_000)
    parser.add_argument("--side", type=int, default=8192)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--beside", type=Path)
    options = parser.parse_args()
    speed(options.positions, options.side)
    truth(options.seeds)
    rows(options.rows)
    if options.beside is not None:
        beside(options.beside)


if __name__ == "__main__":
    main()
