"""What people with the token may change: tags, notes, favorites, saved lists, and decisions on counterparts."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from contimg_assets.database import ProductsDatabase
from contimg_assets.database.sayings import checked_author
from contimg_assets.errors import InputError
from contimg_assets.pipeline.products import matching_of
from contimg_assets.web.data import survey_of
from contimg_assets.web.visitors import COOKIE, Visitors

_MOST_BYTES, _MOST_FIELDS = 100_000, 20

Form = Mapping[str, str]
# What a form changes, given who sends it; where the browser goes then.
Change = Callable[[Request, Form, str], str]
Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]


async def _form(request: Request) -> Form:
    """The fields of a form from a page of ours.

    Raises
    ------
    HTTPException
        If it is too long, no form, or comes from a page elsewhere.
    """
    if request.headers.get("content-type", "").split(";")[0] != "application/x-www-form-urlencoded":
        raise HTTPException(415, "send a form")
    # Browsers say which page sent a form; behind a proxy the host may be another than the one that is asked for.
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise HTTPException(403, "this form was sent from another site")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MOST_BYTES:
            raise HTTPException(413, f"a form may have {_MOST_BYTES} bytes")
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError as error:
        raise HTTPException(400, "this form cannot be read") from error


def _visitors(request: Request) -> Visitors:
    visitors: Visitors = request.app.state.visitors
    return visitors


def _posted(change: Change) -> Endpoint:
    """What takes a form from somebody who may write."""

    async def endpoint(request: Request) -> Response:
        visitor, form = _visitors(request).of(request), await _form(request)
        if visitor is None:
            raise HTTPException(403, "only who gave the token may change something: sign in first")
        # Of texts that may hold any character.
        if form.get("form_token", "").encode() != visitor.form_token.encode():
            raise HTTPException(403, "this form is of an earlier session: load the page again")
        target = await run_in_threadpool(change, request, form, visitor.name)
        return RedirectResponse(request.app.state.root + target, 303)

    return endpoint


async def sign_in(request: Request) -> Response:
    """Begin a session of who knows the token."""
    form, root = await _form(request), request.app.state.root
    author = checked_author(form.get("name", ""))
    key = _visitors(request).admit(form.get("token", ""), author)
    if key is None:
        raise HTTPException(403, "this is not the token that `contimg web --write` printed")
    answer = RedirectResponse(root + _local(form.get("next", "/")), 303)
    secure = request.url.scheme == "https"
    answer.set_cookie(COOKIE, key, path=root or "/", httponly=True, samesite="strict", secure=secure)
    return answer


def _sign_out(request: Request, form: Form, author: str) -> str:
    _visitors(request).dismiss(request)
    return "/"


def _local(path: str) -> str:
    """A page of ours, whatever a form names."""
    parts = urlsplit(path)
    is_ours = path.startswith("/") and not path.startswith(("//", "/\\")) and not parts.netloc
    return path if is_ours and path.isprintable() else "/"


def _of_source(say: Callable[[ProductsDatabase, str, Form, str], None]) -> Change:
    """What changes something about the source that the address names."""

    def change(request: Request, form: Form, author: str) -> str:
        database = survey_of(request).database
        source_id = database.find_source(request.path_params["source"])
        say(database, source_id, form, author)
        return f"/source/{quote(source_id)}#said"

    return change


def _tag(database: ProductsDatabase, source_id: str, form: Form, author: str) -> None:
    words = form.get("tag", "").split()
    if not words:
        raise InputError("name a tag")
    database.tag(source_id, *words, author=author, remove=_removes(form))


def _note(database: ProductsDatabase, source_id: str, form: Form, author: str) -> None:
    database.note(source_id, form.get("note", ""), author, _removes(form))


def _favorite(database: ProductsDatabase, source_id: str, form: Form, author: str) -> None:
    database.favorite(source_id, author, _removes(form))


def _removes(form: Form) -> bool:
    return form.get("action") == "remove"


def _match(request: Request, form: Form, author: str) -> str:
    """Decide on a counterpart, as `contimg match` does."""
    survey = survey_of(request)
    source_id = survey.database.find_source(request.path_params["source"])
    catalog, entry = form.get("catalog", ""), form.get("catalog_source_id", "")
    matching = matching_of(survey.config)
    survey.database.decide_match(
        form.get("action", ""), source_id, catalog, entry or None, form.get("comment") or None, author, matching
    )
    return f"/source/{quote(source_id)}#counterparts"


def _query(request: Request, form: Form, author: str) -> str:
    """Save a list, or take it back."""
    name, query = form.get("name", ""), form.get("query", "")
    survey_of(request).database.save_query(name, query, author, _removes(form))
    return f"/sources?{query}" if query and not _removes(form) else "/sources"


ROUTES: dict[str, Endpoint] = {
    "/sign-in": sign_in,
    "/sign-out": _posted(_sign_out),
    "/source/{source}/tag": _posted(_of_source(_tag)),
    "/source/{source}/note": _posted(_of_source(_note)),
    "/source/{source}/favorite": _posted(_of_source(_favorite)),
    "/source/{source}/match": _posted(_match),
    "/queries": _posted(_query),
}
