"""Pages and data of `contimg web`: what they hold, that they escape it, and what they refuse."""

from __future__ import annotations

import html
import io
import itertools
import re
from html.parser import HTMLParser

import astropy.units as u
import numpy as np
import pandas as pd
import pytest
from astropy.io.votable import parse
from starlette.testclient import TestClient

from contimg_assets.config import Config
from contimg_assets.database import ProductsDatabase
from contimg_assets.database.catalog_counts import catalog_counts
from contimg_assets.web.app import build_app
from contimg_assets.web.tables import shown_table
from contimg_assets_tests.web.conftest import NAMES

PAGES = ("/", "/sources", "/eta-v", "/sky", "/images", "/catalogs")
CHARTS = ("eta-v", "sky", "images/offset_east", "images/offset_north", "images/flux_factor", "images/rms")
CHARTS += ("vs-m", "histogram/eta", "histogram/v", "epochs", "catalogs")

KNOWN = (
    "html head meta title link script body header nav a form label span input button main h1 h2 p ul li div table "
    "thead tbody tr th td section blockquote footer details summary"
)


class _Page(HTMLParser):
    """Tags, addresses and words of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture
def source(products: ProductsDatabase) -> pd.Series:
    return products.read_table("sources").iloc[0]


def test_every_page_answers_with_all_it_needs_from_here(client: TestClient, source: pd.Series) -> None:
    for path in (*PAGES, f"/source/{source['id']}"):
        answer = client.get(path)
        assert answer.status_code == 200, (path, answer.text[:500])
        page = _Page(answer.text)
        fetched = [values.get("src") or values.get("href") for tag, values in page.tags if tag in ("script", "link")]
        for url in fetched:
            assert url == "data:," or client.get(str(url)).status_code == 200, url
        charts = [values["data-chart"] for _, values in page.tags if "data-chart" in values]
        for url in charts:
            assert client.get(str(url)).json()["target_id"] is None
        assert bool(charts) == (path not in ("/sources", "/catalogs"))
        # No script stands in a page, and nothing acts on an event.
        assert not any(tag == "script" and not values.get("src") for tag, values in page.tags)
        assert not any(name.startswith("on") for _, values in page.tags for name in values)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self';" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_50_hostile_names_are_text(client: TestClient, source: pd.Series) -> None:
    page = _Page(client.get(f"/source/{source['id']}").text)
    words = " ".join(page.words).replace("\r", "\n")
    for name in NAMES:
        shown = name.replace("\r", "\n") if len(name) <= 300 else f"{name[:300]}…"
        assert shown in words, name
    assert {tag for tag, _ in page.tags} <= set(KNOWN.split())
    hosts = {re.sub(r"(https?://[^/]*).*", r"\1", values["href"] or "") for tag, values in page.tags if tag == "a"}
    assert not any("example.com" in host or host.startswith("javascript") for host in hosts)


@pytest.mark.parametrize("words", NAMES)
def test_hostile_addresses_are_refused_in_words(client: TestClient, words: str) -> None:
    words = words[:5000]  # as long as an address may be
    for path in ("/sources", "/find"):
        answer = client.get(path, params={"where": words, "q": words})
        assert answer.status_code in (400, 404)
        assert {tag for tag, _ in _Page(answer.text).tags} & {"img", "script"} == set()
    assert client.get("/source/%3Cscript%3Ealert(1)").status_code == 400


def test_the_list_is_filtered_sorted_and_cut_by_the_database(client: TestClient, products: ProductsDatabase) -> None:
    asked = {"where": "eta_peak > 0.5 and n_measurements >= 2, name ~ J", "sort": "-eta_peak", "limit": "7"}
    answer = client.get("/api/sources", params={**asked, "columns": "n_limits"}).json()
    statistics = products.read_table("variability")
    everything = products.read_table("sources").merge(statistics, left_on="id", right_on="source_id")
    right = everything[(everything["eta_peak"] > 0.5) & (everything["n_measurements"] >= 2)]
    right = right.sort_values("eta_peak", ascending=False)
    assert answer["total"] == len(right) > 7
    assert [one["name"] for one in answer["sources"]] == right["name"][:7].tolist()
    assert [one["n_limits"] for one in answer["sources"]] == right["n_limits"][:7].tolist()
    second = client.get("/api/sources", params={**asked, "offset": "7"}).json()["sources"]
    assert [one["name"] for one in second] == right["name"][7:14].tolist()
    page = client.get("/sources", params=asked).text
    assert right["name"].iloc[0] in page and "Next" in page
    # CSV and VOTable have all of the list.
    csv = pd.read_csv(io.StringIO(client.get("/api/sources.csv", params=asked).text))
    assert csv["name"].tolist() == right["name"].tolist()
    votable = parse(io.BytesIO(client.get("/api/sources.xml", params=asked).content)).get_first_table()
    assert votable.array["id"].tolist() == right["id"].tolist()
    assert votable.get_field_by_id("ra_deg").unit == "deg"


def test_the_list_about_a_place(client: TestClient, products: ProductsDatabase, source: pd.Series) -> None:
    asked = {"about": source["name"].split(" ")[1], "radius": "2000"}
    near = products.cone(source["ra_deg"], source["dec_deg"], 2000.0)
    answer = client.get("/api/sources", params=asked).json()
    assert answer["total"] == len(near) > 1
    assert {one["id"] for one in answer["sources"]} == set(near["id"])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"where": "eta_paek > 3"}, "there is no column 'eta_paek' (is 'eta_peak' meant?)"),
        ({"where": "eta_peak"}, "'eta_peak' is no condition"),
        ({"where": "eta_peak > many"}, "eta_peak is a number, and 'many' is none"),
        ({"where": "is_new = maybe"}, "is_new is true or false"),
        ({"where": "is_new > true"}, "is_new is true or false: ask is_new = true"),
        ({"where": "1=1; DROP TABLE sources"}, "'DROP TABLE sources' is no condition"),
        ({"sort": "id; DROP"}, "there is no column 'id; DROP'"),
        ({"columns": "password"}, "there is no column 'password'"),
        ({"limit": "0"}, "a limit from 1 to"),
        ({"offset": "nan"}, "offset is 'nan', which is no number"),
        ({"about": "nowhere at all"}, "neither a source id"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(client: TestClient, asked: dict[str, str], message: str) -> None:
    answer = client.get("/api/sources", params=asked)
    assert answer.status_code in (400, 404)
    assert message in answer.json()["error"]


def test_a_name_leads_to_its_source(client: TestClient, products: ProductsDatabase, source: pd.Series) -> None:
    answer = client.get("/find", params={"q": source["name"].split(" ")[1]}, follow_redirects=False)
    assert answer.headers["location"] == f"/source/{source['id']}"
    assert client.get(f"/source/{source['name']}").status_code == 200
    told = client.get(f"/api/sources/{source['id']}").json()
    assert told["source"]["name"] == source["name"]
    assert len(told["matches"]) == len(products.matches(source["id"]))
    curve = client.get(f"/api/sources/{source['id']}/light_curve").json()
    expected = products.light_curve(source["id"])
    assert [one["mjd"] for one in curve] == expected["mjd"].tolist()
    assert client.get("/api/sources/0123456789abcdef").status_code == 404


def test_nothing_can_be_written_and_no_page_elsewhere_gets_in(client: TestClient, source: pd.Series) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert client.request(method, f"/source/{source['id']}").status_code == 405
    # A name that somebody makes resolve to this computer.
    answer = client.get("/", headers={"host": "rebound.example.com"})
    assert answer.status_code == 400
    assert "Overview" not in answer.text
    assert client.get("/static/../app.py").status_code == 404
    assert client.get("/nothing").status_code == 404


def test_a_proxy_may_put_a_path_before_all_addresses(config: Config, products: ProductsDatabase) -> None:
    behind = TestClient(build_app(config, products, root_path="/contimg/"), base_url="http://127.0.0.1")
    page = _Page(behind.get("/sources").text)
    inside = [values["href"] or "" for _, values in page.tags if "href" in values]
    assert all(url.startswith(("/contimg/", "data:", "https:")) for url in inside)


def test_an_empty_database_says_what_to_do(tmp_path, config: Config) -> None:
    with ProductsDatabase(tmp_path / "empty.sqlite3") as empty:
        empty.upgrade()
        client = TestClient(build_app(config, empty), base_url="http://127.0.0.1")
        assert "`contimg run` fills them" in client.get("/").text
        assert client.get("/sources").status_code == 200


@pytest.mark.parametrize("chart", CHARTS)
def test_charts_have_no_number_that_json_does_not_know(client: TestClient, chart: str) -> None:
    answer = client.get(f"/chart/{chart}")
    assert answer.status_code == 200
    assert "NaN" not in answer.text


def test_many_sources_are_a_density_and_points(products: ProductsDatabase) -> None:
    from contimg_assets.web.charts import MOST_POINTS, variability_chart

    rng = np.random.default_rng(1)
    n = 100_000
    many = pd.DataFrame(
        {
            "name": "DSA J035912.3+153523",
            "source_id": "0123456789abcdef",
            "eta_peak": rng.lognormal(size=n),
            "v_peak": rng.lognormal(size=n),
            "q_value_peak": np.linspace(0, 1, n),
        }
    )
    import json

    text = json.dumps(variability_chart(many, many[:3000], "peak", 0.05))
    assert len(text) < 3_000_000
    assert text.count("source/0123456789abcdef") == MOST_POINTS


def test_previous_and_next_in_the_list_one_came_from(client: TestClient) -> None:
    asked = {"where": "n_measurements >= 2", "sort": "-n_measurements"}
    names = [one["name"] for one in client.get("/api/sources", params=asked).json()["sources"]]
    page = client.get("/sources", params=asked).text
    (link,) = re.findall(rf'href="([^"]+)">{re.escape(names[0])}<', page)
    for name, after in itertools.pairwise(names[:4]):
        text = client.get(html.unescape(link)).text
        assert f"<h1>{name}</h1>" in text and ('rel="prev"' in text) == (name != names[0])
        (link,) = re.findall(r'rel="next" href="([^"]+)"', text)
        assert f"<h1>{after}</h1>" in client.get(html.unescape(link)).text
    assert client.get(f"/source/{names[0]}", params={"at": "9" * 30, "list": "where=x"}).status_code in (200, 400)


def test_a_proxy_shows_the_pages_under_a_path(config: Config, products: ProductsDatabase) -> None:
    there = TestClient(build_app(config, products, root_path="/radio/contimg"), base_url="http://127.0.0.1:8765")
    for path in (*PAGES, f"/source/{products.read_table('sources')['id'][0]}"):
        page = _Page(there.get(path).text)
        ours = [
            values[name]
            for tag, values in page.tags
            for name in ("href", "src", "action", "data-chart")
            if name in values
        ]
        assert all(str(one).startswith(("/radio/contimg/", "https://", "data:", "#")) for one in ours), path
        for one in [one for one in ours if str(one).startswith("/radio/contimg/")][:12]:
            assert there.get(html.unescape(str(one)).removeprefix("/radio/contimg")).status_code != 404, one


def test_what_images_cover_is_a_moc(client: TestClient, products: ProductsDatabase) -> None:
    mocpy = pytest.importorskip("mocpy", reason="mocpy is not installed: pip install 'contimg-assets[footprints]'")
    moc = mocpy.MOC.from_string(client.get("/moc").text)
    assert moc == mocpy.MOC.from_json(client.get("/moc.json").json())
    images = products.read_table("images").iloc[0]
    lon, lat, radius = (images[name] * u.deg for name in ("ra_deg", "dec_deg", "radius_deg"))
    circle = mocpy.MOC.from_cone(lon, lat, radius=radius, max_depth=10)
    assert circle.difference(moc).empty()
    assert moc.sky_fraction < 1.3 * circle.sky_fraction
    sources = products.read_table("sources")
    assert moc.contains_lonlat(sources["ra_deg"].to_numpy() * u.deg, sources["dec_deg"].to_numpy() * u.deg).all()


def test_the_api_describes_itself(client: TestClient, source: pd.Series) -> None:
    found = client.get("/api/openapi.json").json()
    assert found["openapi"].startswith("3.1")
    for path, operation in found["paths"].items():
        answer = client.get(path.format(source=source["id"]), params={"RA": 0, "DEC": 16, "SR": 0.1})
        assert answer.status_code == 200, path
        content = operation["get"]["responses"]["200"]["content"]
        assert answer.headers["content-type"].split(";")[0] in content
    listed = client.get("/api/sources").json()["sources"][0]
    described = found["components"]["schemas"]["ListedSource"]["properties"]
    assert set(listed) <= set(described)
    assert "deg" in described["ra_deg"]["description"]


def test_catalogs_and_changes(client: TestClient, products: ProductsDatabase) -> None:
    counts = catalog_counts(products).iloc[0]
    matches = products.read_table("cross_matches")
    best = matches[(matches["rank"] == 1) & (matches["probability"] > 0.5)]
    assert (counts["catalog"], counts["n_sources"]) == ("nvss", len(best))
    assert counts["n_false"] == pytest.approx((1 - best["probability"]).sum())
    assert str(len(best)) in client.get("/catalogs").text
    assert products.read_table("epochs")["epoch"].max() in client.get("/").text


def test_names_stand_in_one_line_and_texts_do_not() -> None:
    """A browser breaks 2026-01-25T2200 at its dashes where a column is narrow."""
    frame = pd.DataFrame({"epoch": ["2026-01-25T2200", "x" * 100], "comment": ["seen twice", ""], "n": [1, 2]})
    kinds = [[cell.kind for cell in row] for row in shown_table(frame).rows]
    assert kinds == [["name", "", "number"], ["", "", "number"]]
