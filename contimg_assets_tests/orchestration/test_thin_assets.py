"""Assets wire and do nothing else, and they depend on exactly what the table of stages says that they read."""

from __future__ import annotations

import ast
from pathlib import Path

import dagster as dg
import pytest

import contimg_assets.orchestration.assets
from contimg_assets.config import CatalogConfig, Config
from contimg_assets.definitions import build_definitions
from contimg_assets.orchestration.assets import build_assets, stage_keys
from contimg_assets.orchestration.pages import page_of
from contimg_assets.pipeline.inputs import FITS_IMAGES
from contimg_assets.pipeline.stages import EPOCH_STAGES, PRODUCTS, STAGES, Stage
from contimg_assets.web.pages import ROUTES
from contimg_assets.web.pictures import DRAWN

_MODULES = sorted(Path(contimg_assets.orchestration.assets.__file__).parent.glob("[a-z]*.py"))
_MAX_LINES = 25
CONFIG = Config(catalogs={"nvss": CatalogConfig(path="nvss.csv", freq_mhz=1400.0, beam_arcsec=45.0)})
GRAPH = build_definitions(CONFIG).resolve_asset_graph()


def decorated(module: Path) -> list[ast.FunctionDef]:
    """The functions that Dagster calls."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return [one for one in functions if any("asset" in ast.unparse(decorator) for decorator in one.decorator_list)]


@pytest.mark.parametrize("module", _MODULES, ids=lambda module: module.stem)
def test_bodies_of_assets_are_short(module: Path) -> None:
    assert decorated(module)
    for function in decorated(module):
        last = function.body[-1].end_lineno
        assert last is not None
        assert last - function.body[0].lineno + 1 <= _MAX_LINES, function.name


def test_every_stage_has_a_module_named_like_it() -> None:
    assert {module.stem for module in _MODULES} == {stage.name.split("/")[0] for stage in STAGES}


@pytest.mark.parametrize("stage", [s for s in EPOCH_STAGES if s.kept_in == "store"], ids=lambda stage: stage.name)
def test_an_asset_depends_on_what_its_stage_reads(stage: Stage) -> None:
    parents = {key.to_user_string() for key in GRAPH.get(dg.AssetKey(stage.name)).parent_keys}
    catalogs = {f"reference/{name}" for name in CONFIG.catalogs} if stage.reads_catalogs else set()
    delivered = set() if stage.reads else {"incoming"}
    if stage.reads_images:
        # The products are a table each.
        tables = {parent for parent in parents if parent.startswith(f"{PRODUCTS.name}/")}
        parents, delivered = parents - tables | ({PRODUCTS.name} if tables else set()), {FITS_IMAGES}
    assert parents == {*stage.reads, *catalogs, *delivered}


def test_the_products_depend_on_what_they_read_together() -> None:
    parents = {
        key.to_user_string() for product in stage_keys([PRODUCTS.name]) for key in GRAPH.get(product).parent_keys
    }
    assert parents - {"raw_detections"} <= {*PRODUCTS.reads, "reference/nvss"}
    assert all(dg.AssetKey(PRODUCTS.reads[-1]) in GRAPH.get(key).parent_keys for key in stage_keys([PRODUCTS.name]))


def test_every_asset_leads_to_a_page_that_shows_it() -> None:
    built = build_assets(CONFIG)
    specs = [spec for one in built for spec in ([one] if isinstance(one, dg.AssetSpec) else one.specs)]
    for spec in specs:
        page, root = page_of(spec.key), CONFIG.automation.web_url
        assert page.path in ROUTES, spec.key
        assert f"[{page.shown}]({root}{page.path})" in str(spec.description)
        assert page.picture in DRAWN, spec.key
        assert f"[![]({root}/picture/{page.picture}.png)]({root}{page.path})" in str(spec.description)
    pages = {spec.key.to_user_string(): page_of(spec.key).path for spec in specs}
    assert pages["products/measurements"] == "/sources"
    assert pages["measurements"] == pages["corrections"] == pages["products/corrections"] == "/images"
    assert pages["catalog_matches"] == pages["reference/nvss"] == "/catalogs"
    assert pages["products/variability"] == "/eta-v"
    quiet = CONFIG.model_copy(update={"automation": CONFIG.automation.model_copy(update={"web_url": ""})})
    graph = build_definitions(quiet).resolve_asset_graph()
    assert not any("contimg web" in str(graph.get(spec.key).description) for spec in specs)
