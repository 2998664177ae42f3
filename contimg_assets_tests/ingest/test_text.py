"""Text as columns: what is a number, what is missing, what is neither; delimiters, quotes, blanks, line numbers."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contimg_assets.errors import InputError
from contimg_assets.reading.columns import Columns
from contimg_assets.reading.text import TextContainer


def load(content: str, numbers: tuple[str, ...] = ("x",), texts: tuple[str, ...] = ("id",)) -> Columns:
    return TextContainer(Path("t.csv"), content.encode()).load(numbers, texts)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_a_quoted_name_may_hold_the_delimiter(delimiter: str) -> None:
    name = f"flux{delimiter} peak"
    for header in (f'id{delimiter}"{name}"{delimiter}x', f'id{delimiter} "{name}"{delimiter} "x"'):
        container = TextContainer(Path("t.csv"), f"{header}\na{delimiter}1{delimiter}2\n".encode())
        assert container.names == ("id", name, "x")
        assert container.load(["x", name], ["id"]).numbers["x"].tolist() == [2.0]


@pytest.mark.parametrize("character", [chr(code) for code in range(32) if chr(code) not in "\t\r\n"])
def test_control_characters_are_no_text(character: str) -> None:
    with pytest.raises(InputError, match=r"t\.csv: line 3: not text .*; deliver"):
        load(f"id,x\na,1\nb{character}c,2\n")
    load("id,x\r\na\tb,1\r\n")


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("1.5", 1.5),
        ("+1.5", 1.5),
        (" -1.5 ", -1.5),
        ("1.5e1", 15.0),
        ("1.5E+01", 15.0),
        ("1.5D1", 15.0),
        ("1.5d-1", 0.15),
        (".5", 0.5),
        ("5.", 5.0),
        ("007", 7.0),
        ("inf", np.inf),
        ("-Infinity", -np.inf),
        ("1e999", np.inf),
        ('"2.5"', 2.5),
        ("", np.nan),
        ("nan", np.nan),
        ("--", np.nan),
        ("NULL", np.nan),
        (" N/A ", np.nan),
        ("−1.5", -1.5),
        ("\N{NO-BREAK SPACE}1.5", 1.5),
        ("?", np.nan),
        ("#N/A", np.nan),
        ("********", np.nan),
        ("INDEF", np.nan),
    ],
)
@pytest.mark.parametrize("beside", ["1.0", "text"])
def test_numbers_and_what_is_missing(cell: str, value: float, beside: str) -> None:
    """The same, whether the column is parsed at once or, for a text in it, cell by cell."""
    columns = load(f"id,x\na,{cell}\nb,{beside}\n")
    np.testing.assert_array_equal(columns.numbers["x"][0], value)
    assert (0 in columns.not_numbers.get("x", ([], []))[0]) is False
    assert ("x" in columns.not_numbers) == (beside == "text")


@pytest.mark.parametrize("cell", ["1_000", "0x10", "1.2.3", "1 2", "True", "١٢", "1e", "e5", "12:34:56", "1,5,2", "_"])
def test_what_is_not_a_number(cell: str) -> None:
    columns = load(f'id,x\na,"{cell}"\nb,1\n')
    rows, texts = columns.not_numbers["x"]
    assert rows.tolist() == [0]
    assert texts == [cell]
    assert np.isnan(columns.numbers["x"][0])


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20), st.sampled_from(",;\t| "))
def test_every_float_survives(values: list[float], delimiter: str) -> None:
    rows = [f"i{n}{delimiter}{value!r}" for n, value in enumerate(values)]
    columns = load("\n".join([f"id{delimiter}x", *rows]) + "\n")
    assert columns.numbers["x"].tolist() == values
    assert columns.texts["id"].to_pylist() == [f"i{n}" for n in range(len(values))]
    assert columns.lines.tolist() == list(range(2, len(values) + 2))


def test_lines_are_those_of_the_file() -> None:
    """Comments, blank lines, other line ends and a mark of the byte order do not shift them."""
    columns = load("\ufeff# a comment\r\n# another\r\nid,x\r\na,1\r\n\r\nb,2\r\nc\r\nd,4,5\r\ne,5\r\n\r\n")
    assert columns.lines.tolist() == [4, 6, 9]
    assert columns.numbers["x"].tolist() == [1.0, 2.0, 5.0]
    assert [(row.line, row.text) for row in columns.broken] == [(7, "c"), (8, "d,4,5")]


def test_quotes_and_odd_names() -> None:
    columns = load('"id",,"x",z z,\n"a,1",9,2,3,4\n', ("x", "z z"))
    assert columns.texts["id"].to_pylist() == ["a,1"]
    assert columns.numbers["x"].tolist() == [2.0]
    assert columns.numbers["z z"].tolist() == [3.0]


@pytest.mark.parametrize("comment", ["", "a long comment, with blanks", "short"])
def test_a_comment_column_at_the_end(comment: str) -> None:
    columns = load(f"#   id    x   comment\n#   --  [Jy]   --\n    a   1.5   {comment}\n    b   2.5   \n    c\n")
    assert columns.numbers["x"].tolist() == [1.5, 2.5]
    assert [(row.line, row.text) for row in columns.broken] == [(5, "c")]
    container = TextContainer(Path("t.txt"), b"# id x\n# -- [Jy]\na 1\n")
    assert container.units == {"x": "Jy"}
