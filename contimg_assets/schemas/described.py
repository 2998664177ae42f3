"""Values that a stored table carries with it: keys and texts in its schema's metadata."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

METADATA_PREFIX = b"contimg_"


def describe(table: pa.Table, values: Mapping[str, str]) -> pa.Table:
    """The table with values in its schema metadata."""
    metadata = dict(table.schema.metadata or {})
    metadata |= {METADATA_PREFIX + key.encode(): value.encode() for key, value in values.items()}
    return table.replace_schema_metadata(metadata)
