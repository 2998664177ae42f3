"""An application over a small survey with hostile names in it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import uvicorn
from starlette.testclient import TestClient

from contimg_assets.catalogs.store import ReferenceCatalog
from contimg_assets.config import Config, Matching
from contimg_assets.database import ProductsDatabase
from contimg_assets.database.matching import source_matching
from contimg_assets.web.app import build_app
from contimg_assets_tests.database.survey import Survey
from contimg_assets_tests.orchestration.names import HOSTILE

SURVEY = Survey(n_sources=60, n_epochs=4, detected=0.8)


@pytest.fixture(scope="session")
def products(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProductsDatabase]:
    """Sources with counterparts, whose names in the catalog and remarks would do something as HTML."""
    frame = pd.DataFrame(
        {
            "catalog_source_id": [f"{HOSTILE[i % len(HOSTILE)]} {i}" for i in range(60)],
            "ra_deg": SURVEY.ra,
            "dec_deg": SURVEY.dec,
            "flux_mjy": SURVEY.flux,
        }
    )
    catalog = ReferenceCatalog("nvss", frame, freq_mhz=1400.0, beam_arcsec=45.0)
    matching = source_matching([catalog], Matching())
    with ProductsDatabase(tmp_path_factory.mktemp("web") / "products.sqlite3") as database:
        database.upgrade()
        database.replace_epochs(SURVEY.epochs(), matching=matching)
        first = str(database.read_table("sources")["id"][0])
        for words in HOSTILE:
            database.decide_match("comment", first, "nvss", None, words, words, matching)
            database.note(first, words, words[:100])
            database.save_query(words[:100], words[:1000], words[:100])
        yield database


@pytest.fixture(scope="session")
def config(products: ProductsDatabase) -> Config:
    return Config(root=Path(products.url.removeprefix("sqlite:///")).parent)


@pytest.fixture(scope="session")
def client(config: Config, products: ProductsDatabase) -> TestClient:
    return TestClient(build_app(config, products), base_url="http://127.0.0.1:8765")


@pytest.fixture
def served(config: Config, products: ProductsDatabase) -> Iterator[str]:
    """URL of a server on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(build_app(config, products), log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [free]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.02)
        yield f"http://127.0.0.1:{free.getsockname()[1]}"
        server.should_exit = True
        thread.join()
