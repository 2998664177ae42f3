"""Detections to measurements: errors, weights, ratios, duplicates (stage `measurements`).

Where a finder gives no error, in this order:

- position: Condon (1997) from the fitted axes; else the beam over twice the signal to noise, projected on east and
  north; for a forced measurement the floor, because its position is not measured but given;
- peak and integrated flux density: Condon (1997); else flux over signal to noise; else the rms (local, else the
image's).

An error of zero counts as none given: finders round to it, or write it where a fit failed. Floors apply to what
results.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from contimg_assets.config import STOKES_I, Bands, Measurements, with_overrides
from contimg_assets.errors import InputError
from contimg_assets.identity.ids import from_hex, hashes_of
from contimg_assets.ingest.bands import bands_mhz
from contimg_assets.ingest.condon import condon_errors, error_radius
from contimg_assets.ingest.duplicates import Duplicates, find_duplicates, find_duplicates_vast
from contimg_assets.schemas.detections import IMAGES, MEASUREMENTS, OTHER_MEASUREMENTS
from contimg_assets.schemas.tables import AngleLike, TableLike, as_arcsec, as_frame, numbers_of, require, rows_among
from contimg_assets.sky.arrays import Flags, Floats, Indices, Integers, Values
from contimg_assets.sky.beams import ALIKE_BEAMS
from contimg_assets.sky.cells import index_cells
from contimg_assets.sky.sphere import arc, distance, pairs_within, unit_vectors

_CONDON_COLUMNS = (
    "ra_err_arcsec",
    "dec_err_arcsec",
    "flux_peak_err_mjy_beam",
    "flux_int_err_mjy",
    "bmaj_err_arcsec",
    "bmin_err_arcsec",
    "pa_err_deg",
)


def measure(
    detections: pd.DataFrame, images: pd.DataFrame, parameters: Measurements, bands: Bands | None = None
) -> pd.DataFrame:
    """Measurements of one epoch, sorted by measurement_id; duplicates are marked by `duplicate_of`.

    Parameters
    ----------
    detections, images : schemas DETECTIONS, IMAGES
    parameters : section `measurements`
    bands : section `bands`: only measurements of one band are duplicates of each other

    Returns
    -------
    DataFrame of the schema MEASUREMENTS, one row a detection. All position errors are finite and positive.

    Raises
    ------
    InputError
        If a detection is of an image that is not in `images`.
    """
    detections = _sorted(detections)
    image = _image_numbers(detections, images)
    columns = {name: detections[name].array for name in detections.columns}
    of_image = {name: images[name].to_numpy(dtype=float)[image] for name in _IMAGE_COLUMNS}
    columns |= _errors(detections, of_image, parameters)
    del of_image
    columns |= _positions(detections, columns, parameters)
    columns |= {
        "mjd": images["mjd"].to_numpy(dtype=float)[image],
        "dist_from_centre_deg": _from_centre(detections, images, image),
    }
    columns |= _ratios(detections, images, image)
    in_bands = _in_bands(images, bands)
    columns |= _duplicates(detections, columns, in_bands, image, parameters)
    columns["has_siblings"] = detections["has_siblings"].to_numpy(dtype=bool) | _blends(detections, in_bands, image)
    return pd.DataFrame({name: columns[name] for name in MEASUREMENTS.names}, copy=False)


def measure_others(
    detections: pd.DataFrame,
    images: tuple[pd.DataFrame, pd.DataFrame],
    parameters: Measurements,
    bands: Bands | None = None,
) -> pd.DataFrame:
    """As `measure`, of the detections of one epoch that make no sources, each Stokes parameter by itself.

    Parameters
    ----------
    detections : schema OTHER_DETECTIONS
    images : those in Stokes I, schema IMAGES, and the others, schema OTHER_IMAGES
    parameters : section `measurements`
    bands : section `bands`

    Returns
    -------
    DataFrame of the schema OTHER_MEASUREMENTS, sorted by measurement_id.
    """
    total, others = images
    parts = []
    for stokes, rows in detections.groupby("stokes", sort=True):
        of_stokes = total if stokes == STOKES_I else others[others["stokes"] == stokes]
        measured = measure(
            rows.reset_index(drop=True), of_stokes[IMAGES.names].reset_index(drop=True), parameters, bands
        )
        parts.append(measured.assign(stokes=stokes))
    if not parts:
        return OTHER_MEASUREMENTS.empty()
    return pd.concat(parts, ignore_index=True).sort_values("measurement_id", ignore_index=True)


def remove_duplicates(
    measurements: TableLike,
    images: TableLike,
    radius: AngleLike | None = None,
    *,
    mark: bool = False,
    parameters: Measurements | None = None,
    bands: Bands | None = None,
    **overrides: object,
) -> pd.DataFrame:
    """Measurements of one epoch without the repeats in overlapping images.

    Of measurements of one source in different images, the one nearest to the center of its image is kept; where beams
    differ by more than a factor of 1.5, one of the finer beam before any of a coarser one. Shifts
    between images are measured and taken out before pairs are compared. Measurements of one image are never duplicates
    of each other, nor are those of images of different bands.

    Parameters
    ----------
    measurements : DataFrame, Table, QTable or pyarrow.Table
        One row a measurement: ``measurement_id`` (text or integer), ``image``, ``ra_deg``, ``dec_deg``,
        ``uncertainty_ew_arcsec``, ``uncertainty_ns_arcsec`` (1 sigma on the sky).
    images : DataFrame, Table, QTable or pyarrow.Table
        One row an image: ``image``, ``ra_deg``, ``dec_deg`` (of its center), ``bmaj_arcsec``; optional ``freq_mhz``,
        which tells its band. Without it all are of one band.
    radius : float, Angle, Quantity or str, optional
        Pairs nearer than this are candidates whatever their errors, a plain number in arcsec; 2.5 arcsec if not given.
    mark : bool
        Whether all rows are returned, with those to be removed marked.
    parameters : contimg_assets.config.Measurements, optional
        All parameters at once; ``radius`` goes before its own.
    bands : contimg_assets.config.Bands, optional
        Which frequencies make a band; its defaults if not given.
    **overrides : object
        Single parameters of `contimg_assets.config.Measurements`, by name: ``dedup_sigma=4``, ``dedup_method="vast"``.

    Returns
    -------
    DataFrame
        The rows that are kept, in their order, with their labels. With ``mark`` all rows, and ``duplicate_of``
        (``measurement_id`` that is kept in this one's place, missing where this one is kept) and
        ``duplicate_separation_arcsec``.

    Raises
    ------
    InputError
        If a column is missing, an id comes twice, or a measurement's image is not among the images.
    ConfigError
        If a parameter is unknown, or its value not allowed.

    Examples
    --------
    >>> import pandas as pd
    >>> import contimg_assets as ca
    >>> images = pd.DataFrame({
    ...     "image": ["west", "east"], "ra_deg": [9.0, 11.0], "dec_deg": [16.0, 16.0], "bmaj_arcsec": [40.0, 40.0],
    ... })
    >>> measurements = pd.DataFrame({
    ...     "measurement_id": ["w1", "w2", "e1"], "image": ["west", "west", "east"], "ra_deg": [9.9, 8.5, 9.9001],
    ...     "dec_deg": [16.0, 16.0, 16.0], "uncertainty_ew_arcsec": [0.5] * 3, "uncertainty_ns_arcsec": [0.5] * 3,
    ... })
    >>> ca.remove_duplicates(measurements, images)["measurement_id"].tolist()
    ['w1', 'w2']
    """
    measurements, images = as_frame(measurements, "measurements"), as_frame(images, "images")
    wanted = {} if radius is None else {"dedup_radius_arcsec": as_arcsec(radius, "radius")}
    chosen = with_overrides(Measurements, parameters, wanted | overrides)
    require(images, ("image", "ra_deg", "dec_deg", "bmaj_arcsec"), "images")
    numbers = ("ra_deg", "dec_deg", "uncertainty_ew_arcsec", "uncertainty_ns_arcsec")
    require(measurements, ("measurement_id", "image", *numbers), "measurements")
    # In the order of their ids, which settles ties.
    order = np.argsort(hashes_of(measurements["measurement_id"]), kind="stable")
    columns = {name: numbers_of(measurements, name, "measurements")[order] for name in numbers}
    for name, values in columns.items():
        if not np.isfinite(values).all():
            row = int(order[np.argmax(~np.isfinite(values))])
            raise InputError(f"measurements: row {row} has no {name}; leave such rows out")
    ordered = measurements[["measurement_id", "image"]].iloc[order].reset_index(drop=True).assign(**columns)
    if ordered["measurement_id"].duplicated().any():
        name = ordered["measurement_id"][ordered["measurement_id"].duplicated()].iloc[0]
        raise InputError(f"measurement_id {name} comes more than once; give every measurement its own id")
    image = _image_numbers(ordered, images)
    columns["dist_from_centre_deg"] = _from_centre(ordered, images, image)
    found = _duplicates(ordered, columns, _in_bands(images, bands), image, chosen)
    place = np.argsort(order, kind="stable")
    duplicate_of = pd.Series(found["duplicate_of"]).take(place).set_axis(measurements.index)
    if not mark:
        return measurements[duplicate_of.isna()]
    separation = found["duplicate_separation_arcsec"][place]
    return measurements.assign(duplicate_of=duplicate_of, duplicate_separation_arcsec=separation)


_IMAGE_COLUMNS = ("bmaj_arcsec", "bmin_arcsec", "bpa_deg", "rms_mjy_beam")


def _sorted(detections: pd.DataFrame) -> pd.DataFrame:
    ids = detections["measurement_id"]
    # Of so many digits, ids ascend as the numbers do that they are.
    if not len(ids) or ids.is_monotonic_increasing:
        return detections
    hashes = from_hex(ids)
    return detections.iloc[np.argsort(hashes, kind="stable")].reset_index(drop=True)


def _image_numbers(detections: pd.DataFrame, images: pd.DataFrame) -> Integers:
    """Row of `images` of each detection."""
    numbers = rows_among(detections["image"], images["image"])
    if (numbers < 0).any():
        stranger = detections["image"].iloc[int(np.argmax(numbers < 0))]
        raise InputError(
            f"a detection is of image {stranger!r}, which the epoch's images do not list; read the epoch again"
        )
    return numbers


def _errors(detections: pd.DataFrame, of_image: dict[str, Floats], parameters: Measurements) -> dict[str, Floats]:
    """Errors of positions, fluxes and axes, by the order of the module's docstring; and the floors."""
    delivered = {name: _none_if_zero(detections[name].to_numpy(dtype=float)) for name in _CONDON_COLUMNS}
    forced = detections["forced"].to_numpy(dtype=bool)
    snr = _signal_to_noise(detections, of_image)
    errors = delivered
    if parameters.condon_errors != "never":
        errors = _with_condon(delivered, detections, of_image, snr, parameters.condon_errors == "always")
    east, north = _beam_errors(of_image, snr)
    for name, error in (("ra_err_arcsec", east), ("dec_err_arcsec", north)):
        floor = parameters.min_position_err_arcsec
        filled = np.where(np.isnan(errors[name]), np.where(forced, floor, error), errors[name])
        errors[name] = np.maximum(filled, floor)
    rms = _first(_none_if_zero(detections["local_rms_mjy_beam"].to_numpy(dtype=float)), of_image["rms_mjy_beam"])
    for name, flux_name in (("flux_peak_err_mjy_beam", "flux_peak_mjy_beam"), ("flux_int_err_mjy", "flux_int_mjy")):
        flux = detections[flux_name].to_numpy(dtype=float)
        error = _first(errors[name], np.abs(flux) / np.where(snr > 0, snr, np.nan), rms)
        floored = np.maximum(error, parameters.min_flux_err_mjy)
        errors[name] = np.where(np.isnan(flux), np.nan, np.hypot(floored, parameters.flux_fractional_err * flux))
    return errors


def _with_condon(
    delivered: dict[str, Floats], detections: pd.DataFrame, of_image: dict[str, Floats], snr: Floats, always: bool
) -> dict[str, Floats]:
    """The errors with Condon's in the place of all, or of those that are missing; only where axes were fitted."""
    wanted = np.isfinite(detections["bmaj_arcsec"].to_numpy(dtype=float)) & ~detections["forced"].to_numpy(dtype=bool)
    if not always:
        wanted &= np.isnan(np.sum(list(delivered.values()), axis=0))
    rows = np.flatnonzero(wanted)
    if not len(rows):
        return delivered
    fitted = condon_errors(
        bmaj_arcsec=detections["bmaj_arcsec"].to_numpy(dtype=float)[rows],
        bmin_arcsec=detections["bmin_arcsec"].to_numpy(dtype=float)[rows],
        pa_deg=detections["pa_deg"].to_numpy(dtype=float)[rows],
        flux_peak_mjy_beam=detections["flux_peak_mjy_beam"].to_numpy(dtype=float)[rows],
        flux_int_mjy=detections["flux_int_mjy"].to_numpy(dtype=float)[rows],
        snr=snr[rows],
        beam_bmaj_arcsec=of_image["bmaj_arcsec"][rows],
        beam_bmin_arcsec=of_image["bmin_arcsec"][rows],
    )._asdict()
    errors = {}
    for name, given in delivered.items():
        usable = np.isfinite(fitted[name]) & (np.isnan(given[rows]) | always)
        errors[name] = given.copy()
        errors[name][rows[usable]] = fitted[name][usable]
    return errors


def _signal_to_noise(detections: pd.DataFrame, of_image: dict[str, Floats]) -> Floats:
    """As detected, else flux over the rms: the local one, else the image's; always positive or NaN."""
    rms = _first(_none_if_zero(detections["local_rms_mjy_beam"].to_numpy(dtype=float)), of_image["rms_mjy_beam"])
    flux = _first(*(detections[name].to_numpy(dtype=float) for name in ("flux_peak_mjy_beam", "flux_int_mjy")))
    return _none_if_zero(np.abs(_first(_none_if_zero(detections["snr"].to_numpy(dtype=float)), flux / rms)))


def _beam_errors(of_image: dict[str, Floats], snr: Floats) -> tuple[Floats, Floats]:
    """Position errors east and north of an unresolved source: half the beam over the signal to noise (at least 1)."""
    scale = 1 / (2 * np.maximum(np.nan_to_num(snr, nan=1.0), 1.0))
    angle = np.radians(of_image["bpa_deg"])
    major, minor = of_image["bmaj_arcsec"] * scale, of_image["bmin_arcsec"] * scale
    return np.hypot(major * np.sin(angle), minor * np.cos(angle)), np.hypot(
        major * np.cos(angle), minor * np.sin(angle)
    )


def _from_centre(detections: pd.DataFrame, images: pd.DataFrame, image: Integers) -> Floats:
    """Separation from the center of the image [deg]."""
    rows, centres = (unit_vectors(table["ra_deg"], table["dec_deg"]) for table in (detections, images))
    return arc(distance(rows, centres[image])) / 3600


def _positions(detections: pd.DataFrame, columns: dict[str, Any], parameters: Measurements) -> dict[str, Values]:
    """Error radius, uncertainties with the systematic terms, weights, HEALPix cell."""
    ra, dec = detections["ra_deg"].to_numpy(dtype=float), detections["dec_deg"].to_numpy(dtype=float)
    east, north = columns["ra_err_arcsec"], columns["dec_err_arcsec"]
    radius = error_radius(east, north)
    if parameters.position_errors == "radius":
        east = north = radius
    east = np.hypot(parameters.systematic_ew_arcsec, east)
    north = np.hypot(parameters.systematic_ns_arcsec, north)
    return {
        "error_radius_arcsec": radius,
        "uncertainty_ew_arcsec": east,
        "uncertainty_ns_arcsec": north,
        "weight_ew_per_arcsec2": east**-2,
        "weight_ns_per_arcsec2": north**-2,
        "healpix": index_cells(ra, dec),
    }


def _ratios(detections: pd.DataFrame, images: pd.DataFrame, image: Integers) -> dict[str, Floats]:
    """Compactness, and the share each component has of its island's flux density (1 where there is no island)."""
    peak = detections["flux_peak_mjy_beam"].to_numpy(dtype=float)
    integrated = detections["flux_int_mjy"].to_numpy(dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        compactness = np.where(peak != 0, integrated / peak, np.nan)
    island, names = pd.factorize(detections["island_id"])
    # Components without an island are alone: each gets a number of its own.
    own = len(images) * len(names) + np.arange(len(island))
    group, _ = pd.factorize(np.where(island < 0, own, image * len(names) + island))
    return {
        "compactness": compactness,
        "flux_int_isl_ratio": _share(integrated, group),
        "flux_peak_isl_ratio": _share(peak, group),
    }


def _share(flux: Floats, group: Indices) -> Floats:
    total = np.bincount(group, weights=np.nan_to_num(flux))[group]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(total != 0, flux / total, np.nan)


def _in_bands(images: pd.DataFrame, bands: Bands | None) -> pd.DataFrame:
    """The images with `band_mhz`; 0 where no frequencies are known."""
    if "freq_mhz" not in images.columns:
        return images.assign(band_mhz=0)
    return images.assign(band_mhz=bands_mhz(numbers_of(images, "freq_mhz", "images"), bands))


def _blends(detections: pd.DataFrame, images: pd.DataFrame, image: Integers) -> Flags:
    """Whether a coarse beam has as one what a finer beam of the band shows as several within half of it, shape (n,)."""
    blend = np.zeros(len(image), dtype=bool)
    band, beam = images["band_mhz"].to_numpy(), images["bmaj_arcsec"].to_numpy(dtype=float)
    for one in np.unique(band):
        finest = beam[band == one].min()
        coarse = np.flatnonzero((band[image] == one) & (beam[image] > ALIKE_BEAMS * finest))
        fine = np.flatnonzero((band[image] == one) & (beam[image] <= ALIKE_BEAMS * finest))
        if not len(coarse) or not len(fine):
            continue
        vectors = unit_vectors(detections["ra_deg"], detections["dec_deg"])
        i, j, separation = pairs_within(vectors[coarse], vectors[fine], float(beam[image[coarse]].max()) / 2)
        inside = separation <= beam[image[coarse[i]]] / 2
        # Of each image by itself: where fine images overlap, they show one source twice.
        shown = pd.DataFrame({"row": i[inside], "image": image[fine[j[inside]]]}).value_counts()
        blend[coarse[np.unique(shown[shown > 1].index.get_level_values("row")).astype(np.intp)]] = True
    return blend


def _duplicates(
    detections: pd.DataFrame,
    columns: dict[str, Any],
    images: pd.DataFrame,
    image: Integers,
    parameters: Measurements,
) -> dict[str, Any]:
    """Columns `duplicate_of` and `duplicate_separation_arcsec`; each band of the images by itself."""
    place = {name: detections[name].to_numpy(dtype=float) for name in ("ra_deg", "dec_deg")}
    place |= {name: columns[name] for name in ("dist_from_centre_deg", *_UNCERTAINTIES)}
    kept, separation = np.full(len(image), -1, np.intp), np.full(len(image), np.nan)
    band, beam = images["band_mhz"].to_numpy(), images["bmaj_arcsec"].to_numpy(dtype=float)
    for one in np.unique(band):
        rows = np.flatnonzero(band[image] == one)
        beam_arcsec = float(beam[band == one].max())
        own = {name: values[rows] for name, values in place.items()}
        coarse = beam[image[rows]] > ALIKE_BEAMS * beam[band == one].min()
        if parameters.dedup_method == "default" and coarse.any():
            # What a finer beam has measured is kept before anything that a coarser one has.
            own["dist_from_centre_deg"] = own["dist_from_centre_deg"] + _BEHIND_DEG * coarse
        found = _of_one_band(own, image[rows], beam_arcsec, parameters)
        kept[rows] = np.where(found.kept >= 0, rows[found.kept], -1)
        separation[rows] = found.separation_arcsec
    names = detections["measurement_id"].array.take(kept, allow_fill=True)
    return {"duplicate_of": names, "duplicate_separation_arcsec": separation}


# Farther than anything on the sky.
_BEHIND_DEG = 360.0
_UNCERTAINTIES = ("uncertainty_ew_arcsec", "uncertainty_ns_arcsec")


def _of_one_band(place: dict[str, Floats], image: Integers, beam_arcsec: float, parameters: Measurements) -> Duplicates:
    ra, dec, centre = place["ra_deg"], place["dec_deg"], place["dist_from_centre_deg"]
    east, north = (place[name] for name in _UNCERTAINTIES)
    if parameters.dedup_method == "vast":
        return find_duplicates_vast(ra, dec, image, centre, parameters.dedup_radius_arcsec)
    return find_duplicates(
        ra,
        dec,
        east,
        north,
        image,
        centre,
        beam_arcsec,
        parameters.dedup_radius_arcsec,
        parameters.dedup_sigma,
    )


def _none_if_zero(values: Floats) -> Floats:
    return np.where(values == 0, np.nan, values)


def _first(*choices: Floats) -> Floats:
    """The first that is not missing, element by element."""
    result = choices[0]
    for choice in choices[1:]:
        result = np.where(np.isnan(result), choice, result)
    return result
