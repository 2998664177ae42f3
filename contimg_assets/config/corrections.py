"""Section `corrections`: position offset and flux scale of each image."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from contimg_assets.config.section import Section


class Corrections(Section):
    """Position offset and flux scale of each image (stage `corrections`)."""

    position_catalogs: tuple[str, ...] = Field(
        (), description="Catalogs that tie positions, in order of preference; if empty by coverage, then precision"
    )
    flux_catalogs: tuple[str, ...] = Field(
        (), description="Catalogs that tie fluxes, in order of preference; if empty those near our frequency first"
    )
    combine: Literal["first", "weighted"] = Field(
        "first", description="Several catalogs: the first that is trusted, or all by weight / error^2"
    )
    catalog_weights: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict, description="`weighted`: weight of a catalog beside its errors, 1 where not given"
    )
    apply_position: bool = Field(True, description="Correct positions")
    apply_flux: Literal["relative", "catalog", "epochs", "none"] = Field(
        "relative",
        description="Flux scale to apply: `relative` to the sources' fluxes of earlier epochs, tied to the catalog "
        "where a place is seen first; each image against the `catalog`; all `epochs` solved together, anew every "
        "night; or `none`",
    )

    selection: Literal["default", "vast"] = Field(
        "default", description="Which matches count: our filters, or those of vast-post-processing"
    )
    min_probability: float = Field(0.9, ge=0, le=1, description="`default`: smallest match probability")
    isolation_beams: float = Field(
        1.5,
        ge=0,
        description="`default`: no other measurement, and no other source of the catalog, within this many "
        "(at most 2 in the catalog) of the larger beam (own, catalog)",
    )
    compact_sigma: float = Field(
        3.0, gt=0, description="`default`: width of the envelope of ln(integrated / peak) in standard errors"
    )
    compact_floor: float = Field(0.15, ge=0, description="`default`: half width of that envelope at infinite SNR")
    min_snr: float = Field(20.0, ge=0, description="`default`: smallest sqrt(SNR * SNR of the catalog source)")
    max_reference_flux_mjy: float | None = Field(None, gt=0, description="Leave brighter catalog sources out [mJy]")
    known_variables: tuple[tuple[float, float], ...] = Field(
        (), description="Positions [ra_deg, dec_deg] of variables that do not tie the flux scale"
    )
    known_variable_radius_arcsec: float = Field(
        10.0, gt=0, description="Matches closer than this to one of them are left out of the flux scale [arcsec]"
    )
    variable_min_epochs: int = Field(
        3, ge=2, description="A source is known to vary from this many earlier fluxes on, and then ties no flux scale"
    )
    variable_min_v: float = Field(
        0.15, ge=0, description="Smallest V = std / mean of the earlier fluxes of such a source [fraction]"
    )
    variable_max_p: float = Field(
        1e-6, gt=0, le=1, description="Largest probability that noise alone gives its chi-squared"
    )
    crop_radius_deg: float | None = Field(
        None, gt=0, description="Leave out matches farther than this from the image center [deg]"
    )
    vast_radius_arcsec: float = Field(10.0, gt=0, description="`vast`: largest separation [arcsec]")
    vast_flux_limit_mjy: float = Field(0.0, ge=0, description="`vast`: smallest integrated flux [mJy]")
    vast_snr_limit: float = Field(20.0, ge=0, description="`vast`: smallest integrated flux over local rms")
    vast_neighbor_arcmin: float = Field(1.0, ge=0, description="`vast`: no own neighbor within this [arcmin]")
    vast_max_compactness: float = Field(1.5, gt=0, description="`vast`: largest integrated over peak flux")
    vast_clip_sigma: float = Field(5.0, gt=0, description="`vast`: clipping of flux ratios, in standard deviations")

    position_model: Literal["constant", "linear", "smooth", "auto"] = Field(
        "auto",
        description="Offset over the image: the same everywhere, with rotation and scale, a polynomial of third "
        "degree, or the simplest of them that cross-validation allows",
    )
    flux_method: Literal["mixture", "huber", "odr", "median"] = Field(
        "mixture", description="Estimator of the flux scale"
    )
    flux_offset: Literal["never", "auto", "always"] = Field(
        "auto",
        description="Additive flux error: never, always, or (`mixture`) where significant against a catalog near our "
        "frequency; with `apply_flux: relative` auto is never: it would come and go between images of a field",
    )
    bootstrap: int = Field(0, ge=0, le=10_000, description="`mixture`, `median`: replicates of the bootstrap error")

    min_matches: int = Field(10, ge=3, description="Fewer usable matches than this: the image stays as it is, flagged")
    max_offset_arcsec: float = Field(5.0, gt=0, description="Larger offsets are refused [arcsec]")
    max_offset_err_arcsec: float = Field(
        0.5, gt=0, description="Larger standard errors of an offset are refused [arcsec]"
    )
    max_scale_change: float = Field(0.5, gt=0, description="Larger |flux scale - 1| is refused")
    max_scale_err: float = Field(0.05, gt=0, description="Larger fractional errors of the flux scale are refused")
    max_outlier_fraction: float = Field(0.4, gt=0, le=1, description="Larger shares of outliers are refused")
    max_influence: float = Field(
        2.0, gt=0, description="Refused if leaving one match out changes the scale by more standard errors"
    )

    @model_validator(mode="after")
    def _constant_if_combined(self) -> Corrections:
        if self.combine == "weighted" and self.position_model in ("linear", "smooth"):
            raise ValueError("combine 'weighted' needs position_model 'constant' ('auto' is taken for it)")
        return self
