"""Counterparts of sources in reference catalogs: matched again as a whole, with people's decisions on top."""

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
from contimg_assets.database.models import TABLES
from contimg_assets.database.recorded import record_recomputed_with
from contimg_assets.database.writing.aliases import read_aliases
from contimg_assets.identity.ids import from_hex, hash_text, mix, to_hex
from contimg_assets.variability.spectral_index import spectral_indices


def write_matches(connection: Connection, matching: SourceMatching | None) -> None:
    """Match all sources again: a match depends on the sources around it, and on how many have none."""
    catalogs, matches = TABLES["reference_catalogs"], TABLES["cross_matches"]
    connection.execute(sa.delete(matches))
    names = list(matching.catalogs["name"]) if matching else []
    connection.execute(sa.delete(catalogs).where(catalogs.c.name.not_in(names)))
    if not matching or not names:
        return
    present = [name for name in ("name", "freq_mhz", "beam_arcsec", "version") if name in matching.catalogs]
    bulk.upsert(connection, catalogs, matching.catalogs[present])
    decided, aliases = read_decisions(connection), read_aliases(connection)
    bulk.insert(connection, matches, _cross_match_table(matching, _sources_to_match(connection), decided, aliases))


def rematch(connection: Connection, matching: SourceMatching) -> None:
    """Match all sources again, such as after a person's decision."""
    record_recomputed_with(connection, "matching", matching.version)
    write_matches(connection, matching)


def _sources_to_match(connection: Connection) -> pd.DataFrame:
    """All sources as `match_sources` takes them, at the middle of the time they were seen in, and `first_mjd`."""
    table = TABLES["sources"]
    names = [
        "ra_deg",
        "dec_deg",
        "uncertainty_ew_arcsec",
        "uncertainty_ns_arcsec",
        "freq_mhz",
        "beam_arcsec",
        "first_mjd",
        "last_mjd",
    ]
    flux = sa.func.coalesce(table.c.flux_int_mjy, table.c.flux_peak_mjy_beam)
    query = sa.select(table.c.id, *(table.c[name] for name in names), flux, table.c.n_bands).order_by(table.c.id)
    frame = bulk.fetch(connection, query).set_axis(["source_id", *names, "flux_mjy", "n_bands"], axis=1)
    several = bool((frame["n_bands"] > 1).any())
    frame = frame.drop(columns="n_bands")
    frame = frame.astype(dict.fromkeys((*names, "flux_mjy"), float)).astype({"source_id": "str"})
    frame = frame.assign(mjd=(frame["first_mjd"] + frame.pop("last_mjd")) / 2)
    if not several:
        return frame
    alpha = _own_indices(connection).set_index("source_id")[["alpha", "alpha_err"]]
    return frame.join(alpha, on="source_id")


def _own_indices(connection: Connection) -> pd.DataFrame:
    """Spectral index of each source of several bands, from the mean fluxes of the bands as they are kept."""
    v, s, i, c = (TABLES[name].c for name in ("variability", "sources", "images", "corrections"))
    flux = sa.func.coalesce(v.flux_int_weighted_mean_mjy, v.flux_peak_weighted_mean_mjy_beam)
    error = sa.func.coalesce(v.flux_int_weighted_mean_err_mjy, v.flux_peak_weighted_mean_err_mjy_beam)
    means = (
        sa.select(v.source_id, v.band, flux.label("flux_mjy"), error.label("flux_err_mjy"))
        .join_from(TABLES["variability"], TABLES["sources"], s.id == v.source_id)
        .where(s.n_bands > 1, v.sample == "detections", error > 0)
        .order_by(v.source_id, v.band)
    )
    same = sa.and_(c.epoch == i.epoch, c.image == i.image)
    bands = (
        sa.select(i.band, sa.func.avg(i.freq_mhz).label("freq_mhz"), sa.func.avg(c.flux_tie_err).label("flux_tie_err"))
        .join_from(TABLES["images"], TABLES["corrections"], same)
        .group_by(i.band)
    )
    points = bulk.fetch(connection, means).merge(bulk.fetch(connection, bands), on="band")
    return spectral_indices(points)


def _cross_match_table(
    matching: SourceMatching, sources: pd.DataFrame, decided: pd.DataFrame, aliases: pd.DataFrame
) -> pd.DataFrame:
    """Rows of `cross_matches`: candidates with people's decisions on top."""
    decided = decided[decided["catalog"].isin(set(matching.catalogs["name"]))]
    candidates = matching.match(sources.drop(columns="first_mjd"), accepted_pairs(decided, aliases))
    candidates = apply_overrides(candidates, decided, aliases)
    known = candidates["source_id"].isin(sources["source_id"])
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
