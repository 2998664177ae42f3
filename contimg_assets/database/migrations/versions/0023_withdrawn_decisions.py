"""Decisions on counterparts may be withdrawn."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0023"
down_revision: str | None = "0019"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_TABLE = "match_overrides"
_BEFORE, _SINCE = ("accept", "reject", "comment"), ("accept", "reject", "withdraw", "comment")


def upgrade() -> None:
    _allow(_SINCE)


def downgrade() -> None:
    # What was withdrawn would count again: those decisions go as well, with what was said of them.
    earlier = "earlier.source_id = later.source_id AND earlier.catalog = later.catalog"
    earlier += " AND earlier.catalog_source_id = later.catalog_source_id AND earlier.created_at <= later.created_at"
    withdrawn = f"SELECT earlier.id FROM {_TABLE} earlier JOIN {_TABLE} later ON {earlier}"  # noqa: S608
    withdrawn += " WHERE later.action = 'withdraw' AND earlier.action <> 'comment'"
    op.execute(sa.text(f"DELETE FROM {_TABLE} WHERE id IN ({withdrawn})"))  # noqa: S608
    _allow(_BEFORE)


def _allow(actions: Sequence[str]) -> None:
    condition = f"action IN ({', '.join(map(repr, actions))})"
    if op.get_context().dialect.name != "sqlite":
        op.drop_constraint(op.f("ck_match_overrides_action"), _TABLE, type_="check")
        op.create_check_constraint(op.f("ck_match_overrides_action"), _TABLE, condition)
        *first, last = map(repr, actions)
        op.alter_column(_TABLE, "action", comment=f"{', '.join(first)} or {last}")
        return
    _remake(condition)


def _remake(condition: str) -> None:
    """SQLite cannot change a condition: the table is written anew, with its rows."""
    connection = op.get_bind()
    old = sa.Table(_TABLE, sa.MetaData(), autoload_with=connection)
    columns = [sa.Column(column.name, column.type, nullable=column.nullable) for column in old.columns]
    new = op.create_table(
        f"{_TABLE}_new",
        *columns,
        sa.CheckConstraint(condition, name=op.f("ck_match_overrides_action")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_match_overrides")),
        sqlite_strict=True,
    )
    names = [column.name for column in columns]
    connection.execute(new.insert().from_select(names, sa.select(*(old.c[name] for name in names))))
    op.drop_table(_TABLE)
    op.rename_table(f"{_TABLE}_new", _TABLE)
    op.create_index(op.f("ix_match_overrides_source_id"), _TABLE, ["source_id"])
