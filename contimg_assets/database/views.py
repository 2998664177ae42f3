"""Views: sources with their measurements, light curves, what existing DSA-110 readers look for; no data of their own.

Every view is written in SQL that SQLite and PostgreSQL both understand, but for the name of one function. `photometry`
and `variability_stats` have the column names and units (Jy) of those readers; their fluxes called
normalized are the corrected ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.database.limits import CELL_SHIFT, ID_LENGTH, VALUE_LENGTH
from contimg_assets.database.models import TABLES, view_of
from contimg_assets.database.tiles import Tiling, tiling
from contimg_assets.schemas.core import Column, TableSchema
from contimg_assets.schemas.forced import FORCED_PHOTOMETRY
from contimg_assets.schemas.polarization import BESIDE, POLARIZATION
from contimg_assets.schemas.variability import LIGHT_CURVE, SOURCE_MEASUREMENTS, UPPER_LIMITS

_NVSS = """(
        SELECT m.source_id, MIN(m.catalog_flux_mjy) AS nvss_flux_mjy
        FROM cross_matches m
        WHERE m.catalog_type = 'nvss' AND m.rank = 1 AND m.match_quality <> 'rejected'
        GROUP BY m.source_id
    )"""

_SAME_MEASUREMENT = "m.epoch = a.epoch AND m.measurement_id = a.measurement_id"
_POINTS = f"""associations a
    JOIN measurements m ON {_SAME_MEASUREMENT}"""

# Fluxes at fixed positions of images that are there, with the corrections of these.
_FORCED_POINTS = """forced_fluxes f
    JOIN images i ON i.epoch = f.epoch AND i.image = f.image
    LEFT JOIN corrections c ON c.epoch = f.epoch AND c.image = f.image"""
_MULT = "COALESCE(c.flux_mult, 1.0)"
_FORCED_FLUX = f"(f.flux_peak_mjy_beam - COALESCE(c.flux_add_mjy, 0.0)) * {_MULT}"
_FORCED_ERROR = f"f.flux_peak_err_mjy_beam * {_MULT}"
_FORCED_SCALE = "COALESCE(c.flux_mult_err / c.flux_mult, 0.0)"
# 95 % of normal errors lie below 1.645 of them; a negative flux is noise, and no limit is below that of no flux.
_FORCED_LIMIT = f"CASE WHEN {_FORCED_FLUX} > 0 THEN {_FORCED_FLUX} ELSE 0.0 END + 1.645 * {_FORCED_ERROR}"
_COMPUTED = {
    "mjd": "i.mjd",
    "band": "i.band",
    "flux_peak_corr_mjy_beam": _FORCED_FLUX,
    "flux_peak_err_corr_mjy_beam": _FORCED_ERROR,
    "flux_scale_err": _FORCED_SCALE,
    "upper_limit_mjy_beam": _FORCED_LIMIT,
    "trusted": "c.trusted",
}
_FORCED = ", ".join(f"{_COMPUTED.get(name, f'f.{name}')} AS {name}" for name in FORCED_PHOTOMETRY.names[2:])

# The line of a source among those of an image; by the source or by the image, whichever is asked for, an index leads to
# the other.
_LIMITS = f"""sources s
    JOIN image_limits l ON l.cell = (s.healpix >> {CELL_SHIFT})
        AND s.healpix BETWEEN (l.cell << {CELL_SHIFT}) AND (l.cell << {CELL_SHIFT}) + {(1 << CELL_SHIFT) - 1}
        AND instr(l.limits, s.id) > 0
    JOIN images i ON i.epoch = l.epoch AND i.image = l.image"""
_LIMIT_COLUMNS = {
    "source_id": "s.id",
    "epoch": "l.epoch",
    "image": "l.image",
    "measurement_id": "l.epoch || '/' || l.image || '/' || s.id",
    "mjd": "i.mjd",
    "ra_deg": "s.first_ra_deg",
    "dec_deg": "s.first_dec_deg",
    "upper_limit_mjy_beam": f"CAST(substr(l.limits, instr(l.limits, s.id) + {ID_LENGTH + 1}, {VALUE_LENGTH}) "
    "AS DOUBLE PRECISION)",
    "band": "i.band",
    "forced": "FALSE",
    "is_limit": "TRUE",
}


def _limit_columns(schema: TableSchema) -> str:
    """What limits have of the columns of a schema."""
    return ", ".join(f"{_LIMIT_COLUMNS.get(column.name) or _missing(column)} AS {column.name}" for column in schema)


def _missing(column: Column) -> str:
    """A missing value: PostgreSQL wants to know of which type."""
    return f"CAST(NULL AS {_TYPE_NAMES[column.type]})"


_TYPE_NAMES = {pa.float64(): "DOUBLE PRECISION", pa.int64(): "BIGINT", pa.string(): "TEXT", pa.bool_(): "BOOLEAN"}
_POSITION_ON_POSTGRES = ("instr(", "strpos(")

_OF_ASSOCIATIONS = ("source_id", "separation_arcsec", "de_ruiter")
_SOURCE_MEASUREMENTS = ", ".join(
    f"{'a' if name in _OF_ASSOCIATIONS else 'm'}.{name}" for name in SOURCE_MEASUREMENTS.names
)

_OF_SOURCES = ("source_id", "name", "epoch", "only_polarized")
_POLARIZATION = ", ".join(f"p.{name}" for name in POLARIZATION.names if name not in _OF_SOURCES)


def _light_curves(of_points: str = "", of_limits: str = "", of_forced: str = "") -> str:
    """Points of light curves, upper limits among them; where the images were measured, forced fluxes in their place.

    Parameters
    ----------
    of_points, of_limits, of_forced : conditions on measurements, limits and forced fluxes, each behind an AND
    """
    return f"""
    SELECT a.source_id, m.epoch, m.image, m.measurement_id, m.mjd, m.ra_corr_deg, m.dec_corr_deg,
        m.flux_peak_corr_mjy_beam, m.flux_peak_err_corr_mjy_beam, m.flux_int_corr_mjy, m.flux_int_err_corr_mjy,
        m.flux_scale_err, m.upper_limit_mjy_beam, m.snr, m.forced, m.is_limit, m.trusted, a.separation_arcsec,
        a.de_ruiter, m.band
    FROM {_POINTS}
    WHERE m.duplicate_of IS NULL{of_points}
    UNION ALL
    SELECT {_limit_columns(LIGHT_CURVE)}
    FROM {_LIMITS}
    WHERE NOT EXISTS (
        SELECT 1 FROM forced_fluxes f JOIN images j ON j.epoch = f.epoch AND j.image = f.image
        WHERE f.position = s.id AND f.epoch = l.epoch AND j.band = i.band AND f.reason = '' AND NOT f.monitored
    ){of_limits}
    UNION ALL
    SELECT f.position, f.epoch, f.image, f.epoch || '/' || f.image || '/' || f.position, i.mjd, f.ra_deg, f.dec_deg,
        {_FORCED_FLUX}, {_FORCED_ERROR}, {_FORCED_FLUX}, {_FORCED_ERROR},
        {_FORCED_SCALE}, {_FORCED_LIMIT}, f.flux_peak_mjy_beam / f.flux_peak_err_mjy_beam, TRUE, FALSE, c.trusted,
        NULL, NULL, i.band
    FROM {_FORCED_POINTS}
    WHERE f.reason = '' AND NOT f.monitored{of_forced}"""  # noqa: S608


VIEWS = {
    # Every column of a measurement with the source that it belongs to: both tables joined by their whole key.
    "source_measurements": f"""
    SELECT {_SOURCE_MEASUREMENTS}
    FROM {_POINTS}""",  # noqa: S608
    # One row a source, epoch and band where an epoch covered a source and did not detect it.
    "upper_limits": f"""
    SELECT {_limit_columns(UPPER_LIMITS)}
    FROM {_LIMITS}""",  # noqa: S608
    # See `_light_curves`.
    "light_curves": _light_curves(),
    # Forced fluxes with the corrections that their images have; of images that are there.
    "forced_photometry": f"""
    SELECT CASE WHEN f.monitored THEN NULL ELSE f.position END AS source_id, f.epoch,
        {_FORCED}
    FROM {_FORCED_POINTS}""",  # noqa: S608
    # Light curves in other Stokes parameters, limits among them; those of sources that nothing in I shows too.
    "polarization": f"""
    SELECT p.source_id, s.name, p.epoch, {_POLARIZATION},
        COALESCE(s.only_polarized, TRUE) AS only_polarized
    FROM stokes_measurements p
    LEFT JOIN sources s ON s.id = p.source_id
    WHERE p.source_id IS NOT NULL AND p.duplicate_of IS NULL AND p.status <> '{BESIDE}'""",  # noqa: S608
    # One row a source and measurement; measured_at is Unix time in the middle of the observation.
    "photometry": f"""
    SELECT a.source_id, m.ra_deg, m.dec_deg,
        m.flux_int_mjy / 1000.0 AS flux_jy, m.flux_int_err_mjy / 1000.0 AS flux_err_jy,
        m.flux_peak_mjy_beam / 1000.0 AS peak_jyb, m.flux_peak_err_mjy_beam / 1000.0 AS peak_err_jyb,
        m.flux_int_corr_mjy / 1000.0 AS normalized_flux_jy,
        m.flux_int_err_corr_mjy / 1000.0 AS normalized_flux_err_jy,
        m.snr, (m.mjd - 40587.0) * 86400.0 AS measured_at, m.mjd,
        i.path AS image_path, i.path AS mosaic_path, n.nvss_flux_mjy
    FROM {_POINTS}
    JOIN images i ON i.epoch = m.epoch AND i.image = m.image
    LEFT JOIN {_NVSS} n ON n.source_id = a.source_id
    WHERE m.duplicate_of IS NULL""",  # noqa: S608
    # One row a source, of the band that most of its detections are of; forced measurements included where there are
    # any. sigma_deviation: largest distance from the mean, in standard deviations.
    "variability_stats": f"""
    SELECT s.id AS source_id, s.ra_deg, s.dec_deg, n.nvss_flux_mjy,
        v.flux_int_mean_mjy AS mean_flux_mjy, v.flux_int_std_mjy AS std_flux_mjy, v.eta_int AS chi2_nu,
        CASE WHEN v.flux_int_std_mjy > 0 THEN
            CASE WHEN v.flux_int_max_mjy - v.flux_int_mean_mjy > v.flux_int_mean_mjy - v.flux_int_min_mjy
                THEN v.flux_int_max_mjy - v.flux_int_mean_mjy
                ELSE v.flux_int_mean_mjy - v.flux_int_min_mjy END / v.flux_int_std_mjy
        END AS sigma_deviation,
        v.eta_int AS eta_metric, v.n_int AS n_obs, s.last_mjd
    FROM sources s
    JOIN variability v ON v.source_id = s.id AND v.band = s.band
        AND v.sample = CASE WHEN s.n_forced > 0 THEN 'all' ELSE 'detections' END
    LEFT JOIN {_NVSS} n ON n.source_id = s.id""",  # noqa: S608
}


def create_views(connection: Connection) -> None:
    """Put the views in place as they are written here."""
    is_divided = tiling(connection).order is not None
    for name, query in VIEWS.items():
        if connection.dialect.name == "postgresql":
            query = _on_postgres(query, is_divided)
        connection.execute(sa.text(f"CREATE VIEW {name} AS{query}"))


def _on_postgres(query: str, is_divided: bool) -> str:
    query = query.replace(*_POSITION_ON_POSTGRES)
    # Where the part of the one is known, so is that of the other.
    return query.replace(_SAME_MEASUREMENT, f"{_SAME_MEASUREMENT} AND m.healpix = a.healpix") if is_divided else query


def light_curve_of(connection: Connection, source_id: str) -> sa.FromClause:
    """The view `light_curves`, to ask for a source; in a divided database its query, on the parts of that source."""
    how = tiling(connection)
    if how.order is None:
        return _LIGHT_CURVES
    s = TABLES["sources"].c
    places = connection.execute(sa.select(s.healpix, s.n_measurements).where(s.id == source_id)).all()
    tiles = how.of_sources(connection, places, TABLES["associations"].c.source_id == source_id)
    return _LIGHT_CURVES if tiles is None else _light_curves_where(connection, how, tiles=tiles)


def light_curves_of(connection: Connection, sources: pa.Table, chosen: sa.Select[Any]) -> sa.FromClause:
    """The view `light_curves` of some sources, which are asked for in each of its parts: SQLite would form all of it.

    Parameters
    ----------
    sources : id, healpix, n_measurements of them (in Stokes I)
    chosen : query for their ids, of `bulk.set_of_ids`
    """
    places = list(zip(*(sources[name].to_pylist() for name in ("healpix", "n_measurements")), strict=True))
    how = tiling(connection)
    tiles = how.of_sources(connection, places, TABLES["associations"].c.source_id.in_(chosen))
    return _light_curves_where(connection, how, f" IN ({chosen.compile(connection)})", tiles)


_LIGHT_CURVES = view_of(LIGHT_CURVE, "light_curves")


def _light_curves_where(
    connection: Connection, how: Tiling, of_id: str = "", tiles: Sequence[int] | None = None
) -> sa.FromClause:
    """The query of the view `light_curves`.

    Parameters
    ----------
    how : the database is divided
    of_id : what is said of the id of each source, behind it
    tiles : of a divided database, where its measurements are; None: anywhere
    """
    points, limits, forced = (f" AND {name}{of_id}" if of_id else "" for name in ("a.source_id", "s.id", "f.position"))
    if tiles is not None:
        for table, name in (("associations", "a"), ("measurements", "m")):
            points += f" AND ({how.sql(tiles, table, name)})"
        limits += f" AND ({how.sql(tiles, 'image_limits', 'l')})"
    query = _light_curves(points, limits, forced)
    if connection.dialect.name == "postgresql":
        query = _on_postgres(query, how.order is not None)
    return sa.text(query).columns(*_LIGHT_CURVES.c).subquery("light_curves")


def drop_views(connection: Connection) -> None:
    """Take all views away, so that tables under them can change."""
    for name in reversed(VIEWS):
        connection.execute(sa.text(f"DROP VIEW IF EXISTS {name}"))
