"""A piece of an image around a position: its pixels, its coordinates, and what is measured there."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import Cutout2D

from contimg_assets.errors import InputError
from contimg_assets.photometry.forced import ImageNoise
from contimg_assets.photometry.images import NO_MAPS, Maps, around, measure_positions, measure_remote, part_noise
from contimg_assets.reading.fits_images import RemoteImage, SkyImage
from contimg_assets.sky.arrays import Floats

# Noise is measured in a piece of so many beams on a side: some thousand beams of noise, whatever the image's size.
_NOISE_BEAMS = 60.0
_MEANINGS = {"RMS": "noise", "LEVEL": "background"}
# Larger pieces are images of their own.
_MOST_PIXELS = 4096


@dataclass(frozen=True)
class Cutout:
    """A piece of an image, and the flux at its middle.

    Attributes
    ----------
    image : SkyImage
        The piece as an image: pixels in mJy/beam, NaN beyond the border; coordinates; beam.
    ra_deg, dec_deg : float
        The position that it is around, in the image's own frame [deg].
    flux : pandas.Series
        What `contimg_assets.photometry.images.forced_photometry` gives there.
    """

    image: SkyImage
    ra_deg: float
    dec_deg: float
    flux: pd.Series

    def header(self) -> fits.Header:
        """A header with coordinates, unit, beam, noise and the forced flux."""
        header = self.image.wcs.to_header()
        header["BUNIT"] = "mJy/beam"
        for key, arcsec in (("BMAJ", self.image.bmaj_arcsec), ("BMIN", self.image.bmin_arcsec)):
            header[key] = (arcsec / 3600.0, "[deg] restoring beam")
        header["BPA"] = (self.image.bpa_deg, "[deg] east of north")
        header["RA_POS"] = (self.ra_deg, "[deg] position of the flux in this frame")
        header["DEC_POS"] = (self.dec_deg, "[deg]")
        for key, name in (("RMS", "local_rms_mjy_beam"), ("LEVEL", "background_mjy_beam")):
            if np.isfinite(self.flux[name]):
                header[key] = (float(self.flux[name]), f"[mJy/beam] {_MEANINGS[key]} at the position")
        if not self.flux["reason"]:
            header["FLUX"] = (float(self.flux["flux_peak_mjy_beam"]), "[mJy/beam] forced peak at the position")
            header["FLUX_ERR"] = (float(self.flux["flux_peak_err_mjy_beam"]), "[mJy/beam]")
        else:
            header["NO_FLUX"] = (str(self.flux["reason"]), "why there is no forced flux")
        return header


@dataclass(frozen=True)
class SourceCutout:
    """A source on one image.

    Attributes
    ----------
    epoch, image : str
    mjd : float
        Mid-observation time, MJD UTC [d].
    cutout : Cutout
        Pixels as delivered [mJy/beam], around the place of the source in the image's own frame.
    detected_mjy_beam, detected_err_mjy_beam : float
        Corrected peak of the detection; NaN where there is none [mJy/beam].
    forced_mjy_beam, forced_err_mjy_beam : float
        Corrected forced peak; NaN where there is none, for the reason in ``cutout.flux`` [mJy/beam].
    others : DataFrame
        Other sources around: ``id``, and ``ra_deg`` and ``dec_deg`` in the image's own frame [deg].
    """

    epoch: str
    image: str
    mjd: float
    cutout: Cutout
    detected_mjy_beam: float
    detected_err_mjy_beam: float
    forced_mjy_beam: float
    forced_err_mjy_beam: float
    others: pd.DataFrame


@dataclass(frozen=True)
class SourceCutouts:
    """A source on all images that were asked for.

    Attributes
    ----------
    source_id : str
    cutouts : tuple of SourceCutout
        In time order.
    left_out : tuple of str
        A sentence for each image without a cutout.
    """

    source_id: str
    cutouts: tuple[SourceCutout, ...]
    left_out: tuple[str, ...]


def cutout_of(
    image: SkyImage | RemoteImage,
    ra_deg: float,
    dec_deg: float,
    size_arcsec: float,
    others: pd.DataFrame | None = None,
    maps: Maps = NO_MAPS,
    noise: ImageNoise | None = None,
) -> Cutout:
    """A square piece of an image around a position, with the forced flux there.

    Parameters
    ----------
    image : SkyImage or RemoteImage
        Of `contimg_assets.reading.fits_images`; only the pixels around are read.
    ra_deg, dec_deg : float
        Position in the image's frame, ICRS [deg].
    size_arcsec : float
        Side of the square [arcsec].
    others : DataFrame, optional
        Other sources, ``ra_deg`` and ``dec_deg`` in the image's frame, that are fitted along where they are near [deg].
    maps : tuple of two, optional
        Of rms and of background, each a file or a URL; what is not given is measured around.
    noise : ImageNoise, optional
        Of the whole image, where it is known; else it is measured in 60 beams around. Noise of an image at a URL is
        measured there in any case, in the pieces that `contimg_assets.photometry.images.measure_remote` has.

    Raises
    ------
    InputError
        If the position is not on the image, no pixel has a value, the size is not allowed, or a map cannot be used.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import contimg_assets as ca
    >>> from contimg_assets.photometry.cutouts import cutout_of
    >>> from contimg_assets.reading.fits_images import open_image
    >>> one = ca.SurveyParameters(n_epochs=1, images_per_epoch=1, n_sources=30, image_radius_deg=0.6, seed=3)
    >>> with TemporaryDirectory() as folder:
    ...     truth = ca.simulate_survey(folder, one, images=True)
    ...     bright = truth.sources.nlargest(1, "flux_mjy").iloc[0]
    ...     with open_image(next(Path(folder).glob("incoming/*/*.fits"))) as image:
    ...         piece = cutout_of(image, bright["ra_deg"], bright["dec_deg"], 300.0)
    >>> piece.image.pixels.shape, piece.flux["reason"]
    ((27, 27), '')
    """
    pixel = float(np.sqrt(abs(np.linalg.det(image.pixel_matrix_arcsec))))
    side = round(size_arcsec / pixel)
    if not 3 <= side <= _MOST_PIXELS:
        raise InputError(
            f"a cutout of {size_arcsec:g} arcsec has {side} pixels of {image.name}; ask for "
            f"{3 * pixel:.3g} to {_MOST_PIXELS * pixel:.6g} arcsec"
        )
    place = pd.DataFrame({"ra_deg": [ra_deg], "dec_deg": [dec_deg]})
    beside = place[:0] if others is None else others
    wide = (
        side
        if isinstance(image, RemoteImage) or noise is not None
        else max(side, round(_NOISE_BEAMS * image.bmaj_arcsec / pixel))
    )
    rows, columns = _around(image, ra_deg, dec_deg, wide)
    piece = image.part(rows, columns)
    if isinstance(image, RemoteImage):
        found = measure_remote(image, place, beside, maps)
    elif noise is not None:
        found = measure_positions(image, place, beside, noise)
    else:
        found = measure_positions(piece, place, beside, part_noise(image, rows, columns, piece, maps))
    return Cutout(_square(piece, ra_deg, dec_deg, side), ra_deg, dec_deg, found.iloc[0])


def _around(image: SkyImage | RemoteImage, ra_deg: float, dec_deg: float, side: int) -> tuple[slice, slice]:
    """Rows and columns of an image within half a side of a position.

    Raises
    ------
    InputError
        If the position is not on it.
    """
    x, y = (float(at[0]) for at in image.to_pixels(ra_deg, dec_deg))
    height, width = image.shape
    if not (-0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5):
        raise InputError(f"{image.path}: the position {ra_deg:.5f}, {dec_deg:+.5f} is not on it; ask for other epochs")
    return around(y, side, height), around(x, side, width)


def _square(piece: SkyImage, ra_deg: float, dec_deg: float, side: int) -> SkyImage:
    """A square of so many pixels, in mJy/beam, NaN beyond the border."""
    pixels: Floats = np.asarray(piece.pixels, np.float64) * piece.to_mjy_beam
    cut = Cutout2D(pixels, SkyCoord(ra_deg, dec_deg, unit="deg"), side, piece.wcs, mode="partial", fill_value=np.nan)
    return replace(piece, pixels=cut.data, wcs=cut.wcs, to_mjy_beam=1.0)
