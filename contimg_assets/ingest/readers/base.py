"""What a reader is: the columns of one source finder, where each comes from, and what it means.

Belongs here: the protocol and the few things all readers share. Does not belong here: parsing of files (`text`,
`binary`) and checking of rows (`rows`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contimg_assets.config import ColumnSource
from contimg_assets.reading.columns import Columns
from contimg_assets.sky.arrays import Flags, Floats


@dataclass(frozen=True)
class Source:
    """Where one of our columns comes from.

    Parameters
    ----------
    ours : name in the schema of detections
    names : columns of the file that may hold it, the first that is there is taken
    unit : unit where the file states none; empty for numbers without unit and for text
    missing : values that the finder writes for "none"
    missing_if_negative : for errors: the finder writes -1 where the fit failed
    text : whether it is text
    declared : whether ``unit`` was stated by the user and overrules the file's
    """

    ours: str
    names: tuple[str, ...]
    unit: str = ""
    missing: tuple[float, ...] = ()
    missing_if_negative: bool = False
    text: bool = False
    declared: bool = False


@dataclass
class Rows:
    """Rows of one catalog in our columns and units, before they are checked.

    ``numbers`` and ``texts`` are by our names; ``columns`` says which column of the file each came from. ``forced``
    says whether the flux was measured at a given position, of all rows or of each; ``failed`` are rows of fits that
    failed, each group with our column that shows it and the reason.
    """

    delivered: Columns
    numbers: dict[str, Floats]
    texts: dict[str, pa.Array]
    columns: dict[str, str]
    forced: bool | Flags = False
    failed: list[tuple[Flags, str, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.delivered.lines)


class Reader(Protocol):
    """One source finder's catalogs."""

    @property
    def name(self) -> str:
        """What manifests call the format."""
        ...

    @property
    def signature(self) -> tuple[frozenset[str], ...]:
        """Columns that, together, only this finder writes; any of these groups. None where that is not all."""
        ...

    def recognizes(self, columns: Collection[str], file_name: str) -> bool:
        """Whether a catalog with these columns and this name (lower case) is of this format."""
        ...

    def sources(self, columns: Collection[str]) -> Sequence[Source]:
        """Where our columns come from in a catalog with these columns."""
        ...

    def needs(self) -> Sequence[tuple[str, ...]]:
        """Our columns that must be there; of each tuple, one suffices."""
        ...

    def wrote(self, comments: Sequence[str]) -> bool:
        """Whether these comments are this finder's, which has nothing else to write of an image without sources."""
        ...

    def finish(self, rows: Rows) -> None:
        """What is more than taking a column over: composed identifiers, forced fluxes. Changes ``rows``."""
        ...


AS_TEXT = frozenset({"component_id", "island_id", "has_siblings", "forced"})
"""Our columns that are read as text."""

NEEDS: tuple[tuple[str, ...], ...] = (
    ("component_id",),
    ("ra_deg",),
    ("dec_deg",),
    ("flux_peak_mjy_beam", "flux_int_mjy"),
)


@dataclass(frozen=True)
class FinderReader:
    """A reader that is fully described by its columns.

    ``signature`` are columns that, together, only this finder writes.
    """

    name: str
    signature: tuple[frozenset[str], ...]
    columns: tuple[Source, ...]
    finishing: Callable[[Rows], None] | None = None
    words: tuple[str, ...] = ()

    def wrote(self, comments: Sequence[str]) -> bool:
        return wrote(comments, self.words)

    def recognizes(self, columns: Collection[str], file_name: str) -> bool:
        present = set(columns)
        return any(signature <= present for signature in self.signature)

    def sources(self, columns: Collection[str]) -> Sequence[Source]:
        return self.columns

    def needs(self) -> Sequence[tuple[str, ...]]:
        return NEEDS

    def finish(self, rows: Rows) -> None:
        if self.finishing is not None:
            self.finishing(rows)


def wrote(comments: Sequence[str], words: Sequence[str]) -> bool:
    """Whether a comment has one of a finder's words."""
    return any(word.lower() in comment.lower() for comment in comments for word in words)


def overruled(sources: Sequence[Source], column_map: Mapping[str, ColumnSource]) -> tuple[Source, ...]:
    """A finder's sources with what a person declared in their place, and beside them."""
    known = {source.ours: source for source in sources}
    for ours, declared in column_map.items():
        usual = known.get(ours, Source(ours, (ours,), text=ours in AS_TEXT))
        unit = usual.unit if declared.unit is None else declared.unit
        known[ours] = replace(usual, names=(declared.column,), unit=unit, declared=declared.unit is not None)
    return tuple(known.values())


def joined(*parts: pa.Array, separator: str = "_") -> pa.Array:
    """Identifiers composed of several, null where one is missing."""
    return pc.binary_join_element_wise(*parts, separator)


def unflagged(flags: Floats, usable: Collection[float]) -> Flags:
    """Which rows a survey's flag leaves usable, shape (n,); those without a flag are."""
    result: Flags = np.isin(flags, list(usable)) | np.isnan(flags)
    return result


def is_one_of(texts: pa.Array, values: Collection[str]) -> Flags:
    """Which texts are among some values, shape (n,); missing ones are not."""
    result: Flags = np.asarray(pc.fill_null(pc.is_in(texts, pa.array(values, pa.string())), False))
    return result


def copy_where_missing(rows: Rows, ours: str, other: str) -> None:
    """Take ``other`` where ``ours`` is missing."""
    if other in rows.numbers:
        there = rows.numbers.get(ours, np.full(len(rows), np.nan))
        rows.numbers[ours] = np.where(np.isnan(there), rows.numbers[other], there)
        rows.columns.setdefault(ours, rows.columns[other])
