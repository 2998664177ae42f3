"""The table of what other Stokes parameters than I show, and of negative detections in I."""

from dataclasses import replace

from contimg_assets.schemas.core import BOOL, FLOAT, INT, TEXT, Column, TableSchema
from contimg_assets.schemas.corrections import CORRECTED_MEASUREMENTS
from contimg_assets.schemas.detections import BAND, STOKES

AT_SOURCE, BESIDE, UNDETECTED = "at source", "beside", "undetected"
ALONE, OWN_SOURCE, NEGATIVE = "alone", "own source", "negative"


def _same(*names: str) -> tuple[Column, ...]:
    """Columns as of measurements; a limit has few of them."""
    return tuple(replace(CORRECTED_MEASUREMENTS[name], nullable=True) for name in names)


STOKES_MEASUREMENTS = TableSchema(
    "stokes_measurements",
    "Fluxes in other Stokes parameters at the sources of I, and detections that belong to none of them",
    (
        replace(CORRECTED_MEASUREMENTS["measurement_id"], description="Hash of (epoch, image, component or source)"),
        CORRECTED_MEASUREMENTS["image"],
        STOKES,
        BAND,
        CORRECTED_MEASUREMENTS["mjd"],
        Column(
            "status",
            TEXT,
            "",
            f"'{AT_SOURCE}': of a source in I; '{UNDETECTED}': the source was covered, and the row is a limit; "
            f"'{BESIDE}': a source that another detection of the image is nearer to; '{ALONE}': of no source; "
            f"'{OWN_SOURCE}': of one that stokes.sources made; '{NEGATIVE}': a negative detection in I, an artefact",
        ),
        Column("source_id", TEXT, "", "The source, in I or its own; missing where there is none", nullable=True),
        Column(
            "i_measurement_id",
            TEXT,
            "",
            "The measurement in I, of the epoch and mostly of the band, that it is compared with",
            nullable=True,
        ),
        Column(
            "separation_arcsec", FLOAT, "arcsec", "From that measurement, else the source", nullable=True, minimum=0
        ),
        Column("component_id", TEXT, "", "Component identifier of the source finder", nullable=True),
        CORRECTED_MEASUREMENTS["ra_deg"],
        CORRECTED_MEASUREMENTS["dec_deg"],
        *_same("ra_corr_deg", "dec_corr_deg", "uncertainty_ew_corr_arcsec", "uncertainty_ns_corr_arcsec"),
        *_same("flux_peak_mjy_beam", "flux_peak_err_mjy_beam", "flux_int_mjy", "flux_int_err_mjy"),
        *_same("flux_peak_corr_mjy_beam", "flux_peak_err_corr_mjy_beam"),
        *_same("flux_int_corr_mjy", "flux_int_err_corr_mjy", "flux_scale_err"),
        Column(
            "upper_limit_mjy_beam",
            FLOAT,
            "mJy / beam",
            "Upper limit of the size of the flux, where nothing was detected",
            nullable=True,
            minimum=0,
        ),
        Column(
            "fraction",
            FLOAT,
            "",
            "Polarized flux over that in I of the same epoch and band, signed; of L without the bias of its noise",
            nullable=True,
        ),
        Column("fraction_err", FLOAT, "", "Its 1-sigma error", nullable=True, minimum=0),
        Column("fraction_limit", FLOAT, "", "Upper limit over the flux in I", nullable=True, minimum=0),
        Column("significance", FLOAT, "", "Flux over its error, signed", nullable=True),
        Column("beam_arcsec", FLOAT, "arcsec", "FWHM major axis of the image's beam", minimum=0),
        *_same("duplicate_of"),
        Column("trusted", BOOL, "", "Whether the image in I that it is compared with is trusted"),
        CORRECTED_MEASUREMENTS["forced"],
        Column("may_be_source", BOOL, "", "Whether it is a source of its own where none in I is (stokes.sources)"),
    ),
    key=("measurement_id",),
)

_NOT_IN_VIEW = ("source_id", "duplicate_of", "may_be_source")

POLARIZATION = TableSchema(
    "polarization",
    "Light curves in other Stokes parameters: one row a source, epoch, image and Stokes parameter",
    (
        Column("source_id", TEXT, "", "The source"),
        Column("name", TEXT, "", "Its name", nullable=True),
        Column("epoch", TEXT, "", "Epoch"),
        *(column for column in STOKES_MEASUREMENTS if column.name not in _NOT_IN_VIEW),
        Column("only_polarized", BOOL, "", "Whether it is a source of its own, where none in I is"),
    ),
    key=("source_id", "measurement_id"),
)

POLARIZED_SOURCES = TableSchema(
    "polarized_sources",
    "Polarized flux of each source over all epochs, one row a source, Stokes parameter and band",
    (
        POLARIZATION["source_id"],
        POLARIZATION["name"],
        STOKES,
        BAND,
        Column("ra_deg", FLOAT, "deg", "Right ascension of its most significant detection, ICRS"),
        Column("dec_deg", FLOAT, "deg", "Declination of the same, ICRS"),
        Column("n_detections", INT, "", "Detections of trusted images", minimum=1),
        Column("n_limits", INT, "", "Epochs that covered it and detected nothing", minimum=0),
        Column(
            "flux_peak_mean_mjy_beam", FLOAT, "mJy / beam", "Weighted mean of corrected peaks, signed", nullable=True
        ),
        Column("fraction", FLOAT, "", "Weighted mean of the fractions in detections, signed", nullable=True),
        Column("fraction_err", FLOAT, "", "Its 1-sigma error", nullable=True, minimum=0),
        Column("max_significance", FLOAT, "", "That of the most significant detection, signed"),
        POLARIZATION["only_polarized"],
    ),
    key=("source_id", "stokes", "band"),
)
