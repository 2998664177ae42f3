"""Fluxes in other Stokes parameters than I at the sources of I: which row belongs to which source, fractions, limits.

Sources are made from I. A detection in V, Q, U or L is of a source where it lies at the place of a measurement in I of
the same epoch: the images come from one observation and share its position error, so that nothing need be aligned.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from contimg_assets.config import STOKES_I, Bands, Stokes
from contimg_assets.identity.ids import hash_text, mix, to_hex
from contimg_assets.ingest.bands import band_names, bands_mhz
from contimg_assets.schemas.polarization import ALONE, AT_SOURCE, BESIDE, NEGATIVE, STOKES_MEASUREMENTS, UNDETECTED
from contimg_assets.sky.arrays import Flags, Floats, Indices
from contimg_assets.sky.sphere import chord, pairs_within, separation_arcsec, tree_of, unit_vectors

_SIGMA = 4.0
_LINEAR = "L"


def reach_arcsec(beam_arcsec: Floats, error_arcsec: Floats) -> Floats:
    """How far a polarized detection may lie from its source: half the beam, or four errors where that is more.

    Within half a beam two peaks are not told apart, and the polarized part of an extended source need not be its
    middle.

    Parameters
    ----------
    beam_arcsec, error_arcsec : ndarray of float, shape (n,)
        Major axis of the beam, and error of the separation along one axis [arcsec].

    Returns
    -------
    ndarray of float, shape (n,)
        Largest separation [arcsec].

    Examples
    --------
    >>> reach_arcsec(np.array([40.0, 40.0]), np.array([1.0, 8.0])).tolist()
    [20.0, 32.0]
    """
    reach: Floats = np.maximum(beam_arcsec / 2.0, _SIGMA * error_arcsec)
    return reach


def partners(other_images: pd.DataFrame, images: pd.DataFrame, bands: Bands | None = None) -> pd.Series:
    """The image in Stokes I of each other image, whose corrections hold for it too.

    Parameters
    ----------
    other_images : DataFrame
        Schema OTHER_IMAGES.
    images : DataFrame
        Schema IMAGES, of the same epoch; at least one.
    bands : Bands, optional
        Section `bands`.

    Returns
    -------
    Series of str
        Name of the image in I, by that of the other: of its band where there is one, of these the nearest in
        direction, then in time.

    Examples
    --------
    >>> other = pd.DataFrame({"image": ["v"], "freq_mhz": 888.0, "ra_deg": 10.0, "dec_deg": 0.0, "mjd": 61000.0})
    >>> own = pd.DataFrame({"image": ["far", "near"], "freq_mhz": 888.0, "ra_deg": [14.0, 10.1], "dec_deg": 0.0,
    ...                     "mjd": 61000.0})
    >>> partners(other, own).to_dict()
    {'v': 'near'}
    """
    band, own_band = bands_mhz(other_images["freq_mhz"], bands), bands_mhz(images["freq_mhz"], bands)
    row, own = (index.ravel() for index in np.indices((len(other_images), len(images))))
    apart = separation_arcsec(
        *(other_images[name].to_numpy(float)[row] for name in ("ra_deg", "dec_deg")),
        *(images[name].to_numpy(float)[own] for name in ("ra_deg", "dec_deg")),
    )
    time = np.abs(other_images["mjd"].to_numpy(float)[row] - images["mjd"].to_numpy(float)[own])
    names = images["image"].to_numpy(dtype=object)[own]
    pairs = pd.DataFrame({"row": row, "other": band[row] != own_band[own], "apart": apart.round(3), "time": time})
    nearest = pairs.assign(image=names).sort_values(["row", "other", "apart", "time", "image"]).drop_duplicates("row")
    return pd.Series(nearest["image"].to_numpy(), index=other_images["image"].to_numpy())


@dataclass(frozen=True)
class TotalIntensity:
    """An epoch in Stokes I.

    Attributes
    ----------
    images : schema IMAGES
    measurements : schema CORRECTED_MEASUREMENTS
    associations : schema ASSOCIATIONS, those of the epoch
    """

    images: pd.DataFrame
    measurements: pd.DataFrame
    associations: pd.DataFrame

    def at_sources(self, bands: Bands | None) -> pd.DataFrame:
        """The detections that are kept and belong to a source, each once, with `source_id`, `band` and `depth`: the
        noise where they lie over that of their image."""
        own = self.associations.loc[~self.associations["copied"].astype(bool), ["measurement_id", "source_id"]]
        # A measurement of several sources counts for the first: its flux is one flux.
        own = own.sort_values(["measurement_id", "source_id"]).drop_duplicates("measurement_id")
        kept = self.measurements[self.measurements["duplicate_of"].isna() & ~self.measurements["forced"].astype(bool)]
        found = kept.merge(own, on="measurement_id").sort_values("measurement_id", ignore_index=True)
        image = pd.Index(self.images["image"]).get_indexer(found["image"])
        band = band_names(bands_mhz(self.images["freq_mhz"], bands))[image]
        depth = found["local_rms_mjy_beam"].to_numpy(float) / self.images["rms_mjy_beam"].to_numpy(float)[image]
        depth = np.where(np.isfinite(depth) & (depth > 0), depth, 1.0)
        return found.assign(band=band, depth=depth)


def polarized_fluxes(
    rows: pd.DataFrame,
    images: pd.DataFrame,
    total: TotalIntensity,
    parameters: Stokes | None = None,
    bands: Bands | None = None,
) -> pd.DataFrame:
    """What an epoch's other images say of the sources in Stokes I.

    Parameters
    ----------
    rows : DataFrame
        Schema OTHER_MEASUREMENTS with the columns of corrected measurements, see `partners`; negative detections in I
        too.
    images : DataFrame
        Schema OTHER_IMAGES.
    total : TotalIntensity
        The epoch in I.
    parameters : Stokes, optional
        Section `stokes`.
    bands : Bands, optional
        Section `bands`.

    Returns
    -------
    DataFrame
        Schema STOKES_MEASUREMENTS, sorted by measurement_id: a row a detection, and one for each source and Stokes
        parameter that an image covers and does not detect.

    References
    ----------
    Wardle & Kronberg 1974, ApJ 194, 249 (bias of L); the estimator is sqrt(L^2 - sigma^2).
    """
    parameters = parameters or Stokes()
    sources = total.at_sources(bands)
    every = pd.concat([images, total.images.assign(stokes=STOKES_I)], ignore_index=True)
    image = pd.Index(every["image"]).get_indexer(rows["image"])
    rows = rows.assign(
        band=band_names(bands_mhz(every["freq_mhz"], bands))[image],
        beam_arcsec=every["bmaj_arcsec"].to_numpy(float)[image],
        upper_limit_mjy_beam=np.nan,
    )
    matched = _matched(rows, sources)
    detected = _with_fractions(matched, sources)
    detected = detected.assign(status=_status(detected), may_be_source=_may_be_source(detected, parameters))
    undetected = _limits(detected, images, sources, parameters, bands)
    parts = [part.reindex(columns=STOKES_MEASUREMENTS.names) for part in (detected, undetected) if len(part)]
    if not parts:
        return STOKES_MEASUREMENTS.empty()
    return pd.concat(parts, ignore_index=True).sort_values("measurement_id", ignore_index=True)


def _matched(rows: pd.DataFrame, sources: pd.DataFrame) -> pd.DataFrame:
    """Rows with the measurement in I that each is at: `at` (row of `sources`, -1 for none), separation, `beside`."""
    at, separation = np.full(len(rows), -1, np.intp), np.full(len(rows), np.nan)
    polarized = (rows["stokes"] != STOKES_I).to_numpy()
    band, their_band = rows["band"].to_numpy(dtype=object), sources["band"].to_numpy(dtype=object)
    # Measurements of the same band first; those of others tell at least which source it is.
    for same in (True, False):
        free = np.flatnonzero(polarized & (at < 0))
        i, j, apart = _pairs(rows.iloc[free], sources)
        kept = (band[free[i]] == their_band[j]) == same
        i, j, apart = i[kept], j[kept], apart[kept]
        order = np.lexsort((j, apart, i))
        first = order[np.diff(i[order], prepend=-1) != 0]
        at[free[i[first]]], separation[free[i[first]]] = j[first], apart[first]
    place = pd.DataFrame({"image": rows["image"].to_numpy(), "at": at, "apart": separation})
    # Of several rows of an image at one source the nearest is the source's.
    nearest = place.sort_values(["image", "at", "apart"], kind="stable")
    beside = (nearest.duplicated(["image", "at"]) & (nearest["at"] >= 0)).reindex(place.index).to_numpy()
    return rows.assign(at=at, separation_arcsec=separation, beside=beside)


def _pairs(rows: pd.DataFrame, sources: pd.DataFrame) -> tuple[Indices, Indices, Floats]:
    """Pairs of rows and measurements in I that are near enough: indices into both, separations [arcsec]."""
    if rows.empty or sources.empty:
        return np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0)
    error, their_error = (
        np.maximum(table["uncertainty_ew_arcsec"].to_numpy(float), table["uncertainty_ns_arcsec"].to_numpy(float))
        for table in (rows, sources)
    )
    beam = rows["beam_arcsec"].to_numpy(float)
    widest = reach_arcsec(beam, np.hypot(error, their_error.max())).max()
    ours, theirs = (unit_vectors(table["ra_deg"], table["dec_deg"]) for table in (rows, sources))
    i, j, apart = pairs_within(ours, theirs, float(widest))
    near = apart <= reach_arcsec(beam[i], np.hypot(error[i], their_error[j]))
    return i[near], j[near], apart[near]


def _with_fractions(rows: pd.DataFrame, sources: pd.DataFrame) -> pd.DataFrame:
    """Rows with source, fraction and significance; peaks are compared, integrated fluxes where there are no peaks.

    Both fluxes are as measured: the scale is that of the observation, and goes out of the fraction.
    """
    at = rows["at"].to_numpy(np.intp)
    known = at >= 0
    flux, error = _peak_or_integrated(rows)
    i_flux, i_error = np.full((2, len(rows)), np.nan)
    ids = {name: np.full(len(rows), None, dtype=object) for name in ("source_id", "measurement_id")}
    if known.any():
        there = sources.iloc[at[known]]
        i_flux[known], i_error[known] = _peak_or_integrated(there)
        for name, values in ids.items():
            values[known] = there[name].to_numpy(dtype=object)
        i_flux[known] = np.where(there["band"].to_numpy() == rows["band"].to_numpy()[known], i_flux[known], np.nan)
    positive = np.where(i_flux > 0, i_flux, np.nan)
    linear = (rows["stokes"] == _LINEAR).to_numpy()
    with np.errstate(invalid="ignore", divide="ignore"):
        true = np.where(linear, np.sqrt(np.maximum(flux**2 - error**2, 0.0)), flux)
        fraction = true / positive
        fraction_err = np.hypot(error, fraction * i_error) / positive
        significance = flux / error
    return rows.assign(
        source_id=ids["source_id"],
        i_measurement_id=ids["measurement_id"],
        fraction=fraction,
        fraction_err=fraction_err,
        fraction_limit=np.nan,
        significance=significance,
    )


def _peak_or_integrated(table: pd.DataFrame) -> tuple[Floats, Floats]:
    """Flux and its error: of the peak, where there is none integrated."""
    peak, integrated = (table[name].to_numpy(float) for name in ("flux_peak_mjy_beam", "flux_int_mjy"))
    peak_err, integrated_err = (table[name].to_numpy(float) for name in ("flux_peak_err_mjy_beam", "flux_int_err_mjy"))
    no_peak = np.isnan(peak)
    return np.where(no_peak, integrated, peak), np.where(no_peak, integrated_err, peak_err)


def _status(rows: pd.DataFrame) -> pd.Series:
    status = np.select(
        [(rows["stokes"] == STOKES_I).to_numpy(), rows["beside"].to_numpy(bool), rows["at"].to_numpy() >= 0],
        [NEGATIVE, BESIDE, AT_SOURCE],
        ALONE,
    )
    return pd.Series(status, index=rows.index, dtype=object)


def _may_be_source(rows: pd.DataFrame, parameters: Stokes) -> Flags:
    """Whether a row becomes a source of its own where no source in I is."""
    configured = rows["stokes"].isin(parameters.sources) & (rows["at"] < 0)
    fit = configured & rows["duplicate_of"].isna() & ~rows["forced"].astype(bool) & rows["trusted"].astype(bool)
    snr = rows["significance"].abs().to_numpy(float)
    return np.asarray(fit) & (snr >= parameters.source_min_snr)


def _limits(
    detected: pd.DataFrame, images: pd.DataFrame, sources: pd.DataFrame, parameters: Stokes, bands: Bands | None
) -> pd.DataFrame:
    """One row for each source and Stokes parameter, in the band, that an image covers and none detects: a limit."""
    image, source = _covered(images, sources, bands)
    stokes = images["stokes"].to_numpy(dtype=object)[image]
    # The noise has the same pattern in all images of an observation.
    limit = parameters.limit_sigma * images["rms_mjy_beam"].to_numpy(float)[image] * sources["depth"].to_numpy()[source]
    missed = pd.DataFrame({"row": source, "image_row": image, "stokes": stokes, "limit": limit})
    missed = missed.assign(**{name: sources[name].to_numpy(dtype=object)[source] for name in ("source_id", "band")})
    seen = detected.loc[detected["source_id"].notna(), ["source_id", "stokes", "band"]].drop_duplicates()
    missed = missed.merge(seen.assign(seen=True), on=["source_id", "stokes", "band"], how="left")
    missed = missed[missed["seen"].isna()].sort_values(["source_id", "stokes", "band", "limit", "row", "image_row"])
    missed = missed.drop_duplicates(["source_id", "stokes", "band"]).reset_index(drop=True)
    of = sources.iloc[missed["row"].to_numpy(np.intp)].reset_index(drop=True)
    image = missed["image_row"].to_numpy(np.intp)
    flux, _ = _peak_or_integrated(of)
    names = images["image"].to_numpy(dtype=object)[image]
    ids = mix(mix(hash_text(["stokes limit"])[0], hash_text(of["measurement_id"].to_numpy(object))), hash_text(names))
    return pd.DataFrame(
        {
            "measurement_id": to_hex(ids),
            "image": names,
            "mjd": images["mjd"].to_numpy(float)[image],
            "status": UNDETECTED,
            "i_measurement_id": of["measurement_id"],
            "separation_arcsec": 0.0,
            "upper_limit_mjy_beam": missed["limit"],
            "fraction_limit": missed["limit"] / np.where(flux > 0, flux, np.nan),
            "beam_arcsec": images["bmaj_arcsec"].to_numpy(float)[image],
            "forced": False,
            "may_be_source": False,
            **{name: missed[name] for name in ("stokes", "band", "source_id")},
            **{name: of[name] for name in _OF_SOURCE},
        }
    )


_OF_SOURCE = (
    *("ra_deg", "dec_deg", "ra_corr_deg", "dec_corr_deg"),
    *("uncertainty_ew_corr_arcsec", "uncertainty_ns_corr_arcsec", "flux_scale_err", "trusted"),
)


def _covered(images: pd.DataFrame, sources: pd.DataFrame, bands: Bands | None) -> tuple[Indices, Indices]:
    """Pairs of images and measurements in I of their band that lie in their circles."""
    if sources.empty or images.empty:
        return np.empty(0, np.intp), np.empty(0, np.intp)
    tree = tree_of(unit_vectors(sources["ra_deg"], sources["dec_deg"]))
    centers = unit_vectors(images["ra_deg"], images["dec_deg"])
    inside = tree.query_ball_point(centers, chord(images["radius_deg"].to_numpy(float) * 3600.0))
    image = np.repeat(np.arange(len(images)), [len(rows) for rows in inside])
    source = np.concatenate([np.sort(np.asarray(rows, np.intp)) for rows in inside])
    same = band_names(bands_mhz(images["freq_mhz"], bands))[image] == sources["band"].to_numpy(dtype=object)[source]
    return image[same], source[same]
