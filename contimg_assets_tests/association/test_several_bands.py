"""Epochs in several bands: each source once in each band, whatever the order of rows and images."""

from __future__ import annotations

import numpy as np
import pandas as pd

from contimg_assets.association.fold import FoldResult, fold
from contimg_assets.association.several_bands import fold_bands
from contimg_assets.config import Bands
from contimg_assets.sky.sphere import displaced

FREQUENCIES = {"low": 888.0, "low2": 889.0, "high": 1367.0}
BEAMS = {"low": 20.0, "low2": 20.0, "high": 12.0}


def images() -> pd.DataFrame:
    names = list(FREQUENCIES)
    return pd.DataFrame(
        {"image": names, "freq_mhz": list(FREQUENCIES.values()), "ra_deg": 0.0, "dec_deg": 16.0, "radius_deg": 1.0}
        | {"bmaj_arcsec": list(BEAMS.values()), "bmin_arcsec": list(BEAMS.values())}
    )


def epoch(number: int, names: tuple[str, ...], n: int = 40) -> pd.DataFrame:
    """All sources in each of the images, 30 % fainter at the higher frequency, across RA 0."""
    rng = np.random.default_rng(8)
    ra, dec = displaced(np.zeros(n), np.full(n, 16.0), *rng.uniform(-1800, 1800, (2, n)))
    flux = 10 ** rng.uniform(1, 2.5, n)
    noise = np.random.default_rng([9, number])
    parts = []
    for name in names:
        ra_seen, dec_seen = displaced(ra, dec, *noise.normal(0, 0.5, (2, n)))
        peak = flux * (FREQUENCIES[name] / 888.0) ** -0.8
        parts.append(
            pd.DataFrame(
                {
                    "measurement_id": [f"{number}-{name}-{k}" for k in range(n)],
                    "epoch": str(number),
                    "image": name,
                    "ra_deg": ra_seen,
                    "dec_deg": dec_seen,
                    "uncertainty_ew_arcsec": 0.5,
                    "uncertainty_ns_arcsec": 0.5,
                    "snr": peak,
                    "flux_peak_mjy_beam": peak,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def three_epochs(shuffled: bool = False) -> list[FoldResult]:
    """Both bands, one of them, both."""
    state, results = None, []
    for number, names in enumerate((("low", "high"), ("high",), ("low2", "high"))):
        table, of_images = epoch(number, names), images()
        if shuffled:
            table, of_images = table.sample(frac=1, random_state=3), of_images.iloc[::-1]
        results.append(fold_bands(state, table, of_images[of_images["image"].isin(names)]))
        state = results[-1].state
    return results


def test_a_source_is_one_over_all_bands() -> None:
    results = three_epochs()
    assert [len(result.state) for result in results] == [40, 40, 40]
    assert results[-1].state.n_measurements.tolist() == [5] * 40
    assert [result.diagnostics["n_new"] for result in results] == [40, 0, 0]
    last = results[-1].associations
    assert len(last) == 80
    assert (last.groupby("source_id").size() == 2).all()
    first = results[0].associations
    number = first["measurement_id"].str.rpartition("-")[2]
    assert len(set(zip(first["source_id"], number, strict=True))) == 40


def test_no_order_of_rows_or_images_matters() -> None:
    for one, other in zip(three_epochs(), three_epochs(shuffled=True), strict=True):
        assert one.state == other.state
        pd.testing.assert_frame_equal(one.relations, other.relations)
        key = ["source_id", "measurement_id"]
        pd.testing.assert_frame_equal(
            one.associations.sort_values(key, ignore_index=True), other.associations.sort_values(key, ignore_index=True)
        )


def test_one_band_is_folded_as_ever() -> None:
    table = epoch(0, ("low", "low2"))
    of_images = images().iloc[:2]
    plain, banded = fold(None, table, images=of_images), fold_bands(None, table, of_images)
    assert plain.state == banded.state
    assert plain.diagnostics == banded.diagnostics
    joined = fold_bands(None, table, of_images, bands=Bands(ranges_mhz=((880.0, 888.5), (888.5, 900.0))))
    assert len(joined.state) == 40


def test_a_source_that_a_later_band_merges_has_one_name_in_all_rows() -> None:
    """A blend of the coarse band lies beside one component; every row names a source that is there in the end."""
    for result in three_epochs():
        present = set(result.state.sources()["source_id"])
        assert set(result.associations["source_id"]) <= present
        assert set(result.relations["from_source_id"]) | set(result.relations["to_source_id"]) <= present


def test_an_epoch_without_a_detection_in_one_band() -> None:
    table = epoch(0, ("low",))
    of_images = images().iloc[[0, 2]]
    assert len(fold_bands(None, table, of_images).state) == 40
    assert len(fold_bands(None, table.iloc[:0], of_images).state) == 0
