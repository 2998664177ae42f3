"""Tables between memory and Arrow: the same values there and back, and keys that repeat are found."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from contimg_assets.errors import SchemaError
from contimg_assets.schemas.core import FEW_ROWS, FLOAT, INT, TEXT, Column, TableSchema, frame_of

POINTS = TableSchema(
    "points",
    "Points",
    (
        Column("name", TEXT, "", "Name"),
        Column("comment", TEXT, "", "Comment", nullable=True),
        Column("n", INT, "", "Number", nullable=True),
        Column("flux_mjy", FLOAT, "mJy", "Flux", nullable=True),
    ),
    key=("name",),
)


def points(n: int = 3) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "name": [f"p{k}" for k in range(n)],
            "comment": pd.Series([None, "ä b", ""] * (n // 3), dtype="str"),
            "n": np.arange(n),
            "flux_mjy": [np.nan, -1.5, 2.0] * (n // 3),
        }
    )


@pytest.mark.parametrize("kind", ["str", object, pd.StringDtype("python", na_value=np.nan), pd.StringDtype("pyarrow")])
def test_texts_are_the_same_there_and_back_however_pandas_holds_them(kind: object) -> None:
    table = points().astype({"name": kind, "comment": kind})
    arrow = POINTS.to_arrow(table)
    assert arrow.column("comment").to_pylist() == [None, "ä b", ""]
    assert arrow.column("flux_mjy").to_pylist() == [None, -1.5, 2.0]
    pd.testing.assert_frame_equal(frame_of(arrow), arrow.to_pandas())
    pd.testing.assert_frame_equal(frame_of(arrow), points())


def test_texts_of_a_part_of_a_table_are_those_of_that_part() -> None:
    assert POINTS.to_arrow(points(6).iloc[4:]).column("name").to_pylist() == ["p4", "p5"]
    assert POINTS.to_arrow(pd.concat([points(), points().assign(name=["a", "b", "c"])])).num_rows == 6


def test_frames_of_the_same_columns_share_their_labels() -> None:
    one, other = (frame_of(POINTS.to_arrow(points(n))) for n in (3, 6))
    assert one.columns is other.columns
    assert list(one.assign(more=1)) == [*POINTS.names, "more"]
    assert list(other) == POINTS.names


def test_a_column_that_repeats_is_named() -> None:
    twice = pd.concat([points(), points()[["flux_mjy"]]], axis=1)
    with pytest.raises(SchemaError, match=r"repeated column\(s\) flux_mjy"):
        POINTS.to_arrow(twice)


@pytest.mark.parametrize("n", [3, FEW_ROWS + 2])
@pytest.mark.parametrize("key", [("name",), ("name", "n")])
def test_a_key_that_repeats_is_found_in_tables_of_any_length(n: int, key: tuple[str, ...]) -> None:
    schema = TableSchema(POINTS.name, POINTS.description, POINTS.columns, key)
    arrow = POINTS.to_arrow(points(n // 3 * 3))
    schema.check(arrow)
    with pytest.raises(SchemaError, match=r"repeats in 2 row\(s\)"):
        schema.check(pa.concat_tables([arrow, arrow.slice(0, 2)]))
