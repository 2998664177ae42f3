"""All records of a store at a URL in one object, so that a machine that has none of them asks for one, not thousands.

A copy and nothing else: each record stands beside the ETag that it had, and counts only where the server lists that
ETag now. One that is damaged, gone, or of before is written again by who had to ask for many.
"""

from __future__ import annotations

import gzip
import json
import logging
import zlib
from collections.abc import Mapping

from pydantic import TypeAdapter

_LOG = logging.getLogger(__name__)
PACK = "records.json.gz"
# A pack is asked for where so many records are missing, and written where so many, or such a share, were not in it.
_LEAST_MISSING, _SHARE_MISSING = 32, 0.05
_PACKED = TypeAdapter(dict[str, tuple[str, str]])


def is_of_use(n_missing: int, n_records: int = 0) -> bool:
    """Whether so many missing records, of so many, are worth a pack."""
    return n_missing >= max(_LEAST_MISSING, _SHARE_MISSING * n_records)


def pack(records: Mapping[str, tuple[str, str]]) -> bytes:
    """Content of a pack of records by name: of each its ETag and its text."""
    return gzip.compress(json.dumps(records).encode(), compresslevel=3)


def unpack(content: bytes) -> dict[str, tuple[str, str]]:
    """The same from the content; nothing of a damaged one."""
    try:
        return _PACKED.validate_json(gzip.decompress(content))
    except (OSError, EOFError, zlib.error, ValueError) as error:
        _LOG.info("%s is damaged (%s): written again", PACK, type(error).__name__)
        return {}
