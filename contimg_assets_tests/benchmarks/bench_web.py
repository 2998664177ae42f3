"""Pages of `contimg web` over a large survey, and its report: seconds and sizes, and readers beside a run that writes.

    python -m contimg_assets_tests.benchmarks.bench_web [--sources 1000000] [--epochs 100] [--curves 5000] [--folder F]

The survey is simulated straight into the tables that pages read: every source with its statistics, light curves (all
epochs) of the first `--curves` sources. A folder that is given keeps the database, and a second call uses it again.
With `--readers 8` so many threads of another process ask for pages while an epoch is written again and again.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import chi2
from starlette.testclient import TestClient

from contimg_assets.config import Config
from contimg_assets.database import ProductsDatabase, bulk
from contimg_assets.database.engine import writing
from contimg_assets.database.models import TABLES
from contimg_assets.identity.ids import hash_text, to_hex
from contimg_assets.identity.names import name_cells, source_names
from contimg_assets.pipeline.report import survey_report
from contimg_assets.schemas.corrections import CORRECTED_MEASUREMENTS, CORRECTIONS
from contimg_assets.schemas.detections import IMAGES
from contimg_assets.schemas.variability import SOURCES, VARIABILITY
from contimg_assets.sky.cells import index_cells
from contimg_assets.web.app import build_app
from contimg_assets_tests.database.survey import Survey, filled

_AT_ONCE = 100_000
_BAND = "1355MHz"
_PAGES = ("/", "/sources", "/sources?sort=-eta_peak", "/sources?where=eta_peak+%3E+3,+n_measurements+%3E+50", "/eta-v",
          "/sources?about={name}&radius=3600", "/sources?offset=500000", "/sky", "/images", "/catalogs",
          "/find?q={name}", "/source/{id}", "/source/{id}?list=sort%3D-eta_peak&at=40")  # fmt: skip
_DATA = ("/chart/eta-v", "/chart/histogram/eta", "/chart/vs-m", "/chart/sky", "/chart/epochs",
         "/chart/sky?about={name}&radius=3600", "/chart/images/offset_east", "/chart/light_curve/{id}",
         "/api/sources/{id}", "/scs?RA=10&DEC=10&SR=0.2", "/moc")  # fmt: skip


def fill(database: ProductsDatabase, n_sources: int, n_epochs: int, n_curves: int) -> None:
    """A survey of constant and a few variable sources."""
    rng = np.random.default_rng(7)
    names = [f"e{number:04d}" for number in range(n_epochs)]
    mjd = 61000.0 + np.arange(n_epochs)
    ids = np.sort(to_hex(hash_text(np.arange(n_sources).astype(str).astype(object))).astype(str)).astype(object)
    ra, dec = rng.uniform(0, 360, n_sources), np.degrees(np.arcsin(rng.uniform(-0.5, 0.99, n_sources)))
    flux = 5.0 * (1 - rng.uniform(size=n_sources)) ** (-1 / 1.5)
    _write_epochs(database, names, mjd, n_sources)
    for start in range(0, n_sources, _AT_ONCE):
        part = slice(start, min(start + _AT_ONCE, n_sources))
        _write_sources(database, ids[part], (ra[part], dec[part]), flux[part], names)
        print(f"  {part.stop} sources", flush=True)
    for start in range(0, n_curves, 1000):
        part = slice(start, min(start + 1000, n_curves))
        _write_curves(database, ids[part], (ra[part], dec[part]), flux[part], names)
    with writing(database.engine) as connection:
        connection.exec_driver_sql("ANALYZE")


def _write_epochs(database: ProductsDatabase, names: list[str], mjd: np.ndarray, n_sources: int) -> None:
    n, n_images = len(names), 12
    epoch, image = np.repeat(names, n_images), [f"{name}_{i:02d}" for name in names for i in range(n_images)]
    k = n * n_images
    base = {"image": np.asarray(image, dtype=object)}
    images = filled(
        IMAGES, k, **base, mjd=np.repeat(mjd, n_images), ra_deg=np.tile(np.arange(n_images) * 30.0, n),
        dec_deg=np.full(k, 15.0), radius_deg=np.full(k, 10.0), bmaj_arcsec=np.full(k, 30.0),
        freq_mhz=np.full(k, 1405.0), rms_mjy_beam=np.full(k, 1.0),
    ).assign(epoch=epoch, band=_BAND)  # fmt: skip
    corrections = filled(CORRECTIONS, k, **base, flux_mult=np.ones(k), trusted=np.ones(k, bool)).assign(epoch=epoch)
    epochs = pd.DataFrame({"epoch": names, "mjd_start": mjd, "mjd_end": mjd, "content_version": "1"})
    counts = {"n_images": n_images, "n_measurements": n_sources, "n_duplicates": 0, "n_associations": n_sources}
    with writing(database.engine) as connection:
        bulk.insert(connection, TABLES["epochs"], epochs.assign(**counts))
        bulk.insert(connection, TABLES["images"], images[[*TABLES["images"].c.keys()]])
        bulk.insert(connection, TABLES["corrections"], corrections[[*TABLES["corrections"].c.keys()]])


def _write_sources(
    database: ProductsDatabase,
    ids: np.ndarray,
    place: tuple[np.ndarray, np.ndarray],
    flux: np.ndarray,
    names: list[str],
) -> None:
    n, n_epochs = len(ids), len(names)
    rng = np.random.default_rng(int(ids[0][:8], 16))
    ra, dec = place
    eta = rng.chisquare(n_epochs - 1, n) / (n_epochs - 1) * np.where(rng.uniform(size=n) < 0.001, 30.0, 1.0)
    log_p = chi2.logsf(eta * (n_epochs - 1), n_epochs - 1) / np.log(10)
    named = source_names(name_cells(ra, dec), np.zeros(n), hash_text(ids), "DSA")
    seen = np.full(n, n_epochs)
    sources = filled(
        SOURCES, n, id=ids, name=named, ra_deg=ra, dec_deg=dec, first_ra_deg=ra, first_dec_deg=dec, band=_of(n, _BAND),
        healpix=index_cells(ra, dec), first_epoch=_of(n, names[0]), last_epoch=_of(n, names[-1]), n_measurements=seen,
        first_mjd=np.full(n, 61000.0), last_mjd=np.full(n, 61000.0 + n_epochs), n_epochs=seen, n_bands=np.ones(n, int),
        flux_peak_mjy_beam=flux, flux_peak_err_mjy_beam=np.full(n, 0.1), freq_mhz=np.full(n, 1405.0),
        uncertainty_ew_arcsec=np.full(n, 0.1), uncertainty_ns_arcsec=np.full(n, 0.1), beam_arcsec=np.full(n, 30.0),
    )  # fmt: skip
    statistics = filled(
        VARIABILITY, n, source_id=ids, band=_of(n, _BAND), sample=_of(n, "detections"), n_peak=seen, eta_peak=eta,
        v_peak=np.sqrt(eta) / flux, log10_p_value_peak=log_p, p_value_peak=10**log_p, vs_peak=5 * eta, m_peak=0.3 * eta,
        flux_peak_weighted_mean_mjy_beam=flux, flux_peak_weighted_mean_err_mjy_beam=np.full(n, 0.1),
    )  # fmt: skip
    with writing(database.engine) as connection:
        bulk.insert(connection, TABLES["sources"], sources)
        bulk.insert(connection, TABLES["variability"], statistics)


def _write_curves(
    database: ProductsDatabase,
    ids: np.ndarray,
    place: tuple[np.ndarray, np.ndarray],
    flux: np.ndarray,
    names: list[str],
) -> None:
    n, n_epochs = len(ids), len(names)
    k, rng = n * n_epochs, np.random.default_rng(1)
    source, epoch = np.repeat(ids, n_epochs), np.tile(np.asarray(names, dtype=object), n)
    ra, dec = (np.repeat(values, n_epochs) for values in place)
    here = np.repeat(flux, n_epochs) + rng.normal(size=k)
    ones = np.ones(k)
    measured = filled(
        CORRECTED_MEASUREMENTS, k, measurement_id=(source + epoch).astype(object), component_id=source, ra_deg=ra,
        dec_deg=dec, ra_corr_deg=ra, dec_corr_deg=dec, image=epoch + "_00",
        mjd=61000.0 + np.tile(np.arange(n_epochs), n),
        flux_peak_mjy_beam=here, flux_peak_err_mjy_beam=ones, flux_peak_corr_mjy_beam=here,
        flux_peak_err_corr_mjy_beam=ones, flux_scale_err=0.01 * ones, snr=here, healpix=index_cells(ra, dec),
        trusted=ones.astype(bool), corrected=ones.astype(bool),
    ).assign(epoch=epoch, is_limit=False, band=_BAND)  # fmt: skip
    associated = pd.DataFrame({"epoch": epoch, "measurement_id": source + epoch, "source_id": source, "copied": False})
    with writing(database.engine) as connection:
        for name, frame in (("measurements", measured), ("associations", associated)):
            kept = [column for column in list(TABLES[name].c.keys()) if column in frame]
            bulk.insert(connection, TABLES[name], frame[kept])


def _of(n: int, value: str) -> np.ndarray:
    return np.full(n, value, dtype=object)


def measure(database: ProductsDatabase, folder: Path) -> None:
    """Every page and chart: first and later seconds, size."""
    app = build_app(Config(root=folder), database)
    client = TestClient(app, base_url="http://127.0.0.1", follow_redirects=False)
    start = time.perf_counter()
    app.state.survey.warm_up()
    print(f"  warming up, which `contimg web` does as it starts: {time.perf_counter() - start:.1f} s", flush=True)
    row = database.query("SELECT id, name FROM sources ORDER BY id LIMIT 1").iloc[0]
    for path in (*_PAGES, *_DATA):
        taken = []
        for _ in range(4):
            start = time.perf_counter()
            answer = client.get(path.format(id=row["id"], name=row["id"]))
            taken.append(time.perf_counter() - start)
        size = len(answer.content) / 1e3
        print(
            f"  {path:62s} {answer.status_code} {taken[0]:7.2f} s {np.median(taken[1:]):7.3f} s {size:9.1f} kB",
            flush=True,
        )


def report(database: ProductsDatabase, folder: Path) -> None:
    """`contimg report` of the survey: seconds and size."""
    start, cpu = time.perf_counter(), time.process_time()
    size = len(survey_report(Config(root=folder), database).encode()) / 1e6
    took, cpu = time.perf_counter() - start, time.process_time() - cpu
    print(f"  the survey's report: {took:.1f} s, {cpu:.1f} s of CPU, {size:.1f} MB", flush=True)


def with_readers(n_readers: int, folder: Path) -> None:
    """Writers alone and beside readers: seconds a write, pages read, errors."""
    survey = Survey(n_sources=2000, n_epochs=12, detected=0.9)
    with ProductsDatabase(folder / "beside.sqlite3") as database:
        database.upgrade()
        database.replace_epochs(survey.epochs())
        alone = _writes(database, survey)
        context = multiprocessing.get_context("spawn")
        ready, ended, found = context.Event(), context.Event(), context.Queue()
        readers = context.Process(target=_read, args=(folder, n_readers, ready, ended, found))
        readers.start()
        ready.wait()
        beside = _writes(database, survey)
        ended.set()
        answers = found.get()
        readers.join()
    wrong = sum(one != 200 for one in answers)
    print(f"  a write alone {alone:.2f} s, beside {n_readers} readers {beside:.2f} s ({beside / alone:.2f} x);"
          f" {len(answers)} pages, {wrong} errors")  # fmt: skip


def _read(folder: Path, n_readers: int, ready: Any, ended: Any, found: Any) -> None:
    """The server and its readers, in a process of their own."""
    answers: list[int] = []
    with ProductsDatabase(folder / "beside.sqlite3") as database:
        client = TestClient(build_app(Config(root=folder), database), base_url="http://127.0.0.1")
        client.get("/")

        def read() -> None:
            while not ended.is_set():
                for path in ("/", "/sources?sort=-eta_peak", "/eta-v", "/chart/eta-v"):
                    answers.append(client.get(path).status_code)
                    # A person looks at a page before the next.
                    ended.wait(1.0)

        threads = [threading.Thread(target=read) for _ in range(n_readers)]
        for one in threads:
            one.start()
        ready.set()
        for one in threads:
            one.join()
    found.put(answers)


def _writes(database: ProductsDatabase, survey: Survey, n: int = 12) -> float:
    start = time.perf_counter()
    for number in range(n):
        database.replace_epochs([survey.epoch(11, flux_factor=1.0 + 0.01 * (number + 1), version=str(time.time()))])
    return (time.perf_counter() - start) / n


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sources", type=int, default=1_000_000)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--curves", type=int, default=5000)
    parser.add_argument("--readers", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="keep the database here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if arguments.readers:
            with_readers(arguments.readers, Path(temporary))
            return
        file = folder / "products.sqlite3"
        is_there = file.exists()
        with ProductsDatabase(file) as database:
            if not is_there:
                database.upgrade()
                fill(database, arguments.sources, arguments.epochs, arguments.curves)
            print(f"{file.stat().st_size / 1e9:.2f} GB; first and later seconds, size")
            measure(database, folder)
            report(database, folder)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
