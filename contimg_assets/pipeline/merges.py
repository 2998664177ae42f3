"""Sources that became one: which epochs name a source that a later epoch merged into another.

An epoch's own tables are never written again for what a later one found out. The epoch that merges says which earlier
epochs name the source that is no more (table `merges`, and a fact of its record), and whoever reads those epochs'
associations for people puts the present name in its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from contimg_assets.identity.versions import combine_versions
from contimg_assets.pipeline.records import EpochRecord
from contimg_assets.pipeline.store import EpochStore
from contimg_assets.schemas.association import MERGES

FACT = "merges"
_COLUMNS = ["source_id", "into_source_id", "epoch"]


def merges_table(
    store: EpochStore, earlier: Sequence[EpochRecord], merges: pd.DataFrame, n_measurements: Mapping[str, int]
) -> pd.DataFrame:
    """Table MERGES of an epoch.

    Parameters
    ----------
    earlier : records of the epochs before it that take part in the fold, in time order
    merges : source_id, into_source_id: what the epoch merged
    n_measurements : of each source that was merged, before the epoch
    """
    if merges.empty:
        return MERGES.empty()
    into = dict(zip(merges["source_id"], merges["into_source_id"], strict=True))
    # What was merged into one of these before goes along.
    for source, heir in [pair for record in reversed(earlier) for pair in _pairs(record)]:
        if heir in into:
            into[source] = into[heir]
    left = sum(n_measurements.values())
    names = pa.array(sorted(into))
    rows: list[tuple[str, str, str]] = []
    for record in reversed(earlier):
        if left <= 0:
            break
        named = _named(store.read_recorded(record, "associations")["source_id"], names)
        left -= len(named)
        # A source may compete for a measurement without getting any.
        named += _named(store.read_recorded(record, "relations")["from_source_id"], names)
        rows += [(source, into[source], record.epoch) for source in set(named)]
    return pd.DataFrame(sorted(rows), columns=_COLUMNS).astype("str")


def merges_fact(merges: pd.DataFrame) -> dict[str, list[list[str]]]:
    """A table of merges as a fact of the epoch's record: rows of source, heir, earlier epoch; nothing without any."""
    return {FACT: merges[_COLUMNS].to_numpy().tolist()} if len(merges) else {}


def merged_sources(records: Sequence[EpochRecord]) -> dict[str, dict[str, str]]:
    """For each epoch that names sources that are no more: these, and the ones that have their measurements.

    Parameters
    ----------
    records : of the fold, in time order: what was merged twice is what the last one says
    """
    found: dict[str, dict[str, str]] = {}
    for record in records:
        for source, heir, epoch in record.facts.get(FACT, ()):
            found.setdefault(epoch, {})[source] = heir
    return found


def version_of(merged: Mapping[str, str]) -> str:
    """Version of what was merged of an epoch's sources."""
    return combine_versions(*(f"{source}={merged[source]}" for source in sorted(merged)))


def with_heirs(table: pd.DataFrame, merged: Mapping[str, str], columns: Sequence[str]) -> pd.DataFrame:
    """A table with the sources that are there in place of those that are no more.

    A row that relates a source to itself by that, or that is there already, goes.
    """
    if not merged:
        return table
    named = table.assign(**{name: table[name].replace(dict(merged)) for name in columns})
    if len(columns) == 2:
        named = named[named[columns[0]] != named[columns[1]]].drop_duplicates(list(columns))
    return named.reset_index(drop=True)


def _named(column: pa.ChunkedArray, names: pa.Array) -> list[str]:
    values: list[str] = column.filter(pc.is_in(column, names)).to_pylist()
    return values


def _pairs(record: EpochRecord) -> list[tuple[str, str]]:
    return [(source, heir) for source, heir, _ in record.facts.get(FACT, ())]
