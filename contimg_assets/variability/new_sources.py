"""Which images covered a place, what they would have shown there: new sources and upper limits.

A source is new if its place was covered before its first detection by an image in which its first peak flux would have
stood out: against the rms at the place, where an rms map tells it. Coverage is judged at the position of the first
detection, which later measurements do not move.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from contimg_assets.sky.arrays import Flags, Floats, Indices
from contimg_assets.sky.cells import healpix_29
from contimg_assets.sky.coverage import Coverage
from contimg_assets.sky.sphere import unit_vectors

ImageKey = tuple[str, str]
"""(epoch, image)"""

_CHUNK = 4096


def covering(
    ra_deg: Floats, dec_deg: Floats, images: pd.DataFrame, coverage: Mapping[ImageKey, Coverage] | None = None
) -> Iterator[tuple[Indices, Indices, Floats]]:
    """Which images cover which positions and how deep, in pieces; all images of a position come in one piece.

    Parameters
    ----------
    ra_deg, dec_deg : positions, shape (n,)
    images : epoch, image, ra_deg, dec_deg, rms_mjy_beam; radius_deg: circle of the field, or where `coverage` has the
        image a circle that holds all of it
    coverage : (epoch, image) -> what it covers, in place of the circle

    Yields
    ------
    positions, images : indices, shape (m,)
    rms_mjy_beam : rms at the position, that of the image where its coverage does not tell, shape (m,)
    """
    rms = images["rms_mjy_beam"].to_numpy(dtype=float)
    if not coverage:
        yield from ((i, j, rms[j]) for i, j in _inside_circles(ra_deg, dec_deg, images))
        return
    keys = list(zip(images["epoch"], images["image"], strict=True))
    detailed = np.fromiter((key in coverage for key in keys), dtype=bool, count=len(keys))
    cells = healpix_29(ra_deg, dec_deg)
    for i, j in _inside_circles(ra_deg, dec_deg, images):
        keep, local = np.ones(len(i), dtype=bool), rms[j].copy()
        rows = np.flatnonzero(detailed[j])
        rows = rows[np.argsort(j[rows], kind="stable")]
        for chosen in np.split(rows, np.flatnonzero(np.diff(j[rows])) + 1):
            if len(chosen):
                inside, here = coverage[keys[j[chosen[0]]]].at(cells[i[chosen]])
                keep[chosen] = inside
                local[chosen] = np.where(np.isnan(here), local[chosen], here)
        yield i[keep], j[keep], local[keep]


def _inside_circles(ra_deg: Floats, dec_deg: Floats, images: pd.DataFrame) -> Iterator[tuple[Indices, Indices]]:
    if not len(ra_deg) or not len(images):
        return
    vectors = unit_vectors(ra_deg, dec_deg)
    centres = unit_vectors(images["ra_deg"].to_numpy(), images["dec_deg"].to_numpy())
    radius = np.radians(images["radius_deg"].to_numpy(dtype=float))
    # Neighbors on the sky in one piece, so that only the images around them are tried.
    order = np.lexsort((np.asarray(ra_deg), np.floor(np.asarray(dec_deg, dtype=float))))
    for start in range(0, len(order), _CHUNK):
        piece = order[start : start + _CHUNK]
        middle = vectors[piece].mean(axis=0)
        middle /= max(float(np.linalg.norm(middle)), 1e-300)
        reach = np.arccos(np.clip((vectors[piece] @ middle).min(), -1, 1))
        near = np.flatnonzero(np.arccos(np.clip(centres @ middle, -1, 1)) <= reach + radius + 1e-6)
        if len(near):
            # By the chord: the cosine of a small radius has lost half its digits.
            squared = 2.0 - 2.0 * (vectors[piece] @ centres[near].T)
            inside = squared <= (2.0 * np.sin(np.minimum(radius[near], np.pi) / 2.0)) ** 2 + 1e-15
            where, which = np.nonzero(inside)
            yield piece[where], near[which]


def new_sources(
    first: pd.DataFrame,
    images: pd.DataFrame,
    min_significance: float,
    coverage: Mapping[ImageKey, Coverage] | None = None,
) -> pd.DataFrame:
    """Significance that each source's first detection would have had in the earlier images of its place.

    Parameters
    ----------
    first : first detection of each source: epoch, mjd, ra_deg, dec_deg, flux_peak_mjy_beam (n rows)
    images : epoch, image, mjd, ra_deg, dec_deg, radius_deg, rms_mjy_beam
    min_significance : a source is new at this significance or more
    coverage : what images cover and how deep, where more is known than circle and rms; see `covering`

    Returns
    -------
    DataFrame (n rows): is_new, new_significance (peak flux over the lowest rms of earlier images there, so the
    highest significance; NaN if no earlier image covers the place), new_image (that image, as epoch/image).

    Notes
    -----
    vast-pipeline keeps the lowest significance instead (its issue 713). Images of the epoch of the first detection do
    not count as earlier.
    """
    n = len(first)
    lowest, best = np.full(n, np.inf), np.full(n, -1, dtype=np.intp)
    if n and len(images):
        earliest = images["mjd"].min()
        late = np.flatnonzero(first["mjd"].to_numpy() > earliest)
        # In order of rms, then name: the first image that covers a place is the one that counts.
        ranked = images.assign(_row=np.arange(len(images))).sort_values(
            ["rms_mjy_beam", "epoch", "image"], kind="stable", ignore_index=True
        )
        mjd, epoch = ranked["mjd"].to_numpy(), ranked["epoch"].to_numpy(dtype=object)
        row = ranked["_row"].to_numpy()
        first_mjd, first_epoch = first["mjd"].to_numpy()[late], first["epoch"].to_numpy(dtype=object)[late]
        ra, dec = first["ra_deg"].to_numpy()[late], first["dec_deg"].to_numpy()[late]
        for i, j, local in covering(ra, dec, ranked, coverage):
            earlier = (mjd[j] < first_mjd[i]) & (epoch[j] != first_epoch[i]) & (local > 0)
            i, j, local = i[earlier], j[earlier], local[earlier]
            order = np.lexsort((j, local, i))
            i, j, local = i[order], j[order], local[order]
            lead = np.flatnonzero(np.concatenate([[True], i[1:] != i[:-1]])) if len(i) else np.empty(0, np.intp)
            lowest[late[i[lead]]], best[late[i[lead]]] = local[lead], row[j[lead]]
    covered = best >= 0
    significance = np.where(covered, first["flux_peak_mjy_beam"].to_numpy(dtype=float) / lowest, np.nan)
    name = np.full(n, None, dtype=object)
    if covered.any():
        label = (images["epoch"] + "/" + images["image"]).to_numpy(dtype=object)
        name[covered] = label[best[covered]]
    return pd.DataFrame(
        {"is_new": significance >= min_significance, "new_significance": significance, "new_image": name},
        index=first.index,
    )


def uncovered_detections(
    first: pd.DataFrame,
    images: pd.DataFrame,
    seen: Flags,
    epochs: list[str],
    coverage: Mapping[ImageKey, Coverage] | None = None,
) -> pd.DataFrame:
    """Where a source was covered and not measured: one row a source and epoch, with the image that says most.

    Parameters
    ----------
    first : ra_deg, dec_deg of the first detection of each source (n rows)
    images : epoch, image, ra_deg, dec_deg, radius_deg, rms_mjy_beam
    seen : whether source i has a measurement in epochs[j], shape (n, len(epochs))
    epochs : the epochs to look at; images of others are left out
    coverage : what images cover and how deep, where more is known than circle and rms; see `covering`

    Returns
    -------
    DataFrame: source (row of first), epoch, image, image_row (row of images), rms_mjy_beam at the place: that of the
    covering image with the lowest rms there (ties: by the image's own rms, then name)
    """
    number = {name: index for index, name in enumerate(epochs)}
    here = images.assign(_row=np.arange(len(images)), _epoch=images["epoch"].map(number))
    here = here[here["_epoch"].notna() & (here["rms_mjy_beam"] > 0)]
    here = here.sort_values(["rms_mjy_beam", "epoch", "image"], kind="stable", ignore_index=True)
    epoch = here["_epoch"].to_numpy(dtype=np.intp)
    pieces, depths = [], []
    for i, j, local in covering(first["ra_deg"].to_numpy(), first["dec_deg"].to_numpy(), here, coverage):
        missed = ~seen[i, epoch[j]] & (local > 0)
        pieces.append(np.stack([i[missed], epoch[j[missed]], j[missed]]))
        depths.append(local[missed])
    if not pieces:
        return pd.DataFrame(
            {
                "source": np.empty(0, np.intp),
                "epoch": [],
                "image": [],
                "image_row": np.empty(0, np.intp),
                "rms_mjy_beam": np.empty(0),
            }
        )
    source, visit, image = np.concatenate(pieces, axis=1)
    depth = np.concatenate(depths)
    order = np.lexsort((image, depth, visit, source))
    source, visit, image, depth = source[order], visit[order], image[order], depth[order]
    lead = np.ones(len(source), dtype=bool)
    lead[1:] = (source[1:] != source[:-1]) | (visit[1:] != visit[:-1])
    image = image[lead]
    return pd.DataFrame(
        {
            "source": source[lead],
            "epoch": here["epoch"].to_numpy(dtype=object)[image],
            "image": here["image"].to_numpy(dtype=object)[image],
            "image_row": here["_row"].to_numpy()[image],
            "rms_mjy_beam": depth[lead],
        }
    )
