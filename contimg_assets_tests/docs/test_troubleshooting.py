"""The page of messages quotes messages that the program still has."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

import pytest

from contimg_assets_tests.docs import DOCS, ROOT

PAGE = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
VARIABLE = "…"
# A message stands alone on its line between double backquotes, followed by its cause.
QUOTED = [quote.strip() for quote in re.findall(r"(?m)^``(.+)``\n\n:   \*\*Cause", PAGE)]
# One spelling on the pages; messages that are older may have the other.
_SPELLING = {"catalogue": "catalog", "neighbour": "neighbor", "centre": "center", "recognise": "recognize"}


def test_the_page_quotes_messages() -> None:
    assert len(QUOTED) >= 50
    assert len(QUOTED) == len(set(QUOTED))


@pytest.mark.parametrize("quoted", QUOTED)
def test_every_quoted_message_is_in_the_code(quoted: str) -> None:
    assert any(_matches(_one_spelling(quoted), text) for text in _texts()), f"no text of the program is like: {quoted}"


def test_every_message_has_a_cause_and_a_cure() -> None:
    entries = re.split(r"(?m)^``.+``$", PAGE)[1:]
    assert len(entries) == len(QUOTED)
    for quoted, entry in zip(QUOTED, entries, strict=True):
        assert "**Cause.**" in entry and "**Cure.**" in entry, quoted


def test_only_a_message_that_is_said_counts() -> None:
    text = "…: no such file; deliver it again"
    assert _matches("…: no such file; deliver it", text)
    assert not _matches("…: no such folder; deliver it", text)
    assert not _matches("deliver it … no such file", text)


def _matches(quoted: str, text: str) -> bool:
    parts = quoted.split(VARIABLE)
    # Most texts lack a part; that is seen sooner than a pattern fails.
    if any(part not in text for part in parts):
        return False
    return re.search(".*".join(map(re.escape, parts)), text, re.DOTALL) is not None


@cache
def _texts() -> tuple[str, ...]:
    """All texts in the code of the package, with `VARIABLE` for what is filled in."""
    sources = sorted((ROOT / "contimg_assets").rglob("*.py"))
    trees = [ast.parse(source.read_text(encoding="utf-8")) for source in sources]
    return tuple(_one_spelling(text) for tree in trees for node in ast.walk(tree) for text in _text_of(node))


def _text_of(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(VARIABLE if isinstance(part, ast.FormattedValue) else part.value for part in node.values)


def _one_spelling(text: str) -> str:
    for old, new in _SPELLING.items():
        text = text.replace(old, new)
    return text
