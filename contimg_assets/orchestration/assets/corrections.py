"""`corrections`: position offset and flux scale of each image, with their errors, and whether to trust them.

A fold: the mean fluxes that sources had in the epochs before an epoch give the flux scale of its images, but for those
of sources that varied. A new epoch changes none before it; a late or changed one makes the later ones again, which
costs little: what is measured against the catalogs stays.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dagster as dg
import numpy as np
import numpy.typing as npt
import pandas as pd

from contimg_assets.calibration import (
    ImageFits,
    add_fluxes,
    calibrated_fluxes,
    constant_sources,
    field_scales_and_pulls,
    filter_counts,
    known_variables,
    selection_of,
    tie_fluxes,
    with_field_scales,
    without_additive,
)
from contimg_assets.config import Config, Corrections
from contimg_assets.figures.corrections import plot_corrections, worth_a_look
from contimg_assets.figures.summaries import plot_offsets_and_scales
from contimg_assets.identity.versions import combine_versions, version_of_value
from contimg_assets.ingest.bands import by_band, source_of
from contimg_assets.orchestration.conditions import on_upstream_change
from contimg_assets.orchestration.epoch_assets import epoch_asset, publish, quality_check, work_of
from contimg_assets.orchestration.io_manager import EpochParquetIOManager
from contimg_assets.pipeline import chain
from contimg_assets.pipeline.chain import Onto
from contimg_assets.pipeline.inputs import STATE_BEFORE
from contimg_assets.pipeline.outcomes import Check, Content, medians
from contimg_assets.pipeline.quality import implausible_corrections
from contimg_assets.pipeline.records import EpochRecord
from contimg_assets.pipeline.sky_parts import OfSources, SkyParts, seen_in
from contimg_assets.pipeline.stages import CORRECTIONS_STAGE as STAGE
from contimg_assets.pipeline.stages import NOTHING_BEFORE
from contimg_assets.pipeline.store import EpochStore, StoredEpochs
from contimg_assets.pipeline.survey_tables import known_fluxes
from contimg_assets.schemas.core import frame_of
from contimg_assets.schemas.corrections import CONSTANT_FLUXES, CORRECTIONS, KNOWN_FLUXES, SCALE_PULLS
from contimg_assets.schemas.parts import parts_of
from contimg_assets.schemas.tables import stand_among

MEASURED_FROM = "measured_from"
_MEASURED = (CORRECTIONS.name, CONSTANT_FLUXES.name)
_PARTS = parts_of(KNOWN_FLUXES)
ALL_CORRECTED, PLAUSIBLE = "all_images_corrected", "offsets_and_scales_plausible"


@dataclass(frozen=True)
class Measured:
    """What is measured of an epoch, whichever sources vary.

    Attributes
    ----------
    fits : give CORRECTIONS of its images
    constant_fluxes : of its sources, which tie epochs to each other
    """

    fits: ImageFits
    constant_fluxes: pd.DataFrame


@dataclass(frozen=True)
class Epoch:
    """What the corrections of one epoch are measured from; sources of associations and variables with their bands."""

    measurements: pd.DataFrame
    associations: pd.DataFrame
    images: pd.DataFrame
    matches: pd.DataFrame
    known_variables: npt.NDArray[Any]

    def without(self, variables: npt.NDArray[Any]) -> "Epoch":
        """The same, and which of these sources it has, that vary."""
        return replace(
            self, known_variables=variables[stand_among(pd.Index(variables), self.associations["source_id"])]
        )

    def known(self, state: SkyParts) -> OfSources:
        """What is known of the sources that it may show."""
        return OfSources.about(state, self.measurements["healpix"].to_numpy(np.int64))

    @property
    def seen_in(self) -> pd.Series:
        """The cell of the sky in which it saw each source."""
        return seen_in(self.associations, self.measurements)

    def measured(self, parameters: Corrections) -> Measured:
        """What is measured of it against the catalogs, whichever sources vary."""
        if parameters.apply_flux == "relative" and parameters.flux_offset == "auto":
            # Significant in one image and not in the next, it would take images of a field apart.
            parameters = parameters.model_copy(update={"flux_offset": "never"})
        fits = ImageFits.of(self.measurements, self.matches, self.images, parameters)
        return Measured(fits, constant_sources(self.measurements, self.associations, self.images, parameters))

    def ties(self, parameters: Corrections) -> pd.DataFrame:
        """Its fluxes that tie it to earlier epochs."""
        return tie_fluxes(self.measurements, self.associations, self.images, parameters)

    def in_scale_of_fields(
        self, corrections: pd.DataFrame, ties: pd.DataFrame, known: pd.DataFrame, parameters: Corrections
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """CORRECTIONS whose fluxes are on the scale that earlier epochs have given each place, and SCALE_PULLS."""
        fluxes = without_additive(ties, corrections, parameters)
        scales, pulls = field_scales_and_pulls(fluxes, known, corrections, parameters, self.known_variables)
        return with_field_scales(corrections, scales, parameters), pulls

    def fluxes(self, corrections: pd.DataFrame, parameters: Corrections) -> pd.DataFrame:
        """Its fluxes with the corrections applied."""
        apply_flux = parameters.apply_flux
        return calibrated_fluxes(self.measurements, self.associations, self.images, corrections, apply_flux)

    def figures(self, corrections: pd.DataFrame, parameters: Corrections) -> dict[str, bytes]:
        """All offsets and scales, and what those of the images most worth a look were measured from.

        Nothing where nothing was measured.
        """
        if corrections[["dra_err_arcsec", "flux_scale_err"]].isna().all(axis=None):
            return {}
        selected = selection_of(
            self.measurements, self.matches, self.images, parameters, source_of(self.known_variables)
        )
        chosen = worth_a_look(selected, corrections)
        images = {f"image {image}": svg for image, svg in plot_corrections(selected, chosen)}
        return {"offsets and scales": plot_offsets_and_scales(corrections)} | images


@dataclass(frozen=True)
class Prepared:
    """What the corrections of an epoch need besides the fluxes that are known from the epochs before.

    Attributes
    ----------
    read : with the variables that are left out
    ties : see `Epoch.ties`; None where no flux is scaled by earlier epochs
    measured : see `Epoch.measured`; None if it was not measured yet
    """

    read: Epoch
    ties: pd.DataFrame | None
    measured: Measured | None = None


@dataclass(frozen=True)
class Calibration:
    """The fold of the known fluxes over stored epochs: a `chain.Step`."""

    store: EpochStore
    raw_detections: StoredEpochs
    measurements: StoredEpochs
    associated_sources: StoredEpochs
    catalog_matches: StoredEpochs
    config: Config

    def nothing(self) -> SkyParts:
        return SkyParts(self.store.part_files(STAGE.name, KNOWN_FLUXES))

    def version(self, state: SkyParts) -> str:
        return state.version if len(state) else NOTHING_BEFORE[STAGE.name]

    def stored_state(self, taking_part: Sequence[EpochRecord]) -> SkyParts:
        """Statistics of all sources' fluxes up to the last of some epochs."""
        return known_fluxes(self.store, taking_part[-1])

    def hint(self, state: SkyParts) -> SkyParts:
        """The sources that are known to vary: what is measured against the catalogs leaves them out."""
        return state

    def prepare(self, epoch: str, hint: SkyParts | None) -> Prepared:
        """What is read of an epoch, and where variables may be known, what is measured without them."""
        read, parameters = self._read(epoch), self.config.corrections
        ties = read.ties(parameters) if parameters.apply_flux == "relative" else None
        if hint is None:
            return Prepared(read, ties)
        read, measured = read.without(known_variables(read.known(hint).rows, parameters)), read.measured(parameters)
        # Made now, when others may wait: of images that show other variables by the time it is asked for, again.
        measured.fits.corrections(source_of(read.known_variables))
        return Prepared(read, ties, measured)

    def make(self, epoch: str, onto: Onto[SkyParts]) -> tuple[Content, SkyParts]:
        """Corrections of one epoch's images, and the known fluxes after it."""
        prepared, parameters = onto.prepared or self.prepare(epoch, None), self.config.corrections
        here = prepared.read.known(onto.state)
        known = here.rows
        read = prepared.read.without(known_variables(known, parameters))
        made_from = self._made_from(read, onto.inputs)
        if onto.stored is not None and onto.stored.facts.get(MEASURED_FROM) == made_from:
            # Only what sources did before has changed, which measures nothing against the catalogs anew.
            table, constant = (frame_of(self.store.read_recorded(onto.stored, name)) for name in _MEASURED)
        else:
            measured = prepared.measured or read.measured(parameters)
            table = measured.fits.corrections(source_of(read.known_variables))
            constant = measured.constant_fluxes
        pulls = SCALE_PULLS.empty()
        if prepared.ties is not None:
            table, pulls = read.in_scale_of_fields(table, prepared.ties, known, parameters)
        after = here.after(add_fluxes(known, read.fluxes(table, parameters)), read.seen_in)
        tables = {CORRECTIONS.name: table, CONSTANT_FLUXES.name: constant, SCALE_PULLS.name: pulls}
        return self._content(read, {**tables, _PARTS.name: after.index}, made_from), after

    def _read(self, epoch: str) -> Epoch:
        measurements, images = self.measurements.read(epoch, "measurements"), self.raw_detections.read(epoch, "images")
        associations = self.associated_sources.read(epoch, "associations")
        associations = by_band(associations, measurements, images, self.config.bands)
        matches = self.catalog_matches.read(epoch, "catalog_matches")
        return Epoch(measurements, associations, images, matches, np.empty(0, object))

    def _made_from(self, read: Epoch, inputs: Mapping[str, str]) -> str:
        """Version of what the images' offsets and scales depend on: of earlier epochs, the variables seen here."""
        own = {name: version for name, version in inputs.items() if name != STATE_BEFORE}
        return combine_versions(STAGE.code_version(self.config), version_of_value(own), *read.known_variables)

    def _content(self, read: Epoch, tables: dict[str, Any], made_from: str) -> Content:
        parameters, table = self.config.corrections, tables[CORRECTIONS.name]
        refused = table.loc[~table["applied"]]
        reasons = [f"{image}: {reason}" for image, reason in zip(refused["image"], refused["reason"], strict=True)]
        return Content(
            tables=tables,
            facts={
                "n_images": len(table),
                "n_uncorrected": len(refused),
                "n_known_variables": len(read.known_variables),
                **medians(table, "dra_arcsec", "ddec_arcsec", "dra_err_arcsec", "ddec_err_arcsec"),
                **medians(table, "flux_scale", "flux_scale_err", "n_position", "n_flux"),
                MEASURED_FROM: made_from,
            },
            metadata=_counts(table),
            figures=lambda: read.figures(table, parameters),
            checks=[
                Check.of(ALL_CORRECTED, reasons),
                Check.of(PLAUSIBLE, implausible_corrections(table, parameters)),
            ],
        )


def _counts(corrections: pd.DataFrame) -> dict[str, Any]:
    """Matches left after each filter; nothing where there is no catalog."""
    rows = filter_counts(corrections).reset_index().astype(object).to_dict("records")
    return {"matches left after each filter": rows} if rows else {}


def build(config: Config) -> list[dg.AssetsDefinition]:
    """The asset, for a configuration."""

    @epoch_asset(
        STAGE,
        config,
        automation_condition=on_upstream_change(),
        check_specs=[
            quality_check(
                STAGE,
                ALL_CORRECTED,
                "Every image's offset and flux scale could be measured and trusted. An image that fails is kept as it "
                "is, marked as uncorrected; nothing is held back.",
            ),
            quality_check(
                STAGE,
                PLAUSIBLE,
                "No image's measured offset or flux scale is larger than `corrections.max_offset_arcsec` and "
                "`corrections.max_scale_change`. Such an image is kept as it is, marked; nothing is held back.",
            ),
        ],
        pool="fold",
        description="One row per image: offset to add to positions [arcsec], factor to multiply fluxes by, their "
        "standard errors, and the reason where an image is left as it is. The flux scale is that of the sources' mean "
        "fluxes in earlier epochs, so a late or changed epoch may change later ones.",
    )
    def corrections(
        context: dg.AssetExecutionContext,
        raw_detections: StoredEpochs,
        measurements: StoredEpochs,
        associated_sources: StoredEpochs,
        catalog_matches: StoredEpochs,
        store: dg.ResourceParam[EpochParquetIOManager],
    ) -> Iterator[Any]:
        work = work_of(context, STAGE, config, store.epochs)
        upstream = (raw_detections, measurements, associated_sources, catalog_matches)
        yield from publish(context, work, chain.fold(work, Calibration(store.epochs, *upstream, config)))

    return [corrections]
