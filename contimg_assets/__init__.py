"""From the catalogs of detections that a source finder makes of each image to radio sources with light curves.

>>> import contimg_assets as ca

As a set of Dagster assets (`contimg_assets.definitions`, command ``contimg``) it keeps a products database true as
epochs arrive, change and vanish. Its science is plain functions on tables, which scripts and notebooks call by the
names below, in about this order: `remove_duplicates`, `associate_measurements`, `match_measurements`,
`calibration_matches`, `calculate_positional_offsets`, `calculate_flux_scale`, `variability_table`.

Tables may be pandas DataFrames, astropy Tables and QTables, or Arrow tables; positions SkyCoords, angles Angles or
Quantities. Every column of ours carries its unit in its name: a plain number in a column ``ra_deg`` is in degrees,
ICRS; a column of astropy with a unit is converted. Results are DataFrames in the same columns; `with_units` makes a
QTable of one. What a user can cause and cure is raised as a `ContimgError`, in one sentence that says what helps.

Names are loaded when they are first used, so that importing this costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contimg_assets.association.batch import AssociationResult, associate_measurements
    from contimg_assets.association.fold import FoldResult, fold
    from contimg_assets.association.state import FoldState
    from contimg_assets.calibration.apply import apply_corrections
    from contimg_assets.calibration.flux_scale import FluxScale, calculate_flux_scale
    from contimg_assets.calibration.measure import measure_corrections
    from contimg_assets.calibration.positions import PositionOffset, calculate_positional_offsets
    from contimg_assets.calibration.selection import calibration_matches, matched_fluxes
    from contimg_assets.catalogs.store import ReferenceCatalog, query_sources
    from contimg_assets.config.config import Config
    from contimg_assets.config.load import load_config
    from contimg_assets.crossmatch.matches import match_measurements
    from contimg_assets.database.products_database import ProductsDatabase
    from contimg_assets.errors import ContimgError
    from contimg_assets.ingest.condon import CondonErrors, condon_errors
    from contimg_assets.ingest.measurements import remove_duplicates
    from contimg_assets.photometry.images import forced_photometry
    from contimg_assets.schemas.tables import with_units
    from contimg_assets.simulate.parameters import SurveyParameters
    from contimg_assets.simulate.survey import SurveyTruth, simulate_survey
    from contimg_assets.sky.pairs import cross_match_sources
    from contimg_assets.variability.statistics import variability_table

    __version__: str

GROUPS: dict[str, dict[str, str]] = {
    "Measurements of one epoch": {
        "condon_errors": "ingest.condon",
        "remove_duplicates": "ingest.measurements",
    },
    "Sources across epochs": {
        "associate_measurements": "association.batch",
        "fold": "association.fold",
    },
    "Reference catalogs": {
        "ReferenceCatalog": "catalogs.store",
        "query_sources": "catalogs.store",
        "cross_match_sources": "sky.pairs",
        "match_measurements": "crossmatch.matches",
    },
    "Position offsets and flux scales": {
        "calibration_matches": "calibration.selection",
        "matched_fluxes": "calibration.selection",
        "calculate_positional_offsets": "calibration.positions",
        "calculate_flux_scale": "calibration.flux_scale",
        "measure_corrections": "calibration.measure",
        "apply_corrections": "calibration.apply",
    },
    "Light curves": {
        "variability_table": "variability.statistics",
    },
    "Fluxes from images": {
        "forced_photometry": "photometry.images",
    },
    "Products of a project": {
        "ProductsDatabase": "database.products_database",
        "load_config": "config.load",
        "Config": "config.config",
    },
    "Skies with known truth": {
        "simulate_survey": "simulate.survey",
        "SurveyParameters": "simulate.parameters",
    },
    "Units and errors": {
        "with_units": "schemas.tables",
        "ContimgError": "errors",
    },
    "Results": {
        "AssociationResult": "association.batch",
        "CondonErrors": "ingest.condon",
        "FluxScale": "calibration.flux_scale",
        "FoldResult": "association.fold",
        "FoldState": "association.state",
        "PositionOffset": "calibration.positions",
        "SurveyTruth": "simulate.survey",
    },
}
"""The names by what they are for, each with the module of this package that it lives in: the order of the API page."""

_HOMES = {name: home for group in GROUPS.values() for name, home in group.items()}

__all__ = [  # noqa: RUF022  as in GROUPS
    "condon_errors",
    "remove_duplicates",
    "associate_measurements",
    "fold",
    "ReferenceCatalog",
    "query_sources",
    "cross_match_sources",
    "match_measurements",
    "calibration_matches",
    "matched_fluxes",
    "calculate_positional_offsets",
    "calculate_flux_scale",
    "measure_corrections",
    "apply_corrections",
    "variability_table",
    "forced_photometry",
    "ProductsDatabase",
    "load_config",
    "Config",
    "simulate_survey",
    "SurveyParameters",
    "with_units",
    "ContimgError",
    "AssociationResult",
    "CondonErrors",
    "FluxScale",
    "FoldResult",
    "FoldState",
    "PositionOffset",
    "SurveyTruth",
    "__version__",
]


if not TYPE_CHECKING:  # type checkers take a module with this function to have any name

    def __getattr__(name: str) -> Any:
        """A name of the face from its home, or the version, when first asked for."""
        if name == "__version__":
            value: Any = _version()
        elif name in _HOMES:
            value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)


def _version() -> str:
    """The version that was installed; written once, in pyproject.toml."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("contimg-assets")
    except PackageNotFoundError as error:
        raise AttributeError("contimg_assets has no version here, as it is not installed: pip install it") from error
