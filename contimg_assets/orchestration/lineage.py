"""Which column comes from which: what the Dagster UI draws as column lineage.

A column that a stage passes on keeps its name, so most of it follows from the schemas; what is computed from columns of
other names is written out here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import dagster as dg

from contimg_assets.config import Config
from contimg_assets.pipeline.stages import (
    ASSOCIATED_SOURCES,
    CATALOG_MATCHES_STAGE,
    CORRECTIONS_STAGE,
    FORCED_STAGE,
    MEASUREMENTS_STAGE,
    RAW_DETECTIONS,
    STAGE,
)
from contimg_assets.schemas.catalogs import REFERENCE

COLUMN_LINEAGE = "dagster/column_lineage"

_RAW, _MEASURED = RAW_DETECTIONS.name, MEASUREMENTS_STAGE.name
_ASSOCIATED, _MATCHED, _CORRECTIONS = ASSOCIATED_SOURCES.name, CATALOG_MATCHES_STAGE.name, CORRECTIONS_STAGE.name

Sources = Mapping[str, Iterable[tuple[str, str]]]


def _of(asset: str, *columns: str) -> list[tuple[str, str]]:
    return [(asset, column) for column in columns]


_POSITION = _of(_MEASURED, "ra_deg", "dec_deg")
_ERRORS = _of(_MEASURED, "uncertainty_ew_arcsec", "uncertainty_ns_arcsec")
_OFFSETS = _of(_MATCHED, "dra_arcsec", "ddec_arcsec", "probability", "mutual", "blend")
_RATIOS = _of(_MATCHED, "flux_ratio", "expected_flux_mjy", "expected_flux_err_mjy", "probability", "mutual", "blend")
_SHAPE = _of(_RAW, "bmaj_arcsec", "bmin_arcsec", "pa_deg", "snr")
# The pixels have no columns: what else a forced flux depends on.
_FORCED = [
    *_of("products/sources", "first_ra_deg", "first_dec_deg"),
    *_of("products/measurements", "ra_deg", "dec_deg"),
    *_of("products/corrections", "dra_applied_arcsec", "ddec_applied_arcsec"),
]

_COMPUTED: dict[str, Sources] = {
    _MEASURED: {
        "mjd": _of(_RAW, "image"),
        "compactness": _of(_RAW, "flux_int_mjy", "flux_peak_mjy_beam"),
        "flux_int_isl_ratio": _of(_RAW, "flux_int_mjy", "island_id"),
        "flux_peak_isl_ratio": _of(_RAW, "flux_peak_mjy_beam", "island_id"),
        "uncertainty_ew_arcsec": [*_of(_RAW, "ra_err_arcsec"), *_SHAPE],
        "uncertainty_ns_arcsec": [*_of(_RAW, "dec_err_arcsec"), *_SHAPE],
        "weight_ew_per_arcsec2": [*_of(_RAW, "ra_err_arcsec"), *_SHAPE],
        "weight_ns_per_arcsec2": [*_of(_RAW, "dec_err_arcsec"), *_SHAPE],
        "healpix": _of(_RAW, "ra_deg", "dec_deg"),
        "duplicate_of": _of(_RAW, "measurement_id", "image", "ra_deg", "dec_deg"),
        "duplicate_separation_arcsec": _of(_RAW, "ra_deg", "dec_deg"),
    },
    _ASSOCIATED: {
        "source_id": _of(_MEASURED, "measurement_id"),
        "separation_arcsec": _POSITION,
        "de_ruiter": [*_POSITION, *_ERRORS],
    },
    _MATCHED: {
        "separation_arcsec": _POSITION,
        "dra_arcsec": _POSITION,
        "ddec_arcsec": _POSITION,
        "de_ruiter": [*_POSITION, *_ERRORS],
        "probability": [*_POSITION, *_ERRORS],
        "flux_ratio": _of(_MEASURED, "flux_int_mjy", "flux_peak_mjy_beam"),
    },
    _CORRECTIONS: {
        "dra_arcsec": _OFFSETS,
        "ddec_arcsec": _OFFSETS,
        "dra_applied_arcsec": _OFFSETS,
        "ddec_applied_arcsec": _OFFSETS,
        "flux_scale": _RATIOS,
        "flux_mult": _RATIOS,
        "flux_add_mjy": _RATIOS,
    },
    FORCED_STAGE.name: {
        "image": _of("products/images", "image", "path"),
        "position": _of("products/sources", "id"),
        "ra_deg": _of("products/sources", "first_ra_deg"),
        "dec_deg": _of("products/sources", "first_dec_deg"),
        "flux_peak_mjy_beam": _FORCED,
        "flux_peak_err_mjy_beam": _FORCED,
        "n_neighbors": _FORCED,
    },
}
_FROM_REFERENCE = {
    "catalog_source_id": ("catalog_source_id",),
    "catalog_ra_deg": ("ra_deg",),
    "catalog_dec_deg": ("dec_deg",),
    "catalog_flux_mjy": ("flux_mjy",),
    "catalog_flux_err_mjy": ("flux_err_mjy",),
    "expected_flux_mjy": ("flux_mjy", "spectral_index"),
    "separation_arcsec": ("ra_deg", "dec_deg"),
    "dra_arcsec": ("ra_deg",),
    "ddec_arcsec": ("dec_deg",),
    "flux_ratio": ("flux_mjy", "spectral_index"),
}
_FLUXES = [
    *_of(_MEASURED, "flux_peak_mjy_beam", "flux_int_mjy"),
    *_of(_CORRECTIONS, "flux_mult", "flux_add_mjy"),
    *_of(_ASSOCIATED, "source_id"),
]
_PLACES = [
    *_POSITION,
    *_ERRORS,
    *_of(_CORRECTIONS, "dra_applied_arcsec", "ddec_applied_arcsec"),
    *_of(_ASSOCIATED, "source_id"),
]
_COMPUTED_IN_PRODUCTS: dict[str, Sources] = {
    "measurements": {
        "ra_corr_deg": _PLACES[:-1],
        "dec_corr_deg": _PLACES[:-1],
        "flux_peak_corr_mjy_beam": _FLUXES[:-1],
        "flux_int_corr_mjy": _FLUXES[:-1],
    },
    "sources": {
        "id": _of(_ASSOCIATED, "source_id"),
        "ra_deg": _PLACES,
        "dec_deg": _PLACES,
        "flux_peak_mjy_beam": _FLUXES,
        "flux_int_mjy": _FLUXES,
        "is_new": _of(_ASSOCIATED, "source_id"),
    },
    "variability": dict.fromkeys(("v_peak", "eta_peak", "vs_max_peak", "v_int", "eta_int", "vs_max_int"), _FLUXES),
    "cross_matches": {"source_id": _of(_ASSOCIATED, "source_id"), "separation_arcsec": _PLACES},
}


def stage_lineage(stage: str, config: Config) -> dg.TableColumnLineage:
    """Lineage of a stage's main table."""
    computed = {column: list(sources) for column, sources in _COMPUTED.get(stage, {}).items()}
    names = STAGE[stage].tables[0].names
    if stage == _MATCHED:
        for column, origins in _FROM_REFERENCE.items():
            for catalog in config.catalogs:
                computed.setdefault(column, []).extend((f"reference/{catalog}", origin) for origin in origins)
        assert all(origin in REFERENCE.names for origins in _FROM_REFERENCE.values() for origin in origins)
    return _lineage(names, STAGE[stage].reads, computed)


def product_lineage(table: str, columns: Iterable[str], stages: Iterable[str]) -> dg.TableColumnLineage:
    """Lineage of a table of the products database."""
    return _lineage(columns, stages, _COMPUTED_IN_PRODUCTS.get(table, {}))


def _lineage(columns: Iterable[str], upstream: Iterable[str], computed: Sources) -> dg.TableColumnLineage:
    # The last stage that has a column of this name is the one that it was passed on from.
    nearest = [stage for stage in list(upstream)[::-1] if STAGE[stage].tables]
    deps: dict[str, list[dg.TableColumnDep]] = {}
    for column in columns:
        passed_on = next(([(stage, column)] for stage in nearest if column in STAGE[stage].tables[0].names), [])
        found = list(computed.get(column, passed_on))
        if found:
            deps[column] = [
                dg.TableColumnDep(dg.AssetKey(asset.split("/")), origin) for asset, origin in dict.fromkeys(found)
            ]
    return dg.TableColumnLineage(deps)
