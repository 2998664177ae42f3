"""Positions as people write them."""

from __future__ import annotations

import pytest

from contimg_assets.errors import InputError
from contimg_assets.sky.position_text import parse_position


def test_positions_as_people_write_them() -> None:
    assert parse_position("187.5,-12.25") == (187.5, -12.25)
    assert parse_position(" 12h30m00s , -12d15m00s ") == pytest.approx((187.5, -12.25))
    assert parse_position("12:30:00,-12:15:00") == pytest.approx((187.5, -12.25))
    assert parse_position("12:30:00 -12:15:00") == pytest.approx((187.5, -12.25))
    assert parse_position("12 30 00.0 -12 15 00") == pytest.approx((187.5, -12.25))
    assert parse_position("187.5 -12.25") == (187.5, -12.25)
    # A plain number is in degrees, whatever the other one is.
    assert parse_position("187.7,+12:15:00") == pytest.approx((187.7, 12.25))
    assert parse_position("12:30:00,12.25") == pytest.approx((187.5, 12.25))
    assert parse_position("187.7 12d15m") == pytest.approx((187.7, 12.25))
    wrong = (
        "360,0",
        "1,-91",
        "1",
        "a,b",
        "nan,1",
        "1,2,3",
        "-01:00:00,+10:00:00",
        "-1h,10d",
        "25:00:00,1",
        "1:2:3,91d",
    )
    for text in wrong:
        with pytest.raises(InputError, match="neither a source id"):
            parse_position(text)


def test_swapped_coordinates_are_said_to_be_swapped() -> None:
    for text in ("10.99 293.05", "-10.99,293.05"):
        with pytest.raises(
            InputError, match=r"beyond the pole; right ascension comes first: is 293\.05,-?10\.99 meant"
        ):
            parse_position(text)
    assert parse_position("80,10") == (80.0, 10.0)
    with pytest.raises(InputError, match="neither a source id"):
        parse_position("293.05,293.05")
