"""Columns at fixed places of a line: which places those are, and the cells of lines that blanks alone do not part.

A cell that is empty, or a name that holds blanks, shifts what is counted by blanks. Where every other line leaves the
same places blank, the columns are known, and such a line can be read after all.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from contimg_assets.sky.arrays import Flags

Slots = Sequence[tuple[int, int]]

_WORD = re.compile(rb"\S+")
# How many lines show which places are blank.
_ENOUGH = 5000


def slots_of(lines: Sequence[bytes], n_columns: int, free_end: bool) -> Slots | None:
    """First place of each column and the place after its last, if the lines leave blanks in the same places.

    Parameters
    ----------
    lines : that blanks part into ``n_columns``
    free_end : whether the last column may hold blanks
    """
    width = max(map(len, lines), default=0)
    filled: Flags = np.zeros(width + 1, bool)
    for line in lines[:_ENOUGH]:
        filled[: len(line)] |= np.frombuffer(line, np.uint8) > 32
    edges = np.flatnonzero(np.diff(filled.astype(np.int8), prepend=0))
    slots = [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]
    if free_end and len(slots) > n_columns:
        slots = [*slots[: n_columns - 1], (slots[n_columns - 1][0], width)]
    return slots if len(slots) == n_columns else None


def cells_in(line: bytes, slots: Slots, free_end: bool) -> list[bytes] | None:
    """The cells of a line, empty where nothing stands; None where a word is in two columns, or the line may be cut."""
    cells = [b""] * len(slots)
    starts = [start for start, _ in slots]
    last = -1
    for match in _WORD.finditer(line):
        touched = [n for n, (start, end) in enumerate(slots) if match.start() < end and match.end() > start]
        if len(touched) != 1:
            return None
        (last,) = touched
        cells[last] = line[starts[last] : slots[last][1]] if cells[last] else match.group()
    # Digits that are wider than everywhere else would be lost.
    if sum(map(len, (cell.replace(b" ", b"") for cell in cells))) != len(line.replace(b" ", b"").replace(b"\t", b"")):
        return None
    if last < len(slots) - (2 if free_end else 1):
        return None
    return [cell.strip() for cell in cells]
