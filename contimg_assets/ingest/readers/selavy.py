"""Selavy component catalogs (ASKAPsoft; Whiting & Humphreys 2012): fixed-width text, CSV, VOTable.

Positions in degrees, sizes and position errors in arcsec, fluxes in mJy and mJy/beam. Selavy writes -99 for a spectral
index that it did not fit; VOTables of the archive prefix the columns with ``col_``. Its catalog of islands is no
catalog of components, and is told apart by its columns.
"""

from __future__ import annotations

from contimg_assets.ingest.readers.base import FinderReader, Source


def _source(ours: str, name: str, unit: str = "", missing: tuple[float, ...] = (), text: bool = False) -> Source:
    return Source(ours, (name, f"col_{name}"), unit, missing, text=text)


ISLANDS = (frozenset({"island_id", "n_components", "ra_deg_cont"}), frozenset({"col_island_id", "col_n_components"}))
"""Columns that, together, only its catalog of islands has."""

READER = FinderReader(
    "selavy",
    (
        frozenset({"component_id", "ra_deg_cont", "dec_deg_cont"}),
        frozenset({"col_component_id", "col_ra_deg_cont", "col_dec_deg_cont"}),
    ),
    (
        _source("component_id", "component_id", text=True),
        _source("island_id", "island_id", text=True),
        _source("ra_deg", "ra_deg_cont", "deg"),
        _source("dec_deg", "dec_deg_cont", "deg"),
        _source("ra_err_arcsec", "ra_err", "arcsec"),
        _source("dec_err_arcsec", "dec_err", "arcsec"),
        _source("flux_peak_mjy_beam", "flux_peak", "mJy / beam"),
        _source("flux_peak_err_mjy_beam", "flux_peak_err", "mJy / beam"),
        _source("flux_int_mjy", "flux_int", "mJy"),
        _source("flux_int_err_mjy", "flux_int_err", "mJy"),
        _source("bmaj_arcsec", "maj_axis", "arcsec"),
        _source("bmaj_err_arcsec", "maj_axis_err", "arcsec"),
        _source("bmin_arcsec", "min_axis", "arcsec"),
        _source("bmin_err_arcsec", "min_axis_err", "arcsec"),
        _source("pa_deg", "pos_ang", "deg"),
        _source("pa_err_deg", "pos_ang_err", "deg"),
        _source("chi_squared_fit", "chi_squared_fit"),
        _source("spectral_index", "spectral_index", missing=(-99.0,)),
        _source("local_rms_mjy_beam", "rms_image", "mJy / beam", missing=(0.0,)),
        _source("has_siblings", "has_siblings", text=True),
        _source("flags", "flag_c4"),
    ),
    words=("Selavy", "ASKAPsoft"),
)
