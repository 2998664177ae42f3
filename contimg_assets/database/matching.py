"""The counterparts of sources in configured reference catalogs, in the form that writing takes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from contimg_assets.catalogs.store import ReferenceCatalog
from contimg_assets.config import Matching
from contimg_assets.crossmatch import VERSION
from contimg_assets.crossmatch.matches import company_arcsec, match_sources
from contimg_assets.errors import InputError
from contimg_assets.identity.versions import combine_versions
from contimg_assets.sky.pools import COARSEST_POOL


@dataclass(frozen=True)
class Locality:
    """Which other sources the matches of a source depend on: those in its cell of the sky, and those just around it.

    Attributes
    ----------
    order : of the HEALPix cells
    company_arcsec : takes the largest beam of any source [arcsec] and returns how far "just around" is [arcsec]
    """

    order: int
    company_arcsec: Callable[[float], float]


@dataclass(frozen=True)
class SourceMatching:
    """How sources find their counterparts.

    Attributes
    ----------
    match : takes sources (DataFrame: source_id, ra_deg, dec_deg, uncertainty_ew_arcsec, uncertainty_ns_arcsec,
        freq_mhz, beam_arcsec, flux_mjy; alpha and alpha_err where sources have several bands) and the pairs that people
        accepted (source_id, catalog, catalog_source_id), and returns candidates of schema SOURCE_MATCHES, those pairs
        among them, such as `contimg_assets.crossmatch.matches.match_sources` with its catalogs and parameters bound
    catalogs : DataFrame with name, freq_mhz, beam_arcsec, version
    version : changes when a catalog or a parameter changes; all sources are then matched again
    locality : what the matches of a source depend on; without it all sources are matched whenever any changes
    check : takes catalog, source there, right ascension and declination [deg] of ours, and raises InputError if the
        catalog has no such source; not called where missing
    """

    match: Callable[[pd.DataFrame, pd.DataFrame], pd.DataFrame]
    catalogs: pd.DataFrame
    version: str
    locality: Locality | None = None
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
            f"catalog {name!r} has no source {catalog_source_id!r}; "
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
    locality = Locality(COARSEST_POOL, lambda beam_arcsec: company_arcsec(beam_arcsec, catalogs, parameters))
    versions = sorted(f"{catalog.name}={catalog.version}" for catalog in catalogs)
    version = combine_versions(VERSION, parameters.version, *versions)
    return SourceMatching(match, table, version, locality, check)
