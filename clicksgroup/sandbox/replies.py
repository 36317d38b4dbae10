"""Answers as aiohttp sends them, broken ones included."""

from __future__ import annotations

import contextlib
import http
from collections.abc import Mapping

from aiohttp import web
from multidict import CIMultiDict

_NO_HEADERS: Mapping[str, str] = {}


def json_reply(body: bytes, status: int = 200, headers: Mapping[str, str] = _NO_HEADERS) -> web.Response:
    """An answer of the API."""
    return _response(body, "application/json", status, headers)


def html_reply(status: int, headers: Mapping[str, str] = _NO_HEADERS) -> web.Response:
    """An answer of the web server in front of it, which names the status."""
    known = status in http.HTTPStatus.__members__.values()
    reason = f"{status} {http.HTTPStatus(status).phrase}" if known else str(status)
    body = f"<html><head><title>{reason}</title></head><body><h1>{reason}</h1></body></html>\n"
    return _response(body.encode(), "text/html; charset=utf-8", status, headers)


def reset(request: web.BaseRequest) -> web.Response:
    """Abort the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()  # for aiohttp's books: it cannot be sent any more


async def cut_short(request: web.BaseRequest, response: web.Response, length: int) -> web.StreamResponse:
    """Send the head and the first bytes of an answer, and close the connection."""
    body = response.body
    assert isinstance(body, bytes)
    cut = web.StreamResponse(status=response.status, headers=response.headers)
    cut.content_length = len(body)
    with contextlib.suppress(ConnectionError):  # the client has gone already
        await cut.prepare(request)
        await cut.write(body[:length])
    if request.transport is not None:
        request.transport.close()
    return cut


def _response(body: bytes, kind: str, status: int, headers: Mapping[str, str]) -> web.Response:
    merged = CIMultiDict({"Content-Type": kind})
    merged.update(headers)
    return web.Response(body=body, status=status, headers=merged)
