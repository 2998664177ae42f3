"""What a stage reads for an epoch, in which versions, and whether its stored result is fresh: each rule once.

The judgment of staleness (`staleness.assess`), the driver of the stages (`chain`) and the writer of the products ask
the same two functions, `of` and `is_fresh`: an epoch that one of them calls fresh is fresh for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from contimg_assets.config import Config
from contimg_assets.errors import InputError, StoreError
from contimg_assets.identity.epochs import time_order
from contimg_assets.pipeline import merges
from contimg_assets.pipeline.deliveries import NO_IMAGES
from contimg_assets.pipeline.records import EpochRecord, Failure
from contimg_assets.pipeline.stages import (
    ASSOCIATED_SOURCES,
    FORCED_PRODUCTS,
    FORCED_STAGE,
    NOTHING_BEFORE,
    PRODUCTS,
    RAW_DETECTIONS,
    STAGE,
    Stage,
)
from contimg_assets.pipeline.store import EpochStore

INCOMING = "incoming"
STATE_BEFORE = "state_before"
STATE_AFTER = "state_after"
SCALES = "epoch_scales"
MERGES = "merges"
# Fact of a fold: epochs whose rows it copied. In what products are made from: those among them that are left out.
COPIED_FROM = "copied_from"
LEFT_OUT = "left_out"
# Names of what `of_folds` gives.
FOLDS = (ASSOCIATED_SOURCES.name, MERGES, LEFT_OUT)
NO_SCALES = "none"
FITS_IMAGES = "fits_images"
POSITIONS = "positions"


class NotMadeYet(StoreError):
    """Something that a stage reads is not there.

    Attributes
    ----------
    missing : names of what is not there
    """

    def __init__(self, message: str, missing: Sequence[str]) -> None:
        super().__init__(message)
        self.missing = tuple(missing)


@dataclass(frozen=True)
class SurveyTable:
    """A table that the whole survey has one of, and what it would be made from now.

    Attributes
    ----------
    stage : that makes it
    name : key of its asset, such as ``reference/nvss``
    record : what it was made from; None if it was never made
    expected : versions that it would be made from now; None if it cannot be made
    problem : why it cannot be made, with the cure
    """

    stage: Stage
    name: str
    record: Mapping[str, str] | None
    expected: Mapping[str, str] | None
    problem: str = ""

    @property
    def needs_making(self) -> bool:
        """Whether it can be made and is not what it would be."""
        return self.expected is not None and self.record != self.expected


@dataclass(frozen=True)
class World:
    """Versions of everything that stages read, as they are now.

    Attributes
    ----------
    delivery : gives the version of an epoch's delivered files; None if they are gone
    delivered : epochs in the incoming folder, in time order
    catalogs : version of each configured reference catalog; None where it has not been made
    scales : version of each epoch's scales between epochs; None where the configuration does not apply them
    products : what each epoch in the products database was written from
    survey : the tables that belong to no epoch
    images : gives the version of an epoch's FITS images, `NO_IMAGES` without any; None if its delivery is gone
    positions : gives the version of what is to be measured on the images of an epoch
    forced : what the forced fluxes of each epoch in the products database were written from
    """

    config: Config
    store: EpochStore
    delivery: Callable[[str], str | None]
    catalogs: Mapping[str, str | None]
    scales: Mapping[str, str] | None = None
    delivered: Sequence[str] = ()
    products: Mapping[str, EpochRecord] = field(default_factory=dict)
    survey: Sequence[SurveyTable] = ()
    images: Callable[[str], str | None] = lambda epoch: NO_IMAGES
    positions: Callable[[str], str] = lambda epoch: ""
    forced: Mapping[str, EpochRecord] = field(default_factory=dict)

    @cached_property
    def merged(self) -> dict[str, dict[str, str]]:
        """For each epoch whose associations name sources that are no more: these, and those that stand for them."""
        if self.at_a_glance is not self:
            return self.at_a_glance.merged
        records = (
            self.store.record(ASSOCIATED_SOURCES.name, epoch)
            for epoch in in_time_order(self.store.epochs(ASSOCIATED_SOURCES.name), self.store)
        )
        return merges.merged_sources([record for record in records if record is not None])

    @cached_property
    def at_a_glance(self) -> World:
        """The same, with the store as it is found from now on: for questions about all epochs."""
        store = self.store.at_a_glance()
        return self if store is self.store else replace(self, store=store)

    def record(self, stage: Stage, epoch: str) -> EpochRecord | None:
        """What a stage holds of an epoch, and what that was made from; None if it was never made."""
        if stage.kept_in == "database":
            return (self.forced if stage is FORCED_PRODUCTS else self.products).get(epoch)
        return self.store.record(stage.name, epoch)


def times_of_epochs(store: EpochStore) -> dict[str, float]:
    """MJD of the first image of every epoch whose detections were read."""
    store = store.at_a_glance()
    return _times(store.epochs(RAW_DETECTIONS.name), store)


def _times(epochs: Iterable[str], store: EpochStore) -> dict[str, float]:
    """MJD of the first image of some epochs, of those whose detections were read."""
    records = {epoch: store.record(RAW_DETECTIONS.name, epoch) for epoch in epochs}
    return {epoch: float(record.facts["mjd_first"]) for epoch, record in records.items() if record}


def epochs_in_time_order(store: EpochStore) -> list[str]:
    """Epochs whose detections were read."""
    return time_order(times_of_epochs(store))


def in_time_order(epochs: Iterable[str], store: EpochStore) -> list[str]:
    """Epochs in time order; those not read yet last, by name."""
    wanted = list(epochs)
    return time_order(dict.fromkeys(wanted, float("inf")) | _times(wanted, store))


def of(stage: Stage, epoch: str, world: World, before: str = "") -> dict[str, str]:
    """Versions of everything that a stage would read for an epoch now.

    Parameters
    ----------
    before : version of the state before the epoch, for a stage that folds

    Raises
    ------
    InputError
        If the epoch's delivery is gone.
    NotMadeYet
        If a stage or a catalog that it reads has not been made.
    """
    if stage is RAW_DETECTIONS:
        return {INCOMING: _delivered(epoch, world)}
    inputs, missing = {}, []
    for name in stage.reads:
        record = world.record(STAGE[name], epoch)
        if record is None:
            missing.append(name)
        else:
            inputs[name] = record.data_version
    if missing:
        raise NotMadeYet(
            f"{missing[0]} of epoch {epoch!r} has not been made yet; `contimg run --epochs {epoch}` makes it", missing
        )
    if stage.reads_catalogs:
        inputs |= catalog_inputs(world)
    if stage.folds:
        inputs[STATE_BEFORE] = before
    if stage.reads_scales and world.scales is not None:
        inputs[SCALES] = world.scales.get(epoch, NO_SCALES)
    if stage.reads_folds:
        inputs |= of_folds(epoch, world)
    if stage.reads_images:
        inputs |= {FITS_IMAGES: world.images(epoch) or NO_IMAGES, POSITIONS: world.positions(epoch)}
    return inputs


def takes_part(stage: Stage, epoch: str, world: World) -> bool:
    """Whether a stage has, or should have, anything of an epoch: one of images only where there are any.

    An epoch that had images when it was measured takes part once more, to lose its fluxes; where its delivery is gone,
    what was measured stays.
    """
    if not stage.of_images:
        return True
    images = world.images(epoch)
    if images is None:
        return False
    measured = world.record(FORCED_STAGE, epoch)
    if images != NO_IMAGES or (measured is not None and measured.inputs.get(FITS_IMAGES) != NO_IMAGES):
        return True
    # Measured once, and now without images: the database follows.
    return (
        stage is FORCED_PRODUCTS
        and measured is not None
        and epoch in world.forced
        and measured.rows == 0
        and (world.forced[epoch].inputs.get(FORCED_STAGE.name) != measured.data_version)
    )


def of_folds(epoch: str, world: World) -> dict[str, str]:
    """What products are made from of the folds of all epochs: the epoch's own, and what others say of its sources."""
    folded = world.record(ASSOCIATED_SOURCES, epoch)
    found = {} if folded is None else {ASSOCIATED_SOURCES.name: folded.data_version}
    if merged := world.merged.get(epoch):
        found[MERGES] = merges.version_of(merged)
    if left_out := _left_out(folded, world):
        found[LEFT_OUT] = ",".join(left_out)
    return found


def _left_out(folded: EpochRecord | None, world: World) -> list[str]:
    """Epochs whose rows a fold copied, and that are not fit for the products, such as for a failed check.

    The copied rows wait for the epoch that they belong to; nothing else does.
    """
    copied_from = folded.facts.get(COPIED_FROM, ()) if folded is not None else ()
    return [name for name in copied_from if any(world.record(STAGE[stage], name) is None for stage in PRODUCTS.reads)]


def catalog_inputs(world: World) -> dict[str, str]:
    """Versions of all configured catalogs, by the key of their asset.

    Raises
    ------
    NotMadeYet
        If one of them has not been made.
    """
    require_made(name for name, version in world.catalogs.items() if version is None)
    return {f"reference/{name}": version for name, version in world.catalogs.items() if version is not None}


def require_made(missing: Iterable[str]) -> None:
    """Refuse to go on without reference catalogs.

    Raises
    ------
    NotMadeYet
        If any is missing.
    """
    keys = [f"reference/{name}" for name in missing]
    if keys:
        raise NotMadeYet(f"{keys[0]} has not been made yet; `contimg run` makes it", keys)


def _delivered(epoch: str, world: World) -> str:
    version = world.delivery(epoch)
    if version is None:
        raise InputError(
            f"{world.config.incoming / epoch}: the epoch's folder is gone; deliver it again, or remove the epoch with "
            f"`contimg epoch delete {epoch}`"
        )
    return version


def is_fresh(record: EpochRecord | None, inputs: Mapping[str, str], code: str) -> bool:
    """Whether a stored result is what these inputs and this code give."""
    return record is not None and record.code_version == code and record.inputs == inputs


def stands(failure: Failure | None, inputs: Mapping[str, str], code: str) -> bool:
    """Whether an attempt that failed would fail again: with the same inputs and code."""
    return failure is not None and failure.code_version == code and dict(failure.inputs) == dict(inputs)


def is_settled(stage: Stage, epoch: str, world: World) -> bool:
    """Whether the stages that a stage reads are fresh for an epoch, as far as they are made from each other."""
    for upstream in (STAGE[name] for name in stage.reads):
        record = world.record(upstream, epoch)
        if record is None:
            return False
        if upstream.reads:
            try:
                inputs = of(upstream, epoch, world, record.inputs.get(STATE_BEFORE, ""))
            except NotMadeYet:
                # What it was made from was lost, such as a damaged file.
                return False
            if not is_fresh(record, inputs, upstream.code_version(world.config)):
                return False
    return True


def state_version(stage: Stage, record: EpochRecord | None) -> str:
    """Version of a fold's state after an epoch; of the empty state where there is none."""
    return str(record.facts.get(STATE_AFTER, "")) if record is not None else NOTHING_BEFORE[stage.name]


def folds_follow_each_other(world: World) -> bool:
    """Whether every fold began with the state after the one before it, so that none has seen an epoch that is gone."""
    before: EpochRecord | None = None
    store = world.store.at_a_glance()
    for epoch in epochs_in_time_order(store):
        record = store.record(ASSOCIATED_SOURCES.name, epoch)
        if record is None:
            continue
        if record.inputs.get(STATE_BEFORE) != state_version(ASSOCIATED_SOURCES, before):
            return False
        before = record
    return True
