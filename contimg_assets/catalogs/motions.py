"""Proper motions: positions of stars and pulsars at another time than their catalog's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow as pa

from contimg_assets.schemas.catalogs import MOTIONS
from contimg_assets.sky.arrays import Flags, Floats, Values
from contimg_assets.sky.sphere import displaced
from contimg_assets.sky.times import MJD_OF_1900, MJD_OF_2200, MJD_OF_JD0

_MJD_OF_J2000, _DAYS_A_YEAR = 51544.5, 365.25
# Years (as in Gaia), and dates: MJD (as in PSRCAT), or JD beyond its zero. A number at or below zero says that none is
# known.
_FIRST_YEAR, _LAST_YEAR = 1800.0, 2200.0
_IN_WORDS = re.compile(r"\s*[JB](\d{4}(?:\.\d*)?)\s*")


@dataclass(frozen=True)
class Motions:
    """Proper motions of catalog rows, shape (n,) each; NaN where a motion or its epoch is not known.

    Parameters
    ----------
    east_mas_yr, north_mas_yr : on the sky
    east_err_mas_yr, north_err_mas_yr : their errors, 0 where unknown
    measured_mjd : time at which the motion adds nothing to a position's error
    position_mjd : time that the position stands for
    """

    east_mas_yr: Floats
    north_mas_yr: Floats
    east_err_mas_yr: Floats
    north_err_mas_yr: Floats
    measured_mjd: Floats
    position_mjd: Floats

    def of(self, rows: Values) -> Motions:
        """Those of some rows."""
        return Motions(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def as_frame(self, error_scale: float) -> pd.DataFrame:
        """The columns MOTIONS; errors times a factor, as those of the positions."""
        values = (getattr(self, name) for name in self.__dataclass_fields__)
        frame = pd.DataFrame(dict(zip(MOTIONS, values, strict=True)))
        errors = [name for name in MOTIONS if "_err_" in name]
        return frame.assign(**{name: frame[name] * error_scale for name in errors})

    def until(self, mjd: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """How far east and north [arcsec] the sources are at other times, and what their variances gain [arcsec2].

        Parameters
        ----------
        mjd : shape (n,); NaN leaves a source where it stands
        """
        years = (mjd - self.position_mjd) / _DAYS_A_YEAR
        before, after = ((at - self.measured_mjd) / _DAYS_A_YEAR for at in (self.position_mjd, mjd))
        gained = after**2 - before**2
        parts = (
            self.east_mas_yr * years / 1e3,
            self.north_mas_yr * years / 1e3,
            (self.east_err_mas_yr / 1e3) ** 2 * gained,
            (self.north_err_mas_yr / 1e3) ** 2 * gained,
        )
        east, north, east_gain, north_gain = (np.nan_to_num(part) for part in parts)
        return east, north, east_gain, north_gain

    def farthest_arcsec(self, mjd: Floats) -> float:
        """No source is farther at any of these times from where it stands."""
        known = mjd[np.isfinite(mjd)]
        if not len(known):
            return 0.0
        ways = [np.hypot(*self.until(np.full(len(self.east_mas_yr), at))[:2]) for at in (known.min(), known.max())]
        return max(float(way.max(initial=0.0)) for way in ways)


def epoch_in_words(text: str) -> float | None:
    """The year of an epoch such as J2000.0 or B1950 (which differ by less than motions tell); None if it is none."""
    found = _IN_WORDS.fullmatch(text)
    return None if found is None else float(found[1])


def epochs_mjd(epoch: Floats) -> Floats:
    """Epochs of positions [MJD], which files write as years, MJD or JD: NaN where none is known, infinite where the
    number is none of these."""
    date = np.where(epoch > MJD_OF_JD0, epoch - MJD_OF_JD0, epoch)
    years = (epoch >= _FIRST_YEAR) & (epoch <= _LAST_YEAR)
    dates = (date >= MJD_OF_1900) & (date <= MJD_OF_2200)
    mjd = np.where(years, _MJD_OF_J2000 + (epoch - 2000.0) * _DAYS_A_YEAR, np.where(dates, date, np.inf))
    return np.where(np.isnan(epoch) | (epoch <= 0), np.nan, mjd)


def motions(motion: tuple[Floats, Floats], errors: tuple[Floats, Floats], mjd: Floats) -> Motions:
    """Motions east and north [mas / yr] with errors, of positions at times [MJD]; a row has all or none."""
    east, north = motion
    known = np.isfinite(east) & np.isfinite(north) & np.isfinite(mjd)
    east, north, measured = (np.where(known, part, np.nan) for part in (east, north, mjd))
    east_err, north_err = (np.where(known, np.nan_to_num(part), np.nan) for part in errors)
    return Motions(east, north, east_err, north_err, measured, measured)


def moved(
    ra_deg: Floats, dec_deg: Floats, errors: Mapping[str, Floats], of_rows: Motions, mjd: float
) -> tuple[Floats, Floats, dict[str, Floats], Motions]:
    """Positions at a time, their errors [arcsec] grown by those of the motions, and the motions of these positions.

    Where a motion or its epoch is missing, a position stays.
    """
    known: Flags = np.isfinite(of_rows.measured_mjd)
    east, north, east_gain, north_gain = of_rows.until(np.full(len(ra_deg), mjd))
    ra, dec = displaced(ra_deg, dec_deg, east, north)
    ra, dec = np.where(known, ra % 360.0, ra_deg), np.where(known, dec, dec_deg)
    grown = {
        "ra_err_arcsec": np.sqrt(errors["ra_err_arcsec"] ** 2 + east_gain),
        "dec_err_arcsec": np.sqrt(errors["dec_err_arcsec"] ** 2 + north_gain),
    }
    return ra, dec, grown, replace(of_rows, position_mjd=np.where(known, mjd, np.nan))


def motions_of(table: pa.Table) -> Motions | None:
    """The motions that a reference catalog's table has; None if its sources stay."""
    if not set(MOTIONS) <= set(table.column_names):
        return None
    return Motions(*(table.column(name).to_numpy() for name in MOTIONS))
