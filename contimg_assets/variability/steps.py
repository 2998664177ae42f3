"""Steps of light curves between configurations of the telescope, as far as they are errors."""

from __future__ import annotations

import numpy as np

from contimg_assets.sky.arrays import Flags, Floats, Indices, Integers
from contimg_assets.variability.segments import Segments


def without_steps(flux: Floats, err: Floats, step: Floats, configuration: Integers, segments: Segments) -> Floats:
    """Fluxes with their mean in each configuration moved to the source's, as far as steps are expected.

    Parameters
    ----------
    flux, err : shape (n,), same unit; points that do not count have an error or a flux that is no number
    step : standard deviation of the step of a configuration, as a fraction of the flux, shape (n,)
    configuration : of the image, shape (n,), as `configurations` numbers them: an odd one of which a source has a
        single flux is the even one below it
    segments : k sources

    Returns
    -------
    Shape (n,); the very array that was given where no source has two configurations, or there are no steps.

    Notes
    -----
    With weights W of the mean m in a configuration and P the variance of its step, u = 1 / (1 / W + P) is its weight
    among the means, and M = sum u m / sum u. A configuration is moved by (1 - sqrt(u / W)) (M - m): then chi-squared
    about the weighted mean is that of generalized least squares with fully correlated steps, sum w (S - m)^2 +
    sum u (m - M)^2, but for the small difference between the two means. A source that varies by more than the steps
    goes on doing so.
    """
    if not (step > 0).any():
        return flux
    valid = np.isfinite(flux) & np.isfinite(err) & (err > 0)
    configuration = _without_singles(configuration, valid, segments)
    steps = several(configuration, segments)
    if not steps.any():
        return flux
    at = np.flatnonzero(segments.spread(steps) & valid)
    source = segments.spread(np.arange(len(segments)))[at]
    # By counting, not sorting: there are few configurations a source, and many points.
    _, number = _numbered(configuration[at])
    n_configurations = int(number.max()) + 1 if len(number) else 1
    groups, group = _numbered(source * n_configurations + number)
    owner = groups // n_configurations
    w: Floats = 1.0 / err[at] ** 2
    weight = np.bincount(group, w)
    mean = np.bincount(group, w * flux[at]) / weight
    n_sources = len(segments)
    total = np.bincount(owner, weight, n_sources)
    with np.errstate(invalid="ignore"):
        overall: Floats = (np.bincount(owner, weight * mean, n_sources) / total)[owner]
    share = np.bincount(group, step[at] ** 2) / np.bincount(group)
    u = 1.0 / (1.0 / weight + share * overall**2)
    with np.errstate(invalid="ignore"):
        middle = (np.bincount(owner, u * mean, n_sources) / np.bincount(owner, u, n_sources))[owner]
    moved: Floats = flux.copy()
    moved[at] += ((1.0 - np.sqrt(u / weight)) * (middle - mean))[group]
    return moved


def several(configuration: Integers, segments: Segments) -> Flags:
    """Whether each source has points in several configurations, shape (k,)."""
    if not len(segments):
        return np.zeros(0, dtype=bool)
    # Mostly the points of neighbors in time are of the same one.
    changes = np.flatnonzero(configuration[1:] != configuration[:-1]) + 1
    if not len(changes):
        return np.zeros(len(segments), dtype=bool)
    owner = np.searchsorted(segments.starts, changes, side="right") - 1
    inside = segments.starts[owner] != changes
    return np.bincount(owner[inside], minlength=len(segments)) > 0


def _without_singles(configuration: Integers, valid: Flags, segments: Segments) -> Integers:
    """Configurations with odd ones that have one valid flux of a source in the even one below, shape (n,)."""
    odd = (configuration % 2 == 1) & valid
    n_odd = segments.count(odd)
    if not n_odd.any():
        return configuration
    single = odd & segments.spread(n_odd == 1)
    highest = segments.maximum(np.where(odd, configuration, -1))
    lowest = segments.minimum(np.where(odd, configuration, np.iinfo(np.int64).max))
    at = np.flatnonzero(odd & segments.spread((n_odd > 1) & (highest != lowest)))
    if len(at):
        both = np.stack([segments.spread(np.arange(len(segments)))[at], configuration[at]])
        _, group, n_fluxes = np.unique(both, axis=1, return_inverse=True, return_counts=True)
        single[at] = n_fluxes[group.ravel()] == 1
    # What does not count need not be moved.
    return np.where(single, configuration - 1, configuration)


def _numbered(values: Integers | Indices) -> tuple[Indices, Indices]:
    """The different values, ascending, and the place of each value among them: whole numbers from 0."""
    present = np.bincount(values) > 0
    return np.flatnonzero(present), (np.cumsum(present) - 1)[values]
