"""Which matches tie an image: measurements joined to their matches, and the filters with the counts after each.

All images and catalogs go through the filters together, as columns; a filter that needs what an image does not have
(peak fluxes, the catalog's errors) is skipped there and a note says so.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from contimg_assets.calibration import vast_post_processing
from contimg_assets.config import Corrections, with_overrides
from contimg_assets.errors import InputError
from contimg_assets.schemas.association import of_one_source
from contimg_assets.schemas.tables import (
    TableLike,
    as_frame,
    numbers_of,
    require,
    rows_among,
    with_columns,
    with_text_ids,
)
from contimg_assets.sky import sphere
from contimg_assets.sky.arrays import Flags, Floats, Indices
from contimg_assets.sky.pairs import cross_match_sources

_FROM_MEASUREMENTS = (
    "ra_deg",
    "dec_deg",
    "flux_peak_mjy_beam",
    "flux_peak_err_mjy_beam",
    "flux_int_mjy",
    "flux_int_err_mjy",
    "local_rms_mjy_beam",
    "bmaj_arcsec",
    "bmin_arcsec",
    "snr",
    "dist_from_centre_deg",
    "forced",
)
_FROM_MATCHES = (
    "measurement_id",
    "source_id",
    "catalog",
    "separation_arcsec",
    "dra_arcsec",
    "ddec_arcsec",
    "sigma_ew_arcsec",
    "sigma_ns_arcsec",
    "probability",
    "rank",
    "mutual",
    "blend",
    "n_candidates",
    "catalog_flux_mjy",
    "catalog_flux_err_mjy",
    "expected_flux_mjy",
    "expected_flux_err_mjy",
)
_FLUXES = (
    ("flux_int_mjy", "flux_int_err_mjy"),
    ("flux_mjy", "flux_err_mjy"),
    ("flux_peak_mjy_beam", "flux_peak_err_mjy_beam"),
)
# From this scatter of expected fluxes by spectra on, it is asked whether spectra decide which sources an image shows: a
# match counts if what is expected of its source is so many standard errors above the least that the image shows.
_LARGE_SPECTRAL, _FAINTER_BY = 0.05, 2.0
_OPTIONAL = (
    *("source_id", "catalog_flux_err_mjy", "expected_flux_err_mjy"),
    *("catalog_beam_arcsec", "catalog_neighbour_arcsec"),
    *("sigma_ew_arcsec", "sigma_ns_arcsec"),
)


@dataclass(frozen=True)
class Selection:
    """Joined matches with the masks of those that tie positions and fluxes.

    ``counts`` has, for each (image, catalog), the number of matches left after each filter in order; ``notes`` what
    had to be assumed for an image.
    """

    table: pd.DataFrame
    position: Flags
    flux: Flags
    counts: Mapping[tuple[str, str], Mapping[str, int]]
    notes: Mapping[str, Sequence[str]]


def calibration_matches(
    measurements: TableLike,
    matches: TableLike,
    images: TableLike,
    parameters: Corrections | None = None,
    *,
    variable_sources: Collection[str] = (),
    **overrides: object,
) -> pd.DataFrame:
    """Matches with the fluxes of both sides, and which of them tie positions and fluxes of their image.

    What leads from `match_measurements` to `calculate_positional_offsets` and `calculate_flux_scale`.

    Parameters
    ----------
    measurements : DataFrame, Table, QTable or pyarrow.Table
        All measurements of the epoch, as given to `match_measurements`: those that match nothing count for isolation.
    matches : DataFrame, Table or pyarrow.Table
        What `match_measurements` returned.
    images : DataFrame, Table, QTable or pyarrow.Table
        One row an image: ``image``, ``bmaj_arcsec``.
    parameters : contimg_assets.config.Corrections, optional
        All parameters at once.
    variable_sources : collection of str
        ``source_id`` of sources known to vary: they do not tie the flux scale.
    **overrides : object
        Single parameters of `contimg_assets.config.Corrections`, by name: ``min_snr=20``, ``selection="vast"``.

    Returns
    -------
    DataFrame
        One row a match, sorted by catalog and measurement: the columns of the matches and of their measurements;
        ``flux_mjy``, ``flux_err_mjy`` (integrated, else peak), ``reference_flux_mjy``, ``reference_flux_err_mjy`` (at
        our frequency); and ``for_position``, ``for_flux``: whether it ties.

    Raises
    ------
    InputError
        If a column is missing, or matches name a measurement or an image that is not there.
    ConfigError
        If a parameter is unknown, or its value not allowed.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import contimg_assets as ca
    >>> ra, flux = 10.0 + 0.1 * np.arange(30), np.full(30, 200.0)
    >>> catalog = ca.ReferenceCatalog("mine", pd.DataFrame({
    ...     "catalog_source_id": [f"s{k:02d}" for k in range(30)], "ra_deg": ra, "dec_deg": 16.0, "flux_mjy": flux,
    ... }), freq_mhz=1400, beam_arcsec=45)
    >>> measurements = pd.DataFrame({
    ...     "measurement_id": [f"m{k:02d}" for k in range(30)], "image": "tile1", "ra_deg": ra, "dec_deg": 16.0002,
    ...     "uncertainty_ew_arcsec": 0.5, "uncertainty_ns_arcsec": 0.5, "flux_int_mjy": 1.1 * flux, "snr": 50.0,
    ... })
    >>> images = pd.DataFrame({"image": ["tile1"], "bmaj_arcsec": [40.0], "freq_mhz": [1400.0]})
    >>> matches = ca.match_measurements(measurements, images, catalog)
    >>> ties = ca.calibration_matches(measurements, matches, images)
    >>> round(ca.calculate_positional_offsets(ties[ties["for_position"]]).ddec_arcsec, 2)
    -0.72
    >>> round(ca.calculate_flux_scale(ties[ties["for_flux"]]).scale, 2)
    1.1
    """
    chosen = with_overrides(Corrections, parameters, overrides)
    measurements, matches, images = (
        with_text_ids(as_frame(table, what))
        for table, what in ((measurements, "measurements"), (matches, "matches"), (images, "images"))
    )
    require(images, ("image", "bmaj_arcsec"), "images")
    if "image" not in measurements.columns and len(images) == 1:
        measurements = measurements.assign(image=images["image"].iloc[0])
    require(measurements, ("measurement_id", "image", "ra_deg", "dec_deg"), "measurements")
    selected = select(join(measurements, matches, images), measurements, images, chosen, variable_sources)
    return selected.table.assign(for_position=selected.position, for_flux=selected.flux).drop(columns="image_row")


def matched_fluxes(pairs: TableLike, detected: TableLike, catalog: TableLike) -> pd.DataFrame:
    """Pairs of `cross_match_sources` with the fluxes of both sides, as `calculate_flux_scale` takes them.

    Parameters
    ----------
    pairs : DataFrame, Table or pyarrow.Table
        What `cross_match_sources` returned of the other two; best with ``mode="mutual"``.
    detected : DataFrame, Table, QTable or pyarrow.Table
        Our fluxes: ``flux_int_mjy``, else ``flux_mjy``, else ``flux_peak_mjy_beam``; the error beside it
        (``flux_int_err_mjy`` and so on) where there is one.
    catalog : DataFrame, Table, QTable or pyarrow.Table
        The catalogue's, likewise. They are compared as they are: at another frequency scale them first, or use
        `match_measurements`, which does so with the error that it brings.

    Returns
    -------
    DataFrame
        The pairs with ``flux_mjy``, ``flux_err_mjy``, ``reference_flux_mjy`` and ``reference_flux_err_mjy``; errors NaN
        where there are none.

    Raises
    ------
    InputError
        If a table has no flux, or the pairs are not of these tables.

    Examples
    --------
    >>> import pandas as pd
    >>> import contimg_assets as ca
    >>> ours = pd.DataFrame({"ra_deg": [10.0, 10.1, 10.2], "dec_deg": 16.0, "flux_int_mjy": [110.0, 56.0, 220.0]})
    >>> theirs = pd.DataFrame({"ra_deg": [10.0, 10.1, 10.2], "dec_deg": 16.0001, "flux_mjy": [100.0, 50.0, 200.0]})
    >>> pairs = ca.cross_match_sources(ours, theirs, radius=5.0, mode="mutual")
    >>> round(ca.calculate_flux_scale(ca.matched_fluxes(pairs, ours, theirs), "median").scale, 3)
    1.1
    """
    pairs = as_frame(pairs, "pairs")
    columns: dict[str, Any] = {}
    for table, label, prefix in ((detected, "detected", ""), (catalog, "catalog", "reference_")):
        frame = as_frame(table, f"table {label}")
        require(pairs, (f"{label}_index",), "pairs")
        row = _rows_of(frame.index, pairs[f"{label}_index"], label)
        flux, error = next(
            (names for names in _FLUXES if names[0] in frame.columns),
            (None, None),
        )
        if flux is None or error is None:
            raise InputError(f"table {label}: no column {', '.join(names[0] for names in _FLUXES)}; name its flux so")
        columns[f"{prefix}flux_mjy"] = numbers_of(frame, flux, f"table {label}")[row]
        known = error in frame.columns
        columns[f"{prefix}flux_err_mjy"] = numbers_of(frame, error, f"table {label}")[row] if known else np.nan
    return pairs.assign(**columns)


def _rows_of(index: pd.Index, labels: pd.Series, name: str) -> Indices:
    """Rows of a table that pairs name by their labels."""
    if not index.is_unique:
        raise InputError(
            f"table {name}: its index repeats labels, so that pairs do not say which row; reset_index() it"
        )
    row = np.asarray(index.get_indexer(pd.Index(labels)), np.intp)
    if (row < 0).any():
        stranger = labels.iloc[int(np.argmax(row < 0))]
        raise InputError(
            f"pairs name row {stranger!r}, which table {name} does not have; give the table that was matched"
        )
    return row


def join(measurements: pd.DataFrame, matches: pd.DataFrame, images: pd.DataFrame) -> pd.DataFrame:
    """Matches with what the filters and estimators need of their measurements and images.

    Parameters
    ----------
    measurements : MEASUREMENTS; columns that a finder does not give may be missing
    matches : CATALOG_MATCHES
    images : IMAGES

    Returns
    -------
    One row a match, sorted by catalog and measurement so that no result depends on the order of the input, with
    flux_mjy, flux_err_mjy (integrated, else peak), flux_is_peak, reference_flux_mjy, reference_flux_err_mjy (at our
    frequency), snr, pair_snr and image_row (row in ``images``).

    Raises
    ------
    InputError
        If matches lack a column, or name a measurement or an image that is not there.
    """
    missing = [name for name in _FROM_MATCHES if name not in matches.columns and name not in _OPTIONAL]
    if missing:
        raise InputError(f"the matches have no column {missing[0]!r}: run the matching again before the corrections")
    own = pd.DataFrame({name: matches[name].to_numpy() for name in {*_FROM_MATCHES, *_OPTIONAL} if name in matches})
    for name in _OPTIONAL:
        if name not in own:
            own[name] = None if name == "source_id" else np.nan
    table = with_measurements(own, measurements, images)
    table = table.sort_values(["catalog", "measurement_id", "rank"], kind="stable", ignore_index=True)
    reference = _floats(table, "expected_flux_mjy")
    spectral, noise = _spectral_scatter(table), _noise_of_image(table)
    with np.errstate(divide="ignore", invalid="ignore"):
        catalog_snr = _floats(table, "catalog_flux_mjy") / _floats(table, "catalog_flux_err_mjy")
        # Of sources at another frequency, a limit on our SNR would prefer those whose spectra make them bright here, as
        # the index of all sources does not: what is expected of them is asked instead.
        snr = np.where(spectral >= _LARGE_SPECTRAL, reference / noise, _floats(table, "snr"))
        # Without the catalog's errors: the geometric mean of both fluxes over our noise. Like sqrt(SNR * SNR) it
        # treats both fluxes alike, so that a limit does not prefer ratios to one side; a limit on our SNR would.
        pair_snr = np.where(
            np.isfinite(catalog_snr),
            np.sqrt(np.maximum(snr * catalog_snr, 0)),
            np.sqrt(np.maximum(_floats(table, "flux_mjy") * reference, 0)) / _floats(table, "flux_err_mjy"),
        )
    return table.assign(
        reference_flux_mjy=reference,
        reference_flux_err_mjy=_floats(table, "expected_flux_err_mjy"),
        pair_snr=pair_snr,
    )


def with_measurements(table: pd.DataFrame, measurements: pd.DataFrame, images: pd.DataFrame) -> pd.DataFrame:
    """A table with a measurement_id, and the columns that filters need of the measurement and its image.

    Raises
    ------
    InputError
        If a measurement or an image is not there.
    """
    row = rows_among(table["measurement_id"], measurements["measurement_id"])
    if (row < 0).any():
        unknown = table["measurement_id"].iloc[int(np.argmax(row < 0))]
        raise InputError(f"the matches name measurement {unknown!r}, which the epoch does not have: match it again")
    found: dict[str, Any] = {"image": measurements["image"].to_numpy()[row]}
    for name in _FROM_MEASUREMENTS:
        present = name in measurements.columns
        found[name] = measurements[name].to_numpy()[row] if present else (False if name == "forced" else np.nan)
    found["image_row"] = rows_among(measurements["image"], images["image"])[row]
    if (found["image_row"] < 0).any():
        unknown = found["image"][int(np.argmax(found["image_row"] < 0))]
        raise InputError(f"measurements are of image {unknown!r}, which the table of images does not have")
    joined = with_columns(table, found)
    integrated, peak = (_floats(joined, name) for name in ("flux_int_mjy", "flux_peak_mjy_beam"))
    is_peak = ~np.isfinite(integrated)
    flux = np.where(is_peak, peak, integrated)
    error = np.where(is_peak, _floats(joined, "flux_peak_err_mjy_beam"), _floats(joined, "flux_int_err_mjy"))
    snr = _floats(joined, "snr")
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.where(error > 0, error, np.where(snr > 0, np.abs(flux) / snr, np.nan))
        snr = np.where(np.isfinite(snr), snr, flux / error)
    fluxes = {"flux_mjy": flux, "flux_err_mjy": error, "flux_is_peak": is_peak & np.isfinite(peak), "snr": snr}
    return with_columns(joined, fluxes)


def of_single_sources(measurements: pd.DataFrame, associations: pd.DataFrame, images: pd.DataFrame) -> pd.DataFrame:
    """`with_measurements` of the measurements that belong to one source, with its source_id."""
    return with_measurements(of_one_source(associations).reset_index(drop=True), measurements, images)


def _floats(table: pd.DataFrame, name: str) -> Floats:
    return table[name].to_numpy(dtype=float, na_value=np.nan)


def select(
    table: pd.DataFrame,
    measurements: pd.DataFrame,
    images: pd.DataFrame,
    parameters: Corrections,
    variable_sources: Collection[str] = (),
) -> Selection:
    """Masks of the matches that tie positions and fluxes.

    Parameters
    ----------
    table : of `join`
    measurements, images : all of the epoch, for isolation
    parameters : section `corrections`
    variable_sources : source_id of sources known to vary from earlier epochs
    """
    return leave_out(usable_matches(table, measurements, images, parameters), parameters, variable_sources)


def usable_matches(
    table: pd.DataFrame, measurements: pd.DataFrame, images: pd.DataFrame, parameters: Corrections
) -> Selection:
    """As `select`, which goes on with `leave_out`, as far as it is the same whichever sources vary."""
    notes: dict[str, list[str]] = {}
    steps = (_vast_steps if parameters.selection == "vast" else _default_steps)(
        table, measurements, images, parameters, notes
    )
    keep = np.ones(len(table), dtype=bool)
    tally = _Tally(table)
    tally.add("candidates", keep)
    for name, mask in steps:
        keep = keep & mask
        tally.add(name, keep)
    if parameters.crop_radius_deg is not None:
        keep = keep & (_floats(table, "dist_from_centre_deg") <= parameters.crop_radius_deg)
        tally.add("crop", keep)
    if parameters.selection != "vast":
        compact, unknown = _compact(table, keep, parameters)
        if unknown.any():
            _note(notes, table, unknown, "no peak or no integrated flux for some matches: compactness not judged")
        keep = keep & compact
        tally.add("compact", keep)
    position = keep & ~table["forced"].to_numpy(dtype=bool)
    tally.add("position", position)
    flux = keep & _flux_usable(table, parameters)
    if parameters.selection != "vast":
        flux &= _shown_with_any_spectrum(table, measurements)
    return Selection(table, position, flux, tally.counts, notes)


def leave_out(usable: Selection, parameters: Corrections, variable_sources: Collection[str] = ()) -> Selection:
    """The selection in which sources that vary do not tie fluxes, of one that `usable_matches` gave."""
    table, flux = usable.table, usable.flux
    if len(variable_sources):
        flux = flux & ~table["source_id"].isin(set(variable_sources)).to_numpy()
    if parameters.selection == "vast":
        flux = _clipped(table, flux, parameters.vast_clip_sigma)
    tally = _Tally(table)
    tally.add("flux", flux)
    none_left = {"flux": 0}
    counts = {key: {**steps, **tally.counts.get(key, none_left)} for key, steps in usable.counts.items()}
    return replace(usable, flux=flux, counts=counts)


def only_tying(selected: Selection) -> Selection:
    """The selection without the matches that tie nothing, which only its counts tell of."""
    rows = np.flatnonzero(selected.position | selected.flux)
    table = selected.table.take(rows).reset_index(drop=True)
    return replace(selected, table=table, position=selected.position[rows], flux=selected.flux[rows])


class _Tally:
    """Counts of masks for each (image, catalog), by name of the mask."""

    def __init__(self, table: pd.DataFrame) -> None:
        image, images = pd.factorize(table["image"])
        catalog, catalogs = pd.factorize(table["catalog"])
        self._groups, codes = pd.factorize(image * max(len(catalogs), 1) + catalog)
        keys = [(str(images[i]), str(catalogs[j])) for i, j in (divmod(int(c), len(catalogs)) for c in codes)]
        self.counts: dict[tuple[str, str], dict[str, int]] = {key: {} for key in keys}

    def add(self, name: str, mask: Flags) -> None:
        numbers = np.bincount(self._groups, weights=mask, minlength=len(self.counts))
        for steps, count in zip(self.counts.values(), numbers, strict=True):
            steps[name] = int(count)


def _note(notes: dict[str, list[str]], table: pd.DataFrame, rows: Flags, text: str) -> None:
    for image in pd.unique(table["image"][rows]):
        notes.setdefault(image, []).append(text)


def _own_isolated(table: pd.DataFrame, measurements: pd.DataFrame, images: pd.DataFrame, limit_arcsec: Floats) -> Flags:
    """Whether a match's measurement has no other measurement of its image within the row's limit."""
    alone = np.ones(len(table), dtype=bool)
    all_images, names = pd.factorize(measurements["image"])
    images_of_rows = pd.Index(names).get_indexer(pd.Index(table["image"]))
    # Those of different images lie far apart along a fourth axis, so that one search is of many images.
    own, measured = (
        np.column_stack([sphere.unit_vectors(of["ra_deg"], of["dec_deg"]), 4.0 * number])
        for of, number in ((table, images_of_rows), (measurements, all_images))
    )
    farthest = np.zeros(len(names))
    np.maximum.at(farthest, images_of_rows, limit_arcsec)
    # Of images whose limits are alike: with that of a coarse beam a fine image would have pairs without number.
    size = np.floor(np.log2(np.maximum(farthest, 1e-3)))
    for one in np.unique(size[images_of_rows]):
        rows, others = (np.flatnonzero(size[number] == one) for number in (images_of_rows, all_images))
        trees = sphere.tree_of(own[rows]), sphere.tree_of(measured[others])
        i, _, separation = sphere.pairs_within(*trees, float(limit_arcsec[rows].max()))
        # Each finds itself; a second one within its own limit is a neighbor.
        near = separation <= limit_arcsec[rows][i]
        alone[rows] = np.bincount(i[near], minlength=len(rows)) < 2
    return alone


def _isolation_arcsec(table: pd.DataFrame, images: pd.DataFrame, parameters: Corrections) -> Floats:
    beam = images["bmaj_arcsec"].to_numpy(dtype=float)[table["image_row"]]
    other = _floats(table, "catalog_beam_arcsec") if "catalog_beam_arcsec" in table else beam
    limit: Floats = parameters.isolation_beams * np.fmax(beam, other)
    return limit


def isolated_and_compact(
    table: pd.DataFrame, measurements: pd.DataFrame, images: pd.DataFrame, parameters: Corrections
) -> Flags:
    """The part of the default selection that needs no reference catalog, for a table of `with_measurements`."""
    keep = _own_isolated(table, measurements, images, np.nan_to_num(_isolation_arcsec(table, images, parameters)))
    return keep & _compact(table, keep, parameters)[0]


def _default_steps(
    table: pd.DataFrame,
    measurements: pd.DataFrame,
    images: pd.DataFrame,
    parameters: Corrections,
    notes: dict[str, list[str]],
) -> list[tuple[str, Flags]]:
    limit = _isolation_arcsec(table, images, parameters)
    no_beam = ~np.isfinite(limit)
    if no_beam.any():
        _note(notes, table, no_beam, "no beam: isolation of measurements not judged")
    pair_snr = _floats(table, "pair_snr")
    unknown_snr = ~np.isfinite(pair_snr)
    if unknown_snr.any():
        _note(notes, table, unknown_snr, "no errors and no SNR for some matches: these not cut by SNR")
    unknown_error = ~np.isfinite(_floats(table, "catalog_flux_err_mjy"))
    if unknown_error.any():
        _note(notes, table, unknown_error, "no flux errors in a catalog: SNR judged by our noise alone")
    near = _floats(table, "catalog_neighbour_arcsec") <= limit
    alone_in_catalog = ~table["blend"].to_numpy(dtype=bool) & (table["n_candidates"].to_numpy() == 1) & ~near
    return [
        ("best", table["rank"].to_numpy() == 1),
        ("mutual", table["mutual"].to_numpy(dtype=bool)),
        ("probable", _floats(table, "probability") >= parameters.min_probability),
        ("isolated", _own_isolated(table, measurements, images, np.nan_to_num(limit))),
        ("isolated_in_catalog", alone_in_catalog),
        ("snr", (pair_snr >= parameters.min_snr) | unknown_snr),
    ]


def _compact(table: pd.DataFrame, keep: Flags, parameters: Corrections) -> tuple[Flags, Flags]:
    """Whether ln(integrated / peak) is near the image's median, and which of those to keep it cannot be told of.

    Near the median, not near 0: bandwidth smearing and errors of the beam move all sources of an image.
    """
    peak, integrated = _floats(table, "flux_peak_mjy_beam"), _floats(table, "flux_int_mjy")
    with np.errstate(divide="ignore", invalid="ignore"):
        compactness = np.log(integrated / peak)
        error = np.hypot(
            np.nan_to_num(_floats(table, "flux_int_err_mjy") / integrated),
            np.nan_to_num(_floats(table, "flux_peak_err_mjy_beam") / peak),
        )
    known = np.isfinite(compactness)
    judged = pd.Series(np.where(keep & known, compactness, np.nan))
    centre = judged.groupby([table["image"], table["catalog"]]).transform("median").to_numpy()
    envelope = parameters.compact_floor + parameters.compact_sigma * error
    return ~known | (np.abs(compactness - np.where(np.isfinite(centre), centre, 0.0)) <= envelope), keep & ~known


def _flux_usable(table: pd.DataFrame, parameters: Corrections) -> Flags:
    flux, reference = _floats(table, "flux_mjy"), _floats(table, "reference_flux_mjy")
    usable = (flux > 0) & (reference > 0)
    if parameters.max_reference_flux_mjy is not None:
        usable &= reference <= parameters.max_reference_flux_mjy
    if parameters.known_variables and len(table):
        listed = pd.DataFrame(parameters.known_variables, columns=["ra_deg", "dec_deg"], dtype=float)
        ours = table[["ra_deg", "dec_deg"]].reset_index(drop=True)
        near = cross_match_sources(ours, listed, parameters.known_variable_radius_arcsec, mode="nearest")
        usable[near["detected_index"]] = False
    return usable


def _spectral_scatter(table: pd.DataFrame) -> Floats:
    """What spectra bring into the error of each match's expected flux (a fraction); NaN where that has none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        error = _floats(table, "expected_flux_err_mjy") / _floats(table, "expected_flux_mjy")
        of_catalog = np.nan_to_num(_floats(table, "catalog_flux_err_mjy") / _floats(table, "catalog_flux_mjy"))
    return np.asarray(np.sqrt(np.maximum(error**2 - of_catalog**2, 0.0)), np.float64)


def _noise_of_image(table: pd.DataFrame) -> Floats:
    """Noise of the image at each measurement [mJy/beam], which does not tell whether noise made it bright."""
    peak = _floats(table, "flux_peak_mjy_beam")
    with np.errstate(divide="ignore", invalid="ignore"):
        noise: Floats = np.where(np.isfinite(peak), peak, _floats(table, "flux_mjy")) / _floats(table, "snr")
    return noise


def _shown_with_any_spectrum(table: pd.DataFrame, measurements: pd.DataFrame) -> Flags:
    """Whether the source of each match would be in the image though its spectrum, and the noise, made it fainter.

    Near the threshold of an image at another frequency than the catalog's only sources are there whose spectra make
    them brighter than the index of all sources does; they would draw the scale along (Kellermann 1964, ApJ 140, 969).
    """
    reference, noise = _floats(table, "reference_flux_mjy"), _noise_of_image(table)
    threshold = table["image"].map(least_snrs(measurements)).to_numpy(dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.hypot(_floats(table, "reference_flux_err_mjy"), noise) / reference
        above = np.log(reference / (threshold * noise)) / error
    return ~(_spectral_scatter(table) >= _LARGE_SPECTRAL) | ~np.isfinite(above) | (above >= _FAINTER_BY)


def least_snrs(measurements: pd.DataFrame) -> pd.Series:
    """Signal-to-noise ratio of the faintest measurement of each image, by its name: the threshold of its finder."""
    if "snr" not in measurements:
        return pd.Series(dtype=float)
    return measurements.loc[measurements["snr"] > 0].groupby("image")["snr"].min()


# --- vast-post-processing's filters, as far as matches tell ----------------------------------------------------------


def _vast_steps(
    table: pd.DataFrame,
    measurements: pd.DataFrame,
    images: pd.DataFrame,
    parameters: Corrections,
    notes: dict[str, list[str]],
) -> list[tuple[str, Flags]]:
    """Filters on our side and the nearest candidate; the catalog's own sizes and rms are not in the matches."""
    integrated, peak, rms = (
        _floats(table, name) for name in ("flux_int_mjy", "flux_peak_mjy_beam", "local_rms_mjy_beam")
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        snr = np.where(np.isfinite(rms), integrated / rms, _floats(table, "snr"))
        compactness = integrated / peak
    unknown = ~np.isfinite(compactness)
    if unknown.any():
        _note(notes, table, unknown, "no peak flux for some matches: compactness not judged")
    sizes = (table[["bmaj_arcsec", "bmin_arcsec"]].to_numpy(dtype=float) > 0) | table[
        ["bmaj_arcsec", "bmin_arcsec"]
    ].isna().to_numpy()
    separation = _floats(table, "separation_arcsec")
    nearest = pd.Series(separation).groupby([table["catalog"], table["measurement_id"]]).transform("min").to_numpy()
    limit = np.full(len(table), 60.0 * parameters.vast_neighbor_arcmin)
    return [
        ("nearest", (separation == nearest) & (separation < parameters.vast_radius_arcsec)),
        ("flux_limit", integrated > parameters.vast_flux_limit_mjy),
        ("size", sizes.all(axis=1)),
        ("compact", unknown | (compactness < parameters.vast_max_compactness)),
        ("snr", snr > parameters.vast_snr_limit),
        ("isolated", _own_isolated(table, measurements, images, limit)),
    ]


def _clipped(table: pd.DataFrame, keep: Flags, sigma: float) -> Flags:
    rows = np.flatnonzero(keep)
    ratio = (_floats(table, "flux_mjy") / _floats(table, "reference_flux_mjy"))[rows]
    result = keep.copy()
    groups = pd.Series(ratio).groupby([table["image"].to_numpy()[rows], table["catalog"].to_numpy()[rows]])
    for members in groups.indices.values():
        result[rows[members]] = vast_post_processing.clip_ratios(ratio[members], sigma)
    return result
