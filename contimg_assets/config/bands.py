"""Section `bands`: which images are compared with each other."""

from __future__ import annotations

from itertools import pairwise

from pydantic import Field, field_validator

from contimg_assets.config.section import Section


class Bands(Section):
    """Frequencies that are taken as one band: fluxes are compared with each other within a band only."""

    # The whole section came later: without configured ranges a survey is as it was.
    added = frozenset({"ranges_mhz"})

    ranges_mhz: tuple[tuple[float, float], ...] = Field(
        (),
        description="Lowest and highest frequency of bands of your own [MHz]; other frequencies belong to bands 15 % "
        "wide whose middles are 1355 MHz times powers of 1.15",
    )

    @field_validator("ranges_mhz")
    @classmethod
    def _apart(cls, value: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
        for low, high in value:
            if not 0 < low < high:
                raise ValueError(f"range [{low:g}, {high:g}]: the lower frequency comes first, both above 0 MHz")
        ordered = tuple(sorted(value))
        for (low, high), (next_low, next_high) in pairwise(ordered):
            if next_low < high:
                raise ValueError(
                    f"ranges [{low:g}, {high:g}] and [{next_low:g}, {next_high:g}] overlap; a frequency has one band"
                )
            if next_low + next_high < low + high + 4:
                raise ValueError(
                    f"ranges [{low:g}, {high:g}] and [{next_low:g}, {next_high:g}] have middles less than 2 MHz apart, "
                    "which their names are made of; join them"
                )
        return ordered
