"""Section `ingest`: reading catalogs."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field, ValidationInfo, field_validator

from contimg_assets.config.frames import FrameName
from contimg_assets.config.section import ColumnSource, Section, check_columns
from contimg_assets.errors import meant
from contimg_assets.schemas.detections import DETECTIONS

FORMATS = ("selavy", "aegean", "pybdsf", "dsa110", "sky_model", "sextractor", "casda", "cirada", "table")
"""What is read without a column map, and any table with one."""


def _known_format(value: str, known: Sequence[str]) -> str:
    if value not in known:
        raise ValueError(f"unknown format {value!r}{meant(value, known)}; there are {', '.join(known)}")
    return value


class OwnFormat(Section):
    """A format with a name of one's own, to be stated in manifests: a known format and the columns that differ."""

    on: str = Field("table", description="Format whose columns count where none is declared (selavy, table, ...)")
    columns: dict[str, ColumnSource] = Field(
        default_factory=dict, description="Our column -> column and unit in the delivered tables"
    )
    table: str | None = Field(None, description="Number or name of the table in files that hold several")
    frame: FrameName | None = Field(None, description="Frame of its positions; as the file says if empty")

    @field_validator("on")
    @classmethod
    def _known(cls, value: str) -> str:
        return _known_format(value, FORMATS)

    @field_validator("columns")
    @classmethod
    def _columns_of_detections(cls, value: dict[str, ColumnSource]) -> dict[str, ColumnSource]:
        return check_columns(value, DETECTIONS, without=("measurement_id", "image"))


class Ingest(Section):
    """Reading catalogs (stage `raw_detections`)."""

    # Parameters that came later: a survey that does not use them is as it was.
    added = frozenset(
        {"formats", "frame", "table", "max_position_err_arcsec", "allow_same_content", "negative_sources"}
    )

    column_map: dict[str, ColumnSource] = Field(
        default_factory=dict,
        description="Our column -> column and unit in the delivered tables, whatever their format: it counts before "
        "what a finder's reader knows; names equal to ours need no entry",
    )
    formats: dict[str, OwnFormat] = Field(
        default_factory=dict,
        description="Formats with names of your own, to be stated in the manifest: a known one (`on`) and `columns`",
    )
    frame: FrameName | None = Field(
        None,
        description="Frame of the delivered positions: icrs, fk5, fk4, galactic, ecliptic, with an equinox behind "
        "(`fk4 1950`); as each file says if empty",
    )
    table: str | None = Field(None, description="Number or name of the table in files that hold several")
    default_format: str | None = Field(
        None, description="Reader for images whose manifest names none; found by content if empty"
    )
    max_rejected_fraction: float = Field(0.1, ge=0, le=1, description="A larger share of rejected rows fails the epoch")
    max_damaged_fraction: float = Field(
        0.0,
        ge=0,
        le=1,
        description="The same for rows that speak of a damaged file: text for a number, an impossible or missing "
        "position, a repeated id, a broken line",
    )
    min_axis_beam_fraction: float = Field(
        500 / 3600, ge=0, description="Components fitted narrower than this share of the beam are set aside"
    )
    max_position_err_arcsec: float | None = Field(
        None,
        gt=0,
        description="Detections with a larger position error are set aside [arcsec]; the beam's major axis if empty",
    )
    field_margin: float = Field(
        2.0, gt=0, description="Rows farther from the image's center than this many field radii are set aside"
    )

    allow_same_content: bool = Field(
        False,
        description="Accept the same files under the name of another epoch, and the same rows as another image of one",
    )
    negative_sources: bool = Field(
        False,
        description="Let negative detections in Stokes I make sources, as positive ones do; else they are kept apart "
        "as artifacts. Forced measurements may be negative either way",
    )
    max_unpacked_mb: float = Field(
        256.0, gt=0, le=2146, description="Largest gzip-compressed catalog once it is unpacked [MB]"
    )

    @field_validator("default_format")
    @classmethod
    def _known_or_own(cls, value: str | None, info: ValidationInfo) -> str | None:
        # Where the formats of one's own are wrong, that is said; they may be what is meant.
        if value is None or "formats" not in info.data:
            return value
        return _known_format(value, [*FORMATS, *info.data["formats"]])

    @field_validator("column_map")
    @classmethod
    def _columns_of_detections(cls, value: dict[str, ColumnSource]) -> dict[str, ColumnSource]:
        return check_columns(value, DETECTIONS, without=("measurement_id", "image"))
