"""`catalog_matches`: all candidates of an epoch's measurements in every reference catalogue, with probabilities."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
import pandas as pd

from contimg_assets.config import Config
from contimg_assets.crossmatch.matches import match_catalogs
from contimg_assets.orchestration.conditions import on_upstream_change
from contimg_assets.orchestration.epoch_assets import (
    Check,
    Content,
    each_epoch,
    epoch_asset,
    publish,
)
from contimg_assets.orchestration.io_manager import EpochParquetIOManager
from contimg_assets.orchestration.plots import embedded, epochs_to_plot, plot_matches
from contimg_assets.pipeline.quality import too_few_matches
from contimg_assets.pipeline.stages import CATALOG_MATCHES_STAGE
from contimg_assets.pipeline.staleness import in_time_order, upstream_versions
from contimg_assets.pipeline.store import StoredEpochs
from contimg_assets.pipeline.survey_tables import materialised_catalogs

ENOUGH_MATCHED = "enough_matched"


def build_catalog_matches(config: Config) -> dg.AssetsDefinition:
    """The asset, for a configuration."""
    references = [dg.AssetKey(["reference", name]) for name in config.catalogs]

    @epoch_asset(
        CATALOG_MATCHES_STAGE,
        config,
        deps=references,
        automation_condition=on_upstream_change(dg.AssetSelection.assets(*references) if references else None),
        check_specs=[
            dg.AssetCheckSpec(
                ENOUGH_MATCHED,
                asset=CATALOG_MATCHES_STAGE.name,
                blocking=True,
                description="In every catalogue that covers the epoch, at least `checks.min_matched_fraction` of its "
                "measurements have a counterpart: else its positions cannot be right.",
            )
        ],
        description="Candidates of every measurement in every reference catalogue: offsets [arcsec] from measurement "
        "to catalogue, de Ruiter radius, probability, flux ratio at our frequency. Empty where no catalogue is "
        "configured.",
    )
    def catalog_matches(
        context: dg.AssetExecutionContext,
        raw_detections: StoredEpochs,
        measurements: StoredEpochs,
        associated_sources: StoredEpochs,
        store: dg.ResourceParam[EpochParquetIOManager],
    ) -> Iterator[Any]:
        catalogs = materialised_catalogs(config)
        if not catalogs:
            context.log.warning(
                "no reference catalogue is configured: there is nothing to match to, so the table is empty; "
                "`contimg catalog add` adds one"
            )
        versions = {f"reference/{name}": catalog.version for name, catalog in catalogs.items()}

        plotted = epochs_to_plot(in_time_order(context.partition_keys, store.epochs))

        def inputs(epoch: str) -> Mapping[str, str]:
            return upstream_versions(CATALOG_MATCHES_STAGE, epoch, store.epochs) | versions

        def make(epoch: str, inputs: Mapping[str, str]) -> Content:
            found = match_catalogs(
                measurements.read(epoch, "measurements"),
                raw_detections.read(epoch, "images"),
                list(catalogs.values()),
                config.matching,
                associated_sources.read(epoch, "associations"),
            )
            plots = {"matches": embedded(plot_matches(found.matches), "matches")} if epoch in plotted else {}
            return Content(
                tables={"catalog_matches": found.matches, "match_summary": found.summary},
                facts=_numbers(found.summary) | {"scale error common to a catalogue": config.matching.flux_scale_err},
                metadata=plots,
                checks=[Check.of(ENOUGH_MATCHED, too_few_matches(found.summary, config.checks))],
            )

        outcomes = each_epoch(
            context, CATALOG_MATCHES_STAGE, config, store.epochs, inputs, make, frozenset({ENOUGH_MATCHED})
        )
        yield from publish(context, config, store.epochs, outcomes)

    return catalog_matches


def _numbers(summary: pd.DataFrame) -> dict[str, float]:
    """Per catalogue: share of the covered measurements with a counterpart, and false ones expected among them."""
    totals = summary.groupby("catalog")[["n_covered", "n_matched", "n_false_best"]].sum()
    numbers: dict[str, float] = {}
    for catalog, n_covered, n_matched, n_false in totals.itertuples():
        numbers[f"n_matched {catalog}"] = int(n_matched)
        if n_covered:
            numbers[f"matched_fraction {catalog}"] = float(n_matched / n_covered)
        if n_matched:
            numbers[f"false_fraction {catalog}"] = float(n_false / n_matched)
    return numbers
