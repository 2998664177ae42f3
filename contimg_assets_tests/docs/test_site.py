"""The site builds without a warning and without the network, and asks nobody else for anything when it is read."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from contimg_assets.database.models import TABLES
from contimg_assets.schemas import TableSchema
from contimg_assets_tests.docs import ROOT, hooks

pytestmark = pytest.mark.slow
# What a browser fetches by itself, by tag; of links only those with one of these relations.
_FETCHED = dict.fromkeys(("script", "img", "iframe", "source", "video", "audio"), "src") | {"link": "href"}
_RELATIONS = {"stylesheet", "icon", "preload", "preconnect"}
_ELSEWHERE = ("http:", "https:", "//")
# Where the theme would ask for a drawing program, fonts or polyfills, if it were left alone.
_HOSTS = re.compile(rb"unpkg\.com|cdnjs|jsdelivr|googleapis\.com|gstatic\.com|polyfill\.io")
# MkDocs in a process that can reach nobody.
_ALONE = """
import socket
def refuse(*_): raise OSError("the site must build without the network")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
from mkdocs.__main__ import cli
cli()
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `mkdocs build --strict` makes it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-c", _ALONE, "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, str]:
    """Name -> text of every page."""
    return {str(file.relative_to(site)): file.read_text(encoding="utf-8") for file in sorted(site.rglob("*.html"))}


def test_every_page_is_there(pages: dict[str, str]) -> None:
    written = {str(page.relative_to(ROOT / "docs").with_suffix(".html")) for page in (ROOT / "docs").rglob("*.md")}
    made = {str(Path(name).with_suffix(".html")) for name in hooks().generated_pages() if name.endswith(".md")}
    assert len(made) >= 8
    assert (written | made) - set(pages) == set()


def test_pictures_are_drawn_by_todays_code(site: Path) -> None:
    made = {file.stem: file.read_bytes() for file in (site / "pictures").iterdir()}
    assert {"light_curve", "eta_v_plane", "sky", "image", "epochs", "page_overview", "page_source"} <= set(made)
    for name, content in made.items():
        assert content.startswith(b"\x89PNG"), name
        assert len(content) > 10_000 or not (shutil.which("chromium") or shutil.which("google-chrome")), name


def test_nothing_is_fetched_from_elsewhere(pages: dict[str, str]) -> None:
    fetched = {(name, url) for name, page in pages.items() for url in _fetched(page)}
    assert len(fetched) > len(pages), "every page has a script and a style"
    assert {one for one in fetched if one[1].startswith(_ELSEWHERE)} == set()


def test_no_script_or_style_names_a_delivery_network(site: Path) -> None:
    files = [file for kind in ("*.js", "*.css", "*.html") for file in site.rglob(kind)]
    found = {str(file.relative_to(site)): _HOSTS.findall(file.read_bytes()) for file in files}
    assert {name: hosts for name, hosts in found.items() if hosts} == {}
    styles = b"".join(file.read_bytes() for file in site.rglob("*.css"))
    assert re.findall(rb"""(?:@import|url\()\s*["']?(?:https?:)?//[^)"']*""", styles) == []


def test_what_would_be_fetched_is_seen() -> None:
    page = (
        '<link rel="stylesheet" href="https://a/x.css"><link rel="canonical" href="https://b/">'
        '<script src="//c/x.js"></script><a href="https://d/">d</a><img src="e.png">'
    )
    assert list(_fetched(page)) == ["https://a/x.css", "//c/x.js", "e.png"]


def test_formulas_are_mathml(pages: dict[str, str]) -> None:
    for name in ("measurements", "associated_sources", "catalog_matches", "corrections", "products"):
        page = pages[f"stages/{name}.html"]
        assert page.count('<math xmlns="http://www.w3.org/1998/Math/MathML"') >= 2, name
        assert r"\(" not in page and r"\[" not in page, f"a formula of {name} was left as it is written"
        assert "merror" not in page


def test_columns_page_has_every_column_of_the_products(pages: dict[str, str]) -> None:
    page = pages["columns.html"]
    for name, table in TABLES.items():
        assert f"<code>{name}</code>" in page
        if name not in hooks().INTERNAL_TABLES:
            missing = [column.name for column in table.columns if f"<code>{column.name}</code>" not in page]
            assert missing == [], name


def test_columns_page_gives_units_and_meanings() -> None:
    page = hooks().columns_page()
    assert "| `uncertainty_ew_arcsec` | number | arcsec | 1-sigma error of the mean position, east |" in page
    assert "| `id` | text |  | Hash of the measurement that gave birth to the source (*key*) |" in page
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) > 300
    assert all(row.replace("\\|", "").count("|") == 5 for row in rows)
    assert all(row.split("|")[4].strip() for row in rows), "a column without a meaning"


def test_every_public_function_has_its_place(pages: dict[str, str]) -> None:
    index = pages["api/index.html"]
    names = [name for group in hooks().api_groups() for name in group["names"]]
    assert {"associate_measurements", "cross_match_sources", "calculate_flux_scale", "ProductsDatabase"} <= set(names)
    for group in hooks().api_groups():
        page = pages[f"api/{group['page']}.html"]
        for name, path in group["names"].items():
            assert f'id="{path}"' in page, f"{name} is not described"
            assert f"<code>{name}</code>" in index


class _Fetched(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "link" and not set((values.get("rel") or "").split()) & _RELATIONS:
            return
        url = values.get(_FETCHED.get(tag, ""))
        if url:
            self.urls.append(url)


def _fetched(page: str) -> Iterator[str]:
    parser = _Fetched()
    parser.feed(page)
    yield from parser.urls


def test_schemas_reach_the_page() -> None:
    schemas = [schema for stage in hooks().STAGES if stage.kept_in == "store" for schema in stage.tables]
    assert all(isinstance(schema, TableSchema) for schema in schemas)
    page = hooks().columns_page()
    assert all(f"table `{schema.name}`" in page for schema in schemas)
