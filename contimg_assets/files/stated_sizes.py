"""Sizes that a file states of itself, held against the file before anybody makes room for them.

A header of a hundred bytes can state a billion rows; parsers believe it, and take the memory.
"""

from __future__ import annotations

import html
import math
import re
from dataclasses import dataclass

# What a parser may take at once without anybody noticing, and how often the file's own size is no surprise: short
# texts in columns of fixed width grow most, to four bytes a character.
_UNNOTICED = 256_000_000
_GROWTH = 64
# Astropy makes room for at least so many rows at a time.
_CHUNK = 256
_BYTES = {"char": 4, "unicodeChar": 4, "short": 2, "int": 4, "long": 8, "float": 4, "double": 8}
_BYTES |= {"floatComplex": 8, "doubleComplex": 16}
_TAG_END = re.compile(rb"""(?:[^>"']|"[^"]*"|'[^']*')*""")
_ATTRIBUTE = re.compile(r"""([\w:.-]+)\s*=\s*("[^"]*"|'[^']*')""")


@dataclass
class _Stated:
    """Rows of a table, 0 where it does not say, and bytes of a row."""

    rows: int = 0
    row_bytes: int = 0


def votable_excess(content: bytes, n_bytes: int | None = None) -> str | None:
    """What a VOTable states that its bytes cannot hold, in words; None if all may be true.

    Parameters
    ----------
    content : the file, as far as it describes its tables
    n_bytes : how large it is unpacked, or may be at most; the length of ``content`` if None
    """
    size = len(content) if n_bytes is None else n_bytes
    tables: list[_Stated] = []
    starts = [
        (found.start(), found.end(), found.group()) for tag in (b"TABLE", b"FIELD") for found in _tags(tag, content)
    ]
    for _, end, tag in sorted(starts):
        text = _TAG_END.match(content, end)
        attributes = _attributes(text.group() if text else b"")
        if tag == b"TABLE":
            rows = attributes.get("nrows", "").strip()
            tables.append(_Stated(int(rows[:30]) if rows.isdecimal() else 0))
        elif tables:
            tables[-1].row_bytes += _bytes_of(attributes.get("datatype", ""), attributes.get("arraysize", ""))
    for table in tables:
        if table.rows > size:
            return f"it states {table.rows} rows, more than it has bytes"
        if max(table.rows, _CHUNK) * table.row_bytes > max(_UNNOTICED, _GROWTH * size):
            return f"it states rows of {table.row_bytes} bytes, more than its {size} bytes can hold"
    return None


def _tags(tag: bytes, content: bytes) -> list[re.Match[bytes]]:
    found = re.finditer(tag + rb"(?=[\s/>])", content)
    return [one for one in found if content[max(one.start() - 1, 0) : one.start()] in (b"<", b":")]


def _attributes(text: bytes) -> dict[str, str]:
    pairs = _ATTRIBUTE.findall(text.decode("utf-8", "replace"))
    return {name: html.unescape(value[1:-1]) for name, value in pairs}


def _bytes_of(datatype: str, arraysize: str) -> int:
    """Room that one cell of fixed size takes; an open end takes none before something is there."""
    sizes = [part for part in arraysize.strip().split("x") if not part.endswith("*")]
    return _BYTES.get(datatype, 1) * math.prod(int(part[:30]) for part in sizes if part.strip().isdecimal())
