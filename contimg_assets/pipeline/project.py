"""A project: one configuration with the things it names, and what is known about them now.

The command line, the sensor, the schedule and the runner all look at the world through this.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from contimg_assets.catalogs.store import ReferenceCatalog, catalog_file
from contimg_assets.config import Config
from contimg_assets.database import ProductsDatabase
from contimg_assets.identity.versions import version_of_table
from contimg_assets.pipeline.deliveries import Delivery, DeliveryVersions, find_deliveries, unusable_folders
from contimg_assets.pipeline.products import recorded_products
from contimg_assets.pipeline.stages import CORRECTIONS_STAGE, STAGES
from contimg_assets.pipeline.staleness import Situation, assess, epochs_in_time_order
from contimg_assets.pipeline.store import BAD_INPUT, EpochStore, open_store
from contimg_assets.pipeline.survey_files import readable_catalogs
from contimg_assets.pipeline.survey_tables import (
    catalog_input_version,
    epoch_scales_file,
    missing_catalog,
    read_epoch_scales,
    read_from,
    scale_versions,
    scales_input_version,
)
from contimg_assets.schemas.corrections import EPOCH_SCALES


@dataclass(frozen=True)
class Project:
    """A configuration and everything that it names."""

    config: Config

    @cached_property
    def store(self) -> EpochStore:
        return open_store(str(self.config.store))

    @cached_property
    def products(self) -> ProductsDatabase:
        return ProductsDatabase(self.config.products_url)

    def deliveries(self) -> list[Delivery]:
        """Epochs in the incoming folder, in time order."""
        return find_deliveries(self.config.incoming)

    def unusable_folders(self) -> dict[str, str]:
        """What lies in the incoming folder and is no delivery, with the reason in words."""
        return unusable_folders(self.config.incoming)

    def delivery_versions(self) -> DeliveryVersions:
        """Content versions of deliveries, remembered in the store."""
        return DeliveryVersions(self.config.store / "delivery_versions.json", self.config.image_roots)

    def epochs(self, delivered: Sequence[Delivery] | None = None) -> list[str]:
        """All epochs, delivered or in the store, in time order.

        What the store read from an epoch's images goes before what a glance at its manifest says.

        Parameters
        ----------
        delivered : what `deliveries` gives, where it has just been asked
        """
        times = {delivery.epoch: delivery.mjd for delivery in (self.deliveries() if delivered is None else delivered)}
        for epoch in self.store.epochs("raw_detections"):
            record = self.store.record("raw_detections", epoch)
            if record is not None:
                times[epoch] = float(record.facts["mjd_first"])
        return [epoch for _, epoch in sorted((mjd, epoch) for epoch, mjd in times.items())]

    def epochs_in_store(self) -> list[str]:
        """Epochs whose detections were read, in time order."""
        return epochs_in_time_order(self.store)

    def vanished_epochs(self) -> list[str]:
        """Epochs in the store whose folder is gone from the incoming one, in time order.

        A folder that cannot be read, or lacks its manifest, is not gone.
        """
        return [epoch for epoch in self.epochs_in_store() if not os.path.lexists(self.config.incoming / epoch)]

    def catalogs(self) -> dict[str, ReferenceCatalog]:
        """The configured catalogues that have been materialised."""
        return readable_catalogs(self.config)

    def stale_catalogs(self) -> list[str]:
        """Configured catalogues that are missing in the store, or made from another file, configuration or code.

        Without those whose file is not there: `missing_catalogs`.
        """
        missing = self.missing_catalogs()
        return [
            name
            for name in self.config.catalogs
            if name not in missing
            and read_from(catalog_file(self.config, name)) != catalog_input_version(self.config, name)
        ]

    def missing_catalogs(self) -> dict[str, str]:
        """Configured catalogues whose file is not there, each with a sentence that says how to mend that."""
        sentences = {name: missing_catalog(self.config, name) for name in self.config.catalogs}
        return {name: sentence for name, sentence in sentences.items() if sentence is not None}

    def forget_passing_failures(self) -> list[str]:
        """Let the epochs be tried again that failed for no fault of theirs, such as a full disk; return them.

        Failures for a bad input stay: the same input fails again.
        """
        stages = [stage.name for stage in STAGES]
        passing = [one for stage in stages for one in self.store.failures(stage) if one.kind != BAD_INPUT]
        for one in passing:
            self.store.forget_failure(one.stage, one.epoch)
        return sorted({one.epoch for one in passing})

    def stale_epoch_scales(self) -> bool:
        """Whether the scales between epochs, or their table in the database, are not those of the present epochs."""
        if not self.store.epochs(CORRECTIONS_STAGE.name):
            return False
        file = epoch_scales_file(self.config.store)
        if read_from(file) != scales_input_version(self.config, self.store):
            return True
        stored = version_of_table(EPOCH_SCALES.to_arrow(read_epoch_scales(self.config.store)))
        return not self.products.is_current() or self.products.epoch_scales_version() != stored

    def situation(self) -> Situation:
        """Everything that staleness is judged by, as it is now."""
        versions = self.delivery_versions()
        found = self.deliveries()
        deliveries: Mapping[str, str] = {delivery.epoch: versions.version(delivery.folder) for delivery in found}
        versions.forget_except(delivery.folder for delivery in found)
        versions.save()
        return Situation(
            self.config,
            self.store,
            recorded_products(self.products),
            deliveries,
            {name: catalog.version for name, catalog in self.catalogs().items()},
            scale_versions(read_epoch_scales(self.config.store))
            if self.config.corrections.apply_flux == "epochs"
            else None,
        )

    def assess(self) -> pd.DataFrame:
        """Every stage of every epoch: fresh, stale, missing, failed or waiting, and why (`reconcile.assess`)."""
        return assess(self.situation())
