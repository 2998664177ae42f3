"""`associated_sources`: which source each measurement belongs to, folded epoch by epoch in time order.

The fold's state after an epoch depends on all epochs before it. When an epoch is made, the same run folds every later
epoch again whose state before it has changed where it looks, takes those over that look elsewhere, and stops where a
state comes out as it was stored.

The state is kept by cell of the sky: an epoch reads and writes the cells that it sees, and shares the others with the
epoch before.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import dagster as dg
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from contimg_assets.association.fold import FoldResult, margin_arcsec
from contimg_assets.association.history import copy_fork_history
from contimg_assets.association.near_changes import Epoch, FoldedAgain, differing, fold_near_changes
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
from contimg_assets.pipeline.folded_again import NotAsStored, StoredFold, sources_of
from contimg_assets.pipeline.inputs import COPIED_FROM
from contimg_assets.pipeline.merges import merges_fact, merges_table
from contimg_assets.pipeline.outcomes import Check, Content
from contimg_assets.pipeline.quality import association_rate, short_reach, too_few_associations
from contimg_assets.pipeline.records import EpochRecord
from contimg_assets.pipeline.sky_parts import PartFiles, SkyParts, cells_about, cells_of
from contimg_assets.pipeline.stages import ASSOCIATED_SOURCES as STAGE
from contimg_assets.pipeline.stages import NOTHING_BEFORE
from contimg_assets.pipeline.store import EpochStore, StoredEpochs
from contimg_assets.pipeline.tiles import tiling_of, told_of_tiles
from contimg_assets.schemas.association import ALIGNMENT, STATE
from contimg_assets.schemas.core import frame_of
from contimg_assets.schemas.parts import parts_of
from contimg_assets.sky.arrays import Cells, Floats

# The list of the parts of the sources after an epoch.
_PARTS = parts_of(STATE)
_STATES_HELD = 2
NOTHING_DIFFERS = "nothing differs in the part of the sky that the epoch sees"
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
_CIRCLE = ["ra_deg", "dec_deg", "radius_deg"]


# What is read of an epoch: its measurements, those among them that repeat others, its images.
_Prepared = tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]


class _Folded(NamedTuple):
    """How an epoch was folded before: its record, and the sources that it was folded onto and those after it."""

    record: EpochRecord
    onto: SkyParts
    after: SkyParts


@dataclass(frozen=True)
class Association:
    """The fold of the sources over stored epochs: a `chain.Step`."""

    store: EpochStore
    raw_detections: StoredEpochs
    measurements: StoredEpochs
    config: Config
    # The last ones that were read: what an epoch was folded onto is what was stored after the one before.
    _read: dict[str, SkyParts] = field(default_factory=dict, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        # Another process reads what it needs.
        return {**self.__dict__, "_read": {}}

    def nothing(self) -> SkyParts:
        return SkyParts(self._files)

    @property
    def _files(self) -> PartFiles:
        return self.store.part_files(STAGE.name, STATE)

    def version(self, state: SkyParts) -> str:
        return state.version if len(state) else NOTHING_BEFORE[STAGE.name]

    def stored_state(self, taking_part: Sequence[EpochRecord]) -> SkyParts:
        """The sources after the last of some epochs."""
        record = taking_part[-1]
        version = record.tables[_PARTS.name].version
        found = self._read.get(version)
        if found is None:
            found = SkyParts(self._files, self.store.read_recorded(record, _PARTS.name))
            while len(self._read) >= _STATES_HELD:
                del self._read[next(iter(self._read))]
            self._read[version] = found
        return found

    def hint(self, state: SkyParts) -> None:
        """Nothing: what is read needs no state."""

    def prepare(self, epoch: str, hint: None = None) -> _Prepared:
        """What is read of an epoch: its measurements, those among them that repeat others, its images."""
        table = self.measurements.read(epoch, "measurements", [*_READ, "duplicate_of"])
        kept = table.loc[table["duplicate_of"].isna(), _READ].assign(epoch=epoch)
        repeats = table.loc[table["duplicate_of"].notna(), list(REPEATS)]
        return kept, repeats, self.raw_detections.read(epoch, "images")

    def make(self, epoch: str, onto: Onto[SkyParts]) -> tuple[Content, SkyParts]:
        """Associations of one epoch, and the sources after it."""
        folded = self._folded_before(onto)
        # Before all is read: most of those that nobody asked for see another part of the sky.
        if folded is not None and not onto.state.differing(folded.onto, cells := self._cells_of_images(epoch)):
            after = onto.state.taken_from(folded.after, cells)
            return _as_stored(folded.record, after), after
        prepared = kept, repeats, images = onto.prepared or self.prepare(epoch)
        cells = self._cells(kept, images)
        again = None if folded is None else self._folded_near_changes(onto, folded, prepared, cells)
        if again is not None:
            return again
        before = sources_of(onto.state, cells)
        tiling = tiling_of(self.config.compute, onto.executor)
        result = fold_bands(before, kept, images, self.config.association, self.config.bands, repeats, tiling)
        now = result.state
        stored = None if folded is None else folded.after
        after = onto.state.replaced(cells, now.to_table(), cells_of(now.ra_deg, now.dec_deg), stored)
        return self._whole(result, before, after, onto.earlier), after

    def _folded_near_changes(
        self, onto: Onto[SkyParts], folded: _Folded, prepared: _Prepared, cells: Cells
    ) -> tuple[Content, SkyParts] | None:
        """The epoch as it is stored, with other rows where sources changed; None if it must be folded as a whole."""
        try:
            again = self._near_changes(onto, folded, prepared, cells)
            if again is None:
                return None
            stored = StoredFold(self.store, folded.record, again)
            associations = stored.associations()
            diagnostics = stored.diagnostics(associations)
            after = stored.after(folded.after, onto.state, cells)
            merges = stored.merges(self._merges(again.now, again.known, onto.earlier))
            tables = {
                "associations": associations,
                "relations": stored.relations(),
                "merges": merges,
                "alignment": stored.alignment(),
            }
        except (NotAsStored, StoreError, FileNotFoundError):
            # What is damaged tells nothing, as where it is looked for how the epoch was folded.
            return None
        told = {"measurements_decided_again": len(again.rows)}
        return self._content(tables, diagnostics, after, merges_fact(merges), told), after

    def _near_changes(
        self, onto: Onto[SkyParts], folded: _Folded, prepared: _Prepared, cells: Cells
    ) -> FoldedAgain | None:
        """What of an epoch is decided again because sources changed; see `fold_near_changes`."""
        kept, repeats, images = prepared
        changed = onto.state.differing(folded.onto, cells)
        margin = margin_arcsec(images, self.config.association)

        def near(ra_deg: Floats, dec_deg: Floats) -> tuple[FoldState, FoldState]:
            about = np.union1d(cells_about(ra_deg, dec_deg, np.zeros(len(ra_deg)), margin), changed)
            are = sources_of(onto.state, about)
            folded.onto.hold(onto.state)
            return sources_of(folded.onto, about), are

        shifts = frame_of(self.store.read_recorded(folded.record, ALIGNMENT.name))
        shift_arcsec = float(np.nan_to_num(np.hypot(shifts["dra_arcsec"], shifts["ddec_arcsec"]).max()))
        what = Epoch(kept, images, repeats, self.config.association, self.config.bands, shift_arcsec)
        return fold_near_changes(what, differing(*near(np.empty(0), np.empty(0))), near)

    def _cells_of_images(self, epoch: str) -> Cells:
        """Parts of the state that hold all that an epoch looks at, and more: no detection lies beyond its field."""
        images = self.raw_detections.read(epoch, "images", [*_CIRCLE, "bmaj_arcsec"])
        ra, dec, radius = (images[name].to_numpy(dtype=float) for name in _CIRCLE)
        reach = max(self.config.ingest.field_margin, 1.0)
        return cells_about(ra, dec, reach * radius, margin_arcsec(images, self.config.association))

    def _folded_before(self, onto: Onto[SkyParts]) -> _Folded | None:
        """How an epoch was folded last, if from the same but for the state."""
        if onto.former is None or onto.stored is None:
            return None
        try:
            return _Folded(onto.stored, onto.former(), self.stored_state([onto.stored]))
        except (StoreError, FileNotFoundError):
            # A list that is damaged tells nothing: the epoch is made as if it had never been.
            return None

    def _cells(self, kept: pd.DataFrame, images: pd.DataFrame) -> Cells:
        """Parts of the state in which any source may play a part."""
        points = kept[["ra_deg", "dec_deg"]].assign(radius_deg=0.0)
        places = pd.concat([points, images[_CIRCLE]])
        ra, dec, radius = (places[name].to_numpy(dtype=float) for name in _CIRCLE)
        return cells_about(ra, dec, radius, margin_arcsec(images, self.config.association))

    def _whole(self, result: FoldResult, before: FoldState, after: SkyParts, earlier: Sequence[EpochRecord]) -> Content:
        copied = self._copied_history(result, earlier)
        merges = self._merges(result, before, earlier)
        tables: dict[str, pd.DataFrame | pa.Table] = {
            "associations": pd.concat([result.associations, copied], ignore_index=True),
            "relations": result.relations,
            "merges": merges,
            "alignment": result.alignment,
        }
        copied_from = {COPIED_FROM: sorted(copied["epoch"].unique())} if len(copied) else {}
        facts = {**merges_fact(merges), **copied_from}
        return self._content(tables, result.diagnostics, after, facts, told_of_tiles(result.tile_work))

    def _content(
        self,
        tables: Mapping[str, pd.DataFrame | pa.Table],
        diagnostics: Mapping[str, Any],
        after: SkyParts,
        facts: Mapping[str, Any],
        metadata: Mapping[str, Any],
    ) -> Content:
        rate = association_rate(diagnostics)
        told_rate = {} if rate is None else {"association_rate": rate}
        numbers = {name: value for name, value in diagnostics.items() if isinstance(value, int | float)}
        return Content(
            tables={**tables, _PARTS.name: after.index},
            facts={**numbers, **told_rate, "n_sources": len(after), **facts},
            metadata={**{name: value for name, value in diagnostics.items() if isinstance(value, list)}, **metadata},
            checks=[
                Check.of(
                    SEEN_AGAIN,
                    [*too_few_associations(diagnostics, self.config.checks), *short_reach(diagnostics)],
                )
            ],
        )

    def _merges(self, result: FoldResult, before: FoldState, earlier: Sequence[EpochRecord]) -> pd.DataFrame:
        """Which earlier epochs name the sources that this one merged."""
        merged = before.part(np.flatnonzero(np.isin(before.source, result.rows.merged))).sources()
        counts = dict(zip(merged["source_id"], merged["n_measurements"], strict=True))
        return merges_table(self.store, earlier, result.merges, counts)

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


def _as_stored(stored: EpochRecord, after: SkyParts) -> Content:
    """An epoch whose parts of the sky are as they were when it was folded: only elsewhere is the state another."""
    failed = stored.failed_checks
    return Content(
        tables={**stored.tables, _PARTS.name: after.index},
        facts={**stored.facts, "n_sources": len(after)},
        metadata={"taken_over": NOTHING_DIFFERS},
        checks=[Check(SEEN_AGAIN, SEEN_AGAIN not in failed, failed.get(SEEN_AGAIN, ""))],
    )


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
