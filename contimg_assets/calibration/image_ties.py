"""The scales of images of places that earlier epochs have not covered: one least-squares problem an epoch.

What is observed of ln scale: against the catalog; against the images that it overlaps, which may be of covered places;
and, where part of the place was covered before, against the known fluxes there.

All of these are from the same fluxes of the image, with the same noise. Counted once for each, it would seem to average
out, the more the more images overlap. So what is solved for is the level of the image's fluxes, their scale and the
mean of their noise together, which is what all observations are of; the noise is added to its error afterwards. Ties to
a catalog are wrong together by the errors of the entries that images share.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy

from contimg_assets.calibration.relative_scale import drawn_variance
from contimg_assets.sky.arrays import Flags, Floats, Indices, Values
from contimg_assets.sky.robust import MEDIAN_TO_MEAN, scatter

KNOWN, CATALOG, OVERLAP, START = "known sources", "catalog", "overlap", "start"
"""What an image's applied scale is from; `START`: nothing ties it, and its raw fluxes are the scale of its place."""

# Share of an image's constant sources that must be known for its place to count as covered.
_COVERED = 0.5
# Primary beams are worst where images overlap: over 510 pairs of ASKAP images with some 50 sources in common at their
# edges, the differences scatter by this much more than the sources make them.
_EDGE_ERR = 0.025
_FEWEST_SHARED, _FEWEST_KNOWN, _FEWEST_ALONE = 5, 3, 5
# What a group of images that nothing ties is held by: its scales are 1 within this, in ln.
_UNTIED = 3.0
# Share of the variance of an observation that is left, at least, without the noise of the images' fluxes: both are from
# few sources.
_LEAST_LEFT = 0.1
# Correlation of the ties of two images to one catalog by the very same entries: each is fitted for itself.
_SAME_ENTRIES = 0.95


@dataclass(frozen=True)
class _Observations:
    """ln scale of image i less that of image j (-1: nothing), with its standard error; shapes (n,)."""

    i: Indices
    j: Indices
    value: Floats
    error: Floats
    # Whether it says what the scale is, not only what it is against another image.
    absolute: Flags

    @classmethod
    def of(cls, rows: list[tuple[int, int, float, float, bool]]) -> _Observations:
        i, j, value, error, absolute = zip(*rows, strict=True) if rows else ((), (), (), (), ())
        return cls(
            np.array(i, dtype=np.intp),
            np.array(j, dtype=np.intp),
            np.array(value, dtype=float),
            np.array(error, dtype=float),
            np.array(absolute, dtype=bool),
        )


def is_covered(relative: pd.DataFrame) -> Flags:
    """Whether earlier epochs have covered an image's place so well that they alone give its scale.

    Parameters
    ----------
    relative : `relative_scales`
    """
    enough = (relative["n_relative"].to_numpy(dtype=float) >= _FEWEST_ALONE) & (_known_share(relative) >= _COVERED)
    covered: Flags = enough & np.isfinite(relative["scale"].to_numpy(dtype=float))
    return covered


def _known_share(relative: pd.DataFrame) -> Floats:
    """Share of each image's constant sources that are known."""
    n_known, n_candidates = (relative[name].to_numpy(dtype=float) for name in ("n_known", "n_candidates"))
    share: Floats = n_known / np.maximum(n_candidates, 1.0)
    return share


def image_ties(relative: pd.DataFrame, new: Flags, catalog: pd.DataFrame, fluxes: pd.DataFrame) -> pd.DataFrame:
    """Scales of the images of new places.

    Parameters
    ----------
    relative : `relative_scales`, of all images that are not refused
    new : which of them are of places that are not covered, shape (n_images,)
    catalog : of the same images: ``scale``, ``err`` (fractional), ``usable``, ``name`` of the catalog
    fluxes : `tie_fluxes` of the epoch

    Returns
    -------
    One row a new image: tied_by, field_scale, field_err (its own fractional error), field_tie_err (of the rest, NaN
    where no catalog ties it, directly or through others)
    """
    names = relative.index
    own, known_tie = (relative[name].to_numpy(dtype=float) for name in ("noise_err", "tie_err"))
    repeated = relative["repeated_share"].to_numpy(dtype=float)
    # Later images are compared with sources that are no duplicates here, if there are enough of them; ties with all.
    left_out = np.where(repeated > 0.5, 0.0, repeated)
    noise = np.nan_to_num(own) * np.sqrt(1.0 - left_out)
    of_catalog = _catalog_rows(catalog, new, noise)
    rows = [*of_catalog, *_known_rows(relative, new, noise), *_overlap_rows(fluxes, names, new, relative, noise)]
    seen = _Observations.of(rows)
    together = _correlation(fluxes, names, catalog["name"].to_numpy(dtype=object))
    ln_scale, level_err = _solved(seen, len(names), together[np.ix_(*2 * (seen.i[: len(of_catalog)],))])
    tied_to = _connected_to_ties(seen, len(names))
    # A place that is covered has its scale already: all that this image's is off by is its own.
    seen_before = _known_share(relative) >= _COVERED
    of_place = np.isfinite(own) & ~seen_before
    tie_err = np.where(seen_before, known_tie, np.where(of_place, np.hypot(level_err, own * np.sqrt(left_out)), 0.0))
    own = np.where(of_place, own, np.hypot(level_err, noise))
    # Later images are compared with all sources here: where those are other images', theirs is another tie. Without any
    # tie the images of a group are off together, by what nobody knows, and differ by nothing.
    others = np.sqrt(2.0) * repeated * np.where(seen_before | ~tied_to, 0.0, tie_err)
    own = np.hypot(own, np.nan_to_num(others))
    found = pd.DataFrame(
        {
            "tied_by": _sources(seen, catalog, new),
            "field_scale": np.exp(ln_scale),
            "field_err": own,
            "field_tie_err": np.where(tied_to, tie_err, np.nan),
        },
        index=names,
    )
    return found[new]


def _without_noise(error: Floats | float, noise_square: Floats | float) -> Floats:
    """Errors of observations of the level of an image's fluxes, whose noise is no error of it."""
    return np.asarray(np.sqrt(np.maximum(np.square(error) - noise_square, _LEAST_LEFT * np.square(error))))


def _catalog_rows(catalog: pd.DataFrame, new: Flags, noise: Floats) -> list[tuple[int, int, float, float, bool]]:
    usable = new & catalog["usable"].to_numpy(dtype=bool)
    scale = catalog["scale"].to_numpy(dtype=float)
    error = _without_noise(catalog["err"].to_numpy(dtype=float), noise**2)
    return [(int(i), -1, float(np.log(scale[i])), float(error[i]), True) for i in np.flatnonzero(usable)]


def _known_rows(relative: pd.DataFrame, new: Flags, noise: Floats) -> list[tuple[int, int, float, float, bool]]:
    """Known sources of a part of the image; and, for few of them, what the scale is in the field's other images."""
    rows = []
    share, tied = _known_share(relative), relative["tie_err"].notna().to_numpy()
    n_relative, n_candidates, scale, own_err, known_err, usual, usual_err = (
        relative[name].to_numpy(dtype=float)
        for name in ("n_relative", "n_candidates", "scale", "own_err", "known_err", "ln_usual", "ln_usual_err")
    )
    for i in np.flatnonzero(new):
        if n_relative[i] >= _FEWEST_KNOWN and np.isfinite(scale[i]):
            edge = _EDGE_ERR * (1.0 - share[i])
            error = float(_without_noise(np.sqrt(own_err[i] ** 2 + known_err[i] ** 2 + edge**2), noise[i] ** 2))
            rows.append((int(i), -1, float(np.log(scale[i])), error, bool(tied[i])))
        if np.isfinite(usual[i]) and (n_candidates[i] == 0 or share[i] >= _COVERED):
            # It is of the scale alone.
            error = float(np.hypot(usual_err[i], noise[i]))
            rows.append((int(i), -1, float(usual[i]), error, bool(tied[i])))
    return rows


def _overlap_rows(
    fluxes: pd.DataFrame, names: pd.Index, new: Flags, relative: pd.DataFrame, noise: Floats
) -> list[tuple[int, int, float, float, bool]]:
    """Images that share bright sources, at least one of them of a new place."""
    shared = _shared_fluxes(fluxes, names, new)
    candidates = relative["n_candidates"].to_numpy(dtype=float)
    ln_scale = np.log(relative["scale"].to_numpy(dtype=float))
    own_err, tied = relative["own_err"].to_numpy(dtype=float), relative["tie_err"].notna().to_numpy()
    rows = []
    for (i, j), value, spread, n in _ratios_of_pairs(shared, len(names)):
        share = min(n / max(min(candidates[i], candidates[j]), 1.0), 1.0)
        edge = _EDGE_ERR * (1.0 - share)
        error = float(np.hypot(MEDIAN_TO_MEAN * spread / np.sqrt(n), edge))
        # Two exact copies agree exactly, which is no reason to believe nothing else.
        error = max(error, 1e-4)
        if new[i] and new[j]:
            rows.append((i, j, value, float(_without_noise(error, noise[i] ** 2 + noise[j] ** 2)), False))
        else:
            (a, b), sign = ((i, j), 1.0) if new[i] else ((j, i), -1.0)
            error = float(np.hypot(_without_noise(error, noise[a] ** 2), own_err[b]))
            rows.append((a, -1, sign * value + ln_scale[b], error, bool(tied[b])))
    return rows


def _bright(fluxes: pd.DataFrame, names: pd.Index) -> tuple[Indices, Flags]:
    """Number of the image of each flux, and whether it counts: bright enough, and in one of the images."""
    row = names.get_indexer(pd.Index(fluxes["image"]))
    return row, (row >= 0) & (fluxes["snr"] >= fluxes["least_snr"]).to_numpy()


def _correlation(fluxes: pd.DataFrame, names: pd.Index, catalog: Values) -> Floats:
    """Correlation of what the entries of a catalog make of the ties of images, shape (n_images, n_images).

    Of the mean of n values and that of m others, s of which they share, it is s / sqrt(n m).
    """
    row, bright = _bright(fluxes, names)
    source, ids = pd.factorize(fluxes["source_id"].to_numpy()[bright])
    there = scipy.sparse.csr_array((np.ones(len(source)), (row[bright], source)), shape=(len(names), max(len(ids), 1)))
    size = np.sqrt(np.maximum(there.sum(axis=1), 1.0))
    found = (there @ there.T).toarray() / size[:, None] / size[None, :] * _SAME_ENTRIES
    found[catalog[:, None] != catalog[None, :]] = 0.0
    np.fill_diagonal(found, 1.0)
    correlation: Floats = found
    return correlation


def _shared_fluxes(fluxes: pd.DataFrame, names: pd.Index, new: Flags) -> pd.DataFrame:
    """i < j, ln_ratio: ln of the fluxes of image i over those of image j of the sources that both have."""
    row, bright = _bright(fluxes, names)
    one = pd.DataFrame(
        {"source_id": fluxes["source_id"], "i": row, "ln_flux": np.log(fluxes["flux_mjy"].to_numpy(dtype=float))}
    )[bright]
    # Most sources are seen once.
    one = one[one["source_id"].duplicated(keep=False)]
    both = one.merge(one.rename(columns={"i": "j", "ln_flux": "other"}), on="source_id")
    both = both[(both["i"] < both["j"]) & (new[both["i"]] | new[both["j"]])]
    return both.assign(ln_ratio=both["ln_flux"] - both["other"])


def _ratios_of_pairs(shared: pd.DataFrame, n_images: int) -> list[tuple[tuple[int, int], float, float, int]]:
    """Images i and j, median ln ratio of their fluxes, scatter, and number of sources of each pair with enough of them.

    Pairs that agreed by chance would have all the weight: the scatter is drawn to that of all pairs together.
    """
    of_pair = shared["i"].to_numpy() * n_images + shared["j"].to_numpy()
    groups = shared["ln_ratio"].astype(float).groupby(of_pair)
    enough = groups.transform("size") >= _FEWEST_SHARED
    groups = shared["ln_ratio"].astype(float)[enough].groupby(of_pair[enough])
    left = groups.transform(lambda values: (values - values.median()) / np.sqrt(1.0 - 1.0 / len(values)))
    usual = float(scatter(left.to_numpy())) ** 2 if len(left) else 0.0
    found = []
    for pair, values in groups:
        value = float(values.median())
        spread = float(np.sqrt(drawn_variance(values.to_numpy() - value, usual)))
        found.append((divmod(int(pair), n_images), value, spread, len(values)))
    return found


def _solved(seen: _Observations, n_images: int, correlation: Floats) -> tuple[Floats, Floats]:
    """ln scale of each image and its standard error, shapes (n_images,).

    Parameters
    ----------
    correlation : of the first k observations, shape (k, k)
    """
    n, k = len(seen.error), len(correlation)
    pair = seen.j >= 0
    rows = np.concatenate([np.arange(n), np.flatnonzero(pair)])
    columns = np.concatenate([seen.i, seen.j[pair]])
    signs = np.concatenate([np.ones(n), -np.ones(int(pair.sum()))])
    design = scipy.sparse.coo_array((signs, (rows, columns)), shape=(n, n_images)).tocsr()
    together = seen.error[:k, None] * correlation * seen.error[None, :k]
    first, others = design[:k].toarray(), design[k:]
    weighted = others.T @ scipy.sparse.diags_array(1.0 / seen.error[k:] ** 2) if n > k else others.T
    normal = (weighted @ others).toarray() + np.eye(n_images) / _UNTIED**2
    right = weighted @ seen.value[k:]
    if k:
        by_catalog = scipy.linalg.solve(together, first, assume_a="pos").T
        normal += by_catalog @ first
        right = right + by_catalog @ seen.value[:k]
    covariance = scipy.linalg.inv(normal)
    return covariance @ right, np.sqrt(np.diag(covariance))


def _connected_to_ties(seen: _Observations, n: int) -> Flags:
    """Whether an image's scale is tied to a catalog, by itself or through images that it overlaps."""
    pair = seen.j >= 0
    links = scipy.sparse.coo_array((np.ones(int(pair.sum())), (seen.i[pair], seen.j[pair])), shape=(n, n))
    group = scipy.sparse.csgraph.connected_components(links, directed=False)[1]
    tied = np.zeros(n, dtype=bool)
    tied[seen.i[seen.absolute]] = True
    found: Flags = (np.bincount(group, tied, minlength=n) > 0)[group]
    return found


def _sources(seen: _Observations, catalog: pd.DataFrame, new: Flags) -> list[str]:
    """What most of each image's scale is from."""
    n = len(new)
    by_catalog = new & catalog["usable"].to_numpy(dtype=bool)
    alone = seen.j < 0
    otherwise = np.bincount(seen.i, minlength=n) + np.bincount(seen.j[~alone], minlength=n)
    return [
        CATALOG if tied else OVERLAP if linked else START for tied, linked in zip(by_catalog, otherwise, strict=True)
    ]
