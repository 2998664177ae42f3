"""Section `measurements`: errors, weights and duplicates."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from contimg_assets.config.section import Section


class Measurements(Section):
    """Errors, weights and duplicates (stage `measurements`)."""

    condon_errors: Literal["missing", "always", "never"] = Field(
        "missing", description="Condon (1997) errors: where the finder gives none, for every row, or never"
    )
    min_flux_err_mjy: float = Field(0.001, ge=0, description="Floor of flux errors [mJy, mJy/beam]")
    min_position_err_arcsec: float = Field(0.01, gt=0, description="Floor of fitted position errors [arcsec]")
    systematic_ew_arcsec: float = Field(
        0.3, ge=0, description="Systematic position error east, added in quadrature [arcsec]"
    )
    systematic_ns_arcsec: float = Field(
        0.3, ge=0, description="Systematic position error north, added in quadrature [arcsec]"
    )
    position_errors: Literal["axes", "radius"] = Field(
        "axes",
        description="Position errors east and north each from its own axis, or both from the error radius (vast)",
    )
    flux_fractional_err: float = Field(0.0, ge=0, description="Fraction of the flux added in quadrature to its error")
    dedup_method: Literal["default", "vast"] = Field(
        "default", description="Rule for duplicates between images of an epoch"
    )
    dedup_radius_arcsec: float = Field(
        2.5, ge=0, description="`vast`: pairs closer than this are duplicates; `default`: never less than this [arcsec]"
    )
    dedup_sigma: float = Field(
        4.0, gt=0, description="`default`: pairs closer than this many combined position errors are duplicates"
    )
