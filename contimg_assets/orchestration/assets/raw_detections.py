"""`raw_detections`: an epoch's delivered catalogs, parsed and checked; unusable rows are set aside with a reason."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import dagster as dg

from contimg_assets.config import STOKES_I, Config
from contimg_assets.errors import InputError
from contimg_assets.ingest.checks import rejections_within_limits, rows_add_up
from contimg_assets.ingest.epoch import EpochDetections, read_epoch
from contimg_assets.orchestration.conditions import on_delivery
from contimg_assets.orchestration.epoch_assets import epoch_asset, publish, quality_check, work_of
from contimg_assets.orchestration.io_manager import EpochParquetIOManager
from contimg_assets.orchestration.partitions import EPOCHS
from contimg_assets.pipeline.chain import make_each
from contimg_assets.pipeline.deliveries import delivery_version
from contimg_assets.pipeline.inputs import INCOMING
from contimg_assets.pipeline.outcomes import Check, Content
from contimg_assets.pipeline.polarized_images import with_polarized_images
from contimg_assets.pipeline.quality import positions_outside_field
from contimg_assets.pipeline.same_content import KnownContents
from contimg_assets.pipeline.stages import RAW_DETECTIONS as STAGE

INCOMING_SPEC = dg.AssetSpec(
    INCOMING,
    partitions_def=EPOCHS,
    group_name="inputs",
    description="One folder per epoch as delivered: `images.csv`, written last, beside one catalog file per image. "
    "The sensor `deliveries` reports each epoch's content version.",
    kinds={"file"},
)

ROWS_ADD_UP, FEW_REJECTED, INSIDE_FIELD = "rows_add_up", "few_rows_rejected", "positions_inside_field"
# A catalog that changes under our eyes is read again, but a writer that never rests must be told.
_READS = 3


def make(epoch: str, inputs: Mapping[str, str], config: Config) -> Content:
    """Detections, images, coverage and rejected rows of one epoch, and what makes no sources.

    Raises
    ------
    InputError
        If a file cannot be used, or changes while it is read.
    """
    folder = config.incoming / epoch
    found, version = _read_at_rest(epoch, inputs[INCOMING], config)
    images, everything = found.images, found.all_images
    too_many = rejections_within_limits(everything, found.rejected, config.ingest)
    outside = positions_outside_field(everything, found.all_detections, config.ingest.field_margin)
    others = found.other_detections
    return Content(
        tables={
            "detections": found.detections,
            "images": images,
            "rejected": found.rejected,
            "coverage": found.coverage,
            "other_detections": others,
            "other_images": found.other_images,
        },
        inputs={INCOMING: version},
        facts={
            "mjd_first": float(images["mjd"].min()),
            "mjd_last": float(images["mjd"].max()),
            "n_images": len(images),
            "n_rows": int(everything["n_rows"].sum()),
            "n_detections": len(found.detections),
            "n_rejected": len(found.rejected),
            "n_images_other_stokes": len(found.other_images),
            "n_detections_other_stokes": int((others["stokes"] != STOKES_I).sum()),
            "n_negative": int((others["stokes"] == STOKES_I).sum()),
            "median_rms_mjy_beam": float(images["rms_mjy_beam"].median()),
        },
        checks=[
            Check.of(ROWS_ADD_UP, rows_add_up(everything, found.all_detections, found.rejected)),
            Check.of(FEW_REJECTED, [f"{folder / problem}" for problem in too_many]),
            Check.of(INSIDE_FIELD, outside),
        ],
    )


def _read_at_rest(epoch: str, version: str, config: Config) -> tuple[EpochDetections, str]:
    """An epoch read while its files did not change, and the version of the files."""
    folder = config.incoming / epoch
    for _ in range(_READS):
        found = with_polarized_images(read_epoch(folder, epoch, config, enforce_limits=False), folder, epoch, config)
        before, version = version, delivery_version(folder, config.image_roots)
        if version == before:
            return found, version
    raise InputError(f"{folder}: its files kept changing while they were read; it is read again when they rest")


def build(config: Config) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """The asset, and the one that stands for the incoming folder, for a configuration."""

    @epoch_asset(
        STAGE,
        config,
        deps=[INCOMING_SPEC],
        automation_condition=on_delivery(),
        check_specs=[
            quality_check(
                STAGE,
                ROWS_ADD_UP,
                "Every row of every delivered file is a detection or is set aside with a reason.",
                blocking=True,
            ),
            quality_check(
                STAGE,
                FEW_REJECTED,
                "No more rows are set aside than `ingest.max_rejected_fraction` allows.",
                blocking=True,
            ),
            quality_check(
                STAGE,
                INSIDE_FIELD,
                "Every detection lies within `ingest.field_margin` field radii of its image's center.",
                blocking=True,
            ),
        ],
        description="Delivered catalogs in our columns and units [deg, arcsec, mJy, MJD UTC], one row per usable "
        "row of a source finder. Also holds the epoch's images, what they cover, and the rejected rows.",
    )
    def raw_detections(
        context: dg.AssetExecutionContext, store: dg.ResourceParam[EpochParquetIOManager]
    ) -> Iterator[Any]:
        work = work_of(context, STAGE, config, store.epochs)
        known = KnownContents(work.world)

        def refuse_repeated(epoch: str, inputs: Mapping[str, str]) -> None:
            known.refuse_repeated(epoch, inputs[INCOMING])

        yield from publish(context, work, make_each(work, partial(make, config=config), refuse_repeated))

    return [INCOMING_SPEC, raw_detections]
