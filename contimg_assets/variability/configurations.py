"""Which images were taken and processed alike: configurations of the telescope, told from the fluxes alone.

Images of one pointing show a source at the same place in the beams. Their fluxes agree to the floor of the error model
until the beams or the processing change: then all fluxes of the field step by some percent, each its own. An image
belongs to the configuration whose means its bright fluxes agree with, and else begins a new one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from contimg_assets.sky.arrays import Floats, Integers
from contimg_assets.sky.robust import MAD_SIGMA_ERROR, scatter
from contimg_assets.sky.sphere import separation_arcsec
from contimg_assets.variability.error_evidence import Means, Points
from contimg_assets.variability.error_model import ErrorTerms, snr_weights

# Pointings closer than this, in radii of the image, are one.
_SAME_POINTING = 0.1
# What takes part in the comparison: S / e, and how many sources there must be to judge.
_MIN_SNR, _MIN_SOURCES = 30.0, 20
# Disagreement over what the model expects that begins a configuration, by how many of its errors it must be more than
# agreement, and differences before the model may judge.
_DISAGREES, _SIGNIFICANT, _MIN_EVIDENCE = 1.35, 4.0, 3_000


@dataclass(frozen=True)
class Pointings:
    """Configurations so far: columns of CONFIGURATIONS, sorted by number from 0."""

    rows: pd.DataFrame

    @classmethod
    def none(cls) -> Pointings:
        columns = {"configuration": np.int64, "ra_deg": float, "dec_deg": float, "n_images": np.int64}
        return cls(pd.DataFrame({name: np.empty(0, kind) for name, kind in columns.items()}))

    def near(self, ra_deg: float, dec_deg: float, radius_deg: float) -> Integers:
        """Numbers of the configurations of a pointing, the latest first."""
        ra, dec = self.rows["ra_deg"].to_numpy(), self.rows["dec_deg"].to_numpy()
        apart = separation_arcsec(ra, dec, np.full(len(ra), ra_deg), np.full(len(ra), dec_deg)) / 3600.0
        found = self.rows["configuration"].to_numpy()[apart <= _SAME_POINTING * radius_deg]
        return np.asarray(found[::-1], np.int64)

    def with_image(self, configuration: int, ra_deg: float, dec_deg: float) -> Pointings:
        """With one more image of a configuration, which may be new."""
        rows = self.rows
        if configuration == len(rows):
            new = pd.DataFrame([{"configuration": configuration, "ra_deg": ra_deg, "dec_deg": dec_deg, "n_images": 1}])
            return Pointings(pd.concat([rows, new], ignore_index=True) if len(rows) else new)
        return Pointings(rows.assign(n_images=rows["n_images"] + (rows["configuration"] == configuration)))


def configuration_of(
    points: Points, near: Integers, n_images: Integers, means: Means, model: tuple[ErrorTerms, int]
) -> int | None:
    """The configuration that an image's fluxes agree with best; None if they agree with none.

    Parameters
    ----------
    points : fluxes of the image; their configuration does not count
    near : configurations of its pointing, the latest first
    n_images : of each
    model : the published one, and how many differences there are by now

    Returns
    -------
    Without enough bright fluxes to judge, or enough evidence, the latest.
    """
    if not len(near):
        return None
    terms, n_differences = model
    misfit = {int(one): _misfit(points, int(one), means, terms) for one in near}
    judged = {one: value for one, value in misfit.items() if value[1]}
    if not judged:
        return int(near[0])
    best = min(judged, key=lambda one: (judged[one][0], -one))
    scatter_of_best, n = judged[best]
    limit = max(_DISAGREES, 1.0 + _SIGNIFICANT * MAD_SIGMA_ERROR / np.sqrt(n))
    may_judge = n_differences >= _MIN_EVIDENCE and n_images[list(near).index(best)] > 1
    return best if scatter_of_best < limit or not may_judge else None


def _misfit(points: Points, configuration: int, means: Means, terms: ErrorTerms) -> tuple[float, int]:
    """Scatter of the bright fluxes about the means of a configuration over what is expected, and of how many; or 0."""
    bright = points.take(points.flux > _MIN_SNR * points.err)
    known, old = means.of_configuration(configuration, bright.source_id)
    if int(known.sum()) < _MIN_SOURCES:
        return np.nan, 0
    bright = bright.take(known)
    noise = bright.err**2 + old[:, 2]
    scale: Floats = (bright.scale_err * bright.flux) ** 2 + old[:, 4]
    expected = snr_weights(bright.flux / bright.err) @ terms.noise * noise + scale
    expected += terms.floor_square(bright.radius) * bright.flux**2 + terms.floor_square(old[:, 5]) * old[:, 3]
    return float(scatter((bright.flux - old[:, 1]) / np.sqrt(expected))), len(expected)
