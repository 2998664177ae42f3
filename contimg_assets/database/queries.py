"""Questions that people ask the database; answers are DataFrames with the columns of the schemas."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from contimg_assets.config import Variability
from contimg_assets.database import bulk
from contimg_assets.database.engine import reading
from contimg_assets.database.light_curve import LightCurve
from contimg_assets.database.limits import read_limits
from contimg_assets.database.models import TABLES, view_of
from contimg_assets.database.names import names_of, source_of_counterpart, source_of_name
from contimg_assets.database.significances import read_significances
from contimg_assets.database.views import light_curve_of
from contimg_assets.errors import InputError, StoreError
from contimg_assets.identity.names import position_of_name
from contimg_assets.polarization.summary import summed_up
from contimg_assets.schemas.corrections import CORRECTIONS
from contimg_assets.schemas.forced import FORCED_PHOTOMETRY
from contimg_assets.schemas.polarization import POLARIZATION
from contimg_assets.schemas.tables import AngleLike, as_arcsec, as_position
from contimg_assets.schemas.variability import FLUX_KINDS, SAMPLES
from contimg_assets.sky.cells import INDEX_ORDER, grid, order_of_radius
from contimg_assets.sky.position_text import parse_position
from contimg_assets.sky.robust import scatter
from contimg_assets.sky.sphere import separation_arcsec
from contimg_assets.variability.spectral_index import spectral_indices

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

_ID = re.compile(r"[0-9a-f]{16}")
# Rows are asked for by name so many at once; of more, all are read.
_NAMED_AT_ONCE, _MANY = 500, 100_000
# Fewest scales whose scatter tells how far another may be off.
_FEWEST_SCALES = 5
# Above the threshold by so many times the noise a flux is missed in 5 % of cases.
_ABOVE_THRESHOLD = 1.645
# Of finders whose images are too poor to tell it.
_THRESHOLD = 5.0
_HALF_THE_SKY_ARCSEC = 180.0 * 3600.0
_OF_IMAGE = (
    *("epoch", "image", "band", "mjd", "path", "ra_deg", "dec_deg", "radius_deg"),
    *("bmaj_arcsec", "bmin_arcsec", "bpa_deg"),
)
_OF_POINT = ("epoch", "image", "flux_peak_corr_mjy_beam", "flux_peak_err_corr_mjy_beam")


class Queries:
    """Read-only questions; each sees one state of the database.

    Where a question is about a source, its id may be that of a past one: the present source that has its measurements
    answers. Instead of an id its name or its position may be given, as `find_source` takes them.
    """

    engine: Engine

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Ask in SQL.

        Parameters
        ----------
        sql : str
            Any SELECT; values as ``:name``.
        parameters : mapping of str to object, optional
            Value of each name.

        Returns
        -------
        pandas.DataFrame
            The rows as they come.
        """
        with reading(self.engine) as connection:
            result = connection.execute(sa.text(sql), dict(parameters or {}))
            return pd.DataFrame([tuple(row) for row in result.all()], columns=list(result.keys()))

    def read_table(self, name: str) -> pd.DataFrame:
        """Read all rows of a table.

        Parameters
        ----------
        name : str
            Name of the table.

        Returns
        -------
        pandas.DataFrame
            Its rows, sorted by its key; missing numbers are NaN.

        Raises
        ------
        StoreError
            If there is no such table.
        """
        if name not in TABLES:
            raise StoreError(f"there is no table {name!r}; tables are {', '.join(sorted(TABLES))}")
        table = TABLES[name]
        return self._rows(sa.select(table).order_by(*table.primary_key.columns))

    def present_source(self, source_id: str) -> str:
        """Find the present name of a source.

        Parameters
        ----------
        source_id : str
            Id of a present source, or of one that re-folding made disappear.

        Returns
        -------
        str
            The id itself, or that of the present source that has most of its measurements.

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
        """Find the sources within a radius about a position.

        Parameters
        ----------
        ra_deg : float, Angle, Quantity or SkyCoord
            Right ascension, ICRS, plain numbers in degrees in [0, 360); or the position as SkyCoord.
        dec_deg : float, Angle or Quantity, optional
            Declination, ICRS, plain numbers in degrees; none with a SkyCoord.
        radius_arcsec : float, Angle, Quantity or str
            Radius, inclusive, a plain number in arcsec; always needed.

        Returns
        -------
        pandas.DataFrame
            The columns of SOURCES and separation_arcsec [arcsec], nearest first.

        Raises
        ------
        InputError
            If the position is none, or the radius is not given, negative, no number, or more than half the sky.
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
        found = self._rows(sa.select(table).where(near(table.c.healpix, ra_deg, dec_deg, radius_arcsec)))
        found = found.assign(separation_arcsec=separation_arcsec(found["ra_deg"], found["dec_deg"], ra_deg, dec_deg))
        found = found[found["separation_arcsec"] <= radius_arcsec]
        return found.sort_values(["separation_arcsec", "id"], ignore_index=True)

    def find_source(self, text: str | SkyCoord, radius_arcsec: AngleLike = 30.0) -> str:
        """Find the source that a person means by a name, an id or a position.

        Parameters
        ----------
        text : str or SkyCoord
            A name such as "DSA J035912.3+153523", or a part of it that no other name has ("J0359+1535"); an id of 16
            hexadecimal digits; past ones of both too. Or a position, "RA,DEC" or "RA DEC", each in degrees or
            sexagesimal, see `contimg_assets.sky.position_text.parse_position`. Or the name of its best counterpart in
            a reference catalog, alone or behind the catalog's ("nvss 035912+153523").
        radius_arcsec : float, Angle, Quantity or str, optional
            How far the nearest source may be from the position, a plain number in arcsec.

        Returns
        -------
        str
            Id of the present source.

        Raises
        ------
        InputError
            If the text is nothing of that, or a part of several names.
        StoreError
            If there is no such source.
        """
        radius_arcsec = as_arcsec(radius_arcsec, "radius_arcsec")
        if not isinstance(text, str):
            text = "{!r},{!r}".format(*as_position(text, None, "the position"))
        if _ID.fullmatch(text.strip().lower()):
            return self.present_source(text.strip().lower())
        with reading(self.engine) as connection:
            if (named := source_of_name(connection, text)) is not None:
                return _present(connection, named)
        try:
            # A name that no source has any more is still a place.
            ra, dec = position_of_name(text) or parse_position(text)
        except InputError:
            with reading(self.engine) as connection:
                if (named := source_of_counterpart(connection, text)) is not None:
                    return named
            raise
        found = self.cone(ra, dec, radius_arcsec)
        if found.empty:
            swapped = -90 <= ra <= 90 and dec >= 0 and not self.cone(dec, ra, radius_arcsec).empty
            hint = f"; there is one at {dec:.5f}, {ra:+.5f}: are right ascension and declination swapped?"
            raise StoreError(
                f"no source within {radius_arcsec:g} arcsec of {ra:.5f}, {dec:+.5f}" + (hint if swapped else "")
            )
        return str(found["id"].iloc[0])

    def names(self, ids: Sequence[str]) -> pd.Series:
        """Read the names of some sources.

        Parameters
        ----------
        ids : sequence of str
            Ids of present sources.

        Returns
        -------
        pandas.Series
            Names in the order of the ids, which are the index; missing where there is no such source.
        """
        with reading(self.engine) as connection:
            return names_of(connection, ids)

    def source(self, source_id: str | SkyCoord) -> pd.Series:
        """Read the row of a source.

        Parameters
        ----------
        source_id : str or SkyCoord
            Id or name of a present or past source; or its position, as `find_source` takes it.

        Returns
        -------
        pandas.Series
            The columns of SOURCES.

        Raises
        ------
        StoreError
            If there is no such source.
        """
        table = TABLES["sources"]
        return self._rows_of(source_id, lambda present: sa.select(table).where(table.c.id == present)).iloc[0]

    def source_variability(self, source_id: str | SkyCoord) -> pd.DataFrame:
        """Read how much a source varies.

        Parameters
        ----------
        source_id : str or SkyCoord
            Id or name of a present or past source; or its position, as `find_source` takes it.

        Returns
        -------
        pandas.DataFrame
            The columns of VARIABILITY, one row a band and sample: 'detections', and where there are any, 'forced' and
            'all'. With forced fluxes of the images, these two are formed now, see `forced_variability`.

        Raises
        ------
        StoreError
            If there is no such source.
        """
        stored = self._of_source("variability", source_id, "band", "sample")
        if stored.empty:
            return stored
        formed = self.forced_variability([str(stored["source_id"].iloc[0])])
        if formed.empty:
            return stored
        stored = stored[~stored["sample"].isin(formed["sample"])]
        return pd.concat([stored, formed[list(stored)]], ignore_index=True).sort_values(["band", "sample"])

    def forced_variability(
        self, sources: Sequence[str] | None = None, parameters: Variability | None = None
    ) -> pd.DataFrame:
        """Form statistics of light curves with the forced fluxes of the images in them.

        Those of the detections alone are in the table `variability`.

        Parameters
        ----------
        sources : sequence of str, optional
            Ids of present sources; all if not given.
        parameters : contimg_assets.config.Variability, optional
            The configuration; defaults if not given.

        Returns
        -------
        pandas.DataFrame
            The columns of VARIABILITY, of the sources that have forced fluxes, with the samples 'forced' (without the
            detections) and 'all' (with them); by source, band and sample.
        """
        from contimg_assets.database.forced_variability import forced_variability

        with reading(self.engine) as connection:
            return forced_variability(connection, parameters or Variability(), sources)

    def matches(self, source_id: str | SkyCoord) -> pd.DataFrame:
        """Read the counterparts of a source.

        Parameters
        ----------
        source_id : str or SkyCoord
            Id or name of a present or past source; or its position, as `find_source` takes it.

        Returns
        -------
        pandas.DataFrame
            The columns of CROSS_MATCHES, the best of each catalog first.

        Raises
        ------
        StoreError
            If there is no such source.
        """
        return self._of_source("cross_matches", source_id, "catalog_type", "rank", "catalog_source_id")

    def decisions(self, source_id: str | SkyCoord) -> pd.DataFrame:
        """Read what people decided or said about a source's counterparts, under any of its names.

        Parameters
        ----------
        source_id : str or SkyCoord
            Id or name of a present or past source; or its position, as `find_source` takes it.

        Returns
        -------
        pandas.DataFrame
            Rows of the table `match_overrides`, the latest first.

        Raises
        ------
        StoreError
            If there is no such source.
        """
        table, aliases = TABLES["match_overrides"], TABLES["source_aliases"]

        def query(present: str) -> sa.Select[Any]:
            names = sa.select(aliases.c.alias).where(aliases.c.source_id == present)
            meant = sa.or_(table.c.source_id == present, table.c.source_id.in_(names))
            return sa.select(table).where(meant).order_by(table.c.created_at.desc(), table.c.id)

        return self._rows_of(source_id, query)

    def relations(self, source_id: str | SkyCoord) -> pd.DataFrame:
        """Read which sources competed with a source for a measurement.

        Parameters
        ----------
        source_id : str or SkyCoord
            Id or name of a present or past source; or its position, as `find_source` takes it.

        Returns
        -------
        pandas.DataFrame
            Rows of the table `source_relations`, with the epoch in which they did.

        Raises
        ------
        StoreError
            If there is no such source.
        """
        table = TABLES["source_relations"]

        def query(present: str) -> sa.Select[Any]:
            either = sa.or_(table.c.from_source_id == present, table.c.to_source_id == present)
            return sa.select(table).where(either).order_by(*table.primary_key.columns)

        return self._rows_of(source_id, query)

    def light_curve(self, source_id: str | SkyCoord, limits: bool = True) -> LightCurve:
        """Read the points of a source.

        Parameters
        ----------
        source_id : str or SkyCoord
            Id or name of a present or past source; or its position, as `find_source` takes it.
        limits : bool, optional
            Whether epochs that covered the source and did not detect it are in, as upper limits.

        Returns
        -------
        LightCurve
            A DataFrame with the columns of LIGHT_CURVE in time order: times MJD UTC [d], corrected positions [deg],
            corrected fluxes [mJy/beam, mJy]. Its `plot()` draws it, `to_timeseries()` gives it units.

        Raises
        ------
        StoreError
            If there is no such source.
        """
        named = self._named(source_id)
        with reading(self.engine) as connection:
            present = _present(connection, named)
            view = light_curve_of(connection, present)
            points = sa.select(view).where(view.c.source_id == present)
            if not limits:
                points = points.where(sa.not_(view.c.is_limit))
            return LightCurve(bulk.fetch(connection, points.order_by(view.c.mjd, view.c.measurement_id)))

    def polarization(self, source_id: str | SkyCoord | None = None, limits: bool = True) -> pd.DataFrame:
        """Read the light curves in other Stokes parameters than I.

        Parameters
        ----------
        source_id : str or SkyCoord, optional
            Source, as `light_curve` takes it, or the id of one that only polarized flux shows; all if not given.
        limits : bool, optional
            Whether epochs that covered a source and did not detect it are in, as upper limits.

        Returns
        -------
        pandas.DataFrame
            The columns of POLARIZATION by source, Stokes parameter and time. Fluxes are signed; `fraction` is that of
            the flux in I of the same epoch and band, with `fraction_err` and `significance`.

        Raises
        ------
        StoreError
            If there is no such source.
        """
        view = view_of(POLARIZATION)
        query = sa.select(view).order_by(view.c.source_id, view.c.stokes, view.c.mjd, view.c.measurement_id)
        if not limits:
            query = query.where(view.c.upper_limit_mjy_beam.is_(None))
        if source_id is None:
            return self._rows(query)
        if isinstance(source_id, str) and _ID.fullmatch(source_id):
            own = self._rows(query.where(view.c.source_id == source_id))
            if len(own):
                return own
        return self._rows_of(source_id, lambda present: query.where(view.c.source_id == present))

    def polarized_sources(self, min_significance: float = 5.0) -> pd.DataFrame:
        """Find the sources with significant polarized flux.

        Parameters
        ----------
        min_significance : float, optional
            Smallest `max_significance`, of either sign.

        Returns
        -------
        pandas.DataFrame
            The columns of POLARIZED_SOURCES, one row a source, Stokes parameter and band; those that only polarized
            flux shows first, then the most significant.
        """
        return summed_up(self.polarization(), min_significance)

    def spectral_indices(self, per_epoch: bool = False) -> pd.DataFrame:
        """Form the spectral indices of the sources that are seen in several bands.

        Parameters
        ----------
        per_epoch : bool, optional
            Whether of the simultaneous bands of each epoch, rather than of the means over all epochs.

        Returns
        -------
        pandas.DataFrame
            The columns of SPECTRAL_INDICES, by source and epoch; from integrated fluxes, or peak fluxes of catalogs
            without them. Forced measurements and images that are not trusted do not count. Epochs that covered a
            source and did not detect it do, as fluxes below the threshold of its image.
        """
        tables = ("measurements", "associations", "images", "sources", "image_depths")
        m, a, i, s, d = (TABLES[name] for name in tables)
        kind = (
            "int" if not self._rows(sa.select(s.c.id).where(s.c.flux_int_mjy.is_not(None)).limit(1)).empty else "peak"
        )
        unit = FLUX_KINDS[kind]
        query = (
            sa.select(
                a.c.source_id,
                m.c.epoch,
                m.c.band,
                i.c.freq_mhz,
                m.c[f"flux_{kind}_corr_{unit}"].label("flux_mjy"),
                m.c[f"flux_{kind}_err_corr_{unit}"].label("flux_err_mjy"),
                m.c.flux_scale_err,
                m.c.flux_tie_err,
                d.c.threshold_snr,
                s.c.compactness,
            )
            .select_from(a)
            .join(m, sa.and_(m.c.epoch == a.c.epoch, m.c.measurement_id == a.c.measurement_id))
            .join(i, sa.and_(i.c.epoch == m.c.epoch, i.c.image == m.c.image))
            .join(s, s.c.id == a.c.source_id)
            .join(d, sa.and_(d.c.epoch == m.c.epoch, d.c.image == m.c.image), isouter=True)
            .where(s.c.n_bands > 1, m.c.duplicate_of.is_(None), sa.not_(m.c.forced), m.c.trusted)
            # Sums depend on the order of their terms: the same rows give the same digits.
            .order_by(a.c.source_id, m.c.epoch, m.c.measurement_id)
        )
        points = pd.concat([self._rows(query), self._limits_in_bands()], ignore_index=True)
        points["flux_tie_err"] = points["flux_tie_err"].fillna(self._untied_err())
        # A limit is what is missed with a small chance: so many times the noise above the threshold.
        threshold = points["threshold_snr"].fillna(_THRESHOLD)
        noise = points["upper_limit_mjy_beam"] / (threshold + _ABOVE_THRESHOLD)
        if kind == "int":
            # Peaks are what is detected or not.
            noise = noise * points["compactness"].fillna(1.0)
        error = points["flux_err_mjy"].where(noise.isna(), noise)
        return spectral_indices(points.assign(below_mjy=threshold * noise, flux_err_mjy=error), per_epoch)

    def _limits_in_bands(self) -> pd.DataFrame:
        """Upper limits of sources of several bands, by source and epoch, with what indices need of their images."""
        s, i, d = (TABLES[name] for name in ("sources", "images", "image_depths"))
        of_image = sa.select(i.c.epoch, i.c.image, i.c.band, i.c.freq_mhz, d.c.threshold_snr)
        of_image = of_image.join(d, sa.and_(d.c.epoch == i.c.epoch, d.c.image == i.c.image), isouter=True)
        with reading(self.engine) as connection:
            sources = bulk.fetch(
                connection, sa.select(s.c.id, s.c.healpix, s.c.compactness).where(s.c.n_bands > 1).order_by(s.c.id)
            )
            limits = read_limits(connection, sources).merge(bulk.fetch(connection, of_image), on=["epoch", "image"])
        limits = limits.sort_values(["source", "epoch", "image"], ignore_index=True)
        known = sources.iloc[limits.pop("source").to_numpy()].reset_index(drop=True)
        return limits.assign(source_id=known["id"], compactness=known["compactness"])

    def _untied_err(self) -> float:
        """Error of a flux scale that no catalog ties, as a fraction: the scatter of those that one does.

        0 where too few tell: then all scales are as delivered, and indices are relative to the field's.
        """
        c = TABLES["corrections"].c
        scales = self._rows(sa.select(c.flux_mult).where(c.flux_tie_err.is_not(None)).order_by(c.epoch, c.image))
        known = np.log(scales["flux_mult"].to_numpy(dtype=float))
        return float(scatter(known - np.median(known))) if len(known) >= _FEWEST_SCALES else 0.0

    def source_images(self, source_id: str | SkyCoord) -> pd.DataFrame:
        """Find the images whose circle holds a source, whether they detected it or not.

        Parameters
        ----------
        source_id : str or SkyCoord
            Id of a present or past source; or its position, as `find_source` takes it.

        Returns
        -------
        pandas.DataFrame
            In time order: epoch, image, band, mjd [d], path (missing where the manifest names no FITS image); center
            and radius [deg] and beam [arcsec, deg] of the image; flux_peak_corr_mjy_beam and its error, of the source
            [mJy/beam], missing where it was not detected; and the other columns of CORRECTIONS.

        Raises
        ------
        StoreError
            If there is no such source.
        """
        source = self.source(source_id)
        image = TABLES["images"].c
        images = self._rows(images_with_corrections().order_by(image.mjd, image.epoch, image.image))
        apart = separation_arcsec(images["ra_deg"], images["dec_deg"], source["ra_deg"], source["dec_deg"])
        covering = images[apart <= images["radius_deg"] * 3600.0]
        points = self.light_curve(source["id"], limits=False)
        points = points.loc[~points["forced"].astype(bool), list(_OF_POINT)]
        # Few sources have two measurements in one image; either tells that it was detected.
        points = points.drop_duplicates(["epoch", "image"])
        return covering.merge(points, on=["epoch", "image"], how="left")

    def flux_kind(self, sample: str = "detections") -> str:
        """Say by which kind of flux light curves are best judged here.

        Parameters
        ----------
        sample : {'detections', 'forced', 'all'}, optional
            Which measurements.

        Returns
        -------
        str
            'peak'; 'int' where no source has statistics of peak fluxes, as of catalogs without any.
        """
        c = TABLES["variability"].c
        query = sa.select(c.source_id).where(c["sample"] == sample, c.eta_peak.is_not(None)).limit(1)
        return "int" if self._rows(query).empty else "peak"

    def variables(
        self,
        eta: float | None = None,
        v: float | None = None,
        p_value: float | None = None,
        kind: str | None = None,
        sample: str = "detections",
        limit: int | None = None,
        q_value: float | None = None,
    ) -> pd.DataFrame:
        """Find the sources that vary; without a threshold, all that were measured at least twice.

        Parameters
        ----------
        eta : float, optional
            Smallest reduced chi squared against a constant flux.
        v : float, optional
            Smallest ratio of standard deviation to mean.
        p_value : float, optional
            Largest chance that a constant source scatters at least as much.
        kind : {'peak', 'int'}, optional
            Which flux; `flux_kind` if not given.
        sample : {'detections', 'forced', 'all'}, optional
            Which measurements.
        limit : int, optional
            At most this many rows.
        q_value : float, optional
            Largest q-value: of the sources up to it, this share is expected to be constant.

        Returns
        -------
        pandas.DataFrame
            Name, id, position [deg] and statistics of one kind of flux [mJy/beam or mJy], the smallest p-value first,
            by its logarithm. ``q_value_<kind>`` is the share of constant sources to be expected among all sources that
            are as significant or more, whatever the thresholds are here; how significant a source is, is judged there
            by the errors that the survey itself shows.

        Raises
        ------
        InputError
            If kind or sample is unknown.
        """
        kind = self.flux_kind(sample) if kind is None else kind
        _check_statistics(kind, sample)
        with reading(self.engine) as connection:
            also = [] if p_value is None else [f"p_value_{kind}"]
            judged = read_significances(connection, kind, sample, also)
            chosen = np.ones(len(judged), dtype=bool)
            for name, least in (("eta", eta), ("v", v)):
                chosen &= (judged[f"{name}_{kind}"] >= least).to_numpy() if least is not None else True
            for name, most in (("p_value", p_value), ("q_value", q_value)):
                chosen &= (judged[f"{name}_{kind}"] <= most).to_numpy() if most is not None else True
            # eta counts per degree of freedom, so it does not compare sources of different numbers of measurements.
            order = [f"log10_p_value_{kind}", f"eta_{kind}", "source_id"]
            judged = judged[chosen].sort_values(order, ascending=[True, False, True], ignore_index=True)[:limit]
            rows = _rows_of_variables(connection, kind, sample, judged[["source_id", "band"]])
        place = rows.columns.tolist().index(f"p_value_{kind}")
        rows.insert(place + 1, f"q_value_{kind}", judged[f"q_value_{kind}"].to_numpy())
        return rows

    def significances(self, kind: str | None = None, sample: str = "detections") -> pd.DataFrame:
        """Judge how sure it is that sources vary, each among all sources.

        Parameters
        ----------
        kind : {'peak', 'int'}, optional
            Which flux; `flux_kind` if not given.
        sample : {'detections', 'forced', 'all'}, optional
            Which measurements.

        Returns
        -------
        pandas.DataFrame
            Of every source that was measured at least twice, in no order: source_id, and of this kind of flux eta, v,
            n, log10_p_value, weighted mean and its error [mJy/beam or mJy]; log10_p_null: logarithm of the p-value with
            the errors that the survey itself shows; q_value: share of constant sources to be expected in a list down to
            this one.

        Raises
        ------
        InputError
            If kind or sample is unknown.
        """
        kind = self.flux_kind(sample) if kind is None else kind
        _check_statistics(kind, sample)
        with reading(self.engine) as connection:
            return read_significances(connection, kind, sample)

    def v_and_eta(self, kind: str = "peak", sample: str = "detections") -> pd.DataFrame:
        """Read V and eta of every source: what people plot against each other.

        Parameters
        ----------
        kind : {'peak', 'int'}, optional
            Which flux.
        sample : {'detections', 'forced', 'all'}, optional
            Which measurements.

        Returns
        -------
        pandas.DataFrame
            Columns v_<kind> and eta_<kind>, in no order; NaN for sources with fewer than two measurements.

        Raises
        ------
        InputError
            If kind or sample is unknown.
        """
        _check_statistics(kind, sample)
        c = TABLES["variability"].c
        return self._rows(sa.select(c[f"v_{kind}"], c[f"eta_{kind}"]).where(c["sample"] == sample))

    def new_sources(
        self,
        min_significance: float | None = None,
        since_mjd: float | None = None,
        max_false_chance: float | None = None,
        parameters: Variability | None = None,
        forced: bool = True,
    ) -> pd.DataFrame:
        """Find the sources that appeared where earlier images would have shown them.

        Parameters
        ----------
        min_significance : float, optional
            First flux over the rms of the best earlier image there, at least; if not given, as configured when the
            database was written.
        since_mjd : float, optional
            First detected then or later, MJD UTC [d].
        max_false_chance : float, optional
            Largest chance that a source is not new; as configured if not given, and 1 for all candidates.
        parameters : contimg_assets.config.Variability, optional
            The configuration; defaults if not given.
        forced : bool, optional
            Whether forced fluxes of earlier images count, where there are any.

        Returns
        -------
        pandas.DataFrame
            The columns of SOURCES, ``false_chance`` and ``first_flux_mjy_beam``, the most significant first. The chance
            that a source is not new is the chance that all earlier images and reference catalogs of its place miss a
            constant source of its first flux; for a source of one detection, the number of noise peaks as high that its
            image is expected to hold is added. Where earlier images were measured at its place, it is the chance that a
            constant source has forced fluxes as low there, of which ``forced_before_mjy_beam`` is the mean.
        """
        from contimg_assets.database.novelty import find_new

        chosen = parameters or Variability()
        largest = chosen.new_max_false_chance if max_false_chance is None else max_false_chance
        if min_significance is None and largest > chosen.new_max_false_chance:
            min_significance = chosen.new_min_significance
        with reading(self.engine) as connection:
            found = find_new(connection, chosen, min_significance, since_mjd, forced)
        return found[found["false_chance"] <= largest].reset_index(drop=True)

    def new_in_band(
        self,
        min_significance: float | None = None,
        since_mjd: float | None = None,
        max_false_chance: float | None = None,
        parameters: Variability | None = None,
    ) -> pd.DataFrame:
        """Find the sources that were known in another band when a band showed them for the first time.

        Parameters
        ----------
        min_significance : float, optional
            First flux in the band over the rms of the best earlier image of the band there, at least; as configured if
            not given.
        since_mjd : float, optional
            First detected in the band then or later, MJD UTC [d].
        max_false_chance : float, optional
            Largest chance that a source is not new there; as configured if not given, and 1 for all candidates.
        parameters : contimg_assets.config.Variability, optional
            The configuration; defaults if not given.

        Returns
        -------
        pandas.DataFrame
            As of `new_sources`, with the band in ``new_in``, and first epoch, time and significance in this band; a
            row a source and band, the most significant first. None where no upper limits are kept.
        """
        from contimg_assets.database.novelty import find_new_in_band

        chosen = parameters or Variability()
        largest = chosen.new_max_false_chance if max_false_chance is None else max_false_chance
        least = chosen.new_min_significance if min_significance is None else min_significance
        with reading(self.engine) as connection:
            found = find_new_in_band(connection, chosen, least, since_mjd)
        return found[found["false_chance"] <= largest].reset_index(drop=True)

    def faded(self, min_significance: float = 5.0, since_mjd: float | None = None) -> pd.DataFrame:
        """Find the sources that an image no longer shows as bright as they are: forced fluxes far below their own.

        Parameters
        ----------
        min_significance : float, optional
            By how many errors, at least: of both fluxes, of the image's scale, and 10 % of the source's flux for shapes
            and places that are not quite those of the fit.
        since_mjd : float, optional
            Only images of then or later, MJD UTC [d].

        Returns
        -------
        pandas.DataFrame
            A row a source, with the image that says most: name, id, position [deg], its own flux and error, the forced
            flux and its error [mJy/beam], the significance, epoch, image and time [MJD] of it, the number of
            measurements, and n_faded: images in which it has faded. The most significant first.
        """
        from contimg_assets.database.faded import find_faded

        with reading(self.engine) as connection:
            return find_faded(connection, min_significance, since_mjd)

    def monitored(self) -> pd.DataFrame:
        """Sum up the forced fluxes of the monitored positions.

        Returns
        -------
        pandas.DataFrame
            A row a position, by name: n_images that cover it, n_fluxes; of the last flux in a trusted image last_mjd
            [MJD], last_flux_mjy_beam and last_err_mjy_beam [mJy/beam]; of the one that is most above its error
            brightest_mjd and brightest_snr.
        """
        from contimg_assets.database.monitored import summed_up_monitored

        with reading(self.engine) as connection:
            return summed_up_monitored(connection)

    def forced_fluxes(self, what: str | SkyCoord) -> pd.DataFrame:
        """Read the forced fluxes of a source, or of a monitored position.

        Parameters
        ----------
        what : str or SkyCoord
            Name of a monitored position; or a source, as `find_source` takes it.

        Returns
        -------
        pandas.DataFrame
            The columns of FORCED_PHOTOMETRY in time order, images without a flux among them, with the reason.

        Raises
        ------
        StoreError
            If there is neither.
        """
        view = view_of(FORCED_PHOTOMETRY)
        query = sa.select(view).order_by(view.c.mjd, view.c.epoch, view.c.image)
        if isinstance(what, str):
            found = self._rows(query.where(view.c.position == what, view.c.monitored))
            if len(found):
                return found
        return self._rows_of(what, lambda present: query.where(view.c.position == present, sa.not_(view.c.monitored)))

    def _rows(self, query: sa.Select[Any]) -> pd.DataFrame:
        with reading(self.engine) as connection:
            return bulk.fetch(connection, query)

    def _rows_of(self, source_id: str | SkyCoord, query: Callable[[str], sa.Select[Any]]) -> pd.DataFrame:
        """Rows about a source, whose present id the query is given."""
        named = self._named(source_id)
        with reading(self.engine) as connection:
            return bulk.fetch(connection, query(_present(connection, named)))

    def _named(self, source: str | SkyCoord) -> str:
        """The id that is given, or that of the source of the name or position that is given."""
        is_id = isinstance(source, str) and _ID.fullmatch(source)
        return str(source) if is_id else self.find_source(source)

    def _of_source(self, name: str, source_id: str | SkyCoord, *order: str) -> pd.DataFrame:
        """The rows of a table that belong to a source."""
        table = TABLES[name]
        columns = [table.c[column] for column in order]
        return self._rows_of(source_id, lambda one: sa.select(table).where(table.c.source_id == one).order_by(*columns))


def _rows_of_variables(connection: Connection, kind: str, sample: str, wanted: pd.DataFrame) -> pd.DataFrame:
    """Position and statistics of some sources and bands, in their order."""
    ids = wanted["source_id"].unique()
    table, sources = TABLES["variability"], TABLES["sources"]
    unit, c = FLUX_KINDS[kind], TABLES["variability"].c
    names = [f"n_{kind}", *(f"flux_{kind}_{name}_{unit}" for name in ("weighted_mean", "min", "max"))]
    names += [f"{name}_{kind}" for name in ("eta", "v", "log10_p_value", "p_value", "vs", "m", "modulation")]
    of_source = ("n_limits", "n_untrusted", "n_siblings", "n_relations", "is_new")
    query = (
        sa.select(
            sources.c.name,
            c.source_id,
            sources.c.ra_deg,
            sources.c.dec_deg,
            *(c[name] for name in names),
            *(sources.c[name] for name in of_source),
            c.band,
        )
        .select_from(table.join(sources, sources.c.id == c.source_id))
        .where(c["sample"] == sample)
    )
    if len(ids) > _MANY:
        parts = [query]
    else:
        pieces = np.array_split(ids, max(1, -(-len(ids) // _NAMED_AT_ONCE)))
        parts = [query.where(c.source_id.in_([str(one) for one in piece])) for piece in pieces]
    found = pd.concat([bulk.fetch(connection, part) for part in parts], ignore_index=True)
    key = ["source_id", "band"]
    place = pd.MultiIndex.from_frame(found[key]).get_indexer(pd.MultiIndex.from_frame(wanted[key]))
    return pd.DataFrame(found.iloc[place].reset_index(drop=True))


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


def images_with_corrections() -> sa.Select[Any]:
    """Images that have corrections: what manifest and header say of each, and the other columns of CORRECTIONS."""
    image, correction = TABLES["images"].c, TABLES["corrections"].c
    columns = [correction[name] for name in CORRECTIONS.names if name not in _OF_IMAGE]
    same = sa.and_(correction.epoch == image.epoch, correction.image == image.image)
    return sa.select(*(image[name] for name in _OF_IMAGE), *columns).join(TABLES["corrections"], same)


def near(column: sa.Column[int], ra_deg: float, dec_deg: float, radius_arcsec: float) -> sa.ColumnElement[bool]:
    """Cells about a position that hold everything within the radius."""
    import astropy.units as u

    if order_of_radius(radius_arcsec) < 0:
        return sa.true()
    # Cells of a third of the radius: few enough to list, small enough to fit the circle.
    order = min(order_of_radius(radius_arcsec) + 3, INDEX_ORDER)
    # A second of arc more than the radius, against rounding at the rim.
    cells = np.sort(grid(order).cone_search_lonlat(ra_deg * u.deg, dec_deg * u.deg, (radius_arcsec + 1.0) * u.arcsec))
    runs = np.split(cells, np.flatnonzero(np.diff(cells) > 1) + 1)
    shift = 2 * (INDEX_ORDER - order)
    ranges = [(int(run[0]) << shift, ((int(run[-1]) + 1) << shift) - 1) for run in runs]
    return sa.or_(*(column.between(low, high) for low, high in ranges))
