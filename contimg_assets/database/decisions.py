"""What people decide about matches: entered here, applied to `cross_matches` whenever sources are matched."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.crossmatch.overrides import ACTIONS
from contimg_assets.database import bulk
from contimg_assets.database.models import TABLES
from contimg_assets.errors import InputError
from contimg_assets.identity.versions import combine_versions


@dataclass(frozen=True)
class Decision:
    """What a person decides or says about a counterpart.

    Attributes
    ----------
    action : one of ACTIONS
    source_id : the present source
    catalog, catalog_source_id : the counterpart; a comment may name no source, and is then about all in the catalog
    comment, author : who says what; an empty text is none

    Raises
    ------
    InputError
        If the action is unknown, names no catalog source, or a comment says nothing.
    """

    action: str
    source_id: str
    catalog: str
    catalog_source_id: str | None = None
    comment: str | None = None
    author: str | None = None

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise InputError(f"action {self.action!r} is unknown; it is one of {', '.join(ACTIONS)}")
        if self.action != "comment" and not self.catalog_source_id:
            raise InputError(
                f"say which source of {self.catalog} is meant; `contimg source {self.source_id}` lists the candidates"
            )
        if self.action == "comment" and not self.comment:
            raise InputError("a comment needs a text")


def record_decision(connection: Connection, decision: Decision) -> None:
    """Add a decision; it is never changed afterwards.

    Raises
    ------
    InputError
        If the catalog is not one that sources are matched to.
    """
    catalogs = TABLES["reference_catalogs"]
    known = sorted(connection.execute(sa.select(catalogs.c.name)).scalars())
    if decision.catalog not in known:
        raise InputError(
            f"catalog {decision.catalog!r} is not one that sources are matched to: {', '.join(known) or 'none'}"
        )
    row = {
        "source_id": decision.source_id,
        "catalog": decision.catalog,
        "catalog_source_id": decision.catalog_source_id or None,
        "action": decision.action,
        "comment": decision.comment or None,
        "author": decision.author or None,
        "created_at": datetime.now(UTC).isoformat(timespec="microseconds"),
    }
    identity = combine_versions(*(str(value) for value in row.values()))
    bulk.insert(connection, TABLES["match_overrides"], pd.DataFrame([{"id": identity, **row}]))


def read_decisions(connection: Connection) -> pd.DataFrame:
    """All decisions, in the order they were made: the columns that `apply_overrides` takes."""
    table = TABLES["match_overrides"]
    names = ["source_id", "catalog", "catalog_source_id", "action", "comment", "created_at"]
    query = sa.select(*(table.c[name] for name in names)).order_by(table.c.created_at, table.c.id)
    return bulk.fetch(connection, query).astype("str")
