"""How sources and reference catalogs fit together, in a row a catalog."""

from __future__ import annotations

import pandas as pd
import sqlalchemy as sa

from contimg_assets.database import bulk
from contimg_assets.database.engine import reading
from contimg_assets.database.models import TABLES
from contimg_assets.database.products_database import ProductsDatabase

_LIKELY = 0.5


def catalog_counts(database: ProductsDatabase) -> pd.DataFrame:
    """Best counterparts of sources in each catalog.

    Returns
    -------
    DataFrame: catalog, freq_mhz, beam_arcsec, n_sources: those with a likely counterpart (probability above 0.5, or
        accepted), n_false: how many of these are expected to be none, by their probabilities, false_share, n_accepted
        and n_rejected by people, mean_dra_arcsec, mean_ddec_arcsec and mean_flux_ratio of the likely ones
    """
    catalogs, matches = TABLES["reference_catalogs"].c, TABLES["cross_matches"].c
    accepted, rejected = matches.match_quality == "accepted", matches.match_quality == "rejected"
    likely = sa.and_(matches.rank == 1, sa.or_(sa.and_(matches.probability > _LIKELY, sa.not_(rejected)), accepted))

    def count(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
        return sa.func.coalesce(sa.func.sum(sa.case((condition, 1), else_=0)), 0)

    def mean(column: sa.ColumnElement[float]) -> sa.ColumnElement[float]:
        return sa.func.avg(sa.case((likely, column)))

    doubt = sa.case((sa.and_(likely, sa.not_(accepted)), 1.0 - matches.probability), else_=0.0)
    query = (
        sa.select(
            catalogs.name.label("catalog"),
            catalogs.freq_mhz,
            catalogs.beam_arcsec,
            count(likely).label("n_sources"),
            sa.func.coalesce(sa.func.sum(doubt), 0.0).label("n_false"),
            count(accepted).label("n_accepted"),
            count(rejected).label("n_rejected"),
            mean(matches.dra_arcsec).label("mean_dra_arcsec"),
            mean(matches.ddec_arcsec).label("mean_ddec_arcsec"),
            mean(matches.flux_ratio).label("mean_flux_ratio"),
        )
        .select_from(
            TABLES["reference_catalogs"].outerjoin(TABLES["cross_matches"], matches.catalog_type == catalogs.name)
        )
        .group_by(catalogs.name, catalogs.freq_mhz, catalogs.beam_arcsec)
        .order_by(catalogs.name)
    )
    with reading(database.engine) as connection:
        found = bulk.fetch(connection, query)
    share = found["n_false"] / found["n_sources"].where(found["n_sources"] > 0)
    found.insert(5, "false_share", share)
    return found
