"""P-values far into the tail by their logarithm; how many points of a source belong to images that are not trusted."""

from collections.abc import Sequence

import numpy as np
import sqlalchemy as sa
from alembic import op

from contimg_assets.variability.significance import log10_survival

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_FLOAT: sa.types.TypeEngine[float] = sa.Double().with_variant(sa.REAL(), "sqlite")
_INT: sa.types.TypeEngine[int] = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_UNITS = {"peak": "mjy_beam", "int": "mjy"}


def upgrade() -> None:
    for kind in _UNITS:
        comment = f"Decimal logarithm of p_value_{kind}, also where that is too small for a number"
        op.add_column("variability", sa.Column(f"log10_p_value_{kind}", _FLOAT, nullable=True, comment=comment))
        _fill(kind)
        op.drop_index(f"ix_variability_sample_eta_{kind}", "variability")
        names = [f"{name}_{kind}" for name in ("eta", "v", "n", "log10_p_value")]
        names += [f"flux_{kind}_{name}_{_UNITS[kind]}" for name in ("weighted_mean", "weighted_mean_err")]
        op.create_index(f"ix_variability_significance_{kind}", "variability", ["sample", *names])
    comment = "Measurements of images that are not trusted, which no statistic counts"
    column = sa.Column("n_untrusted", _INT, nullable=False, server_default=sa.text("0"), comment=comment)
    op.add_column("sources", column)


def _fill(kind: str) -> None:
    """The logarithms of rows that are there."""
    names = ("source_id", "sample", f"n_{kind}", f"eta_{kind}", f"log10_p_value_{kind}")
    table = sa.table("variability", *(sa.column(name) for name in names))
    n, eta, log10_p = (table.c[name] for name in names[2:])
    connection = op.get_bind()
    rows = connection.execute(sa.select(table.c.source_id, table.c["sample"], n, eta).where(eta.is_not(None))).all()
    if not rows:
        return
    dof = np.array([row[2] for row in rows]) - 1
    values = log10_survival(np.array([row[3] for row in rows]) * dof, dof)
    this = sa.and_(table.c.source_id == sa.bindparam("of_source"), table.c["sample"] == sa.bindparam("of_sample"))
    connection.execute(
        sa.update(table).where(this).values({log10_p: sa.bindparam("found")}),
        [{"of_source": row[0], "of_sample": row[1], "found": v} for row, v in zip(rows, values.tolist(), strict=True)],
    )
    if connection.dialect.name == "postgresql":
        # It looks at foreign keys of changed rows now or never lets the table be changed within this transaction.
        op.execute("SET CONSTRAINTS ALL IMMEDIATE")
        op.execute("SET CONSTRAINTS ALL DEFERRED")


def downgrade() -> None:
    op.drop_column("sources", "n_untrusted")
    for kind in _UNITS:
        op.drop_index(f"ix_variability_significance_{kind}", "variability")
        op.create_index(f"ix_variability_sample_eta_{kind}", "variability", ["sample", f"eta_{kind}"])
        op.drop_column("variability", f"log10_p_value_{kind}")
