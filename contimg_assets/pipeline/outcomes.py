"""What a stage made of an epoch, or why it could not: passed from a stage's work to those who store and tell it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import pyarrow as pa

from contimg_assets.errors import QualityError
from contimg_assets.pipeline.records import EpochRecord, Failure, StoredTable

UNCHANGED = "inputs, code and configuration unchanged: nothing to do"
REFOLDED = "folded again because an earlier epoch changed"
STILL_SHOWN = "what was made of it before is kept and shown"
MEASURED_AGAIN = "measured again because there are other sources in its images"


@dataclass(frozen=True)
class Check:
    """Outcome of one quality check of one epoch. A blocking one that fails keeps the epoch from being published."""

    name: str
    passed: bool
    description: str

    @classmethod
    def of(cls, name: str, problems: Sequence[str]) -> Check:
        """The outcome of a check that returns one sentence per problem."""
        return cls(name, not problems, "; ".join(problems))


@dataclass(frozen=True)
class Content:
    """What a stage made of one epoch, before it is stored.

    Attributes
    ----------
    tables : all that the stage's schemas name; one of the epoch's record stays as it is stored
    inputs : versions that were read, where they are others than announced
    facts : numbers and texts that are kept with the epoch and shown
    metadata : more of them that are only shown
    figures : draws SVG images by title; called for the newest epoch of a run alone, which somebody may look at
    checks : outcomes of the stage's quality checks
    """

    tables: Mapping[str, pd.DataFrame | pa.Table | StoredTable]
    inputs: Mapping[str, str] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    figures: Callable[[], Mapping[str, bytes]] = dict
    checks: Sequence[Check] = ()


@dataclass(frozen=True)
class Made:
    """One epoch that a stage made, or found to be fresh.

    ``announced`` is false where only what Dagster does not see changed, such as a fold's state.
    """

    record: EpochRecord
    metadata: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, bytes] = field(default_factory=dict)
    note: str = ""
    announced: bool = True

    @property
    def all_metadata(self) -> dict[str, Any]:
        """What is shown of it, without the figures."""
        notes = {"note": self.note} if self.note else {}
        rows = {"dagster/row_count": self.record.rows} if self.record.tables else {}
        return {**rows, **self.record.facts, **self.metadata, **notes}


@dataclass(frozen=True)
class Failed:
    """One epoch that a stage could not make."""

    failure: Failure


Outcome = Made | Failed


def failed_checks(checks: Iterable[Check]) -> dict[str, str]:
    """The sentence of each check that failed, by name."""
    return {check.name: check.description for check in checks if not check.passed}


def refuse_failed_checks(epoch: str, checks: Iterable[Check], blocking: frozenset[str]) -> None:
    """Raise QualityError if a blocking check failed."""
    refused = [check for check in checks if check.name in blocking and not check.passed]
    if refused:
        raise QualityError(f"epoch {epoch!r} is not published: " + "; ".join(check.description for check in refused))


def medians(table: pd.DataFrame, *columns: str) -> dict[str, float]:
    """Median of each column as ``median_<column>``, without those that have no value."""
    found = {f"median_{column}": float(table[column].median()) for column in columns if table[column].notna().any()}
    return {name: value for name, value in found.items() if math.isfinite(value)}
