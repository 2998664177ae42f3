"""Positions beside bright sources, whose artifacts may pass for flux."""

from __future__ import annotations

import numpy as np
import pandas as pd

from contimg_assets.sky.arrays import Flags, Floats
from contimg_assets.sky.sphere import pairs_within, unit_vectors

BRIGHT_SNR, BRIGHT_BEAMS = (50.0, 200.0), (2.0, 4.0)
"""A position is near a bright source within so many beams of one with this signal-to-noise ratio: within the first of a
bright one, within the second of a very bright one."""


def near_bright(places: pd.DataFrame, detections: pd.DataFrame, beam_arcsec: float) -> Flags:
    """Whether what deconvolution and gains leave around bright sources may be taken for flux at each position.

    Parameters
    ----------
    places : DataFrame
        Columns ``ra_deg``, ``dec_deg``.
    detections : DataFrame
        Of the same image: ``ra_deg``, ``dec_deg`` and ``snr``, the signal-to-noise ratio of each.
    beam_arcsec : float
        Major axis of the beam, FWHM [arcsec].

    Returns
    -------
    array of bool, shape (n,)

    Examples
    --------
    >>> import pandas as pd
    >>> from contimg_assets.photometry.beside import near_bright
    >>> bright = pd.DataFrame({"ra_deg": [0.0], "dec_deg": [0.0], "snr": [80.0]})
    >>> places = pd.DataFrame({"ra_deg": [359.99, 0.05], "dec_deg": [0.0, 0.0]})
    >>> near_bright(places, bright, 30.0).tolist()
    [True, False]
    """
    found = np.zeros(len(places), dtype=bool)
    snr = detections["snr"].to_numpy(dtype=float)
    for least, beams in zip(BRIGHT_SNR, BRIGHT_BEAMS, strict=True):
        found |= any_within(places, detections[snr >= least], beams * beam_arcsec)
    return found


def any_within(places: pd.DataFrame, others: pd.DataFrame, radius_arcsec: float) -> Flags:
    """Whether any of some others lies within a radius of each place; both have ``ra_deg``, ``dec_deg``. Shape (n,)."""
    found = np.zeros(len(places), dtype=bool)
    if len(places) and len(others):
        near, _, _ = pairs_within(_vectors(places), _vectors(others), radius_arcsec)
        found[near] = True
    return found


def _vectors(table: pd.DataFrame) -> Floats:
    return unit_vectors(table["ra_deg"].to_numpy(dtype=float), table["dec_deg"].to_numpy(dtype=float))
