"""A small table that was taken apart by hand: columns of texts, as a container."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from contimg_assets.reading.columns import About, Columns, clean_text, parse_numbers
from contimg_assets.sky.arrays import Floats


class Parted:
    """Columns of a text whose lines are no rows.

    Parameters
    ----------
    columns : name -> its cells as text, or its numbers
    units : of some of them
    lines : of the file, on which each row begins
    """

    def __init__(
        self,
        path: Path,
        columns: Mapping[str, Sequence[str | None] | Floats],
        units: Mapping[str, str],
        lines: Sequence[int],
        about: About,
    ) -> None:
        self.path = path
        self.names = tuple(columns)
        self.units: Mapping[str, str] = units
        self.about = about
        self._columns, self._lines = columns, lines

    def load(self, numbers: Sequence[str], texts: Sequence[str]) -> Columns:
        result = Columns({}, {}, np.asarray(self._lines, np.int64))
        for name in numbers:
            values = self._columns[name]
            if isinstance(values, np.ndarray):
                result.numbers[name] = values
                continue
            result.numbers[name], faults = parse_numbers(pa.array(values, pa.string()))
            if len(faults[0]):
                result.not_numbers[name] = faults
        for name in texts:
            values = self._columns[name]
            cells = [f"{value:.17g}" for value in values] if isinstance(values, np.ndarray) else values
            result.texts[name] = clean_text(pa.array(cells, pa.string()))
        return result
