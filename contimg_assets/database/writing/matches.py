"""Counterparts of sources in reference catalogs, with people's decisions on top: made again where they could change.

What the matches of a source depend on lies in its cell of the sky or just around it. So those in cells where nothing
changed stay as they are.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.crossmatch.overrides import accepted_pairs, apply_overrides
from contimg_assets.database import bulk
from contimg_assets.database.decisions import read_decisions
from contimg_assets.database.matching import SourceMatching
from contimg_assets.database.models import IN_TOTAL, TABLES
from contimg_assets.database.recorded import recomputed_with, record_recomputed_with
from contimg_assets.database.tiles import tiling
from contimg_assets.database.writing.aliases import read_aliases
from contimg_assets.identity.ids import from_hex, hash_text, mix, to_hex
from contimg_assets.identity.versions import version_of_value
from contimg_assets.schemas.tables import stand_among
from contimg_assets.sky.arrays import Cells, Floats
from contimg_assets.sky.cells import INDEX_ORDER, coarser, healpix_29, rim
from contimg_assets.variability.spectral_index import spectral_indices

_NO_MATCHING = "none"
_USED = (
    *("ra_deg", "dec_deg", "uncertainty_ew_arcsec", "uncertainty_ns_arcsec"),
    *("freq_mhz", "beam_arcsec", "first_mjd", "last_mjd"),
)
# With more cells than this everything is read at once.
_MANY_CELLS = 100


def write_matches(
    connection: Connection, matching: SourceMatching | None, places: tuple[Floats, Floats] | None = None
) -> None:
    """Match sources again: those in the cells of places where anything changed, or all.

    Where the catalogs, the parameters, or people's decisions are others than at the last time, so are the sources that
    these concern.

    Parameters
    ----------
    places : where sources came, changed or went, as they were and as they are: ra_deg, dec_deg, shape (n,); None: any
        may have
    """
    again = record_recomputed_with(connection, "matching", _version(matching))
    decided = read_decisions(connection)
    # The order that they were made in counts, but not when that was.
    said = decided.drop(columns="created_at").to_numpy(dtype=object).astype(str).tolist()
    spoken = record_recomputed_with(connection, "decisions", version_of_value(said))
    catalogs, matches = TABLES["reference_catalogs"], TABLES["cross_matches"]
    names = list(matching.catalogs["name"]) if matching else []
    if not matching or not names:
        connection.execute(sa.delete(matches))
        connection.execute(sa.delete(catalogs).where(catalogs.c.name.not_in(names)))
        return
    aliases = read_aliases(connection)
    area = None
    if places is not None and matching.locality is not None and not again and _are_there(connection, names):
        cells = healpix_29(*places)
        if spoken:
            cells = np.concatenate([cells, _cells_of(connection, decided["source_id"], aliases)])
        area = _Area.of(connection, matching, cells)
    sources = _sources_to_match(connection, area)
    connection.execute(sa.delete(matches) if area is None else sa.delete(matches).where(area.of_matches()))
    connection.execute(sa.delete(catalogs).where(catalogs.c.name.not_in(names)))
    present = [name for name in ("name", "freq_mhz", "beam_arcsec", "version") if name in matching.catalogs]
    bulk.upsert(connection, catalogs, matching.catalogs[present])
    rows = _cross_match_table(matching, sources, decided, aliases)
    if area is not None:
        rows = rows[stand_among(rows["source_id"], sources.loc[sources["inside"], "source_id"])]
    bulk.insert(connection, matches, rows)


def matches_differ(connection: Connection, matching: SourceMatching | None) -> bool:
    """Whether the matches that are there were made with other catalogs or parameters."""
    known = recomputed_with(connection).get("matching")
    return known is not None and known != _version(matching)


def _version(matching: SourceMatching | None) -> str:
    return matching.version if matching else _NO_MATCHING


def rematch(connection: Connection, matching: SourceMatching) -> None:
    """Match again what a person's decision concerns, and all sources if the catalogs or parameters are others."""
    write_matches(connection, matching, (np.empty(0), np.empty(0)))


def _are_there(connection: Connection, names: list[str]) -> bool:
    """Whether the catalogs of the database are these."""
    catalogs = TABLES["reference_catalogs"]
    return set(connection.execute(sa.select(catalogs.c.name)).scalars()) == set(names)


def _cells_of(connection: Connection, source_ids: pd.Series, aliases: pd.DataFrame) -> Cells:
    """Cells of order 29 of sources, as they are named now."""
    present = source_ids.replace(dict(zip(aliases["alias"], aliases["source_id"], strict=True))).unique()
    table = TABLES["sources"]
    ids = bulk.set_of_ids(connection, [str(one) for one in present])
    found = bulk.fetch(connection, sa.select(table.c.ra_deg, table.c.dec_deg).where(table.c.id.in_(ids)))
    return healpix_29(found["ra_deg"].to_numpy(), found["dec_deg"].to_numpy())


class _Area:
    """Cells of the sky whose sources are matched again, and a margin around them whose sources are company.

    Parameters
    ----------
    runs : first and last cell of order `INDEX_ORDER` of neighboring ones, shape (n, 2)
    margin : cells of that order around them
    """

    def __init__(self, runs: Cells, margin: Cells) -> None:
        self.runs, self.margin = runs, margin

    @classmethod
    def of(cls, connection: Connection, matching: SourceMatching, cells_29: Cells) -> _Area | None:
        """The cells that hold some of order 29; None if they are so many that the whole sky is as good."""
        assert matching.locality is not None
        images, order = TABLES["images"], matching.locality.order
        cells = np.unique(coarser(cells_29, order))
        if len(cells) > _MANY_CELLS:
            return None
        beam = connection.execute(sa.select(sa.func.max(images.c.bmaj_arcsec))).scalar()
        margin = rim(cells, order, matching.locality.company_arcsec(float(beam or 0.0)))
        steps = 2 * (INDEX_ORDER - order)
        return cls(np.stack([cells << steps, ((cells + 1) << steps) - 1], axis=1), margin)

    def of_sources(self) -> sa.ColumnElement[bool]:
        """Whether a source lies in the cells."""
        cell = TABLES["sources"].c.healpix
        return sa.or_(sa.false(), *(cell.between(int(first), int(last)) for first, last in self.runs))

    def of_matches(self) -> sa.ColumnElement[bool]:
        """Whether a match is of a source in the cells."""
        return TABLES["cross_matches"].c.source_id.in_(sa.select(TABLES["sources"].c.id).where(self.of_sources()))

    def with_margin(self, connection: Connection) -> sa.ColumnElement[bool]:
        """Whether a source lies in the cells or in the margin."""
        cell = TABLES["sources"].c.healpix
        some = bulk.set_of_ids(connection, self.margin.astype(str).astype(object)).subquery()
        return sa.or_(self.of_sources(), cell.in_(sa.select(sa.cast(some.c.id, sa.BigInteger))))


def _sources_to_match(connection: Connection, area: _Area | None) -> pd.DataFrame:
    """Sources as `match_sources` takes them, at the middle of the time they were seen in, `first_mjd`, and `inside`.

    Those that are inside of the area are matched; the others are their company.
    """
    table = TABLES["sources"]
    flux = sa.func.coalesce(table.c.flux_int_mjy, table.c.flux_peak_mjy_beam)
    inside = sa.true() if area is None else area.of_sources()
    columns = (table.c.id, *(table.c[name] for name in _USED), flux, table.c.n_bands, sa.case((inside, 1), else_=0))
    query = sa.select(*columns).where(IN_TOTAL).order_by(table.c.id)
    if area is not None:
        query = query.where(area.with_margin(connection))
    frame = bulk.fetch(connection, query).set_axis(["source_id", *_USED, "flux_mjy", "n_bands", "inside"], axis=1)
    several = frame.loc[frame["n_bands"] > 1, "source_id"]
    frame = frame.drop(columns="n_bands").astype(dict.fromkeys((*_USED, "flux_mjy"), float))
    frame = frame.astype({"source_id": "str", "inside": bool})
    frame = frame.assign(mjd=(frame["first_mjd"] + frame.pop("last_mjd")) / 2)
    if several.empty:
        return frame
    alpha = _own_indices(connection, several).set_index("source_id")[["alpha", "alpha_err"]]
    return frame.join(alpha, on="source_id")


def _own_indices(connection: Connection, sources: pd.Series) -> pd.DataFrame:
    """Spectral index of sources of several bands, from the mean fluxes of the bands as they are kept.

    Frequencies and errors of ties are means over the images that measured the source.
    """
    v, a, m, i, c = (
        TABLES[name].c for name in ("variability", "associations", "measurements", "images", "corrections")
    )
    flux = sa.func.coalesce(v.flux_int_weighted_mean_mjy, v.flux_peak_weighted_mean_mjy_beam)
    error = sa.func.coalesce(v.flux_int_weighted_mean_err_mjy, v.flux_peak_weighted_mean_err_mjy_beam)
    means = (
        sa.select(v.source_id, v.band, flux.label("flux_mjy"), error.label("flux_err_mjy"))
        .where(v.source_id.in_(bulk.set_of_ids(connection, sources.tolist())), v["sample"] == "detections", error > 0)
        .order_by(v.source_id, v.band)
    )
    images = (
        sa.select(a.source_id, m.band, i.freq_mhz, c.flux_tie_err)
        .select_from(TABLES["associations"])
        .join(TABLES["measurements"], tiling(connection).same_measurement())
        .join(TABLES["images"], sa.and_(i.epoch == m.epoch, i.image == m.image))
        .outerjoin(TABLES["corrections"], sa.and_(c.epoch == m.epoch, c.image == m.image))
        .where(a.source_id.in_(bulk.set_of_ids(connection, sources.tolist())))
    )
    seen = bulk.fetch(connection, images).astype({"freq_mhz": float, "flux_tie_err": float})
    # Sorted by their values, so that sums do not round by the order in which the database finds them.
    seen = seen.sort_values(["source_id", "band", "freq_mhz", "flux_tie_err"])
    points = bulk.fetch(connection, means).merge(seen.groupby(["source_id", "band"], as_index=False).mean())
    return spectral_indices(points)


def _cross_match_table(
    matching: SourceMatching, sources: pd.DataFrame, decided: pd.DataFrame, aliases: pd.DataFrame
) -> pd.DataFrame:
    """Rows of `cross_matches`: candidates with people's decisions on top."""
    decided = decided[decided["catalog"].isin(set(matching.catalogs["name"]))]
    candidates = matching.match(sources.drop(columns=["first_mjd", "inside"]), accepted_pairs(decided, aliases))
    candidates = apply_overrides(candidates, decided, aliases)
    known = stand_among(candidates["source_id"], sources["source_id"])
    candidates = candidates[known].rename(columns={"catalog": "catalog_type", "quality": "match_quality"})
    source = candidates["source_id"].to_numpy(dtype=object)
    key = mix(mix(from_hex(source), hash_text(candidates["catalog_type"])), hash_text(candidates["catalog_source_id"]))
    born = sources.set_index("source_id")["first_mjd"].reindex(candidates["source_id"]).to_numpy()
    rows = candidates.assign(id=to_hex(key), created_at=_iso_times(born))
    columns = [name for name in list(TABLES["cross_matches"].columns.keys()) if name in rows]
    return rows[columns].sort_values(["source_id", "catalog_type", "rank"], ignore_index=True)


def _iso_times(mjd: npt.ArrayLike) -> npt.NDArray[np.object_]:
    """MJD UTC as ISO 8601 to the second, shape (n,), dtype object (str)."""
    seconds = np.round((np.asarray(mjd, dtype=float) - 40587.0) * 86400.0).astype("datetime64[s]")
    texts = np.datetime_as_string(seconds, unit="s").astype("U19")
    return np.char.add(texts, "Z").astype(object)
