"""Errors of fluxes are those of the band where constant sources show that they differ between bands."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0019"
down_revision: str | None = "0018"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_BAND = "Band, named by its middle; empty: all bands together, which one without rows of its own uses"
_KEY = ["flux_kind", "term", "at"]


def upgrade() -> None:
    if op.get_context().dialect.name != "sqlite":
        op.add_column("error_model", sa.Column("band", sa.Text(), nullable=False, server_default="", comment=_BAND))
        op.alter_column("error_model", "band", server_default=None)
        op.drop_constraint("pk_error_model", "error_model", type_="primary")
        op.create_primary_key("pk_error_model", "error_model", ["band", *_KEY])
        return
    _remake(with_band=True)


def downgrade() -> None:
    op.execute(sa.text("DELETE FROM error_model WHERE band <> ''"))
    if op.get_context().dialect.name != "sqlite":
        op.drop_constraint("pk_error_model", "error_model", type_="primary")
        op.drop_column("error_model", "band")
        op.create_primary_key("pk_error_model", "error_model", _KEY)
        return
    _remake(with_band=False)


def _remake(*, with_band: bool) -> None:
    """SQLite cannot change a key: the table is written anew, with its rows."""
    connection = op.get_bind()
    old = sa.Table("error_model", sa.MetaData(), autoload_with=connection)
    kept = [column for column in old.columns if column.name != "band"]
    columns = [sa.Column(column.name, column.type, nullable=column.nullable) for column in kept]
    added = [sa.Column("band", sa.Text(), nullable=False)] if with_band else []
    new = op.create_table(
        "error_model_new",
        *added,
        *columns,
        sa.PrimaryKeyConstraint(*(column.name for column in added), *_KEY, name="pk_error_model"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    values = [*(sa.literal("") for _ in added), *kept]
    connection.execute(new.insert().from_select([one.name for one in (*added, *columns)], sa.select(*values)))
    op.drop_table("error_model")
    op.rename_table("error_model_new", "error_model")
