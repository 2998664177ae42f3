"""Sources have names, which past ones keep."""

from collections.abc import Sequence

import numpy as np
import sqlalchemy as sa
from alembic import op

from contimg_assets.identity.ids import from_hex
from contimg_assets.identity.names import name_cells, source_names

revision: str = "0011"
down_revision: str | None = "0010"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_SOURCE = "Name after the position of the first detection, cut off (not rounded) as the IAU asks"
_ALIAS = "Name that the source had when it went; missing if it went before sources had names"


def upgrade() -> None:
    op.add_column("sources", sa.Column("name", sa.Text(), nullable=False, server_default="", comment=_SOURCE))
    op.add_column("source_aliases", sa.Column("name", sa.Text(), nullable=True, comment=_ALIAS))
    _name_sources()
    op.create_index("ix_sources_name", "sources", ["name"])
    op.create_index("ix_source_aliases_name", "source_aliases", ["name"])


def _name_sources() -> None:
    """With the default acronym: the next run writes them again where another one is configured."""
    connection = op.get_bind()
    rows = connection.execute(sa.text("SELECT id, first_ra_deg, first_dec_deg, first_mjd FROM sources")).all()
    if not rows:
        return
    query = (
        "SELECT a.source_id, MAX(e.mjd_start) FROM associations a JOIN epochs e ON e.epoch = a.copied_by "
        "GROUP BY a.source_id"
    )
    forks = {row[0]: row[1] for row in connection.execute(sa.text(query))}
    ids, ra, dec, mjd = (np.array(values) for values in zip(*rows, strict=True))
    since = np.array([forks.get(one, first) for one, first in zip(ids, mjd, strict=True)], dtype=float)
    names = source_names(name_cells(ra, dec), since, from_hex(ids), "DSA")
    connection.execute(
        sa.text("UPDATE sources SET name = :name WHERE id = :id"),
        [{"name": name, "id": str(one)} for name, one in zip(names, ids, strict=True)],
    )


def downgrade() -> None:
    op.drop_index("ix_source_aliases_name", "source_aliases")
    op.drop_index("ix_sources_name", "sources")
    op.drop_column("source_aliases", "name")
    op.drop_column("sources", "name")
