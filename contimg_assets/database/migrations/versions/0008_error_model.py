"""Errors of fluxes as constant sources show them."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_FLOAT: sa.types.TypeEngine[float] = sa.Double().with_variant(sa.REAL(), "sqlite")
_INT: sa.types.TypeEngine[int] = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "error_model",
        sa.Column(
            "flux_kind",
            sa.Text(),
            nullable=False,
            comment="'peak' or 'int': which flux density the row is about",
        ),
        sa.Column(
            "term",
            sa.Text(),
            nullable=False,
            comment="'noise': factor of the finder's error, by S / e; 'floor': fraction of the flux, by distance from "
            "the image centre; 'step': the same, between images of different configurations",
        ),
        sa.Column(
            "at",
            _FLOAT,
            nullable=False,
            comment="S / e, or distance from the image centre in radii of the image",
        ),
        sa.Column("value", _FLOAT, nullable=False, comment="Factor or fraction"),
        sa.Column("value_err", _FLOAT, nullable=False, comment="Its standard error"),
        sa.Column(
            "n_residuals",
            _INT,
            nullable=False,
            comment="Differences of repeated fluxes that all values are from",
        ),
        sa.PrimaryKeyConstraint("flux_kind", "term", "at", name="pk_error_model"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("error_model")
