"""PyBDSF catalogs (Mohan & Rafferty 2015): source lists (srl) and Gaussian lists (gaul); FITS, CSV, ASCII.

Positions, their errors and axes (FWHM) in degrees, fluxes in Jy and Jy/beam. A Gaussian list is known by its column
``Gaus_id`` and its rows are components; a source list has ``Source_id``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from contimg_assets.ingest.readers.base import NEEDS, Rows, Source

_COLUMNS = (
    Source("island_id", ("Isl_id",), text=True),
    Source("ra_deg", ("RA",), "deg"),
    Source("dec_deg", ("DEC",), "deg"),
    Source("ra_err_arcsec", ("E_RA",), "deg"),
    Source("dec_err_arcsec", ("E_DEC",), "deg"),
    Source("flux_peak_mjy_beam", ("Peak_flux",), "Jy / beam"),
    Source("flux_peak_err_mjy_beam", ("E_Peak_flux",), "Jy / beam"),
    Source("flux_int_mjy", ("Total_flux",), "Jy"),
    Source("flux_int_err_mjy", ("E_Total_flux",), "Jy"),
    Source("local_rms_mjy_beam", ("Isl_rms",), "Jy / beam", missing=(0.0,)),
    Source("bmaj_arcsec", ("Maj",), "deg"),
    Source("bmaj_err_arcsec", ("E_Maj",), "deg"),
    Source("bmin_arcsec", ("Min",), "deg"),
    Source("bmin_err_arcsec", ("E_Min",), "deg"),
    Source("pa_deg", ("PA",), "deg"),
    Source("pa_err_deg", ("E_PA",), "deg"),
    Source("spectral_index", ("Spec_Indx",)),
)


class PybdsfReader:
    """Source and Gaussian lists of PyBDSF."""

    name = "pybdsf"

    def recognizes(self, columns: Collection[str], file_name: str) -> bool:
        return {"Isl_id", "RA", "DEC", "Total_flux"} <= set(columns)

    def sources(self, columns: Collection[str]) -> Sequence[Source]:
        identifier = "Gaus_id" if "Gaus_id" in columns else "Source_id"
        return (Source("component_id", (identifier,), text=True), *_COLUMNS)

    def needs(self) -> Sequence[tuple[str, ...]]:
        return NEEDS

    def finish(self, rows: Rows) -> None:
        return


READER = PybdsfReader()
