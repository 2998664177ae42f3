"""Passwords are never shown: what people wrote, as it may be repeated to them."""

from __future__ import annotations

import re

# user:password@host behind a scheme, however many slashes were meant; a password may hold an @ itself.
_BEFORE_AT = (
    re.compile(r"((?:[A-Za-z][\w+.-]*)?:/+[^:@\s]*:).*@", re.DOTALL),
    re.compile(r"([A-Za-z][\w+.-]*:[^:@/\s]*:).*@", re.DOTALL),
    re.compile(r"([A-Za-z][\w+.-]*:)[^/@\s].*@", re.DOTALL),
)
# Where the @ was forgotten, what should be a port is none.
_NO_PORT = re.compile(r"(://[^:/@\s]*:)(?!\d+(?:[/?,'\"\s]|$))[^/?'\"\s]+")
_NAMED = re.compile(
    r"(\w*(?:password|passwd|pwd|secret|token|signature|credential)['\"]?\s*[=:]\s*['\"]?)[^&;,\s'\")}\]]+",
    re.IGNORECASE,
)

_QUOTED = re.compile(r"(['\"]).*?\1", re.DOTALL)
_HARMLESS = re.compile(r"(['\"])(?:.|<[a-z ]+>)\1")


def without_passwords(text: str) -> str:
    """The text with stars in place of what looks like a password, in URLs and beside names that say so."""
    for pattern in _BEFORE_AT:
        text, n_found = pattern.subn(r"\1***@", text)
        if n_found:
            break
    else:
        text = _NO_PORT.sub(r"\1***", text)
    return _NAMED.sub(r"\1***", text)


def without_quotes(text: str) -> str:
    """A parser's sentence without what it quotes of the file; single characters and names of tokens say nothing."""
    shown = _QUOTED.sub(lambda found: found.group() if _HARMLESS.fullmatch(found.group()) else "...", text)
    return "it is not understood" if set("'\"") & set(_HARMLESS.sub("", shown)) else shown
