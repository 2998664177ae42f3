"""Statistics of light curves against exact values, golden cases, and their own definition."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contimg_assets.config import Variability
from contimg_assets.schemas.variability import FLUX_KINDS
from contimg_assets.variability.segments import LightCurves, Segments
from contimg_assets.variability.statistics import flux_statistics, total_error, variability_table

# Our name -> theirs.
EXTREMES = (("mean", "avg"), ("min", "min"), ("max", "max"))
NAMES = {
    "n": "n",
    "mean": "mean",
    "wmean": "weighted_mean",
    "wmean_err": "weighted_mean_err",
    "std_ddof1": "std",
    "V": "v",
    "eta": "eta",
    "p_chi2": "p_value",
    "excess_var": "excess_variance",
    "debiased_mod_index": "modulation",
}


def one(flux: object, err: object) -> dict[str, float]:
    """Statistics of one source."""
    flux, err = np.asarray(flux, dtype=float), np.asarray(err, dtype=float)
    segments = Segments(np.array([0]), np.array([len(flux)]))
    return {name: values[0] for name, values in flux_statistics(flux, err, segments).items()}


def curves(source: np.ndarray, **columns: np.ndarray) -> LightCurves:
    n = len(source)
    defaults = {
        "mjd": np.arange(n, dtype=float),
        "measurement": np.arange(n, dtype=np.uint64),
        "forced": np.zeros(n, dtype=bool),
        "flux_scale_err": np.zeros(n),
    }
    return LightCurves.from_rows(np.asarray(source, dtype=np.uint64), defaults | columns)


@pytest.mark.shared
def test_exact_values(shared: Path) -> None:
    cases = json.loads((shared / "golden/variability_values.json").read_text())
    checked = 0
    for name, case in cases.items():
        if "flux" not in case:
            continue
        result = one(case["flux"], case["err"])
        for theirs, ours in NAMES.items():
            expected = case.get(theirs)
            if expected is None:
                assert np.isnan(result[ours]), (name, ours)
            else:
                # At a signal to noise of 10^6 the fluxes themselves hold no more digits than this of their scatter.
                assert result[ours] == pytest.approx(expected, rel=1e-10 if name != "G_high_snr" else 1e-8), (
                    name,
                    ours,
                )
            checked += 1
        if case.get("V_weighted") is not None and (name[0] in "ABH"):
            assert result["v_weighted"] == pytest.approx(case["V_weighted"], rel=1e-12)
    assert checked == 80


@pytest.mark.shared
def test_stable_at_high_signal_to_noise(shared: Path) -> None:
    cases = json.loads((shared / "golden/variability_values.json").read_text())["stability"]
    for case in cases.values():
        result = one(case["flux"], case["err"])
        # The formula with moments is wrong by ten per cent to a hundred in the worst of them.
        np.testing.assert_allclose([result["v"], result["eta"]], case["exact"], rtol=1e-5)


def test_one_point_has_no_scatter() -> None:
    result = one([7.5], [0.5])
    assert (result["n"], result["mean"], result["weighted_mean_err"]) == (1, 7.5, 0.5)
    for name in ("std", "v", "v_weighted", "eta", "p_value", "excess_variance", "modulation", "max_deviation"):
        assert np.isnan(result[name]), name


def test_no_point_has_nothing() -> None:
    result = one([np.nan, 3.0], [1.0, 0.0])
    assert (result["n"], result["n_invalid"]) == (0, 2)
    assert all(np.isnan(value) for name, value in result.items() if not name.startswith("n"))


@pytest.mark.parametrize(("flux", "err"), [(np.nan, 1.0), (5.0, np.nan), (5.0, 0.0), (5.0, -1.0), (np.inf, 1.0)])
def test_a_bad_point_takes_no_part(flux: float, err: float) -> None:
    good = one([5.1, 4.8, 9.2], [0.3, 0.25, 0.4])
    with_bad = one([5.1, 4.8, flux, 9.2], [0.3, 0.25, err, 0.4])
    assert with_bad.pop("n_invalid") == 1
    assert good.pop("n_invalid") == 0
    assert with_bad == pytest.approx(good, rel=1e-14)


def test_a_mean_that_is_not_positive_has_no_v() -> None:
    result = one([-3.0, -1.0], [0.5, 0.5])
    assert np.isnan(result["v"])
    assert np.isnan(result["v_weighted"])
    assert np.isnan(result["modulation"])
    assert result["eta"] == pytest.approx(8.0)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_each_source_stands_alone(data: st.DataObject) -> None:
    counts = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=6))
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    n = sum(counts)
    flux, err = rng.normal(5, 2, n), rng.uniform(0.1, 1, n)
    flux[rng.uniform(size=n) < 0.1] = np.nan
    segments = Segments(np.cumsum(counts) - counts, np.asarray(counts))
    together = flux_statistics(flux, err, segments)
    for index, (start, count) in enumerate(zip(segments.starts, segments.counts, strict=True)):
        part = slice(start, start + count)
        alone = one(flux[part], err[part])
        for name, value in alone.items():
            # To the last bit: which sources are computed together must not show in the database.
            assert together[name][index] == value or (np.isnan(value) and np.isnan(together[name][index])), name
        valid = np.isfinite(flux[part])
        s, e = flux[part][valid], err[part][valid]
        if len(s) > 1:
            assert alone["mean"] == pytest.approx(s.mean())
            assert alone["std"] == pytest.approx(s.std(ddof=1))
            w = 1 / e**2
            mean = np.average(s, weights=w)
            assert alone["eta"] == pytest.approx((w * (s - mean) ** 2).sum() / (len(s) - 1))
            assert alone["max_deviation"] == pytest.approx((np.abs(s - mean) / e).max())


@given(st.floats(1, 1e4), st.floats(1, 1e4), st.floats(0.01, 10))
def test_eta_of_two_points_is_vs_squared(a: float, b: float, err: float) -> None:
    assert one([a, b], [err, 2 * err])["eta"] == pytest.approx((a - b) ** 2 / (5 * err**2), rel=1e-9, abs=1e-15)


def test_errors_of_the_scale_quiet_bright_sources() -> None:
    rng = np.random.default_rng(1)
    n, epochs = 400, 30
    flux = 1000.0 * rng.normal(1.0, 0.03, epochs)[None, :] + rng.normal(size=(n, epochs))
    source = np.repeat(np.arange(n), epochs)
    columns = {
        f"flux_{kind}{suffix}": values.ravel()
        for kind in ("peak", "int")
        for suffix, values in (("", flux), ("_err", np.ones_like(flux)))
    }
    light = curves(source, flux_scale_err=np.full(n * epochs, 0.03), **columns)
    loud = variability_table(light, Variability(scale_error=False))
    quiet = variability_table(light, Variability())
    assert loud["eta_peak"].median() > 300
    assert 0.4 < quiet["eta_peak"].median() < 2.0
    np.testing.assert_allclose(total_error(np.array([-100.0]), np.array([3.0]), 0.04), [5.0])


def test_detections_and_forced_measurements_apart() -> None:
    flux, err = np.array([5.0, 7.0, -1.0, 4.0]), np.ones(4)
    light = curves(
        np.array([1, 1, 1, 2]), flux_peak=flux, flux_peak_err=err, flux_int=flux * 2, flux_int_err=err,
        forced=np.array([False, False, True, False]),
    )  # fmt: skip
    table = variability_table(light, Variability()).set_index(["source_id", "sample"])
    assert sorted(table.index) == [(1, "all"), (1, "detections"), (1, "forced"), (2, "detections")]
    assert table["n_peak"].to_dict() == {(1, "all"): 3, (1, "detections"): 2, (1, "forced"): 1, (2, "detections"): 1}
    assert table["flux_int_min_mjy"][(1, "all")] == -2.0
    assert table["flux_peak_mean_mjy_beam"][(1, "detections")] == 6.0


def test_rows_in_any_order_give_the_same() -> None:
    rng = np.random.default_rng(2)
    n = 300
    rows = {
        "mjd": rng.integers(0, 20, n).astype(float),
        "measurement": rng.permutation(n).astype(np.uint64),
        "flux_peak": rng.normal(10, 1, n),
    }
    source = rng.integers(0, 30, n).astype(np.uint64)
    first = LightCurves.from_rows(source, rows)
    order = rng.permutation(n)
    second = LightCurves.from_rows(source[order], {name: values[order] for name, values in rows.items()})
    for name in rows:
        np.testing.assert_array_equal(first[name], second[name])
    later = np.diff(first["mjd"])[np.diff(first.segments.spread(first.source)) == 0]
    assert (later >= 0).all()


def test_nothing_gives_nothing() -> None:
    empty = curves(np.empty(0), **{f"flux_{k}{s}": np.empty(0) for k in ("peak", "int") for s in ("", "_err")})
    assert variability_table(empty, Variability()).empty


@pytest.mark.shared
def test_vast_source_statistics(shared: Path) -> None:
    folder = shared / "golden/association/functions"
    rows = pd.read_csv(folder / "source_stats_in.csv")
    expected = pd.read_csv(folder / "source_stats_expected.csv").set_index("source")
    assert_as_vast(rows, expected)


def assert_as_vast(rows: pd.DataFrame, expected: pd.DataFrame) -> None:
    """Statistics of all rows of a source, forced ones included, with raw fluxes."""
    columns = {
        name: rows[name].to_numpy(dtype=float) for name in ("flux_peak", "flux_peak_err", "flux_int", "flux_int_err")
    }
    time = (
        pd.to_datetime(rows["datetime"], format="ISO8601").dt.tz_convert(None).astype("datetime64[s]").astype("int64")
    )
    light = curves(rows["source"].to_numpy(), mjd=time.to_numpy(dtype=float),
                   measurement=rows["id"].to_numpy().astype(np.uint64),
                   forced=rows["forced"].to_numpy(dtype=bool), **columns)  # fmt: skip
    table = variability_table(light, Variability())
    table = (
        table.sort_values("n_peak").drop_duplicates("source_id", keep="last").set_index("source_id").loc[expected.index]
    )
    # They say 0 where there is nothing to say.
    for ours, theirs in (
        [(f"{name}_{kind}", f"{name}_{kind}") for name in ("v", "eta") for kind in ("peak", "int")]
        + [(f"{name}_{kind}", f"{name}_abs_significant_max_{kind}") for name in ("vs", "m") for kind in ("peak", "int")]
        + [(f"flux_{k}_{a}_{u}", f"{b}_flux_{k}") for k, u in FLUX_KINDS.items() for a, b in EXTREMES]
    ):  # fmt: skip
        if theirs in expected:
            # Their eta is formed from moments, and loses digits.
            tolerance = 1e-6 if "eta" in ours else 1e-10
            np.testing.assert_allclose(
                table[ours].fillna(0.0), expected[theirs], rtol=tolerance, atol=1e-12, err_msg=theirs
            )


@pytest.mark.shared
@pytest.mark.parametrize(
    "run", ["basic_r10", "advanced_r15", "deruiter_dr5.68_bw2", "basic_r15_forced", "deruiter_dr5.68_bw2_forced"]
)
def test_vast_end_to_end(shared: Path, run: str) -> None:
    folder = shared / "golden/association/e2e_4epochs"
    files = [
        *sorted((folder / "measurements").glob("*.csv")),
        *sorted((folder / "expected" / run).glob("forced_*.csv")),
    ]
    rows = pd.concat([pd.read_csv(file) for file in files], ignore_index=True)
    members = pd.read_csv(folder / "expected" / run / "associations.csv")
    rows = members.merge(rows, left_on="meas_id", right_on="id").rename(
        columns={"source_id": "source", "time": "datetime"}
    )
    expected = pd.read_csv(folder / "expected" / run / "sources.csv").set_index("id")
    assert len(rows) == expected["n_meas"].sum()
    assert_as_vast(rows, expected)
