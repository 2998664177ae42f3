"""Section `products`: the form of the products database."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from contimg_assets.config.section import Section

# Margins are of cells that are smaller than the smallest tile.
LARGEST_MARGIN_ARCSEC = 600.0


class Products(Section):
    """The form in which products are kept; what the rows say does not depend on it."""

    unversioned: ClassVar[frozenset[str]] = frozenset({"partition_order", "hats", "hats_order", "hats_margin_arcsec"})

    partition_order: int | None = Field(
        None,
        ge=0,
        le=6,
        description="Order of the HEALPix cells (nested) that a new database of PostgreSQL has its large tables "
        "divided by, such as 3: cells of 7 degrees; not divided if not given",
    )
    hats: Path | None = Field(
        None,
        description="Folder of a HATS collection of all sources with their light curves, such as sources_hats, which "
        "every run keeps up to date; none if not given",
    )
    hats_order: int = Field(4, ge=2, le=7, description="Order of its tiles: HEALPix cells, nested")
    hats_margin_arcsec: float = Field(
        60.0,
        gt=0,
        le=LARGEST_MARGIN_ARCSEC,
        description="Width of the margin that is kept with each tile; no cross-match can reach farther",
    )
