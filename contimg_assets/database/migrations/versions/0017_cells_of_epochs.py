"""Epochs say in which parts of the sky they have points, so that those far from a change are not read."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import sqlalchemy as sa
from alembic import op

from contimg_assets.sky.cells import healpix_29

revision: str = "0017"
down_revision: str | None = "0016"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "epoch_cells",
        sa.Column("epoch", sa.Text(), nullable=False, comment="Epoch"),
        sa.Column(
            "cells",
            sa.LargeBinary(),
            nullable=False,
            comment="Ascending HEALPix cells (nested, order 6), 16 bits each",
        ),
        sa.ForeignKeyConstraint(
            ["epoch"], ["epochs.epoch"], name=op.f("fk_epoch_cells_epoch"), initially="DEFERRED", deferrable=True
        ),
        sa.PrimaryKeyConstraint("epoch", name=op.f("pk_epoch_cells")),
        sqlite_strict=True,
    )
    connection = op.get_bind()
    table = sa.table("epoch_cells", sa.column("epoch"), sa.column("cells"))
    for epoch in connection.execute(sa.text("SELECT epoch FROM epoch_blocks ORDER BY epoch")).scalars().all():
        query = sa.text("SELECT points FROM epoch_blocks WHERE epoch = :epoch")
        points = bytes(connection.execute(query, {"epoch": epoch}).scalar_one())
        connection.execute(table.insert(), {"epoch": epoch, "cells": _cells(points)})


def downgrade() -> None:
    op.drop_table("epoch_cells")


def _cells(points: bytes) -> bytes:
    """Of a block's points."""
    with pa.ipc.open_stream(pa.py_buffer(points)) as stream:
        table = stream.read_all()
    x, y, z = (table[axis].to_numpy() for axis in "xyz")
    fine = healpix_29(np.degrees(np.arctan2(y, x)) % 360.0, np.degrees(np.arctan2(z, np.hypot(x, y))))
    return np.unique(fine >> 46).astype("<u2").tobytes()
