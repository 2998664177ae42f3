"""Fluxes in other Stokes parameters than I, and negative detections in I, have a table; sources tell of mixed beams."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0013"
down_revision: str | None = "0012"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_FLOAT: sa.types.TypeEngine[float] = sa.Double().with_variant(sa.REAL(), "sqlite")
_BOOL: sa.types.TypeEngine[bool] = sa.Boolean().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "stokes_measurements",
        sa.Column("epoch", sa.Text(), nullable=False, comment="Epoch"),
        sa.Column("measurement_id", sa.Text(), nullable=False, comment="Hash of (epoch, image, component or source)"),
        sa.Column("image", sa.Text(), nullable=False, comment="Name of the image, unique within its epoch"),
        sa.Column(
            "stokes",
            sa.Text(),
            nullable=False,
            comment="Stokes parameter of the image: I, Q, U, V, or L for linear polarization",
        ),
        sa.Column(
            "band",
            sa.Text(),
            nullable=False,
            comment="Band of the image, named by its middle: fluxes are compared within a band only",
        ),
        sa.Column("mjd", _FLOAT, nullable=False, comment="Mid-observation time of the image, MJD UTC [d]"),
        sa.Column(
            "status",
            sa.Text(),
            nullable=False,
            comment="'at source': of a source in I; 'undetected': the source was covered, and the row is a "
            "limit; 'beside': a source that another detection of the image is nearer to; 'alone': of no "
            "source; 'own source': of one that stokes.sources made; 'negative': a negative detection in "
            "I, an artefact",
        ),
        sa.Column(
            "source_id", sa.Text(), nullable=True, comment="The source, in I or its own; missing where there is none"
        ),
        sa.Column(
            "i_measurement_id",
            sa.Text(),
            nullable=True,
            comment="The measurement in I, of the epoch and mostly of the band, that it is compared with",
        ),
        sa.Column(
            "separation_arcsec", _FLOAT, nullable=True, comment="From that measurement, else the source [arcsec]"
        ),
        sa.Column("component_id", sa.Text(), nullable=True, comment="Component identifier of the source finder"),
        sa.Column("ra_deg", _FLOAT, nullable=False, comment="Right ascension, ICRS [deg]"),
        sa.Column("dec_deg", _FLOAT, nullable=False, comment="Declination, ICRS [deg]"),
        sa.Column("ra_corr_deg", _FLOAT, nullable=True, comment="Corrected right ascension, ICRS [deg]"),
        sa.Column("dec_corr_deg", _FLOAT, nullable=True, comment="Corrected declination, ICRS [deg]"),
        sa.Column(
            "uncertainty_ew_corr_arcsec",
            _FLOAT,
            nullable=True,
            comment="Position error east, the offset's standard error included [arcsec]",
        ),
        sa.Column(
            "uncertainty_ns_corr_arcsec",
            _FLOAT,
            nullable=True,
            comment="Position error north, the offset's standard error included [arcsec]",
        ),
        sa.Column("flux_peak_mjy_beam", _FLOAT, nullable=True, comment="Peak flux density [mJy / beam]"),
        sa.Column(
            "flux_peak_err_mjy_beam",
            _FLOAT,
            nullable=True,
            comment="1-sigma error of the peak flux density [mJy / beam]",
        ),
        sa.Column("flux_int_mjy", _FLOAT, nullable=True, comment="Integrated flux density [mJy]"),
        sa.Column(
            "flux_int_err_mjy", _FLOAT, nullable=True, comment="1-sigma error of the integrated flux density [mJy]"
        ),
        sa.Column("flux_peak_corr_mjy_beam", _FLOAT, nullable=True, comment="Corrected peak flux density [mJy / beam]"),
        sa.Column(
            "flux_peak_err_corr_mjy_beam",
            _FLOAT,
            nullable=True,
            comment="Its 1-sigma error without the scale's own [mJy / beam]",
        ),
        sa.Column("flux_int_corr_mjy", _FLOAT, nullable=True, comment="Corrected integrated flux density [mJy]"),
        sa.Column(
            "flux_int_err_corr_mjy", _FLOAT, nullable=True, comment="Its 1-sigma error without the scale's own [mJy]"
        ),
        sa.Column(
            "flux_scale_err",
            _FLOAT,
            nullable=True,
            comment="Error of the image's scale as a fraction of the flux: common to the image",
        ),
        sa.Column(
            "upper_limit_mjy_beam",
            _FLOAT,
            nullable=True,
            comment="Upper limit of the size of the flux, where nothing was detected [mJy / beam]",
        ),
        sa.Column(
            "fraction",
            _FLOAT,
            nullable=True,
            comment="Polarized flux over that in I of the same epoch and band, signed; of L without the bias of "
            "its noise",
        ),
        sa.Column("fraction_err", _FLOAT, nullable=True, comment="Its 1-sigma error"),
        sa.Column("fraction_limit", _FLOAT, nullable=True, comment="Upper limit over the flux in I"),
        sa.Column("significance", _FLOAT, nullable=True, comment="Flux over its error, signed"),
        sa.Column("beam_arcsec", _FLOAT, nullable=False, comment="FWHM major axis of the image's beam [arcsec]"),
        sa.Column(
            "duplicate_of",
            sa.Text(),
            nullable=True,
            comment="measurement_id that is kept in this one's place; missing if this one is kept",
        ),
        sa.Column(
            "trusted", _BOOL, nullable=False, comment="Whether the image in I that it is compared with is trusted"
        ),
        sa.Column(
            "forced",
            _BOOL,
            nullable=False,
            comment="Whether the flux was measured at a given position instead of detected",
        ),
        sa.Column(
            "may_be_source",
            _BOOL,
            nullable=False,
            comment="Whether it is a source of its own where none in I is (stokes.sources)",
        ),
        sa.ForeignKeyConstraint(
            ["epoch"], ["epochs.epoch"], name="fk_stokes_measurements_epoch", initially="DEFERRED", deferrable=True
        ),
        sa.PrimaryKeyConstraint("epoch", "measurement_id", name="pk_stokes_measurements"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    _add_mixed_beams()
    op.create_index("ix_stokes_measurements_source_id", "stokes_measurements", ["source_id"])
    unplaced = sa.text("i_measurement_id IS NULL")
    op.create_index(
        "ix_stokes_measurements_unplaced",
        "stokes_measurements",
        ["measurement_id"],
        sqlite_where=unplaced,
        postgresql_where=unplaced,
    )


def _add_mixed_beams() -> None:
    """Where images of a band have beams that are not alike, the next epoch that is written tells whose light curves."""
    comment = (
        "Whether a light curve of one band is of beams that differ by more than a factor of 1.5: its fluxes may differ "
        "because the beams do"
    )
    op.add_column(
        "sources", sa.Column("mixed_beams", _BOOL, nullable=False, server_default=sa.false(), comment=comment)
    )
    connection = op.get_bind()
    extremes = "SELECT 1 FROM images GROUP BY band HAVING MAX(bmaj_arcsec) > 1.5 * MIN(bmaj_arcsec)"
    if connection.execute(sa.text(extremes)).first() is not None:
        connection.execute(sa.text("UPDATE recomputed_with SET version = 'mixed beams' WHERE name = 'variability'"))


def downgrade() -> None:
    op.drop_column("sources", "mixed_beams")
    op.drop_table("stokes_measurements")
