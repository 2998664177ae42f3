"""Text files to columns: delimited, or parted by blanks, with or without a line of units.

Belongs here: how a text splits into lines and cells. Does not belong here: which line has the names (`headers`).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from contimg_assets.errors import InputError
from contimg_assets.reading.columns import (
    EXCERPT,
    NULLS,
    About,
    Broken,
    Columns,
    clean_text,
    distinct,
    first_line_of,
    one_chunk,
    parse_numbers,
    read_decimal_commas,
    refuse_repeated,
    to_floats,
    units_in_names,
)
from contimg_assets.reading.encodings import check_text, plain_text
from contimg_assets.reading.headers import QUOTED_OR_WORD, Header, IsCatalog, find_header
from contimg_assets.reading.slots import Slots, cells_in, slots_of
from contimg_assets.reading.stated_frames import of_comments
from contimg_assets.sky.arrays import Integers

_SEPARATOR = b"\x1f"
_MISSING = frozenset(NULLS)
_ANYTHING = re.compile(rb"\S")
_COMMENT_LINE = re.compile(rb"^#[^\n]*", re.MULTILINE)
_QUOTED_OR_WORD = re.compile(QUOTED_OR_WORD.pattern.encode())
_QUOTED_NAME = re.compile(rb'(?<!\S)"[^"\n]*"(?!\S)')
_OTHER_MARK = re.compile(rb"\s*(%|!|//)")
_SEMICOLON_LINE = re.compile(rb"^;[^\n]*", re.MULTILINE)
_QUOTED_CELL = re.compile(rb'"(?:[^"]|"")*"')
_COMMAS = ", with decimal commas"
_PARTED_BY = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars", " ": "blanks"}


# Lines that frame a table: "=== ===" in reStructuredText, "+---+---+" at MySQL.
_FRAME = re.compile(rb"[ \t]*(=+(?:[ ]+=+)+|\+(?:[-=]+\+)+)[ \t]*")
# How TOPCAT's TST, psql and MySQL say that a table ends.
_END_OF_TABLE = re.compile(rb"\n(\[EOD\]|\(\d+ rows?\)|\d+ rows? in set\b[^\n]*)\s*\Z")


def _with_plain_rules(content: bytes) -> bytes:
    """A text with one rule at most, of dashes below its header, where a frame is about its table; lines stay lines."""
    first = content[: content.find(b"\n") + 1] or content
    framed = _FRAME.fullmatch(first.rstrip(b"\n"))
    if framed is None:
        return content
    if framed[1].startswith(b"="):
        lines = content.split(b"\n")
        ruled = [line.replace(b"=", b"-") if line.rstrip() == lines[0].rstrip() else line for line in lines[1:]]
        return b"\n".join([b"", *ruled])
    return b"\n".join(b"" if _FRAME.fullmatch(line) else line for line in content.split(b"\n"))


def _without_end(content: bytes) -> bytes:
    """The text without the line that says that the table ends, which a cut file lacks."""
    found = _END_OF_TABLE.search(content, max(len(content) - 200, 0))
    return content if found is None else content[: found.start() + 1]


def _without_headers(content: bytes, top: bytes) -> bytes:
    """The rows without the lines of the header that stand among them once more, as where files were joined."""
    # In most files none does: they are searched, and not copied.
    again = [b"\n" + line + b"\n" for line in top.split(b"\n") if line.strip() and line[:1] != b"#" and line in content]
    if not again:
        return content
    content = b"\n" + content
    for line in again:
        while line in content:
            content = content.replace(line, b"\n\n")
    return content[1:]


def _with_usual_comments(content: bytes) -> bytes:
    """The text with ``#`` for the marks of comments that it begins with: ``%``, ``!`` or ``//``."""
    found = _OTHER_MARK.match(content)
    if found is None:
        return content
    mark = found[1]
    return re.sub(rb"^[ \t]*" + re.escape(mark), b"#".ljust(len(mark)), content, flags=re.MULTILINE)


class TextContainer:
    """Delimited text (comma, tab, semicolon, bar) or columns parted by blanks, with a header line.

    Lines that begin with ``#`` are comments; before the first row, the last of them is the header if no plain header
    line follows. A line of ``[unit]`` and ``--`` under the header gives units, as Selavy writes it, and so does one
    above a line of dashes, as VizieR has it.

    Parameters
    ----------
    whole_lines : whether a last row that no line's end finishes is set aside, because it may be cut
    is_catalog : tells the header among the comments of a file without rows
    header : of a text that says none, or says it otherwise
    frame : of the positions, where that header says it
    """

    def __init__(
        self,
        path: Path,
        content: bytes,
        whole_lines: bool = True,
        is_catalog: IsCatalog | None = None,
        header: Header | None = None,
        frame: str | None = None,
    ) -> None:
        content = plain_text(content)
        check_text(path, content)
        self.path = path
        self._whole_lines = whole_lines
        if b"\r" in content:
            content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        content = _without_end(_with_plain_rules(content))
        self._ends_with_newline = content.endswith(b"\n")
        if not content.endswith(b"\n") or content.endswith(b"\n\n"):
            content = content.rstrip(b"\n") + b"\n"
        content = _with_usual_comments(content)
        given, header = header, header or find_header(path, content, is_catalog)
        self.names, self._repeated = distinct(header.names)
        self.units: Mapping[str, str] = units_in_names(self.names, header.units)
        frame = frame or of_comments(header.comments)
        kind = f"text parted by {_PARTED_BY[header.delimiter]}"
        self.about = About(kind, frames={} if frame is None else {"": frame}, comments=header.comments)
        self._first_line = header.first_line
        self._delimiter = header.delimiter
        self._slots: Slots = header.slots
        self._missing = header.missing
        if header.offset:
            content = _without_headers(content[header.offset :], content[: header.offset])
        # A row that is commented out is none; its line stays, so that lines are counted rightly.
        if b"#" in content and (content.startswith(b"#") or b"\n#" in content):
            content = _COMMENT_LINE.sub(b"", content)
        if given is not None and (content.startswith(b";") or b"\n;" in content):
            # So do the texts of Molonglo comment.
            content = _SEMICOLON_LINE.sub(b"", content)
        self._content = self._without_last_delimiters(content)
        self._line_of: Integers | None = None

    def _without_last_delimiters(self, content: bytes) -> bytes:
        """Rows without the delimiter that all of them end with, where the header does not."""
        end = self._delimiter.encode() + b"\n"
        if self._delimiter == " " or not content.endswith(end):
            return content
        first = content[: content.index(b"\n")]
        if first.count(end[:1]) != len(self.names) or b'"' in first:
            return content
        n_rows = sum(1 for line in content.split(b"\n") if line.strip())
        return content.replace(end, b"\n") if content.count(end) == n_rows else content

    @property
    def is_empty(self) -> bool:
        """Whether there is no row."""
        return not _ANYTHING.search(self._content)

    def load(self, numbers: Sequence[str], texts: Sequence[str]) -> Columns:
        refuse_repeated(f"{self.path}: line {self._first_line - 1}", [*numbers, *texts], self._repeated)
        if self.is_empty:
            self._refuse_unfinished_header()
            return _empty(numbers, texts)
        # Names may be empty or odd: for parsing, every column is called by its number.
        keys = {name: str(index) for index, name in enumerate(self.names)}
        text, table, broken = self._parsed([keys[name] for name in numbers], [keys[name] for name in texts])
        lines = self._lines(table.num_rows, text.content.count(b"\n"), broken)
        if lines is None:
            # Cells hold lines' ends: with blanks in their place, the same cells stand on one line each.
            self._join_quoted_lines()
            return self.load(numbers, texts)
        last_line = int(lines[-1]) if len(lines) else 0
        blank = _blank_lines(text.content, self._first_line)
        if len(blank):
            rows = ~np.isin(lines, blank)
            table, lines = table.filter(pa.array(rows)), lines[rows]
        result = _columns_of(table, {n: keys[n] for n in numbers}, {n: keys[n] for n in texts}, lines)
        if result.not_numbers:
            written = {name: one_chunk(table.column(keys[name])) for name in numbers}
            # What was read as numbers at once has points, or is whole.
            written = {name: values.cast(pa.string()) for name, values in written.items()}
            if read_decimal_commas(result, written, str(self.path)) and _COMMAS not in self.about.kind:
                self.about = replace(self.about, kind=self.about.kind + _COMMAS)
        for name in numbers:
            if name in self._missing:
                values = result.numbers[name]
                result.numbers[name] = np.where(values == self._missing[name], np.nan, values)
        result.broken = [row for row in broken if row.reason]
        if len(lines) and self._unfinished(last_line, numbers, texts):
            self._set_last_row_aside(result)
        if self._line_of is not None:
            result.lines = self._line_of[result.lines - self._first_line]
        return result

    def _parsed(self, numbers: Sequence[str], texts: Sequence[str]) -> tuple[_Delimited, pa.Table, list[Broken]]:
        """The columns of these numbers, and lines that do not split rightly."""
        text = self._delimited()
        broken: list[Broken] = []
        as_text = {key: pa.string() for key in (*numbers, *texts)}
        as_numbers = {**as_text, **{key: pa.float64() for key in numbers}}
        try:
            return text, _read_csv(text, len(self.names), as_numbers), broken
        except pa.ArrowInvalid:
            if self._delimiter == " " and not self._slots:
                text = self._with_slots(text)
        try:
            return text, _read_csv(text, len(self.names), as_text, self._first_line, broken), broken
        except pa.ArrowInvalid as error:
            raise InputError(
                f"{self.path}: cannot be parsed as text with {len(self.names)} columns ({first_line_of(error)}); "
                "correct the file, or deliver it again"
            ) from error

    def _with_slots(self, text: _Delimited) -> _Delimited:
        """The same text, lines that blanks do not part rightly split at the places where the others are blank."""
        n_columns, free_end = len(self.names), self._comment_last
        parted, whole = text.content.split(b"\n")[:-1], self._content.split(b"\n")[:-1]
        wrong = [n for n, line in enumerate(parted) if line and line.count(_SEPARATOR) != n_columns - 1]
        if not wrong:
            return text
        skip = set(wrong)
        slots = slots_of([line for n, line in enumerate(whole) if n not in skip], n_columns, free_end)
        if slots is None:
            return text
        for n in wrong:
            cells = cells_in(whole[n], slots, free_end)
            if cells is not None:
                parted[n] = _SEPARATOR.join(cells)
        return text._replace(content=b"\n".join(parted) + b"\n")

    def _without_shifted(self, content: bytes) -> bytes:
        """Rows whose comment is no comment but cells that a stray sign shifted, made ones that do not split."""
        parted, whole = content.split(b"\n")[:-1], self._content.split(b"\n")[:-1]
        full = len(self.names) - 1
        commented = [
            n for n, line in enumerate(parted) if not line.endswith(_SEPARATOR) and line.count(_SEPARATOR) == full
        ]
        if not commented or len(commented) == len(parted):
            return content
        skip = set(commented)
        slots = slots_of([line for n, line in enumerate(whole) if n not in skip], len(self.names) - 1, False)
        if slots is None:
            return content
        free = [*slots, (slots[-1][1] + 1, max(map(len, whole)) + 1)]
        for n in commented:
            if cells_in(whole[n], free, True) is None:
                parted[n] = b" ".join(whole[n].split())
        return b"\n".join(parted) + b"\n"

    @property
    def _comment_last(self) -> bool:
        return self.names[-1].lower() == "comment"

    def _join_quoted_lines(self) -> None:
        """Put blanks for the lines' ends inside quotes, where all quotes are in pairs about whole cells.

        Raises
        ------
        InputError
            If they are not: a quote that is never closed would swallow rows.
        """
        content, delimiter = self._content, self._delimiter.encode()
        ends = (b"", b"\n", delimiter)
        joined, removed, at = [], [], 0
        sound = content.count(b'"') % 2 == 0 and self._line_of is None
        for match in _QUOTED_CELL.finditer(content) if sound else ():
            before, after = content[max(match.start() - 1, 0) : match.start()], content[match.end() : match.end() + 1]
            sound = sound and before in ends and after in ends
            if b"\n" in match.group():
                # As many delimiters as a row has: two stray quotes, with rows between them.
                sound = sound and match.group().count(delimiter) < len(self.names) - 1
                removed += [match.start() + n for n, byte in enumerate(match.group()) if byte == 10]
                joined += [content[at : match.start()], match.group().replace(b"\n", b" ")]
                at = match.end()
        joined.append(content[at:])
        if not (sound and removed):
            raise InputError(
                f"{self.path}: a quote is opened and not closed, or stands inside a cell; correct the quotes"
            )
        ends_at = np.flatnonzero(np.frombuffer(content, np.uint8) == 10)
        kept = ~np.isin(ends_at, removed)
        starts = np.concatenate([[True], kept[:-1]])
        self._line_of = (np.arange(len(ends_at), dtype=np.int64) + self._first_line)[starts]
        self._content = b"".join(joined)

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
        if self._slots:
            content = _cut_at(self._content, self._slots)
        else:
            content, commented = _join_blanks(self._content, len(self.names), self._comment_last)
            if commented:
                content = self._without_shifted(content)
        return _Delimited(content, _SEPARATOR.decode(), False)

    def _lines(self, n_rows: int, n_lines: int, broken: Sequence[Broken]) -> Integers | None:
        """Number of each row's line; None where cells hold lines' ends."""
        if n_rows + len(broken) != n_lines:
            return None
        lines = np.arange(self._first_line, self._first_line + n_lines, dtype=np.int64)
        return np.delete(lines, [row.line - self._first_line for row in broken]) if broken else lines

    def _unfinished(self, last_line: int, numbers: Sequence[str], texts: Sequence[str]) -> bool:
        """Whether the last row may have lost digits of its last number, which nothing but the line's end would show."""
        if self._ends_with_newline or not self._whole_lines:
            return False
        is_last = last_line == self._first_line + self._content.count(b"\n") - 1
        # A word for "missing" has no digits to lose.
        if self._content.rsplit(maxsplit=1)[-1].rpartition(self._delimiter.encode())[2].decode() in _MISSING:
            return False
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


def _join_blanks(content: bytes, n_columns: int, comment_last: bool) -> tuple[bytes, bool]:
    """Text parted by runs of blanks as text parted by one separator, line by line, and whether a line has a comment.

    A last column called comment may hold blanks, or nothing at all.
    """
    # Splitting line by line is faster, and simpler, than any work on arrays of bytes.
    lines = content.split(b"\n")[:-1]
    if b'"' in content and _QUOTED_NAME.search(content):
        cells = ([cell.strip(b'"') for cell in _QUOTED_OR_WORD.findall(line)] for line in lines)
        return b"\n".join([_SEPARATOR.join(one) for one in cells]) + b"\n", False
    if not comment_last:
        return b"\n".join([_SEPARATOR.join(line.split()) for line in lines]) + b"\n", False
    joined = [_SEPARATOR.join(line.split(None, n_columns - 1)) for line in lines]
    counts = [line.count(_SEPARATOR) for line in joined]
    filled = [line + _SEPARATOR if n == n_columns - 2 else line for line, n in zip(joined, counts, strict=True)]
    return b"\n".join(filled) + b"\n", n_columns - 1 in counts


def _cut_at(content: bytes, slots: Slots) -> bytes:
    """Text with columns at fixed places as text parted by one separator; the last column runs to the line's end."""
    lines = content.split(b"\n")[:-1]
    places = [*slots[:-1], (slots[-1][0], None)]
    cut = (_SEPARATOR.join([line[start:end].strip() for start, end in places]) if line else b"" for line in lines)
    return b"\n".join(cut) + b"\n"


def _blank_lines(content: bytes, first_line: int) -> Integers:
    """Numbers of the lines that hold nothing."""
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
