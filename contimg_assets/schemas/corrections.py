"""Tables of the stage `corrections`: one correction an image, corrected measurements, scales between epochs."""

from contimg_assets.schemas.core import BOOL, FLOAT, INT, TEXT, Column, TableSchema
from contimg_assets.schemas.detections import MEASUREMENTS

CORRECTIONS = TableSchema(
    "corrections",
    "Position offset and flux scale of each image: what was measured, whether it is trusted, and what is applied",
    (
        Column("image", TEXT, "", "Image"),
        Column("applied", BOOL, "", "Whether everything that the configuration asks for was applied to this image"),
        Column("position_applied", BOOL, "", "Whether positions are corrected"),
        Column("flux_applied", BOOL, "", "Whether fluxes are corrected"),
        Column(
            "trusted",
            BOOL,
            "",
            "Whether nothing that was measured of the image is refused as wrong; what cannot be measured is not wrong",
        ),
        Column("reason", TEXT, "", "Why something is not applied; missing if everything is", nullable=True),
        Column(
            "notes", TEXT, "", "What had to be assumed, such as a filter skipped for lack of peak fluxes", nullable=True
        ),
        Column("centre_ra_deg", FLOAT, "deg", "Image centre, whose east and north the offsets have", nullable=True),
        Column("centre_dec_deg", FLOAT, "deg", "Image centre, declination", nullable=True, minimum=-90, maximum=90),
        # Applied: identity where refused.
        Column("dra_applied_arcsec", FLOAT, "arcsec", "Added to positions, east, at the image centre; 0 if refused"),
        Column("ddec_applied_arcsec", FLOAT, "arcsec", "Added to positions, north, at the image centre; 0 if refused"),
        Column("flux_mult", FLOAT, "", "Corrected flux = (flux - flux_add_mjy) * flux_mult; 1 if refused", minimum=0),
        Column("flux_mult_err", FLOAT, "", "Standard error of flux_mult, shared by the whole image", minimum=0),
        Column(
            "flux_tie_err",
            FLOAT,
            "",
            "Error of the absolute flux scale as a fraction of the flux, common to all images of a field",
            nullable=True,
            minimum=0,
        ),
        Column("flux_add_mjy", FLOAT, "mJy", "Additive error of the fluxes, taken off first; 0 if none or refused"),
        Column("flux_add_err_mjy", FLOAT, "mJy", "Its standard error", minimum=0),
        # Measured: also where refused.
        Column("position_catalog", TEXT, "", "Catalogue(s) that positions are tied to", nullable=True),
        Column("position_trusted", BOOL, "", "Whether the measured offset passed every check"),
        Column("n_position", INT, "", "Matches that the offset was measured from", minimum=0),
        Column("dra_arcsec", FLOAT, "arcsec", "Measured offset, catalogue minus image, east", nullable=True),
        Column("ddec_arcsec", FLOAT, "arcsec", "Measured offset, catalogue minus image, north", nullable=True),
        Column("dra_err_arcsec", FLOAT, "arcsec", "Standard error of dra_arcsec", nullable=True, minimum=0),
        Column("ddec_err_arcsec", FLOAT, "arcsec", "Standard error of ddec_arcsec", nullable=True, minimum=0),
        Column("dra_ddec_cov_arcsec2", FLOAT, "arcsec2", "Covariance of the two offsets", nullable=True),
        Column(
            "dra_mad_arcsec",
            FLOAT,
            "arcsec",
            "MAD of the offsets, as it is, not times 1.4826",
            nullable=True,
            minimum=0,
        ),
        Column(
            "ddec_mad_arcsec",
            FLOAT,
            "arcsec",
            "MAD of the offsets, as it is, not times 1.4826",
            nullable=True,
            minimum=0,
        ),
        Column("position_model", TEXT, "", "'constant', 'linear' (rotation, scale, shear) or 'smooth' over the image"),
        Column(
            "position_coefficients",
            TEXT,
            "",
            "JSON of a model that is not constant: degree, centre [deg], coefficients east and north [arcsec / deg^n]",
            nullable=True,
        ),
        Column("flux_catalog", TEXT, "", "Catalogue(s) that fluxes are tied to", nullable=True),
        Column("flux_trusted", BOOL, "", "Whether the measured scale passed every check"),
        Column("flux_method", TEXT, "", "Estimator of the flux scale"),
        Column(
            "flux_kind", TEXT, "", "Which of our fluxes was compared: 'integrated', 'peak' or 'mixed'", nullable=True
        ),
        Column("n_flux", INT, "", "Matches that the scale was measured from", minimum=0),
        Column("flux_scale", FLOAT, "", "Our flux over the catalogue's at our frequency", nullable=True, minimum=0),
        Column(
            "flux_scale_err", FLOAT, "", "Standard error of flux_scale, from the likelihood", nullable=True, minimum=0
        ),
        Column(
            "flux_scale_err_bootstrap",
            FLOAT,
            "",
            "The same by bootstrap; missing if not asked for",
            nullable=True,
            minimum=0,
        ),
        Column("flux_offset_mjy", FLOAT, "mJy", "Measured additive flux error; missing if not fitted", nullable=True),
        Column("flux_offset_err_mjy", FLOAT, "mJy", "Its standard error", nullable=True, minimum=0),
        Column(
            "flux_intrinsic_scatter", FLOAT, "", "Scatter of ln flux ratio beyond the errors", nullable=True, minimum=0
        ),
        Column(
            "flux_outlier_fraction",
            FLOAT,
            "",
            "Share of matches in the outlier component",
            nullable=True,
            minimum=0,
            maximum=1,
        ),
        Column(
            "flux_chi2_reduced",
            FLOAT,
            "",
            "Chi-squared per degree of freedom with the intrinsic scatter",
            nullable=True,
            minimum=0,
        ),
        Column(
            "flux_max_influence",
            FLOAT,
            "",
            "Largest change of flux_scale by leaving one match out, in standard errors",
            nullable=True,
            minimum=0,
        ),
        Column("flux_influential_id", TEXT, "", "measurement_id of that match", nullable=True),
        # Against the sources' earlier fluxes: with `apply_flux` 'relative' only.
        Column(
            "flux_tied_by",
            TEXT,
            "",
            "What gave the scale: 'known sources' of earlier epochs, 'catalog', 'overlap', or 'start' if nothing did",
            nullable=True,
        ),
        Column("n_relative", INT, "", "Constant sources with earlier fluxes", minimum=0),
        Column("relative_scale", FLOAT, "", "Our flux over the sources' mean earlier flux", nullable=True, minimum=0),
        Column(
            "relative_scale_err",
            FLOAT,
            "",
            "Its standard error, without that of the earlier fluxes, which the field's images have in common",
            nullable=True,
            minimum=0,
        ),
        Column(
            "relative_scatter",
            FLOAT,
            "",
            "Scatter of the ratios to the earlier fluxes beyond the errors, a fraction",
            nullable=True,
            minimum=0,
        ),
        Column(
            "relative_outlier_fraction",
            FLOAT,
            "",
            "Share of those sources whose ratio has no weight",
            nullable=True,
            minimum=0,
            maximum=1,
        ),
        Column("selection", TEXT, "", "JSON: matches left after each filter, per catalogue"),
    ),
    key=("image",),
)

EPOCH_SCALES = TableSchema(
    "epoch_scales",
    "Flux scales of all images solved together from the sources they share, tied to the catalogue once",
    (
        Column("epoch", TEXT, "", "Epoch"),
        Column("image", TEXT, "", "Image"),
        Column("epoch_scale", FLOAT, "", "Our flux over the true one", nullable=True, minimum=0),
        Column(
            "epoch_scale_err",
            FLOAT,
            "",
            "Its standard error, the tie to the catalogue included",
            nullable=True,
            minimum=0,
        ),
        Column("n_sources", INT, "", "Sources that connect the image to others", minimum=0),
        Column(
            "connected", INT, "", "Images connected by shared sources have the same number", nullable=True, minimum=0
        ),
    ),
    key=("epoch", "image"),
)

CONSTANT_FLUXES = TableSchema(
    "constant_fluxes",
    "Uncorrected fluxes of isolated, compact, bright sources not known to vary, which tie an epoch to the others",
    (
        Column("source_id", TEXT, "", "Source, with the band"),
        Column("image", TEXT, "", "Image"),
        Column("flux_mjy", FLOAT, "mJy", "Integrated flux density; where there is none, the peak"),
        Column("flux_err_mjy", FLOAT, "mJy", "Its 1-sigma error", nullable=True, minimum=0),
    ),
)

SCALE_PULLS = TableSchema(
    "scale_pulls",
    "Measurements that the relative scale of their image was measured from, and how much each draws it along",
    (
        Column("measurement_id", TEXT, "", "Measurement"),
        Column("pull", FLOAT, "", "Covariance of its noise and the image's scale, as fractions of both", minimum=0),
    ),
    key=("measurement_id",),
)

KNOWN_FLUXES = TableSchema(
    "known_fluxes",
    "Running statistics of each source's calibrated fluxes, of all epochs up to this one",
    (
        Column("source_id", TEXT, "", "Source, with the band"),
        Column("n", INT, "", "Fluxes so far", minimum=1),
        Column("mean_mjy", FLOAT, "mJy", "Their mean"),
        Column("squares_mjy2", FLOAT, "mJy2", "Sum of squared deviations from it", minimum=0),
        Column("weight_per_mjy2", FLOAT, "1 / mJy2", "Sum of 1 / error^2", minimum=0),
        Column("weighted_mean_mjy", FLOAT, "mJy", "Weighted mean"),
        Column("chi2", FLOAT, "", "Sum of squared deviations from it in units of the errors", minimum=0),
        Column("ln_scale", FLOAT, "", "Mean of ln flux scale of the images that they are of"),
        Column("ln_scale_squares", FLOAT, "", "Sum of squared deviations from it", minimum=0),
        Column("n_tied", INT, "", "Those whose scale a catalogue ties", minimum=0),
        Column("tie_err", FLOAT, "", "Mean error of the absolute scale of those, as a fraction of the flux", minimum=0),
    ),
    key=("source_id",),
)

_CORRECTED = (
    Column(
        "ra_corr_deg", FLOAT, "deg", "Corrected right ascension, ICRS", minimum=0, maximum=360, maximum_exclusive=True
    ),
    Column("dec_corr_deg", FLOAT, "deg", "Corrected declination, ICRS", minimum=-90, maximum=90),
    Column(
        "uncertainty_ew_corr_arcsec",
        FLOAT,
        "arcsec",
        "Position error east, the offset's standard error included",
        minimum=0,
    ),
    Column(
        "uncertainty_ns_corr_arcsec",
        FLOAT,
        "arcsec",
        "Position error north, the offset's standard error included",
        minimum=0,
    ),
    Column("flux_peak_corr_mjy_beam", FLOAT, "mJy / beam", "Corrected peak flux density", nullable=True),
    Column(
        "flux_peak_err_corr_mjy_beam",
        FLOAT,
        "mJy / beam",
        "Its 1-sigma error without the scale's own",
        nullable=True,
        minimum=0,
    ),
    Column("flux_int_corr_mjy", FLOAT, "mJy", "Corrected integrated flux density", nullable=True),
    Column(
        "flux_int_err_corr_mjy", FLOAT, "mJy", "Its 1-sigma error without the scale's own", nullable=True, minimum=0
    ),
    Column("local_rms_corr_mjy_beam", FLOAT, "mJy / beam", "Corrected local rms", nullable=True, minimum=0),
    Column(
        "flux_scale_err",
        FLOAT,
        "",
        "Error of the image's scale as a fraction of the flux: common to the image",
        minimum=0,
    ),
    Column(
        "flux_tie_err",
        FLOAT,
        "",
        "Error of the absolute flux scale as a fraction of the flux, common to all images of a field",
        nullable=True,
        minimum=0,
    ),
    Column(
        "trusted",
        BOOL,
        "",
        "Whether the image's position and flux scale are not refused as wrong; where they are, the measurement teaches "
        "nothing",
    ),
    Column("corrected", BOOL, "", "Whether position and flux corrections were applied in full"),
)

CORRECTED_MEASUREMENTS = TableSchema(
    "corrected_measurements",
    "Measurements with corrected positions and fluxes beside the raw ones",
    (*MEASUREMENTS.columns, *_CORRECTED),
    key=("measurement_id",),
)
