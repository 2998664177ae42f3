"""What is written about an epoch of a stage: its record, or why it failed; and what a process remembers of those."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from contimg_assets.pipeline.file_cache import FileCache, Signature
from contimg_assets.pipeline.stages import RAW_DETECTIONS

T = TypeVar("T")

RECORD, FAILURE = "record.json", "failure.json"
# Kinds of failure: a bad input fails again until it changes; trouble with where files are kept, and errors that nobody
# foresaw, may have passed by the next night.
BAD_INPUT, OF_STORE, INTERNAL = "input", "store", "internal"


@dataclass(frozen=True)
class StoredTable:
    """One table of an epoch: its file, row count, the version of its content, and the file's size.

    ``n_bytes`` is 0 where it is not known: in records of before it was kept.
    """

    file: str
    rows: int
    version: str
    n_bytes: int = 0


@dataclass(frozen=True)
class EpochRecord:
    """What the store holds for one stage and epoch, and what that was made from."""

    stage: str
    epoch: str
    data_version: str
    code_version: str
    inputs: Mapping[str, str]
    tables: Mapping[str, StoredTable]
    facts: Mapping[str, Any] = field(default_factory=dict)
    failed_checks: Mapping[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows of the stage's main table, the first one."""
        return next(iter(self.tables.values())).rows

    @classmethod
    def from_json(cls, text: str) -> EpochRecord:
        """The record as it was written.

        Raises
        ------
        ValueError
            If it is not one.
        """
        record = _RECORD.validate_json(text)
        if not record.tables:
            raise ValueError("it names no table")
        if record.stage == RAW_DETECTIONS.name and not isinstance(record.facts.get("mjd_first"), float | int):
            raise ValueError("it does not say when the epoch was observed")
        return record


@dataclass(frozen=True)
class Failure:
    """Why an attempt at an epoch failed, and of which inputs and code: the same attempt is not repeated for ever.

    ``kind`` is `BAD_INPUT`, `OF_STORE` or `INTERNAL`.
    ``failed_checks`` has a sentence for each quality check that failed, by its name. ``tables`` are kept with it.
    """

    stage: str
    epoch: str
    message: str
    kind: str
    code_version: str
    inputs: Mapping[str, str]
    attempts: int = 1
    failed_checks: Mapping[str, str] = field(default_factory=dict)
    tables: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, text: str) -> Failure:
        """The failure as it was written.

        Raises
        ------
        ValueError
            If it is not one.
        """
        return _FAILURE.validate_json(text)


_RECORD, _FAILURE = TypeAdapter(EpochRecord), TypeAdapter(Failure)


@dataclass(frozen=True)
class Damaged:
    """A file of the store that is not what was written.

    Attributes
    ----------
    fault : which it is, and what is wrong with it
    """

    fault: str

    @property
    def sentence(self) -> str:
        """The fault, and what becomes of it."""
        return f"{self.fault}: made again"


@dataclass(frozen=True)
class Look:
    """What was found of an epoch of a stage, when its folder had a signature.

    Attributes
    ----------
    signature : of the folder, just before
    current : the record; None where there is none
    failure : why the last attempt failed, if it did
    """

    signature: Signature
    current: EpochRecord | Damaged | None
    failure: Failure | None


class Memory:
    """What a process has seen of the store below a folder: all that is opened there shares it.

    Attributes
    ----------
    records, failures : by path
    looks : by stage and epoch, of folders that had settled; see `looks`
    brought_at : when what others wrote was brought here, by `time.monotonic` [s]; see `store_home`
    unindexed : how many records of a stage were parsed since its index on disk was written, see `looks`
    """

    def __init__(self) -> None:
        self.records = FileCache(lambda path: parsed(path, EpochRecord.from_json))
        self.failures = FileCache(lambda path: parsed(path, Failure.from_json))
        self.looks: dict[str, dict[str, Look]] = {}
        self.unindexed: dict[str, int] = {}
        self.brought_at = -float("inf")


# A daemon looks again every minute, and opens the store anew each time.
_STORES_REMEMBERED = 4


def memory_of(root: Path) -> Memory:
    """What this process has seen of the store below a folder."""
    return _memory_of(os.path.abspath(root))  # noqa: PTH100 - a link that is turned elsewhere leads to other files


@lru_cache(maxsize=_STORES_REMEMBERED)
def _memory_of(root: str) -> Memory:
    return Memory()


def parsed(path: str, parse: Callable[[str], T]) -> T | Damaged:
    """What a small file says, or that it is none of ours: cut, empty, of other keys, or not text at all."""
    content = Path(path).read_bytes()
    if not content:
        return Damaged(f"{path} is empty")
    try:
        return parse(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        return Damaged(f"{path} is damaged ({type(error).__name__})")
