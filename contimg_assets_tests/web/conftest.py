"""An application over a small survey with hostile names in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from starlette.testclient import TestClient

from contimg_assets.catalogs.store import ReferenceCatalog
from contimg_assets.config import Config, Matching
from contimg_assets.database import ProductsDatabase
from contimg_assets.database.matching import source_matching
from contimg_assets.web.app import build_app
from contimg_assets_tests.database.survey import Survey
from contimg_assets_tests.orchestration.names import HOSTILE
from contimg_assets_tests.serving import address_of, free_port, served_on

NAMES = (
    *HOSTILE,
    *("'", '"', "`", "'\"><script>window.hostile=1</script>", "</td></tr></table><h1>x", "</script><script>alert(1)"),
    *("{{ 7 * 7 }}", "{% raw %}", "${7*7}", "#{7*7}", "%3Cscript%3E", "&#60;script&#62;", "javascript:alert(1)"),
    *(
        "\u202eesrever",
        "\u200f\u200e\u2066x\u2069",
        "\ufeff\u200b",
        "e\u0301" * 50,
        "\U0001f4a5" * 20,
        "ｓｃｒｉｐｔ＜＞",
    ),
    *("a\tb", "a\nb", "a\rb", "-1 OR 1=1; DROP TABLE sources; --", "' OR '1'='1", "../../etc/passwd", "C:\\x\\..\\y"),
    *(
        "<svg/onload=window.hostile=1>",
        "<iframe src=//example.com>",
        "=cmd|' /C calc'!A0",
        "NaN",
        "null",
        "x" * 100_000,
    ),
)
"""What catalogs and people may write, and pages must show as text."""
SURVEY = Survey(n_sources=60, n_epochs=4, detected=0.8)


@pytest.fixture(scope="session")
def products(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProductsDatabase]:
    """Sources with counterparts, whose names in the catalog and remarks would do something as HTML."""
    frame = pd.DataFrame(
        {
            "catalog_source_id": [f"{NAMES[i % len(NAMES)]} {i}" for i in range(60)],
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
        for words in NAMES:
            database.decide_match("comment", first, "nvss", None, words, words, matching)
            database.note(first, words[:20_000], words[:100])
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
    with free_port() as port, served_on(port, build_app(config, products)):
        yield address_of(port)
