"""Section `monitor`: positions whose flux is measured in every image, whether anything was ever detected there."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from contimg_assets.config.section import Section


class Monitor(Section):
    """Positions that are measured in every image (stage `forced_photometry`)."""

    file: Path | None = Field(
        None,
        description="CSV with columns name, ra_deg, dec_deg (ICRS), and for what moves pm_ra_mas_yr (on the sky), "
        "pm_dec_mas_yr and epoch (of the position, year or MJD); needs images that images.csv names in `path`",
    )
