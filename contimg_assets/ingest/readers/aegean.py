"""Aegean component catalogs (Hancock, Trott & Hurley-Walker 2018): FITS, CSV, VOTable, `*_comp.*`.

Positions and their errors in degrees, axes (FWHM) in arcsec, fluxes in Jy and Jy/beam. Aegean writes -1 as the error of
a fit that failed. A component is named by its island and its number in the island.
"""

from __future__ import annotations

from contimg_assets.ingest.readers.base import FinderReader, Rows, Source, joined


def _finish(rows: Rows) -> None:
    if "island_id" in rows.texts and "_source" in rows.texts:
        rows.texts["component_id"] = joined(rows.texts["island_id"], rows.texts["_source"])
        rows.columns["component_id"] = "source"


READER = FinderReader(
    "aegean",
    (frozenset({"island", "source", "ra", "dec", "peak_flux"}),),
    (
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
    ),
    _finish,
)
