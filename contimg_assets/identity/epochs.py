"""Epochs: what one may be called, their order, and ranges of them that follow each other."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from contimg_assets.errors import InputError

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


def time_order(times: Mapping[str, float]) -> list[str]:
    """Epochs by observation time, equal ones by key: the one order that everything follows.

    Parameters
    ----------
    times : MJD of each epoch's earliest image, by key; infinite where it is not known
    """
    return sorted(times, key=lambda epoch: (times[epoch], epoch))


def contiguous_ranges(epochs: Sequence[str], in_time_order: Sequence[str]) -> list[list[str]]:
    """Split a set of epochs into ranges without a gap in the time order: one Dagster run can take one range."""
    chosen = set(epochs)
    ranges: list[list[str]] = [[]]
    for epoch in in_time_order:
        if epoch in chosen:
            ranges[-1].append(epoch)
        elif ranges[-1]:
            ranges.append([])
    return [found for found in ranges if found]
