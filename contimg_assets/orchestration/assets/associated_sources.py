"""`associated_sources`: which source each measurement belongs to, folded epoch by epoch in time order.

The fold's state after an epoch depends on all epochs before it. When an epoch is made, the same run folds every later
epoch again whose state before it has changed, and stops where a state comes out as it was stored.

Where an epoch sees a small part of the sky, its state is kept as the rows that it changed, up to the next full one.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from contimg_assets.association.fold import FoldResult
from contimg_assets.association.history import copy_fork_history
from contimg_assets.association.refold import Link, Refolded, refold
from contimg_assets.association.state import FoldState
from contimg_assets.config import Config
from contimg_assets.errors import StoreError
from contimg_assets.identity.versions import combine_versions
from contimg_assets.orchestration.conditions import on_upstream_change
from contimg_assets.orchestration.epoch_assets import (
    FORCE_TAG,
    REFOLDED,
    Check,
    Failed,
    Made,
    Outcome,
    epoch_asset,
    failed,
    failed_checks,
    publish,
)
from contimg_assets.orchestration.io_manager import EpochParquetIOManager
from contimg_assets.pipeline import progress
from contimg_assets.pipeline.quality import association_rate, too_few_associations
from contimg_assets.pipeline.stages import ASSOCIATED_SOURCES
from contimg_assets.pipeline.staleness import (
    STATE_AFTER,
    STATE_BEFORE,
    epochs_in_time_order,
    in_time_order,
    state_version,
    upstream_versions,
)
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


def build_associated_sources(config: Config) -> dg.AssetsDefinition:
    """The asset, for a configuration."""

    @epoch_asset(
        ASSOCIATED_SOURCES,
        config,
        automation_condition=on_upstream_change(),
        check_specs=[
            dg.AssetCheckSpec(
                SEEN_AGAIN,
                asset=ASSOCIATED_SOURCES.name,
                description="At least `checks.min_association_rate` of the known sources inside the images are seen "
                "again. Nothing is held back: the fold must go on.",
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
        chain = _Chain(context, config, store.epochs, raw_detections, measurements)
        yield from publish(context, config, store.epochs, chain.outcomes())

    return associated_sources


class _Chain:
    """The epochs in time order, each with the record that is current in this run: stored, or made just now.

    It is what `refold` reads; what `refold` makes is staged here, and committed when all of the run is done.
    """

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        config: Config,
        store: EpochStore,
        images: StoredEpochs,
        measurements: StoredEpochs,
    ) -> None:
        self._context, self._config, self._store = context, config, store
        self._images, self._measurements = images, measurements
        self._code = ASSOCIATED_SOURCES.code_version(config)
        self._epochs = [epoch for epoch in epochs_in_time_order(store) if measurements.record(epoch) is not None]
        stored = {epoch: store.record(ASSOCIATED_SOURCES.name, epoch) for epoch in self._epochs}
        self._current: dict[str, EpochRecord] = {epoch: record for epoch, record in stored.items() if record}
        self._taking_part: list[str] = []
        # What the next epoch is folded onto.
        self._base = FoldState.empty()
        self._at = ""

    # What `refold` asks for.

    def link(self, epoch: str) -> Link | None:
        self._at = epoch
        record = self._current.get(epoch)
        if record is None:
            return None
        inputs = dict(record.inputs)
        before = inputs.pop(STATE_BEFORE)
        return Link(_version_of(inputs), before, record.code_version, state_version(ASSOCIATED_SOURCES, record))

    def state(self, epoch: str) -> FoldState:
        place = self._taking_part.index(epoch)
        kept = self._current[epoch].facts.get(CHANGES_KEPT, 0)
        records = [self._current[e] for e in self._taking_part[place - kept : place + 1]]
        full, *changes = (self._store.read_recorded(record, STATE.name) for record in records)
        state = FoldState.from_table(full)
        for changed in changes:
            state = state.with_changes(changed)
        if state.version != state_version(ASSOCIATED_SOURCES, records[-1]):
            raise StoreError(
                f"the stored state of the sources after epoch {epoch!r} is damaged; "
                f"`contimg run --force --epochs {','.join(record.epoch for record in records)}` makes it again"
            )
        self._base = state
        return state

    def measurements_version(self, epoch: str) -> str:
        return _version_of(upstream_versions(ASSOCIATED_SOURCES, epoch, self._store))

    def measurements(self, epoch: str) -> pd.DataFrame:
        table = self._measurements.read(epoch, "measurements", [*_READ, "duplicate_of"])
        return table.loc[table["duplicate_of"].isna(), _READ].assign(epoch=epoch)

    def images(self, epoch: str) -> pd.DataFrame:
        return self._images.read(epoch, "images")

    def outcomes(self) -> Iterator[Outcome]:
        """Fold whatever is not fresh, up to the last epoch whose state changes.

        An epoch that nobody asked for and that was never folded is left to a run of its own. One that fails takes no
        part until something changes.
        """
        asked = set(self._context.partition_keys)
        for epoch in sorted(asked - set(self._epochs)):
            yield self._failed(epoch, StoreError(f"measurements of epoch {epoch!r} have not been made yet"))
        self._taking_part = [epoch for epoch in self._epochs if epoch in asked or epoch in self._current]
        untouched = asked & set(self._taking_part)
        forced = set(untouched) if self._context.run.tags.get(FORCE_TAG) == "true" else set()
        finished = False
        while not finished:
            self._base = FoldState.empty()
            try:
                for made in refold(self, self._taking_part, self._config.association, forced, self._code):
                    forced.discard(made.epoch)
                    untouched.discard(made.epoch)
                    yield self._stage(made, made.epoch in asked)
                finished = True
            except Exception as error:  # noqa: BLE001 - recorded, shown, and raised again by `publish` once the others are done
                forced.discard(self._at)
                untouched.discard(self._at)
                self._taking_part.remove(self._at)
                yield self._failed(self._at, error)
        for epoch in in_time_order(untouched, self._store):
            progress.report(ASSOCIATED_SOURCES.name, epoch)
            yield Made(self._current[epoch], note="inputs, code and configuration unchanged: nothing to do")

    def _stage(self, made: Refolded, asked: bool) -> Made:
        """Write one epoch's tables, for `publish` to commit."""
        epoch, result = made.epoch, made.result
        state, kept = self._to_keep(epoch, result.state)
        self._base = result.state
        tables: dict[str, pd.DataFrame | pa.Table] = {
            "associations": pd.concat([result.associations, self._copied_history(epoch, result)], ignore_index=True),
            "relations": result.relations,
            "alignment": result.alignment,
            STATE.name: state,
        }
        facts = {name: value for name, value in result.diagnostics.items() if isinstance(value, int | float)}
        rate = association_rate(result.diagnostics)
        if rate is not None:
            facts["association_rate"] = rate
        checks = [Check.of(SEEN_AGAIN, too_few_associations(result.diagnostics, self._config.checks))]
        inputs = upstream_versions(ASSOCIATED_SOURCES, epoch, self._store) | {STATE_BEFORE: made.link.before}
        record = self._store.stage(
            ASSOCIATED_SOURCES.name,
            epoch,
            tables,
            code_version=self._code,
            inputs=inputs,
            facts=facts | {STATE_AFTER: made.link.after, CHANGES_KEPT: kept},
            hidden=ASSOCIATED_SOURCES.hidden,
            failed_checks=failed_checks(checks),
        )
        before = self._current.get(epoch)
        self._current[epoch] = record
        if asked:
            progress.report(ASSOCIATED_SOURCES.name, epoch)
        histogram = {name: value for name, value in result.diagnostics.items() if isinstance(value, list)}
        return Made(
            record,
            histogram,
            note="" if asked else REFOLDED,
            announced=asked or before is None or before.data_version != record.data_version,
        )

    def _to_keep(self, epoch: str, state: FoldState) -> tuple[pa.Table, int]:
        """The state after an epoch, in full or as what the epoch changed, and of how many epochs changes are kept."""
        place = self._taking_part.index(epoch)
        if place:
            kept = self._current[self._taking_part[place - 1]].facts.get(CHANGES_KEPT, 0) + 1
            changes = state.changes_since(self._base)
            if kept <= _MAX_CHANGES_KEPT and changes.num_rows <= _MAX_CHANGED_FRACTION * len(state):
                return changes, kept
        return state.to_table(), 0

    def _failed(self, epoch: str, error: Exception) -> Failed:
        progress.report(ASSOCIATED_SOURCES.name, epoch)
        inputs: Mapping[str, str] = {}
        if self._measurements.record(epoch) is not None:
            inputs = upstream_versions(ASSOCIATED_SOURCES, epoch, self._store) | {STATE_BEFORE: self._before(epoch)}
        return failed(self._context, self._store, ASSOCIATED_SOURCES, self._config, epoch, inputs, error)

    def _before(self, epoch: str) -> str:
        """Version of the state that an epoch is folded onto; an epoch that failed takes no part."""
        earlier = reversed(self._epochs[: self._epochs.index(epoch)])
        last = next((self._current[e] for e in earlier if e in self._taking_part and e in self._current), None)
        return state_version(ASSOCIATED_SOURCES, last)

    def _copied_history(self, epoch: str, result: FoldResult) -> pd.DataFrame:
        """Earlier rows of the parents of forks, for methods whose forks copy history."""
        forks = result.forks[result.forks["copies_history"]]
        if forks.empty:
            return result.associations.iloc[:0]
        parents = pa.array(forks["parent_source_id"].unique())
        earlier = [self._current[e] for e in self._epochs[: self._epochs.index(epoch)] if e in self._current]
        history = pa.concat_tables(
            table.filter(pc.is_in(table["source_id"], parents))
            for table in (self._store.read_recorded(record, "associations") for record in earlier)
        )
        return copy_fork_history(history.to_pandas(), forks)


def _version_of(inputs: Mapping[str, str]) -> str:
    return combine_versions(*(f"{name}={inputs[name]}" for name in sorted(inputs)))
