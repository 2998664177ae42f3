"""How far a measurement may lie from its source at most, whatever the de Ruiter radius allows.

Errors of positions are not always right; a limit beside them keeps a bad one from reaching across the field. As
duplicates are looked for within a beam, so are sources: nothing in an image is told apart within it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from contimg_assets.association.observation import Observation
from contimg_assets.association.source_pairs import SourcePairs
from contimg_assets.association.state import FoldState
from contimg_assets.config import Association
from contimg_assets.sky.arrays import Floats, Indices

LEAST_REACH_ARCSEC = 30.0
"""What surveys of small beams are matched within, beyond all errors of theirs."""

# A source that only coarse images have shown may be this many of its errors away from where a fine one shows it.
_SIGMA = 4.0
# Sources that lie beyond the reach, of those seen, that are worth a word; and the least number of them.
_MANY_BEYOND, _FEWEST_BEYOND = 0.01, 2.0
# New ones are what a short reach gives if they are at least this share of those beyond it.
_EXPLAINED = 0.5
# Of a reach that is a small part of the errors nothing can be said but that nearly all lie beyond.
_MOST_BEYOND = 0.99
# A power of 2, so that a count of so fine parts is a number without rounding.
_COUNTED = 2.0**20


class Reach(NamedTuple):
    """Largest separation [arcsec] for each measurement, shape (n,), and for each known source, shape (m,): the larger
    of both counts."""

    of_measurement: Floats
    of_source: Floats

    @classmethod
    def of(
        cls, observation: Observation, known: FoldState, images: pd.DataFrame | None, parameters: Association
    ) -> Reach:
        """As configured, else by beams and errors.

        Parameters
        ----------
        images : image, bmaj_arcsec [arcsec]; without them no beam is known
        """
        n, m = len(observation), len(known)
        if parameters.max_separation_arcsec is not None:
            return cls(np.full(n, parameters.max_separation_arcsec), np.full(m, parameters.max_separation_arcsec))
        beams = np.full(n, LEAST_REACH_ARCSEC)
        if n and images is not None and {"image", "bmaj_arcsec"} <= set(images.columns):
            row = pd.Index(images["image"].astype("str")).get_indexer(pd.Index(observation.image_names))
            beam = np.where(row >= 0, images["bmaj_arcsec"].to_numpy(dtype=float)[row], np.nan)
            beams = np.fmax(beams, beam[observation.image])
        error = np.maximum(known.sigma_ew_arcsec, known.sigma_ns_arcsec)
        return cls(beams, np.maximum(LEAST_REACH_ARCSEC, _SIGMA * error))

    @property
    def widest_arcsec(self) -> float:
        """The largest of all [arcsec]."""
        return float(max(self.of_measurement.max(initial=0.0), self.of_source.max(initial=0.0)))

    def part(self, rows: Indices, sources: Indices) -> Reach:
        """Of some of the measurements and known sources."""
        return Reach(self.of_measurement[rows], self.of_source[sources])

    def within(self, pairs: SourcePairs) -> SourcePairs:
        """The pairs that are not farther apart than this."""
        limit = np.maximum(self.of_measurement[pairs.measurement], self.of_source[pairs.source])
        return pairs.keep(pairs.separation_arcsec <= limit)

    def n_beyond(self, pairs: SourcePairs) -> float:
        """How many measurements of known sources lie beyond the reach, by the errors of those that lie within.

        Of pairs with a variance s^2 a share exp(-r^2 / (2 s^2)) lies beyond r (Rayleigh), so one that lies within
        stands for that share over its complement more. Those are counted in millionths: such sums are exact, in any
        order and in parts.
        """
        limit = np.maximum(self.of_measurement[pairs.measurement], self.of_source[pairs.source])
        beyond = np.minimum(np.exp(-(limit**2) / (pairs.variance_ew + pairs.variance_ns)), _MOST_BEYOND)
        return float(np.rint(beyond / (1.0 - beyond) * _COUNTED).sum()) / _COUNTED


def adds_up(n_beyond: float) -> bool:
    """Whether a count of `Reach.n_beyond` is exact; one of before they were is not."""
    return (n_beyond * _COUNTED).is_integer()


def too_short(n_beyond: float, n_matched: int, n_new: int) -> bool:
    """Whether so many new sources are what a too short reach would give.

    Parameters
    ----------
    n_beyond : measurements of known sources that lie beyond the reach, see `Reach.n_beyond`
    n_matched, n_new : measurements of known sources within it, and those that became new sources
    """
    many = n_beyond >= max(_FEWEST_BEYOND, _MANY_BEYOND * (n_matched + n_beyond))
    return many and n_new >= _EXPLAINED * n_beyond
