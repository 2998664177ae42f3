"""Candidates of measurements and sources in reference catalogs, all of them, each with its probability.

The recommended posterior is Sutherland & Saunders (1992) with the errors of each pair, the density around each position
and the share Q of real counterparts of each image: see `contimg_assets.crossmatch.probability` for the formulas.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from contimg_assets.catalogs.store import ReferenceCatalog
from contimg_assets.config import Matching, with_overrides
from contimg_assets.crossmatch import probability as formulas
from contimg_assets.crossmatch.background import density_orders, local_density
from contimg_assets.crossmatch.candidates import candidates_of, of_all_catalogs
from contimg_assets.crossmatch.faint_entries import faint_errors
from contimg_assets.crossmatch.offsets import Offsets, borrow_offsets, measure_offsets, with_borrowed
from contimg_assets.crossmatch.search import CatalogPairs, Sky, aligned, find_pairs, reach_arcsec
from contimg_assets.crossmatch.summary import blanks_of_groups, summarized
from contimg_assets.crossmatch.targets import Targets, of_measurements, of_sources
from contimg_assets.errors import InputError
from contimg_assets.schemas.matches import CATALOG_MATCHES, MATCH_SUMMARY, SOURCE_MATCHES
from contimg_assets.schemas.tables import TableLike, as_frame, require, with_text_ids
from contimg_assets.sky.arrays import Indices
from contimg_assets.sky.cells import radius_of_order
from contimg_assets.sky.pools import COARSEST_POOL

_OF_MEASUREMENTS = (
    *("measurement_id", "image", "ra_deg", "dec_deg"),
    *("uncertainty_ew_arcsec", "uncertainty_ns_arcsec"),
)


class MatchResult(NamedTuple):
    """Tables of schemas CATALOG_MATCHES and MATCH_SUMMARY."""

    matches: pd.DataFrame
    summary: pd.DataFrame


def match_catalogs(
    measurements: pd.DataFrame,
    images: pd.DataFrame,
    catalogs: Sequence[ReferenceCatalog],
    parameters: Matching,
    associations: pd.DataFrame | None = None,
) -> MatchResult:
    """All candidates of all measurements in all catalogs, and how each image's matching went.

    Parameters
    ----------
    measurements : columns measurement_id, image, ra_deg, dec_deg, uncertainty_ew_arcsec, uncertainty_ns_arcsec; used
        where present: flux_int_mjy, flux_peak_mjy_beam. Any order of rows; duplicates are matched like others
    images : columns image, bmaj_arcsec, freq_mhz; mjd, where catalog sources with proper motions are then
    catalogs : reference catalogs; none gives empty tables
    parameters : section `matching` of the configuration
    associations : columns source_id, measurement_id, separation_arcsec; for the column source_id

    Returns
    -------
    MatchResult of the tables CATALOG_MATCHES (sorted by measurement, catalog, rank) and MATCH_SUMMARY (by image,
    catalog). Signs: dra_arcsec, ddec_arcsec are catalog minus measurement, on the sky.

    Raises
    ------
    InputError
        If a measurement's image is not among the images.
    """
    targets = of_measurements(measurements, images, parameters)
    found = [_match_one(targets, catalog, parameters, align=True) for catalog in catalogs]
    measured = {catalog.name: one.offsets for catalog, one in zip(catalogs, found, strict=True)}
    for index, catalog in enumerate(catalogs):
        others = {name: offsets for name, offsets in measured.items() if name != catalog.name}
        lent = borrow_offsets(measured[catalog.name], others, parameters.frame_err_arcsec)
        if lent is not None:
            found[index] = _match_one(targets, catalog, parameters, align=True, lent=lent)
    summaries = [one.summary for one in found if one.summary is not None]
    matches = of_all_catalogs(targets, [one.candidates for one in found], parameters)
    if matches is None:
        empty = CATALOG_MATCHES.empty()
        return MatchResult(empty, _stack(summaries, MATCH_SUMMARY.empty()))
    ids = targets.ids.take(matches.pop("target").to_numpy()).reset_index(drop=True)
    matches["measurement_id"] = ids
    matches["source_id"] = _sources_of(ids, associations)
    matches["image"] = (
        pd.Series(targets.groups, dtype="str").take(matches.pop("group").to_numpy()).reset_index(drop=True)
    )
    return MatchResult(matches[CATALOG_MATCHES.names], _stack(summaries, MATCH_SUMMARY.empty()))


def match_measurements(
    measurements: TableLike,
    images: TableLike,
    catalogs: ReferenceCatalog | Sequence[ReferenceCatalog],
    parameters: Matching | None = None,
    associations: TableLike | None = None,
    **overrides: object,
) -> pd.DataFrame:
    """Candidate counterparts of measurements in reference catalogs, all of them, each with its probability.

    Parameters
    ----------
    measurements : DataFrame, Table, QTable or pyarrow.Table
        One row a measurement, of one epoch: ``measurement_id`` (text or integer), ``image``, ``ra_deg``, ``dec_deg``,
        ``uncertainty_ew_arcsec``, ``uncertainty_ns_arcsec`` (1 sigma on the sky); used where present:
        ``flux_int_mjy``, ``flux_peak_mjy_beam``. ``image`` may be absent where there is one image.
    images : DataFrame, Table, QTable or pyarrow.Table
        One row an image: ``image``, ``bmaj_arcsec``, ``freq_mhz``.
    catalogs : ReferenceCatalog or list of ReferenceCatalog
        What to match to; none gives an empty table.
    parameters : contimg_assets.config.Matching, optional
        All parameters at once.
    associations : DataFrame, Table or pyarrow.Table, optional
        ``source_id``, ``measurement_id``, ``separation_arcsec``, as `associate_measurements` returns them; for the
        column ``source_id`` of the result.
    **overrides : object
        Single parameters of `contimg_assets.config.Matching`, by name: ``radius_arcsec=15``, ``spectral_index=-0.8``.

    Returns
    -------
    DataFrame
        One row a candidate, sorted by measurement, catalog and rank: separation, ``dra_arcsec`` and ``ddec_arcsec``
        (catalog minus measurement, on the sky), ``de_ruiter``, ``probability``, ``p_any``, ``rank``,
        ``expected_flux_mjy`` (at our frequency), ``flux_ratio`` and others, as described in
        `contimg_assets.schemas.matches`. Give it to `calibration_matches` for what ties an image.

    Raises
    ------
    InputError
        If a column is missing, or a measurement's image is not among the images.
    ConfigError
        If a parameter is unknown, or its value not allowed.

    References
    ----------
    Sutherland & Saunders 1992, MNRAS 259, 413 (probability); Budavari & Szalay 2008, ApJ 679, 301 (Bayes factor).

    Examples
    --------
    >>> import pandas as pd
    >>> import contimg_assets as ca
    >>> catalog = ca.ReferenceCatalog("mine", pd.DataFrame({
    ...     "catalog_source_id": ["A", "B"], "ra_deg": [10.0, 10.5], "dec_deg": [16.0, 16.0], "flux_mjy": [100.0, 50.0],
    ... }), freq_mhz=1400, beam_arcsec=45)
    >>> measurements = pd.DataFrame({
    ...     "measurement_id": ["m1", "m2"], "ra_deg": [10.0001, 10.3], "dec_deg": [16.0, 16.0],
    ...     "uncertainty_ew_arcsec": [0.5, 0.5], "uncertainty_ns_arcsec": [0.5, 0.5], "flux_int_mjy": [110.0, 9.0],
    ... })
    >>> images = pd.DataFrame({"image": ["tile1"], "bmaj_arcsec": [40.0], "freq_mhz": [1400.0]})
    >>> matches = ca.match_measurements(measurements, images, catalog)
    >>> matches[["measurement_id", "catalog_source_id", "flux_ratio"]].round(2)
      measurement_id catalog_source_id  flux_ratio
    0             m1                 A         1.1
    """
    chosen = with_overrides(Matching, parameters, overrides)
    measurements, images = with_text_ids(as_frame(measurements, "measurements")), as_frame(images, "images")
    require(images, ("image", "bmaj_arcsec", "freq_mhz"), "images")
    if "image" not in measurements.columns and len(images) == 1:
        measurements = measurements.assign(image=images["image"].iloc[0])
    require(measurements, _OF_MEASUREMENTS, "measurements")
    if associations is not None:
        associations = with_text_ids(as_frame(associations, "associations"))
        require(associations, ("source_id", "measurement_id", "separation_arcsec"), "associations")
    catalogs = [catalogs] if isinstance(catalogs, ReferenceCatalog) else list(catalogs)
    for catalog in catalogs:
        if not isinstance(catalog, ReferenceCatalog):
            raise InputError(f"catalogs holds a {type(catalog).__name__}; make it a ReferenceCatalog")
    return match_catalogs(measurements, images, catalogs, chosen, associations).matches


def match_sources(
    sources: pd.DataFrame,
    catalogs: Sequence[ReferenceCatalog],
    parameters: Matching,
    accepted: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """All candidates of all sources at their mean corrected positions.

    Parameters
    ----------
    sources : columns source_id, ra_deg, dec_deg, uncertainty_ew_arcsec, uncertainty_ns_arcsec, freq_mhz, beam_arcsec;
        used where present: flux_mjy (our flux density, for flux ratios), mjd (where catalog sources with proper motions
        are then)
    catalogs : reference catalogs; none gives an empty table
    parameters : section `matching` of the configuration. No offset is taken out: positions are corrected
    accepted : columns source_id, catalog, catalog_source_id: pairs that people accepted, which are candidates however
        far apart (as far as the area in which density is counted)

    Returns
    -------
    DataFrame of schema SOURCE_MATCHES, sorted by source, catalog, rank; `manual` false and `comment` missing: see
    `contimg_assets.crossmatch.overrides.apply_overrides`
    """
    targets = of_sources(sources)
    parts = [
        _match_one(targets, catalog, parameters, align=False, accepted=accepted).candidates for catalog in catalogs
    ]
    matches = of_all_catalogs(targets, parts, parameters)
    if matches is None:
        return SOURCE_MATCHES.empty()
    matches["source_id"] = targets.ids.take(matches["target"].to_numpy()).reset_index(drop=True)
    matches["manual"] = False
    matches["comment"] = pd.Series(pd.NA, index=matches.index, dtype="str")
    return matches[SOURCE_MATCHES.names]


def company_arcsec(beam_arcsec: float, catalogs: Sequence[ReferenceCatalog], parameters: Matching) -> float:
    """How far from a source others may lie that share a candidate with it, or a beam; its matches depend on no other
    source outside of its HEALPix cell of order `COARSEST_POOL`.

    Parameters
    ----------
    beam_arcsec : largest beam of any source
    catalogs, parameters : of `match_sources`
    """
    beam = 0.5 * (beam_arcsec + max((catalog.beam_arcsec for catalog in catalogs), default=0.0))
    return 2.0 * max(parameters.max_radius_arcsec, beam)


class _Matched(NamedTuple):
    """Candidates in one catalog, the summary of each group of measurements, and the groups' offsets."""

    candidates: pd.DataFrame
    summary: pd.DataFrame | None
    offsets: Offsets


def _match_one(
    targets: Targets,
    catalog: ReferenceCatalog,
    parameters: Matching,
    align: bool,
    lent: Offsets | None = None,
    accepted: pd.DataFrame | None = None,
) -> _Matched:
    """Match to one catalog; offsets are measured, but for those that are lent by another one."""
    margin = max(2.0 * parameters.false_match_shift_arcsec, _margin_arcsec(parameters))
    table, rows = catalog.covering(targets.ra, targets.dec, margin)
    cells = table.column("healpix_29").to_numpy()
    density = local_density(targets.healpix, cells[rows], parameters.density_radius_deg)
    by_hand = None if accepted is None else _rows_of(accepted[accepted["catalog"] == catalog.name], targets, table)
    # Around rows that people accepted, too.
    around = targets.healpix if by_hand is None else np.append(targets.healpix, cells[by_hand[1]])
    reach = reach_arcsec(targets, catalog.beam_arcsec, parameters)
    sky = Sky(table, rows, catalog.beam_arcsec, around, reach, targets.mjd)
    max_offset_arcsec = parameters.max_offset_arcsec if align else 0.0
    per_group = np.bincount(targets.group, density, minlength=len(targets.groups)) / formulas.ARCSEC2_PER_DEG2

    def paired() -> tuple[CatalogPairs, Offsets]:
        pairs = find_pairs(targets, sky, parameters, max_offset_arcsec, by_hand)
        measured = measure_offsets(pairs.cloud(targets.group, per_group), parameters, max_offset_arcsec)
        return pairs, with_borrowed(measured, lent)

    pairs, offsets = paired()
    if parameters.fit_systematic:
        without = replace(offsets, systematic_ew=0.0 * per_group, systematic_ns=0.0 * per_group)
        moved = aligned(pairs, without, targets.group[pairs.target])
        added = faint_errors(sky, moved, targets, parameters.radius_arcsec, density)
        if added is not None:
            sky.add_errors(added)
            pairs, offsets = paired()
    pairs = aligned(pairs, offsets, targets.group[pairs.target])
    blanks = blanks_of_groups(targets, sky, pairs, offsets, density, parameters)
    q = blanks.q(targets.group_healpix, parameters.min_q_measurements, parameters.default_q)
    candidates = candidates_of(targets, sky, pairs, density, q, parameters)
    candidates["catalog"] = catalog.name
    candidates["catalog_version"] = catalog.version
    candidates["freq_mhz"] = catalog.freq_mhz
    candidates["catalog_beam_arcsec"] = catalog.beam_arcsec
    # Of sources nobody asks how the images' matching went.
    summary = None
    if align:
        summary = summarized(targets, catalog, candidates, offsets, blanks, q, density)
        summary = summary.assign(radius_arcsec=parameters.radius_arcsec)[MATCH_SUMMARY.names]
    return _Matched(candidates, summary, offsets)


def _margin_arcsec(parameters: Matching) -> float:
    """How far from targets the catalog is read: whole cells, as those are that density and errors are pooled in."""
    _, coarsest = density_orders(parameters.density_radius_deg)
    return radius_of_order(min(coarsest, COARSEST_POOL))


def _rows_of(pairs: pd.DataFrame, targets: Targets, table: pa.Table) -> tuple[Indices, Indices] | None:
    """Targets and catalog rows of named pairs, those that are there; None without any."""
    if pairs.empty:
        return None
    names = pa.array(pairs["catalog_source_id"].unique(), pa.string())
    rows = np.flatnonzero(pc.is_in(table.column("catalog_source_id"), value_set=names).to_numpy())
    row = pd.Series(rows, index=table.column("catalog_source_id").take(pa.array(rows)).to_pandas())
    there = pairs[pairs["catalog_source_id"].isin(row.index) & pairs["source_id"].isin(targets.ids)]
    if there.empty:
        return None
    return pd.Index(targets.ids).get_indexer(there["source_id"]), row.loc[there["catalog_source_id"]].to_numpy()


def _sources_of(measurement_ids: pd.Series, associations: pd.DataFrame | None) -> pd.Series:
    """The source of each measurement; of several (a fork), the nearest."""
    if associations is None or associations.empty:
        return pd.Series(pd.NA, index=measurement_ids.index, dtype="str")
    ordered = associations.sort_values(["separation_arcsec", "source_id"], na_position="first")
    nearest = ordered.drop_duplicates("measurement_id").set_index("measurement_id")["source_id"]
    return nearest.reindex(measurement_ids).astype("str").reset_index(drop=True)


def _stack(tables: list[pd.DataFrame], empty: pd.DataFrame) -> pd.DataFrame:
    if not tables:
        return empty
    return pd.concat(tables, ignore_index=True).sort_values(["image", "catalog"], ignore_index=True)
