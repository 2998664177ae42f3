"""Pictures of the survey that pages elsewhere may show."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from contimg_assets.config import Config
from contimg_assets.database import ProductsDatabase
from contimg_assets.web.app import build_app
from contimg_assets.web.pictures import DRAWN


@pytest.mark.parametrize("name", DRAWN)
def test_pictures_may_be_shown_elsewhere_and_pages_may_not(client: TestClient, name: str) -> None:
    answer = client.get(f"/picture/{name}.png")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers.get_list("cross-origin-resource-policy") == ["cross-origin"]
    drawn = np.asarray(Image.open(io.BytesIO(answer.content)).convert("L"))
    assert min(drawn.shape) > 150
    assert (drawn < 128).mean() > 0.001, "nothing is drawn"
    assert client.get("/sources").headers.get_list("cross-origin-resource-policy") == ["same-origin"]


@pytest.mark.parametrize("name", DRAWN)
def test_pictures_of_nothing(tmp_path, config: Config, name: str) -> None:
    with ProductsDatabase(tmp_path / "empty.sqlite3") as empty:
        empty.upgrade()
        client = TestClient(build_app(config, empty), base_url="http://127.0.0.1")
        assert client.get(f"/picture/{name}.png").status_code == 200


def test_a_picture_that_there_is_not(client: TestClient) -> None:
    answer = client.get("/picture/moon.png")
    assert answer.status_code == 404
    assert "there is no picture" in answer.text
