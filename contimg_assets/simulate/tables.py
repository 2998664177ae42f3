"""Measurement tables with true labels, in memory: what tests and benchmarks of association and statistics feed on.

Belongs here: a sky simple enough to simulate a million rows in a second. Does not belong here: images, files,
reference catalogs, flux scales; those are `survey`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from contimg_assets.identity.ids import hash_text, mix, to_hex
from contimg_assets.simulate.rigid import rigidly_moved
from contimg_assets.sky.arrays import Flags, Floats, Indices
from contimg_assets.sky.sphere import displaced, offsets_arcsec, pairs_within, positions, tangent_axes, unit_vectors

DEGREES2_OF_SPHERE = 4.0 * np.pi * (180.0 / np.pi) ** 2


@dataclass(frozen=True)
class DetectionParameters:
    """What `simulate_detections` simulates.

    Attributes
    ----------
    n_sources, n_epochs : true sources (transients included) and tables
    seed : same seed, same tables
    centre_ra_deg, centre_dec_deg : center of the circle [deg]
    density_per_deg2 : sources per square degree; sets the radius of the circle
    images_per_epoch : the circle is cut into so many wedges, each an image with its own shift
    completeness : probability that a source which is on is in an epoch's table
    systematic_arcsec, beam_arcsec : the two parts of the position errors [arcsec]
    double_fraction : share of the sources that are a component of a double
    double_separation_arcsec : range of the separations of doubles and blends [arcsec]
    blend_fraction : share of the sources that are a component of a pair which is seen as one row with
        ``blend_probability`` in each epoch, at the flux-weighted mean position
    transient_fraction : share of the sources that are on for one to three epochs in a row and then never again
    min_separation_arcsec : closer pairs, other than doubles, do not occur: a finder would not part them [arcsec]
    shift_sigma_arcsec : each image's position error, 1 sigma per axis; not in the quoted errors [arcsec]
    """

    n_sources: int = 10_000
    n_epochs: int = 10
    seed: int = 0
    centre_ra_deg: float = 0.0
    centre_dec_deg: float = 16.0
    density_per_deg2: float = 300.0
    images_per_epoch: int = 1
    completeness: float = 0.9
    systematic_arcsec: float = 1.0
    beam_arcsec: float = 15.0
    double_fraction: float = 0.04
    double_separation_arcsec: tuple[float, float] = (4.0, 9.0)
    blend_fraction: float = 0.005
    blend_probability: float = 0.5
    transient_fraction: float = 0.01
    min_separation_arcsec: float = 4.0
    shift_sigma_arcsec: float = 0.0

    def __post_init__(self) -> None:
        if self.n_sources < 0 or self.n_epochs < 0 or self.images_per_epoch < 1:
            raise ValueError("n_sources and n_epochs must be 0 or more, images_per_epoch 1 or more")
        if not 0 <= self.double_fraction + self.blend_fraction <= 1:
            raise ValueError("double_fraction + blend_fraction must be between 0 and 1")


def simulate_detections(n_sources: int = 10_000, n_epochs: int = 10, **settings: Any) -> list[pd.DataFrame]:
    """Tables of measurements, one an epoch, ready for association, with the true source of every row.

    Sources lie uniformly in a circle around the center, which may hold RA 0 or a pole. Positions scatter with exactly
    the errors that the rows quote: ``systematic_arcsec`` and beam / (2.355 SNR) (Condon 1997, a point source) in
    quadrature, per axis. Doubles count as two sources.

    Parameters
    ----------
    n_sources, n_epochs : true sources (transients included) and tables
    settings : any other of `DetectionParameters`, by name: ``seed=1``, ``shift_sigma_arcsec=2.0``, ...

    Returns
    -------
    list of DataFrames, rows in random order, with measurement_id, epoch, image, mjd, ra_deg, dec_deg,
    uncertainty_ew_arcsec, uncertainty_ns_arcsec, snr, bmaj_arcsec, flux_peak_mjy_beam, flux_peak_err_mjy_beam and the
    truth: true_source (int, 0 to n_sources - 1; the brighter one of a blend), second_source (the fainter one, else
    missing), shift_ra_arcsec, shift_dec_arcsec (what was added to the image's positions, east and north at its middle:
    a correction is the reverse).

    Raises
    ------
    ValueError
        If a number is out of range, or the sky cannot hold so many sources that far apart.
    TypeError
        If a setting is unknown.
    """
    p = DetectionParameters(n_sources, n_epochs, **settings)
    rng = np.random.default_rng([p.seed, 0])
    sky = _sky(rng, p)
    transient = rng.random(n_sources) < p.transient_fraction
    start = np.where(transient, np.floor(rng.random(n_sources) * max(n_epochs, 1)), 0)
    length = np.where(transient, rng.integers(1, 4, n_sources), n_epochs)
    image_of = np.minimum((sky.azimuth * p.images_per_epoch).astype(np.intp), p.images_per_epoch - 1)
    images = _Images(image_of, *_mean_positions(sky, image_of, p.images_per_epoch))
    return [_epoch(p, sky, images, k, (k >= start) & (k < start + length)) for k in range(n_epochs)]


@dataclass(frozen=True)
class _Sky:
    ra_deg: Floats
    dec_deg: Floats
    azimuth: Floats  # around the center of the cap, in turns
    flux_mjy: Floats
    partner: Indices  # -1 without
    blends: Flags  # whether the pair may be seen as one


@dataclass(frozen=True)
class _Images:
    of_source: Indices
    ra_deg: Floats  # of the middles
    dec_deg: Floats


def _epoch(p: DetectionParameters, sky: _Sky, images: _Images, k: int, on: Flags) -> pd.DataFrame:
    """The table of epoch k, in which some of the sources are on."""
    rms_mjy = 0.2
    rng = np.random.default_rng([p.seed, 1, k])
    seen = on & (rng.random(p.n_sources) < p.completeness)
    first, second, flux, ra, dec = _blended(rng, sky, seen, np.where(on, sky.flux_mjy, 0.0), p.blend_probability)
    snr = flux / rms_mjy
    sigma = np.hypot(p.systematic_arcsec, p.beam_arcsec / (2.0 * np.sqrt(2.0 * np.log(2.0)) * snr))
    shift = rng.normal(0.0, 1.0, (p.images_per_epoch, 2)) * p.shift_sigma_arcsec
    image = images.of_source[first]
    noise = rng.normal(0.0, 1.0, (len(first), 2)) * sigma[:, None]
    ra, dec = displaced(ra, dec, noise[:, 0], noise[:, 1])
    if p.shift_sigma_arcsec:
        ra, dec = rigidly_moved(ra, dec, images.ra_deg[image], images.dec_deg[image], shift[image, 0], shift[image, 1])
    peak = flux + rng.normal(0.0, rms_mjy, len(first))
    epoch = f"epoch{k:04d}"
    names = np.array([f"image{image:03d}" for image in range(p.images_per_epoch)], dtype=object)
    table = pd.DataFrame(
        {
            "measurement_id": to_hex(
                mix(np.full(len(first), hash_text([epoch])[0]), np.arange(len(first), dtype=np.uint64))
            ),
            "epoch": epoch,
            "image": names[image],
            "mjd": 61000.0 + k,
            "ra_deg": ra,
            "dec_deg": dec,
            "uncertainty_ew_arcsec": sigma,
            "uncertainty_ns_arcsec": sigma,
            "snr": snr,
            "bmaj_arcsec": p.beam_arcsec,
            "flux_peak_mjy_beam": peak,
            "flux_peak_err_mjy_beam": rms_mjy,
            "true_source": first.astype(np.int64),
            "second_source": pd.arrays.IntegerArray(np.maximum(second, 0).astype(np.int64), second < 0),
            "shift_ra_arcsec": shift[image, 0],
            "shift_dec_arcsec": shift[image, 1],
        }
    )
    return table.iloc[rng.permutation(len(table))].reset_index(drop=True)


def _mean_positions(sky: _Sky, image_of: Indices, n_images: int) -> tuple[Floats, Floats]:
    """Middle of each image's sources, shape (n_images,); the pole where it has none."""
    vectors = unit_vectors(sky.ra_deg, sky.dec_deg)
    return positions(np.stack([np.bincount(image_of, vectors[:, axis], n_images) for axis in range(3)], axis=-1))


def _sky(rng: np.random.Generator, p: DetectionParameters) -> _Sky:
    cap = p.n_sources / p.density_per_deg2 / DEGREES2_OF_SPHERE
    if cap > 1:
        raise ValueError(
            f"{p.n_sources} sources at {p.density_per_deg2:g} per square degree are more than the sky holds"
        )
    n_sources = p.n_sources
    n_doubles, n_blends = int(n_sources * p.double_fraction / 2), int(n_sources * p.blend_fraction / 2)
    n_primaries = n_sources - n_doubles - n_blends
    ra, dec, azimuth = np.empty(0), np.empty(0), np.empty(0)
    for _ in range(100):
        new_ra, new_dec, new_azimuth = _uniform_in_cap(
            rng, n_primaries - len(ra), p.centre_ra_deg, p.centre_dec_deg, cap
        )
        ra, dec, azimuth = np.append(ra, new_ra), np.append(dec, new_dec), np.append(azimuth, new_azimuth)
        vectors = unit_vectors(ra, dec)
        # A double's companion keeps its distance too.
        i, j, _ = pairs_within(vectors, vectors, p.min_separation_arcsec + max(p.double_separation_arcsec))
        crowded = np.zeros(len(ra), bool)
        crowded[j[i < j]] = True
        if not crowded.any():
            break
        ra, dec, azimuth = ra[~crowded], dec[~crowded], azimuth[~crowded]
    else:
        raise ValueError("the sky is too crowded for min_separation_arcsec; lower density_per_deg2")
    n_pairs = n_doubles + n_blends
    primary = np.arange(n_pairs)
    separation = rng.uniform(*p.double_separation_arcsec, n_pairs)
    angle = rng.uniform(0.0, 2.0 * np.pi, n_pairs)
    second_ra, second_dec = displaced(ra[primary], dec[primary], separation * np.sin(angle), separation * np.cos(angle))
    partner = np.full(n_sources, -1, np.intp)
    partner[primary], partner[n_primaries:] = n_primaries + primary, primary
    blends = np.zeros(n_sources, bool)
    blends[n_doubles:n_pairs] = blends[n_primaries + n_doubles :] = True
    # Integral counts N(>S) ~ S^-1 from 5 sigma (1 mJy) up.
    flux = np.minimum((1.0 - rng.random(n_sources)) ** -1.0, 1e5)
    ra, dec, azimuth = np.append(ra, second_ra), np.append(dec, second_dec), np.append(azimuth, azimuth[primary])
    return _Sky(ra, dec, azimuth, flux, partner, blends)


def _uniform_in_cap(
    rng: np.random.Generator, n: int, ra_deg: float, dec_deg: float, share_of_sphere: float
) -> tuple[Floats, Floats, Floats]:
    """(ra_deg, dec_deg, azimuth in turns) of points uniform in a cap around a center, at the poles as anywhere."""
    height = 1.0 - 2.0 * share_of_sphere * rng.random(n)
    azimuth = rng.random(n)
    radius, angle = np.sqrt(np.clip(1.0 - height**2, 0.0, 1.0)), 2.0 * np.pi * azimuth
    frame = np.stack([unit_vectors(ra_deg, dec_deg), *tangent_axes(ra_deg, dec_deg)])
    local = np.stack([height, radius * np.sin(angle), radius * np.cos(angle)], axis=-1)
    return *positions(local @ frame), azimuth


def _blended(
    rng: np.random.Generator, sky: _Sky, seen: Flags, flux: Floats, probability: float
) -> tuple[Indices, Indices, Floats, Floats, Floats]:
    """What one epoch shows: (brighter source, fainter source or -1, flux, ra, dec) per row."""
    n = len(seen)
    everyone = np.arange(n)
    # One draw a pair: that of its first component.
    together = rng.random(n)[np.where(sky.partner >= 0, np.minimum(everyone, sky.partner), everyone)] < probability
    merged = sky.blends & together & seen
    merged &= merged[sky.partner]
    other = np.where(merged, sky.partner, everyone)
    fainter = merged & ((flux < flux[other]) | ((flux == flux[other]) & (everyone > other)))
    first = np.flatnonzero(seen & ~fainter)
    second = np.where(merged[first], other[first], -1)
    companion = np.where(second >= 0, flux[second], 0.0)
    total = flux[first] + companion
    east, north = offsets_arcsec(
        sky.ra_deg[first], sky.dec_deg[first], sky.ra_deg[other[first]], sky.dec_deg[other[first]]
    )
    share = companion / total
    ra, dec = displaced(sky.ra_deg[first], sky.dec_deg[first], east * share, north * share)
    return first, second, total, ra, dec
