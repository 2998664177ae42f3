"""Half a beam: outliers belong to the source that was missed, and twins become one, in any order of rows."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contimg_assets.association import FoldState
from contimg_assets.association.fold import FoldResult, fold
from contimg_assets.association.observation import Observation
from contimg_assets.association.scene import beams_of
from contimg_assets.config import Association
from contimg_assets.schemas.association import ASSOCIATIONS, RELATIONS
from contimg_assets.sky.sphere import displaced
from contimg_assets_tests.association.skies import table

BEAM_ARCSEC = 13.5
EAST, NORTH = (axis.ravel() for axis in np.meshgrid(np.arange(-6, 7) * 120.0, np.arange(-6, 7) * 120.0))
PLACES = [(0.0, 0.0), (180.0, -45.0), (0.0, 89.9), (123.0, 20.0)]


def images(ra: float, dec: float, *names: str, bmin_arcsec: float = BEAM_ARCSEC) -> pd.DataFrame:
    frame = pd.DataFrame({"image": list(names), "ra_deg": ra, "dec_deg": dec, "radius_deg": 1.0})
    return frame.assign(bmaj_arcsec=bmin_arcsec, bmin_arcsec=bmin_arcsec)


def epoch(
    name: str, place: tuple[float, float], extra: list[tuple[float, float, str]], sigma_arcsec: float = 0.64
) -> pd.DataFrame:
    """A grid of sources in image x, but for the middle one, and some more at (east, north) in an image."""
    grid = (EAST != 0) | (NORTH != 0)
    east, north = np.r_[EAST[grid], [one[0] for one in extra]], np.r_[NORTH[grid], [one[1] for one in extra]]
    ra, dec = displaced(np.full(len(east), place[0]), np.full(len(east), place[1]), east, north)
    image = ["x"] * int(grid.sum()) + [one[2] for one in extra]
    return table(ra, dec, sigma_arcsec, epoch=name, image=image, snr=12.0)


def folded(
    place: tuple[float, float], *extras: list[tuple[float, float, str]], beam: float = BEAM_ARCSEC
) -> list[FoldResult]:
    results: list[FoldResult] = []
    for k, extra in enumerate(extras):
        measured = epoch(f"e{k}", place, extra)
        about = images(*place, *sorted(set(measured["image"])), bmin_arcsec=beam)
        results.append(fold(results[-1].state if results else None, measured, Association(), about))
    return results


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("east", [-5.0, 5.0])
def test_an_outlier_within_half_a_beam_of_a_missed_source_continues_it(place: tuple, east: float) -> None:
    first, second = folded(place, [(0.0, 0.0, "x")], [(east, 0.0, "x")])
    assert len(second.state) == len(EAST)
    assert second.diagnostics["n_new"] == 0
    row = second.associations.sort_values("separation_arcsec").iloc[-1]
    assert row["separation_arcsec"] == pytest.approx(5.0, abs=0.01)
    at = second.state.source == first.state.source[np.isin(first.state.source, second.rows.source)][0]
    assert at.any()
    # Half the way, as both errors are equal; and its weight tells that they were too small.
    moved = second.state.n_measurements == 2
    assert moved.all()
    assert np.isclose(second.state.weight_ew.min(), 2 / 0.64**2 * (2.4477 / row["de_ruiter"]) ** 2, rtol=1e-3)


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ([(0.0, 0.0, "x")], [(0.0, 0.0, "x"), (5.0, 0.0, "x")]),  # the source was seen, too
        ([(0.0, 0.0, "x")], [(9.0, 0.0, "x")]),  # beyond half a beam
    ],
)
def test_a_measurement_that_may_be_another_source_founds_one(before: list, now: list) -> None:
    first, second = folded(PLACES[0], before, now)
    assert len(second.state) == len(first.state) + 1


def test_without_a_beam_only_errors_count() -> None:
    first = fold(None, epoch("e0", PLACES[0], [(0.0, 0.0, "x")]))
    bare = images(*PLACES[0], "x").drop(columns="bmin_arcsec")
    for known in (None, bare, images(*PLACES[0], "another")):
        assert len(fold(first.state, epoch("e1", PLACES[0], [(5.0, 0.0, "x")]), None, known).state) == len(EAST) + 1


@pytest.mark.parametrize("method", ["basic", "advanced", "deruiter"])
def test_other_methods_know_no_beam(method: str) -> None:
    parameters = Association(method=method, radius_arcsec=2.0, de_ruiter_radius=4.0)
    about = images(*PLACES[0], "x")
    first = fold(None, epoch("e0", PLACES[0], [(0.0, 0.0, "x")]), parameters, about)
    second = fold(first.state, epoch("e1", PLACES[0], [(5.0, 0.0, "x")]), parameters, about)
    assert len(second.state) == len(EAST) + 1
    assert not second.state.twin.any()


TWIN = ([(0.0, 0.0, "x")], [(6.3, 0.0, "x")], [(4.7, 0.0, "x")])


@pytest.mark.parametrize("place", PLACES)
def test_twins_become_one_when_their_positions_have_come_close(place: tuple) -> None:
    first, second, third = folded(place, *TWIN)
    assert len(second.state) == len(EAST) + 1
    twin = second.state.source[second.state.twin != 0]
    older = second.state.twin[second.state.twin != 0]
    assert older.item() in first.state.source
    assert (third.rows.merged.tolist(), third.rows.into.tolist()) == (twin.tolist(), older.tolist())
    assert len(third.state) == len(EAST)
    # The epoch's own rows have the name that stays, and all measurements are counted.
    at = int(np.searchsorted(third.state.source, older.item()))
    assert third.state.n_measurements[at] == 3
    assert older.item() in third.rows.source
    assert twin.item() not in third.rows.source
    assert not third.state.twin.any()
    # (0 + 6.3 + 4.7) / 3 east of the place.
    east = displaced(np.array([place[0]]), np.array([place[1]]), np.array([11.0 / 3]), np.array([0.0]))
    offset = np.linalg.norm(third.state.vectors[at] - FoldState(*_one(*east)).vectors[0]) * 206265.0
    assert offset < 0.05


def _one(ra: np.ndarray, dec: np.ndarray) -> tuple:
    zeros = np.zeros(1)
    ids = np.zeros(1, np.uint64)
    return ids, ra, dec, zeros, zeros, zeros, np.ones(1, np.int64), ids, ids


def test_a_twin_of_the_same_epoch_in_another_image_never_gets_a_name() -> None:
    first, second = folded(PLACES[0], [(0.0, 0.0, "x")], [(0.0, 0.0, "x"), (4.0, 0.0, "y")])
    assert len(second.state) == len(first.state)
    assert len(second.rows.merged) == 0
    assert set(second.rows.source.tolist()) <= set(second.state.source.tolist())
    assert len(second.rows.source) == len(EAST) + 1


def test_what_one_image_tells_apart_and_another_blends_stays_two() -> None:
    first = fold(None, epoch("e0", PLACES[0], [(0.0, 0.0, "x")]), None, images(*PLACES[0], "x"))
    measured = epoch("e1", PLACES[0], [(0.0, 0.0, "x"), (4.0, 0.0, "y")])
    for faint, n_new in ((19.0, 0), (8.0, 1)):
        flux = np.where(measured["image"] == "y", faint, 20.0)
        about = images(*PLACES[0], "x", "y")
        second = fold(first.state, measured.assign(flux_peak_mjy_beam=flux), None, about)
        assert len(second.state) == len(first.state) + n_new


def test_sources_seen_together_in_one_image_stay_two() -> None:
    *_, before, after = folded(PLACES[0], *TWIN[:2], [(0.0, 0.0, "x"), (6.3, 0.0, "x")], TWIN[2])
    assert not before.state.twin.any()
    assert len(after.state) == len(EAST) + 1


def _crowd(seed: int, n_epochs: int) -> list[pd.DataFrame]:
    """Sources that jump by some arcsec, seen in two images that know nothing of each other."""
    rng = np.random.default_rng(seed)
    n = 30
    east, north = rng.uniform(-150, 150, (2, n))
    tables = []
    for k in range(n_epochs):
        seen = np.flatnonzero(rng.random((2, n)).ravel() < 0.6)
        jumps = np.where(rng.random(len(seen)) < 0.3, 4.0, 0.3)
        dx, dy = rng.normal(0, 1, (2, len(seen))) * jumps
        ra, dec = displaced(np.zeros(len(seen)), np.zeros(len(seen)), east[seen % n] + dx, north[seen % n] + dy)
        image = np.where(seen < n, "x", "y")
        tables.append(table(ra, dec, 0.4, epoch=f"e{k}", image=image, flux_peak_mjy_beam=rng.uniform(5, 20, len(seen))))
    return tables


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_nothing_is_lost_and_the_order_of_rows_does_not_matter(seed: int) -> None:
    tables, about = _crowd(seed, 5), images(0.0, 0.0, "x", "y")
    rng = np.random.default_rng(seed)
    state = shuffled = FoldState.empty()
    heirs: dict[int, int] = {}
    members: dict[int, list[int]] = {}
    for each in tables:
        result = fold(state, each, None, about)
        state = result.state
        shuffled = fold(shuffled, each.sample(frac=1.0, random_state=rng.integers(1 << 31)), None, about).state
        assert state == shuffled
        ASSOCIATIONS.to_arrow(result.associations)
        RELATIONS.to_arrow(result.relations)
        present = set(state.source.tolist())
        named = np.concatenate([result.rows.source, result.rows.related_from, result.rows.into])
        assert set(named.tolist()) <= present
        assert not set(result.rows.merged.tolist()) & present
        assert set(state.twin[state.twin != 0].tolist()) <= present
        heirs |= dict(zip(result.rows.merged.tolist(), result.rows.into.tolist(), strict=True))
        for source, row in zip(result.rows.source.tolist(), result.rows.row.tolist(), strict=True):
            members.setdefault(source, []).append(row)
    counts: dict[int, int] = dict.fromkeys(state.source.tolist(), 0)
    for source, rows in members.items():
        name = source
        while name in heirs:
            name = heirs[name]
        counts[name] += len(rows)
    assert counts == dict(zip(state.source.tolist(), state.n_measurements.tolist(), strict=True))


def test_the_beam_of_each_measurement_is_that_of_its_image() -> None:
    measured = epoch("e0", PLACES[0], [(0.0, 0.0, "y")])
    observation = Observation.of(measured)
    about = pd.concat([images(0.0, 0.0, "y", bmin_arcsec=5.0), images(0.0, 0.0, "x", bmin_arcsec=9.0)])
    beams = beams_of(observation, about)
    assert beams is not None
    assert sorted(beams.tolist()) == [5.0] + [9.0] * (len(EAST) - 1)
    assert beams_of(observation, about.assign(bmin_arcsec=np.nan)) is None
