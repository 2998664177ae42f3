"""`error_model`: what errors fluxes and positions really have, as repeated sources show it, and which images are alike.

A fold over the epochs in time order: the model after an epoch is that after the epoch before unless the evidence up to
it speaks against that. The statistics of all light curves are made with the model after the last epoch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import dagster as dg
import numpy as np
import numpy.typing as npt
import pandas as pd

from contimg_assets.calibration import apply_corrections
from contimg_assets.config import Config
from contimg_assets.figures.summaries import plot_error_model
from contimg_assets.identity.versions import combine_versions
from contimg_assets.ingest.bands import by_band
from contimg_assets.orchestration.conditions import on_upstream_change
from contimg_assets.orchestration.epoch_assets import epoch_asset, publish, quality_check, work_of
from contimg_assets.orchestration.io_manager import EpochParquetIOManager
from contimg_assets.pipeline import chain
from contimg_assets.pipeline.chain import Onto
from contimg_assets.pipeline.outcomes import Check, Content
from contimg_assets.pipeline.records import EpochRecord
from contimg_assets.pipeline.sky_parts import OfSources, PartFiles, SkyParts, seen_in
from contimg_assets.pipeline.stages import ERROR_MODEL_STAGE as STAGE
from contimg_assets.pipeline.store import EpochStore, StoredEpochs
from contimg_assets.schemas.core import frame_of
from contimg_assets.schemas.error_model import ERROR_MEANS, ERROR_MODEL, IMAGE_CONFIGURATIONS
from contimg_assets.schemas.parts import parts_of
from contimg_assets.variability.error_model import AXES, UNIT_ARCSEC
from contimg_assets.variability.error_state import (
    BAND_TABLES,
    STATE_TABLES,
    AfterEpoch,
    ErrorState,
    add_epoch,
    bands_of,
    constant_fluxes_of,
)

FITS = "errors_fit"
# The tables that are small whatever the sky, and the list of the parts of the one that is not.
_COMMON, _PARTS = STATE_TABLES[:-1], parts_of(ERROR_MEANS)


@dataclass(frozen=True)
class Carried:
    """What is carried from epoch to epoch: the means of the sources by cell of the sky, and all else.

    Attributes
    ----------
    common : without any means
    means : of ERROR_MEANS
    """

    common: ErrorState
    means: SkyParts

    @property
    def version(self) -> str:
        common = self.common.version
        return combine_versions(common, self.means.version) if len(self.means) else common


class Read(NamedTuple):
    """Fluxes of an epoch that show what errors are, its images, and the cell in which it saw each source."""

    fluxes: pd.DataFrame
    images: pd.DataFrame
    healpix: npt.NDArray[np.int64]
    seen_in: pd.Series


@dataclass(frozen=True)
class Errors:
    """The fold of the error model over stored epochs: a `chain.Step`."""

    store: EpochStore
    raw_detections: StoredEpochs
    measurements: StoredEpochs
    associated_sources: StoredEpochs
    corrections: StoredEpochs
    config: Config

    def nothing(self) -> Carried:
        return Carried(ErrorState.empty(), SkyParts(self._files))

    @property
    def _files(self) -> PartFiles:
        return self.store.part_files(STAGE.name, ERROR_MEANS)

    def version(self, state: Carried) -> str:
        return state.version

    def stored_state(self, taking_part: Sequence[EpochRecord]) -> Carried:
        """The state after the last of some epochs."""
        last = taking_part[-1]
        read = (*_COMMON, *BAND_TABLES)
        common = {schema.name: frame_of(self.store.read_recorded(last, schema.name)) for schema in read}
        means = SkyParts(self._files, self.store.read_recorded(last, _PARTS.name))
        return Carried(ErrorState.of_tables({**common, ERROR_MEANS.name: ERROR_MEANS.empty()}), means)

    def hint(self, state: Carried) -> None:
        """Nothing: what is read needs no state."""

    def prepare(self, epoch: str, hint: None = None) -> Read:
        """What is read of an epoch."""
        images = self.raw_detections.read(epoch, "images")
        corrections, pulls = (self.corrections.read(epoch, name) for name in ("corrections", "scale_pulls"))
        measurements = self.measurements.read(epoch, "measurements")
        corrected = apply_corrections(measurements, corrections, pulls)
        associations = self.associated_sources.read(epoch, "associations")
        associations = by_band(associations, corrected, images, self.config.bands)
        fluxes = constant_fluxes_of(corrected, associations, images)
        return Read(fluxes, images, measurements["healpix"].to_numpy(np.int64), seen_in(associations, measurements))

    def make(self, epoch: str, onto: Onto[Carried]) -> tuple[Content, Carried]:
        """The model after one epoch, and the configurations of its images."""
        read = onto.prepared or self.prepare(epoch)
        here = OfSources.about(onto.state.means, read.healpix)
        known = here.rows["source_id"] if len(here.rows) else _some_sources(onto.state)
        state = onto.state.common.with_means(here.rows)
        errors = self.config.measurements
        assumed = errors.systematic_ew_arcsec, errors.systematic_ns_arcsec
        result = add_epoch(state, read.fluxes, read.images, assumed, bands_of(known))
        means = here.after(result.state.means, read.seen_in)
        after = Carried(result.state.with_means(ERROR_MEANS.empty()), means)
        return self._content(result, after, onto.state.common.pointings.n), after

    def _content(self, result: AfterEpoch, after: Carried, n_before: int) -> Content:
        state = result.state
        together = {kind: carried.evidence for kind, carried in state.kinds.items()}
        outside = [
            f"{band} {kind}".strip() + f": {sentence}"
            for band, evidence in (state.bands or {"": together}).items()
            for kind, one in evidence.items()
            for sentence in one.misfits(state.of_band(band).terms[kind])
        ]
        return Content(
            tables={
                **{schema.name: after.common.tables[schema.name] for schema in _COMMON},
                **after.common.band_tables,
                IMAGE_CONFIGURATIONS.name: result.configurations,
                _PARTS.name: after.means.index,
            },
            facts={
                "n_differences": sum(carried.evidence.n for carried in state.kinds.values()),
                "n_configurations": state.pointings.n,
                "n_new_configurations": state.pointings.n - n_before,
                "model_replaced": result.moved,
                **_systematics(state),
            },
            figures=lambda: {
                f"errors {band}".strip(): plot_error_model(rows) for band, rows in state.all_published.groupby("band")
            },
            checks=[Check.of(FITS, outside)],
        )


def _systematics(state: ErrorState) -> dict[str, float]:
    """Systematic errors of positions at the typical distance from the image center, as published [arcsec]."""
    return {
        f"systematic_{axis}_arcsec": round(float(UNIT_ARCSEC * np.sqrt(terms.typical_square)), 4)
        for axis, terms in state.model.terms.items()
        if axis in AXES
    }


def _some_sources(state: Carried) -> pd.Series:
    """Sources of one part of the sky: of a survey of one band, all have it in their names."""
    rows, _ = state.means.of(state.means.cells[:1])
    return pd.Series(rows.column("source_id").to_pylist(), dtype=object)


def build(config: Config) -> list[dg.AssetsDefinition]:
    """The asset, for a configuration."""

    @epoch_asset(
        STAGE,
        config,
        automation_condition=on_upstream_change(),
        check_specs=[
            quality_check(
                STAGE,
                FITS,
                "With the published errors the median squared difference of repeated fluxes, which is that of eta, is "
                "0.8 to 1.25 times what constant sources have, at every signal to noise and distance from the image "
                "center with enough of them; and 93 to 97 % of the positions of bright sources are within 1.96 of "
                "their errors. Nothing is held back.",
            )
        ],
        pool="fold",
        description=f"{ERROR_MODEL.description}. Measured from repeated sources of all epochs up to this one, "
        "replaced when the evidence speaks against it. A late or changed epoch folds the later ones again.",
    )
    def error_model(
        context: dg.AssetExecutionContext,
        raw_detections: StoredEpochs,
        measurements: StoredEpochs,
        associated_sources: StoredEpochs,
        corrections: StoredEpochs,
        store: dg.ResourceParam[EpochParquetIOManager],
    ) -> Iterator[Any]:
        work = work_of(context, STAGE, config, store.epochs)
        step = Errors(store.epochs, raw_detections, measurements, associated_sources, corrections, config)
        yield from publish(context, work, chain.fold(work, step))

    return [error_model]
