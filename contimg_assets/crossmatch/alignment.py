"""The offset of each image against a catalogue, and the error that explains the scatter about it; for matching only.

The correction of positions that users see is measured by `contimg_assets.calibration` from the matches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.ndimage import uniform_filter

from contimg_assets.sky.arrays import Flags, Floats, Indices, Integers

_MAD_TO_SIGMA = 1.4826
# Standard error of a median of normal values, in standard errors of their mean.
_MEDIAN_TO_MEAN = 1.2533
# Relative standard error of a sigma from the MAD, times sqrt(n).
_MAD_EFFICIENCY = 1.17


@dataclass(frozen=True)
class Offsets:
    """Offset (catalogue minus measurement) per group, arcsec, shape (n_groups,); NaN where not measured."""

    dra: Floats
    ddec: Floats
    dra_err: Floats
    ddec_err: Floats
    dra_scatter: Floats
    ddec_scatter: Floats
    n: Integers
    applied: Flags
    systematic_ew: Floats
    systematic_ns: Floats
    # The catalogue that an offset was borrowed from; empty text where it is the group's own.
    borrowed: npt.NDArray[np.object_]


def borrow_offsets(own: Offsets, others: Mapping[str, Offsets], frame_err_arcsec: float) -> Offsets | None:
    """Offsets measured with other catalogues, for the groups that have none of their own.

    An image is off by far more than the frames of catalogues differ: where a catalogue has too few sources in an image,
    what another one says is better than nothing. Of several, the one with the most pairs.

    Parameters
    ----------
    own : measured with this catalogue
    others : measured with the others, by name
    frame_err_arcsec : how far the frames of two catalogues differ; in quadrature with the offset's own error

    Returns
    -------
    The offsets with what is borrowed, or None where nothing is to be had
    """
    names = sorted(name for name, offsets in others.items() if offsets.applied.any())
    if not names or own.applied.all():
        return None
    n = np.stack([np.where(others[name].applied, others[name].n, 0) for name in names])
    best = n.argmax(axis=0)
    lent = ~own.applied & (n.max(axis=0) > 0)
    if not lent.any():
        return None

    def of(field: str) -> Floats:
        values = np.stack([getattr(others[name], field) for name in names])
        return np.take_along_axis(values, best[None], axis=0)[0]

    return replace(
        own,
        dra=np.where(lent, of("dra"), own.dra),
        ddec=np.where(lent, of("ddec"), own.ddec),
        dra_err=np.where(lent, np.hypot(of("dra_err"), frame_err_arcsec), own.dra_err),
        ddec_err=np.where(lent, np.hypot(of("ddec_err"), frame_err_arcsec), own.ddec_err),
        applied=own.applied | lent,
        borrowed=np.where(lent, np.array(names, dtype=object)[best], ""),
    )


def measure_offsets(
    dra: Floats,
    ddec: Floats,
    sigma_ew: Floats,
    sigma_ns: Floats,
    group: Indices,
    unrelated_per_arcsec2: Floats,
    max_offset_arcsec: float,
    min_pairs: int,
    fit_systematic: bool,
) -> Offsets:
    """Find each group's offset in the cloud of all its pairs.

    The densest spot of the cloud, on a grid as fine as the errors, then the median of the pairs around it, iterated
    with clipping at three times the scatter. True pairs pile up at the offset and false ones spread evenly, so that
    neither a wrong nearest neighbour nor a majority of false pairs moves it.

    Parameters
    ----------
    dra, ddec, sigma_ew, sigma_ns : offsets of all pairs and their errors, arcsec, shape (k,)
    group : of each pair, shape (k,), from 0 to n_groups - 1
    unrelated_per_arcsec2 : unrelated pairs expected per square arcsec of offset, all detections of a group together,
        shape (n_groups,)
    max_offset_arcsec : the largest offset that is looked for; 0: none is taken out
    min_pairs : fewer pairs about the spot leave the group as it is
    fit_systematic : whether to find the error that, added in quadrature, explains the scatter
    """
    n_groups = len(unrelated_per_arcsec2)
    nobody = np.full(n_groups, "", dtype=object)
    nothing, nan = np.zeros(n_groups), np.full(n_groups, np.nan)
    none = Offsets(nan, nan, nan, nan, nan, nan, nothing.astype(int), nothing.astype(bool), nothing, nothing, nobody)
    if not len(dra):
        return none
    typical = float(np.median(np.maximum(sigma_ew, sigma_ns)))
    reach = max(max_offset_arcsec, 3.0 * typical)
    cloud = (np.abs(dra) <= reach) & (np.abs(ddec) <= reach) & (np.maximum(sigma_ew, sigma_ns) <= 2.0 * typical)
    if not cloud.any():
        return none
    x, y, g = dra[cloud], ddec[cloud], group[cloud]
    sx, sy = sigma_ew[cloud], sigma_ns[cloud]
    centre_x, centre_y = _densest(x, y, g, n_groups, reach, typical) if max_offset_arcsec > 0 else (nothing, nothing)
    typical_of = pd.Series(np.maximum(sx, sy)).groupby(g).median().reindex(range(n_groups)).fillna(typical).to_numpy()
    scatter_x = scatter_y = np.maximum(1.5 * typical_of, 0.3)
    cloud_xy = pd.DataFrame({"x": x, "y": y})
    for _ in range(5):
        # Pairs of faint sources scatter more than most: each is kept within three times its own error at least.
        width_x, width_y = 3.0 * np.maximum(scatter_x[g], sx), 3.0 * np.maximum(scatter_y[g], sy)
        near = (np.abs(x - centre_x[g]) <= width_x) & (np.abs(y - centre_y[g]) <= width_y)
        chosen, of = cloud_xy[near], g[near]
        middle = chosen.groupby(of).median().reindex(range(n_groups))
        if max_offset_arcsec > 0:
            centre_x, centre_y = middle["x"].fillna(0.0).to_numpy(), middle["y"].fillna(0.0).to_numpy()
        away = pd.DataFrame(
            {"x": np.abs(chosen["x"] - centre_x[of]), "y": np.abs(chosen["y"] - centre_y[of])}, index=chosen.index
        )
        mad = away.groupby(of).median().reindex(range(n_groups)) * _MAD_TO_SIGMA
        scatter_x, scatter_y = (
            np.clip(mad[axis].fillna(typical).to_numpy(), 0.3 * typical_of, 4.0 * typical_of) for axis in "xy"
        )
    n = np.bincount(of, minlength=n_groups)
    n_cloud = np.maximum(np.bincount(g, minlength=n_groups), 1)
    window = np.bincount(g, np.minimum(4.0 * width_x * width_y, 4.0 * reach * reach), minlength=n_groups) / n_cloud
    background = np.minimum(unrelated_per_arcsec2 * window, n)
    true = np.asarray(n - background, dtype=np.float64)
    found = (n >= min_pairs) & (true > 5.0 * np.sqrt(background)) & (true > 0)
    mad_x, mad_y = mad["x"].to_numpy(), mad["y"].to_numpy()
    applied = found & (max_offset_arcsec > 0)
    systematic = (nothing, nothing)
    if fit_systematic and found.any():
        rows = near & found[g]
        systematic = _systematic(
            _Cloud(
                x[rows] - centre_x[g][rows],
                y[rows] - centre_y[g][rows],
                sx[rows],
                sy[rows],
                g[rows],
                true,
                unrelated_per_arcsec2,
            )
        )
    return Offsets(
        np.where(found, centre_x, np.nan),
        np.where(found, centre_y, np.nan),
        np.where(found, _MEDIAN_TO_MEAN * mad_x / np.sqrt(np.maximum(true, 1.0)), np.nan),
        np.where(found, _MEDIAN_TO_MEAN * mad_y / np.sqrt(np.maximum(true, 1.0)), np.nan),
        np.where(found, mad_x, np.nan),
        np.where(found, mad_y, np.nan),
        n,
        applied,
        *systematic,
        nobody,
    )


def _densest(
    x: Floats, y: Floats, group: Indices, n_groups: int, reach: float, typical: float
) -> tuple[Floats, Floats]:
    """Centre of the fullest 3 x 3 bins of each group's offsets."""
    width = float(np.clip(typical, reach / 50.0, reach / 3.0))
    n_bins = 2 * int(np.ceil(reach / width)) + 1
    half = n_bins // 2
    ix, iy = (np.clip(np.rint(v / width).astype(int) + half, 0, n_bins - 1) for v in (x, y))
    counts = np.bincount((group * n_bins + ix) * n_bins + iy, minlength=n_groups * n_bins * n_bins)
    smooth = uniform_filter(
        counts.reshape(n_groups, n_bins, n_bins).astype(float), size=(1, 3, 3), mode="constant", cval=0.0
    )
    # Of equally full spots the one nearest to no offset: deterministic, and the likelier one.
    grid = np.arange(n_bins) - half
    smooth -= 1e-9 * np.hypot(*np.meshgrid(grid, grid, indexing="ij"))
    best = smooth.reshape(n_groups, -1).argmax(axis=1)
    steps = (grid * width).astype(float)
    return steps[best // n_bins], steps[best % n_bins]


@dataclass(frozen=True)
class _Cloud:
    """Pairs about their group's offset: residuals, errors and group (k,); true and unrelated pairs (n_groups,)."""

    x: Floats
    y: Floats
    sigma_x: Floats
    sigma_y: Floats
    group: Indices
    n_true: Floats
    per_area: Floats

    def weights(self, added_x: Floats, added_y: Floats) -> Floats:
        """Probability of each pair to be a true one, with these errors added in quadrature."""
        var_x = self.sigma_x**2 + added_x[self.group] ** 2
        var_y = self.sigma_y**2 + added_y[self.group] ** 2
        likelihood = np.exp(-0.5 * (self.x**2 / var_x + self.y**2 / var_y)) / (2.0 * np.pi * np.sqrt(var_x * var_y))
        signal = self.n_true[self.group] * likelihood
        total = signal + self.per_area[self.group]
        return np.divide(signal, total, out=np.zeros(len(total)), where=total > 0)

    def only(self, groups: Flags) -> _Cloud:
        rows = groups[self.group]
        return _Cloud(
            self.x[rows],
            self.y[rows],
            self.sigma_x[rows],
            self.sigma_y[rows],
            self.group[rows],
            self.n_true,
            self.per_area,
        )


def _systematic(cloud: _Cloud) -> tuple[Floats, Floats]:
    """The errors that make 1.4826 MAD of residual / sqrt(sigma^2 + error^2) one, in x and y.

    0 unless it is 2 sigma above one without. Medians are weighted by the probability of each pair to be true.
    """
    n_groups = len(cloud.n_true)
    added = [np.zeros(n_groups), np.zeros(n_groups)]
    limit = 1.0 + 2.0 * _MAD_EFFICIENCY / np.sqrt(np.maximum(cloud.n_true, 1.0))
    weights = cloud.weights(*added)
    excess = [
        _spread(v, s, weights, cloud.group, added[0]) > limit
        for v, s in ((cloud.x, cloud.sigma_x), (cloud.y, cloud.sigma_y))
    ]
    cloud = cloud.only(excess[0] | excess[1])
    if not len(cloud.x):
        return added[0], added[1]
    # What is true depends on the errors and the errors on what is true: three rounds settle it.
    for _ in range(3):
        weights = cloud.weights(*added)
        for axis, (v, s) in enumerate(((cloud.x, cloud.sigma_x), (cloud.y, cloud.sigma_y))):
            low, high = np.zeros(n_groups), np.full(n_groups, 2.0 * float(np.abs(v).max()))
            for _ in range(10):
                middle = 0.5 * (low + high)
                too_small = _spread(v, s, weights, cloud.group, middle) > 1.0
                low, high = np.where(too_small, middle, low), np.where(too_small, high, middle)
            added[axis] = np.where(excess[axis], 0.5 * (low + high), 0.0)
    return added[0], added[1]


def _spread(residual: Floats, sigma: Floats, weight: Floats, group: Indices, added: Floats) -> Floats:
    """1.4826 weighted median of |residual| / sqrt(sigma^2 + added^2) of each group; 0 for groups without rows."""
    value = np.abs(residual) / np.sqrt(sigma**2 + added[group] ** 2)
    order = np.lexsort((value, group))
    grouped, cumulative = group[order], np.cumsum(weight[order])
    total = np.bincount(group, weight, minlength=len(added))
    before = np.concatenate([[0.0], np.cumsum(total)[:-1]])
    row = np.searchsorted(cumulative, before + 0.5 * total)
    inside = (total > 0) & (row < len(order))
    row = np.minimum(row, len(order) - 1) if len(order) else row
    result = np.zeros(len(added))
    inside[inside] &= grouped[row[inside]] == np.flatnonzero(inside)
    result[inside] = _MAD_TO_SIGMA * value[order][row[inside]]
    return result
