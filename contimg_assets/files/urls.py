"""Names of files elsewhere."""

from __future__ import annotations

import re

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def is_url(name: object) -> bool:
    """Whether a name is that of a file elsewhere.

    Examples
    --------
    >>> from contimg_assets.files.urls import is_url
    >>> is_url("https://example.org/image.fits"), is_url("images/a.fits"), is_url("C:/a.fits")
    (True, False, False)
    """
    return _URL.match(str(name)) is not None


def shown_url(url: object) -> str:
    """A URL as it may be shown: without a name and password, and without what stands behind a question mark, which
    may be a signature.

    Examples
    --------
    >>> from contimg_assets.files.urls import shown_url
    >>> shown_url("https://me:secret@example.org/a.fits?X-Amz-Signature=12ab")
    'https://example.org/a.fits?...'
    """
    scheme, separator, rest = str(url).partition("://")
    if not separator:
        return str(url)
    rest, asked, _ = rest.partition("?")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}{'?...' if asked else ''}"


def server_faults() -> tuple[type[Exception], ...]:
    """What the packages that fsspec asks servers with raise, beside errors of the system, as far as they are there."""
    faults: list[type[Exception]] = []
    try:
        from aiohttp import ClientError

        faults.append(ClientError)
    except ImportError:
        pass
    try:
        from botocore.exceptions import BotoCoreError

        faults.append(BotoCoreError)
    except ImportError:
        pass
    return tuple(faults)
