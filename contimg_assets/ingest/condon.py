"""Errors of fitted elliptical Gaussians (Condon 1997, PASP 109, 166), on plain arrays."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from contimg_assets.schemas.tables import as_values, unit_of
from contimg_assets.sky.arrays import Floats

_SQRT_4_LN_2 = np.sqrt(4 * np.log(2))


class CondonErrors(NamedTuple):
    """1-sigma errors of fits, NaN where a quantity they need is missing or not positive.

    Attributes
    ----------
    ra_err_arcsec, dec_err_arcsec : ndarray of float, shape (n,)
        Of the position, on the sky, arcsec.
    flux_peak_err_mjy_beam : ndarray of float, shape (n,)
        Of the peak flux density, mJy/beam.
    flux_int_err_mjy : ndarray of float, shape (n,)
        Of the integrated flux density, mJy.
    bmaj_err_arcsec, bmin_err_arcsec : ndarray of float, shape (n,)
        Of the FWHM axes, arcsec.
    pa_err_deg : ndarray of float, shape (n,)
        Of the position angle, degrees, at most 180.
    """

    ra_err_arcsec: Floats
    dec_err_arcsec: Floats
    flux_peak_err_mjy_beam: Floats
    flux_int_err_mjy: Floats
    bmaj_err_arcsec: Floats
    bmin_err_arcsec: Floats
    pa_err_deg: Floats


def condon_errors(
    *,
    bmaj_arcsec: npt.ArrayLike | Any,
    bmin_arcsec: npt.ArrayLike | Any,
    pa_deg: npt.ArrayLike | Any,
    flux_peak_mjy_beam: npt.ArrayLike | Any,
    flux_int_mjy: npt.ArrayLike | Any,
    snr: npt.ArrayLike | Any,
    beam_bmaj_arcsec: npt.ArrayLike | Any,
    beam_bmin_arcsec: npt.ArrayLike | Any,
) -> CondonErrors:
    """Errors of fits of elliptical Gaussians in images with noise that is correlated over the beam.

    Parameters
    ----------
    bmaj_arcsec, bmin_arcsec : array_like or Quantity, shape (n,)
        Fitted FWHM axes, arcsec.
    pa_deg : array_like or Quantity, shape (n,)
        Position angle of the major axis, east of north, degrees.
    flux_peak_mjy_beam : array_like or Quantity, shape (n,)
        Fitted peak flux density, mJy/beam.
    flux_int_mjy : array_like or Quantity, shape (n,)
        Fitted integrated flux density, mJy.
    snr : array_like, shape (n,)
        Peak over local rms.
    beam_bmaj_arcsec, beam_bmin_arcsec : array_like or Quantity, shape (n,) or ()
        Restoring beam, FWHM, arcsec.

    Returns
    -------
    CondonErrors
        1-sigma errors, arrays of shape (n,), NaN where a quantity they need is missing or not positive:
        ``ra_err_arcsec`` and ``dec_err_arcsec`` on the sky, ``flux_peak_err_mjy_beam``, ``flux_int_err_mjy``,
        ``bmaj_err_arcsec``, ``bmin_err_arcsec``, ``pa_err_deg``.

    Raises
    ------
    InputError
        If a unit does not convert, or something is no number.

    Notes
    -----
    The generalised signal to noise is (eq. 41, with the exponents given there for each parameter)

        rho^2 = bmaj bmin / (4 B b) (1 + (B/bmaj)^2)^p (1 + (b/bmin)^2)^q snr^2

    with (p, q) = (5/2, 1/2) for the major axis, (1/2, 5/2) for the minor axis and the position angle, (3/2, 3/2) for
    the amplitude. Calibration errors and clean bias are left to the flux scale of the image. Position errors are those
    along the two axes, projected on east and north (eq. 21). The error of the position angle is at most 180 deg, and
    that for a round component.

    References
    ----------
    Condon 1997, PASP 109, 166, eq. 21 (errors east and north) and eq. 41 (signal to noise).

    Examples
    --------
    >>> import contimg_assets as ca
    >>> errors = ca.condon_errors(
    ...     bmaj_arcsec=[60.0], bmin_arcsec=[40.0], pa_deg=[0.0], flux_peak_mjy_beam=[50.0], flux_int_mjy=[61.7],
    ...     snr=[10.0], beam_bmaj_arcsec=58.8, beam_bmin_arcsec=33.1,
    ... )
    >>> errors.ra_err_arcsec.round(2), errors.dec_err_arcsec.round(2)
    (array([1.9]), array([2.46]))
    >>> ca.with_units(errors)["flux_peak_err_mjy_beam"].round(2)
    <Quantity [5.2] mJy / beam>
    """
    given = {
        "bmaj_arcsec": bmaj_arcsec,
        "bmin_arcsec": bmin_arcsec,
        "pa_deg": pa_deg,
        "flux_peak_mjy_beam": flux_peak_mjy_beam,
        "flux_int_mjy": flux_int_mjy,
        "snr": snr,
        "beam_bmaj_arcsec": beam_bmaj_arcsec,
        "beam_bmin_arcsec": beam_bmin_arcsec,
    }
    inputs = np.broadcast_arrays(*(as_values(values, unit_of(name), name) for name, values in given.items()))
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
