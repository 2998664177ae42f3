"""`measurements`: detections with errors and weights; of duplicates one is kept, and the others name it."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from contimg_assets.config import Config
from contimg_assets.ingest.checks import measurements_add_up
from contimg_assets.ingest.measurements import measure
from contimg_assets.orchestration.conditions import on_upstream_change
from contimg_assets.orchestration.epoch_assets import (
    Check,
    Content,
    each_epoch,
    epoch_asset,
    medians,
    publish,
)
from contimg_assets.orchestration.io_manager import EpochParquetIOManager
from contimg_assets.pipeline.stages import MEASUREMENTS_STAGE
from contimg_assets.pipeline.staleness import upstream_versions
from contimg_assets.pipeline.store import StoredEpochs

NOTHING_LOST = "no_detection_lost"


def build_measurements(config: Config) -> dg.AssetsDefinition:
    """The asset, for a configuration."""

    @epoch_asset(
        MEASUREMENTS_STAGE,
        config,
        automation_condition=on_upstream_change(),
        check_specs=[
            dg.AssetCheckSpec(
                NOTHING_LOST,
                asset=MEASUREMENTS_STAGE.name,
                blocking=True,
                description="Every detection is a measurement or the duplicate of one that is kept, of another image.",
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
        def make(epoch: str, inputs: Mapping[str, str]) -> Content:
            detections = raw_detections.read(epoch, "detections")
            table = measure(detections, raw_detections.read(epoch, "images"), config.measurements)
            n_duplicates = int(table["duplicate_of"].notna().sum())
            return Content(
                tables={"measurements": table},
                facts={
                    "n_measurements": len(table) - n_duplicates,
                    "n_duplicates": n_duplicates,
                    **medians(table, "snr", "uncertainty_ew_arcsec", "uncertainty_ns_arcsec", "compactness"),
                },
                checks=[Check.of(NOTHING_LOST, measurements_add_up(detections, table))],
            )

        def inputs(epoch: str) -> Mapping[str, str]:
            return upstream_versions(MEASUREMENTS_STAGE, epoch, store.epochs)

        outcomes = each_epoch(
            context, MEASUREMENTS_STAGE, config, store.epochs, inputs, make, frozenset({NOTHING_LOST})
        )
        yield from publish(context, config, store.epochs, outcomes)

    return measurements
