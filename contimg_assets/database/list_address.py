"""What the address of a list of sources asks for: that of a page, and of a query that was saved."""

from __future__ import annotations

from collections.abc import Mapping

from contimg_assets.database import ProductsDatabase
from contimg_assets.database.source_list import MOST_ROWS, SourceQuery
from contimg_assets.errors import InputError

PAGE_ROWS = 50
_DEFAULT_RADIUS_ARCSEC = 600.0


def query_of(asked: Mapping[str, str], database: ProductsDatabase, limit: int | None = None) -> SourceQuery:
    """Which sources an address asks for.

    Parameters
    ----------
    asked : where, about (a source or position), radius [arcsec], sort, offset, limit
    database : where `about` is looked up
    limit : instead of the address's own

    Raises
    ------
    InputError
        If a number is none.
    """
    cone = None
    if about := asked.get("about", "").strip():
        place = database.source(database.find_source(about, 3600.0))
        radius = _number(asked, "radius", _DEFAULT_RADIUS_ARCSEC)
        cone = (float(place["ra_deg"]), float(place["dec_deg"]), radius)
    offset = int(_number(asked, "offset", 0))
    rows = int(_number(asked, "limit", PAGE_ROWS)) if limit is None else limit
    if offset < 0 or not 0 < rows <= MOST_ROWS:
        raise InputError(
            f"offset {offset} and limit {rows}: write an offset from 0 on and a limit from 1 to {MOST_ROWS}"
        )
    return SourceQuery(asked.get("where", ""), cone, asked.get("sort") or "name", offset, rows)


def columns_of(asked: Mapping[str, str], database: ProductsDatabase) -> list[str]:
    """Columns of a list: those that people look at first, and those that the address names besides."""
    kind = database.flux_kind()
    unit = {"peak": "mjy_beam", "int": "mjy"}[kind]
    first = ["name", "id", "ra_deg", "dec_deg", "n_measurements", f"flux_{kind}_{unit}", f"flux_{kind}_err_{unit}"]
    first += [f"eta_{kind}", f"v_{kind}", f"log10_p_value_{kind}", "is_new", "tags"]
    further = [name.strip() for name in asked.get("columns", "").split(",") if name.strip()]
    return list(dict.fromkeys([*first, *further]))


def _number(asked: Mapping[str, str], name: str, default: float) -> float:
    text = asked.get(name, "").strip()
    try:
        value = float(text) if text else default
        if not -1e15 < value < 1e15:
            raise ValueError(text)
    except ValueError as error:
        raise InputError(f"{name} is {text!r}, which is no number") from error
    return value
