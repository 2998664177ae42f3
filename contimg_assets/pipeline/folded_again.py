"""What was stored of an epoch's fold, with other rows where it was decided again because sources changed near them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from contimg_assets.association.fold import FoldResult, radii
from contimg_assets.association.near_changes import FoldedAgain, differing
from contimg_assets.association.reach import adds_up
from contimg_assets.association.state import FoldState
from contimg_assets.identity.ids import hashes_of
from contimg_assets.identity.versions import version_of_table
from contimg_assets.pipeline.records import EpochRecord
from contimg_assets.pipeline.sky_parts import SkyParts, cells_of
from contimg_assets.pipeline.store import EpochStore
from contimg_assets.schemas.association import ALIGNMENT, ASSOCIATIONS, MERGES, RELATIONS
from contimg_assets.schemas.core import frame_of
from contimg_assets.sky.arrays import Cells

# Numbers of the whole epoch that are sums over its groups, exactly.
_SUMS = ("n_matched", "n_new", "n_forked", "n_related", "n_merged", "n_beyond_reach", "n_unmatched_in_coverage")


class NotAsStored(Exception):
    """What was stored is not what the fold onto the sources of that time gives: nothing can be taken from it."""


def sources_of(state: SkyParts, cells: Cells) -> FoldState:
    """The sources in some parts of the sky."""
    return FoldState.from_table(state.of(cells)[0].sort_by("source_id"))


@dataclass(frozen=True)
class StoredFold:
    """An epoch's stored fold, and what of it is another now.

    Attributes
    ----------
    store, record : where it is kept
    again : what was decided again
    """

    store: EpochStore
    record: EpochRecord
    again: FoldedAgain

    @property
    def _results(self) -> tuple[FoldResult, FoldResult]:
        return self.again.before, self.again.now

    def associations(self) -> pa.Table:
        """Table ASSOCIATIONS of the whole epoch.

        Raises
        ------
        NotAsStored
            If stored rows are others than those that are taken away.
        """
        stored = self.store.read_recorded(self.record, ASSOCIATIONS.name)
        gone, come = (ASSOCIATIONS.to_arrow(one.associations) for one in self._results)
        given = self.again.before.measurements["measurement_id"].to_numpy()[self.again.rows]
        taken_away = pc.is_in(stored["measurement_id"], pa.array(given, pa.string()))
        table = _exchanged(stored, gone, come, taken_away)
        return _by_numbers(table, ASSOCIATIONS.key)

    def relations(self) -> pa.Table:
        """Table RELATIONS of the whole epoch; raises as `associations`."""
        stored = self.store.read_recorded(self.record, RELATIONS.name)
        gone, come = (RELATIONS.to_arrow(one.relations) for one in self._results)
        pairs, of_gone = (
            pc.binary_join_element_wise(*(each[name] for name in RELATIONS.key), "") for each in (stored, gone)
        )
        return _by_numbers(_exchanged(stored, gone, come, pc.is_in(pairs, of_gone)), RELATIONS.key)

    def alignment(self) -> pa.Table:
        """Table ALIGNMENT of the whole epoch; raises as `associations`."""
        stored = self.store.read_recorded(self.record, ALIGNMENT.name)
        gone, come = (ALIGNMENT.to_arrow(one.alignment) for one in self._results)
        return _exchanged(stored, gone, come, pc.is_in(stored["image"], gone["image"])).sort_by("image")

    def merges(self, come: pd.DataFrame) -> pd.DataFrame:
        """Table MERGES of the whole epoch, with rows in place of those of sources that were merged then."""
        stored = frame_of(self.store.read_recorded(self.record, MERGES.name))
        gone = stored["into_source_id"].isin(self.again.before.merges["into_source_id"])
        return pd.concat([stored[~gone], come]).sort_values(list(MERGES.key), ignore_index=True)

    def diagnostics(self, associations: pa.Table) -> dict[str, Any]:
        """Numbers of the whole epoch, as of `contimg_assets.association.fold.FoldResult`.

        Raises
        ------
        NotAsStored
            If those that were stored do not add up.
        """
        facts = self.record.facts
        if not {*_SUMS, "n_measurements"} <= set(facts) or not adds_up(facts["n_beyond_reach"]):
            raise NotAsStored
        before, now = (dict[str, Any](one.diagnostics) for one in self._results)
        sums = {name: facts[name] + (now[name] - before[name]) for name in _SUMS}
        return {**now, "n_measurements": facts["n_measurements"], **sums, **radii(associations["de_ruiter"].to_numpy())}

    def after(self, stored: SkyParts, onto: SkyParts, cells: Cells) -> SkyParts:
        """The sources after the epoch.

        Parameters
        ----------
        stored : after the epoch, as it was folded then
        onto : what it is folded onto now
        cells : parts of the sky that it sees

        Raises
        ------
        NotAsStored
            If a source that is to go was not there.
        """
        before, now = self.again.before.state, self.again.now.state
        old, new = differing(before, now)
        touched = np.unique(np.concatenate([cells_of(state.ra_deg, state.dec_deg) for state in (old, new)]))
        kept = onto.taken_from(stored, cells)
        there = sources_of(kept, touched)
        going = np.isin(there.source, old.source)
        if going.sum() != len(old):
            raise NotAsStored
        stays = there.part(np.flatnonzero(~going))
        order = np.argsort(np.concatenate([stays.source, new.source]))
        both = FoldState(*(np.concatenate(each)[order] for each in zip(stays.arrays, new.arrays, strict=True)))
        return kept.replaced(touched, both.to_table(), cells_of(both.ra_deg, both.dec_deg), stored)


def _exchanged(stored: pa.Table, gone: pa.Table, come: pa.Table, taken_away: pa.ChunkedArray) -> pa.Table:
    """A table without some rows, which must be those that are to go, and with others in their place at the end."""
    if version_of_table(stored.filter(taken_away)) != version_of_table(gone):
        raise NotAsStored
    return pa.concat_tables([stored.filter(pc.invert(taken_away)), come])


def _by_numbers(table: pa.Table, key: Sequence[str]) -> pa.Table:
    """Rows by the numbers of their ids, as a fold gives them."""
    return table.take(np.lexsort([hashes_of(table[name].to_pandas()) for name in reversed(key)]))
