"""Tables of VLASS components as CIRADA publishes them (Gordon et al. 2021), and as VizieR has them.

PyBDSF's names with a survey's units: positions and their errors in deg, axes in arcsec, fluxes in mJy and mJy/beam.
Its flags say which rows are duplicates of others or sidelobes, its code which are islands that nothing could be fitted
to: no errors, no axes, a flux density of zero. Those are set aside, here and in references alike.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contimg_assets.ingest.readers.base import FinderReader, Rows, Source, is_one_of, joined, unflagged

USABLE: Mapping[str, frozenset[float]] = {"Duplicate_flag": frozenset({0, 1}), "Quality_flag": frozenset({0, 4})}
"""Flags -> values of rows that are components of their own, and of the sky."""

USABLE_AT_VIZIER: Mapping[str, frozenset[float]] = {
    "DupFlag": USABLE["Duplicate_flag"],
    "QualFlag": USABLE["Quality_flag"],
}

EMPTY = frozenset({"E"})
"""Values of PyBDSF's `S_Code` (`SCode` at VizieR) where there is an island and no Gaussian: every fifth row."""

NOTHING_FITTED = "PyBDSF could fit no Gaussian there (S_Code E)"

_FLAGGED = {
    "_duplicate": ("Duplicate_flag", "the survey flags the row as a duplicate of another one"),
    "_quality": ("Quality_flag", "the survey flags the row as a likely sidelobe or a bad fit"),
}

BY_FLAGS = frozenset({NOTHING_FITTED, *(reason for _, reason in _FLAGGED.values())})
"""Why rows are set aside that nothing is wrong with: the survey says so of more than every third."""

_SOURCES = (
    Source("component_id", ("Component_name", "CompName"), text=True),
    Source("island_id", ("Isl_id", "IslId"), text=True),
    Source("ra_deg", ("RA", "RAJ2000"), "deg"),
    Source("dec_deg", ("DEC", "DEJ2000"), "deg"),
    Source("ra_err_arcsec", ("E_RA", "e_RAJ2000"), "deg"),
    Source("dec_err_arcsec", ("E_DEC", "e_DEJ2000"), "deg"),
    Source("flux_peak_mjy_beam", ("Peak_flux", "Fpeak"), "mJy / beam"),
    Source("flux_peak_err_mjy_beam", ("E_Peak_flux", "e_Fpeak"), "mJy / beam"),
    Source("flux_int_mjy", ("Total_flux", "Ftot"), "mJy"),
    Source("flux_int_err_mjy", ("E_Total_flux", "e_Ftot"), "mJy"),
    Source("local_rms_mjy_beam", ("Isl_rms", "Islrms"), "mJy / beam", missing=(0.0,)),
    Source("bmaj_arcsec", ("Maj",), "arcsec"),
    Source("bmaj_err_arcsec", ("E_Maj",), "arcsec"),
    Source("bmin_arcsec", ("Min",), "arcsec"),
    Source("bmin_err_arcsec", ("E_Min",), "arcsec"),
    Source("pa_deg", ("PA",), "deg"),
    Source("pa_err_deg", ("E_PA",), "deg"),
    Source("_duplicate", ("Duplicate_flag", "DupFlag")),
    Source("_quality", ("Quality_flag", "QualFlag")),
    Source("_code", ("S_Code", "SCode"), text=True),
)


def _finish(rows: Rows) -> None:
    """Set flagged rows aside."""
    for ours, (flag, reason) in _FLAGGED.items():
        if ours in rows.numbers:
            rows.failed.append((~unflagged(rows.numbers[ours], USABLE[flag]), ours, reason))
    if "_code" in rows.texts:
        rows.failed.append((is_one_of(rows.texts["_code"], EMPTY), "flux_int_mjy", NOTHING_FITTED))
    _name_apart(rows)


def _name_apart(rows: Rows) -> None:
    """Names of flagged rows with their line: a duplicate is called as the row that it is a duplicate of."""
    flagged = np.zeros(len(rows), bool)
    for rejected, _, _ in rows.failed:
        flagged |= rejected
    names = rows.texts.get("component_id")
    if names is not None and flagged.any():
        lines = pa.array(rows.delivered.lines).cast(pa.string())
        rows.texts["component_id"] = pc.if_else(pa.array(flagged), joined(names, lines, separator=" of row "), names)


READER = FinderReader(
    "cirada",
    (
        frozenset({"Component_name", "Duplicate_flag", "Quality_flag", "RA", "DEC"}),
        frozenset({"CompName", "DupFlag", "QualFlag", "RAJ2000", "DEJ2000"}),
    ),
    _SOURCES,
    _finish,
)
