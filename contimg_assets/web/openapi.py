"""The description of the JSON API in OpenAPI 3.1, made from its addresses and the schemas of what it answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pyarrow as pa

from contimg_assets.database.source_list import COLUMNS, MOST_ROWS
from contimg_assets.schemas.core import Column
from contimg_assets.schemas.variability import LIGHT_CURVE, SOURCES

_JSON, _TEXT, _VOTABLE = "application/json", "text/plain", "application/x-votable+xml"
_LIST = {
    "where": ("string", "Conditions with commas between them, such as eta_peak > 3, is_new = true, tag = needs-look"),
    "about": ("string", "Only about this source (name, id) or position"),
    "radius": ("number", "How far about it [arcsec]; 600 if not given"),
    "sort": ("string", "Column to sort by, with - before it for the largest first"),
    "offset": ("integer", "How many rows to leave out; not of files, which have the whole list"),
    "limit": ("integer", f"Most rows, up to {MOST_ROWS}; not of files"),
    "columns": ("string", "Further columns, with commas between them"),
}
_CONE = {
    "RA": ("number", "Right ascension, ICRS [deg]"),
    "DEC": ("number", "Declination, ICRS [deg]"),
    "SR": ("number", "Radius [deg]"),
}
_ASKED = {"/api/sources": _LIST, "/api/sources.csv": _LIST, "/api/sources.xml": _LIST, "/scs": _CONE}
_MEDIA = {"/api/sources.csv": "text/csv", "/api/sources.xml": _VOTABLE, "/scs": _VOTABLE, "/moc": _TEXT}
_ANSWERS: dict[str, dict[str, Any]] = {
    "/api/sources": {
        "type": "object",
        "properties": {
            "total": {"type": "integer"},
            "sources": {"type": "array", "items": {"$ref": "#/components/schemas/ListedSource"}},
        },
    },
    "/api/sources/{source}": {
        "type": "object",
        "properties": {"source": {"$ref": "#/components/schemas/Source"}},
    },
    "/api/sources/{source}/light_curve": {"type": "array", "items": {"$ref": "#/components/schemas/Point"}},
}
_TYPES = {pa.float64(): "number", pa.int64(): "integer", pa.bool_(): "boolean", pa.string(): "string"}


def openapi(endpoints: Mapping[str, Callable[..., Any]], root: str) -> dict[str, Any]:
    """The whole description.

    Parameters
    ----------
    endpoints : address -> what answers there, whose docstring says what
    root : path before all addresses
    """
    from contimg_assets import __version__

    return {
        "openapi": "3.1.0",
        "info": {"title": "Radio sources with light curves", "version": __version__},
        "servers": [{"url": root or "/"}],
        "paths": {path: {"get": _operation(path, endpoint)} for path, endpoint in endpoints.items()},
        "components": {
            "schemas": {
                "ListedSource": _object(COLUMNS.values()),
                "Source": _object(SOURCES),
                "Point": _object(LIGHT_CURVE),
            }
        },
    }


def _operation(path: str, endpoint: Callable[..., Any]) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", path)
    ]
    parameters += [
        {"name": name, "in": "query", "required": path == "/scs", "description": words, "schema": {"type": kind}}
        for name, (kind, words) in _ASKED.get(path, {}).items()
    ]
    answer = {_MEDIA.get(path, _JSON): {"schema": _ANSWERS.get(path, {})}}
    words = (endpoint.__doc__ or "").strip()
    refused = {"description": "What was asked cannot be answered, in one sentence"}
    return {
        "summary": words,
        "operationId": endpoint.__name__,
        "parameters": parameters,
        "responses": {"200": {"description": words, "content": answer}, "400": refused, "404": refused},
    }


def _object(columns: Iterable[Column]) -> dict[str, Any]:
    return {"type": "object", "properties": {column.name: _property(column) for column in columns}}


def _property(column: Column) -> dict[str, Any]:
    unit = f" [{column.unit}]" if column.unit else ""
    return {"type": [_TYPES[column.type], "null"], "description": f"{column.description}{unit}"}
