"""`measurements`: detections with errors and weights; of duplicates one is kept, and the others name it."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import dagster as dg

from contimg_assets.config import Config
from contimg_assets.ingest.checks import measurements_add_up
from contimg_assets.ingest.measurements import measure, measure_others
from contimg_assets.orchestration.conditions import on_upstream_change
from contimg_assets.orchestration.epoch_assets import epoch_asset, publish, quality_check, work_of
from contimg_assets.orchestration.io_manager import EpochParquetIOManager
from contimg_assets.pipeline.chain import make_each
from contimg_assets.pipeline.outcomes import Check, Content, medians
from contimg_assets.pipeline.stages import MEASUREMENTS_STAGE as STAGE
from contimg_assets.pipeline.store import StoredEpochs

NOTHING_LOST = "no_detection_lost"


def make(epoch: str, _: Mapping[str, str], raw_detections: StoredEpochs, config: Config) -> Content:
    """Measurements of one epoch."""
    detections = raw_detections.read(epoch, "detections")
    images = raw_detections.read(epoch, "images")
    table = measure(detections, images, config.measurements, config.bands)
    others = raw_detections.read(epoch, "other_detections")
    other_images = raw_detections.read(epoch, "other_images")
    apart = measure_others(others, (images, other_images), config.measurements, config.bands)
    n_duplicates = int(table["duplicate_of"].notna().sum())
    return Content(
        tables={"measurements": table, "other_measurements": apart},
        facts={
            "n_measurements": len(table) - n_duplicates,
            "n_duplicates": n_duplicates,
            **medians(table, "snr", "uncertainty_ew_arcsec", "uncertainty_ns_arcsec", "compactness"),
        },
        checks=[Check.of(NOTHING_LOST, [*measurements_add_up(detections, table), *measurements_add_up(others, apart)])],
    )


def build(config: Config) -> list[dg.AssetsDefinition]:
    """The asset, for a configuration."""

    @epoch_asset(
        STAGE,
        config,
        automation_condition=on_upstream_change(),
        check_specs=[
            quality_check(
                STAGE,
                NOTHING_LOST,
                "Every detection is a measurement or the duplicate of one that is kept, of another image.",
                blocking=True,
            )
        ],
        description="Detections with floors, Condon (1997) and systematic errors [arcsec, mJy] and weights. A "
        "duplicate of another image's detection keeps its row and names the one that stands for it in `duplicate_of`.",
    )
    def measurements(
        context: dg.AssetExecutionContext,
        raw_detections: StoredEpochs,
        store: dg.ResourceParam[EpochParquetIOManager],
    ) -> Iterator[Any]:
        work = work_of(context, STAGE, config, store.epochs)
        outcomes = make_each(work, partial(make, raw_detections=raw_detections, config=config))
        yield from publish(context, work, outcomes)

    return [measurements]
