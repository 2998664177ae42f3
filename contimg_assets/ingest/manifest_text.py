"""The manifest as text: its columns, rows and lines, for all who look into it.

Belongs here: the one parser of `images.csv`, fast enough for thousands of them and with a limit of its own. Does not
belong here: what the columns mean (`manifest`), and which files make up an epoch (`pipeline.deliveries`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from contimg_assets.errors import InputError
from contimg_assets.reading.columns import NUMBER, Broken
from contimg_assets.reading.files import read_bytes
from contimg_assets.reading.text import TextContainer

MANIFEST = "images.csv"

MAX_MANIFEST_BYTES = 20_000_000
"""Largest manifest, unpacked: a hundred thousand images without footprints, two hundred with the longest ones."""

_NUMBER = re.compile(NUMBER)


@dataclass(frozen=True)
class ManifestText:
    """What a manifest says, word by word.

    Parameters
    ----------
    names : its columns
    rows : cells of each row that has as many as the header, None for a missing one
    lines : of the file, by row
    broken : lines that do not split into the columns of the header
    """

    names: tuple[str, ...]
    rows: Sequence[Sequence[str | None]]
    lines: Sequence[int]
    broken: Sequence[Broken]

    def column(self, name: str) -> list[str | None]:
        """The cells of a column; None everywhere if there is no such column."""
        if name not in self.names:
            return [None] * len(self.rows)
        place = self.names.index(name)
        return [row[place] for row in self.rows]


def read_manifest_text(path: Path) -> ManifestText:
    """Read and split `images.csv`.

    Raises
    ------
    InputError
        If it cannot be read, is larger than `MAX_MANIFEST_BYTES`, or is not a text with a header line.
    """
    if is_too_large(path):
        raise InputError(
            f"{path}: larger than {MAX_MANIFEST_BYTES / 1e6:g} MB, which no manifest is; it has one row an image, and "
            "long footprints stand in files of their own"
        )
    with ExitStack() as held:
        container = TextContainer(path, read_bytes(path, MAX_MANIFEST_BYTES / 1e6, held), whole_lines=False)
    rows, lines, broken = container.rows()
    return ManifestText(container.names, rows, lines, broken)


def is_too_large(path: Path | str) -> bool:
    """Whether a manifest is larger than any that is read."""
    try:
        return os.stat(path).st_size > MAX_MANIFEST_BYTES  # noqa: PTH116 - thousands of times
    except OSError:
        return False


def number_of(cell: str) -> float | None:
    """A cell as a number; None if it is not one."""
    if not _NUMBER.match(cell):
        return None
    return float(cell.replace("d", "e").replace("D", "e"))
