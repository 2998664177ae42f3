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
from contimg_assets.sky.arrays import Floats, Indices
from contimg_assets.sky.sphere import tree_of


@dataclass(frozen=True)
class Scene:
    """An epoch's measurements beside the known sources near them.

    Attributes
    ----------
    known : sources known before the epoch
    observation, alignment : the measurements, and their aligned positions and variances
    reach : how far measurements may lie from known sources
    beam_arcsec : FWHM of the minor axis of the beam that each measurement was seen with, shape (n,), NaN where it is
        not known; None if it is known of none
    """

    known: FoldState
    observation: Observation
    alignment: Alignment
    parameters: Association
    reach: Reach
    beam_arcsec: Floats | None = None

    @property
    def sources(self) -> scipy.spatial.cKDTree:
        """Tree of the unit vectors of the known sources."""
        return self.known.tree

    @cached_property
    def measured(self) -> scipy.spatial.cKDTree:
        """Tree of the aligned unit vectors of the measurements."""
        return tree_of(self.alignment.vectors)

    @property
    def source_variance(self) -> tuple[Floats, Floats]:
        """Variances of the positions of the known sources, east and north [arcsec^2]."""
        return 1.0 / self.known.weight_ew, 1.0 / self.known.weight_ns

    def part(self, rows: Indices, sources: Indices) -> Scene:
        """Some of the measurements beside some of the known sources; both ascending."""
        return Scene(
            self.known.part(sources),
            self.observation.part(rows),
            self.alignment.part(rows),
            self.parameters,
            self.reach.part(rows, sources),
            None if self.beam_arcsec is None else self.beam_arcsec[rows],
        )


def beams_of(observation: Observation, images: pd.DataFrame | None) -> Floats | None:
    """FWHM of the minor axis of the beam of each measurement [arcsec], NaN where not known; None where none is."""
    if images is None or not len(observation) or not {"image", "bmin_arcsec"} <= set(images.columns):
        return None
    row = pd.Index(images["image"].astype("str")).get_indexer(pd.Index(observation.image_names))
    beams = np.where(row >= 0, images["bmin_arcsec"].to_numpy(dtype=float)[row], np.nan)
    beams = np.where(beams > 0, beams, np.nan)
    return None if np.isnan(beams).all() else beams[observation.image]
