"""The flow: which stages there are, what each reads, which tables it makes, and what its code version covers.

Assets, the store and the reconciler all take these facts from here, so that lineage, storage and staleness cannot
disagree.
"""

from __future__ import annotations

from dataclasses import dataclass

from contimg_assets.association.fold import VERSION as FOLD_VERSION
from contimg_assets.config import Config
from contimg_assets.identity.versions import combine_versions
from contimg_assets.schemas import TableSchema
from contimg_assets.schemas.association import ALIGNMENT, ASSOCIATIONS, RELATIONS, STATE
from contimg_assets.schemas.corrections import CONSTANT_FLUXES, CORRECTIONS, KNOWN_FLUXES
from contimg_assets.schemas.detections import COVERAGE, DETECTIONS, IMAGES, MEASUREMENTS, REJECTED
from contimg_assets.schemas.matches import CATALOG_MATCHES, MATCH_SUMMARY


@dataclass(frozen=True)
class Stage:
    """One box of the flow that has a partition per epoch.

    Attributes
    ----------
    name : of the asset, the module and the folder in the store
    algorithm : raised by hand whenever the rule changes in a way that changes results
    reads : stages whose epochs it reads
    sections : configuration sections that it reads
    tables : that it stores, the main one first
    hidden : tables that do not count for its data version
    reads_catalogs : whether it reads the reference catalogues
    folds : whether an epoch's result depends on the epochs before it
    """

    name: str
    algorithm: str
    reads: tuple[str, ...]
    sections: tuple[str, ...]
    tables: tuple[TableSchema, ...]
    hidden: frozenset[str] = frozenset()
    reads_catalogs: bool = False
    folds: bool = False

    def code_version(self, config: Config) -> str:
        """Changes when the algorithm, a parameter that the stage reads, or the shape of its tables changes."""
        parameters = [getattr(config, section).version for section in self.sections]
        shapes = [str(schema.arrow) for schema in self.tables]
        return combine_versions(self.name, self.algorithm, *parameters, *shapes)


RAW_DETECTIONS = Stage("raw_detections", "1", (), ("ingest",), (DETECTIONS, IMAGES, REJECTED, COVERAGE))
MEASUREMENTS_STAGE = Stage("measurements", "1", ("raw_detections",), ("measurements",), (MEASUREMENTS,))
ASSOCIATED_SOURCES = Stage(
    "associated_sources",
    FOLD_VERSION,
    ("raw_detections", "measurements"),
    ("association",),
    (ASSOCIATIONS, RELATIONS, ALIGNMENT, STATE),
    hidden=frozenset({STATE.name}),
    folds=True,
)
CATALOG_MATCHES_STAGE = Stage(
    "catalog_matches",
    "3",
    ("raw_detections", "measurements", "associated_sources"),
    ("matching", "checks"),
    (CATALOG_MATCHES, MATCH_SUMMARY),
    reads_catalogs=True,
)
CORRECTIONS_STAGE = Stage(
    "corrections",
    "3",
    ("raw_detections", "measurements", "associated_sources", "catalog_matches"),
    ("corrections",),
    (CORRECTIONS, CONSTANT_FLUXES, KNOWN_FLUXES),
    hidden=frozenset({KNOWN_FLUXES.name}),
    folds=True,
)
PRODUCTS = Stage(
    "products",
    "3",
    ("raw_detections", "measurements", "associated_sources", "catalog_matches", "corrections"),
    ("matching", "corrections", "variability"),
    (),
    reads_catalogs=True,
)

STAGES = (
    RAW_DETECTIONS,
    MEASUREMENTS_STAGE,
    ASSOCIATED_SOURCES,
    CATALOG_MATCHES_STAGE,
    CORRECTIONS_STAGE,
    PRODUCTS,
)
STAGE = {stage.name: stage for stage in STAGES}
