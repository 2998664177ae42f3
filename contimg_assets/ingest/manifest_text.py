"""The manifest as text: its columns, rows and lines, for all who look into it.

Belongs here: the one parser of `images.csv`, fast enough for thousands of them and with a limit of its own. Does not
belong here: what the other columns mean (`manifest`), and which files make up an epoch (`pipeline.deliveries`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from contimg_assets.errors import InputError
from contimg_assets.reading.columns import NUMBER, Broken
from contimg_assets.reading.files import read_bytes
from contimg_assets.reading.text import TextContainer
from contimg_assets.schemas.units import factor
from contimg_assets.sky.times import MJD_OF_1900, MJD_OF_2200, MJD_OF_JD0

MANIFEST = "images.csv"

MAX_MANIFEST_BYTES = 20_000_000
"""Largest manifest, unpacked: a hundred thousand images without footprints, two hundred with the longest ones."""

NUMBERS = (
    "mjd_mid",
    "ra_deg",
    "dec_deg",
    "radius_deg",
    "bmaj_arcsec",
    "bmin_arcsec",
    "bpa_deg",
    "freq_mhz",
    "rms_mjy_beam",
)
TEXTS = ("image", "catalogue", "format", "path", "sha256", "rms_map", "background_map", "footprint", "stokes")

# Of our columns, by the end of their names.
_UNITS = {"_deg": "deg", "_arcsec": "arcsec", "_mhz": "MHz", "_mjy_beam": "mJy/beam"}

_OTHERWISE = {"catalog": "catalogue", "image_name": "image", "frequency_mhz": "freq_mhz"}

TIME_COLUMNS = {
    **dict.fromkeys(("mjd_mid", "mjd", "time_mjd", "mid_mjd"), "MJD"),
    **dict.fromkeys(("jd_mid", "jd", "time_jd", "mid_jd"), "JD"),
    **dict.fromkeys(("time", "time_mid", "mid_time", "time_iso", "date_mid", "datetime", "time_utc"), "either"),
}
"""Columns that may state the middle of an observation, the first that is there: in days, or as a date with a time."""

KNOWN = (*NUMBERS, "n_detections", *TIME_COLUMNS, *TEXTS)
"""Every column that means something."""

_MJD_OF_UNIX = 40_587.0

_NUMBER = re.compile(NUMBER)
_IN_BRACKETS = re.compile(r"(?P<name>.*\S)\s*[\[(]\s*(?P<unit>[^\[\]()]+?)\s*[\])]")
_NO_LETTERS = re.compile(r"[^a-z0-9]+")
_DATE = re.compile(r"\d{4}-\d\d-\d\d(?P<time>[T ]\d\d:\d\d(:\d\d(\.\d+)?)?\s*(Z|[+-]\d\d:?\d\d)?)?$")
_UTC_IN_WORDS = re.compile(r"\s*(UTC|GMT)$", re.IGNORECASE)


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


def refuse_manifest(path: Path) -> None:
    """Refuse an epoch's manifest where a catalog is wanted: its images have positions, as sources have.

    Raises
    ------
    InputError
    """
    if path.name == MANIFEST:
        raise InputError(
            f"{path}: this is a manifest, which says what images an epoch has; name a catalog that stands in it"
        )


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
    names = _known_names(path, container.names)
    _refuse_other_units(path, dict(zip(container.names, names, strict=True)), container.units)
    return ManifestText(names, rows, lines, broken)


def _known_names(path: Path, names: Sequence[str]) -> tuple[str, ...]:
    """Names of columns without capitals and blanks, units in brackets as ours have them ("freq (MHz)"), and the one
    spelling of those that have two."""
    lower = [_plain_name(name) for name in names]
    known = tuple(_OTHERWISE.get(name, name) if _OTHERWISE.get(name, name) not in lower else name for name in lower)
    twice = next((name for name in known if name and known.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{path}: line 1: two columns are called {twice!r}; rename one")
    return known


def _refuse_other_units(path: Path, known: Mapping[str, str], units: Mapping[str, str]) -> None:
    """Refuse a column in another unit than its name has, by a row of units or in brackets behind the name."""
    for theirs, stated in units.items():
        name = known[theirs]
        ours = next((unit for ending, unit in _UNITS.items() if name in NUMBERS and name.endswith(ending)), stated)
        if not _is_same(stated, ours):
            raise InputError(
                f"{path}: line 1, column {theirs!r}: its unit is stated to be {stated!r}, and {ours} is needed; "
                "convert the column, or take the unit out"
            )


def _is_same(stated: str, ours: str) -> bool:
    """Whether a unit is ours: all in small letters or all in capitals, too, but never mJy for MJy."""
    # Nearly all are: astropy's units need not be loaded for a manifest.
    if stated in (ours, ours.lower(), ours.upper()):
        return True
    try:
        return factor(stated, ours) == 1.0
    except (ValueError, TypeError):
        return False


def _plain_name(name: str) -> str:
    plain = name.strip().lower()
    match = _IN_BRACKETS.fullmatch(plain)
    if match is None:
        return plain.replace(" ", "_")
    bare, unit = match["name"].replace(" ", "_"), _NO_LETTERS.sub("_", match["unit"])
    # Never a name with one unit and another one in brackets.
    known = (f"{bare}_{unit}", bare if bare.endswith(f"_{unit}") or unit in ("d", "days", "utc", "mjd") else "")
    return next((one for one in known if _OTHERWISE.get(one, one) in KNOWN), plain.replace(" ", "_"))


def is_too_large(path: Path | str) -> bool:
    """Whether a manifest is larger than any that is read."""
    try:
        return os.stat(path).st_size > MAX_MANIFEST_BYTES  # noqa: PTH116 - thousands of times
    except OSError:
        return False


def time_column(names: Sequence[str]) -> str | None:
    """The column of a manifest that states times, None without one."""
    return next((name for name in TIME_COLUMNS if name in names), None)


def times_of(text: ManifestText) -> list[float | None]:
    """Middle of each row's observation [MJD]; None where it is not stated, or not readable as a time."""
    column = time_column(text.names)
    if column is None:
        return [None] * len(text.rows)
    result: list[float | None] = []
    for cell in text.column(column):
        try:
            result.append(None if cell is None else mjd_of(cell, column))
        except ValueError:
            result.append(None)
    return result


def mjd_of(cell: str, column: str) -> float:
    """A time as it stands in a column: MJD or JD in days, or ISO 8601 in UTC.

    Raises
    ------
    ValueError
        With what is wrong and the cure, if it is none.
    """
    value = number_of(cell)
    if value is None:
        return _mjd_of_date(cell, column)
    scale = TIME_COLUMNS[column]
    if scale != "MJD" and value > MJD_OF_JD0:
        value -= MJD_OF_JD0
    elif scale == "JD":
        raise ValueError(f"{cell} is no Julian date; write it in mjd_mid if it is a modified one")
    if 1900 <= value <= 2200:
        days = 51_544.5 + (value - 2000.0) * 365.25
        raise ValueError(
            f"{cell} is not allowed: it looks like a year with decimals; a modified Julian date is needed (this would "
            f"be about {days:.2f}), or a date such as 2026-01-25T22:00:00 in a column `time`"
        )
    if not MJD_OF_1900 < value < MJD_OF_2200:
        raise ValueError(
            f"{value:g} is not allowed; a modified Julian date in days is needed (a Julian date minus 2400000.5), "
            "between the years 1900 and 2200"
        )
    return value


def _mjd_of_date(cell: str, column: str) -> float:
    written = _UTC_IN_WORDS.sub("Z", cell.strip()).upper()
    match = _DATE.match(written)
    if match is None:
        kind = "is not a number" if TIME_COLUMNS[column] != "either" else "is no time"
        raise ValueError(f"{cell[:80]!r} {kind}; write a modified Julian date, or a date such as 2026-01-25T22:00:00")
    if match["time"] is None:
        raise ValueError(f"{cell!r} is a date without a time of day; write it out, such as {cell.strip()}T22:00:00")
    try:
        moment = datetime.fromisoformat(written)
    except ValueError as error:
        raise ValueError(f"{cell!r} is no time ({error}); correct it") from error
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    mjd = _MJD_OF_UNIX + (moment - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(days=1)
    if not MJD_OF_1900 < mjd < MJD_OF_2200:
        raise ValueError(f"{cell!r} is not between the years 1900 and 2200; correct it")
    return mjd


def number_of(cell: str) -> float | None:
    """A cell as a number; None if it is not one."""
    if not _NUMBER.match(cell):
        return None
    return float(cell.replace("d", "e").replace("D", "e"))
