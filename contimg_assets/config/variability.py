"""Section `variability`: statistics of light curves."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from contimg_assets.config.section import Section


class Variability(Section):
    """Statistics of light curves (tables `sources` and `variability`)."""

    # Asked when the database is read: rows do not depend on it.
    unversioned: ClassVar[frozenset[str]] = frozenset({"max_q"})

    min_abs_vs: float = Field(4.3, gt=0, description="Pairs with a smaller |Vs| do not count as significant")
    scale_error: bool = Field(
        True, description="Add the error of each image's flux scale to the flux errors before eta and Vs are formed"
    )
    max_q: float = Field(
        0.05,
        gt=0,
        le=1,
        description="Sources are listed as variable up to this q-value: the share of constant ones among them that is "
        "expected",
    )
    new_min_significance: float = Field(
        5.0, gt=0, description="A late source is new if an earlier image would have shown it at this many sigma"
    )
    upper_limits: bool = Field(
        True, description="Keep an upper limit for every epoch that covered a source without detecting it"
    )
    upper_limit_sigma: float = Field(5.0, gt=0, description="Upper limit in units of the image's rms")
