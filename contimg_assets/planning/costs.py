"""Costs of a survey as sums of terms: for the run, an epoch, an image, a source and a detection.

Every stage reads its rows a fixed number of times, and the association is local on the sky, so that no cost grows
faster than what it counts. The constants differ from machine to machine; they follow from a few small surveys that were
run there, whose shapes differ enough to tell the terms apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from scipy.optimize import nnls

from contimg_assets.errors import InputError
from contimg_assets.sky.arrays import Floats

VALIDATED_WITHIN = 0.25
"""Relative error of plans for surveys of up to nine times as many detections as the measured ones (docs/scale.md)."""

# Terms: the run, epochs, images of all epochs, detections of one epoch, sources, detections of all epochs.
_TERMS = ("run", "epoch", "image", "epoch_detection", "source", "detection")
QUANTITIES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "processor_s": ("run", "epoch", "image", "detection"),
        "shared_s": ("epoch", "image", "detection"),
        "memory_bytes": ("run",),
        "store_bytes": ("epoch", "image", "source", "detection"),
        "database_bytes": ("run", "source", "detection"),
        "dagster_bytes": ("run", "epoch", "image"),
    }
)
"""What is foretold, and the terms that each is a sum of.

``processor_s``: all work in one process; ``shared_s``: the part of it that helping processes can take over;
``memory_bytes``: peak of that process, without rows and what SQLite keeps of the database; ``store_bytes``,
``database_bytes``, ``dagster_bytes``: files afterwards.
"""
ROW_MEMORY_BYTES: Mapping[str, float] = MappingProxyType({"epoch_detection": 11_000.0, "detection": 450.0})
"""Memory for each detection of one epoch, while its stages are made, and for each of all epochs.

Small surveys hardly show it, and it is the same on all machines: from runs of 23,000 to 505,000 detections, in
5 to 64 epochs, whose peaks it gives within 7 % (docs/scale.md).
"""
DATABASE_CACHE_BYTES = 128 << 20
"""What SQLite keeps of the database at most, as `database.engine` asks it to."""
# More workers than this makes of the least possible time are not advised.
_NEAR_THE_LEAST = 1.25


@dataclass(frozen=True)
class SurveySize:
    """How large a survey is.

    Parameters
    ----------
    n_sources : of the whole survey
    n_epochs : epochs
    n_images : of an epoch
    detections_per_epoch : rows of an epoch's catalogs; as many as there are sources if not given

    Raises
    ------
    InputError
        If one of them is no number of things that a survey can have.
    """

    n_sources: int
    n_epochs: int
    n_images: int
    detections_per_epoch: float | None = None

    def __post_init__(self) -> None:
        for name in ("n_sources", "n_epochs", "n_images"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; a survey has at least one")
        if self.detections_per_epoch is not None and not 0 <= self.detections_per_epoch < math.inf:
            raise InputError(f"detections_per_epoch is {self.detections_per_epoch}; give a number of rows")

    @property
    def epoch_detections(self) -> float:
        """Rows of an epoch's catalogs."""
        return self.n_sources if self.detections_per_epoch is None else self.detections_per_epoch

    @property
    def n_detections(self) -> float:
        """Rows of the catalogs of all epochs."""
        return self.epoch_detections * self.n_epochs

    def terms(self, names: Sequence[str] = _TERMS) -> Floats:
        """How often each term counts, shape (n,)."""
        counts = {
            "run": 1.0,
            "epoch": float(self.n_epochs),
            "image": float(self.n_epochs * self.n_images),
            "epoch_detection": float(self.epoch_detections),
            "source": float(self.n_sources),
            "detection": float(self.n_detections),
        }
        return np.array([counts[name] for name in names])


@dataclass(frozen=True)
class Measured:
    """A survey that was run, and its cost in each of `QUANTITIES`; ``memory_bytes`` is all that the process held."""

    size: SurveySize
    costs: Mapping[str, float]


@dataclass(frozen=True)
class Plan:
    """What a survey of a size will cost.

    Parameters
    ----------
    costs : a value for each of `QUANTITIES`
    n_workers : helping processes; 0 where one process does all
    times_measured : detections over those of the largest measured survey
    worker_memory_bytes : peak of one helping process, which has an epoch at a time
    """

    size: SurveySize
    costs: Mapping[str, float]
    n_workers: int
    times_measured: float
    worker_memory_bytes: float

    @property
    def time_s(self) -> float:
        """How long it takes where each process has a processor of its own [s]."""
        processor, shared = self.costs["processor_s"], self.costs["shared_s"]
        return processor if not self.n_workers else processor - shared + shared / self.n_workers

    @property
    def memory_bytes(self) -> float:
        """What all processes hold at most [bytes]."""
        known = _known_memory(self.size, self.costs)
        return self.costs["memory_bytes"] + known + self.n_workers * self.worker_memory_bytes

    @property
    def disk_bytes(self) -> float:
        """Files of the store, Dagster and the database, whose journal holds a backfill once more [bytes]."""
        return self.costs["store_bytes"] + self.costs["dagster_bytes"] + 2.0 * self.costs["database_bytes"]

    @property
    def useful_workers(self) -> int:
        """The fewest workers with which it takes no more than 1.25 times as long as with any number; 0 if alone."""
        processor, shared = self.costs["processor_s"], self.costs["shared_s"]
        least = processor - shared
        if processor <= _NEAR_THE_LEAST * least:
            return 0
        return math.ceil(shared / ((_NEAR_THE_LEAST - 1.0) * least)) if least > 0 else self.size.n_epochs


@dataclass(frozen=True)
class CostModel:
    """Constants of the terms of each quantity, and the detections of the largest survey that they were measured on."""

    constants: Mapping[str, Mapping[str, float]]
    largest_measured: float

    def plan(self, size: SurveySize, n_workers: int = 0) -> Plan:
        """What a survey costs.

        Parameters
        ----------
        size : of the survey
        n_workers : processes that help

        Returns
        -------
        Plan

        Raises
        ------
        InputError
            If the number of workers is negative.
        """
        if n_workers < 0:
            raise InputError(f"{n_workers} workers cannot help; give 0 or more")
        costs = {name: self._sum(name, size.terms(tuple(terms))) for name, terms in self.constants.items()}
        # A process that helps holds an epoch and what it has loaded, but nothing of other epochs.
        alone = costs["memory_bytes"] + ROW_MEMORY_BYTES["epoch_detection"] * size.epoch_detections
        return Plan(size, costs, n_workers, size.n_detections / self.largest_measured, alone)

    def _sum(self, quantity: str, counts: Floats) -> float:
        return float(counts @ np.array(list(self.constants[quantity].values())))


def fit_costs(measured: Iterable[Measured]) -> CostModel:
    """Constants of all terms from surveys that were measured: least squares of relative residuals, none negative.

    Parameters
    ----------
    measured : at least as many surveys as the longest sum has terms, of shapes that tell the terms apart

    Returns
    -------
    CostModel

    Raises
    ------
    InputError
        If the surveys do not tell the terms of a quantity apart.

    References
    ----------
    Lawson, C. L. & Hanson, R. J. 1995, Solving Least Squares Problems, chapter 23 (nonnegative least squares)

    Examples
    --------
    >>> sizes = [SurveySize(10, 2, 2), SurveySize(10, 8, 2), SurveySize(10, 2, 16), SurveySize(900, 6, 6),
    ...          SurveySize(2000, 2, 6)]
    >>> costs = lambda size: {name: float(size.terms(terms).sum()) for name, terms in QUANTITIES.items()}
    >>> model = fit_costs([Measured(size, costs(size)) for size in sizes])
    >>> round(model.plan(SurveySize(1000, 100, 10)).costs["processor_s"])
    101101
    """
    surveys = [replace(one, costs=_without_known_memory(one)) for one in measured]
    constants = {name: _constants(name, terms, surveys) for name, terms in QUANTITIES.items()}
    return CostModel(constants, max(one.size.n_detections for one in surveys))


def _known_memory(size: SurveySize, costs: Mapping[str, float]) -> float:
    """Memory of rows, and of what SQLite keeps of the database [bytes]."""
    rows = float(size.terms(tuple(ROW_MEMORY_BYTES)) @ np.array(list(ROW_MEMORY_BYTES.values())))
    return rows + min(DATABASE_CACHE_BYTES, costs["database_bytes"])


def _without_known_memory(one: Measured) -> Mapping[str, float]:
    return {**one.costs, "memory_bytes": one.costs["memory_bytes"] - _known_memory(one.size, one.costs)}


def _constants(quantity: str, terms: Sequence[str], surveys: Sequence[Measured]) -> Mapping[str, float]:
    counts = np.array([one.size.terms(terms) for one in surveys]).reshape(-1, len(terms))
    values = np.array([one.costs[quantity] for one in surveys])
    # Terms differ by a million: each is fitted in its own unit.
    scale = counts.max(axis=0, initial=1.0)
    if np.linalg.matrix_rank(counts / scale) < len(terms):
        raise InputError(
            f"{len(surveys)} measured surveys do not tell the terms of {quantity} apart ({', '.join(terms)}); measure "
            "more of them, that differ in epochs, images and sources"
        )
    least = 1e-9 * float(np.abs(values).max()) or 1.0
    weights = 1.0 / np.maximum(np.abs(values), least)
    found, _ = nnls(counts / scale * weights[:, None], values * weights)
    return dict(zip(terms, (found / scale).tolist(), strict=True))
