"""The errors of positions as repeated sources show them: what is beyond the finder's errors and the images' offsets.

A position is compared with the weighted mean of the source's earlier ones, axis by axis. The differences are counted
and fitted as those of fluxes are, see `error_evidence`: an angle, `UNIT_ARCSEC`, stands in the place of the flux. What
is measured is the part of the systematic error that is another in each epoch. What all epochs have in common, such as
the frame of the reference catalog, no repetition shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pandas as pd
import scipy

from contimg_assets.sky.arrays import Flags, Floats, Integers
from contimg_assets.variability.error_evidence import (
    FEWEST_JUDGED,
    FLOOR_VARIANCE,
    MEAN,
    NOISE_VARIANCE,
    RADIUS,
    SCALE_VARIANCE,
    WITHIN,
    Differences,
    Evidence,
    Fit,
    FittedCells,
    Means,
    Points,
    as_means,
)
from contimg_assets.variability.error_model import COLUMN_PART, EAST, NORTH, UNIT_ARCSEC, ErrorTerms, radius_weights

_ARCSEC, _TURN_ARCSEC = 3600.0, 360.0 * 3600.0
# Nearer to a pole, right ascension is no coordinate to take means of.
_POLAR_DEG = 89.9
# What errors are quoted for: this share is within so many of them; off by no more than this.
QUOTED, WITHIN_QUOTED, _TOLERATED = 0.95, 1.959964, 0.02
# Where this much of the variance is systematic; so many normal differences are believed beforehand; and farther off
# than this many errors is what was mistaken for the source, or is several.
_MOST, _PRIOR_SEEN, MISTAKEN = 0.5, 100.0, 8.0
_COORDINATE: Mapping[str, str] = {EAST: "ra_deg", NORTH: "dec_deg"}


@dataclass(frozen=True)
class Places(Points):
    """One coordinate of sources in the place of their fluxes.

    Attributes
    ----------
    flux, err : right ascension or declination, and the finder's error of it [arcsec], shape (n,)
    scale_err : error of the image's offset in `UNIT_ARCSEC`, shape (n,)
    unit : `UNIT_ARCSEC` in the coordinate, shape (n,)
    image : number of the image in the epoch, shape (n,)
    systematic : variance by the image's own systematic error, see `image_positions` [arcsec^2], shape (n,)
    """

    unit: Floats
    image: Integers
    systematic: Floats

    @property
    def whole(self) -> Floats:
        return self.unit

    @property
    def of_image(self) -> Floats:
        return self.systematic

    def variance(self, model: ErrorTerms) -> Floats:
        """By the finder's errors and what was measured of the image, where a model knows all images together."""
        return model.noise_square(self.whole, self.err) * self.err**2 + self.systematic

    def near(self, means: Means) -> Self:
        """The same, right ascensions less or more than once around where the mean of the source is."""
        known, old = means.of(self.source_id, self.configuration)
        mean = self.flux.copy()
        mean[known] = old[:, MEAN]
        return replace(self, flux=self.flux - _TURN_ARCSEC * np.round((self.flux - mean) / _TURN_ARCSEC))


class PositionEvidence(Evidence):
    """Differences of positions from earlier means, counted: one axis."""

    def with_points(self, points: Points, before: Means, after: Means) -> Self:
        """The evidence with the positions of another epoch, given the means before it."""
        known, old = before.of(points.source_id, points.configuration)
        return self.with_differences(_apart(as_means(points.take(known)), old), WITHIN)

    def fit(self, believed: float = 0.0) -> Fit:
        """The model that the evidence gives, its systematic errors so wide that they hold 95 %, and for means too.

        Errors of positions are quoted for that. What is fitted is the width of the normal ones: neighbors, structure,
        and images that are more distorted than others make wider tails.
        """
        found = super().fit(believed)
        widened = np.ones(len(found.terms.squares))
        widened[len(found.terms.noise) : len(found.terms.noise) + len(found.terms.floor)] = self._tails(found) ** 2
        precision = found.precision / widened[:, None] / widened[None, :]
        return Fit(ErrorTerms.of_squares(found.terms.squares * widened), precision, found.n)

    def _tails(self, found: Fit) -> float:
        """By how much 95 % of the differences, or their rms, reach farther than normal ones do.

        The one is what single positions are quoted for, the other what means of several have.
        """
        size, n = self._sizes(found.terms)
        rms = np.sqrt((n @ size**2 + _PRIOR_SEEN) / (n.sum() + _PRIOR_SEEN))
        order = np.argsort(size)
        size, beyond = size[order], n.sum() - np.cumsum(n[order])
        beyond += _PRIOR_SEEN * 2.0 * scipy.special.ndtr(-size)
        within = np.flatnonzero(beyond <= (1.0 - QUOTED) * (n.sum() + _PRIOR_SEEN))
        return max(1.0, float(rms), float(size[within[0]]) / WITHIN_QUOTED if len(within) else 1.0)

    def _sizes(self, terms: ErrorTerms) -> tuple[Floats, Floats]:
        """Differences over their errors where systematic ones are most, without what was mistaken; and how many."""
        cells = FittedCells.of(self, self.used)
        squares, n = cells.squares(terms)
        bright = cells.share_of_floor(terms) > _MOST
        squares, n = squares[bright].ravel(), n[bright].ravel()
        used = squares < MISTAKEN**2
        return np.sqrt(squares[used]), n[used]

    def misfits(self, terms: ErrorTerms) -> list[str]:
        """Where not 93 to 97 % of the positions are within 1.96 errors, by more than chance: one sentence."""
        size, n = self._sizes(terms)
        total = float(n.sum())
        if total < FEWEST_JUDGED:
            return []
        share = float(n[size < WITHIN_QUOTED].sum()) / total
        if abs(share - QUOTED) < _TOLERATED + 2.0 * np.sqrt(QUOTED * (1.0 - QUOTED) / total):
            return []
        return [f"{share:.1%} of {total:.0f} positions of bright sources are within 1.96 of their errors"]


def _apart(a: Floats, b: Floats) -> Differences:
    """Of the means a from the means b; columns of `Means`."""
    noise, scale = a[:, NOISE_VARIANCE] + b[:, NOISE_VARIANCE], a[:, SCALE_VARIANCE] + b[:, SCALE_VARIANCE]
    of_a, of_b = (radius_weights(one[:, RADIUS]) * one[:, FLOOR_VARIANCE, None] for one in (a, b))
    return Differences(a[:, MEAN] - b[:, MEAN], noise, of_a + of_b, 0.0 * of_a, scale, a[:, RADIUS])


def places_of(fluxes: pd.DataFrame, axis: str, assumed_arcsec: float, number_of: pd.Index) -> Places:
    """Positions of one epoch that may tell what their errors are.

    Parameters
    ----------
    fluxes : source_id, image, ra_deg, dec_deg, uncertainty_ew_arcsec, uncertainty_ew_corr_arcsec (with that of the
        image's offset) and the same north, radius
    assumed_arcsec : systematic error that the uncertainties hold
    number_of : names of the epoch's images, in the order of their numbers
    """
    dec, value = (fluxes[one].to_numpy(dtype=float) for one in ("dec_deg", _COORDINATE[axis]))
    err, corrected = (
        fluxes[f"uncertainty_{COLUMN_PART[axis]}{part}_arcsec"].to_numpy(dtype=float) for part in ("", "_corr")
    )
    noise, of_image = err**2 - assumed_arcsec**2, np.maximum(corrected**2 - err**2, 0.0)
    usable: Flags = np.isfinite(value) & (noise > 0.0) & np.isfinite(of_image) & (np.abs(dec) < _POLAR_DEG)
    turned = 1.0 / np.cos(np.radians(dec[usable])) if axis == EAST else np.ones(int(usable.sum()))
    return Places(
        source_id=pd.Index(fluxes["source_id"].to_numpy(dtype=object)[usable], dtype=object),
        configuration=np.zeros(len(turned), np.int64),
        flux=value[usable] * _ARCSEC,
        err=np.sqrt(noise[usable]) * turned,
        scale_err=np.sqrt(of_image[usable]) / UNIT_ARCSEC,
        radius=fluxes["radius"].to_numpy(dtype=float)[usable],
        tie_err=np.zeros(len(turned)),
        unit=UNIT_ARCSEC * turned,
        image=number_of.get_indexer(pd.Index(fluxes["image"].to_numpy(dtype=object)[usable])).astype(np.int64),
        systematic=(assumed_arcsec * turned) ** 2,
    )


def assumed_terms(assumed_arcsec: float) -> ErrorTerms:
    """What is believed before there is evidence: the finder's errors, and the systematic error of the configuration."""
    return ErrorTerms.fixed(floor=assumed_arcsec / UNIT_ARCSEC)
