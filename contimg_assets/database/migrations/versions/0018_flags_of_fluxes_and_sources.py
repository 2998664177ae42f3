"""Forced fluxes say whether a bright source lies so near that its artifacts may pass for flux; and sources that only
polarized flux shows are rows among the others."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0018"
down_revision: str | None = "0017"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_BOOL: sa.types.TypeEngine[bool] = sa.Boolean().with_variant(sa.Integer(), "sqlite")
_CONDITION = "only_polarized"
_NEAR_BRIGHT = (
    "Whether a source so bright lies near that its artifacts may pass for flux: no source is called new, faded or "
    "variable by it"
)
_ONLY_POLARIZED = (
    "Whether nothing in Stokes I shows it: a source that `stokes.sources` made, of which counts, times, place and SNR "
    "are those of its polarized detections, and fluxes are in the view `polarization`"
)
_COLUMNS = (("forced_fluxes", "near_bright", _NEAR_BRIGHT), ("sources", "only_polarized", _ONLY_POLARIZED))


def upgrade() -> None:
    """Fluxes are all measured again, with another version of the stage. Rows of sources that only polarized flux shows,
    which older versions had in no table of sources, come with the next epoch that is written."""
    for table, name, comment in _COLUMNS:
        op.add_column(table, sa.Column(name, _BOOL, nullable=False, server_default=sa.false(), comment=comment))
        if op.get_bind().dialect.name == "postgresql":
            op.alter_column(table, name, server_default=None)
    op.create_index(
        "ix_sources_only_polarized",
        "sources",
        ["id"],
        sqlite_where=sa.text(_CONDITION),
        postgresql_where=sa.text(_CONDITION),
    )


def downgrade() -> None:
    op.execute(sa.text("DELETE FROM sources WHERE only_polarized"))
    op.drop_index("ix_sources_only_polarized", "sources")
    for table, name, _ in _COLUMNS:
        op.drop_column(table, name)
