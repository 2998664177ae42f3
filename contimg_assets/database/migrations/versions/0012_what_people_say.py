"""Tags, notes, favorites and saved queries, with author and time."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_SOURCE = ("source_id", "The source, as it was named then")
_TABLES = {
    "source_tags": (_SOURCE, ("tag", "The word")),
    "source_notes": (_SOURCE, ("note", "The text")),
    "favorite_sources": (_SOURCE,),
    "saved_queries": (("name", "Name of the list"), ("query", "What the list asks for, as in the address of its page")),
}


def upgrade() -> None:
    for table, own in _TABLES.items():
        columns = (*own, ("action", "'add' or 'remove'"), ("author", "Who"), ("created_at", "When, ISO 8601 UTC"))
        op.create_table(
            table,
            sa.Column("id", sa.Text(), nullable=False, comment="Hash of the other columns"),
            *(sa.Column(name, sa.Text(), nullable=False, comment=meaning) for name, meaning in columns),
            sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
            sa.CheckConstraint("action IN ('add', 'remove')", name=op.f(f"ck_{table}_action")),
            sqlite_strict=True,
        )
        if _SOURCE in own:
            op.create_index(op.f(f"ix_{table}_source_id"), table, ["source_id"])


def downgrade() -> None:
    for table, own in _TABLES.items():
        if _SOURCE in own:
            op.drop_index(op.f(f"ix_{table}_source_id"), table_name=table)
        op.drop_table(table)
