"""Does a probability of 0.7 mean right in seven of ten cases?"""

from itertools import pairwise

import numpy as np
import pytest

from contimg_assets.config import Matching
from contimg_assets.crossmatch.matches import MatchResult, match_catalogs
from contimg_assets_tests.crossmatch.skies import Sky, simulate_sky

BINS = [0.0, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99, 1.0 + 1e-9]
# Sparse and dense catalogs, sure and unsure positions, common and rare counterparts; 60,000 detections each.
SKIES = {
    "dense": {"n_images": 60, "per_image": 1000, "density_per_deg2": 5000.0, "q": 0.8, "sigma_arcsec": 3.0},
    "crowded": {"n_images": 60, "per_image": 1000, "density_per_deg2": 20000.0, "q": 0.5, "sigma_arcsec": 1.0},
    "nvss": {"n_images": 1000, "per_image": 60, "density_per_deg2": 60.0, "q": 0.6, "catalog_sigma_arcsec": 4.0},
}


@pytest.fixture(scope="module", params=SKIES)
def matched(request: pytest.FixtureRequest) -> tuple[Sky, MatchResult]:
    sky = simulate_sky(np.random.default_rng(20260125), **SKIES[request.param])
    assert len(sky.measurements) >= 60_000
    return sky, match_catalogs(sky.measurements, sky.images, [sky.catalog], Matching())


@pytest.mark.slow
def test_mean_probability_is_the_true_share(matched: tuple[Sky, MatchResult]) -> None:
    sky, result = matched
    p = result.matches["probability"].to_numpy()
    true = sky.truth.loc[result.matches["measurement_id"]].to_numpy() == result.matches["catalog_source_id"].to_numpy()
    for low, high in pairwise(BINS):
        inside = (p >= low) & (p < high)
        n = inside.sum()
        if n < 30:
            continue
        error = np.sqrt((p[inside] * (1 - p[inside])).sum() + 1.0) / n
        difference = p[inside].mean() - true[inside].mean()
        assert abs(difference) < 4 * error, (
            f"[{low}, {high}): {p[inside].mean():.4f} but true {true[inside].mean():.4f}"
        )


@pytest.mark.slow
def test_p_none_is_the_share_without_counterpart(matched: tuple[Sky, MatchResult]) -> None:
    sky, result = matched
    first = result.matches.drop_duplicates("measurement_id").set_index("measurement_id")
    without = sky.truth.loc[first.index].isna()
    p = first["p_none"].to_numpy()
    assert abs(p.mean() - without.mean()) < 4 * np.sqrt((p * (1 - p)).sum()) / len(p)


@pytest.mark.slow
def test_offsets_density_and_q_are_found(matched: tuple[Sky, MatchResult]) -> None:
    sky, result = matched
    summary = result.summary.merge(sky.offsets, on="image", suffixes=("", "_true"))
    measured = summary[summary["offset_applied"]]
    assert len(measured) > 0.95 * len(summary)
    for axis in ("dra", "ddec"):
        pull = (measured[f"{axis}_arcsec"] - measured[f"{axis}_arcsec_true"]) / measured[f"{axis}_err_arcsec"]
        assert abs(pull.median()) < 0.3
        assert 0.7 < 1.4826 * (pull - pull.median()).abs().median() < 1.4
    assert abs(summary["density_per_deg2"].mean() / sky.density_per_deg2 - 1) < 0.03
    assert abs(summary["q"].mean() - sky.q) < 0.02


@pytest.mark.slow
def test_false_matches_are_counted(matched: tuple[Sky, MatchResult]) -> None:
    sky, result = matched
    summary = result.summary
    best = result.matches[(result.matches["rank"] == 1) & (result.matches["probability"] > 0.5)]
    wrong = (sky.truth.loc[best["measurement_id"]].to_numpy() != best["catalog_source_id"].to_numpy()).sum()
    assert abs(summary["n_false_best"].sum() - wrong) < 4 * np.sqrt(wrong)
    # Any source within the radius is a match here: chance alone makes that many.
    chance = 1 - np.exp(-np.pi * summary["density_per_deg2"] / 3600**2 * summary["radius_arcsec"] ** 2)
    expected = (summary["n_covered"] * chance / summary["n_within_radius"]).mean()
    n_found = (chance * summary["n_offset_positions"]).sum()
    assert abs(summary["false_match_rate"].mean() / expected - 1) < 0.03 + 4 / np.sqrt(n_found)
