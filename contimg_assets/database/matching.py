"""The counterparts of sources in configured reference catalogs, in the form that writing takes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from contimg_assets.catalogs.store import ReferenceCatalog
from contimg_assets.config import Matching
from contimg_assets.crossmatch.matches import match_sources
from contimg_assets.errors import InputError
from contimg_assets.identity.versions import combine_versions


@dataclass(frozen=True)
class SourceMatching:
    """How sources find their counterparts.

    Attributes
    ----------
    match : takes all sources (DataFrame: source_id, ra_deg, dec_deg, uncertainty_ew_arcsec, uncertainty_ns_arcsec,
        freq_mhz, beam_arcsec, flux_mjy; alpha and alpha_err where sources have several bands) and the pairs that people
        accepted (source_id, catalog, catalog_source_id), and returns candidates of schema SOURCE_MATCHES, those pairs
        among them, such as `contimg_assets.crossmatch.matches.match_sources` with its catalogs and parameters bound
    catalogs : DataFrame with name, freq_mhz, beam_arcsec, version
    version : changes when a catalog or a parameter changes; all sources are then matched again
    check : takes catalog, source there, right ascension and declination [deg] of ours, and raises InputError if the
        catalog has no such source; not called where missing
    """

    match: Callable[[pd.DataFrame, pd.DataFrame], pd.DataFrame]
    catalogs: pd.DataFrame
    version: str
    check: Callable[[str, str, float, float], None] | None = None


def source_matching(catalogs: Sequence[ReferenceCatalog], parameters: Matching) -> SourceMatching | None:
    """`match_sources` with its catalogs and parameters bound; None without catalogs."""
    if not catalogs:
        return None

    def match(sources: pd.DataFrame, accepted: pd.DataFrame) -> pd.DataFrame:
        return match_sources(sources, catalogs, parameters, accepted)

    by_name = {catalog.name: catalog for catalog in catalogs}

    def check(name: str, catalog_source_id: str, ra_deg: float, dec_deg: float) -> None:
        catalog = by_name.get(name)
        if catalog is None or catalog.has(catalog_source_id):
            return
        near = catalog.nearest(ra_deg, dec_deg)
        listed = ", ".join(
            f"{row.catalog_source_id!r} at {row.separation_arcsec:.1f} arcsec" for row in near.itertuples()
        )
        raise InputError(
            f"catalogue {name!r} has no source {catalog_source_id!r}; "
            + (f"name one of those nearest to the source: {listed}" if listed else "it has none near the source")
        )

    table = pd.DataFrame(
        {
            "name": [catalog.name for catalog in catalogs],
            "freq_mhz": [catalog.freq_mhz for catalog in catalogs],
            "beam_arcsec": [catalog.beam_arcsec for catalog in catalogs],
            "version": [catalog.version for catalog in catalogs],
        }
    )
    versions = sorted(f"{catalog.name}={catalog.version}" for catalog in catalogs)
    return SourceMatching(match, table, combine_versions(parameters.version, *versions), check)
