"""`catalog_matches`: all candidates of an epoch's measurements in every reference catalog, with probabilities."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import dagster as dg
import pandas as pd

from contimg_assets.catalogs.store import ReferenceCatalog
from contimg_assets.config import Config
from contimg_assets.crossmatch.matches import match_catalogs
from contimg_assets.figures.summaries import plot_matches
from contimg_assets.orchestration.conditions import on_upstream_change
from contimg_assets.orchestration.epoch_assets import epoch_asset, publish, quality_check, work_of
from contimg_assets.orchestration.io_manager import EpochParquetIOManager
from contimg_assets.pipeline.chain import make_each
from contimg_assets.pipeline.outcomes import Check, Content
from contimg_assets.pipeline.quality import MatchVerdict, expected_counterparts, judge_matches
from contimg_assets.pipeline.stages import CATALOG_MATCHES_STAGE as STAGE
from contimg_assets.pipeline.store import StoredEpochs
from contimg_assets.pipeline.survey_tables import made_catalogs

ENOUGH_MATCHED, EACH_CATALOG_MATCHED = "enough_matched", "each_catalog_matched"


def make(
    epoch: str,
    _: Mapping[str, str],
    upstream: tuple[StoredEpochs, StoredEpochs, StoredEpochs],
    catalogs: Sequence[ReferenceCatalog],
    config: Config,
) -> Content:
    """Candidates of one epoch's measurements, and a summary per image and catalog.

    Parameters
    ----------
    upstream : what raw_detections, measurements and associated_sources made
    """
    raw_detections, measurements, associated_sources = upstream
    images = raw_detections.read(epoch, "images")
    found = match_catalogs(
        measurements.read(epoch, "measurements"),
        images,
        list(catalogs),
        config.matching,
        associated_sources.read(epoch, "associations"),
    )
    verdict = _verdict(found.summary, images, catalogs, config)
    # A catalog that does not know what the others know is of no use here.
    matches = found.matches[~found.matches["catalog"].isin(list(verdict.of_catalogs))]
    return Content(
        tables={"catalog_matches": matches.reset_index(drop=True), "match_summary": found.summary},
        facts=_numbers(found.summary) | {"scale error common to a catalog": config.matching.flux_scale_err},
        figures=lambda: {"matches": plot_matches(found.matches)} if len(found.matches) else {},
        checks=[
            Check.of(ENOUGH_MATCHED, verdict.of_epoch),
            Check.of(EACH_CATALOG_MATCHED, list(verdict.of_catalogs.values())),
        ],
    )


def _verdict(
    summary: pd.DataFrame, images: pd.DataFrame, catalogs: Sequence[ReferenceCatalog], config: Config
) -> MatchVerdict:
    """Whether the catalogs know the epoch; what they should know is counted only where one seems not to."""
    settings = {
        one.name: config.catalogs[one.name].min_matched_fraction for one in catalogs if one.name in config.catalogs
    }
    fractions = {name: fraction for name, fraction in settings.items() if fraction is not None}
    verdict = judge_matches(summary, config.checks, fractions=fractions)
    doubted = [one for one in catalogs if one.name in verdict.failed]
    if not doubted:
        return verdict
    expected = {one.name: expected_counterparts(one, images, config.matching.spectral_index) for one in doubted}
    return judge_matches(summary, config.checks, expected, fractions)


def build(config: Config) -> list[dg.AssetsDefinition]:
    """The asset, for a configuration."""
    references = [dg.AssetKey(["reference", name]) for name in config.catalogs]

    @epoch_asset(
        STAGE,
        config,
        deps=references,
        automation_condition=on_upstream_change(dg.AssetSelection.assets(*references) if references else None),
        check_specs=[
            quality_check(
                STAGE,
                ENOUGH_MATCHED,
                "In every catalog that covers the epoch, at least `checks.min_matched_fraction` of its measurements "
                "have a counterpart: else its positions cannot be right.",
                blocking=True,
            ),
            quality_check(
                STAGE,
                EACH_CATALOG_MATCHED,
                "Each catalog knows enough of its own sources that the images should show; one that does not, while "
                "others do, is left out of the epoch's matches.",
            ),
        ],
        description="Candidates of every measurement in every reference catalog: offsets [arcsec] from measurement "
        "to catalog, de Ruiter radius, probability, flux ratio at our frequency. Empty where no catalog is "
        "configured.",
    )
    def catalog_matches(
        context: dg.AssetExecutionContext,
        raw_detections: StoredEpochs,
        measurements: StoredEpochs,
        associated_sources: StoredEpochs,
        store: dg.ResourceParam[EpochParquetIOManager],
    ) -> Iterator[Any]:
        catalogs = list(made_catalogs(config).values())
        if not catalogs:
            context.log.warning(
                "no reference catalog is configured: there is nothing to match to, so the table is empty; "
                "`contimg catalog add` adds one"
            )
        upstream = (raw_detections, measurements, associated_sources)
        work = work_of(context, STAGE, config, store.epochs)
        outcomes = make_each(work, partial(make, upstream=upstream, catalogs=catalogs, config=config))
        yield from publish(context, work, outcomes)

    return [catalog_matches]


def _numbers(summary: pd.DataFrame) -> dict[str, Any]:
    """Share of the covered measurements with a counterpart, for each catalog; a table of them with counts.

    A false fraction is the share of false ones that are expected among those matched.
    """
    totals = summary.groupby("catalog", as_index=False)[["n_covered", "n_matched", "n_false_best"]].sum()
    covered, matched = (totals[name].where(totals[name] > 0) for name in ("n_covered", "n_matched"))
    totals["matched_fraction"] = totals["n_matched"] / covered
    totals["false_fraction"] = totals.pop("n_false_best") / matched
    measured = totals.dropna(subset="matched_fraction")
    fractions = zip(measured["catalog"], measured["matched_fraction"], strict=True)
    by_catalog = {f"matched_fraction {catalog}": float(fraction) for catalog, fraction in fractions}
    return {"catalogs": totals.astype(object).where(totals.notna(), None).to_dict("records")} | by_catalog
