"""Spectral indices of sources from the bands that they are seen in: of each epoch, or of the means over all.

Fluxes of a band are averaged first. Errors of the images' own scales go down with their number; the tie of a field's
scale to a catalog is common to all of its images and does not. A source that varies scatters more than its errors say:
then the error of its mean is that of the scatter.

A source near the threshold is detected where noise makes it bright. So that its mean is not too bright for that, epochs
that covered and did not detect it count too, as fluxes below the threshold (Tobin 1958, Econometrica 26, 24).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy

from contimg_assets.errors import InputError
from contimg_assets.schemas.tables import TableLike, as_frame, numbers_of, require
from contimg_assets.schemas.variability import SPECTRAL_INDICES
from contimg_assets.sky.arrays import Floats, Indices

_NUMBERS = ("freq_mhz", "flux_mjy", "flux_err_mjy")
_FOR_CURVATURE = 3
# Missed so many times the noise above the threshold: not by noise. Rounds after which no mean changes any more.
_LOST, _ROUNDS = 4.0, 60


def spectral_indices(points: TableLike, per_epoch: bool = False) -> pd.DataFrame:
    """Spectral index alpha of each source, S ~ nu^alpha, by weighted least squares of ln S = a + alpha ln nu.

    Parameters
    ----------
    points : DataFrame, Table, QTable or pyarrow.Table
        Fluxes of any sources: ``source_id``, ``band``, ``freq_mhz`` [MHz], ``flux_mjy``, ``flux_err_mjy`` [mJy, or
        mJy/beam for all]; ``epoch`` for indices of each epoch; used where present: ``flux_scale_err`` and
        ``flux_tie_err``, errors of the image's own scale and of its field's as fractions; ``below_mjy``: rows that have
        it have no flux, which was below this (`flux_err_mjy` is the noise).
    per_epoch : bool
        Whether simultaneous bands of each epoch are compared, rather than the means over all epochs. Of a source that
        varies only those are its spectrum.

    Returns
    -------
    DataFrame
        The columns of SPECTRAL_INDICES: a row a source, or a source and epoch, with two bands or more of positive mean
        flux, sorted. ``alpha_err`` has all errors, ``alpha_tie_err`` is the part that other sources of the field have
        in common; ``curvature`` c of ln S = a + b ln nu + c (ln nu)^2 with three bands or more.

    Raises
    ------
    InputError
        If a column is missing or is no number, or an error is not positive.

    References
    ----------
    Condon & Ransom 2016, Essential Radio Astronomy, eq. 2.65 (S ~ nu^alpha, sign as there for +alpha).

    Examples
    --------
    >>> import pandas as pd
    >>> from contimg_assets.variability.spectral_index import spectral_indices
    >>> points = pd.DataFrame({"source_id": "s", "band": ["891MHz", "1355MHz"], "freq_mhz": [888.0, 1367.0],
    ...                        "flux_mjy": [100.0, 73.9], "flux_err_mjy": [1.0, 1.0]})
    >>> spectral_indices(points)[["alpha", "alpha_err", "n_bands"]].round(2).to_dict("records")
    [{'alpha': -0.7, 'alpha_err': 0.04, 'n_bands': 2}]
    """
    points = as_frame(points, "fluxes")
    require(points, ("source_id", "band", *_NUMBERS, *(("epoch",) if per_epoch else ())), "fluxes")
    keys = ["source_id", *(("epoch",) if per_epoch else ())]
    means = _means_of_bands(points, [*keys, "band"])
    means = means[means["flux"] > 0]
    several = means.groupby(keys)["band"].transform("size") > 1
    means = means[several].sort_values([*keys, "freq"], ignore_index=True)
    group = means.groupby(keys, sort=True)
    number = np.asarray(group.ngroup(), np.intp)
    first = group.first().reset_index()
    fit = _power_laws(means, number, len(first))
    table = first[keys].assign(
        n_bands=np.bincount(number, minlength=len(first)).astype(np.int64),
        freq_min_mhz=group["freq"].min().to_numpy(),
        freq_max_mhz=group["freq"].max().to_numpy(),
        **fit,
        **_curvatures(means, number, len(first)),
    )
    if not per_epoch:
        table["epoch"] = pd.Series([None] * len(table), dtype=object)
    return table[SPECTRAL_INDICES.names]


def _means_of_bands(points: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Weighted mean flux of each band: flux, err (fraction, without the tie), tie (fraction), freq."""
    freq, flux, err = (numbers_of(points, name, "fluxes") for name in _NUMBERS)
    below = numbers_of(points, "below_mjy", "fluxes") if "below_mjy" in points else np.full(len(points), np.nan)
    usable = np.isfinite(flux) & np.isfinite(err)
    wrong = usable & ~((err > 0) & (freq > 0))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(f"fluxes: row {row} has no positive freq_mhz and flux_err_mjy; leave such rows out")
    scale, tie = (
        np.nan_to_num(numbers_of(points, name, "fluxes")) if name in points else np.zeros(len(points))
        for name in ("flux_scale_err", "flux_tie_err")
    )
    weight = 1.0 / (err**2 + (scale * flux) ** 2)
    one = points[keys].assign(w=weight, wf=weight * flux, wff=weight * flux**2, wx=weight * freq, wt=weight * tie, n=1)
    sums = one[usable].groupby(keys, sort=True).sum()
    mean = sums["wf"] / sums["w"]
    chi2 = (sums["wff"] - sums["wf"] * mean).clip(lower=0.0)
    excess = (chi2 / (sums["n"] - 1).clip(lower=1)).clip(lower=1.0)
    mean, weight_sum = _with_undetected(points[keys].assign(below=below, err=err), sums["w"], sums["wf"])
    error = np.sqrt(excess / weight_sum)
    return pd.DataFrame(
        {"flux": mean, "err": error / mean, "tie": sums["wt"] / sums["w"], "freq": sums["wx"] / sums["w"]}
    ).reset_index()


def _with_undetected(rows: pd.DataFrame, weight: pd.Series, product: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Most likely means where some fluxes are only known to lie below a threshold, and their information.

    Parameters
    ----------
    rows : columns of the groups, below (NaN of detections), err
    weight, product : of each group's detections, the sums of 1 / err^2 and of flux / err^2
    """
    mean = product / weight
    missed = rows[rows["below"].notna() & (rows["err"] > 0)]
    at = weight.index.get_indexer(pd.MultiIndex.from_frame(missed[list(weight.index.names)]))
    below, err = (missed[name].to_numpy(float) for name in ("below", "err"))
    # A bright source that was not detected was lost, or varies: nothing is learned of its mean.
    known = (at >= 0) & (mean.to_numpy()[at] - below < _LOST * err)
    at, below, err, own = at[known], below[known], err[known], 1.0 / err[known] ** 2
    if not len(at):
        return mean, weight
    value, total = mean.to_numpy(copy=True), weight + np.bincount(at, own, minlength=len(weight))
    for _ in range(_ROUNDS):
        ratio = _mills((below - value[at]) / err)
        expected = own * (value[at] - err * ratio)
        value = ((product + np.bincount(at, expected, minlength=len(weight))) / total).to_numpy()
    place = (below - value[at]) / err
    ratio = _mills(place)
    information = weight + np.bincount(at, own * ratio * (ratio + place), minlength=len(weight))
    return pd.Series(value, index=weight.index), information


def _mills(z: Floats) -> Floats:
    """Density over distribution function of the normal distribution."""
    ratio: Floats = np.exp(-(z**2) / 2.0 - scipy.special.log_ndtr(z)) / np.sqrt(2.0 * np.pi)
    return ratio


def _power_laws(means: pd.DataFrame, group: Indices, n: int) -> dict[str, Floats]:
    """alpha, its error, and the part of that by the ties, of each group."""
    x, y, err, tie = _columns(means)
    weight = 1.0 / (err**2 + tie**2)

    def total(values: Floats) -> Floats:
        return np.asarray(np.bincount(group, values, minlength=n), dtype=np.float64)

    spread = x - (total(weight * x) / total(weight))[group]
    precision = total(weight * spread**2)
    return {
        "alpha": total(weight * spread * y) / precision,
        "alpha_err": 1.0 / np.sqrt(precision),
        "alpha_tie_err": np.sqrt(total((weight * spread * tie) ** 2)) / precision,
    }


def _curvatures(means: pd.DataFrame, group: Indices, n: int) -> dict[str, Floats]:
    """Curvature and its error of the groups of three bands or more, NaN of others."""
    curvature, error = np.full(n, np.nan), np.full(n, np.nan)
    enough = np.bincount(group, minlength=n) >= _FOR_CURVATURE
    rows = enough[group]
    if rows.any():
        x, y, err, tie = (values[rows] for values in _columns(means))
        at, place = np.unique(group[rows], return_inverse=True)
        weight = 1.0 / (err**2 + tie**2)
        # About the mean of each, so that the powers are not all alike.
        x = x - (np.bincount(place, weight * x) / np.bincount(place, weight))[place]
        moments = [np.bincount(place, weight * x**k) for k in range(5)]
        normal = np.stack([np.stack([moments[i + j] for j in range(3)], axis=-1) for i in range(3)], axis=-2)
        right = np.stack([np.bincount(place, weight * y * x**k) for k in range(3)], axis=-1)
        covariance = np.linalg.inv(normal)
        curvature[at] = np.einsum("ij,ij->i", covariance[:, 2, :], right)
        error[at] = np.sqrt(covariance[:, 2, 2])
    return {"curvature": curvature, "curvature_err": error}


def _columns(means: pd.DataFrame) -> tuple[Floats, Floats, Floats, Floats]:
    """ln nu, ln S, and both errors of ln S."""
    freq, flux, err, tie = (means[name].to_numpy(dtype=float) for name in ("freq", "flux", "err", "tie"))
    return np.log(freq), np.log(flux), err, tie
