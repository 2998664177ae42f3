"""The application: which address shows which page, what a browser may do with it, and how errors are told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bokeh.settings import settings
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contimg_assets.config import Config
from contimg_assets.database import ProductsDatabase
from contimg_assets.errors import ContimgError, StoreError
from contimg_assets.web import data, pages, pictures, writing
from contimg_assets.web.survey import Survey
from contimg_assets.web.visitors import Visitors

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_STATIC = Path(__file__).with_name("static")
# Nothing comes from elsewhere, no script stands in a page. Bokeh writes styles into what it draws.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self'; font-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
]
_SHOWN_HERE = (b"cross-origin-resource-policy", b"same-origin")
_PAGES = pages.ROUTES | data.ROUTES | pictures.ROUTES


class _Guarded:
    """Answers only who reads, and tells browsers what a page may do."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = list(message.get("headers", []))
                where = [] if pictures.SHOWN_ELSEWHERE in own else [_SHOWN_HERE]
                message["headers"] = [*own, *_HEADERS, *where]
            await send(message)

        await self._app(scope, receive, guarded)


def build_app(
    config: Config,
    database: ProductsDatabase,
    hosts: Sequence[str] = LOOPBACK,
    root_path: str = "",
    token: str | None = None,
    dagster: str = "",
) -> Starlette:
    """The pages over the products of a project.

    Parameters
    ----------
    config : of the project
    database : its products
    hosts : names that a browser may call it by; others are refused, so that no page elsewhere can reach it
    root_path : path that a proxy puts before all addresses, such as "/contimg"
    token : who knows it may write tags, notes, favorites, lists and decisions; nobody may if there is none
    dagster : address of Dagster's own pages, to which epochs lead; none if empty
    """
    # The proxy takes it off before it asks.
    app = Starlette(
        routes=_routes(token is not None),
        middleware=[Middleware(_Guarded), Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))],
        exception_handlers={ContimgError: _refused, HTTPException: _refused},
    )
    app.state.survey = Survey(config, database)
    app.state.root = root_path.rstrip("/")
    app.state.dagster = dagster.rstrip("/")
    app.state.visitors = Visitors(token)
    return app


def _routes(may_write: bool) -> list[Route | Mount]:
    posts = writing.READING | (writing.ROUTES if may_write else {})
    return [
        *(Route(path, endpoint, methods=["GET"]) for path, endpoint in _PAGES.items()),
        *(Route(path, endpoint, methods=["POST"]) for path, endpoint in posts.items()),
        Route("/bokeh/bokeh.min.js", _bokeh, methods=["GET"]),
        Mount("/static", StaticFiles(directory=_STATIC)),
    ]


def _bokeh(request: Request) -> Response:
    """Bokeh's script as the package has it: nothing is fetched from elsewhere."""
    script = Path(settings.bokehjs_path()) / "js" / "bokeh.min.js"
    return FileResponse(script, media_type="text/javascript", headers={"cache-control": "max-age=86400"})


async def _refused(request: Request, error: Exception) -> Response:
    """What a person can cure, as one sentence: on a page, or in JSON to programs."""
    if isinstance(error, HTTPException):
        status, sentence = error.status_code, str(error.detail)
    else:
        status, sentence = 404 if isinstance(error, StoreError) else 400, str(error)
    return data.refusal(sentence, status) if data.is_for_programs(request) else pages.refusal(request, sentence, status)
