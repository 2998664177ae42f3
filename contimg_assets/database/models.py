"""The one schema of the products database, as SQLAlchemy 2 models.

Columns that a stage's table has are taken from its description in `contimg_assets.schemas`, with type, unit, meaning;
only what exists nowhere but in the database is written out here. Rows carry no row numbers and no times of writing, so
that the same inputs give the same rows whatever the history.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    ColumnElement,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    TableClause,
    Text,
    and_,
    column,
    not_,
    table,
    text,
)
from sqlalchemy import Column as SqlColumn
from sqlalchemy.dialects.sqlite import REAL
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeEngine

from contimg_assets.schemas.association import ASSOCIATIONS, RELATIONS
from contimg_assets.schemas.core import Column, TableSchema
from contimg_assets.schemas.corrections import CORRECTED_MEASUREMENTS, CORRECTIONS, EPOCH_SCALES
from contimg_assets.schemas.detections import BAND, IMAGES
from contimg_assets.schemas.error_model import BAND_ERROR_MODEL
from contimg_assets.schemas.forced import FORCED_FLUXES
from contimg_assets.schemas.polarization import STOKES_MEASUREMENTS
from contimg_assets.schemas.variability import CROSS_MATCHES, FLUX_KINDS, SOURCES, VARIABILITY

# SQLite's STRICT tables know INTEGER, REAL, TEXT and BLOB only; they refuse a text where a number belongs.
FLOAT: Double[float] = Double().with_variant(REAL(), "sqlite")
INT = BigInteger().with_variant(Integer(), "sqlite")
BOOL = Boolean().with_variant(Integer(), "sqlite")

_SQL_TYPES: dict[pa.DataType, TypeEngine[Any]] = {
    pa.float64(): FLOAT,
    pa.int64(): INT,
    pa.bool_(): BOOL,
    pa.string(): Text(),
}
_ARROW_TYPES = {type(sql): arrow for arrow, sql in _SQL_TYPES.items()} | {LargeBinary: pa.binary()}


def sql_type(kind: pa.DataType) -> TypeEngine[Any]:
    """Type of a column in the database."""
    return _SQL_TYPES[kind]


def view_of(schema: TableSchema, name: str | None = None) -> TableClause:
    """The view that has a schema's columns, to ask for them; of its name if no other is given."""
    return table(name or schema.name, *(column(one.name, sql_type(one.type)) for one in schema))


def arrow_type(kind: TypeEngine[Any]) -> pa.DataType:
    """Arrow type of a column of the database: the inverse of `sql_type`, and bytes."""
    return _ARROW_TYPES[type(kind)]


_STRICT: dict[str, Any] = {"sqlite_strict": True}
# The rows lie in the order of the key: no second tree, and neighbours on disk are neighbours in meaning.
_CLUSTERED: dict[str, Any] = {"sqlite_strict": True, "sqlite_with_rowid": False}


class Base(DeclarativeBase):
    """Names of constraints are fixed, so that migrations can speak of them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {str: Text(), float: FLOAT, int: INT, bool: BOOL, bytes: LargeBinary()}  # noqa: RUF012


def comment_of(column: Column) -> str:
    """Meaning and unit as the database's column comment."""
    return f"{column.description} [{column.unit}]" if column.unit else column.description


def described(
    schema: TableSchema, key: Collection[str], without: Collection[str] = (), always: Collection[str] = ()
) -> list[SqlColumn[Any]]:
    """The columns of a stage's table.

    Parameters
    ----------
    schema : the description
    key : columns of the primary key
    without : columns that the database does not keep
    always : columns that may not be missing here, beside the key
    """
    return [
        SqlColumn(
            column.name,
            _SQL_TYPES[column.type],
            primary_key=column.name in key,
            nullable=column.name not in key and column.name not in always,
            comment=comment_of(column),
        )
        for column in schema
        if column.name not in without
    ]


def _required(schema: TableSchema) -> list[str]:
    return [column.name for column in schema if not column.nullable]


def _epoch() -> SqlColumn[str]:
    """The column that begins the key of an epoch's rows."""
    return SqlColumn("epoch", Text(), primary_key=True, nullable=False, comment="Epoch")


def _band() -> SqlColumn[str]:
    """The column that says what an image or a measurement is compared with."""
    return SqlColumn(BAND.name, Text(), nullable=False, comment=comment_of(BAND))


def _deferred(columns: list[str], targets: list[str]) -> ForeignKeyConstraint:
    """Checked at commit: an epoch's rows go and come back within one transaction."""
    return ForeignKeyConstraint(columns, targets, deferrable=True, initially="DEFERRED")


class Epoch(Base):
    """One visit of the sky, as written."""

    __tablename__ = "epochs"
    epoch: Mapped[str] = mapped_column(primary_key=True, comment="Name of the epoch")
    mjd_start: Mapped[float | None] = mapped_column(comment="Mid-observation time of its first image, MJD UTC [d]")
    mjd_end: Mapped[float | None] = mapped_column(comment="Mid-observation time of its last image, MJD UTC [d]")
    n_images: Mapped[int] = mapped_column(comment="Images")
    n_measurements: Mapped[int] = mapped_column(comment="Measurements, duplicates included, limits not")
    n_duplicates: Mapped[int] = mapped_column(comment="Measurements that duplicate another one of the epoch")
    n_associations: Mapped[int] = mapped_column(comment="Associations")
    content_version: Mapped[str] = mapped_column(comment="Version of the content that the rows were made from")
    __table_args__ = _CLUSTERED


class EpochVersion(Base):
    """Which version of each input an epoch's rows were made from."""

    __tablename__ = "epoch_versions"
    epoch: Mapped[str] = mapped_column(primary_key=True, comment="Epoch")
    name: Mapped[str] = mapped_column(primary_key=True, comment="Input, such as 'measurements'")
    version: Mapped[str] = mapped_column(comment="Its data version")
    __table_args__ = (_deferred(["epoch"], ["epochs.epoch"]), _CLUSTERED)


class EpochBlock(Base):
    """What the statistics need of an epoch, column by column: a copy of rows of the same transaction, for speed."""

    __tablename__ = "epoch_blocks"
    epoch: Mapped[str] = mapped_column(primary_key=True, comment="Epoch")
    # Before the large column: SQLite walks through a row to reach its end.
    copied: Mapped[bytes] = mapped_column(comment="Points that forks copied from earlier epochs, Arrow IPC")
    points: Mapped[bytes] = mapped_column(comment="Points of light curves, Arrow IPC")
    __table_args__ = (_deferred(["epoch"], ["epochs.epoch"]), _STRICT)


class EpochCells(Base):
    """Where on the sky an epoch has points of light curves, so that far epochs need not be read."""

    __tablename__ = "epoch_cells"
    epoch: Mapped[str] = mapped_column(primary_key=True, comment="Epoch")
    cells: Mapped[bytes] = mapped_column(comment="Ascending HEALPix cells (nested, order 6), 16 bits each")
    __table_args__ = (_deferred(["epoch"], ["epochs.epoch"]), _STRICT)


class Image(Base):
    """One mosaic or observation."""

    __table__ = Table(
        "images",
        Base.metadata,
        _epoch(),
        *described(IMAGES, key=["image"], always=_required(IMAGES)),
        _band(),
        _deferred(["epoch"], ["epochs.epoch"]),
        **_CLUSTERED,
    )


class ImageCoverage(Base):
    """What an image covers and how deep, where that is known better than by its circle and its rms."""

    __tablename__ = "image_coverage"
    epoch: Mapped[str] = mapped_column(primary_key=True, comment="Epoch")
    image: Mapped[str] = mapped_column(primary_key=True, comment="Image")
    radius_deg: Mapped[float] = mapped_column(comment="Radius about the image's centre that holds all of it [deg]")
    cells: Mapped[bytes] = mapped_column(
        comment="Ranges of HEALPix cells (nested, order 29) and the rms in each [mJy / beam], Arrow IPC"
    )
    __table_args__ = (_deferred(["epoch", "image"], ["images.epoch", "images.image"]), _STRICT)


class ImageDepth(Base):
    """How deep an image is over its field and what its source finder detects, measured from its own detections."""

    __tablename__ = "image_depths"
    epoch: Mapped[str] = mapped_column(primary_key=True, comment="Epoch")
    image: Mapped[str] = mapped_column(primary_key=True, comment="Image")
    threshold_snr: Mapped[float | None] = mapped_column(
        comment="Signal to noise ratio from which on its finder detects; missing where too few rows tell"
    )
    rms_scatter: Mapped[float] = mapped_column(comment="Scatter of the local rms about its model, in ln")
    n_bright: Mapped[int] = mapped_column(comment="Detections far above the threshold")
    rms_model: Mapped[bytes] = mapped_column(
        comment="Terms of ln(rms) over the field and its bounds, as measured [mJy / beam], 64-bit numbers"
    )
    __table_args__ = (_deferred(["epoch", "image"], ["images.epoch", "images.image"]), _STRICT)


class ImageLimits(Base):
    """Upper limits of the sources in a part of the sky by one image; the view `upper_limits` has one a row."""

    __tablename__ = "image_limits"
    cell: Mapped[int] = mapped_column(
        primary_key=True, autoincrement=False, comment="HEALPix cell that holds the sources, nested, order 6"
    )
    epoch: Mapped[str] = mapped_column(primary_key=True, comment="Epoch")
    image: Mapped[str] = mapped_column(primary_key=True, comment="Image that says most")
    limits: Mapped[str] = mapped_column(
        comment="A line for each source, ascending: its id, and its upper limit in nine digits [mJy / beam]"
    )
    __table_args__ = (_deferred(["epoch", "image"], ["images.epoch", "images.image"]), Index(None, "epoch"), _STRICT)


class Correction(Base):
    """Position offset and flux scale of one image."""

    __table__ = Table(
        "corrections",
        Base.metadata,
        _epoch(),
        *described(CORRECTIONS, key=["image"], always=_required(CORRECTIONS)),
        _deferred(["epoch", "image"], ["images.epoch", "images.image"]),
        **_CLUSTERED,
    )


class EpochScale(Base):
    """Flux scale of one image from the sources that it shares with others, solved for all epochs together."""

    # No foreign key: an epoch's images go and come back without it, and it is made anew after them.
    __table__ = Table(
        "epoch_scales",
        Base.metadata,
        *described(EPOCH_SCALES, key=["epoch", "image"], always=_required(EPOCH_SCALES)),
        **_CLUSTERED,
    )


class ErrorModelValue(Base):
    """Errors of fluxes as constant sources show them; what the statistics of all sources are made with."""

    __table__ = Table(
        "error_model",
        Base.metadata,
        *described(BAND_ERROR_MODEL, key=BAND_ERROR_MODEL.key, always=_required(BAND_ERROR_MODEL)),
        **_CLUSTERED,
    )


class Measurement(Base):
    """A detection in our columns and units, raw and corrected."""

    __table__ = Table(
        "measurements",
        Base.metadata,
        _epoch(),
        *described(
            CORRECTED_MEASUREMENTS,
            key=["measurement_id"],
            without=["weight_ew_per_arcsec2", "weight_ns_per_arcsec2"],
            always=["image", "mjd", "ra_deg", "dec_deg", "forced"],
        ),
        # Until version 0016 of the schema limits were rows here; questions that leave them out still find the column.
        SqlColumn("is_limit", BOOL, nullable=False, comment="No: upper limits are in the view `upper_limits`"),
        SqlColumn("upper_limit_mjy_beam", FLOAT, comment="Missing: upper limits are in the view `upper_limits`"),
        _band(),
        CheckConstraint(
            "(is_limit AND flux_peak_mjy_beam IS NULL AND flux_int_mjy IS NULL) OR upper_limit_mjy_beam IS NULL",
            name="a_limit_is_no_flux",
        ),
        _deferred(["epoch", "image"], ["images.epoch", "images.image"]),
        # The id alone tells a measurement from all others, so people join by it alone.
        Index(None, "measurement_id"),
        **_CLUSTERED,
    )


class StokesMeasurement(Base):
    """A flux in another Stokes parameter than I, a limit of one, or a negative detection in I."""

    # No foreign key to a source: one of its own has no row among those in I.
    __table__ = Table(
        "stokes_measurements",
        Base.metadata,
        _epoch(),
        *described(STOKES_MEASUREMENTS, key=["measurement_id"], always=_required(STOKES_MEASUREMENTS)),
        _deferred(["epoch"], ["epochs.epoch"]),
        Index(None, "source_id"),
        # Those without a measurement in I, which are few, are placed again with every change.
        Index(
            "ix_stokes_measurements_unplaced",
            "measurement_id",
            sqlite_where=text("i_measurement_id IS NULL"),
            postgresql_where=text("i_measurement_id IS NULL"),
        ),
        **_CLUSTERED,
    )


class _Isolated(NamedTuple):
    """Sources without a neighbor within a radius [arcsec], and the condition by which the index finds them."""

    within_arcsec: float
    condition: str


ISOLATED = _Isolated(3600.0, "neighbour_arcsec IS NULL OR neighbour_arcsec > 3600.0")


ONLY_POLARIZED = "only_polarized"
"""The condition by which the index finds sources that nothing in I shows."""


class Source(Base):
    """What measurements of different epochs are measurements of."""

    __table__ = Table(
        "sources",
        Base.metadata,
        *described(SOURCES, key=["id"], always=_required(SOURCES)),
        Index(None, "name"),
        Index(None, "healpix"),
        Index(None, "new_significance"),
        Index(
            "ix_sources_isolated",
            "neighbour_arcsec",
            sqlite_where=text(ISOLATED.condition),
            postgresql_where=text(ISOLATED.condition),
        ),
        Index(
            "ix_sources_only_polarized",
            "id",
            sqlite_where=text(ONLY_POLARIZED),
            postgresql_where=text(ONLY_POLARIZED),
        ),
        **_STRICT,
    )


class Association(Base):
    """Which source a measurement belongs to."""

    __table__ = Table(
        "associations",
        Base.metadata,
        # The order of the key is the order on disk: an epoch's rows lie together.
        _epoch(),
        SqlColumn("measurement_id", Text(), primary_key=True, nullable=False, comment="The measurement"),
        *described(
            ASSOCIATIONS, key=["source_id"], without=["epoch", "measurement_id"], always=_required(ASSOCIATIONS)
        ),
        SqlColumn("copied_by", Text(), comment="Epoch whose fork copied the row; missing for the epoch's own rows"),
        _deferred(["source_id"], ["sources.id"]),
        _deferred(["epoch", "measurement_id"], ["measurements.epoch", "measurements.measurement_id"]),
        Index(None, "source_id"),
        Index(None, "measurement_id"),
        Index(
            "ix_associations_copied_by",
            "copied_by",
            sqlite_where=text("copied_by IS NOT NULL"),
            postgresql_where=text("copied_by IS NOT NULL"),
        ),
        **_CLUSTERED,
    )


class ForcedFlux(Base):
    """A flux at a fixed position of an image, as measured; the view `forced_photometry` has it corrected."""

    # No foreign key: an epoch's images go and come back without it, and it is made anew after them.
    __table__ = Table(
        "forced_fluxes",
        Base.metadata,
        _epoch(),
        *described(FORCED_FLUXES, key=FORCED_FLUXES.key, always=_required(FORCED_FLUXES)),
        Index(None, "position"),
        **_CLUSTERED,
    )


class ForcedEpoch(Base):
    """Which version of the stage `forced_photometry` the forced fluxes of an epoch are from."""

    __tablename__ = "forced_epochs"
    epoch: Mapped[str] = mapped_column(primary_key=True, comment="Epoch")
    version: Mapped[str] = mapped_column(comment="Its data version")
    code_version: Mapped[str] = mapped_column(comment="Version of what wrote them")
    __table_args__ = _CLUSTERED


class SourceRelation(Base):
    """Two sources that competed for the same measurement in an epoch."""

    __table__ = Table(
        "source_relations",
        Base.metadata,
        _epoch(),
        *described(RELATIONS, key=["from_source_id", "to_source_id"], always=["kind"]),
        _deferred(["epoch"], ["epochs.epoch"]),
        _deferred(["from_source_id"], ["sources.id"]),
        _deferred(["to_source_id"], ["sources.id"]),
        Index(None, "from_source_id"),
        Index(None, "to_source_id"),
        **_CLUSTERED,
    )


class SourceAlias(Base):
    """Where the measurements of a source went when re-folding took them away."""

    __tablename__ = "source_aliases"
    alias: Mapped[str] = mapped_column(primary_key=True, comment="Source that lost its measurements")
    source_id: Mapped[str | None] = mapped_column(
        index=True, comment="Present source with most of its measurements; missing if none are left"
    )
    gone: Mapped[bool] = mapped_column(comment="Whether the alias is no source any more; else it only lost some")
    name: Mapped[str | None] = mapped_column(
        index=True, comment="Name that the source had when it went; missing if it went before sources had names"
    )
    __table_args__ = (_deferred(["source_id"], ["sources.id"]), _CLUSTERED)


def significance_columns(kind: str) -> list[str]:
    """The columns of `variability` that tell how sure it is that a source varies, by one kind of flux."""
    numbers = [f"{name}_{kind}" for name in ("eta", "v", "n", "log10_p_value")]
    fluxes = [f"flux_{kind}_{name}_{FLUX_KINDS[kind]}" for name in ("weighted_mean", "weighted_mean_err")]
    return ["sample", *numbers, *fluxes]


class Variability(Base):
    """Statistics of light curves."""

    __table__ = Table(
        "variability",
        Base.metadata,
        *described(VARIABILITY, key=["source_id", "band", "sample"], always=_required(VARIABILITY)),
        _deferred(["source_id"], ["sources.id"]),
        # What is asked of all sources together stands side by side: a row of the table is ten times as wide.
        *(Index(f"ix_variability_significance_{kind}", *significance_columns(kind)) for kind in FLUX_KINDS),
        **_CLUSTERED,
    )


class ReferenceCatalog(Base):
    """A reference catalogue that sources were matched to."""

    __tablename__ = "reference_catalogs"
    name: Mapped[str] = mapped_column(primary_key=True, comment="Name")
    freq_mhz: Mapped[float | None] = mapped_column(comment="Frequency of its fluxes [MHz]")
    beam_arcsec: Mapped[float | None] = mapped_column(comment="Resolution, FWHM [arcsec]")
    version: Mapped[str] = mapped_column(comment="Version of its content")
    __table_args__ = _CLUSTERED


class CrossMatch(Base):
    """A candidate counterpart of a source."""

    __table__ = Table(
        "cross_matches",
        Base.metadata,
        *described(CROSS_MATCHES, key=["id"], always=_required(CROSS_MATCHES)),
        _deferred(["source_id"], ["sources.id"]),
        _deferred(["catalog_type"], ["reference_catalogs.name"]),
        Index(None, "source_id", "catalog_type", "rank"),
        **_STRICT,
    )


class MatchOverride(Base):
    """What a person decided or said about a match. Only ever added to; follows the source through its aliases."""

    __tablename__ = "match_overrides"
    id: Mapped[str] = mapped_column(primary_key=True, comment="Hash of the other columns")
    source_id: Mapped[str] = mapped_column(index=True, comment="The source, as it was named then")
    catalog: Mapped[str] = mapped_column(comment="Reference catalogue")
    catalog_source_id: Mapped[str | None] = mapped_column(comment="Source in that catalogue; missing: all of them")
    action: Mapped[str] = mapped_column(comment="'accept', 'reject', 'withdraw' or 'comment'")
    comment: Mapped[str | None] = mapped_column(comment="What the person says")
    author: Mapped[str | None] = mapped_column(comment="Who")
    created_at: Mapped[str] = mapped_column(comment="When, ISO 8601 UTC")
    __table_args__ = (
        CheckConstraint("action IN ('accept', 'reject', 'withdraw', 'comment')", name="action"),
        _STRICT,
    )


ADDED, TAKEN_BACK = "add", "remove"
"""What people do to a tag, a note, a favorite or a saved query."""


def _said(name: str, *columns: SqlColumn[Any]) -> Table:
    """A table of what people say: a row for each time that somebody adds something or takes it back."""
    of_source = [column.name for column in columns if column.name == "source_id"]
    return Table(
        name,
        Base.metadata,
        SqlColumn("id", Text(), primary_key=True, comment="Hash of the other columns"),
        *columns,
        SqlColumn("action", Text(), nullable=False, comment=f"'{ADDED}' or '{TAKEN_BACK}'"),
        SqlColumn("author", Text(), nullable=False, comment="Who"),
        SqlColumn("created_at", Text(), nullable=False, comment="When, ISO 8601 UTC"),
        CheckConstraint(f"action IN ('{ADDED}', '{TAKEN_BACK}')", name="action"),
        *(Index(None, one) for one in of_source),
        **_STRICT,
    )


def _said_of() -> SqlColumn[str]:
    return SqlColumn("source_id", Text(), nullable=False, comment="The source, as it was named then")


class SourceTag(Base):
    """A word that a person put on a source. Only ever added to; follows the source through its aliases."""

    __table__ = _said("source_tags", _said_of(), SqlColumn("tag", Text(), nullable=False, comment="The word"))


class SourceNote(Base):
    """What a person wrote about a source. Only ever added to; follows the source through its aliases."""

    __table__ = _said("source_notes", _said_of(), SqlColumn("note", Text(), nullable=False, comment="The text"))


class FavoriteSource(Base):
    """A source that a person wants to find again. Only ever added to; follows the source through its aliases."""

    __table__ = _said("favorite_sources", _said_of())


class SavedQuery(Base):
    """A list of sources under a name. Only ever added to: what was saved last under a name holds."""

    __table__ = _said(
        "saved_queries",
        SqlColumn("name", Text(), nullable=False, comment="Name of the list"),
        SqlColumn("query", Text(), nullable=False, comment="What the list asks for, as in the address of its page"),
    )


class RecomputedWith(Base):
    """Versions of what all sources were computed with; another version means computing all of them again."""

    __tablename__ = "recomputed_with"
    name: Mapped[str] = mapped_column(primary_key=True, comment="'variability' or 'matching'")
    version: Mapped[str] = mapped_column(comment="Version of its parameters and inputs")
    __table_args__ = _CLUSTERED


TABLES: dict[str, Table] = dict(Base.metadata.tables)

IN_TOTAL: ColumnElement[bool] = not_(TABLES["sources"].c.only_polarized)
"""Whether a source is one of Stokes I: what is judged by fluxes there is asked of these alone."""


def is_evidence(view: TableClause) -> ColumnElement[bool]:
    """Which rows of `forced_photometry` may say that a source is new, has faded or varies: those of sources, with a
    flux, and not so near to a bright source that its artifacts may be what was measured."""
    return and_(view.c.reason == "", not_(view.c.monitored), not_(view.c.near_bright))


@dataclass(frozen=True)
class ColumnDescription:
    """A column for people to read: `type` as the database names it, `description` with the unit in brackets."""

    name: str
    type: str
    description: str
    nullable: bool


@dataclass(frozen=True)
class TableDescription:
    """What a table holds, and its columns in order."""

    description: str
    columns: tuple[ColumnDescription, ...]


def describe_table(name: str) -> TableDescription:
    """What a table of the products database and its columns hold, in words.

    Parameters
    ----------
    name : one of TABLES

    Raises
    ------
    KeyError
        If there is no such table.
    """
    table = TABLES[name]
    model = next(mapper.class_ for mapper in Base.registry.mappers if mapper.local_table is table)
    columns = tuple(
        ColumnDescription(column.name, str(column.type), column.comment or "", bool(column.nullable))
        for column in table.columns
    )
    return TableDescription((model.__doc__ or "").strip(), columns)
