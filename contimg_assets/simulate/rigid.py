"""The position error of an image: all of it turned on the sky as one piece."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from contimg_assets.sky.arrays import Floats
from contimg_assets.sky.sphere import ARCSEC_PER_RADIAN, positions, tangent_axes, unit_vectors


def rigidly_moved(
    ra_deg: npt.ArrayLike,
    dec_deg: npt.ArrayLike,
    centre_ra_deg: npt.ArrayLike,
    centre_dec_deg: npt.ArrayLike,
    dra_arcsec: npt.ArrayLike,
    ddec_arcsec: npt.ArrayLike,
) -> tuple[Floats, Floats]:
    """Positions turned as a shift of (dra, ddec) of their image's center turns them.

    East and north are those of the center: near a pole they are others at every position of the image.

    Parameters
    ----------
    ra_deg, dec_deg : positions, shape (n,)
    centre_ra_deg, centre_dec_deg : center of each one's image, shape (n,)
    dra_arcsec, ddec_arcsec : shift of that center, on the sky, shape (n,); a few arcsec

    Returns
    -------
    ra_deg, dec_deg : shape (n,)
    """
    east, north = tangent_axes(centre_ra_deg, centre_dec_deg)
    # The axis of a turn that moves the center east is north of it, and so on. Squares of arcseconds are dropped.
    dra, ddec = (np.asarray(shift, float)[..., None] / ARCSEC_PER_RADIAN for shift in (dra_arcsec, ddec_arcsec))
    vectors = unit_vectors(ra_deg, dec_deg)
    return positions(vectors + np.cross(dra * north - ddec * east, vectors))
