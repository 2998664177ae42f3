"""A source finder on simulated images: blending, noise, Condon errors, the detection threshold, false detections."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from contimg_assets.simulate.parameters import SurveyParameters
from contimg_assets.simulate.rigid import rigidly_moved
from contimg_assets.sky.arrays import Floats, Indices, Integers
from contimg_assets.sky.sphere import displaced, offsets_arcsec, pairs_within, unit_vectors

FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))
# A companion fainter than this share of the brighter source does not make a detection a blend.
SECOND_SHARE = 0.1
# Fits much narrower than the beam are no sources, and finders bound them; their errors would come out far too small.
SMALLEST_FIT = 0.8


def groups_within(ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike, radius_arcsec: float) -> Indices:
    """Label of each position's group, shape (n,): positions closer than the radius, directly or by steps, share one."""
    vectors = unit_vectors(ra_deg, dec_deg)
    i, j, _ = pairs_within(vectors, vectors, radius_arcsec)
    n = len(vectors)
    return _components(i, j, n)


def blend(sources: pd.DataFrame, keys: Integers, beam: tuple[float, float]) -> pd.DataFrame:
    """Sources with equal keys as the one component that a beam makes of them.

    Parameters
    ----------
    sources : ra_deg, dec_deg, flux_mjy (now), size_arcsec, any other columns
    keys : shape (n,)
    beam : FWHM major and minor axis [arcsec]

    Returns
    -------
    DataFrame, one row a key, in the order of the keys: `index` (position in ``sources`` of the brightest), `second` (of
    the second brightest if it has a tenth of the brightest's flux, else -1), ra_deg, dec_deg (centroid), flux_mjy
    (total), bmaj_arcsec, bmin_arcsec (size as seen).
    """
    flux = sources["flux_mjy"].to_numpy(float)
    ra, dec = sources["ra_deg"].to_numpy(float), sources["dec_deg"].to_numpy(float)
    order = np.lexsort((np.arange(len(flux)), -flux, keys))
    sorted_keys = keys[order]
    first = np.flatnonzero(np.diff(sorted_keys, prepend=sorted_keys[:1] - 1)) if len(order) else np.empty(0, np.intp)
    group = np.cumsum(np.isin(np.arange(len(order)), first)) - 1
    main = order[first]
    east, north = offsets_arcsec(ra[main][group], dec[main][group], ra[order], dec[order])
    weight = flux[order]
    n = len(first)
    total = np.bincount(group, weight, n)
    mean_east, mean_north = (np.bincount(group, weight * x, n) / total for x in (east, north))
    spread = np.bincount(group, weight * ((east - mean_east[group]) ** 2 + (north - mean_north[group]) ** 2), n) / total
    extent = np.maximum(sources["size_arcsec"].to_numpy(float)[main] ** 2, 0.0) + FWHM_PER_SIGMA**2 * spread
    size = np.diff(np.append(first, len(order)))
    follower = order[np.minimum(first + 1, max(len(order) - 1, 0))] if n else np.empty(0, np.intp)
    second = np.where((size > 1) & (flux[follower] >= SECOND_SHARE * flux[main]), follower, -1)
    centre_ra, centre_dec = displaced(ra[main], dec[main], mean_east, mean_north)
    return pd.DataFrame(
        {
            "index": main,
            "second": second,
            "ra_deg": centre_ra,
            "dec_deg": centre_dec,
            "flux_mjy": total,
            "bmaj_arcsec": np.sqrt(beam[0] ** 2 + extent),
            "bmin_arcsec": np.sqrt(beam[1] ** 2 + extent),
        }
    )


def condon_errors(
    snr: Floats, bmaj_arcsec: Floats, bmin_arcsec: Floats, pa_deg: Floats, beam: tuple[float, float]
) -> dict[str, Floats]:
    """Errors of elliptical Gaussian fits in correlated noise (Condon 1997, PASP 109, 166, eq. 21, 41 and 42).

    Parameters
    ----------
    snr : peak over local rms, shape (n,)
    bmaj_arcsec, bmin_arcsec, pa_deg : fitted FWHM and position angle, shape (n,)
    beam : FWHM of the restoring beam [arcsec]

    Returns
    -------
    dict of arrays of shape (n,): major_arcsec, minor_arcsec (position, along the axes), ra_err_arcsec, dec_err_arcsec,
    peak, bmaj, bmin, total (fractions of the peak, sizes and integrated flux), pa_deg
    """
    area = bmaj_arcsec * bmin_arcsec / (4.0 * beam[0] * beam[1])
    grow_major, grow_minor = 1.0 + (beam[0] / bmaj_arcsec) ** 2, 1.0 + (beam[1] / bmin_arcsec) ** 2
    rho = {
        axis: snr * np.sqrt(area * grow_major**a * grow_minor**b)
        for axis, a, b in (("major", 2.5, 0.5), ("minor", 0.5, 2.5), ("peak", 1.5, 1.5))
    }
    major = bmaj_arcsec / (np.sqrt(4.0 * np.log(2.0)) * rho["major"])
    minor = bmin_arcsec / (np.sqrt(4.0 * np.log(2.0)) * rho["minor"])
    sin, cos = np.sin(np.radians(pa_deg)), np.cos(np.radians(pa_deg))
    peak, size_major, size_minor = (np.sqrt(2.0) / rho[axis] for axis in ("peak", "major", "minor"))
    with np.errstate(divide="ignore"):
        angle = np.degrees(2.0 * bmaj_arcsec * bmin_arcsec / (np.abs(bmaj_arcsec**2 - bmin_arcsec**2) * rho["minor"]))
    return {
        "major_arcsec": major,
        "minor_arcsec": minor,
        "ra_err_arcsec": np.hypot(major * sin, minor * cos),
        "dec_err_arcsec": np.hypot(major * cos, minor * sin),
        "peak": peak,
        "bmaj": size_major,
        "bmin": size_minor,
        "total": np.sqrt(peak**2 + beam[0] * beam[1] / (bmaj_arcsec * bmin_arcsec) * (size_major**2 + size_minor**2)),
        "pa_deg": np.minimum(angle, 180.0),
    }


def detect(
    parameters: SurveyParameters,
    images: pd.DataFrame,
    sources: pd.DataFrame,
    flux_mjy: Floats,
    groups: Indices,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """What the finder delivers for the images of one epoch, with the truth of every row.

    Parameters
    ----------
    images : rows of `schedule` of one epoch
    sources : as from `true_sources`
    flux_mjy : true integrated fluxes at this epoch, shape (n_sources,)
    groups : label of the blend that each source belongs to, shape (n_sources,)

    Returns
    -------
    DataFrame sorted by image and component: the columns of a delivered catalog (`CATALOG_COLUMNS`), epoch, image,
    image_index (row of ``images``), and the truth: true_source, second_source (blends), true_ra_deg, true_dec_deg,
    true_flux_mjy (of the blend).
    """
    p = parameters
    seen, truth = _seen(p, images, sources, flux_mjy, groups, rng)
    fits = _fitted(p, images, seen, rng)
    kept = (fits["peak"] >= p.detection_snr * fits["rms"]) & (rng.random(len(fits)) >= p.lost_fraction)
    fits = pd.concat([fits, truth], axis=1)[kept]
    false = _false_detections(p, images, rng)
    fits = pd.concat([fits, false], ignore_index=True) if len(false) else fits
    return _catalog(p, images, fits)


def _seen(
    p: SurveyParameters,
    images: pd.DataFrame,
    sources: pd.DataFrame,
    flux_mjy: Floats,
    groups: Indices,
    rng: np.random.Generator,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What the beams of the images make of the sources, before noise: `blend` with image and edge; and its truth.

    ``edge`` is the separation from the image's center as a share of its radius.
    """
    beam = (p.bmaj_arcsec, p.bmin_arcsec)
    on = np.flatnonzero(flux_mjy > 0)
    image, source, distance = pairs_within(
        unit_vectors(images["ra_deg"], images["dec_deg"]),
        unit_vectors(sources["ra_deg"].to_numpy()[on], sources["dec_deg"].to_numpy()[on]),
        p.image_radius_deg * 3600.0,
    )
    source = on[source]
    # A blend is one detection in an image, unless this image resolves it; then every source has a key of its own.
    n = len(sources)
    split = rng.random((len(images), n)) < p.blend_split_fraction
    label = np.where(split[image, groups[source]], n + source, groups[source])
    present = sources.iloc[source].assign(flux_mjy=flux_mjy[source])
    seen = blend(present, image * (2 * n + 1) + label, beam)
    at, second = seen["index"].to_numpy(), seen["second"].to_numpy()
    names = sources["true_source"].to_numpy()
    truth = pd.DataFrame(
        {
            "true_source": names[source[at]],
            "second_source": np.where(second >= 0, names[source[second]], None) if len(second) else None,
            "true_ra_deg": seen["ra_deg"],
            "true_dec_deg": seen["dec_deg"],
            "true_flux_mjy": seen["flux_mjy"],
        }
    )
    return seen.assign(image=image[at], edge=distance[at] / (p.image_radius_deg * 3600.0)), truth


def _fitted(p: SurveyParameters, images: pd.DataFrame, seen: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Gaussian fits to what is seen, with noise and the errors of each image's positions and fluxes."""
    beam = (p.bmaj_arcsec, p.bmin_arcsec)
    image, edge = seen["image"].to_numpy(), seen["edge"].to_numpy()
    rms = images["rms_mjy_beam"].to_numpy()[image] * (1.0 + (p.rms_edge_factor - 1.0) * edge**2)
    rms = rms * np.exp(rng.normal(0.0, 0.03, len(rms)))
    mult = images["flux_mult"].to_numpy()[image]
    bmaj, bmin = seen["bmaj_arcsec"].to_numpy(), seen["bmin_arcsec"].to_numpy()
    peak = seen["flux_mjy"].to_numpy() * beam[0] * beam[1] / (bmaj * bmin) / mult
    pa = np.full(len(peak), p.bpa_deg)
    errors = condon_errors(np.maximum(peak / rms, 1.0), bmaj, bmin, pa, beam)
    noise = rng.normal(size=(6, len(peak)))
    major, minor = noise[0] * errors["major_arcsec"], noise[1] * errors["minor_arcsec"]
    sin, cos = np.sin(np.radians(pa)), np.cos(np.radians(pa))
    east, north = major * sin + minor * cos, major * cos - minor * sin
    if p.position_systematic_arcsec:
        # All else is drawn as without it.
        more = rng.spawn(1)[0].normal(0.0, p.position_systematic_arcsec, (2, len(peak)))
        east, north = east + more[0], north + more[1]
    ra, dec = displaced(seen["ra_deg"], seen["dec_deg"], east, north)
    of_image = (images[name].to_numpy()[image] for name in ("ra_deg", "dec_deg", "dra_arcsec", "ddec_arcsec"))
    centre_ra, centre_dec, dra, ddec = of_image
    ra, dec = rigidly_moved(ra, dec, centre_ra, centre_dec, -dra, -ddec)
    return pd.DataFrame(
        {
            "image_index": image,
            "ra_deg": ra,
            "dec_deg": dec,
            "peak": peak * (1.0 + noise[2] * errors["peak"]),
            "rms": rms,
            "bmaj": np.maximum(bmaj * (1.0 + noise[3] * errors["bmaj"]), SMALLEST_FIT * beam[0]),
            "bmin": np.maximum(bmin * (1.0 + noise[4] * errors["bmin"]), SMALLEST_FIT * beam[1]),
            "pa": (pa + np.clip(noise[5], -3, 3) * errors["pa_deg"] + 90.0) % 180.0 - 90.0,
        }
    )


CATALOG_COLUMNS = (
    "component_id",
    "island_id",
    "ra_deg",
    "dec_deg",
    "ra_err_arcsec",
    "dec_err_arcsec",
    "flux_peak_mjy_beam",
    "flux_peak_err_mjy_beam",
    "flux_int_mjy",
    "flux_int_err_mjy",
    "local_rms_mjy_beam",
    "bmaj_arcsec",
    "bmaj_err_arcsec",
    "bmin_arcsec",
    "bmin_err_arcsec",
    "pa_deg",
    "pa_err_deg",
    "flags",
    "has_siblings",
)


def _false_detections(p: SurveyParameters, images: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Noise peaks just above the threshold, uniform over the images."""
    image = np.repeat(np.arange(len(images)), rng.poisson(p.false_per_image, len(images)))
    n = len(image)
    radius, angle = p.image_radius_deg * 3600.0 * np.sqrt(rng.random(n)), rng.uniform(0.0, 2.0 * np.pi, n)
    ra, dec = displaced(
        images["ra_deg"].to_numpy()[image],
        images["dec_deg"].to_numpy()[image],
        radius * np.sin(angle),
        radius * np.cos(angle),
    )
    rms = images["rms_mjy_beam"].to_numpy()[image]
    return pd.DataFrame(
        {
            "image_index": image,
            "ra_deg": ra,
            "dec_deg": dec,
            "peak": rms * (p.detection_snr + rng.exponential(0.3, n)),
            "rms": rms,
            "bmaj": p.bmaj_arcsec * rng.uniform(0.8, 1.2, n),
            "bmin": p.bmin_arcsec * rng.uniform(0.8, 1.2, n),
            "pa": p.bpa_deg,
        }
    )


def _catalog(p: SurveyParameters, images: pd.DataFrame, fits: pd.DataFrame) -> pd.DataFrame:
    """The fits with identifiers, islands and the errors that a finder computes from what it measured."""
    fits = fits.sort_values(["image_index", "peak"], ascending=[True, False], kind="stable").reset_index(drop=True)
    image = fits["image_index"].to_numpy(np.intp)
    bmaj, bmin = fits["bmaj"].to_numpy(float), fits["bmin"].to_numpy(float)
    # A fit may come out with its axes swapped; major is what is longer.
    swapped = bmin > bmaj
    bmaj, bmin = np.maximum(bmaj, bmin), np.minimum(bmaj, bmin)
    pa = np.where(swapped, fits["pa"].to_numpy(float) % 180.0 - 90.0, fits["pa"].to_numpy(float))
    peak, rms = fits["peak"].to_numpy(float), fits["rms"].to_numpy(float)
    beam = (p.bmaj_arcsec, p.bmin_arcsec)
    errors = condon_errors(peak / rms, bmaj, bmin, pa, beam)
    total = peak * bmaj * bmin / (beam[0] * beam[1])
    number = np.arange(len(fits)) - np.searchsorted(image, image)
    # Images are compared as places far apart, so that an island never spans two of them.
    island = _islands(fits, image, 1.2 * p.bmaj_arcsec)
    members = np.bincount(island, minlength=1)[island] if len(island) else island
    first_of_island = np.full(len(fits), len(fits))
    np.minimum.at(first_of_island, island, np.arange(len(fits)))
    columns = {
        "image_index": image,
        "epoch": images["epoch"].to_numpy()[image],
        "image": images["image"].to_numpy()[image],
        "component_id": np.char.mod("C%04d", number).astype(object),
        "island_id": np.char.mod("I%04d", number[first_of_island[island]] if len(island) else number).astype(object),
        "ra_deg": fits["ra_deg"],
        "dec_deg": fits["dec_deg"],
        "ra_err_arcsec": errors["ra_err_arcsec"],
        "dec_err_arcsec": errors["dec_err_arcsec"],
        "flux_peak_mjy_beam": peak,
        "flux_peak_err_mjy_beam": peak * errors["peak"],
        "flux_int_mjy": total,
        "flux_int_err_mjy": total * errors["total"],
        "local_rms_mjy_beam": rms,
        "bmaj_arcsec": bmaj,
        "bmaj_err_arcsec": bmaj * errors["bmaj"],
        "bmin_arcsec": bmin,
        "bmin_err_arcsec": bmin * errors["bmin"],
        "pa_deg": pa,
        "pa_err_deg": errors["pa_deg"],
        "flags": np.zeros(len(fits), np.int64),
        "has_siblings": members > 1,
    }
    truth = fits[["true_source", "second_source", "true_ra_deg", "true_dec_deg", "true_flux_mjy"]]
    return pd.concat([pd.DataFrame(columns), truth], axis=1)


def _islands(fits: pd.DataFrame, image: Indices, radius_arcsec: float) -> Indices:
    vectors = unit_vectors(fits["ra_deg"], fits["dec_deg"])
    i, j, _ = pairs_within(vectors, vectors, radius_arcsec)
    same = image[i] == image[j]
    n = len(fits)
    return _components(i[same], j[same], n)


def _components(i: Indices, j: Indices, n: int) -> Indices:
    links = coo_array((np.ones(len(i), bool), (i, j)), shape=(n, n))
    return np.asarray(connected_components(links, directed=False)[1], np.intp)
