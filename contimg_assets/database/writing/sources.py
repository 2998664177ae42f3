"""Rows of `sources` and `variability`: what depends on other sources and on images, and writing them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.config import Variability
from contimg_assets.database import bulk
from contimg_assets.database.blocks import NO_HASHES, Hashes
from contimg_assets.database.models import TABLES
from contimg_assets.database.writing.present import Neighbors
from contimg_assets.database.writing.stored import Observed, trusted_images
from contimg_assets.identity.ids import from_hex, to_hex
from contimg_assets.ingest.bands import band_names
from contimg_assets.sky.arrays import Indices
from contimg_assets.variability.new_sources import CANDIDATE_CHANCE, covering, new_sources
from contimg_assets.variability.segments import places


def covered(sources: pd.DataFrame, images: pd.DataFrame) -> Hashes:
    """Sources that the images cover; of an image with a coverage, all in the circle about it."""
    # Where they were first detected, as everything is judged that depends on coverage.
    ra, dec = sources["first_ra_deg"].to_numpy(), sources["first_dec_deg"].to_numpy()
    circles = images[["epoch", "image", "ra_deg", "dec_deg", "radius_deg", "rms_mjy_beam"]]
    circles = circles.drop_duplicates(["ra_deg", "dec_deg", "radius_deg"])
    found = [i for i, _, _ in covering(ra, dec, circles)]
    return sources["id"].to_numpy()[np.unique(np.concatenate(found))] if found else NO_HASHES


def same_as_before(
    sources: pd.DataFrame, before: pd.DataFrame, columns: Sequence[str]
) -> tuple[Indices, npt.NDArray[np.bool_]]:
    """The row that each source had before, and whether it had one with the same values in these columns."""
    row, same = places(sources["id"].to_numpy(), before["id"].to_numpy())
    for name in columns:
        same[same] = before[name].to_numpy()[row[same]] == sources[name].to_numpy()[same]
    return row, same


def novelty(
    sources: pd.DataFrame, before: pd.DataFrame, observed: Observed, parameters: Variability, since_mjd: float
) -> dict[str, npt.NDArray[Any]]:
    """Whether earlier images would have shown each source; whether it is new depends on more, see `novelty.find_new`.

    Only images from before its first detection count. So what is known of a source stays where that detection is the
    same, and older than all images that came, changed or went.

    Parameters
    ----------
    sources, before : sources as they are and as they were, sorted by `id`, the hash
    parameters : how significant a new source is, and the threshold of the source finder
    since_mjd : time of the earliest image that came, changed or went [MJD]

    Returns
    -------
    is_new, new_significance, new_image : see `new_sources`, shape (n_sources,)
    """
    row, stays = same_as_before(sources, before, ("first_mjd", "first_ra_deg", "first_dec_deg"))
    stays &= sources["first_mjd"].to_numpy() < since_mjd
    first = pd.DataFrame(
        {
            "epoch": sources["first_epoch"],
            "band": band_names(sources["first_band_mhz"]),
            "mjd": sources["first_mjd"],
            "ra_deg": sources["first_ra_deg"],
            "dec_deg": sources["first_dec_deg"],
            "flux_peak_mjy_beam": sources["first_flux_mjy_beam"],
            "flux_peak_err_mjy_beam": sources["first_flux_err_mjy_beam"],
        }
    )
    judged = new_sources(
        first[~stays],
        trusted_images(observed.images, parameters.finder_threshold_sigma),
        parameters.new_min_significance,
        observed.coverage,
        CANDIDATE_CHANCE,
    )
    result = {}
    for name in ("is_new", "new_significance", "new_image"):
        values = np.empty(len(sources), dtype=judged[name].to_numpy().dtype)
        values[~stays] = judged[name].to_numpy()
        values[stays] = before[name].to_numpy()[row[stays]]
        result[name] = values
    return result


def n_relations(connection: Connection, sources: Hashes) -> npt.NDArray[np.int64]:
    """Number of sources each source competed with, in any epoch."""
    table = TABLES["source_relations"]
    query = sa.select(table.c.from_source_id, table.c.to_source_id)
    # To look up more sources than there are relations takes longer than to read these.
    if connection.execute(query.limit(1).offset(len(sources))).first():
        ids = bulk.set_of_ids(connection, to_hex(sources))
        rows = pd.concat([bulk.fetch(connection, query.where(end.in_(ids))) for end in query.selected_columns])
    else:
        rows = bulk.fetch(connection, query)
    if not len(rows):
        return np.zeros(len(sources), dtype=np.int64)
    pairs = from_hex(rows.to_numpy(dtype=object).ravel()).reshape(-1, 2)
    both = np.unique(np.concatenate([pairs, pairs[:, ::-1]]), axis=0)
    both = both[both[:, 0] != both[:, 1]]
    return counts_of(sources, both[:, 0])


def counts_of(sources: Hashes, values: Hashes) -> npt.NDArray[np.int64]:
    """How often each source stands among the values, shape (n_sources,)."""
    present, count = np.unique(values, return_counts=True)
    at, found = places(sources, present)
    return np.where(found, count[at], 0) if len(present) else np.zeros(len(sources), dtype=np.int64)


def write_sources(connection: Connection, sources: pd.DataFrame, neighbors: Neighbors) -> None:
    """Write the sources, and the nearest neighbor of others where it changed.

    Parameters
    ----------
    sources : in Stokes I: columns of SOURCES except neighbour_arcsec, only_polarized; `id` is the hash, `band` in MHz
    """
    table, ids = TABLES["sources"], to_hex(sources["id"].to_numpy())
    band = band_names(sources["band"])
    written = sources.assign(id=ids, neighbour_arcsec=neighbors.own, band=band, only_polarized=False)
    bulk.upsert(connection, table, written)
    if len(neighbors.others):
        connection.execute(
            sa.update(table).where(table.c.id == sa.bindparam("which")).values(neighbour_arcsec=sa.bindparam("now")),
            [
                {"which": which, "now": None if np.isnan(value) else float(value)}
                for which, value in zip(to_hex(neighbors.others), neighbors.theirs, strict=True)
            ],
        )


def write_variability(
    connection: Connection, variability: pd.DataFrame, touched: Hashes, several_bands: bool = False
) -> None:
    """Write the statistics of recomputed sources; those of sources that are gone go with them.

    Parameters
    ----------
    variability : see `variability_table`
    touched : all sources that may have changed
    several_bands : whether there are or were any: then a source may have lost its measurements of one
    """
    table = TABLES["variability"]
    extra = sa.true() if several_bands else table.c["sample"].in_(["forced", "all"])
    if connection.execute(sa.select(sa.literal(1)).select_from(table).where(extra).limit(1)).first():
        # Sources may have lost their forced measurements, or all of a band.
        ids = bulk.set_of_ids(connection, to_hex(touched))
        connection.execute(sa.delete(table).where(extra, table.c.source_id.in_(ids)))
    named = variability.assign(
        source_id=to_hex(variability["source_id"].to_numpy()), band=band_names(variability["band"])
    )
    bulk.upsert(connection, table, named)


def delete_sources(connection: Connection, vanished: Hashes) -> None:
    """Delete sources that no association names any more."""
    if not len(vanished):
        return
    ids = bulk.set_of_ids(connection, to_hex(vanished))
    sources = TABLES["sources"]
    for table in (TABLES["cross_matches"], TABLES["variability"]):
        connection.execute(sa.delete(table).where(table.c.source_id.in_(ids)))
    connection.execute(sa.delete(sources).where(sources.c.id.in_(ids)))
