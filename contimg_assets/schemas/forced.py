"""Tables of the stage `forced_photometry`: fluxes at fixed positions of the delivered images, and the images' noise."""

from contimg_assets.schemas.core import BOOL, FLOAT, INT, TEXT, Column, TableSchema
from contimg_assets.schemas.detections import BAND

FORCED_FLUXES = TableSchema(
    "forced_fluxes",
    "Peak flux densities at fixed positions of the FITS images: of every known source without a detection in the epoch "
    "and band, and of every monitored position, as measured",
    (
        Column("image", TEXT, "", "Image"),
        Column("position", TEXT, "", "Id of the source, or name of the monitored position"),
        Column("monitored", BOOL, "", "Whether the position is of the monitored list"),
        Column("ra_deg", FLOAT, "deg", "Right ascension of the position, ICRS", minimum=0, maximum=360,
               maximum_exclusive=True, ucd="pos.eq.ra"),
        Column("dec_deg", FLOAT, "deg", "Declination of the position, ICRS", minimum=-90, maximum=90,
               ucd="pos.eq.dec"),
        Column("flux_peak_mjy_beam", FLOAT, "mJy / beam", "Flux density at the position, signed; missing where there "
               "is none: see reason", nullable=True, ucd="phot.flux.density"),
        Column("flux_peak_err_mjy_beam", FLOAT, "mJy / beam", "Its error", nullable=True, minimum=0,
               ucd="stat.error;phot.flux.density"),
        Column("chi_squared_fit", FLOAT, "", "Chi squared of the fit", nullable=True, minimum=0),
        Column("dof", FLOAT, "", "Degrees of freedom of the fit", nullable=True, minimum=0),
        Column("background_mjy_beam", FLOAT, "mJy / beam", "Level under the position", nullable=True),
        Column("local_rms_mjy_beam", FLOAT, "mJy / beam", "Noise at the position", nullable=True, minimum=0),
        Column("n_neighbors", INT, "", "Other positions that were fitted along", minimum=0),
        Column("reason", TEXT, "", "Why there is no flux; empty where there is one"),
        Column("near_bright", BOOL, "", "Whether a source so bright lies near that its artifacts may pass for flux: "
               "no source is called new, faded or variable by it"),
    ),
    key=("image", "position", "monitored"),
)  # fmt: skip

FORCED_CONSTANTS = TableSchema(
    "forced_constants",
    "Forced fluxes of some sources that the same image detects: they check the errors, and are in no light curve",
    tuple(FORCED_FLUXES[name] for name in (
        "image", "position", "ra_deg", "dec_deg", "flux_peak_mjy_beam", "flux_peak_err_mjy_beam", "reason"
    )),
    key=("image", "position"),
)  # fmt: skip

IMAGE_NOISE = TableSchema(
    "image_noise",
    "Noise of the images, kept so that it is measured once: meshes of boxes, and the correlation of pixels",
    (
        Column("image", TEXT, "", "Image"),
        Column("mesh", TEXT, "", "'rms', 'background' (in the unit of the image) or 'correlation'"),
        Column("row", INT, "", "Row of the mesh, from 0", minimum=0),
        Column("column", INT, "", "Column of the mesh, from 0", minimum=0),
        Column("value", FLOAT, "", "Value there", nullable=True),
    ),
    key=("image", "mesh", "row", "column"),
)

FORCED_IMAGES = TableSchema(
    "forced_images",
    "What became of each image that the manifest names",
    (
        Column("image", TEXT, "", "Image"),
        Column("n_positions", INT, "", "Positions that it covers", minimum=0),
        Column("n_fluxes", INT, "", "Of these, with a flux", minimum=0),
        Column("problem", TEXT, "", "Why the image could not be used, with the cure; empty where it could"),
        Column("empty_pull", FLOAT, "", "Scatter of the fluxes at empty places over their errors: 1 where errors are "
               "right", nullable=True, minimum=0),
        Column("empty_pull_err", FLOAT, "", "Its standard error", nullable=True, minimum=0),
        Column("files", TEXT, "", "Names, sizes and times of its files: the noise is of these", versioned=False),
        Column("beside", TEXT, "", "Version of what the empty places were measured on and beside", versioned=False),
    ),
    key=("image",),
)  # fmt: skip

FORCED_PHOTOMETRY = TableSchema(
    "forced_photometry",
    "Forced fluxes with the corrections that their images have",
    (
        Column("source_id", TEXT, "", "The source; missing for a monitored position", nullable=True),
        Column("epoch", TEXT, "", "Epoch"),
        *FORCED_FLUXES.columns[:5],
        Column("mjd", FLOAT, "d", "Mid-observation time, MJD UTC", ucd="time.epoch"),
        BAND,
        *FORCED_FLUXES.columns[5:7],
        Column("flux_peak_corr_mjy_beam", FLOAT, "mJy / beam", "Corrected flux density, signed; of a point source the "
               "integrated one too", nullable=True, ucd="phot.flux.density"),
        Column("flux_peak_err_corr_mjy_beam", FLOAT, "mJy / beam", "Its error without the scale's own", nullable=True),
        Column("flux_scale_err", FLOAT, "", "Error of the image's scale as a fraction of the flux", nullable=True),
        Column("upper_limit_mjy_beam", FLOAT, "mJy / beam", "Upper limit of 95 %: flux, if above 0, + 1.645 errors",
               nullable=True),
        Column("trusted", BOOL, "", "Whether the image is trusted", nullable=True),
        *FORCED_FLUXES.columns[7:],
    ),
    key=("epoch", "image", "position", "monitored"),
)  # fmt: skip
