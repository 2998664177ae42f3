"""The pages in a real browser: charts are drawn, a click on a point opens its source, nothing is asked of others.

Needs Debian's `chromium` and `chromium-driver`, and selenium of the extra `test`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
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


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of axe-core, which looks for what keeps people from reading a page; from npm's registry."""
    folder, npm = tmp_path_factory.mktemp("axe"), shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed: axe-core cannot be fetched")
    packed = subprocess.run(
        [npm, "pack", "axe-core@4.14.1"], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    if packed.returncode:
        pytest.skip(f"axe-core cannot be fetched: {packed.stderr.strip().splitlines()[-1:]}")
    with tarfile.open(next(folder.glob("axe-core-*.tgz"))) as archive:
        script = archive.extractfile("package/axe.min.js")
        assert script is not None
        return script.read().decode()


@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_serious_keeps_people_from_reading(
    browser: Any, served: str, axe: str, products: ProductsDatabase, width: int
) -> None:
    """Names of what is no text, contrast, order of headings, what the keyboard reaches: no serious finding."""
    source = products.read_table("sources")["id"][0]
    browser.set_window_size(width, 1000)
    for path in ("/", "/sources", "/eta-v", "/sky", "/images", "/catalogs", f"/source/{source}", "/find?q=nothing"):
        browser.get(f"{served}{path}")
        drawn(browser)
        browser.execute_script(axe)
        found = browser.execute_async_script("const done = arguments[arguments.length - 1]; axe.run().then(done)")
        serious = [one for one in found["violations"] if one["impact"] in ("serious", "critical")]
        told = [(one["id"], one["help"], one["nodes"][0]["html"][:200]) for one in serious]
        assert told == [] and len(found["passes"]) > 10, path
        width_of = browser.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
        assert width_of[0] <= width_of[1], path
    # That nothing is found is told by a page of its own status.
    browser.get_log("browser")


def test_a_reader_goes_from_the_overview_to_a_source(
    browser: Any, served: str, products: ProductsDatabase, tmp_path: Path
) -> None:
    from selenium.webdriver.common.actions.action_builder import ActionBuilder
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get(f"{served}/")
    assert browser.title == "Overview – contimg"
    for page, charts in (("η–V", 4), ("Sky", 1), ("Images", 4), ("Catalogs", 0), ("Sources", 0)):
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
