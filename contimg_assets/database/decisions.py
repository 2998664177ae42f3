"""What people decide about matches: entered here, applied to `cross_matches` whenever sources are matched."""

from __future__ import annotations

from datetime import UTC, datetime

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.crossmatch.overrides import ACTIONS
from contimg_assets.database import bulk
from contimg_assets.database.models import TABLES
from contimg_assets.errors import InputError
from contimg_assets.identity import combine_versions


def record_decision(
    connection: Connection,
    action: str,
    source_id: str,
    catalog: str,
    catalog_source_id: str | None,
    comment: str | None,
    author: str | None,
) -> None:
    """Add a decision; it is never changed afterwards.

    Raises
    ------
    InputError
        If the action is unknown, names no catalogue source, or a comment says nothing; or if the catalogue is unknown.
    """
    if action not in ACTIONS:
        raise InputError(f"action {action!r} is unknown; it is one of {', '.join(ACTIONS)}")
    if action != "comment" and not catalog_source_id:
        raise InputError(f"say which source of {catalog} is meant; `contimg source {source_id}` lists the candidates")
    if action == "comment" and not comment:
        raise InputError("a comment needs a text")
    catalogs = TABLES["reference_catalogs"]
    known = sorted(connection.execute(sa.select(catalogs.c.name)).scalars())
    if catalog not in known:
        raise InputError(f"catalogue {catalog!r} is not one that sources are matched to: {', '.join(known) or 'none'}")
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    row = {
        "source_id": source_id,
        "catalog": catalog,
        "catalog_source_id": catalog_source_id or None,
        "action": action,
        "comment": comment or None,
        "author": author or None,
        "created_at": now,
    }
    identity = combine_versions(*(str(value) for value in row.values()))
    bulk.insert(connection, TABLES["match_overrides"], pd.DataFrame([{"id": identity, **row}]))


def read_decisions(connection: Connection) -> pd.DataFrame:
    """All decisions, in the order they were made: the columns that `apply_overrides` takes."""
    table = TABLES["match_overrides"]
    names = ["source_id", "catalog", "catalog_source_id", "action", "comment", "created_at"]
    query = sa.select(*(table.c[name] for name in names)).order_by(table.c.created_at, table.c.id)
    return bulk.fetch(connection, query).astype("str")
