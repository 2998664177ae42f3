"""Aliases: where the measurements of sources went that lost them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.database import bulk
from contimg_assets.database.blocks import NO_HASHES, Block, Hashes
from contimg_assets.database.models import TABLES
from contimg_assets.database.writing.epochs import ChangedEpochs
from contimg_assets.identity.ids import from_hex, source_hashes, to_hex


def read_aliases(connection: Connection) -> pd.DataFrame:
    """Sources that are gone and the present ones that have their measurements: alias, source_id."""
    table = TABLES["source_aliases"]
    query = sa.select(table.c.alias, table.c.source_id).where(table.c.source_id.is_not(None), table.c.gone)
    return bulk.fetch(connection, query).astype("str")


def write_aliases(connection: Connection, change: ChangedEpochs, vanished: Hashes, alive: Hashes) -> int:
    """Say where the measurements of vanished sources went. Returns the number of aliases added.

    A source may lose its measurements in one transaction and its last ones, with a deleted epoch, in a later one: where
    they went is noted at once, as an alias of a source that is not gone.

    Parameters
    ----------
    vanished, alive : sources that the change touched and that are gone, or there
    """
    table = TABLES["source_aliases"]
    known = connection.execute(sa.select(table.c.alias).limit(1)).first()
    if not change.before and not known:
        return 0
    members = _members(change.after)
    moves = _moves(_members(change.before), members)
    if len(alive) and known:
        # A source that is back needs no alias; nor does one that has measurements again.
        for chosen, condition in ((alive, table.c.gone), (np.intersect1d(moves.gained, alive), sa.not_(table.c.gone))):
            ids = bulk.set_of_ids(connection, to_hex(chosen))
            connection.execute(sa.delete(table).where(condition, table.c.alias.in_(ids)))
    gone = [str(one) for one in to_hex(vanished)]
    _write(connection, moves.heirs, gone)
    _follow_births(connection, members)
    return len(gone)


@dataclass(frozen=True)
class _Moves:
    """How a change moved measurements between sources.

    Attributes
    ----------
    heirs : source that lost measurements -> the one that has most of these now, where any has
    gained : hashes of the sources that have measurements which they did not have before
    """

    heirs: dict[str, str]
    gained: Hashes


def _moves(old: pd.DataFrame, new: pd.DataFrame) -> _Moves:
    """What moved, given (source, measurement) before and after."""
    stayed = old.merge(new, on=["source", "measurement"])
    moved = _without(old, stayed).merge(new, on="measurement", suffixes=("", "_now"))
    votes = moved.groupby(["source", "source_now"], as_index=False).size()
    votes = votes.sort_values(["source", "size", "source_now"], ascending=[True, False, True])
    heirs = votes.drop_duplicates("source")
    heir = dict(zip(to_hex(heirs["source"].to_numpy()), to_hex(heirs["source_now"].to_numpy()), strict=True))
    return _Moves(heir, np.unique(_without(new, stayed)["source"].to_numpy()))


def _without(rows: pd.DataFrame, others: pd.DataFrame) -> pd.DataFrame:
    """The rows that are not among the others."""
    found = rows.merge(others, how="left", indicator=True)
    return found.loc[found["_merge"] == "left_only", list(rows.columns)]


def _write(connection: Connection, heirs: Mapping[str, str], gone: list[str]) -> None:
    """Note the heirs of sources, and that some of them are gone; nothing refers to those afterwards."""
    table = TABLES["source_aliases"]
    # Its last measurements may have gone with a deleted epoch: what was noted when it lost the others holds.
    noted = {row.alias: row.source_id for row in connection.execute(sa.select(table)).all()} if gone else {}
    present = _settled({alias: heirs.get(alias, noted.get(alias)) for alias in gone})
    if present:
        followed = sa.update(table).where(table.c.source_id == sa.bindparam("which"))
        connection.execute(
            followed.values(source_id=sa.bindparam("heir")),
            [{"which": alias, "heir": source} for alias, source in present.items()],
        )
    lost = {**present, **{alias: source for alias, source in heirs.items() if alias not in present}}
    names = _names(connection, gone)
    rows = [
        (alias, present.get(source, source) if source is not None else None, alias in present, names.get(alias))
        for alias, source in lost.items()
    ]
    bulk.upsert(connection, table, pd.DataFrame(rows, columns=["alias", "source_id", "gone", "name"]))
    connection.execute(sa.delete(table).where(table.c.alias == table.c.source_id))


def _settled(heirs: Mapping[str, str | None]) -> dict[str, str | None]:
    """Heirs of sources that are gone, those that are gone themselves followed to theirs; None where all are."""
    settled: dict[str, str | None] = {}
    for alias, heir in heirs.items():
        passed = {alias}
        while heir is not None and heir in heirs and heir not in passed:
            passed.add(heir)
            heir = heirs[heir]
        settled[alias] = None if heir in passed else heir
    return settled


def _names(connection: Connection, gone: list[str]) -> dict[str, str]:
    """Names of sources that are about to go: people wrote them down."""
    if not gone:
        return {}
    sources = TABLES["sources"]
    query = sa.select(sources.c.id, sources.c.name).where(sources.c.id.in_(bulk.set_of_ids(connection, gone)))
    return {row.id: row.name for row in connection.execute(query)}


def _follow_births(connection: Connection, new: pd.DataFrame) -> None:
    """Give an alias that had nothing left the source which now has the measurement that gave birth to it."""
    table = TABLES["source_aliases"]
    lost = connection.execute(sa.select(table.c.alias).where(table.c.source_id.is_(None), table.c.gone)).scalars().all()
    if not lost or not len(new):
        return
    births = source_hashes(new["measurement"].to_numpy())
    back = new.assign(birth=births)[np.isin(births, from_hex(lost))].sort_values("source").drop_duplicates("birth")
    if len(back):
        connection.execute(
            sa.update(table).where(table.c.alias == sa.bindparam("which")).values(source_id=sa.bindparam("heir")),
            [
                {"which": which, "heir": heir}
                for which, heir in zip(to_hex(back["birth"].to_numpy()), to_hex(back["source"].to_numpy()), strict=True)
            ],
        )


def _members(blocks: Mapping[str, Block]) -> pd.DataFrame:
    """(source, measurement) of some blocks."""
    parts = [table.select(["source", "measurement"]) for b in blocks.values() for table in (b.points, b.copied)]
    if not parts:
        return pd.DataFrame({"source": NO_HASHES, "measurement": NO_HASHES})
    members: pd.DataFrame = pa.concat_tables(parts).to_pandas()
    return members.drop_duplicates(ignore_index=True)
