"""Images and measurements say whether they are trusted, and the error of the absolute flux scale."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_FLOAT: sa.types.TypeEngine[float] = sa.Double().with_variant(sa.REAL(), "sqlite")
_BOOL: sa.types.TypeEngine[bool] = sa.Boolean().with_variant(sa.Integer(), "sqlite")
_TRUSTED = {
    "corrections": "Whether nothing that was measured of the image is refused as wrong; what cannot be measured is not "
    "wrong",
    "measurements": "Whether the image's position and flux scale are not refused as wrong; where they are, the "
    "measurement teaches nothing",
}
_TIE_ERR = "Error of the absolute flux scale as a fraction of the flux, common to all images of a field"


def upgrade() -> None:
    # What older versions wrote is made again by the new code; until then it is as they took it.
    for name, nullable in (("corrections", False), ("measurements", True)):
        true, zero = (None, None) if nullable else (sa.true(), sa.text("0.0"))
        trusted = sa.Column("trusted", _BOOL, nullable=nullable, server_default=true, comment=_TRUSTED[name])
        op.add_column(name, trusted)
        tie_err = sa.Column("flux_tie_err", _FLOAT, nullable=nullable, server_default=zero, comment=_TIE_ERR)
        op.add_column(name, tie_err)
    # Limits have neither.
    table = sa.table("measurements", sa.column("trusted", _BOOL), sa.column("flux_tie_err"), sa.column("corrected"))
    op.execute(table.update().where(table.c.corrected.is_not(None)).values(trusted=True, flux_tie_err=0.0))


def downgrade() -> None:
    for table in _TRUSTED:
        for column in ("flux_tie_err", "trusted"):
            op.drop_column(table, column)
