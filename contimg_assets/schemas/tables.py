"""The border between the tables and numbers that people hold and those that we compute with.

Inside, tables are DataFrames whose columns carry their unit in the name. People hold astropy Tables and QTables with
units, SkyCoords in any frame, Angles and Quantities. Functions that people call pass their arguments through here:
`as_frame`, `as_number`, `as_arcsec`, `as_values`, `as_position`; `with_units` goes back. What is ours already passes at
the price of a type check, and astropy is imported only where somebody hands it in.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from contimg_assets.errors import InputError

if TYPE_CHECKING:
    from astropy.coordinates import Angle, SkyCoord
    from astropy.table import QTable, Table
    from astropy.units import Quantity

TableLike: TypeAlias = "pd.DataFrame | pa.Table | Table | SkyCoord"
"""A table in any of the forms that `as_frame` takes."""

AngleLike: TypeAlias = "float | str | Angle | Quantity"
"""An angle in any of the forms that `as_number` takes."""

Floats = npt.NDArray[np.float64]

# Longest first: the unit that a column's name ends with.
_SUFFIXES = {
    "mas_yr": "mas / yr",
    "per_arcsec2": "arcsec-2",
    "per_mjy2": "1 / mJy2",
    "mjy_beam2": "mJy2 / beam2",
    "mjy_beam": "mJy / beam",
    "per_deg2": "deg-2",
    "arcsec2": "arcsec2",
    "arcsec": "arcsec",
    "mjy2": "mJy2",
    "mjy": "mJy",
    "jyb": "Jy / beam",
    "jy": "Jy",
    "deg": "deg",
    "mhz": "MHz",
    "mjd": "d",
}
_SUFFIX = re.compile(rf"(?:(.+?)_|^)({'|'.join(_SUFFIXES)})$")
_TIMES = ("mjd", "time")
_ANGLES = ("deg", "arcsec")


def unit_of(column: str) -> str:
    """The unit of a column of ours.

    Parameters
    ----------
    column : str
        Name of a column, whether a schema describes it or not.

    Returns
    -------
    str
        Unit as astropy writes it, "" for numbers without one and for text: as the schemas say, else as the name ends.
    """
    known = _units().get(column)
    if known is not None:
        return known
    end = _SUFFIX.fullmatch(column)
    return _SUFFIXES[end.group(2)] if end else ""


@cache
def _units() -> Mapping[str, str]:
    """Unit of every column that a schema describes."""
    from contimg_assets.schemas import association, catalogs, corrections, detections, matches, variability
    from contimg_assets.schemas.core import TableSchema

    units: dict[str, str] = {}
    for module in (detections, catalogs, matches, association, corrections, variability):
        for schema in vars(module).values():
            if isinstance(schema, TableSchema):
                for column in schema:
                    units.setdefault(column.name, column.unit)
    return units


@cache
def _bases() -> Mapping[str, str]:
    """Names without their unit of the columns that people hand in, and what is meant: ``ra`` is ``ra_deg``."""
    from contimg_assets.schemas.catalogs import REFERENCE
    from contimg_assets.schemas.corrections import CORRECTED_MEASUREMENTS
    from contimg_assets.schemas.detections import IMAGES
    from contimg_assets.schemas.matches import CATALOG_MATCHES

    bases: dict[str, str] = {}
    for schema in (CORRECTED_MEASUREMENTS, IMAGES, REFERENCE, CATALOG_MATCHES):
        for name in schema.names:
            end = _SUFFIX.fullmatch(name)
            if end and end.group(1):
                bases.setdefault(end.group(1), name)
    return bases


# --- tables -------------------------------------------------------------------------------------------------------


def as_frame(table: TableLike, what: str) -> pd.DataFrame:
    """The table as a DataFrame in our columns and units.

    Parameters
    ----------
    table : DataFrame, Table, QTable, SkyCoord or pyarrow.Table
        A DataFrame is returned as it is. Of an astropy table, columns named like ours are converted from the unit that
        they state; a column that states a unit may lack the unit in its name (``ra`` in hourangle becomes ``ra_deg``);
        a column of SkyCoord becomes ``ra_deg`` and ``dec_deg``, ICRS; masked values become missing; columns of more
        than one dimension are left out. A SkyCoord alone becomes a table of positions.
    what : str
        Name of the table in messages.

    Returns
    -------
    DataFrame
        With the rows in their order; those of an astropy table are labelled 0, 1, ...

    Raises
    ------
    InputError
        If it is no table, or a column's unit does not convert to ours.
    """
    if isinstance(table, pd.DataFrame):
        return table
    if isinstance(table, pa.Table):
        frame: pd.DataFrame = table.to_pandas()
        return frame
    from astropy.coordinates import BaseCoordinateFrame, SkyCoord
    from astropy.table import Table

    if isinstance(table, (SkyCoord, BaseCoordinateFrame)):
        ra, dec = _icrs(table, what)
        return pd.DataFrame({"ra_deg": np.atleast_1d(ra), "dec_deg": np.atleast_1d(dec)})
    if isinstance(table, Table):
        return _frame_of_columns(table, what)
    raise InputError(
        f"{what} is a {type(table).__name__}; give a pandas, astropy or Arrow table (DataFrame, Table, QTable), or a "
        "SkyCoord"
    )


def _frame_of_columns(table: Any, what: str) -> pd.DataFrame:
    from astropy.coordinates import SkyCoord
    from astropy.time import Time

    columns: dict[str, Any] = {}
    present = set(table.colnames)
    positions = [name for name in table.colnames if isinstance(table[name], SkyCoord)]
    if len(positions) > 1:
        raise InputError(f"{what} has positions in {' and '.join(map(repr, positions))}; keep one of these columns")
    for name in table.colnames:
        column = table[name]
        if name in positions:
            if not {"ra_deg", "dec_deg"} & present:
                columns["ra_deg"], columns["dec_deg"] = _icrs(column, what)
        elif isinstance(column, Time):
            columns["mjd" if name in _TIMES and "mjd" not in present - {name} else name] = _mjd(column)
        elif len(column.shape) == 1:
            unit = getattr(column, "unit", None)
            ours = name if unit is None else _our_name(name, present)
            if ours not in columns:
                columns[ours] = _converted(column, unit, name, ours, what)
    return pd.DataFrame(columns, index=pd.RangeIndex(len(table)))


def _our_name(name: str, present: Collection[str]) -> str:
    """Our column for one that states its unit: itself, else the one that its name and a unit make."""
    if name in _units():
        return name
    ours = _bases().get(name.lower())
    return name if ours is None or ours in present else ours


def _converted(column: Any, unit: Any, name: str, ours: str, what: str) -> pd.Series:
    """A column of astropy in our unit, missing where masked."""
    wanted = unit_of(ours)
    values = _unmasked(column)
    if not wanted or unit is None:
        return values
    scale = _factor(unit, wanted, f"{what}: column {name!r}")
    try:
        numbers = values.to_numpy(dtype=float, na_value=np.nan) * scale
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{what}: column {name!r} holds what is no number ({error}); read sexagesimal positions with "
            "SkyCoord(ra, dec, unit=('hourangle', 'deg'))"
        ) from error
    return pd.Series(_wrapped(numbers) if ours == "ra_deg" and _is_longitude(column) else numbers)


def _unmasked(column: Any) -> pd.Series:
    """Values of a column of astropy in the machine's byte order, bytes as text, missing where masked."""
    mask = getattr(column, "mask", None)
    plain = getattr(column, "unmasked", column)
    values = np.asarray(getattr(plain, "value", plain))
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8", "replace")
    series = pd.Series(values.astype(values.dtype.newbyteorder("="), copy=False))
    return series if mask is None or not np.any(mask) else series.where(~np.asarray(mask))


def _is_longitude(column: Any) -> bool:
    from astropy.coordinates import Longitude

    return isinstance(column, Longitude)


def _wrapped(degrees: Floats) -> Floats:
    """Longitudes in [0, 360): those of astropy may begin anywhere."""
    inside = (degrees >= 0.0) & (degrees < 360.0)
    turned = degrees % 360.0
    # A tiny negative angle modulo 360 rounds to 360 itself.
    return np.where(inside, degrees, np.where(turned >= 360.0, 0.0, turned))


def _mjd(times: Any) -> Floats:
    """Times as MJD, UTC; NaN where masked."""
    utc = times.utc
    mask = np.asarray(getattr(times, "mask", False))
    return np.where(mask, np.nan, np.asarray(getattr(utc.mjd, "unmasked", utc.mjd), dtype=float))


def _icrs(position: Any, what: str) -> tuple[Floats, Floats]:
    """Right ascension and declination of a SkyCoord, ICRS degrees; NaN where masked."""
    from astropy.coordinates import ICRS, ConvertError

    try:
        place = position.transform_to(ICRS())
    # AttributeError: what astropy raises for a horizontal frame without its place on Earth.
    except (ConvertError, ValueError, TypeError, AttributeError) as error:
        frame = getattr(getattr(position, "frame", position), "name", type(position).__name__)
        raise InputError(f"{what}: positions in the frame {frame!r} do not convert to ICRS ({error})") from error
    ra, dec = (
        np.asarray(_unmasked_angle(angle.deg), dtype=float) for angle in (place.spherical.lon, place.spherical.lat)
    )
    return _wrapped(ra), dec


def _unmasked_angle(degrees: Any) -> Any:
    mask = getattr(degrees, "mask", None)
    return degrees if mask is None else np.where(mask, np.nan, degrees.unmasked)


def require(table: pd.DataFrame, columns: Iterable[str], what: str) -> None:
    """Raise InputError unless the table has these columns; the message says how a near miss is mended.

    Parameters
    ----------
    table : DataFrame
        Of `as_frame`.
    columns : iterable of str
        What is needed.
    what : str
        Name of the table in the message.
    """
    missing = [name for name in columns if name not in table.columns]
    if not missing:
        return
    bases = {ours: base for base, ours in _bases().items()}
    there = {str(name).lower(): name for name in table.columns}
    for name in missing:
        near = there.get(bases.get(name, name))
        if near is not None:
            raise InputError(
                f"{what}: no column {name}; it has {near!r}, which says no unit: name it {name} if it is in "
                f"{unit_of(name) or 'ours'}, or give a QTable"
            )
    raise InputError(f"{what}: no column {', '.join(missing)}")


def with_columns(table: pd.DataFrame, columns: Mapping[str, Any]) -> pd.DataFrame:
    """As ``table.assign``, which adds one column after the other: seven times as long where few rows get a dozen.

    Parameters
    ----------
    table : DataFrame
        Stays as it is.
    columns : mapping
        By name, each an array of shape (n,) or one value for all rows; those that are there are replaced.
    """
    replaced = {name: values for name, values in columns.items() if name in table.columns}
    added = {name: values for name, values in columns.items() if name not in replaced}
    return pd.concat([table.assign(**replaced), pd.DataFrame(added, index=table.index)], axis=1)


def stand_among(column: pd.Series | pd.Index, values: pd.Series | pd.Index) -> npt.NDArray[np.bool_]:
    """``column.isin(values)``; of texts pandas makes an Arrow scalar of each value: fifty times as long.

    Parameters
    ----------
    column, values : Series or Index
        Of any kind.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    texts, among = _texts(column), _texts(values)
    if texts is None or among is None:
        return np.asarray(column.isin(values), dtype=bool)
    return np.asarray(pc.is_in(texts, value_set=among), dtype=bool)


def rows_among(wanted: pd.Series | pd.Index, keys: pd.Series | pd.Index) -> npt.NDArray[np.intp]:
    """``pd.Index(keys).get_indexer(wanted)``: row of each value, -1 where it is not there.

    Of texts pandas makes Python's own of both first: three times as long.

    Parameters
    ----------
    wanted, keys : Series or Index
        Of any kind; each key once.

    Returns
    -------
    ndarray of int, shape (n,)
    """
    texts, among = _texts(wanted), _texts(keys)
    if texts is None or among is None or len(pc.unique(among)) < len(among):
        return np.asarray(pd.Index(keys).get_indexer(pd.Index(wanted)), np.intp)
    rows = pc.index_in(texts, value_set=among).fill_null(-1)
    return np.asarray(rows, dtype=np.intp)


def _texts(values: pd.Series | pd.Index) -> pa.Array | pa.ChunkedArray | None:
    """A column of texts as Arrow has it; None where it is of another kind."""
    if not isinstance(values.dtype, pd.StringDtype):
        return None
    return pa.array(values.array, pa.large_string())


def with_text_ids(table: pd.DataFrame) -> pd.DataFrame:
    """The table with ids of measurements as text, as tables of matches have them; people also number their rows.

    Parameters
    ----------
    table : DataFrame
        Of `as_frame`.

    Returns
    -------
    DataFrame
        The same where ids are text already.
    """
    if "measurement_id" in table.columns and pd.api.types.is_integer_dtype(table["measurement_id"].dtype):
        return table.assign(measurement_id=table["measurement_id"].astype("str"))
    return table


def numbers_of(table: pd.DataFrame, column: str, what: str) -> Floats:
    """A column as numbers, NaN where missing.

    Parameters
    ----------
    table : DataFrame
        Of `as_frame`.
    column : str
        One that it has.
    what : str
        Name of the table in messages.

    Returns
    -------
    ndarray of float, shape (n,)
        The values.

    Raises
    ------
    InputError
        If a value is no number.
    """
    try:
        return table[column].to_numpy(dtype=float, na_value=np.nan)
    except (ValueError, TypeError) as error:
        raise InputError(f"{what}: column {column!r} holds what is no number ({error})") from error


# --- numbers ------------------------------------------------------------------------------------------------------


def as_number(value: AngleLike, unit: str, what: str) -> float:
    """One number in our unit.

    Parameters
    ----------
    value : float, Quantity, Angle or str
        A plain number is in ``unit``; text is a number and its unit, "10 arcsec".
    unit : str
        Ours, as astropy writes it.
    what : str
        Name of the argument in messages.

    Returns
    -------
    float
        The value in ``unit``.

    Raises
    ------
    InputError
        If it is no single number, or its unit does not convert.
    """
    if type(value) is float:
        return value
    values = as_values(value, unit, what)
    if values.shape not in ((), (1,)):
        raise InputError(f"{what} has {values.size} values; give one")
    return float(values.item())


def as_arcsec(value: AngleLike, what: str) -> float:
    """`as_number` in arcsec.

    Parameters
    ----------
    value : float, Quantity, Angle or str
        A plain number is in arcsec.
    what : str
        Name of the argument in messages.

    Returns
    -------
    float
        The angle, arcsec.
    """
    return value if type(value) is float else as_number(value, "arcsec", what)


def as_values(values: Any, unit: str, what: str) -> Floats:
    """Numbers in our unit.

    Parameters
    ----------
    values : array_like, Quantity, Column or str
        Plain numbers are in ``unit``; text is a number and its unit.
    unit : str
        Ours, as astropy writes it.
    what : str
        Name of the argument in messages.

    Returns
    -------
    ndarray of float
        Of the shape that was given; NaN where masked or missing.

    Raises
    ------
    InputError
        If something is no number, or the unit does not convert.
    """
    if type(values) is np.ndarray or isinstance(values, (float, int)):
        return np.asarray(values, dtype=float)
    if isinstance(values, pd.Series):
        return values.to_numpy(dtype=float, na_value=np.nan)
    if isinstance(values, str):
        values = _quantity(values, unit, what)
    if values is None:
        raise InputError(f"{what} is None; give numbers in {_words(unit)}")
    if isinstance(values, (list, tuple)) and any(hasattr(value, "unit") for value in values):
        from astropy.units import Quantity

        values = Quantity(values)
    given = getattr(values, "unit", None)
    mask = getattr(values, "mask", None)
    plain = getattr(values, "unmasked", values)
    scale = 1.0 if given is None else _factor(given, unit, what)
    try:
        numbers = np.asarray(getattr(plain, "value", plain) if given is not None else plain, dtype=float) * scale
    except (ValueError, TypeError) as error:
        raise InputError(f"{what} holds what is no number ({error}); give numbers in {_words(unit)}") from error
    return numbers if mask is None else np.where(mask, np.nan, numbers)


def _quantity(text: str, unit: str, what: str) -> Any:
    from astropy.coordinates import Angle
    from astropy.units import Quantity, UnitsError

    # Angles first, as 5d is five degrees and not days; they do not know exponents. UnitsError is a ValueError in some
    # versions of astropy and not in others.
    fault: Exception | None = None
    for kind in (Angle, Quantity) if unit in _ANGLES else (Quantity,):
        try:
            value = kind(text)
        except (ValueError, TypeError, UnitsError) as error:
            fault = error
        else:
            if not unit or str(value.unit):
                return value
    raise InputError(f"{what} {text!r} is no number with its unit, such as '10 {unit}'") from fault


def as_position(ra: Any, dec: Any, what: str) -> tuple[float, float]:
    """One position, ICRS degrees.

    Parameters
    ----------
    ra : float, Angle, Quantity, str or SkyCoord
        Right ascension, plain numbers in degrees; or the whole position.
    dec : float, Angle, Quantity, str or None
        Declination; None where ``ra`` is a SkyCoord.
    what : str
        Name of the position in messages.

    Returns
    -------
    ra_deg, dec_deg : float
        The position.

    Raises
    ------
    InputError
        If a coordinate is missing or none.
    """
    if isinstance(ra, (float, int)) and isinstance(dec, (float, int)):
        return float(ra), float(dec)
    if hasattr(ra, "transform_to"):
        if dec is not None:
            raise InputError(f"{what} is a {type(ra).__name__} and needs no declination beside it; leave that out")
        places = _icrs(ra, what)
        if places[0].size != 1:
            raise InputError(f"{what} has {places[0].size} positions; give one")
        return float(places[0].item()), float(places[1].item())
    if dec is None:
        raise InputError(f"{what} has no declination; give right ascension and declination, or a SkyCoord")
    return as_number(ra, "deg", f"right ascension of {what}"), as_number(dec, "deg", f"declination of {what}")


def _factor(given: Any, ours: str, what: str) -> float:
    from contimg_assets.schemas.units import factor

    try:
        return factor(str(given), ours)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{what} has the unit {str(given)!r}, which does not convert to {_words(ours)}; give it in a unit that does"
        ) from error


def _words(unit: str) -> str:
    return unit or "a pure number"


# --- and back -----------------------------------------------------------------------------------------------------


def with_units(table: Any) -> QTable:
    """A result as an astropy QTable: the same columns, with their units.

    Every function returns DataFrames, or small records, in which the units are part of the names; this makes of them
    what astropy computes with.

    Parameters
    ----------
    table : DataFrame, Series, pyarrow.Table, or a record of results
        Any table, or row of one, that this package returns; or a `CondonErrors`, `FluxScale` or `PositionOffset`.

    Returns
    -------
    QTable
        Columns keep their names. Numbers that have a unit become Quantities, missing ones NaN; other columns that miss
        a value are masked.

    Raises
    ------
    InputError
        If it is no table and no record of numbers.

    Examples
    --------
    >>> import pandas as pd
    >>> import contimg_assets as ca
    >>> sources = ca.with_units(pd.DataFrame({"name": ["A"], "ra_deg": [187.7], "flux_int_mjy": [1500.0]}))
    >>> sources["ra_deg"].to("hourangle")[0]
    <Quantity 12.51333333 hourangle>
    >>> sources["flux_int_mjy"].to("Jy")[0]
    <Quantity 1.5 Jy>
    """
    from astropy.table import QTable
    from astropy.units import Quantity

    frame = _frame_of_result(table)
    result = QTable()
    for name in frame.columns:
        column, unit = frame[name], unit_of(str(name))
        if unit and pd.api.types.is_numeric_dtype(column.dtype):
            result[str(name)] = Quantity(column.to_numpy(dtype=float, na_value=np.nan), unit)
        else:
            result[str(name)] = _plain_column(column)
    return result


def _frame_of_result(table: Any) -> pd.DataFrame:
    if isinstance(table, (pd.DataFrame, pa.Table)):
        return as_frame(table, "table")
    if isinstance(table, pd.Series):
        return table.to_frame().T.infer_objects()
    if hasattr(table, "_asdict"):
        return pd.DataFrame({name: np.atleast_1d(values) for name, values in table._asdict().items()})
    if is_dataclass(table) and not isinstance(table, type):
        record = {field.name: getattr(table, field.name) for field in fields(table)}
        if all(value is None or isinstance(value, (str, int, float)) for value in record.values()):
            return pd.DataFrame([record])
    raise InputError(f"a {type(table).__name__} is no table; give a DataFrame, or one of the tables that it holds")


def _plain_column(column: pd.Series) -> Any:
    from astropy.table import MaskedColumn

    missing = column.isna().to_numpy()
    if pd.api.types.is_float_dtype(column.dtype):
        return column.to_numpy(dtype=float, na_value=np.nan)
    if pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype):
        values: npt.NDArray[Any] = column.fillna(False if pd.api.types.is_bool_dtype(column.dtype) else 0).to_numpy()
    else:
        values = np.array(["" if gap else str(value) for value, gap in zip(column, missing, strict=True)], dtype=str)
    return MaskedColumn(values, mask=missing) if missing.any() else values
