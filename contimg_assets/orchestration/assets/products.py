"""`products/*`: the tables of the products database, one asset each, all written together.

A reader of the database sees an epoch as it was or as it is, never half of it; so one step writes all tables of all its
epochs in one transaction. `products/epoch_scales` is a table of the whole survey and is written by itself.
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pandas as pd

from contimg_assets.config import Config
from contimg_assets.database import ProductsDatabase
from contimg_assets.database.models import describe_table
from contimg_assets.figures.summaries import plot_variability
from contimg_assets.identity.versions import version_of_table
from contimg_assets.orchestration.columns import COLUMN_SCHEMA, columns_of, columns_of_product
from contimg_assets.orchestration.conditions import on_upstream_change
from contimg_assets.orchestration.epoch_assets import (
    OWNERS,
    RETRY_INTERNAL_ERRORS,
    check_results,
    ending_when_interrupted,
    epoch_events,
    epochs_failed,
    none_failed_spec,
    of_nothing,
    of_one_epoch,
    run_result,
    sorted_out,
    tell,
    work_of,
)
from contimg_assets.orchestration.io_manager import EpochParquetIOManager
from contimg_assets.orchestration.lineage import COLUMN_LINEAGE, product_lineage
from contimg_assets.orchestration.partitions import EPOCHS, SINGLE_RUN
from contimg_assets.orchestration.plots import PICTURES, embedded
from contimg_assets.pipeline.chain import Work
from contimg_assets.pipeline.forced_photometry import write_forced_products
from contimg_assets.pipeline.hats import keep_hats
from contimg_assets.pipeline.outcomes import Outcome
from contimg_assets.pipeline.products import write_products
from contimg_assets.pipeline.stages import EPOCH_SCALES_STAGE, FORCED_PRODUCTS, FORCED_STAGE, PRODUCTS, SCALES_TABLE
from contimg_assets.schemas.corrections import EPOCH_SCALES
from contimg_assets.schemas.forced import FORCED_FLUXES

_STAGES_OF_TABLE: dict[str, tuple[str, ...]] = {
    "epochs": ("raw_detections",),
    "images": ("raw_detections",),
    # Upper limits and new sources follow from what the images covered.
    "measurements": ("raw_detections", "measurements", "corrections"),
    "sources": ("raw_detections", "measurements", "associated_sources", "corrections"),
    "associations": ("associated_sources",),
    "source_relations": ("associated_sources",),
    "source_aliases": ("associated_sources",),
    "cross_matches": ("measurements", "associated_sources", "corrections"),
    "corrections": ("corrections",),
    "variability": ("measurements", "associated_sources", "corrections", "error_model"),
    "error_model": ("error_model",),
}
"""Every table of the products database that the stages fill, and the stages that its rows are made from."""

READ_BY_STAGES = ("images", "measurements", "sources", "associations", "corrections")
"""Tables that a stage reads: where sources and images are, and what was detected."""

_WITH_CATALOGS = ("cross_matches", "reference_catalogs")
PRODUCT_KEYS = [dg.AssetKey(["products", table]) for table in _STAGES_OF_TABLE]
_EPOCHS_KEY = dg.AssetKey(["products", "epochs"])


SCALES_KEY = dg.AssetKey(SCALES_TABLE.name.split("/"))
FORCED_KEY = dg.AssetKey(FORCED_PRODUCTS.name.split("/"))


def _kinds(config: Config) -> set[str]:
    return {"sqlalchemy", "postgres" if config.products_url.startswith("postgresql") else "sqlite"}


def build(config: Config) -> list[dg.AssetsDefinition]:
    """The assets, for a configuration."""
    return [_build_products(config), _build_epoch_scales(config), _build_forced_fluxes(config)]


def _specs(config: Config) -> list[dg.AssetSpec]:
    references = [dg.AssetKey(["reference", name]) for name in config.catalogs]
    scales = [EPOCH_SCALES_STAGE.name] if config.corrections.apply_flux == "epochs" else []
    condition = on_upstream_change(dg.AssetSelection.assets(*references) if references else None)
    code = PRODUCTS.code_version(config)
    return [
        dg.AssetSpec(
            dg.AssetKey(["products", table]),
            # All tables are written together, so each waits for the last stage.
            deps=[
                *dict.fromkeys([*stages, PRODUCTS.reads[-1]]),
                *(references if table in _WITH_CATALOGS else []),
                *scales,
            ],
            # A run of several epochs says of each what it holds; one result for all would only say it twice. But what
            # reads a table in the same run waits for that one.
            skippable=table not in READ_BY_STAGES,
            group_name="products",
            owners=OWNERS,
            kinds=_kinds(config),
            code_version=code,
            automation_condition=condition,
            description=describe_table(table).description,
            metadata={COLUMN_SCHEMA: columns_of_product(table)},
        )
        for table, stages in _STAGES_OF_TABLE.items()
    ]


def _build_products(config: Config) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name=PRODUCTS.name,
        specs=_specs(config),
        check_specs=[none_failed_spec(_EPOCHS_KEY)],
        partitions_def=EPOCHS,
        backfill_policy=SINGLE_RUN,
        pool="products_database",
        retry_policy=RETRY_INTERNAL_ERRORS,
    )
    @ending_when_interrupted
    def products(
        context: dg.AssetExecutionContext,
        store: dg.ResourceParam[EpochParquetIOManager],
        database: dg.ResourceParam[ProductsDatabase],
    ) -> Iterator[Any]:
        database.upgrade()
        work = work_of(context, PRODUCTS, config, store.epochs, database)
        outcomes = list(write_products(work, database))
        _keep_hats(context, config, database)
        yield from _publish(context, work, database, outcomes)

    return products


def _build_epoch_scales(config: Config) -> dg.AssetsDefinition:
    @dg.asset(
        key=SCALES_KEY,
        ins={EPOCH_SCALES_STAGE.name: dg.AssetIn(dg.AssetKey(EPOCH_SCALES_STAGE.name))},
        group_name="products",
        owners=OWNERS,
        kinds=_kinds(config),
        automation_condition=on_upstream_change(),
        retry_policy=RETRY_INTERNAL_ERRORS,
        pool="products_database",
        metadata={COLUMN_SCHEMA: columns_of(EPOCH_SCALES)},
        description="Flux scale between epochs of every image, beside `corrections`, which has each image's own.",
    )
    @ending_when_interrupted
    def epoch_scales_table(
        epoch_scales: pd.DataFrame, database: dg.ResourceParam[ProductsDatabase]
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]  # Dagster reads the bare class
        database.upgrade()
        version = version_of_table(EPOCH_SCALES.to_arrow(epoch_scales))
        written = database.replace_epoch_scales(epoch_scales)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(version),
            metadata={"dagster/row_count": len(epoch_scales)} | ({} if written else {"note": "nothing changed"}),
        )

    return epoch_scales_table


def _build_forced_fluxes(config: Config) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name=FORCED_PRODUCTS.name.replace("/", "_"),
        specs=[
            dg.AssetSpec(
                FORCED_KEY,
                deps=[FORCED_STAGE.name],
                group_name="products",
                owners=OWNERS,
                kinds=_kinds(config),
                code_version=FORCED_PRODUCTS.code_version(config),
                automation_condition=on_upstream_change(),
                description=f"{FORCED_FLUXES.description}; the view `forced_photometry` has them corrected.",
                metadata={COLUMN_SCHEMA: columns_of_product(FORCED_FLUXES.name)},
            )
        ],
        check_specs=[none_failed_spec(FORCED_KEY)],
        partitions_def=EPOCHS,
        backfill_policy=SINGLE_RUN,
        pool="products_database",
        retry_policy=RETRY_INTERNAL_ERRORS,
    )
    @ending_when_interrupted
    def forced_fluxes(
        context: dg.AssetExecutionContext,
        store: dg.ResourceParam[EpochParquetIOManager],
        database: dg.ResourceParam[ProductsDatabase],
    ) -> Iterator[Any]:
        database.upgrade()
        work = work_of(context, FORCED_PRODUCTS, config, store.epochs, database)
        made = sorted_out(write_forced_products(work, database))[0]
        _keep_hats(context, config, database)
        names = [column.name for column in describe_table(FORCED_FLUXES.name).columns]
        lineage = {COLUMN_LINEAGE: product_lineage(FORCED_FLUXES.name, names, (FORCED_STAGE.name,))}
        # Epochs without images have a result too: whoever asked for them would take them for failed.
        yield dg.MaterializeResult(FORCED_KEY, **run_result(work, made, lineage))
        if not of_one_epoch(work, made):
            tell(context, [*of_nothing(context, FORCED_KEY, made), *epoch_events(FORCED_KEY, made, lineage)])
        yield from check_results(context, work.store, FORCED_PRODUCTS)

    return forced_fluxes


def _keep_hats(context: dg.AssetExecutionContext, config: Config, database: ProductsDatabase) -> None:
    """Bring the HATS collection of the configuration up to date, if it names one."""
    updated = keep_hats(config, database)
    if updated is not None:
        context.log.info(
            f"{config.hats_folder} has {updated.n_sources} source(s) in {updated.n_files} file(s), of which "
            f"{updated.n_written} were written"
        )


def _publish(
    context: dg.AssetExecutionContext, work: Work, database: ProductsDatabase, outcomes: list[Outcome]
) -> Iterator[Any]:
    """Tell Dagster of every table of every epoch; raise at the end if an epoch failed."""
    made, failures = sorted_out(outcomes)
    # What is true of a table as a whole goes with the newest epoch: events are kept for ever.
    of_table = {key: _of_table(key.path[-1], database, work.world.config) for key in PRODUCT_KEYS}
    if of_one_epoch(work, made) and not failures:
        for key in PRODUCT_KEYS:
            yield dg.MaterializeResult(key, **run_result(work, made, of_table[key]))
    else:
        if not failures:
            result = run_result(work, made, {})
            yield from (dg.MaterializeResult(dg.AssetKey(["products", name]), **result) for name in READ_BY_STAGES)
        for key in PRODUCT_KEYS:
            tell(context, [*epoch_events(key, made[:-1]), *epoch_events(key, made[-1:], of_table[key])])
    yield from check_results(context, work.store, PRODUCTS)
    if failures:
        raise epochs_failed(failures, len(made))


def _of_table(table: str, database: ProductsDatabase, config: Config) -> dict[str, Any]:
    """What the UI shows of a table as a whole: where its columns come from, a plot."""
    columns = [column.name for column in describe_table(table).columns]
    shown: dict[str, Any] = {COLUMN_LINEAGE: product_lineage(table, columns, _STAGES_OF_TABLE[table])}
    if table == "variability":
        kind = database.flux_kind()
        plot = plot_variability(database.significances(kind), kind, config.variability.max_q)
        shown[PICTURES] = embedded({"V against eta": plot})
    return shown
