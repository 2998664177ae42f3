"""Where `advanced` and `deruiter` differ from vast-pipeline on purpose: what the page of the stage says of it."""

from __future__ import annotations

import numpy as np
import pytest

from contimg_assets.association.vast_pipeline import many_to_many
from contimg_assets.sky.arrays import Flags, Floats, Indices


def theirs(measurement: Indices, source: Indices, distance: Floats) -> Flags:
    """The reduction of vast-pipeline: only among pairs crowded on both sides the nearest of a measurement stays."""
    crowded = (np.bincount(measurement)[measurement] > 1) & (np.bincount(source)[source] > 1)
    least = np.full(measurement.max() + 1, np.inf)
    np.minimum.at(least, measurement[crowded], distance[crowded])
    return ~crowded | (distance == least[measurement])


A, B = 0, 1
a, b = 0, 1


@pytest.mark.parametrize(
    ("pairs", "ours_keep", "theirs_keep"),
    [
        # Everything within reach of everything: both keep the two right pairs.
        ([(a, A, 1.0), (a, B, 4.8), (b, A, 5.1), (b, B, 0.5)], {(a, A), (b, B)}, {(a, A), (b, B)}),
        # b is out of reach of A: the pair (a, B) is the only crowded one of a, and vast-pipeline keeps it.
        ([(a, A, 1.0), (a, B, 4.8), (b, B, 0.5)], {(a, A), (b, B)}, {(a, A), (a, B), (b, B)}),
        # The crowded pair is the nearer one: both keep it, and what nothing else wants.
        ([(a, A, 4.0), (a, B, 1.0), (b, B, 0.5)], {(a, A), (a, B), (b, B)}, {(a, A), (a, B), (b, B)}),
        # Equal distances: one to one here, all of them there.
        ([(a, A, 1.0), (a, B, 1.0), (b, A, 1.0), (b, B, 1.0)], 2, 4),
    ],
)
def test_reduction_of_crowded_pairs(
    pairs: list[tuple[int, int, float]], ours_keep: object, theirs_keep: object
) -> None:
    measurement, source = (np.array([pair[k] for pair in pairs], np.intp) for k in (0, 1))
    distance = np.array([pair[2] for pair in pairs])
    for rule, expected in ((many_to_many, ours_keep), (theirs, theirs_keep)):
        mask = rule(measurement, source, distance)
        kept = {(int(m), int(s)) for m, s in zip(measurement[mask], source[mask], strict=True)}
        if isinstance(expected, int):
            assert len(kept) == expected
            assert {m for m, _ in kept} == {a, b}
            assert {s for _, s in kept} == {A, B}
        else:
            assert kept == expected


def test_pairs_of_one_measurement_a_source_are_never_reduced_by_either() -> None:
    rng = np.random.default_rng(4)
    source = np.arange(50, dtype=np.intp)
    measurement, distance = rng.permutation(source), rng.uniform(size=50)
    for rule in (many_to_many, theirs):
        assert rule(measurement, source, distance).all()
