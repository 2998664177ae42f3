"""What a method decides about one epoch: which measurement continues, forks or founds which source."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from contimg_assets.association.source_pairs import SourcePairs
from contimg_assets.sky.arrays import Indices


@dataclass(frozen=True)
class Decision:
    """Indices into the candidate pairs, the measurements and the sources known before the epoch.

    Attributes
    ----------
    kept : pairs whose source continues with the measurement; each source at most once
    forked : pairs whose measurement splits off the source under a new id
    copies_history : whether the forks take the parent's history with them
    born : measurements that found a source of their own
    blends : pairs of sources (indices, shape (k, 2)) that one measurement lies between
    keeps_position : kept pairs that do not move their source's position: the measurement is a blend's
    doubted : kept pairs that are farther apart than their errors allow: one of both positions is an outlier
    restarts_position : kept pairs from which their source's position starts anew: until now it was a blend's
    """

    kept: Indices
    forked: Indices
    copies_history: bool
    born: Indices
    blends: Indices
    keeps_position: Indices
    restarts_position: Indices
    doubted: Indices = field(default_factory=lambda: np.empty(0, np.intp))


def unmatched(n_measurements: int, pairs: SourcePairs, *chosen: Indices) -> Indices:
    """Measurements that none of the chosen pairs holds."""
    free = np.ones(n_measurements, bool)
    for index in chosen:
        free[pairs.measurement[index]] = False
    return np.flatnonzero(free)
