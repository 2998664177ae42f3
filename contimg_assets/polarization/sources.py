"""Polarized detections without a measurement in I at their place: of sources that other epochs show, or of own ones."""

from __future__ import annotations

import numpy as np
import pandas as pd

from contimg_assets.association.batch import associate_measurements
from contimg_assets.association.reach import LEAST_REACH_ARCSEC
from contimg_assets.config import Association
from contimg_assets.polarization.fluxes import reach_arcsec
from contimg_assets.schemas.polarization import ALONE, AT_SOURCE, OWN_SOURCE
from contimg_assets.sky.arrays import Floats
from contimg_assets.sky.sphere import pairs_within, unit_vectors

_ERRORS = ("uncertainty_ew_corr_arcsec", "uncertainty_ns_corr_arcsec")
# A source's error counts up to so many of the detection's.
_MOST_OF_ERROR = 2.0
NEEDED = (
    *("measurement_id", "epoch", "image", "stokes", "band", "mjd", "ra_corr_deg", "dec_corr_deg", *_ERRORS),
    *("beam_arcsec", "may_be_source"),
)
"""Columns that are needed of the detections."""


def place_detections(rows: pd.DataFrame, sources: pd.DataFrame) -> pd.DataFrame:
    """Which source each of these detections is of, over all epochs.

    Parameters
    ----------
    rows : DataFrame
        Detections of all epochs without a measurement in I at their place: ``measurement_id``, ``epoch``, ``image``,
        ``stokes``, ``band``, ``mjd``, corrected positions and their errors, ``beam_arcsec``, ``may_be_source``.
    sources : DataFrame
        Sources in I, at least those near the rows: ``id``, ``ra_deg``, ``dec_deg``, ``uncertainty_ew_arcsec``,
        ``uncertainty_ns_arcsec``.

    Returns
    -------
    DataFrame
        ``measurement_id``, ``source_id``, ``separation_arcsec``, ``status``, in the order of the rows: of a source in
        I that another epoch shows; else, where they may be, of sources of their own, the same in every epoch; else of
        none. It depends on the rows and sources alone, not on their order.

    Examples
    --------
    >>> rows = pd.DataFrame({"measurement_id": ["a", "b"], "epoch": ["n1", "n2"], "image": "v", "stokes": "V",
    ...     "band": "1355MHz", "mjd": [1.0, 2.0], "ra_corr_deg": 10.0, "dec_corr_deg": 0.0, "beam_arcsec": 40.0,
    ...     "uncertainty_ew_corr_arcsec": 1.0, "uncertainty_ns_corr_arcsec": 1.0, "may_be_source": True})
    >>> none = pd.DataFrame(columns=["id", "ra_deg", "dec_deg", "uncertainty_ew_arcsec", "uncertainty_ns_arcsec"])
    >>> place_detections(rows, none)["source_id"].nunique()
    1
    """
    names, separation = np.full(len(rows), None, dtype=object), np.full(len(rows), np.nan)
    if len(rows) and len(sources):
        ours, theirs = (_vectors(rows, "ra_corr_deg", "dec_corr_deg"), _vectors(sources, "ra_deg", "dec_deg"))
        error = rows[list(_ERRORS)].to_numpy(float).max(axis=1)
        their_error = sources[["uncertainty_ew_arcsec", "uncertainty_ns_arcsec"]].to_numpy(float).max(axis=1)
        beam = rows["beam_arcsec"].to_numpy(float)
        i, j, apart = pairs_within(ours, theirs, float(widest_arcsec(rows).max(initial=0.0)))
        # So that no more than the neighborhood of a detection need be known, whatever sources there are elsewhere.
        known_to = np.minimum(their_error[j], _MOST_OF_ERROR * error[i])
        near = apart <= reach_arcsec(beam[i], np.hypot(error[i], known_to))
        ids = sources["id"].to_numpy(dtype=object)
        found = pd.DataFrame({"row": i[near], "apart": apart[near], "id": ids[j[near]]})
        found = found.sort_values(["row", "apart", "id"]).drop_duplicates("row")
        names[found["row"]], separation[found["row"]] = found["id"], found["apart"]
    in_total = pd.notna(names)
    own = ~in_total & rows["may_be_source"].to_numpy(bool)
    if own.any():
        names[own], separation[own] = _own_sources(rows[own])
    status = np.select([in_total, own], [AT_SOURCE, OWN_SOURCE], ALONE)
    return pd.DataFrame(
        {
            "measurement_id": rows["measurement_id"].to_numpy(),
            "source_id": names,
            "separation_arcsec": separation,
            "status": status,
        }
    )


def widest_arcsec(rows: pd.DataFrame) -> Floats:
    """How far each detection's source may be at most, whatever the source's own error.

    Parameters
    ----------
    rows : DataFrame
        As of `place_detections`.

    Returns
    -------
    ndarray of float, shape (n,)
        Largest separation [arcsec].
    """
    error = rows[list(_ERRORS)].to_numpy(float).max(axis=1)
    return reach_arcsec(rows["beam_arcsec"].to_numpy(float), np.hypot(1.0, _MOST_OF_ERROR) * error)


def _vectors(table: pd.DataFrame, ra: str, dec: str) -> Floats:
    return unit_vectors(table[ra].to_numpy(float), table[dec].to_numpy(float))


def _own_sources(rows: pd.DataFrame) -> tuple[np.ndarray, Floats]:
    """Source of each row and separation from where it was before, folded in time order as sources in I are.

    As bands are, Stokes parameters of an epoch are folded one after the other: a source is found once in each.
    """
    start = rows.groupby("epoch")["mjd"].transform("min")
    rows = rows.assign(start=start).rename(
        columns={
            "ra_corr_deg": "ra_deg",
            "dec_corr_deg": "dec_deg",
            "uncertainty_ew_corr_arcsec": "uncertainty_ew_arcsec",
            "uncertainty_ns_corr_arcsec": "uncertainty_ns_arcsec",
        }
    )
    columns = ["measurement_id", "image", "ra_deg", "dec_deg", "uncertainty_ew_arcsec", "uncertainty_ns_arcsec"]
    in_order = rows.sort_values(["start", "epoch", "stokes", "band", "measurement_id"])
    visits = [part[columns] for _, part in in_order.groupby(["start", "epoch", "stokes", "band"], sort=True)]
    reach = max(LEAST_REACH_ARCSEC, float(rows["beam_arcsec"].max()))
    parameters = Association(align_images="never", max_separation_arcsec=reach)
    found = associate_measurements(visits, parameters=parameters).associations
    found = found.sort_values(["measurement_id", "source_id"]).drop_duplicates("measurement_id")
    found = found.set_index("measurement_id").reindex(rows["measurement_id"])
    return found["source_id"].to_numpy(dtype=object), found["separation_arcsec"].to_numpy(float)
