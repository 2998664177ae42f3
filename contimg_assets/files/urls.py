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
