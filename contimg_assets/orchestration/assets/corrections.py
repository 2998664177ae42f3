"""`corrections`: position offset and flux scale of each image, with their errors, and whether to trust them.

A fold: sources that varied in the epochs before an epoch do not tie its fluxes. So a late or changed epoch makes the
later ones again, which costs little where it makes no other source a known variable, and changes nothing then.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import dagster as dg
import numpy.typing as npt
import pandas as pd

from contimg_assets.calibration import (
    add_fluxes,
    calibrated_fluxes,
    constant_sources,
    filter_counts,
    known_variables,
    measure_corrections,
    selection_of,
)
from contimg_assets.config import Config
from contimg_assets.identity.versions import combine_versions, version_of_table, version_of_value
from contimg_assets.orchestration.conditions import on_upstream_change
from contimg_assets.orchestration.correction_plots import plot_corrections
from contimg_assets.orchestration.epoch_assets import (
    FORCE_TAG,
    Check,
    Content,
    Made,
    Outcome,
    but_state,
    each_epoch,
    epoch_asset,
    medians,
    publish,
)
from contimg_assets.orchestration.io_manager import EpochParquetIOManager
from contimg_assets.orchestration.plots import embedded, epochs_to_plot, plot_offsets_and_scales
from contimg_assets.pipeline.quality import implausible_corrections
from contimg_assets.pipeline.stages import CORRECTIONS_STAGE
from contimg_assets.pipeline.staleness import (
    STATE_AFTER,
    STATE_BEFORE,
    epochs_in_time_order,
    in_time_order,
    state_version,
    upstream_versions,
)
from contimg_assets.pipeline.store import EpochRecord, EpochStore, StoredEpochs
from contimg_assets.schemas.corrections import CONSTANT_FLUXES, CORRECTIONS, KNOWN_FLUXES

MEASURED_FROM = "measured_from"
_MEASURED = (CORRECTIONS.name, CONSTANT_FLUXES.name)
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
        pool="fold",
        description="One row per image: offset to add to positions [arcsec], factor to multiply fluxes by, their "
        "standard errors, and the reason where an image is left as it is. Sources that varied in earlier epochs tie no "
        "flux scale, so a late or changed epoch may change later ones.",
    )
    def corrections(
        context: dg.AssetExecutionContext,
        raw_detections: StoredEpochs,
        measurements: StoredEpochs,
        associated_sources: StoredEpochs,
        catalog_matches: StoredEpochs,
        store: dg.ResourceParam[EpochParquetIOManager],
    ) -> Iterator[Any]:
        chain = _Chain(store.epochs)
        code = CORRECTIONS_STAGE.code_version(config)
        forced = context.run.tags.get(FORCE_TAG) == "true"
        asked = in_time_order(context.partition_keys, store.epochs)
        plotted = epochs_to_plot(asked)
        parameters = config.corrections

        def overview(table: pd.DataFrame) -> dict[str, dg.MarkdownMetadataValue]:
            return {"offsets and scales": embedded(plot_offsets_and_scales(table), "offsets and scales")}

        def each_image(
            table: pd.DataFrame,
            measured: pd.DataFrame,
            matches: pd.DataFrame,
            images: pd.DataFrame,
            variables: npt.NDArray,
        ) -> dict[str, dg.MarkdownMetadataValue]:
            selected = selection_of(measured, matches, images, parameters, variables)
            return {f"image {image}": embedded(png, image) for image, png in plot_corrections(selected, table)}

        def inputs(epoch: str) -> Mapping[str, str]:
            versions = upstream_versions(CORRECTIONS_STAGE, epoch, store.epochs)
            return versions | {STATE_BEFORE: state_version(CORRECTIONS_STAGE, chain.before(epoch))}

        def make(epoch: str, inputs: Mapping[str, str]) -> Content:
            known = chain.known_fluxes_before(epoch)
            tables = (
                measurements.read(epoch, "measurements"),
                associated_sources.read(epoch, "associations"),
                raw_detections.read(epoch, "images"),
            )
            matches = catalog_matches.read(epoch, "catalog_matches")
            variables = known_variables(known, parameters)
            here = variables[pd.Index(variables).isin(tables[1]["source_id"])]
            read = combine_versions(code, version_of_value(but_state(inputs)), *here)
            stored = None if forced else store.epochs.record(CORRECTIONS_STAGE.name, epoch)
            if stored is not None and stored.facts.get(MEASURED_FROM) == read:
                # Only what other sources did before has changed, which measures nothing anew here.
                table, constant = (store.epochs.read_recorded(stored, name).to_pandas() for name in _MEASURED)
            else:
                table = measure_corrections(tables[0], matches, tables[2], parameters, here)
                constant = constant_sources(*tables, parameters)
            after = KNOWN_FLUXES.to_arrow(add_fluxes(known, calibrated_fluxes(*tables, table)))
            refused = table.loc[~table["applied"]]
            reasons = [f"{image}: {reason}" for image, reason in zip(refused["image"], refused["reason"], strict=True)]
            return Content(
                tables={CORRECTIONS.name: table, CONSTANT_FLUXES.name: constant, KNOWN_FLUXES.name: after},
                facts={
                    "n_images": len(table),
                    "n_uncorrected": len(refused),
                    "n_known_variables": len(here),
                    **medians(table, "dra_arcsec", "ddec_arcsec", "dra_err_arcsec", "ddec_err_arcsec"),
                    **medians(table, "flux_scale", "flux_scale_err", "n_position", "n_flux"),
                    MEASURED_FROM: read,
                    STATE_AFTER: version_of_table(after),
                },
                metadata={
                    **_counts(table),
                    **(overview(table) if epoch in plotted else {}),
                    **(each_image(table, tables[0], matches, tables[2], here) if epoch == asked[-1] else {}),
                },
                checks=[
                    Check.of(ALL_CORRECTED, reasons),
                    Check.of(PLAUSIBLE, implausible_corrections(table, parameters)),
                ],
            )

        outcomes = each_epoch(
            context,
            CORRECTIONS_STAGE,
            config,
            store.epochs,
            inputs,
            make,
            later=chain.from_first(asked),
        )
        yield from publish(context, config, store.epochs, chain.following(outcomes))

    return corrections


class _Chain:
    """The epochs in time order, each with the record that is current in this run: stored, or made just now."""

    def __init__(self, store: EpochStore) -> None:
        self._store = store
        self._epochs = epochs_in_time_order(store)
        self._failed = {failure.epoch for failure in store.failures(CORRECTIONS_STAGE.name)}
        self._made: dict[str, EpochRecord] = {}

    def from_first(self, epochs: Iterable[str]) -> list[str]:
        """All epochs after the first of some."""
        places = [self._epochs.index(epoch) for epoch in epochs if epoch in self._epochs]
        return self._epochs[min(places) + 1 :] if places else []

    def following(self, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
        """The outcomes, while keeping what later epochs are folded onto."""
        for outcome in outcomes:
            if isinstance(outcome, Made):
                self._made[outcome.record.epoch] = outcome.record
                self._failed.discard(outcome.record.epoch)
            else:
                self._failed.add(outcome.failure.epoch)
            yield outcome

    def before(self, epoch: str) -> EpochRecord | None:
        """Record of the last epoch before this one that was made; one that failed takes no part."""
        for earlier in reversed(self._epochs[: self._epochs.index(epoch)]):
            record = self._made.get(earlier) or self._store.record(CORRECTIONS_STAGE.name, earlier)
            if record is not None and earlier not in self._failed:
                return record
        return None

    def known_fluxes_before(self, epoch: str) -> pd.DataFrame:
        """Statistics of all sources' fluxes before an epoch."""
        record = self.before(epoch)
        if record is None:
            return KNOWN_FLUXES.empty()
        return self._store.read_recorded(record, KNOWN_FLUXES.name).to_pandas()


def _counts(corrections: pd.DataFrame) -> dict[str, dg.TableMetadataValue]:
    """Matches left after each filter; nothing where there is no catalogue."""
    rows = filter_counts(corrections).reset_index().astype(object).to_dict("records")
    records = [dg.TableRecord({str(k): v for k, v in row.items()}) for row in rows]
    return {"matches left after each filter": dg.MetadataValue.table(records)} if records else {}
