"""The table `error_model` has errors of positions too: what its columns mean."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0024"
down_revision: str | None = "0023"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# Column: comment before, comment since.
_COMMENTS = {
    "flux_kind": (
        "'peak' or 'int': which flux density the row is about",
        "'peak' or 'int': which flux density the row is about; 'east' or 'north': which axis of positions",
    ),
    "term": (
        "'noise': factor of the finder's error, by S / e; 'floor': fraction of the flux, by distance from the image "
        "centre; 'step': the same, between images of different configurations",
        "'noise': factor of the finder's error, by S / e; 'floor': fraction of the flux, by distance from the image "
        "centre; 'step': the same, between images of different configurations. Of positions: 'noise', by the finder's "
        "error; 'floor': systematic error, by distance; 'assumed': that of the measurements, which it takes the place "
        "of",
    ),
    "at": (
        "S / e, or distance from the image centre in radii of the image",
        "S / e, or distance from the image centre in radii of the image; error of a position in arcsec",
    ),
    "value": ("Factor or fraction", "Factor or fraction; systematic error of positions in arcsec"),
    "n_residuals": (
        "Differences of repeated fluxes that all values are from",
        "Differences of repeated fluxes or positions that all values are from",
    ),
}


def upgrade() -> None:
    _comment(1)


def downgrade() -> None:
    # An earlier version has no place for them.
    op.execute(sa.text("DELETE FROM error_model WHERE flux_kind IN ('east', 'north')"))
    _comment(0)


def _comment(which: int) -> None:
    """SQLite keeps no comments."""
    if op.get_context().dialect.name != "sqlite":
        for column, comments in _COMMENTS.items():
            op.alter_column("error_model", column, comment=comments[which], existing_comment=comments[1 - which])
