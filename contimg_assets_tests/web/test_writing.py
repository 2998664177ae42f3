"""What pages change, who may, and that no other site can in their name."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from contimg_assets.catalogs.store import ReferenceCatalog
from contimg_assets.config import Config, Matching
from contimg_assets.database import ProductsDatabase
from contimg_assets.database.matching import source_matching
from contimg_assets.web import writing
from contimg_assets.web.app import build_app
from contimg_assets_tests.orchestration.names import HOSTILE

TOKEN = "not so secret"


@pytest.fixture
def database(products: ProductsDatabase, tmp_path: Path) -> Iterator[ProductsDatabase]:
    # Not the file alone: its last rows may still lie in the write-ahead log.
    original = sqlite3.connect(products.url.removeprefix("sqlite:///"))
    with closing(original), closing(sqlite3.connect(tmp_path / "products.sqlite3")) as target:
        original.backup(target)
    with ProductsDatabase(tmp_path / "products.sqlite3") as copy:
        yield copy


@pytest.fixture
def visitor(database: ProductsDatabase, tmp_path: Path) -> TestClient:
    app = build_app(Config(root=tmp_path), database, token=TOKEN)
    return TestClient(app, base_url="http://127.0.0.1:8765")


def form_token(client: TestClient, path: str) -> str:
    found = re.search(r'name="form_token" value="([^"]+)"', client.get(path).text)
    assert found
    return found[1]


def test_who_knows_the_token_may_write(visitor: TestClient, database: ProductsDatabase) -> None:
    page = f"/source/{database.read_table('sources')['id'][2]}"
    assert "form_token" not in visitor.get(page).text and "Sign in" in visitor.get(page).text
    wrong = visitor.post("/sign-in", data={"name": "ann", "token": "guessed"})
    assert wrong.status_code == 403 and not visitor.cookies
    answer = visitor.post(
        "/sign-in", data={"name": "ann", "token": TOKEN, "next": "//example.com"}, follow_redirects=False
    )
    assert answer.headers["location"] == "/"
    assert {"HttpOnly", "SameSite=strict"} <= set(answer.headers["set-cookie"].split("; "))
    mine = {"form_token": form_token(visitor, page)}
    for path, data in (
        ("tag", {"tag": "needs-look odd"}),
        ("note", {"note": "<script>window.hostile = 1</script>"}),
        ("favorite", {"action": "add"}),
    ):
        assert visitor.post(f"{page}/{path}", data={**mine, **data}).status_code == 200, path
    text = visitor.get(page).text
    assert "needs-look" in text and "&lt;script&gt;window.hostile" in text and "favorite of ann" in text
    assert set(database.tags()["author"]) == {"ann"}
    visitor.post(f"{page}/tag", data={**mine, "tag": "odd", "action": "remove"})
    assert database.tags()["tag"].tolist() == ["needs-look"]
    visitor.post("/queries", data={**mine, "name": "mine", "query": "where=tag+%3D+needs-look"})
    listed = visitor.get("/sources?where=tag+%3D+needs-look").text
    assert "1 source," in listed and ">mine</a>" in listed
    assert visitor.post(f"{page}/tag", data={**mine, "tag": "a,b"}).status_code == 400
    visitor.post("/sign-out", data=mine)
    assert visitor.post(f"{page}/tag", data={**mine, "tag": "late"}).status_code == 403


def test_no_other_site_writes_in_their_name(visitor: TestClient, database: ProductsDatabase) -> None:
    page = f"/source/{database.read_table('sources')['id'][2]}"
    visitor.post("/sign-in", data={"name": "ann", "token": TOKEN})
    mine = {"form_token": form_token(visitor, page), "tag": "forged"}
    for data, headers, status in (
        ({"tag": "forged"}, {}, 403),
        ({**mine, "form_token": "é"}, {}, 403),
        (mine, {"sec-fetch-site": "cross-site"}, 403),
        (mine, {"content-type": "text/plain"}, 415),
        ({**mine, "tag": "x" * 200_000}, {}, 413),
        ({**mine, **{f"f{i}": "x" for i in range(50)}}, {}, 400),
    ):
        assert visitor.post(f"{page}/tag", data=data, headers=headers).status_code == status
    assert visitor.get(f"{page}/tag").status_code == 405
    assert database.tags().empty


def test_pages_that_only_read_take_no_form(client: TestClient, products: ProductsDatabase) -> None:
    page = f"/source/{products.read_table('sources')['id'][2]}"
    assert "Sign in" not in client.get(page).text
    assert client.get("/sign-in").status_code == 404
    for path in ("/sign-in", f"{page}/tag", "/queries"):
        assert client.post(path, data={"token": "", "name": "x"}).status_code in (404, 405)


def test_counterparts_are_decided_on_from_the_page(
    visitor: TestClient, database: ProductsDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    matches = database.read_table("cross_matches")
    match = matches[matches["rank"] == 1].iloc[7]
    sources = database.read_table("sources").assign(flux_mjy=1.0)
    entries = sources.assign(catalog_source_id=[f"{HOSTILE[i % len(HOSTILE)]} {i}" for i in range(len(sources))])
    catalog = ReferenceCatalog(
        "nvss", entries[["catalog_source_id", "ra_deg", "dec_deg", "flux_mjy"]], freq_mhz=1400.0, beam_arcsec=45.0
    )
    monkeypatch.setattr(writing, "matching_of", lambda config: source_matching([catalog], Matching()))
    page = f"/source/{match['source_id']}"
    visitor.post("/sign-in", data={"name": "ann", "token": TOKEN})
    data = {
        "form_token": form_token(visitor, page), "catalog": "nvss", "action": "reject", "comment": "a side lobe",
        "catalog_source_id": entries.set_index("id").loc[match["source_id"], "catalog_source_id"],
    }  # fmt: skip
    assert visitor.post(f"{page}/match", data=data).status_code == 200
    (row,) = database.decisions(match["source_id"]).query("action == 'reject'").itertuples()
    assert (row.author, row.comment, row.catalog_source_id) == ("ann", "a side lobe", data["catalog_source_id"])
