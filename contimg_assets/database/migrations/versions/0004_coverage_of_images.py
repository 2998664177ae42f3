"""What images cover and how deep, from their rms maps and footprints."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "image_coverage",
        sa.Column("epoch", sa.Text(), nullable=False, comment="Epoch"),
        sa.Column("image", sa.Text(), nullable=False, comment="Image"),
        sa.Column(
            "radius_deg",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=False,
            comment="Radius about the image's centre that holds all of it [deg]",
        ),
        sa.Column(
            "cells",
            sa.LargeBinary(),
            nullable=False,
            comment="Ranges of HEALPix cells (nested, order 29) and the rms in each [mJy / beam], Arrow IPC",
        ),
        sa.ForeignKeyConstraint(
            ["epoch", "image"],
            ["images.epoch", "images.image"],
            name=op.f("fk_image_coverage_epoch_image"),
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.PrimaryKeyConstraint("epoch", "image", name=op.f("pk_image_coverage")),
        sqlite_strict=True,
    )


def downgrade() -> None:
    op.drop_table("image_coverage")
