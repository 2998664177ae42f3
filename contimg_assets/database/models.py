"""The one schema of the products database, as tables of SQLAlchemy.

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
from sqlalchemy.schema import SchemaItem
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


# Names of constraints are fixed, so that migrations can speak of them.
METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
_TYPES: dict[type, TypeEngine[Any]] = {str: Text(), float: FLOAT, int: INT, bool: BOOL, bytes: LargeBinary()}
# Where a table keeps what it holds, in words.
_DESCRIPTION = "description"


def _table(name: str, description: str, *items: SchemaItem, **options: Any) -> Table:
    """A table of the schema.

    Parameters
    ----------
    description : what it holds
    items : its columns and constraints
    """
    return Table(name, METADATA, *items, info={_DESCRIPTION: description}, **options)


def _column(name: str, kind: type, *, nullable: bool = False, **options: Any) -> SqlColumn[Any]:
    """A column that exists nowhere but in the database; a value may not be missing unless that is said."""
    return SqlColumn(name, _TYPES[kind], nullable=nullable, **options)


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


_table(
    "epochs",
    "One visit of the sky, as written.",
    _column("epoch", str, primary_key=True, comment="Name of the epoch"),
    _column("mjd_start", float, nullable=True, comment="Mid-observation time of its first image, MJD UTC [d]"),
    _column("mjd_end", float, nullable=True, comment="Mid-observation time of its last image, MJD UTC [d]"),
    _column("n_images", int, comment="Images"),
    _column("n_measurements", int, comment="Measurements, duplicates included, limits not"),
    _column("n_duplicates", int, comment="Measurements that duplicate another one of the epoch"),
    _column("n_associations", int, comment="Associations"),
    _column("content_version", str, comment="Version of the content that the rows were made from"),
    **_CLUSTERED,
)


_table(
    "epoch_versions",
    "Which version of each input an epoch's rows were made from.",
    _column("epoch", str, primary_key=True, comment="Epoch"),
    _column("name", str, primary_key=True, comment="Input, such as 'measurements'"),
    _column("version", str, comment="Its data version"),
    _deferred(["epoch"], ["epochs.epoch"]),
    **_CLUSTERED,
)


_table(
    "epoch_blocks",
    "What the statistics need of an epoch, column by column: a copy of rows of the same transaction, for speed.",
    _column("epoch", str, primary_key=True, comment="Epoch"),
    # Before the large column: SQLite walks through a row to reach its end.
    _column("copied", bytes, comment="Points that forks copied from earlier epochs, Arrow IPC"),
    _column("points", bytes, comment="Points of light curves, Arrow IPC"),
    _deferred(["epoch"], ["epochs.epoch"]),
    **_STRICT,
)


_table(
    "epoch_cells",
    "Where on the sky an epoch has points of light curves, so that far epochs need not be read.",
    _column("epoch", str, primary_key=True, comment="Epoch"),
    _column("cells", bytes, comment="Ascending HEALPix cells (nested, order 6), 16 bits each"),
    _deferred(["epoch"], ["epochs.epoch"]),
    **_STRICT,
)


_table(
    "images",
    "One mosaic or observation.",
    _epoch(),
    *described(IMAGES, key=["image"], always=_required(IMAGES)),
    _band(),
    _deferred(["epoch"], ["epochs.epoch"]),
    **_CLUSTERED,
)


_table(
    "image_coverage",
    "What an image covers and how deep, where that is known better than by its circle and its rms.",
    _column("epoch", str, primary_key=True, comment="Epoch"),
    _column("image", str, primary_key=True, comment="Image"),
    _column("radius_deg", float, comment="Radius about the image's centre that holds all of it [deg]"),
    _column(
        "cells", bytes, comment="Ranges of HEALPix cells (nested, order 29) and the rms in each [mJy / beam], Arrow IPC"
    ),
    _deferred(["epoch", "image"], ["images.epoch", "images.image"]),
    **_STRICT,
)


_table(
    "image_depths",
    "How deep an image is over its field and what its source finder detects, measured from its own detections.",
    _column("epoch", str, primary_key=True, comment="Epoch"),
    _column("image", str, primary_key=True, comment="Image"),
    _column(
        "threshold_snr",
        float,
        nullable=True,
        comment="Signal to noise ratio from which on its finder detects; missing where too few rows tell",
    ),
    _column("rms_scatter", float, comment="Scatter of the local rms about its model, in ln"),
    _column("n_bright", int, comment="Detections far above the threshold"),
    _column(
        "rms_model",
        bytes,
        comment="Terms of ln(rms) over the field and its bounds, as measured [mJy / beam], 64-bit numbers",
    ),
    _deferred(["epoch", "image"], ["images.epoch", "images.image"]),
    **_STRICT,
)


_table(
    "image_limits",
    "Upper limits of the sources in a part of the sky by one image; the view `upper_limits` has one a row.",
    _column(
        "cell",
        int,
        primary_key=True,
        autoincrement=False,
        comment="HEALPix cell that holds the sources, nested, order 6",
    ),
    _column("epoch", str, primary_key=True, comment="Epoch"),
    _column("image", str, primary_key=True, comment="Image that says most"),
    _column(
        "limits",
        str,
        comment="A line for each source, ascending: its id, and its upper limit in nine digits [mJy / beam]",
    ),
    _deferred(["epoch", "image"], ["images.epoch", "images.image"]),
    Index(None, "epoch"),
    **_STRICT,
)


_table(
    "corrections",
    "Position offset and flux scale of one image.",
    _epoch(),
    *described(CORRECTIONS, key=["image"], always=_required(CORRECTIONS)),
    _deferred(["epoch", "image"], ["images.epoch", "images.image"]),
    **_CLUSTERED,
)


# No foreign key: an epoch's images go and come back without it, and it is made anew after them.
_table(
    "epoch_scales",
    "Flux scale of one image from the sources that it shares with others, solved for all epochs together.",
    *described(EPOCH_SCALES, key=["epoch", "image"], always=_required(EPOCH_SCALES)),
    **_CLUSTERED,
)


_table(
    "error_model",
    "Errors of fluxes as constant sources show them; what the statistics of all sources are made with.",
    *described(BAND_ERROR_MODEL, key=BAND_ERROR_MODEL.key, always=_required(BAND_ERROR_MODEL)),
    **_CLUSTERED,
)


_table(
    "measurements",
    "A detection in our columns and units, raw and corrected.",
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


# No foreign key to a source: one of its own has no row among those in I.
_table(
    "stokes_measurements",
    "A flux in another Stokes parameter than I, a limit of one, or a negative detection in I.",
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


_table(
    "sources",
    "What measurements of different epochs are measurements of.",
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


_table(
    "associations",
    "Which source a measurement belongs to.",
    # The order of the key is the order on disk: an epoch's rows lie together.
    _epoch(),
    SqlColumn("measurement_id", Text(), primary_key=True, nullable=False, comment="The measurement"),
    *described(ASSOCIATIONS, key=["source_id"], without=["epoch", "measurement_id"], always=_required(ASSOCIATIONS)),
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


# No foreign key: an epoch's images go and come back without it, and it is made anew after them.
_table(
    "forced_fluxes",
    "A flux at a fixed position of an image, as measured; the view `forced_photometry` has it corrected.",
    _epoch(),
    *described(FORCED_FLUXES, key=FORCED_FLUXES.key, always=_required(FORCED_FLUXES)),
    Index(None, "position"),
    **_CLUSTERED,
)


_table(
    "forced_epochs",
    "Which version of the stage `forced_photometry` the forced fluxes of an epoch are from.",
    _column("epoch", str, primary_key=True, comment="Epoch"),
    _column("version", str, comment="Its data version"),
    _column("code_version", str, comment="Version of what wrote them"),
    **_CLUSTERED,
)


_table(
    "source_relations",
    "Two sources that competed for the same measurement in an epoch.",
    _epoch(),
    *described(RELATIONS, key=["from_source_id", "to_source_id"], always=["kind"]),
    _deferred(["epoch"], ["epochs.epoch"]),
    _deferred(["from_source_id"], ["sources.id"]),
    _deferred(["to_source_id"], ["sources.id"]),
    Index(None, "from_source_id"),
    Index(None, "to_source_id"),
    **_CLUSTERED,
)


_table(
    "source_aliases",
    "Where the measurements of a source went when re-folding took them away.",
    _column("alias", str, primary_key=True, comment="Source that lost its measurements"),
    _column(
        "source_id",
        str,
        nullable=True,
        index=True,
        comment="Present source with most of its measurements; missing if none are left",
    ),
    _column("gone", bool, comment="Whether the alias is no source any more; else it only lost some"),
    _column(
        "name",
        str,
        nullable=True,
        index=True,
        comment="Name that the source had when it went; missing if it went before sources had names",
    ),
    _deferred(["source_id"], ["sources.id"]),
    **_CLUSTERED,
)


def significance_columns(kind: str) -> list[str]:
    """The columns of `variability` that tell how sure it is that a source varies, by one kind of flux."""
    numbers = [f"{name}_{kind}" for name in ("eta", "v", "n", "log10_p_value")]
    fluxes = [f"flux_{kind}_{name}_{FLUX_KINDS[kind]}" for name in ("weighted_mean", "weighted_mean_err")]
    return ["sample", *numbers, *fluxes]


_table(
    "variability",
    "Statistics of light curves.",
    *described(VARIABILITY, key=["source_id", "band", "sample"], always=_required(VARIABILITY)),
    _deferred(["source_id"], ["sources.id"]),
    # What is asked of all sources together stands side by side: a row of the table is ten times as wide.
    *(Index(f"ix_variability_significance_{kind}", *significance_columns(kind)) for kind in FLUX_KINDS),
    **_CLUSTERED,
)


_table(
    "reference_catalogs",
    "A reference catalogue that sources were matched to.",
    _column("name", str, primary_key=True, comment="Name"),
    _column("freq_mhz", float, nullable=True, comment="Frequency of its fluxes [MHz]"),
    _column("beam_arcsec", float, nullable=True, comment="Resolution, FWHM [arcsec]"),
    _column("version", str, comment="Version of its content"),
    **_CLUSTERED,
)


_table(
    "cross_matches",
    "A candidate counterpart of a source.",
    *described(CROSS_MATCHES, key=["id"], always=_required(CROSS_MATCHES)),
    _deferred(["source_id"], ["sources.id"]),
    _deferred(["catalog_type"], ["reference_catalogs.name"]),
    Index(None, "source_id", "catalog_type", "rank"),
    **_STRICT,
)


_table(
    "match_overrides",
    "What a person decided or said about a match. Only ever added to; follows the source through its aliases.",
    _column("id", str, primary_key=True, comment="Hash of the other columns"),
    _column("source_id", str, index=True, comment="The source, as it was named then"),
    _column("catalog", str, comment="Reference catalogue"),
    _column("catalog_source_id", str, nullable=True, comment="Source in that catalogue; missing: all of them"),
    _column("action", str, comment="'accept', 'reject', 'withdraw' or 'comment'"),
    _column("comment", str, nullable=True, comment="What the person says"),
    _column("author", str, nullable=True, comment="Who"),
    _column("created_at", str, comment="When, ISO 8601 UTC"),
    CheckConstraint("action IN ('accept', 'reject', 'withdraw', 'comment')", name="action"),
    **_STRICT,
)


ADDED, TAKEN_BACK = "add", "remove"
"""What people do to a tag, a note, a favorite or a saved query."""


def _said(name: str, description: str, *columns: SqlColumn[Any]) -> Table:
    """A table of what people say: a row for each time that somebody adds something or takes it back."""
    of_source = [column.name for column in columns if column.name == "source_id"]
    return _table(
        name,
        description,
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


_said(
    "source_tags",
    "A word that a person put on a source. Only ever added to; follows the source through its aliases.",
    _said_of(),
    SqlColumn("tag", Text(), nullable=False, comment="The word"),
)


_said(
    "source_notes",
    "What a person wrote about a source. Only ever added to; follows the source through its aliases.",
    _said_of(),
    SqlColumn("note", Text(), nullable=False, comment="The text"),
)


_said(
    "favorite_sources",
    "A source that a person wants to find again. Only ever added to; follows the source through its aliases.",
    _said_of(),
)


_said(
    "saved_queries",
    "A list of sources under a name. Only ever added to: what was saved last under a name holds.",
    SqlColumn("name", Text(), nullable=False, comment="Name of the list"),
    SqlColumn("query", Text(), nullable=False, comment="What the list asks for, as in the address of its page"),
)


_table(
    "recomputed_with",
    "Versions of what all sources were computed with; another version means computing all of them again.",
    _column("name", str, primary_key=True, comment="'variability' or 'matching'"),
    _column("version", str, comment="Version of its parameters and inputs"),
    **_CLUSTERED,
)


TABLES: dict[str, Table] = dict(METADATA.tables)

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
    columns = tuple(
        ColumnDescription(column.name, str(column.type), column.comment or "", bool(column.nullable))
        for column in table.columns
    )
    return TableDescription(table.info[_DESCRIPTION], columns)
