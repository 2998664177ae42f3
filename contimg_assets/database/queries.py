"""Questions that people ask the database; answers are DataFrames with the columns of the schemas."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import astropy.units as u
import numpy as np
import pandas as pd
import sqlalchemy as sa
from astropy_healpix import HEALPix
from sqlalchemy.engine import Connection, Engine

from contimg_assets.crossmatch.cells import INDEX_ORDER, order_of_radius
from contimg_assets.crossmatch.sphere import separation_arcsec
from contimg_assets.database import bulk
from contimg_assets.database.engine import reading
from contimg_assets.database.models import TABLES, sql_type
from contimg_assets.errors import InputError, StoreError
from contimg_assets.schemas.variability import FLUX_KINDS, LIGHT_CURVE, SAMPLES
from contimg_assets.sky.position_text import parse_position

_ID = re.compile(r"[0-9a-f]{16}")
_HALF_THE_SKY_ARCSEC = 180.0 * 3600.0


class Queries:
    """Read-only questions; each sees one state of the database."""

    engine: Engine

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Rows of any SELECT, parameters bound by name (:name)."""
        with reading(self.engine) as connection:
            result = connection.execute(sa.text(sql), dict(parameters or {}))
            return pd.DataFrame([tuple(row) for row in result.all()], columns=list(result.keys()))

    def read_table(self, name: str) -> pd.DataFrame:
        """All rows of one table, sorted by its key.

        Raises
        ------
        StoreError
            If there is no such table.
        """
        if name not in TABLES:
            raise StoreError(f"there is no table {name!r}; tables are {', '.join(sorted(TABLES))}")
        table = TABLES[name]
        with reading(self.engine) as connection:
            return bulk.fetch(connection, sa.select(table).order_by(*table.primary_key.columns))

    def present_source(self, source_id: str) -> str:
        """The source itself, or the present one that has the measurements of a source that re-folding made disappear.

        Raises
        ------
        StoreError
            If neither is in the database.
        """
        with reading(self.engine) as connection:
            return _present(connection, source_id)

    def cone(self, ra_deg: float, dec_deg: float, radius_arcsec: float) -> pd.DataFrame:
        """Sources within a radius, nearest first: the columns of SOURCES and separation_arcsec.

        Raises
        ------
        InputError
            If the position is none, or the radius is negative, no number, or more than half the sky.
        """
        if not (0 <= ra_deg < 360 and -90 <= dec_deg <= 90 and 0 <= radius_arcsec <= _HALF_THE_SKY_ARCSEC):
            raise InputError(
                f"position {ra_deg}, {dec_deg} with radius {radius_arcsec} arcsec: RA must be in [0, 360), "
                f"declination in [-90, 90], the radius in [0, {_HALF_THE_SKY_ARCSEC:g}]"
            )
        table = TABLES["sources"]
        query = sa.select(table).where(_near(table.c.healpix, ra_deg, dec_deg, radius_arcsec))
        with reading(self.engine) as connection:
            found = bulk.fetch(connection, query)
        separation = separation_arcsec(found["ra_deg"], found["dec_deg"], ra_deg, dec_deg)
        found["separation_arcsec"] = separation
        found = found[separation <= radius_arcsec]
        return found.sort_values(["separation_arcsec", "id"], ignore_index=True)

    def find_source(self, text: str, radius_arcsec: float = 30.0) -> str:
        """The source that a person means by an id or a position.

        Parameters
        ----------
        text : an id of 16 hexadecimal digits, past ones too; or a position, see `parse_position`
        radius_arcsec : how far the nearest source may be from the position

        Raises
        ------
        InputError
            If the text is neither.
        StoreError
            If there is no such source.
        """
        if _ID.fullmatch(text.strip().lower()):
            return self.present_source(text.strip().lower())
        ra, dec = parse_position(text)
        found = self.cone(ra, dec, radius_arcsec)
        if found.empty:
            raise StoreError(f"no source within {radius_arcsec:g} arcsec of {ra:.5f}, {dec:+.5f}")
        return str(found["id"].iloc[0])

    def source(self, source_id: str) -> pd.Series:
        """One row of `sources`.

        Raises
        ------
        StoreError
            If there is no such source.
        """
        table = TABLES["sources"]
        with reading(self.engine) as connection:
            present = _present(connection, source_id)
            return bulk.fetch(connection, sa.select(table).where(table.c.id == present)).iloc[0]

    def source_variability(self, source_id: str) -> pd.DataFrame:
        """The rows of `variability` of a source, one a sample."""
        return self._of_source("variability", source_id, "sample")

    def matches(self, source_id: str) -> pd.DataFrame:
        """Counterparts of a source, the best of each catalogue first."""
        return self._of_source("cross_matches", source_id, "catalog_type", "rank", "catalog_source_id")

    def decisions(self, source_id: str) -> pd.DataFrame:
        """What people decided or said about a source's counterparts, under any of its names, the latest first."""
        table, aliases = TABLES["match_overrides"], TABLES["source_aliases"]
        with reading(self.engine) as connection:
            present = _present(connection, source_id)
            names = sa.select(aliases.c.alias).where(aliases.c.source_id == present)
            query = sa.select(table).where(sa.or_(table.c.source_id == present, table.c.source_id.in_(names)))
            return bulk.fetch(connection, query.order_by(table.c.created_at.desc(), table.c.id))

    def relations(self, source_id: str) -> pd.DataFrame:
        """Sources that competed with this one, with the epoch in which they did."""
        table = TABLES["source_relations"]
        with reading(self.engine) as connection:
            present = _present(connection, source_id)
            query = sa.select(table).where(sa.or_(table.c.from_source_id == present, table.c.to_source_id == present))
            return bulk.fetch(connection, query.order_by(*table.primary_key.columns))

    def light_curve(self, source_id: str, limits: bool = True) -> pd.DataFrame:
        """Points of a source in time order: the columns of LIGHT_CURVE.

        Parameters
        ----------
        source_id : of a present or past source
        limits : whether epochs that covered the source and did not detect it are in, as upper limits
        """
        columns = [sa.column(c.name, sql_type(c.type)) for c in LIGHT_CURVE]
        view = sa.table("light_curves", *columns)
        with reading(self.engine) as connection:
            query = sa.select(view).where(view.c.source_id == _present(connection, source_id))
            if not limits:
                query = query.where(sa.not_(view.c.is_limit))
            return bulk.fetch(connection, query.order_by(view.c.mjd, view.c.measurement_id))

    def variables(
        self,
        eta: float | None = None,
        v: float | None = None,
        p_value: float | None = None,
        kind: str = "peak",
        sample: str = "detections",
        limit: int | None = None,
    ) -> pd.DataFrame:
        """Sources that vary, the least likely to be constant first: position and statistics of one kind of flux.

        Without a threshold, all that were measured at least twice.

        Parameters
        ----------
        eta, v : smallest eta and V, where given
        p_value : largest chance that a constant source looks like this, where given
        kind : 'peak' or 'int'
        sample : 'detections', 'forced' or 'all'
        limit : at most this many rows

        Raises
        ------
        InputError
            If kind or sample is unknown.
        """
        _check_statistics(kind, sample)
        variability, sources = TABLES["variability"], TABLES["sources"]
        unit = FLUX_KINDS[kind]
        c = variability.c
        names = [f"n_{kind}", f"flux_{kind}_weighted_mean_{unit}", f"flux_{kind}_min_{unit}", f"flux_{kind}_max_{unit}"]
        names += [f"{name}_{kind}" for name in ("eta", "v", "p_value", "vs", "m", "modulation")]
        query = (
            sa.select(
                c.source_id,
                sources.c.ra_deg,
                sources.c.dec_deg,
                *(c[name] for name in names),
                sources.c.n_limits,
                sources.c.n_siblings,
                sources.c.n_relations,
                sources.c.is_new,
            )
            .join(sources, sources.c.id == c.source_id)
            .where(c["sample"] == sample, c[f"eta_{kind}"].is_not(None))
            # eta counts per degree of freedom, so it does not compare sources of different numbers of measurements.
            .order_by(c[f"p_value_{kind}"], c[f"eta_{kind}"].desc(), c.source_id)
        )
        if eta is not None:
            query = query.where(c[f"eta_{kind}"] >= eta)
        if v is not None:
            query = query.where(c[f"v_{kind}"] >= v)
        if p_value is not None:
            query = query.where(c[f"p_value_{kind}"] <= p_value)
        if limit is not None:
            query = query.limit(limit)
        with reading(self.engine) as connection:
            return bulk.fetch(connection, query)

    def v_and_eta(self, kind: str = "peak", sample: str = "detections") -> pd.DataFrame:
        """V and eta of every source, in no order: what people plot against each other.

        Parameters
        ----------
        kind : 'peak' or 'int'
        sample : 'detections', 'forced' or 'all'

        Returns
        -------
        DataFrame with the columns v_<kind> and eta_<kind>; NaN for sources with fewer than two measurements.

        Raises
        ------
        InputError
            If kind or sample is unknown.
        """
        _check_statistics(kind, sample)
        c = TABLES["variability"].c
        query = sa.select(c[f"v_{kind}"], c[f"eta_{kind}"]).where(c["sample"] == sample)
        with reading(self.engine) as connection:
            return bulk.fetch(connection, query)

    def new_sources(self, min_significance: float | None = None, since_mjd: float | None = None) -> pd.DataFrame:
        """Sources whose place was covered before they were first detected, most significant first.

        Parameters
        ----------
        min_significance : in the best earlier image; None: as configured when the database was written
        since_mjd : first detected then or later, where given
        """
        table = TABLES["sources"]
        chosen = table.c.is_new if min_significance is None else table.c.new_significance >= min_significance
        query = sa.select(table).where(chosen).order_by(table.c.new_significance.desc(), table.c.id)
        if since_mjd is not None:
            query = query.where(table.c.first_mjd >= since_mjd)
        with reading(self.engine) as connection:
            return bulk.fetch(connection, query)

    def _of_source(self, name: str, source_id: str, *order: str) -> pd.DataFrame:
        table = TABLES[name]
        with reading(self.engine) as connection:
            query = sa.select(table).where(table.c.source_id == _present(connection, source_id))
            return bulk.fetch(connection, query.order_by(*(table.c[column] for column in order)))


def _check_statistics(kind: str, sample: str) -> None:
    """Raise InputError if there are no statistics of this kind of flux or of this sample."""
    if kind not in FLUX_KINDS or sample not in SAMPLES:
        raise InputError(
            f"kind {kind!r} with sample {sample!r}: kind is one of {', '.join(FLUX_KINDS)}, "
            f"sample one of {', '.join(SAMPLES)}"
        )


def _present(connection: Connection, source_id: str) -> str:
    sources, aliases = TABLES["sources"], TABLES["source_aliases"]
    if connection.execute(sa.select(sources.c.id).where(sources.c.id == source_id)).first():
        return source_id
    query = sa.select(aliases.c.source_id).where(aliases.c.alias == source_id, aliases.c.gone)
    row = connection.execute(query).first()
    if row is None:
        raise StoreError(f"there is no source {source_id!r} in the products database")
    if row.source_id is None:
        raise StoreError(f"source {source_id!r} is no more, and none of its measurements are left")
    return str(row.source_id)


def _near(column: sa.Column[int], ra_deg: float, dec_deg: float, radius_arcsec: float) -> sa.ColumnElement[bool]:
    """Cells about a position that hold everything within the radius."""
    if order_of_radius(radius_arcsec) < 0:
        return sa.true()
    # Cells of a third of the radius: few enough to list, small enough to fit the circle.
    order = min(order_of_radius(radius_arcsec) + 3, INDEX_ORDER)
    grid = HEALPix(1 << order, order="nested")
    # A second of arc more than the radius, against rounding at the rim.
    cells = np.sort(grid.cone_search_lonlat(ra_deg * u.deg, dec_deg * u.deg, (radius_arcsec + 1.0) * u.arcsec))
    runs = np.split(cells, np.flatnonzero(np.diff(cells) > 1) + 1)
    shift = 2 * (INDEX_ORDER - order)
    ranges = [(int(run[0]) << shift, ((int(run[-1]) + 1) << shift) - 1) for run in runs]
    return sa.or_(*(column.between(low, high) for low, high in ranges))
