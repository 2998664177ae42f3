"""The flow as Dagster assets: one module per box, named like it. Assets wire; the science is in the other rooms.

Each module has a function ``build(config)`` that returns its assets; the table of stages says which modules there are.
"""

import importlib
from collections.abc import Sequence

import dagster as dg

from contimg_assets.config import Config
from contimg_assets.orchestration.assets.products import PRODUCT_KEYS
from contimg_assets.orchestration.pages import with_page
from contimg_assets.pipeline.stages import EPOCH_SCALES_STAGE, PRODUCTS, SCALES_TABLE, STAGES

__all__ = ["SCALES_STAGES", "build_assets", "stage_keys"]

SCALES_STAGES = (EPOCH_SCALES_STAGE.name, SCALES_TABLE.name)


def build_assets(config: Config) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """Every asset, for a configuration."""
    modules = dict.fromkeys(stage.name.split("/")[0] for stage in STAGES)
    built = [asset for name in modules for asset in importlib.import_module(f"{__name__}.{name}").build(config)]
    return list(dg.map_asset_specs(lambda spec: with_page(spec, config.automation.web_url), built))


def stage_keys(stages: Sequence[str]) -> list[dg.AssetKey]:
    """Asset keys of stages; the stage of the products has an asset per table."""
    keys = [dg.AssetKey(stage.split("/")) for stage in stages if stage != PRODUCTS.name]
    return [*keys, *PRODUCT_KEYS] if PRODUCTS.name in stages else keys
