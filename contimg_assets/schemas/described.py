"""Values that a stored table carries with it: keys and texts in its schema's metadata, written and read."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

METADATA_PREFIX = b"contimg_"


def describe(table: pa.Table, values: Mapping[str, str]) -> pa.Table:
    """The table with values in its schema metadata."""
    metadata = dict(table.schema.metadata or {})
    metadata |= {METADATA_PREFIX + key.encode(): value.encode() for key, value in values.items()}
    return table.replace_schema_metadata(metadata)


def described_values(schema: pa.Schema) -> dict[str, str]:
    """What `describe` wrote into a schema, as keys and texts; empty where it did not."""
    return {
        key.removeprefix(METADATA_PREFIX).decode(): value.decode()
        for key, value in (schema.metadata or {}).items()
        if key.startswith(METADATA_PREFIX)
    }
