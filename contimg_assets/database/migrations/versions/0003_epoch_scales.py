"""Flux scales between epochs have a table of their own: they change without the epochs that they are of."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_FLOAT: sa.types.TypeEngine[float] = sa.Double().with_variant(sa.REAL(), "sqlite")
_INT: sa.types.TypeEngine[int] = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "epoch_scales",
        sa.Column("epoch", sa.Text(), nullable=False, comment="Epoch"),
        sa.Column("image", sa.Text(), nullable=False, comment="Image"),
        sa.Column("epoch_scale", _FLOAT, nullable=True, comment="Our flux over the true one"),
        sa.Column(
            "epoch_scale_err",
            _FLOAT,
            nullable=True,
            comment="Its standard error, the tie to the catalogue included",
        ),
        sa.Column("n_sources", _INT, nullable=False, comment="Sources that connect the image to others"),
        sa.Column(
            "connected",
            _INT,
            nullable=True,
            comment="Images connected by shared sources have the same number",
        ),
        sa.PrimaryKeyConstraint("epoch", "image", name="pk_epoch_scales"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    for column in ("epoch_scale", "epoch_scale_err", "n_epoch_scale"):
        op.drop_column("corrections", column)


def downgrade() -> None:
    op.add_column("corrections", sa.Column("epoch_scale", _FLOAT, nullable=True))
    op.add_column("corrections", sa.Column("epoch_scale_err", _FLOAT, nullable=True))
    op.add_column("corrections", sa.Column("n_epoch_scale", _INT, nullable=False, server_default="0"))
    op.drop_table("epoch_scales")
