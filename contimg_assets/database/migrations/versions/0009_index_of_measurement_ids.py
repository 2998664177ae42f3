"""Measurements and their associations are found by the id of the measurement alone, as people join them."""

from collections.abc import Sequence

from alembic import op

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_index("ix_measurements_measurement_id", "measurements", ["measurement_id"])
    op.create_index("ix_associations_measurement_id", "associations", ["measurement_id"])


def downgrade() -> None:
    op.drop_index("ix_associations_measurement_id", "associations")
    op.drop_index("ix_measurements_measurement_id", "measurements")
