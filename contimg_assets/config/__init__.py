"""Every parameter of the pipeline: typed, with unit, default and meaning; one section per stage.

The file `contimg.yaml` holds what differs from the defaults. An unknown key or a value out of range is refused with its
name and what is allowed. Sections are what assets are versioned by: a stage's code version covers the sections it
reads.

One module a section, named like it; `load` reads the file.
"""

from contimg_assets.config.association import Association
from contimg_assets.config.automation import Automation
from contimg_assets.config.bands import Bands
from contimg_assets.config.catalogs import CatalogConfig
from contimg_assets.config.checks import Checks
from contimg_assets.config.compute import Compute, Slurm
from contimg_assets.config.config import Config
from contimg_assets.config.corrections import Corrections
from contimg_assets.config.ingest import Ingest
from contimg_assets.config.load import (
    ENVIRONMENT_VARIABLE,
    FILE_NAME,
    check_association,
    check_section,
    find_config_file,
    load_config,
    with_overrides,
)
from contimg_assets.config.matching import Matching
from contimg_assets.config.measurements import Measurements
from contimg_assets.config.monitor import Monitor
from contimg_assets.config.paths import Paths
from contimg_assets.config.products import Products
from contimg_assets.config.section import ColumnSource, Section
from contimg_assets.config.stokes import OTHER_STOKES, STOKES_I, Stokes
from contimg_assets.config.variability import Variability

__all__ = [
    "ENVIRONMENT_VARIABLE",
    "FILE_NAME",
    "OTHER_STOKES",
    "STOKES_I",
    "Association",
    "Automation",
    "Bands",
    "CatalogConfig",
    "Checks",
    "ColumnSource",
    "Compute",
    "Config",
    "Corrections",
    "Ingest",
    "Matching",
    "Measurements",
    "Monitor",
    "Paths",
    "Products",
    "Section",
    "Slurm",
    "Stokes",
    "Variability",
    "check_association",
    "check_section",
    "find_config_file",
    "load_config",
    "with_overrides",
]
