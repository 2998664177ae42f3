"""`forced_photometry`: fluxes on the FITS images at every known place without a detection, and at monitored positions.

An epoch takes part where its manifest names images that are there: the external asset `fits_images` has an event for
these epochs alone, so that nothing is asked for of others. A run measures the epochs that it is asked for, and of
older images the places of sources that came, went or moved.
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from contimg_assets.config import Config
from contimg_assets.database import ProductsDatabase
from contimg_assets.orchestration.assets.products import READ_BY_STAGES
from contimg_assets.orchestration.conditions import on_upstream_change
from contimg_assets.orchestration.epoch_assets import epoch_asset, publish, quality_check, work_of
from contimg_assets.orchestration.io_manager import EpochParquetIOManager
from contimg_assets.orchestration.partitions import EPOCHS
from contimg_assets.pipeline.chain import make_with_others
from contimg_assets.pipeline.forced_photometry import (
    FITS_SUCCEED,
    IMAGES_USABLE,
    NOISE_HOLDS,
    Forced,
    Positions,
)
from contimg_assets.pipeline.inputs import FITS_IMAGES
from contimg_assets.pipeline.outcomes import MEASURED_AGAIN
from contimg_assets.pipeline.stages import FORCED_STAGE as STAGE
from contimg_assets.schemas.forced import FORCED_FLUXES

IMAGES_SPEC = dg.AssetSpec(
    FITS_IMAGES,
    partitions_def=EPOCHS,
    group_name="inputs",
    description="FITS images that an epoch's `images.csv` names in `path`, with their maps. The sensor `deliveries` "
    "reports those that are there.",
    kinds={"file"},
)


def build(config: Config) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """The asset, and the one that stands for the images, for a configuration."""
    outside = dg.AssetSelection.assets(IMAGES_SPEC.key)

    @epoch_asset(
        STAGE,
        config,
        deps=[IMAGES_SPEC, *(dg.AssetKey(["products", table]) for table in READ_BY_STAGES)],
        automation_condition=on_upstream_change(outside),
        check_specs=[
            quality_check(
                STAGE,
                IMAGES_USABLE,
                "Every image that the manifest names is there and can be measured. One that cannot has no forced "
                "fluxes; nothing is held back.",
            ),
            quality_check(STAGE, FITS_SUCCEED, "At most 20 % of the positions on an image have no flux."),
            quality_check(
                STAGE,
                NOISE_HOLDS,
                "Fluxes at empty places of an image scatter by 0.9 to 1.1 of their errors. Nothing is held back.",
            ),
        ],
        description=f"{FORCED_FLUXES.description}. New sources are measured on the older images too.",
    )
    def forced_photometry(
        context: dg.AssetExecutionContext,
        store: dg.ResourceParam[EpochParquetIOManager],
        database: dg.ResourceParam[ProductsDatabase],
    ) -> Iterator[Any]:
        database.upgrade()
        work = work_of(context, STAGE, config, store.epochs, database)
        forced = Forced(config, store.epochs, Positions(config, database))
        yield from publish(context, work, make_with_others(work, forced.make, MEASURED_AGAIN))

    return [IMAGES_SPEC, forced_photometry]
