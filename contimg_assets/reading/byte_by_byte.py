"""Texts in fixed columns that a description "Byte-by-byte" goes with: files of the CDS beside their ReadMe, and the
machine-readable tables of journals, which begin with theirs."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from contimg_assets.errors import InputError
from contimg_assets.reading.binary import ASTROPY_LOCK
from contimg_assets.reading.columns import first_line_of, is_number
from contimg_assets.reading.files import is_file, plain_name
from contimg_assets.reading.headers import Header

_TITLE = b"Byte-by-byte Description of file:"
_LARGEST_README = 5_000_000
_README = "[Rr][Ee][Aa][Dd][Mm][Ee]*"
_B1950 = re.compile(r"\bB?1950")


@dataclass(frozen=True)
class Description:
    """What is said of a table: its header, and the frame of the positions where it is not that of 2000."""

    header: Header
    frame: str | None


def has_description(content: bytes) -> bool:
    """Whether a text begins with the description of its own columns."""
    return _TITLE in content[:20_000]


def own_description(path: Path, content: bytes) -> Description:
    """The description that a text begins with.

    Raises
    ------
    InputError
        If it cannot be followed.
    """
    lines = content.decode("utf-8").splitlines()
    rules = [n for n, line in enumerate(lines) if line.startswith(("-----", "====="))]
    first = rules[-1] + 1
    offset = sum(len(line.encode()) + 1 for line in lines[:first])
    return _described(path, "\n".join(lines[:first]), None, first + 1, offset)


def description_beside(path: Path) -> Description | None:
    """The description of a file in the ReadMe of its folder; None without one."""
    readme = readme_of(path)
    return None if readme is None else _described(path, _text_of(readme), readme, 1, 0)


def is_readme(name: str) -> bool:
    """Whether a file of this name, with its folders or without, may describe the columns of those beside it."""
    return fnmatchcase(name.rpartition("/")[2], _README)


def readmes_in(folder: str) -> tuple[str, ...]:
    """Files of a folder that `is_readme` takes, in the order of their names."""
    return tuple(sorted(map(str, Path(folder).glob(_README))))


def readme_of(path: Path, readmes: Sequence[str] | None = None) -> Path | None:
    """The ReadMe of a file's folder that describes its columns; None where there is none.

    A link is followed to the folder of the file alone: names in a delivery are never trusted.

    Parameters
    ----------
    readmes : of the folder, as `readmes_in` finds them, for those who remember it

    Examples
    --------
    >>> from pathlib import Path
    >>> readme_of(Path("no_such_folder/table.dat")) is None
    True
    """
    for readme in map(Path, readmes_in(str(path.parent)) if readmes is None else readmes):
        if readme.is_symlink() and readme.resolve().parent not in (path.parent.resolve(), path.resolve().parent):
            continue
        if not is_file(readme) or readme.stat().st_size > _LARGEST_README:
            continue
        text = _text_of(readme)
        if _TITLE.decode() in text and plain_name(path) in text.lower():
            return readme
    return None


def _text_of(readme: Path) -> str:
    return readme.read_bytes().decode("utf-8", "replace")


def _described(path: Path, text: str, readme: Path | None, first_line: int, offset: int) -> Description:
    from astropy.io import ascii as astropy_ascii

    reader: Any = astropy_ascii.get_reader(astropy_ascii.Cds, readme=None if readme is None else str(readme))
    if readme is not None:
        # As the ReadMe writes it: names of files may have capitals.
        name = re.search(re.escape(plain_name(path)), text, re.IGNORECASE)
        reader.data.table_name = name[0] if name is not None else path.name
    try:
        with ASTROPY_LOCK, warnings.catch_warnings():
            # Of units that the CDS does not know, such as Jy/beam; ours are parsed where they are asked for.
            warnings.simplefilter("ignore")
            reader.header.get_cols(text.splitlines())
        columns = reader.header.cols
        fills = [fill for fill in reader.data.fill_values if len(fill) == 3 and is_number(fill[0])]
        missing = {str(name): float(value) for value, _, name in fills}
    except (astropy_ascii.InconsistentTableError, ValueError, LookupError, AttributeError) as error:
        where = path if readme is None else readme
        raise InputError(
            f"{path}: the byte-by-byte description in {where} cannot be followed ({first_line_of(error)}); convert the "
            "table to CSV"
        ) from error
    units = {str(col.name): str(col.unit) for col in columns if col.unit is not None}
    slots = tuple((int(col.start), int(col.end)) for col in columns)
    header = Header([str(col.name) for col in columns], " ", units, first_line, offset, (), slots, missing)
    told = " ".join(str(col.description or "") for col in columns if str(col.name).upper().startswith("RA"))
    frame = "FK4 1950" if _B1950.search(told) and "2000" not in told else None
    return Description(header, frame)
