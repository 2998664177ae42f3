"""Aegean component catalogs (Hancock, Trott & Hurley-Walker 2018): FITS, CSV, VOTable, `*_comp.*`.

Positions and their errors in degrees, axes (FWHM) in arcsec, fluxes in Jy and Jy/beam. Aegean writes -1 as the error of
a fit that failed. A component is named by its island and its number in the island.

Rows with the flag of prioritized fitting (64) were measured at a position that was given: they are forced. Columns may
have a prefix (``--colprefix``), or the number that TOPCAT puts behind the names of tables it joins (``ra_1``); those of
positions, peaks and axes may be called as people give them to AeRes (``--racol RAJ2000 --peakcol S``).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import numpy as np

from contimg_assets.ingest.readers.base import NEEDS, Rows, Source, joined, wrote

FLAG_PRIORIZED = 64

ISLANDS = (frozenset({"island", "components", "ra", "dec", "max_angular_size"}),)
"""Columns that, together, only its catalog of islands has."""

_SIGNATURE = frozenset({"island", "source", "ra", "dec", "peak_flux"})
# What is left of it where people rename what other programs read.
_RENAMED = frozenset({"island", "source", "background", "local_rms"})
_OTHERWISE = {
    "ra": ("RAJ2000", "RA"),
    "dec": ("DEJ2000", "DEC"),
    "peak_flux": ("S", "Speak", "Peak_flux"),
    "int_flux": ("Sint", "Total_flux"),
    "a": ("bmaj", "maj"),
    "b": ("bmin", "min"),
    "pa": ("bpa",),
}
_SOURCES = (
    Source("island_id", ("island",), text=True),
    Source("_source", ("source",), text=True),
    Source("ra_deg", ("ra",), "deg"),
    Source("dec_deg", ("dec",), "deg"),
    Source("ra_err_arcsec", ("err_ra",), "deg", missing_if_negative=True),
    Source("dec_err_arcsec", ("err_dec",), "deg", missing_if_negative=True),
    Source("flux_peak_mjy_beam", ("peak_flux",), "Jy / beam"),
    Source("flux_peak_err_mjy_beam", ("err_peak_flux",), "Jy / beam", missing_if_negative=True),
    Source("flux_int_mjy", ("int_flux",), "Jy"),
    Source("flux_int_err_mjy", ("err_int_flux",), "Jy", missing_if_negative=True),
    Source("local_rms_mjy_beam", ("local_rms",), "Jy / beam", missing=(0.0,)),
    Source("bmaj_arcsec", ("a",), "arcsec"),
    Source("bmaj_err_arcsec", ("err_a",), "arcsec", missing_if_negative=True),
    Source("bmin_arcsec", ("b",), "arcsec"),
    Source("bmin_err_arcsec", ("err_b",), "arcsec", missing_if_negative=True),
    Source("pa_deg", ("pa",), "deg"),
    Source("pa_err_deg", ("err_pa",), "deg", missing_if_negative=True),
    Source("spectral_index", ("alpha",)),
    Source("flags", ("flags",)),
)


class AegeanReader:
    """Components of Aegean, blind and prioritized."""

    name = "aegean"
    signature = (_SIGNATURE, _RENAMED)

    def recognizes(self, columns: Collection[str], file_name: str) -> bool:
        return _affixes(columns) is not None

    def sources(self, columns: Collection[str]) -> Sequence[Source]:
        before, behind = _affixes(columns) or ("", "")
        if {before + name + behind for name in _SIGNATURE} <= set(columns):
            return _renamed(lambda name: (before + name + behind,))
        if {before + name + behind for name in _RENAMED} <= set(columns):
            return _renamed(lambda name: (before + name + behind, *_OTHERWISE.get(name, ())))
        return _SOURCES

    def needs(self) -> Sequence[tuple[str, ...]]:
        return NEEDS

    def wrote(self, comments: Sequence[str]) -> bool:
        return wrote(comments, ("Aegean version",))

    def finish(self, rows: Rows) -> None:
        if "island_id" in rows.texts and "_source" in rows.texts:
            rows.texts["component_id"] = joined(rows.texts["island_id"], rows.texts["_source"])
            rows.columns["component_id"] = rows.columns["_source"]
        flags = rows.numbers.get("flags")
        if flags is not None:
            sound = np.isfinite(flags) & (np.abs(flags) < 2**31)
            forced = (np.where(sound, flags, 0).astype(np.int64) & FLAG_PRIORIZED) != 0
            rows.forced = forced if forced.any() else False


def _renamed(names_of: Callable[[str], tuple[str, ...]]) -> tuple[Source, ...]:
    """The sources with other names for each of Aegean's own."""
    return tuple(replace(one, names=tuple(new for name in one.names for new in names_of(name))) for one in _SOURCES)


def _affixes(columns: Collection[str]) -> tuple[str, str] | None:
    """What stands before and behind all names, mostly nothing; None where the columns are not Aegean's."""
    present = set(columns)
    starts = [(name.removesuffix("island"), "") for name in columns if name.endswith("_island")]
    ends = [("", name.removeprefix("island")) for name in columns if name.startswith("island_")]
    choices = [("", ""), *starts, *ends]
    for signature in (_SIGNATURE, _RENAMED):
        for before, behind in choices:
            if {before + name + behind for name in signature} <= present:
                return before, behind
    return None


READER = AegeanReader()
