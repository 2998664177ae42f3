"""A copy of all records of a stage in one file, so that a process need not open thousands to know them.

A copy and nothing else: each record stands beside the signature that its file had, and counts only where the file has
that signature now. A copy that is damaged, gone, or of before is made again by who needs it; nothing waits for it, and
who writes records knows nothing of it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from contimg_assets.errors import StoreError
from contimg_assets.files import replacing, writing_to
from contimg_assets.pipeline.file_cache import Signature
from contimg_assets.pipeline.records import EpochRecord

_LOG = logging.getLogger(__name__)
Indexed = Mapping[str, tuple[Signature, EpochRecord]]
_INDEX = TypeAdapter(dict[str, tuple[Signature, EpochRecord]])


def index_file(root: Path, stage: str) -> Path:
    """Where the copy of a stage's records is kept."""
    return root / f"records-{stage}.json"


def read_index(file: Path) -> Indexed:
    """Records and the signatures of their files, by epoch; none where there is no copy, or no sound one."""
    try:
        digest, _, content = file.read_bytes().partition(b"\n")
        if digest != _digest(content):
            raise ValueError("it is not what was written")
        return _INDEX.validate_json(content)
    except OSError:  # there is none, or it may not be read
        return {}
    except ValueError as error:
        _LOG.info("%s is damaged (%s): made again", file, type(error).__name__)
        return {}


def write_index(file: Path, records: Indexed) -> None:
    """Keep a copy for the next process, where that can be written: it saves time and nothing else."""
    if not os.access(file.parent, os.W_OK):
        return
    content = json.dumps(records, default=_fields, separators=(",", ":")).encode()
    try:
        with writing_to(file), replacing(file, kept=False) as temporary:
            temporary.write_bytes(_digest(content) + b"\n" + content)
    except StoreError as error:
        _LOG.warning("%s", error)


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).hexdigest().encode()


def _fields(record: Any) -> dict[str, Any]:
    """A record, or a table of one, as JSON has it."""
    fields: dict[str, Any] = vars(record)
    return fields
