"""Ids of measurements and sources: 64-bit hashes, as numbers within a computation and as text outside.

As text an id is 16 hexadecimal digits: fixed width, so that none is a prefix or substring of another. An id is a
function of what it names alone, so that every history of arrivals ends in the same ids.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from contimg_assets.sky.arrays import Hashes, Values

_BIRTH, _NEXT = "source", "taken"
_HEX = np.frombuffer("".join(f"{byte:02x}" for byte in range(256)).encode(), dtype="S2")
_DIGIT = np.full(256, 255, np.uint8)
_DIGIT[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16)


def hash_text(values: Sequence[str] | Values | pd.Series) -> Hashes:
    """64-bit hashes of texts, shape (n,). Deterministic across runs, machines and platforms."""
    return pd.util.hash_array(np.asarray(values, dtype=object), categorize=False)


def mix(first: npt.ArrayLike, second: npt.ArrayLike) -> Hashes:
    """Combine two hashes, order mattering: the finaliser of splitmix64 (Steele, Lea & Flood 2014) over both."""
    a, b = np.asarray(first, dtype=np.uint64), np.asarray(second, dtype=np.uint64)
    with np.errstate(over="ignore"):
        z = a * np.uint64(0x9E3779B97F4A7C15) + (b ^ (a >> np.uint64(29)))
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def to_hex(hashes: npt.ArrayLike) -> Values:
    """Hashes as 16 hexadecimal digits each, shape (n,), dtype object (str)."""
    flat = np.ascontiguousarray(np.asarray(hashes, dtype=">u8"))
    digits = _HEX[flat.view(np.uint8)].view("S16")
    return digits.astype("U16").astype(object)


def to_hex_text(hashes: npt.ArrayLike) -> pa.Array:
    """`to_hex` as Arrow strings, without a Python object per id."""
    flat = np.ascontiguousarray(np.asarray(hashes, dtype=">u8"))
    offsets = np.arange(len(flat) + 1, dtype=np.int32) * 16
    return pa.StringArray.from_buffers(len(flat), pa.py_buffer(offsets), pa.py_buffer(_HEX[flat.view(np.uint8)]))


def from_hex(ids: Sequence[str] | Values | pd.Series) -> Hashes:
    """The inverse of `to_hex`.

    Raises
    ------
    ValueError
        If an id is not 16 lower-case hexadecimal digits.
    """
    codes = _codes_of_arrow(ids) if isinstance(ids, pd.Series) else None
    if codes is None:
        codes = np.asarray(ids, dtype="S16").view(np.uint8).reshape(len(ids), 16)
    digit = _DIGIT[codes]
    if digit.max(initial=0) > 15:
        wrong = np.asarray(ids, dtype=object)[int(np.argmax((digit > 15).any(axis=1)))]
        raise ValueError(f"{wrong!r} is not an id of 16 hexadecimal digits")
    return _packed(digit)


def _packed(digits: npt.NDArray[np.uint8]) -> Hashes:
    """Numbers of hexadecimal digits, shape (n, 16)."""
    pairs = digits[:, 0::2] << 4 | digits[:, 1::2]
    return np.ascontiguousarray(pairs).view(">u8").reshape(len(digits)).astype(np.uint64)


def hashes_of(ids: pd.Series | Values) -> Hashes:
    """Numbers of ids, shape (n,): the value of 16 hexadecimal digits, the hash of any other text or integer.

    Each id by its own rule, so that an id's number never depends on its neighbors in the table.
    """
    values = pd.Series(ids)
    if pd.api.types.is_integer_dtype(values.dtype):
        return hash_text(values.to_numpy().astype(str))
    if not isinstance(values.dtype, pd.StringDtype):
        values = pd.Series(values.to_numpy(object).astype(str), dtype="str")
    if not len(values):
        return np.empty(0, np.uint64)
    codes = _codes_of_arrow(values)
    digits = None if codes is None else _DIGIT[codes]
    if digits is not None and digits.max() < 16:
        return _packed(digits)
    texts = values.to_numpy(object)
    is_hex = values.str.fullmatch("[0-9a-f]{16}").to_numpy(bool)
    result = np.empty(len(texts), np.uint64)
    result[is_hex] = from_hex(texts[is_hex])
    result[~is_hex] = hash_text(texts[~is_hex])
    return result


def text_of(hashes: Hashes) -> pd.Series:
    """`to_hex` as a text column."""
    ids: pd.Series = to_hex_text(hashes).to_pandas()
    return ids


def _codes_of_arrow(ids: pd.Series) -> npt.NDArray[np.uint8] | None:
    """Bytes of ids that Arrow holds, shape (n, 16), without a copy; None if held otherwise or of other lengths."""
    values = pa.array(ids) if ids.dtype == "str" else None
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if values is None or isinstance(values, pa.ChunkedArray) or values.null_count or not len(values):
        return None
    if not pc.all(pc.equal(pc.binary_length(values), 16)).as_py():
        return None
    width = np.int64 if pa.types.is_large_string(values.type) else np.int32
    start = np.frombuffer(values.buffers()[1], dtype=width)[values.offset]
    return np.frombuffer(values.buffers()[2], np.uint8)[start : start + 16 * len(values)].reshape(len(values), 16)


def measurement_hashes(
    epoch: str, image: str | Sequence[str] | pd.Series, component_id: Sequence[str] | Values | pd.Series
) -> Hashes:
    """Ids of measurements from (epoch, image, component) as numbers, shape (n,); one image for all, or one each."""
    prefix = hash_text([epoch])[0]
    images = hash_text([image] if isinstance(image, str) else image)
    return mix(mix(np.full(len(images), prefix), images), hash_text(component_id))


def measurement_ids(epoch: str, image: Sequence[str] | pd.Series, component_id: Sequence[str] | pd.Series) -> Values:
    """Ids of measurements from (epoch, image, component), shape (n,)."""
    return to_hex(measurement_hashes(epoch, image, component_id))


def source_ids(birth_measurement: Sequence[str] | Values | pd.Series) -> Values:
    """Ids of new sources from the measurements that gave birth to them, shape (n,)."""
    return to_hex(source_hashes(from_hex(birth_measurement)))


def source_hashes(birth_measurement: Hashes) -> Hashes:
    """`source_ids` as numbers, from numbers, shape (n,)."""
    return mix(hash_text([_BIRTH])[0], birth_measurement)


def fork_ids(parent_source: Sequence[str] | Values, measurement: Sequence[str] | Values) -> Values:
    """Ids of forked sources from (parent source, measurement), shape (n,)."""
    return to_hex(fork_hashes(from_hex(parent_source), from_hex(measurement)))


def fork_hashes(parent_source: Hashes, measurement: Hashes) -> Hashes:
    """`fork_ids` as numbers, from numbers, shape (n,)."""
    return mix(parent_source, measurement)


def free_hashes(wanted: Hashes, taken: Hashes) -> Hashes:
    """Ids as wanted, with others in place of those that are taken: of two things that got one id, one gets its next.

    Among 10^9 random 64-bit numbers two are equal with a chance of 3 %. The next id is a function of the one that is
    taken, so whoever gives ids in the same order gives the same ones.

    Parameters
    ----------
    wanted : shape (n,); of equal ones the first keeps it
    taken : ids of others, ascending
    """
    given = np.array(wanted, dtype=np.uint64)
    while True:
        again = is_taken(given, taken)
        again[np.setdiff1d(np.arange(len(given)), np.unique(given, return_index=True)[1])] = True
        if not again.any():
            return given
        given[again] = mix(hash_text([_NEXT])[0], given[again])


def is_taken(wanted: Hashes, taken: Hashes) -> npt.NDArray[np.bool_]:
    """Whether each id is among others, which are ascending; shape (n,)."""
    place = np.searchsorted(taken, wanted)
    found = np.zeros(len(wanted), bool)
    inside = place < len(taken)
    found[inside] = taken[place[inside]] == wanted[inside]
    return found
