"""Forced fluxes against injected ones: errors that hold, alone and in pairs, at edges, with holes, in any noise."""

from __future__ import annotations

import doctest
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from contimg_assets.photometry import beam, forced
from contimg_assets.photometry.beam import PixelBeam
from contimg_assets.photometry.forced import REASONS, forced_fluxes, noise_of
from contimg_assets.photometry.noise import NoiseCorrelation, NoiseMap, measure_correlation, measure_noise
from contimg_assets.simulate import pixels
from contimg_assets.simulate.pixels import add_point_sources, beam_noise
from contimg_assets.sky.arrays import Floats

PIXELS = np.array([[-2.0, 0.0], [0.0, 2.0]])
BEAM = PixelBeam.of_sky(12.0, 8.0, 30.0, PIXELS)


def injected(seed: int, n: int = 700) -> tuple[Floats, pd.DataFrame]:
    """An image of rms 1 with sources of -1 to 50 rms: alone, in pairs of 0.7 to 1.5 beams, and at the edges."""
    rng = np.random.default_rng(seed)
    along = np.arange(40.0, n - 40, 48.0)
    x, y = (one.ravel() for one in np.meshgrid(along, along))
    x, y = x + rng.uniform(-3, 3, x.size), y + rng.uniform(-3, 3, y.size)
    apart, angle = rng.uniform(0.7, 1.5, x.size // 2), rng.uniform(0.0, 2 * np.pi, x.size // 2)
    by = np.linalg.solve(BEAM.root, apart * np.stack([np.cos(angle), np.sin(angle)]))
    low, high = rng.uniform(-0.4, 4.0, (2, along.size)), rng.uniform(n - 5.0, n - 0.6, (2, along.size))
    places = pd.concat(
        [
            pd.DataFrame({"x": x, "y": y, "kind": np.where(np.arange(x.size) < x.size // 2, "pair", "alone")}),
            pd.DataFrame({"x": x[: x.size // 2] + by[0], "y": y[: x.size // 2] + by[1], "kind": "pair"}),
            pd.DataFrame({"x": np.r_[along, along, low[0], high[0]], "y": np.r_[low[1], high[1], along, along]}),
        ],
        ignore_index=True,
    ).fillna({"kind": "edge"})
    places["flux"] = rng.uniform(-1.0, 50.0, len(places))
    image = beam_noise((n, n), BEAM, rng)
    return add_point_sources(image, places["x"], places["y"], places["flux"], BEAM), places


@pytest.fixture(scope="module")
def pulls() -> pd.DataFrame:
    parts = []
    for seed in range(2):
        image, places = injected(seed, 2000)
        found = forced_fluxes(image, places["x"], places["y"], noise_of(image, BEAM))
        parts.append(places[["kind"]].assign(pull=(found["flux"] - places["flux"]) / found["flux_err"], **found))
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize(("kind", "tolerance"), [("alone", 0.05), ("pair", 0.05), ("edge", 0.08)])
def test_errors_are_those_that_fluxes_have(pulls: pd.DataFrame, kind: str, tolerance: float) -> None:
    chosen = pulls[pulls["kind"] == kind]
    assert (chosen["reason"] == "").all()
    assert chosen["pull"].std() == pytest.approx(1.0, abs=tolerance)
    assert abs(chosen["pull"].mean()) < 0.02 + 2.5 / len(chosen) ** 0.5


def test_limits_of_95_percent_hold_in_95_percent(pulls: pd.DataFrame) -> None:
    assert np.mean(pulls["pull"] > -1.645) == pytest.approx(0.95, abs=0.01)


def test_fits_are_as_good_as_their_chi_squared_says(pulls: pd.DataFrame) -> None:
    alone = pulls[pulls["kind"] == "alone"]
    assert (alone["chi_squared"] / alone["dof"]).mean() == pytest.approx(1.0, abs=0.06)
    assert (alone["flux_err"] / alone["local_rms"]).median() < 1.05


def test_a_neighbor_that_is_not_told_of_is_told_by_the_fit() -> None:
    rng = np.random.default_rng(7)
    image = add_point_sources(beam_noise((400, 400), BEAM, rng), [200.0], [200.0], [100.0], BEAM)
    noise = noise_of(image, BEAM)
    alone = forced_fluxes(image, [204.0], [200.0], noise)
    along = forced_fluxes(image, [204.0], [200.0], noise, also=([200.0], [200.0]))
    assert alone["reason"].tolist() == ["island"]
    assert np.isnan(alone["flux"]).all()
    assert along["reason"].tolist() == [""]
    assert along["n_neighbors"].tolist() == [1]
    assert abs(along["flux"][0]) < 4 * along["flux_err"][0]


def test_noise_of_any_correlation_has_the_errors_that_it_makes() -> None:
    """Noise with the power spectrum of the beam itself, as naturally weighted visibilities have it; and white noise."""
    rng = np.random.default_rng(3)
    narrow = PixelBeam(2 * BEAM.xx, 2 * BEAM.xy, 2 * BEAM.yy)
    x, y = (one.ravel() + 0.3 for one in np.meshgrid(np.arange(30.0, 970, 25), np.arange(30.0, 970, 25)))
    for noise, least, most in (
        (beam_noise((1000, 1000), narrow, rng), 0.95, 1.2),
        (rng.normal(size=(1000, 1000)), 0.2, 0.4),
    ):
        found = forced_fluxes(noise, x, y, noise_of(noise, BEAM))
        assert (found["flux"] / found["flux_err"]).std() == pytest.approx(1.0, abs=0.06)
        assert least < found["flux_err"].median() < most


def test_every_part_of_a_pixel_gives_the_same_flux() -> None:
    x, y = 50 + np.linspace(-0.5, 0.5, 11), 50 + np.linspace(0.5, -0.45, 11)
    flat = NoiseMap(50, np.ones((2, 2)), np.zeros((2, 2)))
    noise = noise_of(np.zeros((100, 100)), BEAM, flat)
    for place in zip(x, y, strict=True):
        image = 5.0 + add_point_sources(np.zeros((100, 100)), [place[0]], [place[1]], [-3.0], BEAM)
        found = forced_fluxes(image, [place[0]], [place[1]], noise)
        assert found["flux"][0] == pytest.approx(-3.0, abs=1e-6)
        assert found["background"][0] == pytest.approx(5.0, abs=1e-6)


def test_what_has_no_flux_has_a_reason() -> None:
    rng = np.random.default_rng(2)
    image = beam_noise((300, 300), BEAM, rng)
    image[100:140, 100:140] = np.nan
    image[200, 200] = np.nan
    x = [150.0, -3.0, 119.0, np.nan, 250.0, 250.5, 200.0, -0.4]
    y = [150.0, 50.0, 121.0, 20.0, 60.0, 60.0, 200.0, -0.4]
    found = forced_fluxes(image, x, y, noise_of(image, BEAM))
    assert found["reason"].tolist() == ["", "outside", "blank", "outside", "unresolved", "unresolved", "", "edge"]
    assert set(found["reason"]) - {""} <= set(REASONS)
    assert np.isnan(found.loc[found["reason"] != "", ["flux", "flux_err", "chi_squared"]]).all(axis=None)
    assert np.isfinite(found.loc[found["reason"] == "", "flux"]).all()


def test_order_and_company_change_nothing() -> None:
    image, places = injected(11)
    noise = noise_of(image, BEAM)
    chosen = places.sample(100, random_state=1)
    rest = places.drop(chosen.index)
    all_found = forced_fluxes(image, places["x"], places["y"], noise)
    some = forced_fluxes(image, chosen["x"], chosen["y"], noise, also=(rest["x"], rest["y"]))
    same = forced_fluxes(image, chosen["x"], chosen["y"], noise, also=(places["x"], places["y"]))
    pd.testing.assert_frame_equal(same, some)
    np.testing.assert_allclose(some["flux"], all_found["flux"].to_numpy()[chosen.index], rtol=1e-9, atol=1e-9)


def test_a_position_that_is_asked_for_twice_has_its_flux_twice() -> None:
    image, places = injected(12)
    noise = noise_of(image, BEAM)
    some = places.tail(20)
    once = forced_fluxes(image, some["x"], some["y"], noise)
    twice = forced_fluxes(image, [*some["x"], *some["x"][::-1]], [*some["y"], *some["y"][::-1]], noise)
    pd.testing.assert_frame_equal(twice.head(20), once)
    pd.testing.assert_frame_equal(twice.tail(20)[::-1].reset_index(drop=True), once)


def test_of_two_that_are_one_to_the_beam_the_sum_is_measured_where_it_is_wanted() -> None:
    rng = np.random.default_rng(8)
    places = np.array([[200.0, 200.0], [200.6, 200.4], [206.0, 200.0]])
    image = add_point_sources(beam_noise((400, 400), BEAM, rng), *places.T, [12.0, 8.0, 40.0], BEAM)
    noise = noise_of(image, BEAM)
    apart = forced_fluxes(image, *places.T, noise)
    together = forced_fluxes(image, *places.T, noise, sums=True)
    assert apart["reason"].tolist() == ["unresolved", "unresolved", ""]
    assert (together["reason"] == "").all()
    # The third is fitted along with each of the others.
    assert together["n_neighbors"].tolist() == [1, 1, 2]
    assert together["flux"][0] == pytest.approx(20.0, abs=4.0)
    pd.testing.assert_series_equal(apart.loc[2], together.loc[2])


def test_nothing_to_measure_is_measured() -> None:
    image = np.random.default_rng(0).normal(size=(100, 100))
    noise = noise_of(image, BEAM)
    assert len(forced_fluxes(image, [], [], noise)) == 0
    with pytest.raises(ValueError, match="as many x as y"):
        forced_fluxes(image, [1.0], [], noise)
    with pytest.raises(ValueError, match="two axes"):
        forced_fluxes(image[None], [1.0], [1.0], noise)


def test_an_image_of_nothing_has_no_fluxes() -> None:
    image = np.full((100, 100), np.nan)
    found = forced_fluxes(image, [50.0], [50.0], noise_of(image, BEAM))
    assert found["reason"].tolist() == ["blank"]


def test_the_level_of_noise_follows_the_image() -> None:
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:1200, :1200]
    rms, background = 1.0 + x / 1200.0, 0.5 * y / 1200.0
    image = background + rms * beam_noise((1200, 1200), BEAM, rng)
    found, correlation = measure_noise(image, BEAM), None
    at = np.array([200.0, 1000.0]), np.array([600.0, 300.0])
    level, floor = found.at(*at)
    np.testing.assert_allclose(level, 1.0 + at[0] / 1200.0, rtol=0.08)
    np.testing.assert_allclose(floor, 0.5 * at[1] / 1200.0, atol=0.15)
    correlation = measure_correlation(image, found, BEAM, (8, 8))
    expected = NoiseCorrelation.of_beam(BEAM, (8, 8))
    np.testing.assert_allclose(correlation.values, expected.values, atol=0.06)


def test_holes_do_not_count_as_noise() -> None:
    rng = np.random.default_rng(5)
    whole = beam_noise((800, 800), BEAM, rng)
    torn = whole.copy()
    torn[:, :500] = np.nan
    level, _ = measure_noise(torn, BEAM).at(np.array([700.0]), np.array([400.0]))
    assert level[0] == pytest.approx(1.0, abs=0.06)


def test_a_beam_is_where_the_sky_has_it() -> None:
    """North up and east left, then turned by a quarter: the same ellipse on the sky."""
    ellipse = PixelBeam.of_sky(20.0, 10.0, 45.0, PIXELS)
    north_east, north_west = ellipse(-2.5, 2.5), ellipse(2.5, 2.5)
    assert north_east > north_west
    turned = PixelBeam.of_sky(20.0, 10.0, 45.0, PIXELS @ np.array([[0.0, -1.0], [1.0, 0.0]]))
    assert turned(2.5, 2.5) == pytest.approx(float(north_east))
    assert ellipse.fwhm_pix == pytest.approx((5.0, 10.0))
    assert ellipse.reach_pix(1.0) == (8, 8)
    with pytest.raises(ValueError, match="no area"):
        PixelBeam.of_sky(0.0, 10.0, 0.0, PIXELS)


def test_a_wrong_rms_is_put_right_by_the_correlation() -> None:
    """A finder's rms map may be of what clipping left: errors are those of the pixels all the same."""
    image, places = injected(1)
    noise = noise_of(image, BEAM)
    less = NoiseMap(noise.level.box_pix, 0.9 * noise.level.rms, noise.level.background)
    again = noise_of(image, BEAM, less)
    first, second = (forced_fluxes(image, places["x"], places["y"], one) for one in (noise, again))
    assert (second["local_rms"] / first["local_rms"]).median() == pytest.approx(0.9)
    assert (second["flux_err"] / first["flux_err"]).median() == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("module", [beam, forced, pixels])
def test_examples_run(module: ModuleType) -> None:
    failed, tried = doctest.testmod(module)
    assert tried > 0
    assert failed == 0
