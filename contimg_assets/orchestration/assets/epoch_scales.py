"""`epoch_scales`: the flux scales of all images of all epochs, solved together from the sources they share.

One table, made again when any epoch's corrections change. `products/epoch_scales` shows it in the database; where
`corrections.apply_flux` is 'epochs', the products apply it in place of the images' own scales.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import pandas as pd

from contimg_assets.calibration import calculate_epoch_scales, known_variables, scale_refusals
from contimg_assets.config import Config
from contimg_assets.database import ProductsDatabase
from contimg_assets.identity.versions import version_of_table
from contimg_assets.orchestration.columns import COLUMN_SCHEMA, columns_of
from contimg_assets.orchestration.conditions import on_any_epoch, on_upstream_change
from contimg_assets.orchestration.epoch_assets import OWNERS, RETRY_INTERNAL_ERRORS
from contimg_assets.orchestration.io_manager import EpochParquetIOManager
from contimg_assets.orchestration.plots import embedded, plot_epoch_scales
from contimg_assets.pipeline.staleness import SCALES
from contimg_assets.pipeline.store import EpochRecord, StoredEpochs
from contimg_assets.pipeline.survey_tables import (
    READ_FROM,
    corrections_of_all_epochs,
    scales_code_version,
    scales_input_version,
)
from contimg_assets.schemas import TableSchema
from contimg_assets.schemas.corrections import CONSTANT_FLUXES, CORRECTIONS, EPOCH_SCALES, KNOWN_FLUXES
from contimg_assets.schemas.described import describe

KEY = dg.AssetKey(SCALES)
TABLE_KEY = dg.AssetKey(["products", SCALES])
SCALED = "every_image_has_a_scale"
_MAX_NAMED = 20
_TIES = ("image", "flux_scale", "flux_scale_err", "flux_trusted")


def build_epoch_scales(config: Config) -> list[dg.AssetsDefinition]:
    """The asset and its table in the database, for a configuration."""
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
        code_version=scales_code_version(config),
        automation_condition=on_any_epoch(),
        retry_policy=RETRY_INTERNAL_ERRORS,
        metadata={COLUMN_SCHEMA: columns_of(EPOCH_SCALES)},
        dagster_type=dg.Any,  # with checks, a result's annotation would be taken for an output without a value
        check_specs=[scaled] if applied else [],
        description="Flux scale of every image of all epochs, solved together from the constant sources that they "
        "share (robust least squares in ln flux) and tied to the reference catalogue once. Applied in place of the "
        "images' own scales where `corrections.apply_flux` is 'epochs'.",
    )
    def epoch_scales(corrections: StoredEpochs, store: dg.ResourceParam[EpochParquetIOManager]) -> dg.MaterializeResult:
        version = scales_input_version(config, store.epochs)
        records = corrections_of_all_epochs(store.epochs)
        corrected = _all(corrections, records, CORRECTIONS, _TIES)
        scales = calculate_epoch_scales(_constant_fluxes(corrections, records, config), corrected)
        # An image without any source in common has its row too: what has no scale is said, not left out.
        scales = corrected[["epoch", "image"]].merge(scales, "left", ["epoch", "image"])
        scales["n_sources"] = scales["n_sources"].fillna(0)
        table = EPOCH_SCALES.to_arrow(scales.sort_values(["epoch", "image"], ignore_index=True))
        content = version_of_table(table)
        reasons = scale_refusals(scales, config.corrections)
        sentences = [
            f"{epoch}/{image}: {reason}"
            for epoch, image, reason in zip(scales["epoch"], scales["image"], reasons, strict=True)
            if reason is not None
        ]
        judged = dg.AssetCheckResult(
            check_name=SCALED,
            passed=not sentences,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"images without": len(sentences)},
            description="; ".join(sentences[:_MAX_NAMED]) or None,
        )
        return dg.MaterializeResult(
            value=describe(table, {READ_FROM: version}),
            data_version=dg.DataVersion(content),
            metadata={
                "dagster/row_count": table.num_rows,
                "epochs": len(records),
                "images with a scale": int(scales["epoch_scale"].notna().sum()),
                "groups of connected images": int(scales.loc[scales["n_sources"] > 0, "connected"].nunique()),
            }
            | ({"scales": embedded(plot_epoch_scales(scales, list(records)), "scales")} if len(scales) else {}),
            check_results=[judged] if applied else [],
        )

    @dg.asset(
        key=TABLE_KEY,
        ins={SCALES: dg.AssetIn(KEY)},
        group_name="products",
        owners=OWNERS,
        kinds={"sqlalchemy", "postgres" if config.products_url.startswith("postgresql") else "sqlite"},
        automation_condition=on_upstream_change(),
        retry_policy=RETRY_INTERNAL_ERRORS,
        pool="products_database",
        metadata={COLUMN_SCHEMA: columns_of(EPOCH_SCALES)},
        description="Flux scale between epochs of every image, beside `corrections`, which has each image's own.",
    )
    def epoch_scales_table(
        epoch_scales: pd.DataFrame, database: dg.ResourceParam[ProductsDatabase]
    ) -> dg.MaterializeResult:
        database.upgrade()
        version = version_of_table(EPOCH_SCALES.to_arrow(epoch_scales))
        written = database.replace_epoch_scales(epoch_scales)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(version),
            metadata={"dagster/row_count": len(epoch_scales)} | ({} if written else {"note": "nothing changed"}),
        )

    return [epoch_scales, epoch_scales_table]


def _all(
    corrections: StoredEpochs, records: Mapping[str, EpochRecord], schema: TableSchema, columns: Sequence[str]
) -> pd.DataFrame:
    """Columns of one table of all epochs, and the epoch."""
    parts: list[Any] = [corrections.read(epoch, schema.name, columns).assign(epoch=epoch) for epoch in records]
    return pd.concat(parts, ignore_index=True) if parts else schema.empty()[[*columns]].assign(epoch="")


def _constant_fluxes(corrections: StoredEpochs, records: Mapping[str, EpochRecord], config: Config) -> pd.DataFrame:
    """Fluxes that tie epochs to each other, without those of all sources that are known by now to vary."""
    fluxes = _all(corrections, records, CONSTANT_FLUXES, CONSTANT_FLUXES.names)
    if records:
        known = corrections.read(list(records)[-1], KNOWN_FLUXES.name)
        fluxes = fluxes[~fluxes["source_id"].isin(known_variables(known, config.corrections))]
    return fluxes
