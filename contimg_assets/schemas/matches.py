"""Tables of the stage `catalog_matches`: candidates per measurement, their summary per image, candidates per source."""

from contimg_assets.schemas.core import BOOL, FLOAT, INT, TEXT, Column, TableSchema


def _probability(name: str, description: str, nullable: bool = False) -> Column:
    return Column(name, FLOAT, "", description, nullable, minimum=0, maximum=1)


_CANDIDATE = (
    Column("catalog", TEXT, "", "Name of the reference catalogue"),
    Column("catalog_source_id", TEXT, "", "The candidate's name in that catalogue", ucd="meta.id"),
    Column("separation_arcsec", FLOAT, "arcsec", "Great-circle separation, nothing taken out", minimum=0),
    Column("dra_arcsec", FLOAT, "arcsec", "Catalogue minus measurement, east on the sky, nothing taken out"),
    Column("ddec_arcsec", FLOAT, "arcsec", "Catalogue minus measurement, north, nothing taken out"),
    Column("sigma_ew_arcsec", FLOAT, "arcsec", "1-sigma error of dra: both positions and systematics", minimum=0),
    Column("sigma_ns_arcsec", FLOAT, "arcsec", "1-sigma error of ddec: both positions and systematics", minimum=0),
    Column("de_ruiter", FLOAT, "", "Offset over its error, after the image's own offset is taken out", minimum=0),
    Column("log10_bayes_factor", FLOAT, "", "log10 of 4 pi f per steradian (Budavari & Szalay 2008)"),
    Column("likelihood_ratio", FLOAT, "", "Q f / density (Sutherland & Saunders 1992)", minimum=0),
    _probability("probability", "That this candidate is the counterpart, all candidates considered"),
    _probability("p_any", "That any of the candidates is the counterpart"),
    _probability("p_none", "That none is: 1 - p_any without loss of digits"),
    _probability("p_chance", "That an unrelated source lies at least this near"),
    Column("n_candidates", INT, "", "Candidates in this catalogue", minimum=1),
    Column("rank", INT, "", "1 = most probable", minimum=1),
    Column("mutual", BOOL, "", "Whether both are nearest to each other, the offset taken out"),
    Column("blend", BOOL, "", "Whether either beam holds another measurement or catalogue source"),
    Column("relation", TEXT, "", "Measurements to catalogue sources within the beams: 1:1, 1:n, n:1 or n:m"),
    Column("catalog_ra_deg", FLOAT, "deg", "Right ascension of the candidate, ICRS", minimum=0, maximum=360),
    Column("catalog_dec_deg", FLOAT, "deg", "Declination of the candidate, ICRS", minimum=-90, maximum=90),
    Column("catalog_flux_mjy", FLOAT, "mJy", "Flux density at the catalogue's frequency", nullable=True),
    Column("catalog_flux_err_mjy", FLOAT, "mJy", "Its 1-sigma error", nullable=True, minimum=0),
    Column("expected_flux_mjy", FLOAT, "mJy", "Catalogue flux density scaled to our frequency", nullable=True),
    Column(
        "expected_flux_err_mjy",
        FLOAT,
        "mJy",
        "Its error, that of the spectral index included, without the catalogue's scale: that is common to all",
        nullable=True,
    ),
    Column("spectral_index", FLOAT, "", "Spectral index used for scaling, S ~ nu^alpha", nullable=True),
    Column("spectral_index_err", FLOAT, "", "Its 1-sigma error", nullable=True, minimum=0),
    Column("flux_ratio", FLOAT, "", "Our flux density over expected_flux_mjy", nullable=True),
    Column("quality", TEXT, "", "A, B, C or D; or accepted, rejected where a person decided"),
    Column("catalog_version", TEXT, "", "Version of the catalogue's content"),
)

CATALOG_MATCHES = TableSchema(
    "catalog_matches",
    "Every candidate counterpart of every measurement in every reference catalogue",
    (
        Column("measurement_id", TEXT, "", "The measurement", ucd="meta.id"),
        Column("source_id", TEXT, "", "The nearest of its sources, where it has one", nullable=True, ucd="meta.id"),
        Column("image", TEXT, "", "Its image"),
        *_CANDIDATE,
        Column("catalog_beam_arcsec", FLOAT, "arcsec", "Resolution of the catalogue, FWHM", minimum=0),
        Column(
            "catalog_neighbour_arcsec",
            FLOAT,
            "arcsec",
            "Separation of the catalogue source nearest to a best candidate; missing beyond two of the larger beam",
            nullable=True,
            minimum=0,
        ),
    ),
    key=("measurement_id", "catalog", "catalog_source_id"),
)

SOURCE_MATCHES = TableSchema(
    "source_matches",
    "Every candidate counterpart of every source, at its mean corrected position, people's decisions applied",
    (
        Column("source_id", TEXT, "", "The source", ucd="meta.id;meta.main"),
        *(
            Column(c.name, c.type, c.unit, c.description, True, c.minimum, c.maximum)
            # An accepted counterpart that is no candidate has names and nothing else.
            if c.name not in ("catalog", "catalog_source_id", "rank", "mutual", "blend", "quality")
            else c
            for c in _CANDIDATE
        ),
        Column("manual", BOOL, "", "Whether a person accepted or rejected it"),
        Column("comment", TEXT, "", "What a person wrote about it", nullable=True),
    ),
    key=("source_id", "catalog", "catalog_source_id"),
)

MATCH_SUMMARY = TableSchema(
    "match_summary",
    "How the matching of one image to one catalogue went",
    (
        Column("image", TEXT, "", "Image"),
        Column("catalog", TEXT, "", "Reference catalogue"),
        Column("n_measurements", INT, "", "Measurements of the image", minimum=0),
        Column("n_covered", INT, "", "Of those, inside the catalogue's footprint", minimum=0),
        Column("n_matched", INT, "", "Of those, with p_any > 0.5", minimum=0),
        _probability("matched_fraction", "n_matched / n_covered", nullable=True),
        Column("dra_arcsec", FLOAT, "arcsec", "Offset of the image, catalogue minus measurement, east", nullable=True),
        Column("ddec_arcsec", FLOAT, "arcsec", "Offset of the image, north", nullable=True),
        Column("dra_err_arcsec", FLOAT, "arcsec", "Its standard error", nullable=True, minimum=0),
        Column("ddec_err_arcsec", FLOAT, "arcsec", "Its standard error", nullable=True, minimum=0),
        Column("dra_scatter_arcsec", FLOAT, "arcsec", "1.4826 MAD of the offsets, east", nullable=True, minimum=0),
        Column("ddec_scatter_arcsec", FLOAT, "arcsec", "1.4826 MAD of the offsets, north", nullable=True, minimum=0),
        Column("n_offset", INT, "", "Pairs the offset was measured from", minimum=0),
        Column("offset_applied", BOOL, "", "Whether it was taken out before matching; false with too few pairs"),
        Column("offset_from", TEXT, "", "Catalogue it was measured with; another one where this has too few", True),
        Column("systematic_ew_arcsec", FLOAT, "arcsec", "Error added in quadrature to explain the scatter", minimum=0),
        Column("systematic_ns_arcsec", FLOAT, "arcsec", "Error added in quadrature to explain the scatter", minimum=0),
        Column("density_per_deg2", FLOAT, "deg-2", "Mean local density of the catalogue", nullable=True, minimum=0),
        _probability("q", "Share of measurements with a counterpart above the catalogue's limit"),
        Column("radius_arcsec", FLOAT, "arcsec", "Radius at which false matches are counted", minimum=0),
        Column("n_within_radius", INT, "", "Measurements with a catalogue source within it", minimum=0),
        Column("n_offset_positions", INT, "", "Offset positions that were searched for false matches", minimum=0),
        Column(
            "false_match_rate", FLOAT, "", "Share of matches within the radius that are false", nullable=True, minimum=0
        ),
        Column("n_false", FLOAT, "", "False matches expected within the radius", nullable=True, minimum=0),
        Column("n_false_best", FLOAT, "", "False matches expected among those with probability > 0.5", minimum=0),
        Column("catalog_version", TEXT, "", "Version of the catalogue's content"),
    ),
    key=("image", "catalog"),
)
