"""How sure it is that sources vary: asked of all sources together, when it is asked, and stored nowhere.

A q-value depends on every source of the survey. Stored in rows, each night would change all of them; read and formed
anew, it costs a second for a million sources, and no order of arrival can change it.
"""

from __future__ import annotations

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.database import bulk
from contimg_assets.database.models import TABLES
from contimg_assets.schemas.variability import FLUX_KINDS
from contimg_assets.variability.significance import significances


def read_significances(connection: Connection, kind: str, sample: str) -> pd.DataFrame:
    """The sources that have a scatter, in the order of their ids, and how sure it is that they vary.

    Returns
    -------
    DataFrame: source_id; n, eta, v, p_value, log10_p_value and flux_..._weighted_mean with its error of this kind of
        flux, as in the table `variability`; log10_p_null and q_value, see `significances`
    """
    c = TABLES["variability"].c
    unit = FLUX_KINDS[kind]
    names = [f"{name}_{kind}" for name in ("n", "eta", "v", "p_value", "log10_p_value")]
    names += [f"flux_{kind}_{name}_{unit}" for name in ("weighted_mean", "weighted_mean_err")]
    query = sa.select(c.source_id, *(c[name] for name in names))
    query = query.where(c["sample"] == sample, c[f"eta_{kind}"].is_not(None)).order_by(c.source_id)
    found = bulk.fetch(connection, query)
    return found.join(significances(found, kind))
