"""Tables of the first version, as they were then."""
# ruff: noqa: E501

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "epochs",
        sa.Column("epoch", sa.Text(), nullable=False, comment="Name of the epoch"),
        sa.Column(
            "mjd_start",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Mid-observation time of its first image, MJD UTC [d]",
        ),
        sa.Column(
            "mjd_end",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Mid-observation time of its last image, MJD UTC [d]",
        ),
        sa.Column("n_images", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False, comment="Images"),
        sa.Column(
            "n_measurements",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="Measurements, duplicates included, limits not",
        ),
        sa.Column(
            "n_duplicates",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="Measurements that duplicate another one of the epoch",
        ),
        sa.Column(
            "n_associations",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="Associations",
        ),
        sa.Column(
            "content_version", sa.Text(), nullable=False, comment="Version of the content that the rows were made from"
        ),
        sa.PrimaryKeyConstraint("epoch", name=op.f("pk_epochs")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "match_overrides",
        sa.Column("id", sa.Text(), nullable=False, comment="Hash of the other columns"),
        sa.Column("source_id", sa.Text(), nullable=False, comment="The source, as it was named then"),
        sa.Column("catalog", sa.Text(), nullable=False, comment="Reference catalogue"),
        sa.Column(
            "catalog_source_id", sa.Text(), nullable=True, comment="Source in that catalogue; missing: all of them"
        ),
        sa.Column("action", sa.Text(), nullable=False, comment="'accept', 'reject' or 'comment'"),
        sa.Column("comment", sa.Text(), nullable=True, comment="What the person says"),
        sa.Column("author", sa.Text(), nullable=True, comment="Who"),
        sa.Column("created_at", sa.Text(), nullable=False, comment="When, ISO 8601 UTC"),
        sa.CheckConstraint("action IN ('accept', 'reject', 'comment')", name=op.f("ck_match_overrides_action")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_match_overrides")),
        sqlite_strict=True,
    )
    with op.batch_alter_table("match_overrides", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_match_overrides_source_id"), ["source_id"], unique=False)

    op.create_table(
        "recomputed_with",
        sa.Column("name", sa.Text(), nullable=False, comment="'variability' or 'matching'"),
        sa.Column("version", sa.Text(), nullable=False, comment="Version of its parameters and inputs"),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_recomputed_with")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "reference_catalogs",
        sa.Column("name", sa.Text(), nullable=False, comment="Name"),
        sa.Column(
            "freq_mhz",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Frequency of its fluxes [MHz]",
        ),
        sa.Column(
            "beam_arcsec",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Resolution, FWHM [arcsec]",
        ),
        sa.Column("version", sa.Text(), nullable=False, comment="Version of its content"),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_reference_catalogs")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "sources",
        sa.Column("id", sa.Text(), nullable=False, comment="Hash of the measurement that gave birth to the source"),
        sa.Column(
            "ra_deg",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=False,
            comment="Right ascension, ICRS [deg]",
        ),
        sa.Column(
            "dec_deg", sa.Double().with_variant(sa.REAL(), "sqlite"), nullable=False, comment="Declination, ICRS [deg]"
        ),
        sa.Column(
            "uncertainty_ew_arcsec",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=False,
            comment="1-sigma error of the mean position, east [arcsec]",
        ),
        sa.Column(
            "uncertainty_ns_arcsec",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=False,
            comment="1-sigma error of the mean position, north [arcsec]",
        ),
        sa.Column(
            "healpix",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="HEALPix cell of the position, nested, order 10",
        ),
        sa.Column("first_epoch", sa.Text(), nullable=False, comment="Epoch of the first detection"),
        sa.Column("last_epoch", sa.Text(), nullable=False, comment="Epoch of the last detection"),
        sa.Column(
            "first_mjd",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=False,
            comment="Time of the first detection, MJD UTC [d]",
        ),
        sa.Column(
            "last_mjd",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=False,
            comment="Time of the last detection, MJD UTC [d]",
        ),
        sa.Column(
            "first_ra_deg",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=False,
            comment="Right ascension of the first detection: where coverage is judged [deg]",
        ),
        sa.Column(
            "first_dec_deg",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=False,
            comment="Declination of the first detection [deg]",
        ),
        sa.Column(
            "n_measurements",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="Measurements, forced ones included, limits not",
        ),
        sa.Column(
            "n_forced",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="Forced measurements",
        ),
        sa.Column(
            "n_epochs",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="Epochs with a measurement",
        ),
        sa.Column(
            "n_limits",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="Epochs that covered the source and did not detect it",
        ),
        sa.Column(
            "n_siblings",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="Measurements that share their island with others",
        ),
        sa.Column(
            "n_relations",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="Sources that competed with this one for a measurement",
        ),
        sa.Column(
            "neighbour_arcsec",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Separation from the nearest other source; missing if there is none [arcsec]",
        ),
        sa.Column(
            "freq_mhz",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=False,
            comment="Mean frequency of its images [MHz]",
        ),
        sa.Column(
            "beam_arcsec",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=False,
            comment="Mean FWHM of the beam of its images [arcsec]",
        ),
        sa.Column(
            "compactness",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Mean of integrated over peak flux density of the detections",
        ),
        sa.Column(
            "min_snr",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Smallest signal to noise ratio of the detections",
        ),
        sa.Column(
            "max_snr",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Largest signal to noise ratio of the detections",
        ),
        sa.Column(
            "min_flux_peak_isl_ratio",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Smallest share of an island's peak flux density",
        ),
        sa.Column(
            "min_flux_int_isl_ratio",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Smallest share of an island's integrated flux density",
        ),
        sa.Column(
            "flux_peak_mjy_beam",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Weighted mean peak flux density of the detections [mJy / beam]",
        ),
        sa.Column(
            "flux_peak_err_mjy_beam",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Its 1-sigma error [mJy / beam]",
        ),
        sa.Column(
            "flux_int_mjy",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Weighted mean integrated flux density of the detections [mJy]",
        ),
        sa.Column(
            "flux_int_err_mjy",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Its 1-sigma error [mJy]",
        ),
        sa.Column(
            "is_new",
            sa.Boolean().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="Whether its place was covered before and an earlier image would have shown it",
        ),
        sa.Column(
            "new_significance",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="First peak flux over the lowest rms of the earlier images of the place; missing if not covered before",
        ),
        sa.Column("new_image", sa.Text(), nullable=True, comment="That image, as epoch/image"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sources")),
        sqlite_strict=True,
    )
    with op.batch_alter_table("sources", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_sources_healpix"), ["healpix"], unique=False)

    op.create_table(
        "cross_matches",
        sa.Column("id", sa.Text(), nullable=False, comment="Hash of (source, catalogue, catalogue source)"),
        sa.Column("source_id", sa.Text(), nullable=False, comment="The source"),
        sa.Column("catalog_type", sa.Text(), nullable=False, comment="Reference catalogue"),
        sa.Column("catalog_source_id", sa.Text(), nullable=False, comment="Source in that catalogue"),
        sa.Column(
            "separation_arcsec",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Separation [arcsec]",
        ),
        sa.Column(
            "dra_arcsec",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Catalogue minus source, east on the sky [arcsec]",
        ),
        sa.Column(
            "ddec_arcsec",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Catalogue minus source, north [arcsec]",
        ),
        sa.Column(
            "de_ruiter", sa.Double().with_variant(sa.REAL(), "sqlite"), nullable=True, comment="de Ruiter radius"
        ),
        sa.Column(
            "flux_ratio",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Our flux over the catalogue's, scaled to our frequency",
        ),
        sa.Column(
            "catalog_flux_mjy",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Flux density in the catalogue, at its frequency [mJy]",
        ),
        sa.Column(
            "match_quality",
            sa.Text(),
            nullable=True,
            comment="A, B, C or D; or accepted, rejected where people decided",
        ),
        sa.Column(
            "probability",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Probability that this candidate is the counterpart",
        ),
        sa.Column(
            "p_any",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Probability that any candidate is",
        ),
        sa.Column(
            "blend",
            sa.Boolean().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="Whether either beam holds another source or catalogue source",
        ),
        sa.Column(
            "rank",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="1 is the best candidate of the source in the catalogue",
        ),
        sa.Column(
            "manual",
            sa.Boolean().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="Whether people accepted or rejected it",
        ),
        sa.Column("comment", sa.Text(), nullable=True, comment="What people say about it"),
        sa.Column("catalog_version", sa.Text(), nullable=True, comment="Version of the reference catalogue"),
        sa.Column(
            "created_at",
            sa.Text(),
            nullable=False,
            comment="ISO 8601 UTC of the source's first detection: the same whatever order epochs came in",
        ),
        sa.ForeignKeyConstraint(
            ["catalog_type"],
            ["reference_catalogs.name"],
            name=op.f("fk_cross_matches_catalog_type"),
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.ForeignKeyConstraint(
            ["source_id"],
            ["sources.id"],
            name=op.f("fk_cross_matches_source_id"),
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cross_matches")),
        sqlite_strict=True,
    )
    with op.batch_alter_table("cross_matches", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_cross_matches_source_id_catalog_type_rank"),
            ["source_id", "catalog_type", "rank"],
            unique=False,
        )

    op.create_table(
        "epoch_blocks",
        sa.Column("epoch", sa.Text(), nullable=False, comment="Epoch"),
        sa.Column(
            "copied",
            sa.LargeBinary(),
            nullable=False,
            comment="Points that forks copied from earlier epochs, Arrow IPC",
        ),
        sa.Column("points", sa.LargeBinary(), nullable=False, comment="Points of light curves, Arrow IPC"),
        sa.ForeignKeyConstraint(
            ["epoch"], ["epochs.epoch"], name=op.f("fk_epoch_blocks_epoch"), initially="DEFERRED", deferrable=True
        ),
        sa.PrimaryKeyConstraint("epoch", name=op.f("pk_epoch_blocks")),
        sqlite_strict=True,
    )
    op.create_table(
        "epoch_limits",
        sa.Column("epoch", sa.Text(), nullable=False, comment="Epoch"),
        sa.Column("sources", sa.LargeBinary(), nullable=False, comment="Ascending 64-bit hashes of the sources"),
        sa.ForeignKeyConstraint(
            ["epoch"], ["epochs.epoch"], name=op.f("fk_epoch_limits_epoch"), initially="DEFERRED", deferrable=True
        ),
        sa.PrimaryKeyConstraint("epoch", name=op.f("pk_epoch_limits")),
        sqlite_strict=True,
    )
    op.create_table(
        "epoch_versions",
        sa.Column("epoch", sa.Text(), nullable=False, comment="Epoch"),
        sa.Column("name", sa.Text(), nullable=False, comment="Input, such as 'measurements'"),
        sa.Column("version", sa.Text(), nullable=False, comment="Its data version"),
        sa.ForeignKeyConstraint(
            ["epoch"], ["epochs.epoch"], name=op.f("fk_epoch_versions_epoch"), initially="DEFERRED", deferrable=True
        ),
        sa.PrimaryKeyConstraint("epoch", "name", name=op.f("pk_epoch_versions")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "images",
        sa.Column("epoch", sa.Text(), nullable=False, comment="Epoch"),
        sa.Column("image", sa.Text(), nullable=False, comment="Name of the image, unique within its epoch"),
        sa.Column(
            "catalogue", sa.Text(), nullable=False, comment="File name of the catalogue, inside the epoch's folder"
        ),
        sa.Column("format", sa.Text(), nullable=False, comment="Reader that parsed the catalogue"),
        sa.Column(
            "mjd",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=False,
            comment="Mid-observation time, MJD UTC [d]",
        ),
        sa.Column(
            "ra_deg",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=False,
            comment="Right ascension of the image centre, ICRS [deg]",
        ),
        sa.Column(
            "dec_deg",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=False,
            comment="Declination of the image centre, ICRS [deg]",
        ),
        sa.Column(
            "radius_deg",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=False,
            comment="Radius of the circle that holds the field [deg]",
        ),
        sa.Column(
            "bmaj_arcsec",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=False,
            comment="Restoring beam, FWHM major axis [arcsec]",
        ),
        sa.Column(
            "bmin_arcsec",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=False,
            comment="Restoring beam, FWHM minor axis [arcsec]",
        ),
        sa.Column(
            "bpa_deg",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=False,
            comment="Restoring beam, position angle east of north [deg]",
        ),
        sa.Column(
            "freq_mhz",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=False,
            comment="Observing frequency [MHz]",
        ),
        sa.Column(
            "rms_mjy_beam",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=False,
            comment="Median rms of the image [mJy / beam]",
        ),
        sa.Column("path", sa.Text(), nullable=True, comment="FITS image, where the manifest names one"),
        sa.Column(
            "n_rows",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="Rows in the catalogue file",
        ),
        sa.Column(
            "n_rejected",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="Rows set aside, see the table `rejected`",
        ),
        sa.Column("footprint", sa.Text(), nullable=True, comment="What it covers, as a MOC; where missing, the circle"),
        sa.ForeignKeyConstraint(
            ["epoch"], ["epochs.epoch"], name=op.f("fk_images_epoch"), initially="DEFERRED", deferrable=True
        ),
        sa.PrimaryKeyConstraint("epoch", "image", name=op.f("pk_images")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "source_aliases",
        sa.Column("alias", sa.Text(), nullable=False, comment="Source that lost its measurements"),
        sa.Column(
            "source_id",
            sa.Text(),
            nullable=True,
            comment="Present source with most of its measurements; missing if none are left",
        ),
        sa.Column(
            "gone",
            sa.Boolean().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="Whether the alias is no source any more; else it only lost some",
        ),
        sa.ForeignKeyConstraint(
            ["source_id"],
            ["sources.id"],
            name=op.f("fk_source_aliases_source_id"),
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.PrimaryKeyConstraint("alias", name=op.f("pk_source_aliases")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("source_aliases", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_source_aliases_source_id"), ["source_id"], unique=False)

    op.create_table(
        "source_relations",
        sa.Column("epoch", sa.Text(), nullable=False, comment="Epoch"),
        sa.Column("from_source_id", sa.Text(), nullable=False, comment="One source"),
        sa.Column("to_source_id", sa.Text(), nullable=False, comment="The other"),
        sa.Column(
            "kind",
            sa.Text(),
            nullable=False,
            comment="'fork' (one was forked from the other, or both from the same), 'shared' (both hold one measurement), 'blend' (one measurement lies between both and only one of them holds it)",
        ),
        sa.ForeignKeyConstraint(
            ["epoch"], ["epochs.epoch"], name=op.f("fk_source_relations_epoch"), initially="DEFERRED", deferrable=True
        ),
        sa.ForeignKeyConstraint(
            ["from_source_id"],
            ["sources.id"],
            name=op.f("fk_source_relations_from_source_id"),
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.ForeignKeyConstraint(
            ["to_source_id"],
            ["sources.id"],
            name=op.f("fk_source_relations_to_source_id"),
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.PrimaryKeyConstraint("epoch", "from_source_id", "to_source_id", name=op.f("pk_source_relations")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("source_relations", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_source_relations_from_source_id"), ["from_source_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_source_relations_to_source_id"), ["to_source_id"], unique=False)

    op.create_table(
        "variability",
        sa.Column("source_id", sa.Text(), nullable=False, comment="The source"),
        sa.Column(
            "sample",
            sa.Text(),
            nullable=False,
            comment="'detections'; 'forced' and 'all' only for sources with forced measurements",
        ),
        sa.Column(
            "n_peak",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="Points with a usable peak flux density",
        ),
        sa.Column(
            "n_invalid_peak",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="Points without a usable peak flux density or error",
        ),
        sa.Column(
            "flux_peak_mean_mjy_beam",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Mean peak flux density, corrected [mJy / beam]",
        ),
        sa.Column(
            "flux_peak_weighted_mean_mjy_beam",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Mean peak flux density, weighted by 1 / error^2 [mJy / beam]",
        ),
        sa.Column(
            "flux_peak_weighted_mean_err_mjy_beam",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Its 1-sigma error for a constant source [mJy / beam]",
        ),
        sa.Column(
            "flux_peak_std_mjy_beam",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Standard deviation of the peak flux density, n - 1 in the denominator [mJy / beam]",
        ),
        sa.Column(
            "flux_peak_min_mjy_beam",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Smallest peak flux density [mJy / beam]",
        ),
        sa.Column(
            "flux_peak_max_mjy_beam",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Largest peak flux density [mJy / beam]",
        ),
        sa.Column(
            "v_peak",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="V: standard deviation over mean; missing with one point or a mean that is not positive",
        ),
        sa.Column(
            "v_weighted_peak",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="V from weighted mean and weighted scatter",
        ),
        sa.Column(
            "eta_peak",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="eta: reduced chi-squared against the weighted mean; missing with one point",
        ),
        sa.Column(
            "p_value_peak",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Chance that a constant source reaches this eta",
        ),
        sa.Column(
            "excess_variance_peak_mjy_beam2",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Variance beyond the errors, negative if the scatter is less than they explain [mJy2 / beam2]",
        ),
        sa.Column(
            "modulation_peak",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Debiased modulation index: signed root of the excess variance over the mean",
        ),
        sa.Column(
            "max_deviation_peak",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Largest deviation from the weighted mean, in errors",
        ),
        sa.Column(
            "vs_peak",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="|Vs| of the significant pair with the largest |m|; missing if no pair is significant",
        ),
        sa.Column(
            "m_peak",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="|m| of that pair; above 2 if one of its fluxes is negative",
        ),
        sa.Column(
            "vs_max_peak",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Largest |Vs| of all significant pairs",
        ),
        sa.Column(
            "n_int",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="Points with a usable integrated flux density",
        ),
        sa.Column(
            "n_invalid_int",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="Points without a usable integrated flux density or error",
        ),
        sa.Column(
            "flux_int_mean_mjy",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Mean integrated flux density, corrected [mJy]",
        ),
        sa.Column(
            "flux_int_weighted_mean_mjy",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Mean integrated flux density, weighted by 1 / error^2 [mJy]",
        ),
        sa.Column(
            "flux_int_weighted_mean_err_mjy",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Its 1-sigma error for a constant source [mJy]",
        ),
        sa.Column(
            "flux_int_std_mjy",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Standard deviation of the integrated flux density, n - 1 in the denominator [mJy]",
        ),
        sa.Column(
            "flux_int_min_mjy",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Smallest integrated flux density [mJy]",
        ),
        sa.Column(
            "flux_int_max_mjy",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Largest integrated flux density [mJy]",
        ),
        sa.Column(
            "v_int",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="V: standard deviation over mean; missing with one point or a mean that is not positive",
        ),
        sa.Column(
            "v_weighted_int",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="V from weighted mean and weighted scatter",
        ),
        sa.Column(
            "eta_int",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="eta: reduced chi-squared against the weighted mean; missing with one point",
        ),
        sa.Column(
            "p_value_int",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Chance that a constant source reaches this eta",
        ),
        sa.Column(
            "excess_variance_int_mjy2",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Variance beyond the errors, negative if the scatter is less than they explain [mJy2]",
        ),
        sa.Column(
            "modulation_int",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Debiased modulation index: signed root of the excess variance over the mean",
        ),
        sa.Column(
            "max_deviation_int",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Largest deviation from the weighted mean, in errors",
        ),
        sa.Column(
            "vs_int",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="|Vs| of the significant pair with the largest |m|; missing if no pair is significant",
        ),
        sa.Column(
            "m_int",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="|m| of that pair; above 2 if one of its fluxes is negative",
        ),
        sa.Column(
            "vs_max_int",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Largest |Vs| of all significant pairs",
        ),
        sa.ForeignKeyConstraint(
            ["source_id"], ["sources.id"], name=op.f("fk_variability_source_id"), initially="DEFERRED", deferrable=True
        ),
        sa.PrimaryKeyConstraint("source_id", "sample", name=op.f("pk_variability")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("variability", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_variability_sample_eta_int"), ["sample", "eta_int"], unique=False)
        batch_op.create_index(batch_op.f("ix_variability_sample_eta_peak"), ["sample", "eta_peak"], unique=False)

    op.create_table(
        "corrections",
        sa.Column("epoch", sa.Text(), nullable=False, comment="Epoch"),
        sa.Column("image", sa.Text(), nullable=False, comment="Image"),
        sa.Column(
            "applied",
            sa.Boolean().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="Whether everything that the configuration asks for was applied to this image",
        ),
        sa.Column(
            "position_applied",
            sa.Boolean().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="Whether positions are corrected",
        ),
        sa.Column(
            "flux_applied",
            sa.Boolean().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="Whether fluxes are corrected",
        ),
        sa.Column("reason", sa.Text(), nullable=True, comment="Why something is not applied; missing if everything is"),
        sa.Column(
            "notes",
            sa.Text(),
            nullable=True,
            comment="What had to be assumed, such as a filter skipped for lack of peak fluxes",
        ),
        sa.Column(
            "centre_ra_deg",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Image centre, whose east and north the offsets have [deg]",
        ),
        sa.Column(
            "centre_dec_deg",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Image centre, declination [deg]",
        ),
        sa.Column(
            "dra_applied_arcsec",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=False,
            comment="Added to positions, east, at the image centre; 0 if refused [arcsec]",
        ),
        sa.Column(
            "ddec_applied_arcsec",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=False,
            comment="Added to positions, north, at the image centre; 0 if refused [arcsec]",
        ),
        sa.Column(
            "flux_mult",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=False,
            comment="Corrected flux = (flux - flux_add_mjy) * flux_mult; 1 if refused",
        ),
        sa.Column(
            "flux_mult_err",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=False,
            comment="Standard error of flux_mult, shared by the whole image",
        ),
        sa.Column(
            "flux_add_mjy",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=False,
            comment="Additive error of the fluxes, taken off first; 0 if none or refused [mJy]",
        ),
        sa.Column(
            "flux_add_err_mjy",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=False,
            comment="Its standard error [mJy]",
        ),
        sa.Column("position_catalog", sa.Text(), nullable=True, comment="Catalogue(s) that positions are tied to"),
        sa.Column(
            "position_trusted",
            sa.Boolean().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="Whether the measured offset passed every check",
        ),
        sa.Column(
            "n_position",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="Matches that the offset was measured from",
        ),
        sa.Column(
            "dra_arcsec",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Measured offset, catalogue minus image, east [arcsec]",
        ),
        sa.Column(
            "ddec_arcsec",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Measured offset, catalogue minus image, north [arcsec]",
        ),
        sa.Column(
            "dra_err_arcsec",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Standard error of dra_arcsec [arcsec]",
        ),
        sa.Column(
            "ddec_err_arcsec",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Standard error of ddec_arcsec [arcsec]",
        ),
        sa.Column(
            "dra_ddec_cov_arcsec2",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Covariance of the two offsets [arcsec2]",
        ),
        sa.Column(
            "dra_mad_arcsec",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="MAD of the offsets, as it is, not times 1.4826 [arcsec]",
        ),
        sa.Column(
            "ddec_mad_arcsec",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="MAD of the offsets, as it is, not times 1.4826 [arcsec]",
        ),
        sa.Column(
            "position_model",
            sa.Text(),
            nullable=False,
            comment="'constant', 'linear' (rotation, scale, shear) or 'smooth' over the image",
        ),
        sa.Column(
            "position_coefficients",
            sa.Text(),
            nullable=True,
            comment="JSON of a model that is not constant: degree, centre [deg], coefficients east and north [arcsec / deg^n]",
        ),
        sa.Column("flux_catalog", sa.Text(), nullable=True, comment="Catalogue(s) that fluxes are tied to"),
        sa.Column(
            "flux_trusted",
            sa.Boolean().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="Whether the measured scale passed every check",
        ),
        sa.Column("flux_method", sa.Text(), nullable=False, comment="Estimator of the flux scale"),
        sa.Column(
            "flux_kind",
            sa.Text(),
            nullable=True,
            comment="Which of our fluxes was compared: 'integrated', 'peak' or 'mixed'",
        ),
        sa.Column(
            "n_flux",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="Matches that the scale was measured from",
        ),
        sa.Column(
            "flux_scale",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Our flux over the catalogue's at our frequency",
        ),
        sa.Column(
            "flux_scale_err",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Standard error of flux_scale, from the likelihood",
        ),
        sa.Column(
            "flux_scale_err_bootstrap",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="The same by bootstrap; missing if not asked for",
        ),
        sa.Column(
            "flux_offset_mjy",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Measured additive flux error; missing if not fitted [mJy]",
        ),
        sa.Column(
            "flux_offset_err_mjy",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Its standard error [mJy]",
        ),
        sa.Column(
            "flux_intrinsic_scatter",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Scatter of ln flux ratio beyond the errors",
        ),
        sa.Column(
            "flux_outlier_fraction",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Share of matches in the outlier component",
        ),
        sa.Column(
            "flux_chi2_reduced",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Chi-squared per degree of freedom with the intrinsic scatter",
        ),
        sa.Column(
            "flux_max_influence",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Largest change of flux_scale by leaving one match out, in standard errors",
        ),
        sa.Column("flux_influential_id", sa.Text(), nullable=True, comment="measurement_id of that match"),
        sa.Column(
            "epoch_scale",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Scale from constant sources shared with other epochs, tied to the catalogue once",
        ),
        sa.Column(
            "epoch_scale_err",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Its standard error",
        ),
        sa.Column(
            "n_epoch_scale",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="Sources it was measured from",
        ),
        sa.Column(
            "selection", sa.Text(), nullable=False, comment="JSON: matches left after each filter, per catalogue"
        ),
        sa.ForeignKeyConstraint(
            ["epoch", "image"],
            ["images.epoch", "images.image"],
            name=op.f("fk_corrections_epoch_image"),
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.PrimaryKeyConstraint("epoch", "image", name=op.f("pk_corrections")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "measurements",
        sa.Column("epoch", sa.Text(), nullable=False, comment="Epoch"),
        sa.Column(
            "measurement_id",
            sa.Text(),
            nullable=False,
            comment="Hash of (epoch, image, component): 16 hexadecimal digits",
        ),
        sa.Column("image", sa.Text(), nullable=False, comment="Name of the image, unique within its epoch"),
        sa.Column(
            "component_id",
            sa.Text(),
            nullable=True,
            comment="Component identifier of the source finder, unique within the image",
        ),
        sa.Column("island_id", sa.Text(), nullable=True, comment="Island of the source finder"),
        sa.Column(
            "line",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=True,
            comment="Line of a text file, 1-based row of a binary table",
        ),
        sa.Column(
            "ra_deg",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=False,
            comment="Right ascension, ICRS [deg]",
        ),
        sa.Column(
            "dec_deg", sa.Double().with_variant(sa.REAL(), "sqlite"), nullable=False, comment="Declination, ICRS [deg]"
        ),
        sa.Column(
            "ra_err_arcsec",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="1-sigma error east on the sky, as delivered or Condon (1997) [arcsec]",
        ),
        sa.Column(
            "dec_err_arcsec",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="1-sigma error north on the sky [arcsec]",
        ),
        sa.Column(
            "flux_peak_mjy_beam",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Peak flux density [mJy / beam]",
        ),
        sa.Column(
            "flux_peak_err_mjy_beam",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="1-sigma error of the peak flux density [mJy / beam]",
        ),
        sa.Column(
            "flux_int_mjy",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Integrated flux density [mJy]",
        ),
        sa.Column(
            "flux_int_err_mjy",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="1-sigma error of the integrated flux density [mJy]",
        ),
        sa.Column(
            "local_rms_mjy_beam",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Local rms at the component [mJy / beam]",
        ),
        sa.Column(
            "bmaj_arcsec",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Fitted FWHM major axis [arcsec]",
        ),
        sa.Column(
            "bmaj_err_arcsec",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Its 1-sigma error [arcsec]",
        ),
        sa.Column(
            "bmin_arcsec",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Fitted FWHM minor axis [arcsec]",
        ),
        sa.Column(
            "bmin_err_arcsec",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Its 1-sigma error [arcsec]",
        ),
        sa.Column(
            "pa_deg",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Fitted position angle east of north [deg]",
        ),
        sa.Column(
            "pa_err_deg",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Its 1-sigma error [deg]",
        ),
        sa.Column(
            "snr",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Signal to noise ratio: peak flux over local rms, else as delivered",
        ),
        sa.Column(
            "spectral_index",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="In-band spectral index, S ~ nu^alpha",
        ),
        sa.Column(
            "chi_squared_fit",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Chi-squared of the component's fit",
        ),
        sa.Column(
            "flags",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=True,
            comment="Quality flags of the source finder, 0 = none",
        ),
        sa.Column(
            "has_siblings",
            sa.Boolean().with_variant(sa.Integer(), "sqlite"),
            nullable=True,
            comment="Whether the component shares its island with others",
        ),
        sa.Column(
            "forced",
            sa.Boolean().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="Whether the flux was measured at a given position instead of detected",
        ),
        sa.Column(
            "mjd",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=False,
            comment="Mid-observation time of the image, MJD UTC [d]",
        ),
        sa.Column(
            "compactness",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Integrated over peak flux density",
        ),
        sa.Column(
            "flux_int_isl_ratio",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Share of the island's integrated flux density",
        ),
        sa.Column(
            "flux_peak_isl_ratio",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Share of the sum of the island's peak flux densities",
        ),
        sa.Column(
            "error_radius_arcsec",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Radius of the fitted position's error on the sky [arcsec]",
        ),
        sa.Column(
            "uncertainty_ew_arcsec",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="1-sigma position error east, systematic included [arcsec]",
        ),
        sa.Column(
            "uncertainty_ns_arcsec",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="1-sigma position error north, systematic included [arcsec]",
        ),
        sa.Column(
            "dist_from_centre_deg",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Separation from the centre of the image [deg]",
        ),
        sa.Column(
            "healpix",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=True,
            comment="HEALPix cell of the position, nested, order 10",
        ),
        sa.Column(
            "duplicate_of",
            sa.Text(),
            nullable=True,
            comment="measurement_id that is kept in this one's place; missing if this one is kept",
        ),
        sa.Column(
            "duplicate_separation_arcsec",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Separation from the one that is kept [arcsec]",
        ),
        sa.Column(
            "ra_corr_deg",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Corrected right ascension, ICRS [deg]",
        ),
        sa.Column(
            "dec_corr_deg",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Corrected declination, ICRS [deg]",
        ),
        sa.Column(
            "uncertainty_ew_corr_arcsec",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Position error east, the offset's standard error included [arcsec]",
        ),
        sa.Column(
            "uncertainty_ns_corr_arcsec",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Position error north, the offset's standard error included [arcsec]",
        ),
        sa.Column(
            "flux_peak_corr_mjy_beam",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Corrected peak flux density [mJy / beam]",
        ),
        sa.Column(
            "flux_peak_err_corr_mjy_beam",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Its 1-sigma error without the scale's own [mJy / beam]",
        ),
        sa.Column(
            "flux_int_corr_mjy",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Corrected integrated flux density [mJy]",
        ),
        sa.Column(
            "flux_int_err_corr_mjy",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Its 1-sigma error without the scale's own [mJy]",
        ),
        sa.Column(
            "local_rms_corr_mjy_beam",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Corrected local rms [mJy / beam]",
        ),
        sa.Column(
            "flux_scale_err",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Error of the image's scale as a fraction of the flux: common to the image",
        ),
        sa.Column(
            "corrected",
            sa.Boolean().with_variant(sa.Integer(), "sqlite"),
            nullable=True,
            comment="Whether position and flux corrections were applied in full",
        ),
        sa.Column(
            "is_limit",
            sa.Boolean().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="Whether the row is an upper limit and not a measurement",
        ),
        sa.Column(
            "upper_limit_mjy_beam",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="Upper limit where the source was covered and not detected [mJy / beam]",
        ),
        sa.CheckConstraint(
            "(is_limit AND flux_peak_mjy_beam IS NULL AND flux_int_mjy IS NULL) OR upper_limit_mjy_beam IS NULL",
            name=op.f("ck_measurements_a_limit_is_no_flux"),
        ),
        sa.ForeignKeyConstraint(
            ["epoch", "image"],
            ["images.epoch", "images.image"],
            name=op.f("fk_measurements_epoch_image"),
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.PrimaryKeyConstraint("epoch", "measurement_id", name=op.f("pk_measurements")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "associations",
        sa.Column("epoch", sa.Text(), nullable=False, comment="Epoch"),
        sa.Column("measurement_id", sa.Text(), nullable=False, comment="The measurement"),
        sa.Column(
            "source_id", sa.Text(), nullable=False, comment="Hash of the measurement that gave birth to the source"
        ),
        sa.Column(
            "separation_arcsec",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="From the source's position before this epoch; missing at birth [arcsec]",
        ),
        sa.Column(
            "de_ruiter",
            sa.Double().with_variant(sa.REAL(), "sqlite"),
            nullable=True,
            comment="de Ruiter radius of the pair; missing at birth",
        ),
        sa.Column(
            "copied",
            sa.Boolean().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="Whether a fork copied this row from its parent's history",
        ),
        sa.Column(
            "copied_by",
            sa.Text(),
            nullable=True,
            comment="Epoch whose fork copied the row; missing for the epoch's own rows",
        ),
        sa.ForeignKeyConstraint(
            ["epoch", "measurement_id"],
            ["measurements.epoch", "measurements.measurement_id"],
            name=op.f("fk_associations_epoch_measurement_id"),
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.ForeignKeyConstraint(
            ["source_id"], ["sources.id"], name=op.f("fk_associations_source_id"), initially="DEFERRED", deferrable=True
        ),
        sa.PrimaryKeyConstraint("epoch", "measurement_id", "source_id", name=op.f("pk_associations")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("associations", schema=None) as batch_op:
        batch_op.create_index(
            "ix_associations_copied_by",
            ["copied_by"],
            unique=False,
            sqlite_where=sa.text("copied_by IS NOT NULL"),
            postgresql_where=sa.text("copied_by IS NOT NULL"),
        )
        batch_op.create_index(batch_op.f("ix_associations_source_id"), ["source_id"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("associations", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_associations_source_id"))
        batch_op.drop_index(
            "ix_associations_copied_by",
            sqlite_where=sa.text("copied_by IS NOT NULL"),
            postgresql_where=sa.text("copied_by IS NOT NULL"),
        )

    op.drop_table("associations")
    op.drop_table("measurements")
    op.drop_table("corrections")
    with op.batch_alter_table("variability", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_variability_sample_eta_peak"))
        batch_op.drop_index(batch_op.f("ix_variability_sample_eta_int"))

    op.drop_table("variability")
    with op.batch_alter_table("source_relations", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_source_relations_to_source_id"))
        batch_op.drop_index(batch_op.f("ix_source_relations_from_source_id"))

    op.drop_table("source_relations")
    with op.batch_alter_table("source_aliases", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_source_aliases_source_id"))

    op.drop_table("source_aliases")
    op.drop_table("images")
    op.drop_table("epoch_versions")
    op.drop_table("epoch_limits")
    op.drop_table("epoch_blocks")
    with op.batch_alter_table("cross_matches", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_cross_matches_source_id_catalog_type_rank"))

    op.drop_table("cross_matches")
    with op.batch_alter_table("sources", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_sources_healpix"))

    op.drop_table("sources")
    op.drop_table("reference_catalogs")
    op.drop_table("recomputed_with")
    with op.batch_alter_table("match_overrides", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_match_overrides_source_id"))

    op.drop_table("match_overrides")
    op.drop_table("epochs")
