"""The Dagster UI in a real browser: lineage, an asset with its plot, a backfill of three epochs started by clicks.

Needs Debian's `chromium` and `chromium-driver`, and selenium of the extra `test`.
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from contimg_assets.figures.vector import Panel, picture
from contimg_assets.orchestration.plots import embedded
from contimg_assets.orchestration.runs.in_process import bring_up_to_date
from contimg_assets.orchestration.runs.instance import open_instance
from contimg_assets.web.app import build_app
from contimg_assets_tests.orchestration.automation.deployment import (
    Deployment,
    deliver,
    deployed,
    make_project,
    small_survey,
)
from contimg_assets_tests.orchestration.names import HOSTILE
from contimg_assets_tests.serving import address_of, free_port, served_on

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: pip install -e '.[test]'")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")),
        reason="no chromium or chromedriver here: apt-get install chromium chromium-driver",
    ),
]
_SECONDS = 90
_SENSORS_OFF = {
    "sensor_interval_seconds": 3600,
    "conditions_interval_seconds": 3600,
    "reconcile_interval_seconds": 3600,
}


@pytest.fixture(scope="module")
def web_port() -> Iterator[socket.socket]:
    """Where Dagster's pages look for ours."""
    with free_port() as port:
        yield port


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory, web_port: socket.socket) -> Iterator[Deployment]:
    """A project with three epochs, everything made, and all automation asleep."""
    folder = tmp_path_factory.mktemp("browser")
    survey = small_survey(folder / "survey", 3)
    project = make_project(
        folder / "project", folder / "survey", {"automation": {**_SENSORS_OFF, "web_url": address_of(web_port)}}
    )
    for epoch in survey:
        deliver(epoch, project.config.incoming)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DAGSTER_HOME", raising=False)
        patch.chdir(project.config.root)
        with open_instance(project.config.root) as instance:
            assert bring_up_to_date(project, instance).complete
    with deployed(project) as running:
        yield running


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    profile = tmp_path_factory.mktemp("chromium")
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--no-proxy-server",
        "--window-size=1600,1200",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


def visible(browser: Any, xpath: str, seconds: float = _SECONDS) -> Any:
    """The element as soon as it can be seen; a screenshot in the test's folder would stay out of git anyway."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support import expected_conditions
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, seconds).until(
        expected_conditions.visibility_of_element_located((By.XPATH, xpath)), f"not on the page: {xpath}"
    )


def click(browser: Any, xpath: str) -> None:
    element = visible(browser, xpath)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'}); arguments[0].click();", element)


def test_lineage_shows_every_group(deployment, browser, tmp_path):
    browser.get(f"http://127.0.0.1:{deployment.port}/asset-groups")
    for group in ("inputs", "reference", "epochs", "products"):
        visible(browser, f"//*[normalize-space(text())='{group}']")
    _keep(browser, tmp_path / "lineage.png")


def test_asset_shows_its_plot_and_columns(deployment, browser, tmp_path):
    browser.get(f"http://127.0.0.1:{deployment.port}/assets/corrections?view=overview")
    visible(browser, "//*[contains(text(), 'One row per image')]")
    visible(browser, "//*[normalize-space(text())='dra_applied_arcsec']")
    browser.get(f"http://127.0.0.1:{deployment.port}/assets/corrections?view=events")
    click(browser, "//*[contains(normalize-space(text()), 'Show Markdown')]")
    plot = visible(browser, "//img[starts-with(@src, 'data:image/svg+xml;base64,')]")
    assert plot.size["width"] > 100
    assert natural_width(browser, plot) == 540
    _keep(browser, tmp_path / "plot.png")


def test_assets_show_the_pictures_of_contimg_web_open(deployment, browser, tmp_path, web_port):
    from selenium.webdriver.support.ui import WebDriverWait

    with deployment.project.products as database:
        app = build_app(deployment.project.config, database)
        with served_on(web_port, app):
            for asset, name in (
                ("corrections", "images"),
                ("products/variability", "eta-v"),
                ("products/sources", "sky"),
            ):
                browser.get(f"http://127.0.0.1:{deployment.port}/assets/{asset}?view=overview")
                picture = visible(browser, f"//img[@src='{address_of(web_port)}/picture/{name}.png']")
                WebDriverWait(browser, _SECONDS).until(lambda one, here=picture: natural_width(one, here) > 400)
                assert picture.size["width"] > 300
                _keep(browser, tmp_path / f"{name}.png")


def natural_width(browser: Any, picture: Any) -> int:
    """Pixels of a picture that has been loaded; 0 of one that has not."""
    return int(browser.execute_script("return arguments[0].naturalWidth", picture))


def test_hostile_names_are_shown_and_do_nothing(deployment, browser, tmp_path, monkeypatch):
    """Pictures whose titles are such names, as an epoch's corrections have them, in the page that renders them."""
    pictures = embedded({name: picture([Panel(title=name)]) for name in HOSTILE})
    plain = [" ".join(name.split()) for name in HOSTILE if name.isprintable() and len(name) <= 200]
    epoch = deployment.project.deliveries()[0].epoch
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.chdir(deployment.project.config.root)
    with open_instance(deployment.project.config.root) as instance:
        event = dg.AssetMaterialization("corrections", partition=epoch, metadata={"text": pictures})
        instance.report_runless_asset_event(event)
    browser.get(f"http://127.0.0.1:{deployment.port}/assets/corrections?view=events")
    click(browser, "//*[contains(normalize-space(text()), 'Show Markdown')]")
    dialog = visible(browser, "//*[@role='dialog']")
    visible(browser, "//*[@role='dialog']//p")
    _keep(browser, tmp_path / "hostile.png")
    shown = browser.execute_script(_LOOK, dialog)
    assert shown["hostile"] is None
    assert shown["live"] == [], shown
    assert shown["sources"] == ["data:image/svg+xml;base64,"] * len(HOSTILE)
    assert set(plain) - set(shown["alts"]) == set()


# What a dialog shows, and what in it is more than paragraphs and pictures.
_LOOK = """
const dialog = arguments[0], pictures = [...dialog.querySelectorAll('img')];
const live = 'a[href], script, iframe, h1, h2, table, em, strong, del, blockquote, code, hr, li';
return {
    alts: pictures.map(one => one.alt), sources: pictures.map(one => one.src.slice(0, 26)),
    hostile: window.hostile ?? null,
    live: [...dialog.querySelectorAll(live)].map(one => one.outerHTML.slice(0, 200)),
};
"""


def test_backfill_of_three_epochs_is_started_from_the_ui(deployment, browser, tmp_path):
    before = {run["runId"] for run in deployment.runs()}
    from selenium.common.exceptions import TimeoutException

    browser.get(f"http://127.0.0.1:{deployment.port}/assets/corrections?view=overview")
    every_epoch = "//*[@role='dialog']//button[normalize-space(.)='All']"
    for _ in range(5):
        # A page that has not heard of the asset yet takes the click and opens nothing.
        click(browser, "//button[.//*[contains(text(), 'Materialize')] or contains(., 'Materialize')]")
        try:
            visible(browser, every_epoch, 15)
            break
        except TimeoutException:
            browser.refresh()
    click(browser, every_epoch)
    _keep(browser, tmp_path / "dialog.png")
    click(browser, "//*[@role='dialog']//button[contains(., 'Launch')]")

    def finished() -> list[dict[str, Any]]:
        return [run for run in deployment.runs() if run["runId"] not in before and run["status"] == "SUCCESS"]

    (run,) = deployment.wait_for(finished, "the backfill", 120)
    in_order = [delivery.epoch for delivery in deployment.project.deliveries()]
    assert run["epochs"] == [in_order[0], in_order[-1]]
    assert run["assets"] == {"corrections"}


def _keep(browser: Any, file: Path) -> None:
    """A screenshot for whoever looks into the test's temporary folder; it must not be blank."""
    assert browser.save_screenshot(str(file))
    assert file.stat().st_size > 10_000
