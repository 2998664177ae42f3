"""Files of catalogs, whatever their format, as tables in our columns and units.

Files are read as deliveries are (`reading`). Belongs here: finding columns, position errors, which names sources have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa

from contimg_assets.catalogs.formats import Dialect, dialect_of, layout_of
from contimg_assets.catalogs.hats import HatsCatalog, is_hats, open_hats
from contimg_assets.catalogs.motions import Motions, epoch_in_words, epochs_mjd, motions, moved
from contimg_assets.catalogs.names import iau_names
from contimg_assets.config import CatalogConfig, ColumnSource
from contimg_assets.config.catalogs import ANY_FREQ_MHZ
from contimg_assets.config.presets import PRESETS
from contimg_assets.errors import InputError
from contimg_assets.ingest.manifest_text import refuse_manifest
from contimg_assets.ingest.readers import finder_of
from contimg_assets.ingest.readers.base import Source, is_one_of, unflagged
from contimg_assets.reading.columns import Columns, Container, bare_name, without_marks
from contimg_assets.reading.containers import open_container
from contimg_assets.reading.files import MAX_BYTES, beginning_of
from contimg_assets.reading.positions import degrees_of, degrees_of_parts, look_swapped, parts_in
from contimg_assets.reading.stated_frames import OTHER_FRAMES, frame_of_positions
from contimg_assets.schemas.catalogs import MOVING_REFERENCE, REFERENCE
from contimg_assets.schemas.units import factor, is_of_time, right_ascension_factor
from contimg_assets.sky.cells import healpix_29
from contimg_assets.sky.frames import ICRS, Frame, to_icrs, turned_errors

T = TypeVar("T")

# Names that catalogs give to what we need, tried in this order where the configuration is silent. Never a bare
# `source_id` or `id`: those are row numbers, which change with every new version of a catalog.
_ALIASES: dict[str, tuple[str, ...]] = {
    "catalog_source_id": (
        *("ref_id", "name", "source_name", "iau_name", "component_name", "compname", "component_id"),
        *("nvss", "first", "sumss", "tgssadr", "gleam", "wenss", "racs-low", "racs-mid1", "racs-high1", "gid"),
    ),
    "ra_deg": (
        *("ra", "raj2000", "ra_icrs", "_raj2000", "ra_j2000", "radeg", "ra2000", "ra_2000", "_ra"),
        *("alpha_j2000", "alphawin_j2000", "ra_mean", "ramean", "coord.ra", "skycoord.ra"),
    ),
    "dec_deg": (
        *("dec", "dej2000", "de_icrs", "_dej2000", "dec_j2000", "decj2000", "decl", "dedeg", "decdeg", "dec2000"),
        *("de2000", "dec_2000", "_de", "_dec", "delta_j2000", "deltawin_j2000", "dec_mean", "decmean", "dec_icrs"),
        *("coord.dec", "skycoord.dec"),
    ),
    "ra_err_arcsec": ("e_raj2000", "e_radeg", "e_ra", "ra_err", "err_ra", "e_ra_icrs", "e_ras"),
    "dec_err_arcsec": ("e_dej2000", "e_dedeg", "e_dec", "dec_err", "err_dec", "e_de_icrs", "e_des"),
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
    "flux_err_mjy": (
        *("flux_err", "e_flux", "e_total_flux", "err_int_flux", "flux_int_err_mjy", "e_ftot"),
        *("e_stotal", "e_sint", "e_fint", "e_st"),
    ),
    "flux_peak_mjy_beam": ("peak_flux", "flux_peak", "fpeak", "fpk", "speak", "sp", "peak int", "peak_int"),
    "spectral_index": ("alpha",),
}
_MOTIONS = {
    "pm_ra": (("pmra", "pm_ra", "pmra_masyr"), "mas / yr"),
    "pm_dec": (("pmdec", "pm_dec", "pmde"), "mas / yr"),
    "pm_ra_err": (("pmra_error", "e_pmra", "pmra_err"), "mas / yr"),
    "pm_dec_err": (("pmdec_error", "e_pmde", "e_pmdec", "pmdec_err"), "mas / yr"),
    "epoch": (("ref_epoch", "posepoch", "epoch"), ""),
}
# The axes of FK5 differ from those of the ICRS by less than the errors of any motion.
MOTIONS_IN = ("icrs", "fk5")
_EQUATORIAL = ("icrs", "fk5", "fk4", "fk4-no-e")
_REQUIRED = ("ra_deg", "dec_deg")
UNITS = {"ra_deg": "deg", "dec_deg": "deg", "ra_err_arcsec": "arcsec", "dec_err_arcsec": "arcsec"}
UNITS |= {"flux_mjy": "mJy", "flux_err_mjy": "mJy", "flux_peak_mjy_beam": "mJy"}


# Of a text, to see what its first row is [bytes].
_BEGINNING = 100_000


class NoRowsError(InputError):
    """A catalog has the columns of one, and nothing in them."""


@dataclass(frozen=True)
class Found:
    """Where one of our columns is in a file.

    Parameters
    ----------
    column : its name there
    unit : that its values are read in, None where nobody says one, so that ours is assumed
    said_by : "you", "the file", the survey or finder that the file is of, or nobody
    source : what a finder's reader knows of its missing values
    """

    column: str
    unit: str | None
    said_by: str
    source: Source | None = None


@dataclass
class OpenedCatalog:
    """A catalog's file, opened, and where our columns are in it.

    Parameters
    ----------
    kind : what its columns are known as: a finder, a survey, or nothing
    found : our column -> where it is
    frame, frame_told : of its positions, and what is said of it
    dialect : the survey's, where its columns are known
    n_tables : how many of the file's tables have positions, where nobody said which to read
    may_be_empty : whether a file without a usable row is no fault, as of a tile of the sky
    """

    container: Container
    kind: str
    found: dict[str, Found]
    frame: Frame
    frame_told: str
    dialect: Dialect | None
    config: CatalogConfig
    n_tables: int = 1
    may_be_empty: bool = False


def read_catalog(name: str, config: CatalogConfig, path: Path) -> tuple[pa.Table, int]:
    """One catalog file as a table of schema REFERENCE, sorted by HEALPix cell, then name.

    Parameters
    ----------
    name : of the catalog, for messages
    config : its columns, units and errors
    path : any file that is read as a delivery: FITS, VOTable, ECSV, text, Parquet or SQLite; may be gzipped

    Returns
    -------
    table : rows with a usable position
    n_without_position : rows left out because they have none, or because the survey flags them

    Raises
    ------
    InputError
        If the file cannot be read, a column is missing or holds what is no number, or nothing is left.
    """
    with ExitStack() as held:
        opened = open_catalog(name, config, path, held)
        table, left_out = table_of(name, opened, path)
    return table, sum(left_out.values())


def open_catalog(name: str, config: CatalogConfig, path: Path, held: ExitStack) -> OpenedCatalog:
    """Open a catalog's file and find our columns in it.

    Raises
    ------
    InputError
        If the file cannot be read, or a column that a person configured is not there.
    """
    if not path.exists():
        raise InputError(f"{path}: not readable (no such file); give the path of a catalog file")
    if is_hats(path):
        # All tiles have the same columns.
        hats = open_hats(path)
        return open_catalog(name, with_positions(config, hats), hats.files(0)[0], held)
    refuse_manifest(path)
    first = _FirstOf(config)
    container = _container(config, path, held, first)
    dialect = dialect_of(container.names)
    finder = finder_of(container.names, path) if dialect is None else None
    sources = {} if finder is None else {s.ours: s for s in finder.sources(container.names)}
    known = Known(tuple(container.names), dialect, sources)
    found = {}
    for ours in ("catalog_source_id", *_REQUIRED, *UNITS, "spectral_index"):
        one = find_column(ours, known, config, container.units)
        given = config.columns.get(ours)
        if one is None and given is not None and not _from_preset(ours, given, config):
            raise InputError(
                f"{path}: no column {given.column!r}, which is configured as {ours}; "
                f"the file has {_listed(container.names)}"
            )
        if one is not None:
            found[ours] = one
    frame, told = _frame(container, found, config)
    kind = dialect.survey if dialect is not None else finder.name if finder is not None else ""
    n_tables = 1 if config.table is not None else max(first.n_found, 1)
    return OpenedCatalog(container, kind, found, frame, told, dialect, config, n_tables)


def with_positions(config: CatalogConfig, hats: HatsCatalog) -> CatalogConfig:
    """The settings of a catalog, with the columns of positions that HATS names, unless others are configured."""
    named = {ours: ColumnSource(column=theirs) for ours, theirs in hats.position_columns.items()}
    return config.model_copy(update={"columns": {**named, **config.columns}})


def _container(config: CatalogConfig, path: Path, held: ExitStack, known: _FirstOf) -> Container:
    """The file, opened; a survey's text without a header by the names that its columns are known to have."""
    names = None if config.preset is None else layout_of(config.preset.lower(), _first_row(path))
    if names is None:
        container = open_container(path, known, MAX_BYTES / 1e6, held, config.table)
        if not container.names:
            raise InputError(f"{path}: no header line of column names above the first row; add one")
        return container
    # A large file that was packed is let go before it is unpacked once more.
    with ExitStack() as tried, suppress(InputError):
        container = open_container(path, known, MAX_BYTES / 1e6, tried, config.table)
        if _has_positions(container.names, config):
            held.enter_context(tried.pop_all())
            return container
    return open_container(path, known, MAX_BYTES / 1e6, held, names=names)


def _first_row(path: Path) -> list[str]:
    """Words of the first line that is no comment; none where the file, unpacked, is no text."""
    try:
        with path.open("rb") as stream:
            lines = beginning_of(stream.read(_BEGINNING), _BEGINNING).decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    return next((line.split() for line in lines if line.strip() and not line.startswith(("#", ";"))), [])


class _FirstOf:
    """Tells the first table of a file that has positions, and how many have: of a reference, one table is enough."""

    def __init__(self, config: CatalogConfig) -> None:
        self._config, self.n_found = config, 0

    def __call__(self, columns: Sequence[str]) -> bool:
        found = _has_positions(columns, self._config)
        self.n_found += found
        return found and self.n_found == 1


def _has_positions(columns: Sequence[str], config: CatalogConfig) -> bool:
    known = Known(tuple(columns), dialect_of(columns), _sources_of(columns))
    return all(find_column(ours, known, config, {}) is not None for ours in _REQUIRED)


def _sources_of(columns: Sequence[str]) -> dict[str, Source]:
    finder = finder_of(columns, Path())
    return {} if finder is None else {source.ours: source for source in finder.sources(columns)}


@dataclass(frozen=True)
class Known:
    """Columns of a file, and what is known of files with these columns."""

    names: tuple[str, ...]
    dialect: Dialect | None = None
    sources: Mapping[str, Source] | None = None


def find_column(ours: str, known: Known, config: CatalogConfig, units: Mapping[str, str]) -> Found | None:
    """The file's column for ours: as configured, else our own name, else as its finder or survey calls it, else a usual
    name, else none."""
    names = known.names
    given = config.columns.get(ours)
    preset = given is not None and _from_preset(ours, given, config)
    lower = _by_lower(names)
    stated = None if given is None else given.column if given.column in names else lower.get(given.column.lower())
    source = (known.sources or {}).get(_OF_FINDERS.get(ours, ours))
    if given is not None and stated is not None:
        if given.unit is None and source is not None and source.unit:
            # As in deliveries: a column in another's place is in the finder's unit, where nobody says one.
            return _with_unit(stated, source.unit, "its finder", units)
        return _with_unit(stated, given.unit, str(config.preset) if preset else "you", units, asked=not preset)
    if given is not None and not preset:
        return None
    own = ours if ours in names else lower.get(ours)
    if own is not None:
        return _with_unit(own, None, "", units)
    if known.dialect is not None and ours in known.dialect.columns:
        theirs, unit = known.dialect.columns[ours]
        there = next((lower[name.lower()] for name in theirs if name.lower() in lower), None)
        if there is not None:
            return _with_unit(there, unit or None, known.dialect.survey, units)
    if source is not None:
        there = next((lower[name.lower()] for name in source.names if name.lower() in lower), None)
        if there is not None:
            return _with_unit(there, source.unit or None, "its finder", units, source=source)
    usual = next((lower[alias] for alias in _ALIASES.get(ours, ()) if alias in lower), None)
    if usual is not None:
        return _with_unit(usual, None, "", units)
    return _elsewhere(ours, names, lower, units)


def _by_lower(names: Sequence[str]) -> dict[str, str]:
    """Columns by their names in small letters, and without the units that stand in them."""
    return {
        **{bare_name(name)[0].lower(): name for name in reversed(names)},
        **{name.lower(): name for name in reversed(names)},
    }


# What finders' readers call the columns of a reference; their identifiers are numbers, which change with every run.
_OF_FINDERS = {
    "catalog_source_id": "",
    "flux_mjy": "flux_int_mjy",
    "flux_err_mjy": "flux_int_err_mjy",
}


def _elsewhere(ours: str, names: Sequence[str], lower: Mapping[str, str], units: Mapping[str, str]) -> Found | None:
    """Positions over several columns, or in other frames."""
    if ours not in _REQUIRED:
        return None
    parts = parts_in(names, ours)
    if parts:
        return Found(" ".join(parts), "h:m:s" if ours == "ra_deg" else "d:m:s", "")
    for longitudes, latitudes, _ in OTHER_FRAMES:
        pair = [next((lower[name] for name in some if name in lower), None) for some in (longitudes, latitudes)]
        if None not in pair:
            return _with_unit(str(pair[_REQUIRED.index(ours)]), None, "", units)
    return None


def _with_unit(
    column: str,
    unit: str | None,
    said_by: str,
    units: Mapping[str, str],
    *,
    asked: bool = False,
    source: Source | None = None,
) -> Found:
    """A column with its unit: as a person configured it, else as the file states it, else what is known of it."""
    if asked and unit is not None:
        return Found(column, unit, "you", source)
    if column in units:
        return Found(column, units[column], "the file", source)
    return Found(column, unit, said_by if unit is not None else "", source)


def _from_preset(ours: str, given: ColumnSource, config: CatalogConfig) -> bool:
    """Whether an entry is the preset's: it describes one published table, other files of the survey may differ."""
    if config.preset is None:
        return False
    return PRESETS[config.preset.lower()].columns.get(ours) == (given.column, given.unit)


def column_in_file(ours: str, names: Sequence[str], config: CatalogConfig) -> str | None:
    """The file's column for ours, None without one."""
    found = find_column(ours, Known(tuple(names), dialect_of(names), _sources_of(names)), config, {})
    return None if found is None else found.column


def columns_taken(config: CatalogConfig, path: Path) -> pd.DataFrame:
    """Which column of a file is taken for which of ours, and in which unit.

    Returns
    -------
    DataFrame: ours, column, unit, stated (false where neither the file nor the configuration nor what is known of such
    files says a unit that matters, so that ours is assumed)
    """
    with ExitStack() as held:
        opened = open_catalog(path.name, config, path, held)
    rows = []
    for ours in ("catalog_source_id", *UNITS, "spectral_index"):
        if ours not in opened.found:
            continue
        one = opened.found[ours]
        # A name such as flux_mjy is as good as a unit, and numbers of positions are degrees.
        stated = one.unit is not None or one.column == ours or ours not in UNITS or ours in _REQUIRED
        rows.append((ours, one.column, one.unit or UNITS.get(ours, ""), stated))
    return pd.DataFrame(rows, columns=["ours", "column", "unit", "stated"])


def _frame(container: Container, found: Mapping[str, Found], config: CatalogConfig) -> tuple[Frame, str]:
    column = found["ra_deg"].column if "ra_deg" in found else ""
    try:
        return frame_of_positions(column, config.frame, container.about.frames)
    except ValueError as error:
        raise InputError(
            f"{container.path}: the frame that the file states cannot be converted ({error}); say which it is with "
            "--frame, or the key `frame` of the catalog"
        ) from error


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:100])[:1000]


def table_of(name: str, opened: OpenedCatalog, path: Path) -> tuple[pa.Table, dict[str, int]]:
    """The table of an opened catalog, as `read_catalog` gives it, and how many rows are left out for which reason."""
    config, found = opened.config, opened.found
    if not set(_REQUIRED) <= set(found):
        raise InputError(
            f"{path}: no column of positions found; say which they are in catalogs.{name}.columns "
            f"(the file has {_listed(opened.container.names)})"
        )
    loaded = _load(opened)
    # The last line may be cut; no other.
    last = max(loaded.lines, default=0)
    broken = loaded.broken if len(loaded.broken) > 1 else [row for row in loaded.broken if row.line < last]
    if broken:
        raise InputError(f"{path}: line {broken[0].line}: {broken[0].reason}; correct the line")
    columns = {ours: _values(ours, opened, loaded, path) for ours in (*UNITS, "spectral_index") if ours in found}
    if "ra_err_arcsec" in found and _of_coordinate(found["ra_err_arcsec"], config):
        # In whichever frame it is.
        columns["ra_err_arcsec"] = columns["ra_err_arcsec"] * np.cos(np.radians(columns["dec_deg"]))
    moving = _motions(opened, loaded, path)
    _into_icrs(columns, opened.frame)
    if not len(loaded.lines) and not opened.may_be_empty:
        raise NoRowsError(f"{path}: it has no row; look at it, and download it again")
    usable, left_out = _usable(name, opened, loaded, columns, path)
    kept = {ours: values[usable] for ours, values in columns.items()}
    kept["ra_deg"] = kept["ra_deg"] % 360.0
    kept["ra_deg"][kept["ra_deg"] >= 360.0] = 0.0
    own_errors = {ours: kept.get(ours, np.full(len(kept["ra_deg"]), np.nan)) for ours in _ERRORS}
    moving = None if moving is None else moving.of(usable)
    if moving is not None and config.positions_at_mjd is not None:
        kept["ra_deg"], kept["dec_deg"], own_errors, moving = moved(
            kept["ra_deg"], kept["dec_deg"], own_errors, moving, config.positions_at_mjd
        )
    table = _reference(opened, loaded, kept, own_errors, usable)
    if moving is None:
        return REFERENCE.to_arrow(_named(table)), left_out
    table = pd.concat([table, moving.as_frame(config.position_err_scale)], axis=1)
    return MOVING_REFERENCE.to_arrow(_named(table)), left_out


def _usable(
    name: str, opened: OpenedCatalog, loaded: Columns, columns: Mapping[str, np.ndarray], path: Path
) -> tuple[np.ndarray, dict[str, int]]:
    """Which rows are used, shape (n,), and how many are not, by reason.

    Raises
    ------
    InputError
        If none is.
    """
    ra, dec = columns["ra_deg"], columns["dec_deg"]
    placed = np.isfinite(ra) & np.isfinite(dec)
    on_circle = (ra >= 0.0) & (ra <= 360.0)
    on_sky = placed & on_circle & (np.abs(dec) <= 90.0)
    if opened.frame.name in _EQUATORIAL and look_swapped(ra, dec):
        theirs = [opened.found[ours].column for ours in _REQUIRED]
        raise InputError(
            f"{path}: {int((dec > 90.0).sum())} of {len(dec)} declinations are beyond a pole, and would be right "
            f"ascensions: the columns {theirs[0]!r} and {theirs[1]!r} look swapped; say which is which in "
            f"catalogs.{name}.columns, or with --column ra_deg={theirs[1]} --column dec_deg={theirs[0]}"
        )
    if not on_sky.any() and not opened.may_be_empty:
        raise InputError(f"{path}: no row has a position; check the columns of catalogs.{name}")
    usable = on_sky & _unflagged(opened, loaded)
    counts = {
        "the position is missing": int((~placed).sum()),
        "the declination is beyond a pole": int((placed & (np.abs(dec) > 90.0)).sum()),
        "the right ascension is not from -180 to 360 degrees": int((placed & ~on_circle & (np.abs(dec) <= 90.0)).sum()),
        "the survey flags them": int((on_sky & ~usable).sum()),
    }
    for name, (values, reason) in _left_out(opened).items():
        others = usable & is_one_of(loaded.texts[name], values)
        usable, counts[reason] = usable & ~others, int(others.sum())
    if not usable.any() and not opened.may_be_empty:
        raise InputError(f"{path}: the survey's flags leave no usable row; check the file")
    counts["the file ends in them"] = len(loaded.broken)
    return usable, {reason: count for reason, count in counts.items() if count}


_ERRORS = ("ra_err_arcsec", "dec_err_arcsec")


def _reference(
    opened: OpenedCatalog,
    loaded: Columns,
    kept: Mapping[str, np.ndarray],
    errors: Mapping[str, np.ndarray],
    usable: np.ndarray,
) -> pd.DataFrame:
    """Rows in the columns of REFERENCE, in the order of the file."""
    config = opened.config
    ra, dec = kept["ra_deg"], kept["dec_deg"]
    nothing = np.full(len(ra), np.nan)
    flux, flux_err = kept.get("flux_mjy", nothing), kept.get("flux_err_mjy", nothing)
    # Columns that only fill gaps of the flux: a catalog without any is fine (positions alone, as ICRF).
    return pd.DataFrame(
        {
            "catalog_source_id": _names(opened, loaded, usable, ra, dec),
            "ra_deg": ra,
            "dec_deg": dec,
            "ra_err_arcsec": _errors(errors["ra_err_arcsec"], flux, config),
            "dec_err_arcsec": _errors(errors["dec_err_arcsec"], flux, config),
            "flux_mjy": flux,
            "flux_err_mjy": np.where(flux_err > 0, flux_err, np.nan),
            "flux_peak_mjy_beam": kept.get("flux_peak_mjy_beam", nothing),
            "spectral_index": kept.get("spectral_index", nothing),
            "healpix_29": healpix_29(ra, dec),
        }
    )


def _named(table: pd.DataFrame) -> pd.DataFrame:
    """The rows in the order of the sky, each with a name of its own."""
    table = _sorted_by_cell(table)
    table["catalog_source_id"] = _distinct(table)
    return table


def _load(opened: OpenedCatalog) -> Columns:
    """All columns that are needed; identifiers and parts of positions as text."""
    numbers, texts = [], []
    for ours, one in opened.found.items():
        if ours == "catalog_source_id":
            texts.append(one.column)
        elif one.column in opened.container.names:
            numbers.append(one.column)
        else:
            texts += one.column.split(" ")
    numbers += _motion_columns(opened).values()
    numbers += _flags(opened)
    texts += _left_out(opened)
    return opened.container.load(list(dict.fromkeys(numbers)), list(dict.fromkeys(texts)))


def _values(ours: str, opened: OpenedCatalog, loaded: Columns, path: Path) -> np.ndarray:
    """Values of one of our columns in our unit."""
    one = opened.found[ours]
    if one.column not in loaded.numbers:
        return degrees_of_parts([loaded.texts[name] for name in one.column.split(" ")], hours=ours == "ra_deg")
    if ours in _REQUIRED:
        return _position(ours, opened, loaded, path)
    values = _numbers_in(one.column, loaded, path)
    if ours in UNITS:
        # No survey lists a source of less than nothing, nor an error; without end is what a fit ended in.
        values = without_marks(np.where((values < 0) | np.isinf(values), np.nan, values))
    if one.source is not None:
        for sentinel in one.source.missing:
            values = np.where(values == sentinel, np.nan, values)
        if one.source.missing_if_negative:
            values = np.where(values < 0, np.nan, values)
    return values * _factor(ours, one, path)


def _position(ours: str, opened: OpenedCatalog, loaded: Columns, path: Path) -> np.ndarray:
    one = opened.found[ours]
    try:
        # Longitudes of other frames are in degrees, sexagesimal or not.
        hours = ours == "ra_deg" and opened.frame.name in _EQUATORIAL
        # What is only known of such files says nothing of sexagesimal ones.
        unit = one.unit if one.said_by in ("the file", "you") or one.unit != "deg" else None
        values = degrees_of(loaded, one.column, unit, hours=hours)
    except (ValueError, TypeError) as error:
        raise _no_unit(ours, one, path) from error
    wrong, texts = loaded.not_numbers.get(one.column, (np.empty(0, np.intp), []))
    if len(wrong):
        raise InputError(f"{path}: column {one.column!r} holds what is no angle: {texts[0]!r} in row {wrong[0] + 1}")
    return values


def _factor(ours: str, one: Found, path: Path) -> float:
    """From the file's unit to ours; our own unit where nobody says one."""
    if one.unit is None or ours not in UNITS:
        return 1.0
    convert = right_ascension_factor if ours == "ra_err_arcsec" else factor
    try:
        return convert(one.unit, UNITS[ours])
    except (ValueError, TypeError) as error:
        raise _no_unit(ours, one, path) from error


def _no_unit(ours: str, one: Found, path: Path) -> InputError:
    return InputError(
        f"{path}: column {one.column!r} is in {one.unit!r}, which is no unit of {ours} ({UNITS[ours]}); "
        "say its unit in the catalog's columns"
    )


def _of_coordinate(error: Found, config: CatalogConfig) -> bool:
    """Whether an error of right ascension is not yet one on the sky."""
    if error.unit is not None and is_of_time(error.unit):
        return True
    return not config.ra_err_on_sky and error.column != "ra_err_arcsec"


def _into_icrs(columns: dict[str, np.ndarray], frame: Frame) -> None:
    """Bring positions and their errors into the ICRS."""
    if frame == ICRS:
        return
    columns["ra_deg"], columns["dec_deg"], turn = to_icrs(columns["ra_deg"], columns["dec_deg"], frame)
    if set(_ERRORS) <= set(columns):
        east, north = turned_errors(columns["ra_err_arcsec"], columns["dec_err_arcsec"], turn)
        columns["ra_err_arcsec"], columns["dec_err_arcsec"] = east, north


def _unflagged(opened: OpenedCatalog, loaded: Columns) -> np.ndarray:
    """Rows that the survey's flags call usable; those without a flag are."""
    usable = np.ones(len(loaded.lines), bool)
    for name, allowed in _flags(opened).items():
        usable &= unflagged(loaded.numbers[name], allowed)
    return usable


def _flags(opened: OpenedCatalog) -> dict[str, frozenset[float]]:
    """The file's columns of flags -> values of usable rows."""
    return {} if opened.dialect is None else _there(opened, opened.dialect.usable)


def _left_out(opened: OpenedCatalog) -> dict[str, tuple[frozenset[str], str]]:
    """The file's columns of text -> values of rows that the survey's rule leaves out, and why."""
    return {} if opened.dialect is None else _there(opened, opened.dialect.left_out)


def _there(opened: OpenedCatalog, known: Mapping[str, T]) -> dict[str, T]:
    """What is known of columns by their names in the file, whatever their case."""
    lower = _by_lower(opened.container.names)
    return {lower[name.lower()]: what for name, what in known.items() if name.lower() in lower}


def _motion_columns(opened: OpenedCatalog) -> dict[str, str]:
    """Columns of proper motions and their epoch; none where there are no motions."""
    lower = _by_lower(opened.container.names)
    found = {
        what: lower[next(name for name in names if name in lower)]
        for what, (names, _) in _MOTIONS.items()
        if any(name in lower for name in names)
    }
    return found if {"pm_ra", "pm_dec", "epoch"} <= set(found) else {}


def has_motions(path: Path, table: str | None = None) -> bool:
    """Whether a catalog's file has proper motions and the time that its positions are of."""
    config = CatalogConfig.model_validate({"path": path, "freq_mhz": ANY_FREQ_MHZ, "table": table})
    with ExitStack() as held:
        try:
            opened = open_catalog(path.name, config, path, held)
        except InputError:
            return False
        return moves(opened)


def moves(opened: OpenedCatalog) -> bool:
    """Whether a file has proper motions and the time that its positions are of."""
    return bool(_motion_columns(opened))


def _motions(opened: OpenedCatalog, loaded: Columns, path: Path) -> Motions | None:
    """The proper motions of a file and the times of its positions; None without them.

    Raises
    ------
    InputError
        If they hold what is no number, are in a unit of something else, or the times are none of observations.
    """
    columns = _motion_columns(opened)
    if not columns or opened.frame.name not in MOTIONS_IN:
        return None
    east, north, east_err, north_err = (
        _motion(columns[what], unit, opened, loaded, path) if what in columns else np.zeros(len(loaded.lines))
        for what, (_, unit) in list(_MOTIONS.items())[:4]
    )
    mjd = epochs_mjd(_numbers_in(columns["epoch"], loaded, path, epoch_in_words))
    if (strange := np.isinf(mjd)).any():
        row, column = int(np.argmax(strange)), columns["epoch"]
        raise InputError(
            f"{path}: row {row + 1}, column {column!r}: {loaded.numbers[column][row]:g} is neither a year from 1800 to "
            "2200 nor a date (MJD or JD); correct it, or rename the column"
        )
    return motions((east, north), (east_err, north_err), mjd)


def _motion(column: str, ours: str, opened: OpenedCatalog, loaded: Columns, path: Path) -> np.ndarray:
    values = _numbers_in(column, loaded, path)
    unit = opened.container.units.get(column, ours)
    try:
        return values * factor(unit, ours)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{path}: column {column!r} is in {unit!r}, which is no unit of a proper motion on the sky ({ours}); "
            "convert it, or rename the column"
        ) from error


def _numbers_in(
    column: str, loaded: Columns, path: Path, in_words: Callable[[str], float | None] = lambda _: None
) -> np.ndarray:
    """The numbers of a column, all of them; some may be written in words.

    Raises
    ------
    InputError
        With the first that is none.
    """
    values = loaded.numbers[column]
    rows, texts = loaded.not_numbers.get(column, (np.empty(0, np.intp), []))
    if len(rows):
        values = values.copy()
    for row, text in zip(rows, texts, strict=True):
        value = in_words(text)
        if value is None:
            raise InputError(f"{path}: row {row + 1}, column {column!r}: {text!r} is not a number")
        values[row] = value
    return values


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


def _names(opened: OpenedCatalog, loaded: Columns, usable: np.ndarray, ra: np.ndarray, dec: np.ndarray) -> pd.Series:
    """The catalog's own names, and IAU names from the position where it has none."""
    found = opened.found.get("catalog_source_id")
    if found is None:
        return pd.Series(iau_names(ra, dec), dtype="str")
    own: pd.Series = loaded.texts[found.column].filter(pa.array(usable)).to_pandas().astype("str")
    nameless = np.flatnonzero(own.isna().to_numpy())
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
