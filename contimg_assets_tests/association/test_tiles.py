"""An epoch by tile of the sky is the epoch as a whole: every row, state and count, bit for bit."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contimg_assets.association.fold import FoldResult, fold
from contimg_assets.association.several_bands import fold_bands
from contimg_assets.association.state import FoldState
from contimg_assets.association.tiles import TileDecision, Tiling, _check_each_once, decide_tiles
from contimg_assets.config import Association
from contimg_assets.simulate import simulate_detections
from contimg_assets.sky.sphere import displaced
from contimg_assets_tests.association import test_several_bands as bands
from contimg_assets_tests.association.skies import rotated, table, turn_to
from contimg_assets_tests.association.test_real_twins import epochs_of, without_duplicates

METHODS = ("optimal", "deruiter", "advanced", "basic")
ORDERS = (3, 4, 5, 6, 7)
# Every tile by itself.
ALONE = 0
# A corner of four tiles of every order, RA 0 on the equator, and both poles, where tiles of every order meet too.
CORNERS = [(45.0, 41.8103149), (0.0, 0.0), (123.0, 90.0), (300.0, -89.9)]
_OTHERS = [(*place, method) for place, method in zip(CORNERS, METHODS[1:], strict=False)]


def assert_same(one: FoldResult, other: FoldResult) -> None:
    """All of the result, to the last bit."""
    for field, values, others in zip(fields(FoldState), one.state.arrays, other.state.arrays, strict=True):
        assert values.dtype == others.dtype
        np.testing.assert_array_equal(values.view(np.int64), others.view(np.int64), err_msg=field.name)
    for name in ("associations", "relations", "forks", "merges", "alignment"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name), check_exact=True)
    assert one.diagnostics == other.diagnostics


def crowded(ra: float, dec: float, n: int = 150, seed: int = 3) -> list[pd.DataFrame]:
    """Doubles, blends, transients and images that are off, about a place."""
    tables = simulate_detections(
        n, 3, seed=seed, double_fraction=0.4, blend_fraction=0.5, shift_sigma_arcsec=2.0, transient_fraction=0.05,
        completeness=0.85, images_per_epoch=2, min_separation_arcsec=4.0,
    )  # fmt: skip
    return rotated(tables, turn_to(0.0, 16.0, ra, dec, 40.0))


def images_of(each: pd.DataFrame) -> pd.DataFrame:
    images = each.groupby("image", as_index=False)[["ra_deg", "dec_deg"]].first()
    return images.assign(radius_deg=5.0, bmin_arcsec=30.0, bmaj_arcsec=40.0)


def tiles_agree(epochs: list[pd.DataFrame], method: str, tilings: list[Tiling]) -> list[list[FoldResult]]:
    """Results of every epoch by each tiling, which are those of the whole."""
    state, results = None, []
    for each in epochs:
        arguments = state, each, Association(method=method), images_of(each) if "image" in each else None
        whole = fold(*arguments)
        results.append([fold(*arguments, tiling=tiling) for tiling in tilings])
        for tiled in results[-1]:
            assert_same(whole, tiled)
            assert tiled.tile_work is not None
        state = whole.state
    return results


@pytest.mark.parametrize(("ra", "dec", "method"), [*((*place, "optimal") for place in CORNERS), *_OTHERS])
def test_rows_are_those_of_the_whole_sky(ra: float, dec: float, method: str) -> None:
    *_, last = tiles_agree(crowded(ra, dec), method, [Tiling(order, ALONE) for order in ORDERS])
    assert last[0].tile_work["n_tiles"].sum() > 1
    assert last[-1].tile_work["n_tiles"].sum() > 3
    assert last[-1].diagnostics["n_related"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_rows_of_many_sources_are_those_of_the_whole_sky(method: str) -> None:
    tilings = [Tiling(order, rows) for order in ORDERS for rows in (ALONE, 700)]
    *_, last = tiles_agree(crowded(0.0, 3.0, 4000, 5), method, tilings)
    assert len(last[0].tile_work) < len(last[-1].tile_work) < len(last[-2].tile_work)


def chain(length_deg: float, step_arcsec: float = 12.0, ra: float = 0.0, dec: float = 41.8) -> list[pd.DataFrame]:
    """Sources that hang together by candidate pairs all along a line, in two epochs."""
    n = int(length_deg * 3600.0 / step_arcsec)
    east = (np.arange(n) - n / 2) * step_arcsec
    epochs = []
    for number in range(2):
        noise = np.random.default_rng(number).normal(0.0, 2.0, (2, n))
        places = displaced(np.full(n, ra), np.full(n, dec), east + noise[0], noise[1])
        epochs.append(table(*places, 3.0, epoch=f"e{number}"))
    return epochs


@pytest.mark.parametrize("method", ["optimal", "advanced"])
def test_a_group_that_reaches_the_rim_is_solved_again_with_a_wider_margin(method: str) -> None:
    single, work = Association(method=method, radius_arcsec=15.0), []
    first, second = chain(1.2)
    state = fold(None, first, single).state
    whole = fold(state, second, single)
    for order in (5, 7):
        tiled = fold(state, second, single, tiling=Tiling(order, ALONE))
        assert_same(whole, tiled)
        work.append(tiled.tile_work)
    assert all(one["margin_arcsec"].max() >= 240.0 for one in work)
    # Each time the margin is twice as wide, until the group is whole.
    margins = np.unique(work[1]["margin_arcsec"].to_numpy())
    np.testing.assert_allclose(margins[1:] / margins[:-1], 2.0)
    assert work[0].groupby("tile")["n_measurements"].apply(lambda n: n.is_monotonic_decreasing).all()


def test_a_group_all_around_the_sky_ends_with_the_whole_sky() -> None:
    ra = np.arange(0.0, 360.0, 1.0)
    wide = Association(method="deruiter", max_separation_arcsec=8000.0)
    first, second = (table(ra + 0.2 * k, np.zeros(len(ra)), 1000.0, epoch=f"e{k}") for k in range(2))
    state = fold(None, first, wide).state
    tiled = fold(state, second, wide, tiling=Tiling(3, ALONE))
    assert_same(fold(state, second, wide), tiled)
    assert tiled.tile_work["margin_arcsec"].max() > 70_000.0


@pytest.mark.parametrize("n", [0, 1])
def test_nothing_and_a_single_source(n: int) -> None:
    none, one = table([], []), table([0.0], [90.0], epoch="e1")
    known = fold(None, table([10.0], [89.9])).state
    for state in (None, known):
        each = one if n else none
        whole, tiled = fold(state, each), fold(state, each, tiling=Tiling(7, ALONE))
        assert_same(whole, tiled)
        assert (tiled.tile_work is None) == (not n)


def test_a_small_epoch_is_not_divided() -> None:
    each = table(np.arange(9.0), np.zeros(9))
    assert fold(None, each, tiling=Tiling(4, 5)).tile_work is None
    assert len(fold(None, each, tiling=Tiling(4, 4)).tile_work) == 2


def test_bands_are_divided_each_by_itself() -> None:
    state = None
    for number, names in enumerate((("low", "high"), ("high",), ("low2", "high"))):
        each, images = bands.epoch(number, names), bands.images()
        images = images[images["image"].isin(names)]
        whole, tiled = fold_bands(state, each, images), fold_bands(state, each, images, tiling=Tiling(7, ALONE))
        assert_same(whole, tiled)
        assert tiled.tile_work["n_measurements"].sum() == len(each)
        state = whole.state


def test_a_measurement_that_two_tiles_have_is_noticed() -> None:
    found: list[TileDecision] = []

    def run(work, tasks, n_tasks):
        found.extend(map(work, tasks))
        yield from found[:-1]
        # The last tile says what the first one said.
        yield found[0]

    with pytest.raises(AssertionError, match="each measurement once"):
        fold(None, table([0.0, 90.0], [0.0, 0.0]), tiling=Tiling(4, ALONE, run=run))
    pairs, decision = found[0].pairs, found[0].decision
    with pytest.raises(AssertionError):
        _check_each_once(pairs, replace(decision, born=decision.born[:0]), 2)


@st.composite
def skies(draw: st.DrawFn) -> list[pd.DataFrame]:
    """Clumps of sources anywhere, also on tile rims and poles, a few arcsec to some degrees wide; two epochs."""
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    places = draw(st.lists(st.sampled_from(CORNERS) | st.tuples(st.floats(0, 359), st.floats(-90, 90)), max_size=3))
    sigma = draw(st.sampled_from([0.3, 2.0, 20.0]))
    parts = []
    for ra, dec in places:
        n, width = draw(st.integers(1, 30)), 10.0 ** draw(st.floats(0.5, 4.0))
        parts.append(displaced(np.full(n, ra), np.full(n, dec), *rng.normal(0, width, (2, n))))
    ra, dec = np.concatenate(parts, axis=1) if parts else np.empty((2, 0))
    epochs = []
    for number in range(2):
        seen = rng.random(len(ra)) < 0.8
        moved = displaced(ra[seen], dec[seen], *rng.normal(0.0, sigma, (2, seen.sum())))
        flux = 10.0 ** rng.normal(1.0, 0.3, seen.sum())
        epochs.append(
            table(*moved, sigma, epoch=f"e{number}", image=rng.choice(["a", "b"], seen.sum()), flux_peak_mjy_beam=flux)
        )
    return epochs


@given(skies(), st.sampled_from(METHODS), st.integers(0, 8), st.sampled_from([np.nan, 5.0, 60.0]))
@settings(max_examples=10, deadline=None)
def test_any_sky_by_any_tiles(epochs: list[pd.DataFrame], method: str, order: int, beam_arcsec: float) -> None:
    state = None
    images = pd.DataFrame({"image": ["a", "b"], "ra_deg": 0.0, "dec_deg": 0.0, "radius_deg": 180.0})
    images = images.assign(bmin_arcsec=[beam_arcsec, 20.0], bmaj_arcsec=60.0)
    for each in epochs:
        arguments = state, each, Association(method=method), images
        whole = fold(*arguments)
        assert_same(whole, fold(*arguments, tiling=Tiling(order, ALONE)))
        state = whole.state


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize("name", ["vast_bulge_8ep_8cat", "vast_southplane_20ep"])
def test_a_real_survey_by_tiles(shared: Path, name: str) -> None:
    state, n_again = None, 0
    for each, images in epochs_of(shared / "data" / name)[:6]:
        arguments = state, without_duplicates(each), None, images
        whole = fold(*arguments)
        for order in ORDERS:
            tiled = fold(*arguments, tiling=Tiling(order, 300))
            assert_same(whole, tiled)
            n_again += int(tiled.tile_work["tile"].duplicated().sum())
        state = whole.state
    assert len(state) > 1000


def test_work_on_tiles_is_a_function_of_its_task() -> None:
    tasks = []

    def run(work, given, n_tasks):
        tasks.extend(given)
        assert len(tasks) == n_tasks
        return map(work, tasks)

    each = crowded(0.0, 0.0)[0]
    fold(None, each, images=images_of(each), tiling=Tiling(6, ALONE, run=run))
    again = decide_tiles(tasks[0])
    assert np.array_equal(decide_tiles(tasks[0]).decision.born, again.decision.born)
    # It holds its tiles and what is around them, and no more.
    assert max(len(task.rows) for task in tasks) < len(each) / 2
    assert all(task.asked.sum() <= len(task.rows) for task in tasks)
