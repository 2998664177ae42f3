"""Words of data within Markdown, which Dagster's pages render: they may say anything, and must do nothing."""

from __future__ import annotations

import re
import unicodedata

# CommonMark lets any of its punctuation be escaped; then there is no picture, tag, table or emphasis. Of an address
# that stands by itself Dagster's pages make a link nevertheless: one that says where it leads.
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")
_LONGEST = 200


def escaped(text: object) -> str:
    """A text that Markdown shows as it is, on one line.

    Control characters and marks that turn the direction of writing are shown as a replacement character; of what is
    longer than any name, the beginning.
    """
    line = " ".join(str(text).split())
    if len(line) > _LONGEST:
        line = line[: _LONGEST - 1] + "…"
    plain = "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(one) in ("Cc", "Cf", "Cs") else one for one in line
    )
    return _PUNCTUATION.sub(r"\\\1", plain)
