"""Which images covered a place, what they would have shown there: new sources and upper limits.

A source is new if its place was covered before its first detection by an image in which its first peak flux would have
stood out. Coverage is judged at the position of the first detection, which later measurements do not move.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import astropy.units as u
import numpy as np
import numpy.typing as npt
import pandas as pd

from contimg_assets.crossmatch.sphere import unit_vectors
from contimg_assets.errors import InputError
from contimg_assets.variability.segments import Floats, Indices

_CHUNK = 4096


def covering_pairs(
    ra_deg: Floats, dec_deg: Floats, images: pd.DataFrame, margin_deg: float = 0.0
) -> Iterator[tuple[Indices, Indices]]:
    """Which images cover which positions, in pieces.

    Parameters
    ----------
    ra_deg, dec_deg : positions, shape (n,)
    images : with ra_deg, dec_deg, radius_deg (circle of the field); where it has a column footprint, a MOC in that
        counts in place of the circle: as text ("6/1-3 7/22") or missing
    margin_deg : positions this far outside count too; of a footprint, those in the cells next to it

    Yields
    ------
    positions, images : indices, shape (m,)
    """
    if not len(ra_deg) or not len(images):
        return
    given = np.flatnonzero(images["footprint"].notna()) if "footprint" in images else np.empty(0, np.intp)
    if len(given):
        yield from _inside_footprints(ra_deg, dec_deg, given, images["footprint"].to_numpy()[given], margin_deg > 0)
    circles = np.setdiff1d(np.arange(len(images)), given)
    vectors = unit_vectors(ra_deg, dec_deg)
    centres = unit_vectors(images["ra_deg"].to_numpy()[circles], images["dec_deg"].to_numpy()[circles])
    radius = np.radians(images["radius_deg"].to_numpy(dtype=float)[circles] + margin_deg)
    # Neighbours on the sky in one piece, so that only the images around them are tried.
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
            yield piece[where], circles[near[which]]


def _inside_footprints(
    ra_deg: Floats, dec_deg: Floats, images: Indices, footprints: npt.NDArray, wider: bool
) -> Iterator[tuple[Indices, Indices]]:
    try:
        from mocpy import MOC
    except ModuleNotFoundError as error:
        raise InputError("footprints need mocpy; pip install 'contimg-assets[footprints]'") from error

    places = np.asarray(ra_deg, dtype=float) * u.deg, np.asarray(dec_deg, dtype=float) * u.deg
    for index, text in zip(images, footprints, strict=True):
        try:
            moc = MOC.from_string(text)
        except (ValueError, OSError) as error:
            raise InputError(f"footprint {text!r} is not a MOC such as '6/1-3 7/22': {error}") from error
        found = np.flatnonzero((moc.add_neighbours() if wider else moc).contains_lonlat(*places))
        yield found, np.full(len(found), index, dtype=np.intp)


def new_sources(
    first: pd.DataFrame,
    images: pd.DataFrame,
    min_significance: float,
    rms_at: Mapping[tuple[int, int], float] | None = None,
) -> pd.DataFrame:
    """Significance that each source's first detection would have had in the earlier images of its place.

    Parameters
    ----------
    first : first detection of each source: epoch, mjd, ra_deg, dec_deg, flux_peak_mjy_beam (n rows)
    images : epoch, image, mjd, ra_deg, dec_deg, radius_deg, rms_mjy_beam; optional footprint, see `covering_pairs`
    min_significance : a source is new at this significance or more
    rms_at : (row of first, row of images) -> rms at the position [mJy/beam], where an rms map gives it

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
        rms = ranked["rms_mjy_beam"].to_numpy(dtype=float)
        row = ranked["_row"].to_numpy()
        first_mjd, first_epoch = first["mjd"].to_numpy()[late], first["epoch"].to_numpy(dtype=object)[late]
        ra, dec = first["ra_deg"].to_numpy()[late], first["dec_deg"].to_numpy()[late]
        for i, j in covering_pairs(ra, dec, ranked):
            earlier = (mjd[j] < first_mjd[i]) & (epoch[j] != first_epoch[i]) & (rms[j] > 0)
            i, j = i[earlier], j[earlier]
            local = rms[j].copy()
            if rms_at:
                known = [rms_at.get((int(late[a]), int(row[b])), np.nan) for a, b in zip(i, j, strict=True)]
                local = np.where(np.isnan(known), local, known)
            order = np.lexsort((j, local, i))
            i, j, local = i[order], j[order], local[order]
            lead = np.flatnonzero(np.concatenate([[True], i[1:] != i[:-1]])) if len(i) else np.empty(0, np.intp)
            place, image, value = late[i[lead]], row[j[lead]], local[lead]
            better = value < lowest[place]
            lowest[place[better]], best[place[better]] = value[better], image[better]
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
    seen: npt.NDArray[np.bool_],
    epochs: list[str],
) -> pd.DataFrame:
    """Where a source was covered and not measured: one row a source and epoch, with the image that says most.

    Parameters
    ----------
    first : ra_deg, dec_deg of the first detection of each source (n rows)
    images : epoch, image, ra_deg, dec_deg, radius_deg, rms_mjy_beam
    seen : whether source i has a measurement in epochs[j], shape (n, len(epochs))
    epochs : the epochs to look at; images of others are left out

    Returns
    -------
    DataFrame: source (row of first), epoch, image, image_row (row of images), rms_mjy_beam: that of the covering image
    with the lowest rms (ties: by name)
    """
    number = {name: index for index, name in enumerate(epochs)}
    here = images.assign(_row=np.arange(len(images)), _epoch=images["epoch"].map(number))
    here = here[here["_epoch"].notna() & (here["rms_mjy_beam"] > 0)]
    here = here.sort_values(["rms_mjy_beam", "epoch", "image"], kind="stable", ignore_index=True)
    epoch = here["_epoch"].to_numpy(dtype=np.intp)
    pieces = []
    for i, j in covering_pairs(first["ra_deg"].to_numpy(), first["dec_deg"].to_numpy(), here):
        missed = ~seen[i, epoch[j]]
        pieces.append(np.stack([i[missed], epoch[j[missed]], j[missed]]))
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
    order = np.lexsort((image, visit, source))
    source, visit, image = source[order], visit[order], image[order]
    lead = np.ones(len(source), dtype=bool)
    lead[1:] = (source[1:] != source[:-1]) | (visit[1:] != visit[:-1])
    image = image[lead]
    return pd.DataFrame(
        {
            "source": source[lead],
            "epoch": here["epoch"].to_numpy(dtype=object)[image],
            "image": here["image"].to_numpy(dtype=object)[image],
            "image_row": here["_row"].to_numpy()[image],
            "rms_mjy_beam": here["rms_mjy_beam"].to_numpy()[image],
        }
    )
