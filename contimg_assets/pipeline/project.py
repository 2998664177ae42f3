"""A project: one configuration with the things it names, and what is known about them now.

The command line, the sensor, the schedule and the runner all look at the world through this.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

import pandas as pd

from contimg_assets.config import Config
from contimg_assets.database import ProductsDatabase
from contimg_assets.identity.epochs import check_epoch_key, time_order
from contimg_assets.pipeline.deliveries import (
    Delivery,
    DeliveryVersions,
    delivery_version,
    find_deliveries,
    images_version,
    unusable_folders,
)
from contimg_assets.pipeline.delivery_copies import bring_deliveries, refused_deliveries
from contimg_assets.pipeline.forced_photometry import Positions, recorded_forced
from contimg_assets.pipeline.inputs import World, epochs_in_time_order, times_of_epochs
from contimg_assets.pipeline.products import recorded_products
from contimg_assets.pipeline.records import BAD_INPUT
from contimg_assets.pipeline.stages import EPOCH_STAGES
from contimg_assets.pipeline.staleness import assess, with_survey
from contimg_assets.pipeline.store import EpochStore, store_of
from contimg_assets.pipeline.survey_tables import (
    applied_scales,
    catalog_versions,
    missing_catalog,
    scale_versions,
    survey_tables,
)


@dataclass(frozen=True)
class Project:
    """A configuration and everything that it names."""

    config: Config

    @cached_property
    def store(self) -> EpochStore:
        return store_of(self.config)

    @cached_property
    def products(self) -> ProductsDatabase:
        return ProductsDatabase(self.config.products_url, self.config.products.partition_order)

    def deliveries(self, look_seconds: float | None = None) -> list[Delivery]:
        """Epochs in the incoming folder, in time order; of a URL, after a look at what changed there.

        Parameters
        ----------
        look_seconds : how long that look may take, see `bring_deliveries`
        """
        bring_deliveries(self.config, look_seconds)
        return find_deliveries(self.config.incoming)

    def unusable_folders(self) -> dict[str, str]:
        """What lies in the incoming folder and is no delivery, with the reason in words."""
        return unusable_folders(self.config.incoming) | refused_deliveries(self.config)

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
        return time_order(times | times_of_epochs(self.store))

    def epochs_in_store(self) -> list[str]:
        """Epochs whose detections were read, in time order."""
        return epochs_in_time_order(self.store)

    def vanished_epochs(self) -> list[str]:
        """Epochs in the store whose folder is gone from the incoming one, in time order.

        A folder that cannot be read, or lacks its manifest, is not gone.
        """
        return [epoch for epoch in self.epochs_in_store() if not os.path.lexists(self.config.incoming / epoch)]

    def missing_catalogs(self) -> list[str]:
        """A sentence for each configured catalog whose file is not there, with the cure."""
        sentences = (missing_catalog(self.config, name) for name in self.config.catalogs)
        return [sentence for sentence in sentences if sentence is not None]

    def forget_passing_failures(self) -> list[str]:
        """Let the epochs be tried again that failed for no fault of theirs, such as a full disk; return them.

        Failures for a bad input stay: the same input fails again.
        """
        stages = [stage.name for stage in EPOCH_STAGES]
        store = self.store.at_a_glance()
        passing = [one for stage in stages for one in store.failures(stage) if one.kind != BAD_INPUT]
        for one in passing:
            self.store.forget_failure(one.stage, one.epoch)
        return sorted({one.epoch for one in passing})

    def world(self, delivered: Sequence[Delivery] | None = None, *, thorough: bool = True) -> World:
        """Versions of everything that stages read, as they are now; ``delivered`` as in `epochs`, ``thorough`` as of
        `EpochStore.at_a_glance`."""
        versions = self.delivery_versions()
        found = self.deliveries() if delivered is None else delivered
        deliveries = {delivery.epoch: versions.version(delivery.folder) for delivery in found}
        versions.forget_except(delivery.folder for delivery in found)
        versions.save()
        store = self.store.at_a_glance(thorough=thorough)
        return replace(
            stored_world(self.config, store),
            delivery=deliveries.get,
            delivered=list(deliveries),
            **of_database(self.config, self.products),
            survey=survey_tables(self.config, store, self.products),
        )

    def assess(self, delivered: Sequence[Delivery] | None = None, *, thorough: bool = True) -> pd.DataFrame:
        """Every stage of every epoch and of the survey: fresh, stale, missing, failed or waiting, and why.

        See `staleness.assess`; ``delivered`` as in `epochs`, ``thorough`` as of `EpochStore.at_a_glance`.
        """
        return assess(self.world(delivered, thorough=thorough))

    def assess_survey_again(self, assessment: pd.DataFrame) -> pd.DataFrame:
        """An assessment after tables of the whole survey were made that no epoch is made from."""
        return with_survey(assessment, survey_tables(self.config, self.store.at_a_glance(), self.products))


def forget_deletions(world: World, epochs: Iterable[str]) -> None:
    """Let deleted epochs come back whose folder is in the incoming one again."""
    for epoch in epochs:
        world.store.forget_deletion(epoch, (world.config.incoming / check_epoch_key(epoch)).is_dir)


def stored_world(config: Config, store: EpochStore) -> World:
    """What a stage at work sees of the world: deliveries are hashed as they are looked at, the products left out."""

    def delivery(epoch: str) -> str | None:
        folder = config.incoming / check_epoch_key(epoch)
        return delivery_version(folder, config.image_roots) if folder.is_dir() else None

    scales, incoming = applied_scales(config), str(config.incoming)
    of_images = config.image_roots, config.paths.image_urls
    return World(
        config,
        store,
        delivery,
        catalog_versions(config),
        None if scales is None else scale_versions(scales),
        # Asked for by several stages of an epoch: files are looked at once.
        images=cache(lambda epoch: images_version(f"{incoming}{os.sep}{check_epoch_key(epoch)}", *of_images)),
    )


def of_database(config: Config, database: ProductsDatabase) -> dict[str, Any]:
    """What a world knows of the products database: its attributes by name."""
    return {
        "products": recorded_products(database),
        "forced": recorded_forced(config, database),
        "positions": Positions(config, database).version,
    }
