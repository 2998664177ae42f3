"""Images and measurements say whether they are trusted, and the error of the absolute flux scale."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_FLOAT: sa.types.TypeEngine[float] = sa.Double().with_variant(sa.REAL(), "sqlite")
_INT: sa.types.TypeEngine[int] = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_BOOL: sa.types.TypeEngine[bool] = sa.Boolean().with_variant(sa.Integer(), "sqlite")
_TRUSTED = {
    "corrections": "Whether nothing that was measured of the image is refused as wrong; what cannot be measured is not "
    "wrong",
    "measurements": "Whether the image's position and flux scale are not refused as wrong; where they are, the "
    "measurement teaches nothing",
}
_TIE_ERR = "Error of the absolute flux scale as a fraction of the flux, common to all images of a field"
_RELATIVE = (
    (
        "flux_tied_by",
        sa.Text(),
        "What gave the scale: 'known sources' of earlier epochs, 'catalog', 'overlap', or 'start' if nothing did",
    ),
    ("n_relative", _INT, "Constant sources with earlier fluxes"),
    ("relative_scale", _FLOAT, "Our flux over the sources' mean earlier flux"),
    (
        "relative_scale_err",
        _FLOAT,
        "Its standard error, without that of the earlier fluxes, which the field's images have in common",
    ),
    ("relative_scatter", _FLOAT, "Scatter of the ratios to the earlier fluxes beyond the errors, a fraction"),
    ("relative_outlier_fraction", _FLOAT, "Share of those sources whose ratio has no weight"),
)


def upgrade() -> None:
    # What older versions wrote is made again by the new code; until then it is as they took it.
    for name, nullable in (("corrections", False), ("measurements", True)):
        true = None if nullable else sa.true()
        trusted = sa.Column("trusted", _BOOL, nullable=nullable, server_default=true, comment=_TRUSTED[name])
        op.add_column(name, trusted)
        op.add_column(name, sa.Column("flux_tie_err", _FLOAT, nullable=True, comment=_TIE_ERR))
    for name, kind, comment in _RELATIVE:
        is_count = name == "n_relative"
        zero = sa.text("0") if is_count else None
        op.add_column("corrections", sa.Column(name, kind, nullable=not is_count, server_default=zero, comment=comment))
    # Limits are neither trusted nor not.
    table = sa.table("measurements", sa.column("trusted", _BOOL), sa.column("corrected"))
    op.execute(table.update().where(table.c.corrected.is_not(None)).values(trusted=True))


def downgrade() -> None:
    for name, _, _ in reversed(_RELATIVE):
        op.drop_column("corrections", name)
    for table in _TRUSTED:
        for column in ("flux_tie_err", "trusted"):
            op.drop_column(table, column)
