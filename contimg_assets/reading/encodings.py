"""Texts as people and programs save them, in the one encoding that is read: UTF-8, with the usual minus and blank.

Belongs here: what bytes are which characters. Does not belong here: what parts lines and cells (`text`).
"""

from __future__ import annotations

import re
from pathlib import Path

from contimg_assets.errors import InputError

_MARKS_OF_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_MARK_OF_UTF8 = b"\xef\xbb\xbf"
# Neither text nor ends of lines.
_CONTROL = bytes(set(range(32)) - set(b"\t\r\n"))
_DECLARED = re.compile(rb"""(<\?xml[^>]*?\bencoding\s*=\s*["'])([A-Za-z0-9_.-]+)(["'])""")
# What an XML file may declare beside UTF-8.
_ENCODINGS = ("iso-8859-1", "iso-8859-15", "latin-1", "latin1", "windows-1252")
_COMMENT = re.compile(rb"^[ \t]*[#%!;\\][^\n]*", re.MULTILINE)
# Excel says so what parts the cells; as a comment the line keeps its number.
_SEPARATOR_LINE = re.compile(rb"sep=.\r?\n", re.IGNORECASE)
# Characters that typeset tables have for a minus, for blanks, and for hours, minutes, seconds and degrees.
_TYPESET = str.maketrans(
    "\N{MINUS SIGN}\N{EN DASH}\N{HYPHEN}\N{NON-BREAKING HYPHEN}"
    "\N{NO-BREAK SPACE}\N{THIN SPACE}\N{NARROW NO-BREAK SPACE}"
    "\N{MODIFIER LETTER SMALL H}\N{MODIFIER LETTER SMALL M}\N{MODIFIER LETTER SMALL S}\N{MASCULINE ORDINAL INDICATOR}",
    "----   hms\N{DEGREE SIGN}",
)


def plain_text(content: bytes) -> bytes:
    """A text in UTF-8 without a mark of its encoding, or the bytes as they are where they are none.

    UTF-16 is known by its mark, other encodings of XML by its declaration. Comments may be in Latin-1; a cell that is
    not UTF-8 may be damaged, and is left for `check_text` to refuse. Nothing changes the number of a line.
    """
    if content.startswith(_MARKS_OF_UTF16):
        content = _decoded(content, "utf-16")
    content = content.removeprefix(_MARK_OF_UTF8)
    declared = _DECLARED.match(content)
    if declared is not None:
        encoding = declared[2].lower().decode()
        content = _decoded(content, encoding) if encoding in _ENCODINGS else content
        content = _DECLARED.sub(rb"\1utf-8\3", content, count=1)
    # How texts ended under DOS.
    content = content.removesuffix(b"\x1a")
    if _SEPARATOR_LINE.match(content):
        content = b"#" + content
    return content if content.isascii() else _with_usual_characters(content)


def _decoded(content: bytes, encoding: str) -> bytes:
    """The text in UTF-8; as it is where it is not in this encoding after all."""
    try:
        return content.decode(encoding).encode("utf-8")
    except UnicodeError:
        return content


def _with_usual_characters(content: bytes) -> bytes:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        content = _COMMENT.sub(lambda line: _decoded_comment(line[0]), content)
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            return content
    return text.translate(_TYPESET).encode("utf-8")


def _decoded_comment(line: bytes) -> bytes:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("latin-1").encode("utf-8")
    return line


def check_text(path: Path, content: bytes) -> None:
    """Refuse what is no text in UTF-8.

    Raises
    ------
    InputError
        With the line.
    """
    if content.startswith(_MARKS_OF_UTF16):
        raise InputError(f"{path}: line 1: damaged UTF-16 text; deliver it again, or save it as UTF-8")
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
            raise InputError(
                f"{path}: line {line}: not UTF-8 text; save the file as UTF-8, such as with `iconv -f latin1 -t utf-8`"
            ) from error
