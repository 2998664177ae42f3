"""Duplicates between images: vast's rule against its own answers, the default rule by its promises and on real data."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contimg_assets.ingest.duplicates import Duplicates, find_duplicates, find_duplicates_vast
from contimg_assets.sky.sphere import displaced, separation_arcsec

CASES = [
    "pair_two_images",
    "pair_two_images_ini",
    "triple_three_images",
    "same_image_double",
    "ra_wrap",
    "random_350",
    "chain",
    "blend_removes_double",
]
QUESTIONABLE = {"chain", "blend_removes_double"}


def default(
    ra: np.ndarray, dec: np.ndarray, image: np.ndarray, centre: np.ndarray, sigma_arcsec: float = 0.3, **keywords: float
) -> Duplicates:
    errors = np.full(len(ra), sigma_arcsec)
    return find_duplicates(ra, dec, errors, errors, image, centre, **({"beam_arcsec": 15.0} | keywords))


@pytest.mark.shared
@pytest.mark.parametrize("case", CASES)
def test_vast_rule_is_that_of_vast(shared: Path, case: str) -> None:
    folder = shared / "golden/association/dedup"
    rows = pd.read_csv(folder / f"{case}_in.csv")
    expected = pd.read_csv(folder / f"{case}_expected.csv")
    limit = json.loads((folder / f"{case}.json").read_text())["dup_lim_arcsec"]
    arguments = [rows[name].to_numpy() for name in ("ra", "dec")]
    image, centre = rows["image"].astype("category").cat.codes.to_numpy(), rows["dist_from_centre"].to_numpy()
    vast = find_duplicates_vast(*arguments, image, centre, limit)
    assert set(rows["id"][vast.kept < 0]) == set(expected["id"])
    if case not in QUESTIONABLE and case != "random_350":
        ours = find_duplicates(
            *arguments,
            rows["uncertainty_ew"].to_numpy() * 3600,
            rows["uncertainty_ns"].to_numpy() * 3600,
            image,
            centre,
            beam_arcsec=15.0,
        )
        assert set(rows["id"][ours.kept < 0]) == set(expected["id"])


@pytest.mark.shared
def test_golden_truth_is_found_completely_by_the_default(shared: Path) -> None:
    """150 positions in two images, 50 also in a third: noise of 1 arcsec leaves vast's 2.5 arcsec short."""
    rows = pd.read_csv(shared / "golden/association/dedup/random_350_in.csv")
    image, centre = rows["image"].astype("category").cat.codes.to_numpy(), rows["dist_from_centre"].to_numpy()
    ra, dec = rows["ra"].to_numpy(), rows["dec"].to_numpy()
    found = default(ra, dec, image, centre, sigma_arcsec=1.0, beam_arcsec=20.0)
    assert int((found.kept < 0).sum()) <= int((find_duplicates_vast(ra, dec, image, centre).kept < 0).sum())
    assert int((found.kept < 0).sum()) >= 150


def chain() -> tuple[np.ndarray, ...]:
    dec = np.array([0.0, 2.0, 4.0]) / 3600
    return np.full(3, 10.0), dec, np.array([0, 1, 2]), np.array([1.0, 2.0, 3.0])


def test_a_chain_does_not_lose_its_end() -> None:
    assert find_duplicates_vast(*chain()).kept.tolist() == [-1, 0, 0]
    found = default(*chain())
    assert found.kept.tolist() == [-1, 0, -1]
    np.testing.assert_allclose(found.separation_arcsec, [np.nan, 2.0, np.nan], atol=1e-6)


def test_a_blend_does_not_remove_two_resolved_components() -> None:
    dec = np.array([0.0, 2.0, 1.1]) / 3600
    image, centre = np.array([0, 0, 1]), np.array([2.0, 2.1, 1.0])
    assert find_duplicates_vast(np.full(3, 10.0), dec, image, centre).kept.tolist() == [2, 2, -1]
    assert default(np.full(3, 10.0), dec, image, centre).kept.tolist() == [-1, 2, -1]


@pytest.mark.parametrize(
    ("ra", "dec"), [(0.0, 0.0), (180.0, 40.0), (90.0, 0.0), (270.0, -60.0), (0.0, 89.9999), (7.0, -90.0)]
)
@pytest.mark.parametrize("rule", ["vast", "default"])
def test_everywhere_on_the_sky(ra: float, dec: float, rule: str) -> None:
    """A pair 2 arcsec apart is one source, a pair 5 arcsec apart is two, at RA 0, at the poles and elsewhere."""
    for separation, expected in ((2.0, [-1, 0]), (5.0, [-1, -1])):
        ras, decs = displaced(np.full(2, ra), np.full(2, dec), [-separation / 2, separation / 2], [0.0, 0.0])
        image, centre = np.array([0, 1]), np.array([0.5, 0.7])
        found = find_duplicates_vast(ras, decs, image, centre) if rule == "vast" else default(ras, decs, image, centre)
        assert found.kept.tolist() == expected


def test_the_radius_follows_the_errors() -> None:
    dec = np.array([0.0, 4.0]) / 3600
    arguments = (np.full(2, 10.0), dec, np.array([0, 1]), np.array([1.0, 2.0]))
    assert default(*arguments, sigma_arcsec=0.3).kept.tolist() == [-1, -1]
    assert default(*arguments, sigma_arcsec=1.0).kept.tolist() == [-1, 0]
    assert default(*arguments, sigma_arcsec=1.0, beam_arcsec=6.0).kept.tolist() == [-1, -1], "never beyond half a beam"


def test_ties_are_settled_by_identifier() -> None:
    for rule in (find_duplicates_vast, default):
        found = rule(np.full(3, 10.0), np.zeros(3), np.array([2, 0, 1]), np.ones(3))
        assert found.kept.tolist() == [-1, 0, 0]


def test_the_shift_between_images_is_taken_out() -> None:
    """Two images 5 arcsec off against each other: errors of 0.3 arcsec alone would not join them."""
    rng = np.random.default_rng(5)
    ra, dec = 350 + 20 * rng.random(200), 30 * rng.random(200)
    other = displaced(ra, dec, 4 + 0.3 * rng.standard_normal(200), 3 + 0.3 * rng.standard_normal(200))
    image, centre = np.repeat([0, 1], 200), np.repeat([1.0, 2.0], 200)
    rows = (np.r_[ra % 360, other[0]], np.r_[dec, other[1]], image, centre)
    assert (find_duplicates_vast(*rows).kept >= 0).sum() < 5
    found = default(*rows)
    assert found.kept.tolist() == [-1] * 200 + list(range(200))
    # What is reported is the separation as measured.
    np.testing.assert_allclose(found.separation_arcsec[200:], separation_arcsec(ra, dec, *other), rtol=1e-9)


def test_nothing_and_one_image() -> None:
    nothing = np.empty(0)
    for rule in (find_duplicates_vast, default):
        assert rule(nothing, nothing, np.empty(0, int), nothing).kept.tolist() == []
        assert rule(np.full(3, 1.0), np.zeros(3), np.zeros(3, int), np.ones(3)).kept.tolist() == [-1, -1, -1]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.floats(0.2, 2.0))
def test_promises_hold_on_crowded_fields(seed: int, n_images: int, sigma: float) -> None:
    """At most one partner in each pair of images; the removed point at one that stays; what is gone removes nothing."""
    rng = np.random.default_rng(seed)
    n = 120
    ra, dec = (rng.random(n) * 60 / 3600 - 30 / 3600) % 360, rng.random(n) * 60 / 3600
    image, centre = rng.integers(0, n_images, n), rng.random(n).round(1)
    found = default(ra, dec, image, centre, sigma_arcsec=sigma, beam_arcsec=20.0)
    gone = np.flatnonzero(found.kept >= 0)
    kept = found.kept[gone]
    assert (found.kept[kept] < 0).all()
    assert (image[gone] != image[kept]).all()
    assert ((centre[kept] < centre[gone]) | ((centre[kept] == centre[gone]) & (kept < gone))).all()
    partners = pd.DataFrame({"kept": kept, "image": image[gone]})
    assert not partners.duplicated().any()
    # The rows' order does not matter, but for ties, which identifiers settle.
    order = rng.permutation(n)
    untied = centre + np.arange(n) * 1e-6
    straight = default(ra, dec, image, untied, sigma_arcsec=sigma, beam_arcsec=20.0).kept
    shuffled = default(ra[order], dec[order], image[order], untied[order], sigma_arcsec=sigma, beam_arcsec=20.0).kept
    back = np.full(n, -1)
    back[order] = np.where(shuffled >= 0, order[np.maximum(shuffled, 0)], -1)
    assert (back == straight).all()


def test_chance_pairs_teach_nothing() -> None:
    """Two crowded images without a source in common: neither a shift nor a scatter is measured from their pairs."""
    rng = np.random.default_rng(11)
    n = 2000
    ra, dec = 10 + 0.25 * rng.random(2 * n), 0.25 * rng.random(2 * n)
    found = default(ra, dec, np.repeat([0, 1], n), rng.random(2 * n))
    assert (found.kept >= 0).any()
    assert np.nanmax(found.separation_arcsec) <= 2.5 + 1e-6


def test_doubles_are_not_given_out_crosswise() -> None:
    """Of two images 4 arcsec off against each other: the nearest pair of all is a wrong one, and leaves two without."""
    dec = np.array([0.0, 5.0, 2.0, 7.6]) / 3600
    image, centre = np.array([0, 0, 1, 1]), np.array([1.0, 1.1, 2.0, 2.1])
    found = default(np.full(4, 10.0), dec, image, centre, sigma_arcsec=1.3)
    assert found.kept.tolist() == [-1, -1, 0, 1]
    # One of an image alone takes the nearer one, whatever else the other image has near.
    alone = default(np.full(3, 10.0), dec[[0, 2, 3]], image[[0, 2, 3]], centre[[0, 2, 3]], sigma_arcsec=1.3)
    assert alone.kept.tolist() == [-1, 0, -1]


@pytest.mark.parametrize("place", [(0.0, 0.0), (180.0, -50.0), (7.0, 89.0)])
def test_the_warp_between_images_is_followed(place: tuple[float, float]) -> None:
    """Two images agree in the middle and are 4 arcsec off at the edge, which no one shift takes out."""
    rng = np.random.default_rng(3)
    east, north = rng.uniform(-3600, 3600, (2, 900))
    ra, dec = displaced(np.full(900, place[0]), np.full(900, place[1]), east, north)
    warp = 4.0 * (np.hypot(east, north) / 3600.0) ** 2
    angle = np.arctan2(north, east)
    noise = 0.2 * rng.standard_normal((2, 900))
    other = displaced(ra, dec, warp * np.cos(angle) + noise[0], warp * np.sin(angle) + noise[1])
    rows = np.r_[ra, other[0]], np.r_[dec, other[1]], np.repeat([0, 1], 900), np.repeat([1.0, 2.0], 900)
    kept = default(*rows, sigma_arcsec=0.2).kept[900:]
    assert np.mean(kept == np.arange(900)) > 0.995
    assert set(np.unique(kept - np.arange(900))) <= {0, *(-1 - np.flatnonzero(kept < 0))}


def test_a_lone_pair_at_the_tail_of_its_errors_is_one_source() -> None:
    rng = np.random.default_rng(8)
    ra, dec = 10 + 2 * rng.random(60), 2 * rng.random(60)
    other = displaced(ra, dec, *(0.3 * rng.standard_normal((2, 60))))
    other[1][0] = dec[0] + 3.0 / 3600  # six errors of the pair
    rows = np.r_[ra, other[0]], np.r_[dec, other[1]], np.repeat([0, 1], 60), np.repeat([1.0, 2.0], 60)
    assert default(*rows, sigma_arcsec=0.35).kept[60] == 0
    # Not if another one is near that it may be.
    more = tuple(
        np.append(values, extra) for values, extra in zip(rows, (ra[0], dec[0] - 5.0 / 3600, 1, 2.0), strict=True)
    )
    assert default(*more, sigma_arcsec=0.35).kept[60] == -1


def _strip(shifts_arcsec: list[float], n_shared: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images side by side, each shifted to the north: right ascensions, declinations and images of their detections.

    Neighbors see ``n_shared`` sources both.
    """
    rows = []
    for pair, n in enumerate(n_shared):
        for source in range(n):
            place = 10.0 + pair + 0.03 * source
            rows += [(place, shifts_arcsec[image] / 3600.0, image) for image in (pair, pair + 1)]
    ra, dec, image = np.array(rows).T
    return ra, dec, image.astype(np.intp)


def test_images_that_share_few_sources_are_shifted_as_others_are() -> None:
    # Shifts between neighbors: 2.4, -2.4, 2.4, and one of 4 arcsec, more than half a beam, that 3 sources see.
    ra, dec, image = _strip([0.0, 2.4, 0.0, 2.4, 6.4], [8, 8, 8, 3])
    found = default(ra, dec, image, np.where(np.arange(len(ra)) % 2, 2.0, 1.0), sigma_arcsec=0.1, beam_arcsec=6.0)
    assert (found.kept >= 0).sum() == 8 + 8 + 8 + 3
    # Where nothing tells how images are shifted, half a beam is the limit, as ever.
    few = ra >= 13.0
    alone = default(ra[few], dec[few], image[few], np.where(np.arange(few.sum()) % 2, 2.0, 1.0), sigma_arcsec=0.1,
                    beam_arcsec=6.0)  # fmt: skip
    assert (alone.kept < 0).all()


def test_shifts_that_are_not_known_are_beside_the_errors_of_positions() -> None:
    """Neighbors are off by 1.5 arcsec, 1.3 an axis; of the last two none knows: 7.5 arcsec are 3.6 sigma, not 4.6."""
    ra, dec, image = _strip([0.0, 1.5, 0.0, 1.5, 9.0], [8, 8, 8, 1])
    order = np.where(np.arange(len(ra)) % 2, 2.0, 1.0)
    found = default(ra, dec, image, order, sigma_arcsec=1.15, beam_arcsec=60.0)
    assert (found.kept >= 0).sum() == 8 + 8 + 8 + 1
    assert (default(ra, dec, image, order, sigma_arcsec=0.7, beam_arcsec=60.0).kept >= 0).sum() == 8 + 8 + 8


def test_images_that_are_off_by_more_than_half_a_beam_are_compared_within_one() -> None:
    """Half a beam would cut off most of the pairs, or leave those that noise brought nearer."""
    rng = np.random.default_rng(6)
    ra, dec = 40 + 2 * rng.random(30), 2 * rng.random(30)
    for shift in (2.8, 3.6):
        other = displaced(ra, dec, shift + 0.2 * rng.standard_normal(30), 0.2 * rng.standard_normal(30))
        image, centre = np.repeat([0, 1], 30), np.repeat([1.0, 2.0], 30)
        found = default(np.r_[ra, other[0]], np.r_[dec, other[1]], image, centre, sigma_arcsec=0.2, beam_arcsec=6.0)
        assert found.kept.tolist() == [-1] * 30 + list(range(30))
