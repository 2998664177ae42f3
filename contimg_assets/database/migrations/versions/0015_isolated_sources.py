"""Sources without a neighbor near them are found at once: where there are none, an epoch reads the sources about it."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0015"
down_revision: str | None = "0014"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_ISOLATED = "neighbour_arcsec IS NULL OR neighbour_arcsec > 3600.0"


def upgrade() -> None:
    op.create_index(
        "ix_sources_isolated",
        "sources",
        ["neighbour_arcsec"],
        sqlite_where=sa.text(_ISOLATED),
        postgresql_where=sa.text(_ISOLATED),
    )


def downgrade() -> None:
    op.drop_index("ix_sources_isolated", "sources")
