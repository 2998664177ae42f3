"""Proper motions: positions of stars and pulsars at another time than their catalog's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from contimg_assets.sky.arrays import Flags, Floats
from contimg_assets.sky.sphere import displaced

_MJD_OF_J2000, _DAYS_A_YEAR = 51544.5, 365.25
# Epochs beyond this are dates (MJD, as in PSRCAT), others are years (as in Gaia).
_LAST_YEAR = 3000.0


@dataclass(frozen=True)
class Motions:
    """Proper motions east (on the sky) and north with their errors [mas / yr], and epochs of the positions [yr or MJD].

    Shape (n,) each.
    """

    east_mas_yr: Floats
    north_mas_yr: Floats
    east_err_mas_yr: Floats
    north_err_mas_yr: Floats
    epoch: Floats

    def of(self, rows: Flags) -> Motions:
        """Those of some rows."""
        parts = (self.east_mas_yr, self.north_mas_yr, self.east_err_mas_yr, self.north_err_mas_yr, self.epoch)
        return Motions(*(part[rows] for part in parts))


def moved(
    ra_deg: Floats, dec_deg: Floats, errors: Mapping[str, Floats], motions: Motions, mjd: float
) -> tuple[Floats, Floats, dict[str, Floats]]:
    """Positions at a time, and their errors [arcsec], grown by those of the motions; shape (n,) each.

    Where a motion or its epoch is missing, a position stays.
    """
    years = _years(motions.epoch)
    span = (mjd - _MJD_OF_J2000) / _DAYS_A_YEAR + 2000.0 - years
    known = np.isfinite(motions.east_mas_yr) & np.isfinite(motions.north_mas_yr) & np.isfinite(span)
    span = np.where(known, span, 0.0)
    east, north = (np.nan_to_num(one) * span / 1e3 for one in (motions.east_mas_yr, motions.north_mas_yr))
    ra, dec = displaced(ra_deg, dec_deg, east, north)
    ra, dec = np.where(known, ra % 360.0, ra_deg), np.where(known, dec, dec_deg)
    grown = {
        ours: np.hypot(errors[ours], np.nan_to_num(err) * span / 1e3)
        for ours, err in (
            ("ra_err_arcsec", motions.east_err_mas_yr),
            ("dec_err_arcsec", motions.north_err_mas_yr),
        )
    }
    return ra, dec, grown


def _years(epoch: Floats) -> Floats:
    """Epochs as years."""
    return np.where(epoch > _LAST_YEAR, 2000.0 + (epoch - _MJD_OF_J2000) / _DAYS_A_YEAR, epoch)
