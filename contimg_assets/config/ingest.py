"""Section `ingest`: reading catalogs."""

from __future__ import annotations

from pydantic import Field, field_validator

from contimg_assets.config.section import ColumnSource, Section, check_columns
from contimg_assets.schemas.detections import DETECTIONS


class Ingest(Section):
    """Reading catalogs (stage `raw_detections`)."""

    column_map: dict[str, ColumnSource] = Field(
        default_factory=dict,
        description="Our column -> column and unit in the delivered tables, for the format 'table'; names equal to "
        "ours need no entry",
    )
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
    field_margin: float = Field(
        2.0, gt=0, description="Rows farther from the image's center than this many field radii are set aside"
    )

    max_unpacked_mb: float = Field(
        256.0, gt=0, le=2146, description="Largest gzip-compressed catalog once it is unpacked [MB]"
    )

    @field_validator("column_map")
    @classmethod
    def _columns_of_detections(cls, value: dict[str, ColumnSource]) -> dict[str, ColumnSource]:
        return check_columns(value, DETECTIONS, without=("measurement_id", "image"))
