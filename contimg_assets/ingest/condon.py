"""Errors of fitted elliptical Gaussians (Condon 1997, PASP 109, 166), on plain arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from contimg_assets.sky.arrays import Floats

_SQRT_4_LN_2 = np.sqrt(4 * np.log(2))


class CondonErrors(NamedTuple):
    """1-sigma errors, shape (n,), NaN where a quantity they need is missing or not positive."""

    ra_err_arcsec: Floats
    dec_err_arcsec: Floats
    flux_peak_err_mjy_beam: Floats
    flux_int_err_mjy: Floats
    bmaj_err_arcsec: Floats
    bmin_err_arcsec: Floats
    pa_err_deg: Floats


def condon_errors(
    *,
    bmaj_arcsec: npt.ArrayLike,
    bmin_arcsec: npt.ArrayLike,
    pa_deg: npt.ArrayLike,
    flux_peak_mjy_beam: npt.ArrayLike,
    flux_int_mjy: npt.ArrayLike,
    snr: npt.ArrayLike,
    beam_bmaj_arcsec: npt.ArrayLike,
    beam_bmin_arcsec: npt.ArrayLike,
) -> CondonErrors:
    """Errors of fits in images with noise that is correlated over the beam.

    Parameters
    ----------
    bmaj_arcsec, bmin_arcsec : fitted FWHM axes [arcsec], shape (n,)
    pa_deg : position angle of the major axis, east of north [deg]
    flux_peak_mjy_beam, flux_int_mjy : fitted flux densities
    snr : peak over local rms
    beam_bmaj_arcsec, beam_bmin_arcsec : restoring beam [arcsec], shape (n,) or ()

    Notes
    -----
    The generalised signal to noise is (eq. 41, with the exponents given there for each parameter)

        rho^2 = bmaj bmin / (4 B b) (1 + (B/bmaj)^2)^p (1 + (b/bmin)^2)^q snr^2

    with (p, q) = (5/2, 1/2) for the major axis, (1/2, 5/2) for the minor axis and the position angle, (3/2, 3/2) for
    the amplitude. Calibration errors and clean bias are left to the flux scale of the image. Position errors are those
    along the two axes, projected on east and north (eq. 21). The error of the position angle is at most 180 deg, and
    that for a round component.
    """
    inputs = np.broadcast_arrays(
        *(
            np.asarray(values, dtype=float)
            for values in (
                bmaj_arcsec,
                bmin_arcsec,
                pa_deg,
                flux_peak_mjy_beam,
                flux_int_mjy,
                snr,
                beam_bmaj_arcsec,
                beam_bmin_arcsec,
            )
        )
    )
    major, minor, pa, peak, integrated, ratio, beam_major, beam_minor = inputs
    usable = (major > 0) & (minor > 0) & (beam_major > 0) & (beam_minor > 0) & (ratio != 0)
    major, minor, ratio = (np.where(usable, values, np.nan) for values in (major, minor, ratio))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        wide, narrow = 1 + (beam_major / major) ** 2, 1 + (beam_minor / minor) ** 2
        common = np.abs(ratio) * np.sqrt(major * minor / (4 * beam_major * beam_minor) * np.sqrt(wide * narrow))
        rho_major, rho_minor, rho_amplitude = common * wide, common * narrow, common * np.sqrt(wide * narrow)
        along_major = major / (_SQRT_4_LN_2 * rho_major)
        along_minor = minor / (_SQRT_4_LN_2 * rho_minor)
        sin, cos = np.sin(np.radians(pa)), np.cos(np.radians(pa))
        major_err, minor_err = np.sqrt(2) * major / rho_major, np.sqrt(2) * minor / rho_minor
        peak_share = np.sqrt(2) / rho_amplitude
        beams = beam_major * beam_minor / (major * minor)
        integrated_share = np.sqrt(peak_share**2 + 2 * beams * (rho_major**-2 + rho_minor**-2))
        pa_err = np.degrees(2 * major * minor / ((major**2 - minor**2) * rho_minor))
    return CondonErrors(
        ra_err_arcsec=np.hypot(along_major * sin, along_minor * cos),
        dec_err_arcsec=np.hypot(along_major * cos, along_minor * sin),
        flux_peak_err_mjy_beam=np.abs(peak) * peak_share,
        flux_int_err_mjy=np.abs(integrated) * integrated_share,
        bmaj_err_arcsec=major_err,
        bmin_err_arcsec=minor_err,
        pa_err_deg=np.where(np.isnan(major), np.nan, np.where(major > minor, np.minimum(pa_err, 180.0), 180.0)),
    )


def error_radius(ra_err: npt.ArrayLike, dec_err: npt.ArrayLike, dec_deg: npt.ArrayLike | None = None) -> Floats:
    """Radius of a position's error on the sky, in the unit of the errors, shape (n,).

    Parameters
    ----------
    ra_err, dec_err : 1-sigma errors; east **on the sky**, as everywhere in this package, if ``dec_deg`` is not given
    dec_deg : given if ``ra_err`` is an error of the coordinate, which cos(dec) turns into one on the sky

    Notes
    -----
    vast-pipeline adds its on-sky error to the coordinate, so that its radius loses 1/cos(dec) twice over: at
    declination 60 an error of 1 by 1 arcsec becomes 1.118 arcsec, at 80 1.015, instead of 1.414. Give ``dec_deg`` to
    get its numbers.
    """
    east = np.asarray(ra_err, dtype=float)
    if dec_deg is not None:
        east = east * np.cos(np.radians(np.asarray(dec_deg, dtype=float)))
    radius: Floats = np.hypot(east, np.asarray(dec_err, dtype=float))
    return radius
