"""`associated_sources`: which source each measurement belongs to, folded epoch by epoch in time order.

The fold's state after an epoch depends on all epochs before it. When an epoch is made, the same run folds every later
epoch again whose state before it has changed, and stops where a state comes out as it was stored.

Where an epoch sees a small part of the sky, its state is kept as the rows that it changed, up to the next full one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from contimg_assets.association.fold import FoldResult
from contimg_assets.association.history import copy_fork_history
from contimg_assets.association.overlaps import REPEATS
from contimg_assets.association.several_bands import fold_bands
from contimg_assets.association.state import FoldState
from contimg_assets.config import Config
from contimg_assets.errors import StoreError
from contimg_assets.orchestration.conditions import on_upstream_change
from contimg_assets.orchestration.epoch_assets import epoch_asset, publish, quality_check, work_of
from contimg_assets.orchestration.io_manager import EpochParquetIOManager
from contimg_assets.pipeline import chain
from contimg_assets.pipeline.chain import Onto
from contimg_assets.pipeline.inputs import COPIED_FROM, state_version
from contimg_assets.pipeline.merges import merges_fact, merges_table
from contimg_assets.pipeline.outcomes import Check, Content
from contimg_assets.pipeline.quality import association_rate, short_reach, too_few_associations
from contimg_assets.pipeline.stages import ASSOCIATED_SOURCES as STAGE
from contimg_assets.pipeline.store import EpochRecord, EpochStore, StoredEpochs
from contimg_assets.schemas.association import STATE

# Fact of a record: of how many epochs in a row, up to this one, the state is kept as changes.
CHANGES_KEPT = "state_kept_as_changes"
_MAX_CHANGES_KEPT = 15
# A table of changes that is larger than this share of the state is no gain.
_MAX_CHANGED_FRACTION = 0.5
SEEN_AGAIN = "known_sources_seen_again"
_READ = [
    "measurement_id",
    "image",
    "ra_deg",
    "dec_deg",
    "uncertainty_ew_arcsec",
    "uncertainty_ns_arcsec",
    "snr",
    "flux_peak_mjy_beam",
]


@dataclass(frozen=True)
class Association:
    """The fold of the sources over stored epochs: a `chain.Step`."""

    store: EpochStore
    raw_detections: StoredEpochs
    measurements: StoredEpochs
    config: Config

    def nothing(self) -> FoldState:
        return FoldState.empty()

    def version(self, state: FoldState) -> str:
        return state.version

    def stored_state(self, taking_part: Sequence[EpochRecord]) -> FoldState:
        """The state after the last of some epochs: a full one, and what the epochs since then changed.

        Raises
        ------
        StoreError
            If what is stored is not the state that the record tells of.
        """
        last = taking_part[-1]
        # Counted back, not by the number that the last one tells: an epoch that came late or went since then, and that
        # changed no state, made no later one change.
        first = len(taking_part) - 1
        while first > 0 and taking_part[first].facts.get(CHANGES_KEPT, 0):
            first -= 1
        records = taking_part[first:]
        full, *changes = (self.store.read_recorded(record, STATE.name) for record in records)
        state = FoldState.from_table(full)
        for changed in changes:
            state = state.with_changes(changed)
        if state.version != state_version(STAGE, last):
            raise StoreError(
                f"the stored state of the sources after epoch {last.epoch!r} is damaged; "
                f"`contimg run --force --epochs {','.join(record.epoch for record in records)}` makes it again"
            )
        return state

    def hint(self, state: FoldState) -> None:
        """Nothing: what is read needs no state."""

    def prepare(self, epoch: str, hint: None = None) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
        """What is read of an epoch: its measurements, those among them that repeat others, its images."""
        table = self.measurements.read(epoch, "measurements", [*_READ, "duplicate_of"])
        kept = table.loc[table["duplicate_of"].isna(), _READ].assign(epoch=epoch)
        repeats = table.loc[table["duplicate_of"].notna(), list(REPEATS)]
        return kept, repeats, self.raw_detections.read(epoch, "images")

    def make(self, epoch: str, onto: Onto[FoldState]) -> tuple[Content, FoldState]:
        """Associations of one epoch, and the sources after it."""
        kept, repeats, images = onto.prepared or self.prepare(epoch)
        result = fold_bands(onto.state, kept, images, self.config.association, self.config.bands, repeats)
        return self._content(result, onto), result.state

    def _content(self, result: FoldResult, onto: Onto[FoldState]) -> Content:
        state, n_changes = _to_keep(result.state, onto)
        copied = self._copied_history(result, onto.earlier)
        merges = self._merges(result, onto)
        rate = association_rate(result.diagnostics)
        numbers = {name: value for name, value in result.diagnostics.items() if isinstance(value, int | float)}
        return Content(
            tables={
                "associations": pd.concat([result.associations, copied], ignore_index=True),
                "relations": result.relations,
                "merges": merges,
                "alignment": result.alignment,
                STATE.name: state,
            },
            facts=numbers
            | ({} if rate is None else {"association_rate": rate})
            | {CHANGES_KEPT: n_changes}
            | merges_fact(merges)
            | ({COPIED_FROM: sorted(copied["epoch"].unique())} if len(copied) else {}),
            metadata={name: value for name, value in result.diagnostics.items() if isinstance(value, list)},
            checks=[
                Check.of(
                    SEEN_AGAIN,
                    [*too_few_associations(result.diagnostics, self.config.checks), *short_reach(result.diagnostics)],
                )
            ],
        )

    def _merges(self, result: FoldResult, onto: Onto[FoldState]) -> pd.DataFrame:
        """Which earlier epochs name the sources that this one merged."""
        before = onto.state.part(np.flatnonzero(np.isin(onto.state.source, result.rows.merged))).sources()
        counts = dict(zip(before["source_id"], before["n_measurements"], strict=True))
        return merges_table(self.store, onto.earlier, result.merges, counts)

    def _copied_history(self, result: FoldResult, earlier: Sequence[EpochRecord]) -> pd.DataFrame:
        """Earlier rows of the parents of forks, for methods whose forks copy history."""
        forks = result.forks[result.forks["copies_history"]]
        # In the first epoch a source may fork in one band from one that another band has just shown.
        if forks.empty or not earlier:
            return result.associations.iloc[:0]
        parents = pa.array(forks["parent_source_id"].unique())
        history = pa.concat_tables(
            table.filter(pc.is_in(table["source_id"], parents))
            for table in (self.store.read_recorded(record, "associations") for record in earlier)
        )
        return copy_fork_history(history.to_pandas(), forks)


def _to_keep(state: FoldState, onto: Onto[FoldState]) -> tuple[pa.Table, int]:
    """The state after an epoch, in full or as what the epoch changed, and of how many epochs changes are kept."""
    if onto.earlier:
        n_kept = onto.earlier[-1].facts.get(CHANGES_KEPT, 0) + 1
        changes = state.changes_since(onto.state)
        if n_kept <= _MAX_CHANGES_KEPT and changes.num_rows <= _MAX_CHANGED_FRACTION * len(state):
            return changes, n_kept
    return state.to_table(), 0


def build(config: Config) -> list[dg.AssetsDefinition]:
    """The asset, for a configuration."""

    @epoch_asset(
        STAGE,
        config,
        automation_condition=on_upstream_change(),
        check_specs=[
            quality_check(
                STAGE,
                SEEN_AGAIN,
                "At least `checks.min_association_rate` of the known sources inside the images are seen again, "
                "and no more are called new than a long enough reach gives. Nothing is held back: the fold must go on.",
            )
        ],
        pool="fold",
        description="Source of each measurement, with separation [arcsec] and de Ruiter radius; relations between "
        "sources; the shift of each image that was taken out for matching. A late or changed epoch folds the later "
        "ones again.",
    )
    def associated_sources(
        context: dg.AssetExecutionContext,
        raw_detections: StoredEpochs,
        measurements: StoredEpochs,
        store: dg.ResourceParam[EpochParquetIOManager],
    ) -> Iterator[Any]:
        work = work_of(context, STAGE, config, store.epochs)
        step = Association(store.epochs, raw_detections, measurements, config)
        yield from publish(context, work, chain.fold(work, step))

    return [associated_sources]
