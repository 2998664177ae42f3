"""Monitored positions: what their forced fluxes show in sum."""

from __future__ import annotations

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.database import bulk
from contimg_assets.database.models import view_of
from contimg_assets.schemas.forced import FORCED_PHOTOMETRY

_FLUX, _ERR = "flux_peak_corr_mjy_beam", "flux_peak_err_corr_mjy_beam"


def summed_up_monitored(connection: Connection) -> pd.DataFrame:
    """A row a monitored position; see `Queries.monitored`."""
    view = view_of(FORCED_PHOTOMETRY)
    names = ("position", "mjd", _FLUX, _ERR, "trusted", "reason")
    query = sa.select(*(view.c[name] for name in names)).where(view.c.monitored)
    rows = bulk.fetch(connection, query.order_by(view.c.position, view.c.mjd, view.c.image))
    rows = rows.assign(brightest_snr=rows[_FLUX] / rows[_ERR])
    good = rows[(rows["reason"] == "") & rows["trusted"].fillna(False).astype(bool)]
    counts = rows.groupby("position").agg(n_images=("mjd", "size"), n_fluxes=(_FLUX, "count"))
    last = good.drop_duplicates("position", keep="last").set_index("position")[["mjd", _FLUX, _ERR]]
    best = good.sort_values("brightest_snr", kind="stable").drop_duplicates("position", keep="last")
    best = best.set_index("position")[["mjd", "brightest_snr"]]
    joined = counts.join(last.set_axis(["last_mjd", "last_flux_mjy_beam", "last_err_mjy_beam"], axis=1))
    joined = joined.join(best.set_axis(["brightest_mjd", "brightest_snr"], axis=1))
    return joined.rename_axis("name").reset_index()
