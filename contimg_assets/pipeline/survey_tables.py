"""Tables that belong to no epoch: reference catalogs and the flux scales between epochs."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from contimg_assets.catalogs.store import ReferenceCatalog, catalog_file
from contimg_assets.config import CatalogConfig, Config
from contimg_assets.errors import InputError
from contimg_assets.identity.versions import combine_versions, version_of_table
from contimg_assets.pipeline.deliveries import file_version
from contimg_assets.pipeline.stages import CORRECTIONS_STAGE
from contimg_assets.pipeline.staleness import epochs_in_time_order
from contimg_assets.pipeline.store import EpochRecord, EpochStore
from contimg_assets.pipeline.survey_files import read_whole, stated
from contimg_assets.schemas.catalogs import REFERENCE
from contimg_assets.schemas.corrections import EPOCH_SCALES

CATALOG_ALGORITHM = "2"
SCALES_ALGORITHM = "2"
READ_FROM = "read_from"


def missing_catalog(config: Config, name: str) -> str | None:
    """A sentence that says how to mend it, if the file of a configured catalogue is not there."""
    path = config.catalog_path(name)
    if path.is_file():
        return None
    return f"{path}: no such file for the catalogue {name!r}; put it there, or correct catalogs.{name}.path"


def catalog_input_version(config: Config, name: str) -> str:
    """Version of everything that `reference/<name>` is made from: the file's bytes, its configuration and our code.

    Raises
    ------
    InputError
        If the file is missing.
    """
    if (missing := missing_catalog(config, name)) is not None:
        raise InputError(missing)
    return combine_versions(
        CATALOG_ALGORITHM, file_version(config.catalog_path(name)), config.catalogs[name].version, str(REFERENCE.arrow)
    )


def materialised_catalogs(config: Config) -> dict[str, ReferenceCatalog]:
    """The configured catalogues, as materialised.

    Raises
    ------
    InputError
        If one has not been materialised.
    """
    return {name: ReferenceCatalog(name, catalog_file(config, name)) for name in config.catalogs}


def catalog_code_version(catalog: CatalogConfig) -> str:
    """Version of the code and the configuration that a reference catalog is made by."""
    return combine_versions(CATALOG_ALGORITHM, catalog.version)


def scales_code_version(config: Config) -> str:
    """Version of the code and the configuration that `epoch_scales` is made by."""
    return combine_versions(SCALES_ALGORITHM, config.corrections.version, str(EPOCH_SCALES.arrow))


def corrections_of_all_epochs(store: EpochStore) -> dict[str, EpochRecord]:
    """Current corrections of every epoch, in time order."""
    records = {epoch: store.record(CORRECTIONS_STAGE.name, epoch) for epoch in epochs_in_time_order(store)}
    return {epoch: record for epoch, record in records.items() if record is not None}


def scales_input_version(config: Config, store: EpochStore) -> str:
    """Version of everything that `epoch_scales` is made from: corrections of all epochs, configuration and code."""
    versions = [f"{epoch}={record.data_version}" for epoch, record in corrections_of_all_epochs(store).items()]
    return combine_versions(scales_code_version(config), *versions)


def scale_versions(scales: pd.DataFrame) -> dict[str, str]:
    """Version of the rows of each epoch."""
    return {
        str(epoch): version_of_table(EPOCH_SCALES.to_arrow(rows)) for epoch, rows in scales.groupby("epoch", sort=False)
    }


def epoch_scales_file(root: Path) -> Path:
    """Where the scales between epochs are kept."""
    return (root / EPOCH_SCALES.name).with_suffix(".parquet")


def read_epoch_scales(root: Path) -> pd.DataFrame:
    """EPOCH_SCALES as stored; empty where they were never made, or are damaged."""
    found = read_whole(epoch_scales_file(root), EPOCH_SCALES)
    return EPOCH_SCALES.empty() if found is None else found.to_pandas()


def read_from(file: Path) -> str | None:
    """Version of what a stored table without epochs was made from; None if there is none, or a damaged one."""
    return stated(file, READ_FROM)
