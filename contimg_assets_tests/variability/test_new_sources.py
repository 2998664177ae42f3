"""Coverage, new sources, and places that were looked at without a detection."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contimg_assets.sky.arrays import Flags, Indices
from contimg_assets.sky.cells import coarser, healpix_29
from contimg_assets.sky.coverage import Coverage, merged
from contimg_assets.sky.sphere import displaced, separation_arcsec, unit_vectors
from contimg_assets.variability.finder import fit_depths, place_in_image
from contimg_assets.variability.new_sources import (
    DEPTH_COLUMNS,
    KnownSources,
    catalogs_missed,
    covering,
    earlier_neighbors,
    false_chances,
    known_before,
    new_sources,
    uncovered_detections,
    undetected,
)


def images(**columns: object) -> pd.DataFrame:
    n = max(len(v) for v in columns.values() if isinstance(v, list))
    defaults: dict[str, object] = {
        "epoch": [f"e{i}" for i in range(n)], "image": [f"i{i}" for i in range(n)], "mjd": np.arange(n, dtype=float),
        "ra_deg": np.zeros(n), "dec_deg": np.zeros(n), "radius_deg": np.ones(n), "rms_mjy_beam": np.ones(n),
    }  # fmt: skip
    return pd.DataFrame(defaults | columns)


def first(ra: list, dec: list, mjd: float = 10.0, flux: float = 10.0, epoch: str = "late") -> pd.DataFrame:
    n = len(ra)
    return pd.DataFrame(
        {
            "epoch": [epoch] * n,
            "mjd": np.full(n, mjd),
            "ra_deg": ra,
            "dec_deg": dec,
            "flux_peak_mjy_beam": np.full(n, flux),
        }
    )


@given(st.integers(0, 10**6), st.sampled_from([0.0, 45.0, 89.5, -90.0]))
@settings(max_examples=40, deadline=None)
def test_coverage_is_separation_below_radius(seed: int, dec: float) -> None:
    rng = np.random.default_rng(seed)
    n, k = 200, 5
    ra = rng.uniform(-3, 3, n) % 360
    decs = np.clip(dec + rng.uniform(-3, 3, n), -90, 90)
    table = images(
        ra_deg=list(rng.uniform(-2, 2, k) % 360), dec_deg=np.clip(dec + rng.uniform(-2, 2, k), -90, 90),
        radius_deg=rng.uniform(0.1, 2, k),
    )  # fmt: skip
    found = {(int(i), int(j)) for a, b, _ in covering(ra, decs, table) for i, j in zip(a, b, strict=True)}
    separation = separation_arcsec(ra[:, None], decs[:, None], table["ra_deg"].to_numpy(), table["dec_deg"].to_numpy())
    assert found == {(int(i), int(j)) for i, j in np.argwhere(separation / 3600 <= table["radius_deg"].to_numpy())}


def square(rms: float = np.nan) -> Coverage:
    """One degree on each side of (0, 0), in cells of 1.7 arcmin."""
    ra, dec = np.meshgrid(np.linspace(-0.5, 0.5, 200) % 360, np.linspace(-0.5, 0.5, 200))
    cells = np.unique(coarser(healpix_29(ra.ravel(), dec.ravel()), 11))
    return merged(cells << 36, (cells + 1) << 36, np.full(len(cells), rms))


@pytest.mark.parametrize("detailed", [False, True])
def test_pairs_that_do_not_matter_are_left_out_and_the_others_are_the_same(detailed: bool) -> None:
    table = images(ra_deg=[0.0, 0.1, 359.9], rms_mjy_beam=[1.0, 2.0, 3.0])
    ra, dec = np.array([359.8, 0.0, 0.3, 0.4]), np.array([0.0, 0.2, -0.3, 0.4])
    stored = {("e1", "i1"): square(0.5)} if detailed else None

    def pairs(wanted: Callable[[Indices, Indices], Flags] | None) -> list[tuple[int, int, float]]:
        found = covering(ra, dec, table, stored, wanted)
        return [(int(i), int(j), float(r)) for a, b, rms in found for i, j, r in zip(a, b, rms, strict=True)]

    every = pairs(None)
    assert len(every) > 6
    assert pairs(lambda i, j: (i + j) % 2 == 0) == [one for one in every if (one[0] + one[1]) % 2 == 0]
    assert pairs(lambda i, j: np.zeros(len(i), bool)) == []


def test_a_coverage_counts_in_place_of_the_circle() -> None:
    table = images(ra_deg=[0.0, 0.0], rms_mjy_beam=[1.0, 2.0])
    where = first([0.0, 0.9, 0.3], [0.0, 0.0, 0.3])
    found = covering(
        where["ra_deg"].to_numpy(), where["dec_deg"].to_numpy(), table, {("e0", "i0"): square(), ("x", "y"): square()}
    )
    pairs = {(int(i), int(j), r) for a, b, rms in found for i, j, r in zip(a, b, rms, strict=True)}
    assert pairs == {(0, 0, 1.0), (2, 0, 1.0), (0, 1, 2.0), (1, 1, 2.0), (2, 1, 2.0)}


@given(st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_coverage_is_looked_up_as_one_by_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, k = 300, 6
    ra, dec = rng.uniform(-1.2, 1.2, n) % 360, rng.uniform(-1.2, 1.2, n)
    table = images(ra_deg=list(rng.uniform(-0.5, 0.5, k) % 360), rms_mjy_beam=rng.uniform(1, 2, k))
    stored = {(f"e{i}", f"i{i}"): square(rng.choice([np.nan, 0.5])) for i in range(0, k, 2)}
    found = {
        (int(i), int(j)): r for a, b, rms in covering(ra, dec, table, stored) for i, j, r in zip(a, b, rms, strict=True)
    }
    expected = {}
    separation = separation_arcsec(ra[:, None], dec[:, None], table["ra_deg"].to_numpy(), table["dec_deg"].to_numpy())
    for i, j in np.argwhere(separation / 3600 <= 1.0):
        key = (f"e{j}", f"i{j}")
        inside, rms = (
            (a[0] for a in stored[key].at(healpix_29(ra[i : i + 1], dec[i : i + 1])))
            if key in stored
            else (
                True,
                np.nan,
            )
        )
        if inside:
            expected[int(i), int(j)] = table["rms_mjy_beam"][j] if np.isnan(rms) else rms
    assert found == expected


def test_the_best_earlier_image_decides() -> None:
    table = images(mjd=[1.0, 2.0, 3.0, 20.0], rms_mjy_beam=[4.0, 1.0, 2.0, 0.1], ra_deg=[0.0, 0.0, 0.0, 0.0])
    found = new_sources(first([0.0, 5.0], [0.0, 0.0]), table, 5.0)
    # The lowest rms is the highest significance; a later image does not count, an uncovered place has none.
    assert found["new_significance"][0] == 10.0
    assert found["new_image"][0] == "e1/i1"
    assert found["new_image"].isna().tolist() == [False, True]
    assert found["is_new"].tolist() == [True, False]
    assert np.isnan(found["new_significance"][1])
    assert not new_sources(first([0.0], [0.0]), table, 10.5)["is_new"][0]


def test_an_rms_map_overrides_the_image_rms() -> None:
    table = images(mjd=[1.0, 2.0], rms_mjy_beam=[1.0, 2.0], ra_deg=[0.0, 0.0])
    found = new_sources(first([0.0, 0.7], [0.0, 0.0]), table, 5.0, {("e0", "i0"): square(5.0)})
    # Inside the map, the other image is deeper; outside of it only the other one covers the place.
    assert found["new_significance"].tolist() == [5.0, 5.0]
    assert found["new_image"].tolist() == ["e1/i1", "e1/i1"]
    deeper = new_sources(first([0.0, 0.7], [0.0, 0.0]), table, 5.0, {("e1", "i1"): square(0.5)})
    assert deeper["new_significance"].tolist() == [20.0, 10.0]
    assert deeper["new_image"].tolist() == ["e1/i1", "e0/i0"]


def test_limits_follow_the_rms_at_the_place() -> None:
    table = images(epoch=["a", "a"], image=["x", "y"], rms_mjy_beam=[2.0, 1.0], ra_deg=[0.0, 0.0])
    where, seen = first([0.0, 0.7], [0.0, 0.0]), np.zeros((2, 1), bool)
    found = uncovered_detections(where, table, seen, ["a"], {("a", "x"): square(0.25)})
    assert found["image"].tolist() == ["x", "y"]
    assert found["rms_mjy_beam"].tolist() == [0.25, 1.0]
    alone = uncovered_detections(where, table.iloc[:1], seen, ["a"], {("a", "x"): square(0.25)})
    assert alone["source"].tolist() == [0]


def test_images_of_the_same_epoch_are_not_earlier() -> None:
    table = images(mjd=[9.0], ra_deg=[0.0])
    assert np.isnan(new_sources(first([0.0], [0.0], epoch="e0"), table, 5.0)["new_significance"][0])


def test_no_image_and_no_source() -> None:
    assert new_sources(first([], []), images(ra_deg=[0.0]), 5.0).empty
    found = new_sources(first([1.0], [1.0]), images(ra_deg=[0.0]).iloc[:0], 5.0)
    assert found["is_new"].tolist() == [False]
    assert uncovered_detections(first([], []), images(ra_deg=[0.0]), np.zeros((0, 1), bool), ["e0"]).empty


def test_covered_and_not_seen() -> None:
    table = images(epoch=["a", "a", "b"], image=["x", "y", "z"], rms_mjy_beam=[2.0, 1.0, 1.0], ra_deg=[0.0, 0.5, 0.0])
    where = first([0.0, 359.5, 7.0], [0.0, 0.0, 0.0])
    seen = np.array([[False, True], [False, False], [False, False]])
    found = uncovered_detections(where, table, seen, ["a", "b"])
    # The deeper image of the epoch says most, where it covers the place (its edge is at 359.5).
    rows = set(found[["source", "epoch", "image"]].itertuples(index=False, name=None))
    assert rows == {(0, "a", "y"), (1, "a", "y"), (1, "b", "z")}
    assert found["rms_mjy_beam"].tolist() == [1.0, 1.0, 1.0]


@pytest.mark.shared
@pytest.mark.parametrize("run", ["basic_r10", "advanced_r15", "deruiter_dr5.68_bw2", "basic_r15_forced"])
def test_vast_new_sources(shared: Path, run: str) -> None:
    folder = shared / "golden/association/e2e_4epochs"
    rows = pd.concat([pd.read_csv(file) for file in sorted((folder / "measurements").glob("*.csv"))], ignore_index=True)
    known = pd.DataFrame(json.loads((folder / "images.json").read_text()))
    known["mjd"] = pd.to_datetime(known["datetime"]).dt.day_of_year.astype(float)
    table = pd.DataFrame(
        {
            "epoch": known["epoch"].astype(str), "image": known["name"], "mjd": known["mjd"], "ra_deg": known["ra"],
            "dec_deg": known["dec"], "radius_deg": known["xtr_radius"], "rms_mjy_beam": known["rms_min"],
        }
    )  # fmt: skip
    members = pd.read_csv(folder / "expected" / run / "associations.csv").merge(rows, left_on="meas_id", right_on="id")
    members = members.sort_values("image_id").drop_duplicates("source_id").sort_values("source_id", ignore_index=True)
    epoch = members["image_id"].astype(str)
    born = pd.DataFrame(
        {
            "epoch": epoch, "mjd": table.set_index("epoch")["mjd"][epoch].to_numpy(),
            "ra_deg": members["ra"], "dec_deg": members["dec"], "flux_peak_mjy_beam": members["flux_peak"],
        }
    )  # fmt: skip
    expected = pd.read_csv(folder / "expected" / run / "sources.csv").set_index("id").loc[members["source_id"]]
    assert new_sources(born, table, 5.0)["is_new"].tolist() == expected["new"].tolist()


# --- limits beside detections, and what else makes a source known -------------------------------------------------


@pytest.mark.parametrize(("ra", "dec"), [(0.0, 0.0), (359.999, -45.0), (123.0, 89.999), (0.0, -90.0)])
def test_no_limit_within_the_beam_of_a_detection(ra: float, dec: float) -> None:
    around = displaced(np.full(4, ra), np.full(4, dec), np.array([0.0, 50.0, 0.0, -200.0]), np.array([5.0, 0, -80, 0]))
    beam = np.array([60.0])
    free = undetected(*around, unit_vectors([ra], [dec]), beam)
    assert free.tolist() == [False, False, True, True]
    assert undetected(*around, np.empty((0, 3)), np.empty(0)).all()
    assert undetected(*around, unit_vectors([ra], [dec]), np.array([np.nan])).all()
    assert undetected(np.empty(0), np.empty(0), unit_vectors([ra], [dec]), beam).shape == (0,)


@pytest.mark.parametrize(("ra", "dec"), [(0.0, 0.0), (359.999, -45.0), (123.0, 89.999)])
def test_an_earlier_source_within_the_beam_is_the_same(ra: float, dec: float) -> None:
    other_ra, other_dec = displaced(ra, dec, [20.0, 20.0, 20.0, 90.0, 0.0], [0.0] * 5)
    sources = pd.DataFrame(
        {
            "id": ["earlier", "later", "together", "far", "own"],
            "ra_deg": other_ra, "dec_deg": other_dec, "first_mjd": [1.0, 9.0, 4.9, 1.0, 5.0],
            "first_epoch": ["a", "z", "e", "a", "e"],
        }
    )  # fmt: skip
    late = pd.DataFrame(
        {"source_id": ["own"], "epoch": ["e"], "mjd": [5.0], "ra_deg": [ra], "dec_deg": [dec], "bmaj_arcsec": [60.0]}
    )
    assert earlier_neighbors(late, sources).tolist() == [True]
    for harmless in ("later", "together", "far", "own"):
        assert earlier_neighbors(late, sources[sources["id"] == harmless]).tolist() == [False]
    missing = late.assign(ra_deg=np.nan, dec_deg=np.nan, bmaj_arcsec=np.nan)
    assert earlier_neighbors(missing, sources).tolist() == [False]


def test_a_counterpart_counts_at_a_flux_that_agrees() -> None:
    names = ["same", "brighter", "fainter", "unlikely", "rejected", "accepted", "steep", "none", "no flux"]
    n = len(names)
    late = pd.DataFrame({"source_id": names, "flux_peak_mjy_beam": 100.0, "flux_peak_err_mjy_beam": 2.0})
    matches = pd.DataFrame(
        {
            "source_id": names,
            "probability": [0.99, 0.99, 0.99, 0.01, 0.99, 0.01, 0.99, np.nan, 0.99],
            "match_quality": ["A", "A", "A", "D", "rejected", "accepted", "B", "D", "A"],
            "flux_ratio": [1.1, 0.2, 8.0, 1.0, 1.0, 1.0, 2.0, 1.0, np.nan],
            "flux_int_mjy": 100.0,
            # A catalog at another frequency says less of the flux.
            "freq_ratio": [1.0] * 6 + [0.2, 1.0, 1.0],
        }
    )
    assert dict(zip(names, known_before(late, matches), strict=True)) == {
        "same": True, "brighter": True, "fainter": False, "unlikely": False, "rejected": False, "accepted": True,
        "steep": True, "none": False, "no flux": True,
    }  # fmt: skip
    assert known_before(late, matches.iloc[:0]).tolist() == [False] * n


def test_a_catalog_counts_where_it_reaches() -> None:
    """One lists all sources east of RA 0, the other those over 50 mJy everywhere."""
    rng = np.random.default_rng(1)
    ra, dec = rng.uniform(-4, 4, 3000), rng.uniform(-2, 2, 3000)
    flux = 5.0 * (1 - rng.random(3000)) ** -1.0
    late = pd.DataFrame({"ra_deg": [2.5, 357.5, 2.5, 357.5, np.nan], "dec_deg": 0.0, "flux_peak_mjy_beam": 80.0})
    late.loc[2:3, "flux_peak_mjy_beam"] = 15.0

    def chance(**catalogs: np.ndarray) -> np.ndarray:
        return catalogs_missed(late, KnownSources(ra % 360, dec, flux, catalogs))

    east, bright = chance(east=ra > 0), chance(bright=flux > 50.0)
    assert (east[[0, 2]] < 0.02).all() and (east[[1, 3, 4]] == 1.0).all()
    assert (bright[:2] < 0.02).all() and (bright[2:] == 1.0).all()
    np.testing.assert_allclose(chance(east=ra > 0, bright=flux > 50.0), east * bright)
    assert chance().tolist() == [1.0] * 5


def test_a_single_peak_may_be_noise() -> None:
    table = images(field_radius_deg=[1.5], bmaj_arcsec=[50.0], bmin_arcsec=[40.0], threshold_snr=[5.0])
    late = pd.DataFrame(
        {
            "epoch": ["e0", "e0", "e0", None], "image": ["i0", "i0", "i0", None], "snr": [5.2, 5.2, 12.0, np.nan],
            "n_detected": [1, 2, 1, 0],
        }
    )  # fmt: skip
    chance = false_chances(late, table, np.array([1e-5, 1e-5, 1e-5, 1e-5]))
    assert chance[0] > 0.05
    assert chance[1:3] == pytest.approx([1e-5, 1e-5], rel=0.1)
    assert chance[3] == 1.0


def test_the_rms_of_the_rows_decides_at_the_edge() -> None:
    """The noise doubles to the edge: there the same flux is less significant, and its limit is twice as high."""
    ra, dec = displaced(np.zeros(200), np.zeros(200), *(3600 * np.random.default_rng(1).uniform(-0.7, 0.7, (2, 200))))
    place = place_in_image(ra, dec, (np.zeros(1), np.zeros(1)), np.ones(1))
    (depth,) = fit_depths(place, 1.0 + (place**2).sum(axis=1), [np.arange(len(place))], [1.0])
    table = images(ra_deg=[0.0]).assign(**dict(zip(DEPTH_COLUMNS, depth.model, strict=True)), flux_mult=1.0)
    where = first([0.0, 0.95], [0.0, 0.0], flux=10.0)
    found = new_sources(where, table, 5.0)
    assert found["new_significance"].tolist() == pytest.approx([10.0, 10.0 / 1.9], rel=0.06)
    assert found["chance_missed"].is_monotonic_increasing
    rms = uncovered_detections(where, table, np.zeros((2, 1), bool), ["e0"])["rms_mjy_beam"]
    assert rms.tolist() == pytest.approx([1.0, 1.9], rel=0.06)
    # On the corrected scale everything is as much brighter.
    scaled = new_sources(where, table.assign(flux_mult=2.0), 5.0)
    np.testing.assert_allclose(scaled["new_significance"], found["new_significance"] / 2.0)
