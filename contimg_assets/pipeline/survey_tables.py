"""Tables that belong to no epoch: reference catalogs, and the flux scales between epochs.

Each carries the version of what it was made from in its file, so that the same comparison as for an epoch says whether
it is fresh.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa

from contimg_assets.catalogs.copies import current_stamp, stamp_at
from contimg_assets.catalogs.hats import is_hats, open_hats
from contimg_assets.catalogs.store import TILES, ReferenceCatalog, build_catalog, catalog_file
from contimg_assets.config import CatalogConfig, Config
from contimg_assets.database import ProductsDatabase
from contimg_assets.errors import InputError
from contimg_assets.identity.versions import combine_versions, version_of_table
from contimg_assets.pipeline.deliveries import file_version
from contimg_assets.pipeline.inputs import SCALES, SurveyTable, epochs_in_time_order, require_made
from contimg_assets.pipeline.records import EpochRecord
from contimg_assets.pipeline.sky_parts import SkyParts
from contimg_assets.pipeline.stages import CORRECTIONS_STAGE, EPOCH_SCALES_STAGE, REFERENCE_STAGE, SCALES_TABLE
from contimg_assets.pipeline.store import EpochStore
from contimg_assets.pipeline.survey_files import read_whole, readable_catalogs, stated
from contimg_assets.reading.byte_by_byte import readme_of
from contimg_assets.schemas.catalogs import REFERENCE
from contimg_assets.schemas.core import frame_of
from contimg_assets.schemas.corrections import EPOCH_SCALES, KNOWN_FLUXES
from contimg_assets.schemas.described import describe, described_values
from contimg_assets.schemas.parts import parts_of

READ_FROM = "read_from"


def survey_tables(config: Config, store: EpochStore, database: ProductsDatabase) -> list[SurveyTable]:
    """Every table that belongs to no epoch, in the order of the flow."""
    return [*reference_tables(config), *_epoch_scales(config, store, database)]


def reference_tables(config: Config) -> Iterator[SurveyTable]:
    """The reference catalogs, in the order of the configuration."""
    for name in config.catalogs:
        read = read_from(catalog_file(config, name))
        record = None if read is None else {READ_FROM: read}
        problem = missing_catalog(config, name)
        expected = None if problem else {READ_FROM: catalog_input_version(config, name)}
        yield SurveyTable(REFERENCE_STAGE, f"{REFERENCE_STAGE.name}/{name}", record, expected, problem or "")


def _epoch_scales(config: Config, store: EpochStore, database: ProductsDatabase) -> Iterator[SurveyTable]:
    if not store.epochs(CORRECTIONS_STAGE.name):
        return
    read = read_from(epoch_scales_file(config.store))
    record = None if read is None else {READ_FROM: read}
    yield SurveyTable(EPOCH_SCALES_STAGE, SCALES, record, {READ_FROM: scales_input_version(config, store)})
    stored = version_of_table(EPOCH_SCALES.to_arrow(read_epoch_scales(config.store)))
    shown = {SCALES: database.epoch_scales_version()} if database.holds(EPOCH_SCALES.name) else None
    yield SurveyTable(SCALES_TABLE, SCALES_TABLE.name, shown, {SCALES: stored})


def missing_catalog(config: Config, name: str) -> str | None:
    """A sentence that says how to mend it, if the file of a configured catalog is not there."""
    path, url = config.catalog_path(name), config.catalogs[name].url
    if path.is_file() or is_hats(path):
        return None
    if url is not None:
        return _unreachable(url, path)
    if path.is_dir():
        return f"{path}: this folder of the catalog {name!r} is not in HATS; correct catalogs.{name}.path"
    return f"{path}: no such file for the catalog {name!r}; put it there, or correct catalogs.{name}.path"


def _unreachable(url: str, copy: Path) -> str | None:
    """A sentence that says why a file cannot be fetched; None if it can."""
    try:
        stamp_at(url, copy)
    except InputError as error:
        return str(error)
    return None


def catalog_file_version(config: Config, name: str) -> str:
    """Version of the bytes of a configured catalog's file, and of the ReadMe that describes its columns.

    Of a catalog in HATS: of where it lies, what it says of itself, and the sizes and times of its files. Of one at a
    URL: what its server says of it; while it does not answer, that of the copy.
    """
    path, url = config.catalog_path(name), config.catalogs[name].url
    if url is not None:
        return current_stamp(url, path)
    if is_hats(path):
        try:
            return combine_versions(str(path), open_hats(path).stamp())
        except InputError as error:
            # Whoever makes it says so; once the folder is mended, it is made.
            return combine_versions(str(path), str(error))
    readme = readme_of(path)
    file = file_version(path)
    return file if readme is None else combine_versions(file, file_version(readme))


def make_catalog(config: Config, name: str) -> pa.Table:
    """`reference/<name>`, which states the version of what it was made from.

    Raises
    ------
    InputError
        If the file is missing or unusable.
    """
    catalog, read = config.catalogs[name], catalog_input_version(config, name)
    table = describe(build_catalog(name, catalog, config.root), {READ_FROM: read})
    stated = described_values(table.schema)
    if TILES not in stated:
        return table
    # Its rows are made later, by the code of then.
    return describe(table, {"version": combine_versions(stated["version"], REFERENCE_STAGE.algorithm)})


def catalog_code_version(catalog: CatalogConfig) -> str:
    """Version of the code and the configuration that a reference catalog is made by."""
    return combine_versions(REFERENCE_STAGE.algorithm, catalog.version)


def catalog_input_version(config: Config, name: str) -> str:
    """Version of everything that `reference/<name>` is made from: the file, its configuration and our code.

    Raises
    ------
    InputError
        If the file is missing.
    """
    if (missing := missing_catalog(config, name)) is not None:
        raise InputError(missing)
    file = catalog_file_version(config, name)
    return combine_versions(REFERENCE_STAGE.algorithm, file, config.catalogs[name].version, str(REFERENCE.arrow))


def catalog_versions(config: Config) -> dict[str, str | None]:
    """Version of each configured catalog as made; None where it has not been made."""
    readable = readable_catalogs(config)
    return {name: readable[name].version if name in readable else None for name in config.catalogs}


def made_catalogs(config: Config) -> dict[str, ReferenceCatalog]:
    """The configured catalogs, as made.

    Raises
    ------
    NotMadeYet
        If one of them has not been made.
    """
    readable = readable_catalogs(config)
    require_made(name for name in config.catalogs if name not in readable)
    return readable


def corrections_of_all_epochs(store: EpochStore) -> dict[str, EpochRecord]:
    """Current corrections of every epoch, in time order."""
    store = store.at_a_glance()
    records = {epoch: store.record(CORRECTIONS_STAGE.name, epoch) for epoch in epochs_in_time_order(store)}
    return {epoch: record for epoch, record in records.items() if record is not None}


def scales_input_version(config: Config, store: EpochStore) -> str:
    """Version of everything that `epoch_scales` is made from: corrections of all epochs, configuration and code."""
    versions = [f"{epoch}={record.data_version}" for epoch, record in corrections_of_all_epochs(store).items()]
    return combine_versions(EPOCH_SCALES_STAGE.code_version(config), *versions)


def applied_scales(config: Config) -> pd.DataFrame | None:
    """EPOCH_SCALES as stored, where the configuration applies them to the fluxes; else None."""
    return read_epoch_scales(config.store) if config.corrections.apply_flux == "epochs" else None


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
    scales: pd.DataFrame = EPOCH_SCALES.empty() if found is None else frame_of(found)
    return scales


def read_from(file: Path) -> str | None:
    """Version of what a stored table without epochs was made from; None if there is none, or a damaged one."""
    return stated(file, READ_FROM)


def known_fluxes(store: EpochStore, record: EpochRecord) -> SkyParts:
    """Statistics of all sources' fluxes up to an epoch, given the record of its corrections."""
    files = store.part_files(CORRECTIONS_STAGE.name, KNOWN_FLUXES)
    return SkyParts(files, store.read_recorded(record, parts_of(KNOWN_FLUXES).name))
