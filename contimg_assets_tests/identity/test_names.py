"""Names of sources: cut off and not rounded, at RA 0, at the poles, south; letters where several share a cell."""

from __future__ import annotations

import numpy as np
import pytest

from contimg_assets.identity.names import (
    designation_parts,
    designations,
    name_cells,
    position_of_name,
    source_names,
)
from contimg_assets.sky.sphere import separation_arcsec


@pytest.mark.parametrize(
    ("ra_deg", "dec_deg", "name"),
    [
        (0.0, 0.0, "J000000.0+000000"),
        (0.0, -0.0, "J000000.0+000000"),
        # Just south of the equator is south.
        (0.0, -1e-9, "J000000.0-000000"),
        # 0.19 s and 0.99" are cut off.
        (0.19 / 240, 0.99 / 3600, "J000000.1+000000"),
        (0.19 / 240, -0.99 / 3600, "J000000.1-000000"),
        (359.99999999, 16.0, "J235959.9+160000"),
        (np.nextafter(360.0, 0.0), 16.0, "J235959.9+160000"),
        (123.456789, 90.0, "J081349.6+900000"),
        (123.456789, -89.9999, "J081349.6-895959"),
        # 12.3 s is 12.299999... in binary.
        (15 * (3 + 59 / 60 + 12.3 / 3600), 15 + 35 / 60 + 23 / 3600, "J035912.3+153523"),
    ],
)
def test_names_are_cut_off(ra_deg: float, dec_deg: float, name: str) -> None:
    assert designations(name_cells([ra_deg], [dec_deg])).tolist() == [name]


def test_a_name_is_a_place() -> None:
    rng = np.random.default_rng(3)
    ra, dec = rng.uniform(0, 360, 1000), np.degrees(np.arcsin(rng.uniform(-1, 1, 1000)))
    places = np.array([position_of_name(name) for name in designations(name_cells(ra, dec))])
    assert separation_arcsec(ra, dec, *places.T).max() < np.hypot(0.75, 0.5) + 1e-6
    assert position_of_name("J0359+1535") is None
    assert position_of_name("J259912.3+153523") is None


def test_sources_of_one_cell_are_told_apart_by_age_whatever_their_order() -> None:
    n = 60
    rng = np.random.default_rng(1)
    cells = name_cells(np.full(n, 10.0), np.full(n, -5.0))
    since, ids = np.arange(n, dtype=float), rng.permutation(n).astype(np.uint64)
    names = source_names(cells, since, ids, "VLA X")
    assert names[0] == "VLA X J004000.0-050000"
    assert [one.removeprefix(names[0]) for one in names[[1, 25, 26, 27, 52]]] == ["B", "Z", "AA", "AB", "BA"]
    assert len(set(names)) == n
    shuffled = rng.permutation(n)
    again = source_names(cells[shuffled], since[shuffled], ids[shuffled], "VLA X")
    assert again.tolist() == names[shuffled].tolist()
    # One that comes later changes no name.
    assert source_names(cells[:-1], since[:-1], ids[:-1], "VLA X").tolist() == names[:-1].tolist()
    assert source_names(cells[:0], since[:0], ids[:0], "").tolist() == []
    assert source_names(cells[:1], since[:1], ids[:1], "").tolist() == ["J004000.0-050000"]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("DSA J035912.3+153523B", ("035912.3", "+153523B")),
        ("J0359", ("0359", "")),
        ("j0359-15", ("0359", "-15")),
        ("J0359−1535", ("0359", "-1535")),
        ("DSA 0359+1535", ("0359", "+1535")),
        ("12:30:49.4 +12:23:28", None),
        ("187.70593 12.39112", None),
        ("187.70593,+12.39112", None),
        ("187 +12", None),
        ("J035%+15", None),
        ("", None),
    ],
)
def test_what_is_taken_for_a_name(text: str, parts: tuple[str, str] | None) -> None:
    assert designation_parts(text) == parts
