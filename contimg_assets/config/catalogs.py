"""Section `catalogs`: the reference catalogs, one group of keys each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from contimg_assets.config.frames import FrameName
from contimg_assets.config.presets import with_preset
from contimg_assets.config.section import ColumnSource, Section, check_columns
from contimg_assets.files.urls import checked_url, is_url
from contimg_assets.identity.versions import version_of_value
from contimg_assets.schemas.catalogs import REFERENCE

ANY_FREQ_MHZ = 1000.0
"""Stands in settings that only open a file or read its positions, which depend on no frequency."""
COPIES = Path("catalogs") / "from_urls"
"""Where copies of catalogs at URLs are kept in a project."""


class CatalogConfig(Section):
    """One reference catalog. A preset fills in whatever is not given."""

    added = frozenset({"frame", "positions_at_mjd", "min_matched_fraction", "url"})

    preset: str | None = Field(
        None, description="Survey whose columns, frequency, beam and errors apply where not given (nvss, first, ...)"
    )
    path: Path = Field(
        description="FITS, VOTable, CSV, Parquet or SQLite file, or folder of a catalog or collection in HATS; or a "
        "URL (https://, s3://, gs:// ...) of such a file, which is copied into the project, or of such a folder, of "
        "which tiles are copied as they are needed"
    )
    url: str | None = Field(None, description="Set where `path` is a URL; `path` is then that of the copy")
    table: str | None = Field(
        None, description="Number or name of the table in files that hold several; the first with positions if empty"
    )
    frame: FrameName | None = Field(
        None,
        description="Frame of its positions: icrs, fk5, fk4, galactic, ecliptic, with an equinox behind (`fk4 1950`); "
        "as the file says if empty",
    )
    positions_at_mjd: float | None = Field(
        None,
        description="Time that positions are listed at where the file has proper motions [MJD]; the file's if empty. "
        "Each image meets the sources where they are when it is taken, whatever this says",
    )
    freq_mhz: float = Field(gt=0, description="Frequency of its fluxes [MHz]")
    beam_arcsec: float = Field(10.0, gt=0, description="Resolution, FWHM [arcsec]")
    columns: dict[str, ColumnSource] = Field(
        default_factory=dict, description="Our column -> column and unit in the file; names equal to ours need no entry"
    )
    position_err_arcsec: float = Field(
        1.0, ge=0, description="1-sigma position error of bright sources where no column gives one [arcsec]"
    )
    rms_mjy_beam: float | None = Field(
        None,
        gt=0,
        description="Typical noise: beam / (2 SNR) is added in quadrature where no column gives an error [mJy/beam]",
    )
    position_err_floor_arcsec: float = Field(
        0.0, ge=0, description="Systematic error per axis, added in quadrature to the columns' errors [arcsec]"
    )
    position_err_scale: float = Field(
        1.0, gt=0, description="Factor from the columns' errors to 1 sigma per axis (0.6624 for 68 % circles)"
    )
    ra_err_on_sky: bool = Field(
        True, description="Whether errors of right ascension are on the sky; false: of the coordinate, without cos(dec)"
    )
    epoch_mjd: float | None = Field(None, description="Mean time of its observations [MJD]")

    min_matched_fraction: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Of this catalog, instead of checks.min_matched_fraction [fraction]",
    )

    @field_validator("url")
    @classmethod
    def _no_secrets_in_urls(cls, value: str | None) -> str | None:
        if value is None:
            return None
        return checked_url(value, "file", "https://example.org/nvss.fits")

    @model_validator(mode="before")
    @classmethod
    def _copy_of_url(cls, value: Any) -> Any:
        """A URL as `path` is that of a file whose copy lies in the project."""
        if not isinstance(value, Mapping) or value.get("url") is not None or not is_url(value.get("path", "")):
            return value
        url = str(value["path"])
        # Files of one name at several URLs are told apart; what may follow the name is no part of it.
        name = re.sub(r"[^A-Za-z0-9._-]", "_", re.split(r"[?#]", url)[0].rstrip("/").rpartition("/")[2]).lstrip(".")
        return {**value, "url": url, "path": COPIES / f"{version_of_value(url)[:8]}_{name}"}

    @field_validator("columns")
    @classmethod
    def _columns_of_catalogs(cls, value: dict[str, ColumnSource]) -> dict[str, ColumnSource]:
        return check_columns(value, REFERENCE, without=("healpix_29",))

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, value: Any) -> Any:
        return with_preset(value)
