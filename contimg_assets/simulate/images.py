"""The images that a simulated survey's catalogs could have been made of: sources, noise, and each image's own errors.

Belongs here: from the true sky to FITS files. Noise and sources on pixels are in `pixels`, the finder in `finder`. The
noise of an image is its own, and not that which the simulated finder saw.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

from contimg_assets.photometry.beam import PixelBeam
from contimg_assets.simulate.parameters import SurveyParameters
from contimg_assets.simulate.pixels import add_gaussians, artifacts, beam_noise
from contimg_assets.simulate.rigid import rigidly_moved
from contimg_assets.sky.arrays import Floats
from contimg_assets.sky.sphere import pairs_within, unit_vectors

# Pixels on the minor axis of the beam, as imagers are told to make them.
_PIXELS_PER_BEAM = 3.0
# FITS standard 4.0, table 29; it has none of linear polarization.
_STOKES_CODES = {"I": 1.0, "Q": 2.0, "U": 3.0, "V": 4.0}
# Artifacts that are weaker than so many rms are left out.
_LEAST_ARTIFACT = 0.1


def write_images(
    folder: Path,
    parameters: SurveyParameters,
    images: pd.DataFrame,
    sources: pd.DataFrame,
    flux_mjy: Floats,
    rng: np.random.Generator,
) -> list[str]:
    """Write the images of one epoch as FITS files of four axes in Jy/beam, as imagers do.

    Sources are where the image's position error puts them, divided by its flux scale; the noise is correlated by the
    beam and rises toward the edge, as the primary beam has been corrected for. Bright sources have artifacts around
    them where the parameters say so. Pixels outside of the image's circle have no value.

    Parameters
    ----------
    folder : Path
        Of the epoch; made where missing.
    parameters : SurveyParameters
    images : DataFrame
        Rows of `contimg_assets.simulate.sky.schedule` of this epoch, with their frequency, freq_mhz [MHz].
    sources : DataFrame
        Of `contimg_assets.simulate.sky.true_sources`.
    flux_mjy : array of shape (n_sources,)
        True integrated flux densities at this epoch, of either sign in other Stokes parameters than I [mJy].
    rng : numpy.random.Generator

    Returns
    -------
    list of str
        Names of the files in the folder, an image each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    on = np.flatnonzero(flux_mjy)
    reach = (parameters.image_radius_deg * 3600.0) + 3.0 * parameters.bmaj_arcsec
    image, source, _ = pairs_within(
        unit_vectors(images["ra_deg"], images["dec_deg"]),
        unit_vectors(sources["ra_deg"].to_numpy()[on], sources["dec_deg"].to_numpy()[on]),
        reach,
    )
    names = []
    for k, name in enumerate(images["image"]):
        chosen = on[source[image == k]]
        pixels, header = _image(parameters, images.iloc[k], sources.iloc[chosen], flux_mjy[chosen], rng)
        names.append(f"{name}.fits")
        fits.writeto(folder / names[-1], pixels[None, None], header, overwrite=True)
    return names


def _image(
    p: SurveyParameters, image: pd.Series, sources: pd.DataFrame, flux_mjy: Floats, rng: np.random.Generator
) -> tuple[np.ndarray, fits.Header]:
    """Pixels [Jy/beam] and header of one image."""
    pixel_arcsec = p.bmin_arcsec / _PIXELS_PER_BEAM
    side = 2 * int(np.ceil(p.image_radius_deg * 3600.0 / pixel_arcsec)) + 1
    header = _header(p, image, side, pixel_arcsec)
    wcs = WCS(header, naxis=2)
    matrix = np.array([[-pixel_arcsec, 0.0], [0.0, pixel_arcsec]])
    beam = PixelBeam.of_sky(p.bmaj_arcsec, p.bmin_arcsec, p.bpa_deg, matrix)
    y, x = np.indices((side, side)) - side // 2
    edge = np.hypot(x, y) * pixel_arcsec / (p.image_radius_deg * 3600.0)
    rms = image["rms_mjy_beam"] * (1.0 + (p.rms_edge_factor - 1.0) * edge**2)
    noise = rms * beam_noise((side, side), beam, rng)
    ra, dec = rigidly_moved(
        sources["ra_deg"],
        sources["dec_deg"],
        *(np.full(len(sources), image[name]) for name in ("ra_deg", "dec_deg")),
        *(np.full(len(sources), -image[name]) for name in ("dra_arcsec", "ddec_arcsec")),
    )
    at_x, at_y = wcs.world_to_pixel(SkyCoord(ra, dec, unit="deg"))
    forms = _forms(p, sources["size_arcsec"].to_numpy(float), matrix)
    # A Gaussian of the beam's area has the peak that its flux says; a larger one less.
    own = beam.xx * beam.yy - beam.xy**2
    peak = flux_mjy / image["flux_mult"] * np.sqrt((forms[:, 0] * forms[:, 2] - forms[:, 1] ** 2) / own)
    seen = add_gaussians(noise, np.asarray(at_x), np.asarray(at_y), peak, forms)
    strength = p.artifact_fraction * peak
    # What is far below the noise is not drawn.
    bright = strength > _LEAST_ARTIFACT * image["rms_mjy_beam"]
    if bright.any():
        around = np.asarray(at_x)[bright], np.asarray(at_y)[bright]
        # The noise of this and of later images is the same without.
        seen = seen + artifacts(seen.shape, around, strength[bright], beam, rng.spawn(1)[0])
    return np.where(edge <= 1.0, seen / 1000.0, np.nan).astype(np.float32), header


def _forms(p: SurveyParameters, size_arcsec: Floats, matrix: Floats) -> Floats:
    """Forms (xx, xy, yy) on the pixels of round sources as the beam shows them, shape (n, 3)."""
    angle = np.radians(p.bpa_deg)
    major, minor = np.array([np.sin(angle), np.cos(angle)]), np.array([np.cos(angle), -np.sin(angle)])
    beam = p.bmaj_arcsec**2 * np.outer(major, major) + p.bmin_arcsec**2 * np.outer(minor, minor)
    squares = beam + size_arcsec[:, None, None] ** 2 * np.eye(2)
    forms = matrix.T @ np.linalg.inv(squares) @ matrix
    return np.stack([forms[:, 0, 0], forms[:, 0, 1], forms[:, 1, 1]], axis=-1)


def _header(p: SurveyParameters, image: pd.Series, side: int, pixel_arcsec: float) -> fits.Header:
    middle, step = side // 2 + 1.0, pixel_arcsec / 3600
    values = {
        "CTYPE1": "RA---SIN", "CRPIX1": middle, "CRVAL1": image["ra_deg"], "CDELT1": -step, "CUNIT1": "deg",
        "CTYPE2": "DEC--SIN", "CRPIX2": middle, "CRVAL2": image["dec_deg"], "CDELT2": step, "CUNIT2": "deg",
        "CTYPE3": "FREQ", "CRPIX3": 1.0, "CRVAL3": image["freq_mhz"] * 1e6, "CDELT3": 1e6, "CUNIT3": "Hz",
        "CTYPE4": "STOKES", "CRPIX4": 1.0, "CRVAL4": _STOKES_CODES.get(image.get("stokes", "I"), 0.0), "CDELT4": 1.0,
        "RADESYS": "ICRS", "BUNIT": "Jy/beam", "MJD-AVG": image["mjd"],
        "BMAJ": p.bmaj_arcsec / 3600, "BMIN": p.bmin_arcsec / 3600, "BPA": p.bpa_deg,
    }  # fmt: skip
    return fits.Header(values)
