"""Section `checks`: limits beyond which an epoch is held back or warned about."""

from __future__ import annotations

from pydantic import Field

from contimg_assets.config.section import Section


class Checks(Section):
    """Limits beyond which a check holds an epoch back or warns."""

    min_matched_fraction: float = Field(
        0.05,
        ge=0,
        le=1,
        description="An epoch is held back if a smaller share of its measurements, where a catalog covers them, has "
        "a counterpart there [fraction]",
    )
    min_association_rate: float = Field(
        0.3, ge=0, le=1, description="Warn if a smaller share of the known sources inside the images is seen again"
    )
    min_covered: int = Field(30, ge=1, description="Fewer measurements or known sources than this: no verdict")
