"""Files of catalogs, whatever their format, as tables in our columns and units.

Belongs here: finding columns, converting units, position errors, which names sources have.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import astropy.units as u
import numpy as np
import pandas as pd
import pyarrow as pa
from astropy.coordinates import Angle

from contimg_assets.catalogs.formats import read_any
from contimg_assets.catalogs.names import iau_names
from contimg_assets.config import CatalogConfig, ColumnSource
from contimg_assets.config.presets import PRESETS
from contimg_assets.errors import InputError
from contimg_assets.schemas.catalogs import REFERENCE
from contimg_assets.schemas.units import factor, right_ascension_factor
from contimg_assets.sky.cells import healpix_29

# Names that catalogs give to what we need, tried in this order where the configuration is silent. Never a bare
# `source_id` or `id`: those are row numbers, which change with every new version of a catalog.
_ALIASES: dict[str, tuple[str, ...]] = {
    "catalog_source_id": (
        *("ref_id", "name", "source_name", "iau_name", "component_name", "compname", "component_id"),
        *("nvss", "first", "sumss", "tgssadr", "gleam", "wenss", "racs-low", "racs-mid1", "racs-high1", "gid"),
    ),
    "ra_deg": ("ra", "raj2000", "ra_icrs", "_raj2000", "ra_j2000"),
    "dec_deg": ("dec", "dej2000", "de_icrs", "_dej2000", "dec_j2000", "decj2000", "decl"),
    "ra_err_arcsec": ("e_raj2000", "e_ra", "ra_err", "err_ra", "e_ra_icrs"),
    "dec_err_arcsec": ("e_dej2000", "e_dec", "dec_err", "err_dec", "e_de_icrs"),
    "flux_mjy": (
        "flux",
        "total_flux",
        "int_flux",
        "flux_int",
        "flux_int_mjy",
        "ftot",
        "s_total",
        "stotal",
        "sint",
        "fint",
        "st",
    ),
    "flux_err_mjy": ("flux_err", "e_flux", "e_total_flux", "err_int_flux", "flux_int_err_mjy", "e_ftot"),
    "flux_peak_mjy_beam": ("peak_flux", "flux_peak", "fpeak", "fpk", "speak", "sp"),
    "spectral_index": ("alpha",),
}
_REQUIRED = ("ra_deg", "dec_deg")
_UNITS = {"ra_deg": "deg", "dec_deg": "deg", "ra_err_arcsec": "arcsec", "dec_err_arcsec": "arcsec"}
_UNITS |= {"flux_mjy": "mJy", "flux_err_mjy": "mJy", "flux_peak_mjy_beam": "mJy"}


def read_catalog(name: str, config: CatalogConfig, path: Path) -> tuple[pa.Table, int]:
    """One catalog file as a table of schema REFERENCE, sorted by HEALPix cell, then name.

    Parameters
    ----------
    name : of the catalog, for messages
    config : its columns, units and errors
    path : FITS, VOTable, ECSV, CSV (any separator), Parquet or SQLite; text and FITS may be gzipped

    Returns
    -------
    table : rows with a usable position
    n_without_position : rows left out because they have none

    Raises
    ------
    InputError
        If the file cannot be read, a column is missing or holds what is no number, or nothing is left.
    """
    raw, units = read_any(path, config.table)
    columns = {ours: _column(ours, raw, units, config, path) for ours in (*_REQUIRED, *_UNITS, "spectral_index")}
    ra, dec = columns["ra_deg"], columns["dec_deg"]
    if ra is None or dec is None:
        raise InputError(
            f"{path}: no column of positions found; say which they are in catalogs.{name}.columns "
            f"(the file has {', '.join(map(str, raw.columns))})"
        )
    usable = np.isfinite(ra) & np.isfinite(dec) & (np.abs(dec) <= 90.0)
    if not usable.any():
        raise InputError(f"{path}: no row has a position; check the columns of catalogs.{name}")
    ra, dec = ra[usable] % 360.0, dec[usable]
    ra[ra >= 360.0] = 0.0

    def kept(ours: str) -> np.ndarray:
        values = columns[ours]
        return np.full(len(ra), np.nan) if values is None else values[usable]

    ra_err, dec_err = kept("ra_err_arcsec"), kept("dec_err_arcsec")
    if not config.ra_err_on_sky and column_in_file("ra_err_arcsec", _names_of(raw), config) != "ra_err_arcsec":
        ra_err = ra_err * np.cos(np.radians(dec))
    # Columns that only fill gaps of the flux: a catalog without any is fine (positions alone, as ICRF).
    table = pd.DataFrame(
        {
            "catalog_source_id": _names(raw, usable, config, ra, dec),
            "ra_deg": ra,
            "dec_deg": dec,
            "ra_err_arcsec": _errors(ra_err, kept("flux_mjy"), config),
            "dec_err_arcsec": _errors(dec_err, kept("flux_mjy"), config),
            "flux_mjy": kept("flux_mjy"),
            "flux_err_mjy": np.where(kept("flux_err_mjy") > 0, kept("flux_err_mjy"), np.nan),
            "flux_peak_mjy_beam": kept("flux_peak_mjy_beam"),
            "spectral_index": kept("spectral_index"),
            "healpix_29": healpix_29(ra, dec),
        }
    )
    table = _sorted_by_cell(table)
    table["catalog_source_id"] = _distinct(table)
    return REFERENCE.to_arrow(table), int((~usable).sum())


def column_in_file(ours: str, names: Sequence[str], config: CatalogConfig) -> str | None:
    """The file's column for ours: as configured, else our own name, else a usual name, else none."""
    given = config.columns.get(ours)
    if given is not None and given.column in names:
        return given.column
    if given is not None and not _from_preset(ours, given, config):
        return None
    if ours in names:
        return ours
    lower = {name.lower(): name for name in reversed(names)}
    return next((lower[alias] for alias in _ALIASES.get(ours, ()) if alias in lower), None)


def columns_taken(config: CatalogConfig, path: Path) -> pd.DataFrame:
    """Which column of a file is taken for which of ours, and in which unit.

    Returns
    -------
    DataFrame: ours, column, unit, stated (false where neither the file nor the configuration says a unit that matters,
    so that ours is assumed)
    """
    raw, units = read_any(path, config.table)
    rows = []
    for ours in ("catalog_source_id", *_UNITS, "spectral_index"):
        found = column_in_file(ours, _names_of(raw), config)
        if found is None:
            continue
        unit = _unit(ours, found, units, config)
        # A name such as flux_mjy is as good as a unit, and numbers of positions are degrees.
        stated = unit is not None or found == ours or ours not in _UNITS or ours in _REQUIRED
        rows.append((ours, found, unit or _UNITS.get(ours, ""), stated))
    return pd.DataFrame(rows, columns=["ours", "column", "unit", "stated"])


def _names_of(raw: pd.DataFrame) -> list[str]:
    return [str(name) for name in raw.columns]


def _from_preset(ours: str, given: ColumnSource, config: CatalogConfig) -> bool:
    """Whether an entry is the preset's: it describes one published table, other files of the survey may differ."""
    if config.preset is None:
        return False
    return PRESETS[config.preset.lower()].columns.get(ours) == (given.column, given.unit)


def _unit(ours: str, found: str, units: dict[str, str], config: CatalogConfig) -> str | None:
    """Unit of a file's column: as a person configured it, else as the file states it, else the preset's."""
    given = config.columns.get(ours)
    if given is None or given.column != found or given.unit is None:
        return units.get(found)
    return units.get(found, given.unit) if _from_preset(ours, given, config) else given.unit


def _column(
    ours: str, raw: pd.DataFrame, units: dict[str, str], config: CatalogConfig, path: Path
) -> np.ndarray | None:
    """Values of one of our columns in our unit, float, or None where the file has none."""
    given = config.columns.get(ours)
    found = column_in_file(ours, _names_of(raw), config)
    if found is None:
        if given is not None and not _from_preset(ours, given, config):
            raise InputError(
                f"{path}: no column {given.column!r}, which is configured as {ours}; "
                f"the file has {', '.join(map(str, raw.columns))}"
            )
        return None
    values = raw[found]
    unit = _unit(ours, found, units, config)
    if ours in _REQUIRED and not pd.api.types.is_numeric_dtype(values):
        return _angles(values, unit, hours=ours == "ra_deg", column=found, path=path)
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    if not pd.api.types.is_numeric_dtype(values):
        text = values.astype("str").str.strip().str.lower()
        wrong = np.isnan(numbers) & ~(text.isna() | text.isin(["", "nan", "--", "null", "none"])).to_numpy()
        if wrong.any():
            row = int(np.argmax(wrong))
            raise InputError(f"{path}: row {row + 1}, column {found!r}: {values.iloc[row]!r} is not a number")
    return numbers * _factor(ours, found, unit, path)


def _factor(ours: str, found: str, unit: str | None, path: Path) -> float:
    """From the file's unit to ours; our own unit where the file says nothing."""
    if unit is None or ours not in _UNITS:
        return 1.0
    if ours in _REQUIRED and unit.strip(' "').startswith(("h:m", "d:m", "hms", "dms")):
        return 1.0  # the notation of a column whose every value happens to be a number
    convert = right_ascension_factor if ours in ("ra_deg", "ra_err_arcsec") else factor
    try:
        return convert(unit, _UNITS[ours])
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{path}: column {found!r} is in {unit!r}, which is no unit of {ours} ({_UNITS[ours]}); "
            "say its unit in the catalogue's columns"
        ) from error


def _angles(values: pd.Series, unit: str | None, hours: bool, column: str, path: Path) -> np.ndarray:
    """Text as degrees: numbers in their unit, sexagesimal right ascensions in hours unless that is degrees."""
    text = values.astype(str).str.strip()
    missing = values.isna().to_numpy() | (text == "").to_numpy()
    numbers = pd.to_numeric(text, errors="coerce").to_numpy(dtype=float)
    result = np.full(len(text), np.nan)
    if np.isfinite(numbers[~missing]).all():
        return numbers * _factor("ra_deg" if hours else "dec_deg", column, unit, path)
    degrees = unit is not None and unit.strip('"').startswith("d")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            angle = Angle(text.to_numpy(dtype=str)[~missing], unit=u.hourangle if hours and not degrees else u.deg)
    except ValueError as error:
        raise InputError(f"{path}: column {column!r} holds what is no angle: {error}") from error
    result[~missing] = angle.deg
    return result


def _errors(values: np.ndarray, flux_mjy: np.ndarray, config: CatalogConfig) -> np.ndarray:
    """1-sigma errors per axis: the column's where it has one, else constant and noise; the floor with both."""
    noise = np.zeros(len(values))
    if config.rms_mjy_beam is not None:
        # FWHM / (2 SNR), Condon (1997); a source below the noise is not located better than the beam.
        with np.errstate(divide="ignore", invalid="ignore"):
            inverse_snr = np.clip(config.rms_mjy_beam / flux_mjy, 0.0, 1.0)
        noise = 0.5 * config.beam_arcsec * np.nan_to_num(inverse_snr, nan=0.0)
    known = np.isfinite(values) & (values > 0)
    error = np.where(known, values * config.position_err_scale, np.hypot(config.position_err_arcsec, noise))
    return np.hypot(error, config.position_err_floor_arcsec)


def _names(raw: pd.DataFrame, usable: np.ndarray, config: CatalogConfig, ra: np.ndarray, dec: np.ndarray) -> pd.Series:
    """The catalog's own names, and IAU names from the position where it has none."""
    found = column_in_file("catalog_source_id", _names_of(raw), config)
    if found is None:
        return pd.Series(iau_names(ra, dec), dtype="str")
    values = raw.loc[usable, found].reset_index(drop=True)
    if pd.api.types.is_float_dtype(values) and (values.dropna() % 1 == 0).all():
        # A catalog's own number, read as float because of a gap.
        values = values.astype("Int64")
    own: pd.Series = values.astype("str").str.strip()
    nameless = np.flatnonzero(values.isna().to_numpy() | (own == "").to_numpy())
    own.iloc[nameless] = iau_names(ra[nameless], dec[nameless])
    return own


def _sorted_by_cell(table: pd.DataFrame) -> pd.DataFrame:
    """Rows by HEALPix cell, those of one cell by name and flux: the same table whatever the order of rows was."""
    table = table.take(np.argsort(table["healpix_29"].to_numpy(), kind="stable")).reset_index(drop=True)
    # Cells of 0.4 milliarcsec hold several rows where positions repeat: sorting text is worth it for those alone.
    together = np.flatnonzero(table["healpix_29"].duplicated(keep=False))
    if len(together):
        ordered = table.take(together).sort_values(["healpix_29", "catalog_source_id", "flux_mjy"], kind="stable")
        order = np.arange(len(table))
        order[together] = ordered.index.to_numpy()
        table = table.take(order).reset_index(drop=True)
    return table


def _distinct(table: pd.DataFrame) -> pd.Series:
    """Names with -2, -3 ... behind repeated ones, brightest first, so that each is one source's.

    Not in the order of the sky: a new version's slightly other positions would swap names. A number that makes another
    source's own name is passed over.
    """
    names = table["catalog_source_id"]
    again = np.flatnonzero(names.duplicated(keep=False))
    if not len(again):
        return names
    repeated = table.take(again).sort_values("flux_mjy", ascending=False, kind="stable")["catalog_source_id"]
    nth = repeated.groupby(repeated, sort=False).cumcount() + 1
    names, taken = names.copy(), set(names)
    names.loc[nth.index] = repeated
    later = nth.index[nth > 1]
    suffixed = repeated.loc[later] + "-" + nth.loc[later].astype("str")
    # As often as the longest chain of names that look like numbered ones, nearly always not at all.
    while (clash := suffixed.isin(taken) | suffixed.duplicated()).any():
        nth.loc[later] = nth.loc[later] + clash.astype(int)
        suffixed = repeated.loc[later] + "-" + nth.loc[later].astype("str")
    names.loc[later] = suffixed
    return names
