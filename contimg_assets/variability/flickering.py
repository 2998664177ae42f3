"""Sources that the source finder misses again and again, and what that means for those that look new.

A finder loses a source at random, or always for the same reason: a shape near a cut of the selection, a neighbor, an
island that is split otherwise. What it misses five times and then finds is new if misses are independent, and a common
thing if some sources are mostly missed. Gaps tell: a source that was seen before and after a gap was there meanwhile.
A transient has no such gaps, and does not pass for one that is often missed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from contimg_assets.sky.arrays import Flags, Floats

# Chances to be missed that kinds of sources may have. Those below one in ten are missed at random.
_LOST = np.array([0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.25, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98])
_OFTEN = 0.1
# Where the fit begins, and stays where no source tells: kinds that are hardly ever found are few of those found.
_BEGIN = 1.0 - _LOST
_ROUNDS = 300


class Flickering(NamedTuple):
    """Kinds of bright sources that the finder misses again and again.

    Attributes
    ----------
    share : of the bright sources that it finds in an image, such a share is of each kind, shape (k,)
    lost : of the images of their places, it misses them in such a share, shape (k,)
    """

    share: Floats
    lost: Floats


NO_FLICKERING = Flickering(np.empty(0), np.empty(0))


def tells_of_gaps(n_between: npt.NDArray[np.integer[Any]], n_beyond: npt.NDArray[np.integer[Any]]) -> Flags:
    """Whether a light curve tells how often the finder misses its source, shape (n,): it has a gap, or no end to it.

    One without gaps that begins late or ends early may be a transient.

    Parameters
    ----------
    n_between, n_beyond : visits that missed the source between its detections, and before or after them, shape (n,)
    """
    return np.asarray((n_between > 0) | (n_beyond == 0))


def flickering(missed: Floats, found: Floats, number: Floats) -> Flickering:
    """How many sources are missed again and again, and how often, from the gaps between their detections.

    The distribution of the chances that sources have to be missed is fitted by maximum likelihood on a grid
    (expectation maximization; Laird 1978, JASA 73, 805), among all patterns of detections that `tells_of_gaps` takes:
    those that it does not take are made up for (Dempster, Laird & Rubin 1977, J. R. Stat. Soc. B 39, 1, section 4.2).

    Parameters
    ----------
    missed, found : visits to the places of bright sources that missed and that found them, shape (n,), of sources that
        `tells_of_gaps` takes
    number : of such sources, shape (n,)

    Returns
    -------
    Flickering; NO_FLICKERING if no source was missed twice

    Examples
    --------
    >>> import numpy as np
    >>> flickering(np.array([0.0, 1.0]), np.array([6.0, 5.0]), np.array([99.0, 1.0])) is NO_FLICKERING
    True
    """
    if not np.any((missed > 1) & (number > 0)):
        return NO_FLICKERING
    visits, group = np.unique(missed + found, return_inverse=True)
    chance = np.exp(np.outer(missed, np.log(_LOST)) + np.outer(found, np.log1p(-_LOST)))
    taken = np.stack([_share_taken(int(n)) for n in visits])
    of_group = np.bincount(group, number, minlength=len(visits))
    share = _BEGIN / _BEGIN.sum()
    for _ in range(_ROUNDS):
        seen = number / (chance @ share) @ chance * share
        unseen = of_group / (taken @ share) @ (1.0 - taken) * share
        share = (seen + unseen) / (seen + unseen).sum()
    share = share * (1.0 - _LOST) / (share @ (1.0 - _LOST))
    often = _LOST > _OFTEN
    return Flickering(share[often], _LOST[often])


def _share_taken(n: int) -> Floats:
    """Share of the patterns of n visits that `tells_of_gaps` takes, for each chance, shape (k,)."""
    length = np.arange(1, n)
    bursts = (n - length + 1) * (1.0 - _LOST[:, None]) ** length * _LOST[:, None] ** (n - length)
    taken: Floats = np.maximum(1.0 - _LOST**n - bursts.sum(axis=1), 1e-12)
    return taken
