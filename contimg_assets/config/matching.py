"""Section `matching`: counterparts in reference catalogs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from contimg_assets.config.section import Section


class Matching(Section):
    """Counterparts in reference catalogs (stage `catalog_matches`)."""

    radius_arcsec: float = Field(
        10.0, gt=0, description="Catalog sources this near are candidates whatever the errors [arcsec]"
    )
    radius_sigma: float = Field(5.0, ge=0, description="And so are those within this many times the pair's error")
    max_radius_arcsec: float = Field(60.0, gt=0, description="But never farther than this [arcsec]")
    flux: Literal["int", "peak"] = Field("int", description="Our flux density in flux ratios")
    min_error_arcsec: float = Field(0.05, gt=0, description="Floor of a pair's position error [arcsec]")
    extended_ratio: float = Field(
        1.5, gt=1, description="Measurements with a larger integrated over peak flux are extended"
    )
    extended_beam_fraction: float = Field(
        0.25, ge=0, description="Error of extended measurements, in quadrature, in units of the larger beam"
    )
    max_offset_arcsec: float = Field(
        10.0, ge=0, description="Largest offset of an image that is found and taken out; 0: none [arcsec]"
    )
    min_offset_pairs: int = Field(10, ge=3, description="Fewer pairs than this: nothing is taken out")
    frame_err_arcsec: float = Field(
        0.5, ge=0, description="Error of an offset that is taken from another catalog for want of pairs [arcsec]"
    )
    fit_systematic: bool = Field(
        True,
        description="Add in quadrature, per image and catalog, the error that the scatter of the offsets demands",
    )
    density_radius_deg: float = Field(1.0, gt=0, le=20, description="Local density is counted within this [deg]")
    default_q: float = Field(
        0.5, gt=0, lt=1, description="Share of measurements with a counterpart, where too few tell [fraction]"
    )
    min_q_measurements: int = Field(
        50,
        ge=1,
        description="Fewer covered measurements of an image than this: the share of the images about it together is "
        "used, within at most a HEALPix cell of 7.3 deg",
    )
    false_match_shift_arcsec: float = Field(
        300.0, gt=0, description="Distance of the positions at which false matches are counted [arcsec]"
    )
    max_offset_positions: int = Field(
        4000,
        ge=1,
        description="About how many such positions per image (for sources: per HEALPix cell of 3.7 deg) and catalog; "
        "at most 8 a measurement",
    )
    spectral_index: float = Field(-0.7, description="Population mean, S ~ nu^alpha, where catalogs give none")
    spectral_index_err: float = Field(0.35, gt=0, description="Its scatter over the population")
    flux_scale_err: float = Field(
        0.05,
        ge=0,
        description="Fractional error of every catalog's flux scale, common to all its sources: counts between "
        "catalogs (spectral indices), not among the sources of one [fraction]",
    )
