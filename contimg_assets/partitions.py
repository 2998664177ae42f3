"""Epochs as Dagster partitions: what a key may look like, and the order they are registered in.

Epochs are irregular, so they are dynamic partitions. Their order is by observation time everywhere; Dagster keeps keys
in the order they were added and cuts runs of many epochs into contiguous ranges of that order, so a late epoch is put
where it belongs by re-adding the keys after it. Events hang on the key, so nothing is lost.
"""

import re
from collections.abc import Sequence

import dagster as dg

from contimg_assets.errors import InputError

EPOCH_PARTITIONS = "epoch"
EPOCHS = dg.DynamicPartitionsDefinition(name=EPOCH_PARTITIONS)
SINGLE_RUN = dg.BackfillPolicy.single_run()
# A run takes a range of epochs by these tags of Dagster's.
RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"

# Keys become folder names and go through the UI's backfills, which split them at commas.
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+-]{0,99}")


def is_epoch_key(name: str) -> bool:
    """Whether an epoch may be called so."""
    return _KEY.fullmatch(name) is not None


def check_epoch_key(epoch: str) -> str:
    """The key itself, if it is one.

    Raises
    ------
    InputError
        If it is not letters, digits and ``_ . : + -``, beginning with a letter or digit, at most 100 of them.
    """
    if not is_epoch_key(epoch):
        raise InputError(
            f"epoch folder {epoch!r} cannot be an epoch's name: rename it to letters, digits and '_', '.', ':', '+', "
            f"'-', beginning with a letter or digit, at most 100 characters"
        )
    return epoch


def register_epochs(instance: dg.DagsterInstance, in_time_order: Sequence[str]) -> list[str]:
    """Make exactly these epochs the partitions, in this order; return the newly added ones.

    A crash half-way loses no epoch for good: the next call completes the list.
    """
    known = list(instance.get_dynamic_partitions(EPOCH_PARTITIONS))
    wanted = list(in_time_order)
    if known == wanted:
        return []
    agree = 0
    while agree < min(len(known), len(wanted)) and known[agree] == wanted[agree]:
        agree += 1
    for key in known[agree:]:
        instance.delete_dynamic_partition(EPOCH_PARTITIONS, key)
    if wanted[agree:]:
        instance.add_dynamic_partitions(EPOCH_PARTITIONS, wanted[agree:])
    return sorted(set(wanted) - set(known))


def contiguous_ranges(epochs: Sequence[str], in_time_order: Sequence[str]) -> list[list[str]]:
    """Split a set of epochs into stretches without a gap in the time order: one Dagster run can take one stretch."""
    chosen = set(epochs)
    ranges: list[list[str]] = [[]]
    for epoch in in_time_order:
        if epoch in chosen:
            ranges[-1].append(epoch)
        elif ranges[-1]:
            ranges.append([])
    return [stretch for stretch in ranges if stretch]
