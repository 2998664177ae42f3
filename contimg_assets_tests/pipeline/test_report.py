"""Reports of a survey and of a night: one file, nothing beside it, names escaped."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from contimg_assets.cli.app import app
from contimg_assets.config import Config, Variability
from contimg_assets.database import ProductsDatabase
from contimg_assets.database.changes import epoch_changes, newest_epoch
from contimg_assets.figures.html_page import HtmlPage
from contimg_assets.orchestration import report as report_asset
from contimg_assets.pipeline import report
from contimg_assets_tests.database.survey import Survey
from contimg_assets_tests.orchestration.names import HOSTILE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose last epoch shows one source three times as bright."""
    made = tmp_path_factory.mktemp("report")
    (made / "contimg.yaml").write_text("", encoding="utf-8")
    survey = Survey(n_sources=80, n_epochs=5, detected=1.0)
    survey.flux_seen = survey.flux + np.random.default_rng(3).normal(size=(5, 80)) * np.hypot(1.0, 0.01 * survey.flux)
    survey.flux_seen[4, 7] *= 3
    with ProductsDatabase(made / "products.sqlite3") as database:
        database.upgrade()
        database.replace_epochs(survey.epochs())
    return made


class _Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_what_is_brighter_in_a_night_is_found(folder: Path) -> None:
    with ProductsDatabase(folder / "products.sqlite3") as database:
        epoch = newest_epoch(database)
        assert epoch is not None
        found = epoch_changes(database, epoch, Variability(error_model="none"))
        name = database.variables().iloc[0]["name"]
        with pytest.raises(report.StoreError, match="no epoch 'none'"):
            epoch_changes(database, "none", Variability())
    assert found["name"][0] == name
    assert 2.5 < found["ratio"][0] < 3.5 and found["sigma"][0] > 5
    # Of constant sources the difference over its error is standard normal.
    assert np.std(found["sigma"][1:]) == pytest.approx(1.0, abs=0.25)
    assert abs(np.mean(found["sigma"][1:])) < 0.35


def test_reports_are_one_file_each(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.delenv("CONTIMG_CONFIG", raising=False)
    monkeypatch.setattr(report, "_CURVES", 1)
    config = Config(root=folder)
    with ProductsDatabase(config.products_url) as database:
        epoch = newest_epoch(database)
    for arguments, name, heading in (([], "survey.html", "Survey of"), ([epoch], f"{epoch}.html", f"Epoch {epoch}")):
        result = CliRunner().invoke(app, ["report", *map(str, arguments)])
        assert result.exit_code == 0, result.output
        text = (folder / name).read_text(encoding="utf-8")
        tags = _Tags(text).tags
        assert heading in text and "New sources" in text
        assert not {tag for tag, _ in tags} & {"script", "link", "iframe", "object"}
        pictures = [values["src"] or "" for tag, values in tags if tag == "img"]
        assert pictures and all(one.startswith("data:image/png;base64,") for one in pictures)
        assert all(values.get("alt") for tag, values in tags if tag == "img")
    assert CliRunner().invoke(app, ["report", "2001-01-01"]).exit_code == 2


def test_hostile_names_are_text_in_a_page() -> None:
    page = HtmlPage(HOSTILE[0])
    for words in HOSTILE:
        page.heading(words)
        page.paragraph(words)
    page.table(pd.DataFrame({words[:50]: [words] for words in HOSTILE}))
    tags = {tag for tag, _ in _Tags(page.text()).tags}
    known = "html head meta title style body h1 h2 p div table thead tbody tr th td"
    assert tags <= set(known.split())


def test_dagster_makes_the_report_of_the_survey(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "_CURVES", 1)
    (asset,) = report_asset.build(Config(root=folder))
    with ProductsDatabase(folder / "products.sqlite3") as database:
        (event,) = dg.materialize([asset], resources={"database": database}).get_asset_materialization_events()
    page = event.materialization.metadata["page"].value
    assert str(page).startswith("file://") and (folder / "reports" / "survey.html").exists()
