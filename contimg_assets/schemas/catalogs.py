"""The table of a reference catalog, in our columns and units."""

from contimg_assets.schemas.core import FLOAT, INT, TEXT, Column, TableSchema

REFERENCE = TableSchema(
    "reference",
    "One reference catalogue, sorted by HEALPix cell so that a part of the sky is a part of the file",
    (
        Column(
            "catalog_source_id",
            TEXT,
            "",
            "The catalogue's own name of the source, else its IAU name from the position",
            ucd="meta.id;meta.main",
        ),
        Column(
            "ra_deg",
            FLOAT,
            "deg",
            "Right ascension, ICRS",
            minimum=0,
            maximum=360,
            maximum_exclusive=True,
            ucd="pos.eq.ra",
        ),
        Column("dec_deg", FLOAT, "deg", "Declination, ICRS", minimum=-90, maximum=90, ucd="pos.eq.dec"),
        Column("ra_err_arcsec", FLOAT, "arcsec", "1-sigma position error east on the sky, floor included", minimum=0),
        Column("dec_err_arcsec", FLOAT, "arcsec", "1-sigma position error north, floor included", minimum=0),
        Column("flux_mjy", FLOAT, "mJy", "Integrated flux density", nullable=True, ucd="phot.flux.density"),
        Column("flux_err_mjy", FLOAT, "mJy", "Its 1-sigma error", nullable=True, minimum=0),
        Column("flux_peak_mjy_beam", FLOAT, "mJy / beam", "Peak flux density", nullable=True),
        Column("spectral_index", FLOAT, "", "Spectral index given by the catalogue, S ~ nu^alpha", nullable=True),
        Column("healpix_29", INT, "", "HEALPix cell of the position, nested, order 29", minimum=0),
    ),
    key=("catalog_source_id",),
)

_MOVING = (
    Column("pm_ra_mas_yr", FLOAT, "mas / yr", "Proper motion east on the sky", nullable=True, ucd="pos.pm;pos.eq.ra"),
    Column("pm_dec_mas_yr", FLOAT, "mas / yr", "Proper motion north", nullable=True, ucd="pos.pm;pos.eq.dec"),
    Column("pm_ra_err_mas_yr", FLOAT, "mas / yr", "1-sigma error of the motion east", nullable=True, minimum=0),
    Column("pm_dec_err_mas_yr", FLOAT, "mas / yr", "1-sigma error of the motion north", nullable=True, minimum=0),
    Column("measured_mjd", FLOAT, "d", "Time at which motions add nothing to the position errors, MJD", nullable=True),
    Column("position_mjd", FLOAT, "d", "Time that the position stands for, MJD", nullable=True),
)
MOTIONS = tuple(column.name for column in _MOVING)
"""Columns of catalogs whose sources move."""

MOVING_REFERENCE = TableSchema(
    "reference_moving",
    "A reference catalogue whose sources have proper motions: they are matched where they are at the time of an image",
    (*REFERENCE.columns, *_MOVING),
    key=REFERENCE.key,
)
