"""Ids as 64-bit numbers inside the fold, as text outside: conversions without a Python object per row."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from contimg_assets.identity import hash_text, mix

Hashes = npt.NDArray[np.uint64]

_DIGITS = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
_VALUE = np.full(256, 255, np.uint8)
_VALUE[_DIGITS] = np.arange(16, dtype=np.uint8)
_BIRTH = hash_text(["source"])[0]


def hashes_of(ids: pd.Series | npt.NDArray) -> Hashes:
    """Numbers of ids, shape (n,): the value of 16 hexadecimal digits, the hash of any other text or integer."""
    values = pd.Series(ids)
    if pd.api.types.is_integer_dtype(values.dtype):
        return hash_text(values.to_numpy().astype(str))
    plain = (
        values.array if isinstance(values.dtype, pd.StringDtype) else values.to_numpy(object).astype(str).astype(object)
    )
    text = pa.array(plain, type=pa.large_string(), from_pandas=True)
    if isinstance(text, pa.ChunkedArray):
        text = text.combine_chunks()
    offsets = np.frombuffer(text.buffers()[1], dtype=np.int64)[text.offset : text.offset + len(text) + 1]
    lengths = np.diff(offsets)
    if not len(text):
        return np.empty(0, np.uint64)
    if (lengths == 16).all():
        characters = np.frombuffer(text.buffers()[2], dtype=np.uint8)[offsets[0] : offsets[-1]].reshape(-1, 16)
        digits = _VALUE[characters]
        packed = np.ascontiguousarray((digits[:, 0::2] << 4) | (digits[:, 1::2] & 15))
        result = packed.view(">u8").reshape(-1).astype(np.uint64)
        if digits.max() < 16:
            return result
        is_hex = (digits < 16).all(axis=1)
        result[~is_hex] = hash_text(text.filter(pa.array(~is_hex)).to_numpy(zero_copy_only=False))
        return result
    # Each id by its own rule, so that an id's number never depends on its neighbours in the table.
    result = np.empty(len(text), np.uint64)
    wide = lengths == 16
    result[wide] = hashes_of(text.filter(pa.array(wide)).to_pandas())
    result[~wide] = hash_text(text.filter(pa.array(~wide)).to_numpy(zero_copy_only=False))
    return result


def text_of(hashes: Hashes) -> pd.Series:
    """The 16 hexadecimal digits of hashes, as a text column."""
    return arrow_of(hashes).to_pandas()


def arrow_of(hashes: Hashes) -> pa.StringArray:
    """The 16 hexadecimal digits of hashes, as an Arrow array."""
    octets = np.ascontiguousarray(hashes, dtype=">u8").view(np.uint8).reshape(-1, 8)
    characters = np.empty((len(octets), 16), np.uint8)
    characters[:, 0::2] = _DIGITS[octets >> 4]
    characters[:, 1::2] = _DIGITS[octets & 15]
    offsets = np.arange(len(octets) + 1, dtype=np.int32) * 16
    return pa.StringArray.from_buffers(len(octets), pa.py_buffer(offsets), pa.py_buffer(characters))


def source_of_birth(measurements: Hashes) -> Hashes:
    """Ids of new sources: `identity.source_ids` on numbers."""
    return mix(_BIRTH, measurements)


def source_of_fork(parents: Hashes, measurements: Hashes) -> Hashes:
    """Ids of forked sources: `identity.fork_ids` on numbers."""
    return mix(parents, measurements)
