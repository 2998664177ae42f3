"""Where the names of columns stand in a text, and their units: in a line of their own, in comments, or above dashes.

Belongs here: which line of the top of a file is which. Does not belong here: the rows below (`text`).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from contimg_assets.errors import InputError
from contimg_assets.reading.columns import NUMBER
from contimg_assets.schemas.units import converts, is_known

IsCatalog = Callable[[Sequence[str]], bool]
"""Whether some reader takes a table with these columns for a catalog."""

DELIMITERS = "\t,;|"

_QUOTED = re.compile(r'"[^"]*"')
_UNIT_WORD = re.compile(r"\[[^\]]*\]|\([^)]*\)|-{1,2}")
_WORD = re.compile(r"\S+")
QUOTED_OR_WORD = re.compile(r'(?<!\S)"[^"\n]*"(?!\S)|\S+')
"""A cell of a text that blanks part: TOPCAT puts names with blanks into quotes."""
_DASHES = re.compile(r"-+")
_NUMBER = re.compile(NUMBER)
_NOTHING = re.compile(r"-*")
# Width and kind of a column, which RDB writes below its name.
_RDB_TYPE = re.compile(r"\d*[SNM]")
# Texts and flags, below which Selavy leaves the unit blank.
_WITHOUT_UNIT = re.compile("name|hms|dms|sibling|estimate|flag|from_tt|comment")


@dataclass(frozen=True)
class Header:
    """The top of a text.

    Parameters
    ----------
    names : of the columns, as they stand there
    delimiter : a blank where columns are parted by runs of blanks
    units : column -> unit
    first_line : number of the first line of data
    offset : where that line begins, in bytes
    comments : lines above that are neither, without their mark
    slots : first and last character of each column, where dashes say so
    missing : column -> number that stands for none
    """

    names: Sequence[str]
    delimiter: str
    units: dict[str, str] = field(default_factory=dict)
    first_line: int = 1
    offset: int = 0
    comments: tuple[str, ...] = ()
    slots: tuple[tuple[int, int], ...] = ()
    missing: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Top:
    """Comments before the first line that is none, each as it stands, and where that line is."""

    comments: list[str]
    line: str
    number: int
    offset: int
    next_offset: int

    @property
    def plain(self) -> tuple[str, ...]:
        return tuple(text for raw in self.comments if (text := raw.strip().lstrip("#").strip()))


def find_header(path: Path, content: bytes, is_catalog: IsCatalog | None) -> Header:
    """The header of a text whose every line ends.

    Raises
    ------
    InputError
        If there is none.
    """
    try:
        return _found(path, content, is_catalog)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error


def _found(path: Path, content: bytes, is_catalog: IsCatalog | None) -> Header:
    top = _top(path, content)
    below_units = any(_is_units(comment.strip().lstrip("#").split()) for comment in top.comments)
    above = _above_units(content, top)
    if above is not None:
        return above
    if top.line and not _looks_like_data(top.line, below_units):
        return _plain_header(content, top)
    return _header_of_comments(path, top, is_catalog)


def _top(path: Path, content: bytes) -> _Top:
    comments: list[str] = []
    offset, number = 0, 1
    while offset < len(content):
        end = content.index(b"\n", offset)
        start = content[offset : min(end, offset + 1024)].strip()
        if start and not start.startswith(b"#"):
            break
        comments.append(content[offset:end].decode("utf-8"))
        offset, number = end + 1, number + 1
    end = content.find(b"\n", offset)
    if end - offset > 10_000_000:
        raise InputError(
            f"{path}: line {number} has {end - offset} characters; a header line of column names is needed"
        )
    line = content[offset:end].decode("utf-8") if end >= 0 else ""
    return _Top(comments, line, number, offset, end + 1)


def _plain_header(content: bytes, top: _Top) -> Header:
    """A header line, and lines of units or dashes below it."""
    names, delimiter = split_names(top.line)
    offset, number = top.next_offset, top.number + 1
    below = list(_lines(content, offset, 2))
    ruled = next((n for n, (line, _) in enumerate(below) if _is_rule(line, delimiter)), None)
    if ruled is not None:
        units = _units_above_rule(names, below, delimiter) if ruled else {}
        line, offset = below[ruled]
        slots = tuple(match.span() for match in _DASHES.finditer(line)) if delimiter == " " else ()
        slots = slots if len(slots) == len(names) else ()
        return Header(names, delimiter, units, number + ruled + 1, offset, top.plain, slots)
    words = _words(below[0][0], delimiter) if below else []
    if delimiter == "\t" and words and all(map(_RDB_TYPE.fullmatch, words)):
        return Header(names, delimiter, {}, number + 1, below[0][1], top.plain)
    if _is_units(words, blank=delimiter != " ") or _are_plain_units(words):
        units = _units(names, words, top.line, below[0][0])
        return Header(names, delimiter, units, number + 1, below[0][1], top.plain)
    return Header(names, delimiter, {}, number, offset, top.plain)


def _lines(content: bytes, offset: int, n: int) -> Iterator[tuple[str, int]]:
    """The next lines, and where what follows each begins."""
    for _ in range(n):
        end = content.find(b"\n", offset)
        if end < 0:
            return
        yield content[offset:end].decode("utf-8"), end + 1
        offset = end + 1


def _is_rule(line: str, delimiter: str) -> bool:
    """Whether a line is of dashes that underline the columns, as VizieR, astropy, Markdown and psql have it."""
    return "--" in line and set(line) <= {"-", delimiter, " ", *(":+" if delimiter == "|" else "")}


def _units_above_rule(names: Sequence[str], below: list[tuple[str, int]], delimiter: str) -> dict[str, str]:
    line, rule = below[0][0], below[1][0]
    if delimiter == " ":
        words = [line[start:end] for start, end in (match.span() for match in _DASHES.finditer(rule))]
    else:
        words = line.split(delimiter)
    return {name: unit.strip(' "') for name, unit in zip(names, words, strict=False) if unit.strip(' "')}


def _above_units(content: bytes, top: _Top) -> Header | None:
    """A header in the last comment above a line of units that is no comment, as PSRCAT has it."""
    raw = next((comment for comment in reversed(top.comments) if comment.strip()), None)
    if raw is None or not top.line:
        return None
    names, delimiter = split_names(raw.strip().lstrip("#"))
    words = _words(top.line, delimiter)
    if delimiter == " " or len(words) != len(names) or not _is_units(words, blank=True):
        return None
    units = _units(names, words, raw, top.line)
    return Header(names, delimiter, units, top.number + 1, top.next_offset, top.plain)


def _header_of_comments(path: Path, top: _Top, is_catalog: IsCatalog | None) -> Header:
    """The last comment that has as many names as there are columns; of a file without rows, the one that is known."""
    units: str = ""
    found: list[Header] = []
    for raw in reversed(top.comments):
        comment = raw.strip().lstrip("#").strip()
        names, delimiter = split_names(comment)
        if _is_units(comment.split()) or _are_plain_units(names):
            units = raw
            continue
        if len(names) < 2:
            continue
        expected = len(_words(top.line, delimiter)) if top.line else len(names)
        free_end = names[-1].lower() == "comment" and expected > len(names)
        if len(names) - expected in (0, 1) or free_end:
            of = _units(names, _words(units.strip().lstrip("#").strip(), delimiter), raw, units)
            found.append(Header(names, delimiter, of, top.number, top.offset, top.plain))
            if top.line or is_catalog is None or is_catalog(names):
                return found[-1]
    if found and not (is_catalog is not None and _is_talk(found[0].names)):
        return found[0]
    if not top.line and is_catalog is not None:
        # Comments alone: whoever knows the finder by its words takes it for a catalog without sources.
        return Header((), " ", {}, top.number, top.offset, top.plain)
    raise InputError(f"{path}: line {top.number}: no header line of column names above the first row; add one")


def _is_talk(names: Sequence[str]) -> bool:
    """Whether words are a sentence and no names of columns."""
    return any(_NUMBER.match(name) or name in (":", "=", "for", "by", "of") for name in names)


def split_names(line: str) -> tuple[list[str], str]:
    """Names of columns in a line, and what parts them."""
    outside_quotes = _QUOTED.sub("", line)
    delimiter = next((delimiter for delimiter in DELIMITERS if delimiter in outside_quotes), " ")
    return _words(line, delimiter), delimiter


def _words(line: str, delimiter: str) -> list[str]:
    """Cells of a line; a quoted one may hold the delimiter."""
    if delimiter == " ":
        return [cell.strip('"') if '"' in cell else cell for cell in QUOTED_OR_WORD.findall(line)]
    try:
        cells = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
    except csv.Error:  # a cell that is too long for it, in which nobody means a quote
        cells = line.split(delimiter)
    return [cell.strip().strip('"').strip() for cell in cells]


def _is_units(words: Sequence[str], blank: bool = False) -> bool:
    """Whether words are units in brackets and dashes for none; with ``blank``, cells may be empty beside them."""
    if not blank:
        return bool(words) and all(_UNIT_WORD.fullmatch(word) for word in words)
    return any(word.startswith(("[", "(")) for word in words) and all(
        not word or _UNIT_WORD.fullmatch(word) for word in words
    )


def _are_plain_units(cells: Sequence[str]) -> bool:
    """Whether cells are units as they are, or nothing, those of a position among them: no row of a table is."""
    words = [cell for cell in cells if not _NOTHING.fullmatch(cell)]
    if len(words) < 2 or any(_NUMBER.match(word) for word in words) or not all(map(is_known, words)):
        return False
    return sum(converts(word, "deg", of_right_ascension=True) for word in words) > 1


def _looks_like_data(line: str, below_units: bool) -> bool:
    """Whether a line has a number for a cell, which no header has; below a line of units, blanks part the cells."""
    cells = line.split() if below_units else split_names(line)[0]
    return any(_NUMBER.match(cell) for cell in cells)


def _units(names: Sequence[str], words: Sequence[str], title: str, line: str) -> dict[str, str]:
    """Column -> unit. Where some have none, not even a dash, the places say whose a unit is, else the names do.

    Raises
    ------
    ValueError
        If neither does.
    """
    if 0 < len(words) < len(names):
        aligned = _aligned(title, line)
        if aligned is not None:
            return aligned
        measured = [name for name in names if not _WITHOUT_UNIT.search(name.lower())]
        if len(words) not in (len(measured), len(names) - (names[-1].lower() == "comment")):
            raise ValueError(
                f"{len(words)} units stand below {len(names)} columns, and nothing says whose they are; put -- where "
                "there is none"
            )
        names = measured if len(words) == len(measured) else names
    plain = _are_plain_units(words)
    stripped = (word.strip("[]()") if plain or word.startswith(("[", "(")) else "" for word in words)
    return {name: unit for name, unit in zip(names, stripped, strict=False) if unit.strip("-")}


def _aligned(title: str, line: str) -> dict[str, str] | None:
    """Units below names, flush right as Selavy writes them or flush left; None where they stand below no name."""
    # A mark of a comment is as wide as the blank that rows begin with.
    for side in (re.Match.end, re.Match.start):
        places = {side(match): match.group().lstrip("#") for match in _WORD.finditer(title)}
        units = {side(match): match.group().lstrip("#") for match in _WORD.finditer(line) if match.group() != "#"}
        if units and set(units) <= set(places):
            return {places[at]: unit.strip("[]") for at, unit in units.items() if unit.startswith("[") and unit != "[]"}
    return None
