"""Tables of the stage `error_model`: the errors of fluxes and positions as measured, and what they are from."""

from contimg_assets.schemas.core import FLOAT, INT, TEXT, Column, TableSchema

_KIND = Column(
    "flux_kind",
    TEXT,
    "",
    "'peak' or 'int': which flux density the row is about; 'east' or 'north': which axis of positions",
)

ERROR_MODEL = TableSchema(
    "error_model",
    "Errors of fluxes that constant sources show: e'^2 = (noise e)^2 + (floor S)^2 + (error of the image's scale S)^2, "
    "and a step between configurations of the telescope; systematic errors of positions that repeated ones show; "
    "squares are interpolated between the values given",
    (
        _KIND,
        Column(
            "term",
            TEXT,
            "",
            "'noise': factor of the finder's error, by S / e; 'floor': fraction of the flux, by distance from the "
            "image centre; 'step': the same, between images of different configurations. Of positions: 'noise', by the "
            "finder's error; 'floor': systematic error, by distance; 'assumed': that of the measurements, which it "
            "takes the place of",
        ),
        Column(
            "at",
            FLOAT,
            "",
            "S / e, or distance from the image centre in radii of the image; error of a position in arcsec",
            minimum=0,
        ),
        Column("value", FLOAT, "", "Factor or fraction; systematic error of positions in arcsec", minimum=0),
        Column("value_err", FLOAT, "", "Its standard error", minimum=0),
        Column(
            "n_residuals", INT, "", "Differences of repeated fluxes or positions that all values are from", minimum=0
        ),
    ),
    key=("flux_kind", "term", "at"),
)

IMAGE_CONFIGURATIONS = TableSchema(
    "image_configurations",
    "Images of one pointing whose fluxes agree place by place have the same number; the second image of a pointing has "
    "an odd one, which is the even one below it where a source has no other flux of that number; and what the "
    "positions of each image are off by",
    (
        Column("image", TEXT, "", "Image"),
        Column("configuration", INT, "", "Number of the configuration", minimum=0),
        *(
            Column(
                f"systematic_{name}_arcsec",
                FLOAT,
                "arcsec",
                f"Systematic error of its positions {axis}, at 0.65 radii from its centre; none: not known",
                nullable=True,
                minimum=0,
            )
            for name, axis in (("ew", "east"), ("ns", "north"))
        ),
    ),
    key=("image",),
)

CONFIGURATIONS = TableSchema(
    "configurations",
    "Configurations of all epochs up to this one",
    (
        Column("configuration", INT, "", "Number", minimum=0),
        Column("ra_deg", FLOAT, "deg", "Centre of its first image"),
        Column("dec_deg", FLOAT, "deg", "Centre of its first image, declination"),
        Column("n_images", INT, "", "Images so far", minimum=0),
    ),
    key=("configuration",),
)

ERROR_COUNTS = TableSchema(
    "error_counts",
    "How many fluxes, of all epochs up to this one, lay how far from the mean of the source's earlier ones",
    (
        _KIND,
        Column("cell", INT, "", "Number of the cell of S / e and distance from the image centre", minimum=0),
        Column("step", INT, "", "Number of the step in |difference| over the finder's error of it", minimum=0),
        Column("n", INT, "", "Differences", minimum=1),
    ),
    key=("flux_kind", "cell", "step"),
)

ERROR_SUMS = TableSchema(
    "error_sums",
    "Sums over the differences of each cell of `error_counts`, of variances in units of the finder's",
    (
        _KIND,
        Column("cell", INT, "", "Number of the cell", minimum=0),
        Column(
            "part", INT, "", "Number of the part: floors at each distance, steps at each distance, scales", minimum=0
        ),
        Column("variance", FLOAT, "", "Sum of its variances", minimum=0),
    ),
    key=("flux_kind", "cell", "part"),
)

_BAND = Column(
    "band", TEXT, "", "Band, named by its middle; empty: all bands together, which one without rows of its own uses"
)


def _by_band(schema: TableSchema) -> TableSchema:
    """The same for each band, of surveys that have several: others have no such table."""
    return TableSchema(
        f"band_{schema.name}",
        f"{schema.description}; for each band, where there are several",
        (_BAND, *schema.columns),
        key=("band", *schema.key),
        optional=True,
    )


BAND_ERROR_MODEL, BAND_ERROR_COUNTS, BAND_ERROR_SUMS = (
    _by_band(schema) for schema in (ERROR_MODEL, ERROR_COUNTS, ERROR_SUMS)
)

ERROR_MEANS = TableSchema(
    "error_means",
    "Weighted mean of each source's fluxes in each configuration up to this epoch, and of its positions in all; their "
    "variances in parts",
    (
        _KIND,
        Column("source_id", TEXT, "", "Source, with the band"),
        Column("configuration", INT, "", "Number of the configuration", minimum=0),
        Column("weight", FLOAT, "", "Sum of weights", minimum=0),
        Column("mean", FLOAT, "", "Weighted mean flux density; right ascension or declination in arcsec"),
        Column("noise_variance", FLOAT, "", "Variance of the mean by the finder's errors", minimum=0),
        Column("floor_variance", FLOAT, "", "Variance of the mean by a floor of 100 percent", minimum=0),
        Column("scale_variance", FLOAT, "", "Variance of the mean by the images' scales", minimum=0),
        Column(
            "image_variance",
            FLOAT,
            "",
            "Variance of the mean by the systematic errors of the images' positions",
            minimum=0,
        ),
        Column("radius", FLOAT, "", "Mean distance from the image centre in radii of the image", minimum=0),
        Column("tie_square", FLOAT, "", "Mean square of the error of the absolute flux scale, as fraction", minimum=0),
        Column("n", FLOAT, "", "Fluxes", minimum=1),
    ),
    key=("flux_kind", "source_id", "configuration"),
)
