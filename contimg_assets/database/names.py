"""Which source people mean by a name: ours, a part of one, that of a source that is gone, or that of a counterpart."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.database import bulk
from contimg_assets.database.models import TABLES
from contimg_assets.errors import InputError
from contimg_assets.identity.names import designation_parts

_MOST_TOLD = 6


def source_of_name(connection: Connection, text: str) -> str | None:
    """Id of the source, maybe a past one, that a name or a part of one means; None if it means none.

    Names of present sources count before those of past ones.

    Raises
    ------
    InputError
        If several sources have names with this part.
    """
    parts = designation_parts(text)
    if parts is None:
        return None
    ra, dec = parts
    sources, aliases = TABLES["sources"].c, TABLES["source_aliases"].c
    wanted = text.strip().upper().split(" ")[-1]
    for name, identity in ((sources.name, sources.id), (aliases.name, aliases.alias)):
        query = sa.select(name.label("name"), identity.label("id")).where(name.like(f"%J{ra}%{dec}%")).order_by(name)
        found = bulk.fetch(connection, query.limit(1000))
        # The whole name of one is a part of those that have a letter behind it.
        whole = found[[one.split(" ")[-1].lstrip("J") == wanted.lstrip("J") for one in found["name"]]]
        chosen = whole if len(whole) else found
        if len(chosen) == 1:
            return str(chosen["id"].iloc[0])
        if len(chosen):
            raise InputError(
                f"{text!r} is a part of the names of several sources: {_listed(chosen['name'])}; give more of the name"
            )
    return None


def source_of_counterpart(connection: Connection, text: str) -> str | None:
    """Id of the source whose best counterpart in a reference catalog has a name there; None if there is none.

    Parameters
    ----------
    text : the name as the catalog has it, alone or behind the catalog's own

    Raises
    ------
    InputError
        If it is the counterpart of several sources.
    """
    matches, sources = TABLES["cross_matches"].c, TABLES["sources"].c
    catalog, _, rest = text.strip().partition(" ")
    behind = sa.and_(matches.catalog_type == catalog.lower(), matches.catalog_source_id == rest.strip())
    query = (
        sa.select(sources.name, sources.id)
        .join(TABLES["cross_matches"], matches.source_id == sources.id)
        .where(sa.or_(matches.catalog_source_id == text.strip(), behind), matches.rank == 1)
        .where(sa.or_(matches.match_quality.is_(None), matches.match_quality != "rejected"))
        .distinct()
        .order_by(sources.name)
    )
    found = bulk.fetch(connection, query)
    if len(found) > 1:
        raise InputError(f"{text!r} is the counterpart of several sources: {_listed(found['name'])}; name one of them")
    return str(found["id"].iloc[0]) if len(found) else None


def names_of(connection: Connection, ids: Sequence[str]) -> pd.Series:
    """Names of present sources, in the order of the ids; missing where there is no such source."""
    table = TABLES["sources"]
    query = sa.select(table.c.id, table.c.name).where(table.c.id.in_([str(one) for one in ids]))
    return bulk.fetch(connection, query).set_index("id")["name"].reindex(list(ids))


def _listed(names: pd.Series) -> str:
    return ", ".join(names[:_MOST_TOLD]) + (f" and {len(names) - _MOST_TOLD} more" if len(names) > _MOST_TOLD else "")
