"""Pages of sources that only polarized flux shows."""

from __future__ import annotations

import html
import re
from pathlib import Path

from starlette.testclient import TestClient

from contimg_assets.config import Config
from contimg_assets.database import ProductsDatabase
from contimg_assets.web.app import build_app
from contimg_assets_tests.database.test_polarization import OWN, in_v, sky


def test_a_source_that_only_v_shows_has_a_page_that_says_so(tmp_path: Path) -> None:
    with ProductsDatabase(tmp_path / "products.sqlite3") as database:
        database.upgrade()
        database.replace_epochs([in_v(sky(), number) for number in range(3)])
        client = TestClient(build_app(Config(root=tmp_path), database), base_url="http://127.0.0.1:8765")
        found = client.get("/find", params={"q": f"{OWN[0]},{OWN[1]}"})
        assert found.status_code == 200
        text = html.unescape(re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", found.text)))
        assert "Only polarized flux shows this source: 3 detections in 3 epochs" in text
        assert "Polarization epoch image stokes" in text and "Light curve" not in text
        name = client.get("/sources", params={"where": "only_polarized = true"}).text
        (source,) = database.cone(*OWN, 60.0).to_dict("records")
        assert source["name"] in html.unescape(name)
        record = client.get(f"/api/sources/{source['id']}").json()
        assert record["source"]["only_polarized"] and len(record["polarization"]) == 3
        assert client.get(f"/chart/light_curve/{source['id']}").status_code == 200
        # One that I shows has both.
        (other,) = database.read_table("sources").query("not only_polarized").head(1)["id"]
        page = client.get(f"/source/{other}").text
        assert "Light curve" in page and 'id="polarization"' in page
