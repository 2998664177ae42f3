"""The offset of each image against a catalog, and the error that explains the scatter about it; for matching only.

The correction of positions that users see is measured by `contimg_assets.calibration` from the matches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy

from contimg_assets.config import Matching
from contimg_assets.sky import robust
from contimg_assets.sky.arrays import Flags, Floats, Indices, Integers

# Least and largest binary logarithm of the bins on either side of the middle that a group's densest spot is looked for.
_HALVES = (2, 6)


@dataclass(frozen=True)
class Offsets:
    """Offset (catalog minus measurement) per group, arcsec, shape (n_groups,); NaN where not measured."""

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
    # The catalog that an offset was borrowed from; empty text where it is the group's own.
    borrowed: npt.NDArray[np.object_]

    @classmethod
    def unknown(cls, n_groups: int) -> Offsets:
        """Nothing measured, nothing applied."""
        nan, zero = np.full(n_groups, np.nan), np.zeros(n_groups)
        return cls(
            **dict.fromkeys(("dra", "ddec", "dra_err", "ddec_err", "dra_scatter", "ddec_scatter"), nan),
            n=zero.astype(int),
            applied=zero.astype(bool),
            systematic_ew=zero,
            systematic_ns=zero,
            borrowed=np.full(n_groups, "", dtype=object),
        )


def with_borrowed(measured: Offsets, lent: Offsets | None) -> Offsets:
    """What was measured, with the offsets of `borrow_offsets` for the groups that have them from another catalog."""
    if lent is None:
        return measured
    borrowed = lent.borrowed != ""
    names = ("dra", "ddec", "dra_err", "ddec_err", "applied", "borrowed")
    return replace(
        measured, **{name: np.where(borrowed, getattr(lent, name), getattr(measured, name)) for name in names}
    )


def borrow_offsets(own: Offsets, others: Mapping[str, Offsets], frame_err_arcsec: float) -> Offsets | None:
    """Offsets measured with other catalogs, for the groups that have none of their own.

    An image is off by far more than the frames of catalogs differ: where a catalog has too few sources in an image,
    what another one says is better than nothing. Of several, the one with the most pairs.

    Parameters
    ----------
    own : measured with this catalog
    others : measured with the others, by name
    frame_err_arcsec : how far the frames of two catalogs differ; in quadrature with the offset's own error

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
        lent_values: Floats = np.take_along_axis(values, best[None], axis=0)[0]
        return lent_values

    return replace(
        own,
        dra=np.where(lent, of("dra"), own.dra),
        ddec=np.where(lent, of("ddec"), own.ddec),
        dra_err=np.where(lent, np.hypot(of("dra_err"), frame_err_arcsec), own.dra_err),
        ddec_err=np.where(lent, np.hypot(of("ddec_err"), frame_err_arcsec), own.ddec_err),
        applied=own.applied | lent,
        borrowed=np.where(lent, np.array(names, dtype=object)[best], ""),
    )


@dataclass(frozen=True)
class Cloud:
    """Offsets of pairs in groups, and how many of them are expected to be unrelated.

    Attributes
    ----------
    x, y : east and north, catalog minus measurement, shape (k,) [arcsec]
    sigma_x, sigma_y : their errors, shape (k,) [arcsec]
    group : of each pair, shape (k,), from 0 to n_groups - 1
    unrelated_per_arcsec2 : unrelated pairs expected per square arcsec of offset, all detections of a group together,
        shape (n_groups,)
    """

    x: Floats
    y: Floats
    sigma_x: Floats
    sigma_y: Floats
    group: Indices
    unrelated_per_arcsec2: Floats

    @property
    def n_groups(self) -> int:
        return len(self.unrelated_per_arcsec2)

    def only(self, rows: Flags) -> Cloud:
        """Some of the pairs; the groups stay as they are numbered."""
        pairs = {name: getattr(self, name)[rows] for name in ("x", "y", "sigma_x", "sigma_y", "group")}
        return replace(self, **pairs)

    def about(self, centre_x: Floats, centre_y: Floats) -> Cloud:
        """What is left of the offsets when each group's own, shape (n_groups,), is taken out."""
        return replace(self, x=self.x - centre_x[self.group], y=self.y - centre_y[self.group])

    def typical_errors(self) -> Floats:
        """Median over the pairs of each group of the larger error of a pair, shape (n_groups,); 0 without pairs."""
        error = pd.Series(np.maximum(self.sigma_x, self.sigma_y))
        medians = error.groupby(self.group).median().reindex(range(self.n_groups)).fillna(0.0)
        return np.asarray(medians, dtype=np.float64)

    def weights(self, n_true: Floats, added_x: Floats, added_y: Floats) -> Floats:
        """Probability of each pair to be a true one, with these errors of its group added in quadrature.

        Parameters
        ----------
        n_true : true pairs of each group, about 0 offset, shape (n_groups,)
        """
        var_x = self.sigma_x**2 + added_x[self.group] ** 2
        var_y = self.sigma_y**2 + added_y[self.group] ** 2
        likelihood = np.exp(-0.5 * (self.x**2 / var_x + self.y**2 / var_y)) / (2.0 * np.pi * np.sqrt(var_x * var_y))
        signal = n_true[self.group] * likelihood
        total = signal + self.unrelated_per_arcsec2[self.group]
        return np.divide(signal, total, out=np.zeros(len(total)), where=total > 0)


def measure_offsets(cloud: Cloud, parameters: Matching, max_offset_arcsec: float) -> Offsets:
    """Find each group's offset in the cloud of all its pairs.

    The densest spot of the cloud, on a grid as fine as the errors, then the median of the pairs around it, iterated
    with clipping at three times the scatter. True pairs pile up at the offset and false ones spread evenly, so that
    neither a wrong nearest neighbor nor a majority of false pairs moves it.

    Parameters
    ----------
    parameters : section `matching`: fewer pairs about the spot than ``min_offset_pairs`` leave the group as it is;
        ``fit_systematic`` finds the error that, added in quadrature, explains the scatter
    max_offset_arcsec : the largest offset that is looked for; 0: none is taken out
    """
    error, typical = np.maximum(cloud.sigma_x, cloud.sigma_y), cloud.typical_errors()
    reach = np.maximum(max_offset_arcsec, 3.0 * typical)
    inside = (np.abs(cloud.x) <= reach[cloud.group]) & (np.abs(cloud.y) <= reach[cloud.group])
    cloud = cloud.only(inside & (error <= 2.0 * typical[cloud.group]))
    if not len(cloud.x):
        return Offsets.unknown(cloud.n_groups)
    spot = _settled(cloud, reach, moves=max_offset_arcsec > 0)
    n = np.bincount(cloud.group[spot.near], minlength=cloud.n_groups)
    background = np.minimum(cloud.unrelated_per_arcsec2 * spot.window_arcsec2, n)
    true = np.asarray(n - background, dtype=np.float64)
    found = (n >= parameters.min_offset_pairs) & (true > 5.0 * np.sqrt(background)) & (true > 0)
    systematic_ew = systematic_ns = np.zeros(cloud.n_groups)
    if parameters.fit_systematic and found.any():
        around = cloud.about(spot.x, spot.y).only(spot.near & found[cloud.group])
        systematic_ew, systematic_ns = systematic(around, true)
    err_x, err_y = (
        robust.error_of_median(scatter, np.maximum(true, 1.0), robust.MEDIAN_TO_MEAN_4)
        for scatter in (spot.scatter_x, spot.scatter_y)
    )
    return Offsets(
        dra=np.where(found, spot.x, np.nan),
        ddec=np.where(found, spot.y, np.nan),
        dra_err=np.where(found, err_x, np.nan),
        ddec_err=np.where(found, err_y, np.nan),
        dra_scatter=np.where(found, spot.scatter_x, np.nan),
        ddec_scatter=np.where(found, spot.scatter_y, np.nan),
        n=n,
        applied=found & (max_offset_arcsec > 0),
        systematic_ew=systematic_ew,
        systematic_ns=systematic_ns,
        borrowed=np.full(cloud.n_groups, "", dtype=object),
    )


@dataclass(frozen=True)
class _Spot:
    """Where the pairs of each group pile up: arrays of shape (n_groups,), and which pairs are near, shape (k,).

    ``scatter_x`` and ``scatter_y`` are NaN without pairs; ``window_arcsec2`` is the mean area that near pairs are
    looked for in.
    """

    x: Floats
    y: Floats
    scatter_x: Floats
    scatter_y: Floats
    window_arcsec2: Floats
    near: Flags


def _settled(cloud: Cloud, reach: Floats, *, moves: bool) -> _Spot:
    """The spot of each group after five rounds of median and clipping; it stays at 0 unless it ``moves``."""
    n_groups, group = cloud.n_groups, cloud.group
    typical = cloud.typical_errors()
    x, y = _densest(cloud, reach, typical) if moves else (np.zeros(n_groups), np.zeros(n_groups))
    width_x = width_y = np.maximum(1.5 * typical, 0.3)
    offsets = pd.DataFrame({"x": cloud.x, "y": cloud.y})
    for _ in range(5):
        # Pairs of faint sources scatter more than most: each is kept within three times its own error at least.
        within_x, within_y = (
            3.0 * np.maximum(width_x[group], cloud.sigma_x),
            3.0 * np.maximum(width_y[group], cloud.sigma_y),
        )
        near = (np.abs(cloud.x - x[group]) <= within_x) & (np.abs(cloud.y - y[group]) <= within_y)
        chosen, of = offsets[near], group[near]
        if moves:
            middle = robust.medians_of_groups(chosen, of).reindex(range(n_groups)).fillna(0.0)
            x, y = middle["x"].to_numpy(), middle["y"].to_numpy()
        centre = np.stack([x[of], y[of]], axis=-1)
        scatter = robust.scatter_of_groups(chosen, centre, of, robust.MAD_TO_SIGMA_4).reindex(range(n_groups))
        width_x, width_y = (
            np.clip(scatter[axis].fillna(0.0).to_numpy(), 0.3 * typical, 4.0 * typical) for axis in "xy"
        )
    area = np.bincount(group, np.minimum(4.0 * within_x * within_y, 4.0 * reach[group] ** 2), minlength=n_groups)
    window = area / np.maximum(np.bincount(group, minlength=n_groups), 1)
    return _Spot(x, y, scatter["x"].to_numpy(), scatter["y"].to_numpy(), window, near)


def _densest(cloud: Cloud, reach: Floats, typical: Floats) -> tuple[Floats, Floats]:
    """Center of the fullest 3 x 3 bins of each group's offsets."""
    x, y = np.zeros(cloud.n_groups), np.zeros(cloud.n_groups)
    # About as wide as an error, and no more than there is room for. A power of two, so that groups are done together.
    halves = 2 ** np.clip(np.round(np.log2(reach / np.maximum(typical, 1e-9))), *_HALVES).astype(np.intp)
    there = np.bincount(cloud.group, minlength=cloud.n_groups) > 0
    for half in np.unique(halves[there]):
        groups = np.flatnonzero(there & (halves == half))
        place = np.full(cloud.n_groups, -1)
        place[groups] = np.arange(len(groups))
        inside = np.flatnonzero(place[cloud.group] >= 0)
        of, width = place[cloud.group[inside]], reach[groups] / half
        ix, iy = (np.rint(v[inside] / width[of]).astype(np.intp) + half for v in (cloud.x, cloud.y))
        best_x, best_y = _fullest(ix, iy, of, int(half), len(groups))
        x[groups], y[groups] = best_x * width, best_y * width
    return x, y


def _fullest(ix: Indices, iy: Indices, group: Indices, half: int, n_groups: int) -> tuple[Integers, Integers]:
    """Steps from the middle to the bin of each group about which the 3 x 3 bins hold most, in a square of bins.

    Parameters
    ----------
    ix, iy, group : bins and group of each pair, from 0 to 2 half and n_groups - 1
    """
    n_bins = 2 * half + 1
    counts = np.bincount((group * n_bins + ix) * n_bins + iy, minlength=n_groups * n_bins * n_bins)
    smooth = scipy.ndimage.uniform_filter(
        counts.reshape(n_groups, n_bins, n_bins).astype(float), size=(1, 3, 3), mode="constant", cval=0.0
    )
    # Of equally full spots the one nearest to no offset: deterministic, and the likelier one.
    grid = np.arange(n_bins) - half
    smooth -= 1e-9 * np.hypot(*np.meshgrid(grid, grid, indexing="ij"))
    best = smooth.reshape(n_groups, -1).argmax(axis=1)
    return grid[best // n_bins], grid[best % n_bins]


def systematic(cloud: Cloud, n_true: Floats) -> tuple[Floats, Floats]:
    """The errors that make 1.4826 MAD of residual / sqrt(sigma^2 + error^2) one, in x and y, shape (n_groups,).

    0 unless it is 2 sigma above one without. Medians are weighted by the probability of each pair to be true.

    Parameters
    ----------
    cloud : residuals about each group's offset
    n_true : true pairs of each group, shape (n_groups,)
    """
    added = [np.zeros(cloud.n_groups), np.zeros(cloud.n_groups)]
    limit = 1.0 + 2.0 * robust.MAD_SIGMA_ERROR / np.sqrt(np.maximum(n_true, 1.0))
    weights, one = cloud.weights(n_true, *added), np.ones(cloud.n_groups)
    excess = [_wider(cloud, axis, weights, added[axis], limit) for axis in (0, 1)]
    cloud = cloud.only((excess[0] | excess[1])[cloud.group])
    if not len(cloud.x):
        return added[0], added[1]
    # What is true depends on the errors and the errors on what is true: three rounds settle it.
    for _ in range(3):
        weights = cloud.weights(n_true, *added)
        for axis, residual in enumerate((cloud.x, cloud.y)):
            low, high = np.zeros(cloud.n_groups), 2.0 * _largest(np.abs(residual), cloud)
            for _ in range(10):
                middle = 0.5 * (low + high)
                too_small = _wider(cloud, axis, weights, middle, one)
                low, high = np.where(too_small, middle, low), np.where(too_small, high, middle)
            added[axis] = np.where(excess[axis], 0.5 * (low + high), 0.0)
    return added[0], added[1]


def _largest(values: Floats, cloud: Cloud) -> Floats:
    """The largest of the values of each group; 0 for groups without rows."""
    largest = np.zeros(cloud.n_groups)
    np.maximum.at(largest, cloud.group, values)
    return largest


def _wider(cloud: Cloud, axis: int, weight: Floats, added: Floats, limit: Floats) -> Flags:
    """Whether 1.4826 weighted median of |residual| / sqrt(sigma^2 + added^2) of each group is above its limit."""
    residual, sigma = ((cloud.x, cloud.sigma_x), (cloud.y, cloud.sigma_y))[axis]
    value = np.abs(residual) / np.sqrt(sigma**2 + added[cloud.group] ** 2)
    return robust.weighted_medians_exceed(robust.MAD_TO_SIGMA_4 * value, weight, cloud.group, limit)
