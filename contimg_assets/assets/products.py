"""`products/*`: the tables of the products database, one asset each, all written together.

A reader of the database sees an epoch as it was or as it is, never half of it; so one step writes all tables of all its
epochs in one transaction.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from contimg_assets import progress
from contimg_assets.assets.catalog_matches import materialised_catalogs
from contimg_assets.assets.epoch_scales import KEY as SCALES_KEY
from contimg_assets.assets.epoch_scales import scale_versions
from contimg_assets.assets.epochs import (
    FORCE_TAG,
    OWNERS,
    RETRY_INTERNAL_ERRORS,
    Failed,
    Made,
    Outcome,
    check_results,
    epoch_events,
    epochs_failed,
    failed,
    in_time_order,
    none_failed_spec,
    upstream_versions,
)
from contimg_assets.assets.lineage import COLUMN_LINEAGE, product_lineage
from contimg_assets.assets.plots import embedded, plot_variability
from contimg_assets.automation.conditions import on_upstream_change
from contimg_assets.calibration import apply_corrections, with_epoch_scales
from contimg_assets.config import Config
from contimg_assets.database import EpochProducts, ProductsDatabase, SourceMatching
from contimg_assets.database.matching import source_matching
from contimg_assets.database.models import describe_table
from contimg_assets.errors import StoreError
from contimg_assets.flow import CORRECTIONS_STAGE, PRODUCTS
from contimg_assets.identity import combine_versions
from contimg_assets.partitions import EPOCHS, SINGLE_RUN
from contimg_assets.reconcile import NO_SCALES, SCALES
from contimg_assets.storage.epoch_store import EpochRecord, EpochStore
from contimg_assets.storage.io_manager import EpochParquetIOManager, read_epoch_scales

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
    "variability": ("measurements", "associated_sources", "corrections"),
}
"""Every table of the products database that the stages fill, and the stages that its rows are made from."""

_WITH_CATALOGS = ("cross_matches", "reference_catalogs")
OVERRIDES_KEY = dg.AssetKey(["products", "match_overrides"])
PRODUCT_KEYS = [dg.AssetKey(["products", table]) for table in _STAGES_OF_TABLE]
CODE = "code_version"
_EPOCHS_KEY = dg.AssetKey(["products", "epochs"])


def table_description(table: str) -> str:
    """What a table of the products database holds, as its model says."""
    return describe_table(table).description


def column_schema(table: str) -> dg.TableSchema:
    """Columns of a table of the products database with their meaning, for the UI."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                column.type,
                description=column.description,
                constraints=dg.TableColumnConstraints(nullable=column.nullable),
            )
            for column in describe_table(table).columns
        ]
    )


def recorded_products(database: ProductsDatabase) -> dict[str, EpochRecord]:
    """What each epoch in the database was written from; nothing where there is no database yet."""
    records: dict[str, EpochRecord] = {}
    if database.current() is None:
        return records
    for epoch, versions in database.recorded_versions().items():
        inputs = dict(versions)
        code = inputs.pop(CODE, "")
        version = combine_versions(*(f"{name}={inputs[name]}" for name in sorted(inputs)), code)
        records[epoch] = EpochRecord(PRODUCTS.name, epoch, version, code, inputs, {})
    return records


def matching_of(config: Config) -> SourceMatching | None:
    """How sources find their counterparts in the configured catalogues; None where there are none."""
    return source_matching(list(materialised_catalogs(config).values()), config.matching)


def build_products(config: Config) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """The assets, for a configuration."""
    references = [dg.AssetKey(["reference", name]) for name in config.catalogs]
    condition = on_upstream_change(dg.AssetSelection.assets(*references) if references else None)
    code = PRODUCTS.code_version(config)
    specs = [
        dg.AssetSpec(
            key,
            # All tables are written together, so each waits for the last stage.
            deps=[
                *dict.fromkeys([*stages, CORRECTIONS_STAGE.name]),
                *(references if key.path[-1] in _WITH_CATALOGS else []),
                *([SCALES_KEY] if config.corrections.apply_flux == "epochs" else []),
            ],
            # A run of several epochs says of each what it holds; one result for all would only say it twice.
            skippable=True,
            group_name="products",
            owners=OWNERS,
            kinds={"sqlalchemy", "postgres" if config.products_url.startswith("postgresql") else "sqlite"},
            code_version=code,
            automation_condition=condition,
            description=table_description(key.path[-1]),
            metadata={"dagster/column_schema": column_schema(key.path[-1])},
        )
        for key, stages in zip(PRODUCT_KEYS, _STAGES_OF_TABLE.values(), strict=True)
    ]

    @dg.multi_asset(
        name=PRODUCTS.name,
        specs=specs,
        check_specs=[none_failed_spec(_EPOCHS_KEY)],
        partitions_def=EPOCHS,
        backfill_policy=SINGLE_RUN,
        pool="products_database",
        retry_policy=RETRY_INTERNAL_ERRORS,
    )
    def products(
        context: dg.AssetExecutionContext,
        store: dg.ResourceParam[EpochParquetIOManager],
        database: dg.ResourceParam[ProductsDatabase],
    ) -> Iterator[Any]:
        database.upgrade()
        writer = _Writer(context, config, store.epochs, database)
        outcomes = list(writer.outcomes(in_time_order(context.partition_keys, store.epochs)))
        yield from _publish(context, store.epochs, database, outcomes)

    return [products]


class StoredProducts:
    """What the store holds for the products database, and the versions of what it was made from."""

    def __init__(self, config: Config, store: EpochStore) -> None:
        self.config, self.store, self.code = config, store, PRODUCTS.code_version(config)
        self.scales = read_epoch_scales(config.store) if config.corrections.apply_flux == "epochs" else None
        self.scale_versions = scale_versions(self.scales) if self.scales is not None else {}
        self.catalogs = {f"reference/{name}": one.version for name, one in materialised_catalogs(config).items()}

    def inputs(self, epoch: str) -> dict[str, str]:
        """Versions of everything that an epoch's rows are made from.

        Raises
        ------
        StoreError
            If a stage before has not been made.
        """
        inputs = upstream_versions(PRODUCTS, epoch, self.store) | self.catalogs
        return inputs if self.scales is None else inputs | {SCALES: self.scale_versions.get(epoch, NO_SCALES)}

    def read(self, epoch: str, inputs: Mapping[str, str]) -> EpochProducts:
        """One epoch as it is written into the database."""

        def table(stage: str, name: str) -> Any:
            return self.store.read(stage, epoch, name)

        corrections = table("corrections", "corrections")
        if self.scales is not None:
            of_epoch = self.scales[self.scales["epoch"] == epoch]
            corrections = with_epoch_scales(corrections, of_epoch, self.config.corrections)
        return EpochProducts(
            epoch=epoch,
            images=table("raw_detections", "images"),
            measurements=apply_corrections(table("measurements", "measurements"), corrections),
            associations=table("associated_sources", "associations"),
            relations=table("associated_sources", "relations"),
            corrections=corrections,
            coverage=table("raw_detections", "coverage"),
            versions={**inputs, CODE: self.code},
        )

    def complete_epochs(self) -> list[str]:
        """Epochs of which all stages before the products were made, in time order."""
        made = [set(self.store.epochs(stage)) for stage in PRODUCTS.reads]
        return in_time_order(set.intersection(*made), self.store)


class _Writer:
    """Writes a run's epochs into the database."""

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        config: Config,
        store: EpochStore,
        database: ProductsDatabase,
    ) -> None:
        self.context, self.config, self.store, self.database = context, config, store, database
        self.stored = StoredProducts(config, store)
        self.recorded = recorded_products(database)
        self.forced = context.run.tags.get(FORCE_TAG) == "true"
        self.matching = matching_of(config)

    def outcomes(self, epochs: Sequence[str]) -> Iterator[Outcome]:
        """Write what is not there yet as it should be."""
        wanted: dict[str, Mapping[str, str]] = {}
        for epoch in epochs:
            inputs: Mapping[str, str] = {}
            try:
                inputs = self.stored.inputs(epoch)
            except StoreError as error:
                yield self._failed(epoch, inputs, error)
                continue
            recorded = self.recorded.get(epoch)
            if not self.forced and recorded and recorded.code_version == self.stored.code and recorded.inputs == inputs:
                progress.report(PRODUCTS.name, epoch)
                yield Made(recorded, note="inputs, code and configuration unchanged: nothing to do")
            else:
                wanted[epoch] = inputs
        yield from self._write(wanted)

    def _write(self, wanted: Mapping[str, Mapping[str, str]]) -> Iterator[Outcome]:
        """Write epochs in one transaction, one in memory at a time; one that cannot be read takes no part."""
        if not wanted:
            return
        unreadable: list[Failed] = []
        rows: dict[str, int] = {}

        def products() -> Iterator[EpochProducts]:
            for epoch, inputs in wanted.items():
                try:
                    read = self.stored.read(epoch, inputs)
                except Exception as error:  # noqa: BLE001 - recorded, shown, and raised again once the others are done
                    unreadable.append(self._failed(epoch, inputs, error))
                    continue
                rows[epoch] = len(read.measurements)
                yield read
                progress.report(PRODUCTS.name, epoch)

        try:
            self.database.replace_epochs(products(), self.config.variability, self.matching)
        except Exception as error:  # noqa: BLE001 - recorded, shown, and raised again once the others are done
            if len(wanted) == 1:
                ((epoch, inputs),) = wanted.items()
                yield self._failed(epoch, inputs, error)
                return
            # One of them is at fault, and the transaction is undone: each on its own feet.
            for epoch, inputs in wanted.items():
                yield from self._write({epoch: inputs})
            return
        yield from unreadable
        records = recorded_products(self.database)
        for epoch, n_rows in rows.items():
            self.store.forget_failure(PRODUCTS.name, epoch)
            yield Made(records[epoch], {"measurements written": n_rows})

    def _failed(self, epoch: str, inputs: Mapping[str, str], error: Exception) -> Failed:
        progress.report(PRODUCTS.name, epoch)
        return failed(self.context, self.store, PRODUCTS, self.config, epoch, inputs, error)


def _publish(
    context: dg.AssetExecutionContext, store: EpochStore, database: ProductsDatabase, outcomes: Sequence[Outcome]
) -> Iterator[Any]:
    """Tell Dagster of every table of every epoch; raise at the end if an epoch failed."""
    made = [one for one in outcomes if isinstance(one, Made)]
    failures = [one for one in outcomes if isinstance(one, Failed)]
    # What is true of a table as a whole goes with the newest epoch: events are kept for ever.
    of_table = {key: _of_table(key.path[-1], database) for key in PRODUCT_KEYS}
    if len(made) == 1 and not failures:
        for key in PRODUCT_KEYS:
            yield dg.MaterializeResult(
                asset_key=key,
                data_version=dg.DataVersion(made[0].record.data_version),
                metadata=made[0].all_metadata | of_table[key],
            )
    else:
        for key in PRODUCT_KEYS:
            yield from epoch_events(key, made[:-1])
            yield from epoch_events(key, made[-1:], of_table[key])
    yield from check_results(context, store, PRODUCTS.name)
    if failures:
        raise epochs_failed(failures, len(made))


def _of_table(table: str, database: ProductsDatabase) -> dict[str, Any]:
    """What the UI shows of a table as a whole: where its columns come from, a plot."""
    columns = [column.name for column in describe_table(table).columns]
    shown: dict[str, Any] = {COLUMN_LINEAGE: product_lineage(table, columns, _STAGES_OF_TABLE[table])}
    if table == "variability":
        shown["V against eta"] = embedded(plot_variability(database.v_and_eta()), "V against eta")
    return shown
