"""Data for programs and charts: JSON, CSV, VOTable, Simple Cone Search."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from contimg_assets.database.export_files import as_bytes
from contimg_assets.database.list_address import columns_of, query_of
from contimg_assets.database.source_list import MOST_ROWS, SourcePage, list_sources, to_arrow
from contimg_assets.database.source_record import records, source_record
from contimg_assets.errors import InputError, StoreError
from contimg_assets.figures.cutouts import plot_cutouts
from contimg_assets.pipeline.catalog_summary import by_epoch
from contimg_assets.pipeline.cutouts import source_cutouts
from contimg_assets.sky.moc import moc_text
from contimg_assets.web import charts
from contimg_assets.web.cone_search import MEDIA_TYPE, cone_search
from contimg_assets.web.openapi import openapi
from contimg_assets.web.survey import Survey

_CHARTS = {
    "offset_east": ("dra_arcsec", "dra_err_arcsec", "offset east [arcsec]"),
    "offset_north": ("ddec_arcsec", "ddec_err_arcsec", "offset north [arcsec]"),
    "flux_factor": ("flux_mult", "flux_mult_err", "flux factor"),
    "rms": ("rms_mjy_beam", None, "rms [mJy/beam]"),
}
IMAGE_CHARTS = tuple(_CHARTS)


def survey_of(request: Request) -> Survey:
    """The products that the application shows."""
    survey: Survey = request.app.state.survey
    return survey


def is_for_programs(request: Request) -> bool:
    """Whether an address is asked for by a program."""
    return request.url.path.removeprefix(request.scope.get("root_path", "")).startswith(
        ("/api", "/chart", "/scs", "/moc")
    )


def refusal(sentence: str, status: int) -> Response:
    """An error as JSON."""
    return _json({"error": sentence}, status)


def _json(value: Any, status: int = 200) -> Response:
    # Numbers that JSON does not know must have become null before.
    return Response(json.dumps(value, allow_nan=False), status, media_type="application/json")


def _listed(request: Request, limit: int | None = None) -> SourcePage:
    survey = survey_of(request)
    query = query_of(request.query_params, survey.database, limit)
    return list_sources(survey.database, query, columns_of(request.query_params, survey.database))


def sources_json(request: Request) -> Response:
    """A page of the list of sources."""
    page = _listed(request)
    return _json({"total": page.total, "sources": records(page.rows)})


def sources_csv(request: Request) -> Response:
    """The whole list as CSV."""
    return _file(request, "csv", "text/csv", "sources.csv")


def sources_votable(request: Request) -> Response:
    """The whole list as VOTable."""
    return _file(request, "votable", MEDIA_TYPE, "sources.xml")


def _file(request: Request, kind: str, media_type: str, name: str) -> Response:
    page = _listed(request, MOST_ROWS)
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(as_bytes(to_arrow(page.rows), "sources", kind), media_type=media_type, headers=headers)


def source_json(request: Request) -> Response:
    """All about one source."""
    database = survey_of(request).database
    return _json(source_record(database, database.find_source(request.path_params["source"])))


def light_curve_json(request: Request) -> Response:
    """The points of a source."""
    return _json(records(survey_of(request).database.light_curve(request.path_params["source"])))


def light_curve_chart(request: Request) -> Response:
    """The chart of a light curve."""
    return _json(charts.light_curve_chart(survey_of(request).database.light_curve(request.path_params["source"])))


def eta_v_chart(request: Request) -> Response:
    """The chart of V against eta."""
    survey = survey_of(request)

    def make() -> dict[str, Any]:
        max_q = survey.config.variability.max_q
        return charts.variability_chart(survey.judged(), survey.variables(), survey.kind(), max_q)

    return _json(survey.chart("eta-v", make))


def pairs_chart(request: Request) -> Response:
    """The chart of Vs against |m|."""
    survey = survey_of(request)
    return _json(survey.chart("vs-m", lambda: charts.pairs_chart(*survey.pairs())))


def histogram_chart(request: Request) -> Response:
    """How often values of eta or V occur."""
    name, survey = request.path_params["name"], survey_of(request)
    if name not in ("eta", "v"):
        raise InputError(f"there is no histogram of {name!r}; there are eta, v")
    label = {"eta": "eta", "v": "V"}[name]
    values = survey.judged()[f"{name}_{survey.kind()}"]
    return _json(survey.chart(f"of {name}", lambda: charts.histogram_chart(values, label)))


def epochs_chart(request: Request) -> Response:
    """Measurements of all epochs over time."""
    return _json(charts.epochs_chart(survey_of(request).database.read_table("epochs")))


def matched_chart(request: Request) -> Response:
    """Matched fractions of all epochs and catalogs."""
    return _json(charts.matched_chart(by_epoch(survey_of(request).matched())))


def coverage_text(request: Request) -> Response:
    """What the images cover, as a MOC in ASCII."""
    return Response(moc_text(survey_of(request).coverage()), media_type="text/plain")


def coverage_json(request: Request) -> Response:
    """What the images cover, as a MOC in JSON."""
    return _json({str(order): cells.tolist() for order, cells in survey_of(request).coverage().items()})


def described(request: Request) -> Response:
    """What the API answers, in OpenAPI."""
    endpoints = {path: endpoint for path, endpoint in ROUTES.items() if path.startswith(("/api", "/moc", "/scs"))}
    return _json(openapi(endpoints, request.app.state.root))


def sky_chart(request: Request) -> Response:
    """The map; about a source or position where one is named."""
    survey = survey_of(request)
    query = query_of(request.query_params, survey.database)
    center = None if query.cone is None else (query.cone[0], query.cone[1], query.cone[2] / 3600.0)

    def make() -> dict[str, Any]:
        return charts.sky_chart(survey.on_the_map(center), survey.images(), center)

    return _json(survey.chart("sky", make) if center is None else make())


def image_chart(request: Request) -> Response:
    """A number of all images over time."""
    name = request.path_params["name"]
    if name not in _CHARTS:
        raise InputError(f"there is no chart {name!r}; there are {', '.join(_CHARTS)}")
    return _json(charts.images_chart(survey_of(request).images(), *_CHARTS[name]))


def cutouts_picture(request: Request) -> Response:
    """The source on each image that covers it and is here."""
    survey = survey_of(request)
    source_id = survey.database.find_source(request.path_params["source"])
    found = source_cutouts(survey.config, survey.database, source_id)
    if not found.cutouts:
        raise StoreError(f"no image of source {source_id} can be cut out; " + "; ".join(found.left_out[:1]))
    return Response(plot_cutouts(found.cutouts), media_type="image/png")


def cone(request: Request) -> Response:
    """Simple Cone Search."""
    return Response(cone_search(survey_of(request).database, dict(request.query_params)), media_type=MEDIA_TYPE)


ROUTES = {
    "/api/sources": sources_json,
    "/api/sources.csv": sources_csv,
    "/api/sources.xml": sources_votable,
    "/api/sources/{source}": source_json,
    "/api/sources/{source}/light_curve": light_curve_json,
    "/chart/light_curve/{source}": light_curve_chart,
    "/chart/eta-v": eta_v_chart,
    "/chart/sky": sky_chart,
    "/chart/images/{name}": image_chart,
    "/cutouts/{source}.png": cutouts_picture,
    "/chart/vs-m": pairs_chart,
    "/chart/histogram/{name}": histogram_chart,
    "/chart/epochs": epochs_chart,
    "/chart/catalogs": matched_chart,
    "/moc": coverage_text,
    "/moc.json": coverage_json,
    "/api/openapi.json": described,
    "/scs": cone,
}
