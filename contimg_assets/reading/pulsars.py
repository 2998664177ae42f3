"""The database of the ATNF pulsar catalog as it is distributed (`psrcat.db`).

A line has a parameter, its error in units of the last digit, and its reference; lines that begin with ``@`` part the
pulsars.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from pathlib import Path

from contimg_assets.reading.columns import About
from contimg_assets.reading.encodings import check_text
from contimg_assets.reading.in_memory import Parted

_BEGINS = re.compile(rb"^PSR[JB] +\S", re.MULTILINE)
_PARTED = re.compile(rb"^@-+\s*$", re.MULTILINE)
_LOOKED_AT = 100_000
_POSITIONS = {"RAJ": "h:m:s", "DECJ": "d:m:s"}
_WITH_ERRORS = ("RAJ", "DECJ", "PMRA", "PMDEC", "S400", "S1400", "SPINDX")
_UNITS = {"PMRA": "mas / yr", "PMDEC": "mas / yr", "S400": "mJy", "S1400": "mJy"}
_TEXTS = ("PSRJ", "PSRB", "POSEPOCH", "PEPOCH")


def is_pulsar_database(content: bytes) -> bool:
    """Whether a text begins like the database."""
    head = content[:_LOOKED_AT]
    return _BEGINS.search(head) is not None and _PARTED.search(head) is not None


def open_pulsar_database(path: Path, content: bytes) -> Parted:
    """Read the database. Where the epoch of a position is not stated, it is that of the period, as in psrcat."""
    check_text(path, content)
    rows: list[dict[str, str]] = []
    lines: list[int] = []
    current: dict[str, str] = {}
    for number, line in enumerate(content.decode("utf-8").splitlines(), 1):
        words = line.split()
        if line.startswith("@"):
            current = {}
        elif len(words) > 1 and not line.startswith("#"):
            if not current:
                rows.append(current)
                lines.append(number)
            _take(current, words)
    names = [*_TEXTS, *(name + end for name in _WITH_ERRORS for end in ("", "_ERR"))]
    columns = {name: [row.get(name) for row in rows] for name in names}
    columns["POSEPOCH"] = [row.get("POSEPOCH", row.get("PEPOCH")) for row in rows]
    columns["PSRJ"] = [row.get("PSRJ", row.get("PSRB")) for row in rows]
    errors = {"RAJ_ERR": "s", "DECJ_ERR": "arcsec", **{f"{name}_ERR": unit for name, unit in _UNITS.items()}}
    about = About("database of pulsars (psrcat.db)")
    return Parted(path, columns, _POSITIONS | _UNITS | errors, lines, about)


def _take(row: dict[str, str], words: list[str]) -> None:
    """One line of a pulsar; the first of several for a parameter is the one that counts."""
    name, value = words[0], words[1]
    if name in row or (name not in _TEXTS and name not in _WITH_ERRORS):
        return
    row[name] = value
    if name in _WITH_ERRORS and len(words) > 2 and words[2].isdigit():
        error = _error(value, int(words[2]), name in _POSITIONS)
        if error is not None:
            row[f"{name}_ERR"] = error


def _error(value: str, digits: int, sexagesimal: bool) -> str | None:
    """An error in units of the last digit, in the value's unit; of a position in seconds."""
    parts = value.split(":") if sexagesimal else [value]
    try:
        place = Decimal(parts[-1]).as_tuple().exponent
    except InvalidOperation:
        return None
    if not isinstance(place, int):
        return None
    of_seconds = 60 ** (3 - len(parts)) if sexagesimal else 1
    return str(Decimal(digits).scaleb(place) * of_seconds)
