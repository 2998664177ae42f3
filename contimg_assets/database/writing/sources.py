"""Rows of `sources` and `variability`: what depends on other sources and images, and writing them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.config import Variability
from contimg_assets.crossmatch.sphere import nearest_other, tree_of, unit_vectors
from contimg_assets.database import bulk
from contimg_assets.database.blocks import NO_HASHES, Hashes
from contimg_assets.database.models import TABLES
from contimg_assets.database.writing.statistics import Recomputed
from contimg_assets.identity import from_hex, to_hex
from contimg_assets.variability.coverage import Coverage
from contimg_assets.variability.new_sources import ImageKey, covering, new_sources


def covered(sources: pd.DataFrame, images: pd.DataFrame) -> Hashes:
    """Sources that the images cover; of an image with a coverage, all in the circle about it."""
    # Where they were first detected, as everything is judged that depends on coverage.
    ra, dec = sources["first_ra_deg"].to_numpy(), sources["first_dec_deg"].to_numpy()
    found = [i for i, _, _ in covering(ra, dec, images)]
    return sources["id"].to_numpy()[np.unique(np.concatenate(found))] if found else NO_HASHES


def add_novelty(
    table: pd.DataFrame,
    images: pd.DataFrame,
    coverage: Mapping[ImageKey, Coverage],
    parameters: Variability,
    before: pd.DataFrame,
    since: float,
) -> None:
    """Add whether each source is new, in place.

    Only images from before its first detection count; so what is known of a source stays where that detection is the
    same and older than ``since``, the earliest of the images that came, changed or went [MJD].
    """
    place = pd.Index(before["id"]).get_indexer(pd.Index(table["id"]))
    stays = (place >= 0) & (table["first_mjd"].to_numpy() < since)
    for name in ("first_mjd", "first_ra_deg", "first_dec_deg"):
        stays[stays] = before[name].to_numpy()[place[stays]] == table[name].to_numpy()[stays]
    first = pd.DataFrame(
        {
            "epoch": table["first_epoch"],
            "mjd": table["first_mjd"],
            "ra_deg": table["first_ra_deg"],
            "dec_deg": table["first_dec_deg"],
            "flux_peak_mjy_beam": table.pop("first_flux_peak_mjy_beam"),
        }
    )
    novelty = new_sources(first[~stays], images, parameters.new_min_significance, coverage)
    for name in novelty.columns:
        values = np.empty(len(table), dtype=novelty[name].to_numpy().dtype)
        values[~stays] = novelty[name].to_numpy()
        values[stays] = before[name].to_numpy()[place[stays]]
        table[name] = values


def n_relations(connection: Connection, alive: Hashes) -> npt.NDArray[np.int64]:
    """Number of sources each source competed with, in any epoch."""
    table = TABLES["source_relations"]
    rows = bulk.fetch(connection, sa.select(table.c.from_source_id, table.c.to_source_id))
    if not len(rows):
        return np.zeros(len(alive), dtype=np.int64)
    pairs = from_hex(rows.to_numpy(dtype=object).ravel()).reshape(-1, 2)
    both = np.unique(np.concatenate([pairs, pairs[:, ::-1]]), axis=0)
    both = both[both[:, 0] != both[:, 1]]
    source, count = np.unique(both[:, 0], return_counts=True)
    return pd.Series(count, index=source).reindex(alive, fill_value=0).to_numpy(dtype=np.int64)


def write_sources(connection: Connection, table: pd.DataFrame, before: pd.DataFrame, vanished: Hashes) -> None:
    """The recomputed sources, and the neighbour of others where it changed."""
    others = before[~before["id"].isin(table["id"]) & ~before["id"].isin(vanished)]
    everywhere = pd.concat([table[["ra_deg", "dec_deg"]], others[["ra_deg", "dec_deg"]]])
    separation = nearest_other(tree_of(unit_vectors(everywhere["ra_deg"], everywhere["dec_deg"])))
    table["neighbour_arcsec"] = separation[: len(table)]
    bulk.upsert(connection, TABLES["sources"], table.assign(id=to_hex(table["id"].to_numpy())))
    now = separation[len(table) :]
    moved = ~((now == others["neighbour_arcsec"].to_numpy()) | (np.isnan(now) & others["neighbour_arcsec"].isna()))
    if moved.any():
        sources = TABLES["sources"]
        connection.execute(
            sa.update(sources)
            .where(sources.c.id == sa.bindparam("which"))
            .values(neighbour_arcsec=sa.bindparam("now")),
            [
                {"which": which, "now": None if np.isnan(value) else float(value)}
                for which, value in zip(to_hex(others["id"].to_numpy()[moved]), now[moved], strict=True)
            ],
        )


def write_variability(connection: Connection, recomputed: Recomputed | None, touched: Hashes) -> None:
    """Statistics of the recomputed sources; those of vanished ones go with their sources."""
    table = TABLES["variability"]
    extra = sa.select(sa.literal(1)).select_from(table).where(table.c["sample"].in_(["forced", "all"])).limit(1)
    if connection.execute(extra).first():
        # Sources may have lost their forced measurements.
        name = bulk.set_of_ids(connection, "touched", to_hex(touched))
        connection.exec_driver_sql(
            f"DELETE FROM variability WHERE sample IN ('forced', 'all') "  # noqa: S608
            f"AND source_id IN (SELECT id FROM {name})"
        )
    if recomputed is not None:
        rows = recomputed.variability
        rows["source_id"] = to_hex(rows["source_id"].to_numpy())
        bulk.upsert(connection, table, rows)


def delete_vanished(connection: Connection, vanished: Hashes) -> None:
    """Sources that no association names any more."""
    if not len(vanished):
        return
    name = bulk.set_of_ids(connection, "touched", to_hex(vanished))
    for table, column in (("cross_matches", "source_id"), ("variability", "source_id"), ("sources", "id")):
        connection.exec_driver_sql(f"DELETE FROM {table} WHERE {column} IN (SELECT id FROM {name})")  # noqa: S608
