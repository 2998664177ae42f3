"""Pictures of the documentation, drawn while the site is built: what today's code shows of the demo's survey.

They are of the project `demo` at the top of the checkout, which the README's first command makes, and of one made for
the purpose where that is absent. Pages in the browser are taken with Chromium; where there is none, a note stands in
their place.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from time import monotonic, sleep

import uvicorn
from matplotlib.figure import Figure

from contimg_assets.config import FILE_NAME, Config, load_config
from contimg_assets.database import ProductsDatabase
from contimg_assets.database.image_contents import image_measurements
from contimg_assets.database.survey_summary import image_corrections, marked_sources
from contimg_assets.figures.canvas import png_of
from contimg_assets.figures.light_curves import draw_light_curve
from contimg_assets.figures.survey import draw_epochs, draw_image, draw_sky, draw_variability
from contimg_assets.pipeline.project import Project
from contimg_assets.web.app import LOOPBACK, build_app

ROOT = Path(__file__).resolve().parent.parent
FOLDER = "pictures"
_DPI = 90
_WIDE = "1280,900"
_SECONDS = 60
_NOTE = "Chromium takes this picture; it was not installed where this site was built."


def pictures() -> Mapping[str, bytes]:
    """Name on the site -> content of every picture."""
    with TemporaryDirectory() as folder, _demo(Path(folder)) as config:
        products = Project(config).products
        with products as database:
            drawn = {f"{FOLDER}/{name}.png": png_of(figure, _DPI) for name, figure in _figures(database, config)}
            source = str(database.variables(limit=1)["source_id"].iloc[0])
            pages = {"overview": "", "sources": "sources", "eta_v": "eta-v", "source": f"source/{source}"}
            return drawn | _taken(config, database, pages, Path(folder))


@contextmanager
def _demo(folder: Path) -> Iterator[Config]:
    """The configuration of the demo's project."""
    project = ROOT / "demo"
    if not (project / "products.sqlite3").exists():
        project = folder / "demo"
        command = [str(Path(sys.executable).with_name("contimg")), "demo", str(project)]
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - our own program
    yield load_config(project / FILE_NAME)


def _figures(database: ProductsDatabase, config: Config) -> Iterator[tuple[str, Figure]]:
    """What `contimg plot` draws."""
    kind, variability = database.flux_kind(), config.variability
    source = database.source(database.variables(limit=1)["source_id"].iloc[0])
    yield "light_curve", draw_light_curve(database.light_curve(source["id"]), str(source["name"]), None)
    yield "eta_v_plane", draw_variability(database.variables(kind=kind), kind, variability.max_q, 8)
    yield "sky", draw_sky(marked_sources(database, variability), database.read_table("images"), None, "")
    images = image_corrections(database)
    yield "epochs", draw_epochs(images, "Images over time")
    epoch, image = images["epoch"].iloc[-1], images["image"].iloc[-1]
    yield "image", draw_image(images.iloc[-1], image_measurements(database, epoch, image, kind), f"{epoch} {image}")


def _taken(config: Config, database: ProductsDatabase, pages: Mapping[str, str], folder: Path) -> dict[str, bytes]:
    """Pages of `contimg web` as Chromium shows them."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        note = Figure(figsize=(7, 0.6))
        note.text(0.02, 0.4, _NOTE)
        return {f"{FOLDER}/page_{name}.png": png_of(note, _DPI) for name in pages}
    arguments = ["--headless=new", "--no-sandbox", "--hide-scrollbars", "--virtual-time-budget=8000"]
    taken = {}
    with _served(config, database) as address:
        for name, page in pages.items():
            file = folder / f"{name}.png"
            command = [browser, *arguments, f"--window-size={_WIDE}", f"--screenshot={file}", f"{address}/{page}"]
            subprocess.run(command, check=True, capture_output=True, timeout=_SECONDS)  # noqa: S603 - at our own pages
            taken[f"{FOLDER}/page_{name}.png"] = file.read_bytes()
    return taken


@contextmanager
def _served(config: Config, database: ProductsDatabase) -> Iterator[str]:
    """Address of `contimg web`, which runs within the block."""
    server = uvicorn.Server(uvicorn.Config(build_app(config, database, LOOPBACK), port=0, log_level="warning"))
    thread = Thread(target=server.run, daemon=True)
    thread.start()
    try:
        end = monotonic() + _SECONDS
        while not server.started:
            if monotonic() > end:
                raise TimeoutError(f"contimg web did not start within {_SECONDS} s")
            sleep(0.05)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(_SECONDS)
