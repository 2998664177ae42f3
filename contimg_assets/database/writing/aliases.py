"""Aliases: where the measurements of sources went that are gone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.database import bulk
from contimg_assets.database.blocks import NO_HASHES, Block, Hashes
from contimg_assets.database.models import TABLES
from contimg_assets.identity import from_hex, source_hashes, to_hex


def write_aliases(
    connection: Connection,
    vanished: Hashes,
    alive: Hashes,
    old_blocks: Mapping[str, Block],
    new_blocks: Mapping[str, Block],
) -> int:
    """Say where the measurements of vanished sources went. Returns the number of aliases added.

    A source may lose its measurements in one transaction and its last ones, with a deleted epoch, in a later one: where
    they went is noted at once, as an alias of a source that is not gone.
    """
    table = TABLES["source_aliases"]
    known = connection.execute(sa.select(table.c.alias).limit(1)).first()
    if not old_blocks and not known:
        return 0
    old, new = _members(old_blocks), _members(new_blocks)
    stayed = old.merge(new, on=["source", "measurement"])
    lost = old.merge(stayed, how="left", indicator=True)
    lost = lost[lost["_merge"] == "left_only"].drop(columns="_merge")
    joined = new.merge(stayed, how="left", indicator=True)
    gained = np.unique(joined.loc[joined["_merge"] == "left_only", "source"].to_numpy())
    if len(alive) and known:
        # A source that is back needs no alias; nor does one that has measurements again.
        for chosen, which in ((alive, "gone"), (np.intersect1d(gained, alive), "NOT gone")):
            name = bulk.set_of_ids(connection, "touched", to_hex(chosen))
            connection.exec_driver_sql(
                f"DELETE FROM source_aliases WHERE {which} AND alias IN (SELECT id FROM {name})"  # noqa: S608
            )
    moved = lost.merge(new, on="measurement", suffixes=("", "_now"))
    votes = moved.groupby(["source", "source_now"], as_index=False).size()
    votes = votes.sort_values(["source", "size", "source_now"], ascending=[True, False, True])
    heirs = votes.drop_duplicates("source")
    heir = dict(zip(to_hex(heirs["source"].to_numpy()), to_hex(heirs["source_now"].to_numpy()), strict=True))
    gone = to_hex(vanished)
    noted = {row.alias: row.source_id for row in connection.execute(sa.select(table)).all()} if len(gone) else {}
    rows = [(alias, heir.get(alias, noted.get(alias)), True) for alias in gone]
    vanished_ids = set(gone)
    rows += [(alias, source, False) for alias, source in heir.items() if alias not in vanished_ids]
    present = {alias: source for alias, source, is_gone in rows if is_gone}
    for alias, source in present.items():
        connection.execute(sa.update(table).where(table.c.source_id == alias).values(source_id=source))
    rows = [(alias, present.get(source, source), is_gone) for alias, source, is_gone in rows]
    bulk.upsert(connection, table, pd.DataFrame(rows, columns=["alias", "source_id", "gone"]))
    connection.execute(sa.delete(table).where(table.c.alias == table.c.source_id))
    _follow_births(connection, new)
    return len(gone)


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
    return pa.concat_tables(parts).to_pandas().drop_duplicates(ignore_index=True)


def aliases(connection: Connection) -> pd.DataFrame:
    table = TABLES["source_aliases"]
    query = sa.select(table.c.alias, table.c.source_id).where(table.c.source_id.is_not(None), table.c.gone)
    return bulk.fetch(connection, query).astype("str")
