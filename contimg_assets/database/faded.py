"""Sources that have faded: what is asked of the forced fluxes when the question comes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contimg_assets.database import bulk
from contimg_assets.database.models import TABLES, is_evidence, view_of
from contimg_assets.schemas.forced import FORCED_PHOTOMETRY
from contimg_assets.variability.forced_evidence import fading_significance

_COLUMNS = (
    *("name", "id", "ra_deg", "dec_deg", "flux_peak_mjy_beam", "flux_peak_err_mjy_beam"),
    *("forced_mjy_beam", "forced_err_mjy_beam", "significance", "epoch", "image", "mjd", "n_measurements", "n_faded"),
)


def find_faded(connection: Connection, min_significance: float, since_mjd: float | None) -> pd.DataFrame:
    """A row for each source that has faded in some image, with the image that says most; see `Queries.faded`."""
    view = view_of(FORCED_PHOTOMETRY)
    s, f = TABLES["sources"].c, view.c
    flux = sa.func.coalesce(s.flux_peak_mjy_beam, s.flux_int_mjy)
    err = sa.func.coalesce(s.flux_peak_err_mjy_beam, s.flux_int_err_mjy)
    # What cannot be faded is left where it is: below the source's own by the forced flux's own error alone.
    below = flux - f.flux_peak_corr_mjy_beam > min_significance * f.flux_peak_err_corr_mjy_beam
    query = (
        sa.select(
            *(s[name] for name in ("name", "id", "ra_deg", "dec_deg", "n_measurements")),
            flux.label("flux_peak_mjy_beam"),
            err.label("flux_peak_err_mjy_beam"),
            f.flux_peak_corr_mjy_beam.label("forced_mjy_beam"),
            f.flux_peak_err_corr_mjy_beam.label("noise"),
            *(f[name] for name in ("flux_scale_err", "epoch", "image", "mjd")),
        )
        .select_from(view.join(TABLES["sources"], sa.and_(s.id == f.position, s.band == f.band)))
        .where(is_evidence(view), f.trusted, below)
    )
    if since_mjd is not None:
        query = query.where(f.mjd >= since_mjd)
    rows = bulk.fetch(connection, query)
    forced = rows["forced_mjy_beam"].to_numpy(dtype=float)
    forced_err = np.hypot(rows["noise"], rows["flux_scale_err"] * np.abs(forced)).to_numpy(dtype=float)
    own, own_err = (rows[name].to_numpy(dtype=float) for name in ("flux_peak_mjy_beam", "flux_peak_err_mjy_beam"))
    significance = fading_significance(own, own_err, forced, forced_err)
    rows = rows.assign(forced_err_mjy_beam=forced_err, significance=significance)
    rows = rows[rows["significance"] >= min_significance]
    rows = rows.assign(n_faded=rows.groupby("id")["id"].transform("size").astype(np.int64))
    rows = rows.sort_values(["significance", "mjd", "image", "id"], ascending=[False, True, True, True])
    return rows.drop_duplicates("id")[list(_COLUMNS)].reset_index(drop=True)
