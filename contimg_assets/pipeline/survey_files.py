"""The files of the store that belong to no epoch, opened with care: one that is damaged counts as never made.

Belongs here: what is there and what it states of itself. Does not belong here: from what these tables are made, and
whether that changed (`survey_tables`).
"""

from __future__ import annotations

import logging
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from contimg_assets.catalogs.store import ReferenceCatalog, catalog_file, stored_schema
from contimg_assets.config import Config
from contimg_assets.errors import SchemaError
from contimg_assets.files import reading_from
from contimg_assets.schemas import TableSchema
from contimg_assets.schemas.described import METADATA_PREFIX

_LOG = logging.getLogger(__name__)
_told: set[tuple[Path, int]] = set()
CONTENT = "content"
"""Key of the metadata that state the version of a table's content."""


def stated(file: Path, key: str) -> str | None:
    """What a stored table states of itself; None where there is none, or a damaged one."""
    schema = stored_schema(file)
    if schema is None:
        _tell(file)
        return None
    value: bytes | None = (schema.metadata or {}).get(METADATA_PREFIX + key.encode())
    return value.decode() if value else None


def read_whole(file: Path, schema: TableSchema) -> pa.Table | None:
    """A stored table as its schema says; None where there is none, or a damaged one."""
    try:
        with reading_from(file):
            found = pq.read_table(file, partitioning=None)
        schema.check(found)
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException, SchemaError):
        _tell(file)
        return None
    return found


def readable_catalogs(config: Config) -> dict[str, ReferenceCatalog]:
    """The configured catalogs that have been materialised and can be opened."""
    files = {name: catalog_file(config, name) for name in config.catalogs}
    return {name: ReferenceCatalog(name, file) for name, file in files.items() if stored_schema(file) is not None}


def damage_mark(file: Path, schema: TableSchema) -> str:
    """Nothing for a table that can be read or is not there; else which damaged file lies there, by its time."""
    if not file.exists() or read_whole(file, schema) is not None:
        return ""
    return f" damaged {file.stat().st_mtime_ns}"


def _tell(file: Path) -> None:
    """Name a damaged file where people look for what a process did, once."""
    if not file.exists():
        return
    seen = (file, file.stat().st_mtime_ns)
    if seen not in _told:
        _told.add(seen)
        _LOG.warning("%s is damaged: made again", file)
