"""Pictures of the whole survey as PNG, for pages that are not ours: Dagster's page of an asset shows one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from contimg_assets.errors import StoreError
from contimg_assets.figures.canvas import small_png_of
from contimg_assets.figures.survey import draw_epochs, draw_matched, draw_sky, draw_variability
from contimg_assets.pipeline.catalog_summary import by_epoch
from contimg_assets.web.data import survey_of
from contimg_assets.web.survey import Survey

if TYPE_CHECKING:
    from collections.abc import Callable

    from contimg_assets.figures.canvas import Figure

_DPI = 80.0
_MOST_NAMES = 8
# A page elsewhere may show a picture; what is in it, no script there can read.
SHOWN_ELSEWHERE = (b"cross-origin-resource-policy", b"cross-origin")


def _images(survey: Survey) -> Figure:
    return draw_epochs(survey.images(), in_a_row=True)


def _sky(survey: Survey) -> Figure:
    return draw_sky(survey.on_the_map(None), survey.images())


def _eta_v(survey: Survey) -> Figure:
    named = survey.judged().assign(name=survey.variables()["name"])
    return draw_variability(named, survey.kind(), survey.config.variability.max_q, _MOST_NAMES)


def _catalogs(survey: Survey) -> Figure:
    return draw_matched(by_epoch(survey.matched()))


DRAWN: dict[str, Callable[[Survey], Figure]] = {
    "images": _images,
    "sky": _sky,
    "eta-v": _eta_v,
    "catalogs": _catalogs,
}


def picture(request: Request) -> Response:
    """A picture of the survey as it is now."""
    name, survey = request.path_params["name"], survey_of(request)
    if name not in DRAWN:
        raise StoreError(f"there is no picture {name!r}; there are {', '.join(DRAWN)}")
    png = survey.picture(name, lambda: small_png_of(DRAWN[name](survey), _DPI))
    response = Response(png, media_type="image/png")
    response.raw_headers.append(SHOWN_ELSEWHERE)
    return response


ROUTES = {"/picture/{name}.png": picture}
