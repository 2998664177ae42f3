"""The pages in a real browser: charts are drawn, a click on a point opens its source, nothing is asked of others.

Needs Debian's `chromium` and `chromium-driver`, and selenium of the extra `test`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from contimg_assets.database import ProductsDatabase

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: pip install -e '.[test]'")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")),
        reason="no chromium or chromedriver here: apt-get install chromium chromium-driver",
    ),
]
_SECONDS = 30


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium without a screen, which keeps what it asks for and complains of."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    profile = tmp_path_factory.mktemp("profile")
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "window-size=1280,1000", f"user-data-dir={profile}"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


def drawn(browser: Any) -> list[Any]:
    """The charts of the page, once all of them are drawn."""
    from selenium.webdriver.support.ui import WebDriverWait

    every = browser.find_elements("css selector", "[data-chart]")
    WebDriverWait(browser, _SECONDS).until(
        lambda one: len(one.find_elements("css selector", "[data-chart][data-drawn]")) == len(every)
    )
    return list(every)


def asked_for(browser: Any) -> set[str]:
    """Hosts that the browser asked since the last call."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"]
    return {str(urlsplit(url).hostname) for url in urls if urlsplit(url).scheme in ("http", "https", "ws", "wss")}


def test_a_reader_goes_from_the_overview_to_a_source(
    browser: Any, served: str, products: ProductsDatabase, tmp_path: Path
) -> None:
    from selenium.webdriver.common.actions.action_builder import ActionBuilder
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get(f"{served}/")
    assert browser.title == "Overview – contimg"
    for page, charts in (("η–V", 1), ("Sky", 1), ("Images", 4), ("Sources", 0)):
        browser.find_element("link text", page).click()
        WebDriverWait(browser, _SECONDS).until(
            lambda one, page=page: one.find_elements("css selector", "[aria-current]")
        )
        assert len(drawn(browser)) == charts, page
    browser.find_element("css selector", "td a").click()
    assert browser.find_element("tag name", "h1").text.startswith("DSA J")
    assert len(drawn(browser)) == 1
    browser.save_screenshot(str(tmp_path / "source.png"))
    # The middle of the map is a source, once it is the map about one.
    row = products.read_table("sources").iloc[3]
    browser.get(f"{served}/sky?about={row['id']}&radius=600")
    assert len(drawn(browser)) == 1
    # Where the chart has (0, 0) in the window.
    x, y = browser.execute_script(
        "const [view] = [...Bokeh.index], box = view.el.getBoundingClientRect();"
        "return [box.left + view.frame.x_scale.compute(0), box.top + view.frame.y_scale.compute(0)]"
    )
    mouse = ActionBuilder(browser)
    mouse.pointer_action.move_to_location(round(x), round(y)).click()
    mouse.perform()
    WebDriverWait(browser, _SECONDS).until(lambda one: "/source/" in one.current_url)
    assert browser.find_element("tag name", "h1").text == row["name"]
    assert drawn(browser)
    # Narrow, as on a telephone: the page is not wider than the window.
    browser.set_window_size(400, 900)
    width = browser.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert width[0] <= width[1]
    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    assert asked_for(browser) == {"127.0.0.1"}
    assert browser.execute_script("return window.hostile") is None
