"""Shifts of images: measured with the right sign, taken out for matching, left alone where they cannot be measured."""

import numpy as np
import pandas as pd
import pytest
from scipy.spatial import cKDTree

from contimg_assets.association import FoldState, associate_measurements
from contimg_assets.association.alignment import align, transported_axes
from contimg_assets.association.fold import fold
from contimg_assets.association.observation import Observation
from contimg_assets.config import Association
from contimg_assets.schemas.association import ALIGNMENT
from contimg_assets.simulate import score_association, simulate_detections
from contimg_assets.sky.sphere import displaced, offsets_arcsec, unit_vectors
from contimg_assets_tests.association.skies import scattered

GRID = [axis.ravel() for axis in np.meshgrid(np.linspace(359.8, 360.2, 12) % 360.0, np.linspace(-0.2, 0.2, 12))]


def _two_epochs(east: float, north: float, sigma: float = 0.3, **columns: object) -> list[pd.DataFrame]:
    """A grid of sources; the second epoch is moved by (east, north) arcsec."""
    first, second = scattered(*GRID, 2, sigma_arcsec=sigma)
    ra, dec = displaced(second["ra_deg"], second["dec_deg"], np.full(144, east), np.full(144, north))
    return [first, second.assign(ra_deg=ra, dec_deg=dec, **columns)]


@pytest.mark.parametrize(("east", "north"), [(3.0, -2.0), (-4.0, 0.5), (0.0, 12.0)])
def test_the_shift_to_add_is_the_reverse_of_the_images_error(east: float, north: float) -> None:
    result = associate_measurements(_two_epochs(east, north))
    row = result.alignment.set_index("epoch").loc["e1"]
    assert row["applied"]
    assert abs(row["dra_arcsec"] + east) < 5 * row["dra_err_arcsec"]
    assert abs(row["ddec_arcsec"] + north) < 5 * row["ddec_err_arcsec"]
    assert 0.02 < row["dra_err_arcsec"] < 0.1
    assert len(result.sources) == 144
    # Without it, a shift of 3 arcsec at errors of 0.3 loses every source.
    assert len(associate_measurements(_two_epochs(east, north), align_images="never").sources) == 288


def test_each_image_has_its_own_shift() -> None:
    image = np.where(np.arange(144) % 12 < 6, "west", "east")
    first, second = _two_epochs(0.0, 0.0)
    move = np.where(image == "west", 3.0, -2.0)
    ra, dec = displaced(second["ra_deg"], second["dec_deg"], move, np.zeros(144))
    result = associate_measurements([first, second.assign(ra_deg=ra, dec_deg=dec, image=image)])
    rows = result.alignment[result.alignment["epoch"] == "e1"].set_index("image")
    assert list(rows.index) == ["east", "west"]
    assert rows["dra_arcsec"].to_dict() == pytest.approx({"east": 2.0, "west": -3.0}, abs=0.2)
    assert len(result.sources) == 144


def test_one_image_may_be_off_while_another_is_not() -> None:
    tables = simulate_detections(
        2000, 6, seed=2, images_per_epoch=8, shift_sigma_arcsec=2.0, systematic_arcsec=0.3, beam_arcsec=5.0,
        double_fraction=0.0, blend_fraction=0.0, min_separation_arcsec=10.0,
    )  # fmt: skip
    truth = pd.concat(tables)
    aligned = score_association(associate_measurements(tables).associations, truth)
    blind = score_association(associate_measurements(tables, align_images="never").associations, truth)
    assert aligned.pair_recall > 0.999
    assert aligned.pair_precision > 0.999
    assert blind.pair_recall < 0.6


def test_outliers_do_not_pull_the_shift() -> None:
    tables = _two_epochs(2.0, 1.0)
    rng = np.random.default_rng(1)
    wild = rng.choice(144, 36, replace=False)
    ra, dec = displaced(tables[1]["ra_deg"], tables[1]["dec_deg"], *rng.uniform(-8, 8, (2, 144)))
    tables[1].loc[wild, "ra_deg"], tables[1].loc[wild, "dec_deg"] = ra[wild], dec[wild]
    row = associate_measurements(tables).alignment.set_index("epoch").loc["e1"]
    assert row["dra_arcsec"] == pytest.approx(-2.0, abs=0.25)
    assert row["ddec_arcsec"] == pytest.approx(-1.0, abs=0.25)


def test_too_few_pairs_leave_the_image_as_it_is() -> None:
    first, second = _two_epochs(3.0, 0.0)
    result = associate_measurements([first.iloc[:9], second.iloc[:9]])
    row = result.alignment.set_index("epoch").loc["e1"]
    assert not row["applied"]
    assert row["n_pairs"] == 9
    assert np.isnan(row["dra_arcsec"])
    assert len(result.sources) >= 16


def test_faint_and_crowded_measurements_do_not_count() -> None:
    first, second = _two_epochs(3.0, 0.0)
    observation = Observation.of(second.assign(snr=6.0))
    sources = cKDTree(unit_vectors(first["ra_deg"], first["dec_deg"]))
    assert align(observation, sources, Association()).table["n_pairs"].tolist() == [0]
    bright = Observation.of(second.assign(snr=100.0))
    assert align(bright, sources, Association()).table["n_pairs"].item() >= 142
    # Every source with a neighbor 20 arcsec away: none is isolated.
    ra, dec = displaced(first["ra_deg"], first["dec_deg"], np.full(144, 20.0), np.zeros(144))
    crowded = cKDTree(unit_vectors(np.append(first["ra_deg"], ra), np.append(first["dec_deg"], dec)))
    assert align(bright, crowded, Association()).table["n_pairs"].tolist() == [0]


def test_an_insignificant_shift_is_reported_but_not_applied() -> None:
    row = associate_measurements(_two_epochs(0.0, 0.0, sigma=1.0)).alignment.set_index("epoch").loc["e1"]
    assert not row["applied"]
    assert abs(row["dra_arcsec"]) < 0.5


def test_methods_of_vast_are_aligned_only_on_request() -> None:
    tables = _two_epochs(4.0, 0.0)
    assert len(associate_measurements(tables, "2arcsec", "basic").sources) > 144
    assert len(associate_measurements(tables, "2arcsec", "basic", align_images="always").sources) == 144


def test_states_are_kept_in_the_first_frame() -> None:
    first, second = _two_epochs(3.0, 0.0)
    before = fold(FoldState.empty(), first, Association())
    after = fold(before.state, second, Association())
    ALIGNMENT.to_arrow(before.alignment)
    ALIGNMENT.to_arrow(after.alignment)
    moved = np.linalg.norm(after.state.vectors - before.state.vectors, axis=1) * 206265.0
    assert np.median(moved) < 0.5


def test_transported_axes_are_orthonormal_everywhere() -> None:
    rng = np.random.default_rng(4)
    for ra, dec in [(10.0, 20.0), (0.0, 90.0), (123.0, -90.0)]:
        centre = unit_vectors(ra, dec)
        near = centre + rng.normal(0, 0.05, (50, 3))
        near /= np.linalg.norm(near, axis=1)[:, None]
        east, north = transported_axes(centre, near)
        for a, b, expected in [(east, east, 1), (north, north, 1), (east, north, 0), (east, near, 0), (north, near, 0)]:
            np.testing.assert_allclose((a * b).sum(axis=1), expected, atol=1e-12)
        # Right-handed: north is to the left of east, seen from inside the sphere.
        np.testing.assert_allclose(np.cross(near, east), north, atol=1e-12)


def _stretched(gradient: float) -> list[pd.DataFrame]:
    """Two epochs of one image, the second stretched about its center by ``gradient`` arcsec per degree east."""
    first, second = _two_epochs(0.0, 0.0, sigma=0.3)
    ra, dec = second["ra_deg"].to_numpy(), second["dec_deg"].to_numpy()
    east, _ = offsets_arcsec(0.0, 0.0, ra, dec)
    moved_ra, moved_dec = displaced(ra, dec, gradient * east / 3600.0, np.zeros(len(ra)))
    return [first, second.assign(ra_deg=moved_ra, dec_deg=moved_dec)]


def test_an_image_that_is_warped_is_aligned_place_by_place() -> None:
    span = _two_epochs(0.0, 0.0)[0]
    width_deg = float(np.ptp(span["dec_deg"]))
    tables = _stretched(16.0 / width_deg)  # up to 8 arcsec off at the edges, nothing in the middle
    aligned = associate_measurements(tables)
    row = aligned.alignment.set_index("epoch").loc["e1"]
    assert bool(row["warped"])
    assert len(aligned.sources) == len(span)
    assert len(associate_measurements(tables, align_images="never").sources) > len(span) + 20


def test_an_image_that_is_only_shifted_is_not_called_warped() -> None:
    row = associate_measurements(_two_epochs(2.0, -1.0)).alignment.set_index("epoch").loc["e1"]
    assert bool(row["applied"])
    assert not bool(row["warped"])
