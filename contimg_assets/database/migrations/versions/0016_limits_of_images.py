"""Upper limits are lines of a text, one row for the sources of an image in a part of the sky, and rows no more."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
import sqlalchemy as sa
from alembic import op

from contimg_assets.identity.ids import from_hex, hash_text, mix, to_hex

revision: str = "0016"
down_revision: str | None = "0015"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_INT: sa.types.TypeEngine[int] = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TABLE = sa.table("image_limits", *(sa.column(name) for name in ("cell", "epoch", "image", "limits")))
_COMMENTS = {
    "is_limit": (
        "No: upper limits are in the view `upper_limits`",
        "Whether the row is an upper limit and not a measurement",
    ),
    "upper_limit_mjy_beam": (
        "Missing: upper limits are in the view `upper_limits`",
        "Upper limit where the source was covered and not detected [mJy / beam]",
    ),
}
_ROWS = """
    SELECT s.healpix >> 8 AS cell, m.epoch, m.image, a.source_id, m.upper_limit_mjy_beam
    FROM measurements m
    JOIN associations a ON a.epoch = m.epoch AND a.measurement_id = m.measurement_id
    JOIN sources s ON s.id = a.source_id
    WHERE m.epoch = :epoch AND m.is_limit ORDER BY 1, 3, 4"""
_MEASUREMENT = """
    INSERT INTO measurements (epoch, measurement_id, image, mjd, ra_deg, dec_deg, healpix, forced, is_limit,
        upper_limit_mjy_beam, band)
    SELECT i.epoch, :measurement_id, i.image, i.mjd, s.first_ra_deg, s.first_dec_deg, s.healpix, {no}, NOT {no},
        :limit, i.band
    FROM images i, sources s WHERE i.epoch = :epoch AND i.image = :image AND s.id = :source_id"""
_ASSOCIATION = """
    INSERT INTO associations (epoch, measurement_id, source_id, copied)
    VALUES (:epoch, :measurement_id, :source_id, {no})"""
# A limit was named by its source, where its epoch has several bands by the band too, and by its epoch.
_KIND = "upper limit"


def upgrade() -> None:
    """The numbers stay, in nine digits; nothing is computed."""
    connection = op.get_bind()
    op.create_table(
        "image_limits",
        sa.Column("cell", _INT, nullable=False, comment="HEALPix cell that holds the sources, nested, order 6"),
        sa.Column("epoch", sa.Text(), nullable=False, comment="Epoch"),
        sa.Column("image", sa.Text(), nullable=False, comment="Image that says most"),
        sa.Column(
            "limits",
            sa.Text(),
            nullable=False,
            comment="A line for each source, ascending: its id, and its upper limit in nine digits [mJy / beam]",
        ),
        sa.ForeignKeyConstraint(
            ["epoch", "image"],
            ["images.epoch", "images.image"],
            name=op.f("fk_image_limits_epoch_image"),
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.PrimaryKeyConstraint("cell", "epoch", "image", name=op.f("pk_image_limits")),
        sqlite_strict=True,
    )
    op.create_index(op.f("ix_image_limits_epoch"), "image_limits", ["epoch"])
    for epoch in _epochs(connection):
        rows = connection.execute(sa.text(_ROWS), {"epoch": epoch}).all()
        texts = [
            dict(zip(("cell", "epoch", "image"), key, strict=True))
            | {"limits": "".join(f"{row.source_id} {row.upper_limit_mjy_beam:.8E}\n" for row in of_key)}
            for key, of_key in groupby(rows, key=itemgetter(0, 1, 2))
        ]
        if texts:
            connection.execute(_TABLE.insert(), texts)
            _delete_rows(connection, epoch)
    op.drop_table("epoch_limits")
    _settle(connection, 0)


def downgrade() -> None:
    connection = op.get_bind()
    op.create_table(
        "epoch_limits",
        sa.Column("epoch", sa.Text(), nullable=False, comment="Epoch"),
        sa.Column("sources", sa.LargeBinary(), nullable=False, comment="Ascending 64-bit hashes of the sources"),
        sa.ForeignKeyConstraint(
            ["epoch"], ["epochs.epoch"], name=op.f("fk_epoch_limits_epoch"), initially="DEFERRED", deferrable=True
        ),
        sa.PrimaryKeyConstraint("epoch", name=op.f("pk_epoch_limits")),
        sqlite_strict=True,
    )
    keys = sa.table("epoch_limits", sa.column("epoch"), sa.column("sources"))
    for epoch in _epochs(connection):
        found = _insert_rows(connection, epoch)
        connection.execute(keys.insert(), {"epoch": epoch, "sources": np.sort(found).astype("<u8").tobytes()})
    op.drop_table("image_limits")
    _settle(connection, 1)


def _epochs(connection: sa.Connection) -> list[str]:
    return list(connection.execute(sa.text("SELECT epoch FROM epochs ORDER BY epoch")).scalars())


def _delete_rows(connection: sa.Connection, epoch: str) -> None:
    limits = "SELECT measurement_id FROM measurements WHERE epoch = :epoch AND is_limit"
    for statement in (
        f"DELETE FROM associations WHERE epoch = :epoch AND measurement_id IN ({limits})",  # noqa: S608
        "DELETE FROM measurements WHERE epoch = :epoch AND is_limit",
    ):
        connection.execute(sa.text(statement), {"epoch": epoch})


def _insert_rows(connection: sa.Connection, epoch: str) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Limits as rows of measurements and associations; their keys."""
    rows = list(_lines(connection, epoch))
    if not rows:
        return np.empty(0, np.uint64)
    several = connection.execute(
        sa.text("SELECT count(DISTINCT band) > 1 FROM images WHERE epoch = :epoch"), {"epoch": epoch}
    ).scalar_one()
    key = from_hex([row["source_id"] for row in rows])
    if several:
        key = mix(key, hash_text([row["band"] for row in rows]))
    ids = to_hex(mix(mix(hash_text([_KIND])[0], key), hash_text([epoch])[0]))
    for row, name in zip(rows, ids, strict=True):
        row["measurement_id"] = name
    no = "0" if connection.dialect.name == "sqlite" else "FALSE"
    for statement in (_MEASUREMENT, _ASSOCIATION):
        connection.execute(sa.text(statement.format(no=no)), rows)
    return key


def _lines(connection: sa.Connection, epoch: str) -> Iterator[dict[str, Any]]:
    """The limits of an epoch, one by one."""
    query = (
        "SELECT l.image, l.limits, i.band FROM image_limits l JOIN images i ON i.epoch = l.epoch AND i.image = l.image "
        "WHERE l.epoch = :epoch ORDER BY l.cell, l.image"
    )
    for image, text, band in connection.execute(sa.text(query), {"epoch": epoch}).all():
        for line in text.splitlines():
            source, limit = line.split()
            yield {"epoch": epoch, "image": image, "band": band, "source_id": source, "limit": float(limit)}


def _settle(connection: sa.Connection, which: int) -> None:
    """PostgreSQL changes no table whose rows wait to be checked; and it keeps comments, which SQLite does not."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SET CONSTRAINTS ALL IMMEDIATE"))
        connection.execute(sa.text("SET CONSTRAINTS ALL DEFERRED"))
        for name, comments in _COMMENTS.items():
            op.alter_column("measurements", name, comment=comments[which])
