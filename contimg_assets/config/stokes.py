"""Section `stokes`: what becomes of detections in other Stokes parameters than I."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from contimg_assets.config.section import Section

STOKES_I = "I"
OTHER_STOKES = ("Q", "U", "V", "L")
"""What is not total intensity: the other parameters, and linear polarization."""


class Stokes(Section):
    """Polarized fluxes of the sources, which are made from Stokes I (stage `products`)."""

    # The whole section came later: a survey that does not use it is as it was.
    added = frozenset({"sources", "source_min_snr", "limit_sigma"})

    sources: tuple[Literal["Q", "U", "V", "L"], ...] = Field(
        (),
        description="Stokes parameters whose detections become sources of their own where no source in I is; "
        "none: they are kept and listed, and belong to no source",
    )
    source_min_snr: float = Field(6.0, gt=0, description="Smallest signal to noise ratio, of either sign, of these")
    limit_sigma: float = Field(
        6.64,
        gt=0,
        description="Where a source is covered and no polarized flux detected, the limit is this many times the noise; "
        "with a finder's threshold of 5, a flux at 6.64 is found in 95 % of cases",
    )
