"""Scripted faults: which requests they hit, and what goes wrong with the response."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import attrs
import orjson
from aiohttp import web

from clicksgroup.dates import parse_date
from clicksgroup.errors import ConfigurationError
from clicksgroup.sandbox.api import SeenRequest


@attrs.frozen(kw_only=True)
class Fault:
    """Something that goes wrong: first for which requests, then what. `Fault(delay=0.1, status=503)` is both.

    These requests count against the quota as any other.

    >>> import datetime
    >>> from clicksgroup.sandbox import Fault
    >>> down = Fault(date="2025-01-03", page=2, attempts=2, status=503)
    >>> slow = Fault(delay=0.5, attempts=None)
    >>> def one_more(envelope):
    ...     envelope["result"]["extra"]["totalCount"] += 1
    ...     return envelope
    >>> wrong_total = Fault(date=datetime.date(2025, 1, 4), change=one_more)

    Args:
        date: only requests for that date (or for a v2 range that starts then); None for any.
        page: only requests for the page of that number; None for any.
        attempts: only the first so many attempts at a page; None for all of them.
        status: the HTTP status, instead of 200. Unless `body` or `change` is given, the body is a small HTML page, as
            from a proxy.
        retry_after: the header `Retry-After`, in seconds or as an HTTP date; the default status is then 429.
        body: what is sent instead of the page.
        change: a function that gets the envelope (a dict) and returns the one to send.
        headers: further headers; they replace those of the same name.
        cut: the connection closes after so many bytes of the body, while `Content-Length` promises all of them.
        delay: seconds to wait before the response, in addition to the sandbox's `latency`.
        reset: the connection is aborted without a response.

    Raises:
        ConfigurationError: the fault does nothing, or cannot hit any request.
    """

    date: datetime.date | None = attrs.field(default=None, converter=attrs.converters.optional(parse_date))
    page: int | None = None
    attempts: int | None = 1
    status: int | None = None
    retry_after: float | str | None = None
    body: bytes | str | None = None
    change: Callable[[dict[str, Any]], Any] | None = None
    headers: Mapping[str, str] | None = attrs.field(default=None, hash=False)
    cut: int | None = None
    delay: float = 0.0
    reset: bool = False

    def __attrs_post_init__(self) -> None:
        if not (self.delay or self.reset) and all(
            part is None for part in (self.status, self.retry_after, self.body, self.change, self.headers, self.cut)
        ):
            raise ConfigurationError("this Fault does nothing; say what goes wrong, such as Fault(status=503)")
        for name, least in {"page": 1, "attempts": 1, "cut": 0, "delay": 0}.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigurationError(f"{name}: {value!r} is too small; give at least {least}")

    def hits(self, request: SeenRequest) -> bool:
        """Whether this fault happens to that request."""
        return (
            (self.date is None or self.date == request.date)
            and (self.page is None or self.page == request.page)
            and (self.attempts is None or request.attempt <= self.attempts)
        )

    def response(self, page: bytes) -> web.Response:
        """The response to send instead of the page."""
        status = self.status or (200 if self.retry_after is None else 429)
        if self.body is not None:
            response = page_response(self.body.encode() if isinstance(self.body, str) else self.body, status)
        elif self.change is not None:
            response = page_response(orjson.dumps(self.change(orjson.loads(page))), status)
        elif self.status is not None or self.retry_after is not None:
            response = html_response(status)
        else:
            response = page_response(page)
        if self.retry_after is not None:
            response.headers["Retry-After"] = str(self.retry_after)
        response.headers.update(self.headers or {})
        if self.cut is not None:
            body = response.body
            assert isinstance(body, bytes)
            response.body = body[: self.cut]
            response.headers["Content-Length"] = str(len(body))
            response.force_close()
        return response


Faults: TypeAlias = Iterable[Fault] | Callable[[SeenRequest], Fault | None]
"""Faults, of which the first that hits a request happens to it; or a function that decides for each request."""


def page_response(body: bytes, status: int = 200) -> web.Response:
    """A response of the API."""
    return web.Response(body=body, status=status, content_type="application/json")


def html_response(status: int, headers: Mapping[str, str] | None = None) -> web.Response:
    """A response of a web server or proxy in front of the API, with the status in its body."""
    reason = f"{status} {web.Response(status=status).reason}".strip()
    body = f"<html><head><title>{reason}</title></head><body><h1>{reason}</h1></body></html>\n"
    return web.Response(text=body, status=status, headers=headers, content_type="text/html")
