"""The table of stages: what each reads, which tables it makes, where they are kept, and what its code version covers.

Assets, the store, the order of work and the judgment of what is stale all take these facts from here, so that lineage,
storage and staleness cannot disagree. A new stage is one entry of `STAGES`, one module in `orchestration/assets` and
one folder of science.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from contimg_assets.association.fold import VERSION as FOLD_VERSION
from contimg_assets.association.state import FoldState
from contimg_assets.config import Config
from contimg_assets.crossmatch import VERSION as MATCHING_VERSION
from contimg_assets.identity.versions import combine_versions, version_of_table
from contimg_assets.schemas import TableSchema
from contimg_assets.schemas.association import ALIGNMENT, ASSOCIATIONS, MERGES, RELATIONS, STATE
from contimg_assets.schemas.catalogs import REFERENCE
from contimg_assets.schemas.corrections import CONSTANT_FLUXES, CORRECTIONS, EPOCH_SCALES, KNOWN_FLUXES, SCALE_PULLS
from contimg_assets.schemas.detections import (
    COVERAGE,
    DETECTIONS,
    IMAGES,
    MEASUREMENTS,
    OTHER_DETECTIONS,
    OTHER_IMAGES,
    OTHER_MEASUREMENTS,
    REJECTED,
)
from contimg_assets.schemas.error_model import ERROR_MEANS, IMAGE_CONFIGURATIONS
from contimg_assets.schemas.forced import FORCED_CONSTANTS, FORCED_FLUXES, FORCED_IMAGES, IMAGE_NOISE
from contimg_assets.schemas.matches import CATALOG_MATCHES, MATCH_SUMMARY
from contimg_assets.schemas.parts import parts_of
from contimg_assets.variability.error_state import BAND_TABLES, STATE_TABLES, ErrorState


@dataclass(frozen=True)
class Stage:
    """One box of the flow.

    Attributes
    ----------
    name : of the asset, its module, and its folder in the store
    algorithm : raised by hand whenever the rule changes in a way that changes results
    reads : stages that it reads
    sections : configuration sections that it reads
    tables : that it makes, the main one first
    hidden : tables that do not count for its data version
    folds : whether an epoch's result depends on the epochs before it
    reads_catalogs : whether it reads the reference catalogs
    reads_scales : whether it reads the scales between epochs, where the configuration applies them
    reads_folds : whether it reads what the folds of other epochs say of its sources: merged ones, copied rows
    reads_images : whether it reads the FITS images, and the sources of all epochs that lie in them
    of_images : whether it has no part in an epoch without FITS images
    per : whether it has a result for every epoch, or one for the whole survey
    kept_in : whether its tables are Parquet files of the store or tables of the products database
    """

    name: str
    algorithm: str
    reads: tuple[str, ...]
    sections: tuple[str, ...]
    tables: tuple[TableSchema, ...]
    hidden: frozenset[str] = frozenset()
    folds: bool = False
    reads_catalogs: bool = False
    reads_scales: bool = False
    reads_folds: bool = False
    reads_images: bool = False
    of_images: bool = False
    per: Literal["epoch", "survey"] = "epoch"
    kept_in: Literal["store", "database"] = "store"

    def code_version(self, config: Config) -> str:
        """Changes when the algorithm, a parameter that the stage reads, or the shape of its tables changes."""
        sections = (getattr(config, section) for section in self.sections)
        parameters = [section.version for section in sections if section.is_used]
        # The shape of a table that is not there says nothing; of one that is, the algorithm's version tells.
        shapes = [str(schema.arrow) for schema in self.tables if not schema.optional]
        # Results of stages of the survey were versioned without the name before they stood in this table.
        name = [self.name] if self.per == "epoch" else []
        return combine_versions(*name, self.algorithm, *parameters, *shapes)


RAW_DETECTIONS = Stage(
    "raw_detections",
    "9",
    (),
    ("ingest",),
    (DETECTIONS, IMAGES, REJECTED, COVERAGE, OTHER_DETECTIONS, OTHER_IMAGES),
)
MEASUREMENTS_STAGE = Stage(
    "measurements", "5", ("raw_detections",), ("measurements", "bands"), (MEASUREMENTS, OTHER_MEASUREMENTS)
)
ASSOCIATED_SOURCES = Stage(
    "associated_sources",
    FOLD_VERSION,
    ("raw_detections", "measurements"),
    ("association", "bands"),
    (ASSOCIATIONS, RELATIONS, MERGES, ALIGNMENT, parts_of(STATE)),
    hidden=frozenset({parts_of(STATE).name}),
    folds=True,
)
# One table for each configured catalog: `reference/<catalog>`.
REFERENCE_STAGE = Stage("reference", "7", (), (), (REFERENCE,), per="survey")
CATALOG_MATCHES_STAGE = Stage(
    "catalog_matches",
    MATCHING_VERSION,
    ("raw_detections", "measurements", "associated_sources"),
    ("matching", "checks"),
    (CATALOG_MATCHES, MATCH_SUMMARY),
    reads_catalogs=True,
)
CORRECTIONS_STAGE = Stage(
    "corrections",
    "8",
    ("raw_detections", "measurements", "associated_sources", "catalog_matches"),
    ("corrections", "bands"),
    (CORRECTIONS, CONSTANT_FLUXES, SCALE_PULLS, parts_of(KNOWN_FLUXES)),
    hidden=frozenset({parts_of(KNOWN_FLUXES).name}),
    folds=True,
)
ERROR_MODEL_STAGE = Stage(
    "error_model",
    "7",
    ("raw_detections", "measurements", "associated_sources", "corrections"),
    ("bands",),
    (*STATE_TABLES[:1], IMAGE_CONFIGURATIONS, *STATE_TABLES[1:-1], parts_of(ERROR_MEANS), *BAND_TABLES),
    hidden=frozenset(schema.name for schema in (*STATE_TABLES[1:-1], parts_of(ERROR_MEANS), *BAND_TABLES[1:])),
    folds=True,
)
EPOCH_SCALES_STAGE = Stage("epoch_scales", "2", ("corrections",), ("corrections",), (EPOCH_SCALES,), per="survey")

_BEFORE_PRODUCTS = (
    RAW_DETECTIONS,
    MEASUREMENTS_STAGE,
    ASSOCIATED_SOURCES,
    REFERENCE_STAGE,
    CATALOG_MATCHES_STAGE,
    CORRECTIONS_STAGE,
    ERROR_MODEL_STAGE,
    EPOCH_SCALES_STAGE,
)
PRODUCTS = Stage(
    "products",
    "11",
    tuple(stage.name for stage in _BEFORE_PRODUCTS if stage.per == "epoch"),
    ("matching", "corrections", "variability", "bands", "stokes"),
    (),
    reads_catalogs=True,
    reads_scales=True,
    reads_folds=True,
    kept_in="database",
)

SCALES_TABLE = Stage(
    "products/epoch_scales", "1", ("epoch_scales",), (), (EPOCH_SCALES,), per="survey", kept_in="database"
)

# After the products, which say where the sources of all epochs are: no table of theirs is made from it.
FORCED_STAGE = Stage(
    "forced_photometry",
    "4",
    (PRODUCTS.name,),
    (),
    (FORCED_FLUXES, FORCED_IMAGES, IMAGE_NOISE, FORCED_CONSTANTS),
    hidden=frozenset({IMAGE_NOISE.name, FORCED_CONSTANTS.name}),
    reads_images=True,
    of_images=True,
)
FORCED_PRODUCTS = Stage("products/forced_fluxes", "1", (FORCED_STAGE.name,), (), (), of_images=True, kept_in="database")

STAGES = (*_BEFORE_PRODUCTS, PRODUCTS, SCALES_TABLE, FORCED_STAGE, FORCED_PRODUCTS)
"""All stages, in the order of the flow."""
STAGE = {stage.name: stage for stage in STAGES}
EPOCH_STAGES = tuple(stage for stage in STAGES if stage.per == "epoch")
"""Those that have a result for every epoch, or for every one with images."""
STAGES_OF_EVERY_EPOCH = tuple(stage for stage in EPOCH_STAGES if not stage.of_images)

# Version of the state that the first epoch is folded onto, of each stage that folds.
NOTHING_BEFORE = {
    ASSOCIATED_SOURCES.name: FoldState.empty().version,
    CORRECTIONS_STAGE.name: version_of_table(KNOWN_FLUXES.arrow.empty_table()),
    ERROR_MODEL_STAGE.name: ErrorState.empty().version,
}
