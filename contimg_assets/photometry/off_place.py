"""What a place that is not quite right costs: a point source next to it has less flux there than at its peak."""

from __future__ import annotations

import numpy as np

from contimg_assets.sky.arrays import Floats


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
