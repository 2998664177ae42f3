"""The restoring beam on the pixels of an image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contimg_assets.sky.arrays import Floats

# exp(-LN16 r^2) is one half where r is half of the FWHM.
_LN16 = 4.0 * np.log(2.0)


@dataclass(frozen=True)
class PixelBeam:
    """An elliptical Gaussian on pixels, which need be neither square nor upright.

    Attributes
    ----------
    xx, xy, yy : float
        The form that gives the square of a distance in FWHM: r^2 = xx dx^2 + 2 xy dx dy + yy dy^2 [pixel^-2].
    """

    xx: float
    xy: float
    yy: float

    @classmethod
    def of_sky(cls, bmaj_arcsec: float, bmin_arcsec: float, bpa_deg: float, pixel_matrix_arcsec: Floats) -> PixelBeam:
        """The beam of an image.

        Parameters
        ----------
        bmaj_arcsec, bmin_arcsec : float
            FWHM of the axes [arcsec].
        bpa_deg : float
            Position angle of the major axis, east of north [deg].
        pixel_matrix_arcsec : array of shape (2, 2)
            Offset to the east (row 0) and to the north (row 1) for a step of one pixel in x (column 0) and y (column 1)
            [arcsec].

        Raises
        ------
        ValueError
            If an axis is not above 0.

        Examples
        --------
        >>> import numpy as np
        >>> from contimg_assets.photometry.beam import PixelBeam
        >>> north_up = np.array([[-2.0, 0.0], [0.0, 2.0]])
        >>> beam = PixelBeam.of_sky(20.0, 10.0, 0.0, north_up)
        >>> float(beam(0.0, 5.0)), float(beam(2.5, 0.0))
        (0.5, 0.5)
        """
        if not (bmaj_arcsec > 0 and bmin_arcsec > 0):
            raise ValueError(f"a beam of {bmaj_arcsec:g} x {bmin_arcsec:g} arcsec has no area")
        angle = np.radians(bpa_deg)
        along = np.array([[np.sin(angle), np.cos(angle)], [np.cos(angle), -np.sin(angle)]]) @ pixel_matrix_arcsec
        form = along.T @ np.diag([bmaj_arcsec**-2.0, bmin_arcsec**-2.0]) @ along
        return cls(float(form[0, 0]), float(form[0, 1]), float(form[1, 1]))

    def squared(self, dx_pix: npt.ArrayLike, dy_pix: npt.ArrayLike) -> Floats:
        """Squares of distances from the middle, in units of the FWHM in that direction."""
        dx, dy = np.asarray(dx_pix, float), np.asarray(dy_pix, float)
        return np.asarray(self.xx * dx * dx + 2.0 * self.xy * dx * dy + self.yy * dy * dy, np.float64)

    def __call__(self, dx_pix: npt.ArrayLike, dy_pix: npt.ArrayLike) -> Floats:
        """The beam, 1 at its middle, at offsets from there [pixel]."""
        return np.asarray(np.exp(-_LN16 * self.squared(dx_pix, dy_pix)), np.float64)

    @property
    def root(self) -> Floats:
        """Matrix of shape (2, 2) that turns offsets in pixels (x, y) into such of which the length is in FWHM."""
        return np.asarray(np.linalg.cholesky(np.array([[self.xx, self.xy], [self.xy, self.yy]])).T, np.float64)

    @property
    def fwhm_pix(self) -> tuple[float, float]:
        """FWHM of the minor and of the major axis [pixel]."""
        small, large = np.linalg.eigvalsh(np.array([[self.xx, self.xy], [self.xy, self.yy]]))
        return float(large**-0.5), float(small**-0.5)

    def reach_pix(self, beams: float) -> tuple[int, int]:
        """Half width and half height of the box around the ellipse of this many FWHM [pixel]."""
        inverse = np.linalg.inv(np.array([[self.xx, self.xy], [self.xy, self.yy]]))
        width, height = (int(np.ceil(beams * size)) for size in np.sqrt(np.diag(inverse)))
        return width, height
