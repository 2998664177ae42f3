"""Shifts of images that no known source lies in, from the sources that they share with other images of the epoch."""

import numpy as np
import pandas as pd
import pytest
from scipy.spatial import cKDTree

from contimg_assets.association import FoldState
from contimg_assets.association.alignment import Alignment, align
from contimg_assets.association.fold import fold
from contimg_assets.association.observation import Observation
from contimg_assets.association.overlaps import with_overlaps
from contimg_assets.config import Association
from contimg_assets.sky.sphere import ARCSEC_PER_RADIAN, displaced, unit_vectors
from contimg_assets_tests.association.skies import table

SIGMA, N_OVERLAP = 0.2, 40
Sky = tuple[pd.DataFrame, pd.DataFrame]


def _sky(ra_deg: float, dec_deg: float, shifts: dict[str, float], seed: int = 3) -> Sky:
    """Strips of sources, one an image, moved east by arcsec; each repeats 40 sources of the one before it."""
    rng = np.random.default_rng(seed)
    kept, repeats, before = [], [], None
    for k, (image, east) in enumerate(shifts.items()):
        n = 80
        ra, dec = displaced(
            np.full(n, ra_deg), np.full(n, dec_deg), rng.uniform(k, k + 1, n) * 3600, rng.uniform(-1, 1, n) * 3600
        )
        own = table(*_seen(rng, ra, dec, east), SIGMA, epoch=f"{image}", image=image).assign(
            epoch="e0", ra0=ra, dec0=dec
        )
        kept.append(own)
        if before is not None:
            shared = before.head(N_OVERLAP)
            at = _seen(rng, shared["ra0"].to_numpy(), shared["dec0"].to_numpy(), east)
            repeats.append(
                pd.DataFrame(
                    {"image": image, "ra_deg": at[0], "dec_deg": at[1], "duplicate_of": shared["measurement_id"]}
                )
            )
        before = own
    return pd.concat(kept, ignore_index=True), pd.concat(repeats, ignore_index=True)


def _seen(rng: np.random.Generator, ra: np.ndarray, dec: np.ndarray, east: float) -> tuple[np.ndarray, np.ndarray]:
    return displaced(ra, dec, east + rng.normal(0, SIGMA, len(ra)), rng.normal(0, SIGMA, len(ra)))


def _aligned(sky: Sky, known: pd.DataFrame | None = None) -> tuple[Alignment, Observation]:
    kept, repeats = sky
    observation, state = Observation.of(kept), FoldState.empty()
    if known is not None:
        state = fold(None, known).state
    return with_overlaps(align(observation, cKDTree(state.vectors), Association()), observation, repeats), observation


@pytest.mark.parametrize(("ra_deg", "dec_deg"), [(359.0, 0.0), (40.0, -60.0), (120.0, 88.0)])
def test_images_of_a_first_epoch_come_into_one_frame(ra_deg: float, dec_deg: float) -> None:
    sky = _sky(ra_deg, dec_deg, {"a": 3.0, "b": -1.0, "c": 2.0})
    found, observation = _aligned(sky)
    rows = found.table.set_index("image")
    # Near the pole east turns on the way from image to image.
    if dec_deg < 80:
        difference = rows["dra_arcsec"].diff().dropna()
        assert difference.to_numpy() == pytest.approx([4.0, -3.0], abs=0.25)
    assert rows["applied"].all()
    assert (rows["dra_err_arcsec"] < 0.25).all()
    assert np.hypot(rows["dra_arcsec"].mean(), rows["ddec_arcsec"].mean()) < 2.5
    # The frame moves as a whole; between images little is left of 4 arcsec (east at a pole is no shift, it turns).
    true = unit_vectors(*(sky[0].set_index("measurement_id")[name].iloc[observation.row] for name in ("ra0", "dec0")))
    left = [(found.vectors - true)[observation.image == code].mean(axis=0) * ARCSEC_PER_RADIAN for code in range(3)]
    assert np.ptp(left, axis=0).max() < (0.4 if dec_deg < 80 else 1.0)


def test_an_image_without_known_sources_follows_its_neighbor_that_has_some() -> None:
    kept, repeats = _sky(10.0, 20.0, {"a": 3.0, "b": -1.0})
    known = kept[kept["image"] == "a"].assign(epoch="before", measurement_id=lambda one: "k" + one["measurement_id"])
    known = known.assign(ra_deg=known["ra0"], dec_deg=known["dec0"]).drop(columns="image")
    rows = _aligned((kept, repeats), known)[0].table.set_index("image")
    assert rows["dra_arcsec"].to_dict() == pytest.approx({"a": -3.0, "b": 1.0}, abs=0.25)


def test_one_frame_leaves_no_second_source() -> None:
    """Of what two images share, now the one and now the other is kept: an epoch later all are one source each."""
    kept, repeats = _sky(0.0, 30.0, {"a": 3.0, "b": -3.0})
    swapped = kept["measurement_id"].isin(repeats["duplicate_of"][::2])
    at = repeats.set_index("duplicate_of").loc[kept["measurement_id"][swapped]]
    mixed, mixed_repeats = kept.copy(), repeats.iloc[1::2]
    mixed.loc[swapped, "image"] = "b"
    mixed.loc[swapped, ["ra_deg", "dec_deg"]] = at[["ra_deg", "dec_deg"]].to_numpy()
    rng = np.random.default_rng(8)
    ra, dec = _seen(rng, kept["ra0"].to_numpy(), kept["dec0"].to_numpy(), 0.0)
    again = kept.assign(epoch="e1", measurement_id="x" + kept["measurement_id"], image="whole", ra_deg=ra, dec_deg=dec)
    n_sources = [len(fold(fold(None, mixed, repeats=one).state, again).state) for one in (mixed_repeats, None)]
    assert n_sources[0] == len(kept)
    assert n_sources[1] > len(kept) + 10


def test_too_few_shared_sources_and_none_at_all_leave_images_as_they_are() -> None:
    kept, repeats = _sky(10.0, 20.0, {"a": 3.0, "b": -1.0})
    for few in (repeats.head(4), repeats.head(0)):
        found, observation = _aligned((kept, few))
        assert not found.moved.any()
        assert not found.table["applied"].any()
        assert (found.vectors == observation.vectors).all()


def test_the_order_of_rows_does_not_matter() -> None:
    kept, repeats = _sky(200.0, -5.0, {"a": 3.0, "b": -1.0, "c": 0.5})
    one, _ = _aligned((kept, repeats))
    other, _ = _aligned((kept.sample(frac=1, random_state=1), repeats.sample(frac=1, random_state=2)))
    assert (one.vectors == other.vectors).all()
    pd.testing.assert_frame_equal(one.table, other.table)
