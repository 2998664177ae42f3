"""Tables of RACS as CASDA serves them: sources, and the Gaussians that they are made of (Hale et al. 2021).

Positions and axes as PyBDSF fitted them, in deg and arcsec, fluxes in mJy and mJy/beam; errors of fluxes with those of
the scale. A Gaussian's own flux counts in a table of Gaussians, and its source stands for its island.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from contimg_assets.ingest.readers.base import FinderReader, Source
from contimg_assets.reading.columns import bare_name

_COMMON = (
    Source("ra_deg", ("RA",), "deg"),
    Source("dec_deg", ("Dec",), "deg"),
    Source("ra_err_arcsec", ("E_RA",), "arcsec"),
    Source("dec_err_arcsec", ("E_Dec",), "arcsec"),
    Source("flux_peak_mjy_beam", ("Peak_flux",), "mJy / beam"),
    Source("flux_peak_err_mjy_beam", ("E_Peak_flux",), "mJy / beam"),
    Source("flux_int_mjy", ("Total_flux_Gaussian", "Total_flux_Source"), "mJy"),
    Source(
        "flux_int_err_mjy",
        (
            *("E_Total_flux_Gaussian", "E_Total_flux_Gaussian_PyBDSF"),
            *("E_Total_flux_Source", "E_Total_flux_Source_PyBDSF"),
        ),
        "mJy",
    ),
    Source("local_rms_mjy_beam", ("Noise",), "mJy / beam", missing=(0.0,)),
    Source("bmaj_arcsec", ("Maj", "maj_axis"), "arcsec"),
    Source("bmaj_err_arcsec", ("E_Maj", "e_maj_axis"), "arcsec"),
    Source("bmin_arcsec", ("Min", "min_axis"), "arcsec"),
    Source("bmin_err_arcsec", ("E_Min", "e_min_axis"), "arcsec"),
    Source("pa_deg", ("PA",), "deg"),
    Source("pa_err_deg", ("E_PA",), "deg"),
)

_GAUSSIANS = (
    Source("component_id", ("Gaussian_ID",), text=True),
    Source("island_id", ("Source_ID",), text=True),
    *_COMMON,
)
_SOURCES = (Source("component_id", ("Source_ID",), text=True), *_COMMON)


class CasdaReader(FinderReader):
    """RACS sources and Gaussians."""

    def sources(self, columns: Collection[str]) -> Sequence[Source]:
        gaussians = any(bare_name(name)[0].lower() == "gaussian_id" for name in columns)
        return _GAUSSIANS if gaussians else self.columns


READER = CasdaReader(
    "casda",
    (
        frozenset({"Gaussian_ID", "Total_flux_Gaussian", "RA", "Dec"}),
        frozenset({"Source_ID", "Total_flux_Source", "RA", "Dec"}),
    ),
    _SOURCES,
)
