"""The scales of images of places that earlier epochs have not covered: one least-squares problem an epoch.

What is observed of ln scale: against the catalog; against the images that it overlaps, which may be of covered places;
and, where part of the place was covered before, against the known fluxes there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy

from contimg_assets.sky.arrays import Flags, Floats, Indices
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
    catalog : of the same images: ``scale``, ``err`` (fractional), ``usable``
    fluxes : `tie_fluxes` of the epoch

    Returns
    -------
    One row a new image: tied_by, field_scale, field_err (its own fractional error), field_tie_err (of the rest, NaN
    where no catalog ties it, directly or through others)
    """
    names = relative.index
    rows = [*_catalog_rows(catalog, new), *_known_rows(relative, new)]
    rows += _overlap_rows(fluxes, names, new, relative)
    seen = _Observations.of(rows)
    ln_scale, error = _solved(seen, len(names))
    tied_to = _connected_to_ties(seen, len(names))
    own, known_tie = (relative[name].to_numpy(dtype=float) for name in ("noise_err", "tie_err"))
    # A place that is covered has its scale already: all that this image's is off by is its own.
    seen_before = _known_share(relative) >= _COVERED
    own = np.where(np.isfinite(own) & ~seen_before, own, error)
    tie_err = np.where(seen_before, known_tie, np.sqrt(np.maximum(error**2 - own**2, 0.0)))
    # Later images are compared with all sources here: where those are other images', theirs is another tie.
    others = np.sqrt(2.0) * relative["repeated_share"].to_numpy(dtype=float) * np.where(seen_before, 0.0, tie_err)
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


def _catalog_rows(catalog: pd.DataFrame, new: Flags) -> list[tuple[int, int, float, float, bool]]:
    usable = new & catalog["usable"].to_numpy(dtype=bool)
    scale, error = catalog["scale"].to_numpy(dtype=float), catalog["err"].to_numpy(dtype=float)
    return [(int(i), -1, float(np.log(scale[i])), float(error[i]), True) for i in np.flatnonzero(usable)]


def _known_rows(relative: pd.DataFrame, new: Flags) -> list[tuple[int, int, float, float, bool]]:
    """Known sources of a part of the image; and, for few of them, what the scale is in the field's other images."""
    rows = []
    share = _known_share(relative)
    tied = relative["tie_err"].notna().to_numpy()
    for i in np.flatnonzero(new):
        one = relative.iloc[i]
        if one["n_relative"] >= _FEWEST_KNOWN and np.isfinite(one["scale"]):
            edge = _EDGE_ERR * (1.0 - share[i])
            error = float(np.sqrt(one["own_err"] ** 2 + one["known_err"] ** 2 + edge**2))
            rows.append((int(i), -1, float(np.log(one["scale"])), error, bool(tied[i])))
        if np.isfinite(one["ln_usual"]) and (one["n_candidates"] == 0 or share[i] >= _COVERED):
            rows.append((int(i), -1, float(one["ln_usual"]), float(one["ln_usual_err"]), bool(tied[i])))
    return rows


def _overlap_rows(
    fluxes: pd.DataFrame, names: pd.Index, new: Flags, relative: pd.DataFrame
) -> list[tuple[int, int, float, float, bool]]:
    """Images that share bright sources, at least one of them of a new place."""
    shared = _shared_fluxes(fluxes, names, new)
    candidates = relative["n_candidates"].to_numpy(dtype=float)
    ln_scale = np.log(relative["scale"].to_numpy(dtype=float))
    own_err, tied = relative["own_err"].to_numpy(dtype=float), relative["tie_err"].notna().to_numpy()
    rows = []
    ln_ratio = shared["ln_ratio"].to_numpy(dtype=float)
    of_pair = shared["i"].to_numpy() * len(names) + shared["j"].to_numpy()
    for pair in np.unique(of_pair):
        values = ln_ratio[of_pair == pair]
        i, j = divmod(int(pair), len(names))
        n = len(values)
        if n < _FEWEST_SHARED:
            continue
        value = float(np.median(values))
        share = min(n / max(min(candidates[i], candidates[j]), 1.0), 1.0)
        edge = _EDGE_ERR * (1.0 - share)
        error = float(np.hypot(MEDIAN_TO_MEAN * scatter(values, value) / np.sqrt(n), edge))
        # Two exact copies agree exactly, which is no reason to believe nothing else.
        error = max(error, 1e-4)
        if new[i] and new[j]:
            rows.append((i, j, value, error, False))
        else:
            (a, b), sign = ((i, j), 1.0) if new[i] else ((j, i), -1.0)
            rows.append((a, -1, sign * value + ln_scale[b], float(np.hypot(error, own_err[b])), bool(tied[b])))
    return rows


def _shared_fluxes(fluxes: pd.DataFrame, names: pd.Index, new: Flags) -> pd.DataFrame:
    """i < j, ln_ratio: ln of the fluxes of image i over those of image j of the sources that both have."""
    row = names.get_indexer(pd.Index(fluxes["image"]))
    bright = (row >= 0) & (fluxes["snr"] >= fluxes["least_snr"]).to_numpy()
    one = pd.DataFrame(
        {"source_id": fluxes["source_id"], "i": row, "ln_flux": np.log(fluxes["flux_mjy"].to_numpy(dtype=float))}
    )[bright]
    # Most sources are seen once.
    one = one[one["source_id"].duplicated(keep=False)]
    both = one.merge(one.rename(columns={"i": "j", "ln_flux": "other"}), on="source_id")
    both = both[(both["i"] < both["j"]) & (new[both["i"]] | new[both["j"]])]
    return both.assign(ln_ratio=both["ln_flux"] - both["other"])


def _solved(seen: _Observations, n_images: int) -> tuple[Floats, Floats]:
    """ln scale of each image and its standard error, shapes (n_images,)."""
    weight = 1.0 / seen.error**2
    n = len(weight)
    pair = seen.j >= 0
    rows = np.concatenate([np.arange(n), np.flatnonzero(pair)])
    columns = np.concatenate([seen.i, seen.j[pair]])
    signs = np.concatenate([np.ones(n), -np.ones(int(pair.sum()))])
    design = scipy.sparse.coo_array((signs, (rows, columns)), shape=(n, n_images)).tocsr()
    weighted = design.T @ scipy.sparse.diags_array(weight) if n else scipy.sparse.csr_array((n_images, 0))
    normal = (weighted @ design).toarray() + np.eye(n_images) / _UNTIED**2
    covariance = scipy.linalg.inv(normal)
    right = weighted @ seen.value if n else np.zeros(n_images)
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
