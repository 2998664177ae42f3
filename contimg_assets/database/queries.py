"""Questions that people ask the database; answers are DataFrames with the columns of the schemas."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
import pandas as pd
import sqlalchemy as sa
from astropy_healpix import HEALPix
from sqlalchemy.engine import Connection, Engine

from contimg_assets.database import bulk
from contimg_assets.database.engine import reading
from contimg_assets.database.models import TABLES
from contimg_assets.database.sources import HEALPIX_ORDER
from contimg_assets.errors import InputError, StoreError
from contimg_assets.schemas.tables import AngleLike, as_arcsec, as_position
from contimg_assets.schemas.variability import FLUX_KINDS, LIGHT_CURVE, SAMPLES
from contimg_assets.sky.cells import order_of_radius
from contimg_assets.sky.sphere import separation_arcsec

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

_ID = re.compile(r"[0-9a-f]{16}")
_HALF_THE_SKY_ARCSEC = 180.0 * 3600.0


class Queries:
    """Read-only questions; each sees one state of the database."""

    engine: Engine

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Rows of any SELECT.

        Parameters
        ----------
        sql : str
            The statement, with parameters as ``:name``.
        parameters : mapping, optional
            Name to value.

        Returns
        -------
        DataFrame
            The rows.
        """
        with reading(self.engine) as connection:
            result = connection.execute(sa.text(sql), dict(parameters or {}))
            return pd.DataFrame([tuple(row) for row in result.all()], columns=list(result.keys()))

    def read_table(self, name: str) -> pd.DataFrame:
        """All rows of one table, sorted by its key.

        Parameters
        ----------
        name : str
            Of the table.

        Returns
        -------
        DataFrame
            The rows.

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

        Parameters
        ----------
        source_id : str
            Of a present or past source.

        Returns
        -------
        str
            Id of the present source.

        Raises
        ------
        StoreError
            If neither is in the database.
        """
        with reading(self.engine) as connection:
            return _present(connection, source_id)

    def cone(
        self,
        ra_deg: AngleLike | SkyCoord,
        dec_deg: AngleLike | None = None,
        radius_arcsec: AngleLike | None = None,
    ) -> pd.DataFrame:
        """Sources within a radius of a position, nearest first.

        Parameters
        ----------
        ra_deg : float, Angle, Quantity or SkyCoord
            Right ascension, ICRS, plain numbers in degrees; or the position as SkyCoord.
        dec_deg : float, Angle or Quantity, optional
            Declination; none with a SkyCoord.
        radius_arcsec : float, Angle, Quantity or str
            Radius, a plain number in arcsec; always needed.

        Returns
        -------
        DataFrame
            The columns of the table `sources`, and ``separation_arcsec``.

        Raises
        ------
        InputError
            If the position is none, or the radius is negative, no number, or more than half the sky.
        """
        if radius_arcsec is None:
            raise InputError("radius_arcsec is not given; say how far to look, such as radius_arcsec=60")
        ra_deg, dec_deg = as_position(ra_deg, dec_deg, "the position")
        radius_arcsec = as_arcsec(radius_arcsec, "radius_arcsec")
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

    def find_source(self, text: str | SkyCoord, radius_arcsec: AngleLike = 30.0) -> str:
        """The source that a person means by an id or a position.

        Parameters
        ----------
        text : str or SkyCoord
            An id of 16 hexadecimal digits, past ones too; or a position, "RA,DEC" or "RA DEC", each in degrees or
            sexagesimal.
        radius_arcsec : float, Angle, Quantity or str
            How far the nearest source may be from the position, a plain number in arcsec.

        Returns
        -------
        str
            Id of the present source.

        Raises
        ------
        InputError
            If the text is neither.
        StoreError
            If there is no such source.
        """
        radius_arcsec = as_arcsec(radius_arcsec, "radius_arcsec")
        if not isinstance(text, str):
            text = "{!r},{!r}".format(*as_position(text, None, "the position"))
        if _ID.fullmatch(text.strip().lower()):
            return self.present_source(text.strip().lower())
        ra, dec = parse_position(text)
        found = self.cone(ra, dec, radius_arcsec)
        if found.empty:
            raise StoreError(f"no source within {radius_arcsec:g} arcsec of {ra:.5f}, {dec:+.5f}")
        return str(found["id"].iloc[0])

    def source(self, source_id: str | SkyCoord) -> pd.Series:
        """One row of `sources`.

        Parameters
        ----------
        source_id : str or SkyCoord
            Of a present or past source; or its position, as `find_source` takes it.

        Returns
        -------
        Series
            Its columns.

        Raises
        ------
        StoreError
            If there is no such source.
        """
        table = TABLES["sources"]
        wanted = self._named(source_id)
        with reading(self.engine) as connection:
            present = _present(connection, wanted)
            return bulk.fetch(connection, sa.select(table).where(table.c.id == present)).iloc[0]

    def source_variability(self, source_id: str | SkyCoord) -> pd.DataFrame:
        """The rows of `variability` of a source, one a sample.

        Parameters
        ----------
        source_id : str or SkyCoord
            Of a present or past source; or its position, as `find_source` takes it.

        Returns
        -------
        DataFrame
            The rows.
        """
        return self._of_source("variability", source_id, "sample")

    def matches(self, source_id: str | SkyCoord) -> pd.DataFrame:
        """Counterparts of a source, the best of each catalogue first.

        Parameters
        ----------
        source_id : str or SkyCoord
            Of a present or past source; or its position, as `find_source` takes it.

        Returns
        -------
        DataFrame
            Rows of the table `cross_matches`.
        """
        return self._of_source("cross_matches", source_id, "catalog_type", "rank", "catalog_source_id")

    def decisions(self, source_id: str | SkyCoord) -> pd.DataFrame:
        """What people decided or said about a source's counterparts, under any of its names, the latest first.

        Parameters
        ----------
        source_id : str or SkyCoord
            Of a present or past source; or its position, as `find_source` takes it.

        Returns
        -------
        DataFrame
            Rows of the table `match_overrides`.
        """
        table, aliases = TABLES["match_overrides"], TABLES["source_aliases"]
        wanted = self._named(source_id)
        with reading(self.engine) as connection:
            present = _present(connection, wanted)
            names = sa.select(aliases.c.alias).where(aliases.c.source_id == present)
            query = sa.select(table).where(sa.or_(table.c.source_id == present, table.c.source_id.in_(names)))
            return bulk.fetch(connection, query.order_by(table.c.created_at.desc(), table.c.id))

    def relations(self, source_id: str | SkyCoord) -> pd.DataFrame:
        """Sources that competed with this one, with the epoch in which they did.

        Parameters
        ----------
        source_id : str or SkyCoord
            Of a present or past source; or its position, as `find_source` takes it.

        Returns
        -------
        DataFrame
            Rows of the table `source_relations`.
        """
        table = TABLES["source_relations"]
        wanted = self._named(source_id)
        with reading(self.engine) as connection:
            present = _present(connection, wanted)
            query = sa.select(table).where(sa.or_(table.c.from_source_id == present, table.c.to_source_id == present))
            return bulk.fetch(connection, query.order_by(*table.primary_key.columns))

    def light_curve(self, source_id: str | SkyCoord, limits: bool = True) -> pd.DataFrame:
        """Points of a source in time order.

        Parameters
        ----------
        source_id : str or SkyCoord
            Of a present or past source; or its position, as `find_source` takes it.
        limits : bool
            Whether epochs that covered the source and did not detect it are in, as upper limits.

        Returns
        -------
        DataFrame
            A row a point: time, corrected position and fluxes with errors, upper limit, as described in
            `contimg_assets.schemas.variability`; what `variability_table` takes.
        """
        columns = [sa.column(c.name, _sql_type(c.type)) for c in LIGHT_CURVE]
        view = sa.table("light_curves", *columns)
        wanted = self._named(source_id)
        with reading(self.engine) as connection:
            query = sa.select(view).where(view.c.source_id == _present(connection, wanted))
            if not limits:
                query = query.where(sa.not_(view.c.is_limit))
            return bulk.fetch(connection, query.order_by(view.c.mjd, view.c.measurement_id))

    def flux_kind(self, sample: str = "detections") -> str:
        """The kind of flux that light curves are best judged by here.

        Parameters
        ----------
        sample : {"detections", "forced", "all"}
            Which points.

        Returns
        -------
        str
            "peak"; "int" where no source has statistics of peak fluxes, as of catalogues without any.
        """
        c = TABLES["variability"].c
        query = sa.select(c.source_id).where(c["sample"] == sample, c.eta_peak.is_not(None)).limit(1)
        with reading(self.engine) as connection:
            return "int" if connection.execute(query).first() is None else "peak"

    def variables(
        self,
        eta: float | None = None,
        v: float | None = None,
        p_value: float | None = None,
        kind: str | None = None,
        sample: str = "detections",
        limit: int | None = None,
    ) -> pd.DataFrame:
        """Sources that vary, the least likely to be constant first: position and statistics of one kind of flux.

        Without a threshold, all that were measured at least twice.

        Parameters
        ----------
        eta, v : float, optional
            Smallest eta and V.
        p_value : float, optional
            Largest chance that a constant source scatters this much.
        kind : {"peak", "int"}, optional
            Peak or integrated fluxes; `flux_kind` if not given.
        sample : {"detections", "forced", "all"}
            Which points.
        limit : int, optional
            At most this many rows.

        Returns
        -------
        DataFrame
            ``source_id``, position, and statistics of the fluxes.

        Raises
        ------
        InputError
            If kind or sample is unknown.
        """
        kind = self.flux_kind(sample) if kind is None else kind
        if kind not in FLUX_KINDS or sample not in SAMPLES:
            raise InputError(
                f"kind {kind!r} with sample {sample!r}: kind is one of {', '.join(FLUX_KINDS)}, "
                f"sample one of {', '.join(SAMPLES)}"
            )
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

    def new_sources(self, min_significance: float | None = None, since_mjd: float | None = None) -> pd.DataFrame:
        """Sources whose place was covered before they were first detected, most significant first.

        Parameters
        ----------
        min_significance : float, optional
            In the best earlier image; as configured when the database was written, if not given.
        since_mjd : float, optional
            First detected then or later, MJD.

        Returns
        -------
        DataFrame
            Rows of the table `sources`.
        """
        table = TABLES["sources"]
        chosen = table.c.is_new if min_significance is None else table.c.new_significance >= min_significance
        query = sa.select(table).where(chosen).order_by(table.c.new_significance.desc(), table.c.id)
        if since_mjd is not None:
            query = query.where(table.c.first_mjd >= since_mjd)
        with reading(self.engine) as connection:
            return bulk.fetch(connection, query)

    def _named(self, source: str | SkyCoord) -> str:
        """The id that is given, or that of the source at the position that is given."""
        return (
            source if isinstance(source, str) and not re.search(r"[\s,]", source.strip()) else self.find_source(source)
        )

    def _of_source(self, name: str, source_id: str | SkyCoord, *order: str) -> pd.DataFrame:
        table, wanted = TABLES[name], self._named(source_id)
        with reading(self.engine) as connection:
            query = sa.select(table).where(table.c.source_id == _present(connection, wanted))
            return bulk.fetch(connection, query.order_by(*(table.c[column] for column in order)))


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


def _near(column: sa.Column, ra_deg: float, dec_deg: float, radius_arcsec: float) -> sa.ColumnElement[bool]:
    """Cells about a position that hold everything within the radius."""
    if order_of_radius(radius_arcsec) < 0:
        return sa.true()
    # Cells of a third of the radius: few enough to list, small enough to fit the circle.
    order = min(order_of_radius(radius_arcsec) + 3, HEALPIX_ORDER)
    grid = HEALPix(1 << order, order="nested")
    # A second of arc more than the radius, against rounding at the rim.
    cells = np.sort(grid.cone_search_lonlat(ra_deg * u.deg, dec_deg * u.deg, (radius_arcsec + 1.0) * u.arcsec))
    runs = np.split(cells, np.flatnonzero(np.diff(cells) > 1) + 1)
    shift = 2 * (HEALPIX_ORDER - order)
    ranges = [(int(run[0]) << shift, ((int(run[-1]) + 1) << shift) - 1) for run in runs]
    return sa.or_(*(column.between(low, high) for low, high in ranges))


def _sql_type(kind: Any) -> Any:
    return {"double": sa.Double(), "int64": sa.BigInteger(), "bool": sa.Boolean()}.get(str(kind), sa.Text())


def parse_position(text: str) -> tuple[float, float]:
    """(ra_deg, dec_deg) of "RA,DEC" or "RA DEC", each in degrees or sexagesimal, then with hours of right ascension.

    A plain number is in degrees, whatever the other coordinate is written as: 187.7,+12:23:28 lies at 187.7 degrees.

    Raises
    ------
    InputError
        If the text is no position.
    """
    words = text.split()
    # Without a comma, as papers print it: 12:30:49.4 +12:23:28 or 12 30 49.4 +12 23 28.
    halves = [" ".join(words[: len(words) // 2]), " ".join(words[len(words) // 2 :])] if len(words) in (2, 6) else []
    parts = [part.strip() for part in text.split(",")] if "," in text else halves
    wrong = InputError(
        f"{text!r} is neither a source id (16 hexadecimal digits) nor a position RA,DEC such as 187.70593,12.39112 or "
        "12:30:49.4,+12:23:28"
    )
    if len(parts) != 2:
        raise wrong
    try:
        ra, dec = _degrees(parts[0], "hourangle"), _degrees(parts[1], "deg")
    except ValueError as error:
        raise wrong from error
    if not (np.isfinite(ra) and np.isfinite(dec) and 0 <= ra < 360 and -90 <= dec <= 90):
        raise wrong
    return ra, dec


def _degrees(text: str, unit: str) -> float:
    """A plain number in degrees, or a sexagesimal one whose leading part has this unit."""
    try:
        return float(text)
    except ValueError:
        from astropy.coordinates import Angle

        # No Longitude, which would turn hours below 0 into others.
        return float(Angle(text, unit).deg)


def table_names() -> Sequence[str]:
    """Tables that can be read and exported."""
    return sorted(TABLES)
