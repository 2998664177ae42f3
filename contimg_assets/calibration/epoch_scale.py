"""The flux scale between epochs: all images solved together from the sources they share, tied to the catalog once.

The scatter of a catalog's fluxes is in every image's own scale; sources shared between epochs do without it. One
least-squares problem (source j, image i, each scale against the catalog one more equation)::

    ln S_ij = s_j + ln g_i + noise,      ln g_i(catalog) = ln g_i + noise

Images of one pointing share hundreds of sources and are tied to each other far better than to the catalog. Images of
neighboring pointings share only sources at their edges, where primary beams are worst: errors of such links would add
up along a chain of pointings, were it not for the catalog's equations.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy

from contimg_assets.calibration.selection import isolated_and_compact, of_single_sources
from contimg_assets.calibration.trust import refuse_scale
from contimg_assets.config import Corrections
from contimg_assets.errors import InputError
from contimg_assets.schemas.corrections import EPOCH_SCALES
from contimg_assets.sky.arrays import Flags, Floats, Indices
from contimg_assets.sky.robust import scatter

# Tukey's biweight at 95 % efficiency: a variable source loses all weight, not just some.
_BIWEIGHT = 4.685
_ITERATIONS = 30
_FROM_MEDIANS = 3
# In standard errors of an image against the others: the weights of a redescending estimator creep on for ever.
_CONVERGED = 0.3
_DENSE_LIMIT = 2_000
# Images have names that are unique within their epoch.
_IMAGE = ["epoch", "image"]


@dataclass(frozen=True)
class _Equations:
    """ln S of image i, source j; sources and images numbered from 0."""

    image: Indices
    source: Indices
    ln_flux: Floats
    variance: Floats
    n_images: int
    n_sources: int


def constant_sources(
    measurements: pd.DataFrame,
    associations: pd.DataFrame,
    images: pd.DataFrame,
    parameters: Corrections,
    variable_sources: Collection[str] = (),
) -> pd.DataFrame:
    """The fluxes of one epoch that may tie its images to other epochs; with the epoch for `calculate_epoch_scales`.

    Parameters
    ----------
    measurements, associations, images : MEASUREMENTS, ASSOCIATIONS and IMAGES of the epoch
    parameters : section `corrections`: isolation, compactness and SNR as for matches (here a limit on our SNR: no epoch
        is preferred by it)
    variable_sources : source_id of sources known to vary

    Returns
    -------
    source_id, image, flux_mjy, flux_err_mjy; measurements of several sources are left out
    """
    table = of_single_sources(measurements, associations, images).assign(catalog="sources")
    chosen = isolated_and_compact(table, measurements, images, parameters)
    chosen &= ~table["source_id"].isin(set(variable_sources)).to_numpy()
    chosen &= (table["snr"].to_numpy(dtype=float) >= parameters.min_snr) & (table["flux_mjy"].to_numpy(dtype=float) > 0)
    return table.loc[chosen, ["source_id", "image", "flux_mjy", "flux_err_mjy"]].reset_index(drop=True)


def calculate_epoch_scales(
    fluxes: pd.DataFrame,
    corrections: pd.DataFrame | None = None,
    *,
    min_sources: int = 10,
    max_sources: int = 200,
) -> pd.DataFrame:
    """Relative flux scales of images from the sources they share.

    Parameters
    ----------
    fluxes : `constant_sources` of all epochs: epoch, source_id, image, flux_mjy, flux_err_mjy, not corrected. Known
        variables are better left out; unknown ones lose their weight.
    corrections : CORRECTIONS of the images with their epoch: the trusted scales against the catalog. In a group of
        connected images without any the mean of ln scale is 0.
    min_sources : images connected by fewer sources get no scale
    max_sources : of each image those of the most certain fluxes: as many tie an image far better than the catalog
        does, and the time that a thousand epochs take stays short

    Returns
    -------
    EPOCH_SCALES, one row an image, sorted by epoch and image

    Raises
    ------
    InputError
        If a column is missing.
    """
    for name in (*_IMAGE, "source_id", "flux_mjy", "flux_err_mjy"):
        if name not in fluxes.columns:
            raise InputError(f"the fluxes have no column {name!r}: the scale between epochs needs it")
    names = fluxes[_IMAGE].drop_duplicates().sort_values(_IMAGE, ignore_index=True)
    labels = pd.MultiIndex.from_frame(names)
    equations = _most_certain(_equations(fluxes, labels), max_sources)
    n_sources = np.bincount(equations.image, minlength=len(names))
    # Images with too few equations leave, which may leave others with too few.
    while True:
        weak = (n_sources < min_sources) & (n_sources > 0)
        if not weak.any():
            break
        equations = _shared(equations, ~weak[equations.image])
        n_sources = np.bincount(equations.image, minlength=len(names))
    scale, error = np.full(len(names), np.nan), np.full(len(names), np.nan)
    if len(equations.image):
        connected = n_sources > 0
        ln_scale, ln_error, group = _solve(equations, *_ties(labels, connected, corrections))
        scale[connected] = np.exp(ln_scale[connected])
        error[connected] = (np.exp(ln_scale) * ln_error)[connected]
    else:
        group = np.arange(len(names))
    return names.assign(
        epoch_scale=scale,
        epoch_scale_err=error,
        n_sources=n_sources.astype(np.int64),
        connected=group.astype(np.int64),
    )[EPOCH_SCALES.names]


def scale_refusals(scales: pd.DataFrame, parameters: Corrections) -> list[str | None]:
    """Why each scale of EPOCH_SCALES is not applied; None where it is. A missing scale is refused too."""
    return [
        "flux: no scale between epochs for this image: too few sources in common with others"
        if not np.isfinite(error)
        else refuse_scale(scale, error, parameters)
        for scale, error in zip(scales["epoch_scale"], scales["epoch_scale_err"], strict=True)
    ]


def with_epoch_scales(corrections: pd.DataFrame, scales: pd.DataFrame, parameters: Corrections) -> pd.DataFrame:
    """Corrections of one epoch that apply the scale between epochs, where it can be trusted.

    Parameters
    ----------
    corrections : CORRECTIONS of the epoch, measured with ``apply_flux`` 'epochs', which leaves fluxes as they are
    scales : EPOCH_SCALES of the epoch
    parameters : section `corrections`: the limits beyond which a scale is refused

    Returns
    -------
    CORRECTIONS; an image whose scale is missing or refused keeps its fluxes, with the reason and ``applied`` false.
    """
    found = scales.set_index("image").reindex(corrections["image"])
    g, error = (found[name].to_numpy(dtype=float) for name in ("epoch_scale", "epoch_scale_err"))
    refusals = scale_refusals(found, parameters)
    scaled = np.array([refusal is None for refusal in refusals], dtype=bool)
    reasons = [
        "; ".join(text for text in (before, refusal) if isinstance(text, str)) or None
        for before, refusal in zip(corrections["reason"], refusals, strict=True)
    ]
    return corrections.assign(
        flux_applied=scaled,
        flux_mult=np.where(scaled, 1 / np.where(scaled, g, 1.0), 1.0),
        flux_mult_err=np.where(scaled, error / np.where(scaled, g, 1.0) ** 2, 0.0),
        flux_add_mjy=0.0,
        flux_add_err_mjy=0.0,
        applied=corrections["applied"].to_numpy(dtype=bool) & scaled,
        reason=pd.Series(reasons, index=corrections.index, dtype=object),
    )


def _equations(fluxes: pd.DataFrame, images: pd.MultiIndex) -> _Equations:
    flux = fluxes["flux_mjy"].to_numpy(dtype=float, na_value=np.nan)
    error = fluxes["flux_err_mjy"].to_numpy(dtype=float, na_value=np.nan)
    usable = (flux > 0) & fluxes["source_id"].notna().to_numpy()
    image = images.get_indexer(pd.MultiIndex.from_frame(fluxes.loc[usable, _IMAGE])).astype(np.intp)
    source, ids = pd.factorize(fluxes["source_id"].to_numpy()[usable], sort=True)
    flux, error = flux[usable], np.nan_to_num(error[usable])
    # A source that an image has twice is a fork or a blend: the same equation, twice, would count as agreement.
    order = np.lexsort((flux, image, source))
    image, source, flux, error = image[order], source[order], flux[order], error[order]
    same = (image[1:] == image[:-1]) & (source[1:] == source[:-1])
    single = ~(np.r_[False, same] | np.r_[same, False]) if len(image) else np.empty(0, dtype=bool)
    whole = _Equations(image, source, np.log(flux), (error / flux) ** 2, len(images), len(ids))
    return _shared(whole, single)


def _most_certain(equations: _Equations, max_sources: int) -> _Equations:
    """Of each image at most so many equations, of sources that are certain over all images.

    By the median of the source's errors: the error of the one flux would prefer what noise made bright.
    """
    if not len(equations.source):
        return equations
    error = pd.Series(equations.variance).groupby(equations.source).median().to_numpy()[equations.source]
    order = np.lexsort((equations.source, error, equations.image))
    image = equations.image[order]
    begin = np.flatnonzero(np.r_[True, image[1:] != image[:-1]])
    place = np.arange(len(image)) - np.repeat(begin, np.diff(np.r_[begin, len(image)]))
    keep = np.zeros(len(image), dtype=bool)
    keep[order] = place < max_sources
    return equations if keep.all() else _shared(equations, keep)


def _shared(equations: _Equations, keep: Flags) -> _Equations:
    """Those that are kept and whose source at least two kept images have."""
    counts = np.bincount(equations.source[keep], minlength=equations.n_sources)
    keep = keep & (counts[equations.source] >= 2)
    source, _ = pd.factorize(equations.source[keep])
    return _Equations(
        equations.image[keep],
        source.astype(np.intp),
        equations.ln_flux[keep],
        equations.variance[keep],
        equations.n_images,
        int(source.max()) + 1 if len(source) else 0,
    )


def _ties(images: pd.MultiIndex, connected: Flags, corrections: pd.DataFrame | None) -> tuple[Floats, Floats]:
    """ln g against the catalog and its weight (0 where there is none), shapes (n_images,)."""
    if corrections is None:
        return np.zeros(len(images)), np.zeros(len(images))
    catalog = corrections.set_index(_IMAGE).reindex(images)
    scale, error = (catalog[name].to_numpy(dtype=float) for name in ("flux_scale", "flux_scale_err"))
    tied = connected & (scale > 0) & (error > 0) & catalog["flux_trusted"].eq(True).to_numpy()
    return np.log(np.where(tied, scale, 1.0)), np.where(tied, scale / np.where(tied, error, 1.0), 0.0) ** 2


def _solve(equations: _Equations, tie: Floats, tie_weight: Floats) -> tuple[Floats, Floats, Indices]:
    """ln g, its standard error, and the number of the group of each image."""
    # Images and sources as one graph: images without a source in common may be connected through others.
    n = equations.n_images + equations.n_sources
    links = scipy.sparse.coo_matrix(
        (np.ones(len(equations.image)), (equations.image, equations.n_images + equations.source)), shape=(n, n)
    )
    group: Indices = scipy.sparse.csgraph.connected_components(links, directed=False)[1][: equations.n_images].astype(
        np.intp
    )
    ln_scale = _start(equations)
    weight = None
    for iteration in range(_ITERATIONS):
        residual, left = _residuals(equations, ln_scale, weight)
        # Scatter beyond the errors (weak variability, errors of the finder) from the residuals of all.
        spread = float(scatter(residual))
        scatter2 = max(spread**2 - float(np.median(equations.variance)), 0.0)
        sigma2 = np.maximum(equations.variance + scatter2, 1e-20)
        u = residual**2 / (_BIWEIGHT**2 * sigma2)
        inside = np.maximum(1 - u, 0.0)
        robust = inside**2
        # The variance of an M-estimate, sum psi^2 / (sum psi')^2 (Huber 1964), over that of least squares with its
        # weights, 1 / sum w; what images' scales use up of the degrees of freedom makes it larger.
        psi2, slope = robust**2 * residual**2 / sigma2, inside * (1 - 5 * u)
        freedom = float(left[robust > 0].sum())
        sandwich = float((left * psi2).sum() * (left * robust).sum()) / max(float((left * slope).sum()), 1e-3) ** 2
        inflation = max(sandwich * freedom / max(freedom - equations.n_images, 1.0), 0.25)
        weight = robust / (sigma2 * inflation)
        normal, vector, untied, unit = _normal_equations(equations, weight, group, tie, tie_weight)
        next_scale = _solution(normal, vector, group, untied, unit)
        change = np.abs(next_scale - ln_scale).max()
        ln_scale = next_scale
        # The first weights are from residuals about medians, one of which is 0 where their number is odd.
        small = _CONVERGED / np.sqrt(max(float(np.median(normal.diagonal())), 1e-300))
        if iteration >= _FROM_MEDIANS and change < small:
            break
    return ln_scale, np.sqrt(_variance(normal, group, untied, unit)), group


def _start(equations: _Equations) -> Floats:
    """ln g from medians: of each image against the median of each of its sources, twice."""
    table = pd.DataFrame({"image": equations.image, "source": equations.source, "y": equations.ln_flux})
    ln_scale = np.zeros(equations.n_images)
    for _ in range(5):
        table["left"] = table["y"] - ln_scale[equations.image]
        excess = table["y"] - table.groupby("source")["left"].transform("median")
        medians = excess.groupby(table["image"]).median()
        ln_scale[medians.index.to_numpy()] = medians.to_numpy()
    return ln_scale


def _residuals(equations: _Equations, ln_scale: Floats, weight: Floats | None) -> tuple[Floats, Floats]:
    """Residuals about each source's flux, as wide as the noise, and the share of a degree of freedom each stands for.

    Of n equally certain fluxes about their mean each has 1 - 1/n of its variance left, which is what a residual is
    divided by: else few images would seem to agree better than many. The mean is weighted, robustly, so that a variable
    does not draw it; before there are weights it is the median.
    """
    y = equations.ln_flux - ln_scale[equations.image]
    source, n = equations.source, equations.n_sources
    if weight is None:
        centre = pd.Series(y).groupby(source).median().to_numpy()
        share = 1 / np.bincount(source, minlength=n)[source]
    else:
        total = np.maximum(np.bincount(source, weight, minlength=n), 1e-300)
        centre, share = np.bincount(source, weight * y, minlength=n) / total, weight / total[source]
    # Where all others lost their weight nothing is left: that one cannot disagree with itself.
    left = np.maximum(1 - share, 1e-6)
    return (y - centre[source]) / np.sqrt(left), left


def _normal_equations(
    equations: _Equations, weight: Floats, group: Indices, tie: Floats, tie_weight: Floats
) -> tuple[scipy.sparse.csc_array, Floats, Flags, float]:
    """Weighted least squares with the sources' fluxes eliminated.

    Without ties the normal matrix over images, D - W^T U^-1 W (D, U: sums of weights by image and by source), is a
    graph's Laplacian with one null vector a group.

    Returns
    -------
    matrix (n_images, n_images) and right-hand side; images in groups without a tie; the size of the diagonal
    """
    n = equations.n_images
    by_image = np.bincount(equations.image, weight, minlength=n)
    by_source = np.maximum(np.bincount(equations.source, weight, minlength=equations.n_sources), 1e-300)
    table = scipy.sparse.coo_matrix(
        (weight, (equations.source, equations.image)), shape=(equations.n_sources, n)
    ).tocsr()
    mean = np.bincount(equations.source, weight * equations.ln_flux, minlength=equations.n_sources) / by_source
    right = np.bincount(equations.image, weight * (equations.ln_flux - mean[equations.source]), minlength=n)
    scaled = scipy.sparse.diags_array(1 / by_source) @ table
    normal = scipy.sparse.csc_array(scipy.sparse.diags_array(by_image + tie_weight) - table.T @ scaled)
    untied = (np.bincount(group, tie_weight) == 0)[group]
    unit = float(np.median(by_image[by_image > 0])) if (by_image > 0).any() else 1.0
    return normal, right + tie_weight * tie, untied, unit


def _pinned(normal: scipy.sparse.csc_array, group: Indices, untied: Flags, unit: float) -> Floats:
    """The dense matrix, with the projector on the null vector of each untied group: its mean is 0."""
    same = (group[:, None] == group[None, :]) & untied[:, None]
    pinned: Floats = normal.toarray() + unit * same / np.bincount(group)[group][:, None]
    return pinned


def _solution(normal: scipy.sparse.csc_array, vector: Floats, group: Indices, untied: Flags, unit: float) -> Floats:
    """ln g, shape (n_images,); images without any equation have 0."""
    n = len(vector)
    if n <= _DENSE_LIMIT:
        found: Floats = scipy.linalg.solve(_pinned(normal, group, untied, unit), vector, assume_a="sym")
        return found
    # Too many images for a dense matrix: the first of an untied group is held, and its mean taken off afterwards.
    first = np.zeros(n, dtype=bool)
    first[np.unique(group, return_index=True)[1]] = True
    solver = scipy.sparse.linalg.splu(
        scipy.sparse.csc_matrix(normal + scipy.sparse.diags_array(np.where(first & untied, unit, 1e-12 * unit)))
    )
    solution: Floats = solver.solve(vector)
    mean_scale = np.bincount(group, solution) / np.bincount(group)
    return solution - np.where(untied, mean_scale[group], 0.0)


def _variance(normal: scipy.sparse.csc_array, group: Indices, untied: Flags, unit: float) -> Floats:
    """Variance of ln g, shape (n_images,); of very many images without what they have from each other."""
    if normal.shape[0] > _DENSE_LIMIT:
        variance: Floats = 1 / np.maximum(normal.diagonal(), 1e-12 * unit)
        return variance
    # The projector itself adds 1 / (unit size) to the diagonal, which is no error.
    diagonal = np.diag(scipy.linalg.inv(_pinned(normal, group, untied, unit)))
    excess = np.where(untied, 1 / (unit * np.bincount(group)[group]), 0.0)
    return np.maximum(diagonal - excess, 0.0)
