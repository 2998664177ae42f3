"""Fluxes at fixed positions of the images."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0014"
down_revision: str | None = "0013"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_FLOAT: sa.types.TypeEngine[float] = sa.Double().with_variant(sa.REAL(), "sqlite")
_INT: sa.types.TypeEngine[int] = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_BOOL: sa.types.TypeEngine[bool] = sa.Boolean().with_variant(sa.Integer(), "sqlite")
_FLUX = "Flux density at the position, signed; missing where there is none: see reason [mJy / beam]"


def upgrade() -> None:
    op.create_table(
        "forced_epochs",
        sa.Column("epoch", sa.Text(), nullable=False, comment="Epoch"),
        sa.Column("version", sa.Text(), nullable=False, comment="Its data version"),
        sa.Column("code_version", sa.Text(), nullable=False, comment="Version of what wrote them"),
        sa.PrimaryKeyConstraint("epoch", name=op.f("pk_forced_epochs")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    monitored = "Whether the position is of the monitored list"
    op.create_table(
        "forced_fluxes",
        sa.Column("epoch", sa.Text(), nullable=False, comment="Epoch"),
        sa.Column("image", sa.Text(), nullable=False, comment="Image"),
        sa.Column("position", sa.Text(), nullable=False, comment="Id of the source, or name of the monitored position"),
        sa.Column("monitored", _BOOL, nullable=False, comment=monitored),
        sa.Column("ra_deg", _FLOAT, nullable=False, comment="Right ascension of the position, ICRS [deg]"),
        sa.Column("dec_deg", _FLOAT, nullable=False, comment="Declination of the position, ICRS [deg]"),
        sa.Column("flux_peak_mjy_beam", _FLOAT, nullable=True, comment=_FLUX),
        sa.Column("flux_peak_err_mjy_beam", _FLOAT, nullable=True, comment="Its error [mJy / beam]"),
        sa.Column("chi_squared_fit", _FLOAT, nullable=True, comment="Chi squared of the fit"),
        sa.Column("dof", _FLOAT, nullable=True, comment="Degrees of freedom of the fit"),
        sa.Column("background_mjy_beam", _FLOAT, nullable=True, comment="Level under the position [mJy / beam]"),
        sa.Column("local_rms_mjy_beam", _FLOAT, nullable=True, comment="Noise at the position [mJy / beam]"),
        sa.Column("n_neighbors", _INT, nullable=False, comment="Other positions that were fitted along"),
        sa.Column("reason", sa.Text(), nullable=False, comment="Why there is no flux; empty where there is one"),
        sa.PrimaryKeyConstraint("epoch", "image", "position", "monitored", name=op.f("pk_forced_fluxes")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_forced_fluxes_position", "forced_fluxes", ["position"])


def downgrade() -> None:
    op.drop_index("ix_forced_fluxes_position", "forced_fluxes")
    op.drop_table("forced_fluxes")
    op.drop_table("forced_epochs")
