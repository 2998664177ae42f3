"""The flow as Dagster assets: one module per box, named like it. Assets wire; the science is in the other rooms."""

from collections.abc import Sequence

import dagster as dg

from contimg_assets.config import Config
from contimg_assets.orchestration.assets.associated_sources import build_associated_sources
from contimg_assets.orchestration.assets.catalog_matches import build_catalog_matches
from contimg_assets.orchestration.assets.corrections import build_corrections
from contimg_assets.orchestration.assets.epoch_scales import KEY, TABLE_KEY, build_epoch_scales
from contimg_assets.orchestration.assets.measurements import build_measurements
from contimg_assets.orchestration.assets.products import PRODUCT_KEYS, build_products
from contimg_assets.orchestration.assets.raw_detections import INCOMING_SPEC, build_raw_detections
from contimg_assets.orchestration.assets.reference import build_reference
from contimg_assets.pipeline.stages import PRODUCTS

__all__ = ["EPOCH_SCALES_KEYS", "build_assets", "stage_keys"]

EPOCH_SCALES_KEYS = [KEY, TABLE_KEY]


def build_assets(config: Config) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """Every asset, for a configuration."""
    references = [asset for name in config.catalogs for asset in build_reference(config, name)]
    return [
        INCOMING_SPEC,
        build_raw_detections(config),
        build_measurements(config),
        build_associated_sources(config),
        *references,
        build_catalog_matches(config),
        build_corrections(config),
        *build_epoch_scales(config),
        *build_products(config),
    ]


def stage_keys(stages: Sequence[str]) -> list[dg.AssetKey]:
    """Asset keys of stages; the stage of the products has an asset per table."""
    keys = [dg.AssetKey(stage) for stage in stages if stage != PRODUCTS.name]
    return [*keys, *PRODUCT_KEYS] if PRODUCTS.name in stages else keys
