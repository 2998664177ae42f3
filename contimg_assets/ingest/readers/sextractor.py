"""Catalogs of SExtractor (Bertin & Arnouts 1996): ASCII_HEAD, FITS_LDAC.

Positions in degrees. Its fluxes are in the units of the image's pixels, which the catalog does not know: which column
is the peak or the integrated flux, and its unit, must be declared, such as
``ingest.column_map: {flux_peak_mjy_beam: {column: FLUX_MAX, unit: Jy / beam}}``.
"""

from __future__ import annotations

from contimg_assets.ingest.readers.base import FinderReader, Source

READER = FinderReader(
    "sextractor",
    tuple(
        frozenset({"NUMBER", f"ALPHA{window}{frame}", f"DELTA{window}{frame}"})
        for window in ("", "WIN", "PSF", "PEAK")
        for frame in ("_J2000", "_SKY")
    ),
    (
        Source("component_id", ("NUMBER",), text=True),
        Source("ra_deg", ("ALPHAWIN_J2000", "ALPHA_J2000", "ALPHAPSF_J2000", "ALPHA_SKY", "ALPHAPEAK_J2000"), "deg"),
        Source("dec_deg", ("DELTAWIN_J2000", "DELTA_J2000", "DELTAPSF_J2000", "DELTA_SKY", "DELTAPEAK_J2000"), "deg"),
        Source("flags", ("FLAGS",)),
    ),
)
