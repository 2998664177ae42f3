"""Text files to columns: delimited, or parted by blanks, with or without a line of units.

Belongs here: how a text splits into lines and cells, and which line of the file is which.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from contimg_assets.errors import InputError
from contimg_assets.reading.columns import (
    EXCERPT,
    NULLS,
    NUMBER,
    Broken,
    Columns,
    clean_text,
    first_line_of,
    one_chunk,
    parse_numbers,
    to_floats,
)
from contimg_assets.sky.arrays import Integers

_SEPARATOR = b"\x1f"
# Neither text nor ends of lines; one of them is the separator above.
_CONTROL = bytes(set(range(32)) - set(b"\t\r\n"))
_MISSING = frozenset(NULLS)
_QUOTED = re.compile(r'"[^"]*"')
_UNIT_WORD = re.compile(r"\[[^\]]*\]|-{1,2}")


def check_text(path: Path, content: bytes) -> None:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"{path}: line 1: the text is UTF-16; save it as UTF-8")
    if len(content.translate(None, _CONTROL)) < len(content):
        at = min(at for at in map(content.find, _CONTROL) if at >= 0)
        line = content.count(b"\n", 0, at) + 1
        what = f"the control character 0x{content[at]:02x}" if content[at] else "a zero byte"
        raise InputError(f"{path}: line {line}: not text ({what}); deliver CSV, FITS, VOTable or Parquet")
    if not content.isascii():
        try:
            content.decode("utf-8")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise InputError(f"{path}: line {line}: not UTF-8 text; save the file as UTF-8") from error


class TextContainer:
    """Delimited text (comma, tab, semicolon, bar) or columns parted by blanks, with a header line.

    Lines that begin with ``#`` before the first row are comments; the last of them is the header if no plain header
    line follows. A line of ``[unit]`` and ``--`` under the header gives units, as Selavy writes it.

    Parameters
    ----------
    whole_lines : whether a last row that no line's end finishes is set aside, because it may be cut
    """

    def __init__(self, path: Path, content: bytes, whole_lines: bool = True) -> None:
        check_text(path, content)
        self.path = path
        self._whole_lines = whole_lines
        content = content.removeprefix(b"\xef\xbb\xbf")
        if b"\r" in content:
            content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        self._ends_with_newline = content.endswith(b"\n")
        if not content.endswith(b"\n") or content.endswith(b"\n\n"):
            content = content.rstrip(b"\n") + b"\n"
        header, units, first, offset = _header(path, content)
        self.names = tuple(header.names)
        self.units: Mapping[str, str] = units
        self._first_line = first
        self._delimiter = header.delimiter
        self._content = content[offset:] if offset else content
        self._check_names()

    def _check_names(self) -> None:
        seen: set[str] = set()
        for name in self.names:
            if name and name in seen:
                raise InputError(
                    f"{self.path}: line {self._first_line - 1}: two columns are called {name!r}; rename one"
                )
            seen.add(name)

    def load(self, numbers: Sequence[str], texts: Sequence[str]) -> Columns:
        if not self._content:
            self._refuse_unfinished_header()
            return _empty(numbers, texts)
        text = self._delimited()
        broken: list[Broken] = []
        # Names may be empty or odd: for parsing, every column is called by its number.
        keys = {name: str(index) for index, name in enumerate(self.names)}
        as_text = {keys[name]: pa.string() for name in (*numbers, *texts)}
        as_numbers = {**as_text, **{keys[name]: pa.float64() for name in numbers}}
        try:
            table = _read_csv(text, len(self.names), as_numbers)
        except pa.ArrowInvalid:
            try:
                table = _read_csv(text, len(self.names), as_text, self._first_line, broken)
            except pa.ArrowInvalid as error:
                raise InputError(
                    f"{self.path}: cannot be parsed as text with {len(self.names)} columns ({first_line_of(error)}); "
                    "correct the file, or deliver it again"
                ) from error
        lines = self._lines(table.num_rows, text.content.count(b"\n"), broken)
        last_line = int(lines[-1]) if len(lines) else 0
        blank = _blank_lines(text.content, self._first_line)
        if len(blank):
            rows = ~np.isin(lines, blank)
            table, lines = table.filter(pa.array(rows)), lines[rows]
        result = _columns_of(table, {n: keys[n] for n in numbers}, {n: keys[n] for n in texts}, lines)
        result.broken = [row for row in broken if row.reason]
        if self._unfinished(last_line, numbers, texts):
            self._set_last_row_aside(result)
        return result

    def rows(self) -> tuple[list[list[str | None]], list[int], list[Broken]]:
        """Cells of each row, their lines, and what is broken: for small files, of which many are read a second."""
        if not self._content:
            self._refuse_unfinished_header()
            return [], [], []
        rows: list[list[str | None]] = []
        lines: list[int] = []
        broken: list[Broken] = []
        for line, cells, text in self._cells():
            if len(cells) == len(self.names):
                rows.append([None if (cell := value.strip()) in _MISSING else cell for value in cells])
                lines.append(line)
            elif shown := text.replace(_SEPARATOR.decode(), " ").strip():
                reason = f"the line has {len(cells)} columns, the header {len(self.names)}"
                broken.append(Broken(line, shown[:EXCERPT], reason))
        return rows, lines, broken

    def _cells(self) -> Iterator[tuple[int, list[str], str]]:
        """Line, cells and text of each line that is not empty."""
        content, delimiter, quoted = self._delimited()
        texts = content.decode("utf-8").split("\n")[:-1]
        if not quoted or b'"' not in content:
            parted: Iterable[list[str]] = (text.split(delimiter) for text in texts)
        else:
            parted = self._unquoted(texts, delimiter)
        for line, (text, cells) in enumerate(zip(texts, parted, strict=True), self._first_line):
            if text:
                yield line, cells, text

    def _unquoted(self, texts: Sequence[str], delimiter: str) -> Iterator[list[str]]:
        # With a line more than there is, a quote that the last one leaves open is seen as any other is.
        reader = csv.reader([*texts, ""], delimiter=delimiter)
        for number, text in enumerate(texts, 1):
            try:
                cells = next(reader)
            except csv.Error as error:
                raise InputError(
                    f"{self.path}: line {self._first_line + number - 1}: cannot be split ({error}); correct the line"
                ) from error
            if reader.line_num != number:
                raise InputError(
                    f"{self.path}: line {self._first_line + number - 1}: a quote is opened and not closed on the same "
                    "line; correct the quotes"
                )
            yield cells if text else []

    def _refuse_unfinished_header(self) -> None:
        if not self._ends_with_newline:
            raise InputError(f"{self.path}: line {self._first_line - 1}: the file ends in its header; deliver it again")

    def _delimited(self) -> _Delimited:
        if self._delimiter != " ":
            return _Delimited(self._content, self._delimiter, True)
        comment_last = self.names[-1].lower() == "comment"
        return _Delimited(_join_blanks(self._content, len(self.names), comment_last), _SEPARATOR.decode(), False)

    def _lines(self, n_rows: int, n_lines: int, broken: Sequence[Broken]) -> Integers:
        if n_rows + len(broken) != n_lines:
            raise InputError(
                f"{self.path}: {n_lines} lines hold {n_rows + len(broken)} rows: a quote is opened and not closed on "
                "the same line; correct the quotes"
            )
        lines = np.arange(self._first_line, self._first_line + n_lines, dtype=np.int64)
        return np.delete(lines, [row.line - self._first_line for row in broken]) if broken else lines

    def _unfinished(self, last_line: int, numbers: Sequence[str], texts: Sequence[str]) -> bool:
        """Whether the last row may have lost digits of its last number, which nothing but the line's end would show."""
        if self._ends_with_newline or not self._whole_lines:
            return False
        is_last = last_line == self._first_line + self._content.count(b"\n") - 1
        return is_last and (self._delimiter == " " or self.names[-1] in (*numbers, *texts))

    def _set_last_row_aside(self, columns: Columns) -> None:
        text = self._content[self._content.rfind(b"\n", 0, len(self._content) - 1) + 1 :].rstrip(b"\n")
        reason = "the file ends without a line's end, so this row may be cut; deliver it again, or end the line"
        columns.broken.append(Broken(int(columns.lines[-1]), text[:EXCERPT].decode("utf-8", "replace"), reason))
        _drop_last(columns)


def _drop_last(columns: Columns) -> None:
    kept = len(columns.lines) - 1
    columns.lines = columns.lines[:kept]
    columns.numbers = {name: values[:kept] for name, values in columns.numbers.items()}
    columns.texts = {name: values.slice(0, kept) for name, values in columns.texts.items()}
    for name, (rows, values) in list(columns.not_numbers.items()):
        inside = rows < kept
        columns.not_numbers[name] = (rows[inside], [v for v, keep in zip(values, inside, strict=True) if keep])


class _Delimited(NamedTuple):
    """Text parted by one character, with or without quotes."""

    content: bytes
    delimiter: str
    quoted: bool


def _read_csv(
    text: _Delimited,
    n_columns: int,
    types: Mapping[str, pa.DataType],
    first_line: int = 1,
    broken: list[Broken] | None = None,
) -> pa.Table:
    """Columns by number, of these types. Lines that do not split rightly go to ``broken``, or raise without it."""

    def set_aside(row: pa_csv.InvalidRow) -> str:
        assert broken is not None
        shown = row.text.replace(_SEPARATOR.decode(), " ")
        reason = f"the line has {row.actual_columns} columns, the header {row.expected_columns}"
        broken.append(Broken(first_line - 1 + row.number, shown[:EXCERPT], reason if shown.strip() else ""))
        return "skip"

    tolerant = broken is not None
    return pa_csv.read_csv(
        pa.BufferReader(text.content),
        read_options=pa_csv.ReadOptions(
            # Lines are numbered in one thread only; in one block, no row is too long.
            use_threads=not tolerant,
            block_size=min(len(text.content) + 1, 2**30) if tolerant else 2**22,
            column_names=[str(index) for index in range(n_columns)],
        ),
        parse_options=pa_csv.ParseOptions(
            delimiter=text.delimiter,
            quote_char='"' if text.quoted else False,
            ignore_empty_lines=False,
            invalid_row_handler=set_aside if tolerant else None,
        ),
        convert_options=pa_csv.ConvertOptions(
            include_columns=list(types) or ["0"],
            column_types=dict(types),
            null_values=NULLS,
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
        ),
    )


@dataclass(frozen=True)
class _Header:
    names: list[str]
    delimiter: str


def _header(path: Path, content: bytes) -> tuple[_Header, dict[str, str], int, int]:
    """Header, units, number of the first data line, and where it starts in the content."""
    comments: list[str] = []
    offset, number = 0, 1
    while offset < len(content):
        end = content.index(b"\n", offset)
        start = content[offset : min(end, offset + 1024)].strip()
        if start and not start.startswith(b"#"):
            break
        comments.append(content[offset:end].decode("utf-8").strip().lstrip("#").strip())
        offset, number = end + 1, number + 1
    end = content.find(b"\n", offset)
    if end - offset > 10_000_000:
        raise InputError(
            f"{path}: line {number} has {end - offset} characters; a header line of column names is needed"
        )
    line = content[offset:end].decode("utf-8") if end >= 0 else ""
    units: dict[str, str] = {}
    if line and not _looks_like_data(line, below_units=any(_is_units(comment.split()) for comment in comments)):
        header = _split_names(line)
        offset, number = end + 1, number + 1
    else:
        header, units = _header_of_comments(path, comments, line)
        return header, units, number, offset
    end = content.find(b"\n", offset)
    words = _words(content[offset:end].decode("utf-8"), header.delimiter) if end >= 0 else []
    if _is_units(words):
        units = _units(header.names, words)
        offset, number = end + 1, number + 1
    return header, units, number, offset


def _header_of_comments(path: Path, comments: list[str], data: str) -> tuple[_Header, dict[str, str]]:
    unit_words: list[str] = []
    for comment in reversed(comments):
        words = comment.split()
        if _is_units(words):
            unit_words = words
            continue
        if len(words) < 2:
            continue
        header = _split_names(comment)
        expected = len(_words(data, header.delimiter)) if data else len(header.names)
        free_end = header.names[-1].lower() == "comment" and expected > len(header.names)
        if len(header.names) - expected in (0, 1) or free_end:
            return header, _units(header.names, unit_words)
    raise InputError(f"{path}: line {len(comments) + 1}: no header line of column names above the first row; add one")


def _split_names(line: str) -> _Header:
    outside_quotes = _QUOTED.sub("", line)
    delimiter = next((delimiter for delimiter in "\t,;|" if delimiter in outside_quotes), " ")
    return _Header(_words(line, delimiter), delimiter)


def _words(line: str, delimiter: str) -> list[str]:
    """Cells of a line; a quoted one may hold the delimiter."""
    if delimiter == " ":
        return line.split()
    try:
        cells = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
    except csv.Error:  # a cell that is too long for it, in which nobody means a quote
        cells = line.split(delimiter)
    return [cell.strip().strip('"').strip() for cell in cells]


def _is_units(words: Sequence[str]) -> bool:
    return bool(words) and all(_UNIT_WORD.fullmatch(word) for word in words)


def _looks_like_data(line: str, below_units: bool) -> bool:
    """Whether a line has a number for a cell, which no header has; below a line of units, blanks part the cells."""
    cells = line.split() if below_units else _split_names(line).names
    return any(re.match(NUMBER, cell) for cell in cells)


def _units(names: list[str], words: list[str]) -> dict[str, str]:
    stripped = (word.strip("[]") if word.startswith("[") else "" for word in words)
    return {name: unit for name, unit in zip(names, stripped, strict=False) if unit}


def _join_blanks(content: bytes, n_columns: int, comment_last: bool) -> bytes:
    """Text parted by runs of blanks as text parted by one separator, line by line.

    A last column called comment may hold blanks, or nothing at all.
    """
    # Splitting line by line is faster, and simpler, than any work on arrays of bytes.
    lines = content.split(b"\n")[:-1]
    if not comment_last:
        return b"\n".join([_SEPARATOR.join(line.split()) for line in lines]) + b"\n"
    joined = (_SEPARATOR.join(line.split(None, n_columns - 1)) for line in lines)
    filled = [line + _SEPARATOR if line.count(_SEPARATOR) == n_columns - 2 else line for line in joined]
    return b"\n".join(filled) + b"\n"


def _blank_lines(content: bytes, first_line: int) -> Integers:
    """Numbers of the lines that hold nothing."""
    if b"\n\n" not in content and not content.startswith(b"\n"):
        return np.empty(0, np.int64)
    ends = np.flatnonzero(np.frombuffer(content, np.uint8) == 10)
    return np.flatnonzero(np.diff(ends, prepend=-1) == 1).astype(np.int64) + first_line


def _columns_of(table: pa.Table, numbers: Mapping[str, str], texts: Mapping[str, str], lines: Integers) -> Columns:
    result = Columns({}, {}, lines)
    for name, key in numbers.items():
        values = one_chunk(table.column(key))
        if pa.types.is_floating(values.type):
            result.numbers[name] = to_floats(values)
        else:
            result.numbers[name], faults = parse_numbers(values)
            if len(faults[0]):
                result.not_numbers[name] = faults
    for name, key in texts.items():
        result.texts[name] = clean_text(one_chunk(table.column(key)))
    return result


def _empty(numbers: Sequence[str], texts: Sequence[str]) -> Columns:
    nothing = np.empty(0, np.int64)
    return Columns({n: np.empty(0) for n in numbers}, {n: pa.array([], pa.string()) for n in texts}, nothing)
