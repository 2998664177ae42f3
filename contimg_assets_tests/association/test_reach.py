"""How far association reaches: by beams and errors, so that coarse telescopes have one source for each true one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from contimg_assets.association.fold import FoldResult, fold
from contimg_assets.config import Association
from contimg_assets.pipeline.quality import short_reach
from contimg_assets.sky.sphere import displaced

N_EPOCHS = 3


def folded(
    beam_arcsec: float, error_arcsec: float, n: int, radius_deg: float, parameters: Association | None = None
) -> FoldResult:
    """The last of three epochs of constant sources, two of whose beams never touch."""
    rng = np.random.default_rng(5)
    side = int(np.ceil(np.sqrt(n)))
    step = 2 * radius_deg / np.sqrt(2) / side
    assert step * 3600 > 2 * beam_arcsec
    cell = np.arange(n)
    east, north = (cell % side - (side - 1) / 2) * step * 3600, (cell // side - (side - 1) / 2) * step * 3600
    ra, dec = displaced(np.full(n, 0.0), np.full(n, 40.0), east, north)
    flux = 10 ** rng.uniform(0.5, 2, n)
    images = pd.DataFrame(
        {"image": ["a"], "ra_deg": [0.0], "dec_deg": [40.0], "radius_deg": [radius_deg]}
        | {"bmaj_arcsec": [beam_arcsec], "bmin_arcsec": [beam_arcsec]}
    )
    result = None
    for epoch in range(N_EPOCHS):
        ra_seen, dec_seen = displaced(ra, dec, *rng.normal(0, error_arcsec, (2, n)))
        seen = pd.DataFrame(
            {
                "measurement_id": [f"{epoch}-{k}" for k in range(n)],
                "epoch": str(epoch),
                "image": "a",
                "ra_deg": ra_seen,
                "dec_deg": dec_seen,
                "uncertainty_ew_arcsec": error_arcsec,
                "uncertainty_ns_arcsec": error_arcsec,
                "snr": 4 * flux,
                "flux_peak_mjy_beam": flux,
            }
        )
        result = fold(None if result is None else result.state, seen, parameters, images)
    assert result is not None
    return result


@pytest.mark.parametrize(
    ("beam_arcsec", "error_arcsec", "n", "radius_deg", "off"),
    [(900.0, 60.0, 60, 4.0, 0), (120.0, 12.0, 60, 2.0, 0), (46.0, 8.0, 2000, 2.0, 2)],
)
def test_telescopes_of_any_resolution_find_each_source_once(
    beam_arcsec: float, error_arcsec: float, n: int, radius_deg: float, off: int
) -> None:
    result = folded(beam_arcsec, error_arcsec, n, radius_deg)
    assert abs(len(result.state) - n) <= off
    assert short_reach(result.diagnostics) == []


def test_an_explicit_reach_is_obeyed_and_told_where_it_is_too_short() -> None:
    result = folded(120.0, 12.0, 60, 2.0, Association(max_separation_arcsec=20.0))
    assert len(result.state) > 75
    assert result.rows.separation_arcsec[np.isfinite(result.rows.separation_arcsec)].max() <= 20.0
    (sentence,) = short_reach(result.diagnostics)
    assert "raise association.max_separation_arcsec" in sentence


def test_a_coarse_band_never_drags_a_fine_position_and_is_found_by_it() -> None:
    """A source that a coarse beam found first lies several fine beams away."""
    images = pd.DataFrame({"image": ["a"], "ra_deg": [0.0], "dec_deg": [0.0], "radius_deg": [2.0]})

    def epoch(name: str, ra_deg: float, error_arcsec: float) -> pd.DataFrame:
        row = {"measurement_id": name, "epoch": name, "image": "a", "ra_deg": ra_deg, "dec_deg": 0.0}
        return pd.DataFrame([row | {"uncertainty_ew_arcsec": error_arcsec, "uncertainty_ns_arcsec": error_arcsec}])

    coarse, fine = (images.assign(bmaj_arcsec=beam, bmin_arcsec=beam) for beam in (900.0, 10.0))
    first = fold(None, epoch("coarse", 360.0 - 80.0 / 3600, 60.0), None, coarse)
    second = fold(first.state, epoch("fine", 0.0, 0.5), None, fine)
    third = fold(second.state, epoch("coarse again", 120.0 / 3600, 60.0), None, coarse)
    assert len(third.state) == 1
    ra = (float(third.state.ra_deg[0]) + 180) % 360 - 180
    assert abs(ra) * 3600 < 0.1
