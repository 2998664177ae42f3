"""DSA-110 continuum products: forced photometry, verification and seeded-offset tables (CSV; Jy and Jy/beam).

- forced photometry (``measured_flux_jy``) and verification (``dsa_peak_jyb``): the flux at the position of a catalog
  source, which is the position given. They are forced measurements: their position was not measured.
- seeded offsets (``dsa_ra_deg``): the peak fitted near a catalog source, hence a detection with its own position;
  named after the catalog's position.

All of them measure the peak. These tables take their sources as unresolved in a beam of about 59 by 33 arcsec, so the
integrated flux density is the peak's number. Upper limits are measurements of low signal to noise and carry flag 1.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contimg_assets.ingest.readers.base import NEEDS, Rows, Source, copy_where_missing, joined

FLAG_UPPER_LIMIT = 1

_SEEDED = (
    Source("_catalog_ra", ("catalog_ra_deg",), text=True),
    Source("_catalog_dec", ("catalog_dec_deg",), text=True),
    Source("component_id", ("source_name",), text=True),
    Source("ra_deg", ("dsa_ra_deg",), "deg"),
    Source("dec_deg", ("dsa_dec_deg",), "deg"),
    Source("ra_err_arcsec", ("ra_err_arcsec",), "arcsec"),
    Source("dec_err_arcsec", ("dec_err_arcsec",), "arcsec"),
    Source("flux_peak_mjy_beam", ("peak_flux_jy_beam",), "Jy / beam"),
    Source("flux_peak_err_mjy_beam", ("peak_flux_err_jy_beam",), "Jy / beam"),
    Source("local_rms_mjy_beam", ("local_rms_jy_beam",), "Jy / beam", missing=(0.0,)),
    Source("snr", ("snr",)),
)
_FORCED = (
    Source("component_id", ("source_name",), text=True),
    Source("ra_deg", ("ra_deg",), "deg"),
    Source("dec_deg", ("dec_deg",), "deg"),
    Source("flux_peak_mjy_beam", ("measured_flux_jy", "dsa_peak_jyb"), "Jy / beam"),
    Source("flux_peak_err_mjy_beam", ("flux_err_jy", "dsa_peak_err_jyb"), "Jy / beam"),
    Source("local_rms_mjy_beam", ("local_rms_jy_beam", "local_rms_jyb"), "Jy / beam", missing=(0.0,)),
    Source("snr", ("snr",)),
    Source("_upper_limit", ("is_upper_limit",), text=True),
)


class Dsa110Reader:
    """The tables that DSA-110's continuum pipeline writes."""

    name = "dsa110"
    signature: tuple[frozenset[str], ...] = ()

    def recognizes(self, columns: Collection[str], file_name: str) -> bool:
        present = set(columns)
        forced = {"ra_deg", "dec_deg"} <= present and bool(present & {"measured_flux_jy", "dsa_peak_jyb"})
        return forced or {"dsa_ra_deg", "dsa_dec_deg", "peak_flux_jy_beam"} <= present

    def sources(self, columns: Collection[str]) -> Sequence[Source]:
        return _SEEDED if "dsa_ra_deg" in columns else _FORCED

    def wrote(self, comments: Sequence[str]) -> bool:
        return False

    def needs(self) -> Sequence[tuple[str, ...]]:
        return NEEDS

    def finish(self, rows: Rows) -> None:
        rows.forced = rows.columns.get("ra_deg") == "ra_deg"
        copy_where_missing(rows, "flux_int_mjy", "flux_peak_mjy_beam")
        copy_where_missing(rows, "flux_int_err_mjy", "flux_peak_err_mjy_beam")
        if "component_id" not in rows.texts and {"_catalog_ra", "_catalog_dec"} <= set(rows.texts):
            rows.texts["component_id"] = joined(rows.texts["_catalog_ra"], rows.texts["_catalog_dec"])
            rows.columns["component_id"] = "catalog_ra_deg"
        if "_upper_limit" in rows.texts:
            limit = pc.is_in(pc.utf8_lower(rows.texts["_upper_limit"]), pa.array(["true", "1", "yes"]))
            rows.numbers["flags"] = np.where(np.asarray(limit), float(FLAG_UPPER_LIMIT), 0.0)


READER = Dsa110Reader()
