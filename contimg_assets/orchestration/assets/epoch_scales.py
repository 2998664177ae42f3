"""`epoch_scales`: the flux scales of all images of all epochs, solved together from the sources they share.

One table, made again when any epoch's corrections change. `products/epoch_scales` shows it in the database; where
`corrections.apply_flux` is 'epochs', the products apply it in place of the images' own scales.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import pandas as pd

from contimg_assets.calibration import calculate_epoch_scales, known_variables, scale_refusals
from contimg_assets.config import Config, Corrections
from contimg_assets.figures.summaries import plot_epoch_scales
from contimg_assets.identity.versions import version_of_table
from contimg_assets.orchestration.columns import COLUMN_SCHEMA, columns_of
from contimg_assets.orchestration.conditions import on_any_epoch
from contimg_assets.orchestration.epoch_assets import OWNERS, RETRY_INTERNAL_ERRORS, ending_when_interrupted
from contimg_assets.orchestration.io_manager import EpochParquetIOManager
from contimg_assets.orchestration.plots import PICTURES, embedded
from contimg_assets.pipeline.gathered import gathered_table
from contimg_assets.pipeline.records import EpochRecord
from contimg_assets.pipeline.stages import EPOCH_SCALES_STAGE as STAGE
from contimg_assets.pipeline.store import EpochStore, StoredEpochs
from contimg_assets.pipeline.survey_tables import (
    READ_FROM,
    corrections_of_all_epochs,
    known_fluxes,
    scales_input_version,
)
from contimg_assets.schemas import TableSchema
from contimg_assets.schemas.core import frame_of
from contimg_assets.schemas.corrections import CONSTANT_FLUXES, CORRECTIONS, EPOCH_SCALES
from contimg_assets.schemas.described import describe

KEY = dg.AssetKey(STAGE.name)
SCALED = "every_image_has_a_scale"
_MAX_NAMED = 20
_TIES = ("image", "flux_scale", "flux_scale_err", "flux_trusted")


def make(store: EpochStore, records: Mapping[str, EpochRecord], parameters: Corrections) -> pd.DataFrame:
    """EPOCH_SCALES of all images of all epochs.

    Parameters
    ----------
    records : current corrections of every epoch, in time order
    """
    corrected = _all(store, records, CORRECTIONS, _TIES)
    scales = calculate_epoch_scales(_constant_fluxes(store, records, parameters), corrected)
    # An image without any source in common has its row too: what has no scale is said, not left out.
    scales = corrected[["epoch", "image"]].merge(scales, "left", ["epoch", "image"])
    scales = scales.assign(n_sources=scales["n_sources"].fillna(0))
    return scales.sort_values(["epoch", "image"], ignore_index=True)


def build(config: Config) -> list[dg.AssetsDefinition]:
    """The asset, for a configuration."""
    applied = config.corrections.apply_flux == "epochs"
    scaled = dg.AssetCheckSpec(
        SCALED,
        asset=KEY,
        description="Every image shares enough constant sources with others, and its scale and error are within the "
        "limits of `corrections`. Nothing is held back.",
    )

    @dg.asset(
        key=KEY,
        group_name="epochs",
        owners=OWNERS,
        kinds={"pandas", "parquet"},
        io_manager_key="store",
        code_version=STAGE.code_version(config),
        automation_condition=on_any_epoch(),
        retry_policy=RETRY_INTERNAL_ERRORS,
        metadata={COLUMN_SCHEMA: columns_of(EPOCH_SCALES)},
        dagster_type=dg.Any,  # with checks, a result's annotation would be taken for an output without a value
        check_specs=[scaled] if applied else [],
        description="Flux scale of every image of all epochs, solved together from the constant sources that they "
        "share (robust least squares in ln flux) and tied to the reference catalog once. Applied in place of the "
        "images' own scales where `corrections.apply_flux` is 'epochs'.",
    )
    @ending_when_interrupted
    def epoch_scales(corrections: StoredEpochs, store: dg.ResourceParam[EpochParquetIOManager]) -> dg.MaterializeResult:  # type: ignore[type-arg]  # Dagster reads the bare class
        version = scales_input_version(config, store.epochs)
        records = corrections_of_all_epochs(store.epochs)
        scales = make(store.epochs, records, config.corrections)
        table = EPOCH_SCALES.to_arrow(scales)
        return dg.MaterializeResult(
            value=describe(table, {READ_FROM: version}),
            data_version=dg.DataVersion(version_of_table(table)),
            metadata=_shown(scales, list(records)),
            check_results=[_judged(scales, config.corrections)] if applied else [],
        )

    return [epoch_scales]


def _shown(scales: pd.DataFrame, in_order: Sequence[str]) -> dict[str, Any]:
    scaled = scales["epoch_scale"].notna()
    counts = {
        "dagster/row_count": len(scales),
        "epochs": len(in_order),
        "images with a scale": int(scaled.sum()),
        "groups of connected images": int(scales.loc[scales["n_sources"] > 0, "connected"].nunique()),
    }
    return counts | ({PICTURES: embedded({"scales": plot_epoch_scales(scales, in_order)})} if scaled.any() else {})


def _judged(scales: pd.DataFrame, parameters: Corrections) -> dg.AssetCheckResult:
    """Images without a scale that can be used, and why."""
    reasons = scale_refusals(scales, parameters)
    sentences = [
        f"{epoch}/{image}: {reason}"
        for epoch, image, reason in zip(scales["epoch"], scales["image"], reasons, strict=True)
        if reason is not None
    ]
    return dg.AssetCheckResult(
        check_name=SCALED,
        passed=not sentences,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"images without": len(sentences)},
        description="; ".join(sentences[:_MAX_NAMED]) or None,
    )


def _all(
    store: EpochStore, records: Mapping[str, EpochRecord], schema: TableSchema, columns: Sequence[str]
) -> pd.DataFrame:
    """Columns of one table of all epochs, and the epoch."""
    found = gathered_table(store, records, schema.name, columns)
    everything: pd.DataFrame = schema.empty()[[*columns]].assign(epoch="") if found is None else frame_of(found)
    return everything


def _constant_fluxes(store: EpochStore, records: Mapping[str, EpochRecord], parameters: Corrections) -> pd.DataFrame:
    """Fluxes that tie epochs to each other, without those of all sources that are known by now to vary."""
    fluxes = _all(store, records, CONSTANT_FLUXES, CONSTANT_FLUXES.names)
    if records:
        known = frame_of(known_fluxes(store, list(records.values())[-1]).of()[0])
        fluxes = fluxes[~fluxes["source_id"].isin(known_variables(known, parameters))]
    return fluxes
