"""`corrections`: position offset and flux scale of each image, with their errors, and whether to trust them."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd

from contimg_assets.assets.epochs import (
    Check,
    Content,
    each_epoch,
    epoch_asset,
    in_time_order,
    medians,
    publish,
    upstream_versions,
)
from contimg_assets.assets.plots import embedded, epochs_to_plot, plot_offsets_and_scales
from contimg_assets.assets.quality import implausible_corrections
from contimg_assets.automation.conditions import on_upstream_change
from contimg_assets.calibration import measure_corrections, selection_of
from contimg_assets.calibration.plots import plot_correction
from contimg_assets.config import Config, Corrections
from contimg_assets.flow import CORRECTIONS_STAGE
from contimg_assets.storage.io_manager import EpochParquetIOManager, StoredEpochs

ALL_CORRECTED, PLAUSIBLE = "all_images_corrected", "offsets_and_scales_plausible"


def build_corrections(config: Config) -> dg.AssetsDefinition:
    """The asset, for a configuration."""

    @epoch_asset(
        CORRECTIONS_STAGE,
        config,
        automation_condition=on_upstream_change(),
        check_specs=[
            dg.AssetCheckSpec(
                ALL_CORRECTED,
                asset=CORRECTIONS_STAGE.name,
                description="Every image's offset and flux scale could be measured and trusted. An image that fails is "
                "kept as it is, marked as uncorrected; nothing is held back.",
            ),
            dg.AssetCheckSpec(
                PLAUSIBLE,
                asset=CORRECTIONS_STAGE.name,
                description="No image's measured offset or flux scale is larger than `corrections.max_offset_arcsec` "
                "and `corrections.max_scale_change`. Such an image is kept as it is, marked; nothing is held back.",
            ),
        ],
        description="One row per image: offset to add to positions [arcsec], factor to multiply fluxes by, their "
        "standard errors, and the reason where an image is left as it is.",
    )
    def corrections(
        context: dg.AssetExecutionContext,
        raw_detections: StoredEpochs,
        measurements: StoredEpochs,
        catalog_matches: StoredEpochs,
        store: dg.ResourceParam[EpochParquetIOManager],
    ) -> Iterator[Any]:
        def inputs(epoch: str) -> Mapping[str, str]:
            return upstream_versions(CORRECTIONS_STAGE, epoch, store.epochs)

        plotted = epochs_to_plot(in_time_order(context.partition_keys, store.epochs))

        def make(epoch: str, inputs: Mapping[str, str]) -> Content:
            read = (
                measurements.read(epoch, "measurements"),
                catalog_matches.read(epoch, "catalog_matches"),
                raw_detections.read(epoch, "images"),
            )
            table = measure_corrections(*read, config.corrections)
            refused = table.loc[~table["applied"]]
            reasons = [f"{image}: {reason}" for image, reason in zip(refused["image"], refused["reason"], strict=True)]
            return Content(
                tables={"corrections": table},
                facts={
                    "n_images": len(table),
                    "n_uncorrected": len(refused),
                    **medians(table, "dra_arcsec", "ddec_arcsec", "dra_err_arcsec", "ddec_err_arcsec"),
                    **medians(table, "flux_scale", "flux_scale_err", "n_position", "n_flux"),
                },
                metadata=_plots(table, *read, config.corrections) if epoch in plotted else {},
                checks=[
                    Check.of(ALL_CORRECTED, reasons),
                    Check.of(PLAUSIBLE, implausible_corrections(table, config.corrections)),
                ],
            )

        outcomes = each_epoch(context, CORRECTIONS_STAGE, config, store.epochs, inputs, make)
        yield from publish(context, config, store.epochs, outcomes)

    return corrections


def _plots(
    table: pd.DataFrame,
    measurements: pd.DataFrame,
    matches: pd.DataFrame,
    images: pd.DataFrame,
    parameters: Corrections,
) -> dict[str, dg.MarkdownMetadataValue]:
    """All images at a glance, and the one with the largest offset in detail."""
    plots = {"offsets and scales": embedded(plot_offsets_and_scales(table), "offsets and scales")}
    size = np.hypot(table["dra_arcsec"].to_numpy(float), table["ddec_arcsec"].to_numpy(float))
    if np.isfinite(size).any():
        worst = table.iloc[int(np.nanargmax(size))]
        selected = selection_of(measurements, matches, images, parameters)
        title = f"largest offset: {worst['image']}"
        plots[title] = embedded(plot_correction(selected, worst), title)
    return plots
