"""Names from data within Markdown: shown as they are, doing nothing."""

from __future__ import annotations

import pytest
from markdown_it import MarkdownIt

from contimg_assets.orchestration.markdown import escaped
from contimg_assets.orchestration.plots import embedded
from contimg_assets_tests.orchestration.names import HOSTILE


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_a_name_is_shown_and_does_nothing(name: str) -> None:
    markdown = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    for before, after in (("", ""), ("image ", " is bad"), ("| a |\n|---|\n| ", " |")):
        tokens = markdown.parse(f"{before}{escaped(name)}{after}")
        inline = [token for token in tokens if token.type == "inline"][-1]
        children = {child.type for child in inline.children or ()}
        assert children <= {"text", "text_special"}, children
        assert not any(token.type.startswith("html") for token in tokens)
    (shown,) = (token.content for token in markdown.parse(escaped(name)) if token.type == "inline")
    assert "\n" not in shown


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_a_picture_is_one_picture_with_its_title(name: str) -> None:
    markdown = MarkdownIt("commonmark")
    # As in Dagster's pages: an image cannot run what an SVG may hold.
    markdown.validateLink = lambda url: True  # type: ignore[method-assign]
    (_, inline, _) = markdown.parse(str(embedded({name: b"svg"}).value))
    (image,) = inline.children or ()
    assert image.type == "image"
    assert image.attrs["src"] == "data:image/svg+xml;base64,c3Zn"
    words = " ".join(name.split())
    if words.isprintable() and len(words) <= 200:
        assert "".join(child.content for child in image.children or ()) == words
