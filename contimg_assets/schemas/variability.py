"""Tables about sources: `sources`, `variability`, `cross_matches`, and what questions about light curves return."""

from dataclasses import replace

from contimg_assets.schemas.core import BOOL, FLOAT, INT, TEXT, Column, TableSchema
from contimg_assets.schemas.corrections import CORRECTED_MEASUREMENTS
from contimg_assets.schemas.detections import BAND

# Kind of flux -> unit as a name suffix.
FLUX_KINDS = {"peak": "mjy_beam", "int": "mjy"}
SAMPLES = ("detections", "forced", "all")

_UNIT = {"peak": "mJy / beam", "int": "mJy"}
_SQUARED = {"peak": "mJy2 / beam2", "int": "mJy2"}
_WORD = {"peak": "peak flux density", "int": "integrated flux density"}
_UCD = {"peak": "phot.flux.density;stat.max", "int": "phot.flux.density"}

_RA = Column(
    "ra_deg",
    FLOAT,
    "deg",
    "Right ascension, ICRS",
    minimum=0,
    maximum=360,
    maximum_exclusive=True,
    ucd="pos.eq.ra;meta.main",
)
_TRUSTED = "Whether the image is trusted; where it is not, no statistic counts the point"
_DEC = Column("dec_deg", FLOAT, "deg", "Declination, ICRS", minimum=-90, maximum=90, ucd="pos.eq.dec;meta.main")


def _flux_columns(kind: str) -> tuple[Column, ...]:
    """Statistics of one kind of flux."""
    unit, word, name = _UNIT[kind], _WORD[kind], f"flux_{kind}"
    suffix = FLUX_KINDS[kind]

    def of_flux(what: str, text: str, minimum: float | None = None) -> Column:
        return Column(f"{name}_{what}_{suffix}", FLOAT, unit, text, True, minimum, ucd=_UCD[kind])

    def number(what: str, text: str, minimum: float | None = None, maximum: float | None = None) -> Column:
        return Column(f"{what}_{kind}", FLOAT, "", text, True, minimum, maximum)

    return (
        Column(f"n_{kind}", INT, "", f"Points with a usable {word}", minimum=0, ucd="meta.number"),
        Column(f"n_invalid_{kind}", INT, "", f"Points without a usable {word} or error", minimum=0),
        of_flux("mean", f"Mean {word}, corrected"),
        of_flux("weighted_mean", f"Mean {word}, weighted by 1 / error^2"),
        of_flux("weighted_mean_err", "Its 1-sigma error for a constant source", minimum=0),
        of_flux("std", f"Standard deviation of the {word}, n - 1 in the denominator", minimum=0),
        of_flux("min", f"Smallest {word}"),
        of_flux("max", f"Largest {word}"),
        number(
            "v", "V: standard deviation over mean; missing with one point or a mean that is not positive", minimum=0
        ),
        number("v_weighted", "V from weighted mean and weighted scatter", minimum=0),
        number("eta", "eta: reduced chi-squared against the weighted mean; missing with one point", minimum=0),
        number("p_value", "Chance that a constant source reaches this eta", minimum=0, maximum=1),
        Column(
            f"excess_variance_{kind}_{suffix}2",
            FLOAT,
            _SQUARED[kind],
            "Variance beyond the errors, negative if the scatter is less than they explain",
            nullable=True,
        ),
        number("modulation", "Debiased modulation index: signed root of the excess variance over the mean"),
        number("max_deviation", "Largest deviation from the weighted mean, in errors", minimum=0),
        number("vs", "|Vs| of the significant pair with the largest |m|; missing if no pair is significant", minimum=0),
        number("m", "|m| of that pair; above 2 if one of its fluxes is negative", minimum=0),
        number("vs_max", "Largest |Vs| of all significant pairs", minimum=0),
    )


SOURCES = TableSchema(
    "sources",
    "What measurements of different epochs are measurements of; everything from corrected values",
    (
        Column(
            "name",
            TEXT,
            "",
            "Name after the position of the first detection, cut off (not rounded) as the IAU asks",
            ucd="meta.id",
        ),
        Column("id", TEXT, "", "Hash of the measurement that gave birth to the source", ucd="meta.id;meta.main"),
        _RA,
        _DEC,
        Column("uncertainty_ew_arcsec", FLOAT, "arcsec", "1-sigma error of the mean position, east", minimum=0),
        Column("uncertainty_ns_arcsec", FLOAT, "arcsec", "1-sigma error of the mean position, north", minimum=0),
        Column("healpix", INT, "", "HEALPix cell of the position, nested, order 10", minimum=0),
        Column("first_epoch", TEXT, "", "Epoch of the first detection"),
        Column("last_epoch", TEXT, "", "Epoch of the last detection"),
        Column("first_mjd", FLOAT, "d", "Time of the first detection, MJD UTC", minimum=0, ucd="time.start"),
        Column("last_mjd", FLOAT, "d", "Time of the last detection, MJD UTC", minimum=0, ucd="time.end"),
        Column(
            "first_ra_deg",
            FLOAT,
            "deg",
            "Right ascension of the first detection: where coverage is judged",
            minimum=0,
            maximum=360,
            maximum_exclusive=True,
        ),
        Column("first_dec_deg", FLOAT, "deg", "Declination of the first detection", minimum=-90, maximum=90),
        Column(
            "n_measurements", INT, "", "Measurements, forced ones included, limits not", minimum=1, ucd="meta.number"
        ),
        Column("n_forced", INT, "", "Forced measurements", minimum=0),
        Column("n_epochs", INT, "", "Epochs with a measurement", minimum=1),
        Column("n_limits", INT, "", "Epochs that covered the source and did not detect it", minimum=0),
        Column("n_siblings", INT, "", "Measurements that share their island with others", minimum=0),
        Column("n_relations", INT, "", "Sources that competed with this one for a measurement", minimum=0),
        Column(
            "neighbour_arcsec",
            FLOAT,
            "arcsec",
            "Separation from the nearest other source; missing if there is none",
            nullable=True,
            minimum=0,
        ),
        Column("freq_mhz", FLOAT, "MHz", "Mean frequency of its images", minimum=0, ucd="em.freq"),
        Column("beam_arcsec", FLOAT, "arcsec", "Mean FWHM of the beam of its images", minimum=0),
        Column("compactness", FLOAT, "", "Mean of integrated over peak flux density of the detections", nullable=True),
        Column("min_snr", FLOAT, "", "Smallest signal to noise ratio of the detections", nullable=True),
        Column(
            "max_snr",
            FLOAT,
            "",
            "Largest signal to noise ratio of the detections",
            nullable=True,
            ucd="stat.snr;stat.max",
        ),
        Column("min_flux_peak_isl_ratio", FLOAT, "", "Smallest share of an island's peak flux density", nullable=True),
        Column(
            "min_flux_int_isl_ratio", FLOAT, "", "Smallest share of an island's integrated flux density", nullable=True
        ),
        Column(
            "flux_peak_mjy_beam",
            FLOAT,
            "mJy / beam",
            "Weighted mean peak flux density of the detections",
            nullable=True,
            ucd=_UCD["peak"],
        ),
        Column("flux_peak_err_mjy_beam", FLOAT, "mJy / beam", "Its 1-sigma error", nullable=True, minimum=0),
        Column(
            "flux_int_mjy",
            FLOAT,
            "mJy",
            "Weighted mean integrated flux density of the detections",
            nullable=True,
            ucd=_UCD["int"],
        ),
        Column("flux_int_err_mjy", FLOAT, "mJy", "Its 1-sigma error", nullable=True, minimum=0),
        Column("is_new", BOOL, "", "Whether earlier images of its place would have shown it; `contimg new` asks more"),
        Column(
            "new_significance",
            FLOAT,
            "",
            "First flux over the lowest rms of the earlier images at the place; missing if not covered before",
            nullable=True,
        ),
        Column("new_image", TEXT, "", "That image, as epoch/image", nullable=True),
        Column(
            "n_untrusted", INT, "", "Measurements of images that are not trusted, which no statistic counts", minimum=0
        ),
        replace(
            BAND,
            description="Band that most detections are of (the lowest of several): that of frequency, beam and fluxes",
        ),
        Column("n_bands", INT, "", "Bands with a measurement", minimum=1),
        Column(
            "mixed_beams",
            BOOL,
            "",
            "Whether a light curve of one band is of beams that differ by more than a factor of 1.5: its fluxes may "
            "differ because the beams do",
        ),
        Column(
            "only_polarized",
            BOOL,
            "",
            "Whether nothing in Stokes I shows it: a source that `stokes.sources` made, of which counts, times, place "
            "and SNR are those of its polarized detections, and fluxes are in the view `polarization`",
        ),
    ),
    key=("id",),
)

_LOG10_P_VALUES = tuple(
    Column(
        f"log10_p_value_{kind}",
        FLOAT,
        "",
        f"Decimal logarithm of p_value_{kind}, also where that is too small for a number",
        nullable=True,
        maximum=0,
    )
    for kind in FLUX_KINDS
)

Q_VALUES = tuple(
    Column(
        f"q_value_{kind}",
        FLOAT,
        "",
        f"Share of constant sources to be expected in a list down to this one, by {_WORD[kind]}",
        nullable=True,
        minimum=0,
        maximum=1,
    )
    for kind in FLUX_KINDS
)
"""What is asked of the table `variability` as a whole. A night changes it for every source: it is not stored."""

VARIABILITY = TableSchema(
    "variability",
    "Statistics of the corrected light curve of each source in each band, for detections, forced measurements, and "
    "both together",
    (
        Column("source_id", TEXT, "", "The source", ucd="meta.id"),
        replace(BAND, description="Band of the light curve, named by its middle"),
        Column("sample", TEXT, "", "'detections'; 'forced' and 'all' only for sources with forced measurements"),
        *_flux_columns("peak"),
        *_flux_columns("int"),
        *_LOG10_P_VALUES,
    ),
    key=("source_id", "band", "sample"),
)

CROSS_MATCHES = TableSchema(
    "cross_matches",
    "Candidate counterparts of each source in the reference catalogues, people's decisions applied",
    (
        Column("id", TEXT, "", "Hash of (source, catalogue, catalogue source)", ucd="meta.id;meta.main"),
        Column("source_id", TEXT, "", "The source"),
        Column("catalog_type", TEXT, "", "Reference catalogue"),
        Column("catalog_source_id", TEXT, "", "Source in that catalogue", ucd="meta.id.cross"),
        Column("separation_arcsec", FLOAT, "arcsec", "Separation", nullable=True, minimum=0, ucd="pos.angDistance"),
        Column("dra_arcsec", FLOAT, "arcsec", "Catalogue minus source, east on the sky", nullable=True),
        Column("ddec_arcsec", FLOAT, "arcsec", "Catalogue minus source, north", nullable=True),
        Column("de_ruiter", FLOAT, "", "de Ruiter radius", nullable=True, minimum=0),
        Column("flux_ratio", FLOAT, "", "Our flux over the catalogue's, scaled to our frequency", nullable=True),
        Column("catalog_flux_mjy", FLOAT, "mJy", "Flux density in the catalogue, at its frequency", nullable=True),
        Column("match_quality", TEXT, "", "A, B, C or D; or accepted, rejected where people decided", nullable=True),
        Column(
            "probability",
            FLOAT,
            "",
            "Probability that this candidate is the counterpart",
            nullable=True,
            minimum=0,
            maximum=1,
            ucd="stat.probability",
        ),
        Column("p_any", FLOAT, "", "Probability that any candidate is", nullable=True, minimum=0, maximum=1),
        Column("blend", BOOL, "", "Whether either beam holds another source or catalogue source"),
        Column("rank", INT, "", "1 is the best candidate of the source in the catalogue", minimum=1),
        Column("manual", BOOL, "", "Whether people accepted or rejected it"),
        Column("comment", TEXT, "", "What people say about it", nullable=True),
        Column("catalog_version", TEXT, "", "Version of the reference catalogue", nullable=True),
        Column(
            "created_at",
            TEXT,
            "",
            "ISO 8601 UTC of the source's first detection: the same whatever order epochs came in",
        ),
    ),
    key=("id",),
)

LIGHT_CURVE = TableSchema(
    "light_curve",
    "One source's points in time order",
    (
        Column("source_id", TEXT, "", "The source"),
        Column("epoch", TEXT, "", "Epoch"),
        Column("image", TEXT, "", "Image"),
        Column("measurement_id", TEXT, "", "The measurement", ucd="meta.id"),
        Column("mjd", FLOAT, "d", "Mid-observation time, MJD UTC", ucd="time.epoch"),
        Column("ra_corr_deg", FLOAT, "deg", "Corrected right ascension, ICRS", nullable=True, ucd="pos.eq.ra"),
        Column("dec_corr_deg", FLOAT, "deg", "Corrected declination, ICRS", nullable=True, ucd="pos.eq.dec"),
        Column(
            "flux_peak_corr_mjy_beam",
            FLOAT,
            "mJy / beam",
            "Corrected peak flux density",
            nullable=True,
            ucd=_UCD["peak"],
        ),
        Column(
            "flux_peak_err_corr_mjy_beam",
            FLOAT,
            "mJy / beam",
            "Its 1-sigma error without the scale's own",
            nullable=True,
        ),
        Column("flux_int_corr_mjy", FLOAT, "mJy", "Corrected integrated flux density", nullable=True, ucd=_UCD["int"]),
        Column("flux_int_err_corr_mjy", FLOAT, "mJy", "Its 1-sigma error without the scale's own", nullable=True),
        Column("flux_scale_err", FLOAT, "", "Error of the image's scale as a fraction of the flux", nullable=True),
        Column(
            "upper_limit_mjy_beam",
            FLOAT,
            "mJy / beam",
            "Upper limit where the source was covered and not detected",
            nullable=True,
        ),
        Column("snr", FLOAT, "", "Signal to noise ratio", nullable=True, ucd="stat.snr"),
        Column("forced", BOOL, "", "Whether the flux was measured at a given position"),
        Column("is_limit", BOOL, "", "Whether this is an upper limit and not a measurement"),
        Column("trusted", BOOL, "", _TRUSTED, nullable=True),
        Column("separation_arcsec", FLOAT, "arcsec", "From the source's position before this epoch", nullable=True),
        Column("de_ruiter", FLOAT, "", "de Ruiter radius at association", nullable=True),
        BAND,
    ),
    key=("source_id", "measurement_id"),
)

UPPER_LIMITS = TableSchema(
    "upper_limits",
    "Upper limits in Stokes I: where an epoch covered a source and did not detect it",
    (
        LIGHT_CURVE["source_id"],
        LIGHT_CURVE["epoch"],
        Column("image", TEXT, "", "Image that says most: with the lowest rms there"),
        Column("measurement_id", TEXT, "", "Name of the limit", ucd="meta.id"),
        LIGHT_CURVE["mjd"],
        Column("ra_deg", FLOAT, "deg", "Where the source was first detected, right ascension, ICRS", ucd="pos.eq.ra"),
        Column("dec_deg", FLOAT, "deg", "Where the source was first detected, declination, ICRS", ucd="pos.eq.dec"),
        replace(LIGHT_CURVE["upper_limit_mjy_beam"], nullable=False),
        BAND,
    ),
    key=("source_id", "measurement_id"),
)

SOURCE_MEASUREMENTS = TableSchema(
    "source_measurements",
    "Measurements with the source that each belongs to, raw and corrected: all columns in one table",
    (
        LIGHT_CURVE["source_id"],
        LIGHT_CURVE["epoch"],
        *(column for column in CORRECTED_MEASUREMENTS if not column.name.startswith("weight_")),
        *(LIGHT_CURVE[name] for name in ("is_limit", "upper_limit_mjy_beam", "separation_arcsec", "de_ruiter", "band")),
    ),
    key=("source_id", "measurement_id"),
)

PAIRS = TableSchema(
    "measurement_pairs",
    "Pairs of measurements of one source, a before b in time",
    (
        Column("source_id", TEXT, "", "The source"),
        Column("measurement_id_a", TEXT, "", "Earlier measurement"),
        Column("measurement_id_b", TEXT, "", "Later measurement"),
        Column("mjd_a", FLOAT, "d", "Time of a, MJD UTC"),
        Column("mjd_b", FLOAT, "d", "Time of b, MJD UTC"),
        Column("vs_peak", FLOAT, "", "Vs of the peak flux densities, a minus b", nullable=True),
        Column("m_peak", FLOAT, "", "m of the peak flux densities", nullable=True),
        Column("vs_int", FLOAT, "", "Vs of the integrated flux densities", nullable=True),
        Column("m_int", FLOAT, "", "m of the integrated flux densities", nullable=True),
    ),
)

SPECTRAL_INDICES = TableSchema(
    "spectral_indices",
    "Spectral index of each source seen in several bands, S ~ nu^alpha, of all epochs or of each",
    (
        Column("source_id", TEXT, "", "The source", ucd="meta.id"),
        Column("epoch", TEXT, "", "Epoch whose simultaneous bands it is of; missing: of all epochs", nullable=True),
        Column("n_bands", INT, "", "Bands with a positive mean flux", minimum=2),
        Column("freq_min_mhz", FLOAT, "MHz", "Lowest mean frequency of a band", minimum=0, ucd="em.freq;stat.min"),
        Column("freq_max_mhz", FLOAT, "MHz", "Highest mean frequency of a band", minimum=0, ucd="em.freq;stat.max"),
        Column("alpha", FLOAT, "", "Spectral index", ucd="spect.index"),
        Column("alpha_err", FLOAT, "", "Its 1-sigma error, those of the flux scales included", minimum=0),
        Column("alpha_tie_err", FLOAT, "", "The part of it that all sources of a field have in common", minimum=0),
        Column("curvature", FLOAT, "", "Coefficient of (ln nu)^2, of three bands or more", nullable=True),
        Column("curvature_err", FLOAT, "", "Its 1-sigma error", nullable=True, minimum=0),
    ),
    key=("source_id", "epoch"),
)

PHOTOMETRY = TableSchema(
    "photometry",
    "Measurements of sources as existing DSA-110 readers look for them; normalized is corrected",
    (
        Column("source_id", TEXT, "", "The source", ucd="meta.id"),
        Column("ra_deg", FLOAT, "deg", "Measured right ascension, ICRS", ucd="pos.eq.ra"),
        Column("dec_deg", FLOAT, "deg", "Measured declination, ICRS", ucd="pos.eq.dec"),
        Column("flux_jy", FLOAT, "Jy", "Integrated flux density as measured", nullable=True),
        Column("flux_err_jy", FLOAT, "Jy", "Its 1-sigma error", nullable=True),
        Column("peak_jyb", FLOAT, "Jy / beam", "Peak flux density as measured", nullable=True),
        Column("peak_err_jyb", FLOAT, "Jy / beam", "Its 1-sigma error", nullable=True),
        Column("normalized_flux_jy", FLOAT, "Jy", "Corrected integrated flux density", nullable=True),
        Column("normalized_flux_err_jy", FLOAT, "Jy", "Its 1-sigma error", nullable=True),
        Column("snr", FLOAT, "", "Signal to noise ratio", nullable=True, ucd="stat.snr"),
        Column("measured_at", FLOAT, "s", "Middle of the observation, Unix time", ucd="time.epoch"),
        Column("mjd", FLOAT, "d", "Middle of the observation, MJD UTC", ucd="time.epoch"),
        Column("image_path", TEXT, "", "FITS image, where the manifest names one", nullable=True),
        Column("mosaic_path", TEXT, "", "The same", nullable=True),
        Column("nvss_flux_mjy", FLOAT, "mJy", "Flux density of the NVSS counterpart", nullable=True),
    ),
)

VARIABILITY_STATS = TableSchema(
    "variability_stats",
    "Statistics of sources as existing DSA-110 readers look for them, from corrected integrated fluxes",
    (
        Column("source_id", TEXT, "", "The source", ucd="meta.id"),
        Column("ra_deg", FLOAT, "deg", "Mean right ascension, ICRS", ucd="pos.eq.ra"),
        Column("dec_deg", FLOAT, "deg", "Mean declination, ICRS", ucd="pos.eq.dec"),
        Column("nvss_flux_mjy", FLOAT, "mJy", "Flux density of the NVSS counterpart", nullable=True),
        Column("mean_flux_mjy", FLOAT, "mJy", "Mean flux density", nullable=True),
        Column("std_flux_mjy", FLOAT, "mJy", "Standard deviation", nullable=True),
        Column("chi2_nu", FLOAT, "", "Reduced chi-squared against the weighted mean", nullable=True),
        Column("sigma_deviation", FLOAT, "", "Largest distance from the mean in standard deviations", nullable=True),
        Column("eta_metric", FLOAT, "", "eta, which is the reduced chi-squared", nullable=True),
        Column("n_obs", INT, "", "Measurements"),
        Column("last_mjd", FLOAT, "d", "Time of the last detection, MJD UTC"),
    ),
)
