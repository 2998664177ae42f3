"""Names of files elsewhere."""

from __future__ import annotations

import re
from urllib.parse import quote

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


def is_on_the_web(url: str) -> bool:
    """Whether a URL is that of a web server, of http or https."""
    return url.lower().startswith(("http://", "https://"))


def checked_url(value: str, what: str, example: str) -> str:
    """The URL of a file or folder as a configuration may state it: without secrets and without ways around.

    Parameters
    ----------
    what, example : of what it has to be the URL, and how one looks, for the message

    Raises
    ------
    ValueError
        If it is none, leads out of where it seems to be, or holds a name or password.
    """
    if not is_url(value) or "::" in value or ".." in value:
        raise ValueError(f"this is no URL of a {what}; write one such as {example}")
    if "@" in value.partition("://")[2].partition("/")[0]:
        raise ValueError("a URL must not hold a name or password; give them by the variables of the environment")
    return value


def url_in(folder: str, name: str) -> str:
    """The URL of a file of a folder: names of web servers are written with %, those of object stores as they are.

    Examples
    --------
    >>> from contimg_assets.files.urls import url_in
    >>> url_in("https://example.org/incoming", "e1/a b.csv"), url_in("s3://bucket/incoming/", "e1/a b.csv")
    ('https://example.org/incoming/e1/a%20b.csv', 's3://bucket/incoming/e1/a b.csv')
    """
    return f"{folder.rstrip('/')}/{quote(name, safe='/:+=') if is_on_the_web(folder) else name}"


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


_ASKED = re.compile(r"(://[^\s'\"?]*)\?[^\s'\")]*")
_NAMED = re.compile(r"://[^\s/'\"@]*@")


def without_secrets(text: str) -> str:
    """A sentence whose URLs are as `shown_url` shows them.

    Examples
    --------
    >>> from contimg_assets.files.urls import without_secrets
    >>> without_secrets("404, url='https://me:secret@example.org/a.fits?signature=12ab'")
    "404, url='https://example.org/a.fits?...'"
    """
    return _ASKED.sub(r"\1?...", _NAMED.sub("://", text))


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
