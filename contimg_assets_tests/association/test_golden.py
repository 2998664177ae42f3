"""The three methods of vast-pipeline against its own cases.

Not `correct_parallel_source_ids_*`: they renumber the sources of sky regions that were associated apart. Our ids are
hashes of what a source was born of, so nothing is ever renumbered.
"""

import ast
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.spatial import cKDTree

from contimg_assets.association import associate_measurements
from contimg_assets.association.fold import _pairs_of_equal
from contimg_assets.association.source_pairs import candidates
from contimg_assets.association.vast_pipeline import many_to_many, one_to_many
from contimg_assets.sky.sphere import unit_vectors
from contimg_assets_tests.association.skies import sources_of

pytestmark = pytest.mark.shared


@pytest.fixture(scope="module")
def golden(shared: Path) -> Path:
    return shared / "golden" / "association"


def _read(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / f"{name}.csv")


@pytest.mark.parametrize("case", ["many_to_many_advanced", "many_to_many_deruiter", "many_to_many_nodup"])
def test_many_to_many_keeps_the_golden_rows(golden: Path, case: str) -> None:
    folder = golden / "unit" / case
    rows, expected = _read(folder, "in_temp_srcs"), _read(folder, "expected_temp_srcs")
    method = json.loads((folder / "case.json").read_text())["params"]["method"]
    distance = rows["dr" if method == "deruiter" else "d2d"].to_numpy(float)
    kept = rows[many_to_many(rows["index_old_skyc2"].to_numpy(), rows["source_skyc1"].to_numpy(), distance)]
    pd.testing.assert_frame_equal(kept.reset_index(drop=True), expected)


@pytest.mark.parametrize("case", ["basic_dup", "basic_nodup", "advanced_dup", "advanced_nodup", "deruiter_dup"])
def test_one_to_many_forks_the_golden_rows(golden: Path, case: str) -> None:
    folder = golden / "unit" / f"one_to_many_{case}"
    basic = case.startswith("basic")
    name, source = ("skyc2_srcs", "source") if basic else ("temp_srcs", "source_skyc1")
    rows, expected = _read(folder, f"in_{name}"), _read(folder, f"expected_{name}")
    distance = rows["dr" if case.startswith("deruiter") else "d2d"].to_numpy(float)
    known = rows[rows[source] >= 0] if basic else rows
    kept, forked = one_to_many(known[source].to_numpy(), distance[known.index])
    # The nearest keeps the id; every other row got a new one.
    same = (expected[source].to_numpy() == rows[source].to_numpy())[known.index]
    assert sorted(kept) == list(np.flatnonzero(same))
    assert sorted(forked) == list(np.flatnonzero(~same))


@pytest.mark.parametrize("case", ["many_to_one", "many_to_one_nodup"])
def test_many_to_one_relates_the_golden_sources(golden: Path, case: str) -> None:
    folder = golden / "unit" / case
    rows, expected = _read(folder, "in_temp_srcs"), _read(folder, "expected_temp_srcs")
    # A pair that comes twice is none for us.
    pairs = rows[["index_old_skyc2", "source_skyc1"]].drop_duplicates().astype(np.uint64)
    one, two = _pairs_of_equal(pairs["index_old_skyc2"].to_numpy(), pairs["source_skyc1"].to_numpy())
    related = {(int(a), int(b)) for a, b in zip([*one, *two], [*two, *one], strict=True)}
    named = expected[["source_skyc1", "related_skyc1"]].dropna().to_numpy()
    assert related == {(int(source), other) for source, others in named for other in ast.literal_eval(others)}


def test_one_to_many_copies_the_golden_histories(golden: Path) -> None:
    folder = golden / "unit" / "one_to_many_basic_dup"
    before, after = _read(folder, "in_sources_df"), _read(folder, "expected_sources_df")
    rows, expected = _read(folder, "in_skyc2_srcs"), _read(folder, "expected_skyc2_srcs")
    _, forked = one_to_many(rows["source"].to_numpy(), rows["d2d"].to_numpy())
    copied = Counter()
    for row in forked:
        parent_rows = before.loc[before["source"] == rows["source"][row], "d2d"]
        copied.update((int(expected["source"][row]), value) for value in parent_rows)
    added = after.iloc[len(before) :]
    assert copied == Counter(zip(added["source"], added["d2d"], strict=True))
    related = {int(s): ast.literal_eval(r) for s, r in expected[["source", "related"]].dropna().to_numpy()}
    assert all(parent in related[child] for parent in related for child in related[parent])


@pytest.mark.parametrize(
    ("method", "kind"),
    [(m, k) for m in ("basic", "advanced") for k in ("", "_no_new", "_zero_limit")] + [("deruiter", "")],
)
def test_one_step_gives_the_golden_sources(golden: Path, method: str, kind: str) -> None:
    folder = golden / "unit" / f"{method}_association{kind}"
    params = json.loads((folder / "case.json").read_text())["params"]
    known, new = _read(folder, "in_skyc1_srcs"), _read(folder, "in_skyc2_srcs")
    expected = _read(folder, "expected_sources_df")
    # Errors are in degrees, missing where nothing is to be done; one is 0, which is no error for us: a very small one.
    one = pd.Series([1.0, 1.0])
    tables = [
        pd.DataFrame(
            {
                "measurement_id": frame["epoch"].astype(str) + "-" + frame["id"].astype(str),
                "epoch": frame["epoch"].astype(str),
                "ra_deg": frame["ra"],
                "dec_deg": frame["dec"],
                "uncertainty_ew_arcsec": frame.get("uncertainty_ew", one).clip(lower=1e-3) * 3600.0,
                "uncertainty_ns_arcsec": frame.get("uncertainty_ns", one) * 3600.0,
            }
        )
        for frame in (known, new)
    ]
    radius = params.get("limit_arcsec", params.get("bw_max_arcsec"))
    result = associate_measurements(
        tables, f"{radius}arcsec", method, max_separation_arcsec=max(radius, 1e-9), de_ruiter_radius=5.68
    )
    ids = expected["epoch"].astype(str) + "-" + expected["id"].astype(str)
    golden_sources = pd.DataFrame({"source_id": expected["source"], "measurement_id": ids})
    assert sources_of(result) == sources_of(golden_sources)


_RUNS = {
    "basic_r10": ("basic", 10.0, {}),
    "basic_r15": ("basic", 15.0, {}),
    "advanced_r15": ("advanced", 15.0, {}),
    # Two beam widths of 15 arcsec, halved.
    "deruiter_dr5.68_bw2": ("deruiter", 10.0, {"max_separation_arcsec": 15.0}),
    "basic_r15_forced": ("basic", 15.0, {}),
    "deruiter_dr5.68_bw2_forced": ("deruiter", 10.0, {"max_separation_arcsec": 15.0}),
}


@pytest.fixture(scope="module")
def field(golden: Path) -> list[pd.DataFrame]:
    tables = []
    for k in range(1, 5):
        frame = pd.read_csv(golden / "e2e_4epochs" / "measurements" / f"epoch0{k}.csv")
        tables.append(
            pd.DataFrame(
                {
                    "measurement_id": frame["id"],
                    "ra_deg": frame["ra"],
                    "dec_deg": frame["dec"],
                    "uncertainty_ew_arcsec": frame["uncertainty_ew"] * 3600.0,
                    "uncertainty_ns_arcsec": frame["uncertainty_ns"] * 3600.0,
                }
            )
        )
    return tables


@pytest.mark.parametrize("run", _RUNS)
def test_whole_runs_give_the_golden_sources(golden: Path, field: list[pd.DataFrame], run: str) -> None:
    method, radius, overrides = _RUNS[run]
    folder = golden / "e2e_4epochs" / "expected" / run
    result = associate_measurements(field, f"{radius}arcsec", method, **overrides)
    expected = _read(folder, "associations").rename(columns={"meas_id": "measurement_id"})
    # Forced measurements are added after association: not the fold's.
    expected = expected[expected["measurement_id"].isin(pd.concat(field)["measurement_id"])]
    assert sources_of(result) == sources_of(expected)
    if run.endswith("_forced"):
        return
    merged = result.associations.merge(expected, on="measurement_id", suffixes=("", "_golden"))
    names = dict(zip(merged["source_id_golden"], merged["source_id"], strict=True))
    golden_sources = _read(folder, "sources").assign(source_id=lambda frame: frame["id"].map(names))
    both = result.sources.merge(golden_sources, on="source_id")
    assert len(both) == len(result.sources)
    if not len(result.forks):  # forks share measurements, so names alone do not tell which is which
        np.testing.assert_allclose(both["ra_deg"], both["wavg_ra"], rtol=0, atol=1e-10)
        np.testing.assert_allclose(both["dec_deg"], both["wavg_dec"], rtol=0, atol=1e-10)
        np.testing.assert_allclose(both["uncertainty_ew_arcsec"], both["wavg_uncertainty_ew"] * 3600, rtol=1e-10)
        np.testing.assert_allclose(both["n_measurements"], both["n_meas"])
    relations = _read(folder, "relations") if (folder / "relations.csv").exists() else pd.DataFrame()
    ours = result.relations[["from_source_id", "to_source_id"]].drop_duplicates()
    assert len(ours) == len(relations)


def test_default_method_agrees_on_the_golden_field(golden: Path, field: list[pd.DataFrame]) -> None:
    """No fork is needed there, so one to one is what all methods find."""
    expected = _read(golden / "e2e_4epochs" / "expected" / "basic_r10", "associations")
    expected = expected.rename(columns={"meas_id": "measurement_id"})
    assert sources_of(associate_measurements(field)) == sources_of(expected)


def test_separations_and_de_ruiter_radii_are_the_golden_ones(golden: Path, field: list[pd.DataFrame]) -> None:
    result = associate_measurements(field, "10arcsec", "deruiter", max_separation_arcsec=15.0)
    expected = _read(golden / "e2e_4epochs" / "expected" / "deruiter_dr5.68_bw2", "associations")
    both = result.associations.merge(expected, left_on="measurement_id", right_on="meas_id")
    later = both["de_ruiter"].notna()
    assert (both.loc[~later, "d2d"] == 0).all()
    np.testing.assert_allclose(both.loc[later, "separation_arcsec"], both.loc[later, "d2d"], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(both.loc[later, "de_ruiter"], both.loc[later, "dr"], rtol=1e-6, atol=1e-7)


def test_de_ruiter_radius_is_the_golden_one(golden: Path) -> None:
    cases = _read(golden / "functions", "calc_de_ruiter")
    got = []
    for case in cases.itertuples():
        pairs = candidates(
            cKDTree(unit_vectors([case.ra_skyc1], [case.dec_skyc1])),
            (np.array([case.uncertainty_ew_skyc1 * 3600]) ** 2, np.array([case.uncertainty_ns_skyc1 * 3600]) ** 2),
            cKDTree(unit_vectors([case.ra_skyc2], [case.dec_skyc2])),
            (np.array([case.uncertainty_ew_skyc2 * 3600]) ** 2, np.array([case.uncertainty_ns_skyc2 * 3600]) ** 2),
            7200.0,
        )
        got.append(pairs.de_ruiter[0])
    np.testing.assert_allclose(got, cases["expected_dr"], rtol=1e-5)
