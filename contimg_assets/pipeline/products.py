"""What the store holds for the products database, what each epoch there was written from, and the writing of epochs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import pandas as pd

from contimg_assets.calibration import apply_corrections, with_epoch_scales
from contimg_assets.config import STOKES_I, Config
from contimg_assets.database import EpochProducts, ProductsDatabase, SourceMatching
from contimg_assets.database.matching import source_matching
from contimg_assets.errors import ContimgError
from contimg_assets.identity.versions import combine_versions
from contimg_assets.pipeline import inputs as inputs_
from contimg_assets.pipeline import progress
from contimg_assets.pipeline.chain import Work
from contimg_assets.pipeline.inputs import epochs_in_time_order, in_time_order, is_fresh
from contimg_assets.pipeline.merges import with_heirs
from contimg_assets.pipeline.outcomes import REFOLDED, UNCHANGED, Failed, Made, Outcome
from contimg_assets.pipeline.records import EpochRecord
from contimg_assets.pipeline.stages import ERROR_MODEL_STAGE, PRODUCTS
from contimg_assets.pipeline.store import EpochStore
from contimg_assets.pipeline.survey_tables import applied_scales, made_catalogs
from contimg_assets.polarization.fluxes import TotalIntensity, partners, polarized_fluxes
from contimg_assets.schemas.error_model import BAND_ERROR_MODEL, ERROR_MODEL
from contimg_assets.schemas.polarization import STOKES_MEASUREMENTS
from contimg_assets.variability.error_model import of_all_bands

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
    """How sources find their counterparts in the configured catalogs; None where there are none.

    Raises
    ------
    NotMadeYet
        If a configured catalog has not been made.
    """
    return source_matching(list(made_catalogs(config).values()), config.matching)


def published_error_model(store: EpochStore) -> pd.DataFrame:
    """Rows of BAND_ERROR_MODEL after the last epoch in time order: of all bands, and of single ones where there are
    several; none before there is an epoch."""
    at_once = store.at_a_glance()
    for epoch in reversed(epochs_in_time_order(at_once)):
        if at_once.record(ERROR_MODEL_STAGE.name, epoch) is not None:
            pooled, of_bands = (
                store.read(ERROR_MODEL_STAGE.name, epoch, schema.name) for schema in (ERROR_MODEL, BAND_ERROR_MODEL)
            )
            return of_all_bands(pooled, of_bands)
    return BAND_ERROR_MODEL.empty()


class StoredProducts:
    """What the store holds of each epoch for the products database."""

    def __init__(self, config: Config, store: EpochStore) -> None:
        self.config, self.store = config, store
        self.code = PRODUCTS.code_version(config)
        self.scales = applied_scales(config)

    def read(self, epoch: str, inputs: Mapping[str, str], merged: Mapping[str, str]) -> EpochProducts:
        """One epoch as it is written into the database.

        Parameters
        ----------
        inputs : versions of everything that its rows are made from; copied rows of epochs that are left out are not
            among them
        merged : sources that later epochs merged, and those that stand for them
        """

        def table(stage: str, name: str) -> Any:
            return self.store.read(stage, epoch, name)

        corrections = table("corrections", "corrections")
        if self.scales is not None:
            of_epoch = self.scales[self.scales["epoch"] == epoch]
            corrections = with_epoch_scales(corrections, of_epoch, self.config.corrections)
        associations = with_heirs(table("associated_sources", "associations"), merged, ["source_id"])
        if left_out := inputs.get(inputs_.LEFT_OUT):
            associations = associations[~associations["epoch"].isin(left_out.split(","))]
        images = table("raw_detections", "images")
        measurements = apply_corrections(
            table("measurements", "measurements"), corrections, table("corrections", "scale_pulls")
        )
        others = table("measurements", "other_measurements"), table("raw_detections", "other_images")
        own = associations[associations["epoch"] == epoch]
        total = TotalIntensity(images, measurements, own)
        return EpochProducts(
            epoch=epoch,
            images=images,
            measurements=measurements,
            stokes=self._polarized(others, total, corrections),
            associations=associations,
            relations=with_heirs(table("associated_sources", "relations"), merged, ["from_source_id", "to_source_id"]),
            corrections=corrections,
            coverage=table("raw_detections", "coverage"),
            configurations=table("error_model", "image_configurations"),
            bands=self.config.bands,
            versions={**inputs, CODE: self.code},
        )

    def ready(self, epoch: str, inputs: Mapping[str, str], merged: Mapping[str, str]) -> EpochProducts:
        """As `read`, checked against the schemas."""
        return self.read(epoch, inputs, merged).ready()

    def _polarized(
        self, others: tuple[pd.DataFrame, pd.DataFrame], total: TotalIntensity, corrections: pd.DataFrame
    ) -> pd.DataFrame:
        """Fluxes in other Stokes parameters, corrected as the image in I that each is of an observation with."""
        rows, images = others
        if rows.empty and images.empty:
            return STOKES_MEASUREMENTS.empty()
        partner = partners(images, total.images, self.config.bands).reindex(rows["image"])
        of_image = rows["image"].where((rows["stokes"] == STOKES_I).to_numpy(), partner.to_numpy())
        # What is added to all fluxes in I says nothing of those of other Stokes parameters.
        scales = corrections.assign(flux_add_mjy=0.0)
        corrected = apply_corrections(rows.assign(image=of_image), scales).assign(image=rows["image"])
        return polarized_fluxes(corrected, images, total, self.config.stokes, self.config.bands)


def complete_epochs(store: EpochStore) -> list[str]:
    """Epochs of which all stages before the products were made, in time order."""
    store = store.at_a_glance()
    made = [set(store.epochs(stage)) for stage in PRODUCTS.reads]
    return in_time_order(set.intersection(*made), store)


def write_products(work: Work, database: ProductsDatabase) -> Iterator[Outcome]:
    """Write the run's epochs into the database, what is not there yet as it should be, in one transaction."""
    wanted: dict[str, Mapping[str, str]] = {}
    for epoch in work.in_order:
        try:
            inputs = inputs_.of(PRODUCTS, epoch, work.world)
        except ContimgError as error:
            yield from _reported(epoch, work.failed(epoch, {}, error))
            continue
        recorded = work.world.record(PRODUCTS, epoch)
        if recorded is not None and not work.forced and is_fresh(recorded, inputs, work.code):
            yield from _reported(epoch, Made(recorded, note=UNCHANGED))
        else:
            wanted[epoch] = inputs
    if wanted:
        together = wanted | _folded_meanwhile(work)
        yield from _write(work, database, {epoch: together[epoch] for epoch in in_time_order(together, work.store)})


def _folded_meanwhile(work: Work) -> dict[str, dict[str, str]]:
    """Other epochs whose fold is not the one in the database, or whole there, and what they would be made from now.

    The folds of all epochs fit each other: a source or a copied row of one may name what only another has. So those
    that folding changed, and those of which sources were merged, are written together, whichever run they belong to;
    what else their own run makes follows with it.
    """
    changed: dict[str, dict[str, str]] = {}
    world = work.world.at_a_glance
    for epoch in complete_epochs(world.store):
        if work.is_asked(epoch):
            continue
        recorded = world.record(PRODUCTS, epoch)
        written = {} if recorded is None else recorded.inputs
        # Of every epoch no more than this: all that products are made from is put together where it differs.
        if {name: written[name] for name in inputs_.FOLDS if name in written} != inputs_.of_folds(epoch, world):
            changed[epoch] = inputs_.of(PRODUCTS, epoch, work.world)
    return changed


def _gone(work: Work, wanted: Collection[str]) -> list[str]:
    """Deleted epochs that the products still have, once nothing that is written names their rows.

    They go in the same transaction: a row that one of them copied may be of a measurement that an epoch written now no
    longer has, and what that epoch had copied of theirs is why they could not go before.
    """
    there = [epoch for epoch in work.store.deleted_epochs() if epoch in work.world.products and epoch not in wanted]
    return there if there and inputs_.folds_follow_each_other(work.world) else []


def _write(work: Work, database: ProductsDatabase, wanted: Mapping[str, Mapping[str, str]]) -> Iterator[Outcome]:
    """Write epochs together, one in memory at a time; one that cannot be read, or was deleted, takes no part."""
    stored = StoredProducts(work.world.config, work.store)
    unreadable: dict[str, Failed | None] = {}
    rows: dict[str, int] = {}

    def products() -> Iterator[EpochProducts]:
        tasks = ((epoch, inputs, work.world.merged.get(epoch, {})) for epoch, inputs in wanted.items())
        results = work.executor.results(stored.ready, tasks, len(wanted))
        for (epoch, inputs), ready in zip(wanted.items(), results, strict=True):
            try:
                read = ready()
            except Exception as error:  # noqa: BLE001 - recorded, shown, and raised again once the others are done
                unreadable[epoch] = work.failed(epoch, inputs, error)
                progress.report(PRODUCTS.name, epoch)
                continue
            # Within the transaction: whoever deletes it notes that first, and then waits for who writes.
            if work.store.is_deleted(epoch):
                continue
            rows[epoch] = len(read.measurements)
            yield read
            if work.is_asked(epoch):
                progress.report(PRODUCTS.name, epoch)

    try:
        database.replace_epochs(
            products(),
            work.world.config.variability,
            matching_of(work.world.config),
            delete=_gone(work, wanted),
            error_model=published_error_model(work.store),
        )
    except Exception as error:  # noqa: BLE001 - recorded, shown, and raised again once the others are done
        # The transaction is undone. It is no one epoch's fault: all of them are tried again together.
        for epoch, inputs in wanted.items():
            outcome = unreadable[epoch] if epoch in unreadable else work.failed(epoch, inputs, error)
            yield from _reported(epoch, outcome)
        return
    yield from (outcome for outcome in unreadable.values() if outcome is not None)
    records = recorded_products(database)
    for epoch, n_rows in rows.items():
        work.store.forget_failure(PRODUCTS.name, epoch)
        asked = work.is_asked(epoch)
        # What nobody asked for is told by the run of its own, which its changed fold causes.
        yield Made(records[epoch], {"measurements written": n_rows}, note="" if asked else REFOLDED, announced=asked)


def _reported(epoch: str, outcome: Outcome | None) -> Iterator[Outcome]:
    progress.report(PRODUCTS.name, epoch)
    if outcome is not None:
        yield outcome
