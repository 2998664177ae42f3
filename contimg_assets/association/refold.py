"""The fold over stored epochs: which epochs have to be folded again after data came late, changed or vanished.

An epoch's stored result is good exactly when it was made from the measurements that are there now, on top of the state
that is there now. So nobody has to say what changed: the versions say it, after a crash too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import pandas as pd

from contimg_assets.association.fold import VERSION, FoldResult, fold
from contimg_assets.association.state import FoldState
from contimg_assets.config import Association
from contimg_assets.identity.versions import combine_versions


@dataclass(frozen=True)
class Link:
    """What a stored result was made from, and the version of the state it ended in.

    Attributes
    ----------
    measurements : version of the epoch's measurements
    before : version of the state before the epoch
    rule : version of algorithm and parameters (`rule_version`)
    after : version of the state after the epoch
    """

    measurements: str
    before: str
    rule: str
    after: str


class FoldStore(Protocol):
    """What `refold` reads. It writes nothing: the caller stores what it yields, each result and its link as one."""

    def link(self, epoch: str) -> Link | None:
        """Link of the stored result; None where there is none."""

    def state(self, epoch: str) -> FoldState:
        """Stored state after the epoch."""

    def measurements_version(self, epoch: str) -> str:
        """Version of the epoch's measurements as they are now."""

    def measurements(self, epoch: str) -> pd.DataFrame:
        """The epoch's measurements as they are now, without duplicates."""

    def images(self, epoch: str) -> pd.DataFrame | None:
        """The epoch's images (for the coverage), or None."""


@dataclass(frozen=True)
class Refolded:
    """One epoch that was folded again, to be stored before the next one is asked for."""

    epoch: str
    result: FoldResult
    link: Link


def rule_version(parameters: Association) -> str:
    """Changes when the algorithm or a parameter changes."""
    return combine_versions(VERSION, parameters.version)


def refold(
    store: FoldStore,
    epochs_in_time_order: Sequence[str],
    parameters: Association,
    changed: Collection[str] = (),
    rule: str | None = None,
) -> Iterator[Refolded]:
    """Fold what has to be folded, in time order, and nothing else.

    Starts at the first epoch whose stored result is missing or was made from something else than what is there now,
    from the stored state of its predecessor, and goes on until a state is equal to the one that the next epoch's
    stored result was made from; epochs after that are passed over up to the next one that is not good. A deleted
    epoch is one that ``epochs_in_time_order`` lacks: its successor's result was made on top of another state.

    Parameters
    ----------
    epochs_in_time_order : all epochs that exist
    changed : epochs to fold again even if their versions say they are good
    rule : version of algorithm and parameters, where the caller's covers more than `rule_version`

    Yields
    ------
    Each epoch that was folded. Where the caller stops early or is killed, the next call goes on from there.
    """
    rule = rule if rule is not None else rule_version(parameters)
    state: FoldState | None = FoldState.empty()
    version = FoldState.empty().version
    previous = ""
    for epoch in epochs_in_time_order:
        link = store.link(epoch)
        measurements_version = store.measurements_version(epoch)
        if (
            link is not None
            and epoch not in changed
            and (link.measurements, link.before, link.rule) == (measurements_version, version, rule)
        ):
            state, version, previous = None, link.after, epoch
            continue
        if state is None:
            state = store.state(previous)
        result = fold(state, store.measurements(epoch), parameters, store.images(epoch))
        made_from = Link(measurements_version, version, rule, result.state.version)
        state, version, previous = result.state, result.state.version, epoch
        yield Refolded(epoch, result, made_from)
