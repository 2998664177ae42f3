"""Section `variability`: statistics of light curves."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from contimg_assets.config.section import Section


class Variability(Section):
    """Statistics of light curves (tables `sources` and `variability`)."""

    # Asked when the database is read: rows do not depend on it.
    unversioned: ClassVar[frozenset[str]] = frozenset({"max_q"})
    added: ClassVar[frozenset[str]] = frozenset({"name_acronym"})

    name_acronym: str = Field(
        "DSA",
        max_length=24,
        pattern=r"[A-Za-z][A-Za-z0-9_-]*( [A-Za-z0-9_-]+)*|",
        description="What names of sources begin with, before `J035912.3+153523`; nothing if empty",
    )
    min_abs_vs: float = Field(4.3, gt=0, description="Pairs with a smaller |Vs| do not count as significant")
    scale_error: bool = Field(
        True, description="Add the error of each image's flux scale to the flux errors before eta and Vs are formed"
    )
    error_model: Literal["measured", "fixed", "none"] = Field(
        "measured",
        description="Errors of fluxes before eta and Vs are formed: as repeated constant sources show them, with "
        "`error_noise_factor` and `error_floor`, or as the finder gives them",
    )
    error_noise_factor: float = Field(1.0, gt=0, description="`fixed`: factor of the finder's errors")
    error_floor: float = Field(0.0, ge=0, le=1, description="`fixed`: fraction of the flux added in quadrature")
    position_systematic: Literal["measured", "configured"] = Field(
        "configured",
        description="Systematic error in the errors of sources' mean positions: as repeated positions show it, for "
        "each image, beside the factor of the finder's errors; or that of `measurements.systematic_ew_arcsec` and "
        "`systematic_ns_arcsec`, which association and matching of images use in any case",
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
    new_max_false_chance: float = Field(
        5e-4,
        gt=0,
        le=1,
        description="And if the chance that it is not new is at most this: that a constant source of its first flux is "
        "missed by all earlier images and catalogs of its place, or that noise makes a detection like its only one in "
        "its image",
    )
    upper_limits: bool = Field(
        True, description="Keep an upper limit for every epoch that covered a source without detecting it"
    )
    upper_limit_chance: float = Field(
        0.95,
        gt=0.5,
        lt=1,
        description="An upper limit is the flux that would have been detected with this chance: by the finder's "
        "threshold in the image, the rms at the place, and the error of the image's flux scale",
    )
    upper_limit_sigma: float | None = Field(
        None,
        gt=0,
        description="If given, an upper limit is this many times the rms at the place instead, whatever would have "
        "been detected",
    )
    finder_threshold_sigma: float | None = Field(
        None,
        gt=0,
        description="Threshold of the source finder in units of the local rms; if not given, measured from the signal "
        "to noise ratios of each image's own detections",
    )
