"""Faint entries that are located worse than their catalog says: probabilities that come true."""

import numpy as np
import pandas as pd
import pytest

from contimg_assets.catalogs.store import ReferenceCatalog
from contimg_assets.config import Matching
from contimg_assets.crossmatch.faint_entries import FaintErrors
from contimg_assets.crossmatch.matches import match_sources
from contimg_assets.sky.sphere import displaced


def sky(seed: int, blur_arcsec: float, ra_deg: float = 0.0) -> tuple[pd.DataFrame, ReferenceCatalog, pd.Series]:
    """Sources, a catalog that quotes 1 arcsec for all and is off by more where faint, and the true counterparts."""
    rng = np.random.default_rng(seed)
    n = 4000
    east, north = rng.uniform(-4.5, 4.5, (2, n)) * 3600.0
    ra, dec = displaced(np.full(n, ra_deg), np.full(n, 10.0), east, north)
    flux = 2.5 * rng.random(n) ** -1.2
    off = np.hypot(0.6, blur_arcsec / flux) * rng.normal(size=(2, n))
    there_ra, there_dec = displaced(ra, dec, *off)
    names = np.array([f"N{k}" for k in range(n)])
    table = pd.DataFrame({"catalog_source_id": names, "ra_deg": there_ra, "dec_deg": there_dec, "flux_mjy": flux})
    table = table.assign(ra_err_arcsec=1.0, dec_err_arcsec=1.0)
    seen = np.flatnonzero(rng.random(n) < 0.8)
    sources = pd.DataFrame({"source_id": [f"S{k}" for k in seen], "ra_deg": ra[seen], "dec_deg": dec[seen]})
    sources = sources.assign(
        uncertainty_ew_arcsec=0.3, uncertainty_ns_arcsec=0.3, freq_mhz=1400.0, beam_arcsec=15.0, flux_mjy=flux[seen]
    )
    catalog = ReferenceCatalog("wide", table, freq_mhz=1400, beam_arcsec=45)
    return sources, catalog, pd.Series(names[seen], index=sources["source_id"])


@pytest.mark.parametrize("ra_deg", [0.0, 123.0])
def test_probabilities_of_faint_entries_come_true(ra_deg: float) -> None:
    sources, catalog, truth = sky(1, 14.0, ra_deg)
    matches = match_sources(sources, [catalog], Matching())
    best = matches[matches["rank"] == 1]
    likely = best[best["probability"] > 0.5]
    wrong = int((likely["catalog_source_id"] != likely["source_id"].map(truth)).sum())
    foretold = float((1.0 - likely["probability"]).sum())
    without = match_sources(sources, [catalog], Matching(fit_systematic=False))
    doubted = without[(without["rank"] == 1) & (without["probability"] > 0.5)]
    print(len(likely), wrong, foretold, "without", len(doubted), float((1.0 - doubted["probability"]).sum()))
    assert len(likely) > 0.99 * len(sources) > len(doubted)
    assert wrong <= 10
    assert abs(foretold - wrong) < 3.0 * np.sqrt(wrong + 5.0)
    # What is said of the errors is so: the offsets are of their size, for faint and bright entries.
    for part in (best["catalog_flux_mjy"] < 3.5, best["catalog_flux_mjy"] > 15.0):
        chosen = best[part & (best["probability"] > 0.01)]
        scale = 1.4826 * np.median((chosen["dra_arcsec"] / chosen["sigma_ew_arcsec"]).abs())
        assert 0.5 < scale < 1.25


def test_errors_that_are_right_stay_as_they_are() -> None:
    sources, catalog, _ = sky(2, 0.0)
    fitted, plain = (match_sources(sources, [catalog], Matching(fit_systematic=fit)) for fit in (True, False))
    pd.testing.assert_frame_equal(fitted, plain)


def test_the_order_of_rows_does_not_matter() -> None:
    sources, catalog, _ = sky(3, 14.0)
    pd.testing.assert_frame_equal(
        match_sources(sources, [catalog], Matching()),
        match_sources(sources.sample(frac=1.0, random_state=1), [catalog], Matching()),
    )


def test_errors_between_steps_are_in_proportion_and_an_unknown_flux_gets_none() -> None:
    errors = FaintErrors(np.log([1.0, 100.0]), np.array([4.0, 0.0]), np.array([2.0, 0.0]))
    east, north = errors.at(np.array([0.1, 1.0, 10.0, 1000.0, np.nan, -1.0]))
    assert east.tolist() == [4.0, 4.0, 2.0, 0.0, 0.0, 0.0]
    assert north.tolist() == [2.0, 2.0, 1.0, 0.0, 0.0, 0.0]
