"""Far rows of the same epochs, in images of their own, change nothing near: no bit of any source, whatever they are."""

import numpy as np
import pandas as pd
import pytest

from contimg_assets.association.fold import FoldResult, fold
from contimg_assets.association.optimal import DENSITY_REACH_ARCSEC, density_of_neighbors
from contimg_assets.association.state import FoldState
from contimg_assets.config import Association
from contimg_assets.identity.ids import from_hex
from contimg_assets.simulate import simulate_detections
from contimg_assets.sky.sphere import displaced, tree_of, unit_vectors
from contimg_assets_tests.association.skies import rotated, turn_to


def _field(ra: float, dec: float, name: str, n: int, seed: int, bmin_arcsec: float) -> list[tuple[pd.DataFrame, ...]]:
    """Measurements, images and repeats of epochs: doubles, blends, transients, images that are off."""
    tables = simulate_detections(
        n, 5, seed=seed, double_fraction=0.4, blend_fraction=0.5, shift_sigma_arcsec=2.0, transient_fraction=0.05,
        completeness=0.85, images_per_epoch=4, min_separation_arcsec=4.0,
    )  # fmt: skip
    epochs = []
    rng = np.random.default_rng(seed)
    for each in rotated(tables, turn_to(0.0, 16.0, ra, dec, 40.0)):
        each = each.assign(
            image=name + each["image"].astype(str), measurement_id=name + each["measurement_id"].astype(str)
        )
        images = each.groupby("image", as_index=False)[["ra_deg", "dec_deg"]].first()
        images = images.assign(radius_deg=5.0, bmin_arcsec=bmin_arcsec, bmaj_arcsec=1.5 * bmin_arcsec)
        # Half of what one image shows, the next one shows too.
        names = images["image"].tolist()
        following = dict(zip(names, names[1:] + names[:1], strict=True))
        repeats = each.sample(frac=0.5, random_state=seed)
        shifted = displaced(repeats["ra_deg"], repeats["dec_deg"], *rng.normal(1.0, 0.4, (2, len(repeats))))
        repeats = pd.DataFrame(
            {
                "image": repeats["image"].map(following),
                "ra_deg": shifted[0],
                "dec_deg": shifted[1],
                "duplicate_of": repeats["measurement_id"],
            }
        )
        epochs.append((each, images, repeats))
    return epochs


def _folded(epochs: list[tuple[pd.DataFrame, ...]], method: str) -> list[FoldResult]:
    results: list[FoldResult] = []
    state: FoldState | None = None
    for measurements, images, repeats in epochs:
        results.append(fold(state, measurements, Association(method=method), images, repeats))
        state = results[-1].state
    return results


@pytest.mark.parametrize("method", ["deruiter", "optimal"])
@pytest.mark.parametrize(("ra", "dec"), [(0.0, 10.0), (77.0, 89.0), (210.0, -88.0)])
def test_far_rows_change_no_bit(method: str, ra: float, dec: float) -> None:
    near = _field(ra, dec, "near", 300, 4, 30.0)
    # Finer and coarser beams, other densities, shifts and errors; one image whose beam nobody knows.
    far = _field((ra + 170.0) % 360.0, -dec, "far", 700, 9, 5.0)
    far = [
        (
            each.assign(uncertainty_ew_arcsec=3.0 * each["uncertainty_ew_arcsec"]),
            images.assign(bmin_arcsec=[np.nan, 40.0, 5.0, 5.0]),
            repeats,
        )
        for each, images, repeats in far
    ]
    both = [
        tuple(pd.concat(parts, ignore_index=True) for parts in zip(a, b, strict=True))
        for a, b in zip(near, far, strict=True)
    ]
    alone, whole = _folded(near, method), _folded(both, method)
    for one, all_, (measurements, images, _) in zip(alone, whole, near, strict=True):
        ours = np.isin(all_.state.source, one.state.source)
        assert 0 < ours.sum() == len(one.state) < len(all_.state)
        for values, others in zip(one.state.arrays, all_.state.part(np.flatnonzero(ours)).arrays, strict=True):
            np.testing.assert_array_equal(values.view(np.uint64), others.view(np.uint64))
        rows = all_.associations[all_.associations["measurement_id"].isin(measurements["measurement_id"])]
        pd.testing.assert_frame_equal(one.associations, rows.reset_index(drop=True), check_exact=True)
        hashes = from_hex(all_.relations["from_source_id"])
        relations = all_.relations[np.isin(hashes, one.state.source)].reset_index(drop=True)
        pd.testing.assert_frame_equal(one.relations, relations)
        shifts = all_.alignment[all_.alignment["image"].isin(images["image"])].reset_index(drop=True)
        pd.testing.assert_frame_equal(one.alignment, shifts, check_exact=True)
    if method == "optimal":
        # All that could have leaked was there: groups to solve, forks, twins, shifts.
        assert sum(len(one.relations) for one in alone) > 20
        assert any(one.state.twin.any() for one in alone)
        assert all(one.alignment["applied"].any() for one in alone)


def test_density_is_counted_within_its_reach() -> None:
    point = unit_vectors([10.0], [89.9])
    distance = np.array([0.1, 0.4, 0.9, *np.linspace(1.05, 3.0, 30)]) * DENSITY_REACH_ARCSEC
    angle = np.arange(len(distance), dtype=float)
    around = displaced(np.full(len(angle), 10.0), np.full(len(angle), 89.9), *distance * [np.cos(angle), np.sin(angle)])
    vectors = unit_vectors(*around)
    expected = 3 / (np.pi * DENSITY_REACH_ARCSEC**2)
    assert density_of_neighbors(point, tree_of(vectors)) == pytest.approx(expected)
    assert density_of_neighbors(point, tree_of(vectors[:3])) == density_of_neighbors(point, tree_of(vectors))
    assert density_of_neighbors(point, tree_of(vectors[5:])) == 0.0
