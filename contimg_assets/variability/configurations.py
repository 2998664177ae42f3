"""Which images were taken and processed alike: configurations of the telescope, told from the fluxes alone.

Images of one pointing show a source at the same place in the beams. Their fluxes agree to the floor of the error model
until the beams or the processing change: then all fluxes of the field step by some percent, each its own. An image
belongs to the configuration whose means its bright fluxes agree with, and else begins a new one.

Whether the first two images of a pointing are alike can not be told from them alone: a scatter that is large might be
that of all images. So the second one has a number of its own, odd, one above the even number of the first. The third
joins whichever of the two it agrees with, and an odd configuration that has no more than one flux of a source is taken
for the even one: see `steps`. No number that was given ever changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import pandas as pd

from contimg_assets.sky.arrays import Floats, Integers
from contimg_assets.sky.robust import MAD_SIGMA_ERROR, scatter
from contimg_assets.sky.sphere import separation_arcsec
from contimg_assets.variability.error_evidence import (
    FLOOR_VARIANCE,
    MEAN,
    NOISE_VARIANCE,
    RADIUS,
    SCALE_VARIANCE,
    Means,
    Points,
)
from contimg_assets.variability.error_model import ErrorTerms, snr_weights

# Pointings closer than this, in radii of the image, are one.
_SAME_POINTING = 0.1
# What takes part in the comparison: S / e, and how many sources there must be to judge.
_MIN_SNR, _MIN_SOURCES = 30.0, 20
# Disagreement over what the model expects that begins a configuration, by how many of its errors it must be more than
# agreement, and differences before the model may judge.
_DISAGREES, _SIGNIFICANT, _MIN_EVIDENCE = 1.35, 4.0, 3_000
# Scatters within so many errors of the least are alike.
_ALIKE = 3.0

_Numbers = TypeVar("_Numbers", int, Integers)


@dataclass(frozen=True)
class Pointings:
    """Configurations so far: columns of CONFIGURATIONS, sorted by number."""

    rows: pd.DataFrame

    @classmethod
    def none(cls) -> Pointings:
        columns = {"configuration": np.int64, "ra_deg": float, "dec_deg": float, "n_images": np.int64}
        return cls(pd.DataFrame({name: np.empty(0, kind) for name, kind in columns.items()}))

    @property
    def n(self) -> int:
        """How many there are; the second image of a pointing alone is none."""
        number, n_images = (self.rows[name].to_numpy() for name in ("configuration", "n_images"))
        return int(((number % 2 == 0) | (n_images > 1)).sum())

    @property
    def following(self) -> int:
        """Number of the next new one: even."""
        return following(int(self.rows["configuration"].max())) if len(self.rows) else 0

    def near(self, ra_deg: float, dec_deg: float, radius_deg: float) -> tuple[Integers, Integers]:
        """Numbers of the configurations of a pointing, and how many images each has."""
        ra, dec = self.rows["ra_deg"].to_numpy(), self.rows["dec_deg"].to_numpy()
        apart = separation_arcsec(ra, dec, np.full(len(ra), ra_deg), np.full(len(ra), dec_deg)) / 3600.0
        there = apart <= _SAME_POINTING * radius_deg
        number, n_images = (self.rows[name].to_numpy()[there] for name in ("configuration", "n_images"))
        return np.asarray(number, np.int64), np.asarray(n_images, np.int64)

    def with_images(self, configuration: Integers, ra_deg: Floats, dec_deg: Floats) -> Pointings:
        """With more images, of configurations that may be new: these are where their first image is."""
        number, first, n_images = np.unique(configuration, return_index=True, return_counts=True)
        new = ~np.isin(number, self.rows["configuration"].to_numpy())
        columns = {
            "configuration": number,
            "ra_deg": ra_deg[first],
            "dec_deg": dec_deg[first],
            "n_images": np.zeros_like(n_images),
        }
        both = {name: np.concatenate([self.rows[name].to_numpy(), added[new]]) for name, added in columns.items()}
        order = np.argsort(both["configuration"], kind="stable")
        rows = {name: values[order] for name, values in both.items()}
        rows["n_images"][np.searchsorted(rows["configuration"], number)] += n_images
        return Pointings(pd.DataFrame(rows))


def following(configuration: int) -> int:
    """Number of the next new configuration after the last one: even."""
    return configuration // 2 * 2 + 2


def configuration_of(
    points: Points, near: Integers, n_images: Integers, means: Means, model: tuple[ErrorTerms, int]
) -> int | None:
    """The configuration that an image's fluxes agree with best; None if they agree with none.

    Parameters
    ----------
    points : fluxes of the image; their configuration does not count
    near : configurations of its pointing
    n_images : of each
    model : the published one, and how many differences there are by now

    Returns
    -------
    Without enough bright fluxes to judge the latest; of those that agree equally well, within three errors of a
    scatter, the latest too. Without enough evidence, the best of those that there are.
    """
    if not len(near):
        return None
    if int(n_images.sum()) == 1:
        return int(near[0]) + 1
    terms, n_differences = model
    bright = points.take(points.flux > _MIN_SNR * points.err)
    # An image with fewer agrees with none of thousands of configurations well enough to ask them.
    asked = near if len(bright.flux) >= _MIN_SOURCES else near[:0]
    judged = {int(one): found for one in asked if (found := _misfit(bright, int(one), means, terms)) is not None}
    if not judged:
        return int(near[np.argmax(_rank(near))])
    # By how far the fluxes lie from the means, not in units of what is expected: a configuration of one image expects
    # more, and would take in what agrees with none.
    nearest = min(judged.values(), key=lambda one: one.distance)
    alike = nearest.distance * (1.0 + _ALIKE * MAD_SIGMA_ERROR / np.sqrt(nearest.n))
    best = max((one for one, found in judged.items() if found.distance <= alike), key=_rank)
    limit = max(_DISAGREES, 1.0 + _SIGNIFICANT * MAD_SIGMA_ERROR / np.sqrt(judged[best].n))
    return best if judged[best].ratio < limit or n_differences < _MIN_EVIDENCE else None


def _rank(configuration: _Numbers) -> _Numbers:
    """Greatest of the latest; of the first two images of a pointing, of the first."""
    return configuration ^ 1


class _Misfit(NamedTuple):
    """Scatter of n bright fluxes about the means of a configuration, over what is expected; typical, of the flux."""

    ratio: float
    distance: float
    n: int


def _misfit(bright: Points, configuration: int, means: Means, terms: ErrorTerms) -> _Misfit | None:
    """How an image's bright fluxes agree with a configuration; None where it has too few of them to say."""
    known, old = means.of(bright.source_id, configuration)
    if int(known.sum()) < _MIN_SOURCES:
        return None
    bright = bright.take(known)
    noise = bright.err**2 + old[:, NOISE_VARIANCE]
    scale: Floats = (bright.scale_err * bright.flux) ** 2 + old[:, SCALE_VARIANCE]
    expected = snr_weights(bright.flux / bright.err) @ terms.noise * noise + scale
    of_mean = terms.floor_square(old[:, RADIUS]) * old[:, FLOOR_VARIANCE]
    expected += terms.floor_square(bright.radius) * bright.flux**2 + of_mean
    ratio = float(scatter((bright.flux - old[:, MEAN]) / np.sqrt(expected)))
    typical = float(np.exp(0.5 * np.mean(np.log(expected / bright.flux**2))))
    return _Misfit(ratio, ratio * typical, len(expected))
