"""What a simulated survey is made of: every number with its unit and default, after the DSA-110 telescope."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from contimg_assets.config import Section

# Parameters that came later: a survey that does not use the first of a group is what it was.
_LATER = ("artifact_fraction", "telescope_2", "position_systematic_arcsec")
_POLARIZED = ("stokes", "polarized_fraction", "polarization_degree", "n_only_polarized")

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
AtLeastOne = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0)]


class ReferenceParameters(Section):
    """One reference catalog of the same sky."""

    name: str = Field(description="File name without ending", pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    freq_mhz: Positive = Field(description="Frequency [MHz]")
    beam_arcsec: Positive = Field(description="FWHM of its round beam [arcsec]; closer sources are one entry")
    rms_mjy_beam: Positive = Field(description="Noise [mJy/beam]; entries begin at 5 times this")
    position_floor_arcsec: NotNegative = Field(description="Position error of a bright source [arcsec]")
    covered_fraction: Fraction = Field(1.0, description="Share of the sources inside its footprint, from the west on")
    lost_fraction: Fraction = Field(0.01, description="Share of the sources that it lacks for no reason")


NVSS_LIKE = ReferenceParameters(
    name="nvss_like", freq_mhz=1400.0, beam_arcsec=45.0, rms_mjy_beam=0.45, position_floor_arcsec=0.4
)
FIRST_LIKE = ReferenceParameters(
    name="first_like",
    freq_mhz=1400.0,
    beam_arcsec=5.4,
    rms_mjy_beam=0.15,
    position_floor_arcsec=0.1,
    covered_fraction=0.7,
)


class TelescopeParameters(Section):
    """Another telescope that looks at the same sky, in every second epoch."""

    freq_mhz: Positive = Field(887.5, description="Observing frequency [MHz]")
    bmaj_arcsec: Positive = Field(15.0, description="Beam, FWHM major axis [arcsec]")
    bmin_arcsec: Positive = Field(12.0, description="Beam, FWHM minor axis [arcsec]")
    bpa_deg: float = Field(80.0, description="Beam position angle, east of north [deg]")
    rms_mjy_beam: tuple[Positive, Positive] = Field((2.0, 3.0), description="Range of the images' noise [mJy/beam]")
    offset_sigma_arcsec: NotNegative = Field(0.4, description="Position error of an image, 1 sigma per axis [arcsec]")
    position_systematic_arcsec: NotNegative = Field(
        0.3, description="Position error of every detection beyond its noise, 1 sigma per axis [arcsec]"
    )
    flux_scale_sigma: NotNegative = Field(0.05, description="Flux-scale error of an image, 1 sigma in ln flux")


class SurveyParameters(Section):
    """A drift-scan survey: a strip of overlapping images at one declination, seen again and again.

    Every parameter is a keyword with a default, and is described by ``SurveyParameters.model_fields``.

    Examples
    --------
    >>> import contimg_assets as ca
    >>> southern = ca.SurveyParameters(n_epochs=3, centre_dec_deg=-50, rms_mjy_beam=(1, 2))
    >>> southern.freq_mhz, ca.SurveyParameters.model_fields["rms_mjy_beam"].description
    (1405.0, "Range of the images' noise [mJy/beam]")
    """

    seed: int = Field(1, ge=0, description="Same seed and parameters, same survey")
    n_epochs: int = Field(6, ge=1, description="Epochs")
    images_per_epoch: int = Field(12, ge=1, description="Images along the strip")
    n_sources: int = Field(1500, ge=0, description="True sources brighter than flux_min_mjy, transients left out")

    centre_ra_deg: float = Field(0.0, ge=0, lt=360, description="Middle of the strip [deg]")
    centre_dec_deg: float = Field(16.0, ge=-90, le=90, description="Declination of the strip [deg]")
    image_spacing_deg: Positive = Field(2.0, description="Between neighboring image centers on the sky [deg]")
    image_radius_deg: float = Field(
        1.5, gt=0, le=30, description="Radius of an image [deg]; over half the spacing: overlap"
    )
    pointing_jitter_deg: NotNegative = Field(0.02, description="Scatter of the image centers from epoch to epoch [deg]")
    missing_image_fraction: Fraction = Field(0.02, description="Share of the images that were not delivered")

    start_mjd: float = Field(
        61065.9167, ge=0, le=1e6, description="Transit of the middle of the strip, first epoch [MJD]"
    )
    mean_gap_days: float = Field(2.0, ge=1, description="Mean gap between epochs, whole sidereal days [sidereal days]")

    freq_mhz: Positive = Field(1405.0, description="Observing frequency [MHz]")
    other_bands_mhz: tuple[Positive, ...] = Field(
        (), description="Frequencies at which every image is taken once more, right after, with errors of its own [MHz]"
    )
    stokes: tuple[Literal["Q", "U", "V", "L"], ...] = Field(
        (), description="Stokes parameters beside I in which every image is made too, of the same observation"
    )
    polarized_fraction: Fraction = Field(0.15, description="Share of the sources that are polarized, in each of these")
    polarization_degree: tuple[Positive, Positive] = Field(
        (0.05, 0.5), description="Range of the polarized flux over that in I; of either sign, but for L"
    )
    polarized_catalogs: bool = Field(
        True, description="Whether polarized images come with catalogs; without, they are written where images are"
    )
    n_only_polarized: int = Field(3, ge=0, description="Sources that only polarized images show, in each of these")
    bmaj_arcsec: Positive = Field(58.8, description="Beam, FWHM major axis [arcsec]")
    bmin_arcsec: Positive = Field(33.1, description="Beam, FWHM minor axis [arcsec]")
    bpa_deg: float = Field(12.0, description="Beam position angle, east of north [deg]")
    rms_mjy_beam: tuple[Positive, Positive] = Field((5.0, 9.0), description="Range of the images' noise [mJy/beam]")
    rms_edge_factor: float = Field(1.3, ge=1, description="Noise at the edge of an image over that at its center")
    detection_snr: Positive = Field(5.0, description="Peaks below this many local rms are not in the catalogs")
    lost_fraction: Fraction = Field(0.01, description="Share of detections that the finder misses for no reason")
    false_per_image: NotNegative = Field(0.2, description="Mean number of detections per image that are no source")

    artifact_fraction: Fraction = Field(
        0.0, description="Strength of the artifacts around a source over its flux, in the images"
    )

    flux_min_mjy: Positive = Field(10.0, description="Faintest of n_sources [mJy]")
    flux_max_mjy: Positive = Field(20_000.0, description="Brightest source [mJy]")
    counts_slope: Positive = Field(0.8, description="Slope of log N(>S) - log S below the break")
    counts_break_mjy: Positive = Field(300.0, description="Where log N - log S steepens [mJy]")
    counts_slope_bright: Positive = Field(1.5, description="Slope of log N(>S) - log S above the break")
    faint_per_deg2: NotNegative = Field(25.0, description="Sources between faint_min_mjy and flux_min_mjy [deg^-2]")
    faint_min_mjy: Positive = Field(1.5, description="Faintest source of all [mJy]")
    spectral_index_mean: float = Field(-0.7, description="S ~ nu^alpha: mean of alpha")
    spectral_index_sigma: NotNegative = Field(0.25, description="Scatter of alpha")
    extended_fraction: Fraction = Field(0.1, description="Share of sources with a size of their own")
    extended_size_arcsec: Positive = Field(20.0, description="Their median FWHM; scatter a factor of 1.6 [arcsec]")

    variable_fraction: Fraction = Field(0.03, description="Share of n_sources that vary")
    variable_min_flux_mjy: NotNegative = Field(60.0, description="Mean flux of the faintest variable [mJy]")
    variable_modulation: tuple[Positive, Positive] = Field(
        (0.2, 0.8), description="Range of the modulation index, standard deviation over mean"
    )
    variable_timescale_days: Positive = Field(3.0, description="Of the damped random walk in ln flux [d]")
    n_transients: int = Field(12, ge=0, description="Sources that appear after the first epoch and fade")
    transient_flux_mjy: tuple[Positive, Positive] = Field((80.0, 500.0), description="Range of their peak fluxes [mJy]")
    transient_decay: float = Field(0.6, gt=0, le=1, description="Flux of a transient over that one epoch before")
    transient_epochs: tuple[AtLeastOne, AtLeastOne] = Field((1, 3), description="Range of how many epochs they last")

    double_fraction: Fraction = Field(0.06, description="Share of n_sources that are components of doubles")
    double_separation_beams: tuple[Positive, Positive] = Field((1.0, 2.5), description="Separations [bmaj_arcsec]")
    blend_fraction: Fraction = Field(0.02, description="Share of n_sources that are components of unresolved pairs")
    blend_separation_beams: tuple[Positive, Positive] = Field((0.2, 0.7), description="Separations [bmaj_arcsec]")
    blend_radius_beams: NotNegative = Field(0.8, description="Sources closer than this are one detection [bmaj_arcsec]")
    blend_split_fraction: Fraction = Field(
        0.05, description="Share of images in which a blend is resolved all the same"
    )

    offset_sigma_arcsec: NotNegative = Field(1.0, description="Position error of an image, 1 sigma per axis [arcsec]")
    position_systematic_arcsec: NotNegative = Field(
        0.0, description="Position error of every detection beyond its noise, 1 sigma per axis [arcsec]"
    )
    flux_scale_sigma: NotNegative = Field(0.05, description="Flux-scale error of an image, 1 sigma in ln flux")

    telescope_2: TelescopeParameters | None = Field(
        None, description="Telescope of every second epoch; of all of them that of the other parameters, if not given"
    )

    catalogs: tuple[ReferenceParameters, ...] = Field((NVSS_LIKE, FIRST_LIKE), description="Reference catalogs")

    @model_validator(mode="after")
    def _consistent(self) -> SurveyParameters:
        for name in (
            "rms_mjy_beam",
            "variable_modulation",
            "polarization_degree",
            "transient_flux_mjy",
            "transient_epochs",
            "double_separation_beams",
            "blend_separation_beams",
        ):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} must be (smallest, largest), not ({low:g}, {high:g})")
        if not self.faint_min_mjy <= self.flux_min_mjy < self.flux_max_mjy:
            raise ValueError("faint_min_mjy, flux_min_mjy and flux_max_mjy must increase")
        if self.telescope_2 is not None and self.other_bands_mhz:
            raise ValueError("telescope_2 and other_bands_mhz exclude each other: a second telescope has one band")
        if self.variable_fraction + self.double_fraction + self.blend_fraction > 1:
            raise ValueError("variable_fraction, double_fraction and blend_fraction must not exceed 1 together")
        return self

    @property
    def unused(self) -> set[str]:
        """Parameters that came later and that this survey does not use: without them it is what it was before."""
        bands = set() if self.other_bands_mhz else {"other_bands_mhz"}
        later = {name for name in _LATER if not getattr(self, name)}
        later |= {"polarized_catalogs"} if self.polarized_catalogs else set()
        return bands | later | (set() if self.stokes else set(_POLARIZED))

    def of_epoch(self, epoch_index: int) -> SurveyParameters:
        """Those of the telescope that takes an epoch: of the second one where there is one, every second time."""
        if self.telescope_2 is None or not epoch_index % 2:
            return self
        return self.model_copy(
            update={name: getattr(self.telescope_2, name) for name in TelescopeParameters.model_fields}
        )

    @property
    def blend_radius_arcsec(self) -> float:
        return self.blend_radius_beams * self.bmaj_arcsec
