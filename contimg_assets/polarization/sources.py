"""Polarized detections without a measurement in I at their place: of sources that other epochs show, or of own ones."""

from __future__ import annotations

import numpy as np
import pandas as pd

from contimg_assets.association.batch import associate_measurements
from contimg_assets.association.reach import LEAST_REACH_ARCSEC
from contimg_assets.config import Association
from contimg_assets.identity.ids import from_hex
from contimg_assets.identity.names import name_cells, source_names
from contimg_assets.ingest.bands import mhz_of_name
from contimg_assets.polarization.fluxes import reach_arcsec
from contimg_assets.schemas.polarization import ALONE, AT_SOURCE, OWN_SOURCE
from contimg_assets.schemas.variability import SOURCES
from contimg_assets.sky.arrays import Floats, Indices
from contimg_assets.sky.cells import INDEX_ORDER, coarser, healpix_29
from contimg_assets.sky.sphere import pairs_within, positions, unit_vectors

_ERRORS = ("uncertainty_ew_corr_arcsec", "uncertainty_ns_corr_arcsec")
# A source's error counts up to so many of the detection's.
_MOST_OF_ERROR = 2.0
NEEDED = (
    *("measurement_id", "epoch", "image", "stokes", "band", "mjd", "ra_corr_deg", "dec_corr_deg", *_ERRORS),
    *("beam_arcsec", "may_be_source", "significance"),
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


def own_sources(detections: pd.DataFrame, acronym: str) -> pd.DataFrame:
    """The sources that only polarized detections show.

    Parameters
    ----------
    detections : DataFrame
        The rows that `place_detections` was given, with ``source_id`` and ``status`` as it gave them.
    acronym : str
        What names of sources begin with, as in `contimg_assets.identity.names.source_names`.

    Returns
    -------
    DataFrame
        Columns of SOURCES but those that such a source has no value of, a row a source by id. Places are weighted
        means; fluxes, which are signed and of several Stokes parameters, are left out, and the frequency is the middle
        of the band.
    """
    rows = detections[detections["status"] == OWN_SOURCE]
    rows = rows.sort_values(["source_id", "mjd", "measurement_id"], ignore_index=True)
    first, last = (rows.drop_duplicates("source_id", keep=keep).reset_index(drop=True) for keep in ("first", "last"))
    code = pd.Index(first["source_id"]).get_indexer(pd.Index(rows["source_id"]))
    n = len(first)
    precision = 1.0 / rows[list(_ERRORS)].to_numpy(float) ** 2
    weighted = precision.mean(axis=1)[:, None] * _vectors(rows, "ra_corr_deg", "dec_corr_deg")
    ra, dec = positions(np.stack([np.bincount(code, weighted[:, axis], n) for axis in range(3)], axis=-1))
    east, north = (np.bincount(code, precision[:, axis], n) ** -0.5 for axis in range(2))
    size = rows["significance"].abs().groupby(code)
    first_ra, first_dec = (first[name].to_numpy(float) for name in ("ra_corr_deg", "dec_corr_deg"))
    ids, since = from_hex(first["source_id"].to_numpy(object)), first["mjd"].to_numpy(float)
    bands = _bands(rows, code)
    found = pd.DataFrame(
        {
            "name": source_names(name_cells(first_ra, first_dec), since, ids, acronym),
            "id": first["source_id"],
            "ra_deg": ra,
            "dec_deg": dec,
            "uncertainty_ew_arcsec": east,
            "uncertainty_ns_arcsec": north,
            "healpix": coarser(healpix_29(ra, dec), INDEX_ORDER),
            "first_epoch": first["epoch"],
            "last_epoch": last["epoch"],
            "first_mjd": first["mjd"],
            "last_mjd": last["mjd"],
            "first_ra_deg": first_ra,
            "first_dec_deg": first_dec,
            "n_measurements": np.bincount(code, minlength=n),
            "n_epochs": rows.groupby(code)["epoch"].nunique().to_numpy(np.int64),
            "band": bands["band"].to_numpy(object),
            "freq_mhz": bands["mhz"].to_numpy(float),
            "n_bands": bands["n_bands"].to_numpy(np.int64),
            "beam_arcsec": rows.groupby(code)["beam_arcsec"].mean().to_numpy(float),
            "min_snr": size.min().to_numpy(float),
            "max_snr": size.max().to_numpy(float),
            **dict.fromkeys(("n_forced", "n_limits", "n_siblings", "n_relations", "n_untrusted"), 0),
            **dict.fromkeys(("is_new", "mixed_beams"), False),
            "only_polarized": True,
        }
    )
    return found[[name for name in SOURCES.names if name in found]]


def _bands(rows: pd.DataFrame, code: Indices) -> pd.DataFrame:
    """The band that most detections of each source are of, the lowest of several: band, mhz; and n_bands."""
    counts = rows.groupby([code, "band"]).size().rename("n").rename_axis(["source", "band"]).reset_index()
    counts["mhz"] = [mhz_of_name(name) for name in counts["band"]]
    counts["n_bands"] = counts.groupby("source")["band"].transform("size")
    order = counts.sort_values(["source", "n", "mhz"], ascending=[True, False, True])
    return order.drop_duplicates("source").reset_index(drop=True)


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
