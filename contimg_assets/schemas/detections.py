"""Tables of the stages `raw_detections` and `measurements`: images, detections, rejected rows, measurements."""

from contimg_assets.schemas.core import BOOL, FLOAT, INT, TEXT, Column, TableSchema

_RA = Column(
    "ra_deg", FLOAT, "deg", "Right ascension, ICRS", minimum=0, maximum=360, maximum_exclusive=True, ucd="pos.eq.ra"
)
_DEC = Column("dec_deg", FLOAT, "deg", "Declination, ICRS", minimum=-90, maximum=90, ucd="pos.eq.dec")
_IMAGE = Column("image", TEXT, "", "Name of the image, unique within its epoch", ucd="meta.id;obs.image")

BAND = Column("band", TEXT, "", "Band of the image, named by its middle: fluxes are compared within a band only")

IMAGES = TableSchema(
    "images",
    "The images of one epoch, from its manifest or their FITS headers",
    (
        _IMAGE,
        Column("catalogue", TEXT, "", "File name of the catalogue, inside the epoch's folder"),
        Column("format", TEXT, "", "Reader that parsed the catalogue"),
        Column("mjd", FLOAT, "d", "Mid-observation time, MJD UTC", minimum=0, maximum=1e6, ucd="time.epoch"),
        Column(
            "ra_deg",
            FLOAT,
            "deg",
            "Right ascension of the image centre, ICRS",
            minimum=0,
            maximum=360,
            maximum_exclusive=True,
        ),
        Column("dec_deg", FLOAT, "deg", "Declination of the image centre, ICRS", minimum=-90, maximum=90),
        Column("radius_deg", FLOAT, "deg", "Radius of the circle that holds the field", minimum=0, maximum=180),
        Column("bmaj_arcsec", FLOAT, "arcsec", "Restoring beam, FWHM major axis", minimum=0),
        Column("bmin_arcsec", FLOAT, "arcsec", "Restoring beam, FWHM minor axis", minimum=0),
        Column("bpa_deg", FLOAT, "deg", "Restoring beam, position angle east of north"),
        Column("freq_mhz", FLOAT, "MHz", "Observing frequency", minimum=0, ucd="em.freq"),
        Column("rms_mjy_beam", FLOAT, "mJy / beam", "Median rms of the image", minimum=0),
        Column("path", TEXT, "", "FITS image, where the manifest names one", nullable=True),
        Column("n_rows", INT, "", "Rows in the catalogue file", minimum=0),
        Column("n_rejected", INT, "", "Rows set aside, see the table `rejected`", minimum=0),
        Column("footprint", TEXT, "", "What it covers, as a MOC; where missing, the circle", nullable=True),
    ),
    key=("image",),
)

STOKES = Column("stokes", TEXT, "", "Stokes parameter of the image: I, Q, U, V, or L for linear polarization")

OTHER_IMAGES = TableSchema(
    "other_images",
    "The epoch's images in other Stokes parameters than I",
    (*IMAGES.columns, STOKES),
    key=("image",),
    optional=True,
)

COVERAGE = TableSchema(
    "coverage",
    "What images cover and how deep, where an rms map or a footprint tells more than the circle and the image's rms",
    (
        _IMAGE,
        Column("start", INT, "", "First HEALPix cell of a range, nested, order 29", minimum=0),
        Column("end", INT, "", "First cell after the range", minimum=1),
        Column(
            "rms_mjy_beam",
            FLOAT,
            "mJy / beam",
            "Median of the rms map in the range; missing where only the image's own rms is known",
            nullable=True,
            minimum=0,
        ),
    ),
    key=("image", "start"),
)

REJECTED = TableSchema(
    "rejected",
    "Rows of delivered catalogues that are not usable, with the reason",
    (
        _IMAGE,
        Column("catalogue", TEXT, "", "File name of the catalogue"),
        Column("line", INT, "", "Line of a text file, 1-based row of a binary table", minimum=1, versioned=False),
        Column("component_id", TEXT, "", "Component, where the row has one", nullable=True),
        Column("column", TEXT, "", "Column that is at fault", nullable=True),
        Column("value", TEXT, "", "Its value, as delivered", nullable=True),
        Column("reason", TEXT, "", "What is wrong and what is allowed"),
        Column(
            "damaged",
            BOOL,
            "",
            "Whether the row speaks of a damaged file (text for a number, an impossible position, a repeated id) "
            "rather than of a fit that failed",
        ),
    ),
)

_DETECTION_COLUMNS = (
    Column(
        "measurement_id", TEXT, "", "Hash of (epoch, image, component): 16 hexadecimal digits", ucd="meta.id;meta.main"
    ),
    _IMAGE,
    Column(
        "component_id", TEXT, "", "Component identifier of the source finder, unique within the image", ucd="meta.id"
    ),
    Column("island_id", TEXT, "", "Island of the source finder", nullable=True),
    Column("line", INT, "", "Line of a text file, 1-based row of a binary table", minimum=1, versioned=False),
    _RA,
    _DEC,
    Column(
        "ra_err_arcsec",
        FLOAT,
        "arcsec",
        "1-sigma error east on the sky, as delivered or Condon (1997)",
        nullable=True,
        minimum=0,
    ),
    Column("dec_err_arcsec", FLOAT, "arcsec", "1-sigma error north on the sky", nullable=True, minimum=0),
    Column(
        "flux_peak_mjy_beam", FLOAT, "mJy / beam", "Peak flux density", nullable=True, ucd="phot.flux.density;stat.max"
    ),
    Column(
        "flux_peak_err_mjy_beam",
        FLOAT,
        "mJy / beam",
        "1-sigma error of the peak flux density",
        nullable=True,
        minimum=0,
    ),
    Column("flux_int_mjy", FLOAT, "mJy", "Integrated flux density", nullable=True, ucd="phot.flux.density"),
    Column("flux_int_err_mjy", FLOAT, "mJy", "1-sigma error of the integrated flux density", nullable=True, minimum=0),
    Column("local_rms_mjy_beam", FLOAT, "mJy / beam", "Local rms at the component", nullable=True, minimum=0),
    Column("bmaj_arcsec", FLOAT, "arcsec", "Fitted FWHM major axis", nullable=True, minimum=0),
    Column("bmaj_err_arcsec", FLOAT, "arcsec", "Its 1-sigma error", nullable=True, minimum=0),
    Column("bmin_arcsec", FLOAT, "arcsec", "Fitted FWHM minor axis", nullable=True, minimum=0),
    Column("bmin_err_arcsec", FLOAT, "arcsec", "Its 1-sigma error", nullable=True, minimum=0),
    Column("pa_deg", FLOAT, "deg", "Fitted position angle east of north", nullable=True),
    Column("pa_err_deg", FLOAT, "deg", "Its 1-sigma error", nullable=True, minimum=0),
    Column(
        "snr",
        FLOAT,
        "",
        "Signal to noise ratio: peak flux over local rms, else as delivered",
        nullable=True,
        ucd="stat.snr",
    ),
    Column("spectral_index", FLOAT, "", "In-band spectral index, S ~ nu^alpha", nullable=True),
    Column("chi_squared_fit", FLOAT, "", "Chi-squared of the component's fit", nullable=True, minimum=0),
    Column("flags", INT, "", "Quality flags of the source finder, 0 = none"),
    Column("has_siblings", BOOL, "", "Whether the component shares its island with others"),
    Column("forced", BOOL, "", "Whether the flux was measured at a given position instead of detected"),
)

DETECTIONS = TableSchema(
    "detections",
    "Accepted rows of the delivered catalogues, in our columns and units",
    _DETECTION_COLUMNS,
    key=("measurement_id",),
)

OTHER_DETECTIONS = TableSchema(
    "other_detections",
    "Accepted rows that make no sources: those in other Stokes parameters than I, and negative ones in I",
    (*_DETECTION_COLUMNS, STOKES),
    key=("measurement_id",),
    optional=True,
)

MEASUREMENTS = TableSchema(
    "measurements",
    "Detections with errors and weights; duplicates between images are marked, not removed",
    (
        *_DETECTION_COLUMNS,
        Column(
            "mjd", FLOAT, "d", "Mid-observation time of the image, MJD UTC", minimum=0, maximum=1e6, ucd="time.epoch"
        ),
        Column("compactness", FLOAT, "", "Integrated over peak flux density", nullable=True),
        Column("flux_int_isl_ratio", FLOAT, "", "Share of the island's integrated flux density", nullable=True),
        Column("flux_peak_isl_ratio", FLOAT, "", "Share of the sum of the island's peak flux densities", nullable=True),
        Column("error_radius_arcsec", FLOAT, "arcsec", "Radius of the fitted position's error on the sky", minimum=0),
        Column("uncertainty_ew_arcsec", FLOAT, "arcsec", "1-sigma position error east, systematic included", minimum=0),
        Column(
            "uncertainty_ns_arcsec", FLOAT, "arcsec", "1-sigma position error north, systematic included", minimum=0
        ),
        Column("weight_ew_per_arcsec2", FLOAT, "arcsec-2", "1 / uncertainty_ew_arcsec^2", minimum=0),
        Column("weight_ns_per_arcsec2", FLOAT, "arcsec-2", "1 / uncertainty_ns_arcsec^2", minimum=0),
        Column("dist_from_centre_deg", FLOAT, "deg", "Separation from the centre of the image", minimum=0),
        Column("healpix", INT, "", "HEALPix cell of the position, nested, order 10", minimum=0),
        Column(
            "duplicate_of",
            TEXT,
            "",
            "measurement_id that is kept in this one's place; missing if this one is kept",
            nullable=True,
        ),
        Column(
            "duplicate_separation_arcsec",
            FLOAT,
            "arcsec",
            "Separation from the one that is kept",
            nullable=True,
            minimum=0,
        ),
    ),
    key=("measurement_id",),
)

OTHER_MEASUREMENTS = TableSchema(
    "other_measurements",
    "The other detections with errors; duplicates, between images in one Stokes parameter, are marked",
    (*MEASUREMENTS.columns, STOKES),
    key=("measurement_id",),
    optional=True,
)
