"""Whether a measured correction is trusted: each refusal is a sentence with the number and the limit."""

from __future__ import annotations

import numpy as np

from contimg_assets.calibration.flux_scale import FluxScale
from contimg_assets.calibration.positions import PositionOffset
from contimg_assets.config import Corrections


def refuse_position(offset: PositionOffset, parameters: Corrections) -> str | None:
    """Why an offset is not applied, None if it is."""
    if offset.n < parameters.min_matches:
        return f"position: {offset.n} usable matches, at least {parameters.min_matches} needed"
    size = float(np.hypot(offset.dra_arcsec, offset.ddec_arcsec))
    if not size <= parameters.max_offset_arcsec:
        return f"position: the offset, {size:.2f} arcsec, is larger than {parameters.max_offset_arcsec:g} arcsec"
    error = max(offset.dra_err_arcsec, offset.ddec_err_arcsec)
    if not error <= parameters.max_offset_err_arcsec:
        return f"position: standard error of {error:.2f} arcsec, at most {parameters.max_offset_err_arcsec:g} allowed"
    return None


def is_wrong_position(offset: PositionOffset, parameters: Corrections) -> bool:
    """Whether an offset is known well enough, and larger than any can be: the image's positions are wrong."""
    if offset.n < parameters.min_matches:
        return False
    error = max(offset.dra_err_arcsec, offset.ddec_err_arcsec)
    size = float(np.hypot(offset.dra_arcsec, offset.ddec_arcsec))
    return size - 3 * error > parameters.max_offset_arcsec


def is_wrong_flux(fitted: FluxScale, parameters: Corrections) -> bool:
    """Whether a scale is known well enough, and farther from 1 than any can be: the image's fluxes are wrong."""
    if fitted.n < parameters.min_matches:
        return False
    return abs(fitted.scale - 1) - 3 * fitted.scale_err > parameters.max_scale_change


def refuse_flux(fitted: FluxScale, parameters: Corrections) -> str | None:
    """Why a flux scale is not applied, None if it is."""
    if fitted.n < parameters.min_matches:
        return f"flux: {fitted.n} usable matches, at least {parameters.min_matches} needed"
    reason = refuse_scale(fitted.scale, fitted.scale_err, parameters)
    if reason is not None:
        return reason
    if fitted.outlier_fraction > parameters.max_outlier_fraction:
        share, limit = fitted.outlier_fraction, parameters.max_outlier_fraction
        return f"flux: {share:.0%} of the matches are outliers, at most {limit:.0%} allowed"
    if fitted.max_influence > parameters.max_influence:
        return (
            f"flux: leaving one match out changes the scale by {fitted.max_influence:.1f} standard errors, "
            f"at most {parameters.max_influence:g} allowed"
        )
    return None


def refuse_scale(scale: float, scale_err: float, parameters: Corrections) -> str | None:
    """The part that holds for scales from a catalog and between epochs alike."""
    if not abs(scale - 1) <= parameters.max_scale_change:
        return f"flux: the scale, {scale:.3f}, differs from 1 by more than {parameters.max_scale_change:g}"
    if not scale_err / scale <= parameters.max_scale_err:
        return f"flux: standard error of {scale_err / scale:.1%}, at most {parameters.max_scale_err:.0%} allowed"
    return None
