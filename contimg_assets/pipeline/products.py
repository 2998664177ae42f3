"""What the store holds for the products database, and what each epoch there was written from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from contimg_assets.calibration import apply_corrections, with_epoch_scales
from contimg_assets.config import Config
from contimg_assets.database import EpochProducts, ProductsDatabase, SourceMatching
from contimg_assets.database.matching import source_matching
from contimg_assets.identity.versions import combine_versions
from contimg_assets.pipeline.stages import PRODUCTS
from contimg_assets.pipeline.staleness import NO_SCALES, SCALES, in_time_order, upstream_versions
from contimg_assets.pipeline.store import EpochRecord, EpochStore
from contimg_assets.pipeline.survey_tables import materialised_catalogs, read_epoch_scales, scale_versions

CODE = "code_version"


def recorded_products(database: ProductsDatabase) -> dict[str, EpochRecord]:
    """What each epoch in the database was written from; nothing where there is no database yet."""
    records: dict[str, EpochRecord] = {}
    if database.current() is None:
        return records
    for epoch, versions in database.recorded_versions().items():
        inputs = dict(versions)
        code = inputs.pop(CODE, "")
        version = combine_versions(*(f"{name}={inputs[name]}" for name in sorted(inputs)), code)
        records[epoch] = EpochRecord(PRODUCTS.name, epoch, version, code, inputs, {})
    return records


def matching_of(config: Config) -> SourceMatching | None:
    """How sources find their counterparts in the configured catalogues; None where there are none."""
    return source_matching(list(materialised_catalogs(config).values()), config.matching)


class StoredProducts:
    """What the store holds for the products database, and the versions of what it was made from."""

    def __init__(self, config: Config, store: EpochStore) -> None:
        self.config, self.store, self.code = config, store, PRODUCTS.code_version(config)
        self.scales = read_epoch_scales(config.store) if config.corrections.apply_flux == "epochs" else None
        self.scale_versions = scale_versions(self.scales) if self.scales is not None else {}
        self.catalogs = {f"reference/{name}": one.version for name, one in materialised_catalogs(config).items()}

    def inputs(self, epoch: str) -> dict[str, str]:
        """Versions of everything that an epoch's rows are made from.

        Raises
        ------
        StoreError
            If a stage before has not been made.
        """
        inputs = upstream_versions(PRODUCTS, epoch, self.store) | self.catalogs
        return inputs if self.scales is None else inputs | {SCALES: self.scale_versions.get(epoch, NO_SCALES)}

    def read(self, epoch: str, inputs: Mapping[str, str]) -> EpochProducts:
        """One epoch as it is written into the database."""

        def table(stage: str, name: str) -> Any:
            return self.store.read(stage, epoch, name)

        corrections = table("corrections", "corrections")
        if self.scales is not None:
            of_epoch = self.scales[self.scales["epoch"] == epoch]
            corrections = with_epoch_scales(corrections, of_epoch, self.config.corrections)
        return EpochProducts(
            epoch=epoch,
            images=table("raw_detections", "images"),
            measurements=apply_corrections(table("measurements", "measurements"), corrections),
            associations=table("associated_sources", "associations"),
            relations=table("associated_sources", "relations"),
            corrections=corrections,
            coverage=table("raw_detections", "coverage"),
            versions={**inputs, CODE: self.code},
        )

    def complete_epochs(self) -> list[str]:
        """Epochs of which all stages before the products were made, in time order."""
        made = [set(self.store.epochs(stage)) for stage in PRODUCTS.reads]
        return in_time_order(set.intersection(*made), self.store)
