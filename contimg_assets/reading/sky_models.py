"""Sky models as text: the source lists of WSClean and the models of BBS, DP3, LSMTool and PyBDSF (format "bbs").

Their first line says the columns, with defaults: ``Format = Name, Type, Ra, Dec, I, ReferenceFrequency='1.4e9'``, or
the same as a comment that ends in ``= format``. Right ascensions are ``hh:mm:ss.s``, declinations ``dd.mm.ss.s``;
spectral terms stand in brackets; a row may end early. Rows without a name give the place of a patch and are no source.

Fluxes are in Jy, axes in arcsec; `ingest.readers.sky_model` says what the columns mean.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from contimg_assets.errors import InputError
from contimg_assets.reading.columns import EXCERPT, About, Broken, Columns, clean_text, parse_numbers
from contimg_assets.reading.encodings import check_text

_FORMAT = re.compile(
    rb"^[#\s]*(?:format\s*=\s*(?P<plain>[^\n]+)|\((?P<in_comment>[^\n]+)\)\s*=\s*format\s*)$", re.I | re.M
)
# Parts of a list that no bracket and no quote holds together.
_CELL = re.compile(r"""\s*((?:\[[^\]]*\]|'[^']*'|"[^"]*"|[^,\['"])*)(?:,|$)""")
_DEFAULT = re.compile(r"""\s*([\w:-]+)\s*(?:=\s*(.*))?$""")
# As some writers have it.
_QUOTES = str.maketrans({"\u2019": "'", "\u2018": "'"})


def is_sky_model(content: bytes) -> bool:
    """Whether a text begins like a sky model."""
    return _FORMAT.search(content[:4096]) is not None


class SkyModelContainer:
    """A sky model in memory."""

    def __init__(self, path: Path, names: Sequence[str], rows: Mapping[int, list[str]], broken: list[Broken]) -> None:
        self.path = path
        self.names = tuple(names)
        self.units: Mapping[str, str] = {}
        self.about = About("text of a sky model (Format = ...)")
        self._rows, self._broken = rows, broken

    def load(self, numbers: Sequence[str], texts: Sequence[str]) -> Columns:
        result = Columns({}, {}, np.array(list(self._rows), np.int64), broken=list(self._broken))
        for name in dict.fromkeys([*numbers, *texts]):
            place = self.names.index(name)
            cells = pa.array([row[place] for row in self._rows.values()], pa.string())
            if name in texts:
                result.texts[name] = clean_text(cells)
            if name in numbers:
                result.numbers[name], faults = parse_numbers(cells)
                if len(faults[0]):
                    result.not_numbers[name] = faults
        return result


def open_sky_model(path: Path, content: bytes) -> SkyModelContainer:
    """Read a sky model.

    Raises
    ------
    InputError
        If its first line does not say columns.
    """
    check_text(path, content)
    match = _FORMAT.search(content)
    assert match is not None
    described = _cells((match["plain"] or match["in_comment"]).decode("utf-8").translate(_QUOTES))
    parts = [_DEFAULT.match(cell) for cell in described]
    if not all(parts) or len({part[1] for part in parts if part}) < len(parts):
        raise InputError(f"{path}: the line with its format names no columns; correct it")
    names = [part[1] for part in parts if part]
    defaults = [(part[2] or "").strip("'\" ") for part in parts if part]
    head = content.count(b"\n", 0, match.start())
    rows: dict[int, list[str]] = {}
    broken = []
    named = names.index("Name") if "Name" in names else 0
    for number, line in enumerate(content.decode("utf-8").splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#") or number == head + 1:
            continue
        cells = _cells(text)
        if len(cells) > len(names) + 1 or (len(cells) == len(names) + 1 and cells[-1]):
            reason = f"the line has {len(cells)} columns, the header {len(names)}"
            broken.append(Broken(number, text[:EXCERPT], reason))
        elif len(cells) > named and cells[named]:
            given = cells[: len(names)] + [""] * (len(names) - len(cells))
            rows[number] = [cell or default for cell, default in zip(given, defaults, strict=True)]
    return SkyModelContainer(path, names, rows, broken)


def _cells(line: str) -> list[str]:
    cells, at = [], 0
    while at < len(line):
        match = _CELL.match(line, at)
        if match is None:
            return line.split(",")
        cells.append(match[1].strip())
        at = max(match.end(), at + 1)
    return cells
