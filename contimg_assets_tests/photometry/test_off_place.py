"""Places that are not quite known: what of its flux a source shows there on the mean, and how much that scatters."""

from __future__ import annotations

import doctest

import numpy as np
import pandas as pd
import pytest

from contimg_assets.photometry import off_place
from contimg_assets.photometry.off_place import peaks_of

BEAM = (20.0, 10.0, 30.0)
FLUX, ERROR = "flux_peak_mjy_beam", "flux_peak_err_mjy_beam"
NOT_MOVED = {"position_applied": False, "dra_err_arcsec": 5.0, "ddec_err_arcsec": 5.0}


def test_fluxes_of_bright_sources_scatter_by_their_errors() -> None:
    """Hardly any noise: what is left is the place, off by 0.8 and 1.0 arcsec of the source and 0.6 of the image."""
    rng = np.random.default_rng(2)
    n = 20_000
    east, north = rng.normal(0.0, np.hypot(0.8, 0.6), n), rng.normal(0.0, np.hypot(1.0, 0.6), n)
    along, across = (east * a + north * b for a, b in ((0.5, 0.75**0.5), (0.75**0.5, -0.5)))
    shown = 50.0 * np.exp(-4.0 * np.log(2.0) * ((along / 20.0) ** 2 + (across / 10.0) ** 2))
    found = pd.DataFrame({FLUX: shown + rng.normal(0.0, 0.3, n), ERROR: 0.3})
    places = pd.DataFrame({"err_ew_arcsec": np.full(n, 0.8), "err_ns_arcsec": 1.0, "monitored": False})
    image = {"position_applied": True, "dra_err_arcsec": 0.6, "ddec_err_arcsec": 0.6}
    peaks = peaks_of(found, places, BEAM, image)
    assert peaks[FLUX].mean() == pytest.approx(50.0, abs=0.05)
    assert peaks[FLUX].std() / peaks[ERROR].mean() == pytest.approx(1.0, abs=0.03)
    # Taken at their word, places would leave three times the errors that are quoted.
    assert (found[FLUX].std() / found[ERROR]).iloc[0] > 3.0


def test_places_that_are_known_keep_their_fluxes() -> None:
    found = pd.DataFrame({FLUX: [5.0, -2.0, np.nan], ERROR: [1.0, 1.0, np.nan]})
    places = pd.DataFrame({"err_ew_arcsec": 0.0, "err_ns_arcsec": 0.0, "monitored": [False] * 3})
    pd.testing.assert_frame_equal(peaks_of(found, places, BEAM, NOT_MOVED), found)
    monitored = places.assign(err_ew_arcsec=3.0, err_ns_arcsec=3.0, monitored=True)
    pd.testing.assert_frame_equal(peaks_of(found, monitored, BEAM, NOT_MOVED), found)


def test_examples_run() -> None:
    failed, tried = doctest.testmod(off_place)
    assert tried > 0
    assert failed == 0
