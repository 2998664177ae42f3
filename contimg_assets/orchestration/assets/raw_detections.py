"""`raw_detections`: an epoch's delivered catalogues, parsed and checked; unusable rows are set aside with a reason."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from contimg_assets.config import Config
from contimg_assets.errors import InputError
from contimg_assets.identity.epochs import check_epoch_key
from contimg_assets.ingest.checks import rejections_within_limits, rows_add_up
from contimg_assets.ingest.epoch import read_epoch
from contimg_assets.orchestration.conditions import on_delivery
from contimg_assets.orchestration.epoch_assets import Check, Content, each_epoch, epoch_asset, publish
from contimg_assets.orchestration.io_manager import EpochParquetIOManager
from contimg_assets.orchestration.partitions import EPOCHS
from contimg_assets.pipeline.deliveries import delivery_version
from contimg_assets.pipeline.quality import positions_outside_field
from contimg_assets.pipeline.stages import RAW_DETECTIONS
from contimg_assets.pipeline.staleness import INCOMING

INCOMING_SPEC = dg.AssetSpec(
    INCOMING,
    partitions_def=EPOCHS,
    group_name="inputs",
    description="One folder per epoch as delivered: `images.csv`, written last, beside one catalogue file per image. "
    "The sensor `deliveries` reports each epoch's content version.",
    kinds={"file"},
)

ROWS_ADD_UP, FEW_REJECTED, INSIDE_FIELD = "rows_add_up", "few_rows_rejected", "positions_inside_field"
# A catalogue that changes under our eyes is read again, but a writer that never rests must be told.
_READS = 3


def build_raw_detections(config: Config) -> dg.AssetsDefinition:
    """The asset, for a configuration."""

    @epoch_asset(
        RAW_DETECTIONS,
        config,
        deps=[INCOMING_SPEC],
        automation_condition=on_delivery(),
        check_specs=[
            dg.AssetCheckSpec(
                ROWS_ADD_UP,
                asset=RAW_DETECTIONS.name,
                blocking=True,
                description="Every row of every delivered file is a detection or is set aside with a reason.",
            ),
            dg.AssetCheckSpec(
                FEW_REJECTED,
                asset=RAW_DETECTIONS.name,
                blocking=True,
                description="No more rows are set aside than `ingest.max_rejected_fraction` allows.",
            ),
            dg.AssetCheckSpec(
                INSIDE_FIELD,
                asset=RAW_DETECTIONS.name,
                blocking=True,
                description="Every detection lies within `ingest.field_margin` field radii of its image's centre.",
            ),
        ],
        description="Delivered catalogues in our columns and units [deg, arcsec, mJy, MJD UTC], one row per usable "
        "row of a source finder. Also holds the epoch's images, what they cover, and the rejected rows.",
    )
    def raw_detections(
        context: dg.AssetExecutionContext, store: dg.ResourceParam[EpochParquetIOManager]
    ) -> Iterator[Any]:
        def delivered(epoch: str) -> Mapping[str, str]:
            folder = config.incoming / check_epoch_key(epoch)
            if not folder.is_dir():
                raise InputError(
                    f"{folder}: the epoch's folder is gone; deliver it again, or remove the epoch with `contimg "
                    f"epoch delete {epoch}`"
                )
            return {INCOMING: delivery_version(folder, config.image_roots)}

        def read(epoch: str, inputs: Mapping[str, str]) -> Content:
            folder = config.incoming / epoch
            version = inputs[INCOMING]
            for _ in range(_READS):
                found = read_epoch(folder, epoch, config, enforce_limits=False)
                read_version, version = version, delivery_version(folder, config.image_roots)
                if version == read_version:
                    break
            else:
                raise InputError(
                    f"{folder}: its files kept changing while they were read; it is read again when they rest"
                )
            images = found.images
            too_many = rejections_within_limits(images, found.rejected, config.ingest)
            return Content(
                tables={
                    "detections": found.detections,
                    "images": images,
                    "rejected": found.rejected,
                    "coverage": found.coverage,
                },
                inputs={INCOMING: version},
                facts={
                    "mjd_first": float(images["mjd"].min()),
                    "mjd_last": float(images["mjd"].max()),
                    "n_images": len(images),
                    "n_rows": int(images["n_rows"].sum()),
                    "n_detections": len(found.detections),
                    "n_rejected": len(found.rejected),
                    "median_rms_mjy_beam": float(images["rms_mjy_beam"].median()),
                },
                checks=[
                    Check.of(ROWS_ADD_UP, rows_add_up(images, found.detections, found.rejected)),
                    Check.of(FEW_REJECTED, [f"{folder / problem}" for problem in too_many]),
                    Check.of(
                        INSIDE_FIELD, positions_outside_field(images, found.detections, config.ingest.field_margin)
                    ),
                ],
            )

        outcomes = each_epoch(
            context,
            RAW_DETECTIONS,
            config,
            store.epochs,
            delivered,
            read,
            blocking=frozenset({ROWS_ADD_UP, FEW_REJECTED, INSIDE_FIELD}),
        )
        yield from publish(context, config, store.epochs, outcomes)

    return raw_detections
