"""Images, measurements and statistics say which band they are of."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa
from alembic import op

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_INT: sa.types.TypeEngine[int] = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_BAND = "Band of the image, named by its middle: fluxes are compared within a band only"
_OF_STATISTICS = "Band of the light curve, named by its middle"
_OF_SOURCE = "Band that most detections are of (the lowest of several): that of frequency, beam and fluxes"


def upgrade() -> None:
    """Bands of older versions follow from the frequencies. Statistics of one band stay as they are; where there are
    several, which were mixed, the next epoch that is written makes all of them again."""
    connection = op.get_bind()
    bands = _bands(connection)
    main = max(sorted(bands), key=lambda name: len(bands[name])) if bands else "none"
    for name in ("images", "measurements"):
        op.add_column(name, sa.Column("band", sa.Text(), nullable=False, server_default=main, comment=_BAND))
    for band, frequencies in bands.items():
        if band != main:
            _name_other_band(connection, band, frequencies)
    op.add_column("sources", sa.Column("band", sa.Text(), nullable=False, server_default=main, comment=_OF_SOURCE))
    n_bands = sa.Column("n_bands", _INT, nullable=False, server_default="1", comment="Bands with a measurement")
    op.add_column("sources", n_bands)
    _add_to_key(main)
    if len(bands) > 1:
        connection.execute(sa.text("UPDATE recomputed_with SET version = 'mixed bands' WHERE name = 'variability'"))


def downgrade() -> None:
    connection = op.get_bind()
    kept = "SELECT id FROM sources s WHERE s.id = variability.source_id AND s.band = variability.band"
    connection.execute(sa.text(f"DELETE FROM variability WHERE NOT EXISTS ({kept})"))  # noqa: S608
    _take_from_key()
    for table, column in (("sources", "n_bands"), ("sources", "band"), ("measurements", "band"), ("images", "band")):
        op.drop_column(table, column)


def _bands(connection: sa.Connection) -> dict[str, list[float]]:
    """Band -> frequencies of its images, one for each image."""
    found: dict[str, list[float]] = {}
    for (freq_mhz,) in connection.execute(sa.text("SELECT freq_mhz FROM images")):
        step = np.floor(np.log(freq_mhz / 1355.0) / np.log(1.15) + 0.5)
        found.setdefault(f"{int(np.rint(1355.0 * 1.15**step))}MHz", []).append(freq_mhz)
    return found


def _name_other_band(connection: sa.Connection, band: str, frequencies: Sequence[float]) -> None:
    for freq_mhz in sorted(set(frequencies)):
        values = {"band": band, "freq": freq_mhz}
        connection.execute(sa.text("UPDATE images SET band = :band WHERE freq_mhz = :freq"), values)
    image = "SELECT 1 FROM images i WHERE i.epoch = measurements.epoch AND i.image = measurements.image"
    connection.execute(
        sa.text(f"UPDATE measurements SET band = :band WHERE EXISTS ({image} AND i.band = :band)"),  # noqa: S608
        {"band": band},
    )


def _add_to_key(band: str) -> None:
    if op.get_context().dialect.name != "sqlite":
        column = sa.Column("band", sa.Text(), nullable=False, server_default=band, comment=_OF_STATISTICS)
        op.add_column("variability", column)
        op.drop_constraint("pk_variability", "variability", type_="primary")
        op.create_primary_key("pk_variability", "variability", ["source_id", "band", "sample"])
        return
    _remake(sa.Column("band", sa.Text(), nullable=False), sa.literal(band), ["source_id", "band", "sample"])


def _take_from_key() -> None:
    if op.get_context().dialect.name != "sqlite":
        op.drop_constraint("pk_variability", "variability", type_="primary")
        op.drop_column("variability", "band")
        op.create_primary_key("pk_variability", "variability", ["source_id", "sample"])
        return
    _remake(None, None, ["source_id", "sample"])


def _remake(added: sa.Column[str] | None, value: sa.ColumnElement[str] | None, key: Sequence[str]) -> None:
    """SQLite cannot change a key: the table is written anew, with its rows."""
    connection = op.get_bind()
    old = sa.Table("variability", sa.MetaData(), autoload_with=connection)
    kept = [column for column in old.columns if column.name != "band"]
    columns = [sa.Column(column.name, column.type, nullable=column.nullable) for column in kept]
    values: list[sa.ColumnElement[Any]] = list(kept)
    if added is not None and value is not None:
        columns.insert(1, added)
        values.insert(1, value)
    new = op.create_table(
        "variability_new",
        *columns,
        sa.PrimaryKeyConstraint(*key, name="pk_variability"),
        sa.ForeignKeyConstraint(
            ["source_id"], ["sources.id"], name="fk_variability_source_id", deferrable=True, initially="DEFERRED"
        ),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    connection.execute(new.insert().from_select([column.name for column in columns], sa.select(*values)))
    indices = sorted((str(index.name), [column.name for column in index.columns]) for index in old.indexes)
    op.drop_table("variability")
    op.rename_table("variability_new", "variability")
    for name, names in indices:
        op.create_index(name, "variability", names)
