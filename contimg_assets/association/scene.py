"""What an epoch is judged by: its measurements where they are thought to be, and the sources known before it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import scipy

from contimg_assets.association.alignment import Alignment
from contimg_assets.association.observation import Observation
from contimg_assets.association.reach import Reach
from contimg_assets.association.state import FoldState
from contimg_assets.config import Association
from contimg_assets.sky.arrays import Floats


@dataclass(frozen=True)
class Scene:
    """An epoch's measurements beside the known sources near them.

    Attributes
    ----------
    known : sources known before the epoch
    observation, alignment : the measurements, and their aligned positions and variances
    sources : tree of the unit vectors of the known sources
    reach : how far measurements may lie from known sources
    beam_arcsec : FWHM of the minor axis of the beam that each measurement was seen with, shape (n,), NaN where it is
        not known; None if it is known of none
    """

    known: FoldState
    observation: Observation
    alignment: Alignment
    sources: scipy.spatial.cKDTree
    parameters: Association
    reach: Reach
    beam_arcsec: Floats | None = None

    @cached_property
    def measured(self) -> scipy.spatial.cKDTree:
        """Tree of the aligned unit vectors of the measurements."""
        return scipy.spatial.cKDTree(self.alignment.vectors)


def beams_of(observation: Observation, images: pd.DataFrame | None) -> Floats | None:
    """FWHM of the minor axis of the beam of each measurement [arcsec], NaN where not known; None where none is."""
    if images is None or not len(observation) or not {"image", "bmin_arcsec"} <= set(images.columns):
        return None
    row = pd.Index(images["image"].astype("str")).get_indexer(pd.Index(observation.image_names))
    beams = np.where(row >= 0, images["bmin_arcsec"].to_numpy(dtype=float)[row], np.nan)
    beams = np.where(beams > 0, beams, np.nan)
    return None if np.isnan(beams).all() else beams[observation.image]
