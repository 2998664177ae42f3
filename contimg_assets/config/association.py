"""Section `association`: sources across epochs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from contimg_assets.config.section import Section


class Association(Section):
    """Sources across epochs (stage `associated_sources`)."""

    method: Literal["basic", "advanced", "deruiter", "optimal"] = Field(
        "optimal", description="How measurements find their source"
    )
    radius_arcsec: float = Field(10.0, ge=0, description="`basic`, `advanced`: largest separation [arcsec]")
    de_ruiter_radius: float = Field(5.68, gt=0, description="`deruiter`, `optimal`: largest de Ruiter radius")
    max_separation_arcsec: float | None = Field(
        None,
        gt=0,
        description="`deruiter`, `optimal`: no pair farther apart, whatever its errors [arcsec]; if empty the beam's "
        "major axis or 4 times the source's position error, whichever is more, and never less than 30",
    )
    completeness: float = Field(
        0.9, gt=0, lt=1, description="`optimal`: chance that a known source in the field is detected again"
    )
    new_source_fraction: float = Field(
        0.05, gt=0, lt=1, description="`optimal`: density of new sources as a share of the local density of sources"
    )
    flux_scatter: float = Field(
        0.2,
        gt=0,
        description="`optimal`: scatter of ln flux between epochs, where sources compete; never costs a lone pair",
    )
    align_images: Literal["optimal", "always", "never"] = Field(
        "optimal", description="Take each image's shift out before matching: with method `optimal`, with all, with none"
    )
    alignment_radius_arcsec: float = Field(
        15.0, gt=0, description="Largest shift of an image that is looked for [arcsec]"
    )
    alignment_min_pairs: int = Field(
        10, ge=3, description="Fewer isolated pairs than this: the image is matched as it is"
    )
    alignment_min_snr: float = Field(
        7.0, ge=0, description="Fainter measurements do not count for the shift, where the signal to noise is known"
    )
