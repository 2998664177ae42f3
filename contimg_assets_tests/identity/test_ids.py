"""Ids and versions: fixed width, reversible, and functions of what they name alone."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contimg_assets.identity.ids import fork_ids, free_hashes, from_hex, measurement_ids, source_ids, to_hex
from contimg_assets.identity.versions import version_of_table, version_of_value

HASHES = st.lists(st.integers(0, 2**64 - 1), max_size=20)


@given(HASHES)
def test_hexadecimal_is_reversible_and_of_fixed_width(values: list[int]) -> None:
    hashes = np.array(values, dtype=np.uint64)
    text = to_hex(hashes)
    assert all(len(one) == 16 and int(one, 16) == value for one, value in zip(text, values, strict=True))
    assert (from_hex(text) == hashes).all()


@pytest.mark.parametrize("bad", ["0123", "0123456789ABCDEF", "0123456789abcdeg", "0123456789abcde "])
def test_other_text_is_no_id(bad: str) -> None:
    with pytest.raises(ValueError, match="16 hexadecimal digits"):
        from_hex(["0123456789abcdef", bad])


def test_ids_depend_on_every_part_and_on_nothing_else() -> None:
    reference = measurement_ids("e1", ["a", "a"], ["c1", "c2"])
    assert len(set(reference)) == 2
    assert list(measurement_ids("e1", ["a"], ["c2"])) == [reference[1]]
    assert measurement_ids("e2", ["a"], ["c1"])[0] != reference[0]
    assert measurement_ids("e1", ["b"], ["c1"])[0] != reference[0]
    # Parts are kept apart: shifting a letter from one to the next names something else.
    assert measurement_ids("e1", ["ab"], ["c"])[0] != measurement_ids("e1", ["a"], ["bc"])[0]


def test_these_ids_never_change() -> None:
    measurement = measurement_ids("2026-01-25T2200", ["mosaic"], ["J343.4904+16.1482"])
    assert list(measurement) == ["c02e129a0bb76054"]
    assert source_ids(measurement)[0] not in measurement
    assert fork_ids(source_ids(measurement), measurement)[0] != fork_ids(measurement, source_ids(measurement))[0]


def test_a_million_ids_do_not_collide() -> None:
    ids = measurement_ids("e", ["image"] * 1_000_000, np.arange(1_000_000).astype(str))
    assert len(np.unique(from_hex(ids))) == 1_000_000


def test_versions_of_tables_ignore_chunks_and_see_everything_else() -> None:
    table = pa.table({"name": ["a", None, "bc"], "value": [1.0, 2.0, None], "flag": [True, None, False]})
    version = version_of_table(table)
    assert version_of_table(pa.concat_tables([table.slice(0, 1), table.slice(1)])) == version
    assert version_of_table(table.slice(1)) == version_of_table(table.take([1, 2]))
    assert version_of_table(table.take([1, 0, 2])) != version
    assert version_of_table(table.rename_columns(["name", "other", "flag"])) != version
    # A missing value is not a zero, and text is not run together.
    zero = pa.table({"name": ["a", "", "bc"], "value": [1.0, 2.0, 0.0], "flag": [True, False, False]})
    assert version_of_table(zero) != version
    assert version_of_table(pa.table({"t": ["ab", "c"]})) != version_of_table(pa.table({"t": ["a", "bc"]}))


def test_versions_of_values_ignore_the_order_of_keys() -> None:
    assert version_of_value({"a": 1, "b": [1, 2]}) == version_of_value({"b": [1, 2], "a": 1})
    assert version_of_value({"a": 1}) != version_of_value({"a": 2})


@given(HASHES, HASHES)
def test_ids_that_are_taken_get_their_next(wanted: list[int], taken: list[int]) -> None:
    ids, others = np.array(wanted, dtype=np.uint64), np.unique(np.array(taken, dtype=np.uint64))
    given_ids = free_hashes(ids, others)
    assert len(np.unique(given_ids)) == len(ids)
    assert not np.isin(given_ids, others).any()
    free = ~np.isin(ids, others) & np.isin(np.arange(len(ids)), np.unique(ids, return_index=True)[1])
    assert (given_ids[free] == ids[free]).all()
    assert (free_hashes(ids, others) == given_ids).all()
