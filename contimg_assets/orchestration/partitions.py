"""Epochs as Dagster partitions: what a key may look like, and the order they are registered in.

Epochs are irregular, so they are dynamic partitions. Their order is by observation time everywhere; Dagster keeps keys
in the order they were added and cuts runs of many epochs into contiguous ranges of that order, so a late epoch is put
where it belongs by re-adding the keys after it. Events hang on the key, so nothing is lost.
"""

from collections.abc import Sequence

import dagster as dg

from contimg_assets.database.engine import IntegrityError

EPOCH_PARTITIONS = "epoch"
EPOCHS = dg.DynamicPartitionsDefinition(name=EPOCH_PARTITIONS)
SINGLE_RUN = dg.BackfillPolicy.single_run()
# A run takes a range of epochs by these tags of Dagster's.
RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"
# How often others may add an epoch at the moment that it is added here.
_TRIES = 5
_AT_WORK = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def registered_epochs(instance: dg.DagsterInstance) -> list[str]:
    """The epochs that Dagster knows, in its order."""
    return list(instance.get_dynamic_partitions(EPOCH_PARTITIONS))


def register_epochs(instance: dg.DagsterInstance, in_time_order: Sequence[str]) -> list[str]:
    """Make exactly these epochs the partitions, in this order; return the newly added ones.

    A crash half-way loses no epoch for good: the next call completes the list. While a run is under way, new epochs are
    put at the end and nothing is taken out, for the run fails if it misses one of its own for a moment; a later call
    puts them in order. So ranges of epochs go by `registered_epochs`.
    """
    known = registered_epochs(instance)
    wanted = list(in_time_order)
    if known == wanted:
        return []
    if instance.get_runs_count(dg.RunsFilter(statuses=_AT_WORK)):
        added = [epoch for epoch in wanted if epoch not in set(known)]
        _add(instance, added)
        return sorted(added)
    agree = 0
    while agree < min(len(known), len(wanted)) and known[agree] == wanted[agree]:
        agree += 1
    for key in known[agree:]:
        instance.delete_dynamic_partition(EPOCH_PARTITIONS, key)
    _add(instance, wanted[agree:])
    return sorted(set(wanted) - set(known))


def _add(instance: dg.DagsterInstance, epochs: Sequence[str]) -> None:
    """Add epochs, whoever else adds them at the same time."""
    if not epochs:
        return
    for trial in range(_TRIES):
        try:
            instance.add_dynamic_partitions(EPOCH_PARTITIONS, epochs)
            return
        except IntegrityError:
            # Dagster looks for those that are there and then writes the others. Between both another process wrote one:
            # the next look finds it.
            if trial == _TRIES - 1:
                raise
