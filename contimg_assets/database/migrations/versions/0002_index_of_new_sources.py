"""New sources are looked up by significance."""

from collections.abc import Sequence

from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_index("ix_sources_new_significance", "sources", ["new_significance"])


def downgrade() -> None:
    op.drop_index("ix_sources_new_significance", "sources")
