"""Parts of the sky with their depth, as ranges of HEALPix cells: lookup, overlay, extent. Plain functions on arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contimg_assets.sky.arrays import Cells, Flags, Floats
from contimg_assets.sky.cells import FINEST_ORDER, cell_radius_deg, grid
from contimg_assets.sky.sphere import separation_arcsec

# Cells of 14 arcmin.
_COARSE = 8


@dataclass(frozen=True)
class Coverage:
    """What an image covers.

    Attributes
    ----------
    start, end : nested HEALPix cells of order 29, end exclusive; ascending, apart from each other, shape (n,)
    rms_mjy_beam : rms in each range, NaN where only the image's own is known
    """

    start: Cells
    end: Cells
    rms_mjy_beam: Floats

    def at(self, cells_29: Cells) -> tuple[Flags, Floats]:
        """Whether cells of order 29 are covered, and the rms there (NaN if not covered or not known), shape (m,)."""
        if not len(self.start):
            return np.zeros(len(cells_29), dtype=bool), np.full(len(cells_29), np.nan)
        row = np.searchsorted(self.start, cells_29, side="right") - 1
        covered = (row >= 0) & (cells_29 < self.end[row])
        return covered, np.where(covered, self.rms_mjy_beam[row], np.nan)

    def reach_deg(self, ra_deg: float, dec_deg: float) -> float:
        """Radius of a circle about a position that holds all of it [deg], to some minutes of arc."""
        shift = 2 * (FINEST_ORDER - _COARSE)
        first, last = self.start >> shift, (self.end - 1) >> shift
        # Ranges that share a coarse cell count once.
        first = np.maximum(first, np.concatenate([[-1], np.maximum.accumulate(last)[:-1]]) + 1)
        counts = np.maximum(last - first + 1, 0)
        cells = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        if not len(cells):
            return 0.0
        lon, lat = grid(_COARSE).healpix_to_lonlat(cells)
        farthest = float(separation_arcsec(lon.to_value("deg"), lat.to_value("deg"), ra_deg, dec_deg).max()) / 3600
        return min(farthest + cell_radius_deg(_COARSE), 180.0)


def merged(start: Cells, end: Cells, rms_mjy_beam: Floats) -> Coverage:
    """Ranges apart from each other in any order, sorted; those that touch and have the same rms are one."""
    order = np.argsort(start)
    start, end, rms = start[order], end[order], rms_mjy_beam[order]
    if not len(start):
        return Coverage(start, end, rms)
    same = (rms[1:] == rms[:-1]) | (np.isnan(rms[1:]) & np.isnan(rms[:-1]))
    begins = np.concatenate([[True], (start[1:] != end[:-1]) | ~same])
    lead = np.flatnonzero(begins)
    return Coverage(start[lead], end[np.append(lead[1:] - 1, len(end) - 1)], rms[lead])


def overlaid(base: Coverage, measured: Coverage) -> Coverage:
    """The sky of `base` with the rms of `measured` where that is known there."""
    edges = np.unique(np.concatenate([base.start, base.end, measured.start, measured.end]))
    start, end = edges[:-1], edges[1:]
    covered, known = base.at(start)
    here, rms = measured.at(start)
    return merged(start[covered], end[covered], np.where(here, rms, known)[covered])
