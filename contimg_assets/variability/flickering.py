"""Sources that the source finder misses again and again, and what that means for those that look new.

A finder loses a source at random, or always for the same reason: a shape near a cut of the selection, a neighbor, an
island that is split otherwise. What it misses five times and then finds is new if misses are independent, and a common
thing if some sources are mostly missed. Gaps tell: a source that was seen before and after a gap was there meanwhile.
A transient has no such gaps, and does not pass for one that is often missed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy

from contimg_assets.sky.arrays import Floats

# Where the fit begins; of the second, the weight is that of so many looks.
_BEGIN_SHARE, _BEGIN_LOST = 0.05, 0.5
_PRIOR_LOOKS = 2.0
_ROUNDS = 200


class Flickering(NamedTuple):
    """Bright sources that the finder misses again and again.

    Attributes
    ----------
    share : of those that it finds in an image, these are such a share
    lost : of the images of their places, it misses them in such a share
    """

    share: float
    lost: float


NO_FLICKERING = Flickering(0.0, 0.0)


def flickering(missed: Floats, looked: Floats, number: Floats) -> Flickering:
    """How many sources are missed again and again, and how often, from the gaps between their detections.

    Two kinds of sources with chances of their own to be missed are fitted to the numbers of gaps by maximum likelihood
    (expectation maximization of a mixture of two binomial distributions; Dempster, Laird & Rubin 1977, J. R. Stat.
    Soc. B 39, 1).

    Parameters
    ----------
    missed : of bright sources that the first and the last visit to their places found, the visits between that missed
        them, shape (n,)
    looked : visits between, shape (n,)
    number : of such sources, shape (n,)

    Returns
    -------
    Flickering; NO_FLICKERING if no source was missed twice

    Examples
    --------
    >>> import numpy as np
    >>> flickering(np.array([0.0, 1.0]), np.array([4.0, 4.0]), np.array([99.0, 1.0]))
    Flickering(share=0.0, lost=0.0)
    """
    if not np.any((missed > 1) & (number > 0)):
        return NO_FLICKERING
    share, often, seldom = _BEGIN_SHARE, _BEGIN_LOST, float(np.sum(number * missed) / np.sum(number * looked))
    for _ in range(_ROUNDS):
        odds = np.log(share) - np.log1p(-share)
        odds = odds + _log_chance(missed, looked, often) - _log_chance(missed, looked, seldom)
        of_these = number * scipy.special.expit(odds)
        others = number - of_these
        share = float(np.clip(of_these.sum() / number.sum(), 1e-9, 0.5))
        often = float((of_these @ missed + _BEGIN_LOST * _PRIOR_LOOKS) / (of_these @ looked + _PRIOR_LOOKS))
        seldom = float(np.clip((others @ missed + 0.5) / (others @ looked + 1.0), 1e-9, often))
    # Both ends of a light curve found the source; that one visit finds it is less selective.
    weights = np.array([share / (1.0 - often), (1.0 - share) / (1.0 - seldom)])
    return Flickering(float(weights[0] / weights.sum()), often)


def _log_chance(k: Floats, n: Floats, lost: float) -> Floats:
    return np.asarray(k * np.log(lost) + (n - k) * np.log1p(-lost), dtype=np.float64)
