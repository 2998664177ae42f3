"""What a place that is not quite right costs: a point source next to it has less flux there than at its peak."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from contimg_assets.sky.arrays import Floats

_FLUX, _ERROR = "flux_peak_mjy_beam", "flux_peak_err_mjy_beam"


def peaks_of(
    found: pd.DataFrame,
    places: pd.DataFrame,
    beam: tuple[float, float, float],
    correction: Mapping[Hashable, Any] | Mapping[str, Any],
) -> pd.DataFrame:
    """Forced fluxes as they are at the peaks of their sources, on the mean, as far as the places are known.

    Parameters
    ----------
    found : DataFrame
        What `contimg_assets.photometry.images.measure_positions` gives at the places, as the image has them.
    places : DataFrame
        In the same order: ``err_ew_arcsec``, ``err_ns_arcsec`` (standard errors of the places) and ``monitored``:
        positions that are taken at their word.
    beam : (float, float, float)
        As of `mean_response`.
    correction : mapping
        A row of CORRECTIONS, of the image: the error of its own offset counts too.

    Returns
    -------
    DataFrame
        With fluxes and errors divided by what the source shows there on the mean, and with the scatter of that, which
        is a share of the flux, in the errors.
    """
    moved = bool(correction["position_applied"])
    errors = [
        np.where(places["monitored"], 0.0, np.hypot(places[name], np.nan_to_num(correction[own]) if moved else 0.0))
        for name, own in (("err_ew_arcsec", "dra_err_arcsec"), ("err_ns_arcsec", "ddec_err_arcsec"))
    ]
    mean = mean_response(beam, *errors)
    # The square of a Gaussian is one too, as that of places with larger errors.
    of_square = mean_response(beam, *(np.sqrt(2.0) * one for one in errors))
    scatter = np.sqrt(np.maximum(of_square / mean**2 - 1.0, 0.0))
    flux = found[_FLUX].to_numpy(float) / mean
    error = np.hypot(found[_ERROR].to_numpy(float) / mean, scatter * flux)
    return found.assign(**{_FLUX: flux, _ERROR: error})


def mean_response(beam: tuple[float, float, float], err_ew_arcsec: Floats, err_ns_arcsec: Floats) -> Floats:
    """Mean of the beam, 1 at its peak, over the errors of a place: what part of its flux a source shows there.

    Parameters
    ----------
    beam : (float, float, float)
        FWHM of the axes [arcsec], and position angle of the major one, east of north [deg].
    err_ew_arcsec, err_ns_arcsec : array of shape (n,)
        Standard errors of the places east and north [arcsec].

    Returns
    -------
    array of shape (n,)

    Notes
    -----
    The mean of a Gaussian over Gaussian errors is $\\det(1 + 8 \\ln 2\\, \\Sigma B^{-1})^{-1/2}$, with the covariance
    $\\Sigma$ of the place and the matrix $B$ of the squares of the FWHM.

    Examples
    --------
    >>> import numpy as np
    >>> from contimg_assets.photometry.off_place import mean_response
    >>> off = np.array([0.0, 1.0])  # a tenth of the beam
    >>> mean_response((10.0, 10.0, 0.0), off, off).round(3).tolist()
    [1.0, 0.947]
    """
    major, minor, angle = beam
    along = np.array([np.sin(np.radians(angle)), np.cos(np.radians(angle))])
    across = np.array([along[1], -along[0]])
    inverse = np.outer(along, along) / major**2 + np.outer(across, across) / minor**2
    east, north = (8.0 * np.log(2.0) * np.asarray(err, float) ** 2 for err in (err_ew_arcsec, err_ns_arcsec))
    # det(1 + diag(east, north) inverse), written out.
    determinant = (1.0 + east * inverse[0, 0]) * (1.0 + north * inverse[1, 1]) - east * north * inverse[0, 1] ** 2
    return np.asarray(determinant**-0.5, np.float64)
