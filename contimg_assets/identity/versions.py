"""Versions of content: short hashes that change exactly when a value or a table does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def combine_versions(*versions: str) -> str:
    """One version for several, order mattering."""
    return hashlib.blake2b("\0".join(versions).encode(), digest_size=8).hexdigest()


def version_of_value(value: Mapping[str, Any] | Sequence[Any] | str | float | None) -> str:
    """Version of a JSON value, whatever the order of its keys."""
    return combine_versions(json.dumps(value, sort_keys=True, default=str))


def version_of_table(table: pa.Table) -> str:
    """Version of a table's content: names, types and values, whatever the chunking.

    Rows count in the order they have: a stage whose order carries no meaning sorts by its key before it writes.
    """
    digest = hashlib.blake2b(digest_size=8)
    digest.update(str([(field.name, str(field.type)) for field in table.schema]).encode())
    digest.update(str(table.num_rows).encode())
    for column in table.itercolumns():
        values = column.combine_chunks()
        if isinstance(values, pa.ChunkedArray):
            values = values.chunk(0) if values.num_chunks else pa.array([], type=column.type)
        if pa.types.is_large_string(values.type):
            values = values.cast(pa.string())
        # A slice or an earlier offset must not leak into the version: concatenating copies to a canonical layout.
        values = pa.concat_arrays([values.slice(0, 0), values]) if values.offset else values
        if values.null_count:
            valid = values.is_valid()
            digest.update(np.asarray(valid.to_numpy(zero_copy_only=False)).tobytes())
            values = values.fill_null(_zero(values.type))
        if pa.types.is_string(values.type):
            lengths = pc.binary_length(values)
            digest.update(lengths.to_numpy(zero_copy_only=False).tobytes())
            offsets = np.frombuffer(values.buffers()[1], dtype=np.int32)[
                values.offset : values.offset + len(values) + 1
            ]
            if len(values):
                digest.update(memoryview(values.buffers()[2] or b"")[offsets[0] : offsets[-1]])
        else:
            digest.update(np.ascontiguousarray(values.to_numpy(zero_copy_only=False)).tobytes())
    return digest.hexdigest()


def _zero(kind: pa.DataType) -> pa.Scalar:
    if pa.types.is_string(kind):
        return pa.scalar("", kind)
    return pa.scalar(False, kind) if pa.types.is_boolean(kind) else pa.scalar(0, pa.int64()).cast(kind)
