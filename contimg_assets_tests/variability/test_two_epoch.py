"""Pairs: the extremes are those of all pairs, whatever is left out on the way."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contimg_assets.variability.segments import Segments
from contimg_assets.variability.two_epoch import iterate_pairs, pair_maxima, pair_metrics


def segments_of(counts: object) -> Segments:
    counts = np.asarray(counts, dtype=np.intp)
    return Segments(np.cumsum(counts) - counts, counts)


def test_pairs_are_all_pairs_in_order() -> None:
    for chunk in (1, 2, 3, 100):
        pieces = list(iterate_pairs(segments_of([3, 1, 2]), chunk))
        assert max(len(piece[0]) for piece in pieces) <= chunk
        source, a, b = (np.concatenate(parts).tolist() for parts in zip(*pieces, strict=True))
        assert list(zip(source, a, b, strict=True)) == [(0, 0, 1), (0, 0, 2), (0, 1, 2), (2, 4, 5)]
    assert list(iterate_pairs(segments_of([]))) == []
    assert list(iterate_pairs(segments_of([1, 1]))) == []


@pytest.mark.shared
def test_exact_values(shared: Path) -> None:
    for name, case in json.loads((shared / "golden/variability_values.json").read_text()).items():
        if "pairs" not in case:
            continue
        flux, err = np.array(case["flux"]), np.array(case["err"])
        ((_, a, b),) = iterate_pairs(segments_of([len(flux)]))
        vs, m = pair_metrics(flux[a], err[a], flux[b], err[b])
        expected = np.array([[np.nan if v is None else v for v in pair] for pair in case["pairs"]])
        np.testing.assert_array_equal(np.stack([a, b]), expected[:, :2].T)
        np.testing.assert_allclose(vs, expected[:, 2], rtol=1e-9, atol=1e-15, err_msg=name)
        np.testing.assert_allclose(m, expected[:, 3], rtol=1e-9, atol=1e-15, err_msg=name)
        found = pair_maxima(flux, err, segments_of([len(flux)]), 4.3)
        assert found["vs"][0] == pytest.approx(case.get("vs_abs_significant_max", np.nan), nan_ok=True)
        assert found["m"][0] == pytest.approx(case.get("m_abs_significant_max", np.nan), nan_ok=True)
        assert np.nan_to_num(found["vs_max"][0]) == pytest.approx(case["vs_max"] if case["vs_max"] >= 4.3 else 0.0)


@given(st.integers(0, 10**6), st.sampled_from([0.5, 2.0, 4.3]), st.booleans())
@settings(max_examples=60, deadline=None)
def test_extremes_are_those_of_all_pairs(seed: int, min_abs_vs: float, rounded: bool) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 10, 8)
    n = counts.sum()
    flux = np.repeat(rng.lognormal(2, 1, 8), counts) * rng.lognormal(0, 0.3, n) + rng.normal(size=n) * rng.choice(
        [0, 3]
    )
    err = rng.lognormal(-1, 0.8, n)
    flux[rng.uniform(size=n) < 0.05] = np.nan
    err[rng.uniform(size=n) < 0.05] = 0.0
    if rounded:  # many ties
        flux, err = np.round(flux), np.ceil(err * 3) / 3
    found = pair_maxima(flux, err, segments_of(counts), min_abs_vs)
    vs, m, vs_max = np.full((3, 8), np.nan)
    for sources, first, second in iterate_pairs(segments_of(counts)):
        all_vs, all_m = (np.abs(x) for x in pair_metrics(flux[first], err[first], flux[second], err[second]))
        for k, v, modulation, a, b in zip(sources, all_vs, all_m, first, second, strict=True):
            if not v >= min_abs_vs:
                continue
            vs_max[k] = np.fmax(vs_max[k], v)
            if flux[a] + flux[b] > 0 and not (modulation, v) <= (np.nan_to_num(m[k], nan=-1.0), np.nan_to_num(vs[k])):
                m[k], vs[k] = modulation, v
    np.testing.assert_array_equal(found["vs_max"], vs_max)
    np.testing.assert_array_equal(found["m"], m)
    np.testing.assert_array_equal(found["vs"], vs)


def test_negative_fluxes() -> None:
    drop = pair_maxima([10.0, -1.0], [1.0, 1.0], segments_of([2]), 4.3)
    assert drop["vs_max"][0] == drop["vs"][0] == pytest.approx(11 / np.sqrt(2))
    assert drop["m"][0] == pytest.approx(22 / 9)
    # No m where the sum is not positive, but the pair is significant all the same.
    for flux in ([10.0, -10.0], [3.0, -20.0]):
        found = pair_maxima(flux, [1.0, 1.0], segments_of([2]), 4.3)
        assert found["vs_max"][0] > 10
        assert np.isnan(found["m"][0])
        assert np.isnan(found["vs"][0])


@pytest.mark.shared
def test_vast_pair_metrics_and_aggregates(shared: Path) -> None:
    folder = shared / "golden/association/functions"
    pairs = pd.read_csv(folder / "pair_metrics_expected.csv")
    for kind in ("peak", "int"):
        columns = [pairs[f"flux_{kind}{err}_{side}"].to_numpy() for side in "ab" for err in ("", "_err")]
        vs, m = pair_metrics(*columns)
        np.testing.assert_allclose(vs, pairs[f"vs_{kind}"], rtol=1e-10)
        np.testing.assert_allclose(m, pairs[f"m_{kind}"], rtol=1e-10)
        # The same through points: each source's points are the ends of its pairs.
        ends = [
            pairs[["source", f"id_{side}", f"flux_{kind}_{side}", f"flux_{kind}_err_{side}"]].set_axis(
                ["source", "id", "flux", "err"], axis=1
            )
            for side in "ab"
        ]
        points = pd.concat(ends).drop_duplicates(["source", "id"]).sort_values(["source", "id"])
        expected = pd.read_csv(folder / f"pair_aggregates_{kind}_minvs4.3_expected.csv").set_index("source")
        found = pair_maxima(points["flux"], points["err"], Segments.of_sorted(points["source"].to_numpy()), 4.3)
        table = pd.DataFrame(found, index=points["source"].unique())
        significant = table[table["vs"].notna()]
        assert set(significant.index) == set(expected.index)
        np.testing.assert_allclose(significant.loc[expected.index, ["vs", "m"]], expected.to_numpy(), rtol=1e-10)
