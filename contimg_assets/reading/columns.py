"""Columns of a delivered catalog as values: numbers, texts, and what is neither.

Belongs here: the protocol that all file formats are read through, and the rules by which text is a number, missing, or
neither. Does not belong here: any one format (`text`, `binary`), and what a column means (`readers`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contimg_assets.errors import InputError
from contimg_assets.schemas.units import is_known
from contimg_assets.sky.arrays import Floats, Indices, Integers

NULLS = [
    *("", "nan", "NaN", "NAN", "null", "NULL", "none", "None", "NONE", "--", "N/A", "n/a", "masked"),
    # VizieR and older tables; pandas; PSRCAT; databases.
    *("---", "----", "...", "<NA>", "NA", "*", "<null>", "\\N"),
    # Spreadsheets; IRAF; C and Fortran, which fills a field with stars where a number does not fit.
    *("#N/A", "#NA", "na", "nil", "(null)", "?", "INDEF", "undef", "-nan", "-NaN", "+nan", "1.#QNAN", "-1.#IND"),
    *("*" * n for n in range(2, 17)),
]
"""What stands for a missing value in a text file."""

_NO_NUMBERS = [*NULLS, "-"]
# A dash alone is a missing number, but as a text it may be the sign of a declination.

NUMBER = r"^\s*[+-]?((\d+\.?\d*|\.\d+)([eEdD][+-]?\d+)?|[iI][nN][fF]([iI][nN][iI][tT][yY])?)\s*$"
"""What is a number, as a regular expression."""

EXCERPT = 80
"""How much of a text is shown, in characters."""


@dataclass(frozen=True)
class Broken:
    """A line that does not split into the columns of the header."""

    line: int
    text: str
    reason: str


@dataclass(frozen=True)
class About:
    """What a file is, apart from its columns.

    Parameters
    ----------
    kind : of file, in words: "FITS", "text parted by commas"
    table : what the table is called that is read, empty where the file has only one
    tables : what all tables of the file are called
    frames : of positions, as the file states them: column -> frame; "" for all others
    comments : lines of text that say something of the file
    cautions : sentences on what may be wrong with it
    """

    kind: str
    table: str = ""
    tables: tuple[str, ...] = ()
    frames: dict[str, str] = field(default_factory=dict)
    comments: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()


@dataclass
class Columns:
    """Some columns of a catalog, one value a row.

    ``numbers`` are float64 with NaN for missing; ``texts`` are Arrow strings with null for missing; ``not_numbers``
    has, per numeric column, the rows whose text is not a number (NaN there) and these texts; ``lines`` is the line of a
    text file, or the 1-based row of a binary table.
    """

    numbers: dict[str, Floats]
    texts: dict[str, pa.Array]
    lines: Integers
    not_numbers: dict[str, tuple[Indices, list[str]]] = field(default_factory=dict)
    broken: list[Broken] = field(default_factory=list)


class Container(Protocol):
    """A catalog whose columns can be listed, and read by name."""

    path: Path
    names: tuple[str, ...]
    units: Mapping[str, str]
    about: About

    def load(self, numbers: Sequence[str], texts: Sequence[str]) -> Columns:
        """Read these columns only."""
        ...


_WITH_UNIT = re.compile(r"(?P<name>.*\S)\s*[\[(]\s*(?P<unit>[^\[\]()]+?)\s*[\])]")
_ENDS_IN_UNIT = re.compile(
    r"(?P<name>.*[A-Za-z0-9])_(?P<unit>deg|arcsec|arcmin|mas|hours?|hr|[mu]?Jy(?:[_/]?beam)?|[mu]?Jyb)", re.IGNORECASE
)
_NO_UNITS = re.compile(r"J?2000(\.0)?|ICRS", re.IGNORECASE)


def bare_name(name: str) -> tuple[str, str | None]:
    """A column's name without the unit behind it, in brackets or as ours have it ("RA (deg)", "ra_hours"), and that."""
    match = _WITH_UNIT.fullmatch(name.strip())
    if match is None:
        ending = _ENDS_IN_UNIT.fullmatch(name.strip())
        if ending is None:
            return name.strip(), None
        # Positions may be called so and be sexagesimal all the same.
        unit = ending["unit"].lower()
        return ending["name"], None if unit == "deg" else _unit_of(unit)
    if _NO_UNITS.fullmatch(match["unit"]):
        return match["name"], None
    known = not match["unit"].replace(".", "").isdigit() and is_known(match["unit"])
    return (match["name"], match["unit"]) if known else (name.strip(), None)


def _unit_of(ending: str) -> str:
    """The unit that the end of a name means."""
    prefix, is_flux, behind = ending.partition("jy")
    if not is_flux:
        return "hour" if ending.startswith("h") else ending
    return f"{prefix}Jy{'/beam' if behind else ''}"


def units_in_names(names: Iterable[str], units: Mapping[str, str]) -> dict[str, str]:
    """Units of columns, with those that stand in the names of columns where nothing else says one."""
    beside = ((name, bare_name(name)[1]) for name in names)
    return {**{name: unit for name, unit in beside if unit is not None}, **units}


def parse_numbers(values: pa.Array) -> tuple[Floats, tuple[Indices, list[str]]]:
    """Texts as numbers, and the rows (with their texts) that are not."""
    trimmed = pc.utf8_trim_whitespace(values)
    nothing = pc.is_in(trimmed, pa.array(_NO_NUMBERS))
    good = pc.fill_null(pc.match_substring_regex(trimmed, NUMBER), False)
    bad = np.flatnonzero(~np.asarray(pc.or_(pc.or_(good, nothing), pc.is_null(values))))
    plain = pc.replace_substring_regex(pc.if_else(good, trimmed, None), "[dD]", "e")
    plain = pc.replace_substring_regex(plain, r"^\+", "")
    return to_floats(plain.cast(pa.float64())), (
        bad,
        [str(v)[:EXCERPT] for v in values.take(pa.array(bad)).to_pylist()],
    )


_DECIMAL_COMMA = r"^\s*[+-]?\d+,\d+([eE][+-]?\d+)?\s*$"
# One to three digits before it and three behind may also be thousands, unless a zero leads.
_ONE_OR_THOUSANDS = r"^\s*[+-]?[1-9]\d{0,2},\d{3}\s*$"


def read_decimal_commas(columns: Columns, texts: Mapping[str, pa.Array], where: str) -> bool:
    """Read columns whose numbers are written with decimal commas, 12,34, and say whether there are any.

    A column is one if none of its numbers has a point, and all that are no plain numbers have a comma. A cell here and
    there is damage, and stays what is no number.

    Parameters
    ----------
    columns : changed
    texts : columns of numbers as they are written
    where : the file, for messages

    Raises
    ------
    InputError
        If they may be thousands as well, or other columns have points.
    """
    found = [name for name in columns.not_numbers if _has_decimal_commas(columns.not_numbers[name][1], texts[name])]
    if not found:
        return False
    cells = pa.array([cell for name in found for cell in columns.not_numbers[name][1]], pa.string())
    cure = "save the file with decimal points, and without marks between thousands"
    pointed = [name for name in texts if name not in found and _has_points(texts[name])]
    if pointed:
        commas, points = f"{found[0]!r} has commas in its numbers ({cells[0]})", f"{pointed[0]!r} has points"
        raise InputError(f"{where}: the column {commas}, and {points}; {cure}")
    if pc.all(pc.match_substring_regex(cells, _ONE_OR_THOUSANDS)).as_py():
        raise InputError(
            f"{where}: the commas in the column {found[0]!r} may be decimal ones or part thousands ({cells[0]}); {cure}"
        )
    for name in found:
        index, written = columns.not_numbers.pop(name)
        points = pc.replace_substring(pc.utf8_trim_whitespace(pa.array(written, pa.string())), ",", ".")
        columns.numbers[name] = columns.numbers[name].copy()
        columns.numbers[name][index], _ = parse_numbers(points)
    return True


def _has_decimal_commas(written: Sequence[str], all_texts: pa.Array) -> bool:
    commas = pc.match_substring_regex(pa.array(written, pa.string()), _DECIMAL_COMMA)
    return bool(pc.all(commas).as_py()) and not _has_points(all_texts)


def _has_points(texts: pa.Array) -> bool:
    return bool(pc.any(pc.match_substring(texts, ".")).as_py())


# Programs that have no other way say so of a number that is missing; and what arrays are filled with.
_MARKS_OF_NONE = (-99.0, -999.0, -9999.0, -99999.0, -99.9, -999.9, -99.99, -999.99)
_FILLED = 1e20


def without_marks(values: Floats) -> Floats:
    """Flux densities, sizes or errors, NaN where a number stands for none.

    A fill value (1e20 and beyond, either sign), and -99, -999 and the like where the column has no other number below
    zero: among measured negative ones it may be measured as well.
    """
    filled = np.abs(values) >= _FILLED
    values = np.where(filled & np.isfinite(values), np.nan, values) if filled.any() else values
    negative = values < 0
    if not negative.any():
        return values
    below_zero = np.unique(values[negative])
    return np.where(negative, np.nan, values) if len(below_zero) == 1 and below_zero[0] in _MARKS_OF_NONE else values


def to_floats(values: pa.Array) -> Floats:
    return np.asarray(values.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)


def clean_text(values: pa.Array) -> pa.Array:
    trimmed = pc.utf8_trim_whitespace(values.cast(pa.string()))
    return pc.if_else(pc.fill_null(pc.is_in(trimmed, pa.array(NULLS)), True), pa.scalar(None, pa.string()), trimmed)


def one_chunk(values: pa.ChunkedArray) -> pa.Array:
    joined = values.combine_chunks()
    return pa.concat_arrays(joined.chunks) if isinstance(joined, pa.ChunkedArray) else joined


def distinct(names: Sequence[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Names of columns with a number behind those that repeat, and which these are: nobody may ask for them."""
    if len(set(names)) == len(names):
        return tuple(names), frozenset()
    repeated = frozenset(name for name, count in Counter(names).items() if name and count > 1)
    counts: dict[str, int] = {}
    result = []
    for name in names:
        counts[name] = counts.get(name, 0) + 1
        result.append(f"{name} ({counts[name]})" if name in repeated and counts[name] > 1 else name)
    return tuple(result), repeated


def refuse_repeated(where: str, asked: Sequence[str], repeated: frozenset[str]) -> None:
    """Refuse to choose between columns of one name.

    Raises
    ------
    InputError
    """
    for name in asked:
        if name in repeated:
            raise InputError(f"{where}: two columns are called {name!r}; rename one")


def refuse_several(path: Path, tables: Sequence[str]) -> NoReturn:
    """Refuse a file with several catalogs: none of their rows may be lost, and one image has one catalog.

    Raises
    ------
    InputError
    """
    named = ", ".join(f"table {name}" for name in tables)[:200]
    raise InputError(
        f"{path}: {len(tables)} of its tables are catalogs ({named}); deliver one table a file, "
        "or say which it is (the option --table, the key `table` in contimg.yaml)"
    )


def is_number(text: object) -> bool:
    """Whether a text is a number, as Python reads one."""
    try:
        float(str(text))
    except ValueError:
        return False
    return True


def first_line_of(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]
