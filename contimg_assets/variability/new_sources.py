"""Which images covered a place, what they would have shown there: new sources and upper limits.

A source is new if its place was covered before its first detection by images that would have shown it, had it had its
first flux then: against the rms at the place, by the threshold of each image's finder, with the errors of both fluxes.
Coverage is judged at the position of the first detection, which later measurements do not move.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from contimg_assets.sky.arrays import Flags, Floats, Indices
from contimg_assets.sky.cells import healpix_29
from contimg_assets.sky.coverage import Coverage
from contimg_assets.sky.sphere import chord, indices_within, pairs_within, tree_of, unit_vectors
from contimg_assets.variability.finder import (
    DEFAULT_THRESHOLD,
    N_TERMS,
    Seen,
    chance_missed,
    local_rms,
    noise_peaks,
    place_in_image,
)
from contimg_assets.variability.flickering import NO_FLICKERING, Flickering

ImageKey = tuple[str, str]
"""(epoch, image)"""

DEPTH_COLUMNS = [f"depth_{k}" for k in range(N_TERMS + 2)]
"""Columns of images: the model of their rms, see `contimg_assets.variability.finder.Depth`; as measured, so that it is
times `flux_mult` on the corrected scale."""

CANDIDATE_CHANCE = 0.1
"""A source that earlier images miss for its flux with a larger chance is no candidate for a new one."""

BRIGHT_LIMITS = 1.5
"""A known source this many times the upper limit of an image is missed there by accident, not for its flux."""

_CHUNK = 4096
# A detection this many beams away leaves no limit: duplicates that were removed lie a little off the row that was kept.
_BESIDE_BEAMS = 1.2
# Counterparts in catalogs at least this likely count.
_LIKELY = 0.05
# Scatter of spectral indices, and of fluxes in ln: of calibration, resolution and moderate variability.
_SPECTRAL_SCATTER, _FLUX_SCATTER = 0.35, 0.2
# How complete a catalog is at a place: of the nearest so many known sources, up to so many that are at least nearly as
# bright, within 3 degrees.
_SEARCHED, _SAMPLE, _AS_BRIGHT = 800, 100, 0.8
_REGION = 2.0 * np.sin(np.radians(3.0) / 2.0)
# A catalog that lacks more of them than this does not reach the place or the flux.
_SAYS_NOTHING = 0.3


def covering(
    ra_deg: Floats,
    dec_deg: Floats,
    images: pd.DataFrame,
    coverage: Mapping[ImageKey, Coverage] | None = None,
    wanted: Callable[[Indices, Indices], Flags] | None = None,
) -> Iterator[tuple[Indices, Indices, Floats]]:
    """Which images cover which positions and how deep, in pieces; all images of a position come in one piece.

    Parameters
    ----------
    ra_deg, dec_deg : positions, shape (n,)
    images : epoch, image, ra_deg, dec_deg, rms_mjy_beam; radius_deg: circle of the field, or where `coverage` has the
        image a circle that holds all of it
    coverage : (epoch, image) -> what it covers, in place of the circle
    wanted : which pairs of positions and images, by their indices, shape (m,), matter: of the others it costs much to
        know how deep the images are

    Yields
    ------
    positions, images : indices, shape (m,)
    rms_mjy_beam : rms at the position, that of the image where its coverage does not tell, shape (m,)
    """
    keys = list(zip(images["epoch"], images["image"], strict=True)) if coverage else []
    detailed = np.fromiter((coverage is not None and key in coverage for key in keys), dtype=bool, count=len(keys))
    cells = healpix_29(ra_deg, dec_deg) if detailed.any() else np.empty(0, np.int64)
    for i, j in _inside_circles(ra_deg, dec_deg, images):
        if wanted is not None:
            matters = wanted(i, j)
            i, j = i[matters], j[matters]
        keep, local = np.ones(len(i), dtype=bool), _rms_at(np.asarray(ra_deg)[i], np.asarray(dec_deg)[i], images, j)
        rows = np.flatnonzero(detailed[j]) if detailed.any() else np.empty(0, np.intp)
        rows = rows[np.argsort(j[rows], kind="stable")]
        for chosen in np.split(rows, np.flatnonzero(np.diff(j[rows])) + 1):
            if len(chosen) and coverage:
                inside, here = coverage[keys[j[chosen[0]]]].at(cells[i[chosen]])
                keep[chosen] = inside
                local[chosen] = np.where(np.isnan(here), local[chosen], here)
        yield i[keep], j[keep], local[keep]


def _rms_at(ra_deg: Floats, dec_deg: Floats, images: pd.DataFrame, row: Indices) -> Floats:
    """Rms at places in images, by the model of each image's own rows where it has one, else that of the image."""
    rms: Floats = images["rms_mjy_beam"].to_numpy(dtype=float)[row]
    if DEPTH_COLUMNS[0] not in images or not len(row):
        return rms
    center = images["ra_deg"].to_numpy(dtype=float)[row], images["dec_deg"].to_numpy(dtype=float)[row]
    # What an image covers, not the circle that holds it, is the unit of its model.
    radius = images["field_radius_deg" if "field_radius_deg" in images else "radius_deg"].to_numpy(dtype=float)[row]
    models = images[DEPTH_COLUMNS].to_numpy(dtype=float)[row]
    local = local_rms(place_in_image(ra_deg, dec_deg, center, radius), models)
    scale = images["flux_mult"].to_numpy(dtype=float)[row] if "flux_mult" in images else 1.0
    return np.where(np.isfinite(local), local * scale, rms)


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
    max_false_chance: float = 1.0,
    often: Flickering = NO_FLICKERING,
) -> pd.DataFrame:
    """Significance that each source's first detection would have had in the earlier images of its place.

    Parameters
    ----------
    first : first detection of each source: epoch, mjd, ra_deg, dec_deg, flux_peak_mjy_beam (n rows), used where it is:
        flux_peak_err_mjy_beam
    images : epoch, image, mjd, ra_deg, dec_deg, radius_deg, rms_mjy_beam; used where they are: DEPTH_COLUMNS,
        flux_mult, threshold_snr, rms_scatter, flux_scale_err, share_lost; band, as of `first`: images of other bands
        show nothing
    min_significance, max_false_chance : a source is new at this significance or more, and if the chance that the
        earlier images miss a constant source is not larger
    coverage : what images cover and how deep, where more is known than circle and rms; see `covering`
    often : sources that finders miss again and again

    Returns
    -------
    DataFrame (n rows): is_new, new_significance (first flux over the lowest rms of earlier images there, so the
    highest significance; NaN if no earlier image covers the place), new_image (that image, as epoch/image),
    chance_missed (see `finder.chance_missed`; 1 if no earlier image covers the place).

    Notes
    -----
    vast-pipeline keeps the lowest significance instead (its issue 713). Images of the epoch of the first detection do
    not count as earlier.
    """
    n = len(first)
    flux = first["flux_peak_mjy_beam"].to_numpy(dtype=float)
    err = first["flux_peak_err_mjy_beam"].to_numpy(dtype=float) if "flux_peak_err_mjy_beam" in first else np.zeros(n)
    lowest, best, missed = np.full(n, np.inf), np.full(n, -1, dtype=np.intp), np.ones(n)
    # In order of rms, then name: of equals at a place, the first image is the one that counts.
    ranked = images.assign(_row=np.arange(len(images))).sort_values(
        ["rms_mjy_beam", "epoch", "image"], kind="stable", ignore_index=True
    )
    row = ranked["_row"].to_numpy()
    for i, j, local in _earlier(first, ranked, coverage):
        lead = np.flatnonzero(np.concatenate([[True], i[1:] != i[:-1]]))
        lowest[i[lead]], best[i[lead]] = local[lead], row[j[lead]]
        owner, at = np.cumsum(np.isin(np.arange(len(i)), lead)) - 1, i[lead]
        missed[at] = chance_missed(flux[at], err[at], seen_by(owner, j, local, ranked), often)
    covered = best >= 0
    significance = np.where(covered, flux / lowest, np.nan)
    name = np.full(n, None, dtype=object)
    if covered.any():
        label = (images["epoch"] + "/" + images["image"]).to_numpy(dtype=object)
        name[covered] = label[best[covered]]
    columns = {
        "is_new": (significance >= min_significance) & (missed <= max_false_chance),
        "new_significance": significance,
        "new_image": name,
        "chance_missed": missed,
    }
    return pd.DataFrame(columns, index=first.index)


def _earlier(
    first: pd.DataFrame, images: pd.DataFrame, coverage: Mapping[ImageKey, Coverage] | None
) -> Iterator[tuple[Indices, Indices, Floats]]:
    """Earlier images of other epochs that cover first detections: source, image, rms there; a source in one piece, its
    deepest image first."""
    if not len(first) or not len(images):
        return
    mjd, epoch = images["mjd"].to_numpy(), images["epoch"].to_numpy(dtype=object)
    late = np.flatnonzero(first["mjd"].to_numpy() > mjd.min())
    first_mjd, first_epoch = first["mjd"].to_numpy()[late], first["epoch"].to_numpy(dtype=object)[late]
    ra, dec = first["ra_deg"].to_numpy()[late], first["dec_deg"].to_numpy()[late]
    of_first, of_image = _bands_of(first, images)
    of_first = of_first[late]

    def earlier(i: Indices, j: Indices) -> Flags:
        found: Flags = (mjd[j] < first_mjd[i]) & (of_image[j] == of_first[i])
        found[found] = epoch[j[found]] != first_epoch[i[found]]
        return found

    for i, j, local in covering(ra, dec, images, coverage, earlier):
        i, j, local = i[local > 0], j[local > 0], local[local > 0]
        order = np.lexsort((j, local, i))
        if len(order):
            yield late[i[order]], j[order], local[order]


def _bands_of(first: pd.DataFrame, images: pd.DataFrame) -> tuple[Indices, Indices]:
    """Numbers of the bands of first detections and of images; all one where they are not known."""
    if "band" not in first or "band" not in images:
        return np.zeros(len(first), np.intp), np.zeros(len(images), np.intp)
    both = np.concatenate([table["band"].to_numpy(dtype=object) for table in (first, images)])
    numbers = np.asarray(pd.factorize(both)[0], np.intp)
    return numbers[: len(first)], numbers[len(first) :]


def seen_by(owner: Indices, row: Indices, rms: Floats, images: pd.DataFrame) -> Seen:
    """What chances and limits need of images; what is not known of them is as most finders have it.

    Parameters
    ----------
    owner : number of the place that each image covers, shape (m,)
    row : of the images, shape (m,)
    rms : at the place [mJy/beam], shape (m,)
    images : used where they are: threshold_snr, rms_scatter, flux_scale_err, share_lost
    """

    def of_image(name: str, otherwise: float) -> Floats:
        if name not in images:
            return np.full(len(row), otherwise)
        values = images[name].to_numpy(dtype=float)[row]
        return np.where(np.isfinite(values), values, otherwise)

    scatter = np.hypot(of_image("rms_scatter", 0.0), of_image("flux_scale_err", 0.0))
    return Seen(owner, rms, of_image("threshold_snr", DEFAULT_THRESHOLD), scatter, of_image("share_lost", 0.0))


def uncovered_detections(
    first: pd.DataFrame,
    images: pd.DataFrame,
    seen: Flags,
    epochs: list[str],
    coverage: Mapping[ImageKey, Coverage] | None = None,
    every_image: bool = False,
) -> pd.DataFrame:
    """Where a source was covered and not measured: one row a source and epoch, with the image that says most.

    Where another detection of the epoch may be the source under another name is not known here; see `undetected`.

    Parameters
    ----------
    first : ra_deg, dec_deg of the first detection of each source (n rows)
    images : epoch, image, ra_deg, dec_deg, radius_deg, rms_mjy_beam; where visits are not the epochs: visit
    seen : whether source i has a measurement in epochs[j], shape (n, len(epochs))
    epochs : the epochs, or visits, to look at; images of others are left out
    coverage : what images cover and how deep, where more is known than circle and rms; see `covering`
    every_image : one row for each covering image of the epoch instead, that which says most first

    Returns
    -------
    DataFrame: source (row of first), epoch, image, image_row (row of images), rms_mjy_beam at the place: that of the
    covering image with the lowest rms there (ties: by the image's own rms, then name)
    """
    number, visit = {name: index for index, name in enumerate(epochs)}, "visit" if "visit" in images else "epoch"
    here = images.assign(_row=np.arange(len(images)), _epoch=images[visit].map(number))
    here = here[here["_epoch"].notna() & (here["rms_mjy_beam"] > 0)]
    here = here.sort_values(["rms_mjy_beam", "epoch", "image"], kind="stable", ignore_index=True)
    epoch = here["_epoch"].to_numpy(dtype=np.intp)
    pieces, depths = [], []
    # Most sources are seen whenever they may be: nobody need know which images cover them.
    missed = np.flatnonzero(~seen.all(axis=1))
    ra, dec = first["ra_deg"].to_numpy()[missed], first["dec_deg"].to_numpy()[missed]
    for i, j, local in covering(ra, dec, here, coverage, lambda i, j: ~seen[missed[i], epoch[j]]):
        deep = local > 0
        pieces.append(np.stack([missed[i[deep]], epoch[j[deep]], j[deep]]))
        depths.append(local[deep])
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
    lead[1:] = every_image | (source[1:] != source[:-1]) | (visit[1:] != visit[:-1])
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


def undetected(ra_deg: Floats, dec_deg: Floats, vectors: Floats, beam_arcsec: Floats) -> Flags:
    """Whether no detection lies within the beam about a place, shape (n,): there a limit would contradict it.

    Parameters
    ----------
    ra_deg, dec_deg : places, shape (n,)
    vectors : unit vectors of all detections of the epoch, shape (m, 3)
    beam_arcsec : major axis of the beam of each detection (FWHM), shape (m,)
    """
    free = np.ones(len(ra_deg), dtype=bool)
    radius = _BESIDE_BEAMS * np.nan_to_num(beam_arcsec)
    widest = float(np.max(radius, initial=0.0))
    if len(ra_deg) and len(vectors) and widest > 0:
        places = unit_vectors(ra_deg, dec_deg)
        i, j = indices_within(tree_of(places), tree_of(vectors), widest)
        separation = np.linalg.norm(places[i] - vectors[j], axis=-1)
        free[i[separation <= chord(radius[j])]] = False
    return free


def earlier_neighbors(first: pd.DataFrame, sources: pd.DataFrame) -> Flags:
    """Whether another source that was detected in an earlier epoch lies within the beam, shape (n,).

    Parameters
    ----------
    first : source_id, epoch, mjd, ra_deg, dec_deg of the first detection, bmaj_arcsec of its image; missing values have
        no neighbor
    sources : id, ra_deg, dec_deg, first_epoch, first_mjd of all sources
    """
    beam = first["bmaj_arcsec"].to_numpy(dtype=float)
    use = np.flatnonzero(np.isfinite(beam) & first["ra_deg"].notna().to_numpy())
    found = np.zeros(len(first), dtype=bool)
    if not len(use) or not len(sources):
        return found
    rows = first.iloc[use]
    places = unit_vectors(rows["ra_deg"], rows["dec_deg"])
    i, j, separation = pairs_within(places, unit_vectors(sources["ra_deg"], sources["dec_deg"]), float(beam[use].max()))
    other = rows["source_id"].to_numpy(dtype=object)[i] != sources["id"].to_numpy(dtype=object)[j]
    earlier = (sources["first_mjd"].to_numpy()[j] < rows["mjd"].to_numpy()[i]) & (
        sources["first_epoch"].to_numpy(dtype=object)[j] != rows["epoch"].to_numpy(dtype=object)[i]
    )
    found[use[i[other & earlier & (separation <= beam[use][i])]]] = True
    return found


def known_before(first: pd.DataFrame, matches: pd.DataFrame) -> Flags:
    """Whether a reference catalog has a source at a flux that agrees with its first one, shape (n,).

    Parameters
    ----------
    first : source_id, flux_peak_mjy_beam, flux_peak_err_mjy_beam (n rows)
    matches : candidates in catalogs, of any rank: source_id, probability, match_quality, flux_ratio (mean flux over
        that of the catalog at our frequency), flux_int_mjy (that mean flux), freq_ratio (our frequency over the
        catalog's)
    """
    row = pd.Index(first["source_id"]).get_indexer(pd.Index(matches["source_id"]))
    quality = matches["match_quality"].to_numpy(dtype=object)
    likely = matches["probability"].to_numpy(dtype=float) >= _LIKELY
    counterpart = (likely & (quality != "rejected")) | (quality == "accepted")
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.hypot(_SPECTRAL_SCATTER * np.log(matches["freq_ratio"].to_numpy(dtype=float)), _FLUX_SCATTER)
        expected = matches["flux_int_mjy"].to_numpy(dtype=float) / matches["flux_ratio"].to_numpy(dtype=float)
        # A fainter one is another source, or this one before it brightened. First detections near the threshold are
        # those that noise lifted over it.
        least = (first["flux_peak_mjy_beam"] - 3.0 * first["flux_peak_err_mjy_beam"]).to_numpy(dtype=float)[row]
        faint = expected * np.exp(2.0 * np.nan_to_num(spread, nan=1.0)) < least
    known = np.zeros(len(first), dtype=bool)
    known[row[counterpart & ~faint & (row >= 0)]] = True
    return known


class KnownSources(NamedTuple):
    """Sources that are there for certain, shape (m,), and by catalog name whether it lists them."""

    ra_deg: Floats
    dec_deg: Floats
    flux_mjy_beam: Floats
    in_catalog: Mapping[str, Flags]


def catalogs_missed(first: pd.DataFrame, sample: KnownSources) -> Floats:
    """The chance that all reference catalogs lack a constant source of the first flux at its place, shape (n,).

    It is the share of the nearest known sources at least as bright that a catalog lacks: near one half or more where a
    catalog does not reach the place or is not deep enough, then it says nothing.

    Parameters
    ----------
    first : ra_deg, dec_deg, flux_peak_mjy_beam; missing values have 1
    """
    flux = first["flux_peak_mjy_beam"].to_numpy(dtype=float)
    chance = np.ones(len(first))
    use = np.flatnonzero(np.isfinite(flux) & first["ra_deg"].notna().to_numpy())
    total = len(sample.ra_deg)
    if not len(use) or not total or not sample.in_catalog:
        return chance
    k = min(_SEARCHED, total)
    tree = tree_of(unit_vectors(sample.ra_deg, sample.dec_deg))
    ra, dec = (first[name].to_numpy(dtype=float)[use] for name in ("ra_deg", "dec_deg"))
    near = np.asarray(tree.query(unit_vectors(ra, dec), k=np.arange(1, k + 1), distance_upper_bound=_REGION)[1])
    inside = near < total
    near = np.minimum(near, total - 1)
    bright = inside & (sample.flux_mjy_beam[near] >= _AS_BRIGHT * flux[use][:, None])
    bright &= np.cumsum(bright, axis=1) <= _SAMPLE
    n = bright.sum(axis=1)
    for listed in sample.in_catalog.values():
        lacking = (bright & ~listed[near]).sum(axis=1)
        share = (lacking + 0.5) / (n + 1.0)
        chance[use] *= np.where(share < _SAYS_NOTHING, share, 1.0)
    return chance


def false_chances(first: pd.DataFrame, images: pd.DataFrame, missed: Floats) -> Floats:
    """The chance that a source is not new, shape (n,): it was missed before, or its only detection is noise.

    Parameters
    ----------
    first : epoch, image, snr of the first detection; n_detected: epochs that detected it
    images : epoch, image, field_radius_deg, bmaj_arcsec, bmin_arcsec, threshold_snr
    missed : chance that all earlier images and catalogs miss it
    """
    row = pd.MultiIndex.from_frame(images[["epoch", "image"]]).get_indexer(
        pd.MultiIndex.from_frame(first[["epoch", "image"]])
    )
    radius, major, minor, threshold = (
        images[name].to_numpy(dtype=float)[row]
        for name in ("field_radius_deg", "bmaj_arcsec", "bmin_arcsec", "threshold_snr")
    )
    square_deg = 2.0 * np.pi * (1.0 - np.cos(np.radians(radius))) * (180.0 / np.pi) ** 2
    n_beams = square_deg * 3600.0**2 / (major * minor)
    peaks = noise_peaks(first["snr"].to_numpy(dtype=float), threshold, n_beams)
    noise = np.where(first["n_detected"].to_numpy() == 1, peaks, 0.0)
    return np.where(row >= 0, np.minimum(missed + np.nan_to_num(noise, nan=1.0), 1.0), 1.0)
