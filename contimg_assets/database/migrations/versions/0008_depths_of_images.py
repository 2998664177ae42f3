"""How deep images are and what their finders detect, from their own detections."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_COMMENTS = {
    "is_new": "Whether earlier images of its place would have shown it; `contimg new` asks more",
    "new_significance": "First flux over the lowest rms of the earlier images at the place; missing if not covered "
    "before",
}


def upgrade() -> None:
    # What older versions wrote has no rows here until the new code writes it again: the images' rms is taken.
    op.create_table(
        "image_depths",
        sa.Column("epoch", sa.Text(), nullable=False, comment="Epoch"),
        sa.Column("image", sa.Text(), nullable=False, comment="Image"),
        sa.Column(
            "threshold_snr",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Signal to noise ratio from which on its finder detects; missing where too few rows tell",
        ),
        sa.Column(
            "rms_scatter",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=False,
            comment="Scatter of the local rms about its model, in ln",
        ),
        sa.Column(
            "n_bright",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="Detections far above the threshold",
        ),
        sa.Column(
            "rms_model",
            sa.LargeBinary(),
            nullable=False,
            comment="Terms of ln(rms) over the field and its bounds, as measured [mJy / beam], 64-bit numbers",
        ),
        sa.ForeignKeyConstraint(
            ["epoch", "image"],
            ["images.epoch", "images.image"],
            name=op.f("fk_image_depths_epoch_image"),
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.PrimaryKeyConstraint("epoch", "image", name=op.f("pk_image_depths")),
        sqlite_strict=True,
    )
    # SQLite keeps no comments.
    if op.get_context().dialect.name == "postgresql":
        for name, comment in _COMMENTS.items():
            op.alter_column("sources", name, comment=comment)


def downgrade() -> None:
    op.drop_table("image_depths")
