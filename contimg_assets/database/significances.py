"""How sure it is that sources vary: asked of all sources together, when it is asked, and stored nowhere.

A q-value depends on every source of the survey. Stored in rows, each night would change all of them; read and formed
anew, it costs a second for a million sources, and no order of arrival can change it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.database import bulk
from contimg_assets.database.engine import reading
from contimg_assets.database.models import TABLES, significance_columns
from contimg_assets.variability.significance import significances

if TYPE_CHECKING:
    from contimg_assets.database.queries import Queries


def read_significances(connection: Connection, kind: str, sample: str, also: Sequence[str] = ()) -> pd.DataFrame:
    """The sources that have a scatter, in no order, and how sure it is that they vary.

    Parameters
    ----------
    also : further columns of the table `variability`, for which its wide rows must be read

    Returns
    -------
    DataFrame: source_id, band; eta, v, n, log10_p_value and flux_..._weighted_mean with its error of this kind of
        flux, as in the table `variability`; log10_p_null and q_value, see `significances`
    """
    c = TABLES["variability"].c
    names = [*significance_columns(kind)[1:], *also]
    query = sa.select(c.source_id, c.band, *(c[name] for name in names))
    found = bulk.fetch(connection, query.where(c["sample"] == sample, c[f"eta_{kind}"].is_not(None)))
    return found.join(significances(found, kind))


def largest_pairs(database: Queries) -> pd.DataFrame:
    """The pair of epochs of each source that differs most (Mooley et al. 2016), of the kind of flux of `flux_kind`.

    Returns
    -------
    DataFrame: name, source_id, vs and m, in no order
    """
    kind, c, s = database.flux_kind(), TABLES["variability"].c, TABLES["sources"].c
    query = (
        sa.select(s.name, c.source_id, c[f"vs_{kind}"].label("vs"), c[f"m_{kind}"].label("m"))
        .join(TABLES["sources"], s.id == c.source_id)
        .where(c["sample"] == "detections", c[f"vs_{kind}"].is_not(None))
    )
    with reading(database.engine) as connection:
        return bulk.fetch(connection, query)
